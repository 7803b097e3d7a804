//! Epochs: only who holds a registration can end it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::smid::SmId;
use crate::store::{Epoch, Registration};

use super::{Checked, JULIET, Known, MakeStore, ROMEO, SECOND, on, smid, stale};

pub fn every_registration_has_an_epoch_of_its_own<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (mut seen, mut last) = (HashSet::new(), None);
    for n in 0..100 {
        let (one, other) = (smid("one"), smid(&format!("other{n}")));
        for id in [&one, &other] {
            let registration = store.register(id, JULIET, n);
            let epoch = registration.epoch();
            assert!(last < Some(epoch), "{epoch:?} comes after {last:?}");
            last = Some(epoch);
            seen.insert(epoch);
            // Not after it is free again, either.
            if n % 3 == 0 {
                store.remove(&registration);
            }
        }
    }
    let at_once = thread::scope(|scope| {
        let store = &store;
        let crowd = ["a", "b", "c", "d"].map(|id| {
            let one = move |_| store.register(&smid(id), JULIET, 0).epoch();
            scope.spawn(move || (0..M::ROUNDS).map(one).collect::<Vec<_>>())
        });
        crowd.map(|thread| thread.join().unwrap()).concat()
    });
    assert!(at_once.into_iter().all(|epoch| seen.insert(epoch)), "two at once got the same registration");
}

pub fn a_session_that_dies_late_leaves_its_successor_alone<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let old = store.register(&id, JULIET, 1);
    let new = store.register(&id, JULIET, 2);
    store.retire(&old, 99, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    store.remove(&old);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    // And its h is not kept for later.
    store.retire(&new, 7, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
}

pub fn a_late_end_leaves_a_later_stale_h_alone<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let old = store.register(&id, JULIET, 1);
    let new = store.register(&id, JULIET, 2);
    store.retire(&new, 7, SECOND);
    store.retire(&old, 99, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
    store.remove(&old);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
}

/// A host finds a session whose task is gone. Until it says so, its client may have come back by another way.
pub fn a_dead_session_that_was_found_goes_and_a_later_one_stays<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    store.register(&id, JULIET, 1);
    let dead = store.found(&id, JULIET).registration;
    store.register(&id, JULIET, 2);
    store.remove(&dead);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    store.remove(&store.found(&id, JULIET).registration);
    assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing);
}

/// A registration that no store gave.
fn forged(owner: &str, smid: &SmId, epoch: Epoch) -> Registration {
    Registration::new(owner, smid.clone(), epoch)
}

pub fn the_epoch_of_another_session_ends_nothing<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (a, b) = (smid("a"), smid("b"));
    let of_a = store.register(&a, JULIET, 1);
    let of_b = store.register(&b, JULIET, 2);
    store.retire(&forged(JULIET, &a, of_b.epoch()), 99, SECOND);
    store.remove(&forged(JULIET, &b, of_a.epoch()));
    store.retire(&forged(JULIET, &smid("never was"), of_a.epoch()), 99, SECOND);
    assert_eq!(store.lookup(&a, JULIET, SECOND), store.session(1));
    assert_eq!(store.lookup(&b, JULIET, SECOND), store.session(2));
    assert_eq!(store.lookup(&smid("never was"), JULIET, SECOND), Known::Nothing);
}

/// Neither an earlier one, nor a later one that is not given yet.
pub fn no_epoch_but_its_own_ends_a_session<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, gone) = (smid("live"), smid("gone"));
    let of_live = store.register(&live, JULIET, 1);
    let of_gone = store.register(&gone, JULIET, 2);
    store.retire(&of_gone, 7, SECOND);
    for (id, registration, expected) in [(live, of_live, store.session(1)), (gone, of_gone, stale(7))] {
        let own = registration.epoch().get();
        let near = [-65, -64, -2, -1, 1, 2, 64, 65].map(|far| own.saturating_add_signed(far));
        for other in near.into_iter().filter(|other| *other != own).chain([0, u64::MAX]) {
            let forged = forged(JULIET, &id, Epoch::new(other));
            store.retire(&forged, 99, SECOND);
            store.remove(&forged);
            assert_eq!(store.lookup(&id, JULIET, SECOND), expected, "{other} for {own}");
        }
    }
}

pub fn another_owner_ends_nothing<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, gone) = (smid("live"), smid("gone"));
    let of_live = store.register(&live, JULIET, 1);
    let of_gone = store.register(&gone, JULIET, 2);
    store.retire(&of_gone, 7, SECOND);
    for (id, registration) in [(&live, of_live), (&gone, of_gone)] {
        let forged = forged(ROMEO, id, registration.epoch());
        store.retire(&forged, 99, SECOND);
        store.remove(&forged);
        assert_eq!(store.lookup(id, ROMEO, SECOND), Known::Nothing);
    }
    assert_eq!(store.lookup(&live, JULIET, SECOND), store.session(1));
    assert_eq!(store.lookup(&gone, JULIET, SECOND), stale(7));
}

/// Or a session that outlived the store that it was registered in would end one of the next.
pub fn a_store_built_anew_gives_other_epochs<M: MakeStore>(make: &M) {
    let id = smid("a");
    let before = Checked::new(make, on());
    let old: Vec<_> = (0..100).map(|n| before.register(&id, JULIET, n)).collect();
    drop(before);
    let store = Checked::new(make, on());
    for n in 0..100 {
        let new = store.register(&id, JULIET, n).epoch();
        assert!(old.iter().all(|old| old.epoch() != new), "{new:?} was given before");
    }
    for registration in old {
        store.retire(&registration, 99, SECOND);
        store.remove(&registration);
    }
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(99));
}

pub fn what_is_ended_twice_is_ended_once<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (retired, removed) = (smid("retired"), smid("removed"));
    let registration = store.register(&retired, JULIET, 1);
    store.retire(&registration, 7, SECOND);
    store.retire(&registration, 8, SECOND);
    assert_eq!(store.lookup(&retired, JULIET, SECOND), stale(7), "the record was not of that registration any more");
    let registration = store.register(&removed, JULIET, 2);
    store.remove(&registration);
    store.remove(&registration);
    store.retire(&registration, 9, SECOND);
    assert_eq!(store.lookup(&removed, JULIET, SECOND), Known::Nothing);
}

/// A session that is taken out of one table and then put into the other is nowhere in between.
pub fn nobody_sees_a_session_half_retired<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    store.register(&id, JULIET, 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..M::ROUNDS {
                let registration = store.register(&id, JULIET, n.into());
                store.retire(&registration, n, Duration::ZERO);
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let seen = store.lookup(&id, JULIET, Duration::ZERO);
            assert_ne!(seen, Known::Nothing);
        }
    });
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(M::ROUNDS - 1));
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
                    let handles = thread * 100..(thread + 1) * 100;
                    handles.map(|handle| (handle, store.register(id, JULIET, handle))).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let epochs: HashSet<_> = registrations.iter().map(|(_, registration)| registration.epoch()).collect();
    assert_eq!(epochs.len(), 400);
    let Known::Session(there) = store.lookup(id, JULIET, SECOND) else { panic!("it is registered") };
    let (last, others): (Vec<_>, Vec<_>) =
        registrations.into_iter().partition(|(handle, _)| store.make.handle(*handle) == there);
    for (_, registration) in others {
        store.remove(&registration);
        store.retire(&registration, 99, SECOND);
    }
    assert_eq!(store.lookup(id, JULIET, SECOND), Known::Session(there));
    store.retire(&last[0].1, 7, SECOND);
    assert_eq!(store.lookup(id, JULIET, SECOND), stale(7));
}
