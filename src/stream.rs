//! The state of one stream: its role, its phase, and the session on it.

mod action;
mod asking;
mod flow;
mod negotiate;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use action::{
    Acked, Action, CannotEnable, Disconnected, EnableRequest, Inbound, NotRecorded, OtherStream, Refusal, Resend,
    ResumeError, ResumeRequest, Resumption, Sent, WhyNot, WhyRefused,
};

use crate::config::Config;
use crate::counter::Counter;
use crate::error::Error;
use crate::handled::{OpenReceipt, Tag};
use crate::nonza::Nonza;
use crate::queue::{Stanza, Unacked};
use crate::session::{Detached, Ended, Ending, Session};
use crate::smid::SmId;
use asking::Asking;

/// Stream management on one stream, of a server or a client. A connection handler feeds it and obeys.
///
/// # The order of calls
///
/// | when | call |
/// | --- | --- |
/// | the stream opens | [`server`](Self::server), [`client`](Self::client) or [`disabled`](Self::disabled) |
/// | negotiation goes on | [`authenticated`](Self::authenticated) or [`authenticated_without_bind`](Self::authenticated_without_bind), [`bound`](Self::bound); [`has_feature`](Self::has_feature) tells whether to advertise |
/// | an element arrives, any element | [`handle`](Self::handle), while [`can_receive`](Self::can_receive) |
/// | a delivered stanza is handled | [`record_handled`](Self::record_handled); if it never will be, [`give_up`](Self::give_up) or [`give_up_all`](Self::give_up_all) |
/// | a stanza is about to be written, any stanza | [`record_sent`](Self::record_sent), and then write it; [`is_recording`](Self::is_recording) tells whether it may be left out, [`has_room`](Self::has_room) whether a backlog goes on |
/// | the host asks for an acknowledgement, or gives one, of its own accord | [`request`](Self::request), [`ack`](Self::ack) |
/// | another connection wants the session | [`check_resume`](Self::check_resume), then [`disconnect`](Self::disconnect) |
/// | [`poll_timeout`](Self::poll_timeout) has come | [`handle_timeout`](Self::handle_timeout) |
/// | a server got a request | [`accept_enable`](Self::accept_enable), [`refuse_enable`](Self::refuse_enable), [`accept_resume`](Self::accept_resume), [`refuse_resume`](Self::refuse_resume) |
/// | a client wants it | [`enable`](Self::enable), or [`resume`](Self::resume) in place of `client` |
/// | the stream is closed in good order | [`finish`](Self::finish), then [`disconnect`](Self::disconnect) |
/// | the connection is lost | [`disconnect`](Self::disconnect) |
/// | an [`Error`] or the host ends the stream | [`end`](Self::end) |
///
/// Every `now` is the host's: a monotonic clock that does not go backwards between calls.
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
/// let enable = Inbound::Nonza(Nonza::Enable(Enable { resume: true, max: None }));
/// let Action::Enable(request) = stream.handle(enable, now)? else { unreachable!() };
/// let smid = SmId::random()?;
/// let enabled = stream.accept_enable(request, Some(smid))?;
/// assert!(enabled.to_string().contains("resume='true' max='600'"));
///
/// let Action::Deliver(receipt) = stream.handle(Inbound::Stanza, now)? else { unreachable!() };
/// // ... the host handles the stanza ...
/// stream.record_handled(receipt)?;
/// let Action::Send(answer) = stream.handle(Inbound::Nonza(Nonza::Request), now)? else { unreachable!() };
/// assert_eq!(answer.to_string(), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
///
/// let sent = stream.record_sent("<message/>", now).map_err(|no| no.why)?;
/// // ... the host writes the stanza, and then ...
/// assert!(sent.request, "and an <r/> after it");
/// let Action::Acked(acked) = stream.handle(Inbound::Nonza(Nonza::Ack(1.into())), now)? else { unreachable!() };
/// assert_eq!(acked.count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else: `disconnect` or `end` it"]
pub struct StreamMgmt<S> {
    config: Arc<Config>,
    /// Tells this stream's tokens from others.
    tag: Tag,
    role: Role,
    phase: Phase,
    /// Whether the stream binds a resource before stanzas flow.
    binds: bool,
    /// Client: `<enable/>` was sent.
    attempted: bool,
    /// The stream was closed in good order.
    finished: bool,
    session: Session<S>,
    smid: Option<SmId>,
    resumable: bool,
    /// How long the session waits, once detached. Nothing: without end.
    window: Option<Duration>,
    asking: Asking,
    /// How many stanzas had been sent at the last `<r/>`.
    asked: Counter,
    /// When the stream ends because the buffer is over its bounds.
    full_until: Option<Instant>,
    /// No more stanzas were taken for a while, so that an answer may lie unread.
    was_blocked: bool,
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
    /// Server: an [`EnableRequest`] is in the host's hands.
    EnablePending,
    /// Server: a [`ResumeRequest`] is in the host's hands.
    ResumePending,
    /// Client: `<enable/>` is sent. What goes out is counted.
    Enabling,
    /// Client: `<resume/>` is sent for a session with this deadline.
    Resuming(Option<Instant>),
    Enabled,
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
            session: Session::new(tag),
            config,
            tag,
            role,
            phase,
            binds: true,
            attempted: false,
            finished: false,
            smid: None,
            resumable: false,
            window: None,
            asking: Asking::No,
            asked: Counter::ZERO,
            full_until: None,
            was_blocked: false,
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

