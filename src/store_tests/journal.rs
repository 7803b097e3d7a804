//! What changes while a session lives.

use std::collections::HashSet;
use std::thread;
use std::time::Instant;

use bytes::Bytes;

use crate::smid::SmId;
use crate::store::{Change, Claim, Fence, Journal, Parking, Registration, Revision};

use super::parking::{ENDLESS, FIRST, SECOND_ONE, THIRD};
use super::{Checked, JULIET, MakeStore, ROMEO, SECOND, on, smid};

impl<M: MakeStore<Store: Journal>> Checked<'_, M> {
    /// Appends to several sessions what belongs to the first revision of each.
    fn append_to(&self, changes: &[(&Registration, &str)]) -> Fence {
        let changes = changes.iter().map(|(registration, change)| Change {
            registration,
            revision: FIRST,
            change: change.as_bytes(),
        });
        self.append_all(&changes.collect::<Vec<_>>())
    }

    fn append_all(&self, changes: &[Change<'_>]) -> Fence {
        self.make.block_on(self.store.append(changes)).unwrap()
    }

    fn append(&self, registration: &Registration, revision: Revision, change: &str) -> Fence {
        self.append_all(&[Change { registration, revision, change: change.as_bytes() }])
    }

    /// What is kept of a session, the snapshot first. A change may come twice where a call was made again.
    fn kept(&self, registration: &Registration) -> Vec<String> {
        let claimed = self.claimed(registration, 98);
        once([vec![claimed.snapshot], claimed.journal].concat())
    }
}

fn once(kept: Vec<Bytes>) -> Vec<String> {
    let mut seen = HashSet::new();
    let texts = kept.into_iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    texts.filter(|text| seen.insert(text.clone())).collect()
}

pub fn changes_come_back_in_order_behind_their_snapshot<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    for change in ["one", "two", "three"] {
        assert_eq!(store.append(&registration, FIRST, change), Fence::Held);
    }
    // Several in one call, and one after.
    assert_eq!(store.append_to(&[(&registration, "four"), (&registration, "five")]), Fence::Held);
    assert_eq!(store.append(&registration, FIRST, "six"), Fence::Held);
    assert_eq!(store.kept(&registration), ["snapshot", "one", "two", "three", "four", "five", "six"]);
}

pub fn changes_come_back_byte_by_byte<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = every_byte.repeat(2000);
    let changes = [&[][..], &[0], b" 1\r\n", &every_byte, &long];
    for change in changes {
        assert_eq!(store.append_all(&[Change { registration: &registration, revision: FIRST, change }]), Fence::Held);
    }
    let mut journal = store.claimed(&registration, 2).journal;
    journal.dedup();
    assert_eq!(journal, changes);
}

pub fn many_changes_come_back<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    let texts: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    for texts in texts.chunks(1500) {
        let changes: Vec<_> = texts.iter().map(|text| (&registration, &**text)).collect();
        assert_eq!(store.append_to(&changes), Fence::Held);
    }
    let kept = store.kept(&registration);
    assert_eq!((&*kept[0], &kept[1..]), ("snapshot", &texts[..]));
}

pub fn a_new_snapshot_takes_the_place_of_the_changes<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    assert_eq!(store.append(&registration, FIRST, "one"), Fence::Held);
    // Made again it is the same snapshot: what was appended since stays.
    assert_eq!(store.park(&registration, FIRST, b"snapshot"), Fence::Held);
    assert_eq!(store.append(&registration, FIRST, "two"), Fence::Held);
    assert_eq!(store.kept(&store.claimed(&registration, 2).registration), ["snapshot", "one", "two"]);
    let registration = store.found(&smid("a"), JULIET).registration;
    assert_eq!(store.park(&registration, FIRST, b"second"), Fence::Held);
    assert_eq!(store.append(&registration, FIRST, "three"), Fence::Held);
    assert_eq!(store.park(&registration, SECOND_ONE, b"third"), Fence::Held);
    assert_eq!(store.kept(&registration), ["third"]);
}

pub fn changes_of_another_revision_are_not_appended<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.register(&smid("a"), JULIET, 1);
    assert_eq!(store.append(&registration, FIRST, "there is no snapshot"), Fence::Lost);
    store.assert_not_parked(&registration);
    assert_eq!(store.park(&registration, SECOND_ONE, b"snapshot"), Fence::Held);
    assert_eq!(store.append(&registration, FIRST, "of the one before"), Fence::Lost);
    assert_eq!(store.append(&registration, THIRD, "of one to come"), Fence::Lost);
    assert_eq!(store.append(&registration, SECOND_ONE, "one"), Fence::Held);
    // All of one call have to be of it.
    let change = |revision, change| Change { registration: &registration, revision, change };
    assert_eq!(store.append_all(&[change(SECOND_ONE, b"half"), change(THIRD, b"half")]), Fence::Lost);
    assert_eq!(store.append_all(&[change(FIRST, b"half"), change(SECOND_ONE, b"half")]), Fence::Lost);
    assert_eq!(store.kept(&registration), ["snapshot", "one"]);

    let registration = store.parked(&smid("b"), JULIET, b"snapshot");
    let unparked = store.make.block_on(store.store.unpark(&registration, SECOND_ONE)).unwrap();
    assert_eq!(unparked, Fence::Held);
    for revision in [FIRST, SECOND_ONE] {
        assert_eq!(store.append(&registration, revision, "it is in memory"), Fence::Lost);
    }
    store.assert_not_parked(&registration);
}

