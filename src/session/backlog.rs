//! Stanzas that wait to be sent: for room in the buffer, for a reply, or for a connection.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use crate::config::Config;
use crate::counter::count;
use crate::queue::shrink;
use crate::stanza::Stanza;

pub(super) struct Backlog<S> {
    ring: VecDeque<Waiting<S>>,
    /// Whether the first is being written, and waits no more: it is kept only so that the host can borrow it.
    is_lent: bool,
    bytes: usize,
    /// When the session ends because the backlog is over its bounds.
    pub(super) full_until: Option<Instant>,
}

#[derive(PartialEq, Eq)]
pub(super) struct Waiting<S> {
    pub(super) stanza: S,
    /// When it was given to the session.
    pub(super) queued: Instant,
}

impl<S> Backlog<S> {
    pub(super) fn len(&self) -> usize {
        self.ring.len().saturating_sub(self.is_lent.into())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those that wait, oldest first.
    pub(super) fn stanzas(&self) -> impl Iterator<Item = &S> {
        self.ring.iter().skip(self.is_lent.into()).map(|waiting| &waiting.stanza)
    }
}

#[cfg(feature = "snapshot")]
impl<S> Backlog<S> {
    /// What waits, oldest first.
    pub(super) fn waiting(&self) -> impl ExactSizeIterator<Item = (&S, Instant)> {
        self.ring.iter().skip(self.is_lent.into()).map(|waiting| (&waiting.stanza, waiting.queued))
    }
}

impl<S> fmt::Debug for Backlog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, full_until, .. } = self;
        write!(f, "Backlog {{ stanzas: {}, bytes: {bytes}, full_until: {full_until:?} }}", self.len())
    }
}

impl<S: Stanza> Backlog<S> {
    pub(super) fn new() -> Self {
        Self { ring: VecDeque::new(), is_lent: false, bytes: 0, full_until: None }
    }

    #[inline]
    pub(super) fn push(&mut self, stanza: S, queued: Instant) {
        self.bytes = self.bytes.saturating_add(stanza.bytes());
        self.ring.push_back(Waiting { stanza, queued });
    }

    /// Puts stanzas of an earlier session before all others, in their order.
    pub(super) fn push_before(&mut self, stanzas: impl DoubleEndedIterator<Item = (S, Instant)>) {
        for (stanza, queued) in stanzas.rev() {
            self.bytes = self.bytes.saturating_add(stanza.bytes());
            self.ring.push_front(Waiting { stanza, queued });
        }
    }

    /// Whether nothing waits, nor is being written.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many bytes the stanza has that is next. `None` while another is being written.
    #[inline(always)]
    pub(super) fn next_bytes(&self) -> Option<usize> {
        self.ring.front().filter(|_| !self.is_lent).map(|waiting| waiting.stanza.bytes())
    }

    #[inline(always)]
    pub(super) fn pop(&mut self, config: &Config) -> Option<Waiting<S>> {
        let waiting = self.ring.pop_front()?;
        self.removed(waiting.stanza.bytes(), config);
        shrink(&mut self.ring);
        Some(waiting)
    }

    /// Leaves the stanza that is next where it is while it is written. Returns whether there is one.
    pub(super) fn lend(&mut self, config: &Config) -> bool {
        let Some(bytes) = self.ring.front().map(|first| first.stanza.bytes()) else { return false };
        self.is_lent = true;
        self.removed(bytes, config);
        true
    }

    /// The stanza that is being written, and when it was given to the session.
    pub(super) fn lent(&self) -> Option<(&S, Instant)> {
        self.ring.front().filter(|_| self.is_lent).map(|lent| (&lent.stanza, lent.queued))
    }

    /// Takes out what was lent: it is written.
    #[inline]
    pub(super) fn take_lent(&mut self) -> Option<S> {
        if !std::mem::take(&mut self.is_lent) {
            return None;
        }
        let lent = self.ring.pop_front()?;
        shrink(&mut self.ring);
        Some(lent.stanza)
    }

    #[inline(always)]
    fn removed(&mut self, bytes: usize, config: &Config) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.full_until.is_some() && self.is_within(config) {
            self.full_until = None;
        }
    }

    /// Puts a stanza back that could not be sent after all.
    pub(super) fn push_back_first(&mut self, stanza: S, queued: Instant) {
        self.push_before(std::iter::once((stanza, queued)));
    }

    /// Drops what this stanza replaces, and returns whether there was something. Of those that wait there is at most one.
    pub(super) fn drop_replaced(&mut self, stanza: &S, config: &Config) -> bool {
        let written = usize::from(self.is_lent);
        let waiting = self.ring.iter().enumerate().skip(written);
        let place = waiting.rev().find(|(_, waiting)| stanza.replaces(&waiting.stanza)).map(|(place, _)| place);
        let replaced = place.and_then(|place| self.ring.remove(place));
        let bytes = replaced.as_ref().map_or(0, |replaced| replaced.stanza.bytes());
        self.removed(bytes, config);
        replaced.is_some()
    }

    /// Puts a stanza in the place of one that waits. One that is larger has to fit.
    pub(super) fn replace(&mut self, mut is_it: impl FnMut(&S) -> bool, stanza: S, config: &Config) -> Result<S, S> {
        let mut waiting = self.ring.iter_mut().skip(self.is_lent.into());
        let Some(found) = waiting.find(|waiting| is_it(&waiting.stanza)) else { return Err(stanza) };
        let (before, after) = (found.stanza.bytes(), stanza.bytes());
        let bytes = self.bytes.saturating_sub(before).saturating_add(after);
        if after > before && bytes > config.backlog_max_bytes.get() {
            return Err(stanza);
        }
        let replaced = std::mem::replace(&mut found.stanza, stanza);
        self.bytes = bytes;
        if self.is_within(config) {
            self.full_until = None;
        }
        Ok(replaced)
    }

    #[inline]
    pub(super) fn is_within(&self, config: &Config) -> bool {
        Self::would_fit(self.len(), self.bytes, config)
    }

    /// Whether so many stanzas of so many bytes would be within its bounds.
    pub(super) fn would_fit(stanzas: usize, bytes: usize, config: &Config) -> bool {
        stanzas <= count(config.backlog_max.get()) && bytes <= config.backlog_max_bytes.get()
    }

    /// Whether one more stanza is within its number, and what is there within its bytes.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        self.len() < count(config.backlog_max.get()) && self.bytes < config.backlog_max_bytes.get()
    }

    /// Whether it is within twice its bounds, where it may be for the time of the grace.
    pub(super) fn is_within_twice(&self, config: &Config) -> bool {
        self.len() <= count(config.backlog_max.get()).saturating_mul(2)
            && self.bytes <= config.backlog_max_bytes.get().saturating_mul(2)
    }

    /// Gives back the memory of an empty ring: a session without a connection may wait for long.
    pub(super) fn rest(&mut self) {
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
    }

    pub(super) fn into_waiting(self) -> VecDeque<Waiting<S>> {
        self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_at_rest_keeps_no_memory_unless_something_waits() {
        let (mut backlog, config, now) = (Backlog::new(), Config::default(), Instant::now());
        backlog.push("waits".to_owned(), now);
        backlog.rest();
        assert_eq!(backlog.pop(&config).map(|waiting| waiting.stanza), Some("waits".to_owned()));
        assert!(backlog.ring.capacity() > 0);
        backlog.rest();
        assert_eq!(backlog.ring.capacity(), 0);
    }
}
