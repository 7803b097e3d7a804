//! `MemoryStore` keeps the contract of `SessionStore`, and what it promises beyond that.
#![allow(unused_must_use, reason = "most sessions of these tests end with their store")]

mod support;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::count::counted;
use xmpp_sm::store_tests::MakeStore;
use xmpp_sm::{
    AtCap, Claim, Config, Counter, Epoch, Fence, Lookup, MemoryStore, Parking, Record, Registration, Revision,
    SessionStore, SmId, StaleH, StoreError, Sweep,
};

const JULIET: &str = "juliet@example.com";
const ROMEO: &str = "romeo@example.net";
const MERCUTIO: &str = "mercutio@example.com";
const GERIATRIC: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

struct InMemory;

impl MakeStore for InMemory {
    type Handle = u64;
    type Store = MemoryStore<u64>;

    fn store(&self, stale_h: StaleH) -> MemoryStore<u64> {
        remembering(stale_h).per_owner(count(1000)).stale_per_owner(count(1000))
    }

    fn handle(&self, number: u64) -> u64 {
        number
    }

    fn sweeper<'a>(&self, store: &'a MemoryStore<u64>) -> Option<&'a dyn Sweep> {
        Some(store)
    }
}

xmpp_sm::store_conformance!(InMemory);
xmpp_sm::parking_conformance!(InMemory);
xmpp_sm::journal_conformance!(InMemory);

fn on() -> StaleH {
    StaleH { enabled: true, repeat_after: Some(Duration::from_secs(1800)), geriatric: GERIATRIC }
}

fn off() -> StaleH {
    StaleH { enabled: false, ..on() }
}

fn smid(text: &str) -> SmId {
    SmId::new(text).unwrap()
}

/// What a lookup has found, without the registration.
#[derive(Debug, PartialEq)]
enum Known {
    Session(u64),
    StaleH(u32),
    Nothing,
}

fn stale(h: u32) -> Known {
    Known::StaleH(h)
}

fn known(store: &MemoryStore<u64>, smid: &SmId, owner: &str, now: Instant) -> Known {
    match store.lookup(smid, owner, now).unwrap() {
        Lookup::Session(record) => Known::Session(record.handle),
        Lookup::StaleH(h) => Known::StaleH(h.get()),
        Lookup::NotFound => Known::Nothing,
    }
}

#[test]
fn it_is_used_through_a_reference_to_the_trait() {
    let store = store();
    let shared: &(dyn SessionStore<Handle = u64, Error = StoreError> + Send + Sync) = &store;
    let registered = shared.register(&id(1), &JULIET.into(), 1, Instant::now()).unwrap();
    assert!(matches!(shared.lookup(&id(1), JULIET, Instant::now()), Ok(Lookup::Session(_))));
    shared.remove(&registered.registration).unwrap();
    assert!(matches!(shared.lookup(&id(1), JULIET, Instant::now()), Ok(Lookup::NotFound)));
}

/// Of whatever owners: they are spread over shards, each of which counts for itself.
#[test]
fn no_two_registrations_have_the_same_epoch() {
    let store = store();
    let epochs = thread::scope(|scope| {
        let crowd = ["a", "b", "c", "d"].map(|owner| {
            let (store, owner) = (&store, owner.into());
            let one = move |_| store.register(&id(1), &owner, 0, Instant::now()).unwrap().registration.epoch();
            scope.spawn(move || (0..20_000).map(one).collect::<Vec<_>>())
        });
        crowd.map(|thread| thread.join().unwrap()).concat()
    });
    let mut seen = std::collections::HashSet::new();
    assert!(epochs.into_iter().all(|epoch| seen.insert(epoch)), "two at once got the same");
}

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn remembering(stale_h: StaleH) -> MemoryStore<u64> {
    MemoryStore::new(&Config::default().stale_h(stale_h))
}

/// With the defaults, but that it remembers the last h.
fn store() -> MemoryStore<u64> {
    remembering(on())
}

fn id(n: u64) -> SmId {
    smid(&format!("id{n}"))
}

