//! A server around the documented loop: accounts, a router, offline storage.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use minidom::Element;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use xmpp_sm::{
    Config, Early, EndReason, Fate, LoginStep, Lookup, MemoryStore, Parting, Receipt, Record, Refusal, Refused,
    Registration, SessionEnded, SessionStore, SmId, Unbound, Write,
};

use crate::conn::{Conn, HEADER, inbound};
use crate::net::{End, SERVER};
use crate::now;
use crate::rng::Rng;
use crate::server_loop::{self, Mail, resume, serve};
use crate::xml::to_bytes;

type Mailbox = UnboundedSender<Mail<Conn>>;

/// What becomes of a receipt.
#[derive(Clone, Copy, Debug)]
pub enum Receipts {
    AtOnce,
    /// Up to so many milliseconds later, in any order; one in so many is lost.
    Late {
        ms: u64,
        lost: Option<u64>,
    },
    Kept,
}

#[derive(Clone)]
pub struct Server(Arc<Shared>);

pub struct Shared {
    pub config: Arc<Config>,
    pub store: MemoryStore<(Mailbox, Arc<str>)>,
    inner: Mutex<Inner>,
}

pub struct Inner {
    pub users: HashMap<String, User>,
    registrations: HashMap<SmId, Registration>,
    rng: Rng,
    pub receipts: Receipts,
    /// Those of [`Receipts::Kept`].
    pub kept: Vec<(Mailbox, Receipt)>,
    /// The number of each message that was routed, by sender.
    pub routed: HashMap<String, Vec<u32>>,
    /// How each session ended, its last h, and how many stanzas it left.
    pub ended: Vec<(EndReason, u32, u32)>,
    /// How often each message may come once more.
    pub again: HashMap<(String, String, u32), u32>,
    pub registers: bool,
    next: u64,
    pub logins: u32,
    pub resumes: u32,
}

#[derive(Default)]
pub struct User {
    pub here: Option<Here>,
    /// The newest of the connections that have asked for the resource.
    newest: u64,
    pub offline: Vec<Bytes>,
}

pub struct Here {
    number: u64,
    pub mailbox: Mailbox,
    is_available: bool,
    pub task: Option<tokio::task::AbortHandle>,
}

/// The server, as one session sees it.
#[derive(Clone)]
pub struct Host {
    server: Server,
    owner: Arc<str>,
    number: u64,
    mailbox: Mailbox,
}

impl Server {
    pub fn new(config: Config, seed: u64, receipts: Receipts) -> Self {
        let store = MemoryStore::new(&config);
        let inner = Inner {
            users: HashMap::new(),
            registrations: HashMap::new(),
            rng: Rng(seed),
            receipts,
            kept: Vec::new(),
            routed: HashMap::new(),
            ended: Vec::new(),
            again: HashMap::new(),
            registers: true,
            next: 0,
            logins: 0,
            resumes: 0,
        };
        Self(Arc::new(Shared { config: Arc::new(config), store, inner: Mutex::new(inner) }))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    pub fn store(&self) -> &MemoryStore<(Mailbox, Arc<str>)> {
        &self.0.store
    }

    pub fn mail(&self, user: &str, mail: Mail<Conn>) -> bool {
        let inner = self.lock();
        let here = inner.users.get(user).and_then(|user| user.here.as_ref());
        here.is_some_and(|here| here.mailbox.send(mail).is_ok())
    }

    /// A connection has come.
    pub fn accept(&self, end: End) {
        assert_eq!(end.side(), SERVER);
        let server = self.clone();
        let mut conn = Conn::new(end);
        conn.number = self.count();
        tokio::spawn(async move {
            let Ok(Ok(auth)) = timeout(Duration::from_secs(30), conn.element()).await else { return };
            let owner = auth.attr("user").expect("who it is").to_owned();
            conn.say(format!("{HEADER}<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>"));
            server.lock().logins += 1;
            let stream = Unbound::new(server.0.config.clone(), owner);
            server.log_in(stream, conn).await;
        });
    }

    async fn log_in(self, mut stream: Unbound, mut conn: Conn) {
        loop {
            let Ok(Ok(element)) = timeout(Duration::from_secs(30), conn.element()).await else { return };
            match stream.handle(inbound(&element), now()) {
                Ok(Early::Stanza) => return self.bind(stream, conn, &element).await,
                Ok(Early::Resume(request)) => {
                    self.lock().resumes += 1;
                    let host = self.host(stream.owner());
                    let Some(refused) = resume(stream, request, conn, &host) else { return };
                    return server_loop::Host::log_in(&host, refused);
                }
                Ok(Early::Write(nonza)) => conn.write(Write::Nonza(&nonza)),
                other => unreachable!("{other:?}"),
            }
        }
    }

    fn count(&self) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        inner.next
    }

