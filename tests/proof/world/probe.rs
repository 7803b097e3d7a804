//! All that must be refused, tried in a state: wrong `h`, another owner, elements out of place, tokens and
//! receipts of others, timers that are not due. Every answer is checked, and the state is the same after.

use std::time::Duration;

use xmpp_sm::{
    Action, Condition, Counter, Enable, Enabled, Epoch, Error, Failed, Inbound, Kind, Lookup, Nonza, OtherStream,
    ParseError, ReceiptError, Refusal, Refused, Resume, ResumeError, Resumed, SessionStore, StoreError, StreamMgmt,
    WhyNot, WrongH,
};

use super::World;
use super::event::Side;
use super::ledger::{Checked, Face, Life, Msg, ensure};
use super::pair::{Pair, Parked, Place, Shared, Step};
use super::setting::smid;

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
                    pair.probe_end(&self.cx, at, side)?;
                }
            }
        }
        self.cx.store.sweep(self.cx.now);
        ensure!(before == self.fingerprint(), "something that was refused has changed the state");
        self.check_census()?;
        self.check()
    }
}

/// A server's stream on which the peer has authenticated.
fn fresh(cx: &Shared) -> StreamMgmt<Msg> {
    let mut stream = StreamMgmt::server(cx.setting.configs[1].clone());
    stream.authenticated();
    stream
}

/// Counters that are no `h` for what is between `acked` and `sent`.
fn wrong(face: &impl Face) -> [Counter; 3] {
    [face.sent().next(), face.acked().advance(u32::MAX), face.sent().advance(1 << 31)]
}

