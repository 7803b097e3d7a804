//! Who has how many sessions, where a host has set a limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::{NonZeroU64, NonZeroUsize};

use super::{AtCap, StoreError};
use crate::smid::SmId;

#[derive(Debug, Default)]
pub(super) struct Caps {
    pub(super) per_owner: Option<NonZeroUsize>,
    pub(super) in_all: Option<NonZeroUsize>,
    /// The live sessions, longest registered first.
    by_age: BTreeMap<NonZeroU64, SmId>,
    by_owner: HashMap<Box<str>, BTreeSet<NonZeroU64>>,
}

impl Caps {
    /// The session that has to go for one more of this owner.
    pub(super) fn in_the_way(&self, owner: &str, policy: AtCap) -> Result<Option<(NonZeroU64, SmId)>, StoreError> {
        let of_owner = self.by_owner.get(owner);
        let reached = |cap: Option<NonZeroUsize>, sessions| cap.is_some_and(|cap| sessions >= cap.get());
        let (oldest, refusal) = if reached(self.per_owner, of_owner.map_or(0, BTreeSet::len)) {
            (of_owner.and_then(BTreeSet::first), StoreError::OwnerFull)
        } else if reached(self.in_all, self.by_age.len()) {
            (self.by_age.first_key_value().map(|(epoch, _)| epoch), StoreError::Full)
        } else {
            return Ok(None);
        };
        match policy {
            AtCap::Refuse => Err(refusal),
            AtCap::EvictOldest => {
                Ok(oldest.and_then(|epoch| self.by_age.get_key_value(epoch)).map(|(e, s)| (*e, s.clone())))
            }
        }
    }

    pub(super) fn insert(&mut self, owner: &str, epoch: NonZeroU64, smid: SmId) {
        self.by_age.insert(epoch, smid);
        match self.by_owner.get_mut(owner) {
            Some(epochs) => {
                epochs.insert(epoch);
            }
            None => {
                self.by_owner.insert(owner.into(), BTreeSet::from([epoch]));
            }
        }
    }

    pub(super) fn remove(&mut self, owner: &str, epoch: NonZeroU64) {
        self.by_age.remove(&epoch);
        let Some(epochs) = self.by_owner.get_mut(owner) else { return };
        epochs.remove(&epoch);
        if epochs.is_empty() {
            self.by_owner.remove(owner);
        }
    }
}
