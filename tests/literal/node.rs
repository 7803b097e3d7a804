//! Two nodes around the documented loop, over one store that fails.

mod leaves;
mod meets;

use std::collections::HashMap;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use minidom::Element;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use xmpp_sm::snapshot::{Ledger, Limits, Promise, Snapshot, SnapshotError, Version};
use xmpp_sm::{
    AsyncSessionStore, Claim, Config, Counter, Early, EndReason, LoginStep, Lookup, MemoryStore, NS as SM, Parking,
    Parting, Receipt, Record, Refused, Registration, SmId, Unbound, Write,
};

use crate::conn::{Conn, HEADER, inbound};
use crate::faulty::{Failed, Fault, Faulty};
use crate::net::{CLIENT, Link, SERVER};
use crate::node_loop::{self, Asked, Done, Mail, Rest, Shared, adopt, find, serve};
use crate::now;
use crate::raw::Raw;
use crate::traffic::config;
use crate::xml::to_bytes;

const SECOND: Duration = Duration::from_secs(1);
const WELL: &[Fault] = &[Fault::None];
const POORLY: &[Fault] = &[Fault::After, Fault::None, Fault::Slow, Fault::Before, Fault::None];

type Mailbox = UnboundedSender<Mail<Conn>>;

/// What all nodes have in common.
struct Cluster {
    store: Faulty<MemoryStore<Bytes>>,
    inner: Mutex<Inner>,
    number: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// Where the session of each user is.
    places: HashMap<String, (&'static str, Mailbox)>,
    /// Where each session is that can be resumed.
    sessions: HashMap<SmId, (&'static str, Mailbox)>,
    offline: HashMap<String, Vec<Bytes>>,
    /// Who waits until a session is let go.
    waiting: HashMap<SmId, Vec<(Counter, oneshot::Sender<Asked>)>>,
    set_aside: u32,
    /// How many sessions the store knew of when stanzas were last passed on.
    known: usize,
    tasks: Vec<(&'static str, AbortHandle)>,
}

#[derive(Clone)]
struct Node {
    name: &'static str,
    cluster: Arc<Cluster>,
    config: Arc<Config>,
    promise: Promise,
    /// What its sessions are written in.
    version: Arc<Mutex<Version>>,
    /// It hears nothing of what other nodes ask.
    hangs: Arc<AtomicBool>,
    /// It passes nothing on.
    is_dying: Arc<AtomicBool>,
    /// What it keeps of each of its sessions.
    state: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone)]
struct Host {
    node: Node,
    owner: Arc<str>,
    mailbox: Mailbox,
}

impl Cluster {
    fn deliver(&self, to: &str, stanza: Bytes, done: Done) {
        let mut inner = self.inner.lock().unwrap();
        let unsent = match inner.places.get(to) {
            Some((_, mailbox)) => mailbox.send(Mail::Deliver(stanza, done)).err().map(|unsent| unsent.0),
            None => Some(Mail::Deliver(stanza, done)),
        };
        if let Some(Mail::Deliver(stanza, done)) = unsent {
            inner.offline.entry(to.to_owned()).or_default().push(stanza);
            done();
        }
    }

    fn arrive(&self, node: &'static str, owner: &str, mailbox: &Mailbox) {
        let mut inner = self.inner.lock().unwrap();
        inner.places.insert(owner.to_owned(), (node, mailbox.clone()));
        for stanza in inner.offline.remove(owner).unwrap_or_default() {
            let _ = mailbox.send(Mail::Deliver(stanza, Box::new(|| ())));
        }
    }

    fn write_to(&self, to: &str, number: u32) {
        self.deliver(to, format!("<message from='x' to='{to}' id='{number}'/>").into(), Box::new(|| ()));
    }

    fn mail(&self, id: &str, mail: Mail<Conn>) {
        let sessions = &self.inner.lock().unwrap().sessions;
        sessions[&SmId::new(id).unwrap()].1.send(mail).unwrap_or_else(|_| panic!("it is there"));
    }

    async fn lookup(&self, owner: &str, id: &str) -> Lookup<Bytes> {
        AsyncSessionStore::lookup(self.store.inner(), &SmId::new(id).unwrap(), owner, now()).await.unwrap()
    }

    fn offline(&self, owner: &str) -> usize {
        self.inner.lock().unwrap().offline.get(owner).map_or(0, Vec::len)
    }
}

impl Node {
    fn pair(promise: Promise, config: Config, faults: &'static [Fault]) -> [Self; 2] {
        let config = Arc::new(config);
        let store = Faulty::new(MemoryStore::new(&config), faults);
        let cluster = Arc::new(Cluster { store, inner: Mutex::default(), number: AtomicU64::new(0) });
        ["a", "b"].map(|name| Self {
            name,
            cluster: cluster.clone(),
            config: config.clone(),
            promise,
            version: Arc::default(),
            hangs: Arc::default(),
            is_dying: Arc::default(),
            state: Arc::default(),
        })
    }

    fn host(&self, owner: &Arc<str>, mailbox: &Mailbox) -> Host {
        Host { node: self.clone(), owner: owner.clone(), mailbox: mailbox.clone() }
    }

    fn accept(&self, link: &Link) {
        let (node, mut conn) = (self.clone(), Conn::new(link.end(SERVER)));
        tokio::spawn(async move {
            let auth = conn.element().await.expect("who it is");
            let owner = auth.attr("user").expect("who it is").to_owned();
            conn.say(format!("{HEADER}<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>"));
            let stream = Unbound::new(node.config.clone(), owner);
            node.log_in(stream, conn).await;
        });
    }

    async fn log_in(self, mut stream: Unbound, mut conn: Conn) {
        loop {
            let Ok(Ok(element)) = timeout(30 * SECOND, conn.element()).await else { return };
            match stream.handle(inbound(&element), now()) {
                Ok(Early::Stanza) => {
                    conn.say("<iq type='result' id='b'/>");
                    let (mailbox, receiver) = unbounded_channel();
                    let host = self.host(stream.owner(), &mailbox);
                    self.cluster.arrive(self.name, &host.owner, &mailbox);
                    let shared = Shared { registration: None, ledger: Ledger::new(self.promise) };
                    let task = tokio::spawn(serve(stream.bind(conn), receiver, shared, host)).abort_handle();
                    return self.cluster.inner.lock().unwrap().tasks.push((self.name, task));
                }
                Ok(Early::Resume(request)) => {
                    let owner = stream.owner().clone();
                    let Ok(taker) = stream.into_taker(request, conn) else { unreachable!() };
                    let here = self.cluster.inner.lock().unwrap().sessions.get(taker.previd()).cloned();
                    let taker = match here.filter(|(node, _)| *node == self.name) {
                        Some((_, mailbox)) => match mailbox.send(Mail::Take(taker)) {
                            Err(tokio::sync::mpsc::error::SendError(Mail::Take(taker))) => taker,
                            _ => return,
                        },
                        None => taker,
                    };
                    let host = self.host(&owner, &unbounded_channel().0);
                    tokio::spawn(find(taker, host));
                    return;
                }
                Ok(Early::Write(nonza)) => conn.write(Write::Nonza(&nonza)),
                other => unreachable!("{other:?}"),
            }
        }
    }

    /// `kill -9`.
    fn kill(&self) {
        let mut inner = self.cluster.inner.lock().unwrap();
        inner.tasks.extract_if(.., |(node, _)| *node == self.name).for_each(|(_, task)| task.abort());
        inner.places.retain(|_, (node, _)| *node != self.name);
        inner.sessions.retain(|_, (node, _)| *node != self.name);
    }

    /// What a node does with each session that a dead one has left.
    async fn adopt(&self, owner: &str, id: &str) {
        let left = self.cluster.lookup(owner, id).await.session().unwrap().registration;
        tokio::spawn(adopt(left, self.host(&"".into(), &unbounded_channel().0)));
    }

    async fn connect(&self, name: &str) -> Raw {
        let link = Link::new(4096, Duration::from_millis(5), &Arc::new(AtomicU32::new(0)));
        self.accept(&link);
        let mut raw = Raw { conn: Conn::new(link.end(CLIENT)), link };
        raw.conn.say(format!("{HEADER}<auth xmlns='urn:example:auth' user='{name}'/>"));
        assert_eq!(raw.read().await.name(), "features");
        raw
    }

    async fn online(&self, name: &str) -> (Raw, String) {
        let mut raw = self.connect(name).await;
        let id = raw.bind(true).await.expect("it can be resumed");
        raw.write(SECOND).await; // its presence
        (raw, id)
    }

    /// A client comes with its former session, as often as it is told that nobody knows. Returns what it is told in the end.
    async fn resume(&self, name: &str, id: &str, h: u32) -> (Raw, Element) {
        for _ in 0..20 {
            let mut raw = self.connect(name).await;
            let reply = raw.resume(id, h).await;
            if !reply.has_child("internal-server-error", xmpp_parsers::ns::XMPP_STANZAS) {
                return (raw, reply);
            }
            sleep(SECOND).await;
        }
        panic!("nobody knows for ever");
    }
}

impl node_loop::Host for Host {
    type Connection = Conn;
    type Store = Faulty<MemoryStore<Bytes>>;

    fn store(&self) -> &Self::Store {
        &self.node.cluster.store
    }

    fn config(&self) -> &Arc<Config> {
        &self.node.config
    }

    fn promise(&self) -> Promise {
        self.node.promise
    }

    fn handle(&self) -> Bytes {
        format!("{}/{}", self.node.name, self.node.cluster.number.fetch_add(1, Ordering::Relaxed)).into()
    }

    fn version(&self) -> Version {
        *self.node.version.lock().unwrap()
    }

    fn registered(&self, registration: &Registration) {
        let session = (self.node.name, self.mailbox.clone());
        self.node.cluster.inner.lock().unwrap().sessions.insert(registration.smid().clone(), session);
    }

    fn state(&self) -> Vec<u8> {
        self.node.state.lock().unwrap().clone()
    }

    fn revived(&self, registration: &Registration, state: &[u8], mailbox: Mailbox) -> Self {
        let host = self.node.host(registration.owner(), &mailbox);
        *self.node.state.lock().unwrap() = state.into();
        host.registered(registration);
        self.node.cluster.arrive(self.node.name, &host.owner, &mailbox);
        host
    }

    fn route(&self, stanza: Element, receipt: Receipt) {
        let mailbox = self.mailbox.clone();
        let done: Done = Box::new(move || drop(mailbox.send(Mail::Settled(receipt))));
        match stanza.attr("to") {
            Some(to) => self.node.cluster.deliver(to, to_bytes(&stanza), done),
            None => done(),
        }
    }

    fn part(&self, connection: Conn, parting: Parting) {
        connection.part(parting);
    }

    fn log_in(&self, refused: Refused<Conn>) {
        let Refused { step: LoginStep::Failed { failed, stream }, mut connection } = refused else { unreachable!() };
        connection.write(Write::Nonza(&failed));
        tokio::spawn(self.node.clone().log_in(stream, connection));
    }

    fn end(&self, displaced: Record<Bytes>) {
        let inner = self.node.cluster.inner.lock().unwrap();
        if let Some((_, mailbox)) = inner.sessions.get(displaced.registration.smid()) {
            let _ = mailbox.send(Mail::End(EndReason::Replaced));
        }
    }

    async fn ask_to_let_go(&self, session: &Record<Bytes>, h: Counter) -> Asked {
        let place = self.node.cluster.inner.lock().unwrap().sessions.get(session.registration.smid()).cloned();
        let is_there = |node: &str| session.handle.starts_with(format!("{node}/").as_bytes());
        let Some((_, mailbox)) = place.filter(|(node, _)| is_there(node)) else { return Asked::Dead };
        let (answer, answered) = oneshot::channel();
        let smid = session.registration.smid().clone();
        self.node.cluster.inner.lock().unwrap().waiting.entry(smid).or_default().push((h, answer));
        if !self.node.hangs.load(Ordering::Relaxed) {
            let _ = mailbox.send(Mail::LetGo(Some(h)));
        }
        let answer = timeout(3 * SECOND, answered).await;
        answer.ok().and_then(Result::ok).unwrap_or(Asked::Free)
    }

    fn keep(&self, session: &Shared, h: Counter) {
        self.answer(session, Some(h), Asked::Kept);
    }

    fn let_go(&self, session: Shared, mailbox: UnboundedReceiver<Mail<Conn>>) {
        let mut inner = self.node.cluster.inner.lock().unwrap();
        inner.places.remove(&*self.owner);
        let smid = session.registration.as_ref().expect("it is shared").smid().clone();
        inner.sessions.remove(&smid);
        drop(inner);
        self.answer(&session, None, Asked::Free);
        self.send_on(mailbox);
    }

    async fn pass_on(&self, stanzas: Vec<Bytes>, rest: Rest<Conn>, to: Option<Registration>) {
        if self.node.is_dying.load(Ordering::Relaxed) {
            pending().await
        }
        let cluster = &self.node.cluster;
        let mut inner = cluster.inner.lock().unwrap();
        inner.sessions.retain(|_, (_, mailbox)| !mailbox.same_channel(&self.mailbox));
        if to.is_none() {
            inner.known = cluster.store.inner().len();
            inner.places.retain(|_, (_, mailbox)| !mailbox.same_channel(&self.mailbox));
        }
        drop(inner);
        stanzas.into_iter().for_each(|stanza| cluster.deliver(&self.owner, stanza, Box::new(|| ())));
        rest.owed.into_iter().for_each(|done| done());
        self.send_on(rest.mailbox);
    }

    fn set_aside(
        &self,
        _: &Registration,
        _: Bytes,
        _: Vec<Bytes>,
        _: SnapshotError,
    ) -> impl Future<Output = ()> + Send {
        self.node.cluster.inner.lock().unwrap().set_aside += 1;
        ready(())
    }

    fn is_final(&self, error: &Failed<xmpp_sm::StoreError>) -> bool {
        *error != Failed::Unknown || self.node.cluster.store.is_full.load(Ordering::Relaxed)
    }
}

impl Host {
    /// Who has asked for a session is told; or of these only who has asked with that `h`.
    fn answer(&self, session: &Shared, h: Option<Counter>, answer: Asked) {
        let smid = session.registration.as_ref().expect("it is shared").smid();
        let mut inner = self.node.cluster.inner.lock().unwrap();
        let Some(asking) = inner.waiting.get_mut(smid) else { return };
        for (_, asked) in asking.extract_if(.., |(asked, _)| h.is_none_or(|h| h == *asked)) {
            let _ = asked.send(answer);
        }
    }

    fn send_on(&self, mut mailbox: UnboundedReceiver<Mail<Conn>>) {
        mailbox.close();
        while let Ok(mail) = mailbox.try_recv() {
            match mail {
                Mail::Deliver(stanza, done) => self.node.cluster.deliver(&self.owner, stanza, done),
                Mail::Take(taker) => drop(tokio::spawn(find(taker, self.clone()))),
                Mail::Settled(_) | Mail::End(_) | Mail::LetGo(_) | Mail::Changed => {}
            }
        }
    }
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test());
}

/// The numbers of the messages that come next.
async fn numbers(raw: &mut Raw) -> Vec<u32> {
    raw.numbers(10 * SECOND).await
}

#[test]
fn a_killed_node_loses_nothing_that_it_kept_durably() {
    for faults in [WELL, POORLY] {
        for killed_after in [0, 3, 7, 20, 100, 3000] {
            run(async || {
                let [a, b] = Node::pair(Promise::Durable, config(), faults);
                let (mut alice, of_alice) = a.online("alice").await;
                let (mut bob, of_bob) = a.online("bob").await;
                let all = 1..=20;
                all.clone().for_each(|number| {
                    alice.conn.say(format!("<message from='alice' to='bob' id='{number}'/>"));
                });
                let (_, mut had) = tokio::join!(alice.write(SECOND), bob.numbers(Duration::from_millis(killed_after)));
                a.kill();
                // What was on its way out still arrives.
                had.extend(bob.numbers(SECOND).await);
                drop((alice, bob));
                let (mut alice, resumed) = b.resume("alice", &of_alice, 0).await;
                assert_eq!(resumed.name(), "resumed");
                let (mut bob, is_resumed) = b.resume("bob", &of_bob, had.len() as u32).await;
                assert_eq!(is_resumed.name(), "resumed", "{killed_after}");
                let h: u32 = resumed.attr("h").unwrap().parse().unwrap();
                // The presence counts.
                for number in h.max(1)..=20 {
                    alice.conn.say(format!("<message from='alice' to='bob' id='{number}'/>"));
                }
                let (_, new) = tokio::join!(alice.write(SECOND), numbers(&mut bob));
                let mut got = [had, new].concat();
                let doubled = got.len();
                got.sort_unstable();
                got.dedup();
                assert_eq!(got, all.collect::<Vec<_>>(), "killed after {killed_after}");
                assert!(doubled - got.len() <= 20);
            });
        }
    }
}

#[test]
fn a_node_lets_go_of_a_session_whose_client_is_at_another() {
    for (promise, faults) in
        [(Promise::Memory, WELL), (Promise::Parked, WELL), (Promise::Parked, POORLY), (Promise::Durable, POORLY)]
    {
        run(async || {
            let [a, b] = Node::pair(promise, config(), faults);
            let (alice, id) = a.online("alice").await;
            let (a_cluster, numbers_in) = (a.cluster.clone(), 1..=30);
            let write = async {
                for number in numbers_in.clone() {
                    a_cluster.write_to("alice", number);
                    sleep(Duration::from_millis(100)).await;
                }
            };
            let come_back = async {
                sleep(SECOND).await;
                drop(alice);
                let (mut alice, resumed) = b.resume("alice", &id, 0).await;
                assert_eq!(resumed.name(), "resumed");
                alice.numbers(10 * SECOND).await
            };
            let ((), got) = tokio::join!(write, come_back);
            assert_eq!(got, numbers_in.collect::<Vec<_>>(), "{promise:?}");
        });
    }
}

#[test]
fn a_node_that_hangs_finds_that_it_has_lost_a_session_and_what_it_had_not_written_down_follows() {
    run(async || {
        let [a, b] = Node::pair(Promise::Durable, config(), WELL);
        let (mut alice, id) = a.online("alice").await;
        b.hangs.store(true, Ordering::Relaxed); // what it asks is not heard
        a.cluster.write_to("alice", 1);
        assert_eq!(alice.numbers(SECOND).await, [1]);
        let mailbox = a.cluster.inner.lock().unwrap().places["alice"].1.clone();
        let (mut again, resumed) = b.resume("alice", &id, 1).await;
        assert_eq!(resumed.name(), "resumed");
        // A node that has not heard of it delivers where the session was.
        let done = Arc::new(AtomicBool::new(false));
        let is_done = done.clone();
        let message = "<message from='x' to='alice' id='2'/>".into();
        let call = Box::new(move || is_done.store(true, Ordering::Relaxed));
        mailbox.send(Mail::Deliver(message, call)).unwrap_or_else(|_| panic!("it is there"));
        assert_eq!(again.numbers(SECOND).await, [2]);
        assert!(done.load(Ordering::Relaxed));
        assert!(alice.numbers(SECOND).await.is_empty(), "nothing that is not written down goes out");
        assert!(alice.conn.element().await.is_err(), "its client is left");
    });
}

#[test]
fn a_session_that_is_over_leaves_its_h_and_its_stanzas() {
    for faults in [WELL, POORLY] {
        run(async || {
            let config = config().resume_timeout(Some(2 * SECOND));
            let [a, b] = Node::pair(Promise::Durable, config, faults);
            let (alice, id) = a.online("alice").await;
            sleep(10 * SECOND).await;
            drop(alice);
            a.cluster.write_to("alice", 1);
            sleep(20 * SECOND).await;
            assert_eq!(a.cluster.offline("alice"), 1);
            assert_ne!(a.cluster.inner.lock().unwrap().known, 0, "it is kept until they are elsewhere");
            let (_, failed) = b.resume("alice", &id, 0).await;
            assert_eq!((failed.name(), failed.attr("h")), ("failed", Some("1")), "{SM}");
        });
    }
}

#[test]
fn a_session_that_does_not_fit_leaves_its_stanzas_to_its_user() {
    run(async || {
        let [a, mut b] = Node::pair(Promise::Durable, config(), WELL);
        b.config = Arc::new(config().buffer_max(1.try_into().unwrap()).backlog_max(1.try_into().unwrap()));
        let (alice, id) = a.online("alice").await;
        for number in 1..=5 {
            a.cluster.write_to("alice", number);
        }
        sleep(SECOND).await;
        a.kill();
        drop(alice);
        let (_, failed) = b.resume("alice", &id, 0).await;
        assert_eq!((failed.name(), failed.attr("h")), ("failed", Some("1")));
        assert_eq!(a.cluster.offline("alice"), 5);
        let inner = a.cluster.inner.lock().unwrap();
        assert_eq!((inner.set_aside, inner.known), (0, 1), "it is kept until they are elsewhere");
    });
}

#[test]
fn a_take_over_is_three_calls() {
    run(async || {
        let [a, b] = Node::pair(Promise::Parked, config(), WELL);
        let (alice, id) = a.online("alice").await;
        drop(alice);
        a.cluster.write_to("alice", 1);
        sleep(SECOND).await;
        a.kill();
        let before = a.cluster.store.calls();
        let (mut alice, resumed) = b.resume("alice", &id, 0).await;
        assert_eq!(resumed.name(), "resumed");
        assert_eq!(alice.numbers(SECOND).await, [1]);
        assert_eq!(a.cluster.store.calls() - before, 3, "lookup, claim, unpark");
    });
}

#[test]
fn what_has_changed_is_written_anew() {
    for (version, number) in [(Version::V2, 2), (Version::V1, 1)] {
        run(async || {
            let [a, _b] = Node::pair(Promise::Durable, config(), WELL);
            let (_alice, id) = a.online("alice").await;
            *a.version.lock().unwrap() = version;
            *a.state.lock().unwrap() = b"balcony".into();
            a.cluster.mail(&id, Mail::Changed);
            sleep(SECOND).await;
            let left = a.cluster.lookup("alice", &id).await.session().unwrap().registration;
            let claim = a.cluster.store.inner().claim(&left, Bytes::new(), now()).await.unwrap();
            let Claim::Claimed(claimed) = claim else { unreachable!() };
            assert!(claimed.journal.is_empty());
            assert_eq!(claimed.snapshot[7..9], [0, number], "field 0: the version");
            let clocks = (now(), std::time::SystemTime::now());
            let read = Snapshot::<Bytes>::from_bytes(&claimed.snapshot, &Limits::default(), clocks.0, clocks.1);
            assert_eq!(read.unwrap().host, b"balcony");
        });
    }
}
