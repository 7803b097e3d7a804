//! Two real `StreamMgmt` peers, or several pairs of them, around a real `MemoryStore`: the hosts' part, done
//! as the documentation says, with a ledger beside it that knows what must come of every step.

mod arrive;
mod bytes;
mod can;
mod check;
mod debug;
mod drain;
pub mod event;
pub mod ledger;
mod life;
mod link;
mod pair;
mod print;
mod probe;
mod registry;
mod requests;
mod resume;
pub mod setting;
mod traffic;
pub mod worlds;

use std::time::{Duration, Instant};

use xmpp_sm::{Counter, Detached, EndReason, Parts, SessionStore};

use event::{Act, Event, Side};
use ledger::{Checked, Life, Session, Violation, ensure};
use pair::{Pair, Parked, Place, Shared, Step};
use setting::{GERIATRIC, GRACE, Setting, Start, smid};

pub struct World<'a> {
    cx: Shared<'a>,
    pairs: Vec<Pair>,
}

impl<'a> World<'a> {
    pub fn new(setting: &'a Setting) -> Self {
        let pairs = (0..setting.pairs).map(|number| Pair::new(number, setting.owners)).collect();
        let mut world = Self { cx: Shared::new(setting), pairs };
        if let Start::On(counts) = setting.start {
            for pair in &mut world.pairs {
                pair.start(&mut world.cx, counts).expect("both sides start detached");
            }
            for pair in 0..setting.pairs {
                let deliver = |side| Act::Read(side, 0, u16::MAX);
                for act in [Act::Connect, deliver(Side::Server), deliver(Side::Client)] {
                    world.apply(Event { pair, act }).expect("the first session comes up");
                }
            }
        }
        world
    }

    /// Does one step, and tells whether it was one: what cannot happen now is left out.
    pub fn apply(&mut self, event: Event) -> Checked<bool> {
        let Self { cx, pairs } = self;
        let Some(pair) = pairs.get_mut(usize::from(event.pair)) else { return Ok(false) };
        if !pair.can(cx, event.act) {
            return Ok(false);
        }
        match event.act {
            Act::Connect => pair.connect(cx)?,
            Act::Enable => match pair.current(Side::Client) {
                Some(Place::On(at)) => pair.enable(cx, at)?,
                _ => return Ok(false),
            },
            Act::Send(side) => pair.send(cx, side)?,
            Act::Deliver(side, at) => {
                pair.connections[usize::from(at)].to[side.index()].arrive(usize::MAX)?;
                pair.take(cx, side, at.into(), 1)?;
            }
            Act::Read(side, at, bytes) => {
                pair.connections[usize::from(at)].to[side.index()].arrive(bytes.into())?;
                pair.take(cx, side, at.into(), usize::MAX)?;
            }
            Act::Handle(side, i) => pair.settle(cx, side, i.into(), false)?,
            Act::GiveUp(side, i) => pair.settle(cx, side, i.into(), true)?,
            Act::GiveUpAll(side) => pair.settle_all(cx, side)?,
            Act::Cut(side, at) => pair.cut(cx, side, at.into())?,
            Act::Retry(at) => pair.retry(cx, at.into())?,
            Act::Request(side) | Act::Ack(side) | Act::Close(side) => match pair.current(side) {
                Some(Place::On(at)) if matches!(event.act, Act::Close(_)) => pair.close(side, at)?,
                Some(Place::On(at)) => pair.say(cx, side, at, matches!(event.act, Act::Request(_)))?,
                _ => return Ok(false),
            },
            Act::Tick => match self.next_time() {
                Some(next) => self.cx.now = next,
                None => return Ok(false),
            },
            Act::Timeout(side, at) => pair.timeout(cx, side, at.into())?,
            Act::Expire(side, i) => pair.expire(cx, side, i.into())?,
            Act::Listen(side) => match pair.current(side) {
                Some(Place::On(at)) => {
                    let end = pair.end(at, side);
                    end.pauses = !end.pauses;
                }
                _ => return Ok(false),
            },
            Act::Lose(at) => pair.lose(cx, at.into())?,
            Act::Late => pair.clean_up_late(cx)?,
            Act::Probe => self.probe()?,
        }
        for sid in std::mem::take(&mut self.cx.evicted) {
            self.pairs[usize::from(sid.0)].evict(&mut self.cx, sid.1)?;
        }
        for pair in &mut self.pairs {
            pair.tidy();
            pair.say_who_reads(&self.cx);
        }
        Ok(true)
    }

    /// Every event that can happen now, but for [`Act::Read`] and [`Act::Probe`].
    pub fn enabled(&self, events: &mut Vec<Event>) {
        events.clear();
        for pair in &self.pairs {
            pair.enabled(&self.cx, |act| events.push(Event { pair: pair.number, act }));
        }
        if self.next_time().is_some() {
            events.push(Event { pair: 0, act: Act::Tick });
        }
    }

