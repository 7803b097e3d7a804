//! What of a session is written down, and what has to be before anything goes out.

use std::time::{Instant, SystemTime};

use super::clocks::Clocks;
use super::write::{self, Content, Expires, Known, write_changes};
use super::{Portable, Snapshot, Version};
use crate::counter::{Counter, count};
use crate::session::{Lasting, Session, SessionParts, Side, Write};
use crate::stanza::Stanza;
use crate::store::{Change, Fence, Journal, Lookup, Registration, Revision};

/// How long the sessions of a host live.
///
/// A host chooses one when it makes a [`Ledger`]. [`nodes`](crate::nodes) says what each takes and costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// As long as their process.
    #[default]
    Memory,
    /// One that has lost its stream is written down, with what is queued for it meanwhile: it outlives its process. One
    /// that has a stream when its process is killed is lost; a process that is told to stop has each session lose its
    /// stream first.
    Parked,
    /// Each stanza is in the store before it is on the wire, and `h` before it is told: nothing is lost, even if the
    /// process is killed. Stanzas of the peer that were handled, and whose `h` was not written down any more, come once
    /// more.
    ///
    /// It holds while the session is resumable: one that has [evicted](crate::OnFull::EvictOldest) stanzas is not
    /// written down until they are acknowledged, and one that ends is not written down any more.
    Durable,
}

/// What of one session is written down in a [`Journal`], as a [`Promise`] says. It is a host's way out in place of
/// [`Session::next_write`], for nothing may go out before it is written down.
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Instant, SystemTime};
/// use xmpp_sm::snapshot::{Ledger, Limits, Promise, Snapshot};
/// use xmpp_sm::{
///     Arrival, AsyncSessionStore, Claim, Config, Enable, Fence, MemoryStore, Nonza, Parking, Session, SmId, Unbound,
/// };
///
/// # futures::executor::block_on(async {
/// let clocks = || (Instant::now(), SystemTime::now());
/// let (now, by_the_wall) = clocks();
/// let config = Arc::new(Config::default());
/// let store = MemoryStore::new(&config);
/// let mut session: Session<String, ()> = Unbound::new(config.clone(), "juliet@example.com").bind(());
/// let enable = Nonza::Enable(Enable { resume: true, max: None });
/// let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
/// let smid = SmId::random()?;
/// let registration = AsyncSessionStore::register(&store, &smid, session.owner(), "node-1/1", now).await?.registration;
/// session.accept_enable(request, Some(smid), now)?;
///
/// // After each call, before anything is written:
/// let mut ledger = Ledger::new(Promise::Durable);
/// session.send("<message/>".to_owned(), now)?;
/// assert!(ledger.next_write(&mut session, now).is_none()); // it is not written down
/// if let Some(due) = ledger.due(&session, || b"balcony".to_vec(), now, by_the_wall) {
///     assert_eq!(due.write(&store, &registration).await?, Fence::Held);
///     ledger.wrote(due);
/// }
/// while let Some((_connection, _item)) = ledger.next_write(&mut session, now) {}
///
/// // The process is killed. The client comes to another. No handle is used twice.
/// let Claim::Claimed(claimed) = store.claim(&registration, "node-2/1", now).await? else { unreachable!() };
/// let limits = Limits::default();
/// let read = Snapshot::from_journal(&claimed.snapshot, &claimed.journal, &config, &limits, clocks())?;
/// let ledger = Ledger::claimed(Promise::Durable, &read);
/// let session: Session<String, ()> = Session::from_parts(config, read.session, now)?;
/// assert_eq!((session.unacked(), &read.host[..]), (1, &b"balcony"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What a host does
///
/// | when | what |
/// | --- | --- |
/// | after each call of the session, before it writes | [`due`](Self::due); [`Due::write`]; if the session is [held](Fence::Held), [`wrote`](Self::wrote) |
/// | it has handled a stanza of the peer | with [`Promise::Durable`] it [settles](Session::settle) the receipt when the recipient's ledger has written the stanza, or when the stanza is in a queue outside of the process: a mailbox is lost with the process |
/// | the store has failed | the same again, later. Until then nothing goes out, and the host reads no more |
/// | the session is [lost](Fence::Lost) | another has claimed it: what its host still handles is [settled](Session::settle_without_receipt) first, for a connection may wait for that; it [leaves its client](Session::lost), is [taken apart](Session::into_parts), and what is [not written down](Self::not_written) goes to where the session is now |
/// | its own state has changed | [`host_changed`](Self::host_changed) |
/// | it stops, or another host asks for the session | with [`Promise::Memory`], [`set_promise`](Self::set_promise): it is parked all the same; the session [loses](Session::lost) its stream, and again if one that has waited gets it; when nothing is due and [no receipt is open](Session::open_receipts), it is let go |
/// | the session is over | what [`end`](Self::end) returns is written; if the session is held, its stanzas go where they go, and then it is retired or removed, as ever: what is kept of it goes with its record |
///
/// [A node's loop](crate::nodes#a-nodes-loop) is this table as code.
///
/// With [`Promise::Memory`] nothing is due but what was claimed: it is unparked. A client's session is not written
/// down.
#[derive(Debug)]
pub struct Ledger {
    promise: Promise,
    version: Version,
    /// The last revision that was used.
    used: Option<Revision>,
    /// What was written under it. `None`: nothing is written down, or it is not known what.
    written: Option<Mark>,
    /// The number of the last stanza that the store has for certain, and how many were rewritten by then. `None`: it
    /// has none.
    stored: Option<(Counter, u32)>,
    /// Whether the store may have something of the session.
    has_kept: bool,
    has_host_changed: bool,
    /// The bytes of the snapshot, and of the changes since.
    snapshot: usize,
    changes: usize,
}

