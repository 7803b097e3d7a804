//! When the peer is asked for an acknowledgement, and what its silence means.

use std::time::{Duration, Instant};

use super::{Phase, StreamMgmt};
use crate::config::{AckFreq, Config, OnFull};
use crate::counter::Counter;
use crate::error::Error;
use crate::nonza::{Condition, Nonza};
use crate::stanza::Stanza;

/// What is going on about acknowledgements of what this side sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    state: State,
    /// How many stanzas had been sent at the last `<r/>`.
    asked: Counter,
    /// When the stream ends because the buffer is over its bounds.
    pub(super) full_until: Option<Instant>,
    /// Since when this side does not read.
    deaf_since: Option<Instant>,
    /// The peer's user does not look at it: nothing is asked but for room.
    inactive: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// An `<r/>` is unanswered, or several are, of which the oldest went out at this time. Without an answer in
    /// `ack_timeout` the connection is dead.
    Awaiting(Instant, Option<Several>),
    /// An `<r/>` is due at this time.
    DueAt(Instant),
    /// Stanzas have gone out since this time without an `<r/>`, which is due after `ack_idle`. The deadline is made when
    /// it is asked for: most such stanzas are followed by an `<r/>` or an `<a/>` soon.
    Unasked(Instant),
}

/// The unanswered `<r/>`. Those up to the last that went out beside the rhythm are counted; those after it went out each
/// with its stanza, so that it is known where, and when. There is no list, and so it is not known which of those before
/// the last place beside the rhythm an `h` covers that does not cover that place: they are taken for answered then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Several {
    /// How many stanzas had been sent when the oldest went out.
    oldest: Counter,
    /// When the last went out.
    latest: Instant,
    /// How many stanzas had been sent at the last beside the rhythm, or at the first of all.
    beside: Counter,
    /// How many have gone out until then.
    until: u32,
    /// How many of these went out after the same stanza as the last.
    at_last: u32,
}

impl Several {
    /// One by itself.
    fn first(at: Counter, now: Instant) -> Self {
        Self { oldest: at, latest: now, beside: at, until: 1, at_last: 1 }
    }
}

impl Requests {
    /// The time as the timeouts see it: it stands still while this side does not read.
    #[inline(always)]
    pub(super) fn clock(&self, now: Instant) -> Instant {
        self.deaf_since.unwrap_or(now)
    }

    /// What is unanswered, and since when.
    #[inline]
    fn awaited(&self) -> Option<(Instant, Several)> {
        let State::Awaiting(since, several) = self.state else { return None };
        Some((since, several.unwrap_or(Several::first(self.asked, since))))
    }

    fn is_awaiting(&self) -> bool {
        matches!(self.state, State::Awaiting(..))
    }

    /// An `<a/>` has left nothing out.
    #[inline(always)]
    pub(super) fn on_answer_in_full(&mut self) {
        self.state = State::Idle;
    }

    /// Whether an `<r/>` is due by the rhythm, when so many are sent.
    #[inline(always)]
    pub(super) fn is_in_rhythm(&self, sent: Counter, config: &Config) -> bool {
        let is_due = match config.ack_freq {
            AckFreq::Every(stanzas) => sent.since(self.asked) >= stanzas.get(),
            AckFreq::SelfClocked => !self.is_awaiting(),
        };
        config.request_acks && is_due && !self.inactive
    }

    /// The fast path, behind a stanza of the time `queued`, when so many are sent: `full_until` is set only while the queue
    /// is over its bounds, so only the rhythm can ask. Returns whether an `<r/>` follows.
    #[inline(always)]
    pub(super) fn after_calm(&mut self, sent: Counter, config: &Config, queued: Instant, now: Instant) -> bool {
        let request = self.is_in_rhythm(sent, config);
        if request {
            self.note_request(sent, config, now, Some(queued));
        } else {
            self.note_unasked(config, now);
        }
        request
    }

    /// An `<r/>` goes out: in the rhythm, behind a stanza of the time `queued`, or beside it.
    #[inline]
    pub(super) fn note_request(&mut self, sent: Counter, config: &Config, now: Instant, queued: Option<Instant>) {
        let written = self.clock(now);
        match &mut self.state {
            State::Awaiting(_, Some(several)) if queued == Some(now) => several.latest = written,
            State::Awaiting(..) => self.note_one_more(sent, config, written, queued == Some(now)),
            state => *state = State::Awaiting(written, None),
        }
        self.asked = sent;
    }

