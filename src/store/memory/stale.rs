//! The last `h` of sessions that are gone, by owner.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::slice;
use std::sync::Arc;
use std::time::Instant;

use super::Epoch;
use crate::counter::Counter;
use crate::smid::SmId;

#[derive(Clone, Debug)]
pub(super) struct Stale {
    pub(super) smid: SmId,
    pub(super) epoch: Epoch,
    /// `None`: the session was displaced, and its host has not told yet.
    pub(super) h: Option<Counter>,
    /// When the session was retired, or displaced.
    pub(super) since: Instant,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) per_owner: usize,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct StaleTable {
    /// A few records each, oldest first.
    by_owner: HashMap<Arc<str>, Vec<Stale>>,
    /// The owners in the order in which their oldest record grows too old.
    by_age: BTreeMap<Age, Arc<str>>,
    /// The first time in there: a sweep asks often, and mostly in vain.
    oldest: Option<Instant>,
    records: usize,
    bytes: usize,
}

/// When a record became stale. The epoch tells those apart that did so at the same time.
type Age = (Instant, Epoch);

/// What the two tables take for an owner at most, besides its name: both may be half empty.
const OWNER_BYTES: usize = 256;

impl StaleTable {
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// Returns since when the oldest record is stale.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    pub(super) fn get(&self, smid: &SmId, owner: &str) -> Option<&Stale> {
        self.by_owner.get(owner)?.iter().find(|stale| stale.smid == *smid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Stale)> {
        self.by_owner.iter().flat_map(|(owner, list)| list.iter().map(move |stale| (owner, stale)))
    }

    /// Remembers a session. Where there is no room it takes the place of older records: those of its owner first,
    /// and then, if it is the only one of its owner, the oldest of all. What has no room by itself is not remembered.
    pub(super) fn insert(&mut self, owner: &Arc<str>, stale: Stale, bounds: Bounds) {
        if cost(owner, slice::from_ref(&stale)) > bounds.bytes {
            return;
        }
        let bytes = bounds.bytes.saturating_sub(self.bytes);
        self.edit(owner, |list| {
            let others = cost(owner, list);
            list.reserve_exact(1);
            let at = list.partition_point(|other| other.since <= stale.since);
            list.insert(at, stale);
            let is_too_much =
                |list: &[Stale]| list.len() > bounds.per_owner || cost(owner, list).saturating_sub(others) > bytes;
            let surplus =
                (0..list.len().saturating_sub(1)).take_while(|n| is_too_much(list.get(*n..).unwrap_or_default()));
            drop(list.drain(..surplus.count()));
        });
        while self.bytes > bounds.bytes && self.drop_oldest(1, |_| true) > 0 {}
    }

    /// Takes out what is known of this SM-ID, if it is what is meant.
    pub(super) fn remove(&mut self, smid: &SmId, owner: &Arc<str>, is_meant: impl Fn(&Stale) -> bool) -> Option<Stale> {
        let at = self.by_owner.get(owner)?.iter().position(|stale| stale.smid == *smid && is_meant(stale))?;
        self.edit(owner, |list| (at < list.len()).then(|| list.remove(at)))
    }

    /// A session that was displaced was claimed: its `h` is to come under another epoch.
    pub(super) fn hand_over(&mut self, smid: &SmId, owner: &Arc<str>, from: Epoch, to: Epoch) {
        if self.get(smid, owner).is_some_and(|stale| stale.epoch == from) {
            self.edit(owner, |list| {
                list.iter_mut().filter(|stale| stale.smid == *smid).for_each(|stale| stale.epoch = to);
            });
        }
    }

    /// Drops the oldest records that are too old, at most so many, and returns how many.
    pub(super) fn sweep(&mut self, most: usize, is_too_old: impl Fn(Instant) -> bool) -> usize {
        let mut dropped = 0_usize;
        loop {
            match self.drop_oldest(most.saturating_sub(dropped), &is_too_old) {
                0 => return dropped,
                more => dropped = dropped.saturating_add(more),
            }
        }
    }

    /// Does that with the records of one owner.
    fn drop_oldest(&mut self, most: usize, is_too_old: impl Fn(Instant) -> bool) -> usize {
        if most == 0 || !self.oldest.is_some_and(&is_too_old) {
            return 0;
        }
        let Some(owner) = self.by_age.first_key_value().map(|(_, owner)| owner.clone()) else { return 0 };
        self.edit(&owner, |list| {
            let too_old = list.partition_point(|stale| is_too_old(stale.since)).min(most);
            list.drain(..too_old).count()
        })
    }

    /// Changes an owner's records. An owner without records goes.
    fn edit<T>(&mut self, owner: &Arc<str>, edit: impl FnOnce(&mut Vec<Stale>) -> T) -> T {
        let mut of_owner = match self.by_owner.entry(owner.clone()) {
            Entry::Occupied(known) => known,
            Entry::Vacant(new) => new.insert_entry(Vec::new()),
        };
        // Both tables share one name, whichever came with this call.
        let owner = of_owner.key().clone();
        let list = of_owner.get_mut();
        let age = list.first().map(Stale::age);
        self.records = self.records.saturating_sub(list.len());
        self.bytes = self.bytes.saturating_sub(cost(&owner, list));
        let result = edit(list);
        list.shrink_to_fit();
        self.records = self.records.saturating_add(list.len());
        self.bytes = self.bytes.saturating_add(cost(&owner, list));
        let new_age = list.first().map(Stale::age);
        if list.is_empty() {
            of_owner.remove();
        }
        if new_age != age {
            age.and_then(|age| self.by_age.remove(&age));
            new_age.map(|age| self.by_age.insert(age, owner));
            self.oldest = self.by_age.first_key_value().map(|((since, _), _)| *since);
        }
        result
    }
}

impl Stale {
    fn age(&self) -> Age {
        (self.since, self.epoch)
    }
}

/// The bytes that an owner's records take at most.
fn cost(owner: &str, list: &[Stale]) -> usize {
    if list.is_empty() {
        return 0;
    }
    let record = |stale: &Stale| size_of::<Stale>().saturating_add(stale.smid.as_bytes().len());
    let records = list.iter().map(record).fold(0, usize::saturating_add);
    owner.len().saturating_add(OWNER_BYTES).saturating_add(records)
}
