//! Sessions that are kept: parked, claimed, fenced.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::smid::SmId;
use crate::store::{AsyncSessionStore, Claim, Claimed, Epoch, Fence, Parking, Registered, Registration, Revision};

use super::{Checked, JULIET, Known, MakeStore, ROMEO, SECOND, off, on, smid, stale};

pub(crate) const FIRST: Revision = Revision::FIRST;
pub(crate) const SECOND_ONE: Revision = FIRST.next();
pub(crate) const THIRD: Revision = SECOND_ONE.next();

/// As long as a claim may take beside others, and less than somebody waits for a test.
pub(crate) const ENDLESS: Duration = Duration::from_secs(60);

impl<M: MakeStore<Store: Parking>> Checked<'_, M> {
    pub(crate) fn park(&self, registration: &Registration, revision: Revision, snapshot: &[u8]) -> Fence {
        self.make.block_on(self.store.park(registration, revision, snapshot)).unwrap()
    }

    fn unpark(&self, registration: &Registration, revision: Revision) -> Fence {
        self.make.block_on(self.store.unpark(registration, revision)).unwrap()
    }

    fn claim(&self, registration: &Registration, handle: u64) -> Claim {
        self.make.block_on(self.store.claim(registration, self.make.handle(handle), self.start)).unwrap()
    }

    pub(crate) fn claimed(&self, registration: &Registration, handle: u64) -> Claimed {
        match self.claim(registration, handle) {
            Claim::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    /// A session of which something is kept.
    pub(crate) fn parked(&self, smid: &SmId, owner: &str, snapshot: &[u8]) -> Registration {
        let registration = self.register(smid, owner, 1);
        assert_eq!(self.park(&registration, FIRST, snapshot), Fence::Held);
        registration
    }

    /// Nothing is kept of this session, and its registration is the latest. Where it is stays as it was.
    pub(crate) fn assert_not_parked(&self, registration: &Registration) {
        let before = self.found(registration.smid(), registration.owner());
        assert_eq!(before.registration, *registration, "it is the latest");
        assert_eq!(self.claim(registration, 99), Claim::NotParked);
        assert_eq!(self.found(registration.smid(), registration.owner()), before);
    }

    /// This is kept of the session, and nothing behind it.
    pub(crate) fn assert_kept(&self, registration: &Registration, snapshot: &[u8]) {
        let claimed = self.claimed(registration, 98);
        assert_eq!((&claimed.snapshot[..], &claimed.journal[..]), (snapshot, &[][..]));
    }
}

pub fn what_was_parked_is_claimed_and_found_at_its_new_place<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let before = store.parked(&id, JULIET, b"snapshot");
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(1), "it is where it was");
    let found = store.found(&id, JULIET).registration;
    assert_eq!(found, before);
    let Claimed { registration, snapshot, journal } = store.claimed(&found, 2);
    assert_eq!((&snapshot[..], journal.len()), (&b"snapshot"[..], 0));
    assert_eq!((registration.owner(), registration.smid()), (before.owner(), before.smid()));
    assert!(registration.epoch() > before.epoch(), "a claim gives a higher epoch");
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    assert_eq!(store.found(&id, JULIET).registration, registration);
    // A later registration of the owner is above it.
    assert!(store.register(&smid("b"), JULIET, 3).epoch() > registration.epoch());
}

pub fn a_snapshot_comes_back_byte_by_byte<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = every_byte.repeat(8000);
    for (id, snapshot) in [("a", &[][..]), ("b", &[0]), ("c", b"\r\n 1 C7 x"), ("d", &every_byte), ("e", &long)] {
        let registration = store.parked(&smid(id), JULIET, snapshot);
        store.assert_kept(&registration, snapshot);
    }
}

pub fn the_latest_snapshot_takes_the_place_of_those_before<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"a longer one");
    assert_eq!(store.park(&registration, SECOND_ONE, b"two"), Fence::Held);
    assert_eq!(store.park(&registration, THIRD, b"three"), Fence::Held);
    store.assert_kept(&registration, b"three");
}

pub fn sessions_are_kept_apart<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let ids = ["a", "A", "a ", "a:a", ":a", "{a}", "}", "a*", "ü"].map(smid);
    let parked: Vec<_> = [JULIET, ROMEO, "juliet@example.com:a", "{juliet@example.com}"]
        .iter()
        .flat_map(|owner| ids.iter().map(|id| (id, *owner)))
        .map(|(id, owner)| (store.parked(id, owner, format!("{owner} {id:?} {}", id.as_str()).as_bytes()), id, owner))
        .collect();
    // The first goes, and is no other.
    assert_eq!(store.unpark(&parked[0].0, SECOND_ONE), Fence::Held);
    store.assert_not_parked(&parked[0].0);
    for (registration, id, owner) in &parked[1..] {
        store.assert_kept(registration, format!("{owner} {id:?} {}", id.as_str()).as_bytes());
    }
}