/// How far a session was when it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    h: Counter,
    acked: Counter,
    /// The number of the last stanza, were those that wait sent.
    end: Counter,
    rewritten: u32,
    expires: Option<Option<Instant>>,
}

impl Mark {
    fn of<S>(lasting: &Lasting<'_, S>) -> Self {
        Self {
            h: lasting.h,
            acked: lasting.acked,
            end: lasting.end(),
            rewritten: lasting.rewritten,
            expires: lasting.expires,
        }
    }

    /// Whether changes alone lead from here to there.
    fn leads_to(&self, other: &Self) -> bool {
        (self.rewritten, self.expires) == (other.rewritten, other.expires)
    }
}

impl Ledger {
    /// A ledger of a session that is new.
    pub fn new(promise: Promise) -> Self {
        Self {
            promise,
            version: Version::default(),
            used: None,
            written: None,
            stored: None,
            has_kept: false,
            has_host_changed: false,
            snapshot: 0,
            changes: 0,
        }
    }

    /// A ledger of a session that was [claimed](crate::Claimed) and read: the store keeps what there was until
    /// something new is written.
    pub fn claimed<S>(promise: Promise, read: &Snapshot<S>) -> Self {
        let SessionParts { side, waiting, .. } = &read.session;
        let stored = match side {
            Side::Server(parts) => {
                let stanzas = parts.unacked.len().saturating_add(waiting.len());
                Some((parts.acked.advance(u32::try_from(stanzas).unwrap_or(u32::MAX)), 0))
            }
            Side::Client { .. } => None,
        };
        Self { has_kept: true, stored, ..Self::new(promise) }
    }

