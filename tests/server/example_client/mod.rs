//! The example client, before a server that does what its script says.
//!
//! Client and server share one thread. `TIME` is only there so that a test which fails ends.

#[allow(dead_code, reason = "it reads no standard input here")]
#[path = "../../../examples/client/mod.rs"]
mod client;
mod giving_up;
mod inline;
mod overflow;
mod refused;
mod server;
mod silence;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use client::lines::Line;
use client::{Options, Refused};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use server::{Server, Stream};

/// How long anything may take.
const TIME: Duration = Duration::from_secs(60);
/// How long the client waits at most before it tries again.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Long enough for a client to come that comes at once.
const MOMENT: Duration = Duration::from_millis(300);

/// A client, and who uses it.
struct User {
    lines: UnboundedSender<Line>,
    said: UnboundedReceiver<String>,
    task: JoinHandle<Result<(), Refused>>,
}

impl User {
    fn start(server: &Server, options: &[&str]) -> Self {
        Self::start_at(server.address(), options)
    }

    fn start_at(address: SocketAddr, options: &[&str]) -> Self {
        let usual = ["client", "--jid=juliet@localhost/balcony", "--password=secret", "--partner=romeo@localhost"];
        let connect = format!("--connect={address}");
        let mut options = Options::parse_from(usual.iter().chain([&&*connect]).chain(options));
        options.longest_pause = options.longest_pause.min(LONGEST_PAUSE);
        let (lines, reader) = unbounded_channel();
        let (tell, said) = unbounded_channel();
        let task = tokio::spawn(client::run(options, reader, move |line| drop(tell.send(line))));
        Self { lines, said, task }
    }

    /// Online, with a session that can be resumed.
    async fn online(server: &Server, options: &[&str]) -> (Self, Stream) {
        let mut user = Self::start(server, options);
        let mut stream = server.accept().await;
        stream.begin().await;
        user.until("online juliet@localhost/balcony").await;
        (user, stream)
    }

    fn send(&self, number: usize, text: impl Into<String>) {
        self.lines.send(Line::Send { id: format!("m{number}"), text: text.into() }).expect("a client that listens");
    }

    /// Online, with three messages that the server has read and not acknowledged; then the connection is lost, and the
    /// client asks for its session on the next one.
    async fn resuming(server: &Server, args: &[&str]) -> (Self, Stream) {
        let (user, mut stream) = Self::online(server, args).await;
        user.count(1, 3);
        stream.messages(3).await;
        drop(stream);
        let mut stream = server.accept().await;
        assert_eq!(stream.element().await.name(), "resume");
        (user, stream)
    }

    /// Sends the numbers from the first to the last.
    fn count(&self, first: usize, last: usize) {
        (first..=last).for_each(|number| self.send(number, number.to_string()));
    }

    /// Waits until the client says something that begins so.
    async fn until(&mut self, what: &str) -> String {
        loop {
            let said = timeout(TIME, self.said.recv()).await;
            let said = said.ok().flatten().unwrap_or_else(|| panic!("the client does not say {what:?}"));
            if said.starts_with(what) {
                return said;
            }
        }
    }

    /// The client closes its stream in good order, and ends.
    async fn quit(self, mut stream: Stream) {
        self.lines.send(Line::Quit).expect("a client that listens");
        stream.upto_end().await;
        stream.send("</stream:stream>").await;
        drop(stream);
        self.ends().await.expect("a server that lets us in");
    }

    /// The client ends by itself.
    async fn ends(self) -> Result<(), Refused> {
        timeout(TIME, self.task).await.expect("a client that ends").expect("no panic")
    }
}

#[tokio::test]
async fn messages_go_both_ways_and_a_session_is_resumed() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::online(&server, &[]).await;
    stream
        .send("<message from='romeo@localhost' type='chat'><body>Soft</body></message><r xmlns='urn:xmpp:sm:3'/>")
        .await;
    user.until("received - Soft").await;
    assert_eq!(stream.element_named("a").await.attr("h"), Some("1"));
    user.count(1, 3);
    assert_eq!(stream.messages(3).await, ["1", "2", "3"]);
    drop(stream);
    user.until("offline").await;

    user.count(4, 4);
    let mut stream = server.accept().await;
    let resume = stream.element().await;
    assert_eq!((resume.name(), resume.attr("previd"), resume.attr("h")), ("resume", Some("x"), Some("1")));
    // The presence, and the first message.
    stream.send("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='2'/>").await;
    user.until("resumed").await;
    assert_eq!(stream.messages(3).await, ["2", "3", "4"]);
    user.quit(stream).await;
}

#[tokio::test]
async fn of_a_refused_session_what_its_h_covers_is_not_sent_again() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::resuming(&server, &[]).await;
    stream.send("<failed xmlns='urn:xmpp:sm:3' h='3'/>").await;
    assert_eq!(user.until("failed").await, "failed 3");
    stream.begin().await;
    user.until("online").await;
    user.count(4, 4);
    assert_eq!(stream.messages(2).await, ["3", "4"]);
    user.quit(stream).await;
}

#[tokio::test]
async fn a_client_that_is_told_to_stop_reads_nothing() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::online(&server, &[]).await;
    user.lines.send(Line::Stop).expect("a client that listens");
    user.until("stopped").await;
    stream.send("<message from='romeo@localhost' type='chat'><body>But</body></message>").await;
    user.count(1, 1);
    stream.messages(1).await;
    tokio::time::sleep(MOMENT).await;
    assert!(user.said.try_recv().is_err());
    user.lines.send(Line::Go).expect("a client that listens");
    user.until("received - But").await;
    user.quit(stream).await;
}
