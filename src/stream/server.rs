//! The server's side of enabling and resuming: requests, and what the host decides about them.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::closing::Discard;
use super::{Phase, StreamMgmt};
use crate::config::StaleH;
use crate::counter::Counter;
use crate::detached::{Detached, Resumable};
use crate::error::Error;
use crate::nonza::{Condition, Enable, Enabled, Failed, Kind, Nonza, Resume, Resumed};
use crate::queue::{Checked, Returned, WrongH};
use crate::receipts::Tag;
use crate::smid::SmId;
use crate::stanza::Stanza;
use crate::store::{Lookup, Record};

/// The peer's [`<enable/>`](https://xmpp.org/extensions/xep-0198.html#enable), to be accepted or refused.
///
/// One that is dropped is refused when [`request_timeout`](crate::Config::request_timeout) is over.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer waits for `accept_enable` or `refuse_enable`"]
pub struct EnableRequest {
    tag: Tag,
    enable: Enable,
    resume_timeout: Option<Duration>,
}

impl EnableRequest {
    /// What the peer wrote.
    pub fn enable(&self) -> Enable {
        self.enable
    }

    /// Whether the session will be resumable if it is accepted with an SM-ID: the peer asked for it and
    /// the options allow it. Without this no SM-ID is needed.
    pub fn is_resumable(&self) -> bool {
        self.resume_timeout.is_some()
    }

    /// How long the session would wait to be resumed. `None`: it is not resumable.
    pub fn resume_timeout(&self) -> Option<Duration> {
        self.resume_timeout
    }
}

/// The peer's [`<resume/>`](https://xmpp.org/extensions/xep-0198.html#resumption), to be accepted or
/// refused.
///
/// One that is dropped is refused when [`request_timeout`](crate::Config::request_timeout) is over.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer waits for `accept_resume` or `refuse_resume`"]
pub struct ResumeRequest {
    tag: Tag,
    resume: Resume,
    /// When it came.
    at: Instant,
}

impl ResumeRequest {
    /// The SM-ID of the session that the peer wants: look it up with the peer's authenticated owner.
    pub fn previd(&self) -> &SmId {
        &self.resume.previd
    }

    /// How many stanzas of this side the peer has handled.
    pub fn h(&self) -> Counter {
        self.resume.h
    }

    /// When it came. A session whose deadline is later is resumed in time, however long the host takes.
    pub fn at(&self) -> Instant {
        self.at
    }
}

/// Why a `<resume/>` is refused.
///
/// Given to [`StreamMgmt::refuse_resume`](crate::StreamMgmt::refuse_resume).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such session, or it is somebody else's: `item-not-found`.
    NotFound,
    /// The session is gone, and this was its `h`: `item-not-found` with it.
    StaleH(Counter),
    /// The session's time was over when the `<resume/>` came: `item-not-found`, with this `h` where
    /// [`stale_h`](crate::Config::stale_h) is on.
    Expired(Option<Counter>),
    /// The peer's `h` cannot be right: `bad-request`.
    WrongH(WrongH),
    /// Another reason.
    Because(Condition),
}

impl Refusal {
    pub(crate) fn into_failed(self) -> Nonza {
        let (h, condition) = match self {
            Self::NotFound => (None, Condition::ItemNotFound),
            Self::StaleH(h) => (Some(h), Condition::ItemNotFound),
            Self::Expired(h) => (h, Condition::ItemNotFound),
            Self::WrongH(_) => (None, Condition::BadRequest),
            Self::Because(condition) => (None, condition),
        };
        Nonza::Failed(Failed { h, condition: Some(condition) })
    }
}

impl<Handle> Lookup<Handle> {
    /// The session that was found.
    ///
    /// # Errors
    ///
    /// What to refuse the `<resume/>` with, where no session was found.
    pub fn session(self) -> Result<Record<Handle>, Refusal> {
        match self {
            Self::Session(record) => Ok(record),
            Self::StaleH(h) => Err(Refusal::StaleH(h)),
            Self::NotFound => Err(Refusal::NotFound),
        }
    }
}