    /// Sets the version that is written, for as long as hosts may claim the session that cannot read the latest. Default:
    /// the latest, also after [`claimed`](Self::claimed). Where another was written before, the whole session is due again.
    /// [A rolling upgrade](crate::snapshot#upgrades) says when.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.has_host_changed |= self.version != version;
        self.version = version;
        self
    }

    /// How long the session is to live.
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// The session is to live as long as that says, from now on. A host whose sessions live in memory parks them all
    /// the same when it is told to stop, or when a client has come to another host.
    pub fn set_promise(&mut self, promise: Promise) {
        self.promise = promise;
    }

    /// What the host keeps of the session has changed.
    pub fn host_changed(&mut self) {
        self.has_host_changed = true;
    }

    /// What has to be written down now. `None`: nothing. `host` returns the host's own state, if it is wanted. `now`
    /// and `by_the_wall` are its clocks, read together.
    pub fn due<S: Stanza + Portable, C>(
        &mut self,
        session: &Session<S, C>,
        host: impl FnOnce() -> Vec<u8>,
        now: Instant,
        by_the_wall: SystemTime,
    ) -> Option<Due> {
        if self.is_free(session) {
            return None;
        }
        let Some(lasting) = self.lasting(session) else {
            return self.has_kept.then(|| self.next(None, What::Nothing));
        };
        let (mark, clocks) = (Mark::of(&lasting), Clocks::new(now, by_the_wall));
        if let Some((end, rewritten)) = &mut self.stored
            && *rewritten != mark.rewritten
        {
            // What waits has other places now than in the store.
            (*end, *rewritten) = (lasting.sent, mark.rewritten);
        }
        let revision = self.used;
        if let (Some(written), Some(revision)) = (self.written, revision)
            && written.leads_to(&mark)
            && !self.has_host_changed
            && !self.is_long()
        {
            if written == mark {
                return None;
            }
            let new = count(mark.end.since(written.end));
            let first = written.end.next();
            let kept = count(mark.end.since(mark.acked));
            let stanzas = lasting.stanzas().skip(kept.saturating_sub(new));
            let stanzas: Vec<_> = stanzas.collect();
            let marks = (mark.h, mark.acked, first);
            let change = write::file(|e| write_changes(e, marks, stanzas.into_iter(), self.version, clocks));
            // The store may have it even if it fails.
            self.changes = self.changes.saturating_add(change.len());
            return Some(Due { revision, what: What::Change(change), mark: Some(mark) });
        }
        let session = Known {
            smid: lasting.smid.as_str(),
            expires: lasting.expires.map_or(Expires::WhenRead, Expires::At),
            resume_timeout: lasting.resume_timeout,
            h: lasting.h,
            acked: lasting.acked,
            unacked: lasting.unacked.clone().map(|queued| (queued.stanza, queued.queued)),
        };
        let host = host();
        let waiting = lasting.waiting();
        let content = Content { owner: lasting.owner, attempts: None, session: Some(session), waiting, host: &host };
        let snapshot = write::file(|e| content.encode(e, self.version, clocks));
        // What changes from now on is not in it. If it is not written, there will be another.
        (self.snapshot, self.changes, self.has_host_changed) = (snapshot.len(), 0, false);
        Some(self.next(Some(mark), What::Snapshot(snapshot)))
    }

    /// Something that takes the place of all before.
    fn next(&mut self, mark: Option<Mark>, what: What) -> Due {
        let revision = self.used.map_or(Revision::FIRST, Revision::next);
        // Until it is known to be written, it is not known what is: changes to what was before would be lost.
        (self.used, self.written, self.has_kept) = (Some(revision), None, true);
        Due { revision, what, mark }
    }

    /// It was written down, and the session is [held](Fence::Held).
    pub fn wrote(&mut self, due: Due) {
        let Due { revision, what, mark } = due;
        if self.used != Some(revision) || matches!(what, What::Question(_)) {
            return;
        }
        self.written = mark;
        self.stored = mark.map(|mark| (mark.end, mark.rewritten));
        self.has_kept = !matches!(what, What::Nothing);
    }

    /// The session is over: what tells whether it is still this host's. It is written before the stanzas of the session
    /// go elsewhere: if the session is [lost](Fence::Lost), they are another's. What is kept of it stays until it is
    /// retired or removed, for its host may die before they have gone: one that claims it in between has them, too. `None`:
    /// nothing is kept.
    pub fn end(&mut self, now: Instant, by_the_wall: SystemTime) -> Option<Due> {
        if !self.has_kept {
            return None;
        }
        let (Some(mark), Some(revision)) = (self.written, self.used) else {
            // It is not known what is there, and what is there stays.
            return Some(Due { revision: Revision::FIRST, what: What::Question(now), mark: None });
        };
        // It changes nothing.
        let no_stanzas = std::iter::empty::<(&Vec<u8>, Instant)>();
        let (marks, clocks) = ((mark.h, mark.acked, mark.end.next()), Clocks::new(now, by_the_wall));
        let change = write::file(|e| write_changes(e, marks, no_stanzas, self.version, clocks));
        Some(Due { revision, what: What::Change(change), mark: Some(mark) })
    }

    /// Whether all that the session has is written down as [promised](Promise). Then the host tells the senders of what has
    /// come for it. Of a session that ends nothing more is written down: if something is kept of it, this returns `false`
    /// to the end, and the host tells the senders when its stanzas are elsewhere.
    ///
    /// See the [example](Self#example) of `Ledger`.
    pub fn is_written<S: Stanza, C>(&self, session: &Session<S, C>) -> bool {
        if session.is_ending_or_over() { !self.has_kept } else { self.may_write(session) }
    }

    /// What [`Session::next_write`] returns, unless it has to be written down first: then `None`, and
    /// [`due`](Self::due) has something.
    #[inline]
    pub fn next_write<'a, S: Stanza, C>(
        &self,
        session: &'a mut Session<S, C>,
        now: Instant,
    ) -> Option<(&'a mut C, Write<'a, S>)> {
        if self.may_write(session) { session.next_write(now) } else { None }
    }

    #[inline]
    fn may_write<S: Stanza, C>(&self, session: &Session<S, C>) -> bool {
        self.is_free(session)
            || match self.lasting(session) {
                None => !self.has_kept,
                // What is acknowledged, too: the one who reads this again has as much room in the buffer as this session.
                Some(lasting) => self.written == Some(Mark::of(&lasting)),
            }
    }

    /// Whether nothing is to be written down. What is said at an end is not waited for.
    #[inline]
    fn is_free<S: Stanza, C>(&self, session: &Session<S, C>) -> bool {
        self.promise == Promise::Memory && !self.has_kept || session.is_ending_or_over()
    }

    /// The session, if it is to be written down.
    fn lasting<'a, S: Stanza, C>(&self, session: &'a Session<S, C>) -> Option<Lasting<'a, S>> {
        session.lasting().filter(|lasting| match self.promise {
            Promise::Memory => false,
            Promise::Parked => lasting.expires.is_some(),
            Promise::Durable => true,
        })
    }

    /// Whether a snapshot would be shorter to read than the changes since the last.
    fn is_long(&self) -> bool {
        self.changes > self.snapshot.saturating_mul(8).saturating_add(64 << 10)
    }

    /// Of a session that is [lost](Fence::Lost): the stanzas that are not written down, oldest first. The others are
    /// where the session is. Some of these may be there, too, if the store has failed before, or if some that waited
    /// were [replaced](Session::replace) since.
    pub fn not_written<S>(&self, parts: SessionParts<S>) -> Vec<(S, Instant)> {
        let acked = parts.detached().map_or(Counter::ZERO, |parts| parts.acked);
        let stored = self.stored.map_or(0, |(end, _)| count(end.since(acked)));
        parts.into_stanzas().skip(stored).collect()
    }
}

