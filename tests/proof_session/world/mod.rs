//! A client's session, the sessions of a server, and the connections between them.

mod acts;
mod arrive;
mod can;
mod check;
mod counts;
mod drain;
mod ended;
pub mod event;
mod host;
mod inline;
pub mod ledger;
mod link;
mod record;
mod rest;
pub mod setting;
mod turn;
pub mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use xmpp_sm::{Config, EndReason, MemoryStore, Nonza, Session};

use counts::Seen;
use event::{Act, Event};
use host::{Host, Mail};
use ledger::{Checked, Fates, Life, Waiting, ensure};
use link::{Elem, End, Link, Request, unexpected};
use setting::{MOMENT, Setting};

pub const OWNER: &str = "juliet@example.com";

/// All worlds begin at the same time.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug)]
pub struct World<'a> {
    pub setting: &'a Setting,
    pub now: Instant,
    pub configs: [Arc<Config>; 2],
    pub hosts: Vec<Host>,
    /// What each of them has seen of its session.
    pub seen: Vec<Seen>,
    pub links: Vec<Link>,
    pub lives: Vec<Life>,
    pub store: MemoryStore<usize>,
    pub fates: Fates,
    /// All stanzas, by their numbers.
    pub items: BTreeMap<u32, Waiting>,
    /// Those that their authors have taken back.
    pub retracted: BTreeSet<u32>,
    /// How many stanzas each side has sent.
    pub sent: [u32; 2],
    pub connects: usize,
    pub sleeps: u32,
    pub is_conflict: bool,
    /// Whether a receipt was dropped: then `h` stands still.
    pub has_dropped: bool,
    /// Whether all hosts end their sessions, and begin none.
    pub is_stopping: bool,
    /// Whether each step is printed.
    pub is_told: bool,
    /// What arrived where nothing is counted.
    pub uncounted: BTreeSet<(usize, u32)>,
}

impl<'a> World<'a> {
    pub fn new(setting: &'a Setting) -> Checked<Self> {
        let configs = setting.options.map(|options| options.config());
        let mut client = Session::client(configs[0].clone(), OWNER);
        client.return_acknowledged(setting.returns);
        client.report_detached(true);
        let mut world = Self {
            setting,
            now: *BEGIN,
            store: MemoryStore::new(&configs[1]),
            configs,
            hosts: vec![Host::new(client, 0)],
            seen: vec![Seen::default()],
            links: Vec::new(),
            lives: Vec::new(),
            fates: Fates::default(),
            items: BTreeMap::new(),
            retracted: BTreeSet::new(),
            sent: [0; 2],
            connects: 0,
            sleeps: 0,
            is_conflict: false,
            has_dropped: false,
            is_stopping: false,
            is_told: false,
            uncounted: BTreeSet::new(),
        };
        if setting.starts_online {
            world.apply(Event::new(Act::Connect, 0))?;
            while world.advance()? {}
            world.links[0].is_clogged[1] = setting.starts_clogged;
        }
        for event in setting.begins.split_whitespace() {
            let done = world.apply(event.parse()?)?;
            ensure!(done, "a world cannot begin with {event}");
        }
        Ok(world)
    }

    /// One thing that goes on by itself where everybody is quick, if there is one.
    pub fn advance(&mut self) -> Checked<bool> {
        let event = self
            .enabled()
            .into_iter()
            .find(|event| matches!(event.act, Act::Deliver | Act::Mail | Act::Lookup | Act::Accept));
        event.map_or(Ok(false), |event| self.apply(event))
    }

