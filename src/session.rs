//! What outlives a stream: the session, its detached life, and its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::config::Config;
use crate::counter::Counter;
use crate::handled::{Handled, NotOpen, OpenReceipt, Receipt, ReceiptError, Tag};
use crate::queue::{Lost, Queue, Stanza, Unacked, count};
use crate::smid::SmId;

/// Both directions of a session. It knows no role and no phase.
#[derive(Debug, PartialEq)]
pub(crate) struct Session<S> {
    pub(crate) handled: Handled,
    pub(crate) queue: Queue<S>,
}

impl<S: Stanza> Session<S> {
    pub(crate) fn new(tag: Tag) -> Self {
        Self { handled: Handled::starting_at(Counter::ZERO, tag), queue: Queue::starting_at(Counter::ZERO) }
    }

    pub(crate) fn into_ended(self, ending: Ending, smid: Option<SmId>) -> Ended<S> {
        Ended { ending, smid, h: self.handled.h(), open_receipts: self.handled.open(), unacked: self.queue.into_lost() }
    }
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
/// use xmpp_sm::{Config, Counter, Detached, Ending, Parts, SmId};
///
/// let now = Instant::now();
/// let deadline = Some(now + Duration::from_secs(600));
/// let parts = Parts { smid: SmId::new("x")?, deadline, window: None, h: 3.into(), acked: 7.into(), unacked: vec![] };
/// let mut session = Detached::from_parts(Arc::new(Config::default()), parts).map_err(|_| "too many")?;
/// session.record_sent("<message/>", now).map_err(|full| full.to_string())?;
///
/// let session = session.expire(now).expect_err("it is not time yet");
/// let Ok(ended) = session.expire(now + Duration::from_secs(600)) else { unreachable!() };
/// assert_eq!(ended.ending, Ending::Expired);
/// assert_eq!(ended.h, Counter::new(3));
/// let lost: Vec<_> = ended.unacked.map(|returned| (returned.number.get(), returned.stanza)).collect();
/// assert_eq!(lost, [(8, "<message/>")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else"]
pub struct Detached<S> {
    pub(crate) config: Arc<Config>,
    pub(crate) session: Session<S>,
    pub(crate) smid: SmId,
    /// How long it waits, each time its stream is lost.
    pub(crate) window: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
}

impl<S: Stanza> Detached<S> {
    /// The session's SM-ID.
    pub fn smid(&self) -> &SmId {
        &self.smid
    }

    /// When it expires. Nothing: never by itself, as for a client that the server gave no `max`.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many stanzas of the peer were handled.
    pub fn h(&self) -> Counter {
        self.session.handled.h()
    }

    /// How many stanzas the peer has acknowledged.
    pub fn acked(&self) -> Counter {
        self.session.queue.acked()
    }

    /// How many stanzas were sent, or recorded to be.
    pub fn sent(&self) -> Counter {
        self.session.queue.sent()
    }

    /// What the peer has not acknowledged, oldest first.
    pub fn unacked(&self) -> Unacked<'_, S> {
        self.session.queue.unacked()
    }

    /// Records a stanza that will be sent when the session is resumed, and gives its number.
    ///
    /// # Errors
    ///
    /// [`QueueFull`], with the stanza, where [`buffer_max`](Config::buffer_max) or
    /// [`buffer_max_bytes`](Config::buffer_max_bytes) is reached: nobody is there to make room, so no
    /// policy helps.
    pub fn record_sent(&mut self, stanza: S, now: Instant) -> Result<Counter, QueueFull<S>> {
        let (queue, bytes) = (&mut self.session.queue, stanza.bytes());
        if !queue.fits(bytes, &self.config) {
            return Err(QueueFull { stanza });
        }
        Ok(queue.push(stanza, bytes, now))
    }

    /// Settles a stanza that was delivered before the stream was lost.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], with the receipt, if it is of another session or was given up before.
    pub fn record_handled(&mut self, receipt: Receipt) -> Result<(), ReceiptError> {
        self.session.handled.settle(receipt).map(drop)
    }

    /// How many delivered stanzas the host has not settled yet. A session can be resumed when there are
    /// none.
    pub fn open_receipts(&self) -> usize {
        self.session.handled.open()
    }

    /// The oldest of them.
    pub fn oldest_open(&self) -> Option<OpenReceipt> {
        self.session.handled.oldest()
    }

    /// Settles a stanza without its receipt: the host takes responsibility for it, and `h` covers it.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] if that stanza has no open receipt.
    pub fn give_up(&mut self, number: Counter) -> Result<(), NotOpen> {
        self.session.handled.settle_number(number).map(drop)
    }

