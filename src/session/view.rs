//! What can be seen of a session.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::{Session, State};
use crate::counter::Counter;
use crate::nonza::Location;
use crate::receipts::OpenReceipt;
use crate::smid::SmId;
use crate::stanza::Stanza;

impl<S: Stanza, C> Session<S, C> {
    /// The authenticated bare JID that the session belongs to.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// The present connection. `None`: the session has none.
    pub fn connection(&self) -> Option<&C> {
        self.connection.as_ref()
    }

    /// The present connection, to be driven. `None`: the session has none.
    pub fn connection_mut(&mut self) -> Option<&mut C> {
        self.connection.as_mut()
    }

    /// The session's SM-ID. `None`: it cannot be resumed, or closes, or is over.
    /// [`SessionEnded`](crate::SessionEnded::smid) has it at the end.
    pub fn smid(&self) -> Option<&SmId> {
        match &self.state {
            State::Live(stream) => stream.smid(),
            State::Detached(session, _) => Some(session.smid()),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// Where the server wants its client to come back to this session: the
    /// [`location`](https://xmpp.org/extensions/xep-0198.html#enable) of `<enabled/>`. A client tries to connect there first,
    /// and then as ever. `None`: the server has named no place, the session cannot be resumed, or it is a server's.
    pub fn location(&self) -> Option<&Location> {
        self.client.as_ref()?.location.as_ref()
    }

    /// Whether stream management is on, on the present stream: false while the session has none or closes it.
    pub fn is_enabled(&self) -> bool {
        matches!(&self.state, State::Live(stream) if stream.is_enabled())
    }

    /// Whether the session has no connection and waits to be resumed.
    pub fn is_detached(&self) -> bool {
        matches!(self.state, State::Detached(..))
    }

    /// When the detached session expires. `None`: it is not detached, or does not expire by itself.
    /// [`set_expires_at`](Self::set_expires_at) moves this time.
    pub fn expires_at(&self) -> Option<Instant> {
        match &self.state {
            State::Detached(session, _) => session.deadline(),
            State::Live(_) | State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// Whether the session is over: [`Event::Ended`](crate::Event::Ended) has come, or comes from [`poll`](Self::poll).
    /// Any other call may end it: a host that drops what [`send`](Self::send) returns polls before each call.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// How many stanzas were sent and are not acknowledged, of those in the buffer. While the session closes this goes
    /// on, until the end hands them back: then it is 0.
    pub fn unacked(&self) -> usize {
        self.state.queue().map_or(0, |queue| queue.unacked().len())
    }

    /// When the oldest `<r/>` was written that the peer has not answered. `None`: there is none, or the session has no
    /// stream or closes it. After [`ack_timeout`](crate::Config::ack_timeout) the connection counts as lost; a push
    /// service may wake the device before that.
    pub fn ack_requested_at(&self) -> Option<Instant> {
        match &self.state {
            State::Live(stream) => stream.asked_at(),
            State::Detached(..) | State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// How many delivered stanzas the host has not settled: how many receipts are open.
    pub fn open_receipts(&self) -> usize {
        match &self.state {
            State::Live(stream) => stream.open_receipts(),
            State::Detached(session, _) => session.open_receipts(),
            State::Closing(_) | State::Offline(_) | State::Over => 0,
        }
    }

    /// The oldest open receipt: `h` waits for it. `None`: none is open.
    pub fn oldest_open(&self) -> Option<OpenReceipt> {
        match &self.state {
            State::Live(stream) => stream.oldest_open(),
            State::Detached(session, _) => session.oldest_open(),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// How many stanzas of the peer were handled: the `h` of the next `<a/>`. It is 0 while stream management is off.
    /// `None`: the session closes or is over, or is a client's that has no session at present;
    /// [`Stats::h`](crate::Stats::h) goes on.
    pub fn h(&self) -> Option<Counter> {
        match &self.state {
            State::Live(stream) => Some(stream.h()),
            State::Detached(session, _) => Some(session.h()),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// How many evicted stanzas were forgotten, because [`evicted_max_bytes`](crate::Config::evicted_max_bytes) had no
    /// room for them.
    pub fn evicted_forgotten(&self) -> u64 {
        self.evicted.as_ref().map_or(0, |evicted| evicted.forgotten())
    }
}

/// Counts and times: what people wrote to each other is not for logs.
impl<S: fmt::Debug, C> fmt::Debug for Session<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state)
            .field("connected", &self.connection.is_some())
            .field("backlog_full_until", &self.backlog_full_until)
            .field("events", &self.events.len())
            .field("unwritten", &self.unwritten)
            .field("evicted", &self.evicted)
            .field("waiter", &self.waiter)
            .field("ending", &self.ending)
            .field("verdict", &self.verdict)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
