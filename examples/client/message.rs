//! Messages as they come and go.

use bytes::Bytes;
use jid::Jid;
use minidom::Element;
use xmpp_parsers::delay::Delay;
use xmpp_parsers::message::{Id, Lang, Message, MessageType};

use super::xml;

pub fn write(to: &Jid, id: String, text: String) -> Bytes {
    let mut message = Message::chat(to.clone()).with_body(Lang::default(), text);
    message.id = Some(Id(id));
    xml::to_bytes(&message.into())
}

/// The time at which a message was sent, if it is told, and its text. The rest is of no interest here.
pub fn read(element: Element) -> Option<String> {
    let message = Message::try_from(element).ok().filter(|message| message.type_ != MessageType::Error)?;
    let text = message.bodies.values().next()?;
    let delay = message.payloads.iter().find_map(|payload| Delay::try_from(payload.clone()).ok());
    let stamp = delay.map_or("-".to_owned(), |delay| delay.stamp.0.to_rfc3339());
    Some(format!("{stamp} {text}"))
}
