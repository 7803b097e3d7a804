//! The store of a host that keeps its sessions in one process.

mod parking;
mod sessions;
mod shard;
mod stale;
mod stale_records;

use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use thiserror::Error;

use super::{Epoch, Lookup, Record, Registered, Registration, SessionStore, Sweep, Swept};
use crate::config::{Config, StaleH};
use crate::counter::Counter;
use crate::smid::SmId;
use crate::stats::{StoreStats, inc};
use sessions::{Session, Sessions};
use shard::Shard;
use stale::{Bounds, Stale};
pub use stale_records::StaleRecord;

/// A [`SessionStore`] in memory.
///
/// Owners are spread over many shards, each behind a lock of its own that is held for one operation. A call
/// costs by the few records of its owner, never by those of others.
///
/// ```
/// use std::time::Instant;
/// use xmpp_sm::{Config, Lookup, MemoryStore, SessionStore, SmId};
///
/// let now = Instant::now();
/// let store = MemoryStore::new(&Config::default());
/// let smid = SmId::random()?;
/// let registration = store.register(&smid, &"juliet@example.com".into(), 17, now)?.registration;
/// let Lookup::Session(record) = store.lookup(&smid, "juliet@example.com", now)? else { unreachable!() };
/// assert_eq!((record.handle, &record.registration), (17, &registration));
/// assert_eq!(store.lookup(&smid, "romeo@example.net", now)?, Lookup::NotFound);
/// store.remove(&registration)?;
/// assert_eq!(store.lookup(&smid, "juliet@example.com", now)?, Lookup::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Bounds
///
/// | what | default | at the bound |
/// | --- | --- | --- |
/// | sessions of one owner: [`per_owner`](Self::per_owner) | 10 | [`at_cap`](Self::at_cap): the owner's oldest makes room |
/// | sessions in all: [`in_all`](Self::in_all) | none | the same; an owner without a session is refused |
/// | stale `h` of one owner: [`stale_per_owner`](Self::stale_per_owner) | 10 | the owner's oldest goes |
/// | bytes of all stale `h`: [`stale_bytes`](Self::stale_bytes) | 32 MiB | the owner's oldest go; an owner's only one takes the place of the oldest of its shard |
///
/// An owner's sessions never make room for another's.
pub struct MemoryStore<Handle> {
    stale_h: StaleH,
    at_cap: AtCap,
    per_owner: NonZeroUsize,
    in_all: Option<InAll>,
    stale_bounds: Bounds,
    /// Each in a box: together they are too big for a small stack, which a new store would come from.
    shards: [Box<Mutex<Shard<Handle>>>; SHARDS],
    /// The latest time of a sweep. No stale `h` that was too old then is answered, dropped yet or not: a sweep takes
    /// effect at one moment. Locked alone or after a shard.
    swept: Mutex<Option<Instant>>,
    /// Held by a sweep, before all others: two at once would meet at each shard.
    sweeping: Mutex<()>,
}

/// How many sessions there may be, and are. Where there is no such cap, no session is counted here: all threads would wait
/// for this number.
struct InAll {
    most: NonZeroUsize,
    /// It changes while the owner's shard is locked.
    sessions: AtomicUsize,
}

/// What happens to a new session when a cap is reached.
///
/// An option: [`MemoryStore::at_cap`](crate::MemoryStore::at_cap).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtCap {
    /// It is not registered.
    Refuse,
    /// It takes the place of that session of the same owner which was registered longest ago. An owner
    /// without a session is refused.
    #[default]
    EvictOldest,
}

/// Why a session was not registered: its stream goes on, and it [cannot be resumed](crate::nodes#what-a-host-meets).
///
/// See the example of [`MemoryStore`](crate::MemoryStore).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The owner has as many sessions as it may have.
    #[error("too many sessions of one owner")]
    OwnerFull,
    /// There are as many sessions as there may be.
    #[error("too many sessions")]
    Full,
}

/// Enough that threads seldom meet, few enough that an empty store is small.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 6;

/// How many stale records one sweep drops at most: some hundred microseconds of work.
const SWEEP_MAX: usize = 1000;

