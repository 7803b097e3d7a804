//! Enabling and resuming: the requests, and what each side makes of them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{
    Action, CannotEnable, EnableRequest, Inbound, OtherStream, Refusal, Resend, ResumeError, ResumeRequest, Resumption,
    WhyRefused,
};
use super::asking::Asking;
use super::{Phase, Role, StreamMgmt};
use crate::config::{Config, StaleH};
use crate::counter::Counter;
use crate::error::Error;
use crate::handled::{Receipt, Tag};
use crate::nonza::{Condition, Enable, Enabled, Failed, Kind, Nonza, Resume, Resumed};
use crate::queue::Stanza;
use crate::session::{Detached, Ended, Ending, ReceiptsOpen, Session};
use crate::smid::SmId;

impl<S: Stanza> StreamMgmt<S> {
    /// Takes whatever else arrives.
    #[inline(never)]
    pub(super) fn handle_otherwise(&mut self, inbound: Inbound, now: Instant) -> Result<Action<'_, S>, Error> {
        if matches!(self.phase, Phase::EnablePending | Phase::ResumePending) {
            return Err(Error::Unanswered);
        }
        match inbound {
            Inbound::Stanza => Ok(Action::Deliver(Receipt::uncounted())),
            Inbound::Other => Ok(Action::Other),
            // Where stream management is on, these two are taken before.
            Inbound::Nonza(nonza @ (Nonza::Ack(_) | Nonza::Request)) => Err(Error::NotEnabled(nonza.kind())),
            // What would have to be written about these cannot be any more.
            Inbound::Nonza(nonza @ (Nonza::Enable(_) | Nonza::Resume(_) | Nonza::Resumed(_))) if self.finished => {
                self.admit(nonza.kind())?;
                Ok(Action::Other)
            }
            Inbound::Nonza(Nonza::Enable(enable)) => {
                self.admit(Kind::Enable)?;
                Ok(Action::Enable(self.request_enable(enable)))
            }
            Inbound::Nonza(Nonza::Resume(resume)) => {
                self.admit(Kind::Resume)?;
                Ok(Action::Resume(self.request_resume(resume, now)))
            }
            Inbound::Nonza(Nonza::Enabled(enabled)) => {
                self.admit(Kind::Enabled)?;
                Ok(self.enabled(enabled, now))
            }
            Inbound::Nonza(Nonza::Resumed(resumed)) => {
                self.admit(Kind::Resumed)?;
                self.resumed(&resumed, now)
            }
            Inbound::Nonza(Nonza::Failed(failed)) => {
                self.admit(Kind::Failed)?;
                Ok(self.failed(failed))
            }
            Inbound::Malformed(error) => {
                if let Some(kind) = error.element() {
                    self.admit(kind)?;
                }
                match error.element() {
                    // Whatever else it says, the answer is no.
                    Some(Kind::Failed) => Ok(self.failed(Failed::default())),
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// Whether an element may come from this side, in this phase.
    fn admit(&self, kind: Kind) -> Result<(), Error> {
        let enabled = self.phase == Phase::Enabled;
        match (kind, self.role) {
            (Kind::Ack | Kind::Request, _) if enabled => Ok(()),
            (Kind::Ack | Kind::Request, _) => Err(Error::NotEnabled(kind)),
            (Kind::Enable | Kind::Resume, Role::Client) => Err(Error::WrongRole(kind)),
            (Kind::Enabled | Kind::Resumed | Kind::Failed, Role::Server) => Err(Error::WrongRole(kind)),
            (Kind::Enable | Kind::Resume, Role::Server) => self.admit_request(kind),
            (Kind::Enabled | Kind::Resumed | Kind::Failed, Role::Client) => match (kind, self.phase) {
                (Kind::Enabled | Kind::Failed, Phase::Enabling) => Ok(()),
                (Kind::Resumed | Kind::Failed, Phase::Resuming(_)) => Ok(()),
                _ => Err(Error::NotRequested(kind)),
            },
        }
    }
}

/// The server's side.
impl<S: Stanza> StreamMgmt<S> {
    fn admit_request(&self, kind: Kind) -> Result<(), Error> {
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

    fn request_enable(&mut self, enable: Enable) -> EnableRequest {
        self.phase = Phase::EnablePending;
        let longest = self.config.resume_timeout.filter(|_| enable.resume && self.config.can_resume());
        let wanted = enable.max.map(|max| Duration::from_secs(max.get().into()));
        let window = longest.map(|longest| wanted.map_or(longest, |wanted| wanted.min(longest)));
        EnableRequest { stream: self.tag, enable, window }
    }

    fn request_resume(&mut self, resume: Resume, at: Instant) -> ResumeRequest {
        self.phase = Phase::ResumePending;
        ResumeRequest { stream: self.tag, resume, at }
    }

    /// Switches stream management on, and gives the `<enabled/>` to write. Counting starts here.
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
    /// [`OtherStream`], with the request, if it was made on another stream.
    pub fn accept_enable(
        &mut self,
        request: EnableRequest,
        smid: Option<SmId>,
    ) -> Result<Nonza, OtherStream<EnableRequest>> {
        if request.stream != self.tag {
            return Err(OtherStream(request));
        }
        self.phase = Phase::Enabled;
        let Some((window, id)) = request.window.zip(smid) else {
            return Ok(Nonza::Enabled(Enabled::default()));
        };
        self.resumable = true;
        self.window = Some(window);
        self.smid = Some(id.clone());
        // No more than is kept, in whole seconds.
        let max = NonZeroU32::new(u32::try_from(window.as_secs()).unwrap_or(u32::MAX));
        Ok(Nonza::Enabled(Enabled { id: Some(id), resume: true, max, location: self.config.location.clone() }))
    }

    /// Gives the `<failed/>` to write. The stream lives on without stream management.
    ///
    /// # Errors
    ///
    /// [`OtherStream`], with the request, if it was made on another stream.
    pub fn refuse_enable(
        &mut self,
        request: EnableRequest,
        why: Condition,
    ) -> Result<Nonza, OtherStream<EnableRequest>> {
        if request.stream != self.tag {
            return Err(OtherStream(request));
        }
        self.phase = if self.binds { Phase::Bound } else { Phase::Authenticated };
        Ok(Nonza::failed(why))
    }

    /// Puts a session onto this stream, and gives `<resumed/>` and what follows it. Then register the
    /// SM-ID again, with the session's new place. A peer whose `<resume/>` came before the session's deadline is
    /// in time, however long the host takes.
    ///
    /// # Errors
    ///
    /// [`ResumeError`], with the session as it was. If it is
    /// [`Refused`](ResumeError::Refused) then the peer's request is answered; in the other cases the
    /// request comes back, to be answered still.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn accept_resume(
        &mut self,
        request: ResumeRequest,
        session: Detached<S>,
        now: Instant,
    ) -> Result<Resumption<'_, S>, ResumeError<S>> {
        // A session on a stream that is finished would end with it.
        if request.stream != self.tag || *request.previd() != session.smid || self.finished {
            return Err(ResumeError::Mismatch { request, session });
        }
        // The peer came in time if it asked in time.
        let expired = session.is_expired(request.at);
        if let Err(wrong) = session.session.queue.check(request.h())
            && !expired
        {
            self.phase = Phase::Authenticated;
            let failed = Nonza::failed(Condition::BadRequest);
            return Err(ResumeError::Refused { failed, why: WhyRefused::WrongH(wrong), session });
        }
        // The last h of an expired session must not leave out a stanza, either.
        if session.open_receipts() > 0 {
            return Err(ResumeError::NotYet { request, session });
        }
        if expired {
            self.phase = Phase::Authenticated;
            let StaleH { enabled, geriatric, .. } = self.config.stale_h;
            let age = session.deadline.map(|deadline| now.saturating_duration_since(deadline));
            let stale = enabled && age.is_some_and(|age| age <= geriatric);
            let refusal = if stale { Refusal::StaleH(session.h()) } else { Refusal::NotFound };
            let failed = refusal.into_failed();
            return Err(ResumeError::Refused { failed, why: WhyRefused::Expired, session });
        }
        let resumed = Nonza::Resumed(Resumed { h: session.h(), previd: request.resume.previd });
        self.adopt(session);
        let resend = self.go_on(request.resume.h, now);
        Ok(Resumption { resumed, resend })
    }

    /// Gives the `<failed/>` to write. The peer [may bind](https://xmpp.org/extensions/xep-0198.html#resumption)
    /// and enable on this stream.
    ///
    /// # Errors
    ///
    /// [`OtherStream`], with the request, if it was made on another stream.
    pub fn refuse_resume(&mut self, request: ResumeRequest, why: Refusal) -> Result<Nonza, OtherStream<ResumeRequest>> {
        if request.stream != self.tag {
            return Err(OtherStream(request));
        }
        self.phase = Phase::Authenticated;
        Ok(why.into_failed())
    }

    /// Whether another stream could take over this session with that `h`. To be asked before this stream
    /// is torn down for a request that would only be refused.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] for that request.
    pub fn check_resume(&self, h: Counter) -> Result<(), Refusal> {
        if !self.is_resumable() {
            return Err(Refusal::NotFound);
        }
        self.session.queue.check(h).map(drop).map_err(|_| Refusal::Because(Condition::BadRequest))
    }
}

/// The client's side.
impl<S: Stanza> StreamMgmt<S> {
    /// Gives the `<enable/>` to write. Stanzas that go out after it are counted and kept; those that come
    /// in are counted from `<enabled/>` on.
    ///
    /// It asks for a resumable session, for as long as
    /// [`resume_timeout`](Config::resume_timeout) says, unless that or the buffer is off.
    ///
    /// # Errors
    ///
    /// [`CannotEnable`] if no resource is bound, or if it was called before.
    pub fn enable(&mut self) -> Result<Nonza, CannotEnable> {
        match (self.role, self.phase) {
            (Role::Server, _) => return Err(CannotEnable::Server),
            _ if self.attempted => return Err(CannotEnable::Again),
            (_, Phase::Bound) => {}
            (_, Phase::Authenticated) if !self.binds => {}
            _ => return Err(CannotEnable::NotBound),
        }
        self.phase = Phase::Enabling;
        self.attempted = true;
        let timeout = self.config.resume_timeout.filter(|_| self.config.can_resume());
        let seconds = timeout.map(|timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX));
        Ok(Nonza::Enable(Enable { resume: timeout.is_some(), max: seconds.and_then(NonZeroU32::new) }))
    }

    /// A client's stream, authenticated and not bound, and the `<resume/>` to write on it.
    ///
    /// If the connection is lost before the answer, [`disconnect`](Self::disconnect) gives the session
    /// back as it was. How long to wait for the answer is the host's to decide. On a stream that binds no
    /// resource, call [`authenticated_without_bind`](Self::authenticated_without_bind) on it, too.
    ///
    /// # Errors
    ///
    /// [`ReceiptsOpen`], with the session, while the host still handles some of its stanzas.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn resume(config: Arc<Config>, session: Detached<S>) -> Result<(Self, Nonza), ReceiptsOpen<S>> {
        if session.open_receipts() > 0 {
            return Err(ReceiptsOpen { session });
        }
        let resume = Nonza::Resume(Resume { previd: session.smid.clone(), h: session.h() });
        let mut stream = Self::new(config, Role::Client, Phase::Resuming(session.deadline));
        stream.adopt(session);
        Ok((stream, resume))
    }