    /// Does one step, if it can happen, and checks all that must hold after it.
    pub fn apply(&mut self, event: Event) -> Checked<bool> {
        if !self.can(event) {
            return Ok(false);
        }
        if self.is_told {
            let times = self
                .hosts
                .iter()
                .map(|host| host.session.deadline().map(|deadline| deadline.saturating_duration_since(self.now)));
            println!("== {event} at {:?}, due in {:?}", self.now - *BEGIN, times.collect::<Vec<_>>());
        }
        for host in &mut self.hosts {
            (host.has_judged, host.may_give_up) = (false, false);
        }
        let at = event.at();
        let said = self.is_said_at_once(event).map(|(l, side)| (l, side, self.said(event.act, l, side)));
        match event.act {
            Act::Timeout => self.timeout(at)?,
            _ => self.act(event.act, at)?,
        }
        self.turns()?;
        if let Some((l, side, before)) = said {
            ensure!(self.said(event.act, l, side) == before + 1, "the host wants it, and it is not written once");
        }
        if event.act == Act::Timeout {
            self.check_verdict(at)?;
        }
        self.check()?;
        self.check_counts()?;
        Ok(true)
    }

    /// The end of a connection to which an `<r/>` or an `<a/>` of the host's own accord is written in this step.
    fn is_said_at_once(&self, Event { act, at }: Event) -> Option<(usize, usize)> {
        let host = self.hosts.get(usize::from(at)).filter(|host| !host.is_ending && !host.may_settle)?;
        let l = *host.session.connection()?;
        let is_free = self.setting.room == usize::MAX && self.has_room(l, host.side);
        (matches!(act, Act::Request | Act::Ack) && is_free).then_some((l, host.side))
    }

    fn said(&self, act: Act, l: usize, side: usize) -> u32 {
        let link = &self.links[l];
        if act == Act::Ack { link.acks[side] } else { link.asks[side] }
    }

    pub fn turns(&mut self) -> Checked {
        // What one host leaves may give another one room.
        for _ in 0..if self.setting.room == usize::MAX { 1 } else { 2 } {
            // A connection that comes back may begin another session.
            let mut h = 0;
            while h < self.hosts.len() {
                self.turn(h)?;
                h += 1;
            }
        }
        Ok(())
    }

