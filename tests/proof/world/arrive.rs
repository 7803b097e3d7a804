//! What the hosts do about elements that arrive.

use std::time::Duration;

use xmpp_sm::{
    Acked, Action, Answer, Condition, Disconnected, EnableRequest, Enabled, Ended, Ending, Error, Failed, Inbound,
    Nonza, Receipt, ResumeRequest,
};

use super::event::Side;
use super::ledger::{Checked, Life, Msg, Violation, ensure};
use super::link::Wire;
use super::pair::{Open, Pair, Shared, Step};
use super::resume::failed;
use super::setting::smid;

/// An [`Action`] that borrows nothing.
enum Todo {
    Deliver(Receipt),
    Send(Nonza),
    Acked(Acked),
    Enable(EnableRequest),
    Resume(ResumeRequest),
    Enabled(Enabled),
    Resumed(Vec<Msg>, Option<Nonza>),
    Failed(Failed, Ended<Msg>),
}

impl Pair {
    /// Takes the elements that have arrived at this end, `most` at most.
    pub fn take(&mut self, cx: &mut Shared, side: Side, at: usize, most: usize) -> Checked {
        for _ in 0..most {
            let connection = &mut self.connections[at];
            match connection.end(side) {
                None => break,
                Some(end) if matches!(end.step, Step::Held(..)) => break,
                Some(_) => {}
            }
            let Some(wire) = connection.to[side.index()].next() else { break };
            if let Some(wire) = self.arrived(cx, side, at, wire)? {
                self.connections[at].to[side.index()].put_back(wire);
                break;
            }
        }
        Ok(())
    }

    /// Gives the element back if it cannot be taken yet.
    fn arrived(&mut self, cx: &mut Shared, side: Side, at: usize, wire: Wire) -> Checked<Option<Wire>> {
        let (inbound, msg) = match &wire {
            Wire::Error => return self.cut(cx, side, at).map(|()| None),
            Wire::Close => return self.closed(cx, side, at).map(|()| None),
            Wire::Stanza(msg) => (Inbound::Stanza, Some(*msg)),
            Wire::Nonza(nonza) => (Inbound::Nonza(nonza.clone()), None),
        };
        let closing = self.end(at, side).closing;
        let todo = match self.end(at, side).stream.handle(inbound, cx.now) {
            Ok(Action::Deliver(receipt)) => Todo::Deliver(receipt),
            Ok(Action::Send(nonza)) => Todo::Send(nonza),
            Ok(Action::Acked(acked)) => Todo::Acked(acked),
            Ok(Action::Enable(request)) => Todo::Enable(request),
            Ok(Action::Resume(request)) => Todo::Resume(request),
            Ok(Action::Enabled(enabled)) => Todo::Enabled(enabled),
            Ok(Action::Resumed(resend)) => Todo::Resumed(
                resend.unacked.map(|queued| *queued.stanza).collect(),
                resend.request.then_some(Nonza::Request),
            ),
            Ok(Action::Failed(failed, ended)) => Todo::Failed(failed, ended),
            // Nothing is written behind the end of the stream.
            Ok(Action::Other) if closing && wire == Wire::Nonza(Nonza::Request) => return Ok(None),
            Ok(Action::Other) => return Err(Violation(format!("{wire:?} is taken for something else"))),
            Err(Error::ReceiptsFull) => {
                let session = self.end(at, side).session;
                let half = session.map(|session| self.half(session, side));
                let open = half.map_or(0, |half| half.settled.len() - half.h);
                ensure!(open >= cx.options(side).receipts_max as usize, "{open} open receipts are too many");
                self.end(at, side).was_blocked = true;
                return Ok(Some(wire));
            }
            Err(error @ Error::Unsupported(_)) if cx.setting.disabled && side == Side::Server => {
                let Answer::Reply(failed) = error.answer() else {
                    return Err(Violation(format!("{error} is answered with {:?}", error.answer())));
                };
                return self.write_nonza(cx, at, side, failed).map(|()| None);
            }
            Err(error) => return Err(Violation(format!("{side:?} refuses {wire:?}: {error}"))),
        };
        match (todo, msg) {
            (Todo::Deliver(receipt), Some(msg)) => self.delivered(cx, side, at, msg, receipt),
            (Todo::Send(nonza), _) => self.requested(cx, side, at, nonza),
            (Todo::Acked(acked), _) => self.acknowledged(cx, side, at, &wire, acked),
            (Todo::Enable(request), _) => self.enable_requested(cx, at, request),
            (Todo::Resume(request), _) => self.resume_requested(cx, at, request, cx.now),
            (Todo::Enabled(enabled), _) => self.client_enabled(cx, at, &enabled),
            (Todo::Resumed(resend, request), _) => self.client_resumed(cx, at, &wire, &resend, request),
            (Todo::Failed(failed, ended), _) => self.failed(cx, at, failed, ended),
            (Todo::Deliver(_), None) => Err(Violation(format!("{wire:?} is delivered as a stanza"))),
        }
        .map(|()| None)
    }

