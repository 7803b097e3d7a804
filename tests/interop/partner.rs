//! The plain client at the other end of the conversation: no stream management, a connection of its own that is
//! never cut. It follows the protocol of `driver.rs`.

use futures::{SinkExt, StreamExt};
use tokio_xmpp::Stanza;
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::bind::{BindQuery, BindResponse};
use tokio_xmpp::parsers::delay::Delay;
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::message::{Id, Lang, Message, MessageType};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::stanzastream::XmppStream;
use tokio_xmpp::xmlstream::{ReadError, Timeouts, XmppStreamElement};

use crate::driver::{Command, Login, Report, Seat};
use crate::journal::Event;
use crate::login::{Gate, authenticate};

pub async fn run(login: Login, mut seat: Seat) -> Result<(), String> {
    let (_, mut stream) = authenticate(&login, Timeouts::default(), &Gate::default()).await?;
    let jid = bind(&mut stream, &login).await?;
    let presence: Stanza = Presence::available().into();
    stream.send(&presence).await.map_err(|e| e.to_string())?;
    seat.report.event(Event::Online { jid });
    let partner: Jid = login.partner.parse().map_err(|e| format!("{}: {e}", login.partner))?;
    loop {
        tokio::select! {
            command = seat.commands.recv() => match command {
                Some(Command::Send { number, body }) => {
                    let message: Stanza = chat(&partner, number, body).into();
                    stream.send(&message).await.map_err(|e| e.to_string())?;
                }
                Some(Command::Quit) | None => {
                    let _ = SinkExt::<&Stanza>::close(&mut stream).await;
                    return Ok(());
                }
                Some(Command::Stop | Command::Go) => {}
            },
            element = stream.next() => match element.map(|e| e.map(|e| e.into_read_error()).and_then(|e| e)) {
                Some(Ok(XmppStreamElement::Stanza(stanza))) => take(&seat.report, &stanza),
                Some(Ok(XmppStreamElement::StreamError(error))) => return Err(error.to_string()),
                Some(Ok(_)) | Some(Err(ReadError::SoftTimeout)) => {}
                Some(Err(e)) => return Err(format!("{e:?}")),
                None => return Err("end of stream".into()),
            },
        }
    }
}

/// A message with this body, as every in-process client sends it.
pub fn chat(to: &Jid, number: u32, body: String) -> Message {
    let mut message = Message::new(Some(to.clone()));
    message.type_ = MessageType::Chat;
    message.id = Some(Id(format!("m{number}")));
    message.bodies.insert(Lang::default(), body);
    message
}

/// Reports a message; everything else is of no interest here.
pub fn take(report: &Report, stanza: &Stanza) {
    let Stanza::Message(message) = stanza else {
        return;
    };
    let Some((_, body)) = message.get_best_body(vec!["", "en"]) else {
        return;
    };
    let delay = message.payloads.iter().find_map(|payload| Delay::try_from(payload.clone()).ok());
    let delay = delay.map(|delay| delay.stamp.0.to_rfc3339());
    if message.type_ == MessageType::Error {
        report.event(Event::Note(format!("came back as an error: {body}")));
    } else {
        report.event(Event::Received { body: body.clone(), delay });
    }
}

async fn bind(stream: &mut XmppStream, login: &Login) -> Result<String, String> {
    let jid: Jid = login.jid.parse().map_err(|e| format!("{}: {e}", login.jid))?;
    let query = BindQuery::new(jid.resource().map(|resource| resource.as_str().to_owned()));
    let request: Stanza = Iq::from_set("bind", query).into();
    stream.send(&request).await.map_err(|e| e.to_string())?;
    while let Some(element) = stream.next().await {
        let element = element.map(|e| e.into_read_error()).and_then(|e| e);
        if let Ok(XmppStreamElement::Stanza(Stanza::Iq(Iq::Result { payload: Some(payload), .. }))) = element {
            let bound = BindResponse::try_from(payload).map_err(|e| e.to_string())?;
            return Ok(tokio_xmpp::jid::FullJid::from(bound).to_string());
        }
    }
    Err("no answer to bind".into())
}
