//! The last `h` of sessions that are gone, in the order in which they went.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use crate::counter::Counter;
use crate::smid::SmId;
use crate::store::Epoch;

#[derive(Debug)]
pub(super) struct Fading {
    pub(super) max: NonZeroUsize,
    /// By place: whoever went earlier stands before.
    by_age: BTreeMap<u64, Stale>,
    last_place: u64,
    swept: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Stale {
    smid: SmId,
    pub(super) epoch: Epoch,
    pub(super) h: Counter,
    pub(super) since: Instant,
}

impl Default for Fading {
    fn default() -> Self {
        let max = NonZeroUsize::MIN.saturating_add((1 << 20) - 1);
        Self { max, by_age: BTreeMap::new(), last_place: 0, swept: None }
    }
}

impl Fading {
    /// Remembers a session, and tells its place.
    pub(super) fn push(&mut self, smid: SmId, epoch: Epoch, h: Counter, since: Instant) -> u64 {
        if self.by_age.is_empty() {
            self.swept = Some(since);
        }
        // 2^64 sessions take longer than any process lives.
        self.last_place = self.last_place.saturating_add(1);
        self.by_age.insert(self.last_place, Stale { smid, epoch, h, since });
        self.last_place
    }

    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn get(&self, place: u64) -> Option<&Stale> {
        self.by_age.get(&place)
    }

    pub(super) fn forget(&mut self, place: u64) {
        self.by_age.remove(&place);
    }

    /// Takes out the oldest as long as there are too many.
    pub(super) fn over_max(&mut self) -> Vec<(u64, SmId)> {
        let mut faded = Vec::new();
        while self.by_age.len() > self.max.get()
            && let Some((place, stale)) = self.by_age.pop_first()
        {
            faded.push((place, stale.smid));
        }
        faded
    }

    /// Takes out the oldest as long as they are too old.
    pub(super) fn sweep(&mut self, now: Instant, is_too_old: impl Fn(Instant) -> bool) -> Vec<(u64, SmId)> {
        self.swept = Some(now);
        let mut faded = Vec::new();
        while let Some(oldest) = self.by_age.first_entry()
            && is_too_old(oldest.get().since)
        {
            let (place, stale) = oldest.remove_entry();
            faded.push((place, stale.smid));
        }
        faded
    }

    /// When the last sweep was, or the first record came; nothing while there is nothing to sweep.
    pub(super) fn last_sweep(&self) -> Option<Instant> {
        self.swept.filter(|_| !self.by_age.is_empty())
    }
}
