//! The one way out: what is to be written, in order.

use std::time::{Duration, Instant};

use super::evicted::Evicted;
use super::{Session, State};
use crate::config::OnFull;
use crate::counter::Counter;
use crate::nonza::Nonza;
use crate::queue::{Returned, Undelivered};
use crate::stanza::Stanza;
use crate::stream_error::StreamError;

/// One thing to write. See [`Session::next_write`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer gets it only if it is written"]
#[non_exhaustive]
pub enum Write<'a, S> {
    /// A stanza.
    Stanza {
        /// The stanza.
        stanza: &'a S,
        /// `Some`: it was first given to the session at this time, and goes out late. It
        /// [should be stamped](https://xmpp.org/extensions/xep-0198.html#acking) with it: see [`delay`](crate::delay).
        late: Option<Instant>,
    },
    /// An element of stream management.
    Nonza(Nonza),
    /// The last stream error.
    StreamError(StreamError),
    /// `</stream:stream>`. Nothing follows.
    Close,
    /// Flush: what follows must not share a TCP segment with what was written before. Clients in use miscount a stanza
    /// that arrives together with `<enabled/>` or `<resumed/>`.
    Flush,
}

/// What goes before all else.
#[derive(Debug)]
pub(super) enum Front {
    Flush,
    Nonza(Nonza),
    Error(StreamError),
    Close,
}

impl<S> From<Front> for Write<'_, S> {
    fn from(front: Front) -> Self {
        match front {
            Front::Flush => Self::Flush,
            Front::Nonza(nonza) => Self::Nonza(nonza),
            Front::Error(error) => Self::StreamError(error),
            Front::Close => Self::Close,
        }
    }
}

/// What has waited for so long goes out with its time.
const LATE: Duration = Duration::from_secs(1);

/// What is written next.
enum Next {
    Front(Front),
    Ack(Nonza),
    AckRequest,
    Resent,
    New { late: Option<Instant> },
}

impl<S: Stanza, C> Session<S, C> {
    /// The next thing to write, and the connection to write it to. `None`: there is nothing to write now.
    ///
    /// Call it while the connection takes more: while fewer bytes wait in its own output than a bound that the host
    /// chooses, 64 KiB for instance. A connection that takes no more keeps nothing else waiting.
    #[inline]
    pub fn next_write(&mut self, now: Instant) -> Option<(&mut C, Write<'_, S>)> {
        self.connection.as_ref()?;
        let next = self.choose(now)?;
        let write = match next {
            Next::Front(front) => front.into(),
            Next::Ack(ack) => Write::Nonza(ack),
            Next::AckRequest => Write::Nonza(Nonza::AckRequest),
            Next::Resent => {
                let (State::Live(stream), Some(number)) = (&self.state, self.resend) else { return None };
                let queued = stream.queued(number)?;
                self.resend = Some(number.next()).filter(|_| number != stream.sent());
                self.request |= self.resend.is_none() && std::mem::take(&mut self.request_resent);
                Write::Stanza { stanza: queued.stanza, late: Some(queued.queued) }
            }
            Next::New { late } => {
                let stanza = match (&self.passing, &self.state) {
                    (Some(passing), _) => passing,
                    (None, State::Live(stream)) => stream.newest()?,
                    _ => return None,
                };
                Write::Stanza { stanza, late }
            }
        };
        Some((self.connection.as_mut()?, write))
    }

    #[inline]
    fn choose(&mut self, now: Instant) -> Option<Next> {
        if let Some(front) = self.front.pop_front() {
            if self.front.is_empty() {
                self.front = Default::default();
            }
            return Some(Next::Front(front));
        }
        let State::Live(stream) = &self.state else { return None };
        if self.request {
            self.request = false;
            return Some(Next::AckRequest);
        }
        if self.acks > 0 {
            self.acks = self.acks.saturating_sub(1);
            return Some(Next::Ack(Nonza::Ack(stream.h())));
        }
        if self.ending.is_some() {
            // What was not sent by now comes back.
            return None;
        }
        if let Some(number) = self.resend {
            if stream.queued(number).is_none() {
                // The peer has acknowledged it meanwhile.
                self.resend = stream.unacked().next().map(|queued| queued.number);
            }
            if self.resend.is_some() {
                return Some(Next::Resent);
            }
            self.request |= std::mem::take(&mut self.request_resent);
            return std::mem::take(&mut self.request).then_some(Next::AckRequest);
        }
        self.choose_new(now)
    }

