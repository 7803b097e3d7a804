//! The store of a host that keeps its sessions in one process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use thiserror::Error;

use super::{Epoch, Lookup, Registered, SessionStore};
use crate::config::{Config, StaleH};
use crate::counter::Counter;
use crate::smid::SmId;

/// A [`SessionStore`] in memory, behind one lock that is held for one operation at a time.
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
    stale_max: NonZeroUsize,
    per_owner: Option<NonZeroUsize>,
    in_all: Option<NonZeroUsize>,
    at_cap: AtCap,
    tables: Mutex<Tables<Sid>>,
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

#[derive(Debug)]
struct Tables<Sid> {
    last_epoch: u64,
    live: HashMap<SmId, Live<Sid>>,
    /// The live sessions, longest registered first.
    by_age: BTreeMap<Epoch, SmId>,
    by_owner: HashMap<Arc<str>, BTreeSet<Epoch>>,
    stale: HashMap<SmId, Stale>,
    /// The same, oldest first.
    fading: BTreeMap<(Instant, Epoch), SmId>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Live<Sid> {
    owner: Arc<str>,
    epoch: Epoch,
    sid: Sid,
}

#[derive(Debug)]
struct Stale {
    owner: Arc<str>,
    epoch: Epoch,
    h: Counter,
    since: Instant,
}

impl<Sid> MemoryStore<Sid> {
    /// A store without sessions, that keeps the last `h` of those that go as
    /// [`stale_h`](Config::stale_h) says.
    pub fn new(config: &Config) -> Self {
        Self {
            stale_h: config.stale_h,
            stale_max: NonZeroUsize::MIN.saturating_add((1 << 20) - 1),
            per_owner: None,
            in_all: None,
            at_cap: AtCap::Refuse,
            tables: Mutex::new(Tables {
                last_epoch: 0,
                live: HashMap::new(),
                by_age: BTreeMap::new(),
                by_owner: HashMap::new(),
                stale: HashMap::new(),
                fading: BTreeMap::new(),
                swept: None,
            }),
        }
    }

    /// How many sessions one owner may have. Default: any number.
    #[must_use]
    pub fn per_owner(mut self, sessions: Option<NonZeroUsize>) -> Self {
        self.per_owner = sessions;
        self
    }

    /// How many sessions there may be in all. Default: any number.
    #[must_use]
    pub fn in_all(mut self, sessions: Option<NonZeroUsize>) -> Self {
        self.in_all = sessions;
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
        self.stale_max = records;
        self
    }

    /// How many sessions are registered.
    pub fn len(&self) -> usize {
        self.tables.lock().live.len()
    }

    /// Whether no session is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many stale `h` are remembered, too old ones included until they are swept.
    pub fn stale_len(&self) -> usize {
        self.tables.lock().stale.len()
    }

    /// The session that has to go for one more of this owner.
    fn in_the_way(&self, tables: &Tables<Sid>, owner: &str) -> Result<Option<Epoch>, StoreError> {
        let of_owner = tables.by_owner.get(owner);
        let reached = |cap: Option<NonZeroUsize>, sessions| cap.is_some_and(|cap| sessions >= cap.get());
        let (oldest, refusal) = if reached(self.per_owner, of_owner.map_or(0, BTreeSet::len)) {
            (of_owner.and_then(BTreeSet::first), StoreError::OwnerFull)
        } else if reached(self.in_all, tables.live.len()) {
            (tables.by_age.first_key_value().map(|(epoch, _)| epoch), StoreError::Full)
        } else {
            return Ok(None);
        };
        match self.at_cap {
            AtCap::Refuse => Err(refusal),
            AtCap::EvictOldest => Ok(oldest.copied()),
        }
    }

    fn is_too_old(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) > self.stale_h.geriatric
    }
}

impl<Sid: Clone + Send> SessionStore for MemoryStore<Sid> {
    type Sid = Sid;
    type Error = StoreError;

