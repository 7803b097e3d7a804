//! The one way in: what arrives on the present connection.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use super::tally::tally;
use super::write::Front;
use super::{Arrival, Event, LeftWhy, NotNow, Parting, Session, State};
use crate::counter::Counter;
use crate::detached::EndReason;
use crate::error::{Error, LastWords, Reaction};
use crate::nonza::{Condition, Nonza};
use crate::queue::{Checked, Returned};
use crate::stanza::Stanza;
use crate::stream::{Action, Inbound, Refusal, ToInbound};

impl<S: Stanza, C> Session<S, C> {
    /// Whether the host reads on. While this is `false`, the host reads nothing from the present connection: there is
    /// none, too many stanzas [are not settled](crate::Config::receipts_max), a request is not answered, the peer does
    /// not take its replies, or the peer has closed its stream. Each call may change this.
    #[inline]
    pub fn wants_read(&self) -> bool {
        let reads = match &self.state {
            State::Live(stream) => self.ending.is_some() || stream.reads() && self.unwritten.has_room(),
            state => matches!(state, State::Closing(_)),
        };
        reads && self.connection.is_some() && self.ending.as_ref().is_none_or(|ending| !ending.peer_closed)
    }

    /// Sorts an element by the [namespace](crate::Config::stanza_ns) of the stanzas, for [`handle`](Self::handle).
    pub fn inbound(&self, element: &impl ToInbound) -> Inbound {
        element.to_inbound(self.config.stanza_ns)
    }

    /// Takes an element that has arrived on the present connection, any element. Returns what the host has to do about
    /// it.
    ///
    /// # Errors
    ///
    /// [`NotNow`], with the element, while the session does not [want to read](Self::wants_read).
    #[inline(always)]
    pub fn handle(&mut self, inbound: Inbound, now: Instant) -> Result<Arrival, NotNow> {
        // This is the most frequent element, and the way of all else is long.
        if let Inbound::Nonza(Nonza::Ack(h)) = inbound
            && let (State::Live(stream), None) = (&self.state, &self.ending)
            && stream.is_enabled()
            && self.wants_read()
        {
            // There is nothing in it to drop, and to find that out costs a call.
            mem::forget(inbound);
            self.take_ack(h, now);
            return Ok(Arrival::Handled);
        }
        self.handle_otherwise(inbound, now)
    }

    #[inline(never)]
    fn handle_otherwise(&mut self, inbound: Inbound, now: Instant) -> Result<Arrival, NotNow> {
        if !self.wants_read() {
            return Err(NotNow(inbound));
        }
        if let Some(verdict) = &mut self.verdict {
            verdict.heard();
        }
        let are_wanted = self.returns_acknowledged();
        let (State::Live(stream), None) = (&mut self.state, &self.ending) else {
            self.handle_last(&inbound, are_wanted, now);
            return Ok(Arrival::Handled);
        };
        match inbound {
            Inbound::Nonza(Nonza::Failed(ref failed))
                if self.client.as_ref().is_some_and(|client| client.asks_again(failed, &self.config)) =>
            {
                self.on_unavailable(now);
                return Ok(Arrival::Handled);
            }
            Inbound::StreamError { conflict } => {
                self.on_stream_error(conflict, now);
                return Ok(Arrival::Handled);
            }
            _ => {}
        }
        match stream.handle_into(inbound, now, &mut Acknowledged { into: &mut self.events, are_wanted }) {
            Ok(action) => return Ok(self.on_action(action, now)),
            Err(error) => self.on_error(error, now),
        }
        Ok(Arrival::Handled)
    }

    /// An `<a/>` has come.
    #[inline(always)]
    fn take_ack(&mut self, h: Counter, now: Instant) {
        if let Some(verdict) = &mut self.verdict {
            verdict.heard();
        }
        let State::Live(stream) = &mut self.state else { return };
        let checked = match stream.check_ack(h) {
            Ok(checked) => checked,
            Err(error) => return self.on_error(error, now),
        };
        if let Some(client) = &mut self.client {
            client.silent_at = None;
        }
        let (asked, outstanding, count) = (stream.asked_at(), stream.traffic().queue.outstanding(), checked.count());
        if self.evicted.is_some() || self.tally.as_ref().is_some_and(|tally| tally.returns_acknowledged) {
            self.acknowledge_and_return(checked, now);
        } else {
            stream.acknowledge(checked, now);
        }
        if let Some(asked) = asked {
            tally(&mut self.tally).on_answer(asked, count, outstanding, now);
        }
    }

    /// What the peer has acknowledged goes to the host, or is not kept beside the buffer any longer.
    #[inline(never)]
    fn acknowledge_and_return(&mut self, checked: Checked, now: Instant) {
        let are_wanted = self.returns_acknowledged();
        let State::Live(stream) = &mut self.state else { return };
        stream.acknowledge_into(checked, now, &mut Acknowledged { into: &mut self.events, are_wanted });
        self.forget_acked_evicted();
    }

