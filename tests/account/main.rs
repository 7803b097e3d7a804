//! What one account can cost, counted: the page `costs` of the documentation, row by row.

#[path = "../support/count.rs"]
mod count;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use count::counted;
use xmpp_sm::{
    Arrival, Config, Early, Enable, EndReason, Event, Inbound, Lookup, MemoryStore, Nonza, Receipt, Record,
    Registration, Resume, Session, SessionStore, SmId, StaleH, Unbound, Write,
};

const PAGE: &str = include_str!("../../src/costs.rs");
const OWNER: &str = "mallory@example.com";
const OTHER: &str = "juliet@example.com";
const LOGINS: u32 = 12_000;
const SESSIONS: u32 = 10;
const OUTPUT: usize = 64 * 1024;

/// The bytes that wait in the output of a connection.
type Output = Vec<u8>;

struct Own {
    session: Session<Bytes, Output>,
    registration: Registration,
    /// The stanzas that the host is handling.
    handling: Vec<(Receipt, Bytes)>,
}

struct Host {
    config: Arc<Config>,
    store: MemoryStore<u32>,
    sessions: Vec<(u32, Own)>,
    logins: u32,
    now: Instant,
    others: Registration,
}

impl Host {
    fn new(config: Config) -> Self {
        let (config, now) = (Arc::new(config), Instant::now());
        let store = MemoryStore::new(&config);
        let others = store.register(&SmId::random().unwrap(), &OTHER.into(), 0, now).unwrap().registration;
        Self { config, store, sessions: Vec::new(), logins: 0, now, others }
    }

    /// A connection with a session that can be resumed.
    fn log_in(&mut self) -> &mut Own {
        self.logins += 1;
        let number = self.logins;
        let mut session = Unbound::new(self.config.clone(), OWNER).bind(Output::new());
        let enable = Nonza::Enable(Enable { resume: true, max: None });
        let Ok(Arrival::Enable(request)) = session.handle(enable.into(), self.now) else { panic!() };
        let smid = SmId::random().unwrap();
        let registered = self.store.register(&smid, &OWNER.into(), number, self.now).unwrap();
        if let Some(displaced) = registered.displaced {
            let place = self.sessions.iter().position(|(number, _)| *number == displaced.handle).unwrap();
            let (_, own) = self.sessions.remove(place);
            self.end(own, EndReason::Replaced);
        }
        session.accept_enable(request, Some(smid), self.now).unwrap();
        self.sessions.push((number, Own { session, registration: registered.registration, handling: Vec::new() }));
        &mut self.sessions.last_mut().unwrap().1
    }

    fn end(&mut self, mut own: Own, reason: EndReason) {
        own.session.close(reason, None, self.now);
        while own.session.poll().is_none_or(|event| !matches!(event, Event::Ended(_))) {
            self.now = self.now.max(own.session.deadline().unwrap_or(self.now));
            own.session.timeout(self.now);
        }
        self.store.retire(&own.registration, 0.into(), self.now).unwrap();
    }

    /// Nothing of another account was touched.
    fn check(&self) {
        let others = Record { registration: self.others.clone(), handle: 0 };
        assert_eq!(self.store.lookup(self.others.smid(), OTHER, self.now), Ok(Lookup::Session(others)));
        assert!(self.sessions.len() <= SESSIONS as usize);
    }
}

/// Writes what the session has to say, as long as the connection has room. It is never flushed.
fn write(session: &mut Session<Bytes, Output>, now: Instant) {
    while session.connection().is_some_and(|output| output.len() < OUTPUT)
        && let Some((output, item)) = session.next_write(now)
    {
        match item {
            Write::Stanza { stanza, .. } => output.extend_from_slice(stanza),
            Write::Nonza(nonza) => output.extend_from_slice(nonza.to_string().as_bytes()),
            _ => {}
        }
    }
}

