//! A store that fails: before it has done its work, after it, or later than it was waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use xmpp_sm::{
    AsyncSessionStore, Change, Claim, Counter, Fence, Journal, Lookup, Parking, Registered, Registration, Revision,
    SmId,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It does its work at once.
    None,
    /// It does its work late, and answers later.
    Slow,
    /// It fails, and has done nothing.
    Before,
    /// It fails, and has done its work.
    After,
}

/// A store with one fault after the other, over and over.
pub struct Faulty<S> {
    inner: S,
    faults: &'static [Fault],
    calls: AtomicUsize,
    /// Sessions cannot be written down, by no further call either.
    pub is_full: AtomicBool,
    claimed: Mutex<Option<Registration>>,
}

/// Nobody knows whether it was done.
#[derive(Debug, PartialEq)]
pub enum Failed<E> {
    Unknown,
    Store(E),
}

impl<S> Faulty<S> {
    pub fn new(inner: S, faults: &'static [Fault]) -> Self {
        let (calls, is_full) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { inner, faults, calls, is_full, claimed: Mutex::default() }
    }

    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// The registration that the last claim has given, whether anybody has heard of it or not.
    pub fn claimed(&self) -> Option<Registration> {
        self.claimed.lock().unwrap().clone()
    }

    async fn write<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Failed<E>> {
        if self.is_full.load(Ordering::Relaxed) { Err(Failed::Unknown) } else { self.call(work).await }
    }

    async fn call<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Failed<E>> {
        let fault = self.faults[self.calls.fetch_add(1, Ordering::Relaxed) % self.faults.len()];
        if fault == Fault::Before {
            return Err(Failed::Unknown);
        }
        let turns = if fault == Fault::Slow { 3 } else { 0 };
        Turns(turns).await;
        let done = work.await;
        Turns(turns).await;
        if fault == Fault::After { Err(Failed::Unknown) } else { done.map_err(Failed::Store) }
    }
}

/// Ready after so many turns.
struct Turns(u32);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(()) };
        self.0 = left;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncSessionStore<Handle: Sync>> AsyncSessionStore for Faulty<S> {
    type Handle = S::Handle;
    type Error = Failed<S::Error>;

    async fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: S::Handle,
        now: Instant,
    ) -> Result<Registered<S::Handle>, Failed<S::Error>> {
        self.call(self.inner.register(smid, owner, handle, now)).await
    }

    async fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<S::Handle>, Failed<S::Error>> {
        self.call(self.inner.lookup(smid, owner, now)).await
    }

    async fn retire(&self, registration: &Registration, h: Counter, now: Instant) -> Result<(), Failed<S::Error>> {
        self.call(self.inner.retire(registration, h, now)).await
    }

    async fn remove(&self, registration: &Registration) -> Result<(), Failed<S::Error>> {
        self.call(self.inner.remove(registration)).await
    }
}

impl<S: Parking<Handle: Sync>> Parking for Faulty<S> {
    async fn park(
        &self,
        registration: &Registration,
        revision: Revision,
        snapshot: &[u8],
    ) -> Result<Fence, Failed<S::Error>> {
        self.write(self.inner.park(registration, revision, snapshot)).await
    }

    async fn unpark(&self, registration: &Registration, revision: Revision) -> Result<Fence, Failed<S::Error>> {
        self.write(self.inner.unpark(registration, revision)).await
    }

    async fn claim(
        &self,
        registration: &Registration,
        handle: S::Handle,
        now: Instant,
    ) -> Result<Claim, Failed<S::Error>> {
        self.call(async {
            let claim = self.inner.claim(registration, handle, now).await?;
            if let Claim::Claimed(claimed) = &claim {
                *self.claimed.lock().unwrap() = Some(claimed.registration.clone());
            }
            Ok(claim)
        })
        .await
    }
}

impl<S: Journal<Handle: Sync>> Journal for Faulty<S> {
    async fn append(&self, changes: &[Change<'_>]) -> Result<Fence, Failed<S::Error>> {
        self.write(self.inner.append(changes)).await
    }
}

/// A host that makes each call again until it is known to be done.
pub struct Persistent<S>(pub Faulty<S>);

macro_rules! until_known {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(Failed::Unknown) => {}
                Err(Failed::Store(error)) => break Err(error),
                Ok(done) => break Ok(done),
            }
        }
    };
}

impl<S: AsyncSessionStore<Handle: Clone + Sync>> AsyncSessionStore for Persistent<S> {
    type Handle = S::Handle;
    type Error = S::Error;

    async fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: S::Handle,
        now: Instant,
    ) -> Result<Registered<S::Handle>, S::Error> {
        until_known!(self.0.register(smid, owner, handle.clone(), now))
    }

    async fn lookup(&self, smid: &SmId, owner: &str, now: Instant) -> Result<Lookup<S::Handle>, S::Error> {
        until_known!(self.0.lookup(smid, owner, now))
    }

    async fn retire(&self, registration: &Registration, h: Counter, now: Instant) -> Result<(), S::Error> {
        until_known!(self.0.retire(registration, h, now))
    }

    async fn remove(&self, registration: &Registration) -> Result<(), S::Error> {
        until_known!(self.0.remove(registration))
    }
}

impl<S: Parking<Handle: Clone + Sync>> Parking for Persistent<S> {
    async fn park(&self, registration: &Registration, revision: Revision, snapshot: &[u8]) -> Result<Fence, S::Error> {
        until_known!(self.0.park(registration, revision, snapshot))
    }

    async fn unpark(&self, registration: &Registration, revision: Revision) -> Result<Fence, S::Error> {
        until_known!(self.0.unpark(registration, revision))
    }

    async fn claim(&self, registration: &Registration, handle: S::Handle, now: Instant) -> Result<Claim, S::Error> {
        until_known!(self.0.claim(registration, handle.clone(), now))
    }
}

impl<S: Journal<Handle: Clone + Sync>> Journal for Persistent<S> {
    async fn append(&self, changes: &[Change<'_>]) -> Result<Fence, S::Error> {
        until_known!(self.0.append(changes))
    }
}