impl Pair {
    fn probe_session(&mut self, cx: &Shared, number: u16) -> Checked {
        let session = self.session(number);
        let Some(id) = session.smid.map(smid) else { return Ok(()) };
        let found = cx.store.lookup(&id, STRANGER, cx.now);
        ensure!(found == Ok(Lookup::NotFound), "a stranger gets {found:?}");
        if let Some(epoch) = session.epoch {
            let taken = cx.store.register(&id, STRANGER, (9, 9));
            ensure!(taken == Err(StoreError::Taken), "a stranger registers: {taken:?}");
            for other in [epoch.get() + 99, epoch.get() - 1] {
                let _ = cx.store.retire(&id, Epoch::new(other), 4711.into(), cx.now);
                let _ = cx.store.remove(&id, Epoch::new(other));
            }
        }
        if session.half(Side::Server).life != Life::Alive || session.epoch.is_none() {
            return Ok(());
        }
        match self.place(number, Side::Server) {
            Some(Place::On(at)) => {
                let end = self.end(at, Side::Server);
                let resumable = end.stream.is_resumable();
                for h in wrong(&end.stream) {
                    let refusal = if resumable { Refusal::Because(Condition::BadRequest) } else { Refusal::NotFound };
                    let checked = end.stream.check_resume(h);
                    ensure!(checked == Err(refusal), "h {h} is checked: {checked:?}");
                }
            }
            Some(Place::Off(i)) => {
                for h in wrong(&self.parked[i].detached) {
                    self.probe_resume(cx, i, h)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// A `<resume/>` with a wrong `h` for a detached session, and one for another session.
    fn probe_resume(&mut self, cx: &Shared, i: usize, h: Counter) -> Checked {
        let Parked { side, session, detached, deadline, connection } = self.parked.remove(i);
        let mut stream = fresh(cx);
        let ask = |stream: &mut StreamMgmt<Msg>, previd, h| {
            let resume = Nonza::Resume(Resume { previd, h });
            match stream.handle(Inbound::Nonza(resume), cx.now) {
                Ok(Action::Resume(request)) => Ok(request),
                other => Err(super::Violation(format!("<resume/> gives {other:?}"))),
            }
        };
        let request = ask(&mut stream, detached.smid().clone(), h)?;
        let open = detached.open_receipts() > 0;
        let due = deadline.is_some_and(|deadline| deadline <= cx.now);
        let (request, detached) = match stream.accept_resume(request, detached, cx.now) {
            Err(ResumeError::Refused { failed, why, session }) => {
                let right = match why {
                    Refused::WrongH(_) => !due && failed.to_string().contains("bad-request"),
                    Refused::Expired => due && !open,
                };
                ensure!(right, "h {h} is refused with {failed}, expired: {due}");
                (ask(&mut stream, smid(u16::MAX), h)?, session)
            }
            Err(ResumeError::NotYet { request, session }) if open && due => {
                let refused = stream.refuse_resume(request, Refusal::NotFound);
                ensure!(refused.is_ok(), "the request is not this stream's: {refused:?}");
                (ask(&mut stream, smid(u16::MAX), h)?, session)
            }
            other => return Err(super::Violation(format!("h {h} is taken: {other:?}"))),
        };
        let detached = match stream.accept_resume(request, detached, cx.now) {
            Err(ResumeError::Mismatch { request, session }) => {
                let mut other = fresh(cx);
                let refused = other.refuse_resume(request, Refusal::NotFound);
                ensure!(matches!(refused, Err(OtherStream(_))), "another stream refuses: {refused:?}");
                session
            }
            other => return Err(super::Violation(format!("another session is taken: {other:?}"))),
        };
        self.parked.insert(i, Parked { side, session, detached, deadline, connection });
        Ok(())
    }

    fn probe_parked(&mut self, cx: &Shared, i: usize) -> Checked {
        let Parked { side, session, mut detached, deadline, connection } = self.parked.remove(i);
        if deadline.is_none_or(|deadline| deadline > cx.now) {
            detached = match detached.expire(cx.now) {
                Err(detached) => detached,
                Ok(ended) => return Err(super::Violation(format!("expired before its time: {ended:?}"))),
            };
        }
        if detached.open_receipts() > 0 {
            detached = match StreamMgmt::resume(cx.setting.configs[0].clone(), detached) {
                Err(open) => open.session,
                Ok((_, nonza)) => return Err(super::Violation(format!("resumed with open receipts: {nonza}"))),
            };
            detached = match detached.into_parts() {
                Err(open) => open.session,
                Ok(parts) => return Err(super::Violation(format!("apart with open receipts: {parts:?}"))),
            };
        }
        self.parked.insert(i, Parked { side, session, detached, deadline, connection });
        Ok(())
    }

    fn probe_end(&mut self, cx: &Shared, at: usize, side: Side) -> Checked {
        let Some(end) = &mut self.connections[at].ends[side.index()] else { return Ok(()) };
        let now = cx.now;
        let stream = &mut end.stream;
        if stream.poll_timeout().is_none_or(|due| due > now) {
            let just_before = stream.poll_timeout().map_or(now, |due| due - Duration::from_nanos(1));
            for early in [now, just_before].map(|at| stream.handle_timeout(at)) {
                ensure!(early == Ok(None), "a timer that is not due gives {early:?}");
            }
        }
        let h = Counter::new(7);
        let previd = smid(u16::MAX);
        let held = matches!(end.step, Step::Held(_));
        let server = side == Side::Server;
        let refuses = |stream: &mut StreamMgmt<Msg>, nonza: Nonza, wanted: Error| {
            let wanted = if held { Error::Unanswered } else { wanted };
            let kind = nonza.kind();
            let got = stream.handle(Inbound::Nonza(nonza), now);
            ensure!(matches!(&got, Err(error) if *error == wanted), "{kind} gives {got:?}, not {wanted:?}");
            Ok(())
        };
        let unrequested = |kind| if server { Error::WrongRole(kind) } else { Error::NotRequested(kind) };
        let enabled = Nonza::Enabled(Enabled::default());
        let resumed = Nonza::Resumed(Resumed { previd: previd.clone(), h });
        if server || !matches!(end.step, Step::Enabling) {
            refuses(stream, enabled, unrequested(Kind::Enabled))?;
        }
        if let Step::Resuming(_) = end.step {
            refuses(stream, resumed, Error::OtherSession)?;
            let own = stream.smid().cloned().unwrap_or(previd.clone());
            for h in wrong(stream) {
                let got = stream.handle(Inbound::Nonza(Nonza::Resumed(Resumed { previd: own.clone(), h })), now);
                let right = matches!(got, Err(Error::WrongH { element: Kind::Resumed, .. }));
                ensure!(right, "<resumed/> with h {h} gives {got:?}");
            }
            let msg = Msg { session: None, from: side, position: 0, bytes: 1 };
            let no = stream.record_sent(msg, now);
            ensure!(no.as_ref().is_err_and(|no| no.why == WhyNot::Resuming), "sent before <resumed/>: {no:?}");
        } else {
            refuses(stream, resumed, unrequested(Kind::Resumed))?;
            if server || !matches!(end.step, Step::Enabling) {
                refuses(stream, Nonza::Failed(Failed::default()), unrequested(Kind::Failed))?;
            }
        }
        let (ask, again) = (Nonza::Enable(Enable::default()), Nonza::Resume(Resume { previd, h }));
        if !server {
            refuses(stream, ask, Error::WrongRole(Kind::Enable))?;
            refuses(stream, again, Error::WrongRole(Kind::Resume))?;
        } else if matches!(end.step, Step::Enabled) {
            refuses(stream, ask, Error::AlreadyEnabled)?;
            refuses(stream, again, Error::Unexpected(Kind::Resume))?;
        }
        if !matches!(end.step, Step::Enabled) {
            refuses(stream, Nonza::Request, Error::NotEnabled(Kind::Request))?;
            return refuses(stream, Nonza::Ack(h), Error::NotEnabled(Kind::Ack));
        }
        let (sent, acked) = (stream.sent(), stream.acked());
        let [high, low, _] = wrong(stream);
        let wrong_h = |why| Error::WrongH { element: Kind::Ack, why };
        refuses(stream, Nonza::Ack(high), wrong_h(WrongH::TooHigh { h: high, sent }))?;
        refuses(stream, Nonza::Ack(low), wrong_h(WrongH::Backwards { h: low, acked }))?;
        let missing = ParseError::Missing { element: Kind::Ack, attribute: "h" };
        let got = stream.handle(Inbound::Malformed(missing), now);
        ensure!(matches!(got, Err(Error::Malformed(error)) if error == missing), "<a/> gives {got:?}");
        probe_tokens(cx, stream)
    }
}

/// Tokens and receipts of another stream.
fn probe_tokens(cx: &Shared, stream: &mut StreamMgmt<Msg>) -> Checked {
    let mut other = fresh(cx);
    other.bound();
    let Ok(Action::Enable(request)) = other.handle(Inbound::Nonza(Nonza::Enable(Enable::default())), cx.now) else {
        return Err(super::Violation("<enable/> is not to be answered".into()));
    };
    let request = match stream.accept_enable(request, None) {
        Err(OtherStream(request)) => request,
        Ok(nonza) => return Err(super::Violation(format!("another stream's request is answered: {nonza}"))),
    };
    ensure!(other.accept_enable(request, None).is_ok(), "the stream does not know its own request");
    let Ok(Action::Deliver(receipt)) = other.handle(Inbound::Stanza, cx.now) else {
        return Err(super::Violation("a stanza is not delivered".into()));
    };
    let settled = stream.record_handled(receipt);
    ensure!(matches!(settled, Err(ReceiptError::OtherSession(_))), "another session's receipt: {settled:?}");
    let number = stream.oldest_open().map_or(stream.h(), |open| open.number.advance(u32::MAX));
    let settled = stream.give_up(number);
    ensure!(settled.is_err(), "stanza {number} is settled twice: {settled:?}");
    Ok(())
}
