//! What must hold of `<r/>` and of silence, from the XEP, the options and what was on the wire:
//!
//! - with `Every(n)` an `<r/>` goes out at the latest with the n-th stanza since the last; self-clocked, one is on its
//!   way at a time; from half of the buffer on, something unasked is never without an `<r/>` on its way;
//! - whatever is unacknowledged is asked about within `ack_idle`, or the stream waits for an answer;
//! - an `<a/>` answers the oldest `<r/>` and all that its `h` covers. What is unanswered is reported `ack_timeout` after
//!   it went out, and nothing is reported that is answered. Only if an `h` covers the oldest, and not the last that went
//!   out beside the rhythm, those in between may be taken for answered, until the peer is asked once more;
//! - a full buffer is held against a peer that was asked about it, and had its time since;
//! - all these times stand still while the host does not read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use xmpp_sm::{AckFreq, Error, Nonza, OnFull};

use super::ledger::{Checked, Fate, Half, ensure};
use super::pair::{End, Step};
use super::setting::{BUSY, GRACE, Options, REQUEST};

/// The time of one stream.
#[derive(Clone, Copy, Default)]
pub struct Clock {
    /// Since when the host does not read, and has said so.
    pub deaf_since: Option<Instant>,
    /// How long it has not, before.
    paused: Duration,
}

impl Clock {
    pub fn hearing(&mut self, on: bool, now: Instant) {
        match (on, self.deaf_since) {
            (false, None) => self.deaf_since = Some(now),
            (true, Some(since)) => {
                self.paused += now - since;
                self.deaf_since = None;
            }
            _ => {}
        }
    }

    /// The time of the stream.
    pub fn at(&self, now: Instant) -> Instant {
        self.deaf_since.unwrap_or(now) - self.paused
    }

    /// The time of the world, if the host reads on from now.
    pub fn world(&self, at: Instant) -> Instant {
        at + self.paused
    }
}

/// An `<r/>`.
#[derive(Clone, Copy)]
pub struct Ask {
    /// How many stanzas had been sent.
    pub sent: usize,
    /// When it went out, on the stream's clock as all times here.
    pub at: Instant,
    /// Whether it went out beside the rhythm, or it is not known whether it did.
    pub beside: bool,
}

/// What was asked on one stream, and what was answered.
#[derive(Default)]
pub struct Asking {
    /// The `<r/>` that are unanswered, oldest first.
    pub open: VecDeque<Ask>,
    /// How many stanzas had been sent at the last `<r/>`, or were acknowledged when the stream began.
    pub asked: usize,
    /// Whether anything was asked.
    pub ever: bool,
    /// Since when something is unacknowledged and nothing unanswered.
    pub idle_since: Option<Instant>,
    /// Whether the buffer was half full since then.
    pub pressed: bool,
    /// When the last `<a/>` came that has answered one of several, or not all that was sent.
    pub answered_at: Option<Instant>,
    /// Whether an `<r/>` has gone out since then.
    pub again: bool,
    /// One of the unanswered went out beside the rhythm, or the host has not read meanwhile: when the others went out is
    /// not known.
    pub disturbed: bool,
    /// How many stanzas had been sent at the first that was unanswered.
    pub first: usize,
    /// Some of the unanswered may be taken for answered, until all are.
    pub unclear: bool,
    /// Since when the peer knows that its buffer is over its bounds.
    pub over: Option<Instant>,
}

impl Asking {
    /// A stream begins for a session of which so many stanzas are acknowledged.
    pub fn starting(acked: usize) -> Self {
        Self { asked: acked, ..Self::default() }
    }

    /// An `<r/>` is written.
    pub fn asks(&mut self, now: Instant, sent: usize, in_rhythm: bool) {
        self.disturbed = !self.open.is_empty() && (self.disturbed || !in_rhythm);
        if self.open.is_empty() {
            (self.answered_at, self.first) = (None, sent);
        }
        let beside = self.open.is_empty() || !in_rhythm;
        self.open.push_back(Ask { sent, at: now, beside });
        (self.asked, self.ever, self.again, self.idle_since, self.pressed) = (sent, true, true, None, false);
    }

    /// The host reads on.
    pub fn heard(&mut self) {
        self.disturbed |= !self.open.is_empty();
        self.open.iter_mut().for_each(|ask| ask.beside = true);
    }

    /// Whether it is known when the oldest `<r/>` went out, from its stanza, or because it is the last.
    fn is_timed(&self, half: &Half) -> bool {
        let Some((first, last)) = self.open.front().zip(self.open.back()) else { return true };
        let stanza = first.sent.checked_sub(1).map(|place| half.sent[place].fate);
        stanza == Some(Fate::Queued) || first.sent == last.sent && first.at == last.at
    }