fn register(store: &MemoryStore<u64>, n: u64, owner: &str) -> Registration {
    let registered = store.register(&id(n), &owner.into(), n, Instant::now()).unwrap();
    assert_eq!(registered.displaced, None);
    registered.registration
}

/// Registers a session that takes the place of another, and tells which.
fn displace(store: &MemoryStore<u64>, n: u64, owner: &str, now: Instant) -> Record<u64> {
    store.register(&id(n), &owner.into(), n, now).unwrap().displaced.expect("another has to go")
}

/// Registers a session and retires it at once. Its h is its number.
fn come_and_go(store: &MemoryStore<u64>, n: u64, owner: &str, now: Instant) -> Registration {
    let registration = store.register(&id(n), &owner.into(), n, now).unwrap().registration;
    store.retire(&registration, h(n), now).unwrap();
    registration
}

fn h(n: u64) -> Counter {
    Counter::new(n.try_into().unwrap())
}

fn owner(n: u64) -> String {
    format!("user{n}@example.com")
}

#[test]
fn an_owner_has_ten_sessions_unless_told_otherwise_and_the_oldest_goes() {
    let now = Instant::now();
    let store = store();
    for n in 0..10 {
        register(&store, n, JULIET);
    }
    for n in 10..1000 {
        let displaced = displace(&store, n, JULIET, now);
        assert_eq!((displaced.registration.smid(), displaced.handle), (&id(n - 10), n - 10));
        assert_eq!(store.len(), 10);
    }
    // There are as many owners as one likes.
    for n in 0..1000 {
        register(&store, 0, &owner(n));
    }
    assert_eq!(store.len(), 1010);
}

#[test]
fn an_owner_with_as_many_sessions_as_it_may_have_is_refused_one_more() {
    let now = Instant::now();
    let store = store().per_owner(count(2)).at_cap(AtCap::Refuse);
    let first = register(&store, 1, JULIET);
    register(&store, 2, JULIET);
    assert_eq!(store.register(&id(3), &JULIET.into(), 3, now), Err(StoreError::OwnerFull));
    assert_eq!(known(&store, &id(3), JULIET, now), Known::Nothing);
    // Others are not touched by it, and a session that is resumed is not one more.
    register(&store, 4, ROMEO);
    let first_again = register(&store, 1, JULIET);
    // The end of the former registration makes no room; that of this one does.
    store.retire(&first, Counter::ZERO, now).unwrap();
    assert_eq!(store.register(&id(3), &JULIET.into(), 3, now), Err(StoreError::OwnerFull));
    store.retire(&first_again, Counter::ZERO, now).unwrap();
    register(&store, 3, JULIET);
    assert_eq!(store.len(), 3);
}

#[test]
fn a_store_with_as_many_sessions_as_there_may_be_refuses_one_more() {
    let now = Instant::now();
    let store = store().in_all(count(2)).at_cap(AtCap::Refuse);
    register(&store, 1, JULIET);
    let second = register(&store, 2, ROMEO);
    assert_eq!(store.register(&id(3), &JULIET.into(), 3, now), Err(StoreError::Full));
    assert_eq!(store.register(&id(3), &MERCUTIO.into(), 3, now), Err(StoreError::Full));
    register(&store, 1, JULIET);
    store.remove(&second).unwrap();
    register(&store, 3, JULIET);
    assert_eq!(store.register(&id(2), &ROMEO.into(), 3, now), Err(StoreError::Full));
    assert_eq!(store.len(), 2);
}

#[test]
fn the_longest_registered_session_of_the_owner_makes_room() {
    let now = Instant::now();
    let store = store().per_owner(count(2));
    register(&store, 9, ROMEO);
    let first = register(&store, 1, JULIET);
    register(&store, 2, JULIET);
    // It was resumed: now the other one is the longest registered.
    register(&store, 1, JULIET);
    assert_eq!(displace(&store, 3, JULIET, now).handle, 2);
    assert_eq!(displace(&store, 4, JULIET, now).handle, 1);
    assert_eq!(known(&store, &id(1), JULIET, now), Known::Nothing);
    // Its late end takes nothing with it.
    store.retire(&first, Counter::ZERO, now).unwrap();
    for n in [3, 4] {
        assert_eq!(known(&store, &id(n), JULIET, now), Known::Session(n));
    }
    assert_eq!(known(&store, &id(9), ROMEO, now), Known::Session(9));
}

