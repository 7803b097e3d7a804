//! Stanzas to the peer, and its acknowledgements of them.

use std::time::Instant;

use super::{Action, Inbound, Phase, StreamMgmt};
use crate::config::OnFull;
use crate::counter::{Counter, count};
use crate::detached::{NotRecorded, NotRecordedWhy};
use crate::error::{Error, Reaction};
use crate::nonza::{Kind, Nonza};
use crate::queue::{Checked, Returned, Undelivered};
use crate::stanza::Stanza;

/// A stanza was recorded: write it now.
///
/// See the [example](crate::StreamMgmt#example) of `StreamMgmt`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it may carry an `<r/>` to write, or stanzas that left the buffer"]
pub struct Sent<S> {
    /// Its number among the stanzas sent in this session. `None` where stream management is off.
    pub number: Option<Counter>,
    /// What to write after it, if anything: an `<r/>`.
    pub write: Option<Nonza>,
    /// What left the buffer to make room, under [`OnFull::EvictOldest`]. It was written, and the peer may well have
    /// it: never send it elsewhere while the session lives. A host that would not keep it without stream
    /// management drops it here, too.
    pub evicted: Option<Box<Undelivered<S>>>,
}

/// What an `<a/>` acknowledged.
///
/// See the [example](crate::StreamMgmt#example) of `StreamMgmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// How many stanzas the peer has handled in all.
    pub h: Counter,
    /// How many of them this `<a/>` has added: the stanzas numbered up to `h`.
    pub count: u32,
}

impl<S> NotRecorded<S> {
    /// What to do about it, beside keeping the stanza.
    pub fn reaction(&self) -> Reaction {
        match self.why {
            NotRecordedWhy::Full => Reaction::buffer_full(),
            NotRecordedWhy::AwaitingServer => Reaction::Nothing,
        }
    }
}

/// Where one more stanza is kept.
#[derive(Clone, Copy)]
enum Place {
    /// It is not kept.
    None,
    /// Within the bounds of the buffer.
    Within,
    /// Over them, until this time.
    Over(Option<Instant>),
    /// That of the oldest, which leave.
    OfOldest,
}

impl<S: Stanza> StreamMgmt<S> {
    /// Records a stanza, any stanza, before it is written. Where stream management is off, this is one
    /// branch, and the stanza is dropped.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`], with the stanza, which must not be written then: the buffer is full and
    /// [`on_full`](crate::Config::on_full) has no more room, or [a client waits](NotRecordedWhy::AwaitingServer).
    #[inline(always)]
    pub fn record_sent(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        // Where stream management is off, it does not matter how large a stanza is.
        if self.phase == Phase::Enabled
            && let bytes = stanza.bytes()
            && self.is_calm(bytes)
            && self.traffic.queue.has_memory()
        {
            let number = Some(self.traffic.queue.push(stanza, bytes, now));
            let request = self.requests.after_calm(self.traffic.queue.sent(), &self.config, now, now);
            // `then_some` would drop the element, by a call, where there is no request.
            let write = if request { Some(Nonza::AckRequest) } else { None };
            return Ok(Sent { number, write, evicted: None });
        }
        self.record_otherwise(stanza, now)
    }

    /// Whether the fast path applies to one more stanza of so many bytes.
    #[inline(always)]
    fn is_calm(&self, bytes: usize) -> bool {
        self.phase == Phase::Enabled && self.traffic.queue.is_calm(bytes, &self.config)
    }

    #[inline(never)]
    fn record_otherwise(&mut self, stanza: S, now: Instant) -> Result<Sent<S>, NotRecorded<S>> {
        if !self.is_recording() {
            return Ok(Sent { number: None, write: None, evicted: None });
        }
        let bytes = stanza.bytes();
        match self.place(bytes, now) {
            Ok(Place::None) => Ok(self.record_unkept(now)),
            Ok(place) => {
                let number = self.traffic.queue.push(stanza, bytes, now);
                Ok(self.record_kept(number, place, true, now))
            }
            Err(why) => Err(NotRecorded { stanza, why }),
        }
    }

