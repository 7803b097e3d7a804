//! The stanzas of a queue as the host gets them: by reference while they stay, by value when they leave.

use std::collections::{VecDeque, vec_deque};
use std::fmt;
use std::iter::FusedIterator;
use std::time::Instant;

use super::Entry;
use crate::counter::Counter;

/// A stanza that was sent and not acknowledged, where it stands in the queue.
///
/// Returned by [`StreamMgmt::queued`](crate::StreamMgmt::queued) and
/// [`StreamMgmt::unacked`](crate::StreamMgmt::unacked).
#[derive(Debug, PartialEq, Eq)]
pub struct Queued<'a, S> {
    /// What to send again.
    pub stanza: &'a S,
    /// When it was first given to [`record_sent`](crate::StreamMgmt::record_sent).
    pub queued: Instant,
    /// Its number among the stanzas sent in this session, which identifies it within the session.
    pub number: Counter,
}

/// The stanzas that were sent and not acknowledged, oldest first, by reference.
///
/// Returned by [`StreamMgmt::unacked`](crate::StreamMgmt::unacked) and
/// [`Detached::unacked`](crate::Detached::unacked).
#[derive(Debug)]
pub struct Unacked<'a, S> {
    pub(super) entries: vec_deque::Iter<'a, Entry<S>>,
    pub(super) next: Counter,
}

impl<S> Clone for Unacked<'_, S> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), next: self.next }
    }
}

impl<'a, S> Iterator for Unacked<'a, S> {
    type Item = Queued<'a, S>;

    fn next(&mut self) -> Option<Self::Item> {
        let Entry { stanza, queued } = self.entries.next()?;
        let number = self.next;
        self.next = number.next();
        Some(Queued { stanza, queued: *queued, number })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl<S> ExactSizeIterator for Unacked<'_, S> {}
impl<S> FusedIterator for Unacked<'_, S> {}

/// A stanza that comes back to the host: sent, not acknowledged, and not kept any longer.
///
/// What [`Undelivered`] consists of: see the [example](crate::Detached#example) of `Detached`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "this stanza is kept nowhere else"]
pub struct Returned<S> {
    /// The stanza as it was given to [`record_sent`](crate::StreamMgmt::record_sent).
    pub stanza: S,
    /// When that was.
    pub queued: Instant,
    /// Its number among the stanzas sent in its session, which identifies it within the session.
    pub number: Counter,
}

/// The stanzas that come back to the host, oldest first, each once.
///
/// The peer may have received some of them. What a server
/// [should do](https://xmpp.org/extensions/xep-0198.html#acking) with them is what it does for a resource
/// that is not there: another resource, offline storage, or an error to the sender.
///
/// See the [example](crate::Detached#example) of `Detached`.
#[derive(PartialEq, Eq)]
#[must_use = "these stanzas are kept nowhere else"]
pub struct Undelivered<S> {
    pub(super) ring: VecDeque<Entry<S>>,
    pub(super) next: Counter,
}

/// How many there are: what people wrote to each other is not for logs.
impl<S> fmt::Debug for Undelivered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Undelivered({})", self.ring.len())
    }
}

impl<S> Default for Undelivered<S> {
    fn default() -> Self {
        Self { ring: VecDeque::new(), next: Counter::ZERO }
    }
}

impl<S> Undelivered<S> {
    /// Takes the newest out, if it has this number.
    pub(crate) fn take_newest(&mut self, number: Option<Counter>) -> Option<Returned<S>> {
        let newest = self.next.advance(u32::try_from(self.ring.len()).ok()?.checked_sub(1)?);
        if number != Some(newest) {
            return None;
        }
        let Entry { stanza, queued } = self.ring.pop_back()?;
        Some(Returned { stanza, queued, number: newest })
    }
}

impl<S> Iterator for Undelivered<S> {
    type Item = Returned<S>;

    fn next(&mut self) -> Option<Self::Item> {
        let Entry { stanza, queued } = self.ring.pop_front()?;
        let number = self.next;
        self.next = number.next();
        Some(Returned { stanza, queued, number })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ring.len(), Some(self.ring.len()))
    }
}

impl<S> ExactSizeIterator for Undelivered<S> {}
impl<S> FusedIterator for Undelivered<S> {}
