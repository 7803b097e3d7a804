//! Stanzas and acknowledgements, in both directions, and the timers that go with them.

use std::time::Instant;

use super::action::{Acked, NotRecorded, Sent, WhyNot};
use super::{Phase, StreamMgmt};
use crate::config::{AckFreq, OnFull};
use crate::counter::Counter;
use crate::error::Error;
use crate::handled::{NotOpen, Receipt, ReceiptError};
use crate::nonza::{Kind, Nonza};
use crate::queue::{Lost, Stanza, WrongH, count};

/// What is going on about acknowledgements of what we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nothing.
    No,
    /// An `<r/>` is on its way. Without an answer by then the connection is dead; nothing: it may take
    /// for ever.
    Awaiting(Option<Instant>),
    /// The last answer left something out: another `<r/>` is due at this time.
    Again(Instant),
}

impl<S: Stanza> StreamMgmt<S> {
    /// Records a stanza, any stanza, before it is written. Where stream management is off, this is one
    /// branch, and the stanza is dropped.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], with the stanza, which must not be written then: the buffer is full and the
    /// policy is to end the stream at once, or a client waits for `<resumed/>`.
    pub fn record_sent(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        match self.phase {
            Phase::Enabled | Phase::Enabling => {}
            Phase::Resuming(_) => return Err(NotRecorded { stanza, why: WhyNot::Resuming }),
            _ => return Ok(Sent { number: None, request: None, evicted: None }),
        }
        let mut evicted = None;
        let queue = &mut self.session.queue;
        // A session that was resumed may hold older ones still: the newest are kept, or none.
        let number = if !self.config.buffer && queue.len() == 0 && queue.can_count() {
            // Nor could it be sent again.
            self.resumable = false;
            queue.count()
        } else if queue.fits(&stanza, &self.config) {
            queue.push(stanza, now)
        } else {
            let number;
            (number, evicted) = self.overflow(stanza, now)?;
            number
        };
        Ok(Sent { number: Some(number), request: self.request_if_due(now), evicted })
    }

    #[cold]
    fn overflow(&mut self, stanza: S, now: Instant) -> Result<(Counter, Option<Lost<S>>), NotRecorded<S>> {
        let queue = &mut self.session.queue;
        let (stanzas, bytes) = (count(self.config.buffer_max.get()), self.config.buffer_max_bytes.get());
        match self.config.on_full {
            _ if !queue.can_count() => {}
            OnFull::End => {}
            OnFull::EndAfter(grace) => {
                // Its own handle is at least a byte, so that empty stanzas have an end, too.
                let twice = queue.bytes().saturating_add(stanza.bytes()).saturating_add(queue.len());
                if twice <= bytes.saturating_mul(2) {
                    // The first stanza over the bounds starts the time, and no other.
                    self.full_until = self.full_until.or_else(|| now.checked_add(grace));
                    return Ok((queue.push(stanza, now), None));
                }
            }
            OnFull::GiveUpResumability => {
                self.resumable = false;
                let number = queue.push(stanza, now);
                return Ok((number, queue.evict(stanzas, bytes)));
            }
        }
        Err(NotRecorded { stanza, why: WhyNot::Full })
    }

    /// Settles a delivered stanza: the host has
    /// [accepted responsibility](https://xmpp.org/extensions/xep-0198.html#acking) for it. Gives an
    /// `<a/>` to write if an `<r/>` was waiting for this stanza.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], with the receipt, if it is of another session or was given up before.
    pub fn record_handled(&mut self, receipt: Receipt) -> Result<Option<Nonza>, ReceiptError> {
        Ok(self.session.handled.settle(receipt)?.map(Nonza::Ack))
    }

    /// Settles a delivered stanza without its receipt: the host takes responsibility for it, and `h`
    /// covers it. Gives an `<a/>` as [`record_handled`](Self::record_handled) does.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] if that stanza has no open receipt.
    pub fn give_up(&mut self, number: Counter) -> Result<Option<Nonza>, NotOpen> {
        Ok(self.session.handled.settle_number(number)?.map(Nonza::Ack))
    }

