//! Several servers as one: `--store`. Each is a node. Their sessions are known to all in a Redis, which has the tables
//! of [`RedisStore`], and what is written down of sessions as `--promise` says. A client that comes back to another
//! node has its session there: the node that has it writes it down and lets go of it, the other one claims it.
//!
//! What nodes say to each other, and the mail of their users, is in [`link`]; what they write down goes through
//! [`journal`]; a session that was claimed lives again by [`revival`], and one that nobody has is found by [`orphans`].

mod journal;
mod link;
mod orphans;
mod revival;
pub mod shared;

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
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
use journal::Journal;
pub use link::{Link, Mailbox};
use revival::Revived;

/// How long an answer of the engine is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another node has to let go of a session.
const LETTING_GO: Duration = Duration::from_secs(3);

/// What a node has in common with the others.
pub struct Nodes {
    store: Arc<RedisStore<ConnectionManager>>,
    journal: Journal,
    promise: Promise,
    version: Version,
    /// How long this node counts as alive after it has last said so.
    alive: Duration,
    /// This node, in this run: its name and a number.
    me: String,
    redis: ConnectionManager,
    pub link: Link,
    /// Who waits until another node has let go of a session.
    waiting: Mutex<HashMap<String, Vec<oneshot::Sender<()>>>>,
}

/// What the nodes share of one session.
pub struct Shared {
    pub registration: Registration,
    pub ledger: Ledger,
    /// When what is due is tried again. `None`: all is written.
    pub behind: Option<Instant>,
    /// The session is to be written down, and then to go.
    pub lets_go: bool,
}

/// Where a session is that this node has lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// At another node, or nobody knows.
    Elsewhere,
    /// It has ended at another node, which has passed on what was written down.
    Over,
    /// The store has lost it, others have given this node up for dead, or its client has closed it at another node.
    Nowhere,
}

