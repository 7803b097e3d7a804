//! A client's `Session`, driven by hand on a virtual clock: over many connections, and from one session to the next.

mod ending;
mod parts;
mod replies;
mod resuming;
mod stats;

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Arrival, Config, Event, Inbound, MustBind, Offer, Parting, Receipt, Session, Write};

const OWNER: &str = "juliet@example.com";
const OFFER: Offer = Offer { stream_management: true, binds: true };
const RESUME: &str = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true' max='600'/>";
const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const CONFLICT: Inbound = Inbound::StreamError { conflict: true };
const ERROR: Inbound = Inbound::StreamError { conflict: false };

/// A client whose connections are numbered, and its clock.
struct Client {
    session: Session<String, u32>,
    now: Instant,
    connections: u32,
    binding: Option<MustBind>,
}

impl Client {
    fn new(config: Config) -> Self {
        let session = Session::client(Arc::new(config), OWNER);
        Self { session, now: Instant::now(), connections: 0, binding: None }
    }

    /// Online, resumable, on connection 1.
    fn online(config: Config) -> Self {
        let mut client = Self::new(config);
        client.connect(OFFER);
        assert_eq!(client.events(), ["bind"]);
        client.bind();
        assert_eq!(client.written(), ENABLE);
        client.receive("enabled id='x' resume='true' max='600'");
        assert_eq!(client.events(), ["online, managed"]);
        client
    }

    /// Online, and then lost with these stanzas unacknowledged.
    fn lost(stanzas: &[&str]) -> Self {
        let mut client = Self::online(Config::default());
        stanzas.iter().for_each(|stanza| client.send(stanza));
        client.written();
        client.session.lost(client.now);
        assert_eq!(client.events(), ["dropped 1"]);
        client
    }

    fn connect(&mut self, offer: Offer) {
        self.connections += 1;
        self.session.connect(OWNER, offer, self.connections, self.now).unwrap();
    }

    fn bind(&mut self) {
        self.session.bound(self.binding.take().unwrap(), self.now).unwrap();
    }

    /// A new session, on a connection on which the client was told to bind.
    fn begin(&mut self) {
        self.bind();
        assert_eq!(self.written(), ENABLE);
        self.receive("enabled id='y' resume='true' max='600'");
        assert_eq!(self.events(), ["online, managed"]);
    }

    fn send(&mut self, stanza: &str) {
        self.session.send(stanza.to_owned(), self.now).unwrap();
    }

    /// An element of stream management arrives.
    fn receive(&mut self, text: &str) {
        let (start, child) = text.split_once('>').unwrap_or((text, ""));
        let (name, attributes) = start.split_once(' ').unwrap_or((start, ""));
        let element = format!("<{name} xmlns='urn:xmpp:sm:3' {attributes}>{child}</{name}>").parse().unwrap();
        let arrival = self.session.handle(Inbound::from_element(&element, "jabber:client"), self.now);
        assert_eq!(arrival, Ok(Arrival::Handled));
    }

    fn stanza(&mut self) -> Receipt {
        match self.session.handle(Inbound::Stanza { bytes: 1 }, self.now) {
            Ok(Arrival::Stanza(receipt)) => receipt,
            other => panic!("{other:?}"),
        }
    }

    fn error(&mut self, error: Inbound) {
        assert_eq!(self.session.handle(error, self.now), Ok(Arrival::Handled));
    }

    /// All that is to be written now.
    fn written(&mut self) -> String {
        let mut all = String::new();
        while let Some((connection, item)) = self.session.next_write(self.now) {
            assert_eq!(*connection, self.connections);
            match item {
                Write::Stanza { stanza, .. } => all += stanza,
                Write::Nonza(nonza) => all += &nonza.to_string(),
                Write::StreamError(error) => all += &error.to_string(),
                Write::Close => all += "</>",
                other => panic!("{other:?}"),
            }
        }
        all
    }

    /// All that the session says.
    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.session.poll() {
            events.push(match event {
                Event::Left { connection, parting: Parting::Drop, .. } => format!("dropped {connection}"),
                Event::Left { connection, parting: Parting::Close, .. } => format!("closed {connection}"),
                Event::Left { connection, parting: Parting::Say(last), .. } => {
                    let mut words = bytes::BytesMut::new();
                    last.write_to(&mut words);
                    format!("parted {connection} {}", String::from_utf8_lossy(&words))
                }
                Event::Bind(token) => {
                    self.binding = Some(token);
                    "bind".into()
                }
                Event::Online { enabled } => format!("online, {}", if enabled { "managed" } else { "plain" }),
                Event::Resumed => "resumed".into(),
                Event::Acknowledged(returned) => format!("acknowledged {}", returned.stanza),
                Event::NotResumed(failed) => format!("not resumed, h {:?}", failed.h.map(|h| h.get())),
                Event::Conflict => "conflict".into(),
                Event::Ended(ended) => {
                    let stanzas: Vec<_> = ended.stanzas.map(|left| left.stanza).collect();
                    format!("ended {:?} {stanzas:?}", ended.reason)
                }
                other => panic!("{other:?}"),
            });
        }
        events
    }

    /// Time passes, and what is due is done when it is due.
    fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        for _ in 0..100 {
            match self.session.deadline().filter(|due| *due <= until) {
                Some(due) => self.now = self.now.max(due),
                None => {
                    self.now = until;
                    return;
                }
            }
            self.session.timeout(self.now);
        }
        panic!("the same is due again and again");
    }
}
