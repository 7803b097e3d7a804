//! Stanzas, elements on their way, and connections.

use std::borrow::Cow;
use std::collections::VecDeque;

use xmpp_sm::snapshot::Portable;
use xmpp_sm::{Inbound, Nonza, Stanza, Unbound};

/// A message: its number, and the client that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: u32,
    pub to: u8,
}

impl Stanza for Item {
    fn bytes(&self) -> usize {
        1
    }
}

impl Portable for Item {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let [a, b, c, d] = self.id.to_be_bytes();
        Cow::Owned(vec![a, b, c, d, self.to])
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, to] = *bytes else { return None };
        Some(Self { id: u32::from_be_bytes([a, b, c, d]), to })
    }
}

/// An element on its way.
#[derive(Clone, Debug)]
pub enum Elem {
    Stanza(Item),
    Nonza(Nonza),
    Error {
        conflict: bool,
    },
    /// `</stream:stream>`.
    Close,
    /// The request to bind a resource, and the answer.
    Bind,
    Bound,
}

impl Elem {
    /// As a host gives it to its session. `None`: `</stream:stream>` is no element.
    pub fn inbound(&self) -> Option<Inbound> {
        Some(match self {
            Self::Stanza(item) => Inbound::Stanza { bytes: item.bytes() },
            Self::Nonza(nonza) => nonza.clone().into(),
            Self::Error { conflict } => Inbound::StreamError { conflict: *conflict },
            Self::Bind | Self::Bound => Inbound::Stanza { bytes: 1 },
            Self::Close => return None,
        })
    }
}

/// What the server has at its end.
#[derive(Debug)]
pub enum End {
    Unbound(Box<Unbound>),
    /// It asks for a session, and its node looks for that.
    Asks,
    /// An actor has it.
    Actor(usize),
    Gone,
}

/// One connection between a client and a node.
#[derive(Debug)]
pub struct Link {
    pub client: usize,
    pub node: usize,
    /// What is on its way to the client, and to the server.
    pub wire: [VecDeque<Elem>; 2],
    /// Whether the client is still there.
    pub has_client: bool,
    pub server: End,
}

impl Link {
    pub fn tell_client(&mut self, elem: Elem) {
        if self.has_client {
            self.wire[0].push_back(elem);
        }
    }

    pub fn tell_server(&mut self, elem: Elem) {
        if !matches!(self.server, End::Gone) {
            self.wire[1].push_back(elem);
        }
    }

    /// The server gives its end up. What it has written still arrives.
    pub fn leave(&mut self) {
        self.wire[1].clear();
        self.server = End::Gone;
    }
}
