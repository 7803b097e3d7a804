//! Several servers as one: `--store`. Each is a node. Their sessions are known to all in a Redis, which has the tables
//! of [`RedisStore`], and what is written down of sessions as `--promise` says. A client that comes back to another
//! node has its session there: the node that has it writes it down and lets go of it, the other one claims it.
//!
//! What nodes say to each other, and the mail of their users, is in [`link`]; what they write down goes through
//! [`journal`]; a session that was claimed lives again by [`revival`], and one that nobody has is found by [`orphans`]. An
//! engine that has lost something is met in [`engine`].

mod answer;
mod engine;
mod journal;
mod link;
mod lists;
mod orphans;
mod revival;
pub mod shared;
mod signs;

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use xmpp_sm::snapshot::{Due, Ledger, Promise, Version};
use xmpp_sm::{
    AsyncSessionStore, Claim, Condition, Config, Counter, Fence, Lookup, Parking, Record, RedisStore, RedisStoreError,
    Refusal, Registration, SmId, Taker,
};

use super::mail::Handle;
use super::smids;
use super::state::complain;
use super::stream::{Connection, random};
use super::{Server, login, options};
use engine::{Engine, Standing};
use journal::Journal;
pub use link::{Link, Mailbox};
use lists::{Most, PATIENCE};
use orphans::Orphans;
use revival::Revived;

/// How long another node has to let go of a session.
const LETTING_GO: Duration = Duration::from_secs(3);

/// How often a node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What a node has in common with the others.
pub struct Nodes {
    store: Arc<RedisStore<ConnectionManager>>,
    journal: Journal,
    promise: Promise,
    version: Version,
    /// How long this node counts as alive after it has last said so.
    alive: Duration,
    /// How long it takes to stop, at most.
    pub stop_within: Duration,
    /// How many sessions have gone without being written down to their end, when it stops.
    given_up: AtomicUsize,
    /// This node, in this run: its name and a number.
    me: String,
    redis: ConnectionManager,
    engine: Engine,
    pub link: Link,
    orphans: Orphans,
    /// Who waits until another node has let go of a session.
    waiting: Mutex<HashMap<String, Vec<Asks>>>,
}

/// Somebody who wants a session that is at another node.
struct Asks {
    /// What its client has handled.
    h: Counter,
    answer: oneshot::Sender<Asked>,
}

/// What that node says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    IsFree,
    /// No client can have handled so much.
    IsKept,
}

/// What the nodes share of one session.
pub struct Shared {
    pub registration: Registration,
    pub ledger: Ledger,
    /// When what is due is tried again. `None`: all is written.
    pub behind: Option<Instant>,
    /// Whether that is for want of memory, which no waiting may end.
    pub lacks_memory: bool,
    /// The engine that has last had the session: see [`Engine::generation`].
    pub generation: u64,
    /// By what it is registered once more where the engine has lost it: the same in each try.
    pub asked: Option<Bytes>,
    /// The session is to be written down, and then to go.
    pub lets_go: bool,
    /// It does not wait for memory any more.
    pub gives_up: bool,
}

/// Where a session is that this node has lost.
#[derive(PartialEq, Eq)]
pub enum Whereabouts {
    /// At another node, or nobody knows.
    Elsewhere,
    /// It has ended at another node, which has passed on what was written down.
    Over,
    /// It had to make room for a newer one of its owner, and nobody else had claimed it: it is this node's by this
    /// registration.
    Displaced(Registration),
    /// The store has lost it, others have given this node up for dead, or its client has closed it at another node.
    Nowhere,
}

impl Shared {
    pub fn new(registration: Registration, ledger: Ledger, generation: u64) -> Self {
        Self {
            registration,
            ledger,
            generation,
            asked: None,
            behind: None,
            lacks_memory: false,
            lets_go: false,
            gives_up: false,
        }
    }
}

impl Nodes {
    pub async fn join(
        options: &options::Options,
        config: &Config,
    ) -> Result<Option<Arc<Self>>, Box<dyn Error + Send + Sync>> {
        let Some(url) = &options.store else { return Ok(None) };
        let times = ConnectionManagerConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let client = redis::Client::open(url.as_str())?;
        let redis = ConnectionManager::new_with_config(client.clone(), times).await?;
        keeps_all(redis.clone()).await?;
        let me = format!("{}/{:08x}", options.node, random() >> 32);
        let store = Arc::new(RedisStore::new(redis.clone(), config).prefix("xmpp-sm-sessions"));
        // A session takes mail when nothing waits in its backlog.
        let most = Most {
            stanzas: options.backlog_max.get().min(50) as usize,
            bytes: options.backlog_max_bytes.get().saturating_add(options.offline_max_bytes).min(256 * 1024) / 2,
        };
        let nodes = Arc::new(Self {
            journal: Journal::new(store.clone()),
            store,
            promise: options.promise.into(),
            alive: options.dead_after,
            stop_within: options.stop_within,
            given_up: AtomicUsize::new(0),
            version: options.snapshot_version,
            link: Link::new(client, redis.clone(), &me, most),
            me,
            redis,
            engine: Engine::default(),
            orphans: Orphans::default(),
            waiting: Mutex::default(),
        });
        nodes.look().await?;
        let begun = Instant::now();
        while !nodes.link.is_alive_or_says_so(nodes.alive).await? {
            // One that was killed counts as alive for a while.
            if begun.elapsed() > 2 * nodes.alive {
                return Err(format!("another node of the name {} runs", options.node).into());
            }
            sleep(nodes.alive / 10).await;
        }
        Ok(Some(nodes))
    }

