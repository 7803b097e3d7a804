//! A part of the owners, with all that is known of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::parking::Kept;
use super::sessions::{Session, Sessions};
use super::stale::StaleTable;
use super::{Epoch, Registration};
use crate::stats::StoreStats;

/// Both tables of these owners, behind one lock. The hashers have random keys: names that collide cannot be chosen.
#[derive(Debug)]
pub(super) struct Shard<Handle> {
    pub(super) sessions: HashMap<Arc<str>, Sessions<Handle>>,
    /// How many sessions these are.
    pub(super) len: usize,
    pub(super) stale: StaleTable,
    /// What is parked of the sessions.
    pub(super) kept: Kept<Handle>,
    /// What was done; what there is, is counted when it is asked for.
    pub(super) stats: StoreStats,
    last_epoch: u64,
}

impl<Handle> Shard<Handle> {
    pub(super) fn new(last_epoch: u64) -> Self {
        Self {
            sessions: HashMap::new(),
            len: 0,
            stale: StaleTable::default(),
            kept: Kept::default(),
            stats: StoreStats::default(),
            last_epoch,
        }
    }

    /// Returns the next epoch of this shard. Other shards have begun between it and the one before.
    pub(super) fn next_epoch(&mut self) -> Epoch {
        // 2^57 registrations of a shard take longer than any process lives.
        self.last_epoch = self.last_epoch.saturating_add(1 << super::SHARD_BITS);
        Epoch::new(self.last_epoch)
    }

    /// Takes out a session, if it still is of this registration, and its owner with the last one.
    pub(super) fn take(&mut self, registration: &Registration) -> Option<Session<Handle>> {
        let Registration { owner, smid, epoch } = registration;
        let Entry::Occupied(mut of_owner) = self.sessions.entry(owner.clone()) else { return None };
        let at = of_owner.get().position(|session| session.epoch == *epoch && session.smid == *smid)?;
        self.len = self.len.saturating_sub(1);
        of_owner.get_mut().remove(at).or_else(|| of_owner.remove().into_one())
    }
}