    /// Whether the fast path applies to the stanza that waits first.
    #[inline(always)]
    pub(crate) fn is_first_calm(&self) -> bool {
        self.traffic.queue.first_waiting().is_some_and(|(bytes, _)| self.is_calm(bytes))
    }

    /// The fast path for the stanza that waits first: it is recorded. Returns it, when it was given to the session, and
    /// whether an `<r/>` follows.
    #[inline(always)]
    pub(crate) fn record_first_calm(&mut self, now: Instant) -> Option<(&S, Instant, bool)> {
        let Self { config, traffic, requests, .. } = self;
        let sent = traffic.queue.sent().next();
        let (stanza, queued) = traffic.queue.send_first()?;
        let request = requests.after_calm(sent, config, queued, now);
        Some((stanza, queued, request))
    }

    /// Records the stanza that waits first. `None`: it is larger than the whole buffer.
    pub(crate) fn record_first(&mut self, now: Instant) -> Option<Sent<S>> {
        let (bytes, queued) = self.traffic.queue.first_waiting()?;
        let place = self.place(bytes, now).ok()?;
        self.traffic.queue.send_first()?;
        Some(self.record_kept(self.sent(), place, queued == now, now))
    }

    /// Where a stanza of so many bytes is kept.
    fn place(&self, bytes: usize, now: Instant) -> Result<Place, NotRecordedWhy> {
        if matches!(self.phase, Phase::Resuming(_)) {
            return Err(NotRecordedWhy::AwaitingServer);
        }
        let queue = &self.traffic.queue;
        if !self.keeps() && queue.can_count() {
            return Ok(Place::None);
        }
        if queue.fits(bytes, &self.config) {
            return Ok(Place::Within);
        }
        let (most, most_bytes) = self.bounds();
        match self.config.on_full {
            _ if !queue.can_count() => {}
            OnFull::End => {}
            OnFull::EndAfter(grace) => {
                let bytes_then = queue.bytes().saturating_add(bytes);
                if queue.len() < most.saturating_mul(2) && bytes_then <= most_bytes.saturating_mul(2) {
                    return Ok(Place::Over(self.requests.clock(now).checked_add(grace)));
                }
            }
            OnFull::EvictOldest => return Ok(Place::OfOldest),
        }
        // A peer that could not be asked yet is not to blame.
        let awaits = self.phase == Phase::Enabling;
        Err(if awaits { NotRecordedWhy::AwaitingServer } else { NotRecordedWhy::Full })
    }

    fn bounds(&self) -> (usize, usize) {
        (count(self.config.buffer_max.get()), self.config.buffer_max_bytes.get())
    }

    /// Does what is due behind a stanza that is kept, and has not waited if `is_new`.
    fn record_kept(&mut self, number: Counter, place: Place, is_new: bool, now: Instant) -> Sent<S> {
        let was_over = self.requests.full_until.is_some();
        let evicted = match place {
            Place::Over(until) => {
                // The first stanza over the bounds starts the time, and no other.
                self.requests.full_until = self.requests.full_until.or(until);
                None
            }
            Place::OfOldest => {
                let (most, most_bytes) = self.bounds();
                Some(Box::new(self.traffic.queue.evict(most, most_bytes)))
            }
            Place::None | Place::Within => None,
        };
        // The peer must be asked to acknowledge before the grace period can count against it.
        let is_over = self.requests.full_until.is_some() && !was_over && self.config.request_acks;
        Sent { number: Some(number), write: self.request_after(is_over, is_new, now), evicted }
    }

    /// Whether a stanza that is recorded is kept. Without the buffer none is, unless the session has older ones that
    /// it was resumed with: the newest are kept, or none.
    pub(crate) fn keeps(&self) -> bool {
        self.config.buffer || self.traffic.queue.len() > 0
    }

    /// Counts a stanza that is not [kept](Self::keeps).
    pub(crate) fn record_unkept(&mut self, now: Instant) -> Sent<S> {
        let number = Some(self.traffic.queue.count_unkept());
        Sent { number, write: self.request_after(false, true, now), evicted: None }
    }

