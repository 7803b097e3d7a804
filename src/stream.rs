//! The engine: the state of one stream, its role, its phase, and the session on it.

mod client;
mod closing;
mod inbound;
mod negotiation;
mod receive;
mod requests;
mod send;
mod server;

use std::sync::Arc;
use std::time::Instant;

pub use client::CannotEnable;
pub use closing::Closing;
pub use inbound::{Inbound, ToInbound};
pub use send::{Acked, Sent};
pub use server::{EnableRequest, Foreign, NotResumed, NotResumedWhy, Refusal, ResumeRequest, Resumption};

use crate::config::Config;
use crate::counter::Counter;
use crate::detached::{Detached, EndReason, Ended, Resumable, Traffic};
use crate::error::Error;
use crate::nonza::{Enabled, Failed, Nonza};
use crate::queue::{Queue, Queued, Unacked};
use crate::receipts::{OpenReceipt, Receipt, Tag};
use crate::smid::SmId;
use crate::stanza::Stanza;
use closing::Discard;
use requests::Requests;

/// Stream management on one stream, of a server or a client. A connection handler feeds it and obeys.
///
/// This is the engine. [`Session`](crate::Session) drives it, and does what is left to a host here.
///
/// # The order of calls
///
/// | when | call |
/// | --- | --- |
/// | the stream opens | [`server`](Self::server), [`client`](Self::client) or [`disabled`](Self::disabled) |
/// | negotiation goes on | [`authenticated`](Self::authenticated) or [`authenticated_without_bind`](Self::authenticated_without_bind), [`bound`](Self::bound); [`has_feature`](Self::has_feature) tells whether to advertise |
/// | an element arrives, any element | [`handle`](Self::handle), while [`can_receive`](Self::can_receive) |
/// | the host stops to read, or reads on | [`hearing`](Self::hearing) |
/// | the peer says that it is active, or inactive | [`set_active`](Self::set_active) |
/// | a delivered stanza is handled | [`record_handled`](Self::record_handled); if its receipt is lost, [`settle_without_receipt`](Self::settle_without_receipt) or [`settle_all`](Self::settle_all) |
/// | a stanza is about to be written, any stanza | [`record_sent`](Self::record_sent), and then write it; [`is_recording`](Self::is_recording) tells whether it may be left out, [`has_room`](Self::has_room) whether a backlog goes on |
/// | the host asks for an acknowledgement, or gives one, of its own accord | [`request_ack`](Self::request_ack), [`send_ack`](Self::send_ack) |
/// | another connection wants the session | [`check_resume`](Self::check_resume), then [`disconnect`](Self::disconnect) |
/// | [`poll_timeout`](Self::poll_timeout) has come | read what has arrived, then [`handle_timeout`](Self::handle_timeout) |
/// | a server got a request | [`accept_enable`](Self::accept_enable), [`refuse_enable`](Self::refuse_enable), [`accept_resume`](Self::accept_resume), [`refuse_resume`](Self::refuse_resume) |
/// | a client wants it | [`enable`](Self::enable), or [`resume`](Self::resume) in place of `client` |
/// | the stream is closed in good order | [`finish`](Self::finish) |
/// | the connection is lost | [`disconnect`](Self::disconnect) |
/// | an [`Error`] or the host ends the stream | [`end`](Self::end) |
///
/// Every `now` is the host's: a monotonic clock that does not go backwards between calls.
///
/// # Without `Session`
///
/// A host that drives the engine has to do itself what [`Session`](crate::Session) does:
///
/// - keep the unacknowledged stanzas across connections: [`disconnect`](Self::disconnect) returns a
///   [`Detached`](crate::Detached), and [`accept_resume`](Self::accept_resume) takes it;
/// - write [`unacked`](Self::unacked) after a resumption, past [`record_sent`](Self::record_sent);
/// - hold back a backlog while [`has_room`](Self::has_room) is false;
/// - keep what was [`evicted`](crate::Sent::evicted), and not pass it on while the session lives;
/// - settle open receipts before a session is resumed, closed or ended;
/// - say whether it [reads](Self::hearing), and read what has arrived before
///   [`handle_timeout`](Self::handle_timeout);
/// - close well: [`finish`](Self::finish), then [`Closing`](crate::Closing).
///
/// # Example
///
/// One stanza in each direction, as a server sees it:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Action, Config, Enable, Inbound, Nonza, SmId, StreamMgmt};
///
/// let now = Instant::now();
/// let mut stream = StreamMgmt::<&'static str>::server(Arc::new(Config::default()));
/// stream.authenticated();
/// stream.bound();
///
/// let enable = Nonza::Enable(Enable { resume: true, max: None });
/// let Action::Enable(request) = stream.handle(enable.into(), now)? else { unreachable!() };
/// let smid = SmId::random()?;
/// let enabled = stream.accept_enable(request, Some(smid))?;
/// assert!(enabled.to_string().contains("resume='true' max='600'"));
///
/// let Action::Deliver(receipt) = stream.handle(Inbound::Stanza { bytes: 10 }, now)? else { unreachable!() };
/// // ... the host handles the stanza ...
/// stream.record_handled(receipt)?;
/// let Action::Write(ack) = stream.handle(Nonza::AckRequest.into(), now)? else { unreachable!() };
/// assert_eq!(ack.to_string(), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
///
/// let sent = stream.record_sent("<message/>", now).map_err(|no| no.why)?;
/// // ... the host writes the stanza, and then ...
/// assert_eq!(sent.write, Some(Nonza::AckRequest), "and an <r/> after it");
/// let Action::Acknowledged(acked) = stream.handle(Nonza::Ack(1.into()).into(), now)? else { unreachable!() };
/// assert_eq!(acked.count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else: `disconnect` or `end` it"]
pub struct StreamMgmt<S> {
    config: Arc<Config>,
    /// Tells the request that is pending from others.
    tag: Tag,
    role: Role,
    phase: Phase,
    /// Whether the stream binds a resource before stanzas flow.
    binds: bool,
    /// Client: `<enable/>` was sent.
    attempted: bool,
    traffic: Traffic<S>,
    resumable: Option<Resumable>,
    requests: Requests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Switched off by the host.
    Disabled,
    Connected,
    Authenticated,
    Bound,
    /// Server: the host has an [`EnableRequest`] since then.
    EnablePending(Instant),
    /// Server: the host has a [`ResumeRequest`] since then.
    ResumePending(Instant),
    /// Client: `<enable/>` is sent. What goes out is counted.
    Enabling,
    /// Client: `<resume/>` is sent for a session with this deadline.
    Resuming(Option<Instant>),
    Enabled,
}

