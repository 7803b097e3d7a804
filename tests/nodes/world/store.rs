//! The store that the nodes share, and the calls on their way to it and back.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use xmpp_sm::snapshot::Due;
use xmpp_sm::{
    AsyncSessionStore, Change, Claim, Counter, Fence, Journal, Lookup, MemoryStore, Parking, Registered, Registration,
    Revision, SmId,
};

/// A call, as it is on its way.
#[derive(Clone, Debug)]
pub enum What {
    Register(SmId, Arc<str>, String),
    Lookup(SmId, Arc<str>),
    Park(Registration, Revision, Vec<u8>),
    Append(Registration, Revision, Vec<u8>),
    Unpark(Registration, Revision),
    Claim(Registration, String),
    Retire(Registration, Counter),
    Remove(Registration),
}

#[derive(Clone, Debug)]
pub enum Answer {
    Registered(Registration),
    Found(Lookup<String>),
    Fence(Fence),
    Claim(Claim),
    Done,
}

/// A call on its way, or its answer.
#[derive(Debug)]
pub struct Call {
    /// Who waits for the answer: a node, in one of its runs.
    pub node: usize,
    pub run: u32,
    pub what: What,
    pub answer: Option<Answer>,
    /// Whether somebody still waits.
    pub is_awaited: bool,
}

/// The end of a future that is ready at once.
pub fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a store in memory waits for nothing"),
    }
}

/// Carries a call out.
pub fn execute(store: &MemoryStore<String>, what: &What, now: Instant) -> Answer {
    let done = match what.clone() {
        What::Register(smid, owner, handle) => {
            let registered = now_or_never(AsyncSessionStore::register(store, &smid, &owner, handle, now));
            registered.map(|Registered { registration, .. }| Answer::Registered(registration))
        }
        What::Lookup(smid, owner) => {
            now_or_never(AsyncSessionStore::lookup(store, &smid, &owner, now)).map(Answer::Found)
        }
        What::Park(registration, revision, bytes) => {
            now_or_never(store.park(&registration, revision, &bytes)).map(Answer::Fence)
        }
        What::Append(registration, revision, bytes) => {
            let change = Change { registration: &registration, revision, change: &bytes };
            now_or_never(store.append(&[change])).map(Answer::Fence)
        }
        What::Unpark(registration, revision) => now_or_never(store.unpark(&registration, revision)).map(Answer::Fence),
        What::Claim(registration, handle) => now_or_never(store.claim(&registration, handle, now)).map(Answer::Claim),
        What::Retire(registration, h) => {
            now_or_never(AsyncSessionStore::retire(store, &registration, h, now)).map(|()| Answer::Done)
        }
        What::Remove(registration) => {
            now_or_never(AsyncSessionStore::remove(store, &registration)).map(|()| Answer::Done)
        }
    };
    done.expect("no cap is reached")
}

/// What a due writes, to be carried out later.
pub fn call_of(due: &Due, registration: &Registration) -> What {
    now_or_never(due.write(&Recorder, registration)).expect_err("it carries nothing out")
}

/// A store that carries nothing out, and says what it would have.
struct Recorder;

impl AsyncSessionStore for Recorder {
    type Handle = String;
    type Error = What;

    async fn register(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        handle: String,
        _now: Instant,
    ) -> Result<Registered<String>, What> {
        Err(What::Register(smid.clone(), owner.clone(), handle))
    }

    async fn lookup(&self, smid: &SmId, owner: &str, _now: Instant) -> Result<Lookup<String>, What> {
        Err(What::Lookup(smid.clone(), owner.into()))
    }

    async fn retire(&self, registration: &Registration, h: Counter, _now: Instant) -> Result<(), What> {
        Err(What::Retire(registration.clone(), h))
    }

    async fn remove(&self, registration: &Registration) -> Result<(), What> {
        Err(What::Remove(registration.clone()))
    }
}

impl Parking for Recorder {
    async fn park(&self, registration: &Registration, revision: Revision, snapshot: &[u8]) -> Result<Fence, What> {
        Err(What::Park(registration.clone(), revision, snapshot.into()))
    }

    async fn unpark(&self, registration: &Registration, revision: Revision) -> Result<Fence, What> {
        Err(What::Unpark(registration.clone(), revision))
    }

    async fn claim(&self, registration: &Registration, handle: String, _now: Instant) -> Result<Claim, What> {
        Err(What::Claim(registration.clone(), handle))
    }
}

impl Journal for Recorder {
    async fn append(&self, changes: &[Change<'_>]) -> Result<Fence, What> {
        let [Change { registration, revision, change }] = changes else { unreachable!("one session at a time") };
        Err(What::Append((*registration).clone(), *revision, (*change).into()))
    }
}