/// Something that has to be written down. Returned by [`Ledger::due`].
#[derive(Debug)]
#[must_use = "nothing goes out before it is written"]
pub struct Due {
    revision: Revision,
    what: What,
    mark: Option<Mark>,
}

enum What {
    Snapshot(Vec<u8>),
    Change(Vec<u8>),
    /// The session is to be kept no more.
    Nothing,
    /// Whether the session is still this host's, asked at that time.
    Question(Instant),
}

/// Sizes: what people wrote to each other is not for logs.
impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Snapshot(bytes) => write!(f, "Snapshot({})", bytes.len()),
            Self::Change(bytes) => write!(f, "Change({})", bytes.len()),
            Self::Nothing => write!(f, "Nothing"),
            Self::Question(_) => write!(f, "Question"),
        }
    }
}

impl Due {
    /// Writes it down. A call that has failed may be made again; [`Ledger::due`] has what came meanwhile, too.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn write<J: Journal>(&self, store: &J, registration: &Registration) -> Result<Fence, J::Error> {
        match &self.what {
            What::Snapshot(bytes) => store.park(registration, self.revision, bytes).await,
            What::Change(bytes) => {
                let change = Change { registration, revision: self.revision, change: bytes };
                store.append(&[change]).await
            }
            What::Nothing => store.unpark(registration, self.revision).await,
            What::Question(now) => {
                let found = store.lookup(registration.smid(), registration.owner(), *now).await?;
                let is_held = matches!(found, Lookup::Session(record) if record.registration == *registration);
                Ok(if is_held { Fence::Held } else { Fence::Lost })
            }
        }
    }

    /// For hosts that [append](Journal::append) the changes of several sessions at once. `None`: it is no change, and
    /// is [written](Self::write) by itself.
    pub fn change<'a>(&'a self, registration: &'a Registration) -> Option<Change<'a>> {
        match &self.what {
            What::Change(change) => Some(Change { registration, revision: self.revision, change }),
            What::Snapshot(_) | What::Nothing | What::Question(_) => None,
        }
    }
}
