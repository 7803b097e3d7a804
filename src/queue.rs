//! The stanzas on their way to the peer: sent and not yet acknowledged, and behind them those that wait to be sent. It
//! knows no role and no element's name.

mod backlog;
mod unacked;

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use thiserror::Error;

pub(crate) use backlog::Backlog;
pub use unacked::{Queued, Returned, Unacked, Undelivered};

use crate::config::Config;
use crate::counter::{Counter, count};
use crate::stanza::Stanza;

/// Why an `h` cannot be right.
///
/// Told in [`Error::WrongH`](crate::Error::WrongH).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrongH {
    /// It counts stanzas that were never sent.
    #[error("h is {h}, and {sent} stanzas were sent")]
    TooHigh {
        /// What the peer wrote.
        h: Counter,
        /// How many were sent.
        sent: Counter,
    },
    /// It is behind what the peer acknowledged before.
    #[error("h is {h}, and was {acked} before")]
    Backwards {
        /// What the peer wrote.
        h: Counter,
        /// What it had acknowledged.
        acked: Counter,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<S> {
    pub(crate) stanza: S,
    /// When it was given to the engine, or to the session.
    pub(crate) queued: Instant,
}

/// One ring, and a mark in it. Before the mark are the newest of the stanzas between `acked` and `sent`: all of them,
/// unless the buffer is off or some were evicted. Behind it is the [`Backlog`] of a session; the engine has none. A stanza
/// of it is sent where it is: the mark moves.
#[derive(PartialEq, Eq)]
pub(crate) struct Queue<S> {
    ring: VecDeque<Entry<S>>,
    /// How many bytes those before the mark have.
    bytes: usize,
    acked: Counter,
    sent: Counter,
    /// The number before the oldest that is kept: all from there to `sent` are, and the mark is behind them. It is
    /// `acked`, unless older ones are not kept.
    gone: Counter,
    backlog_bytes: usize,
    /// Whether the stanza behind the mark is being written, and waits no more: it is there only so that the host can
    /// borrow it.
    is_lent: bool,
}

/// Counts and sizes: what people wrote to each other is not for logs.
impl<S> fmt::Debug for Queue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, acked, sent, .. } = self;
        let Backlog { stanzas, bytes: waiting } = self.backlog();
        write!(f, "Queue {{ acked: {acked}, sent: {sent}, kept: {}, bytes: {bytes}, ", self.len())?;
        write!(f, "waiting: {stanzas}, their bytes: {waiting} }}")
    }
}

/// An `h` that can be right.
#[derive(Debug)]
#[must_use]
pub(crate) struct Checked {
    h: Counter,
    count: u32,
}

impl Checked {
    /// How many stanzas it acknowledges.
    #[inline(always)]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

impl<S: Stanza> Default for Queue<S> {
    fn default() -> Self {
        Self::starting_at(Counter::ZERO)
    }
}

impl<S> Queue<S> {
    /// How many stanzas are kept.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        count(self.sent.since(self.gone))
    }
}

impl<S: Stanza> Queue<S> {
    /// A queue in which the peer has acknowledged `acked` stanzas and nothing more was sent.
    pub(crate) fn starting_at(acked: Counter) -> Self {
        Self { ring: VecDeque::new(), bytes: 0, acked, sent: acked, gone: acked, backlog_bytes: 0, is_lent: false }
    }

    pub(crate) fn acked(&self) -> Counter {
        self.acked
    }

    pub(crate) fn sent(&self) -> Counter {
        self.sent
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many stanzas the peer has still to acknowledge, kept or not.
    pub(crate) fn outstanding(&self) -> u32 {
        self.sent.since(self.acked)
    }

    /// Whether all of those are kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.gone == self.acked
    }

    /// Whether one more stanza can be told apart from the others by a counter of 32 bits.
    pub(crate) fn can_count(&self) -> bool {
        self.outstanding() != u32::MAX
    }

    /// Whether the queue is within its bounds with one more stanza of so many bytes in it.
    pub(crate) fn fits(&self, bytes: usize, config: &Config) -> bool {
        self.can_count()
            && self.len() < count(config.buffer_max.get())
            && self.bytes.saturating_add(bytes) <= config.buffer_max_bytes.get()
    }

    /// Whether the queue would be within its bounds with these stanzas and nothing else.
    pub(crate) fn would_fit(&self, stanzas: usize, bytes: usize, config: &Config) -> bool {
        stanzas <= count(config.buffer_max.get()) && bytes <= config.buffer_max_bytes.get()
    }