/// What the host has to do about an element that arrived.
///
/// See the [example](crate::StreamMgmt#example) of `StreamMgmt`.
#[derive(Debug)]
#[must_use = "the peer waits for what this asks the host to do"]
#[non_exhaustive]
pub enum Action<S> {
    /// A stanza: handle it, and then give the receipt to
    /// [`record_handled`](crate::StreamMgmt::record_handled).
    Deliver(Receipt),
    /// Not a stanza and not stream management: the host handles it.
    Other,
    /// Write this.
    Write(Nonza),
    /// The peer has taken responsibility for stanzas. Nothing to do.
    Acknowledged(Acked),
    /// Server: the peer wants stream management. Call
    /// [`accept_enable`](crate::StreamMgmt::accept_enable) or
    /// [`refuse_enable`](crate::StreamMgmt::refuse_enable).
    Enable(EnableRequest),
    /// Server: the peer wants its session back. Look it up, fetch it, and call
    /// [`accept_resume`](crate::StreamMgmt::accept_resume) or
    /// [`refuse_resume`](crate::StreamMgmt::refuse_resume).
    Resume(ResumeRequest),
    /// Client: stream management is on.
    Enabled(Box<Enabled>),
    /// Client: the session is back. Write all of [`unacked`](crate::StreamMgmt::unacked), in order and without
    /// [`record_sent`](crate::StreamMgmt::record_sent), for they are counted; and then this, if there is something.
    Resumed(Option<Nonza>),
    /// Client: the request was refused, and the stream lives on. What its session still held comes back:
    /// after [`EndReason::ResumeRefused`], bind a resource and send it once more; after
    /// [`EndReason::EnableRefused`] it was written on this stream and is on its way, as without stream
    /// management.
    Failed(Failed, Box<Ended<S>>),
}

/// What became of a session when its stream was lost.
///
/// Returned by [`StreamMgmt::disconnect`](crate::StreamMgmt::disconnect).
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else"]
pub enum Disconnected<S> {
    /// It waits to be resumed.
    Resumable(Detached<S>),
    /// It is over.
    Ended(Ended<S>),
}

