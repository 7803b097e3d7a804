//! Stanzas on their way, and small things done to them, whichever kind they are.

use std::time::SystemTime;

use bytes::Bytes;
use jid::{BareJid, Jid};
use minidom::Element;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType, StanzaError};
use xmpp_sm::delay;

use super::xml::{from_bytes, set, to_bytes};

/// A stanza as it is written. It takes the memory that its bytes take, which a tree does not, and all its recipients
/// share them.
#[derive(Clone)]
pub struct Written {
    bytes: Bytes,
    pub class: Class,
    /// When it began to wait, if it has waited.
    pub since: Option<SystemTime>,
}

/// What becomes of a stanza whose recipient is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It waits for them: a message, or presence about a subscription.
    Kept,
    /// Another session may have it, or none: a headline.
    Passing,
    /// It goes back, if it is one that is answered.
    Refused,
}

impl Written {
    pub fn new(stanza: &Element) -> Self {
        Self { bytes: to_bytes(stanza), class: Class::of(stanza), since: None }
    }

    /// What [`new`](Self::new) wrote, and somebody kept since then.
    pub fn kept(bytes: Bytes, since: Option<SystemTime>) -> Option<Self> {
        let class = Class::of(&from_bytes(&bytes).ok()?);
        Some(Self { bytes, class, since })
    }

    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Its size in memory, which is never nothing.
    pub fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    /// With the time at which it began to wait, which is now unless it is known.
    pub fn late(&self, domain: &str) -> Bytes {
        let Some(mut stanza) = self.element() else { return self.bytes() };
        delay::stamp(&mut stanza, domain, self.since.unwrap_or_else(SystemTime::now));
        to_bytes(&stanza)
    }

    /// The stanza itself, which there always is.
    pub fn element(&self) -> Option<Element> {
        from_bytes(&self.bytes).ok()
    }
}

/// What is taken by anything that is kept, beside its bytes.
pub const OVERHEAD: usize = 128;

impl Class {
    fn of(stanza: &Element) -> Self {
        match (stanza.name(), kind(stanza)) {
            ("message", "error" | "groupchat") => Self::Refused,
            ("message", "headline") => Self::Passing,
            ("message", _) => Self::Kept,
            ("presence", "subscribe" | "subscribed" | "unsubscribe" | "unsubscribed") => Self::Kept,
            _ => Self::Refused,
        }
    }
}

/// Where it goes. None: to nobody that could be.
pub fn to(stanza: &Element, default: &BareJid) -> Option<Jid> {
    match stanza.attr("to") {
        Some(to) => Jid::new(to).ok(),
        None => Some(default.clone().into()),
    }
}

/// `get`, `set`, `chat`, ..., or nothing.
pub fn kind(stanza: &Element) -> &str {
    stanza.attr("type").unwrap_or_default()
}

/// An iq that wants an answer.
pub fn is_request(stanza: &Element) -> bool {
    stanza.name() == "iq" && matches!(kind(stanza), "get" | "set")
}

/// The beginning of an answer: the same kind of stanza, the way back.
pub fn reply(stanza: &Element, kind: &str) -> Element {
    let mut reply = Element::bare(stanza.name(), ns::JABBER_CLIENT);
    set(&mut reply, "type", kind);
    set(&mut reply, "id", stanza.attr("id"));
    set(&mut reply, "to", stanza.attr("from"));
    set(&mut reply, "from", stanza.attr("to"));
    reply
}

/// The stanza back to its sender, with what was wrong. Errors, results and presence are not answered.
pub fn bounce(stanza: &Element, condition: DefinedCondition) -> Option<Element> {
    let answered = match stanza.name() {
        "message" => kind(stanza) != "error",
        "iq" => is_request(stanza),
        _ => false,
    };
    answered.then(|| error(stanza, condition))
}

/// What was wrong with a stanza, for its sender.
pub fn error(stanza: &Element, condition: DefinedCondition) -> Element {
    let error_type = match condition {
        DefinedCondition::BadRequest | DefinedCondition::JidMalformed => ErrorType::Modify,
        DefinedCondition::ResourceConstraint => ErrorType::Wait,
        _ => ErrorType::Cancel,
    };
    let mut reply = reply(stanza, "error");
    let mut error = StanzaError::new(error_type, condition, "en", "");
    error.texts.clear();
    reply.append_child(error.into());
    reply
}