    fn host(&self, owner: &str) -> Host {
        let (mailbox, _) = unbounded_channel();
        Host { server: self.clone(), owner: owner.into(), number: self.count(), mailbox }
    }

    /// Whether the client has asked for the resource on a newer connection: it has left this one.
    fn is_left(&self, owner: &str, conn: &Conn) -> bool {
        let mut inner = self.lock();
        let user = inner.users.entry(owner.to_owned()).or_default();
        user.newest = user.newest.max(conn.number);
        user.newest > conn.number
    }

    /// The resource is free once the session that had it is over, and its stanzas are in order. Several connections of a
    /// client may wait for that, and the newest has it: the session of an older one would end that of the newest as a
    /// conflict, and a client does not come back from that.
    async fn bind(self, stream: Unbound, mut conn: Conn, iq: &Element) {
        let mut host = self.host(stream.owner());
        let (mailbox, receiver) = unbounded_channel();
        host.mailbox = mailbox.clone();
        while !self.is_left(&host.owner, &conn) && self.mail(&host.owner, Mail::End(EndReason::Replaced)) {
            sleep(Duration::from_millis(20)).await;
        }
        if self.is_left(&host.owner, &conn) {
            return;
        }
        let id = iq.attr("id").unwrap_or_default();
        conn.say(format!("<iq type='result' id='{id}'/>"));
        let session = stream.bind(conn);
        let mut inner = self.lock();
        let user = inner.users.entry(host.owner.to_string()).or_default();
        let here = user.here.insert(Here { number: host.number, mailbox, is_available: false, task: None });
        here.task = Some(tokio::spawn(serve(session, receiver, host)).abort_handle());
    }
}

impl Inner {
    pub fn deliver(&mut self, to: &str, bytes: Bytes) {
        let user = self.users.entry(to.to_owned()).or_default();
        let unsent = match user.here.as_ref().filter(|here| here.is_available) {
            Some(here) => here.mailbox.send(Mail::Deliver(bytes)).err().map(|unsent| unsent.0),
            None => Some(Mail::Deliver(bytes)),
        };
        if let Some(Mail::Deliver(bytes)) = unsent {
            user.offline.push(bytes);
        }
    }
}

impl server_loop::Host for Host {
    type Connection = Conn;