    fn act(&mut self, act: Act, at: usize) -> Checked {
        let (l, side, now) = (at / 2, at % 2, self.now);
        match act {
            Act::Connect => self.connect(),
            Act::Send => self.send(at, 1, false),
            Act::Big => self.send(at, 10, false),
            Act::Presence => self.send(at, 1, true),
            Act::Mail => match self.hosts[at].mailbox.pop_front() {
                Some(mail) => self.open(at, mail),
                None => Ok(()),
            },
            Act::Deliver => self.deliver(l, side),
            Act::Settle | Act::SettleLast => {
                let receipts = &mut self.hosts[at].receipts;
                let open = if act == Act::Settle { receipts.pop_front() } else { receipts.pop_back() };
                open.map_or(Ok(()), |open| self.post(at, Mail::Settled(open)))
            }
            Act::DropReceipt => {
                self.has_dropped = true;
                self.hosts[at].receipts.pop_front();
                Ok(())
            }
            Act::Cut => {
                self.cut(l, side);
                Ok(())
            }
            Act::Clog => {
                self.links[l].is_clogged[side] ^= true;
                Ok(())
            }
            Act::Lookup => self.look_up(l),
            Act::DropRequest => {
                match &mut self.links[l].end[1] {
                    End::Unbound(_, request) => *request = Request::Dropped,
                    // The stream goes with it.
                    _ => drop(self.links[l].leave(1)),
                }
                Ok(())
            }
            Act::RefuseResume => self.refuse_resume(l),
            Act::Deny => {
                self.links[l].wire[side].pop_front();
                self.fail_login(l);
                Ok(())
            }
            Act::Unknown => self.cannot_tell(l, false),
            Act::BindUnknown => self.cannot_tell(l, true),
            Act::SettleLost => self.settle_lost(at),
            Act::Retract => self.retract(at),
            Act::Prolong => self.prolong(at),
            Act::Snapshot => self.write_down(at),
            Act::Inactive => {
                let is_inactive = !self.hosts[at].is_inactive;
                self.set_inactive(at, is_inactive);
                Ok(())
            }
            Act::DropTaker => {
                let place = self.hosts[at].mailbox.iter().position(|mail| matches!(mail, Mail::Take(..)));
                if let Some(Mail::Take(taker, l)) = place.and_then(|place| self.hosts[at].mailbox.remove(place)) {
                    drop(taker);
                    self.links[l].leave(1);
                }
                Ok(())
            }
            Act::Accept => self.accept(at),
            Act::Refuse => {
                let request = self.hosts[at].enable.take().ok_or("no request")?;
                let _ = self.hosts[at].session.refuse_enable(request, xmpp_sm::Condition::ResourceConstraint, self.now);
                Ok(())
            }
            Act::DropEnable => {
                self.hosts[at].enable = None;
                Ok(())
            }
            Act::Close if at == 0 => {
                (self.hosts[0].is_ending, self.hosts[0].is_closed) = (true, true);
                self.hosts[0].session.close(EndReason::Closed, None, now);
                Ok(())
            }
            Act::Close => self.post(at, Mail::End(EndReason::Stopped)),
            Act::Login => {
                let l = self.links.len();
                self.links.push(Link::new(End::Mute, End::Unbound(self.unbound(), Request::None)));
                self.bind(l).map(drop)
            }
            Act::Rival => self.rival(),
            Act::Tick => {
                self.now = self.next_deadline().ok_or("nothing is due")?;
                Ok(())
            }
            Act::Sleep => {
                self.sleeps += 1;
                self.now += Duration::from_secs(86_400);
                Ok(())
            }
            Act::Late => {
                let End::Unbound(stream, request) = &mut self.links[l].end[1] else { return Ok(()) };
                if let Some(failed) = stream.timeout(now) {
                    *request = Request::None;
                    self.links[l].push(1, Elem::Nonza(failed));
                }
                Ok(())
            }
            Act::Request => {
                self.hosts[at].session.request_ack(now);
                self.hosts[at].may_ask = true;
                Ok(())
            }
            Act::Ack => {
                self.hosts[at].session.send_ack();
                if let Some(l) = self.hosts[at].session.connection().copied() {
                    self.links[l].unasked[self.hosts[at].side] += 1;
                }
                Ok(())
            }
            Act::HighH | Act::LowH | Act::Unexpected | Act::Malformed | Act::Error => {
                self.links[l].is_forged = true;
                let elem = match act {
                    Act::HighH => Elem::Nonza(Nonza::Ack(1000.into())),
                    Act::LowH => Elem::Nonza(Nonza::Ack(0.into())),
                    Act::Unexpected => Elem::Nonza(unexpected(side)),
                    Act::Malformed => Elem::Malformed,
                    _ => Elem::Error { conflict: false },
                };
                self.links[l].wire[side].push_back(elem);
                Ok(())
            }
            Act::Timeout => Ok(()),
        }
    }

    fn timeout(&mut self, h: usize) -> Checked {
        let is_settling = h == 0 && self.hosts[0].session.is_detached() && self.hosts[0].session.connection().is_some();
        self.hosts[h].blames_nobody =
            self.hosts[h].is_ending || self.hosts[h].may_settle || self.has_taker(h) || is_settling;
        self.hosts[h].may_give_up = true;
        self.hosts[h].noticed_before = self.hosts[h].noticed;
        self.hosts[h].session.timeout(self.now);
        Ok(())
    }

    /// Nobody is blamed before what had arrived could be read.
    fn check_verdict(&mut self, h: usize) -> Checked {
        let now = self.now;
        let host = &mut self.hosts[h];
        if host.has_judged && !host.blames_nobody {
            let since = host.noticed_before.map(|noticed| now - noticed);
            ensure!(since.is_some_and(|since| since >= MOMENT), "a verdict {since:?} after it was due");
        }
        if !host.has_judged {
            // With receipts open, what follows from the verdict is not seen at once.
            host.may_settle |= host.noticed_before.is_some_and(|noticed| now - noticed >= MOMENT);
            host.noticed.get_or_insert(now);
        }
        Ok(())
    }
}
