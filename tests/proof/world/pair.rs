//! A client and its server: their streams, their detached sessions, and their hosts' small duties. What
//! they do is in `flow.rs`, `life.rs`, `arrive.rs` and `resume.rs`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use xmpp_sm::{
    AckFreq, Closing, Detached, Epoch, Kind, MemoryStore, Nonza, Receipt, Registration, ResumeRequest, StreamMgmt,
};

use super::event::Side;
use super::ledger::{Checked, Half, Life, Msg, Session, Violation};
use super::link::{Link, Wire};
use super::registry::Entry;
use super::requests::{Asking, Clock};
use super::setting::{Carry, EPOCH, Options, Setting};

/// How the store finds a session: the pair, and the connection that it was last on.
pub type Handle = (u8, u32);

/// What all pairs share.
pub struct Shared<'a> {
    pub setting: &'a Setting,
    pub now: Instant,
    pub store: MemoryStore<Handle>,
    /// What must be registered there, longest first: see `registry.rs`.
    pub registered: Vec<Entry>,
    /// The last one of each owner.
    pub last_epochs: HashMap<&'static str, Epoch>,
    /// Sessions that had to make room in the store, and are to be ended.
    pub evicted: Vec<Handle>,
    smids: u16,
}

impl<'a> Shared<'a> {
    pub fn new(setting: &'a Setting) -> Self {
        let store = setting.caps.store(&setting.configs[1]);
        Self {
            setting,
            now: *EPOCH,
            store,
            registered: Vec::new(),
            last_epochs: HashMap::new(),
            evicted: Vec::new(),
            smids: 0,
        }
    }

    /// How long the server keeps a new session, once detached: as long as it was asked to, if it may, or as long as
    /// it does without being asked.
    pub fn resume_timeout(&self) -> Option<Duration> {
        let [client, server] = &self.setting.options;
        let (wish, usual) = (client.resume_timeout?, server.resume_timeout?);
        if !client.can_resume() || !server.can_resume() {
            return None;
        }
        let longest = server.resume_timeout_max.map_or(usual, |max| max.max(usual));
        let seconds = Duration::from_secs(wish.as_secs().min(u32::MAX.into()));
        Some(if self.setting.says_max[0] { seconds.min(longest) } else { usual })
    }

    /// What the client makes of it: what it was told, which is nothing, or what 32 bits hold.
    pub fn told_timeout(&self, granted: Duration) -> Option<Duration> {
        self.setting.says_max[1].then(|| Duration::from_secs(granted.as_secs().min(u32::MAX.into())))
    }

    /// The number of an SM-ID that nobody has.
    pub fn next_smid(&mut self) -> u16 {
        self.smids += 1;
        self.smids - 1
    }

    pub fn options(&self, side: Side) -> &Options {
        &self.setting.options[side.index()]
    }
}

pub struct Pair {
    pub number: u8,
    pub owner: &'static str,
    pub connections: Vec<Connection>,
    pub parked: Vec<Parked>,
    pub sessions: Vec<Session>,
    /// The receipts in the hands of either host, oldest first.
    pub open: [Vec<Open>; 2],
    /// The last receipt that a host still had when it was too late to settle it.
    pub spent: [Option<Spent>; 2],
    /// Registrations that were superseded, and whose owners have not cleaned up yet.
    pub late: Vec<Registration>,
    pub next_connection: u32,
}

pub struct Connection {
    pub id: u32,
    /// What each side has on this connection, until it notices that it is lost.
    pub ends: [Option<End>; 2],
    /// What each side has in its place once it has closed its stream.
    pub closing: [Option<Shut>; 2],
    /// What is on its way to each side.
    pub to: [Link; 2],
    /// The session that the client has asked for here.
    pub enabling: Option<u16>,
}

pub struct End {
    pub stream: StreamMgmt<Msg>,
    /// The session that the stream counts for.
    pub session: Option<u16>,
    pub step: Step,
    /// A resource is bound.
    pub bound: bool,
    /// The client has asked for a session.
    pub attempted: bool,
    pub clock: Clock,
    /// Since when its buffer has been over its bounds.
    pub full_since: Option<Instant>,
    pub asking: Asking,
    /// The host does not read, for a reason of its own.
    pub pauses: bool,
    /// A request that was answered for the host, because it took too long.
    pub stale: Option<ResumeRequest>,
}

/// A stream that this side has closed.
pub struct Shut {
    pub closing: Closing<Msg>,
    pub session: u16,
}

pub enum Step {
    Open,
    /// The attempt to enable has failed.
    Bound,
    Enabling,
    /// The session had this deadline.
    Resuming(Option<Instant>),
    Enabled,
    /// The server's answer to this, which came then, is "not yet".
    Held(ResumeRequest, Instant),
    /// The server's host has lost this request, which came then.
    Lost(Kind, Instant),
}

/// A detached session.
pub struct Parked {
    pub side: Side,
    pub session: u16,
    pub detached: Detached<Msg>,
    pub deadline: Option<Instant>,
    /// The connection by which the store names it.
    pub connection: u32,
}

pub struct Open {
    pub session: u16,
    pub position: u32,
    pub since: Instant,
    pub receipt: Receipt,
}

/// The receipt of a stanza that was given up, or of a session that is over.
pub struct Spent {
    pub session: u16,
    /// The session was written down since then, and does not know the receipt any more.
    pub forgotten: bool,
    pub receipt: Receipt,
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    On(usize),
    Off(usize),
    /// On a stream that this side has closed.
    Shut(usize),
}

impl End {
    pub fn new(stream: StreamMgmt<Msg>, session: Option<u16>, step: Step) -> Self {
        Self {
            stream,
            session,
            step,
            bound: false,
            attempted: false,
            clock: Clock::default(),
            full_since: None,
            asking: Asking::default(),
            pauses: false,
            stale: None,
        }
    }

