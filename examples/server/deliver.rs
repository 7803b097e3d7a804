//! What goes to a session's client: as it comes, or, where much has come before, as the client takes it.

use std::ops::ControlFlow::Continue;
use std::time::Instant;

use bytes::Bytes;
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_sm::{Ending, Nonza};

use super::connected::Connected;
use super::leave::{Flow, over};
use super::router::Delivery;

/// Bytes that may wait for a client where stream management does not bound them.
const MAX_PENDING: usize = 64 * 1024 * 1024;
/// Bytes that are fetched from the backlog before the client has taken those before them.
const AHEAD: usize = 64 * 1024;

impl Connected {
    pub(super) fn deliver(&mut self, delivery: Delivery) -> Flow {
        if !self.session.backlog.is_empty() {
            return self.put_off(delivery);
        }
        self.write(delivery.rest().bytes())
    }

    pub(super) fn put_off(&mut self, delivery: Delivery) -> Flow {
        match self.session.put_off(delivery) {
            true => Continue(()),
            false => over(Ending::BufferFull, DefinedCondition::ResourceConstraint, "too much waits"),
        }
    }

    /// Writes as much of the backlog as the client has room for. The rest follows as it reads and acknowledges: a
    /// long absence is no reason to end its stream.
    pub(super) fn feed(&mut self) -> Flow {
        while let Some(next) = self.session.backlog.front()
            && self.connection.outbox.pending() < AHEAD
        {
            if !self.has_room(next.len()) {
                self.ask_for_room();
                break;
            }
            if let Some(stanza) = self.session.backlog.pop_front() {
                self.write(stanza)?;
            }
        }
        Continue(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        let held = self.sm.unacked_bytes();
        // A stanza that is larger than the buffer has room nowhere.
        self.sm.has_room() && (held == 0 || held.saturating_add(bytes) <= self.session.server.buffer_max_bytes)
    }

    /// Where acknowledgements are asked for, that goes on by itself. Where they are not, the backlog would wait for
    /// ever.
    fn ask_for_room(&mut self) {
        let sent = Some(self.sm.sent());
        if self.asked != sent && self.sm.poll_timeout().is_none() {
            self.asked = sent;
            if let Some(request) = self.sm.request(Instant::now()) {
                self.send(&request);
            }
        }
    }

    fn write(&mut self, stanza: Bytes) -> Flow {
        let sent = match self.sm.record_sent(stanza.clone(), Instant::now()) {
            Ok(sent) => sent,
            Err(not) => {
                let answer = not.answer();
                self.session.backlog.push_front(not.stanza);
                return self.answer(answer);
            }
        };
        self.connection.outbox.push(&stanza);
        if sent.request {
            self.send(&Nonza::Request);
        }
        if let Some(evicted) = sent.evicted {
            self.session.keep_evicted(*evicted);
        }
        if !self.sm.is_resumable() && self.connection.outbox.pending() > MAX_PENDING {
            return over(Ending::BufferFull, DefinedCondition::ResourceConstraint, "too much is not read");
        }
        Continue(())
    }
}