    /// How many bytes can be read there.
    pub fn readable(&self, pair: u8, side: Side, at: u8) -> usize {
        self.pairs[usize::from(pair)].connections[usize::from(at)].to[side.index()].bytes()
    }

    /// The next time at which something is due.
    fn next_time(&self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut at = |time: Option<Instant>| {
            let time = time.filter(|time| *time > self.cx.now);
            next = next.into_iter().chain(time).min();
        };
        for pair in &self.pairs {
            for end in pair.connections.iter().flat_map(|connection| connection.ends.iter().flatten()) {
                at(end.stream.poll_timeout());
                // So long a server may take with <enabled/>, though the client's buffer is full.
                at(end.waits_full_since().map(|since| since + GRACE));
            }
            for parked in &pair.parked {
                at(parked.detached.deadline());
            }
            // A stale h is good up to this age, and not a nanosecond longer.
            for session in pair.sessions.iter().filter(|session| session.is_alive()) {
                at(session.retired.map(|retired| retired + GERIATRIC + Duration::from_nanos(1)));
            }
        }
        next
    }

    /// Checks all that can be seen against the ledger.
    pub fn check(&self) -> Checked {
        self.pairs.iter().try_for_each(|pair| pair.check(&self.cx))
    }

    /// The same for the tables of the store, which takes longer.
    fn check_census(&self) -> Checked {
        let (known, registered) = (self.cx.store.len(), self.cx.registered.len());
        ensure!(known == registered, "the store has {known} sessions, and {registered} are registered");
        Ok(())
    }
}

impl Pair {
    /// Both sides start with a detached session that has counted so much.
    fn start(&mut self, cx: &mut Shared, counts: [u32; 2]) -> Checked {
        let mut session = Session::new(counts);
        let number = cx.next_smid();
        session.smid = Some(number);
        for side in Side::BOTH {
            let granted = cx.resume_timeout().or(cx.options(Side::Server).resume_timeout);
            let resume_timeout = match side {
                Side::Client => granted.and_then(|granted| cx.told_timeout(granted)),
                Side::Server => granted,
            };
            let deadline = resume_timeout.map(|timeout| cx.now + timeout);
            let half = session.half_mut(side);
            (half.life, half.granted, half.resume_timeout) = (Life::Alive, true, resume_timeout);
            let [h, acked] = [side.peer(), side].map(|side| Counter::new(counts[side.index()]));
            let parts = Parts { smid: smid(number), deadline, resume_timeout, h, acked, unacked: Vec::new() };
            let config = cx.setting.configs[side.index()].clone();
            let detached = Detached::from_parts(config, parts).map_err(|_| Violation("too many".into()))?;
            self.parked.push(Parked { side, session: 0, detached, deadline, connection: 0 });
        }
        session.registration = cx.register(number, self.owner, (self.number, 0))?;
        self.sessions.push(session);
        self.next_connection = 1;
        Ok(())
    }

    /// An `<r/>` or an `<a/>` out of turn.
    fn say(&mut self, cx: &Shared, side: Side, at: usize, request: bool) -> Checked {
        let stream = &mut self.end(at, side).stream;
        let nonza = if request { stream.request_ack(cx.now) } else { stream.send_ack() };
        let Some(nonza) = nonza else { return Err(Violation("stream management is on and says nothing".into())) };
        self.write_nonza(cx, at, side, nonza)
    }

    fn retry(&mut self, cx: &mut Shared, at: usize) -> Checked {
        let end = self.end(at, Side::Server);
        match std::mem::replace(&mut end.step, Step::Open) {
            Step::Held(request, asked) => self.resume_requested(cx, at, request, asked),
            step => {
                end.step = step;
                Ok(())
            }
        }
    }

    fn expire(&mut self, cx: &mut Shared, side: Side, i: usize) -> Checked {
        let Parked { session, detached, .. } = self.parked.remove(i);
        let ended = detached.expire(cx.now).map_err(|_| Violation("a session outlives its deadline".into()))?;
        self.ended(cx, side, session, ended, EndReason::Expired)
    }

    /// The owner of a registration that was superseded gives up, late.
    fn clean_up_late(&mut self, cx: &mut Shared) -> Checked {
        let late = self.late.remove(0);
        let before = cx.store.lookup(late.smid(), self.owner, cx.now);
        let done = cx.store.retire(&late, 4711.into(), cx.now);
        let done = done.and_then(|()| cx.store.remove(&late));
        let after = cx.store.lookup(late.smid(), self.owner, cx.now);
        ensure!(done.is_ok() && before == after, "the old owner of {late:?} makes {before:?} {after:?}");
        Ok(())
    }
}
