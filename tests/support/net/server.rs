//! What only a server's host does: it answers requests, and takes sessions over.

use xmpp_sm::{
    Detached, Disconnected, EnableRequest, EndReason, Lookup, NotResumed, NotResumedWhy, Refusal, ResumeRequest,
    Resumption, SessionStore, SmId, StreamError,
};

use super::host::Pending;
use super::{Conn, Net, Place, Side, wire};

impl Net {
    pub(super) fn answer_enable(&mut self, conn: Conn, request: EnableRequest) {
        if let Some(why) = self.refuse_enable {
            let failed = self.stream_mut(conn, Side::Server).refuse_enable(request, why);
            return self.write_all(conn, Side::Server, failed.ok());
        }
        let mut smid = request.is_resumable().then(|| self.next_smid());
        if let Some(id) = &smid {
            match self.store.register(id, &self.owner(conn).into(), conn, self.now) {
                Ok(registered) => {
                    self.peer_mut(conn, Side::Server).registration = Some(registered.registration);
                    if let Some(displaced) = registered.displaced {
                        self.server_ends(displaced.handle, EndReason::Replaced);
                    }
                }
                // Then without resumption.
                Err(_) => smid = None,
            }
        }
        let enabled = self.stream_mut(conn, Side::Server).accept_enable(request, smid);
        self.write_all(conn, Side::Server, enabled.ok());
    }

    /// Answers a `<resume/>`: finds the session, takes it over, and puts it onto this connection.
    pub(super) fn take_over(&mut self, conn: Conn, request: ResumeRequest) {
        let found = self.store.lookup(request.previd(), &self.owner(conn), self.now);
        let old = match found.map(Lookup::session) {
            Ok(Ok(record)) => self.whereabouts(record.handle, Side::Server),
            Ok(Err(refusal)) => return self.refuse(conn, request, refusal),
            Err(error) => panic!("memory does not fail: {error}"),
        };
        let session = match self.take_place(old, Side::Server) {
            Place::Detached(session) => session,
            Place::Live(stream) => match stream.check_resume(request.h()) {
                Err(refusal) => {
                    self.put_place(old, Side::Server, Place::Live(stream));
                    return self.refuse(conn, request, refusal);
                }
                Ok(()) => match stream.disconnect(self.now) {
                    Disconnected::Resumable(session) => {
                        self.write(old, Side::Server, &StreamError::Conflict.to_string());
                        self.write(old, Side::Server, wire::CLOSE);
                        session
                    }
                    Disconnected::Ended(_) => panic!("check_resume said that it is resumable"),
                },
            },
            other => {
                self.put_place(old, Side::Server, other);
                return self.refuse(conn, request, Refusal::NotFound);
            }
        };
        self.accept(conn, old, request, session);
    }

    fn accept(&mut self, conn: Conn, old: Conn, request: ResumeRequest, session: Detached<String>) {
        let (now, smid) = (self.now, session.smid().clone());
        match self.stream_mut(conn, Side::Server).accept_resume(request, session, now) {
            Ok(Resumption { write, after }) => {
                self.write_all(conn, Side::Server, [write]);
                self.resend(conn, Side::Server, after);
                self.put_place(old, Side::Server, Place::MovedTo(conn));
                let got = std::mem::take(&mut self.peer_mut(old, Side::Server).got);
                let registered =
                    self.store.register(&smid, &self.owner(conn).into(), conn, now).expect("it has room already");
                let peer = self.peer_mut(conn, Side::Server);
                peer.got = got;
                peer.registration = Some(registered.registration);
            }
            Err(NotResumed { session, why }) => {
                self.put_place(old, Side::Server, Place::Detached(session));
                match why {
                    NotResumedWhy::Refused { write, refusal } => {
                        self.write_all(conn, Side::Server, [write]);
                        if matches!(refusal, Refusal::Expired(_)) {
                            self.end(old, Side::Server, EndReason::Expired);
                        }
                    }
                    NotResumedWhy::ReceiptsOpen(request) => {
                        self.peer_mut(conn, Side::Server).pending = Some(Pending { request });
                    }
                    other => panic!("the store gave another session: {other}"),
                }
            }
        }
    }

    fn refuse(&mut self, conn: Conn, request: ResumeRequest, why: Refusal) {
        let failed = self.stream_mut(conn, Side::Server).refuse_resume(request, why);
        self.write_all(conn, Side::Server, failed.ok());
    }

    /// Something was settled: the resumes that wait for it are tried again.
    pub(super) fn retry_resumes(&mut self) {
        if self.slow_lookup {
            return;
        }
        for conn in 1..=self.connections.len() {
            if let Some(Pending { request }) = self.peer_mut(conn, Side::Server).pending.take() {
                self.take_over(conn, request);
            }
        }
    }

    /// The resume that waits for its lookup is answered.
    pub fn answer_resume(&mut self, conn: Conn) {
        let pending = self.peer_mut(conn, Side::Server).pending.take().expect("a resume waits");
        let Pending { request } = pending;
        self.take_over(conn, request);
    }

    pub(super) fn next_smid(&mut self) -> SmId {
        self.named += 1;
        self.smids.pop_front().unwrap_or_else(|| SmId::new(&format!("sm-{}", self.named)).expect("a valid SM-ID"))
    }
}
