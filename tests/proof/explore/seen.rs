//! The states that were seen, as fingerprints of 64 bits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Many small tables, so that threads seldom meet.
const TABLES: usize = 256;

pub struct Seen {
    tables: Vec<Mutex<HashMap<u64, u32, BuildHasherDefault<Itself>>>>,
    states: AtomicU32,
}

impl Default for Seen {
    fn default() -> Self {
        Self { tables: (0..TABLES).map(|_| Mutex::default()).collect(), states: AtomicU32::new(0) }
    }
}

impl Seen {
    /// The number of a state, and whether it is new.
    pub fn insert(&self, fingerprint: u64) -> (u32, bool) {
        let table = &self.tables[(fingerprint >> 32) as usize % TABLES];
        match table.lock().expect("no thread panics here").entry(fingerprint) {
            Entry::Occupied(entry) => (*entry.get(), false),
            Entry::Vacant(entry) => {
                let state = self.states.fetch_add(1, Ordering::Relaxed);
                assert!(state < u32::MAX, "more states than can be numbered");
                (*entry.insert(state), true)
            }
        }
    }

    pub fn len(&self) -> usize {
        self.states.load(Ordering::Relaxed) as usize
    }
}

/// A fingerprint is as good a hash as any.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed");
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}