/// One account, whatever it does, costs the others nothing.
#[test]
fn a_full_store_ends_nobody_elses_session() {
    let now = Instant::now();
    let store = store().in_all(count(4));
    register(&store, 1, ROMEO);
    register(&store, 2, JULIET);
    register(&store, 3, JULIET);
    let last = register(&store, 4, JULIET);
    // An owner that has sessions makes room with its own oldest, though it may have ten.
    assert_eq!(displace(&store, 5, JULIET, now).handle, 2);
    assert_eq!(displace(&store, 6, JULIET, now).handle, 3);
    assert_eq!(displace(&store, 7, ROMEO, now).handle, 1);
    // One that has none is refused.
    assert_eq!(store.register(&id(8), &MERCUTIO.into(), 8, now), Err(StoreError::Full));
    store.remove(&last).unwrap();
    register(&store, 8, MERCUTIO);
    assert_eq!(store.register(&id(9), &"benvolio@example.com".into(), 9, now), Err(StoreError::Full));
    for n in 10..1000 {
        displace(&store, n, JULIET, now);
    }
    assert_eq!(known(&store, &id(7), ROMEO, now), Known::Session(7));
    assert_eq!(known(&store, &id(8), MERCUTIO, now), Known::Session(8));
    assert_eq!(store.len(), 4);
}

#[test]
fn caps_hold_under_a_crowd() {
    for at_cap in [AtCap::Refuse, AtCap::EvictOldest] {
        let store = store().in_all(count(50)).at_cap(at_cap);
        // Counted after it is one more, and before it is one less: never more than there are.
        let live = AtomicUsize::new(0);
        // Each thread has owners of its own, and gives some of its sessions up.
        let crowd = |thread: u64| {
            let now = Instant::now();
            for n in 0..400 {
                let (id, owner) = (id(thread * 1000 + n), owner(thread * 1000 + n % 20));
                if let Ok(registered) = store.register(&id, &owner.as_str().into(), n, now) {
                    if registered.displaced.is_none() {
                        assert!(live.fetch_add(1, Ordering::SeqCst) < 50);
                    }
                    if n < 300 && n % 3 == 0 {
                        live.fetch_sub(1, Ordering::SeqCst);
                        store.remove(&registered.registration).unwrap();
                    }
                }
            }
        };
        thread::scope(|scope| {
            let crowd = &crowd;
            (0..4).for_each(|thread| drop(scope.spawn(move || crowd(thread))));
        });
        let found = (0..4).flat_map(|thread| (0..400).map(move |n| (thread * 1000 + n, thread * 1000 + n % 20)));
        let is_there = |(n, of): &(u64, u64)| known(&store, &id(*n), &owner(*of), Instant::now()) != Known::Nothing;
        assert_eq!(found.filter(is_there).count(), store.len());
        assert_eq!(store.len(), 50);
    }
}

