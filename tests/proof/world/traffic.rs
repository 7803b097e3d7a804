//! Stanzas, receipts and timers, which are alike on both sides.

use xmpp_sm::{Condition, Nonza, NotRecordedWhy, OnFull, Reaction, Receipt, ReceiptError, Undelivered};

use super::event::Side;
use super::ledger::{Checked, Fate, Msg, Sent, Violation, ensure};
use super::link::Wire;
use super::pair::{Open, Pair, Place, Shared, Spent, Step};
use super::resume::failed;

impl Pair {
    /// The host of a side sends a stanza.
    pub fn send(&mut self, cx: &mut Shared, side: Side) -> Checked {
        let now = cx.now;
        match self.current(side) {
            Some(Place::On(at)) => {
                let session = self.end(at, side).session;
                let msg = self.next_msg(cx, side, session);
                match self.end(at, side).stream.record_sent(msg, now) {
                    Ok(sent) => {
                        let number = session.map(|session| self.session(session).half(side));
                        let number = number.map(|half| half.out_counter(half.sent.len() + 1));
                        ensure!(sent.number == number, "the stanza has the number {:?}, not {number:?}", sent.number);
                        if let Some(session) = session {
                            let evicted = self.recorded(cx, side, session, msg)?;
                            let gone = sent.evicted.map_or_else(Undelivered::default, |evicted| *evicted);
                            self.half(session, side).returned(gone, Some(evicted))?;
                        }
                        self.write(at, side, Wire::Stanza(msg));
                        let went = sent.write.is_some();
                        if let (Some(end), Some(session)) = (self.connections[at].end(side), session) {
                            end.check_request(cx.options(side), self.session(session).half(side), went)?;
                        }
                        match sent.write {
                            Some(request @ Nonza::AckRequest) => self.write_nonza(cx, at, side, request)?,
                            None => self.note(cx, at, side),
                            Some(other) => return Err(Violation(format!("{other} goes out with a stanza"))),
                        }
                        Ok(())
                    }
                    Err(no) => {
                        let full = session.is_some_and(|session| self.must_refuse(cx, side, session, msg));
                        ensure!(full, "the buffer is not full, and {msg:?} was refused");
                        // A server that was not asked because it has not answered is not to blame.
                        let waits = matches!(self.end(at, side).step, Step::Enabling);
                        let why = if waits { NotRecordedWhy::AwaitingServer } else { NotRecordedWhy::Full };
                        ensure!((no.stanza, no.why) == (msg, why), "{msg:?} was refused: {no:?}");
                        match no.reaction() {
                            Reaction::Nothing if waits => Ok(()),
                            answer => self.fail(cx, at, side, answer),
                        }
                    }
                }
            }
            Some(Place::Off(i)) => {
                let session = self.parked[i].session;
                let msg = self.next_msg(cx, side, Some(session));
                let full = self.is_full(cx, side, session, msg);
                match self.parked[i].detached.record_sent(msg, now) {
                    Ok(number) => {
                        ensure!(!full, "the buffer of a detached session takes more than it may hold");
                        let half = self.half(session, side);
                        half.sent.push(Sent { msg, at: now, fate: Fate::Queued });
                        ensure!(number == half.out_counter(half.sent.len()), "the stanza has the number {number}");
                    }
                    Err(no) => ensure!(full && no.stanza == msg, "{msg:?} was refused: {no:?}"),
                }
                Ok(())
            }
            Some(Place::Shut(_)) | None => Ok(()),
        }
    }

    fn next_msg(&self, cx: &Shared, from: Side, session: Option<u16>) -> Msg {
        let position = session.map_or(0, |session| self.session(session).half(from).sent.len() as u32);
        Msg { session, from, position, bytes: (cx.setting.size)(position) }
    }

