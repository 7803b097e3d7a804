//! The store of a host that keeps its sessions in one process.

mod caps;
mod fading;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use thiserror::Error;

use super::{Epoch, Evicted, Lookup, Registered, SessionStore};
use crate::config::{Config, StaleH};
use crate::counter::Counter;
use crate::smid::SmId;
use caps::Caps;
use fading::Fading;

/// A [`SessionStore`] in memory.
///
/// Sessions are spread over many tables, each behind a lock of its own that is held for one operation. With
/// a cap set, registering and taking out go one at a time; lookups never do.
///
/// ```
/// use std::time::Instant;
/// use xmpp_sm::{Config, Lookup, MemoryStore, SessionStore, SmId};
///
/// let now = Instant::now();
/// let store = MemoryStore::new(&Config::default());
/// let smid = SmId::random()?;
/// let registered = store.register(&smid, "juliet@example.com", 17)?;
/// assert_eq!(store.lookup(&smid, "juliet@example.com", now)?, Lookup::Session(17));
/// assert_eq!(store.lookup(&smid, "romeo@example.net", now)?, Lookup::NotFound);
/// store.remove(&smid, registered.epoch)?;
/// assert_eq!(store.lookup(&smid, "juliet@example.com", now)?, Lookup::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MemoryStore<Sid> {
    stale_h: StaleH,
    at_cap: AtCap,
    last_epoch: AtomicU64,
    // Locks are taken in this order. Who holds `caps` may take two of the tables.
    caps: Option<Mutex<Caps>>,
    tables: [Mutex<Table<Sid>>; TABLES],
    fading: Mutex<Fading>,
}

/// What happens to a new session when a cap is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtCap {
    /// It is not registered.
    #[default]
    Refuse,
    /// It takes the place of the session that was registered longest ago: of its owner's sessions, or of
    /// all, whichever cap is reached.
    EvictOldest,
}

/// Why a session was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The SM-ID is another owner's.
    #[error("the SM-ID is in use")]
    Taken,
    /// The owner has as many sessions as it may have.
    #[error("too many sessions of one owner")]
    OwnerFull,
    /// There are as many sessions as there may be.
    #[error("too many sessions")]
    Full,
}

/// Enough that threads seldom meet, few enough that an empty store is small.
const TABLES: usize = 64;

type Table<Sid> = HashMap<SmId, Record<Sid>>;

#[derive(Debug)]
struct Record<Sid> {
    owner: Box<str>,
    state: State<Sid>,
}

#[derive(Debug)]
enum State<Sid> {
    Live {
        epoch: NonZeroU64,
        sid: Sid,
    },
    /// The session is gone. What is known of it stands at this place among the fading.
    Stale {
        place: u64,
    },
}

impl<Sid> MemoryStore<Sid> {
    /// A store without sessions, that keeps the last `h` of those that go as
    /// [`stale_h`](Config::stale_h) says.
    pub fn new(config: &Config) -> Self {
        Self {
            stale_h: config.stale_h,
            at_cap: AtCap::Refuse,
            last_epoch: AtomicU64::new(0),
            caps: None,
            tables: std::array::from_fn(|_| Mutex::default()),
            fading: Mutex::default(),
        }
    }

    /// How many sessions one owner may have. Default: any number.
    #[must_use]
    pub fn per_owner(mut self, sessions: NonZeroUsize) -> Self {
        self.caps.get_or_insert_default().get_mut().per_owner = Some(sessions);
        self
    }

    /// How many sessions there may be in all. Default: any number.
    #[must_use]
    pub fn in_all(mut self, sessions: NonZeroUsize) -> Self {
        self.caps.get_or_insert_default().get_mut().in_all = Some(sessions);
        self
    }

    /// What happens to a new session when either is reached. Default: it is refused.
    #[must_use]
    pub fn at_cap(mut self, policy: AtCap) -> Self {
        self.at_cap = policy;
        self
    }

    /// How many stale `h` are remembered; a new one takes the place of the oldest. Default:
    /// 2<sup>20</sup>.
    #[must_use]
    pub fn stale_max(mut self, records: NonZeroUsize) -> Self {
        self.fading.get_mut().max = records;
        self
    }

    /// How many sessions are registered. Not exact while other threads register and take out.
    pub fn len(&self) -> usize {
        let records = self.tables.iter().fold(0_usize, |sum, table| sum.saturating_add(table.lock().len()));
        records.saturating_sub(self.stale_len())
    }

