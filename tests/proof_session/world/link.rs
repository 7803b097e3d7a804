//! Connections, and what is on its way on them.

use std::collections::VecDeque;

use minidom::Element;
use xmpp_sm::{Inbound, InlineRequest, InlineResume, Nonza, Offer, ResumeRequest, Stanza, Unbound};

/// A stanza: its number, and what matters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Even for the client's, odd for the server's; in the order in which they were sent.
    pub id: u32,
    pub bytes: usize,
    /// Whether it replaces others like it.
    pub is_presence: bool,
    /// Whether it stands for one that was taken back.
    pub is_retracted: bool,
}

impl Stanza for Item {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn replaces(&self, older: &Self) -> bool {
        self.is_presence && older.is_presence
    }
}

/// An element on its way.
#[derive(Clone, Debug)]
pub enum Elem {
    Stanza(Item),
    Nonza(Nonza),
    Malformed,
    Error {
        conflict: bool,
    },
    /// `</stream:stream>`.
    Close,
    /// The request to bind a resource, and the answer.
    Bind,
    Bound,
    /// `<authenticate/>` of SASL2.
    Authenticate(Element),
    /// `<success/>`, and what the features after it offer, if they follow.
    Success(Element, Option<Offer>),
    /// `<failure/>`.
    Failure,
}

impl Elem {
    /// As a host gives it to its session. `None`: `</stream:stream>` is no element, and SASL is the host's.
    pub fn inbound(&self) -> Option<Inbound> {
        Some(match self {
            Self::Stanza(item) => Inbound::Stanza { bytes: item.bytes },
            Self::Nonza(nonza) => nonza.clone().into(),
            Self::Malformed => {
                let element: minidom::Element = "<a xmlns='urn:xmpp:sm:3' h='-1'/>".parse().expect("XML");
                Inbound::from_element(&element, "jabber:client")
            }
            Self::Error { conflict } => Inbound::StreamError { conflict: *conflict },
            Self::Bind | Self::Bound => Inbound::Stanza { bytes: 1 },
            Self::Close | Self::Authenticate(_) | Self::Success(..) | Self::Failure => return None,
        })
    }
}

/// Who has an end of a connection.
#[derive(Debug)]
pub enum End {
    /// A session: it writes to it, or it waits in it.
    Host(usize),
    /// A client that waits for `<success/>`.
    Login(InlineRequest),
    /// A stream without a session; the host may have its request, or have dropped it.
    Unbound(Unbound, Request),
    /// A stream whose client has asked for its session in `<authenticate/>`: the host has the request.
    Asked(InlineResume),
    /// It waits in a mailbox.
    Mail,
    /// Somebody who reads and says nothing.
    Mute,
    Gone,
}

#[derive(Debug)]
pub enum Request {
    None,
    Held(ResumeRequest),
    Dropped,
}

/// One connection. Of the pairs the client's comes first.
#[derive(Debug)]
pub struct Link {
    /// What is on its way to each end.
    pub wire: [VecDeque<Elem>; 2],
    pub end: [End; 2],
    /// Whether an end's output takes nothing.
    pub is_clogged: [bool; 2],
    /// Whether an end has written `</stream:stream>`.
    pub is_closed: [bool; 2],
    /// The life of a session that this connection carries.
    pub life: Option<usize>,
    /// The `h` of the client's `<resume/>`, and of the server's `<resumed/>`.
    pub h: [Option<u32>; 2],
    /// How many `<r/>` have arrived at each end, and how many `<a/>` it has written.
    pub requests: [u32; 2],
    pub acks: [u32; 2],
    /// How many `<r/>` each end has written.
    pub asks: [u32; 2],
    /// How many of those nobody has asked for.
    pub unasked: [u32; 2],
    /// The `h` of the last `<a/>` of each end.
    pub told: [Option<u32>; 2],
    /// Whether the last thing that an end wrote was a flush, and whether the next has to be one.
    pub flushed: [bool; 2],
    pub must_flush: [bool; 2],
    /// Whether this end's session began on it with something that it had to write first.
    pub is_fresh: [bool; 2],
    /// Whether an element that is wrong was put on it.
    pub is_forged: bool,
    /// Whether the session was asked for in `<authenticate/>`, whether a resource was, and whether to enable was.
    pub resumes_inline: bool,
    pub binds_inline: bool,
    pub enables_inline: bool,
}

impl Link {
    pub fn new(client: End, server: End) -> Self {
        Self {
            wire: Default::default(),
            end: [client, server],
            is_clogged: [false; 2],
            is_closed: [false; 2],
            life: None,
            h: [None; 2],
            requests: [0; 2],
            acks: [0; 2],
            asks: [0; 2],
            unasked: [0; 2],
            told: [None; 2],
            flushed: [false; 2],
            must_flush: [false; 2],
            is_fresh: [false; 2],
            is_forged: false,
            resumes_inline: false,
            binds_inline: false,
            enables_inline: false,
        }
    }

    /// Puts an element on its way from this side, if there is somebody at the other end.
    pub fn push(&mut self, side: usize, elem: Elem) {
        if !matches!(self.end[1 - side], End::Gone) {
            self.wire[1 - side].push_back(elem);
        }
    }

    /// This side gives its end up: what is unread is lost.
    pub fn leave(&mut self, side: usize) -> End {
        self.wire[side].clear();
        std::mem::replace(&mut self.end[side], End::Gone)
    }

    pub fn is_held_by(&self, side: usize, host: usize) -> bool {
        matches!(self.end[side], End::Host(other) if other == host)
    }

    pub fn is_gone(&self, side: usize) -> bool {
        matches!(self.end[side], End::Gone)
    }
}

/// What a side may say that may not come now.
pub fn unexpected(to: usize) -> Nonza {
    match to {
        0 => Nonza::Failed(xmpp_sm::Failed::default()),
        _ => Nonza::Enable(xmpp_sm::Enable { resume: true, max: None }),
    }
}
