//! A client and its server: their streams, their detached sessions, and their hosts' small duties. What
//! they do is in `flow.rs`, `life.rs`, `arrive.rs` and `resume.rs`.

use std::time::{Duration, Instant};

use xmpp_sm::{Detached, Epoch, MemoryStore, Nonza, Receipt, ResumeRequest, StreamMgmt};

use super::event::Side;
use super::ledger::{Checked, Half, Life, Msg, Session, Violation};
use super::link::{Link, Wire};
use super::registry::Entry;
use super::setting::{Carry, EPOCH, Options, Setting};

/// How the store finds a session: the pair, and the connection that it was last on.
pub type Sid = (u8, u32);

/// What all pairs share.
pub struct Shared<'a> {
    pub setting: &'a Setting,
    pub now: Instant,
    pub store: MemoryStore<Sid>,
    /// What must be registered there, longest first: see `registry.rs`.
    pub registered: Vec<Entry>,
    pub last_epoch: Option<Epoch>,
    /// Sessions that had to make room in the store, and are to be ended.
    pub evicted: Vec<Sid>,
    smids: u16,
}

impl<'a> Shared<'a> {
    pub fn new(setting: &'a Setting) -> Self {
        let store = setting.caps.store(&setting.configs[1]);
        Self { setting, now: *EPOCH, store, registered: Vec::new(), last_epoch: None, evicted: Vec::new(), smids: 0 }
    }

    /// How long a new session may wait, once detached: as long as both sides will.
    pub fn window(&self) -> Option<Duration> {
        let longest = |side| self.options(side).resume_timeout.filter(|_| self.options(side).can_resume());
        longest(Side::Client).zip(longest(Side::Server)).map(|(client, server)| client.min(server))
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
    pub late: Vec<(u16, Epoch)>,
    pub next_connection: u32,
}

pub struct Connection {
    pub id: u32,
    /// What each side has on this connection, until it notices that it is lost.
    pub ends: [Option<End>; 2],
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
    pub closing: bool,
    /// A resource is bound.
    pub bound: bool,
    /// The client has asked for a session.
    pub attempted: bool,
    /// Since when the peer has left an `<r/>` of this stream unanswered.
    pub asked: Option<Instant>,
    /// How many stanzas had been sent at the last `<r/>`.
    pub asked_at: usize,
    /// When another is due.
    pub again: Option<Instant>,
    /// For a while no more stanzas were taken.
    pub was_blocked: bool,
    /// Since when the queue has been over its bounds.
    pub over: Option<Instant>,
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
}

impl End {
    pub fn new(stream: StreamMgmt<Msg>, session: Option<u16>, step: Step) -> Self {
        Self {
            stream,
            session,
            step,
            closing: false,
            bound: false,
            attempted: false,
            asked: None,
            asked_at: 0,
            again: None,
            was_blocked: false,
            over: None,
        }
    }
}

impl Connection {
    pub fn new(id: u32, carry: Carry) -> Self {
        Self { id, ends: [None, None], to: [Link::new(carry), Link::new(carry)], enabling: None }
    }

    pub fn end(&self, side: Side) -> Option<&End> {
        self.ends[side.index()].as_ref()
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
        let off = |parked: &Parked| parked.side == side && parked.session == session;
        let on = self.connections.iter().position(on).map(Place::On);
        on.or_else(|| self.parked.iter().position(off).map(Place::Off))
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
        let closed = connection.end(from).is_some_and(|end| end.closing);
        if connection.ends[to].is_some() && !closed {
            connection.to[to].write(wire);
        }
    }

    /// Writes an element of stream management on behalf of the session that the stream counts for.
    pub fn write_nonza(&mut self, cx: &Shared, at: usize, from: Side, nonza: Nonza) -> Checked {
        let end = self.end(at, from);
        let (session, enabled) = (end.session, matches!(end.step, Step::Enabled));
        let half = session.map(|session| self.session(session).half(from));
        match (&nonza, half) {
            (Nonza::Ack(h), Some(half)) if enabled => half.claims(*h)?,
            (Nonza::Request, Some(half)) if enabled => {
                let sent = half.sent.len();
                let over = session.is_some_and(|session| self.must_make_room(cx, from, session));
                let end = self.end(at, from);
                end.asked.get_or_insert(cx.now);
                end.asked_at = sent;
                end.again = None;
                // What could not be asked about before has its time from now on.
                end.over = end.over.or(over.then_some(cx.now));
            }
            (Nonza::Ack(_) | Nonza::Request, _) => {
                return Err(Violation(format!("{nonza} of {from:?} before its stream is enabled")));
            }
            (Nonza::Resumed(resumed), Some(half)) => half.claims(resumed.h)?,
            (Nonza::Resume(resume), Some(half)) => half.claims(resume.h)?,
            _ => {}
        }
        self.write(at, from, Wire::Nonza(nonza));
        Ok(())
    }

    /// Forgets connections that nobody has an end of.
    pub fn tidy(&mut self) {
        self.connections.retain(|connection| connection.ends.iter().any(Option::is_some));
    }
}
