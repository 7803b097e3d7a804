//! Stanzas that left the buffer before they were acknowledged, under [`OnFull::EvictOldest`](crate::OnFull).

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use crate::counter::Counter;
use crate::queue::Returned;
use crate::stanza::Stanza;

pub(super) struct Evicted<S> {
    ring: VecDeque<Returned<S>>,
    bytes: usize,
    /// How many were not kept.
    forgotten: u64,
    /// The number and the time of one that is on its way out: it is larger than the whole buffer.
    lent: Option<(Counter, Instant)>,
}

impl<S> fmt::Debug for Evicted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ring, bytes, forgotten, .. } = self;
        write!(f, "Evicted {{ stanzas: {}, bytes: {bytes}, forgotten: {forgotten} }}", ring.len())
    }
}

impl<S: Stanza> Evicted<S> {
    pub(super) fn new() -> Self {
        Self { ring: VecDeque::new(), bytes: 0, forgotten: 0, lent: None }
    }

    /// A stanza of that number and time is on its way out, and not kept before it is written.
    pub(super) fn lend(&mut self, number: Counter, queued: Instant) {
        self.lent = Some((number, queued));
    }

    /// It is written.
    pub(super) fn keep_lent(&mut self, stanza: S, most: usize) {
        if let Some((number, queued)) = self.lent.take() {
            self.keep(std::iter::once(Returned { stanza, queued, number }), most);
        }
    }

    /// Keeps stanzas within so many bytes: the newest ones.
    pub(super) fn keep(&mut self, evicted: impl Iterator<Item = Returned<S>>, most: usize) {
        for returned in evicted {
            self.bytes = self.bytes.saturating_add(Self::size(&returned));
            self.ring.push_back(returned);
        }
        while self.bytes > most
            && let Some(oldest) = self.ring.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(Self::size(&oldest));
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// A stanza costs its entry, too.
    fn size(returned: &Returned<S>) -> usize {
        returned.stanza.bytes().saturating_add(size_of::<Returned<S>>())
    }

    /// The peer has acknowledged `h` of the stanzas of which `sent` were sent.
    pub(super) fn on_ack(&mut self, h: Counter, sent: Counter) {
        // Numbers go round. What is covered is as far behind the last stanza as `h` is, or farther.
        let is_covered = |number: Counter| sent.since(number) >= sent.since(h);
        self.lent.take_if(|(number, _)| is_covered(*number));
        while self.ring.front().is_some_and(|first| is_covered(first.number))
            && let Some(covered) = self.ring.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(Self::size(&covered));
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn into_returned(self) -> VecDeque<Returned<S>> {
        self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_before_it_is_taken_back_is_not_kept() {
        for (h, kept) in [(6, 1), (7, 0)] {
            let mut evicted = Evicted::new();
            evicted.lend(7.into(), Instant::now());
            evicted.on_ack(h.into(), 7.into());
            evicted.keep_lent("large", usize::MAX);
            assert_eq!(evicted.into_returned().len(), kept, "h is {h}");
        }
    }
}