    /// An `<r/>` goes out, and others are unanswered.
    #[inline(never)]
    fn note_one_more(&mut self, sent: Counter, config: &Config, now: Instant, in_rhythm: bool) {
        let Some((since, mut several)) = self.awaited() else { return };
        several.latest = now;
        if !in_rhythm {
            several = self.count_all(several, config);
            several.at_last = if sent == several.beside { several.at_last.saturating_add(1) } else { 1 };
            several.until = several.until.saturating_add(1);
            several.beside = sent;
        }
        self.state = State::Awaiting(since, Some(several));
    }

    /// What is unanswered, with all of them counted.
    fn count_all(&self, several: Several, config: &Config) -> Several {
        let after = self.asked.since(several.beside);
        let requests = match config.ack_freq {
            _ if after == 0 => return several,
            AckFreq::Every(stanzas) => after.div_ceil(stanzas.get()),
            AckFreq::SelfClocked => 0,
        };
        let until = several.until.saturating_add(requests);
        Several { beside: self.asked, until, at_last: 1, ..several }
    }

    /// A stanza goes out without an `<r/>`: it is asked about after a time.
    #[inline(always)]
    pub(super) fn note_unasked(&mut self, config: &Config, now: Instant) {
        if matches!(self.state, State::Idle) && config.request_acks {
            self.start_idle(config, now);
        }
    }

    #[inline(always)]
    fn start_idle(&mut self, config: &Config, now: Instant) {
        let is_asked_later = config.ack_idle.is_some() && !self.inactive;
        self.state = if is_asked_later { State::Unasked(self.clock(now)) } else { State::Idle };
    }
}

/// How soon a peer that is behind with its answers, and alive, is asked once more while the buffer fills up.
const BUSY: Duration = Duration::from_secs(1);

impl<S: Stanza> StreamMgmt<S> {
    /// An `<r/>` of the host's own accord. It has to be answered in
    /// [`ack_timeout`](crate::Config::ack_timeout) like the others. `None` where stream management is off.
    ///
    /// No list is kept of several that are unanswered: where an `<a/>` covers the oldest and not this one, those in between
    /// may be taken for answered. A peer that is dead is never found to be so too early then, but may be only
    /// `ack_timeout` after it is asked once more, [`ack_idle`](crate::Config::ack_idle) after that `<a/>` at the latest.
    #[must_use = "the peer gets it only if it is written"]
    pub fn request_ack(&mut self, now: Instant) -> Option<Nonza> {
        self.is_enabled().then(|| self.ask(now))
    }

    /// Something waits for room: an `<r/>`, unless one is on its way or due.
    pub(crate) fn request_room(&mut self, now: Instant) -> Option<Nonza> {
        if !self.is_enabled() || !self.is_idle() {
            return None;
        }
        if !self.is_all_asked() {
            return Some(self.ask(now));
        }
        // The peer has answered for all that it was sent, and has not handled it.
        self.requests.state = now.checked_add(BUSY).map_or(State::Idle, State::DueAt);
        None
    }

    /// When the oldest `<r/>` went out that is unanswered.
    #[inline]
    pub(crate) fn asked_at(&self) -> Option<Instant> {
        match self.requests.state {
            State::Awaiting(since, _) => Some(since),
            State::Idle | State::DueAt(_) | State::Unasked(_) => None,
        }
    }

    /// Says whether the host reads what the peer writes. While it does not, an acknowledgement may lie unread, and the
    /// times in which the peer has to answer and to make room stand still. Every stream starts with a host that reads.
    pub fn hearing(&mut self, on: bool, now: Instant) {
        if !on {
            self.requests.deaf_since.get_or_insert(now);
        } else if let Some(since) = self.requests.deaf_since.take() {
            let pause = now.saturating_duration_since(since);
            let later = |time: Instant| time.checked_add(pause).unwrap_or(time);
            self.requests.full_until = self.requests.full_until.map(later);
            self.requests.state = match self.requests.state {
                State::Idle => State::Idle,
                State::Awaiting(since, several) => {
                    // It is not known any more when those in between went out on this clock.
                    let several = several.map(|several| self.requests.count_all(several, &self.config));
                    let several = several.map(|several| Several { latest: later(several.latest), ..several });
                    State::Awaiting(later(since), several)
                }
                State::DueAt(at) => State::DueAt(later(at)),
                State::Unasked(since) => State::Unasked(later(since)),
            };
        }
    }

