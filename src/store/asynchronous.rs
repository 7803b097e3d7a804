//! The contract of the tables where they are in another process.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::{Lookup, Registered, Registration, SessionStore};
use crate::counter::Counter;
use crate::smid::SmId;

/// The smid table and the stale-h table of a host whose store is in another process, or of several hosts that share
/// one.
///
/// Every [`SessionStore`] is one, whose futures are ready at once: a host that is written for this trait runs on
/// either. It names no runtime. The futures are `Send`. [`nodes`](crate::nodes) has a host around such a store, and what
/// [a store of your own](crate::nodes#a-store-of-your-own) needs.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{AsyncSessionStore, Condition, Config, Lookup, MemoryStore, Record, SmId};
///
/// /// Where the session is that a client asks for; or why it is refused.
/// async fn find<S>(store: &S, smid: &SmId, owner: &str) -> Result<Record<S::Handle>, Condition>
/// where
///     S: AsyncSessionStore,
/// {
///     match store.lookup(smid, owner, Instant::now()).await {
///         Ok(Lookup::Session(record)) => Ok(record),
///         Ok(Lookup::StaleH(_) | Lookup::NotFound) => Err(Condition::ItemNotFound),
///         // Unknown. The session may live, and its client asks again.
///         Err(_) => Err(Condition::InternalServerError),
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let store = MemoryStore::new(&Config::default());
/// let smid = SmId::random()?;
/// store.register(&smid, &"juliet@example.com".into(), "node-1/17", Instant::now()).await?;
/// assert_eq!(find(&store, &smid, "juliet@example.com").await.map(|record| record.handle), Ok("node-1/17"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Contract
///
/// That of [`SessionStore`], word by word, and beyond it:
///
/// - **Unknown is not absent.** [`NotFound`](Lookup::NotFound) is said of what the store knows that it has not. A store that
///   cannot be reached, does not answer in time or cannot make sense of what it holds says so by an error, and the client's
///   `<resume/>` is refused so that it asks again:
///   [`internal-server-error`](crate::Condition::InternalServerError) or
///   [`resource-constraint`](crate::Condition::ResourceConstraint).
/// - **After an error it is unknown whether the call was carried out**, or will be yet, unless the error says it.
/// - **`lookup`, `retire` and `remove` are made again as they were.** To retire what is retired or removed changes nothing,
///   nor does to remove what is removed; to remove what is retired drops its stale `h`. One that is carried out late is
///   fenced by its [`Registration`], and harms no later session.
/// - **`register` is made again under another SM-ID.** The call that failed may be carried out at any time, and would take
///   the place of a session that was registered under its SM-ID meanwhile. No client has heard of that SM-ID, so the record that
///   it may have made belongs to no session: it takes a place among those of its owner until it is the oldest, and goes as that of
///   a dead node does. A store that can tell that a `register` comes late leaves it out, and says so.
/// - **[`displaced`](Registered::displaced) is told once**, and may be lost with its answer. A session that was displaced
///   cannot be found any more, and ends by its own deadline.
/// - **A future that is dropped** is a call without an answer: it is carried out or it is not.
/// - Futures do not block, and end in a time that the host has set: a store that waits without end for its engine keeps
///   clients waiting that could be refused.
/// - `now` is the host's monotonic clock. A store that several hosts share goes by a clock of its own instead: theirs differ.
///
/// `store_tests`, behind the feature `store-tests`, checks any store against all this.
pub trait AsyncSessionStore: Send + Sync {
    /// How the hosts reach the task that has a session: a node and a number.
    type Handle: Send;
    /// What can go wrong in the store itself.
    type Error: Send;

    /// Makes the session known under its SM-ID, as [`SessionStore::register`] does.
    ///
    /// # Errors
    ///
    /// A cap is reached, and nothing has changed; or the store failed, and the session may be registered or not, or
    /// will be yet. The host tries again under [another SM-ID](Self#contract), or goes on with a session that cannot be
    /// resumed.
    fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: Self::Handle,
        now: Instant,
    ) -> impl Future<Output = Result<Registered<Self::Handle>, Self::Error>> + Send;

    /// Returns what is known about an SM-ID that this owner asks for, as [`SessionStore::lookup`] does.
    ///
    /// # Errors
    ///
    /// It is not known whether there is such a session.
    fn lookup(
        &self,
        smid: &SmId,
        owner: &str,
        now: Instant,
    ) -> impl Future<Output = Result<Lookup<Self::Handle>, Self::Error>> + Send;

    /// Forgets a session that has ended and remembers its last `h`, as [`SessionStore::retire`] does.
    ///
    /// # Errors
    ///
    /// The store failed: it may know the session, its `h`, or neither.
    fn retire(
        &self,
        registration: &Registration,
        h: Counter,
        now: Instant,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Forgets the session and its `h`, as [`SessionStore::remove`] does.
    ///
    /// # Errors
    ///
    /// The store failed, and may know the session or not.
    fn remove(&self, registration: &Registration) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl<S> AsyncSessionStore for S
where
    S: SessionStore<Handle: Send, Error: Send>,
{
    type Handle = S::Handle;
    type Error = S::Error;

    async fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: S::Handle,
        now: Instant,
    ) -> Result<Registered<S::Handle>, S::Error> {
        SessionStore::register(self, smid, owner, handle, now)
    }

    async fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<S::Handle>, S::Error> {
        SessionStore::lookup(self, smid, owner, now)
    }

    async fn retire(&self, registration: &Registration, h: Counter, now: Instant) -> Result<(), S::Error> {
        SessionStore::retire(self, registration, h, now)
    }

    async fn remove(&self, registration: &Registration) -> Result<(), S::Error> {
        SessionStore::remove(self, registration)
    }
}
