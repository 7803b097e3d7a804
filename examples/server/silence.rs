//! What a session does about the time: the crate's part, and what only the server knows of the connection.
//!
//! A client that says nothing may be gone, and the kernel does not know. It is asked whether it is there: by an `<r/>`, whose
//! answer the session waits for, or where stream management is off by a ping (XEP-0199). That finds a dead link also where
//! nothing is sent, or where an inactive client is asked for nothing else.

use std::pin::Pin;
use std::time::{Duration, Instant};

use minidom::Element;
use tokio::time::{Sleep, sleep};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::ping::Ping;

use super::Server;
use super::session::{Host, Session};
use super::stanza::Written;
use super::stream::Connection;
use super::xml::set;

/// How long a client may take nothing of what is written to it.
const STALL: Duration = Duration::from_secs(60);
/// What came in time may be unread when the time is over.
const MOMENT: Duration = Duration::from_secs(1);

/// How long a client may be silent.
pub struct Patience {
    /// Until it is asked whether it is there. `None`: it is not asked.
    pub asks_after: Option<Duration>,
    /// From then on. `None`: for ever.
    pub waits: Option<Duration>,
}

/// Since when a client says nothing.
pub struct Silence {
    since: Instant,
    /// What has been done about it.
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Listens,
    Asked,
    /// There was no answer in time.
    Due,
}

impl Silence {
    pub fn new() -> Self {
        Self { since: Instant::now(), step: Step::Listens }
    }

    /// When something is to be done about it. `waits_itself`: the session does, once it is asked to ask.
    fn ends(&self, patience: &Patience, waits_itself: bool) -> Option<Instant> {
        let asked = self.since.checked_add(patience.asks_after?)?;
        match self.step {
            Step::Listens => Some(asked),
            Step::Asked | Step::Due if waits_itself => None,
            Step::Asked => asked.checked_add(patience.waits?),
            Step::Due => asked.checked_add(patience.waits?)?.checked_add(MOMENT),
        }
    }
}

/// When the client counts as gone if it takes nothing until then, or is told nothing of its login: where nodes share an
/// engine that is away, it may not be told yet that it has its session.
fn stalls(connection: &Connection) -> Option<Instant> {
    let takes = connection.outbox.waits_since().map(|since| since + STALL);
    [takes, connection.login_until].into_iter().flatten().min()
}

/// When [`timeout`] is to be called. `reads`: whether what the client says is read.
pub fn deadline(session: &mut Session, server: &Server, reads: bool) -> Option<Instant> {
    let (due, is_enabled) = (session.deadline(), session.is_enabled());
    let Some(connection) = session.connection_mut() else { return due };
    if !reads {
        connection.silence = Silence::new();
    }
    let stalls = stalls(connection);
    let silence = connection.silence.ends(&server.patience_with_silence, is_enabled);
    [due, stalls, silence].into_iter().flatten().min()
}

/// Nothing is waited for so long. A deadline that moves away with every stanza does not move the alarm, which is set anew
/// when it has come too early.
const LONG: Duration = Duration::from_secs(86_400);

/// What wakes a session's task when something is due: see [`Host::set_alarm`].
pub fn alarm() -> Sleep {
    sleep(LONG)
}

impl Host {
    /// Sets the alarm, if it would be late. Returns whether anything will be due.
    pub fn set_alarm(&self, mut alarm: Pin<&mut Sleep>, reads: bool, session: &mut Session) -> bool {
        let deadline = deadline(session, &self.server, reads).into_iter().chain(self.goes_on(session)).min();
        if let Some(due) = deadline.map(Into::into).filter(|due| *due < alarm.deadline() || alarm.is_elapsed()) {
            alarm.as_mut().reset(due);
        }
        deadline.is_some()
    }
}

/// Does what is due. `peer`: whom a ping is for.
pub fn timeout(session: &mut Session, server: &Server, peer: &str) {
    let (now, is_enabled) = (Instant::now(), session.is_enabled());
    let Some(connection) = session.connection_mut() else { return session.timeout(now) };
    let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
    if is_due(stalls(connection)) {
        return session.lost(now);
    }
    if !is_due(connection.silence.ends(&server.patience_with_silence, is_enabled)) {
        return session.timeout(now);
    }
    match connection.silence.step {
        Step::Listens => {
            connection.silence.step = Step::Asked;
            match is_enabled {
                true => session.request_ack(now),
                false => drop(session.send(ping(server, peer), now)),
            }
        }
        Step::Asked => connection.silence.step = Step::Due,
        Step::Due => session.lost(now),
    }
}

fn ping(server: &Server, peer: &str) -> Written {
    let mut ping = Element::from(Iq::from_get("ping", Ping));
    set(&mut ping, "from", server.domain.as_str());
    set(&mut ping, "to", peer);
    Written::new(&ping)
}
