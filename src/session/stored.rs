//! What a host does about a [`SessionStore`] in its own process: when stream management is switched on, when a client is
//! back, and at the end.

use std::time::Instant;

use super::{Refused, Session, SessionEnded, Taker};
use crate::detached::EndReason;
use crate::nonza::Condition;
use crate::smid::SmId;
use crate::stanza::Stanza;
use crate::store::{Record, Registered, Registration, SessionStore};
use crate::stream::{EnableRequest, Foreign, Refusal};

impl<S: Stanza, C> Session<S, C> {
    /// [Switches stream management on](Self::accept_enable), and registers the session under a new SM-ID if its client
    /// wants to be able to resume. Returns the registration: the host keeps it for [`SessionEnded::leave`], and ends the
    /// session that is [displaced](Registered::displaced), as [`Replaced`](EndReason::Replaced). `None`: the session cannot
    /// be resumed, because its client does not want it, or because the store has not taken it.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the session does not wait for it. Nothing is registered then.
    pub fn accept_enable_in<T: SessionStore + ?Sized>(
        &mut self,
        request: EnableRequest,
        store: &T,
        handle: T::Handle,
        now: Instant,
    ) -> Result<Option<Registered<T::Handle>>, Foreign<EnableRequest>> {
        let smid = if request.is_resumable() { SmId::random().ok() } else { None };
        let registered = smid.and_then(|smid| store.register(&smid, self.owner(), handle, now).ok());
        let smid = registered.as_ref().map(|registered| registered.registration.smid().clone());
        match (self.accept_enable(request, smid, now), registered) {
            (Ok(()), registered) => Ok(registered),
            (Err(foreign), None) => Err(foreign),
            (Err(foreign), Some(registered)) => {
                let _ = store.remove(&registered.registration);
                Err(foreign)
            }
        }
    }
}

impl<C> Taker<C> {
    /// Looks up the session that is asked for: the `Taker` goes [to it](Session::take). A session that is not known, or
    /// [another owner's](SessionStore::lookup), is refused with `item-not-found`; if the store fails, it is not known
    /// whether there is one, and the client is refused with `internal-server-error` and may ask again.
    ///
    /// # Errors
    ///
    /// [`Refused`]: the connection is free to bind.
    pub fn find_in<T: SessionStore + ?Sized>(
        self,
        store: &T,
        now: Instant,
    ) -> Result<(Self, Record<T::Handle>), Refused<C>> {
        match store.lookup(self.previd(), self.owner(), now).map(|found| found.session()) {
            Ok(Ok(record)) => Ok((self, record)),
            Ok(Err(refusal)) => Err(self.refuse(refusal)),
            Err(_) => Err(self.refuse(Refusal::Because(Condition::InternalServerError))),
        }
    }
}

impl<S> SessionEnded<S> {
    /// Takes the session out of the store: [`remove`](SessionStore::remove) after [`Closed`](EndReason::Closed), for its
    /// client does not ask for it, and [`retire`](SessionStore::retire) with its `h` after all other ends.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn leave<T: SessionStore + ?Sized>(
        &self,
        store: &T,
        registration: &Registration,
        now: Instant,
    ) -> Result<(), T::Error> {
        match self.reason {
            EndReason::Closed => store.remove(registration),
            _ => store.retire(registration, self.h, now),
        }
    }
}
