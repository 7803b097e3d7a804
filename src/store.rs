//! The contract of the tables that outlive every stream: which session has which SM-ID, and the last `h`
//! of those that are gone.

mod memory;

use std::time::Instant;

pub use memory::{AtCap, MemoryStore, StoreError};

use crate::counter::Counter;
use crate::smid::SmId;

/// The smid table and the stale-h table of a host.
///
/// The host calls it, never [`StreamMgmt`](crate::StreamMgmt): a host whose store is in another process
/// awaits it between a token and its `accept_*`.
///
/// # Contract
///
/// - Every method is atomic: of two calls, one sees all that the other did or nothing.
/// - SM-IDs are untrusted, those given to [`lookup`](Self::lookup) at least: any text of 1 to 4000 bytes.
///   The `owner` is trusted: the authenticated bare JID, normalized by the host.
/// - An answer never tells a stranger that an SM-ID exists: what is not the `owner`'s is
///   [`NotFound`](Lookup::NotFound), as what never was.
/// - Every [`register`](Self::register) gives a new [`Epoch`]. `retire` and `remove` act only if the
///   record is still of the epoch that they name, and are no errors otherwise: a session that dies late
///   does not take its successor's record with it.
/// - A stale `h` is answered as often as it is asked for, and never when it is older than the store's
///   limit, swept or not. It may be lost at any time (a cap, a restart): the answer is then `NotFound`.
///   A registration may be lost only with the session itself.
/// - `now` is the host's monotonic clock.
///
/// The trait can be made into an object, `dyn SessionStore<Sid = ..., Error = ...>`.
///
/// [`MemoryStore`] is the reference; `tests/store_conformance.rs` checks any store against this.
pub trait SessionStore: Send + Sync {
    /// The host's handle for the owner of a session, whatever reaches it: a channel, a node and a number.
    type Sid;
    /// What can go wrong in the store itself.
    type Error;

    /// Makes the session known under its SM-ID: when it is enabled, and again, with its new place, when
    /// it is resumed. An earlier registration or stale `h` of the same SM-ID and owner is replaced.
    ///
    /// # Errors
    ///
    /// The SM-ID is another owner's, a cap is reached, or the store failed. Nothing has changed then.
    fn register(&self, smid: &SmId, owner: &str, sid: Self::Sid) -> Result<Registered<Self::Sid>, Self::Error>;

    /// What is known about an SM-ID that this owner asks for.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<Self::Sid>, Self::Error>;

    /// The session is gone: forgets it and, if the store keeps them, remembers its last `h`.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn retire(&self, smid: &SmId, epoch: Epoch, h: Counter, now: Instant) -> Result<(), Self::Error>;

    /// Forgets the session and its `h`: it was closed in good order, nobody will ask.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn remove(&self, smid: &SmId, epoch: Epoch) -> Result<(), Self::Error>;

    /// Drops stale records that are too old to be answered, and tells how many. It costs by what it drops.
    fn sweep(&self, now: Instant) -> usize;

    /// When the host shall call [`sweep`](Self::sweep) next, if it shall; a [`retire`](Self::retire) may
    /// change the answer.
    fn next_sweep(&self) -> Option<Instant>;
}

/// One registration of a session: no two of a store are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// For those who write a store: numbers that only go up.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A session is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the epoch is needed to take the record out again"]
pub struct Registered<Sid> {
    /// Which registration this is.
    pub epoch: Epoch,
    /// The session that had to make room for it: the host ends it, with
    /// [`Ending::Replaced`](crate::Ending::Replaced). Its record is gone, and its `h` is not remembered.
    pub evicted: Option<Evicted<Sid>>,
}

/// A session whose record is gone. Its owner ends it if it still is of that registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted<Sid> {
    /// Its SM-ID.
    pub smid: SmId,
    /// The registration that was taken out.
    pub epoch: Epoch,
    /// Where it is.
    pub sid: Sid,
}

/// The three answers to a question for an SM-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup<Sid> {
    /// The session lives, there.
    Session(Sid),
    /// It is gone; this was its last `h`.
    StaleH(Counter),
    /// Nothing is known, or it is not this owner's.
    NotFound,
}
