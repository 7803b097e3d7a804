//! What is kept of sessions beside their records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::shard::Shard;
use super::{Epoch, MemoryStore, StoreError};
use crate::smid::SmId;
use crate::store::{Change, Claim, Claimed, Fence, Journal, Parking, Registration, Revision};

/// By owner and SM-ID. That of a displaced session, too, which no table need have: what is remembered of those is
/// bounded, and what is kept of them stays.
#[derive(Debug)]
pub(super) struct Kept<Handle>(HashMap<(Arc<str>, SmId), Parked<Handle>>);

/// What one registration has written, or taken over.
#[derive(Debug)]
pub(super) struct Parked<Handle> {
    /// That of the registration.
    epoch: Epoch,
    /// The last of its revisions. `None`: it has written nothing since its claim.
    revision: Option<Revision>,
    /// `None`: the session is in its host's memory.
    snapshot: Option<Bytes>,
    journal: Vec<Bytes>,
    /// The epoch from which it was claimed, and by whom.
    claimed: Option<(Epoch, Handle)>,
}

impl<Handle> Default for Kept<Handle> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Handle: Clone + PartialEq> Kept<Handle> {
    fn write(&mut self, registration: &Registration, revision: Revision, snapshot: Option<Bytes>) -> Fence {
        let Registration { epoch, .. } = *registration;
        let parked = self.0.entry(key(registration)).or_insert_with(|| Parked {
            epoch,
            revision: None,
            snapshot: None,
            journal: Vec::new(),
            claimed: None,
        });
        if parked.revision.is_none_or(|latest| latest < revision) {
            (parked.revision, parked.snapshot) = (Some(revision), snapshot);
            parked.journal = Vec::new();
        }
        if parked.revision == Some(revision) { Fence::Held } else { Fence::Lost }
    }

    /// Where changes of this revision go. `None`: it is not the one that is kept.
    fn journal(&mut self, registration: &Registration, revision: Revision) -> Option<&mut Vec<Bytes>> {
        let parked = self.of_mut(registration)?;
        (parked.revision == Some(revision) && parked.snapshot.is_some()).then_some(&mut parked.journal)
    }

    /// What this very claim was given when it was made before. `None`: it was not made, or something was written since.
    fn claimed(&self, from: &Registration, handle: &Handle) -> Option<Epoch> {
        let parked = self.0.get(&key(from)).filter(|parked| parked.revision.is_none())?;
        let (epoch, who) = parked.claimed.as_ref()?;
        (*epoch == from.epoch && who == handle).then_some(parked.epoch)
    }

    /// What was kept under one registration is kept under another. Returns who has claimed it before.
    fn hand_over(&mut self, from: &Registration, epoch: Epoch, handle: Handle) -> Option<(Epoch, Handle)> {
        let parked = self.of_mut(from)?;
        (parked.epoch, parked.revision) = (epoch, None);
        parked.claimed.replace((from.epoch, handle))
    }

    fn get(&self, registration: &Registration) -> Option<(Bytes, Vec<Bytes>)> {
        let parked = self.of(registration)?;
        Some((parked.snapshot.clone()?, parked.journal.clone()))
    }
}

fn key(registration: &Registration) -> (Arc<str>, SmId) {
    (registration.owner.clone(), registration.smid.clone())
}

impl<Handle> Kept<Handle> {
    fn of(&self, registration: &Registration) -> Option<&Parked<Handle>> {
        self.0.get(&key(registration)).filter(|parked| parked.epoch == registration.epoch)
    }

    fn of_mut(&mut self, registration: &Registration) -> Option<&mut Parked<Handle>> {
        self.0.get_mut(&key(registration)).filter(|parked| parked.epoch == registration.epoch)
    }

    fn has(&self, registration: &Registration) -> bool {
        self.of(registration).is_some_and(|parked| parked.snapshot.is_some())
    }

    /// The session is over.
    pub(super) fn take(&mut self, registration: &Registration) -> Option<Parked<Handle>> {
        // Most stores keep nothing, and need not look for it.
        let has_it = !self.0.is_empty() && self.of(registration).is_some();
        has_it.then(|| self.0.remove(&key(registration))).flatten()
    }

    /// A new session has the SM-ID: what is kept is of one that was there before it.
    pub(super) fn take_former(&mut self, owner: &Arc<str>, smid: &SmId) -> Option<Parked<Handle>> {
        let has_any = !self.0.is_empty();
        has_any.then(|| self.0.remove(&(owner.clone(), smid.clone()))).flatten()
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
        let of_epoch = |epoch| Registration { epoch, ..registration.clone() };
        // Dropped after the lock is free.
        let (_former, _claimed);
        let mut shard = self.shard(owner).lock();
        let epoch = shard.next_epoch();
        let Shard { sessions, stale, kept, .. } = &mut *shard;
        let session = sessions.get_mut(owner).and_then(|sessions| sessions.find_mut(smid));
        let epoch = match (kept.claimed(registration, &handle), session) {
            (Some(given), _) => given,
            (None, Some(session)) if session.epoch == *from => {
                if !kept.has(registration) {
                    return Ok(Claim::NotParked);
                }
                _claimed = kept.hand_over(registration, epoch, handle.clone());
                session.epoch = epoch;
                _former = mem::replace(&mut session.handle, handle);
                epoch
            }
            // It was displaced, and stays it: its `h` is to come under this epoch.
            (None, None) if kept.has(registration) => {
                _claimed = kept.hand_over(registration, epoch, handle);
                stale.hand_over(smid, owner, *from, epoch);
                epoch
            }
            _ => return Ok(Claim::Lost),
        };
        let registration = of_epoch(epoch);
        let Some((snapshot, journal)) = kept.get(&registration) else { return Ok(Claim::Lost) };
        Ok(Claim::Claimed(Claimed { registration, snapshot, journal }))
    }
}

impl<Handle: Clone + PartialEq + Send> MemoryStore<Handle> {
    fn write(&self, registration: &Registration, revision: Revision, snapshot: Option<Bytes>) -> Fence {
        let mut shard = self.shard(registration.owner()).lock();
        if shard.holds(registration) { shard.kept.write(registration, revision, snapshot) } else { Fence::Lost }
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
            shard.kept.journal(registration, revision)?.extend(bytes);
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