pub fn what_was_never_parked_is_not_parked<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.register(&smid("a"), JULIET, 1);
    store.parked(&smid("b"), JULIET, b"another");
    store.assert_not_parked(&registration);
    // Nothing has changed: it goes on.
    assert_eq!(store.park(&registration, FIRST, b"snapshot"), Fence::Held);
    store.assert_kept(&registration, b"snapshot");
}

pub fn what_is_unparked_is_not_parked<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.parked(&smid("a"), JULIET, b"snapshot");
    assert_eq!(store.unpark(&registration, SECOND_ONE), Fence::Held);
    store.assert_not_parked(&registration);
    // It may be parked again; and a session that never was may be unparked.
    assert_eq!(store.park(&registration, THIRD, b"again"), Fence::Held);
    store.assert_kept(&registration, b"again");
    let other = store.register(&smid("b"), JULIET, 1);
    assert_eq!(store.unpark(&other, FIRST), Fence::Held);
    store.assert_not_parked(&other);
}

pub fn what_an_older_epoch_writes_changes_nothing<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let (claimed, registered) = (smid("claimed"), smid("registered"));
    let lost = store.parked(&claimed, JULIET, b"snapshot");
    let held = store.claimed(&lost, 2).registration;
    assert_eq!(store.park(&lost, SECOND_ONE, b"late"), Fence::Lost);
    assert_eq!(store.unpark(&lost, THIRD), Fence::Lost);
    store.remove(&lost);
    store.retire(&lost, 7, SECOND);
    assert_eq!(store.lookup(&claimed, JULIET, SECOND), store.session(2));
    store.assert_kept(&held, b"snapshot");

    let lost = store.parked(&registered, JULIET, b"snapshot");
    let held = store.register(&registered, JULIET, 2);
    assert_eq!(store.park(&lost, SECOND_ONE, b"late"), Fence::Lost);
    store.assert_not_parked(&held);
    assert_eq!(store.park(&held, FIRST, b"new"), Fence::Held);
    assert_eq!(store.unpark(&lost, THIRD), Fence::Lost);
    assert_eq!(store.claim(&lost, 1), Claim::Lost);
    store.assert_kept(&held, b"new");
}

pub fn what_is_over_is_lost<M: MakeStore<Store: Parking>>(make: &M) {
    for stale_h in [on(), off()] {
        let store = Checked::new(make, stale_h);
        let (retired, removed) = (smid("retired"), smid("removed"));
        let registrations = [&retired, &removed].map(|id| store.parked(id, JULIET, b"snapshot"));
        store.retire(&registrations[0], 7, SECOND);
        store.remove(&registrations[1]);
        for registration in &registrations {
            assert_eq!(store.claim(registration, 2), Claim::Lost);
            assert_eq!(store.park(registration, SECOND_ONE, b"late"), Fence::Lost);
            assert_eq!(store.unpark(registration, THIRD), Fence::Lost);
            assert_eq!(store.claim(registration, 2), Claim::Lost);
        }
        let expected = if stale_h.enabled { stale(7) } else { Known::Nothing };
        assert_eq!(store.lookup(&retired, JULIET, SECOND), expected);
        assert_eq!(store.lookup(&removed, JULIET, SECOND), Known::Nothing);
        // What was kept is gone, and does not come back with the SM-ID.
        for id in [&retired, &removed] {
            store.assert_not_parked(&store.register(id, JULIET, 3));
        }
    }
}

