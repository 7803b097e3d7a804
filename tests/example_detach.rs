//! The example server and a client that is nothing but a socket: what becomes of a session whose client does not
//! answer, and of what was for it.
//!
//! Nothing here waits for time to pass but for what time brings about; `TIME` is only there so that a test which
//! fails ends.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

#[path = "../examples/server/mod.rs"]
mod server;

use std::time::Duration;

use clap::Parser;
use server::options::Options;
use server::{Running, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIME: Duration = Duration::from_secs(60);
const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      to='localhost' version='1.0'>";
const PING: &str = "<iq type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>";

async fn start(options: &[&str]) -> Running {
    let always = ["server", "--listen=127.0.0.1:0", "--user=r:r", "--user=j:j", "--mechanism=PLAIN"];
    Server::start(&Options::parse_from(always.iter().chain(options)), None).await.expect("a free port")
}

struct Client {
    io: TcpStream,
    unread: String,
}

impl Client {
    /// Logs in, to where it can bind or resume.
    async fn login(server: &Running, user: &str) -> Self {
        let io = TcpStream::connect(server.address).await.expect("a connection");
        let mut client = Self { io, unread: String::new() };
        client.send(HEADER).await;
        client.upto("</stream:features>").await;
        let plain = if user == "r" { "AHIAcg==" } else { "AGoAag==" };
        client.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")).await;
        client.upto("</success>").await;
        client.send(HEADER).await;
        client.upto("</stream:features>").await;
        client
    }

    async fn bind(server: &Running, user: &str) -> Self {
        let mut client = Self::login(server, user).await;
        client.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await;
        client.upto("</iq>").await;
        client
    }

    /// Gives the SM-ID.
    async fn enable(&mut self) -> String {
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
        let enabled = self.upto("/>").await;
        let id = enabled.split_once(" id='").expect("it is resumable").1;
        id.split('\'').next().unwrap_or_default().to_owned()
    }

    /// The answer to a `<resume/>`.
    async fn resume(&mut self, smid: &str, h: usize) -> String {
        self.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='{h}'/>")).await;
        self.upto("/>").await
    }

    async fn send(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.expect("a server that listens");
    }

    /// What comes before the answer to a question that is asked now.
    async fn ping(&mut self) -> String {
        self.send(PING).await;
        self.upto("id='ping'").await
    }

    async fn upto(&mut self, what: &str) -> String {
        loop {
            if let Some(start) = self.unread.find(what) {
                let unread = self.unread.split_off(start + what.len());
                return std::mem::replace(&mut self.unread, unread);
            }
            assert_ne!(self.read().await, 0, "{what} does not come, but {}", self.unread);
        }
    }

    /// What comes up to the end of the connection.
    async fn rest(&mut self) -> String {
        while self.read().await != 0 {}
        std::mem::take(&mut self.unread)
    }

    async fn read(&mut self) -> usize {
        let mut bytes = vec![0; 64 * 1024];
        let read = timeout(TIME, self.io.read(&mut bytes)).await.expect("something comes").expect("no error");
        self.unread += std::str::from_utf8(&bytes[..read]).expect("only ASCII is sent here");
        read
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_sees_the_end_of_its_connection_and_may_come_back() {
    let server = start(&["--ack-timeout=0.2"]).await;
    let mut juliet = Client::bind(&server, "j").await;
    let smid = juliet.enable().await;
    juliet.send("<presence/>").await;
    let seen = juliet.rest().await;
    assert!(seen.ends_with("<r xmlns='urn:xmpp:sm:3'/>"), "{seen}");
    let mut again = Client::login(&server, "j").await;
    let resumed = again.resume(&smid, 1).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
}