/// The client of a session that had to make room is told its last h, like that of any other.
#[test]
fn a_displaced_session_leaves_its_last_h() {
    let now = Instant::now();
    for store in [store().per_owner(count(1)), store().in_all(count(1))] {
        register(&store, 1, JULIET);
        let Record { registration, .. } = displace(&store, 2, JULIET, now);
        let (smid, epoch) = (registration.smid(), registration.epoch());
        // Its host has not told yet.
        assert_eq!(known(&store, registration.smid(), JULIET, now), Known::Nothing);
        for (owner, other) in [(JULIET, Epoch::new(epoch.get() + 1)), (ROMEO, epoch)] {
            let other = Registration::new(owner, smid.clone(), other);
            store.retire(&other, h(99), now).unwrap();
            store.remove(&other).unwrap();
        }
        assert_eq!((known(&store, registration.smid(), JULIET, now), store.stale_len()), (Known::Nothing, 1));
        let retired = now + 5 * SECOND;
        store.retire(&registration, h(7), retired).unwrap();
        store.retire(&registration, h(8), retired).unwrap();
        assert_eq!(known(&store, smid, JULIET, retired + GERIATRIC), stale(7));
        assert_eq!(known(&store, smid, JULIET, retired + GERIATRIC + SECOND), Known::Nothing);
        assert_eq!(known(&store, smid, ROMEO, retired), Known::Nothing);
        assert_eq!(known(&store, &id(2), JULIET, retired), Known::Session(2));
    }
}

#[test]
fn a_displaced_session_that_is_not_retired_is_forgotten_in_time() {
    let now = Instant::now();
    let store = store().per_owner(count(1));
    register(&store, 1, JULIET);
    let Record { registration, .. } = displace(&store, 2, JULIET, now);
    let swept = store.sweep(now + GERIATRIC + SECOND);
    assert_eq!((swept.dropped, swept.more, store.stale_len()), (1, false, 0));
    store.retire(&registration, h(7), now).unwrap();
    assert_eq!(known(&store, registration.smid(), JULIET, now), Known::Nothing);
    // Or as soon as it is closed, or comes back under its SM-ID, or newer ones need the room.
    let Record { registration, .. } = displace(&store, 3, JULIET, now);
    store.remove(&registration).unwrap();
    assert_eq!(store.stale_len(), 0);
    let third = displace(&store, 2, JULIET, now);
    assert_eq!(displace(&store, 3, JULIET, now).registration.smid(), &id(2));
    store.retire(&third.registration, h(7), now).unwrap();
    assert_eq!(known(&store, &id(3), JULIET, now), Known::Session(3));
    for n in 10..100 {
        displace(&store, n, JULIET, now);
        assert!(store.stale_len() <= 10);
    }
    // And where nothing is remembered, that is not either.
    let forgets = remembering(off()).per_owner(count(1));
    register(&forgets, 1, JULIET);
    let Record { registration, .. } = displace(&forgets, 2, JULIET, now);
    assert_eq!((forgets.stale_len(), forgets.next_sweep()), (0, None));
    forgets.retire(&registration, h(7), now).unwrap();
    assert_eq!((known(&forgets, registration.smid(), JULIET, now), forgets.stale_len()), (Known::Nothing, 0));
}

#[test]
fn a_stale_h_goes_the_moment_after_it_is_too_old() {
    let now = Instant::now();
    let store = store();
    come_and_go(&store, 1, JULIET, now);
    let end = now + GERIATRIC;
    assert_eq!(store.sweep(end).dropped, 0);
    assert_eq!(known(&store, &id(1), JULIET, end), stale(1));
    let after = end + Duration::from_nanos(1);
    assert_eq!(known(&store, &id(1), JULIET, after), Known::Nothing);
    assert_eq!((store.stale_len(), store.sweep(after).dropped, store.stale_len()), (1, 1, 0));
}

#[test]
fn ten_stale_h_of_an_owner_are_remembered_and_the_oldest_go() {
    let now = Instant::now();
    for (store, most) in [(store(), 10), (store().stale_per_owner(count(3)), 3)] {
        come_and_go(&store, 7, ROMEO, now);
        for n in 0..100 {
            come_and_go(&store, n, JULIET, now);
            assert_eq!(store.stale_len() as u64, 1 + most.min(n + 1));
        }
        for n in 0..100 {
            let expected = if n < 100 - most { Known::Nothing } else { stale(n as u32) };
            assert_eq!(known(&store, &id(n), JULIET, now), expected, "{n}");
        }
        assert_eq!(known(&store, &id(7), ROMEO, now), stale(7));
    }
}

