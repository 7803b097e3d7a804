//! The 32-bit counter that both sides of a stream keep.

use std::fmt;

/// A stanza count that wraps from 2<sup>32</sup> − 1 to 0, as the XEP says of
/// [`h`](https://xmpp.org/extensions/xep-0198.html#acking).
///
/// There is no order between two values of a counter that wraps, so the type has none: ask how far one
/// is [`since`](Counter::since) another.
///
/// ```
/// use xmpp_sm::Counter;
///
/// let last = Counter::new(u32::MAX);
/// assert_eq!(last.next(), Counter::ZERO);
/// assert_eq!(Counter::new(1).since(last), 2);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Counter(u32);

impl Counter {
    /// Where every counter starts.
    pub const ZERO: Self = Self(0);

    /// The counter that shows `value`.
    #[inline]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The value as it is written on the wire.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The counter after one more stanza.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        self.advance(1)
    }

    /// The counter after `n` more stanzas.
    #[must_use]
    #[inline]
    pub const fn advance(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// How many stanzas lie between `base` and this, going up from `base`, modulo 2<sup>32</sup>.
    #[inline]
    pub const fn since(self, base: Self) -> u32 {
        self.0.wrapping_sub(base.0)
    }
}

impl From<u32> for Counter {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A count of stanzas as the size of a collection.
pub(crate) fn count(stanzas: u32) -> usize {
    usize::try_from(stanzas).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn walks_over_the_wrap_without_a_gap() {
        let mut counter = Counter::new(u32::MAX - 1);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(counter.get());
            counter = counter.next();
        }
        assert_eq!(seen, [u32::MAX - 1, u32::MAX, 0, 1]);
    }

    #[test]
    fn distance_is_modular() {
        let base = Counter::new(u32::MAX - 2);
        for n in [0, 1, 2, 3, 4, 1 << 31, u32::MAX] {
            assert_eq!(base.advance(n).since(base), n);
        }
        assert_eq!(Counter::new(4).since(Counter::new(5)), u32::MAX);
    }

    #[test]
    fn shows_as_the_number_that_it_is() {
        let counter = Counter::new(u32::MAX);
        assert_eq!(format!("{counter} {counter:?}"), "4294967295 4294967295");
    }
}
