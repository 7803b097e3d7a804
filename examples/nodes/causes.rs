//! What servers have said of sessions that were taken from one which had not let go of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Known to all who hear servers. By owner, and by the epoch under which the server had them: several may say it of one.
#[derive(Clone, Default)]
pub struct Causes {
    said: Arc<Mutex<BTreeSet<(String, String)>>>,
    unsaid: Arc<AtomicUsize>,
}

impl Causes {
    /// A server says something.
    pub fn hear(&self, line: &str) {
        let Some((owner, said)) = line.split_once(": session ") else { return };
        let Some((epoch, _)) = said.split_once(" was taken from ") else { return };
        self.said.lock().insert((owner.to_owned(), epoch.to_owned()));
    }

    /// A server has been killed or cut off, and the other one is of an earlier version, which does not say what it takes:
    /// that may be a session of each user.
    pub fn add_unsaid(&self) {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
    }

    /// How many sessions of a user were taken so.
    pub fn of(&self, owner: &str) -> usize {
        let said = self.said.lock().iter().filter(|(other, _)| other == owner).count();
        said + self.unsaid.load(Ordering::Relaxed)
    }

    /// How many were taken of which a server has said so.
    pub fn said(&self) -> usize {
        self.said.lock().len()
    }
}
