//! When something is due, and why no timeout is judged before the evidence is read.

use std::time::{Duration, Instant};

use super::{LeftWhy, Session, State};
use crate::detached::EndReason;
use crate::error::{LastWords, Reaction};
use crate::nonza::Nonza;
use crate::stanza::Stanza;

/// A timeout that blames the peer is due. It is judged a moment later: the host reads first what has arrived, after the
/// whole process has slept, for instance. What is read in this moment prolongs it.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What was due. When that is settled, what is due next has a moment of its own.
    due: Instant,
    at: Instant,
    /// The latest time for it.
    latest: Instant,
    heard: bool,
}

/// The time after a timeout. One that no clock can tell is as good as never.
pub(super) fn after(now: Instant, timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(timeout).or_else(|| now.checked_add(CENTURY)).unwrap_or(now)
}

/// How long a host needs to look at its connection and its mailbox.
const MOMENT: Duration = Duration::from_millis(50);
/// How long the moment may become while there is always more to read.
const LONGEST: Duration = Duration::from_secs(5);

impl Verdict {
    fn new(due: Instant, now: Instant) -> Self {
        Self { due, at: after(now, MOMENT), latest: after(now, LONGEST), heard: false }
    }

    /// Something has arrived.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Whether all that had arrived is read.
    fn is_due(&mut self, now: Instant) -> bool {
        if now >= self.at && self.heard && now < self.latest {
            self.heard = false;
            self.at = after(now, MOMENT).min(self.latest);
        }
        now >= self.at
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// When [`timeout`](Self::timeout) is due; it may have come already. `None`: no timeout runs. Each call may change it.
    pub fn deadline(&self) -> Option<Instant> {
        let blame = match &self.verdict {
            Some(verdict) => Some(verdict.at),
            None => self.blaming().into_iter().flatten().min(),
        };
        let waits = match (&self.ending, &self.waiter, &self.client) {
            (Some(ending), ..) => Some(ending.until),
            (None, Some(waiter), _) => Some(waiter.until),
            (None, None, Some(client)) => client.settle_until.filter(|_| self.is_detached()),
            (None, None, None) => None,
        };
        blame.into_iter().chain(waits).min()
    }

    /// The timeouts that end or detach something.
    fn blaming(&self) -> [Option<Instant>; 3] {
        if self.ending.is_some() || self.is_over() {
            return [None; 3];
        }
        let state = match &self.state {
            State::Live(stream) => stream.poll_timeout(),
            // A client that asks in time does not lose its session to a slow host. And a client asks however late it is:
            // it may still learn how much the server has handled.
            State::Detached(session, _) => {
                session.deadline().filter(|_| self.waiter.is_none() && self.client.is_none())
            }
            State::Closing(_) | State::Offline(_) | State::Over => None,
        };
        let reply = self.client.as_ref().and_then(|client| client.reply_until);
        [state, self.full_until(), reply]
    }

    /// When the session ends because the backlog is over its bounds. While the host does not read, what makes room may lie
    /// unread, and the time stands still.
    fn full_until(&self) -> Option<Instant> {
        let is_deaf = matches!(&self.state, State::Live(stream) if stream.is_deaf());
        self.backlog_full_until.filter(|_| !is_deaf)
    }

    /// Processes timeouts that have expired. Calling it early is a no-op.
    pub fn timeout(&mut self, now: Instant) {
        self.advance(now);
        if !self.blaming().into_iter().flatten().any(|due| due <= now) {
            self.verdict = None;
            return;
        }
        // What blames no one is done at once.
        if let State::Live(stream) = &mut self.state
            && let Ok(write) = stream.handle_timeout(now)
        {
            match write {
                Some(Nonza::AckRequest) => self.unwritten.request = true,
                Some(failed) => {
                    self.count_dropped_request();
                    self.reply_to_enable(failed);
                }
                None => {}
            }
            self.tell_hearing(now);
        }
        let Some(due) = self.blaming().into_iter().flatten().min().filter(|due| *due <= now) else {
            self.verdict = None;
            return;
        };
        self.verdict.take_if(|verdict| verdict.due != due);
        if self.verdict.get_or_insert_with(|| Box::new(Verdict::new(due, now))).is_due(now) {
            self.verdict = None;
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        let reply = self.client.as_ref().and_then(|client| client.reply_until);
        match &mut self.state {
            State::Live(stream) => {
                if let Err(error) = stream.handle_timeout(now) {
                    return match error.reaction() {
                        Reaction::Close(last) => self.end_stream(last, LeftWhy::Error(error), now),
                        _ => self.on_silence(now),
                    };
                }
            }
            State::Detached(session, _) if is_due(session.deadline()) && self.client.is_none() => {
                // There is no connection to leave.
                let last = LastWords { write: None, error: None, reason: EndReason::Expired };
                return self.start_ending(last, LeftWhy::Lost, now);
            }
            _ => {}
        }
        if is_due(self.full_until()) {
            self.end_full(now);
        } else if is_due(reply) {
            self.on_no_reply(now);
        }
    }

    /// Tells the engine whether the host reads. While it does not because of the host's own open receipts, the peer is not
    /// blamed for its silence; while it does not because the peer takes no replies, it is.
    #[inline]
    pub(super) fn tell_hearing(&mut self, now: Instant) {
        if let State::Live(stream) = &mut self.state {
            let reads = stream.reads();
            if reads && let Some(until) = &mut self.backlog_full_until {
                *until = after(*until, now.saturating_duration_since(stream.clock(now)));
            }
            stream.hearing(reads, now);
        }
    }
}
