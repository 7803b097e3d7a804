//! `MemoryStore` keeps the contract of `SessionStore`, and what it promises beyond that.

mod support_count;
mod support_store;

use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use support_count::counted;
use support_store::{GERIATRIC, JULIET, MakeStore, ROMEO, SECOND, on, smid, stale};
use xmpp_sm::{AtCap, Config, Counter, Epoch, Lookup, MemoryStore, SessionStore, SmId, StaleH, StoreError};

struct InMemory;

impl MakeStore for InMemory {
    type Sid = u64;
    type Store = MemoryStore<u64>;

    fn store(&self, stale_h: StaleH) -> MemoryStore<u64> {
        MemoryStore::new(&Config::default().stale_h(stale_h))
    }

    fn sid(&self, number: u64) -> u64 {
        number
    }
}

support_store::conformance!(InMemory);

fn sessions(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn store() -> MemoryStore<u64> {
    InMemory.store(on())
}

fn id(n: u64) -> SmId {
    smid(&format!("id{n}"))
}

fn register(store: &MemoryStore<u64>, n: u64, owner: &str) -> Epoch {
    let registered = store.register(&id(n), owner, n).unwrap();
    assert_eq!(registered.evicted, None);
    registered.epoch
}

#[test]
fn an_owner_with_as_many_sessions_as_it_may_have_is_refused_one_more() {
    let now = Instant::now();
    let store = store().per_owner(sessions(2));
    let first = register(&store, 1, JULIET);
    register(&store, 2, JULIET);
    assert_eq!(store.register(&id(3), JULIET, 3), Err(StoreError::OwnerFull));
    assert_eq!(store.lookup(&id(3), JULIET, now), Ok(Lookup::NotFound));
    // Others are not touched by it, and a session that is resumed is not one more.
    register(&store, 4, ROMEO);
    let first_again = register(&store, 1, JULIET);
    // The end of the former registration makes no room; that of this one does.
    store.retire(&id(1), first, Counter::ZERO, now).unwrap();
    assert_eq!(store.register(&id(3), JULIET, 3), Err(StoreError::OwnerFull));
    store.retire(&id(1), first_again, Counter::ZERO, now).unwrap();
    register(&store, 3, JULIET);
    assert_eq!(store.len(), 3);
}

#[test]
fn a_store_with_as_many_sessions_as_there_may_be_refuses_one_more() {
    let store = store().in_all(sessions(2));
    register(&store, 1, JULIET);
    let second = register(&store, 2, ROMEO);
    assert_eq!(store.register(&id(3), JULIET, 3), Err(StoreError::Full));
    assert_eq!(store.register(&id(3), "mercutio@example.com", 3), Err(StoreError::Full));
    register(&store, 1, JULIET);
    store.remove(&id(2), second).unwrap();
    register(&store, 3, JULIET);
    assert_eq!(store.register(&id(2), ROMEO, 3), Err(StoreError::Full));
}

#[test]
fn the_longest_registered_session_of_the_owner_makes_room() {
    let now = Instant::now();
    let store = store().per_owner(sessions(2)).at_cap(AtCap::EvictOldest);
    register(&store, 9, ROMEO);
    let first = register(&store, 1, JULIET);
    register(&store, 2, JULIET);
    // It was resumed: now the other one is the longest registered.
    register(&store, 1, JULIET);
    assert_eq!(store.register(&id(3), JULIET, 3).unwrap().evicted.map(|evicted| evicted.sid), Some(2));
    assert_eq!(store.register(&id(4), JULIET, 4).unwrap().evicted.map(|evicted| evicted.sid), Some(1));
    assert_eq!(store.lookup(&id(1), JULIET, now), Ok(Lookup::NotFound));
    // Its late end takes nothing with it.
    store.retire(&id(1), first, Counter::ZERO, now).unwrap();
    for n in [3, 4] {
        assert_eq!(store.lookup(&id(n), JULIET, now), Ok(Lookup::Session(n)));
    }
    assert_eq!(store.lookup(&id(9), ROMEO, now), Ok(Lookup::Session(9)));
}

#[test]
fn the_longest_registered_session_of_all_makes_room() {
    let now = Instant::now();
    let store = store().per_owner(sessions(2)).in_all(sessions(3)).at_cap(AtCap::EvictOldest);
    register(&store, 1, ROMEO);
    register(&store, 2, JULIET);
    register(&store, 3, JULIET);
    // Both caps are reached: the owner's own session goes, which makes room under both.
    assert_eq!(store.register(&id(4), JULIET, 4).unwrap().evicted.map(|evicted| evicted.sid), Some(2));
    assert_eq!(store.register(&id(5), "mercutio@example.com", 5).unwrap().evicted.map(|evicted| evicted.sid), Some(1));
    assert_eq!(store.lookup(&id(1), ROMEO, now), Ok(Lookup::NotFound));
    assert_eq!(store.len(), 3);
}

/// Wherever the store keeps the two: a newcomer waits for nobody.
#[test]
fn each_newcomer_takes_the_place_of_the_one_before() {
    let now = Instant::now();
    let store = store().in_all(sessions(1)).at_cap(AtCap::EvictOldest);
    // So that one in some is kept beside its predecessor. Ids that count up never are.
    let id =
        |n: u64| SmId::from_random(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes());
    assert_eq!(store.register(&id(0), JULIET, 0).unwrap().evicted, None);
    assert!(!store.is_empty());
    for n in 1..1000 {
        let evicted = store.register(&id(n), JULIET, n).unwrap().evicted.unwrap();
        assert_eq!((evicted.smid, evicted.sid), (id(n - 1), n - 1));
        assert_eq!(store.lookup(&id(n), JULIET, now), Ok(Lookup::Session(n)));
        assert_eq!(store.len(), 1);
    }
}

#[test]
fn caps_hold_under_a_crowd() {
    let store = store().in_all(sessions(50));
    let registered: usize = thread::scope(|scope| {
        let crowd: Vec<_> = (0..4)
            .map(|t| {
                let store = &store;
                let one = move |n| store.register(&id(t * 1000 + n), JULIET, n).is_ok();
                scope.spawn(move || (0..100).filter(|n| one(*n)).count())
            })
            .collect();
        crowd.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((registered, store.len()), (50, 50));
}

#[test]
fn a_stale_h_goes_the_moment_after_it_is_too_old() {
    let now = Instant::now();
    let store = store();
    let epoch = register(&store, 1, JULIET);
    store.retire(&id(1), epoch, Counter::new(7), now).unwrap();
    let end = now + GERIATRIC;
    assert_eq!(store.sweep(end), 0);
    assert_eq!(store.lookup(&id(1), JULIET, end), Ok(stale(7)));
    assert_eq!(store.lookup(&id(1), JULIET, end + Duration::from_nanos(1)), Ok(Lookup::NotFound));
    assert_eq!((store.stale_len(), store.sweep(end + Duration::from_nanos(1)), store.stale_len()), (1, 1, 0));
}

/// Registers a session and retires it at once.
fn come_and_go(store: &MemoryStore<u64>, n: u64, now: Instant) -> Epoch {
    let epoch = register(store, n, JULIET);
    store.retire(&id(n), epoch, Counter::new(n.try_into().unwrap()), now).unwrap();
    epoch
}

#[test]
fn one_stale_h_too_many_takes_the_place_of_the_oldest() {
    let now = Instant::now();
    let store = store().stale_max(sessions(3));
    for n in 0..10 {
        come_and_go(&store, n, now);
        assert_eq!(store.stale_len(), 3.min(n + 1) as usize);
    }
    for n in 0..10 {
        let expected = if n < 7 { Lookup::NotFound } else { stale(n.try_into().unwrap()) };
        assert_eq!(store.lookup(&id(n), JULIET, now), Ok(expected), "{n}");
    }
}

#[test]
fn a_stale_h_that_was_taken_out_makes_room_for_another() {
    let now = Instant::now();
    let store = store().stale_max(sessions(3));
    come_and_go(&store, 1, now);
    // One goes by `remove`, one by being registered again.
    let removed = come_and_go(&store, 2, now);
    store.remove(&id(2), removed).unwrap();
    come_and_go(&store, 3, now);
    register(&store, 3, JULIET);
    come_and_go(&store, 4, now);
    come_and_go(&store, 5, now);
    assert_eq!(store.stale_len(), 3);
    for n in [1, 4, 5] {
        assert_eq!(store.lookup(&id(n), JULIET, now), Ok(stale(n.try_into().unwrap())));
    }
}

#[test]
fn what_has_gone_leaves_no_memory_behind() {
    let now = Instant::now();
    let long = |n: u64| smid(&format!("{n:0500}"));
    // Tables keep the room that they once needed. An id is so long that one in a hundred left behind
    // would show beside it.
    let churn = |store: &MemoryStore<u64>, rounds: std::ops::Range<u64>| {
        for n in rounds {
            let epoch = store.register(&long(n), &format!("{n}@example.com"), n).unwrap().epoch;
            store.retire(&long(n), epoch, Counter::ZERO, now).unwrap();
        }
    };
    let capped = store().stale_max(sessions(100));
    churn(&capped, 0..1000);
    assert!(counted(|| churn(&capped, 1000..4000)).1.bytes < 100_000);

    let forgets = InMemory.store(StaleH { enabled: false, ..on() });
    churn(&forgets, 0..1000);
    assert!(counted(|| churn(&forgets, 1000..4000)).1.bytes < 100_000);
}

#[test]
fn a_session_that_comes_and_goes_for_ever_is_remembered_once() {
    let now = Instant::now();
    let store = store();
    let around = || {
        come_and_go(&store, 1, now);
    };
    (0..10).for_each(|_| around());
    let ((), counts) = counted(|| (0..10_000).for_each(|_| around()));
    assert_eq!(store.stale_len(), 1);
    assert!(counts.bytes < 1000, "{counts:?}");
}

#[test]
fn sweeping_costs_by_what_is_dropped() {
    let now = Instant::now();
    let store = store();
    // Ids that are kept on the heap, so that each record dropped gives memory back.
    let long = |n: u32| smid(&format!("{n:030}"));
    const ALL: u32 = 20_000;
    for n in 0..ALL {
        let epoch = store.register(&long(n), JULIET, n.into()).unwrap().epoch;
        store.retire(&long(n), epoch, Counter::new(n), now + n * SECOND).unwrap();
        register(&store, n.into(), ROMEO);
    }
    // With nothing to drop it asks nothing of the allocator. A sweep that looked at every record would
    // take 4 * 10^9 steps here, and nobody would see its end.
    let (swept, counts) = counted(|| (0..200_000).map(|_| store.sweep(now + GERIATRIC)).sum::<usize>());
    assert_eq!((swept, counts.taken, counts.freed), (0, 0, 0));
    for dropped in [1, 10, 100] {
        let before = store.stale_len();
        let oldest = ALL - u32::try_from(before).unwrap();
        let due = now + GERIATRIC + (oldest + dropped - 1) * SECOND + Duration::from_nanos(1);
        let (swept, counts) = counted(|| store.sweep(due));
        assert_eq!(swept, dropped as usize);
        assert_eq!(store.stale_len(), before - swept);
        assert!(counts.taken <= swept && counts.freed <= 4 * swept, "{counts:?} for {swept}");
    }
}

/// What a host drops may do whatever it likes: no lock of the store is held meanwhile.
#[test]
fn a_sid_that_asks_the_store_as_it_is_dropped_finds_it_free() {
    struct Asks(std::sync::Weak<MemoryStore<std::sync::Arc<Asks>>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            if let Some(store) = self.0.upgrade() {
                assert!(matches!(
                    store.lookup(&id(1), JULIET, Instant::now()),
                    Ok(Lookup::NotFound | Lookup::StaleH(_) | Lookup::Session(_))
                ));
                assert!(store.stale_len() <= 1);
            }
        }
    }
    for enabled in [true, false] {
        let config = Config::default().stale_h(StaleH { enabled, ..StaleH::default() });
        let store = std::sync::Arc::new(MemoryStore::new(&config));
        let sid = || std::sync::Arc::new(Asks(std::sync::Arc::downgrade(&store)));
        let epoch = store.register(&id(1), JULIET, sid()).unwrap().epoch;
        let again = store.register(&id(1), JULIET, sid()).unwrap().epoch;
        assert_ne!(epoch, again);
        store.retire(&id(1), again, Counter::ZERO, Instant::now()).unwrap();
        let third = store.register(&id(1), JULIET, sid()).unwrap().epoch;
        store.remove(&id(1), third).unwrap();
        assert!(store.is_empty());
    }
}
