//! What goes into a stream's state and what comes out.

use std::time::{Duration, Instant};

use minidom::Element;
use thiserror::Error;

use crate::counter::Counter;
use crate::error::Answer;
use crate::handled::{Receipt, Tag};
use crate::nonza::{Condition, Enable, Enabled, Failed, NS, Nonza, ParseError, Resume};
use crate::queue::{Lost, Unacked, WrongH};
use crate::session::{Detached, Ended, Ending};
use crate::smid::SmId;
use crate::store::Lookup;

/// An element that arrived at the root level of the stream.
///
/// All of them go through [`handle`](crate::StreamMgmt::handle), so that none can be left uncounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// `message`, `presence` or `iq` in the stream's content namespace.
    Stanza,
    /// An element of stream management.
    Nonza(Nonza),
    /// An element in the namespace of stream management that is not well made.
    Malformed(ParseError),
    /// Anything else. It is not counted.
    Other,
}

impl Inbound {
    /// Sorts an element that arrived on a stream whose stanzas are in `stanza_ns`: `jabber:client`,
    /// `jabber:server`, `jabber:component:accept`.
    ///
    /// ```
    /// use minidom::Element;
    /// use xmpp_sm::Inbound;
    ///
    /// let probe: Element = "<presence xmlns='jabber:client' type='probe'/>".parse()?;
    /// assert_eq!(Inbound::from_element(&probe, "jabber:client"), Inbound::Stanza);
    /// assert_eq!(Inbound::from_element(&probe, "jabber:server"), Inbound::Other);
    /// # Ok::<(), minidom::Error>(())
    /// ```
    pub fn from_element(element: &Element, stanza_ns: &str) -> Self {
        match Nonza::from_element(element) {
            Some(parsed) => parsed.into(),
            None if element.has_ns(stanza_ns) && is_stanza_name(element.name()) => Self::Stanza,
            None => Self::Other,
        }
    }

    /// Sorts an element by its local name and namespace, for hosts with a parser of their own. Its
    /// attributes are read only if it belongs to stream management; `child` is as in [`Nonza::parse`].
    pub fn from_parts<'a>(
        name: &str,
        ns: &str,
        stanza_ns: &str,
        attrs: impl IntoIterator<Item = (&'a str, &'a str)>,
        child: Option<&str>,
    ) -> Self {
        if ns == stanza_ns && is_stanza_name(name) {
            Self::Stanza
        } else if ns == NS {
            Nonza::parse(name, attrs, child).into()
        } else {
            Self::Other
        }
    }
}

/// A stanza is what RFC 6120 [calls one](https://www.rfc-editor.org/rfc/rfc6120#section-8).
fn is_stanza_name(name: &str) -> bool {
    matches!(name, "message" | "presence" | "iq")
}

impl From<Result<Nonza, ParseError>> for Inbound {
    fn from(parsed: Result<Nonza, ParseError>) -> Self {
        match parsed {
            Ok(nonza) => Self::Nonza(nonza),
            Err(error) => Self::Malformed(error),
        }
    }
}

/// What the host has to do about an element that arrived.
#[derive(Debug)]
#[must_use = "the peer waits for what this asks the host to do"]
pub enum Action<'a, S> {
    /// A stanza: handle it, and then give the receipt to
    /// [`record_handled`](crate::StreamMgmt::record_handled).
    Deliver(Receipt),
    /// Nothing to do for stream management: this is neither of it nor a stanza, and the host's own business. After
    /// [`finish`](crate::StreamMgmt::finish) it may be of it, and wants no answer.
    Other,
    /// Write this.
    Send(Nonza),
    /// The peer has taken responsibility for stanzas. Nothing to do.
    Acked(Acked),
    /// Server: the peer wants stream management. Call
    /// [`accept_enable`](crate::StreamMgmt::accept_enable) or
    /// [`refuse_enable`](crate::StreamMgmt::refuse_enable).
    Enable(EnableRequest),
    /// Server: the peer wants its session back. Look it up, fetch it, and call
    /// [`accept_resume`](crate::StreamMgmt::accept_resume) or
    /// [`refuse_resume`](crate::StreamMgmt::refuse_resume).
    Resume(ResumeRequest),
    /// Client: stream management is on.
    Enabled(Enabled),
    /// Client: the session is back. Write this, in order.
    Resumed(Resend<'a, S>),
    /// Client: the request was refused, and the stream lives on. What its session still held comes back:
    /// after [`Ending::ResumeRefused`], bind a resource and send it again; after
    /// [`Ending::EnableRefused`] it was written on this stream and is on its way, as without stream
    /// management.
    Failed(Failed, Ended<S>),
}