/// A request was given to a stream that did not make it, or that does not wait for it any more. It comes back.
///
/// Returned by [`StreamMgmt::accept_enable`](crate::StreamMgmt::accept_enable) and
/// [`Session::accept_enable`](crate::Session::accept_enable).
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the stream does not wait for this request")]
pub struct Foreign<T>(
    /// The request, or the [`MustBind`](crate::MustBind).
    pub T,
);

/// A session goes on, on the server's side. Between the two elements write all of
/// [`unacked`](StreamMgmt::unacked), in order and without [`record_sent`](StreamMgmt::record_sent), for they are counted.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer waits for these elements"]
pub struct Resumption {
    /// `<resumed/>`. Flush it by itself: clients in use miscount a stanza in the same TCP segment.
    pub write: Nonza,
    /// What to write after the unacknowledged stanzas, if anything: an `<r/>`.
    pub after: Option<Nonza>,
}

/// A session was not resumed. It comes back as it was, with its deadline.
///
/// Returned by [`StreamMgmt::accept_resume`](crate::StreamMgmt::accept_resume).
#[derive(Debug, Error)]
#[error("the session was not resumed: {why}")]
pub struct NotResumed<S> {
    /// The session, for its owner.
    pub session: Detached<S>,
    /// The reason, and what to do.
    pub why: NotResumedWhy,
}

/// Why a session was not resumed, and what to do.
///
/// A field of [`NotResumed`](crate::NotResumed), which
/// [`StreamMgmt::accept_resume`](crate::StreamMgmt::accept_resume) returns.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotResumedWhy {
    /// The request is answered. The stream lives on, and wants to be bound.
    #[error("the peer's <resume/> is refused")]
    Refused {
        /// What to write: `<failed/>`.
        write: Nonza,
        /// The reason.
        refusal: Refusal,
    },
    /// Later: the host still handles stanzas of the session. `h` would leave them out, the peer would send them
    /// once more, and they would be handled twice. Settle them and accept this request then.
    #[error("stanzas of the session are not settled")]
    ReceiptsOpen(ResumeRequest),
    /// This is not the session that the request names, or not the stream that waits for it. The request is still
    /// unanswered.
    #[error("the request does not belong to this stream or this session")]
    Foreign(ResumeRequest),
}

impl<S: Stanza> StreamMgmt<S> {
    pub(super) fn admit_request(&self, kind: Kind) -> Result<(), Error> {
        match (kind, self.phase) {
            (_, Phase::Disabled) => Err(Error::Unsupported(kind)),
            (Kind::Enable, Phase::Enabled) => Err(Error::AlreadyEnabled),
            (Kind::Enable, Phase::Bound) => Ok(()),
            (Kind::Enable, Phase::Authenticated) if !self.binds => Ok(()),
            (Kind::Resume, Phase::Authenticated) if self.config.can_resume() => Ok(()),
            (Kind::Resume, Phase::Authenticated) => Err(Error::Unsupported(kind)),
            _ => Err(Error::Unexpected(kind)),
        }
    }

    pub(super) fn on_enable(&mut self, enable: Enable, now: Instant) -> EnableRequest {
        self.phase = Phase::EnablePending(now);
        self.tag = Tag::new(&self.config);
        let wanted = enable.max.map(|max| Duration::from_secs(max.get().into()));
        let resume_timeout = enable.resume.then(|| self.config.grant(wanted)).flatten();
        EnableRequest { tag: self.tag, enable, resume_timeout }
    }

    pub(super) fn on_resume(&mut self, resume: Resume, at: Instant) -> ResumeRequest {
        self.phase = Phase::ResumePending(at);
        self.tag = Tag::new(&self.config);
        ResumeRequest { tag: self.tag, resume, at }
    }

