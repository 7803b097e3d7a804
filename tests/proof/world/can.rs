//! What can happen next.

use xmpp_sm::Nonza;

use super::event::{Act, Side};
use super::link::Wire;
use super::pair::{End, Pair, Place, Shared, Step};

impl Pair {
    /// The events of this pair that can happen now.
    pub fn enabled(&self, cx: &Shared, mut event: impl FnMut(Act)) {
        let mut offer = |act| {
            if self.can(cx, act) {
                event(act);
            }
        };
        offer(Act::Connect);
        offer(Act::Enable);
        offer(Act::Late);
        for side in Side::BOTH {
            for act in [
                Act::Send(side),
                Act::Request(side),
                Act::Ack(side),
                Act::Close(side),
                Act::GiveUpAll(side),
                Act::Listen(side),
            ] {
                offer(act);
            }
            for at in (0..self.connections.len()).map(|at| at as u8) {
                for act in [Act::Deliver(side, at), Act::Cut(side, at), Act::Timeout(side, at)] {
                    offer(act);
                }
            }
            for i in (0..self.open[side.index()].len()).map(|i| i as u8) {
                offer(Act::Handle(side, i));
                offer(Act::GiveUp(side, i));
            }
            for i in (0..self.parked.len()).map(|i| i as u8) {
                offer(Act::Expire(side, i));
            }
        }
        for at in (0..self.connections.len()).map(|at| at as u8) {
            offer(Act::Retry(at));
            offer(Act::Lose(at));
        }
    }

    /// Whether this can happen now.
    pub fn can(&self, cx: &Shared, act: Act) -> bool {
        let end = |side, at| self.connections.get(usize::from(at)).and_then(|connection| connection.end(side));
        let room =
            |at: usize, side: Side| self.connections[at].to[side.peer().index()].ready().len() < cx.setting.in_flight;
        let speaks = |side| match self.current(side) {
            Some(Place::On(at)) => {
                let end = self.connections[at].end(side);
                end.is_some_and(End::is_enabled) && room(at, side)
            }
            _ => false,
        };
        match act {
            Act::Connect => {
                let detached = self.parked.iter().find(|parked| parked.side == Side::Client);
                self.connections.len() < cx.setting.connections
                    && self.connections.iter().all(|connection| !connection.is_up(Side::Client))
                    && detached.is_none_or(|parked| self.session(parked.session).half(Side::Client).open() == 0)
            }
            Act::Enable => match self.current(Side::Client) {
                Some(Place::On(at)) => end(Side::Client, at as u8).is_some_and(|end| matches!(end.step, Step::Open)),
                _ => false,
            },
            Act::Send(side) => match self.current(side) {
                Some(Place::On(at)) => {
                    let bound = |end: &End| !matches!(end.step, Step::Resuming(_)) && end.pending_since().is_none();
                    end(side, at as u8).is_some_and(bound) && room(at, side)
                }
                Some(Place::Off(i)) => {
                    self.session(self.parked[i].session).half(side).queued().count() < cx.setting.in_flight
                }
                Some(Place::Shut(_)) | None => false,
            },
            Act::Deliver(side, at) | Act::Read(side, at, _) => {
                let shut = || self.connections.get(usize::from(at)).is_some_and(|at| at.shut(side).is_some());
                let takes = end(side, at).map_or_else(shut, End::reads);
                takes && !self.connections[usize::from(at)].to[side.index()].is_empty()
            }
            Act::Handle(side, i) | Act::GiveUp(side, i) => usize::from(i) < self.open[side.index()].len(),
            Act::GiveUpAll(side) => !self.open[side.index()].is_empty(),
            Act::Cut(side, at) => self.connections.get(usize::from(at)).is_some_and(|at| at.is_up(side)),
            Act::Listen(side) => cx.setting.pauses && speaks(side),
            Act::Lose(at) => {
                let next = || self.connections[usize::from(at)].to[Side::Server.index()].ready().front();
                let takes = cx.setting.drops && end(Side::Server, at).is_some_and(End::reads);
                takes && matches!(next(), Some(Wire::Nonza(Nonza::Enable(_) | Nonza::Resume(_))))
            }
            Act::Retry(at) => end(Side::Server, at).is_some_and(|end| matches!(end.step, Step::Held(..))),
            Act::Request(side) | Act::Ack(side) | Act::Close(side) => speaks(side),
            Act::Timeout(side, at) => {
                end(side, at).and_then(|end| end.stream.poll_timeout()).is_some_and(|time| time <= cx.now)
            }
            Act::Expire(side, i) => {
                let parked = self.parked.get(usize::from(i)).filter(|parked| parked.side == side);
                parked.and_then(|parked| parked.deadline).is_some_and(|deadline| deadline <= cx.now)
            }
            Act::Late => !self.late.is_empty(),
            Act::Tick | Act::Probe => true,
        }
    }
}