    /// Says whether the peer is [active](https://xmpp.org/extensions/xep-0352.html#indication). While it is not, an
    /// `<r/>` is held back, for the answer would wake a phone; only a buffer that fills up asks all the same. Every stream
    /// starts active, a resumed one
    /// [too](https://xmpp.org/extensions/xep-0352.html#stream-resumption). Returns the `<r/>` that was held back, if the peer
    /// is active again.
    #[must_use = "the peer gets it only if it is written"]
    pub fn set_active(&mut self, active: bool, now: Instant) -> Option<Nonza> {
        self.requests.inactive = !active;
        if !active {
            if self.due().is_some() && !self.is_pressed() {
                self.requests.state = State::Idle;
            }
            return None;
        }
        if !self.is_enabled() || !self.config.request_acks || self.traffic.queue.outstanding() == 0 {
            return None;
        }
        let is_idle = self.is_idle();
        let is_held_back = self.is_in_rhythm() || is_idle;
        if is_held_back && !self.is_all_asked() {
            return Some(self.ask(now));
        }
        if is_idle {
            // The peer was asked about all of it, has not handled it, and is asked again after a time.
            self.requests.start_idle(&self.config, now);
        }
        None
    }

    /// Whether the host does not read.
    pub(crate) fn is_deaf(&self) -> bool {
        self.requests.deaf_since.is_some()
    }

    /// The time as the timeouts see it.
    pub(crate) fn clock(&self, now: Instant) -> Instant {
        self.requests.clock(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; it may have come already. `None`: no timeout runs.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(pending) = self.pending_until() {
            return Some(pending);
        }
        if !self.is_enabled() || self.requests.deaf_since.is_some() {
            return None;
        }
        let request = match self.asked_at() {
            Some(since) => self.after_ack_timeout(since),
            None => self.due(),
        };
        [request, self.requests.full_until].into_iter().flatten().min()
    }

    /// Processes timeouts that have expired, and returns an element to write, if any: an `<r/>` that is due, or
    /// `<failed/>` for a request that the host has not answered in
    /// [`request_timeout`](crate::Config::request_timeout). Calling it early is a no-op.
    ///
    /// Before it, give everything to [`handle`](Self::handle) that has arrived: after a pause of the whole process the
    /// acknowledgement that is missed may be in the socket.
    ///
    /// # Errors
    ///
    /// [`Error::BufferFull`] or [`Error::AckTimeout`], with the state as it was: do what its
    /// [`reaction`](Error::reaction) says.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<Nonza>, Error> {
        if self.pending_until().is_some_and(|until| until <= now) {
            self.leave_pending();
            return Ok(Some(Nonza::failed(Condition::InternalServerError)));
        }
        if !self.is_enabled() || self.requests.deaf_since.is_some() {
            return Ok(None);
        }
        if let Some(error) = self.expired(now) {
            return Err(error);
        }
        let is_due = self.due().is_some_and(|due| due <= now);
        Ok(is_due.then(|| self.ask(now)))
    }

