//! A conformance suite for any [`AsyncSessionStore`], and so for any [`SessionStore`](crate::SessionStore): the feature `store-tests`.
//!
//! Say how such a store is made, and name it in a test:
//!
//! ```
//! use xmpp_sm::store_tests::MakeStore;
//! use xmpp_sm::{Config, MemoryStore, StaleH, Sweep};
//!
//! struct InMemory;
//!
//! impl MakeStore for InMemory {
//!     type Handle = u64;
//!     type Store = MemoryStore<u64>;
//!
//!     fn store(&self, stale_h: StaleH) -> MemoryStore<u64> {
//!         let many = 1000.try_into().expect("it is not 0");
//!         MemoryStore::new(&Config::default().stale_h(stale_h)).per_owner(many).stale_per_owner(many)
//!     }
//!
//!     fn handle(&self, number: u64) -> u64 {
//!         number
//!     }
//!
//!     fn sweeper<'a>(&self, store: &'a MemoryStore<u64>) -> Option<&'a dyn Sweep> {
//!         Some(store)
//!     }
//! }
//!
//! xmpp_sm::store_conformance!(InMemory);
//! // If it is a `Parking`, and a `Journal`:
//! xmpp_sm::parking_conformance!(InMemory);
//! xmpp_sm::journal_conformance!(InMemory);
//! ```
//!
//! That makes one `#[test]` for each sentence of the contract, each on a store of its own. A store whose futures need a
//! runtime is run on it by [`MakeStore::block_on`]. Time is what the tests say, never what it is: a store that goes by a
//! clock of its own moves that in [`MakeStore::pass_time`].

// Not a part of any program: it fails by a panic, as tests do.
#![allow(unused_must_use, reason = "most sessions of these tests end with their store")]
#![allow(clippy::disallowed_methods, reason = "a test begins at some time")]
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

#[doc(hidden)]
pub mod answers;
#[doc(hidden)]
pub mod fencing;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod parking;
#[doc(hidden)]
pub mod stale;

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::config::StaleH;
use crate::counter::Counter;
use crate::smid::SmId;
use crate::store::{AsyncSessionStore, Lookup, Record, Registration, Sweep, Swept};

/// How the suite gets a store to check.
///
/// See the example of [`store_tests`](crate::store_tests).
pub trait MakeStore: Sync {
    /// A handle that can be told from others.
    type Handle: Debug + PartialEq + Send;
    /// The store.
    type Store: AsyncSessionStore<Handle = Self::Handle, Error: Debug>;
    /// How often calls race for each other in one check.
    const ROUNDS: u32 = 2000;
    /// How far the store's clock may be ahead of what [`pass_time`](Self::pass_time) has said: less than a second.
    const SLACK: Duration = Duration::ZERO;

    /// An empty store that keeps the last `h` of sessions as `stale_h` says. It has room for a thousand
    /// sessions of one owner and for as many stale records, and not for two thousand: what it displaces is checked, too.
    fn store(&self, stale_h: StaleH) -> Self::Store;

    /// A handle; another one for each number.
    fn handle(&self, number: u64) -> Self::Handle;

    /// The store, if it is one that has to be swept. `None`: old records go by themselves.
    fn sweeper<'a>(&self, _store: &'a Self::Store) -> Option<&'a dyn Sweep> {
        None
    }

    /// The clock goes to `now`. For stores that have one of their own.
    fn pass_time(&self, _store: &Self::Store, _now: Instant) {}

    /// Runs a future of the store to its end, in the calling thread. Unless told otherwise, that thread sleeps
    /// until it is woken: futures that need a runtime are run on that.
    fn block_on<F: Future + Send>(&self, future: F) -> F::Output {
        block_on(future)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Makes one `#[test]` for each check of [`store_tests`](crate::store_tests), on stores that the expression makes.
#[macro_export]
macro_rules! store_conformance {
    ($make:expr) => {
        $crate::store_conformance!(@ $make, answers:
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
        );
        $crate::store_conformance!(@ $make, fencing:
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
        $crate::store_conformance!(@ $make, stale:
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
            $crate::store_tests::$of::$check(&$make);
        }
    )*};
}

/// Makes one `#[test]` for each check of [`store_tests`](crate::store_tests) that is about [`Parking`](crate::Parking), on stores
/// that the expression makes: beside [`store_conformance!`](crate::store_conformance).
#[macro_export]
macro_rules! parking_conformance {
    ($make:expr) => {
        $crate::store_conformance!(@ $make, parking:
            what_was_parked_is_claimed_and_found_at_its_new_place
            a_snapshot_comes_back_byte_by_byte
            the_latest_snapshot_takes_the_place_of_those_before
            sessions_are_kept_apart
            what_was_never_parked_is_not_parked
            what_is_unparked_is_not_parked
            what_an_older_epoch_writes_changes_nothing
            what_is_over_is_lost
            a_registration_that_no_store_gave_reaches_nothing
            revisions_go_up
            revisions_begin_anew_with_a_registration
            of_many_claims_of_one_epoch_one_succeeds
            nothing_that_was_held_is_missing_in_a_claim
            a_claim_that_is_made_again_is_answered_as_before
            a_snapshot_stays_until_its_new_owner_writes
            what_was_claimed_ends_with_its_registration
            a_parked_session_lives_as_long_as_its_host_says
            a_displaced_session_is_kept_until_it_is_over
            a_displaced_session_is_claimed_again_by_its_newest_registration
            a_displaced_session_that_is_registered_again_is_a_new_one
        );
    };
}

/// Makes one `#[test]` for each check of [`store_tests`](crate::store_tests) that is about a [`Journal`](crate::Journal), on stores
/// that the expression makes: beside [`parking_conformance!`](crate::parking_conformance).
#[macro_export]
macro_rules! journal_conformance {
    ($make:expr) => {
        $crate::store_conformance!(@ $make, journal:
            changes_come_back_in_order_behind_their_snapshot
            changes_come_back_byte_by_byte
            many_changes_come_back
            a_new_snapshot_takes_the_place_of_the_changes
            changes_of_another_revision_are_not_appended
            a_claimed_session_is_parked_before_changes_are_appended
            what_is_over_has_no_journal
            a_registration_that_no_store_gave_appends_nothing
            changes_of_several_sessions_are_appended_together
            if_one_session_is_lost_nothing_is_appended
            nobody_sees_half_an_append
            appends_to_the_same_sessions_in_any_order_end
            a_displaced_session_keeps_its_journal
            a_session_of_any_sm_id_has_a_journal
        );
    };
}

pub(crate) const JULIET: &str = "juliet@example.com";
pub(crate) const ROMEO: &str = "romeo@example.net";

/// How old a stale h may be in these tests.
pub(crate) const GERIATRIC: Duration = Duration::from_secs(3600);
/// How often they are swept.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(1800);
/// Clocks are read to the second, at worst.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn on() -> StaleH {
    StaleH { enabled: true, repeat_after: Some(REPEAT_AFTER), geriatric: GERIATRIC }
}