impl<Handle> MemoryStore<Handle> {
    /// Returns a store without sessions that keeps the last `h` of those that go as
    /// [`stale_h`](Config::stale_h) says.
    pub fn new(config: &Config) -> Self {
        let ten = NonZeroUsize::MIN.saturating_add(9);
        // A new store does not repeat the epochs of the one before. Half of all numbers are left.
        let mut epoch = RandomState::new().hash_one("epoch") >> 1;
        // No two shards give the same: each goes on in steps of their number.
        let shards = std::array::from_fn(|_| {
            epoch = epoch.saturating_add(1);
            Box::new(Mutex::new(Shard::new(epoch)))
        });
        Self {
            stale_h: config.stale_h,
            at_cap: AtCap::default(),
            per_owner: ten,
            in_all: None,
            stale_bounds: Bounds { per_owner: ten.get(), bytes: (32 << 20) / SHARDS },
            shards,
            swept: Mutex::default(),
            sweeping: Mutex::default(),
        }
    }

    /// Sets how many sessions one owner may have. Default: 10. Each call looks through those of one owner:
    /// they should be few.
    #[must_use]
    pub fn per_owner(mut self, sessions: NonZeroUsize) -> Self {
        self.per_owner = sessions;
        self
    }

    /// Sets how many sessions there may be in all. Default: any number.
    #[must_use]
    pub fn in_all(mut self, sessions: NonZeroUsize) -> Self {
        self.in_all = Some(InAll { most: sessions, sessions: AtomicUsize::new(self.len()) });
        self
    }

    /// Sets what happens to a new session when either is reached. Default: [`AtCap::EvictOldest`].
    #[must_use]
    pub fn at_cap(mut self, policy: AtCap) -> Self {
        self.at_cap = policy;
        self
    }

    /// Sets how many stale `h` of one owner are remembered, displaced sessions included whose `h` is still
    /// to come. Default: 10. The oldest go first.
    #[must_use]
    pub fn stale_per_owner(mut self, records: NonZeroUsize) -> Self {
        self.stale_bounds.per_owner = records.get();
        self
    }

