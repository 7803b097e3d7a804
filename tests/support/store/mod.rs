//! A conformance suite for any [`SessionStore`].
//!
//! To check a store of your own, copy this directory into your `tests`, say how such a store is made, and
//! name it:
//!
//! ```ignore
//! mod store;
//!
//! struct OnRedis;
//!
//! impl store::MakeStore for OnRedis {
//!     type Handle = String;
//!     type Store = RedisStore;
//!     // Redis lets keys expire by itself: there is nothing left to sweep.
//!     const SWEEPS: bool = false;
//!     fn store(&self, stale_h: StaleH) -> RedisStore { RedisStore::connect(fresh_prefix(), stale_h) }
//!     fn handle(&self, number: u64) -> String { format!("node-1/{number}") }
//! }
//!
//! store::conformance!(OnRedis);
//! ```
//!
//! It makes one `#[test]` for each sentence of the contract, each on a store of its own. Time is what the
//! tests say, never what it is: a store that keeps records by a clock of its own moves that in
//! [`MakeStore::pass_time`].

#![allow(unused_must_use, reason = "most sessions of these tests end with their store")]

pub mod answers;
pub mod fencing;
pub mod stale;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use xmpp_sm::{Counter, Lookup, Record, Registration, SessionStore, SmId, StaleH};

/// How the suite gets a store to check.
pub trait MakeStore: Sync {
    /// A handle that can be told from others.
    type Handle: Debug + PartialEq + Send;
    /// The store.
    type Store: SessionStore<Handle = Self::Handle, Error: Debug>;
    /// Whether old records stay until they are swept. `false`: they go by themselves, and
    /// [`sweep`](SessionStore::sweep) may tell any number.
    const SWEEPS: bool = true;

    /// An empty store that keeps the last `h` of sessions as `stale_h` says. It has room for a thousand
    /// sessions of one owner and for as many stale records.
    fn store(&self, stale_h: StaleH) -> Self::Store;

    /// A handle; another one for each number.
    fn handle(&self, number: u64) -> Self::Handle;

    /// The clock goes to `now`. For stores that have one of their own.
    fn pass_time(&self, _store: &Self::Store, _now: Instant) {}
}

/// One `#[test]` for each check, on stores that the expression makes.
#[allow(unused_macros, reason = "whoever copies the directory decides")]
macro_rules! conformance {
    ($make:expr) => {
        $crate::support::store::conformance!(@ $make, answers:
            a_registered_session_is_found_by_its_owner
            a_session_is_found_with_its_registration
            what_never_was_is_not_found
            another_owner_gets_the_answer_of_an_unknown_id
            the_same_sm_id_of_two_owners_is_two_records
            sm_ids_of_1_to_4000_bytes_are_told_apart
            sm_ids_are_compared_byte_by_byte
            a_session_registered_again_is_found_at_its_new_place
            a_session_lives_as_long_as_its_host_says
            sessions_of_one_owner_are_told_apart
            it_is_used_through_a_reference_to_the_trait
        );
        $crate::support::store::conformance!(@ $make, fencing:
            every_registration_has_an_epoch_of_its_own
            a_session_that_dies_late_leaves_its_successor_alone
            a_late_end_leaves_a_later_stale_h_alone
            a_dead_session_that_was_found_goes_and_a_later_one_stays
            the_epoch_of_another_session_ends_nothing
            no_epoch_but_its_own_ends_a_session
            another_owner_ends_nothing
            a_store_built_anew_gives_other_epochs
            what_is_ended_twice_is_ended_once
            nobody_sees_a_session_half_retired
            of_many_registrations_the_last_one_holds
        );
        $crate::support::store::conformance!(@ $make, stale:
            the_last_h_is_answered_as_often_as_it_is_asked_for
            every_h_comes_back_as_it_was_given
            nothing_older_than_geriatric_is_answered_swept_or_not
            to_be_asked_for_keeps_nothing_young
            nothing_is_remembered_where_it_is_switched_off
            a_removed_session_leaves_nothing_behind
            a_session_registered_again_has_no_stale_h
            sweep_drops_what_is_too_old_and_tells_how_many
            sweep_leaves_sessions_alone
            sweep_leaves_alone_what_has_come_back
            next_sweep_leads_to_an_empty_table
            next_sweep_is_never_where_repeat_after_is_none
        );
    };
    (@ $make:expr, $of:ident: $($check:ident)*) => {$(
        #[test]
        fn $check() {
            $crate::support::store::$of::$check(&$make);
        }
    )*};
}
#[allow(unused_imports)]
pub(crate) use conformance;

