//! Stanzas and acknowledgements, in both directions.

use std::time::Instant;

use super::action::{Acked, Action, NotRecorded, Sent, WhyNot};
use super::{Phase, StreamMgmt};
use crate::config::OnFull;
use crate::counter::Counter;
use crate::error::Error;
use crate::handled::{NotOpen, Receipt, ReceiptError};
use crate::nonza::{Kind, Nonza};
use crate::queue::{Lost, Stanza, WrongH, count};

impl<S: Stanza> StreamMgmt<S> {
    /// Records a stanza, any stanza, before it is written. Where stream management is off, this is one
    /// branch, and the stanza is dropped.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], with the stanza, which must not be written then: the buffer is full and
    /// [`on_full`](crate::Config::on_full) has no more room, or [a client waits](WhyNot::Unanswered) for the
    /// server's answer.
    #[inline(always)]
    pub fn record_sent(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        // What comes most. Here only the rhythm can ask: `full_until` is set only while the queue is over its bounds.
        if self.phase == Phase::Enabled
            && let bytes = stanza.bytes()
            && self.session.queue.is_calm(bytes, &self.config)
        {
            let number = self.session.queue.push(stanza, bytes, now);
            let request = self.is_in_rhythm();
            if request {
                self.note_request(now);
            }
            return Ok(Sent { number: Some(number), request, evicted: None });
        }
        self.record_otherwise(stanza, now)
    }

    #[inline(never)]
    fn record_otherwise(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        match self.phase {
            Phase::Enabled | Phase::Enabling => {}
            Phase::Resuming(_) => return Err(NotRecorded { stanza, why: WhyNot::Unanswered }),
            _ => return Ok(Sent { number: None, request: false, evicted: None }),
        }
        let bytes = stanza.bytes();
        let was_over = self.full_until.is_some();
        let mut evicted = None;
        let queue = &mut self.session.queue;
        // A session that was resumed may hold older ones still: the newest are kept, or none.
        let number = if !self.config.buffer && queue.len() == 0 && queue.can_count() {
            queue.count()
        } else if queue.fits(bytes, &self.config) {
            queue.push(stanza, bytes, now)
        } else {
            let number;
            (number, evicted) = self.overflow(stanza, bytes, now)?;
            number
        };
        // Nobody is blamed for a full buffer who was not asked for what filled it.
        let is_over = self.full_until.is_some() && !was_over && self.config.ack;
        let request = self.phase == Phase::Enabled && (is_over || self.is_request_due());
        if request {
            self.note_request(now);
        }
        Ok(Sent { number: Some(number), request, evicted: evicted.map(Box::new) })
    }

    fn overflow(
        &mut self,
        stanza: S,
        bytes: usize,
        now: Instant,
    ) -> Result<(Counter, Option<Lost<S>>), NotRecorded<S>> {
        let queue = &mut self.session.queue;
        let (most, most_bytes) = (count(self.config.buffer_max.get()), self.config.buffer_max_bytes.get());
        match self.config.on_full {
            _ if !queue.can_count() => {}
            OnFull::End => {}
            OnFull::EndAfter(grace) => {
                // Its own handle is at least a byte, so that empty stanzas have an end, too.
                let twice = queue.bytes().saturating_add(bytes).saturating_add(queue.len());
                if twice <= most_bytes.saturating_mul(2) {
                    // The first stanza over the bounds starts the time, and no other.
                    self.full_until = self.full_until.or_else(|| now.checked_add(grace));
                    return Ok((queue.push(stanza, bytes, now), None));
                }
            }
            OnFull::GiveUpResumability => {
                self.resumable = false;
                let number = queue.push(stanza, bytes, now);
                return Ok((number, Some(queue.evict(most, most_bytes))));
            }
        }
        // Who could not be asked yet is not to blame.
        let why = if self.phase == Phase::Enabling { WhyNot::Unanswered } else { WhyNot::Full };
        Err(NotRecorded { stanza, why })
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
    #[inline(always)]
    pub fn record_handled(&mut self, receipt: Receipt) -> Result<Option<Nonza>, ReceiptError> {
        if self.session.handled.settle_alone(&receipt) {
            return Ok(None);
        }
        self.settle(receipt)
    }

    /// Settles a stanza among others that are open.
    #[inline(never)]
    fn settle(&mut self, receipt: Receipt) -> Result<Option<Nonza>, ReceiptError> {
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
    /// send](https://xmpp.org/extensions/xep-0198.html#acking) whenever stream management is on, until
    /// [`finish`](Self::finish).
    #[must_use = "the peer gets it only if it is written"]
    pub fn ack(&mut self) -> Option<Nonza> {
        self.is_speaking().then(|| Nonza::Ack(self.h()))
    }

    #[inline(always)]
    pub(super) fn acknowledged(&mut self, h: Counter, now: Instant) -> Result<Action<'_, S>, Error> {
        match self.acknowledge(h, now) {
            Ok(count) => Ok(Action::Acked(Acked { h, count })),
            Err(why) => Err(Error::WrongH { element: Kind::Ack, why }),
        }
    }

    #[inline(never)]
    fn acknowledge(&mut self, h: Counter, now: Instant) -> Result<u32, WrongH> {
        let count = self.take_h(h)?;
        self.note_answer(now);
        Ok(count)
    }

    /// Takes a stanza behind others that are open.
    #[inline(never)]
    pub(super) fn receive(&mut self, now: Instant) -> Result<Receipt, Error> {
        if !self.can_receive() {
            self.was_blocked = true;
            return Err(Error::ReceiptsFull);
        }
        let receipt = self.session.handled.receive(now);
        self.was_blocked |= !self.can_receive();
        Ok(receipt)
    }

    /// The answer to an `<r/>`.
    pub(super) fn answer(&mut self) -> Nonza {
        Nonza::Ack(self.session.handled.answer())
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::queue::Queue;

    /// It takes 2^32 unacknowledged stanzas to come here from outside.
    #[test]
    fn a_stanza_that_cannot_be_counted_is_refused_whatever_happens_to_a_full_buffer() {
        let now = Instant::now();
        let policies = [OnFull::End, OnFull::EndAfter(Duration::from_secs(1)), OnFull::GiveUpResumability];
        for (on_full, buffer) in policies.into_iter().flat_map(|policy| [(policy, true), (policy, false)]) {
            let mut stream = StreamMgmt::server(Arc::new(Config::default().on_full(on_full).buffer(buffer)));
            stream.phase = Phase::Enabled;
            stream.session.queue = Queue::without_a_number_left();
            stream.resumable = true;
            let refused = NotRecorded { stanza: "one too many", why: WhyNot::Full };
            assert_eq!(stream.record_sent("one too many", now), Err(refused), "{on_full:?}, buffer: {buffer}");
            assert_eq!(stream.session.queue, Queue::without_a_number_left());
            assert_eq!((stream.is_resumable(), stream.full_until), (true, None));
            // One that is acknowledged makes room for one.
            assert!(stream.acknowledged(Counter::new(1), now).is_ok());
            let sent = stream.record_sent("the next", now).expect("it can be counted");
            assert_eq!(sent.number, Some(Counter::ZERO));
            assert!(stream.record_sent("one too many", now).is_err());
        }
    }
}