    /// Whether the fast path applies: buffering is on, and the queue stays under half full.
    #[inline(always)]
    pub(crate) fn is_calm(&self, bytes: usize, config: &Config) -> bool {
        // What is not kept is counted with the rest: a number for one more is left then.
        config.buffer
            && count(self.outstanding()).saturating_add(1) < count(config.buffer_max.get() / 2)
            && self.bytes.saturating_add(bytes) < config.buffer_max_bytes.get() / 2
    }

    /// Whether the ring takes one more stanza without growing: growth code costs even when it is not taken, so it is kept
    /// off the fast path.
    #[inline(always)]
    pub(crate) fn has_memory(&self) -> bool {
        self.ring.len() < self.ring.capacity()
    }

    /// Whether one more stanza, of no size, is within its bounds.
    pub(crate) fn has_room(&self, config: &Config) -> bool {
        self.len() < count(config.buffer_max.get()) && self.bytes < config.buffer_max_bytes.get()
    }

    /// Whether either bound is half reached.
    pub(crate) fn is_half_full(&self, config: &Config) -> bool {
        let (half, half_of_bytes) = half(config);
        self.len() >= half || self.bytes >= half_of_bytes
    }

    /// Whether the queue is within its bounds.
    pub(crate) fn is_within(&self, config: &Config) -> bool {
        self.len() <= count(config.buffer_max.get()) && self.bytes <= config.buffer_max_bytes.get()
    }

    /// Counts a stanza of so many bytes as sent and keeps it. It belongs where nothing waits.
    #[inline(always)]
    pub(crate) fn push(&mut self, stanza: S, bytes: usize, queued: Instant) -> Counter {
        self.bytes = self.bytes.saturating_add(bytes);
        self.ring.push_back(Entry { stanza, queued });
        self.count()
    }

    /// Counts a stanza as sent: it is before the mark.
    #[inline(always)]
    fn count(&mut self) -> Counter {
        self.sent = self.sent.next();
        self.sent
    }

    /// Counts a stanza as sent that is not kept, nor any before it.
    pub(crate) fn count_unkept(&mut self) -> Counter {
        let number = self.count();
        self.gone = number;
        number
    }

    /// Whether `h` can be right: it acknowledges stanzas that were sent and not acknowledged before.
    ///
    /// Modulo 2^32 every other `h` could be too high or too low; the nearer bound names the error.
    #[inline]
    pub(crate) fn check(&self, h: Counter) -> Result<Checked, WrongH> {
        let count = h.since(self.acked);
        if count <= self.outstanding() { Ok(Checked { h, count }) } else { Err(self.wrong(h)) }
    }

    #[cold]
    fn wrong(&self, h: Counter) -> WrongH {
        if h.since(self.sent) <= self.acked.since(h) {
            WrongH::TooHigh { h, sent: self.sent }
        } else {
            WrongH::Backwards { h, acked: self.acked }
        }
    }

    /// Drops what is acknowledged.
    #[inline]
    pub(crate) fn acknowledge(&mut self, checked: Checked) {
        for _ in 0..self.advance(&checked) {
            let Some(entry) = self.ring.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(entry.stanza.bytes());
        }
        shrink(&mut self.ring);
    }

    /// The same, with what was kept of those stanzas given to `into`. Returns how many are acknowledged.
    pub(crate) fn acknowledge_into(&mut self, checked: Checked, into: &mut impl Extend<Returned<S>>) -> u32 {
        let mut number = self.first_kept();
        let acknowledged = self.advance(&checked);
        into.extend(self.ring.drain(..acknowledged).map(|Entry { stanza, queued }| {
            self.bytes = self.bytes.saturating_sub(stanza.bytes());
            let returned = Returned { stanza, queued, number };
            number = number.next();
            returned
        }));
        shrink(&mut self.ring);
        checked.count
    }

    /// Returns how many of the acknowledged stanzas were kept. They have still to be taken out.
    #[inline(always)]
    fn advance(&mut self, checked: &Checked) -> usize {
        // The others are gone before.
        let kept = checked.count.saturating_sub(self.gone.since(self.acked));
        if kept > 0 {
            self.gone = checked.h;
        }
        self.acked = checked.h;
        count(kept)
    }