/// What an `<a/>` acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// How many stanzas the peer has handled in all.
    pub h: Counter,
    /// How many of them this `<a/>` has added: the stanzas numbered up to `h`.
    pub count: u32,
}

/// What is written after a resumption, in this order. It goes past
/// [`record_sent`](crate::StreamMgmt::record_sent): these stanzas are counted already.
#[derive(Debug)]
#[must_use = "the peer waits for these stanzas"]
pub struct Resend<'a, S> {
    /// The stanzas that the peer did not get.
    pub unacked: Unacked<'a, S>,
    /// Whether to write an `<r/>`, [`Nonza::Request`], after them.
    pub request: bool,
}

/// A session that goes on, on the server's side.
#[derive(Debug)]
#[must_use = "the peer waits for these elements"]
pub struct Resumption<'a, S> {
    /// `<resumed/>`. Flush it by itself: clients in use miscount a stanza in the same TCP segment.
    pub resumed: Nonza,
    /// What is written next.
    pub resend: Resend<'a, S>,
}

/// The peer's [`<enable/>`](https://xmpp.org/extensions/xep-0198.html#enable), to be accepted or refused.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer waits for `accept_enable` or `refuse_enable`"]
pub struct EnableRequest {
    pub(crate) stream: Tag,
    pub(crate) enable: Enable,
    pub(crate) window: Option<Duration>,
}

impl EnableRequest {
    /// What the peer wrote.
    pub fn enable(&self) -> Enable {
        self.enable
    }

    /// Whether the session will be resumable if it is accepted with an SM-ID: the peer asked for it and
    /// the options allow it. Without this no SM-ID is needed.
    pub fn is_resumable(&self) -> bool {
        self.window.is_some()
    }

    /// How long the session would wait to be resumed; nothing if it is not resumable.
    pub fn window(&self) -> Option<Duration> {
        self.window
    }
}

/// The peer's [`<resume/>`](https://xmpp.org/extensions/xep-0198.html#resumption), to be accepted or
/// refused.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer waits for `accept_resume` or `refuse_resume`"]
pub struct ResumeRequest {
    pub(crate) stream: Tag,
    pub(crate) resume: Resume,
    /// When it came.
    pub(crate) at: Instant,
}

impl ResumeRequest {
    /// The SM-ID of the session that the peer wants: look it up with the peer's authenticated owner.
    pub fn previd(&self) -> &SmId {
        &self.resume.previd
    }

    /// How many stanzas of ours the peer has handled.
    pub fn h(&self) -> Counter {
        self.resume.h
    }
}

/// Why a host refuses a `<resume/>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such session, or it is somebody else's: `item-not-found`.
    NotFound,
    /// The session is gone, and this was its `h`: `item-not-found` with it.
    StaleH(Counter),
    /// Another reason.
    Because(Condition),
}

impl Refusal {
    pub(crate) fn into_failed(self) -> Nonza {
        let (h, condition) = match self {
            Self::NotFound => (None, Condition::ItemNotFound),
            Self::StaleH(h) => (Some(h), Condition::ItemNotFound),
            Self::Because(condition) => (None, condition),
        };
        Nonza::Failed(Failed { h, condition: Some(condition) })
    }
}

impl<Sid> Lookup<Sid> {
    /// The session that was found, or what to refuse the `<resume/>` with.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] for [`refuse_resume`](crate::StreamMgmt::refuse_resume), where no session was found.
    pub fn session(self) -> Result<Sid, Refusal> {
        match self {
            Self::Session(sid) => Ok(sid),
            Self::StaleH(h) => Err(Refusal::StaleH(h)),
            Self::NotFound => Err(Refusal::NotFound),
        }
    }
}

