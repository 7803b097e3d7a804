//! What the hosts do about elements that arrive.

use xmpp_sm::{
    Acked, Action, Condition, EnableRequest, Enabled, EndReason, Ended, Error, Failed, Inbound, Nonza, Reaction,
    Receipt, Returned,
};

use super::event::Side;
use super::ledger::{Checked, Life, Msg, Violation, ensure};
use super::life::check_back;
use super::link::Wire;
use super::pair::{Open, Pair, Shared, Step};
use super::requests::Asking;
use super::resume::failed;
use super::setting::smid;

impl Pair {
    /// Takes the elements that have arrived at this end, `most` at most, while its host reads.
    pub fn take(&mut self, cx: &mut Shared, side: Side, at: usize, most: usize) -> Checked {
        for _ in 0..most {
            let connection = &mut self.connections[at];
            if !connection.end(side).map_or(connection.shut(side).is_some(), |end| end.reads()) {
                break;
            }
            let Some(wire) = connection.to[side.index()].next() else { break };
            self.arrived(cx, side, at, wire)?;
            self.say_who_reads(cx);
        }
        Ok(())
    }

    /// The server gets a request, and its host loses it.
    pub fn lose(&mut self, cx: &Shared, at: usize) -> Checked {
        let Some(Wire::Nonza(nonza)) = self.connections[at].to[Side::Server.index()].next() else {
            return Err(Violation("there is no request to lose".into()));
        };
        let (kind, end) = (nonza.kind(), self.end(at, Side::Server));
        let action = end.stream.handle(nonza.into(), cx.now);
        ensure!(matches!(action, Ok(Action::Enable(_) | Action::Resume(_))), "a request gives {action:?}");
        end.step = Step::Lost(kind, cx.now);
        Ok(())
    }

    fn arrived(&mut self, cx: &mut Shared, side: Side, at: usize, wire: Wire) -> Checked {
        let (inbound, msg) = match &wire {
            Wire::Error | Wire::Close if self.connections[at].shut(side).is_some() => {
                return self.shut(cx, side, at, EndReason::Closed);
            }
            Wire::Error => return self.cut(cx, side, at),
            Wire::Close => return self.closed(cx, side, at),
            Wire::Stanza(msg) => (Inbound::Stanza { bytes: msg.bytes as usize }, Some(*msg)),
            Wire::Nonza(nonza) => (Inbound::Nonza(nonza.clone()), None),
        };
        if self.connections[at].shut(side).is_some() {
            return self.too_late(side, at, &inbound);
        }
        let session = self.end(at, side).session;
        let half = session.map(|session| self.session(session).half(side));
        let (before, queue) = half.map_or((0, Vec::new()), |half| (half.acked, half.queued_numbers()));
        let stream = &mut self.end(at, side).stream;
        // One host wants to have back what is acknowledged, and the other does not.
        let mut back: Option<Vec<Returned<Msg>>> = match &inbound {
            Inbound::Nonza(Nonza::Ack(h)) if h.get() % 2 == 1 => Some(Vec::new()),
            Inbound::Nonza(Nonza::Resumed(resumed)) if resumed.h.get() % 2 == 1 => Some(Vec::new()),
            _ => None,
        };
        let action = match &mut back {
            Some(back) => stream.handle_into(inbound, cx.now, back),
            None => stream.handle(inbound, cx.now),
        };
        match (action, msg) {
            (Ok(Action::Deliver(receipt)), Some(msg)) => self.delivered(cx, side, at, msg, receipt)?,
            (Ok(Action::Write(nonza)), _) => self.requested(cx, side, at, nonza)?,
            (Ok(Action::Acknowledged(acked)), _) => self.acknowledged(cx, side, at, &wire, acked)?,
            (Ok(Action::Enable(request)), _) => self.enable_requested(cx, at, request)?,
            (Ok(Action::Resume(request)), _) => self.resume_requested(cx, at, request, cx.now)?,
            (Ok(Action::Enabled(enabled)), _) => self.client_enabled(cx, at, &enabled)?,
            (Ok(Action::Resumed(after)), _) => self.client_resumed(cx, at, &wire, after)?,
            (Ok(Action::Failed(failed, ended)), _) => self.failed(cx, at, failed, *ended)?,
            (Err(error @ Error::Unsupported(_)), _) if cx.setting.disabled && side == Side::Server => {
                let Reaction::Write(failed) = error.reaction() else {
                    return Err(Violation(format!("{error} is answered with {:?}", error.reaction())));
                };
                self.write_nonza(cx, at, side, failed)?;
            }
            (action, _) => return Err(Violation(format!("{wire:?} gives {side:?} {action:?}"))),
        }
        match (back, session) {
            (Some(back), Some(session)) => {
                let acked = self.session(session).half(side).acked;
                check_back(&queue, acked.max(before), &back)
            }
            _ => Ok(()),
        }
    }