    /// What a node does besides: it says that it lives, hears the others, and takes over what dead ones have left.
    pub fn run(self: &Arc<Self>, server: &Arc<Server>) {
        let (nodes, weak) = (self.clone(), Arc::downgrade(server));
        tokio::spawn(async move {
            while weak.strong_count() > 0 {
                let said = nodes.link.is_alive_or_says_so(nodes.alive).await;
                match said {
                    Ok(true) => {}
                    Ok(false) => complain(format_args!("another node has taken the name of this one")),
                    Err(_) => nodes.engine.is_away(),
                }
                if let Some(server) = weak.upgrade() {
                    nodes.look_for_all(&server).await;
                }
                // It has not much time left if it could not say so.
                sleep(if said.is_ok() { HEARTBEAT } else { link::PAUSE }).await;
            }
        });
        orphans::run(self.clone(), server);
        self.journal.run();
        self.link.run(server);
    }

    /// A session goes that could not be written down, as this node stops.
    pub fn gives_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// The node has stopped: nobody waits for it. `in_time`: all is done. `left`: how many sessions have not gone.
    pub async fn leave(&self, in_time: bool, left: usize) {
        let given_up = self.given_up.load(Ordering::Relaxed);
        let [ended, lost, kept] = match self.promise {
            Promise::Durable => [0, 0, given_up + left],
            Promise::Memory | Promise::Parked => [given_up, left, 0],
        };
        for (count, what) in [
            (ended, "ended, for there was no memory: what they held waits for their users"),
            (lost, "are lost: there was no time left to write them down"),
            (kept, "go on at another node as far as they were written down"),
        ] {
            if count > 0 {
                complain(format_args!("sessions that {what}: {count}"));
            }
        }
        if in_time && given_up == 0 {
            let _ = self.link.say_left().await; // those who take its sessions say so then
        }
        let _ = self.link.says_no_more().await; // it is dead soon without that
    }

    /// Whether a stanza may be in memory alone.
    pub fn may_hold_back(&self) -> bool {
        self.promise != Promise::Durable
    }

    /// Another one for each session and each claim, or two claims of this node would both be answered as one that is
    /// made again.
    fn handle(&self) -> Bytes {
        format!("{}/{:08x}", self.me, random() >> 32).into()
    }

    /// Makes a new session known to all. `None`: it cannot be, and is not resumable.
    pub async fn register(&self, smid: &SmId, owner: &Arc<str>) -> Option<Shared> {
        let generation = self.engine.generation();
        let registered = self.register_as(smid, owner, self.handle()).await;
        let registration = registered
            .map_err(|error| {
                complain(format_args!("a session: {error}"));
                self.orphans.may_have(smid, owner);
            })
            .ok()?;
        Some(Shared::new(registration, Ledger::new(self.promise).version(self.version), generation))
    }

    async fn register_as(&self, smid: &SmId, owner: &Arc<str>, handle: Bytes) -> Result<Registration, RedisStoreError> {
        let registered = self.store.register(smid, owner, handle, Instant::now()).await?;
        if let Some(displaced) = registered.displaced {
            let node = node_of(&displaced.handle);
            let _ = self.link.say(&node, "displaced", &displaced.registration).await;
        }
        Ok(registered.registration)
    }

    /// Writes down what is due of a session.
    pub async fn write(&self, shared: &mut Shared, due: Option<Due>) -> Fence {
        let Some(due) = due else {
            (shared.behind, shared.lacks_memory) = (None, false);
            return Fence::Held;
        };
        match self.journal.write(&shared.registration, due).await {
            Ok((due, Fence::Held)) => {
                shared.ledger.wrote(due);
                (shared.behind, shared.lacks_memory) = (None, false);
            }
            Ok((_, Fence::Lost)) => return Fence::Lost,
            Err(error) => {
                if matches!(*error, RedisStoreError::Evicted) {
                    shared.ledger.host_changed(); // all of it has to be written once more
                }
                complain(format_args!("a session is not written down yet: {error}"));
                shared.lacks_memory = matches!(*error, RedisStoreError::NoMemory);
                shared.behind = Some(Instant::now() + link::PAUSE);
            }
        }
        Fence::Held
    }

