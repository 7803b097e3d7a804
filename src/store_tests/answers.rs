//! What a store answers about sessions that live.

use std::time::Duration;

use crate::smid::SmId;
use crate::store::{Record, Registration};

use super::{Checked, GERIATRIC, JULIET, Known, MakeStore, ROMEO, SECOND, off, on, smid, stale};

pub fn a_registered_session_is_found_by_its_owner<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    store.register(&id, JULIET, 1);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(1));
    // Asking takes nothing away.
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(1));
}

/// The lookup gives the registration that `register` gave, and it ends the session just as well.
pub fn a_session_is_found_with_its_registration<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let ids = ["a", "b", "a"].map(smid);
    for (id, handle) in ids.iter().zip(1..) {
        let registration = store.register(id, JULIET, handle);
        assert_eq!((&**registration.owner(), registration.smid()), (JULIET, id));
        assert_eq!(store.found(id, JULIET), Record { registration, handle: make.handle(handle) });
    }
    let registration = store.found(&ids[0], JULIET).registration;
    store.retire(&registration, 7, SECOND);
    assert_eq!(store.lookup(&ids[0], JULIET, SECOND), stale(7));
    assert_eq!(store.lookup(&ids[1], JULIET, SECOND), store.session(2));
}

pub fn what_never_was_is_not_found<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    assert_eq!(store.lookup(&smid("a"), JULIET, SECOND), Known::Nothing);
    store.register(&smid("a"), JULIET, 1);
    assert_eq!(store.lookup(&smid("b"), JULIET, SECOND), Known::Nothing);
}

pub fn another_owner_gets_the_answer_of_an_unknown_id<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let (live, gone) = (smid("live"), smid("gone"));
    store.register(&live, JULIET, 1);
    let registration = store.register(&gone, JULIET, 2);
    store.retire(&registration, 7, SECOND);
    let unknown = store.lookup(&smid("never was"), ROMEO, SECOND);
    // Owners are compared whole: no prefix, no resource, no other case is the same one.
    for other in [ROMEO, "juliet@example.co", "juliet@example.com.", "juliet@example.com/balcony", "Juliet@example.com"]
    {
        assert_eq!(store.lookup(&live, other, SECOND), unknown, "{other}");
        assert_eq!(store.lookup(&gone, other, SECOND), unknown, "{other}");
    }
    assert_eq!(store.lookup(&live, JULIET, SECOND), store.session(1));
    assert_eq!(store.lookup(&gone, JULIET, SECOND), stale(7));
}

pub fn the_same_sm_id_of_two_owners_is_two_records<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let of_juliet = store.register(&id, JULIET, 1);
    let of_romeo = store.register(&id, ROMEO, 2);
    assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(1));
    assert_eq!(store.lookup(&id, ROMEO, SECOND), store.session(2));
    store.retire(&of_juliet, 7, SECOND);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
    assert_eq!(store.lookup(&id, ROMEO, SECOND), store.session(2));
    store.remove(&of_romeo);
    assert_eq!(store.lookup(&id, JULIET, SECOND), stale(7));
    assert_eq!(store.lookup(&id, ROMEO, SECOND), Known::Nothing);
}

pub fn sm_ids_of_1_to_4000_bytes_are_told_apart<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let lengths = (1..300).chain((300..3990).step_by(97)).chain(3990..=SmId::MAX_BYTES);
    let ids: Vec<SmId> = lengths.map(|length| smid(&"x".repeat(length))).collect();
    let registrations: Vec<Registration> =
        (0..).zip(&ids).map(|(handle, id)| store.register(id, JULIET, handle)).collect();
    for (handle, id) in (0..).zip(&ids) {
        assert_eq!(store.lookup(id, JULIET, SECOND), store.session(handle), "{handle}");
    }
    for (h, registration) in (0..).zip(&registrations) {
        store.retire(registration, h, SECOND);
    }
    for (h, id) in (0..).zip(&ids) {
        assert_eq!(store.lookup(id, JULIET, SECOND), stale(h), "{h}");
    }
}

pub fn sm_ids_are_compared_byte_by_byte<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    // What a store of text might fold, trim, escape, split or take for a pattern.
    let ids = [
        "a", "A", " a", "a ", "a\n", "a\t", "å", "a\u{30a}", "ａ", "a*", "a?", "a%", "a_", "a:b", "a'b", "a\"b", "a&b",
        "a&amp;b", "a\\b", "[a]", "{a}", "a/../b", "a;", "😀", "$a", "0", "00", "+0", "a/b+c==",
    ]
    .map(smid);
    for (handle, id) in (0..).zip(&ids) {
        store.register(id, JULIET, handle);
    }
    for (handle, id) in (0..).zip(&ids) {
        assert_eq!(store.lookup(id, JULIET, SECOND), store.session(handle), "{:?}", id.as_str());
    }
}

pub fn a_session_registered_again_is_found_at_its_new_place<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let id = smid("a");
    let mut registration = store.register(&id, JULIET, 0);
    for handle in 1..10 {
        registration = store.register(&id, JULIET, handle);
        assert_eq!(store.lookup(&id, JULIET, SECOND), store.session(handle));
    }
    store.remove(&registration);
    // No earlier place comes up from under the last one.
    assert_eq!(store.lookup(&id, JULIET, SECOND), Known::Nothing);
}

pub fn a_session_lives_as_long_as_its_host_says<M: MakeStore>(make: &M) {
    for stale_h in [on(), off()] {
        let store = Checked::new(make, stale_h);
        let id = smid("a");
        store.register(&id, JULIET, 1);
        let years = Duration::from_secs(10 * 365 * 86_400);
        store.sweep(years);
        assert_eq!(store.lookup(&id, JULIET, years), store.session(1));
        assert!(years > GERIATRIC);
    }
}

pub fn sessions_of_one_owner_are_told_apart<M: MakeStore>(make: &M) {
    let store = Checked::new(make, on());
    let registrations: Vec<_> = (0..50).map(|n| store.register(&smid(&format!("id{n}")), JULIET, n)).collect();
    for (n, registration) in (0..).zip(&registrations).step_by(2) {
        store.retire(registration, n, SECOND);
    }
    for n in 0..50_u32 {
        let expected = if n % 2 == 0 { stale(n) } else { store.session(n.into()) };
        assert_eq!(store.lookup(&smid(&format!("id{n}")), JULIET, SECOND), expected);
    }
}