    /// Whether a stanza more is one too many.
    fn is_full(&self, cx: &Shared, side: Side, session: u16, msg: Msg) -> bool {
        let (half, options) = (self.session(session).half(side), cx.options(side));
        half.queued().count() >= options.buffer_max as usize
            || half.queued_bytes() + msg.bytes as usize > options.buffer_max_bytes
    }

    /// Whether it is one that no policy has room for.
    fn must_refuse(&self, cx: &Shared, side: Side, session: u16, msg: Msg) -> bool {
        let half = self.session(session).half(side);
        let twice = half.queued_bytes() + msg.bytes as usize;
        let options = cx.options(side);
        self.is_full(cx, side, session, msg)
            && match options.on_full {
                OnFull::End => true,
                OnFull::EndAfter(_) => {
                    let stanzas = half.queued().count();
                    twice > 2 * options.buffer_max_bytes || stanzas >= 2 * options.buffer_max as usize
                }
                _ => false,
            }
    }

    /// Notes a stanza that was recorded on a stream, and tells how many must have made room for it.
    fn recorded(&mut self, cx: &Shared, side: Side, session: u16, msg: Msg) -> Checked<usize> {
        let options = *cx.options(side);
        // With the buffer off, what follows something that is kept is kept, too.
        let kept = options.buffer || self.session(session).half(side).queued().next().is_some();
        let full = kept && self.is_full(cx, side, session, msg);
        ensure!(!kept || !self.must_refuse(cx, side, session, msg), "{msg:?} went into a full buffer");
        let half = self.half(session, side);
        let fate = if kept { Fate::Queued } else { Fate::NotKept };
        half.sent.push(Sent { msg, at: cx.now, fate });
        if !full {
            return Ok(0);
        }
        if options.on_full == OnFull::EvictOldest {
            let (mut count, mut bytes) = (half.queued().count(), half.queued_bytes());
            let oldest = half.queued().take_while(|sent| {
                let goes = count > options.buffer_max as usize || bytes > options.buffer_max_bytes;
                (count, bytes) = (count.saturating_sub(1), bytes.saturating_sub(sent.msg.bytes as usize));
                goes
            });
            return Ok(oldest.count());
        }
        Ok(0)
    }

    /// The host of a side settles a stanza: it was handled, or is given up.
    pub fn settle(&mut self, cx: &Shared, side: Side, i: usize, without_receipt: bool) -> Checked {
        let Open { session, position, receipt, .. } = self.open[side.index()].remove(i);
        let place = self.holder(session, side)?;
        let half = self.half(session, side);
        let number = half.in_counter(position as usize + 1);
        half.settle(position as usize);
        let wanted = half.answer();
        if !without_receipt {
            let answer = self.offer(side, place, receipt).map_err(|error| Violation(error.to_string()))?;
            return self.settled(cx, side, place, answer, wanted);
        }
        let answer = match place {
            Place::On(at) => self.end(at, side).stream.settle_without_receipt(number),
            Place::Off(i) => self.parked[i].detached.settle_without_receipt(number).map(|()| None),
            Place::Shut(_) => return Err(Violation("nothing is settled at the end".into())),
        };
        self.spend(side, place, session, receipt)?;
        self.settled(cx, side, place, answer.map_err(|error| Violation(error.to_string()))?, wanted)
    }

    /// The host of a side gives up all that is open in the session of its oldest receipt.
    pub fn settle_all(&mut self, cx: &Shared, side: Side) -> Checked {
        let Some(Open { session, .. }) = self.open[side.index()].first() else { return Ok(()) };
        let session = *session;
        let place = self.holder(session, side)?;
        let half = self.half(session, side);
        (half.h..half.settled.len()).for_each(|position| half.settle(position));
        let wanted = half.answer();
        let answer = match place {
            Place::On(at) => self.end(at, side).stream.settle_all(),
            Place::Off(i) => {
                self.parked[i].detached.settle_all();
                None
            }
            Place::Shut(_) => return Err(Violation("nothing is settled at the end".into())),
        };
        let is_its = |open: &mut Open| open.session == session;
        for Open { receipt, .. } in self.open[side.index()].extract_if(.., is_its).collect::<Vec<_>>() {
            self.spend(side, place, session, receipt)?;
        }
        self.settled(cx, side, place, answer, wanted)
    }