pub fn a_registration_that_no_store_gave_reaches_nothing<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let (a, b) = (smid("a"), smid("b"));
    let of_a = store.parked(&a, JULIET, b"a");
    let of_b = store.parked(&b, JULIET, b"b");
    let own = of_a.epoch().get();
    let near = [-65, -64, -2, -1, 1, 2, 64, 65].map(|far| own.saturating_add_signed(far));
    let near = near.into_iter().chain([0, u64::MAX]).filter(|epoch| *epoch != of_b.epoch().get());
    let near = near.map(|epoch| (JULIET, &a, Epoch::new(epoch)));
    let never = smid("never was");
    let others = [
        (ROMEO, &a, of_a.epoch()),
        (JULIET, &a, of_b.epoch()),
        (JULIET, &b, of_a.epoch()),
        (JULIET, &never, of_a.epoch()),
        ("", &a, of_a.epoch()),
    ];
    // Owners are spread: some of them lie where hers are.
    let names: Vec<String> = (0..200).map(|n| format!("user{n}@example.com")).collect();
    let names = names.iter().map(|owner| (&**owner, &a, of_a.epoch()));
    for (owner, id, epoch) in near.chain(others).chain(names).filter(|(_, id, epoch)| {
        // One that was given.
        (*id, *epoch) != (&b, of_b.epoch())
    }) {
        let forged = Registration::new(owner, id.clone(), epoch);
        assert_eq!(store.park(&forged, THIRD, b"forged"), Fence::Lost);
        assert_eq!(store.unpark(&forged, THIRD), Fence::Lost);
        assert_eq!(store.claim(&forged, 1), Claim::Lost, "{owner} {epoch:?}");
        store.remove(&forged);
        store.retire(&forged, 7, SECOND);
    }
    store.assert_kept(&of_a, b"a");
    store.assert_kept(&of_b, b"b");
}

pub fn revisions_go_up<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let registration = store.register(&smid("a"), JULIET, 1);
    assert_eq!(store.park(&registration, SECOND_ONE, b"two"), Fence::Held);
    assert_eq!(store.park(&registration, FIRST, b"one"), Fence::Lost);
    assert_eq!(store.unpark(&registration, FIRST), Fence::Lost);
    // It is made again.
    assert_eq!(store.park(&registration, SECOND_ONE, b"two"), Fence::Held);
    // Ten is more than nine, and so is a hundred.
    let mut revision = SECOND_ONE;
    for n in 3..120 {
        let before = revision;
        revision = revision.next();
        assert_eq!(store.park(&registration, revision, format!("{n}").as_bytes()), Fence::Held);
        assert_eq!(store.park(&registration, before, b"late"), Fence::Lost, "{n}");
    }
    store.assert_kept(&registration, b"119");

    // A session that goes on in memory is not parked by what is late.
    let registration = store.parked(&smid("b"), JULIET, b"one");
    assert_eq!(store.unpark(&registration, THIRD), Fence::Held);
    assert_eq!(store.park(&registration, SECOND_ONE, b"two"), Fence::Lost);
    assert_eq!(store.unpark(&registration, THIRD), Fence::Held, "it is made again");
    store.assert_not_parked(&registration);
}

pub fn revisions_begin_anew_with_a_registration<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let before = store.parked(&id, JULIET, b"one");
    assert_eq!(store.park(&before, THIRD, b"three"), Fence::Held);
    let claimed = store.claimed(&before, 2).registration;
    assert_eq!(store.park(&claimed, FIRST, b"first of the claim"), Fence::Held);
    let claimed = store.claimed(&claimed, 3);
    assert_eq!(claimed.snapshot, &b"first of the claim"[..]);
    assert_eq!(store.unpark(&claimed.registration, FIRST), Fence::Held);
    store.assert_not_parked(&claimed.registration);
    let again = store.register(&id, JULIET, 4);
    assert_eq!(store.park(&again, FIRST, b"first of all"), Fence::Held);
    store.assert_kept(&again, b"first of all");
}

pub fn of_many_claims_of_one_epoch_one_succeeds<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    for round in 0..(M::ROUNDS / 20).max(10) {
        let snapshot = round.to_string();
        let registration = store.parked(&id, JULIET, snapshot.as_bytes());
        let claims = thread::scope(|scope| {
            let (store, registration) = (&store, &registration);
            let one = |handle| scope.spawn(move || (handle, store.claim(registration, handle)));
            [2, 3, 4, 5].map(one).map(|thread| thread.join().unwrap())
        });
        let mut winner = None;
        for (handle, claim) in claims {
            match claim {
                Claim::Claimed(claimed) => {
                    assert_eq!(claimed.snapshot, snapshot.as_bytes());
                    assert_eq!(winner.replace((handle, claimed.registration)), None, "two have it");
                }
                other => assert_eq!(other, Claim::Lost),
            }
        }
        let Some((handle, held)) = winner else { panic!("one has it") };
        assert_eq!(store.lookup(&id, JULIET, Duration::ZERO), store.session(handle));
        assert_eq!(store.found(&id, JULIET).registration, held);
    }
}

