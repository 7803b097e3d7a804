//! Stanzas and acknowledgements, in both directions, and the timers that go with them.

use std::time::{Duration, Instant};

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

/// How soon a peer that is behind with its answers, and alive, is asked again while the buffer fills up.
const BUSY: Duration = Duration::from_secs(1);

impl<S: Stanza> StreamMgmt<S> {
    /// Records a stanza, any stanza, before it is written. Where stream management is off, this is one
    /// branch, and the stanza is dropped.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], with the stanza, which must not be written then: the buffer is full and the
    /// policy is to end the stream at once, or a client waits for `<resumed/>`.
    #[inline]
    pub fn record_sent(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        let config = &*self.config;
        if self.phase == Phase::Enabled && config.buffer && self.session.queue.fits(&stanza, config) {
            let number = self.session.queue.push(stanza, now);
            let request = self.is_request_due().then(|| self.ask(now));
            return Ok(Sent { number: Some(number), request, evicted: None });
        }
        self.record_otherwise(stanza, now)
    }

    /// Records a stanza where there is more to it than to keep it.
    fn record_otherwise(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        match self.phase {
            Phase::Enabled | Phase::Enabling => {}
            Phase::Resuming(_) => return Err(NotRecorded { stanza, why: WhyNot::Resuming }),
            _ => return Ok(Sent { number: None, request: None, evicted: None }),
        }
        let was_over = self.full_until.is_some();
        let mut evicted = None;
        let queue = &mut self.session.queue;
        // A session that was resumed may hold older ones still: the newest are kept, or none.
        let number = if !self.config.buffer && queue.len() == 0 && queue.can_count() {
            queue.count()
        } else if queue.fits(&stanza, &self.config) {
            queue.push(stanza, now)
        } else {
            let number;
            (number, evicted) = self.overflow(stanza, now)?;
            number
        };
        // Nobody is blamed for a full buffer who was not asked for what filled it.
        let is_over = self.full_until.is_some() && !was_over && self.config.ack;
        let ask = self.phase == Phase::Enabled && (is_over || self.is_request_due());
        Ok(Sent { number: Some(number), request: ask.then(|| self.ask(now)), evicted: evicted.map(Box::new) })
    }

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

    /// Whether the buffer has room for one more stanza, in number and, before it, in bytes. A host with a
    /// backlog, such as the messages of a long absence, sends on while it has, and goes on when an
    /// [`Acked`](crate::Action::Acked) has come: a burst over the bounds would start what
    /// [`on_full`](crate::Config::on_full) says.
    pub fn has_room(&self) -> bool {
        self.session.queue.has_room(&self.config)
    }

    /// Whether a stanza would be taken. A host reads on while this is so, and goes on when a receipt is
    /// settled: beyond [`receipts_max`](crate::Config::receipts_max) stanzas are refused.
    #[inline]
    pub fn can_receive(&self) -> bool {
        self.session.handled.pending() < count(self.config.receipts_max.get())
    }

    /// Settles a delivered stanza: the host has
    /// [accepted responsibility](https://xmpp.org/extensions/xep-0198.html#acking) for it. Gives an
    /// `<a/>` to write if an `<r/>` was waiting for this stanza: an `<r/>` is answered at once with what is
    /// handled by then, and, if that was not all, once more when it is.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], with the receipt, if it is of another session or was given up before.
    #[inline]
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

    /// Settles all delivered stanzas that are still open, as [`give_up`](Self::give_up) does for one.
    #[must_use = "the peer gets it only if it is written"]
    pub fn give_up_all(&mut self) -> Option<Nonza> {
        self.session.handled.settle_all().map(Nonza::Ack)
    }

    /// An `<a/>` that nobody asked for, which [either side may
    /// send](https://xmpp.org/extensions/xep-0198.html#acking) whenever stream management is on.
    #[must_use = "the peer gets it only if it is written"]
    pub fn ack(&mut self) -> Option<Nonza> {
        self.is_enabled().then(|| Nonza::Ack(self.h()))
    }