    /// A session is over. Whether its stanzas are this node's to pass on.
    pub async fn ends(&self, shared: &mut Shared) -> Fence {
        let handle = self.handle(); // the same for each try
        loop {
            let Some(due) = shared.ledger.end(Instant::now(), SystemTime::now()) else { return Fence::Held };
            let fence = match due.write(&*self.store, &shared.registration).await {
                Ok(Fence::Held) => Ok(Fence::Held),
                Ok(Fence::Lost) => match self.standing(shared).await {
                    Ok((Standing::Forgotten, _)) => Ok(Fence::Held),
                    Ok(_) => self.has_made_room(&shared.registration, &handle).await.map(|ours| match ours {
                        Some(registration) => {
                            shared.registration = registration;
                            Fence::Held
                        }
                        None => Fence::Lost,
                    }),
                    Err(error) => Err(error),
                },
                // There may be no memory to be had by waiting.
                Err(RedisStoreError::Evicted | RedisStoreError::NoMemory) => self.is_whose(&shared.registration).await,
                Err(error) => Err(error),
            };
            match fence {
                Ok(fence) => return fence,
                Err(error) => complain(format_args!("a session is over, and it cannot be told yet: {error}")),
            }
            sleep(PATIENCE).await;
        }
    }

    /// One that had to make room cannot be written any more, and is still its host's, by another registration, if nobody
    /// else has claimed it. `handle`: the same for each try.
    async fn has_made_room(
        &self,
        registration: &Registration,
        handle: &Bytes,
    ) -> Result<Option<Registration>, RedisStoreError> {
        let claim = self.store.claim(registration, handle.clone(), Instant::now()).await?;
        Ok(if let Claim::Claimed(claimed) = claim { Some(claimed.registration) } else { None })
    }

    /// A session that is unknown is nobody else's.
    async fn is_whose(&self, registration: &Registration) -> Result<Fence, RedisStoreError> {
        let found = self.store.lookup(registration.smid(), registration.owner(), Instant::now()).await?;
        Ok(match found {
            Lookup::Session(record) if record.registration != *registration => Fence::Lost,
            Lookup::StaleH(_) => Fence::Lost,
            Lookup::Session(_) | Lookup::NotFound => Fence::Held,
        })
    }

    /// Forgets a session whose stanzas have gone on; `h` is remembered if there is one.
    pub async fn retire(&self, registration: &Registration, h: Option<Counter>) {
        loop {
            let gone = match h {
                Some(h) => self.store.retire(registration, h, Instant::now()).await,
                None => self.store.remove(registration).await,
            };
            match gone {
                Ok(()) => return,
                Err(error) => complain(format_args!("a session is over, and it cannot be told yet: {error}")),
            }
            sleep(PATIENCE).await;
        }
    }

    /// What the store knows of a session that this node has lost.
    pub async fn whereabouts(&self, registration: &Registration) -> Whereabouts {
        let found = self.store.lookup(registration.smid(), registration.owner(), Instant::now()).await;
        match found {
            Ok(Lookup::StaleH(_)) => return Whereabouts::Over,
            Ok(Lookup::Session(_)) | Err(_) => return Whereabouts::Elsewhere,
            Ok(Lookup::NotFound) => {}
        }
        let handle = self.handle();
        loop {
            match self.has_made_room(registration, &handle).await {
                Ok(ours) => return ours.map_or(Whereabouts::Nowhere, Whereabouts::Displaced),
                Err(error) => complain(format_args!("a session was lost, and it is not known to whom yet: {error}")),
            }
            sleep(PATIENCE).await;
        }
    }

    /// A session was written down, and is not this node's any more: whoever waits for it may have it.
    pub async fn has_let_go(&self, registration: &Registration) {
        self.orphans.may_have(registration.smid(), registration.owner());
        self.link.say_to_all("free", &link::key(registration)).await;
    }

    /// Somebody has let go of a session, or keeps it, for no client can have handled so many stanzas of it.
    fn is_answered(&self, key: &str, too_high: Option<Counter>) {
        let mut waiting = self.waiting.lock();
        let Some(asking) = waiting.get_mut(key) else { return };
        let answer = if too_high.is_some() { Asked::IsKept } else { Asked::IsFree };
        for asks in asking.extract_if(.., |asks| too_high.is_none_or(|h| h == asks.h)) {
            let _ = asks.answer.send(answer);
        }
    }