/// One goes on writing, another claims: what was written while the session was held is in what the other gets.
pub fn nothing_that_was_held_is_missing_in_a_claim<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    for n in 0..(M::ROUNDS / 20).max(10) {
        let registration = store.parked(&smid(&format!("id{n}")), JULIET, b"0");
        let (last, claimed) = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut last, mut revision) = (0, FIRST);
                let begun = Instant::now();
                loop {
                    assert!(begun.elapsed() < ENDLESS, "it was claimed, and is never lost");
                    revision = revision.next();
                    if store.park(&registration, revision, format!("{}", last + 1).as_bytes()) == Fence::Lost {
                        return last;
                    }
                    last += 1;
                }
            });
            let claimed = store.claimed(&registration, 2);
            (writer.join().unwrap(), claimed)
        });
        let there: u32 = std::str::from_utf8(&claimed.snapshot).unwrap().parse().unwrap();
        // A call whose answer was lost is made again, and then it may be late.
        assert!(there == last || there == last + 1, "{last} was held, and there is {there}");
    }
}

pub fn a_claim_that_is_made_again_is_answered_as_before<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let before = store.parked(&id, JULIET, b"snapshot");
    let first = store.claim(&before, 2);
    for _ in 0..3 {
        assert_eq!(store.claim(&before, 2), first);
        assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(2));
    }
    // It is the same handle that asks.
    assert_eq!(store.claim(&before, 3), Claim::Lost);
    let Claim::Claimed(claimed) = first else { panic!("{first:?}") };
    assert_eq!(store.found(&id, JULIET).registration, claimed.registration);
    // And something else was done with it: what was claimed may be of the past.
    assert_eq!(store.park(&claimed.registration, FIRST, b"new"), Fence::Held);
    assert_eq!(store.claim(&before, 2), Claim::Lost);
    let next = store.claimed(&claimed.registration, 2);
    assert_eq!(store.claim(&before, 2), Claim::Lost);
    assert_eq!(store.unpark(&next.registration, FIRST), Fence::Held);
    assert_eq!(store.claim(&claimed.registration, 2), Claim::Lost);
    store.assert_not_parked(&next.registration);
}

/// A host dies after its claim, and so does the next.
pub fn a_snapshot_stays_until_its_new_owner_writes<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let mut registration = store.parked(&id, JULIET, b"snapshot");
    let mut all = vec![registration.clone()];
    for handle in 2..6 {
        let claimed = store.claimed(&store.found(&id, JULIET).registration, handle);
        assert_eq!(claimed.snapshot, &b"snapshot"[..]);
        registration = claimed.registration;
        all.push(registration.clone());
    }
    // Those that have died are late.
    for lost in &all[..4] {
        assert_eq!(store.park(lost, SECOND_ONE, b"late"), Fence::Lost);
        assert_eq!(store.unpark(lost, THIRD), Fence::Lost);
    }
    assert_eq!(store.claim(&all[0], 2), Claim::Lost);
    let epochs: HashSet<_> = all.iter().map(Registration::epoch).collect();
    assert_eq!(epochs.len(), all.len());
    assert_eq!(store.park(&registration, FIRST, b"new"), Fence::Held);
    store.assert_kept(&registration, b"new");
}

pub fn what_was_claimed_ends_with_its_registration<M: MakeStore<Store: Parking>>(make: &M) {
    let store = Checked::new(make, on());
    let (retired, removed) = (smid("retired"), smid("removed"));
    let [of_retired, of_removed] =
        [&retired, &removed].map(|id| store.claimed(&store.parked(id, JULIET, b"snapshot"), 2).registration);
    store.retire(&of_retired, 7, SECOND);
    store.remove(&of_removed);
    assert_eq!(store.lookup(&retired, JULIET, SECOND), stale(7));
    assert_eq!(store.lookup(&removed, JULIET, SECOND), Known::Nothing);
    for registration in [of_retired, of_removed] {
        assert_eq!(store.claim(&registration, 2), Claim::Lost);
        store.assert_not_parked(&store.register(registration.smid(), JULIET, 3));
    }
}

pub fn a_parked_session_lives_as_long_as_its_host_says<M: MakeStore<Store: Parking>>(make: &M) {
    for stale_h in [on(), off()] {
        let store = Checked::new(make, stale_h);
        let id = smid("a");
        let registration = store.parked(&id, JULIET, b"snapshot");
        let years = Duration::from_secs(10 * 365 * 86_400);
        store.sweep(years);
        assert_eq!(store.lookup(&id, JULIET, years), store.session(1));
        store.assert_kept(&registration, b"snapshot");
    }
}