    /// Whether the host reads what arrives.
    pub fn reads(&self) -> bool {
        self.stream.can_receive() && !self.pauses && self.pending_since().is_none()
    }
}

impl Connection {
    pub fn new(id: u32, carry: Carry) -> Self {
        Self { id, ends: [None, None], closing: [None, None], to: [Link::new(carry), Link::new(carry)], enabling: None }
    }

    pub fn end(&self, side: Side) -> Option<&End> {
        self.ends[side.index()].as_ref()
    }

    pub fn shut(&self, side: Side) -> Option<&Shut> {
        self.closing[side.index()].as_ref()
    }

    /// Whether this side has anything on it still.
    pub fn is_up(&self, side: Side) -> bool {
        self.end(side).is_some() || self.shut(side).is_some()
    }
}

impl Pair {
    pub fn new(number: u8, owners: usize) -> Self {
        let owner = ["juliet@example.com", "romeo@example.net", "nurse@example.com"][usize::from(number) % owners];
        Self {
            number,
            owner,
            connections: Vec::new(),
            parked: Vec::new(),
            sessions: Vec::new(),
            open: [Vec::new(), Vec::new()],
            spent: [None, None],
            late: Vec::new(),
            next_connection: 0,
        }
    }

    pub fn end(&mut self, at: usize, side: Side) -> &mut End {
        self.connections[at].ends[side.index()].as_mut().expect("an end that is up")
    }

    pub fn session(&self, session: u16) -> &Session {
        &self.sessions[usize::from(session)]
    }

    pub fn half(&mut self, session: u16, side: Side) -> &mut Half {
        self.sessions[usize::from(session)].half_mut(side)
    }

    /// Where a side has a session.
    pub fn place(&self, session: u16, side: Side) -> Option<Place> {
        let on = |connection: &Connection| connection.end(side).is_some_and(|end| end.session == Some(session));
        let shut = |connection: &Connection| connection.shut(side).is_some_and(|shut| shut.session == session);
        let off = |parked: &Parked| parked.side == side && parked.session == session;
        let on = self.connections.iter().position(on).map(Place::On);
        let shut = || self.connections.iter().position(shut).map(Place::Shut);
        on.or_else(shut).or_else(|| self.parked.iter().position(off).map(Place::Off))
    }

    /// Where the host of a side sends its stanzas: its newest session, or a stream that has none yet.
    pub fn current(&self, side: Side) -> Option<Place> {
        let alive = self.sessions.iter().rposition(|session| session.half(side).life == Life::Alive);
        let up = || self.connections.iter().rposition(|connection| connection.end(side).is_some());
        match alive {
            Some(session) => self.place(session as u16, side),
            None => up().map(Place::On),
        }
    }

    /// Writes to the peer, if it still reads and nothing has been closed.
    pub fn write(&mut self, at: usize, from: Side, wire: Wire) {
        let to = from.peer().index();
        let connection = &mut self.connections[at];
        if connection.is_up(from.peer()) {
            connection.to[to].write(wire);
        }
    }

    /// Writes an element of stream management on behalf of the session that the stream counts for.
    pub fn write_nonza(&mut self, cx: &Shared, at: usize, from: Side, nonza: Nonza) -> Checked {
        let end = self.end(at, from);
        let (session, enabled) = (end.session, end.is_enabled());
        let (end_now, asked) = (end.clock.at(cx.now), end.asking.asked);
        let half = session.map(|session| self.session(session).half(from));
        match (&nonza, half) {
            (Nonza::Ack(h), Some(half)) if enabled => half.claims(*h)?,
            (Nonza::AckRequest, Some(half)) if enabled => {
                let (sent, now) = (half.sent.len(), end_now);
                let in_rhythm = match cx.options(from).ack {
                    Some(AckFreq::Every(stanzas)) => sent - asked >= stanzas.get() as usize,
                    _ => false,
                };
                self.end(at, from).asking.asks(now, sent, in_rhythm);
                self.note(cx, at, from);
            }
            (Nonza::Ack(_) | Nonza::AckRequest, _) => {
                return Err(Violation(format!("{nonza} of {from:?} before its stream is enabled")));
            }
            (Nonza::Resumed(resumed), Some(half)) => half.claims(resumed.h)?,
            (Nonza::Resume(resume), Some(half)) => half.claims(resume.h)?,
            _ => {}
        }
        self.write(at, from, Wire::Nonza(nonza));
        Ok(())
    }

    /// Notes what follows from what has just happened at this end.
    pub fn note(&mut self, cx: &Shared, at: usize, side: Side) {
        let Self { sessions, connections, .. } = self;
        let Some(end) = &mut connections[at].ends[side.index()] else { return };
        if let Some(session) = end.session {
            end.note(cx.options(side), sessions[usize::from(session)].half(side), cx.now);
        }
    }

    /// The hosts that have stopped to read, or read on, say so.
    pub fn say_who_reads(&mut self, cx: &Shared) {
        for end in self.connections.iter_mut().flat_map(|connection| connection.ends.iter_mut().flatten()) {
            let hears = end.stream.can_receive() && !end.pauses;
            if !cx.setting.mute && hears == end.clock.deaf_since.is_some() {
                end.stream.hearing(hears, cx.now);
                if hears {
                    end.asking.heard();
                }
                end.clock.hearing(hears, cx.now);
            }
        }
    }

    /// Forgets connections that nobody has an end of.
    pub fn tidy(&mut self) {
        self.connections.retain(|connection| Side::BOTH.into_iter().any(|side| connection.is_up(side)));
    }
}
