//! Receipts for the stanzas that came in, and `h`: how many of them, without a gap, were handled.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Instant;

use thiserror::Error;

use crate::config::Config;
use crate::counter::{Counter, count};
use crate::queue::shrink;

/// Tells a session or a stream from every other, for what may be given to the wrong one by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(NonZeroU64);

impl Tag {
    pub(crate) fn new(config: &Config) -> Self {
        // Only odd numbers are used, so the tag is never zero; 2^63 of them are enough.
        Self(NonZeroU64::MIN | config.next_serial() << 1)
    }

    /// Whether this one was made before the other, from the same options.
    pub(crate) fn is_before(self, other: Self) -> bool {
        // Numbers go round.
        other.0.get().wrapping_sub(self.0.get()).wrapping_sub(1) < u64::MAX / 2
    }
}

/// The host's duty to handle one stanza that it has got. (A receipt of
/// [XEP-0184](https://xmpp.org/extensions/xep-0184.html) is a message, and the host's own business.)
///
/// It comes with [`Action::Deliver`](crate::Action::Deliver), and goes back through
/// [`record_handled`](crate::StreamMgmt::record_handled) when the host has
/// [accepted responsibility](https://xmpp.org/extensions/xep-0198.html#acking) for the stanza: processed
/// it, delivered it, stored it. Receipts may be settled in any order, also after the stream is lost: they
/// belong to the session. One that is dropped stops `h`, which
/// [`oldest_open`](crate::StreamMgmt::oldest_open) shows and
/// [`settle_without_receipt`](crate::StreamMgmt::settle_without_receipt) mends.
///
/// A receipt cannot be settled twice:
///
/// ```compile_fail
/// # fn f(stream: &mut xmpp_sm::StreamMgmt<String>, receipt: xmpp_sm::Receipt) {
/// let _ = stream.record_handled(receipt);
/// let _ = stream.record_handled(receipt);
/// # }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "`h` does not advance until this is settled"]
pub struct Receipt {
    /// `None` where stream management is off: such a receipt settles nothing.
    session: Option<Tag>,
    number: Counter,
}

impl Receipt {
    #[inline]
    pub(crate) const fn uncounted() -> Self {
        Self { session: None, number: Counter::ZERO }
    }

    /// The stanza's number among those received in this session. `None` where stream management is off.
    pub fn number(&self) -> Option<Counter> {
        self.session.map(|_| self.number)
    }
}

/// A receipt that settles nothing here. It comes back, for the session that it belongs to.
///
/// Returned by [`Session::settle`](crate::Session::settle).
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// It belongs to another session.
    #[error("the receipt belongs to another session")]
    Foreign(Receipt),
    /// Its stanza was settled before, without it.
    #[error("the stanza of this receipt was settled before")]
    SettledBefore(Receipt),
}

/// The stanza has no open receipt.
///
/// Returned by [`Session::settle_without_receipt`](crate::Session::settle_without_receipt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("stanza {0} has no open receipt")]
pub struct NotOpen(
    /// The number of the stanza.
    pub Counter,
);

/// The oldest stanza that the host has not settled; `h` waits for it.
///
/// Returned by [`Session::oldest_open`](crate::Session::oldest_open).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReceipt {
    /// Its number among the stanzas received in this session.
    pub number: Counter,
    /// When it was delivered.
    pub since: Instant,
}

/// A stanza that is delivered and not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    since: Instant,
    /// Its size, up to 4 GiB.
    bytes: u32,
}

/// Which of the stanzas received in a session are handled.
pub(crate) struct Receipts {
    session: Tag,
    h: Counter,
    /// How far `h` must get until the last `<r/>` is answered in full.
    owed: Option<Counter>,
    /// The stanza after `h`, if it is open. It stands by itself because a host that settles each stanza before the
    /// next needs no more than this.
    oldest: Option<Open>,
    /// The stanzas after that one. `None`: settled already.
    after: VecDeque<Option<Open>>,
    /// How many of those are open.
    open_after: u32,
    /// The bytes of all that are open.
    bytes: usize,
}

/// Equal in what a peer could tell: the tag is for the host's mistakes.
impl PartialEq for Receipts {
    fn eq(&self, other: &Self) -> bool {
        self.h == other.h && self.owed == other.owed && self.oldest == other.oldest && self.after == other.after
    }
}

