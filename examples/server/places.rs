//! How many connections an account may have beside its sessions that can be resumed, which the store counts.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use jid::BareJid;
use parking_lot::Mutex;

/// The places of all accounts.
pub struct Places {
    max: NonZeroUsize,
    taken: Mutex<HashMap<BareJid, usize>>,
}

/// A connection's place, until this is dropped.
pub struct Place {
    places: Arc<Places>,
    user: BareJid,
}

impl Places {
    /// `max`: the places of each account.
    pub fn new(max: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// A place for one more connection of an account. `None`: all are taken.
    pub fn take(self: &Arc<Self>, user: &BareJid) -> Option<Place> {
        let mut taken = self.taken.lock();
        let count = taken.get(user).copied().unwrap_or_default();
        if count >= self.max.get() {
            return None;
        }
        taken.insert(user.clone(), count + 1);
        Some(Place { places: self.clone(), user: user.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(count) = taken.get_mut(&self.user).filter(|count| **count > 1) {
            *count -= 1;
        } else {
            taken.remove(&self.user);
        }
    }
}
