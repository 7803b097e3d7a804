use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use minidom::Element;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, sleep_until};
use xmpp_sm::snapshot::{Due, Ledger, Limits, Promise, Snapshot, SnapshotError, Version};
use xmpp_sm::{
    Arrival, AsyncSessionStore, Claim, Claimed, Condition, Config, Counter, DoesNotFit, EndReason, Event, Fence,
    Journal, Lookup, Parking, Parting, Receipt, Record, Refusal, Refused, Registration, Session, SessionEnded, SmId,
    Taker,
};

use crate::server_loop::{Connection, Input, drive, now};

/// How long until a call of the store that has failed is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a session that is let go waits for receipts.
const SETTLING: Duration = Duration::from_secs(2);
/// It is not known whether there is such a session: the client asks again.
const UNKNOWN: Refusal = Refusal::Because(Condition::InternalServerError);

/// What the store knows of a session, and how much of it.
pub struct Shared {
    /// `None`: the session cannot be resumed.
    pub registration: Option<Registration>,
    pub ledger: Ledger,
}

/// The life of a session at this node: from bind, or from where it was claimed, until it is over or elsewhere.
pub async fn serve<H: Host>(
    mut session: Session<Bytes, H::Connection>,
    mut mailbox: UnboundedReceiver<Mail<H::Connection>>,
    mut shared: Shared,
    host: H,
) {
    let (mut owed, mut again, mut lets_go): (Vec<Done>, Option<Instant>, Option<Instant>) = Default::default();
    loop {
        if let Some(until) = lets_go {
            if until <= now() {
                session.settle_all(now());
            }
            session.lost(now()); // also a connection that has come since, or has waited for receipts
        }
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting, .. } => host.part(connection, parting),
                Event::Refused(refused) => host.log_in(refused),
                Event::Ended(ended) => return over(*ended, shared, Rest { owed, mailbox }, host).await,
                _ => {}
            }
        }
        if again.is_none_or(|again| again <= now()) {
            let due = shared.ledger.due(&session, || host.state(), now(), SystemTime::now());
            again = match write(due, &mut shared, &host).await {
                Ok(Fence::Held) => None,
                Ok(Fence::Lost) => return lost(session, shared, Rest { owed, mailbox }, host).await,
                Err(_) => Some(now() + AGAIN),
            };
        }
        if again.is_none() {
            if shared.ledger.is_written(&session) {
                owed.drain(..).for_each(|done| done());
            }
            if lets_go.is_some() && session.is_detached() && session.open_receipts() == 0 {
                return host.let_go(shared, mailbox);
            }
        }
        while session.connection().is_some_and(Connection::has_room)
            && let Some((connection, item)) = shared.ledger.next_write(&mut session, now())
        {
            connection.push(item);
        }
        let reads = session.wants_read() && again.is_none();
        let settling = lets_go.filter(|until| *until > now());
        let deadline = session.deadline().into_iter().chain(again).chain(settling).min();
        tokio::select! {
            input = drive(session.connection_mut(), reads) => match input {
                Ok(Some(Input::Element(element))) => on_element(element, &mut session, &mut shared, &host).await,
                Ok(Some(Input::Closed)) => session.peer_closed(now()),
                Ok(None) => {}
                Err(_) => session.lost(now()),
            },
            Some(mail) = mailbox.recv() => match mail {
                Mail::Deliver(stanza, done) => {
                    drop(session.send(stanza, now()));
                    owed.push(done);
                }
                Mail::Settled(receipt) => drop(session.settle(receipt, now())),
                Mail::Take(taker) => session.take(taker, now()),
                Mail::End(reason) => session.close(reason, None, now()),
                Mail::Changed => {
                    shared.ledger = shared.ledger.version(host.version());
                    shared.ledger.host_changed();
                }
                Mail::LetGo(Some(h)) if matches!(session.check_resume(h), Err(Refusal::WrongH(_))) => host.keep(&shared, h),
                Mail::LetGo(_) if shared.registration.is_none() => session.close(EndReason::Stopped, None, now()),
                Mail::LetGo(_) => {
                    lets_go.get_or_insert(now() + SETTLING);
                    if shared.ledger.promise() == Promise::Memory {
                        shared.ledger.set_promise(Promise::Parked);
                    }
                }
            },
            () = sleep_until(deadline.unwrap_or_else(now).into()), if deadline.is_some() => session.timeout(now()),
        }
    }
}