impl<S: Stanza> Disconnected<S> {
    /// The end of the session, whether it could have been resumed or not.
    pub fn end(self, reason: EndReason) -> Ended<S> {
        match self {
            Self::Resumable(session) => session.end(reason),
            Self::Ended(ended) => ended,
        }
    }
}

impl<S: Stanza> StreamMgmt<S> {
    /// A stream that the peer has opened: it may ask to enable or resume.
    pub fn server(config: Arc<Config>) -> Self {
        Self::new(config, Role::Server, Phase::Connected)
    }

    /// A stream that this side has opened: call [`enable`](Self::enable) once a resource is bound.
    pub fn client(config: Arc<Config>) -> Self {
        Self::new(config, Role::Client, Phase::Connected)
    }

    /// A server's stream on which stream management is switched off: it is not advertised, every
    /// request is refused with `feature-not-implemented`, and nothing is counted.
    pub fn disabled(config: Arc<Config>) -> Self {
        Self::new(config, Role::Server, Phase::Disabled)
    }

    fn new(config: Arc<Config>, role: Role, phase: Phase) -> Self {
        let tag = Tag::new(&config);
        Self {
            traffic: Traffic::new(tag),
            config,
            tag,
            role,
            phase,
            binds: true,
            attempted: false,
            resumable: None,
            requests: Requests::default(),
        }
    }

    /// The peers have authenticated: `<resume/>` may come, `<enable/>` only after
    /// [`bound`](Self::bound). It tells a server what to
    /// [enforce](https://xmpp.org/extensions/xep-0198.html#enable); a second call changes nothing.
    pub fn authenticated(&mut self) {
        if self.phase == Phase::Connected {
            self.phase = Phase::Authenticated;
        }
    }

    /// The peers have authenticated and will bind no resource, as between servers and for components:
    /// both `<resume/>` and `<enable/>` may come.
    pub fn authenticated_without_bind(&mut self) {
        self.authenticated();
        self.binds = false;
    }

    /// A resource is bound: `<enable/>` may come, `<resume/>` no more. While a request is pending, or
    /// once stream management is on, this changes nothing.
    pub fn bound(&mut self) {
        if matches!(self.phase, Phase::Connected | Phase::Authenticated) {
            self.phase = Phase::Bound;
        }
    }

    /// Whether [`FEATURE`](crate::FEATURE) belongs into the
    /// [stream features](https://xmpp.org/extensions/xep-0198.html#feature) now: a server shows it while
    /// the peer could succeed with a request, and not after.
    pub fn has_feature(&self) -> bool {
        self.role == Role::Server && matches!(self.phase, Phase::Authenticated | Phase::Bound)
    }

    /// Sorts an element by the [namespace](Config::stanza_ns) of this stream's stanzas, for [`handle`](Self::handle).
    pub fn inbound(&self, element: &impl ToInbound) -> Inbound {
        element.to_inbound(self.config.stanza_ns)
    }

    /// Takes an element that arrived, any element, and returns what to do about it.
    ///
    /// # Errors
    ///
    /// [`Error`], with the state as it was: do what its [`reaction`](Error::reaction) says.
    #[inline(always)]
    pub fn handle(&mut self, inbound: Inbound, now: Instant) -> Result<Action<S>, Error> {
        // The two that come most; the third is `<r/>`.
        if self.is_enabled() {
            match inbound {
                Inbound::Stanza { bytes } => {
                    return match self.traffic.receipts.receive_alone(bytes, now) {
                        Some(receipt) => Ok(Action::Deliver(receipt)),
                        None => self.receive(bytes, now).map(Action::Deliver),
                    };
                }
                Inbound::Nonza(Nonza::Ack(h)) => {
                    // There is nothing in it to drop, and to find that out costs a call.
                    std::mem::forget(inbound);
                    return self.take_ack(h, now).map(Action::Acknowledged);
                }
                Inbound::Nonza(Nonza::AckRequest) => {
                    std::mem::forget(inbound);
                    return Ok(Action::Write(self.on_ack_request()));
                }
                _ => {}
            }
        }
        self.handle_otherwise(inbound, now, &mut Discard)
    }