    /// Puts another stanza under the number of one that is kept, and returns the one that was there. One that is
    /// larger has to fit.
    pub(crate) fn replace(&mut self, number: Counter, stanza: S, config: &Config) -> Result<S, S> {
        let place = self.place(number);
        let Some(entry) = place.and_then(|place| self.ring.get_mut(place)) else { return Err(stanza) };
        let (before, after) = (entry.stanza.bytes(), stanza.bytes());
        let bytes = self.bytes.saturating_sub(before).saturating_add(after);
        if after > before && bytes > config.buffer_max_bytes.get() {
            return Err(stanza);
        }
        self.bytes = bytes;
        Ok(std::mem::replace(&mut entry.stanza, stanza))
    }

    /// The stanza of that number, if it is kept.
    #[inline]
    pub(crate) fn get(&self, number: Counter) -> Option<Queued<'_, S>> {
        let entry = self.ring.get(self.place(number)?)?;
        Some(Queued { stanza: &entry.stanza, queued: entry.queued, number })
    }

    /// The stanza that was sent last, if it is kept, and since when it has waited.
    #[inline(always)]
    pub(crate) fn newest(&self) -> Option<(&S, Instant)> {
        self.ring.get(self.len().checked_sub(1)?).map(|entry| (&entry.stanza, entry.queued))
    }

    fn place(&self, number: Counter) -> Option<usize> {
        let place = count(number.since(self.first_kept()));
        (place < self.len()).then_some(place)
    }

    /// Takes the oldest out until no more than so many, with so many bytes, are left.
    pub(crate) fn evict(&mut self, stanzas: usize, bytes: usize) -> Undelivered<S> {
        let (mut out, mut left) = (0_usize, self.bytes);
        for entry in self.ring.range(..self.len()) {
            if self.len().saturating_sub(out) <= stanzas && left <= bytes {
                break;
            }
            left = left.saturating_sub(entry.stanza.bytes());
            out = out.saturating_add(1);
        }
        let first = self.first_kept();
        self.bytes = left;
        self.gone = self.gone.advance(u32::try_from(out).unwrap_or(u32::MAX));
        Undelivered { ring: self.ring.drain(..out).collect(), next: first }
    }

    pub(crate) fn unacked(&self) -> Unacked<'_, S> {
        Unacked { entries: self.ring.range(..self.len()), next: self.first_kept() }
    }

    /// What was sent. What waits was [taken out](Self::successor) before.
    pub(crate) fn into_undelivered(self) -> Undelivered<S> {
        let next = self.first_kept();
        Undelivered { ring: self.ring, next }
    }

    /// The number of the oldest stanza that is kept.
    fn first_kept(&self) -> Counter {
        self.gone.next()
    }
}

/// From where on the buffer fills up: so many stanzas, so many bytes.
#[inline(always)]
fn half(config: &Config) -> (usize, usize) {
    (count(config.buffer_max.get().div_ceil(2)), config.buffer_max_bytes.get().div_ceil(2))
}