    fn delivered(&mut self, cx: &Shared, side: Side, at: usize, msg: Msg, receipt: Receipt) -> Checked {
        let end = self.end(at, side);
        let counted = end.session.filter(|_| matches!(end.step, Step::Enabled));
        let Some(session) = counted else {
            ensure!(receipt.number().is_none(), "a stanza is counted where stream management is off");
            return Ok(());
        };
        let half = self.half(session, side);
        let position = half.settled.len();
        let wanted = (Some(session), side.peer(), position as u32);
        ensure!(
            (msg.session, msg.from, msg.position) == wanted,
            "{msg:?} is delivered to {side:?} where {wanted:?} was the next: a duplicate or a gap"
        );
        ensure!(half.takes_more(cx.options(side)), "{} open receipts, and one more", half.pending());
        let number = half.in_counter(position + 1);
        ensure!(receipt.number() == Some(number), "the receipt has {:?}, not {number}", receipt.number());
        half.settled.push(false);
        // That one alone is as many as may be is noticed when the next comes.
        let (blocked, alone) = (!half.takes_more(cx.options(side)), half.pending() == 1);
        self.end(at, side).was_blocked |= blocked && !alone;
        self.open[side.index()].push(Open { session, position: position as u32, since: cx.now, receipt });
        Ok(())
    }

    /// The peer has sent `<r/>`.
    fn requested(&mut self, cx: &Shared, side: Side, at: usize, answer: Nonza) -> Checked {
        ensure!(matches!(answer, Nonza::Ack(_)), "<r/> is answered with {answer}");
        ensure!(!self.end(at, side).closing, "<r/> is answered behind the end of the stream");
        if let Some(session) = self.end(at, side).session {
            let half = self.half(session, side);
            half.owed = (half.h < half.settled.len()).then_some(half.settled.len());
        }
        self.write_nonza(cx, at, side, answer)
    }

    fn acknowledged(&mut self, cx: &Shared, side: Side, at: usize, wire: &Wire, acked: Acked) -> Checked {
        let Some(session) = self.end(at, side).session else {
            return Err(Violation(format!("{wire:?} acknowledges something of no session")));
        };
        ensure!(*wire == Wire::Nonza(Nonza::Ack(acked.h)), "{wire:?} is reported as {acked:?}");
        let added = self.sessions[usize::from(session)].acked(side, acked.h)?;
        ensure!(acked.count == added, "{added} stanzas more are acknowledged, not {}", acked.count);
        let over = self.is_over(cx, side, session);
        let Self { sessions, connections, .. } = self;
        let Some(end) = &mut connections[at].ends[side.index()] else { return Ok(()) };
        let half = sessions[usize::from(session)].half(side);
        end.was_blocked &= !half.takes_more(cx.options(side));
        end.asked = None;
        end.over = end.over.filter(|_| over);
        end.again = end.asks_again(cx, side, half);
        Ok(())
    }