    /// Who has a session for whose stanzas there are receipts.
    fn holder(&self, session: u16, side: Side) -> Checked<Place> {
        let nobody = || Violation(format!("nobody has session {session} of a receipt of {side:?}"));
        self.place(session, side).ok_or_else(nobody)
    }

    /// Gives a receipt to whoever is there.
    pub fn offer(&mut self, side: Side, place: Place, receipt: Receipt) -> Result<Option<Nonza>, ReceiptError> {
        match place {
            Place::On(at) => self.end(at, side).stream.record_handled(receipt),
            Place::Off(i) => self.parked[i].detached.record_handled(receipt).map(|()| None),
            // There is nobody to give it to.
            Place::Shut(_) => Err(ReceiptError::Foreign(receipt)),
        }
    }

    /// The receipt of a stanza that was given up comes back, whenever it is given.
    fn spend(&mut self, side: Side, place: Place, session: u16, receipt: Receipt) -> Checked {
        match self.offer(side, place, receipt) {
            Err(ReceiptError::SettledBefore(receipt)) => {
                self.spent[side.index()] = Some(Spent { session, forgotten: false, receipt })
            }
            late => return Err(Violation(format!("the receipt of a stanza given up: {late:?}"))),
        }
        Ok(())
    }

    /// A stream writes what an `<r/>` has waited for.
    fn settled(
        &mut self,
        cx: &Shared,
        side: Side,
        place: Place,
        answer: Option<Nonza>,
        wanted: Option<Nonza>,
    ) -> Checked {
        let Place::On(at) = place else { return Ok(()) };
        ensure!(answer == wanted, "{answer:?} is written for what was settled, not {wanted:?}");
        answer.map_or(Ok(()), |answer| self.write_nonza(cx, at, side, answer))
    }

    /// A timer of a stream fires when it is due.
    pub fn timeout(&mut self, cx: &mut Shared, side: Side, at: usize) -> Checked {
        let now = cx.now;
        if self.end(at, side).pending_since().is_some() {
            return self.too_slow(cx, at);
        }
        let done = self.end(at, side).stream.handle_timeout(now);
        let Some(session) = self.end(at, side).session else { return Err(Violation("a timer for no session".into())) };
        let (half, end) = (self.session(session).half(side), self.connections[at].end(side));
        end.map_or(Ok(()), |end| end.check_fired(cx.options(side), half, now, &done))?;
        match done {
            Ok(request) => {
                request.map_or(Ok(()), |request| self.write_nonza(cx, at, side, request))?;
                let next = self.end(at, side).stream.poll_timeout();
                ensure!(next.is_none_or(|next| next > now), "the timer that has fired is still due");
                Ok(())
            }
            Err(error) => {
                let again = self.end(at, side).stream.handle_timeout(now);
                ensure!(again == done, "a timer says {again:?} after {done:?}");
                self.fail(cx, at, side, error.reaction())
            }
        }
    }

    /// The server's host has not answered a request in time, and the stream has.
    fn too_slow(&mut self, cx: &Shared, at: usize) -> Checked {
        let end = self.end(at, Side::Server);
        let (done, wanted) = (end.stream.handle_timeout(cx.now), failed(None, Condition::InternalServerError));
        ensure!(done == Ok(Some(wanted.clone())), "a request that is not answered gives {done:?}");
        if let Step::Held(request, _) = std::mem::replace(&mut end.step, Step::Open) {
            end.stale = Some(end.probe_stale(request)?);
        }
        self.write_nonza(cx, at, Side::Server, wanted)
    }
}