/// Gives memory back after a burst. What a steady exchange needs stays, so that it allocates nothing.
#[inline]
pub(crate) fn shrink<T>(ring: &mut VecDeque<T>) {
    const STAYS: usize = 64;
    if ring.capacity() > STAYS && ring.len() <= ring.capacity() / 8 {
        ring.shrink_to(STAYS.max(ring.len().saturating_mul(2)));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bytes::Bytes;

    use super::*;

    impl<S: Stanza> Queue<S> {
        fn ack(&mut self, h: Counter) -> Result<u32, WrongH> {
            let checked = self.check(h)?;
            let count = checked.count();
            self.acknowledge(checked);
            Ok(count)
        }

        /// A queue in which as many stanzas are outstanding as can be told apart, and none is kept.
        pub(crate) fn without_a_number_left() -> Self {
            Self { sent: Counter::new(u32::MAX), gone: Counter::new(u32::MAX), ..Self::starting_at(Counter::ZERO) }
        }
    }

    fn kept(queue: &Queue<&'static str>) -> Vec<(u32, &'static str)> {
        queue.unacked().map(|queued| (queued.number.get(), *queued.stanza)).collect()
    }

    #[test]
    fn every_position_around_the_wrap_frees_exactly_what_it_acknowledges() {
        let now = Instant::now();
        let start = Counter::new(u32::MAX - 2);
        for acknowledged in 0..=6_u32 {
            let mut queue = Queue::starting_at(start);
            for stanza in ["a", "b", "c", "d", "e", "f"] {
                queue.push(stanza, stanza.len(), now);
            }
            assert_eq!(queue.ack(start.advance(acknowledged)), Ok(acknowledged));
            assert_eq!(queue.len(), 6 - count(acknowledged));
            assert_eq!(queue.bytes(), queue.len());
            assert_eq!(
                queue.unacked().next().map(|q| q.number),
                (acknowledged < 6).then(|| start.advance(acknowledged + 1))
            );
        }
    }

    #[test]
    fn an_h_outside_the_window_is_too_high_or_backwards_and_changes_nothing() {
        let mut queue = Queue::starting_at(Counter::new(10));
        queue.push("a", 1, Instant::now());
        queue.push("b", 1, Instant::now());
        let h = Counter::new;
        assert_eq!(queue.ack(h(13)), Err(WrongH::TooHigh { h: h(13), sent: h(12) }));
        assert_eq!(queue.ack(h(9)), Err(WrongH::Backwards { h: h(9), acked: h(10) }));
        assert_eq!(queue.ack(h(0)), Err(WrongH::Backwards { h: h(0), acked: h(10) }));
        assert_eq!(queue.ack(h(1 << 31)), Err(WrongH::TooHigh { h: h(1 << 31), sent: h(12) }));
        assert_eq!(kept(&queue), [(11, "a"), (12, "b")]);
    }

    #[test]
    fn what_is_not_kept_is_still_counted() {
        let mut queue = Queue::<&str>::starting_at(Counter::ZERO);
        for _ in 0..3 {
            queue.count_unkept();
        }
        assert_eq!(queue.ack(Counter::new(2)), Ok(2));
        assert_eq!((queue.outstanding(), queue.len()), (1, 0));
        assert!(queue.ack(Counter::new(4)).is_err());
    }

    #[test]
    fn evicts_the_oldest_and_goes_on_counting() {
        let mut queue = Queue::starting_at(Counter::ZERO);
        for stanza in ["aa", "b", "c", "dddd"] {
            queue.push(stanza, stanza.len(), Instant::now());
        }
        let evicted =
            |lost: Undelivered<&'static str>| -> Vec<_> { lost.map(|r| (r.number.get(), r.stanza)).collect() };
        assert_eq!(evicted(queue.evict(4, 8)), []);
        assert_eq!(evicted(queue.evict(3, 100)), [(1, "aa")]);
        assert_eq!(evicted(queue.evict(3, 4)), [(2, "b"), (3, "c")]);
        assert_eq!((kept(&queue), queue.bytes()), (vec![(4, "dddd")], 4));
        assert_eq!(queue.ack(Counter::new(3)), Ok(3));
        assert_eq!(kept(&queue), [(4, "dddd")]);
        assert_eq!(evicted(queue.evict(9, 3)), [(4, "dddd")]);
        assert_eq!((queue.len(), queue.bytes(), queue.outstanding()), (0, 0, 1));
        assert_eq!(queue.ack(Counter::new(4)), Ok(1));
    }

    #[test]
    fn a_counter_of_32_bits_has_an_end() {
        let mut queue = Queue::<&str>::starting_at(Counter::ZERO);
        (queue.sent, queue.gone) = (Counter::new(u32::MAX - 1), Counter::new(u32::MAX - 1));
        assert!(queue.can_count());
        queue.count_unkept();
        assert!(!queue.can_count());
    }

    #[test]
    fn nothing_is_calm_where_a_counter_of_32_bits_has_its_end() {
        let config = Config::default().buffer_max(NonZeroU32::MAX);
        let mut queue = Queue::starting_at(Counter::ZERO);
        queue.push("a", 1, Instant::now());
        assert!(queue.is_calm(1, &config) && queue.fits(1, &config));
        (queue.sent, queue.gone) = (Counter::new(u32::MAX - 1), Counter::new(u32::MAX - 2));
        assert!(!queue.is_calm(1, &config) && queue.fits(1, &config));
        queue.push("b", 1, Instant::now());
        assert!(!queue.is_calm(1, &config) && !queue.fits(1, &config));
    }

    #[test]
    fn an_entry_costs_16_bytes_beside_the_stanza() {
        assert_eq!(size_of::<Entry<Bytes>>(), size_of::<Bytes>() + 16);
    }
}