    /// A client asks for a session that this node does not have.
    pub fn find(self: Arc<Self>, taker: Taker<Box<Connection>>, server: Arc<Server>) {
        // Once begun it runs to its end, whatever becomes of the client.
        tokio::spawn(async move {
            let refused = match self.fetch((taker.previd(), taker.owner()), taker.h(), &server).await {
                Ok(handle) => smids::give(taker, &handle),
                Err(refusal) => Some(taker.refuse(refusal)),
            };
            refused.into_iter().for_each(|refused| login::continue_login(refused, server.clone()));
        });
    }

    /// Brings a session here.
    async fn fetch(&self, (smid, owner): (&SmId, &str), h: Counter, server: &Arc<Server>) -> Result<Handle, Refusal> {
        /// It is not known whether there is such a session.
        fn unknown(error: impl Display) -> Refusal {
            complain(format_args!("a session: {error}"));
            Refusal::Because(Condition::InternalServerError)
        }
        for _ in 0..3 {
            let found = self.store.lookup(smid, owner, Instant::now()).await.map_err(unknown)?;
            let Record { registration, handle } = match found {
                Lookup::Session(record) => record,
                other => return Err(other.session().err().unwrap_or(Refusal::NotFound)),
            };
            let node = node_of(&handle);
            let lives = self.link.is_alive(&node).await.map_err(unknown)?;
            // If it does not answer, what it has written down is what counts: it will find that it has lost the session.
            let answer = if lives { self.asks_to_let_go(&node, &registration, h).await } else { None };
            if answer == Some(Asked::IsKept) {
                return Err(Refusal::Because(Condition::BadRequest)); // as where the session is
            }
            if answer.is_none() && !self.is_settled().await.map_err(unknown)? {
                return Err(unknown("the engine was away, and its node may live"));
            }
            match self.store.claim(&registration, self.handle(), Instant::now()).await.map_err(unknown)? {
                Claim::Claimed(claimed) => {
                    if answer.is_none() {
                        self.tell_taken(&registration, &node).await;
                    }
                    match self.revive(claimed, server).await {
                        Ok(Revived::Here(handle)) => return Ok(handle),
                        Ok(Revived::Over) => {} // the store knows its h, perhaps
                        Err(error) => return Err(unknown(error)),
                    }
                }
                // It has died with its node. If that is only cut off, it finds the session where it was.
                Claim::NotParked if !lives => return Err(Refusal::NotFound),
                Claim::NotParked => return Err(unknown(format_args!("{node} has not written it down"))),
                Claim::Lost => {} // another was faster
            }
        }
        Err(unknown("it moves too fast"))
    }

    /// Unless that node has let go of all, a session may be doubled in part.
    async fn tell_taken(&self, registration: &Registration, node: &str) {
        if !self.link.has_left(node).await.unwrap_or(false) {
            let (owner, epoch) = (registration.owner(), registration.epoch().get());
            complain(format_args!("{owner}: session {epoch} was taken from {node}, which is gone or does not answer"));
        }
    }

    /// `None`: it does not answer.
    async fn asks_to_let_go(&self, node: &str, registration: &Registration, h: Counter) -> Option<Asked> {
        let (answer, answered) = oneshot::channel();
        let key = link::key(registration);
        self.waiting.lock().entry(key.clone()).or_default().push(Asks { h, answer });
        let answer = match self.link.ask(node, registration, h).await {
            true => timeout(LETTING_GO, answered).await.ok().and_then(Result::ok),
            false => {
                drop(answered);
                None
            }
        };
        let mut waiting = self.waiting.lock();
        if let Some(others) = waiting.get_mut(&key) {
            others.retain(|other| !other.answer.is_closed());
            if others.is_empty() {
                waiting.remove(&key);
            }
        }
        answer
    }
}

/// Sessions and mail that the engine evicts would be lost without a word.
async fn keeps_all(mut redis: ConnectionManager) -> Result<(), Box<dyn Error + Send + Sync>> {
    let memory: redis::InfoDict = redis::cmd("INFO").arg("memory").query_async(&mut redis).await?;
    match memory.get::<String>("maxmemory_policy") {
        Some(policy) if policy != "noeviction" => {
            Err(format!("the Redis may evict what it has: its maxmemory-policy is {policy}, and has to be noeviction")
                .into())
        }
        _ => Ok(()),
    }
}

/// What this node had handled and not written down, or taken out of its mail and not struck off, may come twice.
fn tell_lost(registration: &Registration) {
    let (owner, epoch) = (registration.owner(), registration.epoch().get());
    complain(format_args!("{owner}: session {epoch} was taken from this node, which had not let go of it"));
}

/// Which node it is that has a session.
fn node_of(handle: &[u8]) -> String {
    let text = String::from_utf8_lossy(handle);
    text.rsplit_once('/').map_or_else(String::new, |(node, _)| node.to_owned())
}