    /// The `<r/>` after a stanza, which has not waited if `is_new`.
    fn request_after(&mut self, wanted: bool, is_new: bool, now: Instant) -> Option<Nonza> {
        if self.phase != Phase::Enabled {
            return None;
        }
        let request = wanted || self.is_request_due();
        if request {
            let queued = Some(now).filter(|_| is_new && self.is_in_rhythm());
            self.requests.note_request(self.traffic.queue.sent(), &self.config, now, queued);
        } else {
            self.requests.note_unasked(&self.config, now);
        }
        request.then_some(Nonza::AckRequest)
    }

    /// Whether the buffer has room for one more stanza, in number and, before it, in bytes. A host with a
    /// backlog, such as the messages of a long absence, sends on while it has, and goes on when an
    /// [`Acknowledged`](crate::Action::Acknowledged) has come: a burst over the bounds would start what
    /// [`on_full`](crate::Config::on_full) says.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.traffic.queue.has_room(&self.config)
    }

    /// Whether a stanza of so many bytes can be recorded without going over the bounds. One that is larger than the
    /// bounds can be where no other is kept, or it would wait without end.
    #[inline]
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        let queue = &self.traffic.queue;
        match self.phase {
            Phase::Resuming(_) => false,
            Phase::Enabled if self.config.on_full == OnFull::EvictOldest => queue.can_count(),
            _ if !self.keeps() => queue.can_count(),
            _ => queue.fits(bytes, &self.config) || queue.len() == 0 && queue.can_count(),
        }
    }

    /// The stanza that was recorded last, and since when it has waited.
    #[inline]
    pub(crate) fn newest(&self) -> Option<(&S, Instant)> {
        self.traffic.queue.newest()
    }

    /// Puts another stanza under the number of one that is unacknowledged, and returns the one that was there: a
    /// message that its author has taken back must not be resent. The counts are unchanged.
    ///
    /// # Errors
    ///
    /// The new stanza, if there is none of that number, or if it is larger than the old one and does not fit.
    pub fn replace(&mut self, number: Counter, stanza: S) -> Result<S, S> {
        self.traffic.queue.replace(number, stanza, &self.config)
    }

    /// As [`handle`](Self::handle), and gives the stanzas that the element has acknowledged to `into`: their delivery
    /// can be reported, or their rows deleted.
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle).
    pub fn handle_into(
        &mut self,
        inbound: Inbound,
        now: Instant,
        into: &mut impl Extend<Returned<S>>,
    ) -> Result<Action<S>, Error> {
        match inbound {
            _ if !self.is_enabled() => self.handle_otherwise(inbound, now, into),
            Inbound::Nonza(Nonza::Ack(h)) => self.take_ack_into(h, now, into).map(Action::Acknowledged),
            inbound => self.handle(inbound, now),
        }
    }

    /// Takes an `<a/>`.
    #[inline(always)]
    pub(crate) fn take_ack(&mut self, h: Counter, now: Instant) -> Result<Acked, Error> {
        let checked = self.check_ack(h)?;
        let count = checked.count();
        self.acknowledge(checked, now);
        Ok(Acked { h, count })
    }

    /// The same, with the acknowledged stanzas given to `into`.
    #[inline(never)]
    pub(crate) fn take_ack_into(
        &mut self,
        h: Counter,
        now: Instant,
        into: &mut impl Extend<Returned<S>>,
    ) -> Result<Acked, Error> {
        let checked = self.check_ack(h)?;
        let count = checked.count();
        self.acknowledge_into(checked, now, into);
        Ok(Acked { h, count })
    }

    /// Whether an `<a/>` can be right.
    #[inline(always)]
    pub(crate) fn check_ack(&self, h: Counter) -> Result<Checked, Error> {
        if !self.is_enabled() {
            return Err(Error::NotEnabled(Kind::Ack));
        }
        self.traffic.queue.check(h).map_err(|why| Error::WrongH { element: Kind::Ack, why })
    }

    /// Does what an `<a/>` says that [can be right](Self::check_ack).
    #[inline(always)]
    pub(crate) fn acknowledge(&mut self, checked: Checked, now: Instant) {
        if checked.count() < self.traffic.queue.outstanding() || self.requests.full_until.is_some() {
            return self.acknowledge_otherwise(checked, now);
        }
        // It leaves nothing out. The stanzas go last, and nothing has to be kept for after them.
        self.requests.on_answer_in_full();
        self.traffic.queue.acknowledge(checked);
    }

    #[inline(never)]
    fn acknowledge_otherwise(&mut self, checked: Checked, now: Instant) {
        self.traffic.queue.acknowledge(checked);
        self.on_acknowledged(now);
    }

    /// The same, with the acknowledged stanzas given to `into`.
    pub(crate) fn acknowledge_into(&mut self, checked: Checked, now: Instant, into: &mut impl Extend<Returned<S>>) {
        self.traffic.queue.acknowledge_into(checked, into);
        self.on_acknowledged(now);
    }

    fn on_acknowledged(&mut self, now: Instant) {
        if self.requests.full_until.is_some() && self.traffic.queue.is_within(&self.config) {
            self.requests.full_until = None;
        }
        self.on_answer(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::detached::Resumable;
    use crate::queue::Queue;
    use crate::smid::SmId;

    /// What has waited is written later than it was queued, and its `<r/>` with it.
    #[test]
    fn a_request_behind_a_stanza_that_has_waited_is_not_older_than_its_writing() {
        let (start, secs) = (Instant::now(), Duration::from_secs);
        // By the fast way, and by the other.
        let small = Config::default().buffer_max(std::num::NonZeroU32::MIN.saturating_add(2));
        for (config, h) in [(Config::default(), 1), (Config::default(), 2), (small.clone(), 1), (small, 2)] {
            let mut stream = StreamMgmt::server(Arc::new(config));
            stream.phase = Phase::Enabled;
            for (stanza, written) in [("a", 0), ("b", 50), ("c", 51)] {
                let now = start + secs(written);
                stream.traffic.queue.push_waiting(stanza, start);
                let is_calm = stream.is_first_calm();
                assert!(if is_calm {
                    stream.record_first_calm(now).is_some()
                } else {
                    stream.record_first(now).is_some()
                });
            }
            assert!(stream.take_ack(Counter::new(h), start + secs(52)).is_ok());
            assert!(stream.unacked().all(|queued| queued.queued == start));
            assert!(stream.poll_timeout().is_some_and(|due| due >= start + secs(110)));
        }
    }

    /// It takes 2^32 unacknowledged stanzas to come here from outside.
    #[test]
    fn a_stanza_that_cannot_be_counted_is_refused_whatever_happens_to_a_full_buffer() {
        let now = Instant::now();
        let policies = [OnFull::End, OnFull::EndAfter(Duration::from_secs(1)), OnFull::EvictOldest];
        for (on_full, buffer) in policies.into_iter().flat_map(|policy| [(policy, true), (policy, false)]) {
            let mut stream = StreamMgmt::server(Arc::new(Config::default().on_full(on_full).buffer(buffer)));
            stream.phase = Phase::Enabled;
            stream.traffic.queue = Queue::without_a_number_left();
            stream.resumable = Some(Resumable { smid: SmId::new("x").unwrap(), resume_timeout: None });
            let refused = NotRecorded { stanza: "one too many", why: NotRecordedWhy::Full };
            assert_eq!(stream.record_sent("one too many", now), Err(refused), "{on_full:?}, buffer: {buffer}");
            assert_eq!(stream.traffic.queue, Queue::without_a_number_left());
            assert_eq!(stream.requests.full_until, None);
            // One that is acknowledged makes room for one.
            assert!(stream.take_ack(Counter::new(1), now).is_ok());
            let sent = stream.record_sent("the next", now).expect("it can be counted");
            assert_eq!(sent.number, Some(Counter::ZERO));
            assert!(stream.record_sent("one too many", now).is_err());
        }
    }
}