    /// Settles all delivered stanzas that are still open, as [`give_up`](Self::give_up) does for one.
    pub fn give_up_all(&mut self) {
        self.session.handled.settle_all();
    }

    /// Ends the session if its deadline has come. Settle open receipts first: [`Ended::h`] is final.
    ///
    /// # Errors
    ///
    /// The session itself, if it has not.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn expire(self, now: Instant) -> Result<Ended<S>, Self> {
        if self.is_expired(now) { Ok(self.end(Ending::Expired)) } else { Err(self) }
    }

    /// Ends the session.
    pub fn end(self, ending: Ending) -> Ended<S> {
        self.session.into_ended(ending, Some(self.smid))
    }

    /// Whether its deadline has come.
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
            smid: self.smid,
            deadline: self.deadline,
            window: self.window,
            unacked: self.session.queue.into_lost().map(|returned| (returned.stanza, returned.queued)).collect(),
        })
    }

    /// Puts a session together again.
    ///
    /// # Errors
    ///
    /// The parts, if there are more unacknowledged stanzas than a counter of 32 bits can tell apart.
    pub fn from_parts(config: Arc<Config>, parts: Parts<S>) -> Result<Self, Parts<S>> {
        if parts.unacked.len() > count(u32::MAX) {
            return Err(parts);
        }
        let mut queue = Queue::starting_at(parts.acked);
        for (stanza, queued) in parts.unacked {
            let bytes = stanza.bytes();
            queue.push(stanza, bytes, queued);
        }
        let handled = Handled::starting_at(parts.h, Tag::new(&config));
        let session = Session { handled, queue };
        Ok(Self { config, session, smid: parts.smid, window: parts.window, deadline: parts.deadline })
    }
}

/// Equal in all that matters to either peer; the options are not compared.
impl<S: PartialEq> PartialEq for Detached<S> {
    fn eq(&self, other: &Self) -> bool {
        self.session == other.session
            && self.smid == other.smid
            && self.window == other.window
            && self.deadline == other.deadline
    }
}

/// All that a [`Detached`] session is, to be kept by the host.
///
/// An `Instant` means nothing to another process: write the times down as
/// [wall-clock time](crate::delay::wall_clock), the deadline as what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<S> {
    /// Its SM-ID.
    pub smid: SmId,
    /// When it expires, if it does.
    pub deadline: Option<Instant>,
    /// How long it waits after the next loss of its stream; nothing: without end.
    pub window: Option<Duration>,
    /// How many stanzas of the peer were handled.
    pub h: Counter,
    /// How many stanzas the peer has acknowledged.
    pub acked: Counter,
    /// What it has not, oldest first, with the times of their queueing.
    pub unacked: Vec<(S, Instant)>,
}

/// A stanza did not fit any more. It comes back.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the buffer of unacknowledged stanzas is full")]
pub struct QueueFull<S> {
    /// The stanza, unrecorded.
    pub stanza: S,
}

/// The host still handles stanzas of the session: `h` would leave them out, the peer would send them
/// again, and they would be handled twice. Settle them and ask again.
#[derive(Debug, PartialEq, Error)]
#[error("stanzas of the session are not settled yet")]
pub struct ReceiptsOpen<S> {
    /// The session, as it was.
    pub session: Detached<S>,
}

/// What a session leaves behind.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "nobody else holds its stanzas any more"]
pub struct Ended<S> {
    /// How it ended.
    pub ending: Ending,
    /// Its SM-ID, if it had one: the store still knows it.
    pub smid: Option<SmId>,
    /// How many stanzas of the peer were handled: what
    /// [`retire`](crate::SessionStore::retire) remembers.
    pub h: Counter,
    /// How many more were delivered and not settled. Their receipts settle nothing any more, and `h`
    /// leaves them out: a client that learns this `h` sends them again. To prevent it, settle them before
    /// the session ends.
    pub open_receipts: usize,
    /// What the peer has not acknowledged, oldest first, each once.
    pub unacked: Lost<S>,
}

/// How a session ended. It is never a resumption: then the session lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The stream was closed in good order.
    Closed,
    /// The connection was lost and the session is not resumable.
    NotResumable,
    /// The connection was lost and nobody resumed in time.
    Expired,
    /// Another session took its place: the same resource was bound again, or a store made room.
    Replaced,
    /// The peer broke the protocol.
    PeerFault,
    /// The peer did not acknowledge and the buffer is full.
    BufferFull,
    /// The host stopped it: it shuts down, or an administrator said so.
    Stopped,
    /// The server refused `<enable/>`; the stream lives on without stream management.
    EnableRefused,
    /// The server refused `<resume/>`; the stream lives on and wants a new session.
    ResumeRefused,
}
