//! What a session tells its host.

use thiserror::Error;

use super::client::MustBind;
use super::closing::SessionEnded;
use super::take::Refused;
use crate::error::{Error, LastWords};
use crate::nonza::Failed;
use crate::queue::Returned;
use crate::receipts::Receipt;
use crate::stats::Detach;
use crate::stream::{EnableRequest, Inbound};

/// What a host has to know, or to do, outside of the stream. See [`Session::poll`](crate::Session::poll).
#[derive(Debug)]
#[must_use = "it may hold a connection, or stanzas"]
#[non_exhaustive]
pub enum Event<S, C> {
    /// The session has left this connection, and has no use for it any more.
    Left {
        /// The connection.
        connection: C,
        /// What to do with it.
        parting: Parting,
        /// Why the session has left it, for logs and counters.
        why: LeftWhy,
    },
    /// Server: a connection that asked for the session does not get it. Its login goes on, with the
    /// [step](Refused::step) that comes next.
    Refused(Refused<C>),
    /// The session goes on over a new connection.
    Resumed,
    /// The session has lost its connection and waits to be resumed: a push service may wake the device. Only where
    /// [`report_detached`](crate::Session::report_detached) is on, and once each time.
    Detached {
        /// How many stanzas its peer has not acknowledged.
        unacked: usize,
        /// How many more wait to be sent.
        waiting: usize,
    },
    /// A stanza was given to [`send`](crate::Session::send) while the session is detached. Only where
    /// [`report_detached`](crate::Session::report_detached) is on, and once for each stanza. The event does not hold
    /// the stanza: a host that has to tell a push service what is in it looks before it calls `send`.
    Queued,
    /// Server: the peer asks for stream management in its Bind 2 `<bind/>`. Reply as to [`Arrival::Enable`]:
    /// `<success/>` waits for it.
    Enable(EnableRequest),
    /// The peer has taken responsibility for this stanza. Only where
    /// [`return_acknowledged`](crate::Session::return_acknowledged) is on.
    Acknowledged(Returned<S>),
    /// Client: bind a resource on this stream, and then give this to [`bound`](crate::Session::bound).
    Bind(MustBind),
    /// Client: a new session has begun.
    Online {
        /// Whether stream management is on.
        enabled: bool,
    },
    /// Client: the server does not resume the session, and says so by this `<failed/>`. The session's stanzas go into
    /// the next one, but for those that its `h` covers. There is no such event if the session is given up because no
    /// reply came: see [`Session::client`](crate::Session::client).
    NotResumed(Failed),
    /// Client: another connection has taken the resource or the session. Do not connect of your own accord.
    Conflict,
    /// The session is over. This is the last event.
    Ended(Box<SessionEnded<S>>),
}

/// Why a session has left its connection. A field of [`Event::Left`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LeftWhy {
    /// The host has [said](crate::Session::lost) that the connection is lost, or has
    /// [connected](crate::Session::connect) again.
    #[error("the connection is lost")]
    Lost,
    /// The host has [closed](crate::Session::close) the session.
    #[error("the session is closed")]
    Closed,
    /// The peer [has closed](crate::Session::peer_closed) its stream.
    #[error("the peer has closed its stream")]
    PeerClosed,
    /// The peer has closed its stream with an error.
    #[error("the peer has closed its stream with an error")]
    PeerError {
        /// Whether the error's condition is `<conflict/>`.
        conflict: bool,
    },
    /// The peer broke the protocol, did not acknowledge in time, or is gone.
    #[error("{0}")]
    Error(#[source] Error),
    /// Another connection gets the session.
    #[error("another connection asks for the session")]
    TakenOver,
    /// Client: the server has not replied in [time](crate::Config::reply_timeout), or the host has not bound.
    #[error("no reply in time")]
    NoReply,
    /// Client: the server cannot tell at present whether it has the session, and says so by a `<failed/>` with
    /// `<internal-server-error/>` or `<resource-constraint/>`. The session asks again on the next connection.
    #[error("the server cannot tell at present whether it has the session")]
    Unavailable,
}

impl From<LeftWhy> for Detach {
    fn from(why: LeftWhy) -> Self {
        match why {
            LeftWhy::Lost => Self::Lost,
            LeftWhy::Closed | LeftWhy::PeerClosed => Self::Closed,
            LeftWhy::PeerError { .. } => Self::StreamError,
            // No other fault leaves a session that lives on.
            LeftWhy::Error(_) => Self::AckTimeout,
            LeftWhy::TakenOver => Self::TakenOver,
            LeftWhy::NoReply | LeftWhy::Unavailable => Self::NoReply,
        }
    }
}

/// What to do with a connection that the session has left.
///
/// See the [example](crate::Session#example) of `Session`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Parting {
    /// The connection is dead: drop it, with all that is unread and unwritten.
    Drop,
    /// Write these last words and `</stream:stream>`, flush, and close the connection. Do that in a task of its own:
    /// the peer may read nothing, and the session's loop would wait.
    Say(LastWords),
    /// `</stream:stream>` is written: flush and close the connection, in a task of its own.
    Close,
}

/// What to do about an element that has arrived. See [`Session::handle`](crate::Session::handle).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a stanza waits to be handled, or the peer for a reply"]
#[non_exhaustive]
pub enum Arrival {
    /// Do nothing: the session has done all that there is to do.
    Handled,
    /// A stanza: handle it, and then [`settle`](crate::Session::settle) the receipt.
    Stanza(Receipt),
    /// Server: the peer asks for stream management. Register an SM-ID and call
    /// [`accept_enable`](crate::Session::accept_enable), or call
    /// [`accept_enable_in`](crate::Session::accept_enable_in), which does both; or
    /// [`refuse_enable`](crate::Session::refuse_enable).
    Enable(EnableRequest),
    /// Not a stanza and not stream management: the host handles it.
    Other,
}

/// The session did not want to read: see [`Session::wants_read`](crate::Session::wants_read). The element was not taken
/// and comes back: keep it, and give it to `handle` once more when the session wants to read. If the connection is lost
/// before that, drop the element.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the session does not read now")]
pub struct NotNow(
    /// The element that arrived.
    pub Inbound,
);

/// A stanza was not sent. It comes back.
///
/// Returned by [`Session::send`](crate::Session::send).
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the stanza was not sent: {why}")]
pub struct NotSent<S> {
    /// The stanza.
    pub stanza: S,
    /// The reason.
    pub why: NotSentWhy,
}

/// Why a stanza was not sent.
///
/// A field of [`NotSent`], which [`Session::send`](crate::Session::send) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotSentWhy {
    /// The session is over: [`Event::Ended`] has come, or comes with the next [`poll`](crate::Session::poll). The
    /// stanza goes elsewhere, behind those of the session.
    #[error("the session is over")]
    Over,
    /// Client: the [backlog](crate::Config::backlog_max) is full.
    #[error("too many stanzas wait to be sent")]
    Full,
    /// Client: the stanza is larger than the whole [buffer](crate::Config::buffer_max_bytes).
    #[error("the stanza is larger than the buffer")]
    TooLarge,
}