    #[inline]
    fn choose_new(&mut self, now: Instant) -> Option<Next> {
        if self.passing.is_some() {
            self.drop_passing();
        }
        let bytes = self.backlog.next_bytes()?;
        // What is written before the reply to `<enable/>` belongs to no session that could be resumed.
        if self.client.as_ref().is_some_and(|client| !client.is_online()) {
            return None;
        }
        let State::Live(stream) = &mut self.state else { return None };
        if !stream.is_recording() {
            let waiting = self.backlog.pop(&self.config)?;
            self.passing = Some(waiting.stanza);
            return Some(Next::New { late: late(waiting.queued, self.resumed, now) });
        }
        if !stream.takes(bytes) {
            self.request |= stream.request_room(now).is_some();
            return std::mem::take(&mut self.request).then_some(Next::AckRequest);
        }
        let waiting = self.backlog.pop(&self.config)?;
        let late = late(waiting.queued, self.resumed, now);
        if !stream.keeps() {
            self.request = stream.record_unkept(now).write.is_some();
            self.passing = Some(waiting.stanza);
            return Some(Next::New { late });
        }
        match stream.record_queued(waiting.stanza, waiting.queued, now) {
            Ok(sent) => {
                self.request = sent.write.is_some();
                if let Some(evicted) = sent.evicted {
                    self.on_evicted(*evicted, sent.number);
                }
                Some(Next::New { late })
            }
            // It is larger than the whole buffer.
            Err(not) => {
                self.backlog.push_back_first(not.stanza, waiting.queued);
                self.end_full(now);
                // The last words may be said at once.
                self.front.pop_front().map(Next::Front)
            }
        }
    }

    /// The stanza that was lent to the host is written.
    pub(super) fn drop_passing(&mut self) {
        if let (Some(stanza), Some(evicted)) = (self.passing.take(), &mut self.evicted) {
            evicted.keep_passing(stanza, self.config.evicted_max_bytes);
        }
    }

    /// Stanzas have left the buffer; the one that is written next, too, if it is larger than the whole buffer.
    fn on_evicted(&mut self, mut evicted: Undelivered<S>, number: Option<Counter>) {
        let kept = self.evicted.get_or_insert_with(|| Box::new(Evicted::new()));
        let newest = evicted.take_newest(number);
        kept.keep(evicted, self.config.evicted_max_bytes);
        if let Some(Returned { stanza, queued, number }) = newest {
            kept.lend(number, queued);
            self.passing = Some(stanza);
        }
    }

    /// The backlog is over its bounds.
    pub(super) fn on_backlog_full(&mut self, now: Instant) {
        if self.ending.is_some() {
            // What comes during the end waits for it, and not without bound.
            if !self.backlog.is_within_twice(&self.config) {
                self.finish_ending();
            }
            return;
        }
        let is_attended = self.connection.is_some() || self.taker.is_some();
        let grace = match self.config.on_full {
            OnFull::EndAfter(grace) if is_attended && self.backlog.is_within_twice(&self.config) => grace,
            _ => return self.end_full(now),
        };
        // The first stanza over the bounds starts the time, and no other.
        self.backlog.full_until = self.backlog.full_until.or_else(|| now.checked_add(grace));
    }
}

/// The time that belongs into a stamp: of what had to wait until the session was `resumed`, or has waited for long.
#[inline]
fn late(queued: Instant, resumed: Option<Instant>, now: Instant) -> Option<Instant> {
    let is_late = resumed.is_some_and(|resumed| queued < resumed);
    (is_late || now.saturating_duration_since(queued) >= LATE).then_some(queued)
}
