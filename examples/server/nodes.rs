//! Several servers as one: `--store`. Each is a node. Their sessions are known to all in a Redis, which has the tables of
//! [`RedisStore`], and what is written down of sessions as `--promise` says. A client that comes back to another node has its
//! session there: the node that has it writes it down and lets go of it, the other one claims it.
//!
//! What nodes say to each other, and the mail of their users, is in [`link`].

mod link;

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use xmpp_sm::snapshot::{Due, Ledger, Limits, Promise, Snapshot};
use xmpp_sm::{
    AsyncSessionStore, Claim, Claimed, Condition, Config, Counter, Fence, Lookup, Parking, Record, RedisStore,
    RedisStoreError, Refusal, Registration, SmId, Taker,
};

use super::router::Mail;
use super::session;
use super::state::{Known, complain};
use super::stream::{Connection, random};
use super::{Server, login, options};
pub use link::{Link, Mailbox};

/// Sessions of dead nodes that are taken over at once.
const AT_ONCE: usize = 50;
/// How long an answer of the engine is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another node has to let go of a session.
const LETTING_GO: Duration = Duration::from_secs(3);
/// How long a node counts as alive after it has last said so.
const ALIVE: Duration = Duration::from_secs(4);

/// What a node has in common with the others.
pub struct Nodes {
    store: RedisStore<ConnectionManager>,
    pub promise: Promise,
    /// This node, in this run: its name and a number.
    me: String,
    redis: ConnectionManager,
    pub link: Link,
    /// Who waits until another node has let go of a session.
    waiting: Mutex<HashMap<String, oneshot::Sender<()>>>,
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
        let me = format!("{}/{:016x}", options.node, random());
        let store = RedisStore::new(redis.clone(), config).prefix("xmpp-sm-sessions");
        let nodes = Arc::new(Self {
            store,
            promise: options.promise.into(),
            link: Link::new(client, redis.clone(), &me),
            me,
            redis,
            waiting: Mutex::default(),
        });
        let begun = Instant::now();
        while !nodes.is_alive_or_says_so().await? {
            // One that was killed counts as alive for a while.
            if begun.elapsed() > 2 * ALIVE {
                return Err(format!("another node of the name {} runs", options.node).into());
            }
            sleep(ALIVE / 10).await;
        }
        Ok(Some(nodes))
    }

    /// What a node does besides: it says that it lives, hears the others, and takes over what dead ones have left.
    pub fn run(self: &Arc<Self>, server: &Arc<Server>) {
        let (nodes, weak) = (self.clone(), Arc::downgrade(server));
        tokio::spawn(async move {
            let mut ticks = 0_u32;
            while let Some(server) = weak.upgrade() {
                if !matches!(nodes.is_alive_or_says_so().await, Ok(true) | Err(_)) {
                    complain(format_args!("another node has taken the name of this one"));
                }
                if ticks.is_multiple_of(4)
                    && !server.stopping.has_come()
                    && let Err(error) = nodes.adopt(&server).await
                {
                    complain(format_args!("sessions of dead nodes: {error}"));
                }
                drop(server);
                ticks = ticks.wrapping_add(1);
                sleep(ALIVE / 4).await;
            }
        });
        self.link.run(server);
    }

    /// Says that this node lives. `false`: another one has its name.
    async fn is_alive_or_says_so(&self) -> redis::RedisResult<bool> {
        let (name, number) = self.me.split_once('/').unwrap_or_default();
        let script = redis::Script::new(
            "local who = redis.call('GET', KEYS[1])
             if who and who ~= ARGV[1] then return 0 end
             redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
             return 1",
        );
        let mut call = script.key(format!("xmpp-sm-node:{name}"));
        call.arg(number).arg(ALIVE.as_millis() as u64).invoke_async(&mut self.redis.clone()).await
    }

    async fn is_alive(&self, node: &str) -> redis::RedisResult<bool> {
        let (name, number) = node.split_once('/').unwrap_or_default();
        let said: Option<String> =
            redis::cmd("GET").arg(format!("xmpp-sm-node:{name}")).query_async(&mut self.redis.clone()).await?;
        Ok(said.as_deref() == Some(number))
    }

    /// The node has stopped: nobody waits for it.
    pub async fn leave(&self) {
        if self.is_alive(&self.me).await.unwrap_or_default() {
            let (name, _) = self.me.split_once('/').unwrap_or_default();
            let left: redis::RedisResult<()> =
                redis::cmd("DEL").arg(format!("xmpp-sm-node:{name}")).query_async(&mut self.redis.clone()).await;
            let _ = left;
        }
    }

    fn handle(&self) -> Bytes {
        Bytes::copy_from_slice(self.me.as_bytes())
    }

    /// Makes a new session known to all. `None`: it cannot be, and is not resumable.
    pub async fn register(&self, smid: &SmId, owner: &Arc<str>) -> Option<Shared> {
        let registered = self.store.register(smid, owner, self.handle(), Instant::now()).await;
        let registered = registered.map_err(|error| complain(format_args!("a session: {error}"))).ok()?;
        if let Some(displaced) = registered.displaced {
            let _ = self.link.say(&displaced.handle, "displaced", &displaced.registration).await;
        }
        Some(Shared::new(registered.registration, Ledger::new(self.promise)))
    }

    /// Writes down what is due of a session.
    pub async fn write(&self, shared: &mut Shared, due: Option<Due>) -> Fence {
        let written = match &due {
            None => Ok(Fence::Held),
            Some(due) => due.write(&self.store, &shared.registration).await,
        };
        match written {
            Ok(Fence::Held) => {
                due.into_iter().for_each(|due| shared.ledger.wrote(due));
                shared.behind = None;
            }
            Ok(Fence::Lost) => return Fence::Lost,
            Err(error) => {
                complain(format_args!("a session is not written down yet: {error}"));
                shared.behind = Some(Instant::now() + PATIENCE / 4);
            }
        }
        Fence::Held
    }

    /// A session is over. Whether its stanzas are this node's to pass on; `h` is remembered if there is one.
    pub async fn end(&self, shared: &mut Shared, h: Option<Counter>) -> Fence {
        // What is kept of it must not be resumed, nor adopted, by others, once its stanzas go elsewhere.
        loop {
            let held = match shared.ledger.end(Instant::now(), SystemTime::now()) {
                None => Ok(Fence::Held),
                Some(due) => due.write(&self.store, &shared.registration).await,
            };
            let gone = match held {
                Ok(Fence::Lost) => return Fence::Lost,
                Ok(Fence::Held) => match h {
                    Some(h) => self.store.retire(&shared.registration, h, Instant::now()).await,
                    None => self.store.remove(&shared.registration).await,
                },
                Err(error) => Err(error),
            };
            match gone {
                Ok(()) => return Fence::Held,
                Err(error) => complain(format_args!("a session is over, and it cannot be told yet: {error}")),
            }
            sleep(PATIENCE).await;
        }
    }

    /// A session was written down, and is not this node's any more: whoever waits for it may have it.
    pub async fn has_let_go(&self, registration: &Registration) {
        self.link.say_to_all("free", registration).await;
    }

    /// Somebody has let go of a session.
    fn is_free(&self, key: &str) {
        if let Some(waiting) = self.waiting.lock().remove(key) {
            let _ = waiting.send(());
        }
    }

    /// A client asks for a session that this node does not have.
    pub fn find(self: Arc<Self>, taker: Taker<Box<Connection>>, server: Arc<Server>) {
        // Once begun it runs to its end, whatever becomes of the client.
        tokio::spawn(async move {
            let found = self.fetch(taker.previd(), taker.owner(), &server).await;
            let refused = match found {
                Ok(handle) => match handle.send(Mail::Take(Box::new(taker))) {
                    Err(tokio::sync::mpsc::error::SendError(Mail::Take(taker))) => taker.refuse(Refusal::NotFound),
                    _ => return,
                },
                Err(refusal) => taker.refuse(refusal),
            };
            login::continue_login(refused, server);
        });
    }

    /// Brings a session here.
    async fn fetch(&self, smid: &SmId, owner: &str, server: &Arc<Server>) -> Result<super::router::Handle, Refusal> {
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
            let node = String::from_utf8_lossy(&handle).into_owned();
            let lives = self.is_alive(&node).await.map_err(unknown)?;
            if lives {
                // If it does not answer, what it has written down is what counts: it will find that it has lost the session.
                let _ = self.asks_to_let_go(&node, &registration).await;
            }
            match self.store.claim(&registration, self.handle(), Instant::now()).await.map_err(unknown)? {
                Claim::Claimed(claimed) => match self.revive(claimed, server).await {
                    Ok(handle) => return Ok(handle),
                    Err(error) => return Err(unknown(error)),
                },
                Claim::NotParked if !lives => {
                    // It has died with its node.
                    self.store.remove(&registration).await.map_err(unknown)?;
                    return Err(Refusal::NotFound);
                }
                Claim::NotParked => return Err(unknown(format_args!("{node} has not written it down"))),
                Claim::Lost => {} // another was faster
            }
        }
        Err(unknown("it moves too fast"))
    }

    async fn asks_to_let_go(&self, node: &str, registration: &Registration) -> bool {
        let (free, is_free) = oneshot::channel();
        self.waiting.lock().insert(link::key(registration), free);
        self.link.say(node.as_bytes(), "let-go", registration).await
            && timeout(LETTING_GO, is_free).await.is_ok_and(|free| free.is_ok())
    }

    /// A session that was claimed lives here.
    async fn revive(
        &self,
        claimed: Claimed,
        server: &Arc<Server>,
    ) -> Result<super::router::Handle, Box<dyn Error + Send + Sync>> {
        let Claimed { registration, snapshot, journal } = claimed;
        let clocks = (Instant::now(), SystemTime::now());
        let read = Snapshot::from_journal(&snapshot, &journal, &server.config, &Limits::default(), clocks)?;
        let known = Known::from_bytes(&read.host).ok_or("the server's own part is damaged")?;
        self.link.arrive(&known.jid).await?;
        let shared = Shared::new(registration, Ledger::claimed(self.promise, &read));
        session::revive(server, read.session, &known, Some(shared), clocks.0).map_err(|error| error.to_string().into())
    }

    /// What dead nodes have left lives here, and ends here if its clients do not come.
    async fn adopt(&self, server: &Arc<Server>) -> Result<(), RedisStoreError> {
        let mut cursor = Some(0);
        let mut lives = HashMap::new();
        while let Some(at) = cursor {
            let (sessions, next) = self.store.sessions_at(b"", at).await?;
            for Record { handle, .. } in &sessions {
                if !lives.contains_key(handle) {
                    lives.insert(handle.clone(), self.is_alive(&String::from_utf8_lossy(handle)).await?);
                }
            }
            let dead = sessions.into_iter().filter(|session| lives.get(&session.handle) == Some(&false));
            let adopted = stream::iter(dead).map(|session| self.adopt_one(session.registration, server));
            adopted.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            cursor = next;
        }
        Ok(())
    }

    async fn adopt_one(&self, registration: Registration, server: &Arc<Server>) -> Result<(), RedisStoreError> {
        match self.store.claim(&registration, self.handle(), Instant::now()).await? {
            Claim::Claimed(claimed) => {
                if let Err(error) = self.revive(claimed, server).await {
                    complain(format_args!("a session of a dead node: {error}"));
                }
            }
            // It has died with its node.
            Claim::NotParked => self.store.remove(&registration).await?,
            Claim::Lost => {}
        }
        Ok(())
    }
}