    /// An `<a/>` has come.
    fn answers(&mut self, acked: usize) {
        let last_beside = self.open.iter().rfind(|ask| ask.beside).map_or(0, |ask| ask.sent);
        self.open.pop_front();
        while self.open.pop_front_if(|ask| ask.sent <= acked).is_some() {}
        let in_between = acked >= self.first && self.open.front().is_some_and(|ask| ask.sent < last_beside);
        self.unclear = !self.open.is_empty() && (self.unclear || in_between);
    }
}

/// Between these times, and at the latest then if at all.
struct Range {
    earliest: Instant,
    latest: Option<Instant>,
}

/// Whether half of the buffer is full, in number or in bytes.
fn is_pressed(options: &Options, half: &Half) -> bool {
    2 * half.queued().count() >= options.buffer_max as usize || 2 * half.queued_bytes() >= options.buffer_max_bytes
}

impl End {
    pub fn is_enabled(&self) -> bool {
        matches!(self.step, Step::Enabled)
    }

    /// Notes what follows from what was sent, asked or acknowledged just now.
    pub fn note(&mut self, options: &Options, half: &Half, now: Instant) {
        self.full_since = half.is_over(options).then(|| self.full_since.unwrap_or(now));
        if !self.is_enabled() {
            return;
        }
        let (now, asking) = (self.clock.at(now), &mut self.asking);
        if half.acked == half.sent.len() || !asking.open.is_empty() {
            asking.idle_since = None;
            asking.pressed = false;
        } else {
            asking.idle_since.get_or_insert(now);
            asking.pressed |= is_pressed(options, half);
        }
        let counts = half.is_over(options) && matches!(options.on_full, OnFull::EndAfter(_));
        // The peer must know of it, if it is ever asked.
        let knows = options.ack.is_none() || asking.open.back().is_some_and(|ask| ask.at == now);
        asking.over = match asking.over.filter(|_| counts) {
            None if counts && knows => Some(now),
            before => before,
        };
    }

    /// An `<a/>` has come.
    pub fn answered(&mut self, options: &Options, half: &Half, now: Instant) {
        self.asking.answers(half.acked);
        self.asking.disturbed |= !self.asking.is_timed(half);
        let left = half.acked < half.sent.len();
        self.asking.answered_at = left.then_some(self.clock.at(now));
        self.asking.again = false;
        self.note(options, half, now);
    }

    /// Whether an `<r/>` went out with the last stanza as it must. Both are not noted yet.
    pub fn check_request(&self, options: &Options, half: &Half, went: bool) -> Checked {
        let Asking { open, asked, unclear, over, .. } = &self.asking;
        let waits = !open.is_empty();
        let must = match options.ack.filter(|_| self.is_enabled()) {
            None => false,
            Some(freq) => {
                let fills = half.is_over(options) && over.is_none() && matches!(options.on_full, OnFull::EndAfter(_));
                let in_rhythm = match freq {
                    AckFreq::Every(stanzas) => half.sent.len() - asked >= stanzas.get() as usize,
                    _ => !waits,
                };
                in_rhythm || fills || !waits && is_pressed(options, half)
            }
        };
        ensure!(went || !must, "no <r/> goes out with a stanza, and one must");
        ensure!(must || !went || *unclear && options.ack.is_some(), "an <r/> goes out with a stanza for nothing");
        Ok(())
    }

    /// When the peer's silence has lasted too long.
    fn dead(&self, options: &Options, half: &Half) -> Option<Range> {
        let Asking { open, disturbed, answered_at, again, unclear, .. } = &self.asking;
        let (first, last, timeout) = (open.front()?, open.back()?, options.ack_timeout?);
        let earliest = first.at + timeout;
        let latest = match answered_at {
            None => Some(earliest),
            Some(_) if !disturbed && self.asking.is_timed(half) => Some(earliest),
            Some(_) if *again => Some(last.at + timeout),
            Some(answered_at) if !unclear => Some(*answered_at + timeout),
            Some(answered_at) => {
                let idle = options.ack_idle.filter(|_| options.ack.is_some());
                idle.map(|idle| *answered_at + idle.max(timeout))
            }
        };
        Some(Range { earliest, latest })
    }

    /// Since when the buffer has been full for too long.
    fn full(&self) -> Option<Instant> {
        self.asking.over.map(|over| over + GRACE)
    }

