//! The store, against one `HashMap` behind one lock that holds the same.

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xmpp_sm::{Config, Counter, Lookup, MemoryStore, SessionStore, SmId, StaleH};

use crate::pair::{Row, pair};

/// What anybody would write first: no caps, no fencing, no stale h.
type Floor = Mutex<HashMap<SmId, (Arc<str>, u64)>>;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for sessions in [1_000, 100_000, 1_000_000] {
        let both = Both::with(sessions);
        rows.extend([both.lookup(1), both.register_and_remove(1), both.take_over(1)]);
        if let Some(threads) = std::thread::available_parallelism().ok().filter(|threads| threads.get() > 1) {
            let threads = threads.get();
            rows.extend([both.lookup(threads), both.register_and_remove(threads), both.take_over(threads)]);
        }
        rows.push(both.retire());
    }
    for expired in [0, 1, 1_000] {
        rows.push(sweep(expired));
    }
    rows
}

/// For the picture: a lookup among so many sessions.
pub fn curve() -> Vec<(u32, Row)> {
    let sessions = [1_000, 10_000, 100_000, 1_000_000];
    sessions.map(|sessions| (sessions, Both::with(sessions as usize).lookup(1))).into()
}

struct Both {
    sessions: usize,
    /// Each session with its owner.
    all: Arc<[(SmId, Arc<str>)]>,
    floor: Floor,
    store: MemoryStore<u64>,
    now: Instant,
}

fn owner(n: usize) -> String {
    format!("user{n:07}@example.com")
}

impl Both {
    fn with(sessions: usize) -> Self {
        let all: Arc<[(SmId, Arc<str>)]> = (0..sessions).map(|n| (SmId::random().unwrap(), owner(n).into())).collect();
        let (floor, store, now) = (Floor::default(), MemoryStore::new(&config()), Instant::now());
        for ((id, owner), n) in all.iter().zip(0..) {
            floor.lock().insert(id.clone(), (owner.clone(), n));
            assert!(store.register(id, owner, n, now).is_ok());
        }
        Self { sessions, all, floor, store, now }
    }

    fn name(&self, what: &str, threads: usize) -> String {
        let threads = if threads == 1 { String::new() } else { format!(", {threads} threads") };
        format!("{what}, {} sessions{threads}", self.sessions)
    }

    /// The sessions that one thread works on. The ids are random and so are the places of the owners: no cache foresees them.
    fn each(&self, threads: usize, often: u64, work: impl Fn(&SmId, &Arc<str>) + Sync) {
        let share = self.sessions / threads;
        std::thread::scope(|scope| {
            let (all, work) = (&self.all, &work);
            for thread in 1..threads {
                scope.spawn(move || run(&all[thread * share..][..share], often / threads as u64, work));
            }
            run(&self.all[..share], often / threads as u64, &work);
        });
    }

    fn lookup(&self, threads: usize) -> Row {
        let floor = |often| {
            self.each(threads, often, |id, owner| {
                let floor = self.floor.lock();
                black_box(floor.get(id).filter(|(of, _)| **of == **owner).map(|(_, handle)| *handle));
            });
        };
        pair(&self.name("lookup", threads), aim(threads), floor, |often| {
            self.each(threads, often, |id, owner| {
                assert!(matches!(self.store.lookup(id, owner, self.now), Ok(Lookup::Session(_))));
            });
        })
    }

    /// Two operations each.
    fn register_and_remove(&self, threads: usize) -> Row {
        let floor = |often| {
            self.each(threads, often, |id, owner| {
                let id = other(id);
                self.floor.lock().insert(id.clone(), (owner.clone(), 7));
                black_box(self.floor.lock().remove(&id));
            });
        };
        pair(&self.name("register and remove", threads), aim(threads), floor, |often| {
            self.each(threads, often, |id, owner| {
                let id = other(id);
                let registered = self.store.register(&id, owner, 7, self.now).unwrap();
                self.store.remove(&registered.registration).unwrap();
            });
        })
    }

    /// Look up, and register again.
    fn take_over(&self, threads: usize) -> Row {
        let floor = |often| {
            self.each(threads, often, |id, owner| {
                black_box(self.floor.lock().get(id).map(|(_, handle)| *handle));
                self.floor.lock().insert(id.clone(), (owner.clone(), 7));
            });
        };
        pair(&self.name("take-over", threads), aim(threads), floor, |often| {
            self.each(threads, often, |id, owner| {
                assert!(matches!(self.store.lookup(id, owner, self.now), Ok(Lookup::Session(_))));
                let _ = black_box(self.store.register(id, owner, 7, self.now));
            });
        })
    }

    /// Register and retire, the stale h remembered and an older one of the owner forgotten.
    fn retire(&self) -> Row {
        let floor = |often| {
            self.each(1, often, |id, owner| {
                let id = other(id);
                self.floor.lock().insert(id.clone(), (owner.clone(), 7));
                black_box(self.floor.lock().remove(&id));
            });
        };
        let stale_h = StaleH { enabled: true, ..StaleH::default() };
        let store = MemoryStore::new(&config().stale_h(stale_h));
        for (id, owner) in self.all.iter() {
            assert!(store.register(id, owner, 7, self.now).is_ok());
        }
        let store = &store;
        pair(&self.name("register and retire with stale h", 1), None, floor, |often| {
            self.each(1, often, |id, owner| {
                let id = other(id);
                let registered = store.register(&id, owner, 7, self.now).unwrap();
                store.retire(&registered.registration, Counter::ZERO, self.now).unwrap();
            });
        })
    }
}

fn config() -> Config {
    Config::default()
}

fn aim(threads: usize) -> f64 {
    if threads == 1 { 1.5 } else { 1.0 }
}

fn run(all: &[(SmId, Arc<str>)], often: u64, work: &(impl Fn(&SmId, &Arc<str>) + Sync)) {
    let mut done = 0;
    while done < often {
        for (id, owner) in all.iter().take((often - done) as usize) {
            work(id, owner);
        }
        done += all.len() as u64;
    }
}

/// An id that is not registered, as far from the others as they are from each other.
fn other(id: &SmId) -> SmId {
    let mut bits = [0; 16];
    bits.copy_from_slice(&id.as_str().as_bytes()[..16]);
    SmId::from_random(bits)
}

/// A sweep of a million stale records with so many expired, against one of a thousand.
fn sweep(expired: u32) -> Row {
    let run = move |records: u32| {
        let (start, stale_h) = (Instant::now(), StaleH { enabled: true, ..StaleH::default() });
        let room = NonZeroUsize::new(1 << 30).unwrap();
        let store = MemoryStore::new(&config().stale_h(stale_h)).stale_bytes(room);
        let mut next = 0_u32;
        let mut add = move |store: &MemoryStore<()>| {
            let (id, owner, now) =
                (SmId::random().unwrap(), owner(next as usize), start + Duration::from_millis(next.into()));
            let registration = store.register(&id, &owner.into(), (), now).unwrap().registration;
            store.retire(&registration, Counter::ZERO, now).unwrap();
            next += 1;
        };
        (0..records).for_each(|_| add(&store));
        let mut swept = 0_u32;
        move |often: u64| {
            for _ in 0..often {
                swept += expired;
                let due = start + stale_h.geriatric + Duration::from_millis(swept.into());
                assert_eq!(store.sweep(due).dropped, expired as usize);
                (0..expired).for_each(|_| add(&store));
            }
        }
    };
    let name = format!("sweep of 1000000 with {expired} expired and replaced, against 1000");
    pair(&name, (expired == 0).then_some(1.1), run(1000.max(expired * 2)), run(1_000_000))
}
