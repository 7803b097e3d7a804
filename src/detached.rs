//! What outlives a stream: the session while it has none, and what it leaves at its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::config::Config;
use crate::counter::Counter;
use crate::queue::{Queue, Queued, Unacked, Undelivered};
use crate::receipts::{NotOpen, OpenReceipt, Receipt, ReceiptError, Receipts, Tag};
use crate::smid::SmId;
use crate::stanza::Stanza;

/// Both directions of a session. It knows no role and no phase.
#[derive(Debug, PartialEq)]
pub(crate) struct Traffic<S> {
    pub(crate) receipts: Receipts,
    pub(crate) queue: Queue<S>,
}

impl<S: Stanza> Traffic<S> {
    pub(crate) fn new(tag: Tag) -> Self {
        Self { receipts: Receipts::starting_at(Counter::ZERO, tag), queue: Queue::default() }
    }

    /// Those of the next session, with what waits to be sent in this one.
    pub(crate) fn after(former: &mut Self, tag: Tag) -> Self {
        Self { queue: former.queue.successor(), ..Self::new(tag) }
    }

    pub(crate) fn into_ended(self, reason: EndReason, smid: Option<SmId>) -> Ended<S> {
        let Self { receipts, queue } = self;
        let (sent, acked) = (queue.sent(), queue.acked());
        let (h, open_receipts) = (receipts.h(), receipts.open());
        Ended { reason, smid, h, open_receipts, sent, acked, unacked: queue.into_undelivered() }
    }
}

/// What makes a session resumable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resumable {
    pub(crate) smid: SmId,
    /// How long the session waits, each time its stream is lost. `None`: indefinitely.
    pub(crate) resume_timeout: Option<Duration>,
}

/// A session without a stream, still resumable. It comes from
/// [`disconnect`](crate::StreamMgmt::disconnect) and goes, whole, into
/// [`accept_resume`](crate::StreamMgmt::accept_resume) (a server) or
/// [`resume`](crate::StreamMgmt::resume) (a client), or ends with [`expire`](Detached::expire) or
/// [`end`](Detached::end).
///
/// In between its owner feeds it: stanzas for the peer go to [`record_sent`](Detached::record_sent), and
/// what the host was still handling when the stream was lost goes to
/// [`record_handled`](Detached::record_handled).
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
/// use xmpp_sm::{Config, Counter, Detached, EndReason, Parts, SmId};
///
/// let now = Instant::now();
/// let parts = Parts {
///     smid: SmId::new("x")?,
///     deadline: Some(now + Duration::from_secs(600)),
///     resume_timeout: Some(Duration::from_secs(600)),
///     h: 3.into(),
///     acked: 7.into(),
///     unacked: vec![],
/// };
/// let mut session = Detached::from_parts(Arc::new(Config::default()), parts).map_err(|no| no.to_string())?;
/// session.record_sent("<message/>", now).map_err(|no| no.to_string())?;
///
/// let session = session.expire(now).expect_err("it is not time yet");
/// let Ok(ended) = session.expire(now + Duration::from_secs(600)) else { unreachable!() };
/// assert_eq!(ended.reason, EndReason::Expired);
/// assert_eq!(ended.h, Counter::new(3));
/// let unacked: Vec<_> = ended.unacked.map(|returned| (returned.number.get(), returned.stanza)).collect();
/// assert_eq!(unacked, [(8, "<message/>")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else"]
pub struct Detached<S> {
    pub(crate) config: Arc<Config>,
    pub(crate) traffic: Traffic<S>,
    pub(crate) resumable: Resumable,
    pub(crate) deadline: Option<Instant>,
}

impl<S: Stanza> Detached<S> {
    /// The session's SM-ID.
    pub fn smid(&self) -> &SmId {
        &self.resumable.smid
    }

    /// When the session expires. `None`: never by itself, as for a client whose server advertised no `max`.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Moves the deadline: a push service that has woken a phone prolongs it, an administrator shortens it. `None`: the
    /// session does not expire by itself. The new deadline holds for this time without a stream; after the next loss
    /// the session waits as long as before.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// How many stanzas of the peer were handled.
    pub fn h(&self) -> Counter {
        self.traffic.receipts.h()
    }

    /// How many stanzas the peer has acknowledged.
    pub fn acked(&self) -> Counter {
        self.traffic.queue.acked()
    }

    /// How many stanzas were sent, or recorded to be.
    pub fn sent(&self) -> Counter {
        self.traffic.queue.sent()
    }