    fn enable_requested(&mut self, cx: &mut Shared, at: usize, request: EnableRequest) -> Checked {
        let connection = &self.connections[at];
        let (id, session) = (connection.id, connection.enabling);
        let Some(session) = session else { return Err(Violation("an <enable/> that nobody sent".into())) };
        let window = cx.window();
        self.end(at, Side::Server).probe_pending(cx)?;
        ensure!(request.window() == window, "the session waits for {:?}, not {window:?}", request.window());
        let mut number = None;
        if request.is_resumable() {
            let new = cx.next_smid();
            let epoch = cx.register(new, self.owner, (self.number, id))?;
            number = epoch.map(|_| new);
            self.sessions[usize::from(session)].epoch = epoch;
            if epoch.is_none() && cx.setting.strict {
                return self.refuse_enable(cx, at, request);
            }
        }
        let end = self.end(at, Side::Server);
        let enabled = end.stream.accept_enable(request, number.map(smid));
        let enabled = enabled.map_err(|error| Violation(error.to_string()))?;
        end.session = Some(session);
        end.step = Step::Enabled;
        self.sessions[usize::from(session)].smid = number;
        let half = self.half(session, Side::Server);
        half.life = Life::Alive;
        half.resumable = number.is_some();
        half.window = window.filter(|_| number.is_some());
        self.write_nonza(cx, at, Side::Server, enabled)
    }

    fn refuse_enable(&mut self, cx: &Shared, at: usize, request: EnableRequest) -> Checked {
        let why = Condition::ResourceConstraint;
        let refused = self.end(at, Side::Server).stream.refuse_enable(request, why);
        let failed = failed(None, why);
        ensure!(refused.as_ref() == Ok(&failed), "refused with {refused:?}, not {failed}");
        self.write_nonza(cx, at, Side::Server, failed)
    }

    fn client_enabled(&mut self, cx: &Shared, at: usize, enabled: &Enabled) -> Checked {
        let Self { sessions, connections, .. } = self;
        let Some(end) = &mut connections[at].ends[Side::Client.index()] else { return Ok(()) };
        ensure!(matches!(end.step, Step::Enabling), "<enabled/> comes unasked");
        end.step = Step::Enabled;
        let Some(session) = end.session else { return Err(Violation("<enabled/> for no session".into())) };
        let may = cx.options(Side::Client).can_resume();
        let session = &mut sessions[usize::from(session)];
        ensure!(enabled.id == session.smid.map(smid), "<enabled/> has {:?} for {:?}", enabled.id, session.smid);
        let window = enabled.max.map(|max| Duration::from_secs(max.get().into()));
        let granted = session.half(Side::Server).window;
        ensure!(window == granted && enabled.resume == granted.is_some(), "{enabled:?} is said of {granted:?}");
        let half = session.half_mut(Side::Client);
        half.resumable = may && enabled.resume && !half.torn;
        half.window = window;
        // A full buffer has its time from when the peer is asked, or from now on if it never is.
        let was_over = end.over.take().is_some();
        if !half.sent.is_empty() && end.must_ask(cx, Side::Client, half, true) {
            end.again = Some(cx.now);
        } else {
            end.over = was_over.then_some(cx.now);
        }
        Ok(())
    }

    fn failed(&mut self, cx: &mut Shared, at: usize, failed: Failed, ended: Ended<Msg>) -> Checked {
        let end = self.end(at, Side::Client);
        let ending = if matches!(end.step, Step::Enabling) { Ending::EnableRefused } else { Ending::ResumeRefused };
        end.step = if ending == Ending::EnableRefused { Step::Bound } else { Step::Open };
        (end.asked, end.asked_at, end.again, end.over, end.was_blocked) = (None, 0, None, None, false);
        let Some(session) = end.session.take() else { return Err(Violation(format!("{failed:?} of no session"))) };
        if let Some(h) = failed.h.filter(|_| ending == Ending::ResumeRefused) {
            self.sessions[usize::from(session)].acked(Side::Client, h)?;
        }
        self.ended(cx, Side::Client, session, ended, ending)
    }

    /// The peer has closed its stream.
    fn closed(&mut self, cx: &mut Shared, side: Side, at: usize) -> Checked {
        let end = self.end(at, side);
        if !end.closing {
            if !matches!(end.step, Step::Enabled) {
                return self.cut(cx, side, at);
            }
            self.close(cx, side, at)?;
        }
        let end = self.take_end(at, side);
        match (end.stream.disconnect(cx.now), end.session) {
            (Disconnected::Ended(ended), Some(session)) => self.ended(cx, side, session, ended, Ending::Closed),
            (other, session) => Err(Violation(format!("session {session:?} was closed and is {other:?}"))),
        }
    }
}