fn stanza(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

/// Sends so many stanzas. The client reads what it is sent, and acknowledges nothing.
fn fill(own: &mut Own, bytes: usize, most: usize, now: Instant) {
    for _ in 0..most {
        own.session.send(stanza(bytes), now).unwrap();
        write(&mut own.session, now);
        if let Some(output) = own.session.connection_mut() {
            output.clear();
        }
    }
    while own.session.poll().is_some() {}
}

/// Ten sessions, filled to the brim.
fn filled(bytes: usize, connected: bool) -> Host {
    let mut host = Host::new(Config::default());
    // So much fits: a stanza more, and the session ends, which frees it.
    let most = |room: usize| (room / bytes).min(if connected { 2000 } else { 1000 });
    for _ in 0..SESSIONS {
        let now = host.now;
        let own = host.log_in();
        fill(own, bytes, (1 << 20) / bytes.max((1 << 20) / 100), now);
        if !connected {
            own.session.lost(now);
        }
        fill(own, bytes, most(if connected { 1 << 20 } else { 512 << 10 }), now);
        assert!(!own.session.is_over());
    }
    host
}

/// Heap of what `attack` leaves, in MiB.
fn heap(attack: impl FnOnce() -> Host) -> f64 {
    let (host, counts) = counted(attack);
    host.check();
    counts.bytes as f64 / f64::from(1 << 20)
}

fn abandoned() -> Host {
    let mut host = Host::new(Config::default());
    for _ in 0..LOGINS {
        let now = host.now;
        let own = host.log_in();
        own.session.lost(now);
        while own.session.poll().is_some() {}
    }
    host
}

fn unsettled(bytes: usize) -> Host {
    let mut host = Host::new(Config::default());
    for _ in 0..SESSIONS {
        let now = host.now;
        let own = host.log_in();
        while own.session.wants_read() {
            let stanza = stanza(bytes);
            let Ok(Arrival::Stanza(receipt)) = own.session.handle(Inbound::Stanza { bytes }, now) else { panic!() };
            own.handling.push((receipt, stanza));
        }
    }
    host
}

fn expired() -> Host {
    let mut host = Host::new(Config::default().stale_h(StaleH { enabled: true, ..StaleH::default() }));
    let now = host.now;
    let gone = SmId::random().unwrap();
    let registration = host.store.register(&gone, &OTHER.into(), 1, now).unwrap().registration;
    host.store.retire(&registration, 7.into(), now).unwrap();
    for _ in 0..LOGINS {
        host.log_in();
        let (_, own) = host.sessions.pop().unwrap();
        host.now += Duration::from_micros(1);
        host.end_now(own);
    }
    assert_eq!(host.store.lookup(&gone, OTHER, now), Ok(Lookup::StaleH(7.into())), "it is another's");
    host
}

impl Host {
    fn end_now(&mut self, own: Own) {
        self.store.retire(&own.registration, 0.into(), self.now).unwrap();
    }
}

fn resumed() -> Host {
    let mut host = Host::new(Config::default());
    let (now, config) = (host.now, host.config.clone());
    let own = host.log_in();
    fill(own, 10 << 10, 100, now);
    for _ in 0..10_000 {
        let mut stream = Unbound::new(config.clone(), OWNER);
        let resume = Nonza::Resume(Resume { previd: own.registration.smid().clone(), h: 0.into() });
        let Ok(Early::Resume(request)) = stream.handle(resume.into(), now) else { panic!() };
        own.session.take(stream.into_taker(request, Output::new()).unwrap(), now);
        write(&mut own.session, now);
        while own.session.poll().is_some() {}
    }
    assert!(!own.session.is_over());
    host
}

fn asking() -> Host {
    let mut host = Host::new(Config::default());
    let now = host.now;
    let own = host.log_in();
    own.session.connection_mut().unwrap().resize(OUTPUT, 0);
    for _ in 0..100_000 {
        let resume = Nonza::Resume(Resume { previd: own.registration.smid().clone(), h: 0.into() });
        for element in [Nonza::AckRequest, resume] {
            if own.session.wants_read() {
                let _ = own.session.handle(element.into(), now);
            }
        }
        write(&mut own.session, now);
    }
    host
}

#[test]
fn the_page_says_what_an_account_can_cost() {
    let measured = [
        heap(abandoned),
        heap(|| filled(64 << 10, false)),
        heap(|| filled(1, false)),
        heap(|| filled(64 << 10, true)),
        heap(|| unsettled(64 << 10)),
        heap(|| unsettled(1)),
        heap(expired),
        heap(resumed),
        heap(asking),
    ];
    let rows: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(2).collect();
    assert_eq!(rows.len(), measured.len());
    let stated = |row: &str| -> f64 { row.trim_end_matches(" |").rsplit(" | ").next().unwrap().parse().unwrap() };
    for (row, measured) in rows.iter().zip(measured) {
        println!("{measured:.2} of {}: {row}", stated(row));
    }
    for (row, measured) in rows.into_iter().zip(measured) {
        let stated = stated(row);
        assert!(measured <= stated, "{measured:.2} MiB: {row}");
        assert!(stated <= 0.1 || measured >= stated * 0.6, "{measured:.2} MiB: {row}");
    }
}

#[test]
fn all_of_it_at_once_is_below_32_mib() {
    // The worst rows exclude each other: a session is connected or not, and the store has ten of an owner.
    let connected = heap(|| filled(64 << 10, true));
    let unsettled = heap(|| unsettled(64 << 10));
    assert!(connected + unsettled <= 32.0, "{connected:.1} and {unsettled:.1} MiB");
}