#[test]
fn a_stale_h_that_was_taken_out_makes_room_for_another() {
    let now = Instant::now();
    let store = store().stale_per_owner(count(3));
    come_and_go(&store, 1, JULIET, now);
    // One goes by `remove`, one by being registered again.
    let removed = come_and_go(&store, 2, JULIET, now);
    store.remove(&removed).unwrap();
    come_and_go(&store, 3, JULIET, now);
    register(&store, 3, JULIET);
    come_and_go(&store, 4, JULIET, now);
    come_and_go(&store, 5, JULIET, now);
    assert_eq!(store.stale_len(), 3);
    for n in [1, 4, 5] {
        assert_eq!(known(&store, &id(n), JULIET, now), stale(n as u32));
    }
}

/// As the allocator was asked for it, whatever is in the records.
#[test]
fn stale_h_take_no_more_bytes_than_they_may() {
    let now = Instant::now();
    let long_owner = |n: u64| format!("{n:01000}@example.com");
    let short = |n: u64| (smid(&format!("{n:022}")), owner(n));
    let long_ids = |n: u64| (smid(&format!("{n:0500}")), owner(n / 10));
    let long_owners = |n: u64| (smid(&format!("{n:022}")), long_owner(n));
    let they_come_again = |n: u64| (smid(&format!("{n:022}")), long_owner(n % 2000));
    const BYTES: usize = 2 << 20;
    for make in [&short as &dyn Fn(u64) -> (SmId, String), &long_ids, &long_owners, &they_come_again] {
        let store = store().stale_bytes(count(BYTES));
        let ((), counts) = counted(|| {
            for n in 0..20_000 {
                let (id, owner) = make(n);
                let registration = store.register(&id, &owner.as_str().into(), n, now).unwrap().registration;
                store.retire(&registration, h(n), now + n as u32 * SECOND).unwrap();
            }
        });
        assert!(counts.bytes < BYTES as isize, "{} bytes", counts.bytes);
        // It is used, too, and the newest of each owner is there.
        assert!(counts.bytes > BYTES as isize / 4, "{} bytes", counts.bytes);
        for n in (19_900..20_000).filter(|n| n % 10 == 9) {
            let (id, owner) = make(n);
            assert_eq!(known(&store, &id, &owner, now + n as u32 * SECOND), stale(n as u32), "{n}");
        }
    }
}

#[test]
fn one_account_cannot_flush_what_is_remembered_of_others() {
    let now = Instant::now();
    let store = store().stale_bytes(count(1 << 20)).stale_per_owner(count(1000));
    let others = 10_000;
    for n in 0..others {
        come_and_go(&store, 0, &owner(n), now);
    }
    let remembered =
        |store: &MemoryStore<u64>| (0..others).filter(|n| known(store, &id(0), &owner(*n), now) == stale(0)).count();
    let before = remembered(&store);
    assert!(before < others as usize, "there is no room for all");
    for n in 0..10_000 {
        come_and_go(&store, n, JULIET, now);
    }
    // The newest of its own is known, and some others may have made room for its first.
    assert_eq!(known(&store, &id(9999), JULIET, now), stale(9999));
    assert!(before - remembered(&store) <= 2, "{before} were known, and now {}", remembered(&store));
}

/// One that would not fit at all is not remembered, and nothing else goes for it.
#[test]
fn a_record_larger_than_its_room_flushes_nothing() {
    let now = Instant::now();
    let store = store().stale_bytes(count(64 * 2000));
    come_and_go(&store, 1, JULIET, now);
    let large = smid(&"x".repeat(2000));
    let registration = store.register(&large, &JULIET.into(), 2, now).unwrap().registration;
    store.retire(&registration, h(2), now).unwrap();
    assert_eq!(known(&store, &large, JULIET, now), Known::Nothing);
    assert_eq!(known(&store, &id(1), JULIET, now), stale(1));
}