    fn route(&self, stanza: Element, receipt: Receipt) {
        let mut inner = self.server.lock();
        if stanza.name() == "presence" {
            let user = inner.users.get_mut(&*self.owner).expect("a session");
            if let Some(here) = user.here.as_mut().filter(|here| here.number == self.number) {
                here.is_available = true;
                for stanza in std::mem::take(&mut user.offline) {
                    let _ = here.mailbox.send(Mail::Deliver(stanza));
                }
            }
        } else if let (Some(to), Some(id)) = (stanza.attr("to"), stanza.attr("id")) {
            inner.routed.entry(self.owner.to_string()).or_default().push(id.parse().expect("a number"));
            inner.deliver(to, to_bytes(&stanza));
        }
        let receipts = inner.receipts;
        match receipts {
            Receipts::AtOnce => drop(self.mailbox.send(Mail::Settled(receipt))),
            Receipts::Late { lost: Some(of), .. } if inner.rng.one_in(of) => drop(receipt),
            Receipts::Late { ms, .. } => {
                let (time, mailbox) = (inner.rng.below(ms + 1), self.mailbox.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(time)).await;
                    let _ = mailbox.send(Mail::Settled(receipt));
                });
            }
            Receipts::Kept => inner.kept.push((self.mailbox.clone(), receipt)),
        }
    }

    fn register(&self, owner: &Arc<str>) -> Option<SmId> {
        let smid = SmId::random().expect("a random number");
        let mut inner = self.server.lock();
        let registered = self.server.0.store.register(&smid, owner, (self.mailbox.clone(), owner.clone()), now());
        let registered = registered.ok().filter(|_| inner.registers)?;
        if let Some(displaced) = registered.displaced {
            let _ = displaced.handle.0.send(Mail::End(EndReason::Replaced));
        }
        inner.registrations.insert(smid.clone(), registered.registration);
        Some(smid)
    }

    fn look_up(&self, smid: &SmId, owner: &str) -> Result<Record<Mailbox>, Refusal> {
        let found: Lookup<_> = self.server.0.store.lookup(smid, owner, now()).expect("a store in memory");
        let Record { registration, handle: (mailbox, _) } = found.session()?;
        Ok(Record { registration, handle: mailbox })
    }

    fn forget(&self, registration: &Registration) {
        self.server.0.store.remove(registration).expect("a store in memory");
        let mut inner = self.server.lock();
        if inner.registrations.remove(registration.smid()).is_some() {
            let user = inner.users.entry(registration.owner().to_string()).or_default();
            user.here = None;
        }
    }

    fn part(&self, connection: Conn, parting: Parting) {
        connection.part(parting);
    }

    fn log_in(&self, refused: Refused<Conn>) {
        let Refused { step: LoginStep::Failed { failed, stream }, mut connection } = refused else { unreachable!() };
        connection.write(Write::Nonza(&failed));
        tokio::spawn(self.server.clone().log_in(stream, connection));
    }

    fn over(&self, ended: SessionEnded<Bytes>, mut mailbox: UnboundedReceiver<Mail<Conn>>) {
        let mut inner = self.server.lock();
        if let Some(smid) = ended.smid
            && let Some(registration) = inner.registrations.remove(&smid)
        {
            self.server.0.store.retire(&registration, ended.h, now()).expect("a store in memory");
        }
        mailbox.close();
        let user = inner.users.get_mut(&*self.owner).expect("a session");
        if user.here.as_ref().is_some_and(|here| here.number == self.number) {
            user.here = None;
        }
        let mut left = 0;
        for leftover in ended.stanzas {
            left += 1;
            if leftover.fate != Fate::Unsent {
                let element = crate::xml::from_bytes(&leftover.stanza).expect("what was routed");
                let key = message(&element, &self.owner);
                *inner.again.entry(key).or_default() += 1;
            }
            inner.users.entry(self.owner.to_string()).or_default().offline.push(leftover.stanza);
        }
        inner.ended.push((ended.reason, ended.h.get(), left));
        let mut takers = Vec::new();
        while let Ok(mail) = mailbox.try_recv() {
            match mail {
                Mail::Deliver(stanza) => inner.users.entry(self.owner.to_string()).or_default().offline.push(stanza),
                Mail::Take(taker) => takers.push(taker),
                Mail::Settled(_) | Mail::End(_) => {}
            }
        }
        drop(inner);
        for taker in takers {
            let refusal = self.look_up(taker.previd(), taker.owner()).err().unwrap_or(Refusal::NotFound);
            server_loop::Host::log_in(self, taker.refuse(refusal));
        }
    }
}

/// From whom, to whom, and its number.
pub fn message(element: &Element, to: &str) -> (String, String, u32) {
    let attr = |name| element.attr(name).unwrap_or_default();
    (attr("from").to_owned(), to.to_owned(), attr("id").parse().expect("a number"))
}
