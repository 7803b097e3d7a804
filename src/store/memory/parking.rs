//! What is kept of sessions beside their records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::shard::Shard;
use super::{Epoch, MemoryStore, StoreError};
use crate::store::{Change, Claim, Claimed, Fence, Journal, Parking, Registration, Revision};

/// By epoch, of which no two sessions have the same.
#[derive(Debug)]
pub(super) struct Kept<Handle>(HashMap<Epoch, Parked<Handle>>);

/// What one registration has written, or taken over.
#[derive(Debug)]
struct Parked<Handle> {
    /// The last of its revisions. `None`: it has written nothing since its claim.
    revision: Option<Revision>,
    /// `None`: the session is in its host's memory.
    snapshot: Option<Bytes>,
    journal: Vec<Bytes>,
    /// The epoch from which it was claimed.
    claimed_from: Option<Epoch>,
    /// Who has claimed it though it was displaced.
    heir: Option<Handle>,
}

impl<Handle> Default for Kept<Handle> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Handle: Clone + PartialEq> Kept<Handle> {
    fn write(&mut self, epoch: Epoch, revision: Revision, snapshot: Option<Bytes>) -> Fence {
        let parked = self.0.entry(epoch).or_insert_with(|| Parked {
            revision: None,
            snapshot: None,
            journal: Vec::new(),
            claimed_from: None,
            heir: None,
        });
        if parked.revision.is_none_or(|latest| latest < revision) {
            (parked.revision, parked.snapshot) = (Some(revision), snapshot);
            parked.journal = Vec::new();
        }
        if parked.revision == Some(revision) { Fence::Held } else { Fence::Lost }
    }

    /// Where changes of this revision go. `None`: it is not the one that is kept.
    fn journal(&mut self, epoch: Epoch, revision: Revision) -> Option<&mut Vec<Bytes>> {
        let parked = self.0.get_mut(&epoch)?;
        (parked.revision == Some(revision) && parked.snapshot.is_some()).then_some(&mut parked.journal)
    }

    fn has(&self, epoch: Epoch) -> bool {
        self.0.get(&epoch).is_some_and(|parked| parked.snapshot.is_some())
    }

    /// Whether the registration of this epoch came by a claim from that one, and has written nothing since.
    fn is_claimed_from(&self, epoch: Epoch, from: Epoch) -> bool {
        self.0.get(&epoch).is_some_and(|parked| parked.claimed_from == Some(from) && parked.revision.is_none())
    }

    /// What was kept under one epoch is kept under another.
    fn hand_over(&mut self, from: Epoch, to: Epoch) {
        if let Some(parked) = self.0.remove(&from) {
            self.0.insert(to, Parked { revision: None, claimed_from: Some(from), ..parked });
        }
    }

    /// Gives what is kept of a displaced session to one who asks for it: the first.
    fn bequeath(&mut self, epoch: Epoch, handle: &Handle) -> bool {
        let parked = self.0.get_mut(&epoch);
        parked.is_some_and(|parked| parked.heir.get_or_insert_with(|| handle.clone()) == handle)
    }

    fn get(&self, epoch: Epoch) -> Option<(Bytes, Vec<Bytes>)> {
        let parked = self.0.get(&epoch)?;
        Some((parked.snapshot.clone()?, parked.journal.clone()))
    }
}

impl<Handle> Kept<Handle> {
    /// The session is over.
    pub(super) fn drop(&mut self, epoch: Epoch) {
        // Most stores keep nothing, and need not look for it.
        if !self.0.is_empty() {
            self.0.remove(&epoch);
        }
    }
}

impl<Handle> Shard<Handle> {
    fn holds(&self, registration: &Registration) -> bool {
        let sessions = self.sessions.get(registration.owner());
        sessions
            .and_then(|sessions| sessions.find(registration.smid()))
            .is_some_and(|session| session.epoch == registration.epoch())
    }
}

impl<Handle: Clone + PartialEq + Send> Parking for MemoryStore<Handle> {
    async fn park(
        &self,
        registration: &Registration,
        revision: Revision,
        snapshot: &[u8],
    ) -> Result<Fence, StoreError> {
        Ok(self.write(registration, revision, Some(Bytes::copy_from_slice(snapshot))))
    }

    async fn unpark(&self, registration: &Registration, revision: Revision) -> Result<Fence, StoreError> {
        Ok(self.write(registration, revision, None))
    }

    async fn claim(&self, registration: &Registration, handle: Handle, _now: Instant) -> Result<Claim, StoreError> {
        let Registration { owner, smid, epoch: from } = registration;
        // Dropped after the lock is free.
        let _former;
        let mut shard = self.shard(owner).lock();
        let new = shard.next_epoch();
        let Shard { sessions, kept, .. } = &mut *shard;
        let session = sessions.get_mut(owner).and_then(|sessions| sessions.find_mut(smid));
        let epoch = match session {
            Some(session) if session.epoch == *from => {
                if !kept.has(*from) {
                    return Ok(Claim::NotParked);
                }
                kept.hand_over(*from, new);
                session.epoch = new;
                _former = mem::replace(&mut session.handle, handle);
                new
            }
            Some(session) if session.handle == handle && kept.is_claimed_from(session.epoch, *from) => session.epoch,
            _ if kept.bequeath(*from, &handle) => *from,
            _ => return Ok(Claim::Lost),
        };
        let Some((snapshot, journal)) = kept.get(epoch) else { return Ok(Claim::Lost) };
        let registration = Registration { owner: owner.clone(), smid: smid.clone(), epoch };
        Ok(Claim::Claimed(Claimed { registration, snapshot, journal }))
    }
}

impl<Handle: Clone + PartialEq + Send> MemoryStore<Handle> {
    fn write(&self, registration: &Registration, revision: Revision, snapshot: Option<Bytes>) -> Fence {
        let mut shard = self.shard(registration.owner()).lock();
        if shard.holds(registration) { shard.kept.write(registration.epoch(), revision, snapshot) } else { Fence::Lost }
    }
}

impl<Handle: Clone + PartialEq + Send> Journal for MemoryStore<Handle> {
    async fn append(&self, changes: &[Change<'_>]) -> Result<Fence, StoreError> {
        // Each shard once, and all in one order: two calls at once do not wait for each other.
        let index = |change: &Change<'_>| Self::shard_index(change.registration.owner());
        let indexes: BTreeSet<usize> = changes.iter().map(index).collect();
        let mut shards: BTreeMap<usize, MutexGuard<'_, Shard<Handle>>> =
            indexes.into_iter().filter_map(|index| Some((index, self.shards.get(index)?.lock()))).collect();
        let mut write = |change: &Change<'_>, bytes: Option<Bytes>| {
            let Change { registration, revision, .. } = *change;
            let shard = shards.get_mut(&index(change)).filter(|shard| shard.holds(registration))?;
            shard.kept.journal(registration.epoch(), revision)?.extend(bytes);
            Some(())
        };
        if !changes.iter().all(|change| write(change, None).is_some()) {
            return Ok(Fence::Lost);
        }
        for change in changes {
            write(change, Some(Bytes::copy_from_slice(change.change)));
        }
        Ok(Fence::Held)
    }
}
