//! The last h of sessions that are gone, and how it goes, too.

use std::time::Duration;

use crate::config::StaleH;

use super::{Checked, GERIATRIC, JULIET, Known, MakeStore, REPEAT_AFTER, SECOND, off, on, smid, stale};

/// How old an h may be that has to be answered.
fn oldest<M: MakeStore>() -> Duration {
    GERIATRIC - M::SLACK
}

pub fn the_last_h_is_answered_as_often_as_it_is_asked_for<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let registration = store.register(&id, JULIET, 1);
    store.retire(&registration, 7, SECOND);
    for second in 1..100 {
        assert_eq!(store.lookup(&id, JULIET, second * SECOND), stale(7));
    }
}

pub fn every_h_comes_back_as_it_was_given<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    for h in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX] {
        let id = smid(&format!("id{h}"));
        let registration = store.register(&id, JULIET, 1);
        store.retire(&registration, h, SECOND);
        assert_eq!(store.lookup(&id, JULIET, SECOND), stale(h));
    }
}

pub fn nothing_older_than_geriatric_is_answered_swept_or_not<M: MakeStore>(make: &M) {
    for sweeps in [false, true] {
        let store = Checked::new(make, on());
        let id = smid("a");
        let registration = store.register(&id, JULIET, 1);
        let retired = 10 * SECOND;
        store.retire(&registration, 7, retired);
        // It may be as old as that, and no older. How long the session lived before does not matter.
        for (after, expected) in [
            (retired + GERIATRIC - SECOND, stale(7)),
            (retired + oldest::<M>(), stale(7)),
            (retired + GERIATRIC + SECOND, Known::Nothing),
            (retired + 100 * GERIATRIC, Known::Nothing),
        ] {
            if sweeps {
                store.sweep(after);
            }
            assert_eq!(store.lookup(&id, JULIET, after), expected, "{after:?}");
        }
    }
}

/// The age counts from the end of the session, not from what its client or another session did since.
pub fn to_be_asked_for_keeps_nothing_young<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (id, other) = (smid("a"), smid("b"));
    let registration = store.register_at(&id, JULIET, 1, SECOND);
    let of_other = store.register_at(&other, JULIET, 2, SECOND);
    store.retire(&registration, 7, 100 * SECOND);
    for after in (0..=oldest::<M>().as_secs()).step_by(60) {
        let after = Duration::from_secs(100 + after);
        assert_eq!(store.lookup(&id, JULIET, after), stale(7), "{after:?}");
        // A late end once more.
        store.retire(&registration, 99, after);
    }
    let late = 101 * SECOND + GERIATRIC;
    store.retire(&of_other, 8, late);
    assert_eq!(store.lookup(&id, JULIET, late), Known::Nothing);
    assert_eq!(store.lookup(&other, JULIET, late + oldest::<M>()), stale(8));
    assert_eq!(store.lookup(&other, JULIET, late + GERIATRIC + SECOND), Known::Nothing);
}

pub fn nothing_is_remembered_where_it_is_switched_off<M: MakeStore>(make: &M) {
    let store = Checked::new(make, off());
    let id = smid("a");
    let registration = store.register(&id, JULIET, 1);
    store.retire(&registration, 7, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing);
    assert_eq!(store.next_sweep(), None);
    assert_eq!(store.sweep(2 * GERIATRIC), 0);
    // The SM-ID is free again.
    store.register(&id, JULIET, 2);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
}

pub fn a_removed_session_leaves_nothing_behind<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, gone) = (smid("live"), smid("gone"));
    let registration = store.register(&live, JULIET, 1);
    store.remove(&registration);
    assert_eq!(store.lookup(&live, JULIET, SECOND), Known::Nothing);
    // Its h is forgotten, too, if it was retired before.
    let registration = store.register(&gone, JULIET, 2);
    store.retire(&registration, 7, SECOND);
    store.remove(&registration);
    assert_eq!(store.lookup(&gone, JULIET, SECOND), Known::Nothing);
}

pub fn a_session_registered_again_has_no_stale_h<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let old = store.register(&id, JULIET, 1);
    store.retire(&old, 7, SECOND);
    let new = store.register(&id, JULIET, 2);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    store.remove(&new);
    assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing, "the old h came up from under the session");
    // Its age is that of its last retirement.
    let registration = store.register(&id, JULIET, 3);
    store.retire(&registration, 8, GERIATRIC);
    assert_eq!(store.lookup(&id, JULIET, GERIATRIC + oldest::<M>()), stale(8));
    assert_eq!(store.sweep(GERIATRIC + oldest::<M>()), 0);
    assert_eq!(store.lookup(&id, JULIET, GERIATRIC + oldest::<M>()), stale(8));
}

