//! The store of hosts that share a Redis or a Valkey.

mod error;
mod keys;
mod parking;
mod scripts;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::redis::aio::ConnectionLike;
use bytes::Bytes;

use super::{AsyncSessionStore, AtCap, Epoch, Lookup, Record, Registered, Registration};
use crate::config::{Config, StaleH};
use crate::counter::Counter;
use crate::smid::SmId;
pub use error::RedisStoreError;
use keys::Keys;
use scripts::{Reply, Script, Scripts};

/// An [`AsyncSessionStore`] in Redis 7 or Valkey, with [`Parking`](crate::Parking) and a [`Journal`](crate::Journal): the
/// feature `redis`. Several hosts share it.
///
/// It works over any connection of the crate [`redis`](::redis) that can be cloned: the host makes it on its own runtime,
/// with its own TLS, password and time-outs, and says by features of that crate what it needs for it, such as
/// `tokio-comp` and `connection-manager` or `cluster-async`; the tests run on a single Redis, on Valkey, and on a cluster of
/// three nodes. **The connection has to have a response timeout.**
///
/// ```no_run
/// use std::time::{Duration, Instant};
///
/// use redis::aio::{ConnectionManager, ConnectionManagerConfig};
/// use xmpp_sm::{AsyncSessionStore, Config, Lookup, RedisStore, SmId};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let second = Some(Duration::from_secs(1));
/// let times = ConnectionManagerConfig::new().set_response_timeout(second).set_connection_timeout(second);
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let store = RedisStore::new(ConnectionManager::new_with_config(client, times).await?, &Config::default());
///
/// let smid = SmId::random()?;
/// let now = Instant::now();
/// let registration = store.register(&smid, &"juliet@example.com".into(), "node-1/17".into(), now).await?.registration;
/// // On another node:
/// let Lookup::Session(record) = store.lookup(&smid, "juliet@example.com", now).await? else { unreachable!() };
/// assert_eq!((&*record.handle, &record.registration), (&b"node-1/17"[..], &registration));
/// # Ok(())
/// # }
/// ```
///
/// # What is in Redis
///
/// One hash for each owner, `xmpp-sm:{juliet@example.com}`: its sessions, the stale `h`, and its last epoch; and one
/// string for each session that is parked, the same name with its epoch and revision behind it: the snapshot. Where
/// changes were appended since it is a list, with `+` and the SM-ID behind that. The name in braces is the hash tag:
/// all that is kept for an owner lies on one node of a cluster. Each call is one script: it happens as a whole or not
/// at all, and takes one round trip, or two where another node has just registered a session of the owner.
///
/// | | |
/// | --- | --- |
/// | epochs | microseconds by the engine's clock, and always more than the owner's last: a Redis that has lost everything does not give one again. Its clock must not be set back by more than an hour, nor differ by that between a primary and the replica that takes its place |
/// | stale `h` | go by the engine's clock, at the latest an hour after the owner's last session; there is nothing to sweep |
/// | sessions | stay until they are retired or removed, or as long as [`session_ttl`](Self::session_ttl) says |
/// | parked sessions | go with their record; one without stanzas takes 384 bytes in all, and each stanza its own and some 5 |
/// | a dead node | [`sessions_at`](Self::sessions_at) lists what it had, and [`remove`](AsyncSessionStore::remove) takes it out |
/// | several sessions in one [`append`](crate::Journal::append) | on one Redis always; on a cluster if they are of one owner, or lie in one slot by chance: else [`Apart`](RedisStoreError::Apart), and nothing has changed |
/// | bounds | [`per_owner`](Self::per_owner), [`stale_per_owner`](Self::stale_per_owner): 10 each, as in [`MemoryStore`](crate::MemoryStore). How much there may be in all is the engine's `maxmemory` |
///
/// # What can go wrong
///
/// [`RedisStoreError`] says which of it is known to have changed nothing. A `register` that was given up and comes late
/// is void if the owner has had another since.
///
/// With `noeviction` a Redis without memory refuses new sessions, snapshots and changes. Those that it has it still finds,
/// retires, removes, unparks, and gives to those who claim them. With `allkeys-lru` it forgets owners, and what is kept of a
/// session, each as a whole. A session of such an owner cannot be resumed, and is [lost](crate::Fence::Lost) to a host that
/// parks it; one of which nothing is kept any more is [not parked](crate::Claim::NotParked), and changes to it are
/// [refused](RedisStoreError::Evicted). So where sessions are promised to last, nothing may be evicted.
///
/// A Redis that is killed and writes nothing down forgets everything, or its last second; a replica may lack the newest
/// registrations and changes when it takes over. Sessions that are not written down go on as long as they have their streams.
pub struct RedisStore<Connection> {
    connection: Connection,
    keys: Keys,
    scripts: Arc<Scripts>,
    stale_h: StaleH,
    at_cap: AtCap,
    per_owner: NonZeroUsize,
    stale_per_owner: NonZeroUsize,
    session_ttl: Option<Duration>,
    /// The latest of the engine's times that has been seen, by which a registration is found to be late.
    seen: AtomicU64,
}