    /// The peer has handled stanzas, which may have left the buffer before.
    #[inline(always)]
    pub(super) fn forget_acked_evicted(&mut self) {
        if let (Some(evicted), State::Live(stream)) = (&mut self.evicted, &self.state) {
            evicted.on_ack(stream.acked(), stream.sent());
        }
    }

    /// Does what the engine says.
    fn on_action(&mut self, action: Action<S>, now: Instant) -> Arrival {
        match action {
            Action::Deliver(receipt) => {
                self.tell_hearing(now);
                return Arrival::Stanza(receipt);
            }
            Action::Other => return Arrival::Other,
            Action::Enable(request) => return Arrival::Enable(request),
            Action::Write(Nonza::Ack(_)) => self.unwritten.owe_ack(),
            Action::Write(nonza) => self.unwritten.push(Front::Nonza(nonza)),
            // An `<a/>` was taken before.
            Action::Acknowledged(_) => {}
            // Only where no resource is bound does the engine let it come so far, and the session has begun.
            Action::Resume(request) => {
                if let State::Live(stream) = &mut self.state {
                    let failed = stream.refuse_resume(request, Refusal::Because(Condition::UnexpectedRequest));
                    self.unwritten.extend(failed.ok().map(Front::Nonza));
                }
            }
            Action::Enabled(enabled) => self.on_enabled(enabled.location),
            Action::Resumed(after) => self.on_resumed(after.is_some(), now),
            Action::Failed(failed, ended) => self.on_failed(failed, *ended, now),
        }
        Arrival::Handled
    }

    #[cold]
    fn on_error(&mut self, error: Error, now: Instant) {
        match error.reaction() {
            // Nor for later: the session wants to read.
            Reaction::Nothing | Reaction::Later => {}
            Reaction::Write(nonza) => self.unwritten.push(Front::Nonza(nonza)),
            Reaction::Close(last) => self.end_stream(last, LeftWhy::Error(error), now),
            Reaction::Detach => self.detach(None, LeftWhy::Error(error), now),
        }
    }

    /// While the session ends, acknowledgements count, and nothing else does: the last `<a/>` leaves out what comes now.
    fn handle_last(&mut self, inbound: &Inbound, are_wanted: bool, now: Instant) {
        if let (Inbound::StreamError { conflict: true }, Some(_)) = (inbound, &self.client) {
            self.events.push_back(Event::Conflict);
        }
        let Inbound::Nonza(Nonza::Ack(h)) = inbound else { return };
        let acknowledged = &mut Acknowledged { into: &mut self.events, are_wanted };
        let covered = match &mut self.state {
            State::Live(stream) => stream.take_ack_into(*h, now, acknowledged).ok().map(|_| stream.sent()),
            State::Closing(closing) => {
                closing.handle_into(inbound, acknowledged);
                (closing.acked() == *h).then(|| closing.sent())
            }
            State::Detached(..) | State::Offline(_) | State::Over => None,
        };
        if let (Some(evicted), Some(sent)) = (&mut self.evicted, covered) {
            evicted.on_ack(*h, sent);
        }
    }

    fn on_stream_error(&mut self, conflict: bool, now: Instant) {
        if self.client.is_some() {
            return self.on_server_error(conflict, now);
        }
        let last = LastWords { write: None, error: None, reason: EndReason::PeerFault };
        self.start_ending(last, LeftWhy::PeerError { conflict }, now);
    }

    /// The present connection is lost. It comes back by [`Event::Left`], and the host drops what is unread or unwritten
    /// on it. A session that can be resumed [is detached](Self::is_detached) from here on; another one ends.
    pub fn lost(&mut self, now: Instant) {
        if self.connection.is_none() {
            return;
        }
        if self.ending.is_some() {
            self.drop_connection(LeftWhy::Lost);
            return self.advance(now);
        }
        self.detach(None, LeftWhy::Lost, now);
    }

    /// If the session ends its stream, the reason for that is told instead of this one.
    pub(super) fn drop_connection(&mut self, why: LeftWhy) {
        self.unwritten.take_front();
        let why = self.ending.as_ref().map_or(why, |ending| ending.why);
        self.leave(Parting::Drop, why);
    }

    pub(super) fn leave(&mut self, parting: Parting, why: LeftWhy) {
        let connection = self.connection.take();
        self.events.extend(connection.map(|connection| Event::Left { connection, parting, why }));
    }
}

/// Acknowledged stanzas, as events; dropped at once where the host does not want them.
pub(super) struct Acknowledged<'a, S, C> {
    pub(super) into: &'a mut VecDeque<Event<S, C>>,
    pub(super) are_wanted: bool,
}

impl<S, C> Extend<Returned<S>> for Acknowledged<'_, S, C> {
    fn extend<I: IntoIterator<Item = Returned<S>>>(&mut self, returned: I) {
        let events = returned.into_iter().map(Event::Acknowledged);
        if self.are_wanted {
            self.into.extend(events);
        } else {
            events.for_each(drop);
        }
    }
}