    /// The stanzas that the peer has not acknowledged, oldest first.
    pub fn unacked(&self) -> Unacked<'_, S> {
        self.traffic.queue.unacked()
    }

    /// How many bytes the unacknowledged stanzas have.
    pub fn unacked_bytes(&self) -> usize {
        self.traffic.queue.bytes()
    }

    /// The unacknowledged stanza of that number. `None`: it is not kept.
    pub fn queued(&self, number: Counter) -> Option<Queued<'_, S>> {
        self.traffic.queue.get(number)
    }

    /// Records a stanza that will be sent when the session is resumed, and returns its number.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], with the stanza, where [`buffer_max`](Config::buffer_max) or
    /// [`buffer_max_bytes`](Config::buffer_max_bytes) is reached: without a stream the peer cannot make room, so no
    /// policy helps.
    pub fn record_sent(&mut self, stanza: S, now: Instant) -> Result<Counter, NotRecorded<S>> {
        let (queue, bytes) = (&mut self.traffic.queue, stanza.bytes());
        if !queue.fits(bytes, &self.config) {
            return Err(NotRecorded { stanza, why: NotRecordedWhy::Full });
        }
        Ok(queue.push(stanza, bytes, now))
    }

    /// Puts another stanza under the number of one that is unacknowledged, as
    /// [`StreamMgmt::replace`](crate::StreamMgmt::replace) does.
    ///
    /// # Errors
    ///
    /// The new stanza, if there is none of that number, or if it is larger than the old one and does not fit.
    pub fn replace(&mut self, number: Counter, stanza: S) -> Result<S, S> {
        self.traffic.queue.replace(number, stanza, &self.config)
    }

    /// Settles a stanza that was delivered before the stream was lost.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], with the receipt, if it is another session's or its stanza was settled before.
    pub fn record_handled(&mut self, receipt: Receipt) -> Result<(), ReceiptError> {
        self.traffic.receipts.settle(receipt).map(drop)
    }

    /// How many delivered stanzas the host has not settled. A session can be resumed when there are none.
    pub fn open_receipts(&self) -> usize {
        self.traffic.receipts.open()
    }

    /// The oldest open receipt: `h` waits for it. `None`: none is open.
    pub fn oldest_open(&self) -> Option<OpenReceipt> {
        self.traffic.receipts.oldest()
    }

    /// Settles a stanza without its receipt: the host takes responsibility for it, and `h` covers it.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] if that stanza has no open receipt.
    pub fn settle_without_receipt(&mut self, number: Counter) -> Result<(), NotOpen> {
        self.traffic.receipts.settle_number(number).map(drop)
    }

    /// Settles all delivered stanzas that are open, as [`settle_without_receipt`](Self::settle_without_receipt)
    /// does for one.
    pub fn settle_all(&mut self) {
        self.traffic.receipts.settle_all();
    }

    /// Ends the session if its deadline has come. Settle open receipts first: [`Ended::h`] is final.
    ///
    /// # Errors
    ///
    /// The session itself, if its deadline has not come.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn expire(self, now: Instant) -> Result<Ended<S>, Self> {
        if self.is_expired(now) { Ok(self.end(EndReason::Expired)) } else { Err(self) }
    }

    /// Ends the session, whether its deadline has come or not.
    pub fn end(self, reason: EndReason) -> Ended<S> {
        self.traffic.into_ended(reason, Some(self.resumable.smid))
    }

    /// Whether the deadline has come.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Takes the session apart, to be written down.
    ///
    /// # Errors
    ///
    /// [`ReceiptsOpen`], with the session, while the host still handles some of its stanzas.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn into_parts(self) -> Result<Parts<S>, ReceiptsOpen<S>> {
        if self.open_receipts() > 0 {
            return Err(ReceiptsOpen { session: self });
        }
        Ok(Parts {
            h: self.h(),
            acked: self.acked(),
            smid: self.resumable.smid,
            deadline: self.deadline,
            resume_timeout: self.resumable.resume_timeout,
            unacked: self.traffic.queue.into_undelivered().map(|back| (back.stanza, back.queued)).collect(),
        })
    }

    /// Puts a session together.
    ///
    /// # Errors
    ///
    /// [`TooMuch`], with the parts, if the unacknowledged stanzas are more than
    /// [`buffer_max`](Config::buffer_max) or [`buffer_max_bytes`](Config::buffer_max_bytes) allows.
    pub fn from_parts(config: Arc<Config>, parts: Parts<S>) -> Result<Self, TooMuch<S>> {
        let mut queue = Queue::starting_at(parts.acked);
        let bytes = parts.unacked.iter().fold(0_usize, |sum, (stanza, _)| sum.saturating_add(stanza.bytes()));
        if !queue.would_fit(parts.unacked.len(), bytes, &config) {
            return Err(TooMuch { parts });
        }
        for (stanza, queued) in parts.unacked {
            let bytes = stanza.bytes();
            queue.push(stanza, bytes, queued);
        }
        let traffic = Traffic { receipts: Receipts::starting_at(parts.h, Tag::new(&config)), queue };
        let resumable = Resumable { smid: parts.smid, resume_timeout: parts.resume_timeout };
        Ok(Self { config, traffic, resumable, deadline: parts.deadline })
    }
}

/// Equal in all that matters to either peer; the options are not compared.
impl<S: PartialEq> PartialEq for Detached<S> {
    fn eq(&self, other: &Self) -> bool {
        self.traffic == other.traffic && self.resumable == other.resumable && self.deadline == other.deadline
    }
}