/// Neither records nor owners.
#[test]
fn what_has_gone_leaves_no_memory_behind() {
    let now = Instant::now();
    let long = |n: u64| smid(&format!("{n:0500}"));
    // Tables keep the room that they once needed. A name is so long that one in a hundred left behind
    // would show beside it.
    type End = fn(&MemoryStore<u64>, &Registration, Instant);
    let retire: End = |store, registration, now| store.retire(registration, Counter::ZERO, now).unwrap();
    let remove: End = |store, registration, _| store.remove(registration).unwrap();
    let churn = |store: &MemoryStore<u64>, end: End, rounds: std::ops::Range<u64>| {
        for n in rounds {
            let owner = format!("{n:0500}@example.com");
            let first = store.register(&long(n), &owner.as_str().into(), n, now).unwrap().registration;
            let second = store.register(&long(n + 1), &owner.as_str().into(), n, now).unwrap().registration;
            end(store, &first, now);
            end(store, &second, now);
            if n % 100 == 0 {
                assert!(!store.sweep(now + GERIATRIC + SECOND).more);
            }
        }
    };
    for (store, end) in [(store(), retire), (store(), remove), (remembering(off()), retire)] {
        let store = store.in_all(count(100)).stale_bytes(count(1 << 20));
        churn(&store, end, 0..1000);
        let ((), counts) = counted(|| churn(&store, end, 1000..5001));
        assert!(counts.bytes < 20_000, "{counts:?}");
        assert_eq!((store.len(), store.stale_len()), (0, 0));
    }
}

#[test]
fn a_session_that_comes_and_goes_for_ever_is_remembered_once() {
    let now = Instant::now();
    let store = store();
    let around = || {
        come_and_go(&store, 1, JULIET, now);
    };
    (0..10).for_each(|_| around());
    let ((), counts) = counted(|| (0..10_000).for_each(|_| around()));
    assert_eq!(store.stale_len(), 1);
    assert!(counts.bytes < 1000, "{counts:?}");
}

#[test]
fn a_sweep_that_drops_nothing_asks_nothing_of_the_allocator() {
    let now = Instant::now();
    let store = store();
    for n in 0..20_000 {
        come_and_go(&store, n, &owner(n), now + n as u32 * SECOND);
        register(&store, n, &owner(n + 1));
    }
    // A sweep that looked at every record would take 4 * 10^8 steps here, and nobody would see its end.
    let (swept, counts) = counted(|| (0..20_000).map(|_| store.sweep(now + GERIATRIC).dropped).sum::<usize>());
    assert_eq!((swept, counts.taken, counts.freed), (0, 0, 0));
    for dropped in [1, 10, 100] {
        let oldest = 20_000 - store.stale_len();
        let due = now + GERIATRIC + (oldest + dropped - 1) as u32 * SECOND + Duration::from_nanos(1);
        let (swept, counts) = counted(|| store.sweep(due));
        assert_eq!((swept.dropped, swept.more), (dropped, false));
        assert!(counts.taken <= 2 * dropped && counts.freed <= 8 * dropped, "{counts:?} for {dropped}");
    }
}

/// Nobody waits for long: one call drops a thousand records at most, and says that there are more.
#[test]
fn a_sweep_has_a_budget_and_says_what_is_left() {
    let now = Instant::now();
    for owners in [1, 7, 20_000] {
        let store = InMemory.store(on()).stale_per_owner(count(20_000)).stale_bytes(count(1 << 30));
        for n in 0..3500 {
            come_and_go(&store, n, &owner(n % owners), now);
        }
        let due = now + GERIATRIC + SECOND;
        for (dropped, more) in [(1000, true), (1000, true), (1000, true), (500, false), (0, false)] {
            // Left over or not, none of them is answered any more.
            assert_eq!(known(&store, &id(3499), &owner(3499 % owners), due), Known::Nothing);
            let before = store.stale_len();
            let swept = store.sweep(due);
            assert_eq!((swept.dropped, swept.more), (dropped, more));
            assert_eq!(before - store.stale_len(), dropped);
            // It is due at once.
            assert_eq!(store.next_sweep().is_some_and(|next| next <= due), more);
        }
    }
}

