//! When two states are equal: a fingerprint of all that can make a difference later. Times are relative to
//! now, sessions and connections are numbered by their age, and what is over and done with is left out.
//!
//! It looks at what the crate shows and at what the host has seen. That nothing hidden in the crate differs
//! where fingerprints are equal is checked by `audit.rs`, against the text of `debug.rs`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use xmpp_sm::{Lookup, Nonza, Record, SessionStore, SmId};

use super::World;
use super::event::Side;
use super::ledger::{Face, Half, Life};
use super::link::Wire;
use super::pair::{End, Pair, Shared, Step};
use super::requests::{Ask, Asking};
use super::setting::{EPOCH, smid, smid_number};

impl World<'_> {
    /// Sixty-four bits that are the same for equal states, and hardly ever for others.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for pair in &self.pairs {
            pair.print(&self.cx, &mut hasher);
        }
        if self.cx.setting.caps.are_set() {
            for entry in &self.cx.registered {
                let (pair, _) = entry.sid;
                let labels = Labels { pair: &self.pairs[usize::from(pair)], now: self.cx.now };
                (pair, labels.smid(&smid(entry.number))).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

struct Labels<'a> {
    pair: &'a Pair,
    now: Instant,
}

impl Labels<'_> {
    /// The place of a session among those that still matter.
    fn session(&self, session: u16) -> u16 {
        let before = &self.pair.sessions[..=usize::from(session)];
        match before.split_last() {
            Some((last, before)) if last.is_alive() => {
                before.iter().filter(|session| session.is_alive()).count() as u16
            }
            _ => u16::MAX,
        }
    }

    fn smid(&self, smid: &SmId) -> u16 {
        let number = smid_number(smid);
        let session = self.pair.sessions.iter().position(|session| session.smid == number);
        session.map_or(u16::MAX - 1, |session| self.session(session as u16))
    }

    fn time(&self, time: Instant) -> i128 {
        let since = |time: Instant| time.saturating_duration_since(*EPOCH).as_nanos() as i128;
        since(time) - since(self.now)
    }
}

impl Pair {
    fn print(&self, cx: &Shared, out: &mut impl Hasher) {
        let labels = Labels { pair: self, now: cx.now };
        for connection in &self.connections {
            for side in Side::BOTH {
                match connection.end(side) {
                    Some(end) => end.print(&labels, out),
                    None => connection.shut(side).map(|shut| labels.session(shut.session)).hash(out),
                }
                let link = &connection.to[side.index()];
                (link.ready().len(), link.bytes()).hash(out);
                link.ready().iter().for_each(|wire| wire.print(&labels, out));
            }
            connection.enabling.map(|session| labels.session(session)).hash(out);
        }
        for parked in &self.parked {
            (parked.side, labels.session(parked.session), parked.deadline.map(|at| labels.time(at))).hash(out);
        }
        for (session, number) in self.sessions.iter().zip(0..) {
            if !session.is_alive() {
                continue;
            }
            session.halves.iter().for_each(|half| half.print(out));
            let found = session.smid.map(|number| cx.store.lookup(&smid(number), self.owner, cx.now));
            match found {
                Some(Ok(Lookup::StaleH(h))) => (h, session.retired.map(|at| labels.time(at))).hash(out),
                Some(Ok(Lookup::Session(Record { handle: (_, id), .. }))) => {
                    self.connections.iter().position(|connection| connection.id == id).hash(out);
                    self.parked
                        .iter()
                        .position(|parked| parked.side == Side::Server && parked.connection == id)
                        .hash(out);
                }
                _ => session.smid.is_some().hash(out),
            }
            for side in Side::BOTH {
                for open in self.open[side.index()].iter().filter(|open| open.session == number) {
                    open.position.hash(out);
                }
            }
        }
        for spent in &self.spent {
            spent.as_ref().map(|spent| labels.session(spent.session)).hash(out);
        }
        for late in &self.late {
            labels.smid(late.smid()).hash(out);
        }
    }
}

impl Half {
    fn print(&self, out: &mut impl Hasher) {
        (self.life, self.granted, self.resume_timeout).hash(out);
        (self.acked, self.sent.len(), self.settled.len(), self.h).hash(out);
        if self.life == Life::Alive {
            (self.queued().count(), self.owed).hash(out);
            self.settled[self.h..].hash(out);
            self.received[self.h..].hash(out);
            self.queued_bytes().hash(out);
            // Where both count from is the same for all states of a world.
            (self.out_counter(0), self.in_counter(0)).hash(out);
        }
    }
}

impl End {
    fn print(&self, labels: &Labels, out: &mut impl Hasher) {
        let step: u8 = match &self.step {
            Step::Open => 0,
            Step::Bound => 1,
            Step::Enabling => 2,
            Step::Resuming(deadline) => {
                deadline.map(|at| labels.time(at)).hash(out);
                3
            }
            Step::Enabled => 4,
            Step::Held(request, asked) => {
                (labels.smid(request.previd()), request.h(), labels.time(*asked)).hash(out);
                5
            }
            Step::Lost(kind, since) => {
                (kind, labels.time(*since)).hash(out);
                6
            }
        };
        (step, self.bound, self.attempted, self.pauses, self.session.map(|session| labels.session(session))).hash(out);
        self.asking.print(&|at| labels.time(self.clock.world(at)), out);
        let times = [self.clock.deaf_since, self.waits_full_since(), self.stream.poll_timeout()];
        times.map(|time| time.map(|at| labels.time(at))).hash(out);
        self.stale.as_ref().map(|stale| (labels.smid(stale.previd()), stale.h())).hash(out);
        (self.stream.is_resumable(), self.stream.has_feature(), Face::h(&self.stream)).hash(out);
    }
}

impl Asking {
    fn print(&self, time: &impl Fn(Instant) -> i128, out: &mut impl Hasher) {
        let Self { open, asked, ever, idle_since, pressed, answered_at, again, disturbed, first, unclear, over } = self;
        for Ask { sent, at, beside } in open {
            (sent, time(*at), beside).hash(out);
        }
        let (again, first) = (*again && answered_at.is_some(), first * usize::from(!open.is_empty()));
        (open.len(), asked, ever, pressed, again, disturbed, first, unclear).hash(out);
        [idle_since, answered_at, over].map(|at| at.map(time)).hash(out);
    }
}

impl Wire {
    fn print(&self, labels: &Labels, out: &mut impl Hasher) {
        match self {
            Self::Stanza(msg) => {
                (0_u8, msg.session.map(|session| labels.session(session)), msg.position).hash(out);
            }
            Self::Error => 1_u8.hash(out),
            Self::Close => 2_u8.hash(out),
            Self::Nonza(Nonza::Resume(resume)) => (3_u8, labels.smid(&resume.previd), resume.h).hash(out),
            Self::Nonza(Nonza::Resumed(resumed)) => (4_u8, resumed.h).hash(out),
            Self::Nonza(Nonza::Enabled(enabled)) => (5_u8, enabled.id.as_ref().map(|id| labels.smid(id))).hash(out),
            Self::Nonza(nonza) => (6_u8, nonza).hash(out),
        }
    }
}
