//! All that must be refused, tried in a state: wrong `h`, another owner, elements out of place, tokens and
//! receipts of others, what is not due by a nanosecond. Every answer is checked, and the state is the same after.

mod elements;
mod queue;
mod tokens;

use std::time::{Duration, Instant};

use xmpp_sm::{
    Action, Condition, Counter, Detached, Epoch, Error, Inbound, Kind, Lookup, Nonza, NotResumed, NotResumedWhy,
    ParseError, Parts, Refusal, Registration, Resume, SessionStore, StreamMgmt, Swept,
};

use super::World;
use super::event::Side;
use super::ledger::{Checked, Life, Msg, Violation, ensure};
use super::pair::{Pair, Parked, Place, Shared};
use super::resume::{Outcome, failed};
use super::setting::{GERIATRIC, smid};

/// The shortest time.
const NANOSECOND: Duration = Duration::from_nanos(1);

const STRANGER: &str = "mallory@example.org";

impl World<'_> {
    /// Tries it all, and sees that nothing has changed.
    pub fn probe(&mut self) -> Checked {
        let before = self.fingerprint();
        for pair in &mut self.pairs {
            for session in 0..pair.sessions.len() as u16 {
                pair.probe_session(&self.cx, session)?;
            }
            for i in 0..pair.parked.len() {
                pair.probe_parked(&self.cx, i)?;
            }
            for at in 0..pair.connections.len() {
                for side in Side::BOTH {
                    if pair.connections[at].end(side).is_some() {
                        pair.probe_end(&self.cx, at, side)?;
                    }
                }
            }
        }
        self.probe_stale_h()?;
        ensure!(before == self.fingerprint(), "something that was refused has changed the state");
        self.check_census()?;
        self.check()
    }

    /// Whoever sweeps, the last `h` of a session that is gone is there to its last nanosecond.
    fn probe_stale_h(&self) -> Checked {
        let _ = self.cx.store.sweep(self.cx.now);
        let retired = self.pairs.iter().flat_map(|pair| &pair.sessions).filter_map(|session| session.retired);
        if let Some(first) = retired.map(|at| at + GERIATRIC).filter(|last| *last >= self.cx.now).min() {
            ensure!(self.cx.store.sweep(first) == Swept::default(), "an h is swept before its time");
        }
        self.pairs.iter().try_for_each(|pair| pair.probe_stale_h(&self.cx))
    }
}

/// A server's stream on which the peer has authenticated.
fn fresh(cx: &Shared) -> StreamMgmt<Msg> {
    let mut stream = StreamMgmt::server(cx.setting.configs[1].clone());
    stream.authenticated();
    stream
}

/// Counters that are no `h` for what is between `acked` and `sent`.
fn wrong(acked: Counter, sent: Counter) -> [Counter; 3] {
    [sent.next(), acked.advance(u32::MAX), sent.advance(1 << 31)]
}

impl Pair {
    fn probe_stale_h(&self, cx: &Shared) -> Checked {
        for (session, number) in self.sessions.iter().zip(0..) {
            let Some((id, retired)) = session.smid.map(smid).zip(session.retired) else { continue };
            let last = retired + GERIATRIC;
            for now in [last, last + NANOSECOND].into_iter().filter(|now| *now >= cx.now) {
                let (found, wanted) = (cx.store.lookup(&id, self.owner, now), self.known(cx, number, now));
                ensure!(
                    found.as_ref() == Ok(&wanted),
                    "the store will answer {found:?} for session {number}, not {wanted:?}"
                );
            }
        }
        Ok(())
    }

