//! How streams and sessions end.

use xmpp_sm::{Counter, Disconnected, EndReason, Ended, Inbound, Nonza, Reaction, Returned};

use super::event::Side;
use super::ledger::{Checked, Life, Msg, Sent, Session, Violation, ensure};
use super::link::Wire;
use super::pair::{End, Open, Pair, Parked, Shared, Shut, Spent, Step};
use super::setting::smid;

impl Pair {
    /// Obeys the answer to an error that ends the stream.
    pub fn fail(&mut self, cx: &mut Shared, at: usize, side: Side, answer: Reaction) -> Checked {
        match answer {
            Reaction::Detach => self.cut(cx, side, at),
            Reaction::Close(over) => {
                self.write(at, side, Wire::Error);
                let end = self.take_end(at, side);
                let ended = end.stream.end(over.reason);
                match end.session {
                    Some(session) => self.ended(cx, side, session, ended, over.reason),
                    None => Ok(()),
                }
            }
            other => Err(Violation(format!("{other:?} is no answer to this"))),
        }
    }

    /// The end of a connection goes down, and what was on its way to it is lost.
    pub fn take_end(&mut self, at: usize, side: Side) -> End {
        let connection = &mut self.connections[at];
        connection.to[side.index()].clear();
        connection.ends[side.index()].take().expect("an end that is up")
    }

    /// A side notices that the connection is lost.
    pub fn cut(&mut self, cx: &mut Shared, side: Side, at: usize) -> Checked {
        if self.connections[at].shut(side).is_some() {
            return self.shut(cx, side, at, EndReason::Closed);
        }
        let end = self.take_end(at, side);
        let connection = self.connections[at].id;
        let Some(session) = end.session else {
            let Disconnected::Ended(ended) = end.stream.disconnect(cx.now) else {
                return Err(Violation("a stream without a session leaves one behind".into()));
            };
            ensure!(ended.unacked.len() == 0 && ended.smid.is_none(), "a stream without a session leaves {ended:?}");
            return Ok(());
        };
        let half = self.session(session).half(side);
        let (resumable, over) = (half.is_resumable(cx.options(side)), half.is_over(cx.options(side)));
        let deadline = half.resume_timeout.map(|window| cx.now + window);
        match end.stream.disconnect(cx.now) {
            Disconnected::Resumable(detached) => {
                ensure!(resumable, "a session that is not resumable waits");
                // A session that waits for <resumed/> is as detached as it was.
                let deadline = if let Step::Resuming(deadline) = end.step { deadline } else { deadline };
                self.parked.push(Parked { side, session, detached, deadline, connection });
                Ok(())
            }
            Disconnected::Ended(ended) => {
                ensure!(!resumable, "a resumable session ends with its stream");
                let why = if over { EndReason::BufferFull } else { EndReason::NotResumable };
                self.ended(cx, side, session, ended, why)
            }
        }
    }

    /// A session is over for this side: what it held comes back, and the server's store hears of it.
    pub fn ended(&mut self, cx: &mut Shared, side: Side, session: u16, ended: Ended<Msg>, why: EndReason) -> Checked {
        let Session { smid: number, registration, retired, halves } = &mut self.sessions[usize::from(session)];
        let half = &mut halves[side.index()];
        let Ended { reason, smid: of, h, open_receipts, unacked, .. } = ended;
        let wanted = (why, half.in_counter(half.h), half.open());
        ensure!((reason, h, open_receipts) == wanted, "({reason:?}, h {h}, {open_receipts} open), not {wanted:?}");
        half.returned(unacked, None)?;
        half.life = Life::Over;
        spend_all(&mut self.open, &mut self.spent, side, session);
        let wanted = number.filter(|_| half.granted).map(smid);
        ensure!(of == wanted, "the session that has ended is {of:?}, not {wanted:?}");
        if side == Side::Client {
            return Ok(());
        }
        match (registration.take().zip(*number), why) {
            (None, _) => Ok(()),
            (Some((registration, number)), EndReason::Closed) => cx.remove(number, &registration),
            (Some((registration, number)), _) => {
                *retired = Some(cx.now);
                cx.retire(number, &registration, h, cx.now)
            }
        }
    }

    /// A side closes its stream in good order. What it has not settled it settles no more.
    pub fn close(&mut self, side: Side, at: usize) -> Checked {
        let end = self.connections[at].ends[side.index()].take().expect("an end that is up");
        let Some(session) = end.session else { return Err(Violation("a stream of no session is closed".into())) };
        let (last, closing) = end.stream.finish();
        let half = self.session(session).half(side);
        let wanted = Some(Nonza::Ack(half.in_counter(half.h)));
        ensure!(last == wanted, "the last word is {last:?}, not {wanted:?}");
        for wire in last.map(Wire::Nonza).into_iter().chain([Wire::Close]) {
            self.write(at, side, wire);
        }
        self.connections[at].closing[side.index()] = Some(Shut { closing, session });
        spend_all(&mut self.open, &mut self.spent, side, session);
        Ok(())
    }

    /// An element reaches a stream that this side has closed: what it acknowledges counts, and nothing else.
    pub fn too_late(&mut self, side: Side, at: usize, inbound: &Inbound) -> Checked {
        let Some(Shut { closing, session }) = &mut self.connections[at].closing[side.index()] else { return Ok(()) };
        let session = &mut self.sessions[usize::from(*session)];
        let half = session.half(side);
        let (before, queue) = (half.acked, half.queued_numbers());
        let (count, wanted, back) = match inbound {
            Inbound::Nonza(Nonza::Ack(h)) => {
                let mut back = Vec::new();
                let odd = h.get() % 2 == 1;
                let count = if odd { closing.handle_into(inbound, &mut back) } else { closing.handle(inbound) };
                (count, session.acked(side, *h)?, odd.then_some(back))
            }
            _ => (closing.handle(inbound), 0, None),
        };
        ensure!(count == wanted, "{inbound:?} acknowledges {count} stanzas at the end, not {wanted}");
        back.map_or(Ok(()), |back| check_back(&queue, before + wanted as usize, &back))
    }

    /// The stream is over that this side has closed.
    pub fn shut(&mut self, cx: &mut Shared, side: Side, at: usize, why: EndReason) -> Checked {
        let connection = &mut self.connections[at];
        connection.to[side.index()].clear();
        let Some(Shut { closing, session }) = connection.closing[side.index()].take() else { return Ok(()) };
        self.ended(cx, side, session, closing.end(why), why)
    }
}

/// The host has no use for the receipts of a session any more.
fn spend_all(open: &mut [Vec<Open>; 2], spent: &mut [Option<Spent>; 2], side: Side, session: u16) {
    let is_its = |open: &mut Open| open.session == session;
    if let Some(Open { receipt, .. }) = open[side.index()].extract_if(.., is_its).last() {
        spent[side.index()] = Some(Spent { session, forgotten: false, receipt });
    }
}

/// Whether those come back that are acknowledged now, of those that were queued, each under its position.
pub fn check_back(queue: &[(usize, Sent, Counter)], acked: usize, back: &[Returned<Msg>]) -> Checked {
    let wanted = queue.iter().filter(|(position, ..)| *position < acked);
    let same = wanted.clone().map(|(_, sent, number)| (sent.msg, sent.at, *number));
    let same = same.eq(back.iter().map(|back| (back.stanza, back.queued, back.number)));
    ensure!(same, "{back:?} are acknowledged, and those are {:?}", wanted.collect::<Vec<_>>());
    Ok(())
}
