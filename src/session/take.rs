//! Another connection asks for the session: the connection moves to it.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::inline::{Bind, LoginStep};
use super::receive::Acknowledged;
use super::success::InlineSuccess;
use super::tally::Away;
use super::timers::after;
use super::unbound::Unbound;
use super::write::{Front, Unwritten};
use super::{Event, LeftWhy, Parting, Session, State};
use crate::counter::Counter;
use crate::detached::{Detached, EndReason};
use crate::error::LastWords;
use crate::nonza::{Condition, Nonza};
use crate::queue::{Queue, WrongH};
use crate::smid::SmId;
use crate::stanza::Stanza;
use crate::stream::{Disconnected, NotResumedWhy, Refusal, ResumeRequest, Resumption, StreamMgmt};
use crate::stream_error::StreamError;

/// A connection that asks for a session, bundled with its stream and its request.
///
/// [`Unbound::into_taker`] and [`InlineResume::into_taker`](crate::InlineResume::into_taker) make one. A taker may wait
/// anywhere (in a mailbox, for instance) and for any time, until [`Session::take`] consumes it. If the session is gone by
/// then, [`refuse`](Self::refuse) gives the connection back.
#[must_use = "a client waits for its session: give this to `Session::take`, or `refuse` it"]
pub struct Taker<C> {
    pub(super) stream: Unbound,
    pub(super) request: ResumeRequest,
    pub(super) connection: C,
    asked: Asked,
}

/// Where the session was asked for.
enum Asked {
    /// By a `<resume/>` of its own.
    Bare,
    /// In `<authenticate/>`, with this `<bind/>` beside it.
    Inline(Option<Box<Bind>>),
}

impl Asked {
    /// What comes next where the client does not get its session.
    fn refused(self, mut stream: Unbound, failed: Nonza) -> LoginStep {
        stream.leave_pending();
        match self {
            Self::Bare => LoginStep::Failed { failed, stream },
            Self::Inline(bind) => LoginStep::refused(stream, bind, failed),
        }
    }
}

/// A connection that gets the session as soon as it can be resumed.
pub(super) struct Waiter<C> {
    taker: Taker<C>,
    /// Until when open receipts are waited for.
    pub(super) until: Instant,
}

impl<C> fmt::Debug for Waiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("taker", &self.taker).field("until", &self.until).finish()
    }
}

impl<C> Taker<C> {
    pub(super) fn bare(stream: Unbound, request: ResumeRequest, connection: C) -> Self {
        Self { stream, request, connection, asked: Asked::Bare }
    }

    pub(super) fn inline(stream: Unbound, request: ResumeRequest, connection: C, bind: Option<Box<Bind>>) -> Self {
        Self { stream, request, connection, asked: Asked::Inline(bind) }
    }

    /// The SM-ID of the session that the client asks for.
    pub fn previd(&self) -> &SmId {
        self.request.previd()
    }

    /// The authenticated bare JID of the client that asks.
    pub fn owner(&self) -> &Arc<str> {
        self.stream.owner()
    }

    /// How many stanzas of the server the client says that it has handled.
    pub fn h(&self) -> Counter {
        self.request.h()
    }

    /// Refuses the session, for the reason `why`. Returns the connection, and what comes next on it.
    pub fn refuse(self, why: Refusal) -> Refused<C> {
        let Self { stream, connection, asked, .. } = self;
        Refused { connection, step: asked.refused(stream, why.into_failed()) }
    }
}

/// It has no content that a log may show.
impl<C> fmt::Debug for Taker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Taker {{ h: {} }}", self.request.h())
    }
}

/// A connection that does not get the session that it asked for.
///
/// See [a server's loop](crate#a-servers-loop).
#[must_use = "the client waits for the next step of its login"]
pub struct Refused<C> {
    /// The connection.
    pub connection: C,
    /// What comes next on it. On a server without SASL2 it is always [`LoginStep::Failed`].
    pub step: LoginStep,
}