    /// A resource is bound: `<enable/>` may come, `<resume/>` no more. While a request is unanswered, or
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

    /// Takes an element that arrived, any element, and tells what to do about it.
    ///
    /// # Errors
    ///
    /// [`Error`], with the state as it was: obey its [`answer`](Error::answer).
    #[inline(always)]
    pub fn handle(&mut self, inbound: Inbound, now: Instant) -> Result<Action<'_, S>, Error> {
        // What comes most.
        if self.is_enabled() {
            match inbound {
                Inbound::Stanza => {
                    return match self.session.handled.receive_alone(now) {
                        Some(receipt) => Ok(Action::Deliver(receipt)),
                        None => self.receive(now).map(Action::Deliver),
                    };
                }
                Inbound::Nonza(Nonza::Ack(h)) => return self.acknowledged(h, now),
                Inbound::Nonza(Nonza::Request) if !self.finished => return Ok(Action::Send(self.answer())),
                Inbound::Nonza(Nonza::Request) => return Ok(Action::Other),
                _ => {}
            }
        }
        self.handle_otherwise(inbound, now)
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
    pub fn is_resumable(&self) -> bool {
        self.resumable && !self.finished
    }

    /// The session's SM-ID, if it has one.
    pub fn smid(&self) -> Option<&SmId> {
        self.smid.as_ref()
    }

    /// How many stanzas of the peer were handled: what an `<a/>` would say.
    pub fn h(&self) -> Counter {
        self.session.handled.h()
    }

    /// How many stanzas were sent.
    pub fn sent(&self) -> Counter {
        self.session.queue.sent()
    }

    /// How many of them the peer has acknowledged.
    pub fn acked(&self) -> Counter {
        self.session.queue.acked()
    }

    /// What the peer has not acknowledged and the buffer keeps, oldest first.
    pub fn unacked(&self) -> Unacked<'_, S> {
        self.session.queue.unacked()
    }

    /// How many bytes that is.
    pub fn unacked_bytes(&self) -> usize {
        self.session.queue.bytes()
    }

    /// How many delivered stanzas the host has not settled yet.
    pub fn open_receipts(&self) -> usize {
        self.session.handled.open()
    }

    /// The oldest of them: `h` waits for it.
    pub fn oldest_open(&self) -> Option<OpenReceipt> {
        self.session.handled.oldest()
    }

    /// The stream is being closed in good order: it gives the
    /// [last `<a/>`](https://xmpp.org/extensions/xep-0198.html#acking), to be written before
    /// `</stream:stream>`, and the session ends with the stream. Record and write nothing more.
    ///
    /// How long to wait for the peer's `</stream:stream>` is the host's to decide; nothing is due any more. What
    /// an `<a/>` acknowledges until then does not come back from the session. A stanza that arrives is the
    /// peer's to send again, and no request is answered: all of them are [`Action::Other`]. Of an error only the
    /// [`ending`](crate::End::ending) counts.
    #[must_use = "the peer gets it only if it is written"]
    pub fn finish(&mut self) -> Option<Nonza> {
        let last = self.ack();
        self.session.handled.forget_request();
        self.finished = true;
        last
    }

    /// Whether elements of stream management may be written.
    fn is_speaking(&self) -> bool {
        self.is_enabled() && !self.finished
    }

    /// The connection is gone. The session waits to be resumed, if it may, or ends and hands back what
    /// was not acknowledged.
    ///
    /// Receipts that are open go with the session. If it is not [resumable](Self::is_resumable), settle
    /// them first: [`Ended::h`] is final.
    pub fn disconnect(self, now: Instant) -> Disconnected<S> {
        let deadline = match self.phase {
            Phase::Resuming(deadline) => deadline,
            _ => self.window.and_then(|window| now.checked_add(window)),
        };
        let resumable = self.is_resumable();
        let ending = if self.finished { Ending::Closed } else { Ending::NotResumable };
        let Self { config, session, smid, window, .. } = self;
        match smid {
            Some(smid) if resumable => Disconnected::Resumable(Detached { config, session, smid, window, deadline }),
            smid => Disconnected::Ended(session.into_ended(ending, smid)),
        }
    }

    /// The stream and its session are over for good. Settle open receipts first: [`Ended::h`] is final.
    pub fn end(self, ending: Ending) -> Ended<S> {
        self.session.into_ended(ending, self.smid)
    }
}
