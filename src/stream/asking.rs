//! When the peer is asked for an acknowledgement, and what its silence means.

use std::time::{Duration, Instant};

use super::StreamMgmt;
use crate::config::{AckFreq, OnFull};
use crate::error::Error;
use crate::nonza::Nonza;
use crate::queue::Stanza;

/// What is going on about acknowledgements of what we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nothing.
    No,
    /// An `<r/>` is on its way since then. Without an answer in `ack_timeout` the connection is dead.
    Awaiting(Instant),
    /// The last answer left something out: another `<r/>` is due at this time.
    Again(Instant),
}

/// How soon a peer that is behind with its answers, and alive, is asked again while the buffer fills up.
const BUSY: Duration = Duration::from_secs(1);

impl<S: Stanza> StreamMgmt<S> {
    /// An `<r/>` outside the rhythm of [`ack_freq`](crate::Config::ack_freq), where stream management is
    /// on, until [`finish`](Self::finish). It has to be answered in
    /// [`ack_timeout`](crate::Config::ack_timeout) like the others.
    #[must_use = "the peer gets it only if it is written"]
    pub fn request(&mut self, now: Instant) -> Option<Nonza> {
        self.is_speaking().then(|| self.ask(now))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; it may have come already.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_speaking() {
            return None;
        }
        let asking = match self.asking {
            Asking::No => None,
            Asking::Awaiting(since) => self.after_ack_timeout(since),
            Asking::Again(at) => Some(at),
        };
        [asking, self.full_until].into_iter().flatten().min()
    }

    /// Does what is due, which may be an `<r/>` to write. Calls at any other time change nothing.
    ///
    /// The peer is not to blame for an answer that lies unread: if this side took no more stanzas in its time,
    /// for [`can_receive`](Self::can_receive) was false, then that starts anew instead of running out. A receipt
    /// that is never settled may so keep a dead stream for ever.
    ///
    /// # Errors
    ///
    /// [`Error::BufferFull`] or [`Error::AckTimeout`], with the state as it was: obey its
    /// [`answer`](Error::answer).
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<Nonza>, Error> {
        if !self.is_speaking() {
            return Ok(None);
        }
        if let Some(error) = self.out_of_time(now) {
            if self.can_receive() && !self.was_blocked {
                return Err(error);
            }
            self.start_anew(now)?;
        }
        Ok(if matches!(self.asking, Asking::Again(at) if at <= now) { Some(self.ask(now)) } else { None })
    }

    /// The peer has its time once more, unless that is no time at all, which is over when it starts.
    fn start_anew(&mut self, now: Instant) -> Result<(), Error> {
        let before = (self.asking, self.full_until);
        if let Asking::Awaiting(_) = self.asking {
            self.asking = Asking::Awaiting(now);
        }
        self.start_grace(now);
        if let Some(error) = self.out_of_time(now) {
            (self.asking, self.full_until) = before;
            return Err(error);
        }
        self.was_blocked = !self.can_receive();
        Ok(())
    }

    /// What ends the stream if nothing has come by now.
    fn out_of_time(&self, now: Instant) -> Option<Error> {
        let full = self.full_until.filter(|until| *until <= now);
        // What came first decides: a session whose connection was dead before may still be resumed.
        let is_dead = |dead: Instant| dead <= now && full.is_none_or(|full| dead <= full);
        match self.asking {
            Asking::Awaiting(since) if self.after_ack_timeout(since).is_some_and(is_dead) => Some(Error::AckTimeout),
            _ => full.map(|_| Error::BufferFull),
        }
    }

    /// The time starts in which the peer has to make room, if the buffer is over its bounds.
    pub(super) fn start_grace(&mut self, now: Instant) {
        if let OnFull::EndAfter(grace) = self.config.on_full
            && !self.session.queue.is_within(&self.config)
        {
            self.full_until = now.checked_add(grace);
        }
    }

    /// The deadline is made when it is asked for: an `<r/>` goes out with every stanza, and few wait long.
    fn after_ack_timeout(&self, since: Instant) -> Option<Instant> {
        self.config.ack_timeout.and_then(|timeout| since.checked_add(timeout))
    }

    /// An `<a/>` has come. It may have left something out.
    #[inline]
    pub(super) fn note_answer(&mut self, now: Instant) {
        if self.was_blocked {
            self.was_blocked = !self.can_receive();
        }
        self.asking = if self.session.queue.outstanding() == 0 { Asking::No } else { self.after_part(now) };
    }

    #[inline(never)]
    fn after_part(&self, now: Instant) -> Asking {
        let asked = self.asked.since(self.acked());
        let is_answered = asked == 0 || asked > self.session.queue.outstanding();
        let again = match self.config.ack_freq {
            _ if !self.config.ack => None,
            // What was sent since then must not wait for the rhythm.
            _ if self.is_pressed() => now.checked_add(if is_answered { Duration::ZERO } else { BUSY }),
            AckFreq::SelfClocked { idle } => now.checked_add(idle),
            // The peer has answered, and not for all that it was asked: it is busy, and alive.
            AckFreq::Every(_) if !is_answered => self.after_ack_timeout(now),
            AckFreq::Every(_) => None,
        };
        again.map_or(Asking::No, Asking::Again)
    }

    /// Whether an `<r/>` is due for what was sent: by the rhythm, or because the buffer fills up.
    pub(super) fn is_request_due(&self) -> bool {
        let is_waiting = matches!(self.asking, Asking::Awaiting(_)) || self.sent() == self.asked;
        self.is_in_rhythm() || self.config.ack && !is_waiting && self.is_pressed()
    }

    #[inline(always)]
    pub(super) fn is_in_rhythm(&self) -> bool {
        let unasked = self.sent().since(self.asked);
        let is_due = match self.config.ack_freq {
            AckFreq::Every(stanzas) => unasked >= stanzas.get(),
            AckFreq::SelfClocked { .. } => !matches!(self.asking, Asking::Awaiting(_)),
        };
        self.config.ack && is_due
    }

    /// Whether the buffer fills up.
    fn is_pressed(&self) -> bool {
        self.full_until.is_some() || self.session.queue.is_half_full(&self.config)
    }

    fn ask(&mut self, now: Instant) -> Nonza {
        // What has filled the buffer before it could be asked about.
        if self.full_until.is_none() {
            self.start_grace(now);
        }
        self.note_request(now);
        Nonza::Request
    }

    /// An `<r/>` goes out.
    #[inline]
    pub(super) fn note_request(&mut self, now: Instant) {
        self.asked = self.sent();
        if !matches!(self.asking, Asking::Awaiting(_)) {
            self.asking = Asking::Awaiting(now);
        }
    }
}
