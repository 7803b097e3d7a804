//! Epochs: a registration is ended by who holds it, and by nobody else.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xmpp_sm::{Epoch, Lookup, SessionStore};

use super::{Checked, JULIET, MakeStore, ROMEO, SECOND, on, smid, stale};

pub fn every_registration_has_an_epoch_of_its_own<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (mut seen, mut last) = (HashSet::new(), None);
    for n in 0..100 {
        let (one, other) = (smid("one"), smid(&format!("other{n}")));
        for id in [&one, &other] {
            let epoch = store.register(id, JULIET, n);
            assert!(last < Some(epoch), "{epoch:?} comes after {last:?}");
            last = Some(epoch);
            seen.insert(epoch);
            // Not after it is free again, either.
            if n % 3 == 0 {
                store.remove(id, JULIET, epoch);
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
    store.retire(&id, JULIET, old, 99, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    store.remove(&id, JULIET, old);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    // And its h is not kept for later.
    store.retire(&id, JULIET, new, 7, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
}

pub fn a_late_end_leaves_a_later_stale_h_alone<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let old = store.register(&id, JULIET, 1);
    let new = store.register(&id, JULIET, 2);
    store.retire(&id, JULIET, new, 7, SECOND);
    store.retire(&id, JULIET, old, 99, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
    store.remove(&id, JULIET, old);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
}

pub fn the_epoch_of_another_session_ends_nothing<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (a, b) = (smid("a"), smid("b"));
    let of_a = store.register(&a, JULIET, 1);
    let of_b = store.register(&b, JULIET, 2);
    store.retire(&a, JULIET, of_b, 99, SECOND);
    store.remove(&b, JULIET, of_a);
    store.retire(&smid("never was"), JULIET, of_a, 99, SECOND);
    assert_eq!(store.lookup(&a, JULIET, SECOND), store.session(1));
    assert_eq!(store.lookup(&b, JULIET, SECOND), store.session(2));
    assert_eq!(store.lookup(&smid("never was"), JULIET, SECOND), Lookup::NotFound);
}

/// Neither an earlier one, nor a later one that is not given yet.
pub fn no_epoch_but_its_own_ends_a_session<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, gone) = (smid("live"), smid("gone"));
    let of_live = store.register(&live, JULIET, 1);
    let of_gone = store.register(&gone, JULIET, 2);
    store.retire(&gone, JULIET, of_gone, 7, SECOND);
    let near = |epoch: Epoch| [-2, -1, 1, 2].map(|far| epoch.get().saturating_add_signed(far));
    for other in near(of_live).into_iter().filter(|other| *other != of_live.get()).chain([0, u64::MAX]) {
        store.retire(&live, JULIET, Epoch::new(other), 99, SECOND);
        store.remove(&live, JULIET, Epoch::new(other));
        assert_eq!(store.lookup(&live, JULIET, SECOND), store.session(1), "{other} for {of_live:?}");
    }
    for other in near(of_gone).into_iter().filter(|other| *other != of_gone.get()).chain([0, u64::MAX]) {
        store.retire(&gone, JULIET, Epoch::new(other), 99, SECOND);
        store.remove(&gone, JULIET, Epoch::new(other));
        assert_eq!(store.lookup(&gone, JULIET, SECOND), stale(7), "{other} for {of_gone:?}");
    }
}

pub fn another_owner_ends_nothing<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, gone) = (smid("live"), smid("gone"));
    let of_live = store.register(&live, JULIET, 1);
    let of_gone = store.register(&gone, JULIET, 2);
    store.retire(&gone, JULIET, of_gone, 7, SECOND);
    for (id, epoch) in [(&live, of_live), (&gone, of_gone)] {
        store.retire(id, ROMEO, epoch, 99, SECOND);
        store.remove(id, ROMEO, epoch);
        assert_eq!(store.lookup(id, ROMEO, SECOND), Lookup::NotFound);
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
        let new = store.register(&id, JULIET, n);
        assert!(!old.contains(&new), "{new:?} was given before");
    }
    for epoch in old {
        store.retire(&id, JULIET, epoch, 99, SECOND);
        store.remove(&id, JULIET, epoch);
    }
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(99));
}

pub fn what_is_ended_twice_is_ended_once<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (retired, removed) = (smid("retired"), smid("removed"));
    let epoch = store.register(&retired, JULIET, 1);
    store.retire(&retired, JULIET, epoch, 7, SECOND);
    store.retire(&retired, JULIET, epoch, 8, SECOND);
    assert_eq!(store.lookup(&retired, JULIET, SECOND), stale(7), "the record was not of that epoch any more");
    let epoch = store.register(&removed, JULIET, 2);
    store.remove(&removed, JULIET, epoch);
    store.remove(&removed, JULIET, epoch);
    store.retire(&removed, JULIET, epoch, 9, SECOND);
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
                store.retire(&id, JULIET, epoch, n, Duration::ZERO);
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
                    let handles = thread * 100..(thread + 1) * 100;
                    handles.map(|handle| (handle, store.register(id, JULIET, handle))).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let epochs: HashSet<_> = registrations.iter().map(|(_, epoch)| *epoch).collect();
    assert_eq!(epochs.len(), 400);
    let Lookup::Session(there) = store.lookup(id, JULIET, SECOND) else { panic!("it is registered") };
    let (last, others): (Vec<_>, Vec<_>) =
        registrations.into_iter().partition(|(handle, _)| store.make.handle(*handle) == there);
    for (_, epoch) in others {
        store.remove(id, JULIET, epoch);
        store.retire(id, JULIET, epoch, 99, SECOND);
    }
    assert_eq!(store.lookup(id, JULIET, SECOND), Lookup::Session(there));
    store.retire(id, JULIET, last[0].1, 7, SECOND);
    assert_eq!(store.lookup(id, JULIET, SECOND), stale(7));
}