    /// Whether no session is registered, with the same reservation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many stale `h` are remembered, those included that are too old and not swept yet.
    pub fn stale_len(&self) -> usize {
        self.fading.lock().len()
    }

    /// Takes a session out to make room for `newcomer`, whose table is locked.
    fn evict(
        &self,
        epoch: NonZeroU64,
        smid: SmId,
        newcomer: &SmId,
        table: &mut Table<Sid>,
        caps: &mut Caps,
    ) -> Option<Evicted<Sid>> {
        let is_same = std::ptr::eq(self.table(&smid), self.table(newcomer));
        let record = if is_same { table.remove(&smid) } else { self.table(&smid).lock().remove(&smid) };
        let Record { owner, state: State::Live { sid, .. } } = record? else { return None };
        caps.remove(&owner, epoch);
        Some(Evicted { smid, epoch: Epoch::new(epoch.get()), sid })
    }

    fn table(&self, smid: &SmId) -> &Mutex<Table<Sid>> {
        // A random SM-ID is even enough in its last bytes, and others differ there more than in their first; a poor
        // one costs waiting, nothing else.
        let bytes = smid.as_bytes();
        let short = || bytes.iter().fold(0_u64, |end, byte| end << 8 | u64::from(*byte));
        let end = bytes.last_chunk().map_or_else(short, |end| u64::from_be_bytes(*end));
        let [mixed, ..] = end.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let [first, ..] = &self.tables;
        self.tables.get(usize::from(mixed) % TABLES).unwrap_or(first)
    }

    fn next_epoch(&self) -> NonZeroU64 {
        // 2^64 registrations take longer than any process lives.
        let last = self.last_epoch.fetch_add(1, Ordering::Relaxed);
        NonZeroU64::MIN.saturating_add(last)
    }

    fn is_too_old(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) > self.stale_h.geriatric
    }

    /// Whether this record has left the fading and is only not taken out yet: it is as good as gone, or a
    /// sweep would not be atomic.
    fn is_faded(&self, record: &Record<Sid>) -> bool {
        matches!(record.state, State::Stale { place } if self.fading.lock().get(place).is_none())
    }

    /// Takes out the records of those that have faded, and tells how many there were.
    fn bury(&self, faded: impl IntoIterator<Item = (u64, SmId)>) -> usize {
        let stale = |(place, smid): &(u64, SmId)| {
            let mut table = self.table(smid).lock();
            let is_it =
                table.get(smid).is_some_and(|record| matches!(record.state, State::Stale { place: p } if p == *place));
            is_it && table.remove(smid).is_some()
        };
        faded.into_iter().filter(stale).count()
    }
}

impl<Sid: Clone + Send> SessionStore for MemoryStore<Sid> {
    type Sid = Sid;
    type Error = StoreError;

