//! A client around the documented loop.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use minidom::Element;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use xmpp_sm::{Config, Leftovers, Offer, Parting, Receipt, Session};

use crate::client_loop::{self, run};
use crate::conn::{Conn, HEADER};
use crate::net::{CLIENT, Cut, Link, SERVER};
use crate::rng::Rng;
use crate::server::{Receipts, Server, message};

/// How connections are made, and which one there is.
#[derive(Clone)]
pub struct Dial {
    pub name: Arc<str>,
    pub server: Server,
    pub cuts: Arc<AtomicU32>,
    pub state: Arc<Mutex<DialState>>,
    /// The user wants the resource back.
    pub wanted: Arc<Notify>,
}

pub struct DialState {
    pub rng: Rng,
    pub link: Option<Link>,
    /// What becomes of the next connection.
    pub armed: Option<(usize, usize, Cut)>,
    /// How long the client waits before it connects, at most.
    pub pause: Duration,
    pub capacity: usize,
    pub latency: u64,
    pub offers: Offer,
    pub is_down: bool,
    /// What has arrived: in which session, from whom, and its number.
    pub got: Vec<(u32, String, u32)>,
    pub sessions: u32,
    pub connections: u32,
    pub receipts: Receipts,
}

impl DialState {
    pub fn describe(&self) -> String {
        let waits = self.link.as_ref().map(|link| (link.is_cut(), link.waits_for(CLIENT), link.waits_for(SERVER)));
        let Self { got, sessions, connections, .. } = self;
        format!("{} got, {sessions} sessions, {connections} connections, (cut, to read): {waits:?}", got.len())
    }
}

impl Dial {
    pub fn new(name: &str, server: &Server, cuts: &Arc<AtomicU32>, rng: Rng) -> Self {
        let state = DialState {
            rng,
            link: None,
            armed: None,
            pause: Duration::from_millis(300),
            capacity: 64 * 1024,
            latency: 5,
            offers: Offer { stream_management: true, binds: true },
            is_down: false,
            got: Vec::new(),
            sessions: 0,
            connections: 0,
            receipts: Receipts::AtOnce,
        };
        let (name, server, cuts) = (name.into(), server.clone(), cuts.clone());
        Self { name, server, cuts, state: Arc::new(Mutex::new(state)), wanted: Arc::default() }
    }

    pub fn link(&self) -> Option<Link> {
        self.state.lock().unwrap().link.clone()
    }

    /// Until a connection is authenticated.
    async fn connect(self) -> (Offer, Conn) {
        loop {
            let pause = {
                let mut state = self.state.lock().unwrap();
                let most = state.pause.as_millis() as u64;
                if state.connections == 0 { 0 } else { state.rng.below(most + 1) }
            };
            sleep(Duration::from_millis(pause)).await;
            if self.state.lock().unwrap().is_down {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            if let Ok(Some(done)) = timeout(Duration::from_secs(20), self.try_connect()).await {
                return done;
            }
        }
    }

    async fn try_connect(&self) -> Option<(Offer, Conn)> {
        let (link, offer) = {
            let mut state = self.state.lock().unwrap();
            // As much as `capacity` is under way at a time, which makes 64 bytes each millisecond at least: a long message
            // and its acknowledgement take less than `ack_timeout`, or the client would give its session up.
            let most = state.latency.min(state.capacity as u64 / 64);
            let latency = Duration::from_millis(state.rng.clone().below(most + 1));
            let link = Link::new(state.capacity, latency, &self.cuts);
            if let Some((bytes, side, cut)) = state.armed.take() {
                link.cut_after(bytes, side, cut);
            }
            state.link = Some(link.clone());
            state.connections += 1;
            (link, state.offers)
        };
        self.server.accept(link.end(SERVER));
        let mut conn = Conn::new(link.end(CLIENT));
        conn.say(format!("{HEADER}<auth xmlns='urn:example:auth' user='{}'/>", self.name));
        conn.element().await.ok()?;
        Some((offer, conn))
    }
}

pub struct App {
    dial: Dial,
    outbox: WeakUnboundedSender<Bytes>,
    settled: UnboundedSender<Receipt>,
}

impl client_loop::App for App {
    type Connection = Conn;

    fn owner(&self) -> &str {
        &self.dial.name
    }

    fn log_in(&self, is_conflict: bool) -> impl Future<Output = (Offer, Conn)> + Send + 'static {
        let wanted = self.dial.wanted.clone();
        let connect = self.dial.clone().connect();
        async move {
            if is_conflict {
                wanted.notified().await;
            }
            connect.await
        }
    }

    fn receive(&mut self, stanza: Element, receipt: Receipt) {
        let mut state = self.dial.state.lock().unwrap();
        let (from, _, number) = message(&stanza, &self.dial.name);
        let session = state.sessions;
        state.got.push((session, from, number));
        let receipts = state.receipts;
        match receipts {
            Receipts::AtOnce => drop(self.settled.send(receipt)),
            Receipts::Late { lost: Some(of), .. } if state.rng.one_in(of) => drop(receipt),
            Receipts::Late { ms, .. } => {
                let (time, settled) = (state.rng.below(ms + 1), self.settled.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(time)).await;
                    let _ = settled.send(receipt);
                });
            }
            Receipts::Kept => {
                let _lost = receipt;
            }
        }
    }

    fn online(&mut self) {
        self.dial.state.lock().unwrap().sessions += 1;
        let outbox = self.outbox.upgrade();
        outbox.map(|outbox| outbox.send(Bytes::from_static(b"<presence/>")));
    }

    fn is_bound(&mut self, stanza: &Element) -> bool {
        stanza.name() == "iq" && stanza.attr("id") == Some("bind")
    }

    fn part(&mut self, connection: Conn, parting: Parting) {
        connection.part(parting);
    }
}

/// A client that runs.
pub struct Client {
    pub dial: Dial,
    pub outbox: UnboundedSender<Bytes>,
    pub task: JoinHandle<Leftovers<Bytes>>,
}

impl Client {
    pub fn start(dial: Dial, config: &Arc<Config>) -> Self {
        let (outbox, receiver) = unbounded_channel();
        let (settled, receipts) = unbounded_channel();
        let mut app = App { dial: dial.clone(), outbox: outbox.downgrade(), settled };
        let session = Session::client(config.clone(), &*dial.name);
        let task = tokio::spawn(async move { run(session, receiver, receipts, &mut app).await });
        Self { dial, outbox, task }
    }

    pub fn send(&self, to: &str, number: u32, padding: usize) {
        let body = "x".repeat(padding);
        let from = &self.dial.name;
        let stanza = format!("<message to='{to}' from='{from}' id='{number}'><body>{body}</body></message>");
        self.outbox.send(stanza.into()).expect("the client runs");
    }

    pub fn got(&self) -> Vec<(u32, String, u32)> {
        self.dial.state.lock().unwrap().got.clone()
    }

    /// The numbers of what has arrived.
    pub fn numbers(&self) -> Vec<u32> {
        self.got().into_iter().map(|(_, _, number)| number).collect()
    }
}
