//! What went wrong, whose fault it is, and what to tell the peer.

use std::fmt;

use bytes::BytesMut;

use crate::detached::EndReason;
use crate::nonza::{Condition, Kind, Nonza, ParseError};
use crate::queue::WrongH;
use crate::stream_error::StreamError;

/// What [`handle`](crate::StreamMgmt::handle) and [`handle_timeout`](crate::StreamMgmt::handle_timeout)
/// could not do. The state is as it was before the call.
///
/// [`reaction`](Error::reaction) says what the host has to do about it; matching on the variants is for
/// logs and counters, and for the two that are the host's own [`fault`](Error::fault).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Config, Fault, Inbound, Reaction, StreamMgmt};
///
/// let mut stream = StreamMgmt::<String>::server(Arc::new(Config::default()));
/// stream.authenticated();
/// let resume: minidom::Element = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='-1'/>".parse()?;
/// let Err(error) = stream.handle(Inbound::from_element(&resume, "jabber:client"), Instant::now()) else {
///     unreachable!()
/// };
/// assert_eq!(error.to_string(), "malformed element: h of <resume/> is malformed");
/// assert_eq!(error.fault(), Fault::Peer);
/// let Reaction::Write(failed) = error.reaction() else { unreachable!() };
/// assert!(failed.to_string().contains("<bad-request "));
/// # Ok::<(), minidom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An element of the namespace is not what the schema says.
    #[error("malformed element: {0}")]
    Malformed(#[from] ParseError),
    /// `<enable/>` or `<resume/>` at a time when it
    /// [may not come](https://xmpp.org/extensions/xep-0198.html#enable).
    #[error("{0} may not come now")]
    Unexpected(Kind),
    /// `<enable/>` or `<resume/>` where the host has it switched off.
    #[error("{0} is switched off")]
    Unsupported(Kind),
    /// `<enable/>` where stream management is
    /// [enabled already](https://xmpp.org/extensions/xep-0198.html#enable).
    #[error("a second <enable/>")]
    AlreadyEnabled,
    /// `<a/>` or `<r/>` where stream management is off.
    #[error("{0} while stream management is off")]
    NotEnabled(Kind),
    /// An element that only the other role sends.
    #[error("{0} from the wrong side")]
    WrongRole(Kind),
    /// `<enabled/>`, `<resumed/>` or `<failed/>` that was not asked for.
    #[error("{0} without a request")]
    NotRequested(Kind),
    /// The `h` of `<a/>` or `<resumed/>` cannot be right.
    #[error("{element}: {why}")]
    WrongH {
        /// Where it stood.
        element: Kind,
        /// On which side it is wrong.
        #[source]
        why: WrongH,
    },
    /// `<resumed/>` for another session than was asked for.
    #[error("<resumed/> for another session")]
    ForeignSession,
    /// The peer left too much unacknowledged for too long.
    #[error("the buffer of unacknowledged stanzas is full")]
    BufferFull,
    /// The peer did not answer `<r/>` in [`ack_timeout`](crate::Config::ack_timeout).
    #[error("no answer to <r/>")]
    AckTimeout,
    /// The host has not answered the peer's request: keep the element, call `accept_*` or `refuse_*`, and give
    /// it once more.
    #[error("the host has not answered a request")]
    RequestPending,
    /// [`receipts_max`](crate::Config::receipts_max) or [`receipts_max_bytes`](crate::Config::receipts_max_bytes) is
    /// reached. This stanza is not counted: keep it, stop reading, and give it once more when a receipt is settled. The
    /// peer has counted it, so dropping it would make `h` wrong.
    #[error("too many stanzas are not settled")]
    ReceiptsFull,
}

/// Whose fault it is.
///
/// Returned by [`Error::fault`](crate::Error::fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The peer broke the protocol.
    Peer,
    /// The host did not keep the order of calls. Once it has, it can feed the same input.
    Host,
    /// The connection is gone.
    Connection,
}