/// Counts, and the age of the oldest: a log has no use for each.
impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { h, owed, oldest, bytes, .. } = self;
        let (open, since) = (self.open(), oldest.map(|oldest| oldest.since));
        write!(f, "Receipts {{ h: {h}, owed: {owed:?}, open: {open}, pending: {}, ", self.pending())?;
        write!(f, "bytes: {bytes}, oldest: {since:?} }}")
    }
}

impl Receipts {
    pub(crate) fn starting_at(h: Counter, session: Tag) -> Self {
        Self { session, h, owed: None, oldest: None, after: VecDeque::new(), open_after: 0, bytes: 0 }
    }

    #[inline]
    pub(crate) fn h(&self) -> Counter {
        self.h
    }

    /// How many stanzas after `h` are remembered, settled or not.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.after.len().saturating_add(self.oldest.is_some().into())
    }

    /// How many receipts are open.
    #[inline]
    pub(crate) fn open(&self) -> usize {
        count(self.open_after).saturating_add(self.oldest.is_some().into())
    }

    /// Whether one more stanza is within the bounds. Where none is open, a stanza of any size is.
    #[inline]
    pub(crate) fn has_room(&self, config: &Config) -> bool {
        self.oldest.is_none()
            || self.pending() < count(config.receipts_max.get()) && self.bytes < config.receipts_max_bytes.get()
    }

    pub(crate) fn oldest(&self) -> Option<OpenReceipt> {
        self.oldest.map(|open| OpenReceipt { number: self.h.next(), since: open.since })
    }

    /// Counts a stanza as received, if no other is open.
    #[inline(always)]
    pub(crate) fn receive_alone(&mut self, bytes: usize, now: Instant) -> Option<Receipt> {
        if self.oldest.is_some() {
            return None;
        }
        let bytes = narrow(bytes);
        self.oldest = Some(Open { since: now, bytes });
        self.bytes = wide(bytes);
        Some(Receipt { session: Some(self.session), number: self.h.next() })
    }

    /// Counts a stanza as received.
    #[inline]
    pub(crate) fn receive(&mut self, bytes: usize, now: Instant) -> Receipt {
        self.receive_alone(bytes, now).unwrap_or_else(|| {
            let bytes = narrow(bytes);
            self.after.push_back(Some(Open { since: now, bytes }));
            self.open_after = self.open_after.saturating_add(1);
            self.bytes = self.bytes.saturating_add(wide(bytes));
            Receipt { session: Some(self.session), number: self.received() }
        })
    }

    /// Settles a stanza, if no other is open and no `<r/>` waits for it. Returns whether it did.
    #[inline(always)]
    pub(crate) fn settle_alone(&mut self, receipt: &Receipt) -> bool {
        let next = self.h.next();
        let is_alone = receipt.number == next
            && receipt.session == Some(self.session)
            && self.after.is_empty()
            && self.owed.is_none()
            && self.oldest.is_some();
        if is_alone {
            self.oldest = None;
            self.bytes = 0;
            self.h = next;
        }
        is_alone
    }

    /// Settles a stanza, and returns the new `h` if an `<r/>` waits for it.
    #[inline]
    pub(crate) fn settle(&mut self, receipt: Receipt) -> Result<Option<Counter>, ReceiptError> {
        match receipt.session {
            None => Ok(None),
            Some(session) if session == self.session => {
                self.settle_number(receipt.number).map_err(|_| ReceiptError::SettledBefore(receipt))
            }
            Some(_) => Err(ReceiptError::Foreign(receipt)),
        }
    }

    /// Settles a stanza without its receipt.
    #[inline]
    pub(crate) fn settle_number(&mut self, number: Counter) -> Result<Option<Counter>, NotOpen> {
        let open = if number == self.h.next() {
            let open = self.oldest.take().ok_or(NotOpen(number))?;
            self.h = number;
            if !self.after.is_empty() {
                self.advance();
            }
            open
        } else {
            // The one after the oldest has the first place.
            let place = count(number.since(self.h)).checked_sub(2);
            let open = place.and_then(|place| self.after.get_mut(place)).and_then(Option::take);
            let open = open.ok_or(NotOpen(number))?;
            self.open_after = self.open_after.saturating_sub(1);
            open
        };
        self.bytes = self.bytes.saturating_sub(wide(open.bytes));
        Ok(self.settle_owed())
    }

    /// The next one that is open becomes the oldest; `h` covers those before it.
    #[inline]
    fn advance(&mut self) {
        while let Some(next) = self.after.pop_front() {
            self.oldest = next;
            if next.is_some() {
                self.open_after = self.open_after.saturating_sub(1);
                break;
            }
            self.h = self.h.next();
        }
        shrink(&mut self.after);
    }

    /// The new `h`, if the last `<r/>` is answered in full with it.
    #[inline]
    fn settle_owed(&mut self) -> Option<Counter> {
        let (h, pending) = (self.h, self.pending());
        let is_ahead = |owed: Counter| (1..=pending).contains(&count(owed.since(h)));
        self.owed.take_if(|owed| !is_ahead(*owed)).map(|_| h)
    }

    /// Settles all that is open.
    pub(crate) fn settle_all(&mut self) -> Option<Counter> {
        self.h = self.received();
        self.oldest = None;
        self.after = VecDeque::new();
        (self.open_after, self.bytes) = (0, 0);
        self.owed.take().map(|_| self.h)
    }

    /// What `<r/>` is answered with: what is handled now. The rest of what was received by now is owed.
    #[inline]
    pub(crate) fn answer_request(&mut self) -> Counter {
        self.owed = self.oldest.is_some().then(|| self.received());
        self.h
    }

    #[inline]
    fn received(&self) -> Counter {
        // No more are remembered than a u32 allows.
        self.h.advance(u32::try_from(self.pending()).unwrap_or(u32::MAX))
    }
}