pub fn sweep_drops_what_is_too_old_and_tells_how_many<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    assert_eq!(store.sweep(Duration::ZERO), 0);
    for n in 0..10 {
        let id = smid(&format!("id{n}"));
        let registration = store.register(&id, JULIET, n.into());
        store.retire(&registration, n, n * SECOND);
    }
    // One is a session again and one was forgotten: they are not swept.
    store.register(&smid("id0"), JULIET, 100);
    let again = store.register(&smid("id1"), JULIET, 101);
    store.retire(&again, 11, 9 * SECOND);
    store.remove(&again);
    if store.sweeps() {
        assert_eq!(store.sweep(GERIATRIC + 2 * SECOND), 0, "the oldest is as old as it may be");
        assert_eq!(store.sweep(GERIATRIC + 5 * SECOND), 3);
        assert_eq!(store.sweep(GERIATRIC + 5 * SECOND), 0);
        assert_eq!(store.sweep(GERIATRIC + 1000 * SECOND), 5);
        assert_eq!(store.sweep(GERIATRIC + 1000 * SECOND), 0);
    } else {
        store.sweep(GERIATRIC + 1000 * SECOND);
    }
    assert_eq!(store.lookup(&smid("id0"), JULIET, GERIATRIC + 1000 * SECOND), store.session(100));
}

pub fn sweep_leaves_sessions_alone<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let mut registrations = Vec::new();
    for n in 0..10 {
        registrations.push(store.register(&smid(&format!("id{n}")), JULIET, n));
    }
    assert_eq!(store.sweep(100 * GERIATRIC), 0);
    store.retire(&registrations[3], 3, 100 * GERIATRIC);
    store.sweep(102 * GERIATRIC);
    for n in (0..10).filter(|n| *n != 3) {
        assert_eq!(store.lookup(&smid(&format!("id{n}")), JULIET, 102 * GERIATRIC), store.session(n));
    }
}

/// A sweep that is due for a record drops that record, not what is under its SM-ID by now.
pub fn sweep_leaves_alone_what_has_come_back<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, stale_again) = (smid("live"), smid("stale"));
    for id in [&live, &stale_again] {
        let registration = store.register(id, JULIET, 1);
        store.retire(&registration, 1, SECOND);
    }
    let of_live = store.register_at(&live, JULIET, 2, 2 * SECOND);
    let again = store.register_at(&stale_again, JULIET, 3, 2 * SECOND);
    store.retire(&again, 7, 100 * SECOND);
    let due = GERIATRIC + 50 * SECOND;
    assert_eq!(store.sweep(due), 0);
    assert_eq!(store.lookup(&live, JULIET, due), store.session(2));
    assert_eq!(store.lookup(&stale_again, JULIET, due), stale(7));
    store.retire(&of_live, 8, due);
    assert_eq!(store.lookup(&live, JULIET, due), stale(8));
}

/// A host that sweeps when it is told to, and then asks again, gets rid of every record soon after it is
/// of no use any more, and is left alone then.
pub fn next_sweep_leads_to_an_empty_table<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    store.register(&smid("live"), JULIET, 1);
    assert_eq!(store.next_sweep(), None, "there is nothing to sweep");
    for n in 0..5 {
        let id = smid(&format!("id{n}"));
        let registration = store.register(&id, JULIET, n.into());
        store.retire(&registration, n, n * 600 * SECOND);
    }
    let (mut at, mut swept) = (store.start + 4 * 600 * SECOND, 0);
    let end = at + GERIATRIC + REPEAT_AFTER;
    // The first time may have passed already; then it is swept now.
    while let Some(next) = store.next_sweep() {
        at = next.max(at);
        assert!(at <= end, "a record stays for too long");
        swept += store.sweep(at - store.start);
        assert!(store.next_sweep().is_none_or(|next| next > at), "the same time again");
    }
    if store.sweeps() {
        assert_eq!(swept, 5);
    }
    // And it starts again with the next one.
    let registration = store.register(&smid("later"), JULIET, 9);
    let later = 50 * GERIATRIC;
    store.retire(&registration, 1, later);
    if let Some(next) = store.next_sweep() {
        assert!(next > store.start + later && next <= store.start + later + REPEAT_AFTER);
    } else {
        assert!(!store.sweeps());
    }
}

pub fn next_sweep_is_never_where_repeat_after_is_none<M: MakeStore>(make: &M) {
    let store = Checked::new(make, StaleH { repeat_after: None, ..on() });
    let id = smid("a");
    let registration = store.register(&id, JULIET, 1);
    store.retire(&registration, 7, SECOND);
    assert_eq!(store.next_sweep(), None);
    // A host may sweep all the same, and age is age.
    assert_eq!(store.lookup(&id, JULIET, SECOND + oldest::<M>()), stale(7));
    assert_eq!(store.lookup(&id, JULIET, 2 * SECOND + GERIATRIC), Known::Nothing);
    if store.sweeps() {
        assert_eq!(store.sweep(2 * SECOND + GERIATRIC), 1);
    }
    assert_eq!(store.next_sweep(), None);
}
