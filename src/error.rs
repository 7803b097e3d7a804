//! What went wrong, whose fault it is, and what to tell the peer.

use bytes::BytesMut;

use crate::nonza::{Condition, Kind, Nonza, ParseError};
use crate::queue::WrongH;
use crate::session::Ending;
use crate::stream_error::StreamError;

/// What [`handle`](crate::StreamMgmt::handle) and [`handle_timeout`](crate::StreamMgmt::handle_timeout)
/// could not do. The state is as it was before the call.
///
/// [`answer`](Error::answer) says what the host has to do about it; matching on the variants is for
/// logs and counters, and for the two that are the host's own [`fault`](Error::fault).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Answer, Config, Fault, Inbound, StreamMgmt};
///
/// let mut stream = StreamMgmt::<String>::server(Arc::new(Config::default()));
/// stream.authenticated();
/// let resume: minidom::Element = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='-1'/>".parse()?;
/// let Err(error) = stream.handle(Inbound::from_element(&resume, "jabber:client"), Instant::now()) else {
///     unreachable!()
/// };
/// assert_eq!(error.to_string(), "malformed element: h of <resume/> is malformed");
/// assert_eq!(error.fault(), Fault::Peer);
/// let Answer::Reply(failed) = error.answer() else { unreachable!() };
/// assert!(failed.to_string().contains("<bad-request "));
/// # Ok::<(), minidom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// `<enabled/>`, `<resumed/>` or `<failed/>` that nobody waits for.
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
    OtherSession,
    /// The peer left too much unacknowledged for too long.
    #[error("the buffer of unacknowledged stanzas is full")]
    BufferFull,
    /// The peer did not answer `<r/>` in [`ack_timeout`](crate::Config::ack_timeout).
    #[error("no answer to <r/>")]
    AckTimeout,
    /// A request is not answered yet: keep the element, call `accept_*` or `refuse_*`, and then give it
    /// again.
    #[error("a request is not answered yet")]
    Unanswered,
    /// [`receipts_max`](crate::Config::receipts_max) stanzas are in the host's hands. This one is not
    /// counted: keep it, read nothing more, and give it again once the
    /// [oldest](crate::StreamMgmt::oldest_open) is settled. The peer has counted it, so that dropping it
    /// would put `h` wrong for good.
    #[error("too many stanzas are not handled yet")]
    ReceiptsFull,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the protocol.
    Peer,
    /// The host did not keep the order of calls. Once it has, the same input can be fed again.
    Host,
    /// Nobody's: the connection is gone.
    Connection,
}

/// What the host does about an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// Nothing. The stream goes on.
    Nothing,
    /// Keep the element and read no other: it was not taken. Settle a stanza or answer the request, as the
    /// [`Error`] says, and give the same element again.
    Later,
    /// Write this. The stream goes on.
    Reply(Nonza),
    /// Write this, close the stream, and [`end`](crate::StreamMgmt::end) its session.
    End(End),
    /// Drop the connection and [`disconnect`](crate::StreamMgmt::disconnect): the session may be resumed.
    Detach,
}

/// How a stream is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What is answered first, if anything.
    pub reply: Option<Nonza>,
    /// The stream error, if there is one.
    pub error: Option<StreamError>,
    /// What to give to [`end`](crate::StreamMgmt::end).
    pub ending: Ending,
}

impl End {
    fn with(error: StreamError, ending: Ending) -> Answer {
        Answer::End(Self { reply: None, error: Some(error), ending })
    }

    /// Appends the reply and the error, for which the stream's header has to declare the prefix `stream`.
    /// What closes the stream after them is the host's to write: `</stream:stream>` or, over
    /// [WebSockets](https://www.rfc-editor.org/rfc/rfc7395#section-3.6), something else.
    pub fn write_to(&self, out: &mut BytesMut) {
        if let Some(reply) = &self.reply {
            reply.write_to(out);
        }
        if let Some(error) = &self.error {
            error.write_to(out);
        }
    }
}

impl Answer {
    /// The answer where a stanza does not fit any more.
    pub(crate) fn buffer_full() -> Self {
        End::with(StreamError::ResourceConstraint, Ending::BufferFull)
    }
}

impl Error {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::AckTimeout => Fault::Connection,
            Self::Unanswered | Self::ReceiptsFull => Fault::Host,
            _ => Fault::Peer,
        }
    }

    /// What to do about it.
    pub fn answer(&self) -> Answer {
        match self {
            Self::Malformed(error) => match error.element() {
                Some(Kind::Enable | Kind::Resume) => Answer::Reply(Nonza::failed(Condition::BadRequest)),
                Some(_) => End::with(StreamError::PolicyViolation, Ending::PeerFault),
                None => Answer::Nothing,
            },
            Self::Unexpected(_) => Answer::Reply(Nonza::failed(Condition::UnexpectedRequest)),
            Self::Unsupported(_) => Answer::Reply(Nonza::failed(Condition::FeatureNotImplemented)),
            Self::AlreadyEnabled => Answer::End(End {
                reply: Some(Nonza::failed(Condition::UnexpectedRequest)),
                error: None,
                ending: Ending::PeerFault,
            }),
            Self::WrongH { why, .. } => End::with((*why).into(), Ending::PeerFault),
            Self::OtherSession => End::with(StreamError::OtherSession, Ending::PeerFault),
            Self::BufferFull => Answer::buffer_full(),
            Self::AckTimeout => Answer::Detach,
            Self::NotEnabled(_) | Self::WrongRole(_) | Self::NotRequested(_) => Answer::Nothing,
            Self::Unanswered | Self::ReceiptsFull => Answer::Later,
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
