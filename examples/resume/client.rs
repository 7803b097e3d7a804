//! A client: `tokio-xmpp`, which connects, reconnects and resumes by itself, and an account of what it saw.

use std::net::SocketAddr;

use futures::StreamExt;
use jid::{FullJid, Jid};
use tokio_xmpp::Stanza;
use tokio_xmpp::connect::{DnsConfig, TcpServerConnector};
use tokio_xmpp::stanzastream::{Event, StanzaStream, StreamEvent};
use tokio_xmpp::xmlstream::Timeouts;
use xmpp_parsers::iq::Iq;
use xmpp_parsers::message::{Lang, Message};
use xmpp_parsers::ping::Ping;

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
    /// How often its session went on.
    pub resumed: usize,
    /// How often it got another session: once, if all is well.
    pub sessions: usize,
}

impl Seen {
    /// How far the peer is, if nothing was lost.
    pub fn latest(&self) -> usize {
        self.received.last().copied().unwrap_or_default()
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

    /// Waits until it is logged in.
    pub async fn bound(&mut self) {
        while self.seen.sessions == 0 {
            self.next().await;
        }
    }

    /// Sends `count` numbered messages and takes as many. Each that is received sends the next: the talk goes on
    /// only as long as nothing is lost.
    pub async fn talk(&mut self, peer: &FullJid, count: usize) {
        while self.seen.latest() < count || self.seen.sent < count {
            if self.seen.sent < count.min(self.seen.latest() + WINDOW) {
                self.seen.sent += 1;
                let text = self.seen.sent.to_string();
                let message = Message::chat(Jid::from(peer.clone())).with_body(Lang::default(), text);
                self.stream.send(Box::new(message.into())).await;
            } else {
                self.next().await;
            }
        }
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
                self.seen.received.extend(number);
            }
            Event::Stanza(other) => return Some(other),
            Event::Stream(StreamEvent::Reset { .. }) => self.seen.sessions += 1,
            Event::Stream(StreamEvent::Resumed) => self.seen.resumed += 1,
            Event::Stream(StreamEvent::Suspended) => {}
        }
        None
    }
}