    /// The request that was pending is answered, and not by going on.
    pub(crate) fn leave_pending(&mut self) {
        self.phase = match self.phase {
            Phase::EnablePending(_) if self.binds => Phase::Bound,
            _ => Phase::Authenticated,
        };
    }

    fn is_pending(&self, tag: Tag) -> bool {
        tag == self.tag && matches!(self.phase, Phase::EnablePending(_) | Phase::ResumePending(_))
    }

    /// Whether the stream waits for this request.
    pub(crate) fn waits_for(&self, request: &ResumeRequest) -> bool {
        self.is_pending(request.tag)
    }

    /// A request that was made on another value for the same stream is made on this one.
    pub(crate) fn adopt_request(&mut self, request: ResumeRequest) -> ResumeRequest {
        self.on_resume(request.resume, request.at)
    }

    /// Switches stream management on, and returns the `<enabled/>` to write. Counting starts here.
    ///
    /// The session is resumable if [the request](EnableRequest::is_resumable) is and there is an SM-ID,
    /// which must be [new](https://xmpp.org/extensions/xep-0198.html#resumption) and, by then, registered
    /// with the store. Without either, the SM-ID is not used.
    ///
    /// Flush `<enabled/>` by itself before any stanza: clients in use miscount a stanza in the same TCP
    /// segment.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the stream does not wait for it.
    pub fn accept_enable(
        &mut self,
        request: EnableRequest,
        smid: Option<SmId>,
    ) -> Result<Nonza, Foreign<EnableRequest>> {
        if !self.is_pending(request.tag) {
            return Err(Foreign(request));
        }
        self.phase = Phase::Enabled;
        let Some((resume_timeout, smid)) = request.resume_timeout.zip(smid) else {
            return Ok(Nonza::Enabled(Enabled::default()));
        };
        self.resumable = Some(Resumable { smid: smid.clone(), resume_timeout: Some(resume_timeout) });
        // No more than is kept, in whole seconds.
        let max = NonZeroU32::new(u32::try_from(resume_timeout.as_secs()).unwrap_or(u32::MAX));
        Ok(Nonza::Enabled(Enabled { id: Some(smid), resume: true, max, location: self.config.location.clone() }))
    }

    /// Returns the `<failed/>` to write. The stream lives on without stream management.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the stream does not wait for it.
    pub fn refuse_enable(&mut self, request: EnableRequest, why: Condition) -> Result<Nonza, Foreign<EnableRequest>> {
        if !self.is_pending(request.tag) {
            return Err(Foreign(request));
        }
        self.leave_pending();
        Ok(Nonza::failed(why))
    }

