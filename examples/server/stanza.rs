//! Small things done to stanzas, whichever kind they are.

use jid::{BareJid, Jid};
use minidom::Element;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType, StanzaError};

use super::xml::set;

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
    let error_type = match condition {
        DefinedCondition::BadRequest | DefinedCondition::JidMalformed => ErrorType::Modify,
        _ => ErrorType::Cancel,
    };
    answered.then(|| {
        let mut reply = reply(stanza, "error");
        let mut error = StanzaError::new(error_type, condition, "en", "");
        error.texts.clear();
        reply.append_child(error.into());
        reply
    })
}
