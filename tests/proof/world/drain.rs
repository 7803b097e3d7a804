//! What must come of every state in the end: the connection is healed, everything arrives and is
//! acknowledged or has come back, and nothing is left anywhere.

use std::time::Instant;

use xmpp_sm::EndReason;

use super::World;
use super::event::{Act, Event, Side};
use super::ledger::{Checked, Fate, Violation, ensure};
use super::pair::{Connection, Pair, Parked, Place, Shared, Step};
use super::setting::REQUEST;

/// More rounds than any state needs.
const ROUNDS: usize = 10_000;

impl World<'_> {
    /// Brings the world to its end.
    pub fn drain(&mut self) -> Checked {
        for pair in 0..self.pairs.len() {
            self.quiesce(pair)?;
            self.finish(pair)?;
        }
        let mut rounds = 0..ROUNDS;
        while self.pairs.iter().any(|pair| pair.sessions.iter().any(|session| session.is_alive())) {
            ensure!(rounds.next().is_some(), "a session does not expire");
            for pair in 0..self.pairs.len() {
                while let Some(i) = (0..self.pairs[pair].parked.len()).find(|i| self.is_due(pair, *i)) {
                    let side = self.pairs[pair].parked[i].side;
                    self.step(pair, Act::Expire(side, i as u8))?;
                }
                self.pairs[pair].stop_endless(&mut self.cx)?;
            }
            self.step(0, Act::Tick)?;
        }
        self.pairs.iter().try_for_each(Pair::check_settled)?;
        self.check_census()
    }

    fn step(&mut self, pair: usize, act: Act) -> Checked<bool> {
        let event = Event { pair: pair as u8, act };
        let done =
            self.apply(event).map_err(|Violation(text)| Violation(format!("{text} (at the end, in {event})")))?;
        self.check().map_err(|Violation(text)| Violation(format!("{text} (at the end, after {event})")))?;
        Ok(done)
    }

    fn is_due(&self, pair: usize, i: usize) -> bool {
        self.pairs[pair].parked[i].deadline.is_some_and(|deadline| deadline <= self.cx.now)
    }

    /// Heals the connection until nothing more happens: both sides have all that the other sent.
    fn quiesce(&mut self, pair: usize) -> Checked {
        for end in self.pairs[pair].connections.iter_mut().flat_map(|connection| connection.ends.iter_mut().flatten()) {
            end.pauses = false;
        }
        self.pairs[pair].say_who_reads(&self.cx);
        for _ in 0..ROUNDS {
            if self.flow(pair)? {
                continue;
            }
            self.check().map_err(|Violation(text)| Violation(format!("{text} (at the end)")))?;
            let Some(act) = self.pairs[pair].heal(self.cx.setting.connections, self.cx.now) else {
                return self.pairs[pair].check_arrived();
            };
            ensure!(self.step(pair, act)?, "{act:?} heals nothing");
        }
        Err(Violation("the connection is never quiet".into()))
    }

    /// Settles and delivers all that there is, and tells whether there was something.
    fn flow(&mut self, pair: usize) -> Checked<bool> {
        let mut some = false;
        for side in Side::BOTH {
            while !self.pairs[pair].open[side.index()].is_empty() {
                some |= self.step(pair, Act::Handle(side, 0))?;
            }
            for at in 0..self.pairs[pair].connections.len() as u8 {
                some |= self.step(pair, Act::Retry(at))?;
                some |= self.step(pair, Act::Deliver(side, at))?;
            }
        }
        Ok(some)
    }

    /// Ends what can be ended in good order.
    fn finish(&mut self, pair: usize) -> Checked {
        self.step(pair, Act::Close(Side::Client))?;
        while self.flow(pair)? {}
        for side in Side::BOTH {
            while let Some(at) = self.pairs[pair].connections.iter().position(|c| c.is_up(side)) {
                self.step(pair, Act::Cut(side, at as u8))?;
            }
        }
        Ok(())
    }
}

