//! What an operator sees of a session and of a store: how much went through, what waits, and why a stream was lost.

use std::time::Duration;

use crate::counter::Counter;
use crate::nonza::Condition;

/// What a session has done and what it holds, as plain data. A session always counts.
/// [`Session::stats`](crate::Session::stats) returns this, also after the end.
///
/// | question | where to look |
/// | --- | --- |
/// | Where did the message go? | It was acknowledged ([`acked`](Self::acked)), or the client has not answered for it yet ([`unacked`](Self::unacked)), or it was not written ([`waiting`](Self::waiting)), or it left the buffer ([`evicted`](Self::evicted)). At the end all but the first come back in [`SessionEnded`](crate::SessionEnded), with how far each came |
/// | Why was I disconnected? | [`detached_why`](Self::detached_why); at the end [`SessionEnded::reason`](crate::SessionEnded::reason) |
/// | Why does `h` stand still? | [`oldest_open`](Self::oldest_open) is old: the host has not settled that receipt |
/// | Why the ping-pong of `<r/>` and `<a/>`? | [`ack_requests`](Self::ack_requests) beside [`sent`](Self::sent): see [`AckFreq`](crate::AckFreq) |
///
/// The host that owns the session reads this, between two calls. A metrics endpoint asks the session's task by a
/// message and adds up what is new since the last answer, as
/// [`examples/server/metrics.rs`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server/metrics.rs) does.
///
/// ```
/// use xmpp_sm::Stats;
///
/// /// What a session's task has added to the server's totals. At [`Event::Ended`](xmpp_sm::Event::Ended) it adds once more,
/// /// and is asked no more: nothing is counted twice.
/// #[derive(Default)]
/// struct Added(Stats);
///
/// impl Added {
///     fn add(&mut self, stats: Stats, total_sent: &mut u64) {
///         *total_sent += u64::from((stats.sent as u32).wrapping_sub(self.0.sent as u32));
///         self.0 = stats;
///     }
/// }
/// # let (mut added, mut total, mut stats) = (Added::default(), 0, Stats::default());
/// # for sent in [7, u64::from(u32::MAX), 3] { stats.sent = sent; added.add(stats, &mut total); }
/// # assert_eq!(total, (1 << 32) + 3);
/// ```
///
/// **Totals** go up only and begin at 0 with the session, whatever its connections: [`sent`](Self::sent),
/// [`acked`](Self::acked), [`resent`](Self::resent), [`evicted`](Self::evicted), [`ack_requests`](Self::ack_requests),
/// [`ack_answers`](Self::ack_answers), [`ack_times`](Self::ack_times), [`receipts_given_up`](Self::receipts_given_up),
/// [`requests_dropped`](Self::requests_dropped), [`detached`](Self::detached), [`resumed`](Self::resumed),
/// [`refused`](Self::refused) and the two sums of times. A client's session counts on when a refused session is followed
/// by another. `sent` and `acked` are the stream's own counters, of 32 bits, and [begin again](crate::Counter) at 0 after
/// 2³² stanzas: take the difference of two looks modulo 2³². The other totals stop at 2³² - 1. All other
/// fields show the present, the last or the highest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Stanzas for the peer that were written, and counted by stream management.
    pub sent: u64,
    /// Written stanzas that the peer has acknowledged.
    pub acked: u64,
    /// Written stanzas that are not acknowledged, and still in the buffer.
    pub unacked: usize,
    /// The most written stanzas that ever were unacknowledged at a time, in the buffer or not: as seen when an `<r/>`
    /// is answered, at an end, and now.
    pub unacked_max: usize,
    /// The bytes of the [`unacked`](Self::unacked) stanzas.
    pub unacked_bytes: usize,
    /// Stanzas that wait to be written, in the backlog.
    pub waiting: usize,
    /// The bytes of the [`waiting`](Self::waiting) stanzas.
    pub waiting_bytes: usize,
    /// Stanzas that were written once more after a resumption.
    pub resent: u64,
    /// Stanzas that left the buffer before they were acknowledged.
    pub evicted: u64,

    /// `<r/>` that were written.
    pub ack_requests: u64,
    /// `<a/>` that came as answers to `<r/>`, and acknowledged something. An answer may be for several requests.
    ///
    /// A peer may answer before it has handled the stanza, and acknowledge that stanza by a second `<a/>`. Neither
    /// counts here: the first acknowledges nothing, and the second is no answer. So of a fast peer this may be a few of
    /// many.
    pub ack_answers: u64,
    /// How many of the [`ack_answers`](Self::ack_answers) were timed: of several that come in one millisecond, the
    /// first.
    pub ack_times: u64,
    /// The time from the oldest unanswered `<r/>` to the last `<a/>` that was timed.
    pub ack_time_last: Duration,
    /// The longest time from an `<r/>` to its `<a/>`, of those that were timed. No answer took more than a millisecond
    /// longer.
    pub ack_time_max: Duration,
    /// The sum of the times from an `<r/>` to its `<a/>`. Divided by [`ack_times`](Self::ack_times) it is the mean.
    pub ack_time_sum: Duration,

    /// How many stanzas of the peer were handled; after the end as in [`SessionEnded`](crate::SessionEnded::h).
    pub h: Counter,
    /// Delivered stanzas that the host has not settled.
    pub open_receipts: usize,
    /// How long the oldest open receipt has been open. `None`: there is none.
    pub oldest_open: Option<Duration>,
    /// Receipts that the session could not wait for any longer, so that it has settled their stanzas itself.
    pub receipts_given_up: u64,
    /// Requests of the peer that the host has not answered in
    /// [`request_timeout`](crate::Config::request_timeout): the host had dropped them.
    pub requests_dropped: u64,

    /// How often the session has lost its stream, and lived on.
    pub detached: u64,
    /// Why the session lost its stream the last time, and lived on. `None`: it never did.
    pub detached_why: Option<Detach>,
    /// How long the session has been without a stream now. `None`: it has one, or is over.
    pub detached_for: Option<Duration>,
    /// How often the session was resumed.
    pub resumed: u64,
    /// How long the session had been without a stream when it was resumed last.
    pub resumed_after: Duration,
    /// The longest time that the session had been without a stream when it was resumed.
    pub resumed_after_max: Duration,
    /// The sum of the times that the session had been without a stream when it was resumed. Divided by
    /// [`resumed`](Self::resumed) it is the mean.
    pub resumed_after_sum: Duration,
    /// Connections that asked for the session, and that the session has refused: their `h` was not possible, the buffer
    /// had a gap, the session was ending, or a newer connection asked, too. A connection that the host refuses, because
    /// its store knows no such session, is not counted here.
    pub refused: u64,
    /// The condition that the last refused connection was told. `None`: none was refused, or it was told no condition.
    pub refused_why: Option<Condition>,
}

