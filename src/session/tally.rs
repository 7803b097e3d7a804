//! What is counted of a session, and returned as [`Stats`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Event, Refused, Session, State};
use crate::config::Config;
use crate::counter::{Counter, count};
use crate::detached::Ended;
use crate::nonza::{Condition, Nonza};
use crate::receipts::Tag;
use crate::stanza::Stanza;
use crate::stats::{Detach, Stats};
use crate::trace;

/// What a session counts, and what else is seldom touched. The session itself keeps a word for it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Whether acknowledged stanzas are wanted.
    pub(super) returns_acknowledged: bool,
    /// Whether the host wants to know what a push service has to know.
    pub(super) reports_detached: bool,
    /// The newest stream that has asked for the session, among those with these options: the others are not numbered
    /// with it.
    pub(super) newest: Option<(Arc<Config>, Tag)>,
    /// How many queued stanzas were replaced, or dropped for newer ones.
    pub(super) rewritten: u32,
    /// Of sessions that a client had before this one.
    sent_before: u64,
    acked_before: u64,
    /// Of the last session that is over.
    h_before: Counter,
    unacked_max: u32,
    resent: u32,
    evicted: u32,
    ack_requests: u32,
    ack_answers: u32,
    receipts_given_up: u32,
    requests_dropped: u32,
    detached: u32,
    resumed: u32,
    refused: u32,
    refused_why: Option<Condition>,
    ack_times: u32,
    ack_time: Times,
    /// Until then no further answer is timed.
    timed_until: Option<Instant>,
    away_time: Times,
    /// The last time that is over.
    away: Option<Away>,
}

/// Since when a session has been without a stream, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away {
    pub(super) at: Instant,
    pub(super) why: Detach,
}

/// At most one answer is timed in this time: where there are thousands in a second, to subtract two `Instant`s would be the
/// dearest part of each. An answer that took longer than this and is not timed came as soon after one that took as long.
const TIMED_EVERY: Duration = Duration::from_millis(1);

/// Times of one kind, in nanoseconds.
#[derive(Debug, Default)]
struct Times {
    last: u64,
    max: u64,
    sum: u64,
}

impl Times {
    #[inline(always)]
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs().saturating_mul(1_000_000_000);
        self.last = seconds.saturating_add(time.subsec_nanos().into());
        self.max = self.max.max(self.last);
        self.sum = self.sum.saturating_add(self.last);
    }
}

/// Adds to a counter that stays at its end.
#[inline(always)]
fn add(counter: &mut u32, more: usize) {
    *counter = counter.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
}

/// The tally of a session, which begins with the first thing that is counted.
#[inline(always)]
pub(super) fn tally(of: &mut Option<Box<Tally>>) -> &mut Tally {
    #[cold]
    #[inline(never)]
    fn begin(of: &mut Option<Box<Tally>>) -> &mut Tally {
        of.get_or_insert_default()
    }
    match of {
        Some(tally) => tally,
        none => begin(none),
    }
}

impl Tally {
    /// An `<r/>` is written.
    #[inline(always)]
    pub(super) fn count_request(&mut self) {
        add(&mut self.ack_requests, 1);
    }

    /// An `<a/>` that answers an `<r/>`, and acknowledges `count` of the stanzas that are `outstanding`. The oldest `<r/>`
    /// that was unanswered went out at `asked`.
    #[inline(always)]
    pub(super) fn on_answer(&mut self, asked: Instant, count: u32, outstanding: u32, now: Instant) {
        self.unacked_max = self.unacked_max.max(outstanding);
        if count > 0 {
            add(&mut self.ack_answers, 1);
            if self.timed_until.is_none_or(|until| until <= now) {
                self.time_answer(asked, now);
            }
        }
    }

    #[inline(never)]
    fn time_answer(&mut self, asked: Instant, now: Instant) {
        add(&mut self.ack_times, 1);
        self.ack_time.add(now.saturating_duration_since(asked));
        self.timed_until = now.checked_add(TIMED_EVERY);
    }

    fn on_ended<S>(&mut self, ended: &Ended<S>) {
        self.sent_before = self.sent_before.saturating_add(u64::from(ended.sent.get()));
        self.acked_before = self.acked_before.saturating_add(u64::from(ended.acked.get()));
        self.h_before = ended.h;
        self.unacked_max = self.unacked_max.max(ended.sent.since(ended.acked));
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// A queued stanza was replaced, or dropped for a newer one.
    pub(super) fn note_rewritten(&mut self) {
        add(&mut tally(&mut self.tally).rewritten, 1);
    }

    #[inline]
    pub(super) fn returns_acknowledged(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| tally.returns_acknowledged)
    }

    pub(super) fn count_resent(&mut self) {
        add(&mut tally(&mut self.tally).resent, 1);
    }

    pub(super) fn count_evicted(&mut self, stanzas: usize) {
        add(&mut tally(&mut self.tally).evicted, stanzas);
    }

