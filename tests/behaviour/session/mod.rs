//! A server's `Session`, driven by hand on a virtual clock.

mod active;
mod backlog;
mod bad_input;
mod closing;
mod left;
mod parts;
mod push;
mod stats;
mod stored;
mod take;
mod timeouts;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use xmpp_sm::{
    Arrival, Config, Counter, Early, Enable, Event, Inbound, Nonza, NotNow, Parting, Receipt, Resume, Session,
    SessionEnded, SmId, StreamError, Taker, Unbound, Write,
};

pub use crate::support::{secs, stanzas as n};

pub const OWNER: &str = "juliet@example.com";

/// A session whose connections are named by numbers, and a clock.
pub struct Host {
    pub session: Session<Bytes, u32>,
    pub config: Arc<Config>,
    pub now: Instant,
    /// What the last [`Host::written`] left: what the session said besides.
    pub events: Vec<Said>,
}

/// An event, as text where that is enough.
#[derive(Debug, PartialEq)]
pub enum Said {
    Dropped(u32),
    /// The last words, and the connection that they are for.
    Parted(u32, String),
    Closed(u32),
    Refused(u32, String),
    Resumed,
    Detached {
        unacked: usize,
        waiting: usize,
    },
    Queued,
    Acknowledged(String),
    Ended(SessionEnded<Bytes>),
}

impl Host {
    /// Bound, and not enabled.
    pub fn bound(config: Config) -> Self {
        let config = Arc::new(config);
        let session = Unbound::new(config.clone(), OWNER).bind(1);
        Self { session, config, now: Instant::now(), events: Vec::new() }
    }

    /// Enabled, resumable, on connection 1; what was written so far is taken as read.
    pub fn new(config: Config) -> Self {
        let mut host = Self::bound(config);
        host.enable();
        host.written();
        host
    }

    pub fn enable(&mut self) {
        let enable = Nonza::Enable(Enable { resume: true, max: None });
        let Ok(Arrival::Enable(request)) = self.session.handle(enable.into(), self.now) else { panic!() };
        self.session.accept_enable(request, SmId::new("sm-1").ok(), self.now).unwrap();
    }

    pub fn send(&mut self, stanza: &'static str) {
        self.session.send(Bytes::from(stanza), self.now).unwrap();
    }

    pub fn receive(&mut self) -> Receipt {
        let Ok(Arrival::Stanza(receipt)) = self.session.handle(Inbound::Stanza { bytes: 1 }, self.now) else {
            panic!()
        };
        receipt
    }

    pub fn handle(&mut self, nonza: Nonza) -> Result<Arrival, NotNow> {
        self.session.handle(nonza.into(), self.now)
    }

    pub fn ack(&mut self, h: u32) {
        assert_eq!(self.handle(Nonza::Ack(h.into())), Ok(Arrival::Handled));
    }

    pub fn settle(&mut self, receipt: Receipt) {
        self.session.settle(receipt, self.now).unwrap();
    }

    /// The client is back on this connection.
    pub fn taker(&self, connection: u32, h: u32) -> Taker<u32> {
        self.taker_of(OWNER, "sm-1", connection, h)
    }

    pub fn taker_of(&self, owner: &str, previd: &str, connection: u32, h: u32) -> Taker<u32> {
        let mut stream = Unbound::new(self.config.clone(), owner);
        let resume = Resume { previd: SmId::new(previd).unwrap(), h: h.into() };
        let early = stream.handle(Nonza::Resume(resume).into(), self.now).unwrap();
        let Early::Resume(request) = early else { panic!("{early:?}") };
        stream.into_taker(request, connection).unwrap()
    }

    pub fn take(&mut self, connection: u32, h: u32) {
        self.session.take(self.taker(connection, h), self.now);
    }

    pub fn lost(&mut self) {
        self.session.lost(self.now);
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Runs the timeouts that are due within this time, each at its time.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(deadline);
            self.session.timeout(self.now);
        }
        panic!("the same is due again and again");
    }

    /// All that is written now, as one line, and the connection that it is written to.
    pub fn written(&mut self) -> String {
        let mut pieces = Vec::new();
        while let Some((_, item)) = self.session.next_write(self.now) {
            pieces.push(piece(item));
        }
        while let Some(event) = self.session.poll() {
            self.events.push(said(event));
        }
        pieces.join(" ")
    }

    /// What the session has said besides since the last time.
    pub fn said(&mut self) -> Vec<Said> {
        while let Some(event) = self.session.poll() {
            self.events.push(said(event));
        }
        std::mem::take(&mut self.events)
    }

    /// The end, which must be the last thing that was said.
    pub fn ended(&mut self) -> SessionEnded<Bytes> {
        let Some(Said::Ended(ended)) = self.said().pop() else { panic!("the session is not over") };
        assert!(self.session.is_over() && self.session.deadline().is_none());
        ended
    }
}

/// The stanzas of an end, each with its fate.
pub fn left(ended: SessionEnded<Bytes>) -> Vec<String> {
    ended.stanzas.map(|left| format!("{:?} {}", left.fate, std::str::from_utf8(&left.stanza).unwrap())).collect()
}

fn piece(item: Write<'_, Bytes>) -> String {
    match item {
        Write::Stanza { stanza, late } => {
            format!("{}{}", std::str::from_utf8(stanza).unwrap(), if late.is_some() { "(late)" } else { "" })
        }
        Write::Nonza(nonza) => short(nonza),
        Write::StreamError(error) => format!("error:{}", error.condition()),
        Write::Close => "close".to_owned(),
        Write::Flush => "|".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn short(nonza: &Nonza) -> String {
    nonza.to_string().replace(" xmlns='urn:xmpp:sm:3'", "").replace(" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'", "")
}

fn said(event: Event<Bytes, u32>) -> Said {
    match event {
        Event::Left { connection, parting: Parting::Drop, .. } => Said::Dropped(connection),
        Event::Left { connection, parting: Parting::Close, .. } => Said::Closed(connection),
        Event::Left { connection, parting: Parting::Say(last), .. } => {
            let words = last.write.iter().map(short).chain(last.error.map(|error| error.condition().to_owned()));
            Said::Parted(connection, words.collect::<Vec<_>>().join(" "))
        }
        Event::Refused(refused) => {
            Said::Refused(refused.connection, refused.step.failed().into_iter().map(short).collect())
        }
        Event::Resumed => Said::Resumed,
        Event::Detached { unacked, waiting } => Said::Detached { unacked, waiting },
        Event::Queued => Said::Queued,
        Event::Acknowledged(returned) => Said::Acknowledged(String::from_utf8(returned.stanza.to_vec()).unwrap()),
        Event::Ended(ended) => Said::Ended(*ended),
        other => panic!("a server's session does not say this: {other:?}"),
    }
}

pub fn counter(n: u32) -> Counter {
    n.into()
}

pub fn conflict() -> Option<StreamError> {
    Some(StreamError::Conflict)
}