/// All that a [`Detached`] session is, to be kept by the host.
///
/// An `Instant` means nothing to another process: write the times down as
/// [wall-clock time](crate::delay::wall_clock), and of the deadline how much is left. `Snapshot`,
/// with the feature `snapshot`, does so.
///
/// See the [example](crate::Detached#example) of `Detached`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<S> {
    /// The session's SM-ID.
    pub smid: SmId,
    /// When the session expires. `None`: never by itself.
    pub deadline: Option<Instant>,
    /// How long the session waits after the next loss of its stream. `None`: indefinitely for a client; for a server,
    /// as long as [`resume_timeout`](Config::resume_timeout) says.
    pub resume_timeout: Option<Duration>,
    /// How many stanzas of the peer were handled.
    pub h: Counter,
    /// How many stanzas the peer has acknowledged.
    pub acked: Counter,
    /// The stanzas that the peer has not acknowledged, oldest first, each with the time at which it was queued.
    pub unacked: Vec<(S, Instant)>,
}

/// The parts of a session are more than the options allow. They come back.
///
/// Returned by [`Detached::from_parts`](crate::Detached::from_parts).
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{} unacknowledged stanzas are more than the options allow", .parts.unacked.len())]
pub struct TooMuch<S> {
    /// The parts, as they were.
    pub parts: Parts<S>,
}

/// The host still handles stanzas of the session: `h` would leave them out, the peer would send them
/// once more, and they would be handled twice. Settle them first.
///
/// Returned by [`Detached::into_parts`](crate::Detached::into_parts).
#[derive(Debug, PartialEq, Error)]
#[error("stanzas of the session are not settled")]
pub struct ReceiptsOpen<S> {
    /// The session, as it was.
    pub session: Detached<S>,
}

/// What a session leaves behind.
///
/// See the [example](crate::Detached#example) of `Detached`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its stanzas are kept nowhere else"]
pub struct Ended<S> {
    /// How the session ended.
    pub reason: EndReason,
    /// The session's SM-ID, which the store still knows. `None`: it could not be resumed.
    pub smid: Option<SmId>,
    /// How many stanzas of the peer were handled: what
    /// [`retire`](crate::SessionStore::retire) remembers.
    pub h: Counter,
    /// How many more stanzas were delivered and not settled. Their receipts settle nothing any more, and `h` leaves
    /// these stanzas out: a client that learns this `h` sends them once more. To prevent that, settle them before the
    /// session ends.
    pub open_receipts: usize,
    /// How many stanzas were sent, as the peer counts them: modulo 2^32.
    pub sent: Counter,
    /// How many of the sent stanzas the peer has acknowledged.
    pub acked: Counter,
    /// The stanzas that the peer has not acknowledged, oldest first, each once.
    pub unacked: Undelivered<S>,
}

/// How a session ended. A resumption is not an end.
///
/// See the [example](crate::Detached#example) of `Detached`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The stream was closed in good order.
    Closed,
    /// The connection was lost and the session is not resumable.
    NotResumable,
    /// The connection was lost and the client did not resume in time.
    Expired,
    /// Another session took its place: the same resource was bound by another stream, or a store made room.
    Replaced,
    /// The peer broke the protocol.
    PeerFault,
    /// The peer did not acknowledge, and the buffer is full; of a [`Session`](crate::Session), the
    /// [backlog](Config::backlog_max) is.
    BufferFull,
    /// The host stopped it: it shuts down, or an administrator said so.
    Stopped,
    /// [`StreamMgmt`](crate::StreamMgmt) of a client only: the server refused `<enable/>`; the stream lives on without
    /// stream management.
    EnableRefused,
    /// [`StreamMgmt`](crate::StreamMgmt) of a client only: the server refused `<resume/>`; the stream lives on and
    /// wants a new session.
    ResumeRefused,
}

impl EndReason {
    /// Returns the name of this, as it is in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::NotResumable => "NotResumable",
            Self::Expired => "Expired",
            Self::Replaced => "Replaced",
            Self::PeerFault => "PeerFault",
            Self::BufferFull => "BufferFull",
            Self::Stopped => "Stopped",
            Self::EnableRefused => "EnableRefused",
            Self::ResumeRefused => "ResumeRefused",
        }
    }
}

/// A stanza was not recorded, and must not be written. It comes back.
///
/// Returned by [`StreamMgmt::record_sent`](crate::StreamMgmt::record_sent) and
/// [`Detached::record_sent`](crate::Detached::record_sent).
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the stanza was not recorded: {why}")]
pub struct NotRecorded<S> {
    /// The stanza.
    pub stanza: S,
    /// The reason.
    pub why: NotRecordedWhy,
}

/// Why a stanza was not recorded.
///
/// A field of [`NotRecorded`], which [`StreamMgmt::record_sent`](crate::StreamMgmt::record_sent) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotRecordedWhy {
    /// The buffer is full, and the policy is to end the stream, or there is none.
    #[error("the buffer of unacknowledged stanzas is full")]
    Full,
    /// A client waits for the reply to its `<resume/>`; or the buffer is full, and it waits for the reply to its
    /// `<enable/>` and cannot ask for room. Keep the stanza and all that follow it, and record them after the
    /// reply, while [`has_room`](crate::StreamMgmt::has_room) is true.
    #[error("the server has not replied yet")]
    AwaitingServer,
}
