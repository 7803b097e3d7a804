//! Stanzas for the peer: how they come in, what waits, and what may still be changed.

use std::time::Instant;

use super::{NotSent, NotSentWhy, Session, State};
use crate::queue::{Backlog, Queue, Unacked};
use crate::stanza::Stanza;

impl<S: Stanza, C> Session<S, C> {
    /// Sends a stanza to the peer: now, when there is room, or when the session has a connection. The
    /// [backlog](crate::Config::backlog_max) is bounded; what happens at its bound is
    /// [`on_full`](crate::Config::on_full).
    ///
    /// A server's session keeps nothing that is written while stream management [is not on](Self::is_enabled): before
    /// [`accept_enable`](Self::accept_enable), or without it. If the connection is lost, such a stanza does not come
    /// back.
    ///
    /// # Errors
    ///
    /// [`NotSent`], with the stanza: the session [is over](Self::is_over), or a client's backlog
    /// [is full](Self::has_room), or the stanza is larger than the buffer.
    #[inline]
    pub fn send(&mut self, stanza: S, now: Instant) -> Result<(), NotSent<S>> {
        // The fast path: a server's session, with a stream.
        if let (State::Live(stream), None, Some(_)) = (&mut self.state, &self.client, &self.connection) {
            let queue = stream.queue_mut();
            queue.push_waiting(stanza, now);
            if !queue.backlog().is_within(&self.config) {
                self.on_backlog_full(now);
            }
            return Ok(());
        }
        self.send_otherwise(stanza, now)
    }

    #[inline(never)]
    fn send_otherwise(&mut self, stanza: S, now: Instant) -> Result<(), NotSent<S>> {
        if self.client.is_some() && !self.can_keep(stanza.bytes()) && !self.is_over() {
            return Err(NotSent { stanza, why: NotSentWhy::TooLarge });
        }
        let Some(queue) = self.state.queue_mut() else {
            return Err(NotSent { stanza, why: NotSentWhy::Over });
        };
        let is_away = self.connection.is_none();
        let has_replaced = is_away && queue.drop_replaced(&stanza);
        if has_replaced && queue.backlog().is_within(&self.config) {
            self.backlog_full_until = None;
        }
        if self.client.is_some() && !has_replaced && !queue.backlog().has_room(&self.config) {
            return Err(NotSent { stanza, why: NotSentWhy::Full });
        }
        queue.push_waiting(stanza, now);
        let is_within = queue.backlog().is_within(&self.config);
        if is_away {
            self.tell_queued();
            if has_replaced {
                self.note_rewritten();
            }
        }
        if !is_within && self.client.is_none() {
            self.on_backlog_full(now);
        }
        Ok(())
    }

    /// Puts another stanza in the place of the oldest one that `is_it`, unacknowledged or never sent, and returns the one
    /// that was there: a message that its author has taken back must not be resent, nor sent.
    ///
    /// # Errors
    ///
    /// The new stanza, if there is no such one, or if it is larger than the old one and does not fit.
    pub fn replace(&mut self, mut is_it: impl FnMut(&S) -> bool, stanza: S) -> Result<S, S> {
        let number = |mut unacked: Unacked<'_, S>, is_it: &mut dyn FnMut(&S) -> bool| {
            unacked.find(|queued| is_it(queued.stanza)).map(|queued| queued.number)
        };
        let found = match &self.state {
            State::Live(stream) => number(stream.unacked(), &mut is_it),
            State::Detached(session, _) => number(session.unacked(), &mut is_it),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        };
        let replaced = match (found, &mut self.state) {
            (Some(number), State::Live(stream)) => stream.replace(number, stanza)?,
            (Some(number), State::Detached(session, _)) => session.replace(number, stanza)?,
            (_, state) => match state.queue_mut() {
                Some(queue) => queue.replace_waiting(is_it, stanza, &self.config)?,
                None => return Err(stanza),
            },
        };
        self.on_backlog_less();
        self.note_rewritten();
        Ok(replaced)
    }

    /// What the peer may not have, oldest first: the unacknowledged stanzas, then those that wait to be sent. A push service
    /// looks what to wake the device for.
    pub fn pending(&self) -> impl Iterator<Item = &S> {
        let unacked = match &self.state {
            State::Live(stream) => Some(stream.unacked()),
            State::Detached(session, _) => Some(session.unacked()),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        };
        let waiting = self.state.queue().into_iter().flat_map(Queue::waiting).map(|(stanza, _)| stanza);
        unacked.into_iter().flatten().map(|queued| queued.stanza).chain(waiting)
    }

    /// Whether one more stanza may be sent: the backlog is not full, and the session not ending. A client that takes
    /// stanzas from a queue of its own leaves them there until then.
    pub fn has_room(&self) -> bool {
        !self.is_ending() && self.state.queue().is_some_and(|queue| queue.backlog().has_room(&self.config))
    }

    /// How many stanzas wait to be sent.
    pub fn waiting(&self) -> usize {
        self.backlog().stanzas
    }

    /// What waits to be sent.
    #[inline]
    pub(super) fn backlog(&self) -> Backlog {
        self.state.queue().map_or(Backlog::default(), Queue::backlog)
    }
}