/// What the host does about an [`Error`] or a stanza that was [not recorded](crate::NotRecorded).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reaction {
    /// Nothing. The stream goes on.
    Nothing,
    /// Keep the element and read no other: it was not taken. Settle a stanza or answer the request, as the
    /// [`Error`] says, and give the same element once more.
    Later,
    /// Write this. The stream goes on.
    Write(Nonza),
    /// Write this, close the stream, and [`end`](crate::StreamMgmt::end) its session.
    Close(LastWords),
    /// Drop the connection and [`disconnect`](crate::StreamMgmt::disconnect): the session may be resumed.
    Detach,
}

/// What is written at the end of a stream.
///
/// ```
/// use bytes::BytesMut;
/// use xmpp_sm::{EndReason, LastWords, StreamError};
///
/// let last = LastWords { write: None, error: Some(StreamError::Conflict), reason: EndReason::Replaced };
/// let mut out = BytesMut::new();
/// last.write_to(&mut out);
/// out.extend_from_slice(b"</stream:stream>");
/// # assert!(out.starts_with(b"<stream:error><conflict "));
/// # assert_eq!(format!("{last}</stream:stream>").as_bytes(), &out[..]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWords {
    /// An element of stream management to write first, if any.
    pub write: Option<Nonza>,
    /// The stream error, if there is one.
    pub error: Option<StreamError>,
    /// For hosts of the engine: what to give to [`end`](crate::StreamMgmt::end).
    pub reason: EndReason,
}

impl LastWords {
    /// Appends the element and the error, for which the stream's header has to declare the prefix `stream`.
    /// The host writes what closes the stream after them: `</stream:stream>` or, over
    /// [WebSockets](https://www.rfc-editor.org/rfc/rfc7395#section-3.6), something else.
    pub fn write_to(&self, out: &mut BytesMut) {
        if let Some(nonza) = &self.write {
            nonza.write_to(out);
        }
        if let Some(error) = &self.error {
            error.write_to(out);
        }
    }
}

/// The same as text.
impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write.iter().try_for_each(|nonza| nonza.fmt(f))?;
        self.error.iter().try_for_each(|error| error.fmt(f))
    }
}

impl Reaction {
    fn close(error: StreamError, reason: EndReason) -> Self {
        Self::Close(LastWords { write: None, error: Some(error), reason })
    }

    /// The reaction where a stanza does not fit.
    pub(crate) fn buffer_full() -> Self {
        Self::close(StreamError::ResourceConstraint, EndReason::BufferFull)
    }
}

impl Error {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::AckTimeout => Fault::Connection,
            Self::RequestPending | Self::ReceiptsFull => Fault::Host,
            _ => Fault::Peer,
        }
    }

    /// What to do about it.
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::Malformed(error) => match error.element() {
                Some(Kind::Enable | Kind::Resume) => Reaction::Write(Nonza::failed(Condition::BadRequest)),
                Some(_) => Reaction::close(StreamError::PolicyViolation, EndReason::PeerFault),
                None => Reaction::Nothing,
            },
            Self::Unexpected(_) => Reaction::Write(Nonza::failed(Condition::UnexpectedRequest)),
            Self::Unsupported(_) => Reaction::Write(Nonza::failed(Condition::FeatureNotImplemented)),
            Self::AlreadyEnabled => Reaction::Close(LastWords {
                write: Some(Nonza::failed(Condition::UnexpectedRequest)),
                error: None,
                reason: EndReason::PeerFault,
            }),
            Self::WrongH { why, .. } => Reaction::close((*why).into(), EndReason::PeerFault),
            Self::ForeignSession => Reaction::close(StreamError::ForeignSession, EndReason::PeerFault),
            Self::BufferFull => Reaction::buffer_full(),
            Self::AckTimeout => Reaction::Detach,
            Self::NotEnabled(_) | Self::WrongRole(_) | Self::NotRequested(_) => Reaction::Nothing,
            Self::RequestPending | Self::ReceiptsFull => Reaction::Later,
        }
    }
}

impl From<WrongH> for StreamError {
    fn from(why: WrongH) -> Self {
        match why {
            WrongH::TooHigh { h, sent } => Self::HandledCountTooHigh { h, send_count: sent },
            WrongH::Backwards { h, acked } => Self::HandledCountBackwards { h, acked },
        }
    }
}