pub(crate) fn off() -> StaleH {
    StaleH { enabled: false, ..on() }
}

pub(crate) fn smid(text: &str) -> SmId {
    SmId::new(text).unwrap()
}

/// A store with the calls that the checks make most.
pub(crate) struct Checked<'a, M: MakeStore> {
    pub(crate) make: &'a M,
    store: M::Store,
    pub(crate) start: Instant,
}

impl<'a, M: MakeStore> Checked<'a, M> {
    pub(crate) fn new(make: &'a M, stale_h: StaleH) -> Self {
        Self { make, store: make.store(stale_h), start: Instant::now() }
    }

    pub(crate) fn register(&self, smid: &SmId, owner: &str, handle: u64) -> Registration {
        self.register_at(smid, owner, handle, Duration::ZERO)
    }

    pub(crate) fn register_at(&self, smid: &SmId, owner: &str, handle: u64, after: Duration) -> Registration {
        let (owner, handle) = (owner.into(), self.make.handle(handle));
        let now = self.pass_time(after);
        let registered = self.make.block_on(self.store.register(smid, &owner, handle, now)).unwrap();
        assert_eq!(registered.displaced, None, "there is room");
        registered.registration
    }

    /// What the owner is told so long after the start.
    pub(crate) fn lookup(&self, smid: &SmId, owner: &str, after: Duration) -> Known<M::Handle> {
        let now = self.pass_time(after);
        match self.make.block_on(self.store.lookup(smid, owner, now)).unwrap() {
            Lookup::Session(Record { registration, handle }) => {
                assert_eq!((&**registration.owner(), registration.smid()), (owner, smid), "another session is found");
                Known::Session(handle)
            }
            Lookup::StaleH(h) => Known::StaleH(h.get()),
            Lookup::NotFound => Known::Nothing,
        }
    }

    /// The record of a session that lives.
    pub(crate) fn found(&self, smid: &SmId, owner: &str) -> Record<M::Handle> {
        let found = self.make.block_on(self.store.lookup(smid, owner, self.start)).unwrap();
        let Lookup::Session(record) = found else { panic!("it lives") };
        record
    }

    pub(crate) fn retire(&self, registration: &Registration, h: u32, after: Duration) {
        let now = self.pass_time(after);
        self.make.block_on(self.store.retire(registration, Counter::new(h), now)).unwrap();
    }

    pub(crate) fn remove(&self, registration: &Registration) {
        self.make.block_on(self.store.remove(registration)).unwrap();
    }

    /// Whether old records stay until they are swept.
    pub(crate) fn sweeps(&self) -> bool {
        self.make.sweeper(&self.store).is_some()
    }

    /// Sweeps as long as there is more to sweep at once, and tells how many records went.
    pub(crate) fn sweep(&self, after: Duration) -> usize {
        let now = self.pass_time(after);
        let mut dropped = 0;
        loop {
            let swept = self.make.sweeper(&self.store).map_or(Swept::default(), |store| store.sweep(now));
            dropped += swept.dropped;
            if !swept.more {
                return dropped;
            }
            assert_ne!(swept.dropped, 0, "it would never end");
        }
    }

    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        self.make.sweeper(&self.store)?.next_sweep()
    }

    pub(crate) fn session(&self, handle: u64) -> Known<M::Handle> {
        Known::Session(self.make.handle(handle))
    }

    fn pass_time(&self, after: Duration) -> Instant {
        let now = self.start + after;
        self.make.pass_time(&self.store, now);
        now
    }
}

/// What a lookup has found, without the registration.
#[derive(Debug, PartialEq)]
pub(crate) enum Known<Handle> {
    Session(Handle),
    StaleH(u32),
    Nothing,
}

pub(crate) fn stale<Handle>(h: u32) -> Known<Handle> {
    Known::StaleH(h)
}