    fn delivered(&mut self, cx: &Shared, side: Side, at: usize, msg: Msg, receipt: Receipt) -> Checked {
        let end = self.end(at, side);
        let counted = end.session.filter(|_| end.is_enabled());
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
        half.received.push(msg.bytes);
        self.open[side.index()].push(Open { session, position: position as u32, since: cx.now, receipt });
        Ok(())
    }

    /// The peer has sent `<r/>`.
    fn requested(&mut self, cx: &Shared, side: Side, at: usize, answer: Nonza) -> Checked {
        ensure!(matches!(answer, Nonza::Ack(_)), "<r/> is answered with {answer}");
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
        let Self { sessions, connections, .. } = self;
        if let Some(end) = &mut connections[at].ends[side.index()] {
            end.answered(cx.options(side), sessions[usize::from(session)].half(side), cx.now);
        }
        Ok(())
    }

    fn enable_requested(&mut self, cx: &mut Shared, at: usize, request: EnableRequest) -> Checked {
        let connection = &self.connections[at];
        let (id, session) = (connection.id, connection.enabling);
        let Some(session) = session else { return Err(Violation("an <enable/> that nobody sent".into())) };
        let granted = cx.resume_timeout();
        self.end(at, Side::Server).probe_pending(cx)?;
        ensure!(request.resume_timeout() == granted, "it waits for {:?}, not {granted:?}", request.resume_timeout());
        let mut number = None;
        if request.is_resumable() {
            let new = cx.next_smid();
            let registration = cx.register(new, self.owner, (self.number, id))?;
            number = registration.as_ref().map(|_| new);
            self.sessions[usize::from(session)].registration = registration;
            if number.is_none() && cx.setting.strict {
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
        half.granted = number.is_some();
        half.resume_timeout = granted.filter(|_| number.is_some());
        let Nonza::Enabled(mut enabled) = enabled else { return Err(Violation(format!("accepted with {enabled}"))) };
        let told = half.resume_timeout.map(|granted| granted.as_secs().min(u32::MAX.into()));
        let says = enabled.max.map(|max| u64::from(max.get()));
        ensure!((says, enabled.resume) == (told, told.is_some()), "{enabled:?} is said, and {told:?} seconds granted");
        enabled.max = enabled.max.filter(|_| cx.setting.says_max[1]);
        self.write_nonza(cx, at, Side::Server, Nonza::Enabled(enabled))
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
        let granted = session.half(Side::Server).resume_timeout;
        ensure!(enabled.resume == granted.is_some(), "{enabled:?} is said of {granted:?}");
        let half = session.half_mut(Side::Client);
        half.granted = may && enabled.resume;
        half.resume_timeout = granted.filter(|_| half.granted).and_then(|granted| cx.told_timeout(granted));
        end.asking = Asking::default();
        self.note(cx, at, Side::Client);
        Ok(())
    }

    fn failed(&mut self, cx: &mut Shared, at: usize, failed: Failed, ended: Ended<Msg>) -> Checked {
        let end = self.end(at, Side::Client);
        let ending =
            if matches!(end.step, Step::Enabling) { EndReason::EnableRefused } else { EndReason::ResumeRefused };
        end.step = if ending == EndReason::EnableRefused { Step::Bound } else { Step::Open };
        end.asking = Asking::default();
        let Some(session) = end.session.take() else { return Err(Violation(format!("{failed:?} of no session"))) };
        if let Some(h) = failed.h.filter(|_| ending == EndReason::ResumeRefused) {
            self.sessions[usize::from(session)].acked(Side::Client, h)?;
        }
        self.ended(cx, Side::Client, session, ended, ending)
    }

    /// The peer has closed its stream, and says no more.
    fn closed(&mut self, cx: &mut Shared, side: Side, at: usize) -> Checked {
        if !self.end(at, side).is_enabled() {
            return self.cut(cx, side, at);
        }
        self.close(side, at)?;
        self.shut(cx, side, at, EndReason::Closed)
    }
}