/// A stanza was recorded: write it now.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it may carry an `<r/>` to write, or stanzas that left the buffer"]
pub struct Sent<S> {
    /// Its number among the stanzas sent in this session; nothing where stream management is off.
    pub number: Option<Counter>,
    /// Whether to write an `<r/>`, [`Nonza::Request`], after it.
    pub request: bool,
    /// What left the buffer to make room, under
    /// [`OnFull::GiveUpResumability`](crate::OnFull::GiveUpResumability). It was written to the peer, which
    /// may well have it: a host that would not keep it without stream management drops it here, too.
    pub evicted: Option<Box<Lost<S>>>,
}

/// A stanza was not recorded, and must not be written. It comes back.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the stanza was not recorded: {why}")]
pub struct NotRecorded<S> {
    /// The stanza.
    pub stanza: S,
    /// The reason.
    pub why: WhyNot,
}

/// Why a stanza was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WhyNot {
    /// The buffer is full, and the policy is to end the stream now.
    #[error("the buffer of unacknowledged stanzas is full")]
    Full,
    /// A client waits for the answer to its `<resume/>`; or the buffer is full, and it waits for the answer to its
    /// `<enable/>` and cannot ask for room. Keep the stanza and all that follow it, and record them after the
    /// answer, while [`has_room`](crate::StreamMgmt::has_room) is true.
    #[error("the server's answer is not there yet")]
    Unanswered,
}

impl<S> NotRecorded<S> {
    /// What to do about it, beside keeping the stanza.
    pub fn answer(&self) -> Answer {
        match self.why {
            WhyNot::Full => Answer::buffer_full(),
            WhyNot::Unanswered => Answer::Nothing,
        }
    }
}

/// A token was shown to a stream that did not make it. It comes back, for the one that did.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the request was made on another stream")]
pub struct OtherStream<T>(
    /// The token.
    pub T,
);

/// A session could not be resumed. It comes back as it was, with its deadline.
#[derive(Debug, Error)]
pub enum ResumeError<S> {
    /// The request is answered: write `failed`. The stream lives on, and wants to be bound.
    #[error("the peer's <resume/> is refused")]
    Refused {
        /// What to write.
        failed: Nonza,
        /// The reason.
        why: WhyRefused,
        /// The session, for its owner.
        session: Detached<S>,
    },
    /// The host still handles stanzas of the session: `h` would leave them out, the peer would send them
    /// again, and they would be handled twice. Settle them and accept again.
    #[error("stanzas of the session are not settled yet")]
    NotYet {
        /// The request, still unanswered.
        request: ResumeRequest,
        /// The session, for its owner.
        session: Detached<S>,
    },
    /// This is not the session that the request names, or not the stream that the request was made on, or that was
    /// finished since.
    #[error("the request does not belong to this stream or this session")]
    Mismatch {
        /// The request, still unanswered.
        request: ResumeRequest,
        /// The session, for its owner.
        session: Detached<S>,
    },
}

impl<S> ResumeError<S> {
    /// The session, for its owner, whatever went wrong.
    pub fn into_session(self) -> Detached<S> {
        match self {
            Self::Refused { session, .. } | Self::NotYet { session, .. } | Self::Mismatch { session, .. } => session,
        }
    }
}

/// Why a session was not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    /// The peer's `h` cannot be right.
    WrongH(WrongH),
    /// The session's time was over when the `<resume/>` came.
    Expired,
}

/// A client's request that cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CannotEnable {
    /// A server never asks.
    #[error("a server does not send <enable/>")]
    Server,
    /// A resource has to be [bound first](https://xmpp.org/extensions/xep-0198.html#enable).
    #[error("no resource is bound yet")]
    NotBound,
    /// A client makes [one attempt](https://xmpp.org/extensions/xep-0198.html#enable) at most.
    #[error("<enable/> was sent on this stream before")]
    Again,
}

/// What became of a session when its stream was lost.
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else"]
pub enum Disconnected<S> {
    /// It waits to be resumed.
    Resumable(Detached<S>),
    /// It is over.
    Ended(Ended<S>),
}

impl<S: crate::Stanza> Disconnected<S> {
    /// The end of the session, whether it could have been resumed or not.
    pub fn end(self, ending: Ending) -> Ended<S> {
        match self {
            Self::Resumable(session) => session.end(ending),
            Self::Ended(ended) => ended,
        }
    }
}
