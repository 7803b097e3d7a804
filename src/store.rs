//! The contract of the tables that outlive every stream: which session has which SM-ID, and the last `h`
//! of those that are gone.

mod asynchronous;
mod memory;
mod parking;
#[cfg(feature = "redis")]
mod redis;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "redis")]
pub use self::redis::{RedisStore, RedisStoreError};
pub use asynchronous::AsyncSessionStore;
pub use memory::{AtCap, MemoryStore, StaleRecord, StoreError};
pub use parking::{Change, Claim, Claimed, Fence, Journal, Parking, Revision};

use crate::counter::Counter;
use crate::smid::SmId;

/// The smid table and the stale-h table of a host.
///
/// The host calls it, never [`StreamMgmt`](crate::StreamMgmt). This is the face of a store in the host's own process, which
/// answers at once; a store in another process has the same two tables behind an [`AsyncSessionStore`], and every
/// `SessionStore` is one.
///
/// # Contract
///
/// - A record belongs to an owner and an SM-ID. Two owners with the same SM-ID have two records that have
///   nothing to do with each other.
/// - Every method is atomic: of two calls, one sees all that the other did or nothing.
/// - SM-IDs are untrusted, those given to [`lookup`](Self::lookup) at least: any text of 1 to 4000 bytes.
///   The `owner` is trusted: the authenticated bare JID, normalized by the host.
/// - An answer never tells a stranger that an SM-ID exists: what is not the `owner`'s is
///   [`NotFound`](Lookup::NotFound), as what never was, and takes as long to look up.
/// - Every [`register`](Self::register) gives a new [`Epoch`], higher than those that its owner got before. A store that
///   is built again gives its owners epochs that the one before it has not given them.
/// - `retire` and `remove` act only on the record of the [`Registration`] that they are given, and are no errors
///   otherwise: a session that dies late does not take its successor's record with it, nor does a host that has looked up
///   a session and found it dead.
/// - A stale `h` is answered as often as it is asked for, and never when it is older than the store's
///   limit, whether a [`Sweep`] has dropped it or not. Its age counts from `retire`. It may be lost at any time (a cap, a restart): the
///   answer is then `NotFound`. A registration may be lost only with the session itself.
/// - An owner has a bounded number of sessions. At the bound `register` is an error, or the owner's oldest is
///   [displaced](Registered::displaced).
/// - `now` is the host's monotonic clock. A store that several hosts share goes by a clock of its own.
///
/// The trait can be made into an object, `dyn SessionStore<Handle = ..., Error = ...>`.
///
/// [`MemoryStore`] is the reference. The module `store_tests`, behind the feature `store-tests`, checks any store against
/// this.
pub trait SessionStore: Send + Sync {
    /// How the host reaches the task that has a session: a channel, a node and a number.
    type Handle;
    /// What can go wrong in the store itself.
    type Error;

    /// Makes the session known under its SM-ID: when it is enabled, and again, with its new place, when
    /// it is resumed by another task. An earlier record of the same SM-ID and owner is replaced.
    ///
    /// [`Session::owner`](crate::Session::owner) has the owner as it is wanted here: the name is in memory once.
    ///
    /// # Errors
    ///
    /// A cap is reached, or the store failed. Nothing has changed then.
    fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: Self::Handle,
        now: Instant,
    ) -> Result<Registered<Self::Handle>, Self::Error>;

    /// Returns what is known about an SM-ID that this owner asks for.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<Self::Handle>, Self::Error>;

    /// Forgets a session that has ended and, if the store keeps them, remembers its last `h`. This is also the way to
    /// tell the last `h` of a session that was [`displaced`](Registered::displaced).
    ///
    /// # Errors
    ///
    /// The store failed.
    fn retire(&self, registration: &Registration, h: Counter, now: Instant) -> Result<(), Self::Error>;

    /// Forgets the session and its `h`: it was closed in good order, and its client will not ask for it; or it is dead, and
    /// its `h` is unknown.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn remove(&self, registration: &Registration) -> Result<(), Self::Error>;
}

/// A store that forgets stale `h` only when the host calls [`sweep`](Self::sweep). A store whose engine drops what is
/// too old does not implement this trait.
///
/// See [`MemoryStore::sweep`].
pub trait Sweep {
    /// Drops stale records that are too old to be answered: a bounded number in one call, so that other calls do not
    /// wait. The host calls this again at once while [`Swept::more`] is true.
    fn sweep(&self, now: Instant) -> Swept;

    /// Returns when the host shall call [`sweep`](Self::sweep) next. The time has passed already if the last call left
    /// work behind. `None`: there is nothing to sweep. A [`retire`](SessionStore::retire) may change the answer.
    fn next_sweep(&self) -> Option<Instant>;
}

/// One registration of a session, and the way to end it: whose session it is, under which SM-ID, and which of all its
/// registrations. It comes from [`register`](SessionStore::register) and [`lookup`](SessionStore::lookup), so that the three
/// always belong together.
///
/// `Debug` shows the epoch alone: SM-IDs and owners are not for logs.
///
/// See the example of [`MemoryStore`](crate::MemoryStore).
#[derive(Clone, PartialEq, Eq, Hash)]
#[must_use = "it is needed to take the record out again"]
pub struct Registration {
    owner: Arc<str>,
    smid: SmId,
    epoch: Epoch,
}

impl Registration {
    /// Puts a registration together: for those who write a store.
    pub fn new(owner: impl Into<Arc<str>>, smid: SmId, epoch: Epoch) -> Self {
        Self { owner: owner.into(), smid, epoch }
    }

    /// The authenticated bare JID that the session belongs to.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// The session's SM-ID.
    pub fn smid(&self) -> &SmId {
        &self.smid
    }

    /// The number of this registration.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The number of a registration. No two of an owner are the same, and they only go up.
///
/// See the example of [`MemoryStore`](crate::MemoryStore).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Makes an epoch of a number: for those who write a store.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A session as the store knows it.
///
/// See the example of [`MemoryStore`](crate::MemoryStore).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<Handle> {
    /// The registration, to be [removed](SessionStore::remove) if the session is dead.
    pub registration: Registration,
    /// Where the session is.
    pub handle: Handle,
}

/// A session is registered.
///
/// See the example of [`MemoryStore`](crate::MemoryStore).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the registration is needed to take the record out again, and a displaced session has to end"]
pub struct Registered<Handle> {
    /// The registration, which the host keeps as long as the session lives.
    pub registration: Registration,
    /// The session of the same owner that had to make room, and cannot be found any more. `None`: there was room.
    ///
    /// The host ends the displaced session with [`EndReason::Replaced`](crate::EndReason::Replaced), unless it has been
    /// registered again since, and [retires](SessionStore::retire) it like any other session. Its client is told
    /// `NotFound` until then, and afterwards the last `h`.
    pub displaced: Option<Record<Handle>>,
}

/// The three answers to a question for an SM-ID.
///
/// See the example of [`MemoryStore`](crate::MemoryStore).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup<Handle> {
    /// The session lives, where the record says.
    Session(Record<Handle>),
    /// The session is gone, and this was its last `h`.
    StaleH(Counter),
    /// The store knows nothing of the SM-ID, or it is not this owner's.
    NotFound,
}

/// What one call of [`sweep`](Sweep::sweep) did.
///
/// See [`MemoryStore::sweep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "there may be more to sweep at once"]
pub struct Swept {
    /// How many records this call dropped.
    pub dropped: usize,
    /// `true` if more records are too old already.
    pub more: bool,
}