    fn probe_session(&mut self, cx: &Shared, number: u16) -> Checked {
        let session = self.session(number);
        let Some(id) = session.smid.map(smid) else { return Ok(()) };
        let found = cx.store.lookup(&id, STRANGER, cx.now);
        ensure!(found == Ok(Lookup::NotFound), "a stranger gets {found:?}");
        if let Some(epoch) = session.registration.as_ref().map(Registration::epoch) {
            let others = [epoch.get() + 99, epoch.get() - 1].map(|other| (self.owner, Epoch::new(other)));
            for (owner, epoch) in others.into_iter().chain([(STRANGER, epoch)]) {
                let other = Registration::new(owner, id.clone(), epoch);
                let _ = cx.store.retire(&other, 4711.into(), cx.now);
                let _ = cx.store.remove(&other);
            }
        }
        if session.half(Side::Server).life != Life::Alive || session.registration.is_none() {
            return Ok(());
        }
        match self.place(number, Side::Server) {
            Some(Place::On(at)) => {
                let end = self.connections[at].end(Side::Server).expect("it is there");
                let resumable = end.stream.is_resumable();
                for h in wrong(end.stream.acked(), end.stream.sent()) {
                    let (checked, why) = (end.stream.check_resume(h), self.session(number).half(Side::Server).wrong(h));
                    let refusal = if resumable { why.map(Refusal::WrongH) } else { Some(Refusal::NotFound) };
                    ensure!(checked.err() == refusal, "h {h} is checked: {checked:?}");
                }
            }
            Some(Place::Off(i)) => {
                let deadline = self.parked[i].deadline;
                // About its deadline, and about the time when its h is too old.
                let times = deadline
                    .into_iter()
                    .flat_map(|due| [due, due + GERIATRIC].map(|at| [at - NANOSECOND, at, at + NANOSECOND]));
                for now in times.flatten().filter(|time| *time > cx.now).chain([cx.now]) {
                    for h in wrong(self.parked[i].detached.acked(), self.parked[i].detached.sent()) {
                        self.probe_resume(cx, i, h, now)?;
                    }
                }
            }
            Some(Place::Shut(_)) | None => {}
        }
        Ok(())
    }

    /// A `<resume/>` with a wrong `h` for a detached session, and one for another session.
    fn probe_resume(&mut self, cx: &Shared, i: usize, h: Counter, now: Instant) -> Checked {
        let Parked { side, session: number, detached, deadline, connection } = self.parked.remove(i);
        let mut stream = fresh(cx);
        let ask = |stream: &mut StreamMgmt<Msg>, previd, h| match stream
            .handle(Inbound::Nonza(Nonza::Resume(Resume { previd, h })), now)
        {
            Ok(Action::Resume(request)) => Ok(request),
            other => Err(Violation(format!("<resume/> gives {other:?}"))),
        };
        let request = ask(&mut stream, detached.smid().clone(), h)?;
        let (request, detached) =
            match (stream.accept_resume(request, detached, now), self.outcome(cx, [now; 2], number, h, deadline)) {
                (
                    Err(NotResumed { session, why: NotResumedWhy::Refused { write, refusal } }),
                    Outcome::Refused(told, because),
                ) if (&write, refusal) == (&told, because) => (ask(&mut stream, smid(u16::MAX), h)?, session),
                (Err(NotResumed { session, why: NotResumedWhy::ReceiptsOpen(request) }), Outcome::NotYet) => {
                    let refused = stream.refuse_resume(request, Refusal::NotFound);
                    ensure!(refused.is_ok(), "the request is not this stream's: {refused:?}");
                    (ask(&mut stream, smid(u16::MAX), h)?, session)
                }
                (other, wanted) => return Err(Violation(format!("h {h} gives {other:?}, not {wanted:?}"))),
            };
        let (request, detached) = match stream.accept_resume(request, detached, now) {
            Err(NotResumed { session, why: NotResumedWhy::Foreign(request) }) => (request, session),
            other => return Err(Violation(format!("another session is taken: {other:?}"))),
        };
        let again = stream.handle(Inbound::Stanza { bytes: 1 }, now);
        ensure!(matches!(again, Err(Error::RequestPending)), "the request is still to be answered, and not: {again:?}");
        let refused = stream.refuse_resume(request, Refusal::NotFound);
        ensure!(refused.is_ok(), "the request is not this stream's: {refused:?}");
        self.parked.insert(i, Parked { side, session: number, detached, deadline, connection });
        Ok(())
    }

    fn probe_parked(&mut self, cx: &Shared, i: usize) -> Checked {
        self.probe_receipts(cx, self.parked[i].side, Place::Off(i))?;
        let Parked { side, session, mut detached, deadline, connection } = self.parked.remove(i);
        self.session(session).half(side).probe_queue(&mut detached, cx.options(side))?;
        detached = probe_deadline(detached, cx.now)?;
        for early in deadline.into_iter().map(|due| due - NANOSECOND).chain([cx.now]) {
            if deadline.is_none_or(|due| due > early) {
                detached = match detached.expire(early) {
                    Err(detached) => detached,
                    Ok(ended) => return Err(Violation(format!("expired before its time: {ended:?}"))),
                };
            }
        }
        let detached = if detached.open_receipts() > 0 {
            let detached = match StreamMgmt::resume(cx.setting.configs[0].clone(), detached) {
                Err(open) => open.session,
                Ok((_, nonza)) => return Err(Violation(format!("resumed with open receipts: {nonza}"))),
            };
            match detached.into_parts() {
                Err(open) => open.session,
                Ok(parts) => return Err(Violation(format!("apart with open receipts: {parts:?}"))),
            }
        } else {
            self.written_down(cx, side, session, detached, deadline)?
        };
        self.parked.insert(i, Parked { side, session, detached, deadline, connection });
        Ok(())
    }

