//! What a test may look at.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use xmpp_sm::{Detached, EndReason, Returned, StreamMgmt, Unacked, delay};

use super::{Conn, Net, Peer, Place, Side, wire};

/// A stanza that came back to a host.
#[derive(Clone, Debug)]
pub struct Back {
    /// On which connection its session was.
    pub conn: Conn,
    /// How the session ended. `None`: it goes on, and the stanza had to make room.
    pub reason: Option<EndReason>,
    pub returned: Returned<String>,
    /// When it was queued, after the start of the virtual time.
    pub queued: Duration,
}

/// `Expired, 1, at 5 s: <message id='m1'/>`
impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = self.reason.map_or_else(|| "evicted".to_owned(), |reason| format!("{reason:?}"));
        let line = wire::lines(&self.returned.stanza).concat();
        write!(f, "{how}, {}, at {} s: {line}", self.returned.number, self.queued.as_secs_f64())
    }
}

/// All of a state, as text, with the stanzas that it holds, which its own text leaves out.
pub fn state_of(state: &impl State) -> String {
    let kept: Vec<_> = state.kept().collect();
    format!("{state:?} {kept:?}")
}

pub trait State: fmt::Debug {
    fn kept(&self) -> Unacked<'_, String>;
}

impl State for StreamMgmt<String> {
    fn kept(&self) -> Unacked<'_, String> {
        self.unacked()
    }
}

impl State for Detached<String> {
    fn kept(&self) -> Unacked<'_, String> {
        self.unacked()
    }
}

impl Net {
    /// Delivers everything, and compares what was written since the last look.
    #[track_caller]
    pub fn expect(&mut self, transcript: &str) {
        self.run();
        self.written(transcript);
    }

    /// Compares what was written since the last look. Nothing is delivered.
    #[track_caller]
    pub fn written(&mut self, transcript: &str) {
        let expected = wire::transcript(transcript);
        let actual = &self.log[self.read..];
        assert!(
            actual == expected,
            "the transcript is\n    {}\nand not\n    {}",
            actual.join("\n    "),
            expected.join("\n    "),
        );
        self.read = self.log.len();
    }

    /// Delivers everything, and takes it as read.
    pub fn skip(&mut self) {
        self.run();
        self.take_as_read();
    }

    /// Takes what was written as read. Nothing is delivered.
    pub fn take_as_read(&mut self) {
        self.read = self.log.len();
    }

    /// What came back to the server's host since the last look, in order.
    #[track_caller]
    pub fn handed_back(&mut self, expected: &[&str]) {
        let actual: Vec<_> = std::mem::take(&mut self.back).iter().map(Back::to_string).collect();
        assert_eq!(actual, expected);
    }

    /// What came back to a client's host since the last look, in order.
    #[track_caller]
    pub fn handed_back_to_client(&mut self, expected: &[&str]) {
        let actual: Vec<_> = std::mem::take(&mut self.client_back).iter().map(Back::to_string).collect();
        assert_eq!(actual, expected);
    }

    /// What came back to the server's host, to be looked at or sent on.
    pub fn take_handed_back(&mut self) -> Vec<Back> {
        std::mem::take(&mut self.back)
    }

    /// What could not even be recorded.
    #[track_caller]
    pub fn undelivered(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.undelivered), expected);
    }

    /// The sessions of the server that have ended since the last look, by connection.
    #[track_caller]
    pub fn ended(&mut self, expected: &[(Conn, EndReason)]) {
        assert_eq!(std::mem::take(&mut self.endings), expected);
    }

    /// The ids of the stanzas that a side of a session got, over all its connections.
    pub fn got(&self, conn: Conn, side: Side) -> Vec<&str> {
        self.peer(self.whereabouts(conn, side), side).got.iter().map(String::as_str).collect()
    }

    pub fn peer(&self, conn: Conn, side: Side) -> &Peer {
        &self.connections[conn - 1].peers[side as usize]
    }

    pub fn peer_mut(&mut self, conn: Conn, side: Side) -> &mut Peer {
        &mut self.connections[conn - 1].peers[side as usize]
    }

    #[track_caller]
    pub fn stream(&self, conn: Conn, side: Side) -> &StreamMgmt<String> {
        match &self.peer(conn, side).place {
            Place::Live(stream) => stream,
            other => panic!("the {side:?} has no stream on connection {conn}: {other:?}"),
        }
    }

    #[track_caller]
    pub fn stream_mut(&mut self, conn: Conn, side: Side) -> &mut StreamMgmt<String> {
        match &mut self.peer_mut(conn, side).place {
            Place::Live(stream) => stream,
            other => panic!("the {side:?} has no stream on connection {conn}: {other:?}"),
        }
    }

    #[track_caller]
    pub fn client(&self, conn: Conn) -> &StreamMgmt<String> {
        self.stream(conn, Side::Client)
    }

    #[track_caller]
    pub fn server(&self, conn: Conn) -> &StreamMgmt<String> {
        self.stream(conn, Side::Server)
    }

    /// The session that waits on this connection.
    #[track_caller]
    pub fn detached(&self, conn: Conn, side: Side) -> &Detached<String> {
        match &self.peer(conn, side).place {
            Place::Detached(session) => session,
            other => panic!("the {side:?} has no detached session on connection {conn}: {other:?}"),
        }
    }

    /// All of the state on one side, to be compared with what it was before.
    pub fn state(&self, conn: Conn, side: Side) -> String {
        match &self.peer(conn, side).place {
            Place::Live(stream) => state_of(stream),
            Place::Detached(session) => state_of(session),
            other => format!("{other:?}"),
        }
    }

    pub fn is_gone(&self, conn: Conn, side: Side) -> bool {
        matches!(self.peer(conn, side).place, Place::Gone)
    }

    pub fn owner(&self, conn: Conn) -> String {
        self.connections[conn - 1].owner.clone()
    }

    /// The connection that has the session which began on this one.
    pub fn whereabouts(&self, conn: Conn, side: Side) -> Conn {
        match self.peer(conn, side).place {
            Place::MovedTo(next) => self.whereabouts(next, side),
            _ => conn,
        }
    }

    /// What is on the way from this side.
    pub fn on_the_way(&self, conn: Conn, side: Side) -> usize {
        self.connections[conn - 1].on_the_way[side as usize].len()
    }

    pub(super) fn note_back(&mut self, conn: Conn, side: Side, reason: Option<EndReason>, returned: Returned<String>) {
        let queued = returned.queued.duration_since(self.base);
        let back = Back { conn, reason, returned, queued };
        match side {
            Side::Client => self.client_back.push(back),
            Side::Server => self.back.push(back),
        }
    }

    /// The stanza with the stamp of its queueing; the virtual clock starts at the epoch.
    pub fn delayed(&self, back: &Back) -> String {
        let mut element = wire::read(&back.returned.stanza).0.remove(0);
        let wall_clock = UNIX_EPOCH + self.now.duration_since(self.base);
        delay::stamp(&mut element, "capulet.lit", delay::wall_clock(back.returned.queued, self.now, wall_clock));
        String::from(&element)
    }
}