    /// An `<a/>` that nobody asked for, which [either side may
    /// send](https://xmpp.org/extensions/xep-0198.html#acking) whenever stream management is on.
    pub fn ack(&mut self) -> Option<Nonza> {
        self.is_enabled().then(|| Nonza::Ack(self.h()))
    }

    /// An `<r/>` outside the rhythm of [`ack_freq`](crate::Config::ack_freq), where stream management is
    /// on. It has to be answered in [`ack_timeout`](crate::Config::ack_timeout) like the others.
    pub fn request(&mut self, now: Instant) -> Option<Nonza> {
        self.is_enabled().then(|| self.ask(now))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; it may have come already.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase != Phase::Enabled {
            return None;
        }
        let asking = match self.asking {
            Asking::No => None,
            Asking::Awaiting(deadline) => deadline,
            Asking::Again(at) => Some(at),
        };
        [asking, self.full_until].into_iter().flatten().min()
    }

    /// Does what is due, which may be an `<r/>` to write. Calls at any other time change nothing.
    ///
    /// # Errors
    ///
    /// [`Error::BufferFull`] or [`Error::AckTimeout`], with the state as it was: obey its
    /// [`answer`](Error::answer).
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<Nonza>, Error> {
        if self.phase != Phase::Enabled {
            return Ok(None);
        }
        if self.full_until.is_some_and(|until| until <= now) {
            return Err(Error::BufferFull);
        }
        match self.asking {
            Asking::Awaiting(Some(deadline)) if deadline <= now => Err(Error::AckTimeout),
            Asking::Again(at) if at <= now => Ok(Some(self.ask(now))),
            _ => Ok(None),
        }
    }

    pub(super) fn acknowledge(&mut self, h: Counter, now: Instant) -> Result<Acked, Error> {
        let count = self.take_h(h).map_err(|why| Error::WrongH { element: Kind::Ack, why })?;
        self.asking = self.after_answer(now);
        Ok(Acked { h, count })
    }

    /// Forgets what `h` acknowledges.
    pub(super) fn take_h(&mut self, h: Counter) -> Result<u32, WrongH> {
        let acknowledged = self.session.queue.ack(h)?;
        if self.full_until.is_some() && self.session.queue.is_within(&self.config) {
            self.full_until = None;
        }
        Ok(acknowledged)
    }

    fn after_answer(&self, now: Instant) -> Asking {
        let outstanding = self.session.queue.outstanding();
        let again = match self.config.ack_freq {
            _ if !self.config.ack || outstanding == 0 => None,
            AckFreq::SelfClocked { idle } => now.checked_add(idle),
            // The peer has answered, and not for all that it was asked: it is busy, and alive.
            AckFreq::Every(_) if (1..=outstanding).contains(&self.asked.since(self.acked())) => {
                self.config.ack_timeout.and_then(|timeout| now.checked_add(timeout))
            }
            AckFreq::Every(_) => None,
        };
        again.map_or(Asking::No, Asking::Again)
    }

    fn request_if_due(&mut self, now: Instant) -> Option<Nonza> {
        (self.phase == Phase::Enabled && self.is_request_due()).then(|| self.ask(now))
    }

    pub(super) fn is_request_due(&self) -> bool {
        let queue = &self.session.queue;
        self.config.ack
            && queue.outstanding() > 0
            && match self.config.ack_freq {
                AckFreq::Every(stanzas) => queue.sent().since(self.asked) >= stanzas.get(),
                AckFreq::SelfClocked { .. } => !matches!(self.asking, Asking::Awaiting(_)),
            }
    }

    pub(super) fn ask(&mut self, now: Instant) -> Nonza {
        self.asked = self.sent();
        if !matches!(self.asking, Asking::Awaiting(_)) {
            self.asking = Asking::Awaiting(self.config.ack_timeout.and_then(|timeout| now.checked_add(timeout)));
        }
        Nonza::Request
    }
}