    /// A connection does not get the session.
    pub(super) fn tell_refused(&mut self, refused: Refused<C>) {
        let condition = match refused.step.failed() {
            Some(Nonza::Failed(failed)) => failed.condition,
            _ => None,
        };
        let tally = tally(&mut self.tally);
        add(&mut tally.refused, 1);
        tally.refused_why = condition;
        trace::refused(condition);
        self.events.push_back(Event::Refused(refused));
    }

    /// The session has lost its stream, and lives on. A push service may have something to do.
    pub(super) fn tell_detached(&mut self) {
        if let State::Detached(_, Away { why, .. }) = self.state {
            trace::detached(why, self.unacked(), self.backlog().stanzas);
        }
        if self.waiter.is_none() && self.reports_detached() {
            let (unacked, waiting) = (self.unacked(), self.backlog().stanzas);
            self.events.push_back(Event::Detached { unacked, waiting });
        }
    }

    /// The same, for a stanza.
    #[cold]
    pub(super) fn tell_queued(&mut self) {
        if self.is_detached() && self.waiter.is_none() && self.reports_detached() {
            self.events.push_back(Event::Queued);
        }
    }

    fn reports_detached(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| tally.reports_detached)
    }

    pub(super) fn count_dropped_request(&mut self) {
        add(&mut tally(&mut self.tally).requests_dropped, 1);
    }

    pub(super) fn count_given_up(&mut self, receipts: usize) {
        add(&mut tally(&mut self.tally).receipts_given_up, receipts);
    }

    /// The session has a stream again, or is over.
    pub(super) fn count_away(&mut self, away: Away) {
        let tally = tally(&mut self.tally);
        add(&mut tally.detached, 1);
        tally.away = Some(away);
    }

    pub(super) fn count_resumed(&mut self, now: Instant) {
        let unacked = self.unacked();
        let tally = tally(&mut self.tally);
        add(&mut tally.resumed, 1);
        let away = tally.away.map_or(Duration::ZERO, |away| now.saturating_duration_since(away.at));
        tally.away_time.add(away);
        trace::resumed(away, unacked);
    }

    /// A session is over, or a client's stream was without one.
    pub(super) fn count_ended(&mut self, ended: &Ended<S>) {
        tally(&mut self.tally).on_ended(ended);
    }

    /// Returns what the session has done so far, and what it holds.
    pub fn stats(&self, now: Instant) -> Stats {
        let (traffic, is_counted) = match &self.state {
            State::Live(stream) => (Some(stream.traffic()), stream.is_recording()),
            State::Detached(session, _) => (Some(&session.traffic), true),
            State::Closing(closing) => (Some(closing.traffic()), true),
            State::Offline(_) | State::Over => (None, false),
        };
        let backlog = self.backlog();
        let queue = traffic.map(|traffic| &traffic.queue).filter(|_| is_counted);
        let unacked = queue.map_or(0, |queue| queue.len());
        let sum = |before: u64, now: Option<u32>| before.saturating_add(u64::from(now.unwrap_or_default()));
        let quiet = Tally::default();
        let tally = self.tally.as_deref().unwrap_or(&quiet);
        // The present time without a stream is not among those that are over.
        let present = match self.state {
            State::Detached(_, away) => Some(away),
            _ => None,
        };
        let away = present.or(tally.away);
        let is_away = present.is_some() || self.connection.is_none() && matches!(self.state, State::Offline(_));
        Stats {
            sent: sum(tally.sent_before, queue.map(|queue| queue.sent().get())),
            acked: sum(tally.acked_before, queue.map(|queue| queue.acked().get())),
            unacked,
            unacked_max: count(tally.unacked_max.max(queue.map_or(0, |queue| queue.outstanding()))),
            unacked_bytes: queue.map_or(0, |queue| queue.bytes()),
            waiting: backlog.stanzas,
            waiting_bytes: backlog.bytes,
            resent: tally.resent.into(),
            evicted: tally.evicted.into(),
            ack_requests: tally.ack_requests.into(),
            ack_answers: tally.ack_answers.into(),
            ack_times: tally.ack_times.into(),
            ack_time_last: Duration::from_nanos(tally.ack_time.last),
            ack_time_max: Duration::from_nanos(tally.ack_time.max),
            ack_time_sum: Duration::from_nanos(tally.ack_time.sum),
            h: traffic.map_or(tally.h_before, |traffic| traffic.receipts.h()),
            open_receipts: self.open_receipts(),
            oldest_open: self.oldest_open().map(|open| now.saturating_duration_since(open.since)),
            receipts_given_up: tally.receipts_given_up.into(),
            requests_dropped: tally.requests_dropped.into(),
            detached: u64::from(tally.detached).saturating_add(present.is_some().into()),
            detached_why: away.map(|away| away.why),
            detached_for: away.filter(|_| is_away).map(|away| now.saturating_duration_since(away.at)),
            resumed: tally.resumed.into(),
            resumed_after: Duration::from_nanos(tally.away_time.last),
            resumed_after_max: Duration::from_nanos(tally.away_time.max),
            resumed_after_sum: Duration::from_nanos(tally.away_time.sum),
            refused: tally.refused.into(),
            refused_why: tally.refused_why,
        }
    }
}
