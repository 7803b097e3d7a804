//! The last `h` of sessions that are gone, in the order in which they went.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Instant;

use crate::counter::Counter;
use crate::smid::SmId;
use crate::store::Epoch;

#[derive(Debug)]
pub(super) struct Fading {
    pub(super) max: NonZeroUsize,
    /// The oldest first; nothing where one was forgotten before its time.
    ring: VecDeque<Option<Stale>>,
    /// How many have left the front: the place of the front.
    gone: u64,
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
        Self { max, ring: VecDeque::new(), gone: 0, swept: None }
    }
}

impl Fading {
    /// Remembers a session, and tells its place.
    pub(super) fn push(&mut self, smid: SmId, epoch: Epoch, h: Counter, since: Instant) -> u64 {
        if self.ring.is_empty() {
            self.swept = Some(since);
        }
        self.ring.push_back(Some(Stale { smid, epoch, h, since }));
        self.gone.saturating_add(u64::try_from(self.ring.len()).unwrap_or(u64::MAX)).saturating_sub(1)
    }

    pub(super) fn get(&self, place: u64) -> Option<&Stale> {
        self.ring.get(self.index(place)?)?.as_ref()
    }

    pub(super) fn forget(&mut self, place: u64) {
        if let Some(entry) = self.index(place).and_then(|index| self.ring.get_mut(index)) {
            *entry = None;
        }
        while let Some(None) = self.ring.front() {
            self.pop();
        }
    }

    /// Takes out the oldest as long as there are too many.
    pub(super) fn over_max(&mut self) -> Vec<(u64, SmId)> {
        let mut faded = Vec::new();
        while self.ring.len() > self.max.get() {
            faded.extend(self.pop());
        }
        faded
    }

    /// Takes out the oldest as long as they are too old.
    pub(super) fn take_while(&mut self, is_too_old: impl Fn(Instant) -> bool) -> Vec<(u64, SmId)> {
        let mut faded = Vec::new();
        while self.ring.front().is_some_and(|entry| entry.as_ref().is_none_or(|stale| is_too_old(stale.since))) {
            faded.extend(self.pop());
        }
        faded
    }

    pub(super) fn swept(&mut self, now: Instant) {
        self.swept = Some(now);
    }

    /// When the last sweep was, or the first record came; nothing while there is nothing to sweep.
    pub(super) fn last_sweep(&self) -> Option<Instant> {
        self.swept.filter(|_| !self.ring.is_empty())
    }

    fn index(&self, place: u64) -> Option<usize> {
        usize::try_from(place.checked_sub(self.gone)?).ok()
    }

    fn pop(&mut self) -> Option<(u64, SmId)> {
        let place = self.gone;
        let entry = self.ring.pop_front()?;
        self.gone = self.gone.saturating_add(1);
        entry.map(|stale| (place, stale.smid))
    }
}
