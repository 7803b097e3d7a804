//! What of a session is written down, and what goes out before and after: the table of `Ledger`.

mod fencing;
mod journal;
mod promises;

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use xmpp_sm::snapshot::{Due, Ledger, Limits, Portable, Promise, Snapshot, SnapshotError, Version};
use xmpp_sm::{
    Arrival, AsyncSessionStore, Claim, Claimed, Config, Early, Enable, Event, Fence, Inbound, MemoryStore, Nonza,
    Parking, Receipt, Registration, Resume, Session, SmId, Stanza, Unbound, Write,
};

const JULIET: &str = "juliet@example.com";

/// A stanza. One that begins with `p` makes others like it obsolete.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text(String);

impl Stanza for Text {
    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn replaces(&self, older: &Self) -> bool {
        self.0.starts_with('p') && older.0.starts_with('p')
    }
}

impl Portable for Text {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0.as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.into()).ok().map(Self)
    }
}

/// A store in memory waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!(),
    }
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_764_000_000)
}

/// A server's host with one session, on a clock that stands.
struct Host {
    config: Arc<Config>,
    store: Arc<MemoryStore<&'static str>>,
    session: Session<Text, ()>,
    ledger: Ledger,
    registration: Registration,
    now: Instant,
}

impl Host {
    /// Its session is enabled, and nothing is written down or written out.
    fn enabled(promise: Promise, config: Config) -> Self {
        let (config, now) = (Arc::new(config), Instant::now());
        let store = Arc::new(MemoryStore::new(&config));
        let mut session: Session<Text, ()> = Unbound::new(config.clone(), JULIET).bind(());
        let enable = Nonza::Enable(Enable { resume: true, max: None });
        let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
        let smid = SmId::new("x").unwrap();
        let registered = ready(AsyncSessionStore::register(&*store, &smid, session.owner(), "node-1", now)).unwrap();
        session.accept_enable(request, Some(smid), now).unwrap();
        let registration = registered.registration;
        Self { config, store, session, ledger: Ledger::new(promise), registration, now }
    }

    /// The same, and `<enabled/>` is out.
    fn online(promise: Promise, config: Config) -> Self {
        let mut host = Self::enabled(promise, config);
        host.keep_up();
        assert_eq!(host.out(), ["<enabled/>"]);
        host
    }

    fn due(&mut self) -> Option<Due> {
        self.ledger.due(&self.session, || b"balcony".to_vec(), self.now, wall())
    }

    fn write(&self, due: &Due) -> Fence {
        ready(due.write(&*self.store, &self.registration)).unwrap()
    }

    /// Writes down what is due, and returns how much that was.
    fn keep_up(&mut self) -> usize {
        let mut calls = 0;
        while let Some(due) = self.due() {
            assert_eq!(self.write(&due), Fence::Held);
            self.ledger.wrote(due);
            calls += 1;
            assert!(calls < 5, "what was written is due again");
        }
        calls
    }

    /// What goes out now.
    fn out(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(((), item)) = self.ledger.next_write(&mut self.session, self.now) {
            out.push(match item {
                Write::Stanza { stanza, .. } => stanza.0.clone(),
                Write::Nonza(Nonza::Enabled(_)) => "<enabled/>".to_owned(),
                Write::Nonza(Nonza::Resumed(resumed)) => format!("<resumed h='{}'/>", resumed.h),
                Write::Nonza(Nonza::Ack(h)) => format!("<a h='{h}'/>"),
                Write::Nonza(Nonza::AckRequest) | Write::Flush => continue,
                other => format!("{other:?}"),
            });
        }
        out
    }

    fn send(&mut self, text: &str) {
        self.session.send(Text(text.to_owned()), self.now).unwrap();
    }

    /// The client sends something.
    fn arrives(&mut self) -> Receipt {
        let Ok(Arrival::Stanza(receipt)) = self.session.handle(Inbound::Stanza { bytes: 9 }, self.now) else {
            panic!("it does not read")
        };
        receipt
    }

    fn hears(&mut self, nonza: Nonza) {
        assert!(matches!(self.session.handle(nonza.into(), self.now), Ok(Arrival::Handled)));
    }

    fn settle(&mut self, receipt: Receipt) {
        self.session.settle(receipt, self.now).unwrap();
    }

    fn lost(&mut self) {
        self.session.lost(self.now);
        while let Some(event) = self.session.poll() {
            assert!(matches!(event, Event::Left { .. }));
        }
    }

    /// The client comes back, with this `h`.
    fn taken(&mut self, h: u32) {
        let mut stream = Unbound::new(self.config.clone(), JULIET);
        let resume = Nonza::Resume(Resume { previd: SmId::new("x").unwrap(), h: h.into() });
        let Ok(Early::Resume(request)) = stream.handle(resume.into(), self.now) else { unreachable!() };
        self.session.take(stream.into_taker(request, ()).unwrap(), self.now);
        while let Some(event) = self.session.poll() {
            assert!(matches!(event, Event::Resumed), "{event:?}");
        }
    }

    /// What another host would get.
    fn claim(&self, handle: &'static str) -> Claim {
        ready(self.store.claim(&self.registration, handle, self.now)).unwrap()
    }

    fn claimed(&self) -> Claimed {
        let Claim::Claimed(claimed) = self.claim("node-2") else { panic!("it is not parked") };
        claimed
    }

    fn is_parked(&self) -> bool {
        matches!(self.claim("node-2"), Claim::Claimed(_))
    }

    fn read(&self, Claimed { snapshot, journal, .. }: &Claimed) -> Result<Snapshot<Text>, SnapshotError> {
        let clocks = (self.now, wall());
        Snapshot::from_journal(snapshot, journal, &self.config, &Limits::default(), clocks)
    }

    /// The process is killed: the session goes on at another host.
    fn moved(self) -> Self {
        let claimed = self.claimed();
        let read = self.read(&claimed).unwrap();
        assert_eq!(read.host, b"balcony");
        let ledger = Ledger::claimed(self.ledger.promise(), &read);
        let session = Session::from_parts(self.config.clone(), read.session, self.now).unwrap();
        Self { session, ledger, registration: claimed.registration, ..self }
    }

    /// What the session holds, sent and not.
    fn holds(self) -> (Vec<String>, Vec<String>) {
        let mut session = self.session;
        session.lost(self.now);
        while session.poll().is_some() {}
        let parts = session.into_parts().unwrap();
        let texts = |stanzas: &[(Text, Instant)]| stanzas.iter().map(|(text, _)| text.0.clone()).collect();
        (texts(&parts.detached().unwrap().unacked), texts(&parts.waiting))
    }

    /// The session is lost to another host: what this one has to pass on.
    fn not_written(mut self) -> Vec<String> {
        self.lost();
        let parts = self.session.into_parts().unwrap();
        self.ledger.not_written(parts).into_iter().map(|(text, _)| text.0).collect()
    }
}