    fn register(&self, smid: &SmId, owner: &str, sid: Sid) -> Result<Registered<Sid>, StoreError> {
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        let live = tables.live.get(smid).map(|live| (&*live.owner, Some(live.epoch)));
        let known = live.or_else(|| tables.stale.get(smid).map(|stale| (&*stale.owner, None)));
        let evicted = match known {
            Some((other, _)) if other != owner => return Err(StoreError::Taken),
            Some((_, Some(epoch))) => {
                tables.take(epoch);
                None
            }
            _ => {
                let oldest = self.in_the_way(tables, owner)?;
                oldest.and_then(|epoch| tables.take(epoch)).map(|(_, live)| live.sid)
            }
        };
        tables.forget(smid);
        Ok(Registered { epoch: tables.put(smid, owner, sid), evicted })
    }

    fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<Sid>, StoreError> {
        let tables = self.tables.lock();
        if let Some(live) = tables.live.get(smid).filter(|live| *live.owner == *owner) {
            return Ok(Lookup::Session(live.sid.clone()));
        }
        let stale = tables.stale.get(smid).filter(|stale| *stale.owner == *owner);
        let stale = stale.filter(|stale| !self.is_too_old(stale.since, now));
        Ok(stale.map_or(Lookup::NotFound, |stale| Lookup::StaleH(stale.h)))
    }

    fn retire(&self, smid: &SmId, epoch: Epoch, h: Counter, now: Instant) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        if !tables.is_live(smid, epoch) {
            return Ok(());
        }
        if let Some((smid, Live { owner, .. })) = tables.take(epoch)
            && self.stale_h.enabled
        {
            tables.remember(smid, Stale { owner, epoch, h, since: now }, self.stale_max);
        }
        Ok(())
    }

    fn remove(&self, smid: &SmId, epoch: Epoch) -> Result<(), StoreError> {
        let mut tables = self.tables.lock();
        if tables.is_live(smid, epoch) {
            tables.take(epoch);
        } else if tables.stale.get(smid).is_some_and(|stale| stale.epoch == epoch) {
            tables.forget(smid);
        }
        Ok(())
    }

    fn sweep(&self, now: Instant) -> usize {
        let mut tables = self.tables.lock();
        let mut swept = 0_usize;
        while let Some(((since, _), _)) = tables.fading.first_key_value()
            && self.is_too_old(*since, now)
        {
            tables.drop_oldest();
            swept = swept.saturating_add(1);
        }
        tables.swept = Some(now);
        swept
    }

    fn next_sweep(&self) -> Option<Instant> {
        let tables = self.tables.lock();
        let ((oldest, _), _) = tables.fading.first_key_value()?;
        tables.swept.unwrap_or(*oldest).checked_add(self.stale_h.repeat_after?)
    }
}

impl<Sid> Tables<Sid> {
    fn is_live(&self, smid: &SmId, epoch: Epoch) -> bool {
        self.live.get(smid).is_some_and(|live| live.epoch == epoch)
    }

    fn put(&mut self, smid: &SmId, owner: &str, sid: Sid) -> Epoch {
        // 2^64 registrations take longer than any process lives.
        self.last_epoch = self.last_epoch.saturating_add(1);
        let epoch = Epoch::new(self.last_epoch);
        let owner = self.by_owner.get_key_value(owner).map_or_else(|| owner.into(), |(owner, _)| owner.clone());
        self.by_owner.entry(owner.clone()).or_default().insert(epoch);
        self.by_age.insert(epoch, smid.clone());
        self.live.insert(smid.clone(), Live { owner, epoch, sid });
        epoch
    }

    fn take(&mut self, epoch: Epoch) -> Option<(SmId, Live<Sid>)> {
        let smid = self.by_age.remove(&epoch)?;
        let live = self.live.remove(&smid)?;
        if let Some(epochs) = self.by_owner.get_mut(&live.owner) {
            epochs.remove(&epoch);
            if epochs.is_empty() {
                self.by_owner.remove(&live.owner);
            }
        }
        Some((smid, live))
    }

    fn remember(&mut self, smid: SmId, stale: Stale, max: NonZeroUsize) {
        if self.fading.is_empty() {
            self.swept = None;
        }
        self.fading.insert((stale.since, stale.epoch), smid.clone());
        self.stale.insert(smid, stale);
        while self.stale.len() > max.get() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, smid)) = self.fading.pop_first() {
            self.stale.remove(&smid);
        }
    }

    fn forget(&mut self, smid: &SmId) {
        if let Some(stale) = self.stale.remove(smid) {
            self.fading.remove(&(stale.since, stale.epoch));
        }
    }
}
