//! What can happen, as plain values that can be enumerated, written down and read back.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    pub fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }
}

/// One step of one pair of peers. The small numbers are places in lists: connections from the oldest,
/// open receipts from the oldest, detached sessions from the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// The client opens a connection, and asks for its session on it if it has one.
    Connect,
    /// The client binds and asks for a new session.
    Enable,
    /// The host of this side has a stanza for the other.
    Send(Side),
    /// The next element arrives at this side.
    Deliver(Side, u8),
    /// So many bytes arrive at this side, whatever elements they are parts of.
    Read(Side, u8, u16),
    /// The host of this side has handled a stanza.
    Handle(Side, u8),
    /// The host of this side gives a stanza up by its number.
    GiveUp(Side, u8),
    /// The host of this side gives up all that is open in the session of its oldest receipt.
    GiveUpAll(Side),
    /// This side notices that the connection is lost. What was on its way to it is lost, too; what it has
    /// written may still arrive.
    Cut(Side, u8),
    /// The server's host tries again what was "not yet".
    Retry(u8),
    /// An `<r/>` out of turn.
    Request(Side),
    /// An `<a/>` that nobody asked for.
    Ack(Side),
    /// The clock goes on to the next time at which something is due.
    Tick,
    /// This side's timer, which is due, fires.
    Timeout(Side, u8),
    /// This side's detached session has waited long enough.
    Expire(Side, u8),
    /// This side closes the stream in good order.
    Close(Side),
    /// The task that owned a session before it was taken over cleans up, late: once with `retire` and
    /// once with `remove`.
    Late,
    /// The host of this side stops to read, or reads on.
    Listen(Side),
    /// The server gets a request on this connection, and its host loses it.
    Lose(u8),
    /// All that must be refused is tried: see `probe.rs`. It changes nothing.
    Probe,
}

/// An act, and which of the pairs that share a store does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub pair: u8,
    pub act: Act,
}

/// The names of the acts, by their tags.
const NAMES: [&str; 20] = [
    "connect",
    "enable",
    "send",
    "deliver",
    "read",
    "handle",
    "giveup",
    "cut",
    "retry",
    "r",
    "a",
    "tick",
    "timeout",
    "expire",
    "close",
    "late",
    "probe",
    "giveupall",
    "listen",
    "lose",
];

impl Act {
    fn parts(self) -> (u8, Option<Side>, Option<u8>, Option<u16>) {
        match self {
            Self::Connect => (0, None, None, None),
            Self::Enable => (1, None, None, None),
            Self::Send(side) => (2, Some(side), None, None),
            Self::Deliver(side, i) => (3, Some(side), Some(i), None),
            Self::Read(side, i, bytes) => (4, Some(side), Some(i), Some(bytes)),
            Self::Handle(side, i) => (5, Some(side), Some(i), None),
            Self::GiveUp(side, i) => (6, Some(side), Some(i), None),
            Self::Cut(side, i) => (7, Some(side), Some(i), None),
            Self::Retry(i) => (8, None, Some(i), None),
            Self::Request(side) => (9, Some(side), None, None),
            Self::Ack(side) => (10, Some(side), None, None),
            Self::Tick => (11, None, None, None),
            Self::Timeout(side, i) => (12, Some(side), Some(i), None),
            Self::Expire(side, i) => (13, Some(side), Some(i), None),
            Self::Close(side) => (14, Some(side), None, None),
            Self::Late => (15, None, None, None),
            Self::Probe => (16, None, None, None),
            Self::GiveUpAll(side) => (17, Some(side), None, None),
            Self::Listen(side) => (18, Some(side), None, None),
            Self::Lose(i) => (19, None, Some(i), None),
        }
    }

    fn from_parts(tag: u8, side: Option<Side>, i: Option<u8>, bytes: Option<u16>) -> Option<Self> {
        Some(match tag {
            0 => Self::Connect,
            1 => Self::Enable,
            2 => Self::Send(side?),
            3 => Self::Deliver(side?, i?),
            4 => Self::Read(side?, i?, bytes?),
            5 => Self::Handle(side?, i?),
            6 => Self::GiveUp(side?, i?),
            7 => Self::Cut(side?, i?),
            8 => Self::Retry(i?),
            9 => Self::Request(side?),
            10 => Self::Ack(side?),
            11 => Self::Tick,
            12 => Self::Timeout(side?, i?),
            13 => Self::Expire(side?, i?),
            14 => Self::Close(side?),
            15 => Self::Late,
            16 => Self::Probe,
            17 => Self::GiveUpAll(side?),
            18 => Self::Listen(side?),
            19 => Self::Lose(i?),
            _ => return None,
        })
    }
}

/// `pair.name`, then `c` or `s` for the side, then the numbers: `0.deliver:s:1`. The pair is left out if it
/// is the first.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, side, i, bytes) = self.act.parts();
        if self.pair > 0 {
            write!(f, "{}.", self.pair)?;
        }
        f.write_str(NAMES[usize::from(tag)])?;
        match side {
            Some(Side::Client) => f.write_str(":c")?,
            Some(Side::Server) => f.write_str(":s")?,
            None => {}
        }
        for number in [i.map(u16::from), bytes].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("not an event: {text}");
        let (pair, act) = match text.split_once('.') {
            Some((pair, act)) => (pair.parse().map_err(|_| bad())?, act),
            None => (0, text),
        };
        let mut words = act.split(':').peekable();
        let name = words.next().ok_or_else(bad)?;
        let tag = NAMES.iter().zip(0..).find(|(other, _)| **other == name).map(|(_, tag)| tag).ok_or_else(bad)?;
        let side = words.next_if(|word| matches!(*word, "c" | "s"));
        let side = side.map(|side| if side == "c" { Side::Client } else { Side::Server });
        let mut number = || words.next().map(|word| word.parse::<u16>().map_err(|_| bad())).transpose();
        let (i, bytes) = (number()?, number()?);
        let i = i.map(u8::try_from).transpose().map_err(|_| bad())?;
        let act = Act::from_parts(tag, side, i, bytes).ok_or_else(bad)?;
        Ok(Self { pair, act })
    }
}

/// For tables of many million events: the tag in five bits, the side in one, the place in five, the pair in
/// two. There is no room for the bytes of [`Act::Read`].
impl Event {
    pub fn code(self) -> u16 {
        let (tag, side, i, bytes) = self.act.parts();
        let i = i.unwrap_or(0);
        assert!(i < 32 && self.pair < 4 && bytes.is_none(), "{self} has no code");
        let side = u16::from(side == Some(Side::Server));
        u16::from(self.pair) << 11 | u16::from(i) << 6 | side << 5 | u16::from(tag)
    }

    pub fn from_code(code: u16) -> Self {
        let [pair, i, side, tag] = [code >> 11, code >> 6 & 31, code >> 5 & 1, code & 31].map(|part| part as u8);
        let side = if side == 0 { Side::Client } else { Side::Server };
        let act = Act::from_parts(tag, Some(side), Some(i), None).expect("a code that was made here");
        Self { pair, act }
    }
}
