//! The tasks that own a session, each with a mailbox, as `SessionStore` and `Detached` are meant to be used:
//! the store says which mailbox, the session itself moves as a message, and what reaches the former owner
//! late is passed on. Whoever wins, one task has the session in the end, and no stanza is lost or doubled.
//!
//! Stanzas that one router sends by two ways, through the old owner's mailbox and then straight to the new
//! one's, may overtake each other: their order is the host's affair, and not checked here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loom::sync::{Arc, Condvar, Mutex};
use xmpp_sm::{
    Action, Config, Counter, Detached, Disconnected, Inbound, Lookup, MemoryStore, Nonza, Parts, Refusal, Registration,
    Resume, SessionStore, SmId, StaleH, StreamMgmt,
};

/// How long the session waits, detached.
const WINDOW: Duration = Duration::from_secs(600);

const JULIET: &str = "juliet@example.com";

/// A stanza of four bytes.
type Stanza = &'static str;

type Handle = usize;

enum Mail {
    Stanza(Stanza),
    /// Another connection wants the session.
    TakeOver {
        h: Counter,
        to: Handle,
    },
    /// It has it.
    Moved(Box<Detached<Stanza>>),
    /// It cannot have it; without a reason, it is not here any more.
    No(Option<Refusal>),
    /// The session's time is over.
    Expire,
    /// A connection has the session, or was refused.
    Done,
    Stop,
}

#[derive(Default)]
struct Mailbox {
    mail: Mutex<VecDeque<Mail>>,
    there: Condvar,
}

impl Mailbox {
    fn send(&self, mail: Mail) {
        self.mail.lock().expect("no thread panics with the lock").push_back(mail);
        self.there.notify_one();
    }

    fn receive(&self) -> Mail {
        let mut mail = self.mail.lock().expect("no thread panics with the lock");
        loop {
            match mail.pop_front() {
                Some(mail) => return mail,
                None => mail = self.there.wait(mail).expect("no thread panics with the lock"),
            }
        }
    }
}

/// What the tasks share. The last mailbox is the test's own.
struct Host {
    boxes: [Mailbox; 4],
    store: MemoryStore<Handle>,
    config: std::sync::Arc<Config>,
    now: Instant,
}

const OLD: Handle = 0;
const MAIN: Handle = 3;

fn smid() -> SmId {
    SmId::new("smid").expect("a text that XML can carry")
}

enum Session {
    None,
    On(StreamMgmt<Stanza>),
    Off(Detached<Stanza>),
}

/// The task of one connection.
struct Task {
    me: Handle,
    host: Arc<Host>,
    session: Session,
    registration: Option<Registration>,
    successor: Option<Handle>,
    /// Mail that came before its time.
    deferred: VecDeque<Mail>,
    lost: Vec<Stanza>,
}

impl Task {
    fn new(me: Handle, host: Arc<Host>) -> Self {
        let deferred = VecDeque::new();
        Self { me, host, session: Session::None, registration: None, successor: None, deferred, lost: Vec::new() }
    }

    fn next_mail(&mut self) -> Mail {
        self.deferred.pop_front().unwrap_or_else(|| self.host.boxes[self.me].receive())
    }

    /// Owns the session until it is asked for it, and then passes its mail on.
    fn serve(mut self) -> Self {
        loop {
            match self.next_mail() {
                Mail::Stop => return self,
                Mail::Stanza(stanza) => self.route(stanza),
                Mail::TakeOver { h, to } => self.give(h, to),
                Mail::Expire => self.expire(),
                Mail::Moved(_) | Mail::No(_) | Mail::Done => panic!("nobody asked for this"),
            }
        }
    }

    fn route(&mut self, stanza: Stanza) {
        let now = self.host.now;
        match (&mut self.session, self.successor) {
            (Session::On(stream), _) => drop(stream.record_sent(stanza, now).expect("there is room")),
            (Session::Off(detached), _) => drop(detached.record_sent(stanza, now).expect("there is room")),
            (Session::None, Some(successor)) => self.host.boxes[successor].send(Mail::Stanza(stanza)),
            (Session::None, None) => self.lost.push(stanza),
        }
    }