    /// Puts a session onto this stream, and returns what to write: see [`Resumption`]. Then register the SM-ID once
    /// more, with the session's new place. A peer whose `<resume/>` came before the session's deadline is in time,
    /// however long the host takes.
    ///
    /// # Errors
    ///
    /// [`NotResumed`], with the session as it was, and whether to write something or to try later.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn accept_resume(
        &mut self,
        request: ResumeRequest,
        session: Detached<S>,
        now: Instant,
    ) -> Result<Resumption, NotResumed<S>> {
        self.accept_resume_into(request, session, now, &mut Discard)
    }

    /// The same, with the stanzas that the request has acknowledged given to `into`.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub(crate) fn accept_resume_into(
        &mut self,
        request: ResumeRequest,
        session: Detached<S>,
        now: Instant,
        into: &mut impl Extend<Returned<S>>,
    ) -> Result<Resumption, NotResumed<S>> {
        match self.check_session(&request, &session, now) {
            Ok(checked) => {
                let write = Nonza::Resumed(Resumed { h: session.h(), previd: request.resume.previd });
                self.adopt(session);
                self.continue_session(checked, now, into);
                Ok(Resumption { write, after: self.request_resent(now) })
            }
            Err(Obstacle::Foreign) => Err(NotResumed { session, why: NotResumedWhy::Foreign(request) }),
            Err(Obstacle::ReceiptsOpen) => Err(NotResumed { session, why: NotResumedWhy::ReceiptsOpen(request) }),
            Err(Obstacle::Refused(refusal)) => {
                self.leave_pending();
                let why = NotResumedWhy::Refused { write: refusal.into_failed(), refusal };
                Err(NotResumed { session, why })
            }
        }
    }

    fn check_session(&self, request: &ResumeRequest, session: &Detached<S>, now: Instant) -> Result<Checked, Obstacle> {
        if !self.is_pending(request.tag) || *request.previd() != *session.smid() {
            return Err(Obstacle::Foreign);
        }
        // The peer came in time if it asked in time.
        let expired = session.is_expired(request.at);
        let checked = session.traffic.queue.check(request.h()).map_err(Refusal::WrongH);
        match checked {
            Err(wrong) if !expired => Err(Obstacle::Refused(wrong)),
            // The last h of an expired session must not leave out a stanza, either.
            _ if session.open_receipts() > 0 => Err(Obstacle::ReceiptsOpen),
            Ok(checked) if !expired => Ok(checked),
            _ => {
                let StaleH { enabled, geriatric, .. } = self.config.stale_h;
                let age = session.deadline.map(|deadline| now.saturating_duration_since(deadline));
                let is_stale = enabled && age.is_some_and(|age| age <= geriatric);
                Err(Obstacle::Refused(Refusal::Expired(is_stale.then(|| session.h()))))
            }
        }
    }

    /// Returns the `<failed/>` to write. The peer [may bind](https://xmpp.org/extensions/xep-0198.html#resumption)
    /// and enable on this stream.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the stream does not wait for it.
    pub fn refuse_resume(&mut self, request: ResumeRequest, why: Refusal) -> Result<Nonza, Foreign<ResumeRequest>> {
        if !self.is_pending(request.tag) {
            return Err(Foreign(request));
        }
        self.leave_pending();
        Ok(why.into_failed())
    }

    /// Whether another stream could take over this session with that `h`. To be asked before this stream
    /// is closed for a request that would only be refused.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] for that request.
    pub fn check_resume(&self, h: Counter) -> Result<(), Refusal> {
        if !self.is_resumable() {
            return Err(Refusal::NotFound);
        }
        self.check_h(h).map_err(Refusal::WrongH)
    }

    pub(crate) fn check_h(&self, h: Counter) -> Result<(), WrongH> {
        self.traffic.queue.check(h).map(drop)
    }

    fn adopt(&mut self, session: Detached<S>) {
        let Detached { traffic, resumable: Resumable { smid, resume_timeout }, .. } = session;
        self.traffic = traffic;
        // The options apply to a session that comes from somewhere else, too.
        self.resumable = Some(Resumable { smid, resume_timeout: self.config.grant(resume_timeout) });
    }
}

/// What stops a resumption.
enum Obstacle {
    Foreign,
    ReceiptsOpen,
    Refused(Refusal),
}

/// Both roles.
impl<S: Stanza> StreamMgmt<S> {
    /// The session goes on where the peer's `h` says.
    pub(super) fn continue_session(&mut self, checked: Checked, now: Instant, into: &mut impl Extend<Returned<S>>) {
        self.phase = Phase::Enabled;
        if !self.config.can_resume() {
            self.resumable = None;
        }
        self.traffic.queue.acknowledge_into(checked, into);
        self.restart_requests();
        self.start_grace(now);
    }

    /// The `<r/>` that follows what is resent.
    pub(super) fn request_resent(&mut self, now: Instant) -> Option<Nonza> {
        let wanted = self.config.request_acks && self.traffic.queue.outstanding() > 0;
        if wanted {
            self.requests.note_request(self.traffic.queue.sent(), &self.config, now, None);
        }
        wanted.then_some(Nonza::AckRequest)
    }
}