/// A sweep takes effect for all records at one moment, in whatever order they are dropped.
#[test]
fn what_a_sweep_has_found_too_old_does_not_come_back_for_a_clock_that_is_behind() {
    let now = Instant::now();
    let store = store();
    for n in 0..3000 {
        come_and_go(&store, n, &owner(n), now);
    }
    assert!(store.sweep(now + GERIATRIC + SECOND).more);
    // By another clock it is earlier.
    assert!(store.sweep(now).more);
    for n in 0..3000 {
        assert_eq!(known(&store, &id(n), &owner(n), now), Known::Nothing, "{n}");
    }
}

#[test]
fn it_shows_counts_and_nothing_else() {
    let store = store();
    let registration = register(&store, 4711, JULIET);
    come_and_go(&store, 815, ROMEO, Instant::now());
    assert_eq!(format!("{store:?}"), "MemoryStore { sessions: 1, stale: 1, .. }");
    store.remove(&registration).unwrap();
    assert_eq!(format!("{store:?}"), "MemoryStore { sessions: 0, stale: 1, .. }");
}

/// What a host drops may do whatever it likes: no lock of the store is held meanwhile.
#[test]
fn a_handle_that_asks_the_store_as_it_is_dropped_finds_it_free() {
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
    impl PartialEq for Asks {
        fn eq(&self, other: &Self) -> bool {
            std::ptr::eq(self, other)
        }
    }
    for enabled in [true, false] {
        let config = Config::default().stale_h(StaleH { enabled, ..StaleH::default() });
        let store = std::sync::Arc::new(MemoryStore::new(&config));
        let handle = || std::sync::Arc::new(Asks(std::sync::Arc::downgrade(&store)));
        let registration = store.register(&id(1), &JULIET.into(), handle(), Instant::now()).unwrap().registration;
        let again = store.register(&id(1), &JULIET.into(), handle(), Instant::now()).unwrap().registration;
        assert_ne!(registration, again);
        store.retire(&again, Counter::ZERO, Instant::now()).unwrap();
        let third = store.register(&id(1), &JULIET.into(), handle(), Instant::now()).unwrap().registration;
        store.remove(&third).unwrap();
        assert!(store.is_empty());
        // What had to go, and what was refused.
        for at_cap in [AtCap::EvictOldest, AtCap::Refuse] {
            let store = std::sync::Arc::new(MemoryStore::new(&config).per_owner(count(1)).at_cap(at_cap));
            let handle = || std::sync::Arc::new(Asks(std::sync::Arc::downgrade(&store)));
            let registered = [1, 2].map(|n| store.register(&id(n), &JULIET.into(), handle(), Instant::now()).is_ok());
            assert_eq!(registered, [true, at_cap == AtCap::EvictOldest]);
        }
        // Who has claimed what is over, and what has made room.
        let store = std::sync::Arc::new(MemoryStore::new(&config).per_owner(count(1)));
        let handle = || std::sync::Arc::new(Asks(std::sync::Arc::downgrade(&store)));
        let register = |n| store.register(&id(n), &JULIET.into(), handle(), Instant::now()).unwrap().registration;
        let claim = |registration: &Registration| {
            let claim = futures::executor::block_on(store.claim(registration, handle(), Instant::now()));
            let Ok(Claim::Claimed(claimed)) = claim else { panic!("{claim:?}") };
            claimed.registration
        };
        for next in [1, 2] {
            let parked = register(1);
            let park = store.park(&parked, Revision::FIRST, b"snapshot");
            assert_eq!(futures::executor::block_on(park).unwrap(), Fence::Held);
            let claimed = claim(&claim(&parked));
            let next = register(next); // under the same SM-ID, or for want of room
            if next.smid() != claimed.smid() {
                store.remove(&claim(&claim(&claimed))).unwrap();
            }
            store.remove(&next).unwrap();
        }
    }
}

