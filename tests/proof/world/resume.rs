//! How a client asks for its session on a new connection, and how the server's host moves it there.

use std::time::Instant;

use xmpp_sm::{
    Condition, Counter, EndReason, Failed, Lookup, Nonza, NotResumed, NotResumedWhy, Refusal, ResumeRequest, Resumed,
    Resumption, SessionStore, StreamMgmt,
};

use super::event::Side;
use super::ledger::{Checked, Life, Msg, Session, Violation, ensure};
use super::link::Wire;
use super::pair::{Connection, End, Handle, Pair, Parked, Place, Shared, Step};
use super::requests::Asking;
use super::setting::{Setting, smid_number};

/// What comes of a `<resume/>`.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Resumed,
    NotYet,
    Refused(Nonza, Refusal),
}

fn authenticated(stream: &mut StreamMgmt<Msg>, setting: &Setting) {
    if setting.binds { stream.authenticated() } else { stream.authenticated_without_bind() }
}

/// A `<failed/>`.
pub fn failed(h: Option<Counter>, condition: Condition) -> Nonza {
    Nonza::Failed(Failed { h, condition: Some(condition) })
}

impl Pair {
    /// The client opens a connection and, if it has a session, asks for it.
    pub fn connect(&mut self, cx: &Shared) -> Checked {
        let setting = cx.setting;
        let [client, server] = setting.configs.clone();
        let mut connection = Connection::new(self.next_connection, setting.carry);
        self.next_connection += 1;
        let mut stream = if setting.disabled { StreamMgmt::disabled(server) } else { StreamMgmt::server(server) };
        authenticated(&mut stream, setting);
        connection.ends[Side::Server.index()] = Some(End::new(stream, None, Step::Open));
        let Some(i) = self.parked.iter().position(|parked| parked.side == Side::Client) else {
            let mut stream = StreamMgmt::client(client);
            authenticated(&mut stream, setting);
            connection.ends[Side::Client.index()] = Some(End::new(stream, None, Step::Open));
            self.connections.push(connection);
            return Ok(());
        };
        let Parked { session, detached, deadline, .. } = self.parked.remove(i);
        let (mut stream, resume) =
            StreamMgmt::resume(client, detached).map_err(|error| Violation(error.to_string()))?;
        authenticated(&mut stream, setting);
        let end = End::new(stream, Some(session), Step::Resuming(deadline));
        connection.ends[Side::Client.index()] = Some(end);
        self.connections.push(connection);
        self.write_nonza(cx, self.connections.len() - 1, Side::Client, resume)
    }

    /// The client binds a resource and asks for a new session.
    pub fn enable(&mut self, cx: &Shared, at: usize) -> Checked {
        for end in self.connections[at].ends.iter_mut().flatten().filter(|_| cx.setting.binds) {
            end.stream.bound();
            end.bound = true;
        }
        let end = self.end(at, Side::Client);
        end.attempted = true;
        let enable = end.stream.enable().map_err(|error| Violation(error.to_string()))?;
        end.step = Step::Enabling;
        let Nonza::Enable(mut enable) = enable else { return Err(Violation(format!("{enable} asks for a session"))) };
        let wish = cx.options(Side::Client).can_resume().then_some(cx.options(Side::Client).resume_timeout).flatten();
        let seconds = wish.map(|wish| wish.as_secs().min(u32::MAX.into()));
        let told = enable.max.map(|max| u64::from(max.get()));
        ensure!((enable.resume, told) == (wish.is_some(), seconds), "{enable:?} asks for {wish:?}");
        enable.max = enable.max.filter(|_| cx.setting.says_max[0]);
        let session = self.sessions.len() as u16;
        self.end(at, Side::Client).session = Some(session);
        self.connections[at].enabling = Some(session);
        let mut new = Session::new([0; 2]);
        new.half_mut(Side::Client).life = Life::Alive;
        self.sessions.push(new);
        self.write_nonza(cx, at, Side::Client, Nonza::Enable(enable))
    }