    /// Whether stream management is on.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.phase == Phase::Enabled
    }

    /// Whether a stanza that is sent has to be given to [`record_sent`](Self::record_sent). Where not, stream
    /// management is off, and a host may leave the call out and spare itself what it would give.
    #[inline]
    pub fn is_recording(&self) -> bool {
        matches!(self.phase, Phase::Enabled | Phase::Enabling | Phase::Resuming(_))
    }

    /// Whether the session will wait to be resumed if the connection is lost now.
    ///
    /// It will not while a stanza is missing from it that left the buffer
    /// [unacknowledged](crate::OnFull::EvictOldest), nor while the buffer is over its bounds.
    pub fn is_resumable(&self) -> bool {
        let queue = &self.traffic.queue;
        self.resumable.is_some() && queue.is_whole() && queue.is_within(&self.config)
    }

    /// The session's SM-ID, if it has one.
    pub fn smid(&self) -> Option<&SmId> {
        self.resumable.as_ref().map(|resumable| &resumable.smid)
    }

    /// Whether the buffer is within its bounds.
    pub(crate) fn is_within(&self) -> bool {
        self.traffic.queue.is_within(&self.config)
    }

    /// How many stanzas of the peer were handled: what an `<a/>` would say.
    #[inline]
    pub fn h(&self) -> Counter {
        self.traffic.receipts.h()
    }

    /// How many stanzas were sent.
    #[inline]
    pub fn sent(&self) -> Counter {
        self.traffic.queue.sent()
    }

    /// How many of them the peer has acknowledged.
    #[inline]
    pub fn acked(&self) -> Counter {
        self.traffic.queue.acked()
    }

    /// What the peer has not acknowledged and the buffer keeps, oldest first.
    pub fn unacked(&self) -> Unacked<'_, S> {
        self.traffic.queue.unacked()
    }

    /// How many bytes that is.
    pub fn unacked_bytes(&self) -> usize {
        self.traffic.queue.bytes()
    }

    /// The unacknowledged stanza of that number, if it is kept.
    #[inline]
    pub fn queued(&self, number: Counter) -> Option<Queued<'_, S>> {
        self.traffic.queue.get(number)
    }

    /// How many delivered stanzas the host has not settled.
    #[inline]
    pub fn open_receipts(&self) -> usize {
        self.traffic.receipts.open()
    }

    /// The oldest of them: `h` waits for it.
    pub fn oldest_open(&self) -> Option<OpenReceipt> {
        self.traffic.receipts.oldest()
    }

    /// The host closes the stream in good order, or after a stream error. Returns the
    /// [last `<a/>`](https://xmpp.org/extensions/xep-0198.html#acking), to be written before `</stream:stream>`, and
    /// what takes the peer's last acknowledgements until its own `</stream:stream>`.
    ///
    /// Settle open receipts first: the last `<a/>` and [`Ended::h`] are final.
    pub fn finish(self) -> (Option<Nonza>, Closing<S>) {
        let last = self.send_ack();
        (last, Closing::new(self.traffic, self.resumable.map(|resumable| resumable.smid)))
    }

    /// The connection is gone. The session waits to be resumed, if it may, or ends and hands back what
    /// was not acknowledged.
    ///
    /// Receipts that are open go with the session. If it is not [resumable](Self::is_resumable), settle
    /// them first: [`Ended::h`] is final.
    pub fn disconnect(self, now: Instant) -> Disconnected<S> {
        let is_resumable = self.is_resumable();
        let is_within = self.is_within();
        let Self { config, traffic, phase, resumable, .. } = self;
        match resumable {
            Some(resumable) if is_resumable => {
                let deadline = match phase {
                    Phase::Resuming(deadline) => deadline,
                    _ => resumable.resume_timeout.and_then(|timeout| now.checked_add(timeout)),
                };
                Disconnected::Resumable(Detached { config, traffic, resumable, deadline })
            }
            resumable => {
                let reason = if is_within { EndReason::NotResumable } else { EndReason::BufferFull };
                Disconnected::Ended(traffic.into_ended(reason, resumable.map(|resumable| resumable.smid)))
            }
        }
    }

    #[inline]
    pub(crate) fn traffic(&self) -> &Traffic<S> {
        &self.traffic
    }

    /// What waits to be sent is put into its queue, and is [recorded](Self::record_first) there.
    #[inline]
    pub(crate) fn queue_mut(&mut self) -> &mut Queue<S> {
        &mut self.traffic.queue
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn resumable(&self) -> Option<&Resumable> {
        self.resumable.as_ref()
    }

    /// The stream and its session are over for good. Settle open receipts first: [`Ended::h`] is final.
    pub fn end(self, reason: EndReason) -> Ended<S> {
        self.traffic.into_ended(reason, self.resumable.map(|resumable| resumable.smid))
    }
}
