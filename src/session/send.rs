//! Stanzas for the peer: how they come in, what waits, and what may still be changed.

use std::time::Instant;

use super::{NotSent, NotSentWhy, Session, State};
use crate::queue::{Backlog, Queue, Unacked};
use crate::stanza::Stanza;

impl<S: Stanza, C> Session<S, C> {
    /// Sends a stanza to the peer: now, when there is room, or when the session has a connection. Until then it waits
    /// in the [backlog](crate::Config::backlog_max), which is bounded.
    ///
    /// Give it `<message/>`, `<presence/>` and `<iq/>` [only](https://xmpp.org/extensions/xep-0198.html#acking):
    /// anything else shifts the count, and stanzas come twice or are lost.
    ///
    /// A server's session keeps nothing that is written while stream management [is not on](Self::is_enabled): before
    /// [`accept_enable`](Self::accept_enable), or without it. If the connection is lost, such a stanza does not come
    /// back.
    ///
    /// # Errors
    ///
    /// [`NotSent`], with the stanza: the session [is over](Self::is_over); or it is a client's, and its backlog
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

    /// Puts another stanza in the place of the oldest one for which `is_it` returns true, unacknowledged or never sent.
    /// Returns the one that was there. A message that its author has taken back is neither sent nor resent so.
    ///
    /// # Errors
    ///
    /// The new stanza, if `is_it` finds none, or if the new one is larger than the old one and does not fit.
    pub fn replace(&mut self, mut is_it: impl FnMut(&S) -> bool, stanza: S) -> Result<S, S> {
        let number = |mut unacked: Unacked<'_, S>, is_it: &mut dyn FnMut(&S) -> bool| {
            unacked.find(|queued| is_it(queued.stanza)).map(|queued| queued.number)
        };
        let found = match &self.state {
            State::Live(stream) => number(stream.unacked(), &mut is_it),
            State::Detached(session, _) => number(session.unacked(), &mut is_it),
            State::Closing(closing) => number(closing.traffic().queue.unacked(), &mut is_it),
            State::Offline(_) | State::Over => None,
        };
        let replaced = match (found, &mut self.state) {
            (Some(number), State::Live(stream)) => stream.replace(number, stanza)?,
            (Some(number), State::Detached(session, _)) => session.replace(number, stanza)?,
            (Some(number), State::Closing(closing)) => closing.queue_mut().replace(number, stanza, &self.config)?,
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
    /// looks here for what to wake the device for. After the end there is none.
    pub fn pending(&self) -> impl Iterator<Item = &S> {
        let unacked = self.state.queue().into_iter().flat_map(Queue::unacked).map(|queued| queued.stanza);
        let waiting = self.state.queue().into_iter().flat_map(Queue::waiting).map(|(stanza, _)| stanza);
        unacked.chain(waiting)
    }

    /// Whether one more stanza may be sent: the backlog is not full, and the session does not end. While this is false,
    /// a client that takes stanzas from a queue of its own leaves them there.
    pub fn has_room(&self) -> bool {
        !self.is_ending() && self.state.queue().is_some_and(|queue| queue.backlog().has_room(&self.config))
    }

    /// How many stanzas wait to be sent, in the backlog.
    pub fn waiting(&self) -> usize {
        self.backlog().stanzas
    }

    /// What waits to be sent.
    #[inline]
    pub(super) fn backlog(&self) -> Backlog {
        self.state.queue().map_or(Backlog::default(), Queue::backlog)
    }
}