/// What a [`MemoryStore`](crate::MemoryStore) has done and what it holds, as plain data. A store always counts.
/// [`MemoryStore::stats`](crate::MemoryStore::stats) returns this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Sessions that are registered.
    pub sessions: usize,
    /// Stale `h` that the store remembers, those included that are too old and not swept yet.
    pub stale_h: usize,
    /// Registrations.
    pub registered: u64,
    /// Sessions that lost their registration to a newer one of their owner.
    pub displaced: u64,
    /// Registrations that were refused: there were too many sessions.
    pub refused: u64,
    /// Lookups that found a session.
    pub found: u64,
    /// Lookups that found the last `h` of a session that is gone.
    pub found_stale_h: u64,
    /// Lookups that found nothing, or what is another's.
    pub not_found: u64,
    /// Sessions that were taken out by [`retire`](crate::SessionStore::retire): they may have left their `h`. Where
    /// [`stale_h`](crate::Config::stale_h) is off, [`removed`](Self::removed) counts them instead.
    pub retired: u64,
    /// Sessions that were taken out by [`remove`](crate::SessionStore::remove).
    pub removed: u64,
    /// Stale `h` that a sweep dropped.
    pub swept: u64,
}

impl StoreStats {
    /// The sum of both.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(other.sessions),
            stale_h: self.stale_h.saturating_add(other.stale_h),
            registered: self.registered.saturating_add(other.registered),
            displaced: self.displaced.saturating_add(other.displaced),
            refused: self.refused.saturating_add(other.refused),
            found: self.found.saturating_add(other.found),
            found_stale_h: self.found_stale_h.saturating_add(other.found_stale_h),
            not_found: self.not_found.saturating_add(other.not_found),
            retired: self.retired.saturating_add(other.retired),
            removed: self.removed.saturating_add(other.removed),
            swept: self.swept.saturating_add(other.swept),
        }
    }
}

/// Adds one to a counter that stays at its end.
#[inline]
pub(crate) fn inc(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Why a session lost its stream, and lived on. Told by [`Session::stats`](crate::Session::stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detach {
    /// The host said that the connection was [lost](crate::Session::lost).
    Lost,
    /// The peer left an `<r/>` unanswered for [`ack_timeout`](crate::Config::ack_timeout).
    AckTimeout,
    /// The session's client is back, on another connection.
    TakenOver,
    /// Client: the server closed the stream.
    Closed,
    /// Client: the server ended the stream with an error.
    StreamError,
    /// Client: the server did not reply in [`reply_timeout`](crate::Config::reply_timeout) or could not tell whether it
    /// has the session, or no resource was bound.
    NoReply,
}

impl Detach {
    /// Returns the name of this, as it is in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "Lost",
            Self::AckTimeout => "AckTimeout",
            Self::TakenOver => "TakenOver",
            Self::Closed => "Closed",
            Self::StreamError => "StreamError",
            Self::NoReply => "NoReply",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_all_of_both() {
        let stats = |by: u64| StoreStats {
            sessions: by as usize,
            stale_h: 2 * by as usize,
            registered: 3 * by,
            displaced: 4 * by,
            refused: 5 * by,
            found: 6 * by,
            found_stale_h: 7 * by,
            not_found: 8 * by,
            retired: 9 * by,
            removed: 10 * by,
            swept: 11 * by,
        };
        assert_eq!(stats(1).plus(stats(100)), stats(101));
    }
}
