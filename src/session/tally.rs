//! What is counted of a session, and returned as [`Stats`].

use std::time::{Duration, Instant};

use super::{Event, Refused, Session, State};
use crate::detached::Ended;
use crate::nonza::Nonza;
use crate::receipts::Tag;
use crate::stanza::Stanza;
use crate::stats::{Detach, Stats};
use crate::stream::{Acked, StreamMgmt};
use crate::trace;

/// What a session counts, and what else is seldom touched. The session itself keeps a word for it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Whether acknowledged stanzas are wanted.
    pub(super) returns_acknowledged: bool,
    /// Whether the host wants to know what a push service has to know.
    pub(super) reports_detached: bool,
    /// The newest stream that has asked for the session.
    pub(super) newest: Option<Tag>,
    /// Of sessions that a client had before this one.
    sent_before: u64,
    acked_before: u64,
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
    ack_time: Times,
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

/// Times of one kind, in microseconds.
#[derive(Debug, Default)]
struct Times {
    last: u64,
    max: u64,
    sum: u64,
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.last = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.max = self.max.max(self.last);
        self.sum = self.sum.saturating_add(self.last);
    }
}

/// Adds to a counter that stays at its end.
fn add(counter: &mut u32, more: usize) {
    *counter = counter.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
}

/// How things stood before an `<a/>`.
pub(super) struct Before {
    unacked: usize,
    asked: Option<Instant>,
}

impl Before {
    /// To be asked before an element is handled.
    #[inline(always)]
    pub(super) fn of<S: Stanza>(stream: &StreamMgmt<S>) -> Self {
        Self { unacked: stream.traffic().queue.len(), asked: stream.asked_at() }
    }
}

impl Tally {
    #[inline]
    fn peak(&mut self, unacked: usize) {
        self.unacked_max = self.unacked_max.max(u32::try_from(unacked).unwrap_or(u32::MAX));
    }

    fn on_ended<S>(&mut self, ended: &Ended<S>) {
        self.sent_before = self.sent_before.saturating_add(u64::from(ended.sent.get()));
        self.acked_before = self.acked_before.saturating_add(u64::from(ended.acked.get()));
        self.peak(ended.unacked.len());
    }
}

impl<S: Stanza, C> Session<S, C> {
    #[inline]
    pub(super) fn returns_acknowledged(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| tally.returns_acknowledged)
    }

    #[inline]
    pub(super) fn count_ack(&mut self, before: Before, acked: Acked, now: Instant) {
        let tally = self.tally.get_or_insert_default();
        tally.peak(before.unacked);
        if let Some(asked) = before.asked.filter(|_| acked.count > 0) {
            add(&mut tally.ack_answers, 1);
            tally.ack_time.add(now.saturating_duration_since(asked));
        }
    }

    #[inline]
    pub(super) fn count_request(&mut self) {
        add(&mut self.tally.get_or_insert_default().ack_requests, 1);
    }

    pub(super) fn count_resent(&mut self) {
        add(&mut self.tally.get_or_insert_default().resent, 1);
    }

    pub(super) fn count_evicted(&mut self, stanzas: usize) {
        add(&mut self.tally.get_or_insert_default().evicted, stanzas);
    }

    /// A connection does not get the session.
    pub(super) fn tell_refused(&mut self, refused: Refused<C>) {
        add(&mut self.tally.get_or_insert_default().refused, 1);
        let condition = match &refused.failed {
            Some(Nonza::Failed(failed)) => failed.condition,
            _ => None,
        };
        trace::refused(condition);
        self.events.push_back(Event::Refused(refused));
    }

    /// The session has lost its stream, and lives on. A push service may have something to do.
    pub(super) fn tell_detached(&mut self) {
        if let State::Detached(_, Away { why, .. }) = self.state {
            trace::detached(why, self.unacked(), self.backlog.len());
        }
        if self.waiter.is_none() && self.reports_detached() {
            let (unacked, waiting) = (self.unacked(), self.backlog.len());
            self.events.push_back(Event::Detached { unacked, waiting });
        }
    }

    /// The same, for a stanza.
    pub(super) fn tell_queued(&mut self) {
        if self.is_detached() && self.waiter.is_none() && self.reports_detached() {
            self.events.push_back(Event::Queued);
        }
    }

    fn reports_detached(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| tally.reports_detached)
    }

    pub(super) fn count_dropped_request(&mut self) {
        add(&mut self.tally.get_or_insert_default().requests_dropped, 1);
    }

    pub(super) fn count_given_up(&mut self, receipts: usize) {
        add(&mut self.tally.get_or_insert_default().receipts_given_up, receipts);
    }

    /// The session has a stream again, or is over.
    pub(super) fn count_away(&mut self, away: Away) {
        let tally = self.tally.get_or_insert_default();
        add(&mut tally.detached, 1);
        tally.away = Some(away);
    }

    pub(super) fn count_resumed(&mut self, now: Instant) {
        let unacked = self.unacked();
        let tally = self.tally.get_or_insert_default();
        add(&mut tally.resumed, 1);
        let away = tally.away.map_or(Duration::ZERO, |away| now.saturating_duration_since(away.at));
        tally.away_time.add(away);
        trace::resumed(away, unacked);
    }

    /// A session is over, or a client's stream was without one.
    pub(super) fn count_ended(&mut self, ended: &Ended<S>) {
        self.tally.get_or_insert_default().on_ended(ended);
    }

    /// Returns what the session has done so far, and what it holds.
    pub fn stats(&self, now: Instant) -> Stats {
        let (traffic, is_counted) = match &self.state {
            State::Live(stream) => (Some(stream.traffic()), stream.is_enabled()),
            State::Detached(session, _) => (Some(&session.traffic), true),
            State::Closing(closing) => (Some(closing.traffic()), true),
            State::Offline | State::Over => (None, false),
        };
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
        let is_away = present.is_some() || self.connection.is_none() && matches!(self.state, State::Offline);
        Stats {
            sent: sum(tally.sent_before, queue.map(|queue| queue.sent().get())),
            acked: sum(tally.acked_before, queue.map(|queue| queue.acked().get())),
            unacked,
            unacked_max: usize::try_from(tally.unacked_max).unwrap_or(usize::MAX).max(unacked),
            unacked_bytes: queue.map_or(0, |queue| queue.bytes()),
            waiting: self.backlog.len(),
            waiting_bytes: self.backlog.bytes(),
            resent: tally.resent.into(),
            evicted: tally.evicted.into(),
            ack_requests: tally.ack_requests.into(),
            ack_answers: tally.ack_answers.into(),
            ack_time_last: Duration::from_micros(tally.ack_time.last),
            ack_time_max: Duration::from_micros(tally.ack_time.max),
            ack_time_sum: Duration::from_micros(tally.ack_time.sum),
            h: traffic.map(|traffic| traffic.receipts.h()).unwrap_or_default(),
            open_receipts: self.open_receipts(),
            oldest_open: self.oldest_open().map(|open| now.saturating_duration_since(open.since)),
            receipts_given_up: tally.receipts_given_up.into(),
            requests_dropped: tally.requests_dropped.into(),
            detached: u64::from(tally.detached).saturating_add(present.is_some().into()),
            detached_why: away.map(|away| away.why),
            detached_for: away.filter(|_| is_away).map(|away| now.saturating_duration_since(away.at)),
            resumed: tally.resumed.into(),
            resumed_after: Duration::from_micros(tally.away_time.last),
            resumed_after_max: Duration::from_micros(tally.away_time.max),
            resumed_after_sum: Duration::from_micros(tally.away_time.sum),
            refused: tally.refused.into(),
        }
    }
}