    /// The host writes a session down and reads it again: it is the same, and knows no receipt of before.
    fn written_down(
        &mut self,
        cx: &Shared,
        side: Side,
        session: u16,
        detached: Detached<Msg>,
        deadline: Option<Instant>,
    ) -> Checked<Detached<Msg>> {
        let of = self.session(session);
        let half = of.half(side);
        let wanted = Parts {
            smid: of.smid.map_or_else(|| smid(u16::MAX), smid),
            deadline,
            resume_timeout: half.resume_timeout,
            h: half.in_counter(half.h),
            acked: half.out_counter(half.acked),
            unacked: half.queued().map(|sent| (sent.msg, sent.at)).collect(),
        };
        let parts = detached.into_parts();
        ensure!(parts.as_ref() == Ok(&wanted), "a session is written down as {parts:?}, not {wanted:?}");
        if side == Side::Client {
            probe_failed(cx, &wanted)?;
        }
        if let Some(spent) = &mut self.spent[side.index()] {
            spent.forgotten |= spent.session == session;
        }
        Detached::from_parts(cx.setting.configs[side.index()].clone(), wanted)
            .map_err(|error| Violation(format!("{:?} are no session", error.parts)))
    }

    fn probe_end(&mut self, cx: &Shared, at: usize, side: Side) -> Checked {
        self.probe_requests(cx, at, side)?;
        self.probe_receipts(cx, side, Place::On(at))?;
        let end = self.connections[at].ends[side.index()].as_mut().expect("an end that is up");
        if let Some(session) = end.session {
            self.sessions[usize::from(session)].half(side).probe_queue(&mut end.stream, cx.options(side))?;
        }
        let stream = &mut end.stream;
        let due = stream.poll_timeout();
        for early in due
            .into_iter()
            .map(|due| due - NANOSECOND)
            .chain([cx.now])
            .filter(|early| due.is_none_or(|due| due > *early))
        {
            let done = stream.handle_timeout(early);
            ensure!(done == Ok(None), "a timer that is not due gives {done:?}");
        }
        self.probe_elements(cx, at, side)
    }
}

/// Another deadline holds as the first one does.
fn probe_deadline(mut detached: Detached<Msg>, now: Instant) -> Checked<Detached<Msg>> {
    let before = detached.deadline();
    let due = now + Duration::from_secs(1);
    for (deadline, early) in [(Some(due), Some(due - NANOSECOND)), (None, Some(due)), (Some(now), None)] {
        detached.set_deadline(deadline);
        let set = detached.deadline();
        ensure!(set == deadline, "the deadline is moved to {deadline:?}, and is {set:?}");
        let is_expired = deadline.is_some_and(|deadline| detached.is_expired(deadline));
        ensure!(is_expired == deadline.is_some(), "expired is {is_expired} at {deadline:?}");
        if let Some(early) = early {
            ensure!(!detached.is_expired(early), "expired at {early:?}, and the deadline is {deadline:?}");
            detached = match detached.expire(early) {
                Err(detached) => detached,
                Ok(ended) => return Err(Violation(format!("expired before its new time: {ended:?}"))),
            };
        }
    }
    detached.set_deadline(before);
    Ok(detached)
}

/// A copy of a client's session that is refused: an `h` that cannot be right spares nothing, and a `<failed/>` that is
/// not well made is a refusal, too.
fn probe_failed(cx: &Shared, parts: &Parts<Msg>) -> Checked {
    let sent = parts.acked.advance(parts.unacked.len() as u32);
    let with_h = |h| Inbound::Nonza(failed(h, Condition::ItemNotFound));
    let malformed = ParseError::Invalid { element: Kind::Failed, attribute: "h" };
    let refusals = [None].into_iter().chain(wrong(parts.acked, sent).map(Some)).map(with_h);
    for failed in refusals.chain([Inbound::Malformed(malformed)]) {
        let (text, config) = (format!("{failed:?}"), &cx.setting.configs[Side::Client.index()]);
        let Ok(copy) = Detached::from_parts(config.clone(), parts.clone()) else {
            return Err(Violation(format!("{parts:?} are no session")));
        };
        let (mut stream, _) = StreamMgmt::resume(config.clone(), copy).map_err(|open| Violation(open.to_string()))?;
        match stream.handle(failed, cx.now) {
            Ok(Action::Failed(_, ended)) if ended.unacked.len() == parts.unacked.len() => {}
            other => return Err(Violation(format!("{text} gives {other:?}"))),
        }
    }
    Ok(())
}