    /// The server's host does what it can about a `<resume/>`.
    pub fn resume_requested(&mut self, cx: &mut Shared, at: usize, request: ResumeRequest, asked: Instant) -> Checked {
        let session = smid_number(request.previd())
            .and_then(|number| self.sessions.iter().position(|session| session.smid == Some(number)));
        let Some(session) = session else { return Err(Violation("a <resume/> for nobody's session".into())) };
        let session = session as u16;
        self.end(at, Side::Server).probe_pending(cx)?;
        let found = cx.store.lookup(request.previd(), self.owner, cx.now);
        let found = found.map_err(|error| Violation(error.to_string()))?.session();
        let (h, previd) = (request.h(), request.previd().clone());
        let wanted = self.refusal(cx, session, h);
        let i = match found.and_then(|record| self.detach(cx, record.handle, h)) {
            // A session whose stream is closed has no more than its end before it.
            Err(refusal) => {
                ensure!(wanted == Some(refusal), "session {session} is refused with {refusal:?}, not {wanted:?}");
                return self.refuse(cx, at, request, refusal);
            }
            Ok(parked) => parked?,
        };
        ensure!(wanted.is_none(), "session {session} is to be resumed, and not refused with {wanted:?}");
        let Parked { side, session: found, detached, deadline, connection } = self.parked.remove(i);
        ensure!(found == session, "the store leads to session {found} in the place of {session}");
        let keep = |pair: &mut Self, detached| {
            let kept = Parked { side, session, detached, deadline, connection };
            pair.parked.insert(i, kept);
        };
        let wanted = self.outcome(cx, [asked, cx.now], session, h, deadline);
        match (self.end(at, Side::Server).stream.accept_resume(request, detached, cx.now), wanted) {
            (Ok(Resumption { write, after }), Outcome::Resumed) => {
                let wanted = Nonza::Resumed(Resumed { previd, h: self.session(session).half(Side::Server).handled() });
                ensure!(write == wanted, "{write} resumes, not {wanted}");
                self.sessions[usize::from(session)].acked(Side::Server, h)?;
                self.register_again(cx, at, session)?;
                self.continue_session(cx, at, Side::Server, session, Some(write), after)
            }
            (Err(NotResumed { session: detached, why: NotResumedWhy::ReceiptsOpen(request) }), Outcome::NotYet) => {
                keep(self, detached);
                self.end(at, Side::Server).step = Step::Held(request, asked);
                Ok(())
            }
            (
                Err(NotResumed { session: detached, why: NotResumedWhy::Refused { write: failed, refusal } }),
                Outcome::Refused(told, because),
            ) if (&failed, refusal) == (&told, because) => {
                match refusal {
                    Refusal::Expired(_) => {
                        let ended = detached.expire(cx.now);
                        let ended = ended.map_err(|_| Violation("the session had not expired".into()))?;
                        self.ended(cx, Side::Server, session, ended, EndReason::Expired)?;
                    }
                    // An old <resume/> of the client may come late; its h is behind by then.
                    Refusal::WrongH(why) => {
                        let waits = self.connections[at].end(Side::Client).is_some();
                        ensure!(!waits, "the client waits, and its h is called wrong: {why:?}");
                        keep(self, detached);
                    }
                    other => return Err(Violation(format!("{other:?} is no reason of the crate's own"))),
                }
                self.end(at, Side::Server).step = Step::Open;
                self.write_nonza(cx, at, Side::Server, failed)
            }
            (other, wanted) => Err(Violation(format!("a <resume/> with h {h} gives {other:?}, not {wanted:?}"))),
        }
    }