    /// When what is unacknowledged must be asked about.
    fn ask(&self, options: &Options, half: &Half) -> Option<Instant> {
        let Asking { asked, ever, idle_since, .. } = self.asking;
        let (freq, since, unasked) = (options.ack?, idle_since?, half.sent.len() - asked);
        // What went out before <enabled/> could not ask.
        let at_once = !ever
            && match freq {
                AckFreq::Every(stanzas) => unasked >= stanzas.get() as usize,
                _ => true,
            };
        match is_pressed(options, half) {
            _ if at_once => Some(since),
            // A peer that has not handled what it was asked about is asked again after a second, not at once.
            true if unasked > 0 && half.acked >= asked => Some(self.asking.answered_at.unwrap_or(since)),
            true => Some(self.asking.answered_at.unwrap_or(since) + BUSY),
            false => options.ack_idle.map(|idle| since + idle),
        }
    }

    /// Since when a client's buffer has been over its bounds, and it could not ask.
    pub fn waits_full_since(&self) -> Option<Instant> {
        self.full_since.filter(|_| matches!(self.step, Step::Enabling))
    }

    /// Since when the host has had a request in its hands.
    pub fn pending_since(&self) -> Option<Instant> {
        match self.step {
            Step::Held(_, since) | Step::Lost(_, since) => Some(since),
            _ => None,
        }
    }

    /// The timer is set so that nothing is missed, and nothing of another stream is left in it.
    pub fn check_timer(&self, options: &Options, half: Option<&Half>) -> Checked {
        let timer = self.stream.poll_timeout();
        if let Some(since) = self.pending_since() {
            let due = Some(since + REQUEST);
            ensure!(timer == due, "the timer is set to {timer:?}, and the request is refused at {due:?}");
            return Ok(());
        }
        let Some(half) = half.filter(|_| self.is_enabled() && self.clock.deaf_since.is_none()) else {
            ensure!(timer.is_none(), "the timer is set to {timer:?}, and nothing is due");
            return Ok(());
        };
        let dead = self.dead(options, half).and_then(|dead| dead.latest);
        for (what, limit) in [("dead", dead), ("full", self.full()), ("asked", self.ask(options, half))] {
            let Some(limit) = limit.map(|limit| self.clock.world(limit)) else { continue };
            ensure!(timer.is_some_and(|timer| timer <= limit), "the timer is set to {timer:?}: {what} at {limit:?}");
        }
        Ok(())
    }

    /// Whether a timer that has fired says what is so.
    pub fn check_fired(
        &self,
        options: &Options,
        half: &Half,
        now: Instant,
        said: &Result<Option<Nonza>, Error>,
    ) -> Checked {
        let now = self.clock.at(now);
        let (dead, full) = (self.dead(options, half), self.full().filter(|full| *full <= now));
        let dead_for_sure = dead.as_ref().and_then(|dead| dead.latest).filter(|latest| *latest <= now);
        let may_be_dead = dead.map(|dead| dead.earliest).filter(|earliest| *earliest <= now);
        match said {
            // What came first decides.
            Err(Error::AckTimeout) => {
                let first = may_be_dead.is_some_and(|dead| full.is_none_or(|full| dead <= full));
                ensure!(first, "the peer is called dead at {now:?}; it is at {may_be_dead:?}, and full at {full:?}");
            }
            Err(Error::BufferFull) => {
                let first = full.is_some_and(|full| dead_for_sure.is_none_or(|dead| full < dead));
                ensure!(first, "the buffer is called full; it is at {full:?}, and dead at {dead_for_sure:?}");
            }
            Ok(Some(Nonza::AckRequest)) => {
                let Asking { open, idle_since, pressed, ever, again, unclear, .. } = &self.asking;
                let once_more = *unclear && !again;
                ensure!(dead_for_sure.is_none() || once_more, "an <r/> goes out where the stream must end");
                ensure!(full.is_none(), "an <r/> goes out where the buffer is full");
                ensure!(options.ack.is_some() && half.acked < half.sent.len(), "an <r/> goes out for nothing");
                ensure!(open.is_empty() || *unclear, "an <r/> goes out while the peer is asked");
                let waited = idle_since.zip(options.ack_idle).is_some_and(|(since, idle)| since + idle <= now);
                ensure!(waited || *pressed || !ever || *unclear, "an <r/> goes out before its time");
            }
            said => ensure!(false, "a timer that is due says {said:?}"),
        }
        Ok(())
    }

    /// The times at which something is due, on the world's clock.
    pub fn times(&self, options: &Options) -> Vec<Instant> {
        let Asking { open, idle_since, answered_at, over, .. } = &self.asking;
        let starts = open.iter().map(|ask| ask.at).chain(*idle_since).chain(*answered_at).chain(*over);
        let waits = [Some(Duration::ZERO), Some(GRACE), Some(BUSY), options.ack_timeout, options.ack_idle];
        let times = starts.flat_map(|start| waits.into_iter().flatten().map(move |wait| start + wait));
        times.map(|time| self.clock.world(time)).chain(self.clock.deaf_since).collect()
    }
}
