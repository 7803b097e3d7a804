//! A part of the owners, with all that is known of them.

use std::collections::HashMap;
use std::num::NonZeroU64;

use super::sessions::{Session, Sessions};
use super::stale::StaleTable;
use crate::smid::SmId;

/// Both tables of these owners, behind one lock. The hashers have random keys: names that collide cannot be chosen.
#[derive(Debug)]
pub(super) struct Shard<Handle> {
    pub(super) sessions: HashMap<Box<str>, Sessions<Handle>>,
    pub(super) stale: StaleTable,
}

impl<Handle> Default for Shard<Handle> {
    fn default() -> Self {
        Self { sessions: HashMap::new(), stale: StaleTable::default() }
    }
}

impl<Handle> Shard<Handle> {
    /// Takes out a session, if it still is of this registration, and its owner with the last one.
    pub(super) fn take(&mut self, smid: &SmId, owner: &str, epoch: NonZeroU64) -> Option<Session<Handle>> {
        let sessions = self.sessions.get_mut(owner)?;
        let is_it = |session: &Session<Handle>| session.epoch == epoch && session.smid == *smid;
        let at = sessions.as_slice().iter().position(is_it)?;
        sessions.remove(at).or_else(|| self.sessions.remove(owner)?.into_one())
    }
}
