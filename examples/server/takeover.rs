//! A client comes back: its session moves from the task that owns it to the task of the new connection.

use std::time::Instant;

use bytes::Bytes;
use jid::BareJid;
use tokio::sync::oneshot;
use xmpp_sm::{Condition, Counter, Detached, Nonza, Refusal, ResumeError, ResumeRequest, SessionStore, StreamMgmt};

use super::Server;
use super::detached;
use super::router::Mail;
use super::session::Session;
use super::stream::Connection;

/// How often the store may name an owner that is gone when it is asked.
const ATTEMPTS: usize = 10;

type Moved = (Session, Detached<Bytes>);

/// A request to the owner of a session to let go of it.
pub struct TakeOver {
    h: Counter,
    reply: oneshot::Sender<Result<Moved, Refusal>>,
}

impl TakeOver {
    /// How much the client says it has handled, for the owner to check before it closes a stream that works.
    pub fn h(&self) -> Counter {
        self.h
    }

    pub fn refuse(self, refusal: Refusal) {
        let _ = self.reply.send(Err(refusal));
    }

    /// Moves the session. It comes back if nobody wants it any more.
    pub fn hand_over(self, session: Session, detached: Detached<Bytes>) -> Option<Moved> {
        self.reply.send(Ok((session, detached))).err().and_then(Result::ok)
    }
}

/// Fetches the session that a client asks for. Whoever comes second in a race finds the winner, or the end.
async fn fetch(request: &ResumeRequest, owner: &BareJid, server: &Server) -> Result<Moved, Refusal> {
    for _ in 0..ATTEMPTS {
        let found = server.store.lookup(request.previd(), owner.as_str(), Instant::now());
        let handle = found.map_err(|_| Refusal::NotFound)?.session()?;
        let (reply, answer) = oneshot::channel();
        // This waits as long as it takes: a session that is on its way to us must not find us gone.
        if handle.send(Mail::TakeOver(TakeOver { h: request.h(), reply })).is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
    }
    Err(Refusal::NotFound)
}

/// Answers a `<resume/>`. None: the client may bind.
pub async fn resume(
    request: ResumeRequest,
    owner: &BareJid,
    server: &Server,
    sm: &mut StreamMgmt<Bytes>,
    connection: &mut Connection,
) -> Option<Session> {
    let (mut session, detached) = match fetch(&request, owner, server).await {
        Ok(moved) => moved,
        Err(refusal) => {
            let failed = sm.refuse_resume(request, refusal).ok()?;
            server.send(owner.as_str(), connection, &failed);
            return None;
        }
    };
    // First of all it is known to be here: a session that nobody could find again must not go on.
    let accepted = match session.register(detached.smid()) {
        true => sm.accept_resume(request, detached, Instant::now()),
        false => Err(ResumeError::NotYet { request, session: detached }),
    };
    let (failed, detached) = match accepted {
        Ok(resumption) => {
            server.send(session.jid.as_str(), connection, &resumption.resumed);
            connection.outbox.seal();
            for queued in resumption.resend.unacked {
                connection.outbox.push(queued.stanza);
            }
            if resumption.resend.request {
                server.send(session.jid.as_str(), connection, &Nonza::Request);
            }
            session.set_connected(true);
            return Some(session);
        }
        Err(ResumeError::Refused { failed, session, .. }) => (Some(failed), session),
        // The store does not take it. What else these stand for does not happen: the owner has settled what was
        // open, and is the one that was asked for.
        Err(ResumeError::NotYet { request, session } | ResumeError::Mismatch { request, session }) => {
            let why = Refusal::Because(Condition::InternalServerError);
            (sm.refuse_resume(request, why).ok(), session)
        }
    };
    if let Some(failed) = failed {
        server.send(owner.as_str(), connection, &failed);
    }
    // Its time goes on as if nobody had asked.
    tokio::spawn(detached::run(session, detached, None));
    None
}