    fn register(&self, smid: &SmId, owner: &str, sid: Sid) -> Result<Registered<Sid>, StoreError> {
        // Dropped after the locks are free: a `Sid` may do whatever it likes then.
        let _former;
        let mut caps = self.caps.as_ref().map(Mutex::lock);
        let mut table = self.table(smid).lock();
        let entry = table.entry(smid.clone());
        let known = match &entry {
            Entry::Occupied(record) if *record.get().owner != *owner && !self.is_faded(record.get()) => {
                return Err(StoreError::Taken);
            }
            Entry::Occupied(record) => match record.get().state {
                State::Live { epoch, .. } => Some(epoch),
                State::Stale { .. } => None,
            },
            Entry::Vacant(_) => None,
        };
        let oldest = match &caps {
            Some(caps) if known.is_none() => caps.in_the_way(owner, self.at_cap)?,
            _ => None,
        };
        let epoch = self.next_epoch();
        let state = State::Live { epoch, sid };
        match entry {
            Entry::Occupied(mut record) => {
                let record = record.get_mut();
                if *record.owner != *owner {
                    record.owner = owner.into();
                }
                let former = std::mem::replace(&mut record.state, state);
                if let State::Stale { place } = former {
                    self.fading.lock().forget(place);
                }
                _former = former;
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Record { owner: owner.into(), state });
            }
        }
        let mut evicted = None;
        if let Some(caps) = &mut caps {
            if let Some(known) = known {
                caps.remove(owner, known);
            }
            caps.insert(owner, epoch, smid.clone());
            evicted = oldest.and_then(|(oldest, victim)| self.evict(oldest, victim, smid, &mut table, caps));
        }
        Ok(Registered { epoch: Epoch::new(epoch.get()), evicted })
    }

    fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<Sid>, StoreError> {
        let table = self.table(smid).lock();
        let Some(record) = table.get(smid).filter(|record| *record.owner == *owner) else {
            return Ok(Lookup::NotFound);
        };
        Ok(match &record.state {
            State::Live { sid, .. } => Lookup::Session(sid.clone()),
            State::Stale { place } => match self.fading.lock().get(*place) {
                Some(stale) if !self.is_too_old(stale.since, now) => Lookup::StaleH(stale.h),
                _ => Lookup::NotFound,
            },
        })
    }

    fn retire(&self, smid: &SmId, epoch: Epoch, h: Counter, now: Instant) -> Result<(), StoreError> {
        if !self.stale_h.enabled {
            return self.remove(smid, epoch);
        }
        // Dropped after the locks are free.
        let _former;
        let mut caps = self.caps.as_ref().map(Mutex::lock);
        let mut table = self.table(smid).lock();
        let Some(record) = table.get_mut(smid) else { return Ok(()) };
        let State::Live { epoch: live, .. } = record.state else { return Ok(()) };
        if live.get() != epoch.get() {
            return Ok(());
        }
        if let Some(caps) = &mut caps {
            caps.remove(&record.owner, live);
        }
        let mut fading = self.fading.lock();
        let stale = State::Stale { place: fading.push(smid.clone(), epoch, h, now) };
        _former = std::mem::replace(&mut record.state, stale);
        let faded = fading.over_max();
        // Their records are in other tables.
        drop(fading);
        drop(table);
        self.bury(faded);
        Ok(())
    }

    fn remove(&self, smid: &SmId, epoch: Epoch) -> Result<(), StoreError> {
        // Dropped after the locks are free.
        let _former;
        let mut caps = self.caps.as_ref().map(Mutex::lock);
        let mut table = self.table(smid).lock();
        let Entry::Occupied(record) = table.entry(smid.clone()) else { return Ok(()) };
        match record.get().state {
            State::Live { epoch: live, .. } if live.get() == epoch.get() => {
                if let Some(caps) = &mut caps {
                    caps.remove(&record.get().owner, live);
                }
                _former = record.remove();
            }
            State::Stale { place } => {
                let mut fading = self.fading.lock();
                if fading.get(place).is_some_and(|stale| stale.epoch == epoch) {
                    fading.forget(place);
                    _former = record.remove();
                }
            }
            State::Live { .. } => {}
        }
        Ok(())
    }

    fn sweep(&self, now: Instant) -> usize {
        let faded = self.fading.lock().sweep(now, |since| self.is_too_old(since, now));
        // Their tables are locked after `fading` is free.
        self.bury(faded)
    }

    fn next_sweep(&self) -> Option<Instant> {
        self.fading.lock().last_sweep()?.checked_add(self.stale_h.repeat_after?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small() {
        assert_eq!(size_of::<(SmId, Record<u64>)>(), 56);
    }

    #[test]
    fn ids_spread_evenly_over_the_tables() {
        let random = |i: u64| {
            let bits = u128::from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64
                | u128::from(i.wrapping_mul(0xd1b5_4a32_d192_ed03));
            SmId::from_random(bits.to_be_bytes())
        };
        let named = |text: String| SmId::new(&text).unwrap();
        let makers: [(&str, &dyn Fn(u64) -> SmId); 4] = [
            ("random", &random),
            ("counted", &|i| named(format!("node-7/session-{i}"))),
            ("short", &|i| named(i.to_string())),
            ("by owner", &|i| named(format!("{i:04x}@node"))),
        ];
        for (name, make) in makers {
            let store = MemoryStore::<()>::new(&Config::default());
            let mut counts = [0_u32; TABLES];
            for i in 0..6400 {
                let table = store.table(&make(i));
                counts[store.tables.iter().position(|other| std::ptr::eq(other, table)).unwrap()] += 1;
            }
            assert!(counts.iter().all(|count| (50..200).contains(count)), "{name}: {counts:?}");
        }
    }
}