/// How often a registration gives way to others of its owner.
const TRIES: usize = 100;

impl<Connection> RedisStore<Connection> {
    /// Returns a store over this connection that keeps the last `h` of sessions as [`stale_h`](Config::stale_h) says.
    /// Nothing is sent yet.
    pub fn new(connection: Connection, config: &Config) -> Self {
        let ten = NonZeroUsize::MIN.saturating_add(9);
        Self {
            connection,
            keys: Keys::new("xmpp-sm"),
            scripts: Arc::new(Scripts::new()),
            stale_h: config.stale_h,
            at_cap: AtCap::default(),
            per_owner: ten,
            stale_per_owner: ten,
            session_ttl: None,
            seen: AtomicU64::new(0),
        }
    }

    /// Sets what every key begins with. Default: `xmpp-sm`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.keys = Keys::new(prefix);
        self
    }

    /// Sets how many sessions one owner may have. Default: 10. Each call that writes looks through those of one owner.
    #[must_use]
    pub fn per_owner(mut self, sessions: NonZeroUsize) -> Self {
        self.per_owner = sessions;
        self
    }

    /// Sets what happens to a new session where the owner has as many. Default: [`AtCap::EvictOldest`].
    #[must_use]
    pub fn at_cap(mut self, policy: AtCap) -> Self {
        self.at_cap = policy;
        self
    }

    /// Sets how many stale `h` of one owner are remembered. Default: 10. The oldest go first.
    #[must_use]
    pub fn stale_per_owner(mut self, records: NonZeroUsize) -> Self {
        self.stale_per_owner = records;
        self
    }

    /// Sets for how long a session is known after it was registered, [parked](crate::Parking::park), unparked or claimed.
    /// Default: for ever. A host that sets it does one of these in less than that with each of its sessions; those of a node
    /// that has died go by themselves, with what is kept of them. It is longer than a session waits for its client.
    #[must_use]
    pub fn session_ttl(mut self, ttl: Duration) -> Self {
        self.session_ttl = Some(ttl);
        self
    }

    fn saw(&self, time: u64) {
        self.seen.fetch_max(time, Ordering::Relaxed);
    }

    /// For how long a session is known, in microseconds. `0`: for ever.
    fn life(&self) -> String {
        self.session_ttl.unwrap_or_default().as_micros().to_string()
    }

    /// For how long a stale `h` is remembered, in microseconds. `-1`: not at all.
    fn stale_life(&self) -> String {
        if self.stale_h.enabled { self.stale_h.geriatric.as_micros().to_string() } else { "-1".to_owned() }
    }
}

impl<Connection: ConnectionLike + Clone + Send + Sync> RedisStore<Connection> {
    /// Returns sessions whose handle begins with these bytes, such as `node-1/`: those that a node had which is dead. A
    /// host [claims](crate::Parking::claim) them or [removes](AsyncSessionStore::remove) them, or leaves it to the next client
    /// that asks for one of them. Those that were [displaced](crate::Registered::displaced) are among them if they are parked.
    ///
    /// It looks through some hundred owners, beginning with the cursor 0, and returns the cursor to go on with; `None`:
    /// that was all. What is registered meanwhile may be missing, and a session may come twice. A cluster's nodes are
    /// asked one by one, each over a connection of its own.
    ///
    /// This is for a cluster whose sessions are never parked. Where they are, each is claimed instead, and removed only if it
    /// was [not parked](crate::Claim::NotParked).
    ///
    /// ```no_run
    /// # use xmpp_sm::{AsyncSessionStore, RedisStore, RedisStoreError};
    /// # async fn example(store: RedisStore<redis::aio::MultiplexedConnection>) -> Result<(), RedisStoreError> {
    /// let mut cursor = Some(0);
    /// while let Some(at) = cursor {
    ///     let (sessions, next) = store.sessions_at(b"node-1/", at).await?;
    ///     for session in sessions {
    ///         store.remove(&session.registration).await?;
    ///     }
    ///     cursor = next;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The engine failed. What is under our keys and not ours is left out.
    pub async fn sessions_at(
        &self,
        handle: &[u8],
        cursor: u64,
    ) -> Result<(Vec<Record<Bytes>>, Option<u64>), RedisStoreError> {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(self.keys.pattern()).arg("COUNT").arg(500).arg("TYPE").arg("hash");
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut self.connection.clone()).await?;
        let mut sessions = Vec::new();
        for key in keys {
            let Some(owner) = self.keys.owner(&key) else { continue };
            let mut reply = match self.run(&self.scripts.list, &[key], &[handle]).await {
                Err(RedisStoreError::Foreign) => continue,
                reply => reply?,
            };
            while !reply.is_over() {
                sessions.push(reply.record(&owner)?);
            }
        }
        Ok((sessions, Some(next).filter(|next| *next != 0)))
    }

    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[&[u8]]) -> Result<Reply, RedisStoreError> {
        let mut reply = script.run(self.connection.clone(), keys, args).await?;
        self.saw(reply.number()?);
        Ok(reply)
    }
}