    /// What must come of a `<resume/>` for a detached session. It came at the first of these times, and it is the
    /// second now.
    pub fn outcome(
        &self,
        cx: &Shared,
        [asked, now]: [Instant; 2],
        session: u16,
        h: Counter,
        deadline: Option<Instant>,
    ) -> Outcome {
        let half = self.session(session).half(Side::Server);
        match (half.wrong(h), deadline.filter(|deadline| *deadline <= asked)) {
            (Some(why), None) => Outcome::Refused(failed(None, Condition::BadRequest), Refusal::WrongH(why)),
            _ if half.open() > 0 => Outcome::NotYet,
            // No h that is too old is told, though the owner has left the session lying for so long.
            (_, Some(deadline)) => {
                let told = cx.options(Side::Server).remembers(deadline, now).then_some(half.in_counter(half.h));
                Outcome::Refused(failed(told, Condition::ItemNotFound), Refusal::Expired(told))
            }
            (None, None) => Outcome::Resumed,
        }
    }

    /// Takes the session from where the store says it is, unless that would be for nothing.
    fn detach(&mut self, cx: &mut Shared, (pair, sid): Handle, h: Counter) -> Result<Checked<usize>, Refusal> {
        if pair != self.number {
            return Ok(Err(Violation(format!("the store leads to pair {pair}"))));
        }
        if let Some(old) = self.owner_of(sid) {
            self.end(old, Side::Server).stream.check_resume(h)?;
            // <conflict/>, and the old stream is closed.
            self.write(old, Side::Server, Wire::Error);
            if let Err(violation) = self.cut(cx, Side::Server, old) {
                return Ok(Err(violation));
            }
        }
        if self.closing_of(sid).is_some() {
            return Err(Refusal::NotFound);
        }
        let of = |parked: &Parked| parked.side == Side::Server && parked.connection == sid;
        let i = self.parked.iter().position(of);
        Ok(i.ok_or_else(|| Violation(format!("the store leads to connection {sid}, where no session is"))))
    }

    /// Why a session that is asked for with that `h` must be refused before its stream is touched.
    fn refusal(&self, cx: &Shared, session: u16, h: Counter) -> Option<Refusal> {
        let of = self.session(session);
        match (self.known(cx, session, cx.now), self.place(session, Side::Server)) {
            (Lookup::NotFound, _) => Some(Refusal::NotFound),
            (Lookup::StaleH(h), _) => Some(Refusal::StaleH(h)),
            (Lookup::Session(_), Some(Place::On(_))) => {
                let half = of.half(Side::Server);
                match half.is_resumable(cx.options(Side::Server)) {
                    false => Some(Refusal::NotFound),
                    true => half.wrong(h).map(Refusal::WrongH),
                }
            }
            (Lookup::Session(_), Some(Place::Shut(_))) => Some(Refusal::NotFound),
            (Lookup::Session(_), _) => None,
        }
    }

    fn refuse(&mut self, cx: &Shared, at: usize, request: ResumeRequest, why: Refusal) -> Checked {
        let waits = self.connections[at].end(Side::Client).is_some();
        let (h, condition) = match why {
            Refusal::NotFound => (None, Condition::ItemNotFound),
            Refusal::StaleH(h) => (Some(h), Condition::ItemNotFound),
            other => {
                ensure!(!waits, "the client waits and is refused: {other:?}");
                (None, Condition::BadRequest)
            }
        };
        let end = self.end(at, Side::Server);
        end.step = Step::Open;
        let (told, wanted) = (end.stream.refuse_resume(request, why), failed(h, condition));
        ensure!(told.as_ref() == Ok(&wanted), "refused with {told:?}, not {wanted}");
        self.write_nonza(cx, at, Side::Server, wanted)
    }

    /// The connection of that number, if it has a session.
    fn owner_of(&self, sid: u32) -> Option<usize> {
        let is_it = |connection: &Connection| {
            connection.id == sid && connection.end(Side::Server).is_some_and(|end| end.session.is_some())
        };
        self.connections.iter().position(is_it)
    }