/// What is claimed was written by another: its owner appends to its own.
pub fn a_claimed_session_is_parked_before_changes_are_appended<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let before = store.parked(&smid("a"), JULIET, b"snapshot");
    assert_eq!(store.append(&before, FIRST, "one"), Fence::Held);
    let held = store.claimed(&before, 2).registration;
    assert_eq!(store.append(&held, FIRST, "to what another wrote"), Fence::Lost);
    assert_eq!(store.append(&before, FIRST, "late"), Fence::Lost);
    // It stays until the new owner writes, and comes again where it dies or its answer is lost.
    let again = store.claimed(&before, 2);
    assert_eq!(again.registration, held);
    assert_eq!(once([vec![again.snapshot], again.journal].concat()), ["snapshot", "one"]);
    assert_eq!(store.kept(&held), ["snapshot", "one"]);
    let held = store.found(&smid("a"), JULIET).registration;
    assert_eq!(store.park(&held, FIRST, b"second"), Fence::Held);
    assert_eq!(store.append(&held, FIRST, "two"), Fence::Held);
    assert_eq!(store.append(&before, FIRST, "late"), Fence::Lost);
    assert_eq!(store.kept(&held), ["second", "two"]);
}

pub fn what_is_over_has_no_journal<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    for id in ["retired", "removed", "registered"] {
        let registration = store.parked(&smid(id), JULIET, b"snapshot");
        assert_eq!(store.append(&registration, FIRST, "one"), Fence::Held);
        match id {
            "retired" => store.retire(&registration, 7, SECOND),
            "removed" => store.remove(&registration),
            _ => drop(store.register(registration.smid(), JULIET, 2)),
        }
        assert_eq!(store.append(&registration, FIRST, "late"), Fence::Lost, "{id}");
        let registration = store.register(&smid(id), JULIET, 3);
        assert_eq!(store.append(&registration, FIRST, "to nothing"), Fence::Lost, "{id}");
        store.assert_not_parked(&registration);
        assert_eq!(store.park(&registration, FIRST, b"new"), Fence::Held);
        assert_eq!(store.kept(&registration), ["new"], "{id}");
    }
}

pub fn a_registration_that_no_store_gave_appends_nothing<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    let other = store.parked(&smid("b"), JULIET, b"other");
    for (owner, id, epoch) in [
        (ROMEO, "a", registration.epoch()),
        (JULIET, "b", registration.epoch()),
        (JULIET, "a", other.epoch()),
        (JULIET, "never was", registration.epoch()),
    ] {
        let forged = Registration::new(owner, smid(id), epoch);
        assert_eq!(store.append(&forged, FIRST, "forged"), Fence::Lost, "{owner} {id}");
    }
    assert_eq!(store.kept(&registration), ["snapshot"]);
    assert_eq!(store.kept(&other), ["other"]);
}

pub fn changes_of_several_sessions_are_appended_together<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let a = store.parked(&smid("a"), JULIET, b"a");
    let b = store.parked(&smid("b"), JULIET, b"b");
    let c = store.parked(&smid("a"), ROMEO, b"c");
    let changes = [(&a, "a1"), (&b, "b1"), (&c, "c1"), (&a, "a2"), (&c, "c2"), (&b, "b2"), (&a, "a3")];
    assert_eq!(store.append_to(&changes), Fence::Held);
    assert_eq!(store.append_to(&[]), Fence::Held, "there is nothing to lose");
    assert_eq!(store.kept(&a), ["a", "a1", "a2", "a3"]);
    assert_eq!(store.kept(&b), ["b", "b1", "b2"]);
    assert_eq!(store.kept(&c), ["c", "c1", "c2"]);
}

