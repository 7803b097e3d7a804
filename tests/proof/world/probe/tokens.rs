//! Requests of other streams and receipts of other sessions: whoever is shown one gives it back, and is as before.

use xmpp_sm::{
    Action, Condition, Enable, EnableRequest, Foreign, Inbound, Nonza, NotOpen, NotResumed, NotResumedWhy, Receipt,
    ReceiptError, Refusal, Resume, StreamMgmt,
};

use super::fresh;
use crate::world::event::Side;
use crate::world::ledger::{Checked, Msg, Violation, ensure};
use crate::world::pair::{Pair, Place, Shared, Spent};
use crate::world::setting::smid;

impl Pair {
    /// Shows a stream the requests of another.
    pub fn probe_requests(&mut self, cx: &Shared, at: usize, side: Side) -> Checked {
        let (mut other, request) = enabling(cx)?;
        let stream = &mut self.end(at, side).stream;
        let request = back(stream.accept_enable(request, Some(smid(u16::MAX))))?;
        let request = back(stream.refuse_enable(request, Condition::Conflict))?;
        ensure!(other.accept_enable(request, None).is_ok(), "a stream does not know its own request");

        // A server whose sessions cannot be resumed has no such requests.
        if !cx.options(Side::Server).can_resume() {
            return Ok(());
        }
        // The session that is asked for is there, and nothing is wrong with it but the stream.
        let parked = self.parked.pop();
        let wanted = parked.as_ref().map(|parked| (parked.detached.smid().clone(), parked.detached.acked()));
        let (previd, h) = wanted.unwrap_or((smid(u16::MAX), 0.into()));
        let mut other = fresh(cx);
        let request = match other.handle(Inbound::Nonza(Nonza::Resume(Resume { previd, h })), cx.now) {
            Ok(Action::Resume(request)) => request,
            action => return Err(Violation(format!("<resume/> gives {action:?}"))),
        };
        let stream = &mut self.end(at, side).stream;
        let mut request = back(stream.refuse_resume(request, Refusal::NotFound))?;
        if let Some(mut parked) = parked {
            (request, parked.detached) = match stream.accept_resume(request, parked.detached, cx.now) {
                Err(NotResumed { session, why: NotResumedWhy::Foreign(request) }) => (request, session),
                other => return Err(Violation(format!("another stream's request is answered: {other:?}"))),
            };
            self.parked.push(parked);
        }
        ensure!(other.refuse_resume(request, Refusal::NotFound).is_ok(), "a stream does not know its own request");
        Ok(())
    }

    /// Shows a session receipts that settle nothing there: another's, and those that its own host was too late with.
    pub fn probe_receipts(&mut self, cx: &Shared, side: Side, place: Place) -> Checked {
        let receipt = foreign(cx)?;
        let got = self.offer(side, place, receipt);
        ensure!(matches!(got, Err(ReceiptError::Foreign(_))), "another's receipt: {got:?}");
        if let Some(Spent { session, forgotten, receipt }) = self.spent[side.index()].take() {
            let is_own = !forgotten && self.place(session, side) == Some(place);
            let receipt = match self.offer(side, place, receipt) {
                Err(ReceiptError::SettledBefore(receipt)) if is_own => receipt,
                Err(ReceiptError::Foreign(receipt)) if !is_own => receipt,
                other => return Err(Violation(format!("a receipt of session {session}, at {place:?}: {other:?}"))),
            };
            self.spent[side.index()] = Some(Spent { session, forgotten, receipt });
        }
        let (handled, session) = match place {
            Place::On(at) => (self.end(at, side).stream.h(), self.end(at, side).session),
            Place::Off(i) => (self.parked[i].detached.h(), Some(self.parked[i].session)),
            Place::Shut(_) => return Ok(()),
        };
        let pending = session.map_or(0, |session| self.half(session, side).pending());
        // The last that is handled, and the next that may come.
        for number in [handled, handled.advance(pending as u32 + 1)] {
            let got = match place {
                Place::On(at) => self.end(at, side).stream.settle_without_receipt(number).map(drop),
                Place::Off(i) => self.parked[i].detached.settle_without_receipt(number),
                Place::Shut(_) => return Ok(()),
            };
            ensure!(got == Err(NotOpen(number)), "stanza {number} is not open, and is settled: {got:?}");
        }
        Ok(())
    }
}

fn back<T>(answer: Result<Nonza, Foreign<T>>) -> Checked<T> {
    match answer {
        Err(Foreign(request)) => Ok(request),
        Ok(nonza) => Err(Violation(format!("another stream's request is answered: {nonza}"))),
    }
}

/// A server's stream, and the `<enable/>` that it has got.
fn enabling(cx: &Shared) -> Checked<(StreamMgmt<Msg>, EnableRequest)> {
    let mut stream = fresh(cx);
    stream.bound();
    let request = match stream.handle(Inbound::Nonza(Nonza::Enable(Enable::default())), cx.now) {
        Ok(Action::Enable(request)) => request,
        action => return Err(Violation(format!("<enable/> gives {action:?}"))),
    };
    Ok((stream, request))
}

/// The receipt of a session that nobody else has to do with.
fn foreign(cx: &Shared) -> Checked<Receipt> {
    let (mut stream, request) = enabling(cx)?;
    ensure!(stream.accept_enable(request, None).is_ok(), "a stream does not know its own request");
    match stream.handle(Inbound::Stanza { bytes: 1 }, cx.now) {
        Ok(Action::Deliver(receipt)) => Ok(receipt),
        action => Err(Violation(format!("a stanza gives {action:?}"))),
    }
}
