//! A host of threads that block, as small as it gets, on pipes in memory. Its lines are counted.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use minidom::Element;
use xmpp_sm::{
    Arrival, Config, Early, EndReason, Event, Inbound, LoginStep, MemoryStore, Offer, Parting, Refused, Session,
    SessionStore, SmId, Taker, Unbound, Write,
};

use crate::rng::Rng;

const NS: &str = "jabber:client";
const OWNER: &str = "juliet@example.com";
const SERVER: usize = 0;
const CLIENT: usize = 1;
const CUTS: u32 = 300;
const OFFER: Offer = Offer { stream_management: true, binds: true };
/// The request and its result.
const BIND: &str = "<iq xmlns='jabber:client'/>";
const PATIENCE: Duration = Duration::from_secs(60);

/// One side of a connection: elements as text, until it is cut.
struct Pipe {
    number: u32,
    to: Sender<String>,
    from: Option<Receiver<String>>,
    /// How many more elements it takes, both ways.
    life: Arc<AtomicU64>,
}

impl Pipe {
    fn pair(number: u32, life: u64) -> (Self, Self) {
        let (life, (to_b, from_a), (to_a, from_b)) = (Arc::new(AtomicU64::new(life)), channel(), channel());
        let a = Self { number, to: to_b, from: Some(from_b), life: life.clone() };
        (a, Self { number, to: to_a, from: Some(from_a), life })
    }

    fn write(&self, text: &str) {
        let left = self.life.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |life| life.checked_sub(1));
        if left.is_ok_and(|left| left > 1) {
            let _ = self.to.send(text.to_owned());
        }
    }

    fn push(&self, item: Write<'_, String>) {
        match item {
            Write::Stanza { stanza, .. } => self.write(stanza),
            Write::Nonza(nonza) => self.write(&nonza.to_string()),
            Write::StreamError(error) => self.write(&error.to_string()),
            Write::Close => self.write("</stream:stream>"),
            _ => {}
        }
    }

    /// What comes, until the connection is cut. What is on its way then is lost.
    fn read(from: &Receiver<String>, life: &AtomicU64) -> Option<String> {
        while life.load(Ordering::SeqCst) > 0 {
            match from.recv_timeout(Duration::from_millis(1)) {
                Ok(text) => return Some(text),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        None
    }
}

/// What a server and a client have beside their session.
struct Host {
    store: MemoryStore<Sender<Mail>>,
    config: Arc<Config>,
    rng: Mutex<Rng>,
    connections: AtomicU32,
    /// What each side got.
    got: [Mutex<Vec<u32>>; 2],
    /// The way to the server's session.
    mailbox: Mutex<Option<Sender<Mail>>>,
}

impl Host {
    /// A connection to the server, authenticated.
    fn dial(self: &Arc<Self>) -> Pipe {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        // The first one lives until there is a session to resume.
        let least = if number == 0 { 1000 } else { 1 };
        let life = if number < CUTS { least + self.rng.lock().unwrap().below(40) } else { u64::MAX };
        let (client, server) = Pipe::pair(number, life);
        self.listen(Unbound::new(self.config.clone(), OWNER), server);
        client
    }

    fn listen(self: &Arc<Self>, stream: Unbound, pipe: Pipe) {
        let host = self.clone();
        thread::spawn(move || host.log_in(stream, pipe));
    }

    fn handle(&self, stanza: &Element, side: usize) {
        if let Some(id) = stanza.attr("id") {
            self.got[side].lock().unwrap().push(id.parse().unwrap());
        }
    }
}

// The host begins.

type Mailbox = (Sender<Mail>, Receiver<Mail>);

enum Mail {
    Input(u32, Option<String>),
    Send(String),
    Take(Taker<Pipe>),
    Close,
}

/// Reads a connection in a thread of its own, into the mailbox of the session.
fn start(pipe: &mut Pipe, mailbox: &Sender<Mail>) {
    let Some(from) = pipe.from.take() else { return }; // it runs
    let (number, life, mailbox) = (pipe.number, pipe.life.clone(), mailbox.clone());
    thread::spawn(move || {
        while let Some(text) = Pipe::read(&from, &life) {
            let _ = mailbox.send(Mail::Input(number, Some(text)));
        }
        let _ = mailbox.send(Mail::Input(number, None));
    });
}

/// The life of a session, the server's or the client's. A stanza is settled before the next one is read.
fn serve(mut session: Session<String, Pipe>, (me, mailbox): &Mailbox, host: &Arc<Host>, side: usize) {
    let mut binding = None;
    loop {
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting: Parting::Say(last), .. } => {
                    last.error.into_iter().for_each(|error| connection.write(&error.to_string()));
                }
                Event::Refused(refused) => host.continue_login(refused),
                Event::Bind(token) => {
                    session.connection().into_iter().for_each(|pipe| pipe.write(BIND));
                    binding = Some(token);
                }
                Event::Ended(ended) => return assert_eq!(ended.stanzas.len(), 0),
                _ => {}
            }
        }
        if side == CLIENT && session.connection().is_none() {
            let _ = session.connect(OWNER, OFFER, host.dial(), Instant::now());
            continue;
        }
        session.connection_mut().into_iter().for_each(|pipe| start(pipe, me));
        while let Some((pipe, item)) = session.next_write(Instant::now()) {
            pipe.push(item);
        }
        let wait = session.deadline().map_or(PATIENCE, |at| at.saturating_duration_since(Instant::now()));
        let (mail, now) = (mailbox.recv_timeout(wait), Instant::now());
        match mail {
            // Of a connection that is gone.
            Ok(Mail::Input(number, _)) if session.connection().is_none_or(|pipe| pipe.number != number) => {}
            Ok(Mail::Input(_, text)) => match text.map(|text| text.parse()) {
                None => session.lost(now),
                Some(Err(_)) => session.peer_closed(now),
                Some(Ok(element)) => match session.handle(Inbound::from_element(&element, NS), now) {
                    Ok(Arrival::Stanza(receipt)) => {
                        binding.take().map(|token| session.bound(token, now));
                        host.handle(&element, side);
                        let _ = session.settle(receipt, now);
                    }
                    Ok(Arrival::Enable(request)) => {
                        let smid = SmId::random().ok();
                        let smid =
                            smid.filter(|smid| host.store.register(smid, &OWNER.into(), me.clone(), now).is_ok());
                        let _ = session.accept_enable(request, smid, now);
                    }
                    _ => {}
                },
            },
            Ok(Mail::Send(stanza)) => drop(session.send(stanza, now)),
            Ok(Mail::Take(taker)) => session.take(taker, now),
            Ok(Mail::Close) => session.close(EndReason::Closed, None, now),
            Err(_) => session.timeout(now),
        }
    }
}