    /// An `<r/>` outside the rhythm of [`ack_freq`](crate::Config::ack_freq), where stream management is
    /// on. It has to be answered in [`ack_timeout`](crate::Config::ack_timeout) like the others.
    #[must_use = "the peer gets it only if it is written"]
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
        let full = self.full_until.filter(|until| *until <= now);
        match self.asking {
            // What came first decides: a session whose connection was dead before may still be resumed.
            Asking::Awaiting(Some(deadline)) if deadline <= now && full.is_none_or(|full| deadline <= full) => {
                Err(Error::AckTimeout)
            }
            _ if full.is_some() => Err(Error::BufferFull),
            Asking::Again(at) if at <= now => Ok(Some(self.ask(now))),
            _ => Ok(None),
        }
    }

    #[inline]
    pub(super) fn receive(&mut self, now: Instant) -> Result<Receipt, Error> {
        if !self.can_receive() {
            return Err(Error::ReceiptsFull);
        }
        Ok(self.session.handled.receive(now))
    }

    /// The answer to an `<r/>`.
    #[inline]
    pub(super) fn answer(&mut self) -> Nonza {
        Nonza::Ack(self.session.handled.answer())
    }

    #[inline]
    pub(super) fn acknowledge(&mut self, h: Counter, now: Instant) -> Result<Acked, Error> {
        let count = self.take_h(h).map_err(|why| Error::WrongH { element: Kind::Ack, why })?;
        self.asking = self.after_answer(now);
        Ok(Acked { h, count })
    }

    /// Forgets what `h` acknowledges.
    #[inline]
    pub(super) fn take_h(&mut self, h: Counter) -> Result<u32, WrongH> {
        let acknowledged = self.session.queue.ack(h)?;
        if self.full_until.is_some() && self.session.queue.is_within(&self.config) {
            self.full_until = None;
        }
        Ok(acknowledged)
    }

    #[inline]
    fn after_answer(&self, now: Instant) -> Asking {
        let outstanding = self.session.queue.outstanding();
        let is_answered = !(1..=outstanding).contains(&self.asked.since(self.acked()));
        let again = match self.config.ack_freq {
            _ if !self.config.ack || outstanding == 0 => None,
            // What was sent since then must not wait for the rhythm.
            _ if self.is_pressed() => now.checked_add(if is_answered { Duration::ZERO } else { BUSY }),
            AckFreq::SelfClocked { idle } => now.checked_add(idle),
            // The peer has answered, and not for all that it was asked: it is busy, and alive.
            AckFreq::Every(_) if !is_answered => self.config.ack_timeout.and_then(|timeout| now.checked_add(timeout)),
            AckFreq::Every(_) => None,
        };
        again.map_or(Asking::No, Asking::Again)
    }

    /// Whether the rhythm asks for an `<r/>` for what was sent.
    #[inline]
    pub(super) fn is_request_due(&self) -> bool {
        let unasked = self.sent().since(self.asked);
        let is_awaiting = matches!(self.asking, Asking::Awaiting(_));
        let is_due = match self.config.ack_freq {
            AckFreq::Every(stanzas) => unasked >= stanzas.get(),
            AckFreq::SelfClocked { .. } => !is_awaiting,
        };
        self.config.ack && (is_due || !is_awaiting && unasked > 0 && self.is_pressed())
    }

    /// Whether the buffer fills up.
    #[inline]
    fn is_pressed(&self) -> bool {
        self.full_until.is_some() || self.session.queue.is_half_full(&self.config)
    }

    #[inline]
    pub(super) fn ask(&mut self, now: Instant) -> Nonza {
        self.asked = self.sent();
        if !matches!(self.asking, Asking::Awaiting(_)) {
            self.asking = Asking::Awaiting(self.config.ack_timeout.and_then(|timeout| now.checked_add(timeout)));
        }
        Nonza::Request
    }
}
