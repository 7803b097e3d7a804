//! Stanzas that wait to be sent, behind the mark of the queue: for room in the buffer, for a reply, or for a connection.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use super::{Entry, Queue, shrink};
use crate::config::Config;
use crate::counter::count;
use crate::stanza::Stanza;

/// How many stanzas wait to be sent, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) stanzas: usize,
    pub(crate) bytes: usize,
}

impl Backlog {
    /// Whether it is within its bounds.
    #[inline(always)]
    pub(crate) fn is_within(self, config: &Config) -> bool {
        self.stanzas <= count(config.backlog_max.get()) && self.bytes <= config.backlog_max_bytes.get()
    }

    /// Whether one more stanza is within its number, and what is there within its bytes.
    pub(crate) fn has_room(self, config: &Config) -> bool {
        self.stanzas < count(config.backlog_max.get()) && self.bytes < config.backlog_max_bytes.get()
    }

    /// Whether it is within twice its bounds, where it may be for the time of the grace.
    pub(crate) fn is_within_twice(self, config: &Config) -> bool {
        self.stanzas <= count(config.backlog_max.get()).saturating_mul(2)
            && self.bytes <= config.backlog_max_bytes.get().saturating_mul(2)
    }
}

impl<S> Queue<S> {
    /// What waits to be sent.
    #[inline(always)]
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog { stanzas: self.ring.len().saturating_sub(self.next()), bytes: self.backlog_bytes }
    }

    /// The stanzas that wait, and when they were given to the session.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = (&S, Instant)> + Clone {
        self.ring.range(self.next()..).map(|entry| (&entry.stanza, entry.queued))
    }

    /// The place of the stanza that is sent next.
    #[inline(always)]
    fn next(&self) -> usize {
        self.len().saturating_add(self.is_lent.into())
    }
}

impl<S: Stanza> Queue<S> {
    /// Puts a stanza behind all others.
    #[inline(always)]
    pub(crate) fn push_waiting(&mut self, stanza: S, queued: Instant) {
        self.backlog_bytes = self.backlog_bytes.saturating_add(stanza.bytes());
        self.ring.push_back(Entry { stanza, queued });
    }

    /// Puts stanzas before all that wait, in their order. None is being written.
    pub(crate) fn push_before(&mut self, stanzas: impl DoubleEndedIterator<Item = (S, Instant)>) {
        for (stanza, queued) in stanzas.rev() {
            self.backlog_bytes = self.backlog_bytes.saturating_add(stanza.bytes());
            self.ring.insert(self.len(), Entry { stanza, queued });
        }
    }

    /// Whether there is nothing behind the mark: nothing waits, nor is being written.
    #[inline(always)]
    pub(crate) fn is_all_sent(&self) -> bool {
        self.len() >= self.ring.len()
    }

    /// How many bytes the stanza has that is next, and when it was given to the session. `None`: nothing waits, or another
    /// stanza is being written.
    #[inline(always)]
    pub(crate) fn first_waiting(&self) -> Option<(usize, Instant)> {
        self.ring.get(self.len()).filter(|_| !self.is_lent).map(|first| (first.stanza.bytes(), first.queued))
    }

    /// The first that waits is sent: the mark moves. Returns it, and when it was given to the session.
    #[inline(always)]
    pub(crate) fn send_first(&mut self) -> Option<(&S, Instant)> {
        let first = self.ring.get(self.len())?;
        let bytes = first.stanza.bytes();
        self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        self.sent = self.sent.next();
        Some((&first.stanza, first.queued))
    }

    /// The first that waits is written, and not kept. Returns whether there is one.
    pub(crate) fn lend(&mut self) -> bool {
        let Some((bytes, _)) = self.first_waiting() else { return false };
        self.is_lent = true;
        self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
        true
    }

    /// The stanza that is being written, and when it was given to the session.
    pub(crate) fn lent(&self) -> Option<(&S, Instant)> {
        self.ring.get(self.len()).filter(|_| self.is_lent).map(|lent| (&lent.stanza, lent.queued))
    }

