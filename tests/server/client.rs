//! A client that is nothing but a socket, and looks for words in what it is sent.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::TIME;
use super::server::Running;

pub const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                          to='localhost' version='1.0'>";
/// Small, so that a client which does not read is noticed soon.
const RECEIVE_BUFFER: u32 = 64 * 1024;

pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

pub struct Client {
    pub io: Box<dyn Io>,
    /// What has come and was not looked for yet.
    unread: String,
    /// The features after it has logged in.
    pub features: String,
    /// What it can resume, if it can.
    pub smid: Option<String>,
    /// Stanzas received since stream management was enabled.
    pub h: usize,
}

impl Client {
    pub async fn connect(server: &Running) -> Self {
        Self::connect_to(server.address).await
    }

    pub async fn connect_to(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
        let io = socket.connect(address).await.expect("a connection");
        Self { io: Box::new(io), unread: String::new(), features: String::new(), smid: None, h: 0 }
    }

    /// Logs in, and comes to where it can bind or resume.
    pub async fn login(server: &Running, user: &str) -> Self {
        let mut client = Self::authenticated(server, user).await;
        client.features = client.upto("</stream:features>").await;
        client
    }

    /// Logs in, and waits for what the server makes of it.
    pub async fn authenticated(server: &Running, user: &str) -> Self {
        let mut client = Self::connect(server).await;
        client.send(HEADER).await;
        client.upto("</stream:features>").await;
        let plain = match user {
            "romeo" => "AHJvbWVvAHNlY3JldA==",
            _ => "AGp1bGlldABzZWNyZXQ=",
        };
        client.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")).await;
        client.upto("</success>").await;
        client.send(HEADER).await;
        client
    }

    /// Before authentication.
    pub async fn opened(server: &Running) -> Self {
        let mut client = Self::connect(server).await;
        client.send(HEADER).await;
        client.features = client.upto("</stream:features>").await;
        client
    }

    /// A session with stream management and presence.
    pub async fn session(server: &Running, user: &str, resource: &str) -> Self {
        let mut client = Self::login(server, user).await;
        client.bind(resource).await;
        client.enable().await;
        client.present(user, resource).await;
        client
    }

    /// A session with presence, and without stream management.
    pub async fn simple(server: &Running, user: &str, resource: &str) -> Self {
        let mut client = Self::login(server, user).await;
        client.bind(resource).await;
        client.present(user, resource).await;
        client
    }

    pub async fn bind(&mut self, resource: &str) {
        let resource = format!("<resource>{resource}</resource>");
        let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind>");
        self.send(&format!("<iq type='set' id='bind'>{bind}</iq>")).await;
        self.upto("</bind></iq>").await;
    }

    /// Romeo and Juliet, each with a session.
    pub async fn both(server: &Running) -> (Self, Self) {
        let romeo = Self::session(server, "romeo", "orchard").await;
        (romeo, Self::session(server, "juliet", "balcony").await)
    }

    /// Gives the `<enabled/>`.
    pub async fn enable(&mut self) -> String {
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
        self.upto("<enabled ").await;
        let enabled = self.upto("/>").await;
        self.smid = enabled.split_once(" id='").map(|(_, id)| id.split('\'').next().unwrap_or_default().to_owned());
        self.h = 0;
        enabled
    }

    async fn present(&mut self, user: &str, resource: &str) {
        self.send("<presence/>").await;
        self.upto(&format!("<presence from='{user}@localhost/{resource}'")).await;
        self.upto("/>").await;
    }

    /// Asks for the session that another client had. Gives the client and the answer.
    pub async fn resume(server: &Running, user: &str, had: &Self, h: usize) -> (Self, String) {
        let mut client = Self::login(server, user).await;
        client.smid = had.smid.clone();
        client.h = h;
        let previd = had.smid.as_deref().expect("something to resume");
        client.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{h}'/>")).await;
        let mut answer = client.upto_one_of(&["<resumed ", "</failed>"]).await;
        if answer.ends_with("<resumed ") {
            answer += &client.upto("/>").await;
        }
        (client, answer)
    }

    pub async fn send(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.expect("a server that listens");
    }

    /// What comes up to the end of `what`.
    pub async fn upto(&mut self, what: &str) -> String {
        self.upto_one_of(&[what]).await
    }

    /// What comes up to the end of whichever is found first.
    pub async fn upto_one_of(&mut self, whats: &[&str]) -> String {
        let longest = whats.iter().map(|what| what.len()).max().unwrap_or_default();
        let mut searched = 0;
        loop {
            let new = &self.unread[searched..];
            let end = whats.iter().filter_map(|what| Some(searched + new.find(what)? + what.len())).min();
            if let Some(end) = end {
                return self.take(end);
            }
            searched = self.unread.len().saturating_sub(longest);
            let read = timeout(TIME, self.read()).await;
            assert!(matches!(read, Ok(Ok(1..))), "{whats:?} does not come: {read:?}, after {}", self.tail());
        }
    }

    /// What comes up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        loop {
            match timeout(TIME, self.read()).await {
                Ok(Ok(0)) => return self.take(self.unread.len()),
                Ok(Ok(_)) => {}
                other => panic!("the connection does not end: {other:?}, after {}", self.tail()),
            }
        }
    }

    /// What comes before the answer to a question that is asked now.
    pub async fn ping(&mut self) -> String {
        self.send("<iq type='get' id='now'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        let before = self.upto(" id='now'").await;
        self.upto(">").await;
        before
    }

    /// Breaks the connection. That `witness` gets an answer after it shows that the server has seen it.
    pub async fn cut(&mut self, witness: &mut Self) {
        self.io = Box::new(tokio::io::empty());
        witness.ping().await;
    }

    async fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let read = self.io.read(&mut bytes).await?;
        self.unread += std::str::from_utf8(&bytes[..read]).expect("only ASCII is sent here");
        Ok(read)
    }

    fn take(&mut self, end: usize) -> String {
        let unread = self.unread.split_off(end);
        let taken = std::mem::replace(&mut self.unread, unread);
        self.h += ["<message", "<presence", "<iq"].iter().map(|stanza| taken.matches(stanza).count()).sum::<usize>();
        taken
    }

    fn tail(&self) -> &str {
        &self.unread[self.unread.len().saturating_sub(1000)..]
    }
}
