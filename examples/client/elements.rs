//! Elements as they come and go.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use jid::Jid;
use minidom::Element;
use xmpp_parsers::delay::Delay;
use xmpp_parsers::message::{Id, Lang, Message, MessageType};
use xmpp_parsers::ns;
use xmpp_sm::{Action, Answer, Inbound, Nonza, StreamMgmt};

use crate::lines::print;
use crate::session::Stop;
use crate::stream::Connection;

/// Every element that arrives is shown to `sm`, which knows what counts. One that it does not take yet comes back.
pub fn hear(
    connection: &mut Connection,
    sm: &mut StreamMgmt<Bytes>,
    element: Element,
) -> Result<Option<Element>, Stop> {
    match sm.handle(Inbound::from_element(&element, ns::JABBER_CLIENT), Instant::now()) {
        Ok(Action::Deliver(receipt)) => {
            take(&element);
            // It is handled now: from here on h covers it.
            write(connection, sm.record_handled(receipt)?);
        }
        Ok(Action::Send(nonza)) => write(connection, Some(nonza)),
        Ok(Action::Other) if element.is("error", ns::STREAM) => {
            let condition = element.children().next().map_or("unknown", Element::name);
            return Err(Stop::Lost(format!("stream error: {condition}")));
        }
        Ok(Action::Other) => take(&element),
        Ok(_) => {}
        Err(error) => match error.answer() {
            Answer::Later => return Ok(Some(element)),
            other => answer(connection, other)?,
        },
    }
    Ok(None)
}

pub fn answer(connection: &mut Connection, answer: Answer) -> Result<(), Stop> {
    match answer {
        // Only what `hear` gives is to be given later.
        Answer::Nothing | Answer::Later => Ok(()),
        Answer::Reply(nonza) => {
            write(connection, Some(nonza));
            Ok(())
        }
        Answer::End(end) => Err(Stop::End(end)),
        Answer::Detach => Err(Stop::Silent),
    }
}

pub fn write(connection: &mut Connection, nonza: Option<Nonza>) {
    if let Some(nonza) = nonza {
        let mut bytes = BytesMut::new();
        nonza.write_to(&mut bytes);
        connection.outbox.push(&bytes);
    }
}

pub fn message(to: &Jid, id: String, text: String) -> Element {
    let mut message = Message::chat(to.clone()).with_body(Lang::default(), text);
    message.id = Some(Id(id));
    message.into()
}

/// Shows a message; the rest is of no interest here.
pub fn take(element: &Element) {
    let Ok(message) = Message::try_from(element.clone()) else { return };
    let Some(text) = message.bodies.values().next().filter(|_| message.type_ != MessageType::Error) else { return };
    let delay = message.payloads.iter().find_map(|payload| Delay::try_from(payload.clone()).ok());
    let stamp = delay.map_or("-".to_owned(), |delay| delay.stamp.0.to_rfc3339());
    print("received", &format_args!("{stamp} {text}"));
}