/// A store of these tests has room for a thousand. One that refuses more displaces none.
pub(crate) fn displaced<M: MakeStore<Store: Parking>>(store: &Checked<'_, M>, first: &Registration) -> bool {
    for n in 0..2000 {
        let id = smid(&format!("other{n}"));
        let registered =
            store.make.block_on(store.store.register(&id, first.owner(), store.make.handle(n), store.start));
        match registered {
            // Or its answer was lost.
            Ok(Registered { displaced: None, .. }) if n >= 900 => {
                if store.lookup(first.smid(), first.owner(), Duration::ZERO) == Known::Nothing {
                    return true;
                }
            }
            Ok(Registered { displaced: None, .. }) => {}
            Ok(Registered { displaced: Some(record), .. }) => {
                assert_eq!(record.registration, *first);
                return true;
            }
            Err(_) => return false,
        }
    }
    panic!("there is no bound")
}

pub fn a_displaced_session_is_kept_until_it_is_over<M: MakeStore<Store: Parking>>(make: &M) {
    for stale_h in [on(), off()] {
        let store = Checked::new(make, stale_h);
        let id = smid("a");
        let registration = store.parked(&id, JULIET, b"snapshot");
        if !displaced(&store, &registration) {
            return;
        }
        assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing);
        // It can be claimed as any other, is not written any more, and stays displaced.
        assert_eq!(store.park(&registration, SECOND_ONE, b"late"), Fence::Lost);
        assert_eq!(store.unpark(&registration, THIRD), Fence::Lost);
        let claimed = store.claimed(&registration, 2);
        assert_eq!(claimed.snapshot, &b"snapshot"[..]);
        assert_eq!(store.claim(&registration, 3), Claim::Lost, "one has it");
        assert_eq!(store.claimed(&registration, 2), claimed, "which asks again");
        assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing);
        // Neither the owner's end nor another's.
        store.remove(&Registration::new(ROMEO, id.clone(), registration.epoch()));
        store.remove(&Registration::new(JULIET, smid("other0"), registration.epoch()));
        assert_eq!(store.claimed(&registration, 2), claimed);
        store.retire(&claimed.registration, 7, SECOND);
        assert_eq!(store.claim(&registration, 2), Claim::Lost);
        let expected = if stale_h.enabled { stale(7) } else { Known::Nothing };
        assert_eq!(store.lookup(&id, JULIET, SECOND), expected);
    }
}

/// Each host that claims it may die before it has passed its stanzas on.
pub fn a_displaced_session_is_claimed_again_by_its_newest_registration<M: MakeStore<Store: Parking>>(make: &M) {
    for stale_h in [on(), off()] {
        let store = Checked::new(make, stale_h);
        let id = smid("a");
        let mut held = store.parked(&id, JULIET, b"snapshot");
        if !displaced(&store, &held) {
            return;
        }
        let mut all_lost = Vec::new();
        for handle in 2..6 {
            let claimed = store.claimed(&held, handle);
            assert_eq!(claimed.snapshot, &b"snapshot"[..]);
            assert!(claimed.registration.epoch() > held.epoch(), "a claim gives a higher epoch");
            assert_eq!(store.claimed(&held, handle), claimed, "it is made again");
            all_lost.push(std::mem::replace(&mut held, claimed.registration));
            for lost in &all_lost {
                assert_eq!(store.claim(lost, 9), Claim::Lost, "another has it");
                store.remove(lost);
                store.retire(lost, 9, SECOND);
            }
            // It stays displaced.
            assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing);
            assert_eq!(store.park(&held, FIRST, b"late"), Fence::Lost);
            assert_eq!(store.unpark(&held, SECOND_ONE), Fence::Lost);
        }
        store.retire(&held, 7, SECOND);
        assert_eq!(store.claim(&held, 6), Claim::Lost);
        assert_eq!(store.claim(&all_lost[3], 5), Claim::Lost);
        let expected = if stale_h.enabled { stale(7) } else { Known::Nothing };
        assert_eq!(store.lookup(&id, JULIET, SECOND), expected);
    }
}

pub fn a_displaced_session_that_is_registered_again_is_a_new_one<M: MakeStore<Store: Parking>>(make: &M) {
    for stale_h in [on(), off()] {
        let store = Checked::new(make, stale_h);
        let id = smid("a");
        let former = store.parked(&id, JULIET, b"snapshot");
        if !displaced(&store, &former) {
            return;
        }
        store.remove(&store.found(&smid("other0"), JULIET).registration);
        let registration = store.register(&id, JULIET, 2);
        assert_eq!(store.claim(&former, 3), Claim::Lost, "its stanzas are where it lives");
        store.assert_not_parked(&registration);
    }
}