    /// Takes out what was lent: it is written.
    #[inline]
    pub(crate) fn take_lent(&mut self) -> Option<S> {
        if !mem::take(&mut self.is_lent) {
            return None;
        }
        let lent = self.ring.remove(self.len())?;
        shrink(&mut self.ring);
        Some(lent.stanza)
    }

    /// Drops what this stanza replaces, and returns whether there was something. Of those that wait there is at most one.
    pub(crate) fn drop_replaced(&mut self, stanza: &S) -> bool {
        let first = self.next();
        let behind = self.ring.range(first..).rposition(|waiting| stanza.replaces(&waiting.stanza));
        let Some(replaced) = behind.and_then(|behind| self.ring.remove(first.saturating_add(behind))) else {
            return false;
        };
        self.backlog_bytes = self.backlog_bytes.saturating_sub(replaced.stanza.bytes());
        true
    }

    /// Puts a stanza in the place of one that waits. One that is larger has to fit.
    pub(crate) fn replace_waiting(
        &mut self,
        mut is_it: impl FnMut(&S) -> bool,
        stanza: S,
        config: &Config,
    ) -> Result<S, S> {
        let first = self.next();
        let Some(found) = self.ring.range_mut(first..).find(|waiting| is_it(&waiting.stanza)) else {
            return Err(stanza);
        };
        let (before, after) = (found.stanza.bytes(), stanza.bytes());
        let bytes = self.backlog_bytes.saturating_sub(before).saturating_add(after);
        if after > before && bytes > config.backlog_max_bytes.get() {
            return Err(stanza);
        }
        self.backlog_bytes = bytes;
        Ok(mem::replace(&mut found.stanza, stanza))
    }

    /// What waits, in a queue of its own: that of the next session.
    pub(crate) fn successor(&mut self) -> Self {
        let ring = match self.len() {
            0 => mem::take(&mut self.ring),
            kept => self.ring.split_off(kept),
        };
        let (backlog_bytes, is_lent) = (mem::take(&mut self.backlog_bytes), mem::take(&mut self.is_lent));
        Self { ring, backlog_bytes, is_lent, ..Self::default() }
    }

    /// The stanzas of a queue of which nothing was sent.
    pub(crate) fn into_waiting(self) -> VecDeque<Entry<S>> {
        self.ring
    }

    /// Gives back memory that is not in use: a session without a connection may wait for long.
    pub(crate) fn rest(&mut self) {
        self.ring.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::counter::Counter;

    #[test]
    fn a_queue_at_rest_keeps_no_memory_but_for_what_is_in_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for stanza in ["sent", "waits"] {
            queue.push_waiting(stanza.to_owned(), now);
        }
        assert_eq!(queue.send_first().map(|(sent, _)| sent.as_str()), Some("sent"));
        assert_eq!((queue.sent(), queue.bytes()), (Counter::new(1), 4));
        queue.rest();
        assert_eq!((queue.ring.capacity(), queue.len(), queue.backlog().stanzas), (2, 1, 1));
        let next = queue.successor();
        queue.rest();
        assert_eq!((queue.ring.capacity(), queue.backlog().stanzas), (1, 0));
        let waiting: Vec<_> = next.into_waiting().into_iter().map(|waiting| waiting.stanza).collect();
        assert_eq!(waiting, ["waits"]);
    }

    #[test]
    fn what_waits_may_be_replaced_by_what_is_no_larger_or_fits() {
        let config = Config::default().backlog_max_bytes(NonZeroUsize::MIN.saturating_add(4));
        let mut queue = Queue::default();
        for stanza in ["four", "more"] {
            queue.push_waiting(stanza, Instant::now());
        }
        let mut replace = |of: &str, by| {
            let replaced = queue.replace_waiting(|stanza| *stanza == of, by, &config);
            (replaced, queue.backlog().bytes)
        };
        assert_eq!(replace("four", "eight"), (Err("eight"), 8), "it is larger, and over the bound");
        assert_eq!(replace("four", "five"), (Ok("four"), 8), "over the bound as before");
        assert_eq!(replace("more", ""), (Ok("more"), 4));
        assert_eq!(replace("five", "seven"), (Ok("five"), 5), "it is larger, and at the bound");
    }
}
