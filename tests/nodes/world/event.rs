//! What can happen, as words: `crash:1`.

use std::fmt;
use std::str::FromStr;

use crate::words::{read_event, write_event};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A client connects to a node: its number times the number of nodes, and the node's.
    Connect,
    /// The client's end of a connection is gone.
    Cut,
    /// The server's end sees that.
    Notice,
    /// An element arrives: the connection times 2, and the end.
    Deliver,
    /// A client writes a message to another.
    Send,
    /// A node has handled a stanza of a client.
    Settle,
    /// A call is carried out by the store, and stays so that it can be carried out again.
    Execute,
    /// The answer to a call arrives.
    Answer,
    /// A call is given up by its node: it is not known whether it was carried out, or still will be.
    Lose,
    /// A call that was given up, or answered, gets lost on its way.
    Forget,
    /// A session tries again to write down what is due.
    Retry,
    /// What one node says to another arrives, or gets lost.
    Message,
    Silence,
    /// A message that was handled comes to where the addressee's sessions find it.
    Mail,
    /// A node has waited long enough for another to let go.
    Patience,
    /// A node takes another for dead, which lives.
    Suspect,
    /// A node looks for what dead ones have left of a session.
    Adopt,
    /// A node is killed.
    Crash,
    /// A node is told to stop.
    Stop,
    /// A node starts.
    Start,
    /// Time goes on until something is due.
    Tick,
    /// Ten minutes go by.
    Sleep,
}

pub const ALL: &[(Act, &str)] = &[
    (Act::Connect, "connect"),
    (Act::Cut, "cut"),
    (Act::Notice, "notice"),
    (Act::Deliver, "deliver"),
    (Act::Send, "send"),
    (Act::Settle, "settle"),
    (Act::Execute, "execute"),
    (Act::Answer, "answer"),
    (Act::Lose, "lose"),
    (Act::Forget, "forget"),
    (Act::Retry, "retry"),
    (Act::Message, "message"),
    (Act::Silence, "silence"),
    (Act::Mail, "mail"),
    (Act::Patience, "patience"),
    (Act::Suspect, "suspect"),
    (Act::Adopt, "adopt"),
    (Act::Crash, "crash"),
    (Act::Stop, "stop"),
    (Act::Start, "start"),
    (Act::Tick, "tick"),
    (Act::Sleep, "sleep"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub act: Act,
    pub at: u16,
}

impl Event {
    pub fn new(act: Act, at: usize) -> Self {
        Self { act, at: at as u16 }
    }

    pub fn at(self) -> usize {
        self.at.into()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_event(f, ALL, (self.act, self.at))
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read_event(text, ALL).map(|(act, at)| Self { act, at })
    }
}
