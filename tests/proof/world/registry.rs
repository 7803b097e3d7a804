//! The store, called as the hosts do, beside a list of what must be in it, longest registered first.

use std::time::Instant;

use xmpp_sm::{AtCap, Counter, Record, Registered, Registration, SessionStore, StoreError};

use super::ledger::{Checked, Violation, ensure};
use super::pair::{Handle, Shared};
use super::setting::smid;

/// A session that the store must know.
#[derive(Clone)]
pub struct Entry {
    pub number: u16,
    pub sid: Handle,
    registration: Registration,
}

impl Shared<'_> {
    /// Registers a session, new or again, and leaves it to [`World::apply`](super::World::apply) to end the
    /// one that has to go for it. Nothing if there is no room.
    pub fn register(&mut self, number: u16, owner: &'static str, sid: Handle) -> Checked<Option<Registration>> {
        let wanted = self.displaced_by(number, owner);
        let got = self.store.register(&smid(number), &owner.into(), sid, self.now);
        let gone = wanted.map(|oldest| oldest.map(|oldest| self.registered.remove(oldest)));
        let displaced = gone.map(|gone| gone.map(|gone| Record { registration: gone.registration, handle: gone.sid }));
        let told = got.as_ref().map(|registered| registered.displaced.clone()).map_err(|error| *error);
        ensure!(told == displaced, "{number} of {owner} is registered as {got:?}, and {displaced:?} has to go");
        let Ok(Registered { registration, displaced }) = got else { return Ok(None) };
        let wanted = Registration::new(owner, smid(number), registration.epoch());
        ensure!(registration == wanted, "{number} of {owner} is registered by another name");
        let last = self.last_epochs.insert(owner, registration.epoch());
        ensure!(last < Some(registration.epoch()), "{registration:?} follows {last:?}");
        self.registered.retain(|entry| entry.number != number);
        self.registered.push(Entry { number, sid, registration: registration.clone() });
        self.evicted.extend(displaced.map(|displaced| displaced.handle));
        Ok(Some(registration))
    }

    /// The session that has to go for this one, or why this one may not come.
    fn displaced_by(&self, number: u16, owner: &str) -> Result<Option<usize>, StoreError> {
        let caps = &self.setting.caps;
        let of_owner = |entry: &Entry| **entry.registration.owner() == *owner;
        let reached = |cap: Option<usize>, sessions| cap.is_some_and(|cap| sessions >= cap);
        let error = if self.registered.iter().any(|entry| entry.number == number) {
            return Ok(None);
        } else if reached(caps.per_owner, self.registered.iter().filter(|entry| of_owner(entry)).count()) {
            StoreError::OwnerFull
        } else if reached(caps.in_all, self.registered.len()) {
            StoreError::Full
        } else {
            return Ok(None);
        };
        // Whichever cap it is: nobody but the owner makes room.
        match (caps.at_cap, self.registered.iter().position(of_owner)) {
            (AtCap::EvictOldest, Some(oldest)) => Ok(Some(oldest)),
            _ => Err(error),
        }
    }

    /// The session is over, and its last `h` may be asked for.
    pub fn retire(&mut self, number: u16, registration: &Registration, h: Counter, now: Instant) -> Checked {
        let done = self.store.retire(registration, h, now);
        self.take_out(number, done)
    }

    /// The session is over, and nobody will ask.
    pub fn remove(&mut self, number: u16, registration: &Registration) -> Checked {
        let done = self.store.remove(registration);
        self.take_out(number, done)
    }

    fn take_out(&mut self, number: u16, done: Result<(), StoreError>) -> Checked {
        self.registered.retain(|entry| entry.number != number);
        done.map_err(|error| Violation(format!("the store does not let {number} go: {error}")))
    }
}
