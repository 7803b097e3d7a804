//! A client that writes what it is told, byte for byte: for what no real client does, or none does on purpose.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::peers::{DOMAIN, PASSWORD};
use crate::wire::Frames;

/// Long enough for a server on a machine that is busy.
const SOON: Duration = Duration::from_secs(10);
/// What does not come within it does not come.
const NEVER: Duration = Duration::from_millis(700);

pub struct Raw {
    stream: TcpStream,
    /// Over WebSocket.
    frames: Option<Frames>,
    /// What has come and was not looked at.
    unread: String,
}

impl Raw {
    /// Logged in, and not bound.
    pub async fn log_in(addr: SocketAddr, user: &str) -> Result<Self, String> {
        Self::log_in_at(addr, user, DOMAIN).await
    }

    /// The same at another host of the server.
    pub async fn log_in_at(addr: SocketAddr, user: &str, domain: &str) -> Result<Self, String> {
        Self::connect(addr).await?.authenticate(user, domain).await
    }

    /// The same over WebSocket.
    pub async fn log_in_by_websocket(port: u16, user: &str) -> Result<Self, String> {
        let mut raw = Self::connect(([127, 0, 0, 1], port).into()).await?;
        raw.write(&format!(
            "GET /xmpp-websocket HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: xmpp\r\n\r\n"
        ))
        .await?;
        raw.until("\r\n\r\n").await?;
        raw.frames = Some(Frames::past_http());
        raw.authenticate(user, DOMAIN).await
    }

    async fn connect(addr: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, frames: None, unread: String::new() })
    }

    async fn authenticate(self, user: &str, domain: &str) -> Result<Self, String> {
        let mut raw = self;
        raw.header(domain).await?;
        let credentials = STANDARD.encode(format!("\0{user}\0{PASSWORD}"));
        let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
        raw.write(&format!("<auth xmlns='{ns}' mechanism='PLAIN'>{credentials}</auth>")).await?;
        raw.until("<success").await?;
        raw.header(domain).await?;
        Ok(raw)
    }

    async fn header(&mut self, domain: &str) -> Result<(), String> {
        if self.frames.is_some() {
            self.write(&format!("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{domain}' version='1.0'/>"))
                .await?;
            return self.until("</stream:features>").await.map(drop);
        }
        let namespaces = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
        self.write(&format!("<stream:stream {namespaces} to='{domain}' version='1.0'>")).await?;
        self.until("</stream:features>").await.map(drop)
    }

    /// With this resource, available, and without stream management.
    pub async fn plain(addr: SocketAddr, user: &str) -> Result<Self, String> {
        Self::plain_at(addr, user, DOMAIN).await
    }

    async fn plain_at(addr: SocketAddr, user: &str, domain: &str) -> Result<Self, String> {
        let mut raw = Self::log_in_at(addr, user, domain).await?;
        raw.bind(user).await?;
        raw.write("<presence/>").await?;
        raw.until("<presence").await?;
        Ok(raw)
    }

    /// With a session that can be resumed, and its SM-ID. Nothing is unacknowledged, and its first stanza is the next.
    pub async fn enabled(addr: SocketAddr, user: &str) -> Result<(Self, String), String> {
        Self::enabled_at(addr, user, DOMAIN).await
    }

    /// The same at another host of the server.
    pub async fn enabled_at(addr: SocketAddr, user: &str, domain: &str) -> Result<(Self, String), String> {
        let mut raw = Self::plain_at(addr, user, domain).await?;
        raw.rest().await;
        raw.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
        let enabled = raw.until("<enabled").await? + &raw.until("/>").await?;
        let id = attribute(&enabled, "id").ok_or_else(|| format!("no id: {enabled}"))?;
        Ok((raw, id))
    }

    pub async fn bind(&mut self, resource: &str) -> Result<(), String> {
        let ns = "urn:ietf:params:xml:ns:xmpp-bind";
        let bind = format!("<bind xmlns='{ns}'><resource>{resource}</resource></bind>");
        self.write(&format!("<iq type='set' id='bind'>{bind}</iq>")).await?;
        self.until("</iq>").await.map(drop)
    }

    /// A new connection that asks for this session.
    pub async fn resume(addr: SocketAddr, user: &str, id: &str, h: &str) -> Result<Self, String> {
        let mut raw = Self::log_in(addr, user).await?;
        raw.ask(id, h).await?;
        Ok(raw)
    }

    pub async fn ask(&mut self, id: &str, h: &str) -> Result<(), String> {
        self.write(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='{h}'/>")).await
    }

    pub async fn write(&mut self, text: &str) -> Result<(), String> {
        let bytes = match &self.frames {
            Some(_) => frame(text),
            None => text.into(),
        };
        self.stream.write_all(&bytes).await.map_err(|e| format!("{text}: {e}"))
    }

    /// A numbered message.
    pub async fn say(&mut self, to: &str, number: u32) -> Result<(), String> {
        self.write(&message(to, number)).await
    }

    /// Has the server do something: see `prosody/mod_trial.lua`.
    pub async fn command(&mut self, command: &str) -> Result<String, String> {
        self.write(&format!("<message to='{DOMAIN}' id='command'><body>{command}</body></message>")).await?;
        self.until(" id='command'").await?;
        let reply = self.until("</body>").await?;
        if reply.contains("<body>failed: ") { Err(format!("{command}: {reply}")) } else { Ok(reply) }
    }

    /// All up to this text, and with it.
    pub async fn until(&mut self, text: &str) -> Result<String, String> {
        let end = Instant::now() + SOON;
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            if !self.read(end).await {
                return Err(format!("waited in vain for {text}, and got {:?}", self.unread));
            }
        }
    }

    /// Its connection is gone, and the server has noticed.
    pub async fn vanish(self) {
        drop(self);
        sleep(Duration::from_millis(200)).await;
    }

    /// All that comes by now.
    pub async fn rest(&mut self) -> String {
        let end = Instant::now() + NEVER;
        while self.read(end).await {}
        std::mem::take(&mut self.unread)
    }

    /// Whether the server closes the connection, and what came before.
    pub async fn end(&mut self) -> (bool, String) {
        let end = Instant::now() + SOON;
        while self.read(end).await {}
        (Instant::now() < end, std::mem::take(&mut self.unread))
    }

    /// `false`: nothing more comes, or it is too late.
    async fn read(&mut self, end: Instant) -> bool {
        let mut bytes = [0; 4096];
        match timeout_at(end, self.stream.read(&mut bytes)).await {
            Ok(Ok(length @ 1..)) => {
                let text = match &mut self.frames {
                    Some(frames) => bytes[..length].iter().filter_map(|byte| frames.byte(*byte)).flatten().collect(),
                    None => bytes[..length].to_vec(),
                };
                self.unread += &String::from_utf8_lossy(&text);
                true
            }
            _ => false,
        }
    }
}

/// One element as a client's frame, masked with noughts.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length as u8),
        Ok(length) => frame.extend([&[0x80 | 126][..], &length.to_be_bytes()].concat()),
        Err(_) => panic!("it is too long for a trial"),
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

pub fn message(to: &str, number: u32) -> String {
    format!("<message type='chat' to='{to}@{DOMAIN}/{to}' id='{number}'><body>number {number}</body></message>")
}

/// The numbers of the messages in a text, in order.
pub fn numbers(text: &str) -> Vec<u32> {
    text.split("<body>number ").skip(1).filter_map(|rest| rest.split('<').next()?.parse().ok()).collect()
}

pub fn attribute(element: &str, name: &str) -> Option<String> {
    Some(element.split(&format!(" {name}='")).nth(1)?.split('\'').next()?.to_owned())
}
