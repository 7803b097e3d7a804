//! What can be seen of a session.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::{Session, State};
use crate::counter::Counter;
use crate::receipts::OpenReceipt;
use crate::smid::SmId;
use crate::stanza::Stanza;

impl<S: Stanza, C> Session<S, C> {
    /// The authenticated bare JID that the session belongs to.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// The present connection.
    pub fn connection(&self) -> Option<&C> {
        self.connection.as_ref()
    }

    /// The present connection.
    pub fn connection_mut(&mut self) -> Option<&mut C> {
        self.connection.as_mut()
    }

    /// The session's SM-ID, if it has one.
    pub fn smid(&self) -> Option<&SmId> {
        match &self.state {
            State::Live(stream) => stream.smid(),
            State::Detached(session, _) => Some(session.smid()),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// Whether stream management is on.
    pub fn is_enabled(&self) -> bool {
        matches!(&self.state, State::Live(stream) if stream.is_enabled())
    }

    /// Whether the session has no connection and waits to be resumed.
    pub fn is_detached(&self) -> bool {
        matches!(self.state, State::Detached(..))
    }

    /// When the session, being detached, expires. `None`: it is not detached, or does not expire by itself.
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

    /// How many stanzas were sent and not acknowledged.
    pub fn unacked(&self) -> usize {
        match &self.state {
            State::Live(stream) => stream.unacked().len(),
            State::Detached(session, _) => session.unacked().len(),
            State::Closing(_) | State::Offline(_) | State::Over => 0,
        }
    }

    /// When the oldest `<r/>` was written that the peer has not answered. `None`: there is none. After
    /// [`ack_timeout`](crate::Config::ack_timeout) the connection counts as lost; a push service may wake the device
    /// before that.
    pub fn ack_requested_at(&self) -> Option<Instant> {
        match &self.state {
            State::Live(stream) => stream.asked_at(),
            State::Detached(..) | State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// How many delivered stanzas the host has not settled.
    pub fn open_receipts(&self) -> usize {
        match &self.state {
            State::Live(stream) => stream.open_receipts(),
            State::Detached(session, _) => session.open_receipts(),
            State::Closing(_) | State::Offline(_) | State::Over => 0,
        }
    }

    /// The oldest of them: `h` waits for it.
    pub fn oldest_open(&self) -> Option<OpenReceipt> {
        match &self.state {
            State::Live(stream) => stream.oldest_open(),
            State::Detached(session, _) => session.oldest_open(),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// How many stanzas of the peer were handled.
    pub fn h(&self) -> Option<Counter> {
        match &self.state {
            State::Live(stream) => Some(stream.h()),
            State::Detached(session, _) => Some(session.h()),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// How many evicted stanzas were forgotten: see [`evicted_max_bytes`](crate::Config::evicted_max_bytes).
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