/// What is larger than 4 GiB counts as 4 GiB.
#[inline(always)]
fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[inline(always)]
fn wide(bytes: u32) -> usize {
    count(bytes)
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use super::*;

    fn handled(h: u32) -> Receipts {
        Receipts::starting_at(Counter::new(h), Tag::new(&Config::default()))
    }

    #[test]
    fn h_is_the_prefix_without_a_gap_in_every_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut handled = handled(u32::MAX - 1);
            let mut receipts = [(); 3].map(|()| Some(handled.receive(1, Instant::now())));
            let mut settled = [false; 3];
            for i in order {
                handled.settle(receipts[i].take().unwrap()).unwrap();
                settled[i] = true;
                let prefix = settled.iter().take_while(|settled| **settled).count();
                assert_eq!(handled.h().since(Counter::new(u32::MAX - 1)), u32::try_from(prefix).unwrap(), "{order:?}");
                assert_eq!(handled.open(), settled.iter().filter(|settled| !**settled).count());
            }
            assert_eq!(handled.pending(), 0);
        }
    }

    #[test]
    fn an_answer_in_full_is_owed_once_and_only_for_what_was_there_when_asked() {
        let now = Instant::now();
        let mut handled = handled(u32::MAX);
        let [a, b] = [handled.receive(1, now), handled.receive(1, now)];
        assert_eq!(handled.answer_request(), Counter::new(u32::MAX));
        let later = handled.receive(1, now);
        assert_eq!(handled.settle(b), Ok(None));
        assert_eq!(handled.settle(a), Ok(Some(Counter::new(1))));
        assert_eq!(handled.settle(later), Ok(None));
        assert_eq!(handled.answer_request(), Counter::new(2));
        let next = handled.receive(1, now);
        assert_eq!(handled.settle(next), Ok(None));
    }

    #[test]
    fn the_full_answer_may_cover_more_than_was_asked() {
        let now = Instant::now();
        let mut handled = handled(0);
        let a = handled.receive(1, now);
        handled.answer_request();
        let b = handled.receive(1, now);
        assert_eq!(handled.settle(b), Ok(None));
        assert_eq!(handled.settle(a), Ok(Some(Counter::new(2))));
    }

    #[test]
    fn a_receipt_of_another_session_or_settled_before_comes_back() {
        let now = Instant::now();
        let (mut one, mut other) = (handled(0), handled(0));
        let receipt = one.receive(1, now);
        let _open = other.receive(1, now);
        let Err(ReceiptError::Foreign(receipt)) = other.settle(receipt) else { panic!() };
        assert_eq!(other.h(), Counter::ZERO);
        assert_eq!(one.settle_number(Counter::new(1)), Ok(None));
        assert_eq!(
            one.settle(receipt),
            Err(ReceiptError::SettledBefore(Receipt { session: Some(one.session), number: Counter::new(1) }))
        );
        assert_eq!(one.settle_number(Counter::new(2)), Err(NotOpen(Counter::new(2))));
        assert_eq!(one.h(), Counter::new(1));
    }

    #[test]
    fn a_receipt_that_was_settled_without_stays_so_when_its_number_comes_again() {
        let mut handled = handled(0);
        let receipt = handled.receive(1, Instant::now());
        assert_eq!(handled.settle_number(Counter::new(1)), Ok(None));
        // 2^32 stanzas later.
        handled.h = Counter::ZERO;
        assert!(!handled.settle_alone(&receipt));
        assert!(matches!(handled.settle(receipt), Err(ReceiptError::SettledBefore(_))));
        assert_eq!(handled.h(), Counter::ZERO);
    }

    #[test]
    fn sessions_are_equal_if_the_same_receipts_are_open() {
        let now = Instant::now();
        let (mut one, mut other) = (handled(0), handled(0));
        assert_eq!(one, other);
        // The oldest, and one after it.
        for _ in 0..2 {
            let _open = one.receive(1, now);
            assert_ne!(one, other);
            let _open = other.receive(1, now);
            assert_eq!(one, other);
        }
        one.answer_request();
        assert_ne!(one, other);
    }

    #[test]
    fn all_that_is_open_can_be_settled_at_once() {
        let now = Instant::now();
        let mut handled = handled(u32::MAX);
        let _a = handled.receive(1, now);
        let b = handled.receive(1, now);
        handled.settle(b).unwrap();
        let c = handled.receive(1, now);
        handled.answer_request();
        assert_eq!(handled.settle_all(), Some(Counter::new(2)));
        assert_eq!((handled.h(), handled.open(), handled.pending()), (Counter::new(2), 0, 0));
        assert_eq!(handled.settle_all(), None);
        assert!(matches!(handled.settle(c), Err(ReceiptError::SettledBefore(_))));
    }

    #[test]
    fn sessions_of_the_same_options_are_told_apart() {
        let config = Config::default();
        assert_ne!(Tag::new(&config), Tag::new(&config));
        let tag = Tag::new(&config);
        let clone = config.clone();
        drop(config);
        assert_ne!(tag, Tag::new(&clone));
        assert_ne!(Tag::new(&Config::default()), Tag::new(&Config::default()));
    }

    #[test]
    fn the_oldest_open_receipt_is_shown_with_its_age() {
        let now = Instant::now();
        let mut handled = handled(7);
        assert_eq!(handled.oldest(), None);
        let a = handled.receive(1, now);
        let _b = handled.receive(1, now + std::time::Duration::from_secs(1));
        assert_eq!(handled.oldest(), Some(OpenReceipt { number: Counter::new(8), since: now }));
        handled.settle(a).unwrap();
        assert_eq!(handled.oldest().map(|open| open.number), Some(Counter::new(9)));
    }

    #[test]
    fn bytes_are_those_of_what_is_open_in_every_order() {
        let now = Instant::now();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut receipts = handled(0);
            let mut open = [70_000, 1, 5].map(|bytes| (bytes, Some(receipts.receive(bytes, now))));
            for i in order {
                receipts.settle(open[i].1.take().unwrap()).unwrap();
                let left = open.iter().filter(|(_, receipt)| receipt.is_some());
                assert_eq!(receipts.bytes, left.map(|(bytes, _)| bytes).sum::<usize>(), "{order:?}");
            }
            let _open = [receipts.receive(3, now), receipts.receive(4, now)];
            receipts.settle_all();
            assert_eq!(receipts.bytes, 0);
            let alone = receipts.receive(9, now);
            assert_eq!(receipts.bytes, 9);
            assert!(receipts.settle_alone(&alone) && receipts.bytes == 0);
        }
    }

    #[test]
    fn either_bound_stops_and_a_stanza_of_any_size_is_taken_where_none_is_open() {
        let (now, one) = (Instant::now(), NonZeroUsize::MIN);
        let config = Config::default().receipts_max_bytes(one.saturating_add(9));
        let mut receipts = handled(0);
        assert!(receipts.has_room(&config));
        let large = receipts.receive(1 << 20, now);
        assert!(!receipts.has_room(&config));
        receipts.settle(large).unwrap();
        let _nine = receipts.receive(9, now);
        assert!(receipts.has_room(&config), "one byte is left");
        let _ten = receipts.receive(1, now);
        assert!(!receipts.has_room(&config));
        let config = Config::default().receipts_max(NonZeroU32::MIN.saturating_add(2));
        assert!(receipts.has_room(&config));
        let _third = receipts.receive(0, now);
        assert!(!receipts.has_room(&config));
    }
}
