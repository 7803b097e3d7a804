//! The store, called as the hosts do, beside a list of what must be in it, longest registered first.

use std::time::Instant;

use xmpp_sm::{AtCap, Counter, Epoch, Evicted, Registered, SessionStore, StoreError};

use super::ledger::{Checked, Violation, ensure};
use super::pair::{Shared, Sid};
use super::setting::smid;

/// A session that the store must know.
#[derive(Clone, Copy)]
pub struct Entry {
    pub number: u16,
    owner: &'static str,
    pub sid: Sid,
    epoch: Epoch,
}

impl Shared<'_> {
    /// Registers a session, new or again, and leaves it to [`World::apply`](super::World::apply) to end the
    /// one that has to go for it. Nothing if there is no room.
    pub fn register(&mut self, number: u16, owner: &'static str, sid: Sid) -> Checked<Option<Epoch>> {
        let wanted = self.in_the_way(number, owner);
        let got = self.store.register(&smid(number), owner, sid);
        let gone = wanted.map(|oldest| oldest.map(|oldest| self.registered.remove(oldest)));
        let evicted =
            gone.map(|gone| gone.map(|gone| Evicted { smid: smid(gone.number), epoch: gone.epoch, sid: gone.sid }));
        let told = got.as_ref().map(|registered| registered.evicted.clone()).map_err(|error| *error);
        ensure!(told == evicted, "{number} of {owner} is registered as {got:?}, and {evicted:?} has to go");
        let Ok(Registered { epoch, evicted }) = got else { return Ok(None) };
        ensure!(self.last_epoch < Some(epoch), "{epoch:?} follows {:?}", self.last_epoch);
        self.last_epoch = Some(epoch);
        self.registered.retain(|entry| entry.number != number);
        self.registered.push(Entry { number, owner, sid, epoch });
        self.evicted.extend(evicted.map(|evicted| evicted.sid));
        Ok(Some(epoch))
    }

    /// The session that has to go for this one, or why this one may not come.
    fn in_the_way(&self, number: u16, owner: &str) -> Result<Option<usize>, StoreError> {
        let caps = &self.setting.caps;
        let of_owner = |entry: &&Entry| entry.owner == owner;
        let reached = |cap: Option<usize>, sessions| cap.is_some_and(|cap| sessions >= cap);
        let (oldest, error) = if self.registered.iter().any(|entry| entry.number == number) {
            return Ok(None);
        } else if reached(caps.per_owner, self.registered.iter().filter(of_owner).count()) {
            (self.registered.iter().position(|entry| entry.owner == owner), StoreError::OwnerFull)
        } else if reached(caps.in_all, self.registered.len()) {
            (Some(0), StoreError::Full)
        } else {
            return Ok(None);
        };
        match caps.at_cap {
            AtCap::Refuse => Err(error),
            AtCap::EvictOldest => Ok(oldest),
        }
    }

    /// The session is over, and its last `h` may be asked for.
    pub fn retire(&mut self, number: u16, epoch: Epoch, h: Counter, now: Instant) -> Checked {
        let done = self.store.retire(&smid(number), epoch, h, now);
        self.take_out(number, done)
    }

    /// The session is over, and nobody will ask.
    pub fn remove(&mut self, number: u16, epoch: Epoch) -> Checked {
        let done = self.store.remove(&smid(number), epoch);
        self.take_out(number, done)
    }

    fn take_out(&mut self, number: u16, done: Result<(), StoreError>) -> Checked {
        self.registered.retain(|entry| entry.number != number);
        done.map_err(|error| Violation(format!("the store does not let {number} go: {error}")))
    }
}