impl<Connection: ConnectionLike + Clone + Send + Sync> AsyncSessionStore for RedisStore<Connection> {
    /// What tells the hosts where the session is: a node and a number, for instance.
    type Handle = Bytes;
    type Error = RedisStoreError;

    async fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: Bytes,
        _now: Instant,
    ) -> Result<Registered<Bytes>, RedisStoreError> {
        let refuses: &[u8] = if self.at_cap == AtCap::Refuse { b"1" } else { b"0" };
        let life = self.life();
        let (most, most_stale) = (self.per_owner.to_string(), self.stale_per_owner.to_string());
        let stale_life = self.stale_life();
        let keys = [self.keys.of(owner)];
        for _ in 0..TRIES {
            let known = self.seen.load(Ordering::Relaxed).to_string();
            let smid_bytes = smid.as_bytes();
            let known = known.as_bytes();
            let bounds = [most.as_bytes(), refuses, life.as_bytes(), most_stale.as_bytes(), stale_life.as_bytes()];
            let [most, refuses, life, most_stale, stale_life] = bounds;
            let args = [smid_bytes, &handle, known, most, refuses, life, most_stale, stale_life];
            let mut reply = self.run(&self.scripts.register, &keys, &args).await?;
            match reply.bytes()?.as_ref() {
                b"registered" => {
                    let epoch = Epoch::new(reply.time());
                    let displaced = if reply.is_over() { None } else { Some(reply.record(owner)?) };
                    return Ok(Registered {
                        registration: Registration::new(owner.clone(), smid.clone(), epoch),
                        displaced,
                    });
                }
                b"full" => return Err(RedisStoreError::OwnerFull),
                // Late: the reply has told the time, and it is asked for again.
                _ => {}
            }
        }
        Err(RedisStoreError::Contended)
    }

    async fn lookup(&self, smid: &SmId, owner: &str, _now: Instant) -> Result<Lookup<Bytes>, RedisStoreError> {
        let mut reply = self.run(&self.scripts.lookup, &[self.keys.of(owner)], &[smid.as_bytes()]).await?;
        Ok(match reply.bytes()?.as_ref() {
            b"session" => {
                let registration = Registration::new(owner, smid.clone(), Epoch::new(reply.number()?));
                Lookup::Session(Record { registration, handle: reply.bytes()? })
            }
            b"stale" => {
                let h = u32::try_from(reply.number()?).map_err(|_| RedisStoreError::Foreign)?;
                Lookup::StaleH(Counter::new(h))
            }
            _ => Lookup::NotFound,
        })
    }

    async fn retire(&self, registration: &Registration, h: Counter, _now: Instant) -> Result<(), RedisStoreError> {
        let (epoch, h) = (registration.epoch().get().to_string(), h.get().to_string());
        let (most_stale, stale_life) = (self.stale_per_owner.to_string(), self.stale_life());
        let texts = [&epoch, &h, &most_stale, &stale_life].map(|text| text.as_bytes());
        let [epoch, h, most_stale, stale_life] = texts;
        let args = [registration.smid().as_bytes(), epoch, h, most_stale, stale_life];
        let keys = [self.keys.of(registration.owner())];
        self.run(&self.scripts.retire, &keys, &args).await?;
        Ok(())
    }

    async fn remove(&self, registration: &Registration) -> Result<(), RedisStoreError> {
        let (epoch, most_stale) = (registration.epoch().get().to_string(), self.stale_per_owner.to_string());
        let args = [registration.smid().as_bytes(), epoch.as_bytes(), most_stale.as_bytes()];
        let keys = [self.keys.of(registration.owner())];
        self.run(&self.scripts.remove, &keys, &args).await?;
        Ok(())
    }
}

/// No connection, which may have a password.
impl<Connection> fmt::Debug for RedisStore<Connection> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("keys", &self.keys).finish_non_exhaustive()
    }
}
