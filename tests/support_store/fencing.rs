//! Epochs: a registration is ended by who holds it, and by nobody else.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use xmpp_sm::{Counter, Lookup, SessionStore};

use super::{Checked, JULIET, MakeStore, SECOND, on, smid, stale};

pub fn every_registration_has_an_epoch_of_its_own<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let mut seen = HashSet::new();
    for n in 0..100 {
        let (one, other) = (smid("one"), smid(&format!("other{n}")));
        for id in [&one, &other] {
            let epoch = store.register(id, JULIET, n);
            assert!(seen.insert(epoch), "{epoch:?} was given before");
            // Not after it is free again, either.
            if n % 3 == 0 {
                store.store.remove(id, epoch).unwrap();
            }
        }
    }
    let at_once = thread::scope(|scope| {
        let store = &store;
        let crowd = ["a", "b", "c", "d"].map(|owner| {
            let one = move |_| store.register(&smid(owner), owner, 0);
            scope.spawn(move || (0..20_000).map(one).collect::<Vec<_>>())
        });
        crowd.map(|thread| thread.join().unwrap()).concat()
    });
    assert!(at_once.into_iter().all(|epoch| seen.insert(epoch)), "two at once got the same epoch");
}

pub fn a_session_that_dies_late_leaves_its_successor_alone<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let old = store.register(&id, JULIET, 1);
    let new = store.register(&id, JULIET, 2);
    store.retire(&id, old, 99, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    store.store.remove(&id, old).unwrap();
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    // And its h is not kept for later.
    store.retire(&id, new, 7, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
}

pub fn a_late_end_leaves_a_later_stale_h_alone<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let old = store.register(&id, JULIET, 1);
    let new = store.register(&id, JULIET, 2);
    store.retire(&id, new, 7, SECOND);
    store.retire(&id, old, 99, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
    store.store.remove(&id, old).unwrap();
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
}

pub fn the_epoch_of_another_session_ends_nothing<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (a, b) = (smid("a"), smid("b"));
    let of_a = store.register(&a, JULIET, 1);
    let of_b = store.register(&b, JULIET, 2);
    store.retire(&a, of_b, 99, SECOND);
    store.store.remove(&b, of_a).unwrap();
    store.retire(&smid("never was"), of_a, 99, SECOND);
    assert_eq!(store.lookup(&a, JULIET, SECOND), store.session(1));
    assert_eq!(store.lookup(&b, JULIET, SECOND), store.session(2));
    assert_eq!(store.lookup(&smid("never was"), JULIET, SECOND), Lookup::NotFound);
}

pub fn what_is_ended_twice_is_ended_once<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (retired, removed) = (smid("retired"), smid("removed"));
    let epoch = store.register(&retired, JULIET, 1);
    store.retire(&retired, epoch, 7, SECOND);
    store.retire(&retired, epoch, 8, SECOND);
    assert_eq!(store.lookup(&retired, JULIET, SECOND), stale(7), "the record was not of that epoch any more");
    let epoch = store.register(&removed, JULIET, 2);
    store.store.remove(&removed, epoch).unwrap();
    store.store.remove(&removed, epoch).unwrap();
    store.retire(&removed, epoch, 9, SECOND);
    assert_eq!(store.lookup(&removed, JULIET, SECOND), Lookup::NotFound);
}

/// A session that is taken out of one table and then put into the other is nowhere in between.
pub fn nobody_sees_a_session_half_retired<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    store.register(&id, JULIET, 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..2000 {
                let epoch = store.register(&id, JULIET, n.into());
                store.store.retire(&id, epoch, Counter::new(n), store.start).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let seen = store.store.lookup(&id, JULIET, store.start).unwrap();
            assert_ne!(seen, Lookup::NotFound);
        }
    });
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(1999));
}

/// As after a race of connections for one session: each ends what it registered, and one was last.
pub fn of_many_registrations_the_last_one_holds<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let store = &store;
    let id = &id;
    let registrations: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    let sids = thread * 100..(thread + 1) * 100;
                    sids.map(|sid| (sid, store.register(id, JULIET, sid))).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let epochs: HashSet<_> = registrations.iter().map(|(_, epoch)| *epoch).collect();
    assert_eq!(epochs.len(), 400);
    let Lookup::Session(there) = store.lookup(id, JULIET, SECOND) else { panic!("it is registered") };
    let (last, others): (Vec<_>, Vec<_>) =
        registrations.into_iter().partition(|(sid, _)| store.make.sid(*sid) == there);
    for (_, epoch) in others {
        store.store.remove(id, epoch).unwrap();
        store.retire(id, epoch, 99, SECOND);
    }
    assert_eq!(store.lookup(id, JULIET, SECOND), Lookup::Session(there));
    store.retire(id, last[0].1, 7, SECOND);
    assert_eq!(store.lookup(id, JULIET, SECOND), stale(7));
}