pub fn if_one_session_is_lost_nothing_is_appended<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let held: Vec<_> = [JULIET, ROMEO].map(|owner| store.parked(&smid("held"), owner, b"held")).into();
    let lost: Vec<_> = [JULIET, ROMEO].map(|owner| store.parked(&smid("lost"), owner, b"lost")).into();
    let new: Vec<_> = lost.iter().map(|lost| store.claimed(lost, 2).registration).collect();
    let never: Vec<_> = [JULIET, ROMEO].map(|owner| store.register(&smid("never"), owner, 1)).into();
    for bad in lost.iter().chain(&never) {
        for held in &held {
            for changes in [
                vec![(held, "before"), (bad, "no")],
                vec![(bad, "no"), (held, "behind")],
                vec![(held, "between"), (bad, "no"), (held, "between")],
            ] {
                assert_eq!(store.append_to(&changes), Fence::Lost);
            }
        }
    }
    for held in &held {
        assert_eq!(store.kept(held), ["held"]);
    }
    for new in &new {
        assert_eq!(store.kept(new), ["lost"]);
    }
    never.iter().for_each(|never| store.assert_not_parked(never));
}

/// One goes on appending to two sessions, another claims one: the journals end alike.
pub fn nobody_sees_half_an_append<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    for n in 0..(M::ROUNDS / 20).max(10) {
        let one = store.parked(&smid(&format!("id{n}")), JULIET, b"snapshot");
        let other = store.parked(&smid(&format!("id{n}")), ROMEO, b"snapshot");
        let (first, second) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let (last, claimed) = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut last = 0;
                let begun = Instant::now();
                loop {
                    assert!(begun.elapsed() < ENDLESS, "it was claimed, and is never lost");
                    let text = format!("{}", last + 1);
                    if store.append_to(&[(&one, &text), (&other, &text)]) == Fence::Lost {
                        return last;
                    }
                    last += 1;
                }
            });
            let claimed = store.claimed(first, 2);
            (writer.join().unwrap(), claimed)
        });
        let journal = once([vec![claimed.snapshot], claimed.journal].concat());
        // A call whose answer was lost is made again, and then it may be late.
        assert!(journal.len() == last + 1 || journal.len() == last + 2, "{last} were held: {journal:?}");
        assert!((1..journal.len()).all(|n| journal[n] == n.to_string()), "{journal:?}");
        assert_eq!(store.kept(second), journal);
    }
}

/// Those that wait for each other would wait for ever.
pub fn appends_to_the_same_sessions_in_any_order_end<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let all: Vec<_> = (0..8).map(|n| store.parked(&smid("a"), &format!("user{n}@example.com"), b"snapshot")).collect();
    let texts: Vec<Vec<String>> =
        (0..4).map(|thread| (0..M::ROUNDS / 10).map(|n| format!("{thread} {n}")).collect()).collect();
    thread::scope(|scope| {
        for (thread, texts) in texts.iter().enumerate() {
            let (store, mut order) = (&store, all.iter().collect::<Vec<_>>());
            order.rotate_left(2 * thread);
            if thread % 2 == 1 {
                order.reverse();
            }
            scope.spawn(move || {
                for text in texts {
                    let changes: Vec<_> = order.iter().map(|registration| (*registration, &**text)).collect();
                    assert_eq!(store.append_to(&changes), Fence::Held);
                }
            });
        }
    });
    for registration in &all {
        let kept = store.kept(registration);
        for (thread, texts) in texts.iter().enumerate() {
            let of_thread: Vec<_> = kept.iter().filter(|text| text.starts_with(&format!("{thread} "))).collect();
            assert_eq!(of_thread, texts.iter().collect::<Vec<_>>());
        }
    }
}

/// Of a displaced session nothing is appended, and all that was is there.
pub fn a_displaced_session_keeps_its_journal<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    assert_eq!(store.append(&registration, FIRST, "one"), Fence::Held);
    if !super::parking::displaced(&store, &registration) {
        return;
    }
    assert_eq!(store.append(&registration, FIRST, "late"), Fence::Lost);
    let mut held = registration;
    for handle in 2..4 {
        let claimed = store.claimed(&held, handle);
        held = claimed.registration;
        assert_eq!(once([vec![claimed.snapshot], claimed.journal].concat()), ["snapshot", "one"]);
        assert_eq!(store.append(&held, FIRST, "late"), Fence::Lost);
    }
    store.remove(&held);
    let claim = store.make.block_on(store.store.claim(&held, store.make.handle(98), store.start)).unwrap();
    assert_eq!(claim, Claim::Lost);
}

/// The SM-ID says nothing about where the store keeps it.
pub fn a_session_of_any_sm_id_has_a_journal<M: MakeStore<Store: Journal>>(make: &M) {
    let store = Checked::new(make, on());
    let long = "x".repeat(SmId::MAX_BYTES);
    let ids = ["a", "a:b", ":", "}", "{", "a b", "0", "ü", "a\n", &long].map(smid);
    let all: Vec<_> = ids.iter().map(|id| store.parked(id, JULIET, id.as_bytes())).collect();
    let changes: Vec<_> = all.iter().map(|registration| (registration, "one")).collect();
    assert_eq!(store.append_to(&changes), Fence::Held);
    for (id, registration) in ids.iter().zip(&all) {
        assert_eq!(store.kept(registration), [id.as_str(), "one"]);
    }
}
