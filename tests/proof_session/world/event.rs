//! What can happen, as plain values that can be enumerated, written down and read back.

use std::fmt;
use std::str::FromStr;

use crate::words::{read_event, write_event};

/// What a step does. Its place says to whom: a host (0 is the client, the others are the server's sessions in their
/// order), or an end of a connection, counted from the first: twice its number, and one more for the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// The client logs in on a new connection.
    Connect,
    /// Somebody has a stanza for the peer of this host.
    Send,
    /// The same, with one that is large.
    Big,
    /// The same, with one that replaces others like it.
    Presence,
    /// The host takes the next letter out of its mailbox.
    Mail,
    /// The next element arrives at this end.
    Deliver,
    /// The host settles its oldest receipt.
    Settle,
    /// The host settles its newest receipt.
    SettleLast,
    /// The host drops its oldest receipt.
    DropReceipt,
    /// The host settles the oldest stanza that is open, whose receipt it has lost.
    SettleLost,
    /// The author of the oldest unacknowledged stanza takes it back: another goes into its place.
    Retract,
    /// The session may wait for longer to be resumed.
    Prolong,
    /// The session is written down, and read by another process.
    Snapshot,
    /// The peer is inactive, or active again.
    Inactive,
    /// This end notices that the connection is lost. What is on its way to it is lost, too; what it has written may
    /// still arrive.
    Cut,
    /// This end's output takes no more, or takes again.
    Clog,
    /// The store has answered this end's request for a session.
    Lookup,
    /// This end's request for a session is dropped.
    DropRequest,
    /// A connection that waits in this host's mailbox is dropped.
    DropTaker,
    /// The host has registered the session that the peer wants to enable.
    Accept,
    /// The host refuses this end's request for a session.
    RefuseResume,
    /// The host refuses to enable.
    Refuse,
    /// The host drops the request to enable.
    DropEnable,
    /// The host ends the session.
    Close,
    /// Another device binds the same resource.
    Login,
    /// Another connection of the same client asks for the same session.
    Rival,
    /// The clock goes on to the next time at which something is due.
    Tick,
    /// The host calls `timeout`, which is due.
    Timeout,
    /// This end's stream has no session yet; its timeout is due.
    Late,
    /// The clock jumps ahead by a day.
    Sleep,
    /// The host asks for an acknowledgement of its own accord.
    Request,
    /// The host acknowledges of its own accord.
    Ack,
    /// An element that is wrong arrives at this end: an `h` that is too high, ...
    HighH,
    /// ... one that goes back, ...
    LowH,
    /// ... a request or a reply that may not come now, ...
    Unexpected,
    /// ... a malformed element, ...
    Malformed,
    /// ... a stream error.
    Error,
    /// The authentication of the client at this end fails.
    Deny,
    /// The store cannot tell whether there is the session that is asked for at this end. A login that asks for a resource,
    /// too, fails, ...
    Unknown,
    /// ... or gets it all the same.
    BindUnknown,
}

use Act::*;

/// All acts with their names, in the order of their codes.
pub const ALL: [(Act, &str); 40] = [
    (Connect, "connect"),
    (Send, "send"),
    (Big, "big"),
    (Presence, "presence"),
    (Mail, "mail"),
    (Deliver, "deliver"),
    (Settle, "settle"),
    (SettleLast, "settlelast"),
    (DropReceipt, "dropreceipt"),
    (SettleLost, "settlelost"),
    (Retract, "retract"),
    (Prolong, "prolong"),
    (Inactive, "inactive"),
    (Cut, "cut"),
    (Clog, "clog"),
    (Lookup, "lookup"),
    (DropRequest, "droprequest"),
    (DropTaker, "droptaker"),
    (Accept, "accept"),
    (RefuseResume, "refuseresume"),
    (Refuse, "refuse"),
    (DropEnable, "dropenable"),
    (Close, "close"),
    (Login, "login"),
    (Rival, "rival"),
    (Tick, "tick"),
    (Timeout, "timeout"),
    (Late, "late"),
    (Sleep, "sleep"),
    (Request, "r"),
    (Ack, "a"),
    (HighH, "highh"),
    (LowH, "lowh"),
    (Unexpected, "unexpected"),
    (Malformed, "malformed"),
    (Error, "error"),
    (Snapshot, "snapshot"),
    (Deny, "deny"),
    (Unknown, "unknown"),
    (BindUnknown, "bindunknown"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub act: Act,
    pub at: u8,
}

impl Event {
    pub const fn new(act: Act, at: usize) -> Self {
        Self { act, at: at as u8 }
    }

    pub fn at(self) -> usize {
        usize::from(self.at)
    }
}

impl Act {
    /// The acts that a world's list of words names.
    pub fn is_among(self, words: &str) -> bool {
        let name = ALL.iter().find(|(act, _)| *act == self).map(|(_, name)| *name);
        words.split_whitespace().any(|word| Some(word) == name)
    }
}

/// `name:place`: `deliver:3`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_event(f, &ALL, (self.act, self.at))
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read_event(text, &ALL).map(|(act, at)| Self { act, at })
    }
}