    /// Sets how many bytes all stale `h` may take, keys and owners included. Default: 32 MiB, which is
    /// enough for some 80 000 owners with one. Each of 64 shards has its share.
    ///
    /// Where a share is used up, an owner's record takes the place of its own older ones. Only if it has no
    /// others, it takes the place of the oldest of its shard: an account cannot flush what is remembered of
    /// others by making more and more records of its own.
    #[must_use]
    pub fn stale_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.stale_bounds.bytes = bytes.get() / SHARDS;
        self
    }

    /// Returns how many sessions are registered. Not exact while other threads change them.
    pub fn len(&self) -> usize {
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.lock().len))
    }

    /// Returns whether no session is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many stale `h` are remembered, those included that are too old and not swept yet, and
    /// those of displaced sessions that are still to come. Not exact while other threads change them.
    pub fn stale_len(&self) -> usize {
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.lock().stale.len()))
    }

    /// Returns what the store has done so far, and what it holds. Not exact while other threads change it.
    pub fn stats(&self) -> StoreStats {
        self.shards.iter().fold(StoreStats::default(), |sum, shard| {
            let shard = shard.lock();
            sum.plus(StoreStats { sessions: shard.len, stale_h: shard.stale.len(), ..shard.stats })
        })
    }

    /// Drops stale records that are too old to be answered, a thousand at most, and says whether there are more:
    /// [`Sweep::sweep`], which a host of a `MemoryStore` need not import.
    ///
    /// ```
    /// use std::time::Instant;
    /// use xmpp_sm::{Config, MemoryStore};
    ///
    /// let now = Instant::now();
    /// let store = MemoryStore::<u64>::new(&Config::default());
    /// if store.next_sweep().is_some_and(|due| due <= now) {
    ///     while store.sweep(now).more {}
    /// }
    /// ```
    pub fn sweep(&self, now: Instant) -> Swept {
        Sweep::sweep(self, now)
    }

    /// Returns when to sweep next; `None`: there is nothing to sweep. [`Sweep::next_sweep`] says more.
    pub fn next_sweep(&self) -> Option<Instant> {
        Sweep::next_sweep(self)
    }

    fn shard(&self, owner: &str) -> &Mutex<Shard<Handle>> {
        let [first, ..] = &self.shards;
        self.shards.get(Self::shard_index(owner)).unwrap_or(first)
    }

    fn shard_index(owner: &str) -> usize {
        // Poor names cost waiting, nothing else: the tables inside have hashers with random keys.
        let (words, rest) = owner.as_bytes().as_chunks();
        let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let index = mix(hash, rest) >> (u64::BITS.saturating_sub(SHARD_BITS));
        usize::try_from(index).unwrap_or_default()
    }

    /// Counts one more session, if there may be one more.
    fn reserve(&self) -> bool {
        let Some(InAll { most, sessions }) = &self.in_all else { return true };
        let one_more = |sessions: usize| (sessions < most.get()).then(|| sessions.saturating_add(1));
        sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn release(&self) {
        if let Some(in_all) = &self.in_all {
            in_all.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether this record is too old, or was at the last sweep, which may be on its way to drop it.
    fn is_gone(&self, stale: &Stale, now: Instant) -> bool {
        let latest = self.swept.lock().map_or(now, |swept| swept.max(now));
        self.is_too_old(stale.since, latest)
    }

    fn is_too_old(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) > self.stale_h.geriatric
    }
}

impl<Handle: Clone + Send> SessionStore for MemoryStore<Handle> {
    type Handle = Handle;
    type Error = StoreError;

    fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: Handle,
        now: Instant,
    ) -> Result<Registered<Handle>, StoreError> {
        // Dropped after the lock is free, as is a `handle` that is refused: it may do whatever it likes then.
        let mut _former = None;
        let _kept;
        let mut shard = self.shard(owner).lock();
        let epoch = shard.next_epoch();
        let Shard { sessions, len, stale, kept, stats, .. } = &mut *shard;
        let session = |handle| Session { smid: smid.clone(), epoch, handle };
        let of_epoch = |epoch| Registration { owner: owner.clone(), smid: smid.clone(), epoch };
        let mut displaced = None;
        match sessions.entry(owner.clone()) {
            Entry::Vacant(new) if self.reserve() => {
                new.insert(Sessions::One(session(handle)));
                *len = len.saturating_add(1);
            }
            Entry::Vacant(_) => {
                inc(&mut stats.refused);
                return Err(StoreError::Full);
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let count = known.as_slice().len();
                if let Some(at) = known.position(|session| session.smid == *smid) {
                    _former = known.replace(at, session(handle));
                } else if count < self.per_owner.get() && self.reserve() {
                    known.push(session(handle));
                    *len = len.saturating_add(1);
                } else if self.at_cap == AtCap::EvictOldest {
                    inc(&mut stats.displaced);
                    displaced = known.replace(0, session(handle));
                } else {
                    inc(&mut stats.refused);
                    let is_owner_full = count >= self.per_owner.get();
                    return Err(if is_owner_full { StoreError::OwnerFull } else { StoreError::Full });
                }
            }
        }
        inc(&mut stats.registered);
        // It may be of one that was displaced, and is a new one now.
        stale.remove(smid, owner, |_| true);
        _kept = kept.take_former(owner, smid);
        let displaced = displaced.map(|session| session.into_record(owner.clone()));
        if let Some(Record { registration, .. }) = &displaced
            && self.stale_h.enabled
        {
            let stale_h = Stale { smid: registration.smid.clone(), epoch: registration.epoch, h: None, since: now };
            stale.insert(owner, stale_h, self.stale_bounds);
        }
        Ok(Registered { registration: of_epoch(epoch), displaced })
    }

    fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<Handle>, StoreError> {
        let mut shard = self.shard(owner).lock();
        let Shard { sessions, stale, stats, .. } = &mut *shard;
        if let Some((owner, sessions)) = sessions.get_key_value(owner)
            && let Some(session) = sessions.find(smid)
        {
            inc(&mut stats.found);
            return Ok(Lookup::Session(session.clone().into_record(owner.clone())));
        }
        let stale = stale.get(smid, owner).filter(|stale| !self.is_gone(stale, now));
        let lookup = stale.and_then(|stale| stale.h).map_or(Lookup::NotFound, Lookup::StaleH);
        inc(if matches!(lookup, Lookup::NotFound) { &mut stats.not_found } else { &mut stats.found_stale_h });
        Ok(lookup)
    }

    fn retire(&self, registration: &Registration, h: Counter, now: Instant) -> Result<(), StoreError> {
        if !self.stale_h.enabled {
            return self.remove(registration);
        }
        let Registration { owner, smid, epoch } = registration;
        // Dropped after the lock is free.
        let (_former, _kept);
        let mut shard = self.shard(owner).lock();
        _former = shard.take(registration);
        _kept = shard.kept.take(registration);
        let is_awaited = |stale: &Stale| stale.epoch == *epoch && stale.h.is_none() && !self.is_gone(stale, now);
        if _former.is_some() {
            self.release();
            inc(&mut shard.stats.retired);
        } else if shard.stale.remove(smid, owner, is_awaited).is_none() {
            return Ok(());
        }
        let stale = Stale { smid: smid.clone(), epoch: *epoch, h: Some(h), since: now };
        shard.stale.insert(owner, stale, self.stale_bounds);
        Ok(())
    }

    fn remove(&self, registration: &Registration) -> Result<(), StoreError> {
        let Registration { owner, smid, epoch } = registration;
        // Dropped after the lock is free.
        let (_former, _kept);
        let mut shard = self.shard(owner).lock();
        _former = shard.take(registration);
        _kept = shard.kept.take(registration);
        if _former.is_some() {
            self.release();
            inc(&mut shard.stats.removed);
        } else {
            shard.stale.remove(smid, owner, |stale| stale.epoch == *epoch);
        }
        Ok(())
    }
}

