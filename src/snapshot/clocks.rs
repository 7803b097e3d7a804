//! Times that mean something to another process.

use std::iter::successors;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The two clocks of the host, read together.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    pub(super) now: Instant,
    /// Nanoseconds since 1970.
    pub(super) wall: u64,
}

impl Clocks {
    pub(super) fn new(now: Instant, by_the_wall: SystemTime) -> Self {
        Self { now, wall: nanos(by_the_wall.duration_since(UNIX_EPOCH).unwrap_or_default()) }
    }

    /// The wall clock, to the millisecond.
    pub(super) fn to_the_millisecond(self) -> Self {
        Self { wall: from_millis(self.millis()), ..self }
    }

    /// Milliseconds since 1970.
    pub(super) fn millis(self) -> u64 {
        to_millis(self.wall)
    }

    /// Of a time that has come, as a stanza's is.
    pub(super) fn past_to_wall(self, past: Instant) -> u64 {
        self.wall.saturating_sub(nanos(self.now.saturating_duration_since(past)))
    }

    /// Of a time that is to come, as a deadline is.
    pub(super) fn future_to_wall(self, future: Instant) -> u64 {
        self.wall.saturating_add(nanos(future.saturating_duration_since(self.now)))
    }

    /// How many milliseconds ago that was.
    pub(super) fn age(self, past: Instant) -> u64 {
        millis(self.now.saturating_duration_since(past))
    }

    /// In how many milliseconds that is.
    pub(super) fn left(self, future: Instant) -> u64 {
        millis(future.saturating_duration_since(self.now))
    }

    pub(super) fn past_from_wall(self, past: u64) -> Instant {
        let age = Duration::from_nanos(self.wall.saturating_sub(past));
        // Some platforms begin to count when the machine starts.
        let younger = successors(Some(age), |age| age.checked_div(2)).take(64);
        { younger }.find_map(|age| self.now.checked_sub(age)).unwrap_or(self.now)
    }

    /// `written`: when it was written down.
    pub(super) fn future_from_wall(self, future: u64, written: u64) -> Option<Instant> {
        let left = future.saturating_sub(written).saturating_sub(self.wall.saturating_sub(written));
        self.now.checked_add(Duration::from_nanos(left))
    }
}

/// Nanoseconds of a millisecond.
const MILLI: u64 = 1_000_000;

/// Up to 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn millis(time: Duration) -> u64 {
    to_millis(nanos(time))
}

/// Of nanoseconds.
pub(super) fn to_millis(nanos: u64) -> u64 {
    nanos / MILLI
}

/// In nanoseconds.
pub(super) fn from_millis(millis: u64) -> u64 {
    millis.saturating_mul(MILLI)
}