pub const JULIET: &str = "juliet@example.com";
pub const ROMEO: &str = "romeo@example.net";

/// How old a stale h may be in these tests.
pub const GERIATRIC: Duration = Duration::from_secs(3600);
/// How often they are swept.
pub const REPEAT_AFTER: Duration = Duration::from_secs(1800);
/// Clocks are read to the second, at worst.
pub const SECOND: Duration = Duration::from_secs(1);

pub fn on() -> StaleH {
    StaleH { enabled: true, repeat_after: Some(REPEAT_AFTER), geriatric: GERIATRIC }
}

pub fn off() -> StaleH {
    StaleH { enabled: false, ..on() }
}

pub fn smid(text: &str) -> SmId {
    SmId::new(text).unwrap()
}

/// A store with the calls that the checks make most.
pub struct Checked<'a, M: MakeStore> {
    pub make: &'a M,
    pub store: M::Store,
    pub start: Instant,
}

impl<'a, M: MakeStore> Checked<'a, M> {
    pub fn new(make: &'a M, stale_h: StaleH) -> Self {
        Self { make, store: make.store(stale_h), start: Instant::now() }
    }

    pub fn register(&self, smid: &SmId, owner: &str, handle: u64) -> Registration {
        self.register_at(smid, owner, handle, Duration::ZERO)
    }

    pub fn register_at(&self, smid: &SmId, owner: &str, handle: u64, after: Duration) -> Registration {
        self.make.pass_time(&self.store, self.start + after);
        let registered =
            self.store.register(smid, &owner.into(), self.make.handle(handle), self.start + after).unwrap();
        assert_eq!(registered.displaced, None, "there is room");
        registered.registration
    }

    /// What the owner is told so long after the start.
    pub fn lookup(&self, smid: &SmId, owner: &str, after: Duration) -> Known<M::Handle> {
        self.make.pass_time(&self.store, self.start + after);
        known(&self.store, smid, owner, self.start + after)
    }

    pub fn retire(&self, registration: &Registration, h: u32, after: Duration) {
        self.make.pass_time(&self.store, self.start + after);
        self.store.retire(registration, Counter::new(h), self.start + after).unwrap();
    }

    pub fn remove(&self, registration: &Registration) {
        self.store.remove(registration).unwrap();
    }

    /// Sweeps as long as there is more to sweep at once, and tells how many records went.
    pub fn sweep(&self, after: Duration) -> usize {
        self.make.pass_time(&self.store, self.start + after);
        let mut dropped = 0;
        loop {
            let swept = self.store.sweep(self.start + after);
            dropped += swept.dropped;
            if !swept.more {
                return dropped;
            }
            assert_ne!(swept.dropped, 0, "it would never end");
        }
    }

    pub fn session(&self, handle: u64) -> Known<M::Handle> {
        Known::Session(self.make.handle(handle))
    }
}

/// What a lookup has found, without the registration.
#[derive(Debug, PartialEq)]
pub enum Known<Handle> {
    Session(Handle),
    StaleH(u32),
    Nothing,
}

pub fn known<S>(store: &S, smid: &SmId, owner: &str, now: Instant) -> Known<S::Handle>
where
    S: SessionStore<Error: Debug>,
{
    match store.lookup(smid, owner, now).unwrap() {
        Lookup::Session(Record { registration, handle }) => {
            assert_eq!((&**registration.owner(), registration.smid()), (owner, smid), "another session is found");
            Known::Session(handle)
        }
        Lookup::StaleH(h) => Known::StaleH(h.get()),
        Lookup::NotFound => Known::Nothing,
    }
}

pub fn stale<Handle>(h: u32) -> Known<Handle> {
    Known::StaleH(h)
}