impl Shared {
    pub fn new(registration: Registration, ledger: Ledger) -> Self {
        Self { registration, ledger, behind: None, lets_go: false }
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
        let me = format!("{}/{:016x}", options.node, random());
        let store = Arc::new(RedisStore::new(redis.clone(), config).prefix("xmpp-sm-sessions"));
        let nodes = Arc::new(Self {
            journal: Journal::new(store.clone()),
            store,
            promise: options.promise.into(),
            alive: Duration::from_secs(options.dead_after),
            version: if options.snapshot_version == 1 { Version::V1 } else { Version::V2 },
            link: Link::new(client, redis.clone(), &me),
            me,
            redis,
            waiting: Mutex::default(),
        });
        let begun = Instant::now();
        while !nodes.is_alive_or_says_so().await? {
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
                let said = nodes.is_alive_or_says_so().await;
                if matches!(said, Ok(false)) {
                    complain(format_args!("another node has taken the name of this one"));
                }
                // It has not much time left if it could not say so.
                sleep(if said.is_ok() { nodes.alive / 4 } else { link::PAUSE }).await;
            }
        });
        orphans::run(self.clone(), server);
        self.journal.run();
        self.link.run(server);
    }

    /// Says that this node lives. `false`: another one has its name.
    async fn is_alive_or_says_so(&self) -> redis::RedisResult<bool> {
        let (key, number) = sign_of(&self.me);
        let script = redis::Script::new(
            // Also where there is no memory left.
            "local who = redis.call('GET', KEYS[1])
             if who and who ~= ARGV[1] then return 0 end
             if who then redis.call('PEXPIRE', KEYS[1], ARGV[2])
             else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
             return 1",
        );
        let mut call = script.key(key);
        call.arg(number).arg(self.alive.as_millis() as u64).invoke_async(&mut self.redis.clone()).await
    }

    async fn is_alive(&self, node: &str) -> redis::RedisResult<bool> {
        let (key, number) = sign_of(node);
        let said: Option<String> = redis::cmd("GET").arg(key).query_async(&mut self.redis.clone()).await?;
        Ok(said.as_deref() == Some(number))
    }

    /// The node has stopped: nobody waits for it.
    pub async fn leave(&self) {
        if self.is_alive(&self.me).await.unwrap_or_default() {
            let (key, _) = sign_of(&self.me);
            let left: redis::RedisResult<()> = redis::cmd("DEL").arg(key).query_async(&mut self.redis.clone()).await;
            let _ = left;
        }
    }

    /// Another one for each session and each claim, or two claims of this node would both be answered as one that is
    /// made again.
    fn handle(&self) -> Bytes {
        format!("{}/{:016x}", self.me, random()).into()
    }

    /// Makes a new session known to all. `None`: it cannot be, and is not resumable.
    pub async fn register(&self, smid: &SmId, owner: &Arc<str>) -> Option<Shared> {
        let registered = self.store.register(smid, owner, self.handle(), Instant::now()).await;
        let registered = registered.map_err(|error| complain(format_args!("a session: {error}"))).ok()?;
        if let Some(displaced) = registered.displaced {
            let node = node_of(&displaced.handle);
            let _ = self.link.say(node.as_bytes(), "displaced", &displaced.registration).await;
        }
        Some(Shared::new(registered.registration, Ledger::new(self.promise).version(self.version)))
    }

    /// Writes down what is due of a session.
    pub async fn write(&self, shared: &mut Shared, due: Option<Due>) -> Fence {
        let Some(due) = due else {
            shared.behind = None;
            return Fence::Held;
        };
        match self.journal.write(&shared.registration, due).await {
            Ok((due, Fence::Held)) => {
                shared.ledger.wrote(due);
                shared.behind = None;
            }
            Ok((_, Fence::Lost)) => return Fence::Lost,
            Err(error) => {
                if matches!(*error, RedisStoreError::Evicted) {
                    shared.ledger.host_changed(); // all of it has to be written once more
                }
                complain(format_args!("a session is not written down yet: {error}"));
                shared.behind = Some(Instant::now() + link::PAUSE);
            }
        }
        Fence::Held
    }

    /// A session is over. Whether its stanzas are this node's to pass on.
    pub async fn ends(&self, shared: &mut Shared) -> Fence {
        loop {
            let Some(due) = shared.ledger.end(Instant::now(), SystemTime::now()) else { return Fence::Held };
            match due.write(&*self.store, &shared.registration).await {
                Ok(Fence::Held) => return Fence::Held,
                Ok(Fence::Lost) => {
                    // One that had to make room cannot be written any more, and is still its host's, if nobody else has
                    // claimed it.
                    let claim = self.store.claim(&shared.registration, self.handle(), Instant::now()).await;
                    let is_ours =
                        matches!(claim, Ok(Claim::Claimed(claimed)) if claimed.registration == shared.registration);
                    return if is_ours { Fence::Held } else { Fence::Lost };
                }
                // Nobody can have claimed what is not there, nor is there memory to be had by waiting.
                Err(RedisStoreError::Evicted | RedisStoreError::NoMemory) => return Fence::Held,
                Err(error) => complain(format_args!("a session is over, and it cannot be told yet: {error}")),
            }
            sleep(PATIENCE).await;
        }
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
            Ok(Lookup::StaleH(_)) => Whereabouts::Over,
            Ok(Lookup::NotFound) => Whereabouts::Nowhere,
            Ok(Lookup::Session(_)) | Err(_) => Whereabouts::Elsewhere,
        }
    }

    /// A session was written down, and is not this node's any more: whoever waits for it may have it.
    pub async fn has_let_go(&self, registration: &Registration) {
        self.link.say_to_all("free", &link::key(registration)).await;
    }

    /// Somebody has let go of a session.
    fn is_free(&self, key: &str) {
        for waiting in self.waiting.lock().remove(key).unwrap_or_default() {
            let _ = waiting.send(());
        }
    }

    /// A client asks for a session that this node does not have.
    pub fn find(self: Arc<Self>, taker: Taker<Box<Connection>>, server: Arc<Server>) {
        // Once begun it runs to its end, whatever becomes of the client.
        tokio::spawn(async move {
            let refused = match self.fetch(taker.previd(), taker.owner(), &server).await {
                Ok(handle) => smids::give(taker, &handle),
                Err(refusal) => Some(taker.refuse(refusal)),
            };
            refused.into_iter().for_each(|refused| login::continue_login(refused, server.clone()));
        });
    }

    /// Brings a session here.
    async fn fetch(&self, smid: &SmId, owner: &str, server: &Arc<Server>) -> Result<Handle, Refusal> {
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
            let lives = self.is_alive(&node).await.map_err(unknown)?;
            // If it does not answer, what it has written down is what counts: it will find that it has lost the session.
            let is_free = lives && self.asks_to_let_go(&node, &registration).await;
            match self.store.claim(&registration, self.handle(), Instant::now()).await.map_err(unknown)? {
                Claim::Claimed(claimed) => {
                    if !is_free {
                        tell_taken(&registration);
                    }
                    match self.revive(claimed, None, server).await {
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

    async fn asks_to_let_go(&self, node: &str, registration: &Registration) -> bool {
        let (free, is_free) = oneshot::channel();
        let key = link::key(registration);
        self.waiting.lock().entry(key.clone()).or_default().push(free);
        let is_free = self.link.say(node.as_bytes(), "let-go", registration).await
            && timeout(LETTING_GO, is_free).await.is_ok_and(|free| free.is_ok());
        let mut waiting = self.waiting.lock();
        if let Some(others) = waiting.get_mut(&key) {
            others.retain(|other| !other.is_closed());
            if others.is_empty() {
                waiting.remove(&key);
            }
        }
        is_free
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

fn tell_taken(registration: &Registration) {
    let (owner, epoch) = (registration.owner(), registration.epoch().get());
    complain(format_args!("{owner}: session {epoch} was taken from a node that is gone or does not answer"));
}

/// What this node had handled and not written down, or taken out of its mail and not struck off, may come twice.
fn tell_lost(registration: &Registration) {
    let (owner, epoch) = (registration.owner(), registration.epoch().get());
    complain(format_args!("{owner}: session {epoch} was taken from this node, which had not let go of it"));
}

/// Where a node says that it lives, and the number of its run that it says there.
fn sign_of(node: &str) -> (String, &str) {
    let (name, number) = node.split_once('/').unwrap_or_default();
    (format!("xmpp-sm-node:{name}"), number)
}

/// Which node it is that has a session.
fn node_of(handle: &[u8]) -> String {
    let text = String::from_utf8_lossy(handle);
    text.rsplit_once('/').map_or_else(String::new, |(node, _)| node.to_owned())
}
