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
/// with its own TLS, password and time-outs. That crate is in the host's `Cargo.toml`, too, in version 1.8 or later of 1, with
/// the features that its connection needs, such as `tokio-comp` and `connection-manager` or `cluster-async`: the
/// [page about nodes](crate::nodes) has the lines. The tests run on a single Redis, on Valkey, and on a cluster of three
/// nodes. **The connection has to have a response timeout**, and [the engine](#the-engine) settings that fit what hosts promise.
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
/// | key | type | what |
/// | --- | --- | --- |
/// | `xmpp-sm:{juliet@example.com}` | hash | one for each owner: its sessions, the stale `h`, and its last epoch |
/// | `xmpp-sm:{juliet@example.com}:1795704726313875:1` | string | the snapshot of a session, with its epoch and revision; as long as nothing was appended |
/// | `xmpp-sm:{juliet@example.com}:1795704726313875:1+CUjt…` | list | instead of that string: the snapshot, and the changes since. The SM-ID is behind `+` |
///
/// In the place of the revision is `C` after a claim, until something is written, and `D` if the session was
/// [displaced](crate::Registered::displaced). The name in braces is the hash tag: all that is kept for an owner lies on one node of a cluster. Each call is one script: it
/// happens as a whole or not at all, and takes one round trip, or two where another node has just registered a session of the
/// owner.
///
/// | | |
/// | --- | --- |
/// | epochs | microseconds by the engine's clock, and always more than the owner's last: a Redis that has lost everything does not give one again. Its clock must not be set back by more than an hour, nor differ by that between a primary and the replica that takes its place |
/// | stale `h` | go by the engine's clock, at the latest an hour after the owner's last session; there is nothing to sweep |
/// | sessions | stay until they are retired or removed, or as long as [`session_ttl`](Self::session_ttl) says |
/// | parked sessions | go with their record; one without stanzas takes 384 bytes in all, and each stanza its own and 5 or 6. With a handle of more than 26 bytes, or 11 with a [`session_ttl`](Self::session_ttl), it takes some 160 bytes more once it is claimed, unless the engine's `hash-max-listpack-value` is larger than its 64 |
/// | a dead node | [`sessions_at`](Self::sessions_at) lists what it had, and [`remove`](AsyncSessionStore::remove) takes it out |
/// | several sessions in one [`append`](crate::Journal::append) | on one Redis always; on a cluster if they are of one owner, or lie in one slot by chance: else [`Apart`](RedisStoreError::Apart), and nothing has changed |
/// | a slot of a cluster that moves to another node | calls that reach more than the owner's hash are [`Unavailable`](RedisStoreError::Unavailable) until it is there, and have changed nothing: of a session that is parked it is not known meanwhile which part is where |
/// | bounds | [`per_owner`](Self::per_owner), [`stale_per_owner`](Self::stale_per_owner): 10 each, as in [`MemoryStore`](crate::MemoryStore). How much there may be in all is the engine's `maxmemory` |
///
/// # What can go wrong
///
/// [`RedisStoreError`] says which of it is known to have changed nothing. A `register` that was given up and comes late
/// is void if the owner has had another since; where it had made way for another already, if it is ten seconds late.
///
/// With `noeviction` a Redis without memory refuses new sessions, snapshots and changes. Those that it has it still finds,
/// retires, removes, unparks, and gives to those who claim them. With `allkeys-lru` it forgets owners, and what is kept of a
/// session, each as a whole. A session of such an owner cannot be resumed, and is [lost](crate::Fence::Lost) to a host that
/// parks it; one of which nothing is kept any more is [not parked](crate::Claim::NotParked), and changes to it are
/// [refused](RedisStoreError::Evicted). So where sessions are promised to last, nothing may be evicted.
///
/// A Redis that is killed and writes nothing down forgets everything, or its last second; a replica may lack the newest
/// registrations and changes when it takes over. Sessions that are not written down go on as long as they have their streams.
///
/// # The engine
///
/// Redis 7.0 or later, or Valkey. What [`Promise::Parked`] and [`Promise::Durable`] need, for the engine can keep no more than
/// this:
///
/// | setting | needed | what it means |
/// | --- | --- | --- |
/// | `maxmemory-policy noeviction` | yes; it is the default | with any other the engine drops sessions when it is full, without a word |
/// | `maxmemory` | should be set, with room for `BGREWRITEAOF` | full, the engine refuses what is new ([`NoMemory`]), instead of being killed by the system |
/// | `appendonly yes` | yes; the default is `no` | without it an engine that dies forgets all since its last snapshot (`save`), which is minutes |
/// | `appendfsync always` | for durable | what was answered is on the disk: one `fsync` for all calls that have come in one turn of the engine's loop, before it answers them. This time is in each turn of a durable host's loop, so let [sessions write together](crate::nodes#a-nodes-loop) |
/// | `appendfsync everysec`, the default | enough for parked | the engine's process may die: what it has answered is with the kernel, but where a slow disk makes it wait. If its machine dies, the last second or two are gone: [what was lost](#what-was-lost) |
/// | `appendfsync no` | no | the same with up to half a minute |
/// | replicas | as you like | they get everything a moment later than it is answered: one that takes over may lack the last calls. `min-replicas-to-write 1` and `min-replicas-max-lag` have a primary refuse writes that is cut off from its replicas ([`Other`](RedisStoreError::Other)), which makes it seconds at most. The store does not send `WAIT`; a connection of the host's own can, behind each `EVALSHA`, and it makes a loss unlikely, not impossible |
/// | failover | persistence on all of them | a primary without it that is started again is empty, and its replicas become empty after it. By Sentinel: feature `sentinel` of the crate `redis`; what still goes to the former primary is [`ReadOnly`](RedisStoreError::ReadOnly) |
/// | cluster | as you like | feature `cluster-async`. What is of one owner lies in one slot. Slots may be moved while hosts run: see the table above |
/// | TLS | if others can read the network | `rediss://`, and of the crate `redis` the feature `tokio-rustls-comp` (and `tls-rustls-webpki-roots`, where the system has no roots) or `tokio-native-tls-comp` |
/// | a user of its own | should be | below. The keys have owners in clear, the values what people wrote to each other |
/// | clock | NTP, by slewing | epochs: see the table above. On a cluster, a `register` that comes late is void if the clocks of the nodes differ by less than it was late |
///
/// A user that can do what the store does, and no more. A test has it do all of that:
///
/// ```text
/// ACL SETUSER xmpp on >password ~xmpp-sm:* +eval +evalsha +scan +time +type +exists +del +unlink +rename +persist +pexpireat +pexpiretime +get +set +hmget +hgetall +hset +hdel +lrange +ltrim +rpush +rpushx
/// ```
///
/// # What was lost
///
/// An engine that has come back without its last calls looks like one that was away for a moment. A session that lives goes on
/// and appends to what is left; if stanzas are missing before the next change, the host that claims the session later cannot read it
/// ([`Malformed`]). So a host with durable sessions asks now and then for `master_replid` (`INFO replication`), of each primary of
/// a cluster, and calls [`host_changed`] for each of its sessions when it has changed
/// (`Mail::Changed` in [a node's loop](crate::nodes#a-nodes-loop)): they are written again, whole, from memory. It changes
/// with each restart and each failover; and also when a first replica comes or the last one is long gone, where nothing was lost,
/// and writing does no harm. Nor does a failover say that nothing was lost: `second_repl_offset` is how far the replica had come, and
/// no answer says at which offset a call was. The user above needs `+info` for that.
///
/// A session that is gone from the engine, or that the engine has as it was before its last [`park`](crate::Parking::park) or
/// claim, is [`Fence::Lost`](crate::Fence::Lost). Then [all of it](crate::nodes#a-fence-that-is-lost) goes on from memory: nothing
/// is lost while its node lives.
///
/// [`Promise::Parked`]: crate::nodes
/// [`Promise::Durable`]: crate::nodes
/// [`NoMemory`]: RedisStoreError::NoMemory
/// [`Malformed`]: crate::nodes#what-a-host-meets
/// [`host_changed`]: crate::nodes#what-a-host-meets
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

