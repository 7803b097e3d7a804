//! The example server and a client that is nothing but a socket: what becomes of a session whose client does not
//! answer, and of what was for it.
//!
//! Nothing here waits for time to pass but for what time brings about; `TIME` is only there so that a test which
//! fails ends.

use std::time::Duration;

use super::server::options::Options;
use super::server::{Running, Server};
use clap::Parser;
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
    server.stop().await;
}

const COUNT: usize = 250;

/// The numbers in the bodies of messages.
fn numbers(seen: &str) -> Vec<usize> {
    let bodies = seen.split("<body>").skip(1);
    bodies.map(|body| body.split('<').next().unwrap_or_default().parse().expect("a number")).collect()
}

async fn say(romeo: &mut Client, numbers: impl Iterator<Item = usize>) {
    let message = |number| format!("<message to='j@localhost' type='chat'><body>{number}</body></message>");
    romeo.send(&numbers.map(message).collect::<String>()).await;
    romeo.ping().await;
}

/// Reads, and acknowledges at each `<r/>`, up to message `last`.
async fn take(juliet: &mut Client, h: &mut usize, last: usize) -> Vec<usize> {
    let (mut seen, r) = (Vec::new(), "<r xmlns='urn:xmpp:sm:3'/>");
    while seen.last() != Some(&last) {
        let text = juliet.upto(r).await;
        *h += text.matches("<message").count() + text.matches("<presence").count();
        seen.extend(numbers(&text));
        juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")).await;
    }
    seen
}

/// Many times what the buffer takes, which would end the stream at once if it was full.
#[tokio::test]
async fn what_was_kept_comes_as_the_client_acknowledges_and_what_is_new_behind_it() {
    let server = start(&["--buffer-max=10", "--on-full=end"]).await;
    let mut romeo = Client::bind(&server, "r").await;
    say(&mut romeo, 1..=COUNT).await;
    let mut juliet = Client::bind(&server, "j").await;
    let smid = juliet.enable().await;
    juliet.send("<presence/>").await;
    juliet.upto("<body>1<").await;
    say(&mut romeo, COUNT + 1..=COUNT + 20).await;
    // The rest moves with the session, as does what comes when there is no stream.
    drop(juliet);
    say(&mut romeo, COUNT + 21..=COUNT + 40).await;
    let mut again = Client::login(&server, "j").await;
    let mut h = 1;
    let resumed = again.resume(&smid, h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    assert_eq!(take(&mut again, &mut h, COUNT + 40).await, (1..=COUNT + 40).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn what_waits_behind_a_session_that_is_over_is_kept_in_order() {
    let server = start(&["--buffer-max=10"]).await;
    let mut romeo = Client::bind(&server, "r").await;
    say(&mut romeo, 1..=COUNT).await;
    let mut juliet = Client::bind(&server, "j").await;
    juliet.enable().await;
    juliet.send("<presence/>").await;
    juliet.upto("<body>1<").await;
    say(&mut romeo, COUNT + 1..=COUNT + 20).await;
    juliet.send("</stream:stream>").await;
    juliet.rest().await;
    let mut again = Client::bind(&server, "j").await;
    again.enable().await;
    again.send("<presence/>").await;
    assert_eq!(take(&mut again, &mut 0, COUNT + 20).await, (1..=COUNT + 20).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn what_left_the_buffer_is_kept_until_it_is_acknowledged() {
    let server = start(&["--buffer-max=10", "--on-full=evict-oldest", "--evicted-max-bytes=1000000"]).await;
    let mut romeo = Client::bind(&server, "r").await;
    let mut juliet = Client::bind(&server, "j").await;
    juliet.enable().await;
    juliet.send("<presence/>").await;
    juliet.upto("<presence").await;
    say(&mut romeo, 1..=COUNT).await;
    juliet.upto(&format!("<body>{COUNT}<")).await;
    // Her own presence, and the first two messages.
    juliet.send("<a xmlns='urn:xmpp:sm:3' h='3'/></stream:stream>").await;
    juliet.rest().await;
    let mut again = Client::bind(&server, "j").await;
    again.send("<presence/>").await;
    let seen = again.upto(&format!("<body>{COUNT}</body>")).await;
    assert_eq!(numbers(&seen), (3..=COUNT).collect::<Vec<_>>());
    server.stop().await;
}

/// It may be about to ask for one, which it has again when the server is back: an error would be the reply to that.
#[tokio::test]
async fn the_server_does_not_wait_for_a_client_that_has_no_session() {
    let server = start(&[]).await;
    let mut juliet = Client::login(&server, "j").await;
    let (seen, _) = tokio::join!(juliet.rest(), server.stop());
    assert!(seen.ends_with("</stream:stream>") && !seen.contains("<stream:error"), "{seen}");
}

/// Far more than the kernels at both ends take for a client that does not read.
#[tokio::test]
async fn the_old_stream_of_a_session_that_moves_ends_after_a_whole_element() {
    let server = start(&["--buffer-max-bytes=100000000", "--backlog-max-bytes=100000000"]).await;
    let mut romeo = Client::bind(&server, "r").await;
    let mut juliet = Client::bind(&server, "j").await;
    let smid = juliet.enable().await;
    juliet.send("<presence/>").await;
    let body = "x".repeat(200_000);
    for _ in 0..90 {
        romeo.send(&format!("<message to='j@localhost' type='chat'><body>{body}</body></message>")).await;
    }
    romeo.ping().await;
    let mut again = Client::login(&server, "j").await;
    let resumed = again.resume(&smid, 1).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    let seen = juliet.rest().await;
    assert!(seen.ends_with("</stream:error></stream:stream>"), "{}", &seen[seen.len().saturating_sub(300)..]);
    let whole = seen.matches("</message>").count();
    assert_eq!(whole, seen.matches("<message ").count());
    assert!(whole < 90, "what was not begun is written on the new stream only");
    server.stop().await;
}