    fn enabled(&mut self, enabled: Enabled, now: Instant) -> Action<'_, S> {
        self.phase = Phase::Enabled;
        self.smid = enabled.id.clone();
        // What left the buffer before the answer is missing from the session for good.
        let is_whole = self.session.queue.is_whole();
        self.resumable = enabled.resume && self.smid.is_some() && self.config.can_resume() && is_whole;
        self.window = enabled.max.map(|max| Duration::from_secs(max.get().into()));
        // What went out before the answer could not ask. If it has filled the buffer, the peer's time to make room
        // starts when it is asked.
        self.full_until = None;
        if self.session.queue.outstanding() > 0 && self.is_request_due() {
            self.asking = Asking::Again(now);
        } else {
            self.start_grace(now);
        }
        Action::Enabled(enabled)
    }

    fn resumed(&mut self, resumed: &Resumed, now: Instant) -> Result<Action<'_, S>, Error> {
        if self.smid.as_ref() != Some(&resumed.previd) {
            return Err(Error::OtherSession);
        }
        let check = self.session.queue.check(resumed.h);
        check.map_err(|why| Error::WrongH { element: Kind::Resumed, why })?;
        Ok(Action::Resumed(self.go_on(resumed.h, now)))
    }

    fn failed(&mut self, failed: Failed) -> Action<'_, S> {
        let ending = match self.phase {
            Phase::Enabling => Ending::EnableRefused,
            _ => Ending::ResumeRefused,
        };
        // The last h of the old session spares it stanzas that arrived; an h that cannot be, nothing.
        if let Some(h) = failed.h
            && ending == Ending::ResumeRefused
        {
            let _ = self.session.queue.ack(h);
        }
        // Whether a resource is bound makes no difference any more: a client asks once.
        self.phase = Phase::Authenticated;
        Action::Failed(failed, self.give_session_up(ending))
    }

    /// The whole of it, so that no field stays behind.
    fn give_session_up(&mut self, ending: Ending) -> Ended<S> {
        let session = std::mem::replace(&mut self.session, Session::new(Tag::new(&self.config)));
        self.resumable = false;
        self.window = None;
        self.asking = Asking::No;
        self.asked = Counter::ZERO;
        self.full_until = None;
        self.was_blocked = false;
        session.into_ended(ending, self.smid.take())
    }
}

/// Both sides.
impl<S: Stanza> StreamMgmt<S> {
    fn adopt(&mut self, session: Detached<S>) {
        let Detached { session, smid, window, .. } = session;
        self.session = session;
        self.smid = Some(smid);
        self.resumable = true;
        self.window = window;
    }

    /// The session goes on, from an `h` that was checked.
    fn go_on(&mut self, h: Counter, now: Instant) -> Resend<'_, S> {
        self.phase = Phase::Enabled;
        self.resumable = self.config.can_resume();
        let _ = self.take_h(h);
        self.asked = self.acked();
        self.start_grace(now);
        let request = self.config.ack && self.session.queue.outstanding() > 0;
        if request {
            self.note_request(now);
        }
        Resend { unacked: self.session.queue.unacked(), request }
    }
}