/// For how long a registration that has given way to another of its owner, and is asked for again, gives way to none.
const TURN: Duration = Duration::from_secs(10);

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
    /// Default: for ever. Those of a node that has died go by themselves then, with what is kept of them, and no host passes their
    /// stanzas on: a host that [claims](Self::sessions_at) what dead nodes had does not need it. The clock is the engine's.
    ///
    /// It is longer than a session waits for its client, and a host that sets it does one of these in less than that with each
    /// of its sessions that live. [Appending](crate::Journal::append) is none of them. A durable session is parked when
    /// its `Ledger` has heard [`host_changed`](crate::nodes#what-a-host-meets); one of which nothing is kept is registered
    /// again, and its new [`Registration`] takes the place of the one before. A session that is known no more is
    /// [`Fence::Lost`](crate::Fence::Lost) to its host.
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
    /// that asks for one of them. Those that were [displaced](crate::Registered::displaced) are among them if they are parked; one
    /// of which the engine has evicted what was kept is struck off.
    ///
    /// It looks through some hundred owners, beginning with the cursor 0, and returns the cursor to go on with; `None`:
    /// that was all. What is registered meanwhile may be missing, and a session may come twice. A cluster's nodes are
    /// asked one by one, each over a connection of its own; one to which a slot moves with a session of ours is
    /// [unavailable](RedisStoreError::Unavailable) until it has it all. It takes a script for each owner, so a host looks when a
    /// node is dead, and not for nothing.
    ///
    /// The example removes all of them: hosts that never park a session do so. Hosts that do park claim each, and remove it
    /// only if it was [not parked](crate::Claim::NotParked), as `adopt` of [a node's loop](crate::nodes#a-nodes-loop) does.
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
        let (mut sessions, most_stale) = (Vec::new(), self.stale_per_owner.to_string());
        for key in keys {
            let Some(owner) = self.keys.owner(&key) else { continue };
            let mut reply = match self.run(&self.scripts.list, &[key], &[handle, most_stale.as_bytes()]).await {
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
        let bounds = [most.as_bytes(), refuses, life.as_bytes(), most_stale.as_bytes(), stale_life.as_bytes()];
        let [most, refuses, life, most_stale, stale_life] = bounds;
        let mut known = self.seen.load(Ordering::Relaxed);
        for turn in [Duration::ZERO, TURN] {
            let (asked, turn) = (known.to_string(), turn.as_micros().to_string());
            let asked = [asked.as_bytes(), turn.as_bytes()];
            let args = [smid.as_bytes(), &handle, asked[0], asked[1], most, refuses, life, most_stale, stale_life];
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
                // Late: the reply has told the time.
                _ => known = reply.time(),
            }
        }
        Err(RedisStoreError::TimedOut)
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
