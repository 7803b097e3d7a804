//! How streams and sessions end.

use xmpp_sm::{Answer, Disconnected, Ended, Ending, Nonza};

use super::event::Side;
use super::ledger::{Checked, Life, Msg, Session, Violation, ensure};
use super::link::Wire;
use super::pair::{End, Open, Pair, Parked, Shared, Spent, Step};
use super::setting::smid;

impl Pair {
    /// Obeys the answer to an error that ends the stream.
    pub fn fail(&mut self, cx: &mut Shared, at: usize, side: Side, answer: Answer) -> Checked {
        match answer {
            Answer::Detach => self.cut(cx, side, at),
            Answer::End(over) => {
                self.write(at, side, Wire::Error);
                let end = self.take_end(at, side);
                let ended = end.stream.end(over.ending);
                match end.session {
                    Some(session) => self.ended(cx, side, session, ended, over.ending),
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
        let resumable = half.resumable;
        let deadline = half.window.map(|window| cx.now + window);
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
                let ending = if end.closing { Ending::Closed } else { Ending::NotResumable };
                self.ended(cx, side, session, ended, ending)
            }
        }
    }

    /// A session is over for this side: what it held comes back, and the server's store hears of it.
    pub fn ended(&mut self, cx: &mut Shared, side: Side, session: u16, ended: Ended<Msg>, why: Ending) -> Checked {
        let Session { smid: number, epoch, retired, halves } = &mut self.sessions[usize::from(session)];
        let half = &mut halves[side.index()];
        let Ended { ending, smid: of, h, open_receipts, unacked } = ended;
        let wanted = (why, half.in_counter(half.h), half.open());
        ensure!((ending, h, open_receipts) == wanted, "({ending:?}, h {h}, {open_receipts} open), not {wanted:?}");
        half.returned(unacked, None)?;
        half.life = Life::Over;
        let is_its = |open: &mut Open| open.session == session;
        if let Some(Open { receipt, .. }) = self.open[side.index()].extract_if(.., is_its).last() {
            self.spent[side.index()] = Some(Spent { session, forgotten: false, receipt });
        }
        if side == Side::Client {
            return Ok(());
        }
        ensure!(of == number.map(smid), "the session that has ended is {of:?}");
        match (epoch.take().zip(*number), why) {
            (None, _) | (_, Ending::Replaced) => Ok(()),
            (Some((epoch, number)), Ending::Closed) => cx.remove(number, epoch),
            (Some((epoch, number)), _) => {
                *retired = Some(cx.now);
                cx.retire(number, epoch, h, cx.now)
            }
        }
    }

    /// A side closes its stream in good order.
    pub fn close(&mut self, cx: &Shared, side: Side, at: usize) -> Checked {
        let end = self.end(at, side);
        let session = end.session;
        let last = end.stream.finish();
        ensure!(matches!(last, Some(Nonza::Ack(_))), "the last word is {last:?}");
        if let Some(session) = session {
            self.half(session, side).resumable = false;
        }
        last.map_or(Ok(()), |last| self.write_nonza(cx, at, side, last))?;
        self.write(at, side, Wire::Close);
        self.end(at, side).closing = true;
        if let Some(session) = session {
            self.half(session, side).owed = None;
        }
        Ok(())
    }
}