/// It has no content that a log may show.
impl<C> fmt::Debug for Refused<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refused {{ step: {:?} }}", self.step)
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// Moves the session to the connection of the [`Taker`], which asks for it.
    ///
    /// If the taker asks for this session and its `h` is possible, the present connection [leaves](Event::Left) with
    /// `<conflict/>`, and the session [goes on](Event::Resumed) over the taker's as soon as open receipts are settled,
    /// or their [time](crate::Config::settle_timeout) is over. If not, the taker's connection comes back by
    /// [`Event::Refused`], and the session is as it was.
    ///
    /// A session that ends, or that cannot be resumed and ends now, refuses the taker at its end: where
    /// [`stale_h`](crate::Config::stale_h) is on, the client is told the last `h`.
    ///
    /// Of two takers, the one that authenticated later gets the session: the one whose [`Unbound`] was made later. The
    /// other is refused with `conflict`. Which one is later is known where both were made with the same
    /// [`Arc<Config>`](crate::Config); otherwise the one that asks later gets the session.
    pub fn take(&mut self, taker: Taker<C>, now: Instant) {
        if let Some(refusal) = self.objection(&taker) {
            return self.tell_refused(taker.refuse(refusal));
        }
        // An earlier connection of the client may come last: its way to the session was longer.
        let newest = &mut self.tally.get_or_insert_default().newest;
        if newest.as_ref().is_some_and(|newest| taker.stream.is_before(newest)) {
            return self.refuse_for_another(taker);
        }
        *newest = Some(taker.stream.serial());
        if let Some(earlier) = self.waiter.take() {
            self.refuse_for_another(earlier.taker);
        }
        let end = self.end_at(&taker);
        self.waiter = Some(Box::new(Waiter { taker, until: after(now, self.config.settle_timeout) }));
        if end.is_some() || self.ending.is_some() {
            // Its client has come back: it reads nothing more there.
            self.drop_connection(LeftWhy::TakenOver);
            if let Some(reason) = end {
                self.start_ending(LastWords { write: None, error: None, reason }, LeftWhy::TakenOver, now);
            }
            return self.advance(now);
        }
        if self.connection.is_some() {
            let last = LastWords { write: None, error: Some(StreamError::Conflict), reason: EndReason::Replaced };
            self.leave(Parting::Say(last), LeftWhy::TakenOver);
            self.detach_state(LeftWhy::TakenOver, now);
        }
        self.advance(now);
    }

    /// Whether a client that has handled so many stanzas could have the session: to be asked before it leaves its present
    /// connection for another node, from which a [`Taker`] with that [`h`](Taker::h) would only come back.
    ///
    /// # Errors
    ///
    /// What to refuse the client with: the `h` cannot be right, or there is nothing to resume.
    pub fn check_resume(&self, h: Counter) -> Result<(), Refusal> {
        match &self.state {
            State::Live(stream) => stream.check_resume(h),
            State::Detached(session, _) => session.check_h(h).map_err(Refusal::WrongH),
            State::Closing(_) | State::Offline(_) | State::Over => Err(Refusal::NotFound),
        }
    }

    /// Why this connection may not have the session.
    fn objection(&self, taker: &Taker<C>) -> Option<Refusal> {
        let smid = match &self.state {
            State::Closing(closing) => closing.smid(),
            _ => self.smid(),
        };
        let is_its_own = taker.owner() == self.owner() && Some(taker.previd()) == smid;
        if self.client.is_some() || !is_its_own {
            return Some(Refusal::NotFound);
        }
        let queue = match &self.state {
            State::Live(stream) => stream.check_h(taker.request.h()),
            State::Detached(session, _) => session.check_h(taker.request.h()),
            State::Closing(_) | State::Offline(_) | State::Over => Ok(()),
        };
        queue.err().map(Refusal::WrongH)
    }

    /// Whether the session ends because it cannot be resumed, or not so late.
    fn end_at(&self, taker: &Taker<C>) -> Option<EndReason> {
        match &self.state {
            _ if self.ending.is_some() => None,
            State::Live(stream) => stream.unresumable(),
            State::Detached(session, _) => session.is_expired(taker.request.at()).then_some(EndReason::Expired),
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    /// At the end of the session: a connection that waits for it is told what its client needs to know.
    pub(super) fn refuse_at_end(&mut self, reason: EndReason, h: Counter) {
        if let Some(waiter) = self.waiter.take() {
            let stale_h = self.config.stale_h.enabled.then_some(h);
            let refusal = match (reason, stale_h) {
                (EndReason::Expired, stale_h) => Refusal::Expired(stale_h),
                (_, Some(h)) => Refusal::StaleH(h),
                (_, None) => Refusal::NotFound,
            };
            self.tell_refused(waiter.taker.refuse(refusal));
        }
    }

    /// Another connection gets the session.
    fn refuse_for_another(&mut self, taker: Taker<C>) {
        self.tell_refused(taker.refuse(Refusal::Because(Condition::Conflict)));
    }

    pub(super) fn advance_waiter(&mut self, now: Instant) {
        let until = self.waiter.as_ref().map(|waiter| waiter.until);
        if self.is_settling(until, now) {
            return;
        }
        let Some(waiter) = self.waiter.take() else { return };
        let State::Detached(session, away) = mem::replace(&mut self.state, State::Over) else { return };
        let Taker { stream, request, connection, asked } = waiter.taker;
        let mut engine = stream.engine();
        let request = engine.adopt_request(request);
        let mut events = VecDeque::new();
        let mut acknowledged = Acknowledged { into: &mut events, are_wanted: self.returns_acknowledged() };
        match engine.accept_resume_into(request, session, now, &mut acknowledged) {
            Ok(Resumption { write, after }) => {
                match asked {
                    Asked::Inline(_) => self.unwritten.push(Front::Success(Box::new(InlineSuccess::resumed(write)))),
                    Asked::Bare => self.unwritten.extend([Front::Flush, Front::Nonza(write)]),
                }
                self.unwritten.push(Front::Flush);
                self.state = State::Live(engine);
                self.connection = Some(connection);
                self.count_away(away);
                self.count_resumed(now);
                self.events.push_back(Event::Resumed);
                self.events.append(&mut events);
                self.start_resending(after.is_some());
            }
            // The client's `h` was right when it asked, and the session has not changed since.
            Err(not) => {
                self.state = State::Detached(not.session, away);
                let failed = match not.why {
                    NotResumedWhy::Refused { write, .. } => write,
                    _ => Refusal::Because(Condition::InternalServerError).into_failed(),
                };
                self.tell_refused(Refused { connection, step: asked.refused(stream, failed) });
            }
        }
    }

    /// What the peer has not acknowledged goes out first.
    pub(super) fn start_resending(&mut self, request_after: bool) {
        let State::Live(stream) = &self.state else { return };
        let first = stream.unacked().next().map(|queued| queued.number);
        self.unwritten.start_resending(first, request_after);
    }

    /// The present connection is gone, and the stream with it.
    pub(super) fn detach(&mut self, last: Option<LastWords>, why: LeftWhy, now: Instant) {
        self.leave(last.map_or(Parting::Drop, Parting::Say), why);
        if self.client.is_some() {
            return self.detach_client(why, now);
        }
        let State::Live(stream) = &self.state else { return };
        match stream.unresumable() {
            Some(reason) => self.start_ending(LastWords { write: None, error: None, reason }, why, now),
            None => self.detach_state(why, now),
        }
    }

    /// Forgets what was to be written or waited for: the stream that it belonged to is gone.
    pub(super) fn forget_stream(&mut self) {
        self.unwritten = Unwritten::default();
        self.verdict = None;
        self.drop_lent();
        if let Some(client) = &mut self.client {
            client.leave_stream();
        }
    }

    /// A resumable stream becomes a detached session.
    pub(super) fn detach_state(&mut self, why: LeftWhy, now: Instant) {
        self.forget_stream();
        let State::Live(stream) = mem::replace(&mut self.state, State::Over) else { return };
        match stream.leave(now) {
            (Disconnected::Resumable(mut session), _) => {
                session.traffic.queue.rest();
                self.state = State::Detached(session, Away { at: now, why: why.into() });
                self.tell_detached();
            }
            // Its host has asked whether it is resumable.
            (Disconnected::Ended(ended), waiting) => self.say_ended(ended.reason, Some(ended), waiting),
        }
        if self.waiter.is_none() && !self.backlog().is_within(&self.config) {
            self.end_full(now);
        }
    }
}

impl<S: Stanza> Detached<S> {
    fn check_h(&self, h: Counter) -> Result<(), WrongH> {
        self.traffic.queue.check(h).map(drop)
    }
}

impl<S: Stanza> StreamMgmt<S> {
    /// The stream is gone: its session waits, or is over, and then what was not sent is apart from it.
    pub(super) fn leave(mut self, now: Instant) -> (Disconnected<S>, Queue<S>) {
        let waiting = if self.is_resumable() { Queue::default() } else { self.queue_mut().successor() };
        (self.disconnect(now), waiting)
    }

    /// Why the session would not outlive its stream, if it would not.
    fn unresumable(&self) -> Option<EndReason> {
        let reason = if self.is_within() { EndReason::NotResumable } else { EndReason::BufferFull };
        (!self.is_resumable()).then_some(reason)
    }
}