    /// The connection of that number, if its stream is closed on the server's side.
    fn closing_of(&self, sid: u32) -> Option<usize> {
        let is_it = |connection: &Connection| connection.id == sid && connection.shut(Side::Server).is_some();
        self.connections.iter().position(is_it)
    }

    fn register_again(&mut self, cx: &mut Shared, at: usize, session: u16) -> Checked {
        let sid = (self.number, self.connections[at].id);
        let Session { smid: number, registration, .. } = &mut self.sessions[usize::from(session)];
        let Some(number) = *number else { return Err(Violation("a session without an SM-ID is resumed".into())) };
        let before = std::mem::replace(registration, cx.register(number, self.owner, sid)?);
        self.late.extend(before);
        Ok(())
    }

    pub fn client_resumed(&mut self, cx: &Shared, at: usize, wire: &Wire, after: Option<Nonza>) -> Checked {
        let session = self.end(at, Side::Client).session;
        let (Some(session), Wire::Nonza(Nonza::Resumed(resumed))) = (session, wire) else {
            return Err(Violation(format!("{wire:?} resumes {session:?}")));
        };
        let session_now = &mut self.sessions[usize::from(session)];
        session_now.half_mut(Side::Client).granted &= cx.options(Side::Client).can_resume();
        session_now.acked(Side::Client, resumed.h)?;
        self.continue_session(cx, at, Side::Client, session, None, after)
    }

    /// The session goes on at this end: `<resumed/>`, what the peer did not get, `<r/>`.
    fn continue_session(
        &mut self,
        cx: &Shared,
        at: usize,
        side: Side,
        session: u16,
        resumed: Option<Nonza>,
        after: Option<Nonza>,
    ) -> Checked {
        let resend: Vec<Msg> = self.end(at, side).stream.unacked().map(|queued| *queued.stanza).collect();
        let half = self.half(session, side);
        let acked = half.acked;
        ensure!(half.open() == 0, "a session with open receipts is resumed");
        let same = half.queued().map(|sent| sent.msg).eq(resend.iter().copied());
        ensure!(same, "{resend:?} is sent again, not what is unacknowledged");
        let asks = half.acked < half.sent.len() && cx.options(side).ack.is_some();
        let wanted = asks.then_some(Nonza::AckRequest);
        ensure!(after == wanted, "{after:?} is written after a resumption, not {wanted:?}");
        let end = self.end(at, side);
        end.session = Some(session);
        end.step = Step::Enabled;
        end.asking = Asking::starting(acked);
        resumed.map_or(Ok(()), |resumed| self.write_nonza(cx, at, side, resumed))?;
        for msg in resend {
            self.write(at, side, Wire::Stanza(msg));
        }
        after.map_or(Ok(()), |after| self.write_nonza(cx, at, side, after))?;
        self.note(cx, at, side);
        Ok(())
    }

    /// The store made room: the session that it has forgotten ends.
    pub fn evict(&mut self, cx: &mut Shared, sid: u32) -> Checked {
        if let Some(old) = self.owner_of(sid) {
            self.write(old, Side::Server, Wire::Error);
            let End { stream, session, .. } = self.take_end(old, Side::Server);
            let ended = stream.end(EndReason::Replaced);
            return session.map_or(Ok(()), |session| self.ended(cx, Side::Server, session, ended, EndReason::Replaced));
        }
        if let Some(at) = self.closing_of(sid) {
            return self.shut(cx, Side::Server, at, EndReason::Replaced);
        }
        let of = |parked: &Parked| parked.side == Side::Server && parked.connection == sid;
        let Some(i) = self.parked.iter().position(of) else {
            return Err(Violation(format!("the store evicts {sid}, where no session is")));
        };
        let Parked { session, detached, .. } = self.parked.remove(i);
        self.ended(cx, Side::Server, session, detached.end(EndReason::Replaced), EndReason::Replaced)
    }
}
