//! The client's side of enabling and resuming.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::{Action, Phase, Role, StreamMgmt};
use crate::config::Config;
use crate::detached::{Detached, EndReason, Ended, ReceiptsOpen, Resumable, Traffic};
use crate::error::Error;
use crate::nonza::{Enable, Enabled, Failed, Kind, Nonza, Resume, Resumed};
use crate::queue::Returned;
use crate::receipts::Tag;
use crate::stanza::Stanza;

/// A client's request that cannot be made.
///
/// Returned by [`StreamMgmt::enable`](crate::StreamMgmt::enable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CannotEnable {
    /// A server never asks.
    #[error("a server does not send <enable/>")]
    Server,
    /// A resource has to be [bound first](https://xmpp.org/extensions/xep-0198.html#enable).
    #[error("no resource is bound")]
    NotBound,
    /// A client makes [one attempt](https://xmpp.org/extensions/xep-0198.html#enable) at most.
    #[error("<enable/> was sent on this stream before")]
    SentBefore,
}

impl<S: Stanza> StreamMgmt<S> {
    /// Returns the `<enable/>` to write. Stanzas that go out after it are counted and kept; those that come
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
            _ if self.attempted => return Err(CannotEnable::SentBefore),
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
    /// If the connection is lost before the reply, [`disconnect`](Self::disconnect) returns the session
    /// as it was. How long to wait for the reply is the host's to decide. On a stream that binds no
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
        let resume = Nonza::Resume(Resume { previd: session.smid().clone(), h: session.h() });
        let mut stream = Self::new(config, Role::Client, Phase::Resuming(session.deadline));
        let Detached { traffic, resumable, .. } = session;
        stream.traffic = traffic;
        stream.resumable = Some(resumable);
        Ok((stream, resume))
    }

    pub(super) fn on_enabled(&mut self, enabled: Enabled, now: Instant) -> Action<S> {
        self.phase = Phase::Enabled;
        let smid = enabled.id.clone().filter(|_| enabled.resume && self.config.can_resume());
        let resume_timeout = enabled.max.map(|max| Duration::from_secs(max.get().into()));
        self.resumable = smid.map(|smid| Resumable { smid, resume_timeout });
        // What went out before the reply could not ask. If it has filled the buffer, the peer's time to make room
        // starts when it is asked.
        self.requests.full_until = None;
        if self.traffic.queue.outstanding() == 0 {
            self.start_grace(now);
        } else if self.is_request_due() {
            self.request_soon(now);
        } else {
            self.start_grace(now);
            self.requests.note_unasked(&self.config, now);
        }
        Action::Enabled(Box::new(enabled))
    }

    pub(super) fn on_resumed(
        &mut self,
        resumed: &Resumed,
        now: Instant,
        into: &mut impl Extend<Returned<S>>,
    ) -> Result<Action<S>, Error> {
        self.admit(Kind::Resumed)?;
        if self.smid() != Some(&resumed.previd) {
            return Err(Error::ForeignSession);
        }
        let checked = self.traffic.queue.check(resumed.h);
        let checked = checked.map_err(|why| Error::WrongH { element: Kind::Resumed, why })?;
        self.continue_session(checked, now, into);
        Ok(Action::Resumed(self.request_resent(now)))
    }

    pub(super) fn on_failed(&mut self, failed: Failed, into: &mut impl Extend<Returned<S>>) -> Action<S> {
        let reason = match self.phase {
            Phase::Enabling => EndReason::EnableRefused,
            _ => EndReason::ResumeRefused,
        };
        // The last h of the old session covers stanzas that arrived; an h that cannot be right covers none.
        if let Some(h) = failed.h
            && reason == EndReason::ResumeRefused
            && let Ok(checked) = self.traffic.queue.check(h)
        {
            self.traffic.queue.acknowledge_into(checked, into);
        }
        // Whether a resource is bound makes no difference any more: a client asks once.
        self.phase = Phase::Authenticated;
        Action::Failed(failed, Box::new(self.end_session(reason)))
    }

    /// The whole of it, so that no field stays behind, but for what waits to be sent.
    fn end_session(&mut self, reason: EndReason) -> Ended<S> {
        let next = Traffic::after(&mut self.traffic, Tag::new(&self.config));
        let traffic = std::mem::replace(&mut self.traffic, next);
        self.requests = super::Requests::default();
        traffic.into_ended(reason, self.resumable.take().map(|resumable| resumable.smid))
    }
}