    fn give(&mut self, h: Counter, to: Handle) {
        if let Some(successor) = self.successor {
            return self.host.boxes[successor].send(Mail::TakeOver { h, to });
        }
        let detached = match std::mem::replace(&mut self.session, Session::None) {
            Session::On(stream) => match stream.check_resume(h) {
                Ok(()) => match stream.disconnect(self.host.now) {
                    Disconnected::Resumable(detached) => detached,
                    Disconnected::Ended(ended) => panic!("checked, and not resumable: {ended:?}"),
                },
                Err(why) => {
                    self.session = Session::On(stream);
                    return self.host.boxes[to].send(Mail::No(Some(why)));
                }
            },
            Session::Off(detached) => detached,
            Session::None => return self.host.boxes[to].send(Mail::No(None)),
        };
        self.successor = Some(to);
        self.host.boxes[to].send(Mail::Moved(Box::new(detached)));
    }

    fn expire(&mut self) {
        match std::mem::replace(&mut self.session, Session::None) {
            Session::Off(detached) => {
                // The clock of this task is ahead of the others'.
                let now = self.host.now + WINDOW;
                let ended = detached.expire(now).expect("the deadline has come");
                let registration = self.registration.as_ref().expect("its owner has registered it");
                self.host.store.retire(registration, ended.h, now).expect("it does not fail");
                self.lost.extend(ended.unacked.map(|returned| returned.stanza));
            }
            session => self.session = session,
        }
    }

    /// Asks for the session, and serves it if it gets it.
    fn resume(mut self, h: u32) -> Self {
        let now = self.host.now;
        let mut stream = StreamMgmt::server(self.host.config.clone());
        stream.authenticated();
        let resume = Inbound::Nonza(Nonza::Resume(Resume { previd: smid(), h: h.into() }));
        let Ok(Action::Resume(request)) = stream.handle(resume, now) else { panic!("<resume/> may come") };
        match self.fetch(request.h()) {
            Ok(detached) => {
                drop(stream.accept_resume(request, detached, now).expect("nothing is wrong with it"));
                self.session = Session::On(stream);
                let registered =
                    self.host.store.register(&smid(), &JULIET.into(), self.me, now).expect("there is no cap");
                self.registration = Some(registered.registration);
            }
            Err(why) => drop(stream.refuse_resume(request, why).expect("its own request")),
        }
        self.host.boxes[MAIN].send(Mail::Done);
        self.serve()
    }

    /// Looks for the owner, as often as it takes, and waits for what it says. Mail for the session waits, too.
    fn fetch(&mut self, h: Counter) -> Result<Detached<Stanza>, Refusal> {
        loop {
            let found = self.host.store.lookup(&smid(), JULIET, self.host.now).expect("it does not fail").session()?;
            self.host.boxes[found.handle].send(Mail::TakeOver { h, to: self.me });
            let answer = loop {
                match self.host.boxes[self.me].receive() {
                    Mail::Moved(detached) => return Ok(*detached),
                    Mail::No(why) => break why,
                    mail => self.deferred.push_back(mail),
                }
            };
            if let Some(why) = answer {
                return Err(why);
            }
        }
    }
}

/// Everything that can happen to a session of the old owner: connections that ask for it, each with an `h`,
/// the end of its time, and a stanza for it.
#[derive(Clone, Copy)]
struct Scene {
    detached: bool,
    asks: &'static [u32],
    expires: bool,
    routes: bool,
}

#[test]
fn two_connections_race_for_an_open_stream() {
    run(Scene { detached: false, asks: &[0, 0], expires: false, routes: false });
}

#[test]
fn a_stanza_is_routed_while_the_session_moves() {
    run(Scene { detached: false, asks: &[0], expires: false, routes: true });
}

#[test]
fn a_wrong_h_races_with_a_right_one() {
    run(Scene { detached: false, asks: &[9, 0], expires: false, routes: false });
}

#[test]
fn a_resume_races_with_the_end_of_the_session() {
    run(Scene { detached: true, asks: &[0], expires: true, routes: true });
}