    /// Until when the host may answer the peer's request.
    fn pending_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::EnablePending(since) | Phase::ResumePending(since) => since.checked_add(self.config.request_timeout),
            _ => None,
        }
    }

    /// What ends the stream at this time.
    fn expired(&self, now: Instant) -> Option<Error> {
        let full = self.requests.full_until.filter(|until| *until <= now);
        // What came first decides: a session whose connection was dead before may still be resumed.
        let is_dead = |dead: Instant| dead <= now && full.is_none_or(|full| dead <= full);
        match self.asked_at() {
            Some(since) if self.after_ack_timeout(since).is_some_and(is_dead) => Some(Error::AckTimeout),
            _ => full.map(|_| Error::BufferFull),
        }
    }

    /// The time starts in which the peer has to make room, if the buffer is over its bounds.
    pub(super) fn start_grace(&mut self, now: Instant) {
        if let OnFull::EndAfter(grace) = self.config.on_full
            && !self.traffic.queue.is_within(&self.config)
        {
            self.requests.full_until = self.requests.clock(now).checked_add(grace);
        }
    }

    /// The deadline is made when it is asked for: an `<r/>` goes out with every stanza, and few wait long.
    fn after_ack_timeout(&self, since: Instant) -> Option<Instant> {
        self.config.ack_timeout.and_then(|timeout| since.checked_add(timeout))
    }

    /// An `<a/>` has come. It may have left something out.
    pub(super) fn on_answer(&mut self, now: Instant) {
        if self.traffic.queue.outstanding() == 0 {
            self.requests.on_answer_in_full();
        } else {
            self.on_part(now);
        }
    }

    /// An `<a/>` has left something out. It has answered the oldest `<r/>`, and those that its `h` covers.
    fn on_part(&mut self, now: Instant) {
        let now = self.requests.clock(now);
        let awaited = self.requests.awaited();
        if let Some((since, several)) = awaited.and_then(|(_, several)| self.still_awaited(several)) {
            return self.requests.state = State::Awaiting(since, Some(several));
        }
        let due_before = self.due();
        // The peer has answered all that it was asked, and not for all that it was sent: it is busy, and alive.
        let due = match self.is_pressed() {
            _ if !self.config.request_acks => None,
            true if self.is_behind() => now.checked_add(BUSY),
            true => Some(now),
            false => self.after_idle(now).filter(|_| !self.requests.inactive),
        };
        // An `<a/>` that was not asked for does not put off the next `<r/>`.
        let due = due.into_iter().chain(due_before).min();
        self.requests.state = due.map_or(State::Idle, State::DueAt);
    }

    /// What is unanswered still, now that the oldest is answered.
    fn still_awaited(&self, several: Several) -> Option<(Instant, Several)> {
        let Several { oldest, latest, beside, until, at_last } = several;
        let asked = self.requests.asked;
        let behind = |at: Counter| self.sent().since(at);
        let covers = |at: Counter| behind(self.acked()) <= behind(at);
        let until = match () {
            () if covers(beside) => 0,
            () if covers(oldest) => at_last.min(until.saturating_sub(1)),
            () => until.saturating_sub(1),
        };
        if until > 0 {
            let oldest = if until <= at_last { beside } else { oldest };
            return Some((latest, Several { oldest, until, at_last: at_last.min(until), ..several }));
        }
        // Those after them went out in the rhythm.
        let AckFreq::Every(stanzas) = self.config.ack_freq else { return None };
        let left = asked.since(beside);
        // An `h` behind all of them covers none.
        let covered = behind(beside).saturating_sub(behind(self.acked()));
        let next = covered.checked_div(stanzas.get())?.saturating_add(1).saturating_mul(stanzas.get());
        let next = (covered < left).then(|| beside.advance(next.min(left)))?;
        // It went out when its stanza was queued, if that is kept, and before the last in any case.
        let since = self.traffic.queue.get(next).map_or(latest, |queued| queued.queued.min(latest));
        Some((since, Several::first(next, latest)))
    }

    /// When an `<r/>` is due while none is unanswered.
    fn due(&self) -> Option<Instant> {
        match self.requests.state {
            State::Idle | State::Awaiting(..) => None,
            State::DueAt(at) => Some(at),
            State::Unasked(since) => self.after_idle(since),
        }
    }

    /// Whether no `<r/>` is unanswered, and none is due later.
    fn is_idle(&self) -> bool {
        !self.requests.is_awaiting() && self.due().is_none()
    }

    fn after_idle(&self, since: Instant) -> Option<Instant> {
        self.config.ack_idle.and_then(|idle| since.checked_add(idle))
    }

    /// Whether the peer has not acknowledged all that it was asked about.
    fn is_behind(&self) -> bool {
        self.sent().since(self.requests.asked) < self.traffic.queue.outstanding()
    }

    /// Whether the last `<r/>` came after the last stanza.
    fn is_all_asked(&self) -> bool {
        self.sent() == self.requests.asked
    }

    /// Whether an `<r/>` is due for what was sent: by the rhythm, or because the buffer fills up.
    pub(super) fn is_request_due(&self) -> bool {
        let is_waiting = self.requests.is_awaiting() || self.is_all_asked();
        self.is_in_rhythm() || self.config.request_acks && !is_waiting && self.is_pressed()
    }

    pub(super) fn is_in_rhythm(&self) -> bool {
        self.requests.is_in_rhythm(self.sent(), &self.config)
    }

    /// Whether the buffer fills up.
    fn is_pressed(&self) -> bool {
        self.requests.full_until.is_some() || self.traffic.queue.is_half_full(&self.config)
    }

    fn ask(&mut self, now: Instant) -> Nonza {
        // What has filled the buffer before the peer could be asked.
        if self.requests.full_until.is_none() {
            self.start_grace(now);
        }
        self.requests.note_request(self.traffic.queue.sent(), &self.config, now, None);
        Nonza::AckRequest
    }

    /// An `<r/>` is due at once.
    pub(super) fn request_soon(&mut self, now: Instant) {
        self.requests.state = State::DueAt(self.requests.clock(now));
    }

    /// A session goes on: nothing is asked on this stream, and the peer has told how much it has.
    pub(super) fn restart_requests(&mut self) {
        self.requests = Requests { asked: self.acked(), ..Requests::default() };
    }
}