/// What is remembered of displaced sessions is bounded; what is kept of one stays until it is over, or another has its SM-ID.
#[test]
fn what_is_kept_of_a_displaced_session_has_no_bound_and_goes_with_its_sm_id() {
    let now = Instant::now();
    for few in [store().stale_per_owner(count(1)), store().stale_bytes(count(1)), remembering(off())] {
        let few = few.per_owner(count(1));
        let parked = |n: u64| {
            let registered = SessionStore::register(&few, &id(n), &JULIET.into(), n, now).unwrap();
            let park = few.park(&registered.registration, Revision::FIRST, b"snapshot");
            assert_eq!(futures::executor::block_on(park).unwrap(), Fence::Held);
            registered.registration
        };
        let claim = |registration| futures::executor::block_on(few.claim(registration, 9, now)).unwrap();
        let sessions: Vec<Registration> = (1..=4).map(parked).collect();
        for session in &sessions[..3] {
            assert!(matches!(claim(session), Claim::Claimed(_)), "{session:?}");
        }
        few.sweep(now + 2 * GERIATRIC);
        parked(1);
        assert_eq!(claim(&sessions[0]), Claim::Lost, "its stanzas are where it lives");
        let Claim::Claimed(claimed) = claim(&sessions[1]) else { panic!("it is kept") };
        SessionStore::remove(&few, &claimed.registration).unwrap();
        assert_eq!(claim(&claimed.registration), Claim::Lost);
    }
}

#[test]
fn a_displaced_session_that_is_retired_too_late_leaves_nothing_whether_swept_or_not() {
    let now = Instant::now();
    let store = store().per_owner(count(1));
    register(&store, 1, JULIET);
    let Record { registration, .. } = displace(&store, 2, JULIET, now);
    let late = now + GERIATRIC + SECOND;
    store.retire(&registration, h(7), late).unwrap();
    assert_eq!(known(&store, registration.smid(), JULIET, late), Known::Nothing);
}

#[test]
fn it_is_counted_what_was_done() {
    let now = Instant::now();
    let store = store().per_owner(count(2));
    let first = register(&store, 1, JULIET);
    let second = register(&store, 2, JULIET);
    let third = register(&store, 3, ROMEO);
    displace(&store, 4, JULIET, now);
    for (n, owner) in [(2, JULIET), (3, ROMEO), (3, JULIET), (9, ROMEO)] {
        let _ = store.lookup(&id(n), owner, now);
    }
    store.retire(&first, Counter::new(7), now).unwrap();
    store.retire(&second, Counter::new(7), now).unwrap();
    store.remove(&third).unwrap();
    store.remove(&third).unwrap();
    let _ = store.lookup(&id(1), JULIET, now);
    let stats = store.stats();
    assert_eq!((stats.sessions, stats.stale_h), (1, 2));
    assert_eq!((stats.registered, stats.displaced, stats.refused), (4, 1, 0));
    assert_eq!((stats.found, stats.found_stale_h, stats.not_found), (2, 1, 2));
    assert_eq!(
        (stats.retired, stats.removed, stats.swept),
        (1, 1, 0),
        "the one that made room is not there to be retired"
    );
    let late = now + GERIATRIC + SECOND;
    assert_eq!(store.sweep(late).dropped, 2);
    assert_eq!((store.stats().swept, store.stats().stale_h), (2, 0));

    let full = store_that_refuses();
    register(&full, 1, JULIET);
    assert!(full.register(&id(2), &JULIET.into(), 2, now).is_err());
    assert_eq!((full.stats().registered, full.stats().refused), (1, 1));
}

fn store_that_refuses() -> MemoryStore<u64> {
    store().per_owner(count(1)).at_cap(AtCap::Refuse)
}

#[test]
fn a_bound_on_all_sessions_counts_those_that_are_there() {
    let store = store();
    let first = register(&store, 1, JULIET);
    let store = store.in_all(count(2)).at_cap(AtCap::Refuse);
    register(&store, 2, ROMEO);
    assert_eq!(store.register(&id(3), &MERCUTIO.into(), 3, Instant::now()), Err(StoreError::Full));
    store.remove(&first).unwrap();
    register(&store, 3, MERCUTIO);
}