impl Pair {
    /// A session that would wait without end is stopped.
    fn stop_endless(&mut self, cx: &mut Shared) -> Checked {
        while let Some(i) = self.parked.iter().position(|parked| parked.deadline.is_none()) {
            let Parked { side, session, detached, .. } = self.parked.remove(i);
            self.ended(cx, side, session, detached.end(EndReason::Stopped), EndReason::Stopped)?;
        }
        Ok(())
    }

    /// What both hosts do next to get everything across; nothing if there is nothing more to do.
    fn heal(&self, connections: usize, now: Instant) -> Option<Act> {
        let lost = |connection: &Connection| connection.end(Side::Server)?.pending_since();
        if let Some((since, at)) = self.connections.iter().zip(0..).find_map(|(c, at)| Some((lost(c)?, at))) {
            return Some(if since + REQUEST <= now { Act::Timeout(Side::Server, at) } else { Act::Tick });
        }
        let client = self.connections.iter().position(|connection| connection.is_up(Side::Client));
        let Some(at) = client else {
            // Nobody needs a new session only to see the end of the old one.
            let detached = self.parked.iter().any(|parked| parked.side == Side::Client);
            return match detached {
                true if self.connections.len() >= connections => Some(Act::Cut(Side::Server, 0)),
                true => Some(Act::Connect),
                false => None,
            };
        };
        let (Some(end), server) = (self.connections[at].end(Side::Client), self.connections[at].end(Side::Server))
        else {
            return None;
        };
        match &end.step {
            Step::Open | Step::Bound => None,
            _ if server.is_none() => Some(Act::Cut(Side::Client, at as u8)),
            // The server's answer was lost with its end, or it waits for what is settled by now.
            Step::Enabling | Step::Resuming(_) | Step::Held(..) | Step::Lost(..) => None,
            Step::Enabled => {
                let unacked = |side: &Side| {
                    let end = if *side == Side::Client { Some(end) } else { server };
                    let session = end.and_then(|end| end.session);
                    let half = session.map(|session| self.session(session).half(*side));
                    half.is_some_and(|half| half.acked < half.sent.len())
                };
                let side = Side::BOTH.into_iter().find(unacked)?;
                // It is the current session, unless the server has begun another.
                matches!(self.current(side), Some(Place::On(current)) if current == at).then_some(Act::Request(side))
            }
        }
    }

    /// Where both sides still have the session on one connection, all has arrived.
    fn check_arrived(&self) -> Checked {
        for connection in &self.connections {
            let (Some(client), Some(server)) = (connection.end(Side::Client), connection.end(Side::Server)) else {
                continue;
            };
            let (Some(session), true) = (client.session, client.session == server.session) else { continue };
            for side in Side::BOTH {
                let (from, to) = (self.session(session).half(side), self.session(session).half(side.peer()));
                let counts = (from.acked, to.settled.len(), to.h);
                let all = from.sent.len();
                ensure!(counts == (all, all, all), "of {all} stanzas (acked, received, handled) are {counts:?}");
            }
        }
        let waits = self.connections.iter().filter_map(|connection| connection.end(Side::Client));
        let waits = waits.filter(|end| matches!(end.step, Step::Enabling | Step::Resuming(_))).count();
        ensure!(waits == 0, "the client is still not answered");
        Ok(())
    }

    /// Every stanza has come out once: acknowledged or handed back.
    fn check_settled(&self) -> Checked {
        for session in &self.sessions {
            for side in Side::BOTH {
                let half = session.half(side);
                let lost = half.sent.iter().find(|sent| sent.fate == Fate::Queued);
                ensure!(lost.is_none(), "{lost:?} never came out");
            }
        }
        let left = (self.parked.len(), self.connections.len(), self.open[0].len(), self.open[1].len());
        ensure!(left == (0, 0, 0, 0), "(detached, connections, receipts) left over: {left:?}");
        Ok(())
    }
}
