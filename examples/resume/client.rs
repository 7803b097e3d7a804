//! A client: `tokio-xmpp`, which connects, reconnects and resumes by itself, and an account of what it saw.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use jid::{FullJid, Jid};
use tokio::time::{Instant, timeout_at};
use tokio_xmpp::Stanza;
use tokio_xmpp::connect::{DnsConfig, TcpServerConnector};
use tokio_xmpp::stanzastream::{Event, StanzaStream, StreamEvent};
use tokio_xmpp::xmlstream::Timeouts;
use xmpp_parsers::iq::Iq;
use xmpp_parsers::message::{Lang, Message};
use xmpp_parsers::ping::Ping;
use xmpp_parsers::presence::Presence;

/// Messages that are on their way each way before the first is answered.
pub const WINDOW: usize = 5;

pub struct Client {
    jid: FullJid,
    stream: StanzaStream,
    pub seen: Seen,
}

/// What one client has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The numbers that it sent: 1 to this.
    pub sent: usize,
    /// The numbers that it received, in that order.
    pub received: Vec<usize>,
    /// Those that an earlier client of its user received.
    pub before: BTreeSet<usize>,
    /// The highest of all: how far the peer is.
    pub latest: usize,
    /// How often its session went on.
    pub resumed: usize,
    /// How often it got another session: once, if all is well.
    pub sessions: usize,
}

impl Seen {
    pub fn receive(&mut self, number: usize) {
        self.received.push(number);
        self.latest = self.latest.max(number);
    }

    /// Whether the numbers up to this were received.
    fn has_all(&self, count: usize) -> bool {
        self.latest >= count && self.received.iter().chain(&self.before).collect::<BTreeSet<_>>().len() >= count
    }
}

/// A client that talks.
pub trait Talk {
    fn seen(&mut self) -> &mut Seen;
    /// Waits for the next thing that happens.
    async fn hear(&mut self);
    /// Sends a message.
    async fn say(&mut self, peer: &FullJid, number: usize);

    /// Waits until it is logged in.
    async fn bound(&mut self) {
        while self.seen().sessions == 0 {
            self.hear().await;
        }
    }

    /// Sends `count` numbered messages and takes as many. Each that is received sends the next: the talk goes on
    /// only as long as some come. Returns whether all have come. `patience`: how long it waits for the next.
    async fn talk(&mut self, peer: &FullJid, count: usize, patience: Duration) -> bool {
        let (mut received, mut until) = (0, Instant::now() + patience);
        while self.seen().sent < count || !self.seen().has_all(count) {
            if self.seen().received.len() > received {
                (received, until) = (self.seen().received.len(), Instant::now() + patience);
            }
            let next = self.seen().sent + 1;
            if next <= count.min(self.seen().latest + WINDOW) {
                self.seen().sent = next;
                self.say(peer, next).await;
            } else if timeout_at(until, self.hear()).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Client {
    /// Logs in with the password `secret`, at an address and not by the domain's name.
    pub fn connect(jid: FullJid, at: SocketAddr) -> Self {
        let server = TcpServerConnector(DnsConfig::addr(&at.to_string()));
        let password = "secret".to_owned();
        let stream = StanzaStream::new_c2s(server, jid.clone().into(), password, Timeouts::tight(), 64);
        Self { jid, stream, seen: Seen::default() }
    }

    /// Asks the server for a sign of life. What was on its way to the client comes before the answer.
    pub async fn ping(&mut self) {
        let to = Jid::from(self.jid.to_bare());
        self.stream.send(Box::new(Iq::from_get("the last", Ping).with_to(to).into())).await;
        while !matches!(self.next().await, Some(Stanza::Iq(Iq::Result { id, .. })) if id == "the last") {}
    }

    pub async fn close(self) {
        self.stream.close().await;
    }

    /// The next thing that happens, and the stanza if it was one that is no message.
    async fn next(&mut self) -> Option<Stanza> {
        match self.stream.next().await.expect("the stream reconnects for ever") {
            Event::Stanza(Stanza::Message(message)) => {
                let number = message.bodies.values().next().and_then(|body| body.parse::<usize>().ok());
                number.into_iter().for_each(|number| self.seen.receive(number));
            }
            Event::Stanza(other) => return Some(other),
            Event::Stream(StreamEvent::Reset { .. }) => {
                self.seen.sessions += 1;
                self.stream.send(Box::new(Presence::available().into())).await;
            }
            Event::Stream(StreamEvent::Resumed) => self.seen.resumed += 1,
            Event::Stream(StreamEvent::Suspended) => {}
        }
        None
    }
}

impl Talk for Client {
    fn seen(&mut self) -> &mut Seen {
        &mut self.seen
    }

    async fn hear(&mut self) {
        self.next().await;
    }

    async fn say(&mut self, peer: &FullJid, number: usize) {
        let message = Message::chat(Jid::from(peer.clone())).with_body(Lang::default(), number.to_string());
        self.stream.send(Box::new(message.into())).await;
    }
}