impl Host {
    fn continue_login(self: &Arc<Self>, refused: Refused<Pipe>) {
        let Refused { step: LoginStep::Failed { failed, stream }, connection } = refused else { unreachable!() };
        connection.write(&failed.to_string());
        self.listen(stream, connection);
    }

    /// A stream of the server's before it has a session.
    fn log_in(self: Arc<Self>, mut stream: Unbound, pipe: Pipe) {
        while let Some(text) = pipe.from.as_ref().and_then(|from| Pipe::read(from, &pipe.life)) {
            let Ok(element) = text.parse() else { return };
            match stream.handle(Inbound::from_element(&element, NS), Instant::now()) {
                Ok(Early::Stanza) => {
                    pipe.write(BIND);
                    let mailbox = channel();
                    *self.mailbox.lock().unwrap() = Some(mailbox.0.clone());
                    return serve(stream.bind(pipe), &mailbox, &self, SERVER);
                }
                Ok(Early::Resume(request)) => {
                    let Ok(taker) = stream.into_taker(request, pipe) else { return };
                    let found = self.store.lookup(taker.previd(), OWNER, Instant::now()).expect("a store in memory");
                    return match found.session() {
                        Ok(found) => drop(found.handle.send(Mail::Take(taker))),
                        Err(why) => self.continue_login(taker.refuse(why)),
                    };
                }
                _ => {}
            }
        }
    }
}

// The host ends.

#[test]
fn three_hundred_cuts_in_a_host_of_threads() {
    // On a busy machine many connections in a row are cut before anything is read. There is one session to the end.
    let config = Arc::new(Config::default().resume_tries_max(NonZeroU32::MAX));
    let host = Arc::new(Host {
        store: MemoryStore::new(&config),
        config: config.clone(),
        rng: Mutex::new(Rng(7)),
        connections: AtomicU32::new(0),
        got: Default::default(),
        mailbox: Mutex::default(),
    });
    let (mailbox, for_client) = (channel(), host.clone());
    let client = mailbox.0.clone();
    let session = Session::client(config, OWNER);
    let thread = thread::spawn(move || serve(session, &mailbox, &for_client, CLIENT));
    let message = |id: u32| Mail::Send(format!("<message xmlns='{NS}' id='{id}'/>"));
    let start = Instant::now();
    let server = loop {
        if let Some(server) = host.mailbox.lock().unwrap().clone() {
            break server;
        }
        thread::sleep(Duration::from_millis(1));
    };
    let mut sent = 0;
    while host.connections.load(Ordering::SeqCst) <= CUTS {
        assert!(start.elapsed() < PATIENCE, "{} connections", host.connections.load(Ordering::SeqCst));
        client.send(message(sent)).unwrap();
        server.send(message(sent)).unwrap();
        sent += 1;
        let is_behind = || host.got.iter().any(|got| got.lock().unwrap().len() + 40 < sent as usize);
        while is_behind() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_micros(200));
        }
    }
    while host.got.iter().any(|got| got.lock().unwrap().len() < sent as usize) && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(50));
    client.send(Mail::Close).unwrap();
    thread.join().unwrap();
    let all: Vec<u32> = (0..sent).collect();
    for got in &host.got {
        let connections = host.connections.load(Ordering::SeqCst);
        assert!(*got.lock().unwrap() == all, "{:?} of {sent}, {connections} connections", got.lock().unwrap());
    }
    println!("threads: {CUTS} cuts, {sent} messages each way: 0 lost, 0 doubled, {:?}", start.elapsed());
}

#[test]
fn the_host_of_threads_is_short() {
    let text = include_str!("threads.rs");
    let (_, host) = text.split_once("// The host begins.\n").unwrap();
    let (host, _) = host.split_once("// The host ends.\n").unwrap();
    let lines = host.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(lines <= 100, "{lines} lines");
}