/// Writes down what is due.
async fn write<H: Host>(
    due: Option<Due>,
    Shared { registration, ledger }: &mut Shared,
    host: &H,
) -> Result<Fence, Failed<H>> {
    let (Some(due), Some(registration)) = (due, registration) else { return Ok(Fence::Held) };
    let written = due.write(host.store(), registration).await;
    match written {
        Ok(Fence::Held) => ledger.wrote(due),
        Ok(Fence::Lost) => {}
        Err(_) => ledger.host_changed(), // all of it next time: what the store had may be gone
    }
    written
}

async fn on_element<H: Host>(
    element: Element,
    session: &mut Session<Bytes, H::Connection>,
    shared: &mut Shared,
    host: &H,
) {
    match session.handle(session.inbound(&element), now()) {
        Ok(Arrival::Stanza(receipt)) => host.route(element, receipt),
        Ok(Arrival::Enable(request)) => {
            let resumable = request.is_resumable();
            shared.registration = if resumable { register(session.owner(), host).await } else { None };
            let smid = shared.registration.as_ref().map(|registration| registration.smid().clone());
            let _ = session.accept_enable(request, smid, now());
        }
        _ => {}
    }
}

/// Makes a session known to all nodes. `None`: it cannot be resumed.
async fn register<H: Host>(owner: &Arc<str>, host: &H) -> Option<Registration> {
    for _ in 0..3 {
        let smid = SmId::random().ok()?; // another one each time: what has failed may be carried out late
        if let Ok(registered) = host.store().register(&smid, owner, host.handle(), now()).await {
            registered.displaced.into_iter().for_each(|displaced| host.end(displaced));
            host.registered(&registered.registration);
            return Some(registered.registration);
        }
    }
    None
}

/// The session is over. Its stanzas go elsewhere from here, unless it is another node's by now.
async fn over<H: Host>(
    ended: SessionEnded<Bytes>,
    Shared { registration, mut ledger }: Shared,
    rest: Rest<H::Connection>,
    host: H,
) {
    let ours = match &registration {
        Some(registration) => owned(registration, &mut ledger, &host).await,
        None => None,
    };
    let theirs = registration.filter(|_| ours.is_none());
    let h = (ended.reason != EndReason::Closed).then_some(ended.h);
    let stanzas = if theirs.is_none() { all(ended) } else { not_written(ended, &rest) };
    host.pass_on(stanzas, rest, theirs).await;
    if let Some(registration) = ours {
        retire(&registration, h, &host).await; // not before: if this node dies, another passes them on
    }
}

fn all(ended: SessionEnded<Bytes>) -> Vec<Bytes> {
    ended.stanzas.map(|left| left.stanza).collect()
}

/// The last of what a session had: for each that is not written down there is one owed, for `serve` empties `owed` only when all
/// is written.
fn not_written<C>(ended: SessionEnded<Bytes>, rest: &Rest<C>) -> Vec<Bytes> {
    let written = ended.stanzas.len().saturating_sub(rest.owed.len());
    ended.stanzas.skip(written).map(|left| left.stanza).collect()
}