fn run(scene: Scene) {
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.max_branches = 100_000;
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        play(scene);
    });
    println!("{} interleavings", runs.load(Ordering::Relaxed));
}

/// The old owner, with a session that has one stanza unacknowledged.
fn old_owner(scene: Scene) -> Task {
    let stale_h = StaleH { enabled: true, ..StaleH::default() };
    let (config, now) = (std::sync::Arc::new(Config::default().stale_h(stale_h)), Instant::now());
    let (resume_timeout, deadline) = (Some(WINDOW), Some(now + WINDOW));
    let unacked = vec![("zero", now)];
    let parts = Parts { smid: smid(), deadline, resume_timeout, h: 0.into(), acked: 0.into(), unacked };
    let detached = Detached::from_parts(config.clone(), parts).unwrap_or_else(|_| panic!("there is room"));
    let store = MemoryStore::new(&config);
    let registered = store.register(&smid(), &JULIET.into(), OLD, now).expect("there is no cap");
    let host = Arc::new(Host { boxes: Default::default(), store, config: config.clone(), now });
    let mut old = Task::new(OLD, host);
    old.registration = Some(registered.registration);
    old.session = match scene.detached {
        true => Session::Off(detached),
        false => {
            let mut stream = StreamMgmt::server(config);
            stream.authenticated();
            let resume = Inbound::Nonza(Nonza::Resume(Resume { previd: smid(), h: 0.into() }));
            let Ok(Action::Resume(request)) = stream.handle(resume, now) else { panic!("<resume/> may come") };
            drop(stream.accept_resume(request, detached, now).expect("nothing is wrong with it"));
            Session::On(stream)
        }
    };
    old
}

fn play(scene: Scene) {
    let old = old_owner(scene);
    let host = old.host.clone();
    let mut tasks = vec![Some(loom::thread::spawn(move || old.serve()))];
    for (h, me) in scene.asks.iter().zip(1..) {
        let (task, h) = (Task::new(me, host.clone()), *h);
        tasks.push(Some(loom::thread::spawn(move || task.resume(h))));
    }
    let mut stanzas = Vec::new();
    if scene.expires {
        host.boxes[OLD].send(Mail::Expire);
    }
    if scene.routes {
        match host.store.lookup(&smid(), JULIET, host.now).expect("it does not fail") {
            Lookup::Session(record) => host.boxes[record.handle].send(Mail::Stanza("one")),
            _ => stanzas.push("one"),
        }
    }
    for _ in scene.asks {
        assert!(matches!(host.boxes[MAIN].receive(), Mail::Done));
    }
    let found = host.store.lookup(&smid(), JULIET, host.now).expect("it does not fail");
    // Who has the session stops last, so that all that is passed on to it arrives.
    let last = if let Lookup::Session(record) = &found { record.handle } else { OLD };
    let order = (0..tasks.len()).filter(|handle| *handle != last).chain([last]);
    let mut owners = Vec::new();
    for handle in order.collect::<Vec<_>>() {
        host.boxes[handle].send(Mail::Stop);
        let task = tasks[handle].take().expect("each stops once").join().expect("no task panics");
        stanzas.extend(task.lost);
        match task.session {
            Session::On(stream) => {
                owners.push(handle);
                stanzas.extend(stream.unacked().map(|queued| *queued.stanza));
                let _ = stream.end(xmpp_sm::EndReason::Stopped);
            }
            Session::Off(_) => panic!("nobody has detached it again"),
            Session::None => {}
        }
    }
    let left = host.boxes.iter().filter(|mail| !mail.mail.lock().expect("nobody panicked").is_empty()).count();
    assert_eq!(left, 0, "mail that nobody has read");
    match found {
        Lookup::Session(record) => {
            assert_eq!(owners, [record.handle], "who has the session and where the store says it is")
        }
        Lookup::StaleH(h) => assert!(scene.expires && h == Counter::ZERO && owners.is_empty(), "{owners:?}"),
        Lookup::NotFound => panic!("the store has forgotten the session"),
    }
    stanzas.sort_unstable();
    assert_eq!(stanzas, if scene.routes { vec!["one", "zero"] } else { vec!["zero"] });
}
