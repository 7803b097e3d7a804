//! Each stale `h` as a value, to be written down and remembered by the next process.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::MemoryStore;
use super::stale::Stale;
use crate::counter::Counter;
use crate::smid::SmId;

/// The last `h` of a session that is gone.
///
/// See the example of [`MemoryStore::stale_records`](crate::MemoryStore::stale_records).
#[derive(Clone, PartialEq, Eq)]
pub struct StaleRecord {
    /// The bare JID that the session belonged to.
    pub owner: Arc<str>,
    /// Its SM-ID.
    pub smid: SmId,
    /// How many stanzas of its client were handled.
    pub h: Counter,
    /// How long ago it was retired.
    pub age: Duration,
}

/// SM-IDs and owners are not for logs.
impl fmt::Debug for StaleRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleRecord").field("h", &self.h).field("age", &self.age).finish_non_exhaustive()
    }
}

impl<Handle> MemoryStore<Handle> {
    /// Returns every stale `h` that is answered at this time, for a host that writes down what it knows before its process
    /// ends. Those of displaced sessions that are still to come are left out.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use xmpp_sm::{Config, Counter, Lookup, MemoryStore, SessionStore, SmId, StaleH};
    ///
    /// let config = Config::default().stale_h(StaleH { enabled: true, ..StaleH::default() });
    /// let now = Instant::now();
    /// let (store, smid) = (MemoryStore::new(&config), SmId::random()?);
    /// let registration = store.register(&smid, &"juliet@example.com".into(), 17, now)?.registration;
    /// store.retire(&registration, Counter::new(3), now)?;
    ///
    /// let later = now + Duration::from_secs(60);
    /// let next = MemoryStore::<u64>::new(&config);
    /// for record in store.stale_records(later) {
    ///     next.restore_stale(&record, later);
    /// }
    /// assert_eq!(next.lookup(&smid, "juliet@example.com", later)?, Lookup::StaleH(Counter::new(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stale_records(&self, now: Instant) -> Vec<StaleRecord> {
        let mut records = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let of_shard = shard.stale.iter().filter(|(_, stale)| !self.is_gone(stale, now));
            records.extend(of_shard.filter_map(|(owner, stale)| {
                let Stale { smid, h, since, .. } = stale.clone();
                Some(StaleRecord { owner: owner.clone(), smid, h: h?, age: now.saturating_duration_since(since) })
            }));
        }
        records
    }

    /// Remembers a stale `h` that another store has had, within the bounds of this one, and for as long as it would have
    /// been answered there. Where `stale_h` is off it does nothing.
    ///
    /// See the example of [`stale_records`](Self::stale_records).
    pub fn restore_stale(&self, record: &StaleRecord, now: Instant) {
        let StaleRecord { owner, smid, h, age } = record;
        // A clock that has run for less time than that cannot tell when it was: it counts from now.
        let since = now.checked_sub(*age).unwrap_or(now);
        if !self.stale_h.enabled || *age > self.stale_h.geriatric {
            return;
        }
        let mut shard = self.shard(owner).lock();
        let stale = Stale { smid: smid.clone(), epoch: shard.next_epoch(), h: Some(*h), since };
        shard.stale.remove(smid, owner, |_| true);
        shard.stale.insert(owner, stale, self.stale_bounds);
    }
}