impl<Handle> Sweep for MemoryStore<Handle> {
    fn sweep(&self, now: Instant) -> Swept {
        let _alone = self.sweeping.lock();
        let now = {
            let mut swept = self.swept.lock();
            let latest = swept.map_or(now, |swept| swept.max(now));
            *swept.insert(latest)
        };
        let mut swept = Swept::default();
        for shard in self.shards.iter() {
            let mut shard = shard.lock();
            let is_too_old = |since| self.is_too_old(since, now);
            let dropped = shard.stale.sweep(SWEEP_MAX.saturating_sub(swept.dropped), is_too_old);
            let swept_here = &mut shard.stats.swept;
            *swept_here = swept_here.saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX));
            swept.dropped = swept.dropped.saturating_add(dropped);
            swept.more |= shard.stale.oldest().is_some_and(is_too_old);
        }
        swept
    }

    fn next_sweep(&self) -> Option<Instant> {
        let repeat_after = self.stale_h.repeat_after?;
        let oldest = self.shards.iter().filter_map(|shard| shard.lock().stale.oldest()).min()?;
        match *self.swept.lock() {
            Some(swept) if self.is_too_old(oldest, swept) => Some(swept),
            swept => swept.max(Some(oldest))?.checked_add(repeat_after),
        }
    }
}

/// Counts only: owners, SM-IDs and handles are not for logs.
impl<Handle> fmt::Debug for MemoryStore<Handle> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.len(), self.stale_len());
        f.debug_struct("MemoryStore").field("sessions", &counts.0).field("stale", &counts.1).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_small() {
        assert_eq!(size_of::<(Box<str>, Sessions<u64>)>(), 56);
    }

    #[test]
    fn owners_spread_evenly_over_the_shards() {
        let makers: [fn(u32) -> String; 5] = [
            |i| format!("user{i:07}@example.com"),
            |i| i.to_string(),
            |i| format!("{:08x}@example.org", i.wrapping_mul(0x9e37_79b9)),
            |i| format!("juliet@host{i}.example.net"),
            |i| format!("somebody.with.a.long.name.{i}@a.server.with.a.long.name.example.com"),
        ];
        for make in makers {
            let mut counts = [0_u32; SHARDS];
            for i in 0..6400 {
                counts[MemoryStore::<()>::shard_index(&make(i))] += 1;
            }
            assert!(counts.iter().all(|count| (50..200).contains(count)), "{}: {counts:?}", make(1));
        }
    }
}