/// By which registration a session that is over is still this node's. `None`: it is another's.
async fn owned<H: Host>(registration: &Registration, ledger: &mut Ledger, host: &H) -> Option<Registration> {
    while let Some(due) = ledger.end(now(), SystemTime::now()) {
        match due.write(host.store(), registration).await {
            Ok(Fence::Held) => break,
            Ok(Fence::Lost) => return displaced(registration, host).await,
            Err(error) if host.is_final(&error) => {
                let is_ours = !is_anothers(registration, host).await;
                return is_ours.then(|| registration.clone());
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
    Some(registration.clone())
}

/// Claims a session that this node has lost. It gets one that had to make room, under another registration, unless another node was
/// faster.
async fn displaced<H: Host>(registration: &Registration, host: &H) -> Option<Registration> {
    let handle = host.handle(); // the same for each try
    loop {
        match host.store().claim(registration, handle.clone(), now()).await {
            Ok(Claim::Claimed(claimed)) => return Some(claimed.registration),
            Ok(Claim::NotParked | Claim::Lost) => return None,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Whether another node has a session: a lookup tells, also where nothing can be written. A session that is unknown has no node.
async fn is_anothers<H: Host>(registration: &Registration, host: &H) -> bool {
    loop {
        match host.store().lookup(registration.smid(), registration.owner(), now()).await {
            Ok(Lookup::Session(found)) => return found.registration != *registration,
            Ok(Lookup::StaleH(_)) => return true,
            Ok(Lookup::NotFound) => return false,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Forgets a session whose stanzas have gone on. `None`: its client does not ask for its `h`.
async fn retire<H: Host>(registration: &Registration, h: Option<Counter>, host: &H) {
    let store = host.store();
    while match h {
        Some(h) => store.retire(registration, h, now()).await.is_err(),
        None => store.remove(registration).await.is_err(),
    } {
        sleep(AGAIN).await;
    }
}

/// Another node has the session, and its client finds it there.
async fn lost<H: Host>(
    mut session: Session<Bytes, H::Connection>,
    Shared { registration, ledger }: Shared,
    rest: Rest<H::Connection>,
    host: H,
) {
    session.settle_all(now()); // the other node's h is what counts
    session.lost(now()); // also a connection that has waited for that
    let mut left = Vec::new();
    while let Some(event) = session.poll() {
        match event {
            Event::Left { connection, parting, .. } => host.part(connection, parting),
            Event::Refused(refused) => host.log_in(refused),
            Event::Ended(ended) => left = all(*ended), // it was closing
            _ => {}
        }
    }
    let Some(registration) = registration else { return };
    let h = session.stats(now()).h;
    let found = host.store().lookup(registration.smid(), registration.owner(), now()).await;
    let is_nowhere = matches!(found, Ok(Lookup::NotFound));
    let ours = if is_nowhere { displaced(&registration, &host).await } else { None };
    // An engine that has lost its last seconds has the session as it was before.
    let is_older = matches!(&found, Ok(Lookup::Session(has)) if has.registration.epoch() <= registration.epoch());
    match session.into_parts() {
        Err(_) => {}
        // Unless it was displaced, what was written down may be gone: better twice than never.
        Ok(parts) if is_nowhere || is_older => left.extend(parts.into_stanzas().map(|(stanza, _)| stanza)),
        Ok(parts) => left.extend(ledger.not_written(parts).into_iter().map(|(stanza, _)| stanza)),
    }
    // If the store does not answer, it is as if the session lived: they go to the node that has the resource.
    let is_over = matches!(found, Ok(Lookup::StaleH(_) | Lookup::NotFound));
    host.pass_on(left, rest, (!is_over).then(|| registration.clone())).await;
    if let Some(ours) = ours {
        retire(&ours, Some(h), &host).await;
    }
}

/// A client asks for a session that this node does not have. Once begun it runs to its end: in a task of its own.
pub async fn find<H: Host>(taker: Taker<H::Connection>, host: H) {
    match fetch(&taker, &host).await {
        Ok((mut session, mailbox, shared, host)) => {
            session.take(taker, now()); // before anything is due: a session that lives need not be parked once more
            serve(session, mailbox, shared, host).await;
        }
        Err(refusal) => host.log_in(taker.refuse(refusal)),
    }
}

/// A session that a dead node has left goes on here: in a task of its own.
pub async fn adopt<H: Host>(left: Registration, host: H) {
    match host.store().claim(&left, host.handle(), now()).await {
        Ok(Claim::Claimed(claimed)) => {
            if let Ok((session, mailbox, shared, host)) = revive(claimed, &host).await {
                serve(session, mailbox, shared, host).await;
            }
        }
        Ok(Claim::NotParked) => retire(&left, None, &host).await, // it has died with its node
        Ok(Claim::Lost) | Err(_) => {}                            // it is another's by now; or it is given here again
    }
}

/// All that `serve` needs.
type Revived<H> =
    (Session<Bytes, <H as Host>::Connection>, UnboundedReceiver<Mail<<H as Host>::Connection>>, Shared, H);

/// Brings a session here.
async fn fetch<H: Host>(taker: &Taker<H::Connection>, host: &H) -> Result<Revived<H>, Refusal> {
    let (store, handle) = (host.store(), host.handle());
    for _ in 0..3 {
        let found = store.lookup(taker.previd(), taker.owner(), now()).await.map_err(|_| UNKNOWN)?;
        let record = found.session()?; // or it is gone: `Refusal::StaleH`, `Refusal::NotFound`
        let lives = match host.ask_to_let_go(&record, taker.h()).await {
            Asked::Free => true,
            Asked::Kept => return Err(Refusal::Because(Condition::BadRequest)),
            Asked::Dead => false,
        };
        match store.claim(&record.registration, handle.clone(), now()).await.map_err(|_| UNKNOWN)? {
            Claim::Claimed(claimed) => return revive(claimed, host).await,
            Claim::NotParked if lives => return Err(UNKNOWN),
            Claim::NotParked => retire(&record.registration, None, host).await, // it has died with its node
            Claim::Lost => {}                                                   // another was faster: look again
        }
    }
    Err(UNKNOWN)
}

/// Has a session live here that was claimed.
async fn revive<H: Host>(claimed: Claimed, host: &H) -> Result<Revived<H>, Refusal> {
    let Claimed { registration, snapshot, journal } = claimed;
    let (config, clocks) = (host.config(), (now(), SystemTime::now()));
    let read = match Snapshot::from_journal(&snapshot, &journal, config, &Limits::default(), clocks) {
        Ok(read) => read,
        Err(SnapshotError::Newer(_)) => return Err(UNKNOWN), // it stays: a newer node can read it
        Err(error) => {
            host.set_aside(&registration, snapshot, journal, error).await;
            retire(&registration, None, host).await;
            return Err(Refusal::NotFound);
        }
    };
    let ledger = Ledger::claimed(host.promise(), &read).version(host.version());
    let (sender, mailbox) = unbounded_channel();
    let host = host.revived(&registration, &read.host, sender);
    match Session::from_parts(config.clone(), read.session, now()) {
        Ok(session) => Ok((session, mailbox, Shared { registration: Some(registration), ledger }, host)),
        Err(DoesNotFit { parts }) => {
            let h = parts.detached().map(|parts| parts.h);
            let stanzas = parts.into_stanzas().map(|(stanza, _)| stanza).collect();
            host.pass_on(stanzas, Rest { owed: Vec::new(), mailbox }, None).await;
            retire(&registration, h, &host).await;
            Err(UNKNOWN) // and then the store knows its h
        }
    }
}

/// Tells the sender of a stanza that it is written down.
pub type Done = Box<dyn FnOnce() + Send>;
type Failed<H> = <<H as Host>::Store as AsyncSessionStore>::Error;

/// What comes to a session from the rest of its node.
pub enum Mail<C> {
    /// A stanza for its client, and what to call when it is written down.
    Deliver(Bytes, Done),
    /// Somebody keeps a stanza of its client.
    Settled(Receipt),
    /// Its client is back, on another connection.
    Take(Taker<C>),
    /// It has to end.
    End(EndReason),
    /// The whole session has to be written down again: what [`Host::state`] or [`Host::version`] returns is another; the engine has lost
    /// something; or the session's [`session_ttl`](xmpp_sm::RedisStore::session_ttl) is half over.
    Changed,
    /// Another node asks for it, for a client that has handled so many stanzas; or this one stops (`None`). It is written down, and
    /// leaves; unless no client can have handled so many.
    LetGo(Option<Counter>),
}

/// What the node of a session answers that was asked to let go.
#[derive(Clone, Copy)]
pub enum Asked {
    /// The session is to be had; or there is no answer, and its node lives.
    Free,
    /// The session stays where it is: see [`Host::keep`].
    Kept,
    /// That node is dead.
    Dead,
}

/// What has come for a session, and has not been kept by it.
pub struct Rest<C> {
    /// Of the stanzas that it had, and had not written down.
    pub owed: Vec<Done>,
    pub mailbox: UnboundedReceiver<Mail<C>>,
}

/// The rest of the node, as a session sees it. Each session has one of its own.
pub trait Host: Clone + Send + Sync + 'static {
    type Connection: Connection;
    /// It is shared by all nodes.
    type Store: Journal<Handle = Bytes>;
    fn store(&self) -> &Self::Store;
    fn config(&self) -> &Arc<Config>;
    fn promise(&self) -> Promise;
    /// What all nodes can read: see [upgrades](xmpp_sm::nodes#upgrades).
    fn version(&self) -> Version;
    /// The name of this node, a number of its run, and a number of the call: never the same twice, whatever is restarted.
    fn handle(&self) -> Bytes;
    /// Other nodes ask for the session by this owner and SM-ID: the host finds its mailbox by them, until it is told to
    /// [pass on](Self::pass_on) or to [let go](Self::let_go).
    fn registered(&self, registration: &Registration);
    /// What the host knows of the session besides the owner: the resource, the last presence.
    fn state(&self) -> Vec<u8>;
    /// The host of a session that was read with this state. It is registered, and stanzas for its full JID come
    /// here.
    fn revived(
        &self,
        registration: &Registration,
        state: &[u8],
        mailbox: UnboundedSender<Mail<Self::Connection>>,
    ) -> Self;
    /// Sends a stanza on its way. The receipt comes back as [`Mail::Settled`] when the recipient's session has called its
    /// [`Done`], or the stanza is in a queue or on a disk outside of this process.
    fn route(&self, stanza: Element, receipt: Receipt);
    /// Says the last words on a connection that its session has left, in a task of its own.
    fn part(&self, connection: Self::Connection, parting: Parting);
    /// Takes the next step of this login, in a task of its own.
    fn log_in(&self, refused: Refused<Self::Connection>);
    /// Has the session's node send it a `Mail::End(EndReason::Replaced)`: the store has made room.
    fn end(&self, displaced: Record<Bytes>);
    /// Has the session's node send it a [`Mail::LetGo`] with this `h`, and waits some seconds for the answer.
    fn ask_to_let_go(&self, session: &Record<Bytes>, h: Counter) -> impl Future<Output = Asked> + Send;
    /// The session stays here, with its client: who has asked for it with this `h` is told.
    fn keep(&self, session: &Shared, h: Counter);
    /// The session is written down: this node forgets it, who has asked for it is told, and what is in its mailbox goes
    /// after it.
    fn let_go(&self, session: Shared, mailbox: UnboundedReceiver<Mail<Self::Connection>>);
    /// The session is not here any more: this node forgets it and its resource, which is unavailable if no node has the
    /// session (`to` is `None`). It sends stanzas on, and then those in the mailbox: to the node that has the session, or if
    /// there is none, to where stanzas go whose recipient is not there. Then somebody keeps them, and what is owed is called.
    fn pass_on(
        &self,
        stanzas: Vec<Bytes>,
        rest: Rest<Self::Connection>,
        to: Option<Registration>,
    ) -> impl Future<Output = ()> + Send;
    /// Keeps what cannot be read: an operator may be able to mend it.
    fn set_aside(
        &self,
        registration: &Registration,
        snapshot: Bytes,
        journal: Vec<Bytes>,
        why: SnapshotError,
    ) -> impl Future<Output = ()> + Send;
    /// Whether a call that has failed need not be made again: `RedisStoreError::Evicted` and `NoMemory`, for instance.
    fn is_final(&self, error: &<Self::Store as AsyncSessionStore>::Error) -> bool;
}
