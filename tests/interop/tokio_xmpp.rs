//! tokio-xmpp, in this process: `StanzaStream` reconnects and resumes by itself.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::oneshot;
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::stanzastream::{self, Connection, StanzaStage, StanzaState, StanzaStream, StanzaToken, StreamEvent};
use tokio_xmpp::xmlstream::Timeouts;

use crate::driver::{Command, Driver, Login, Report, Seat};
use crate::journal::{End, Event, Journal};
use crate::login::{Gate, keep_trying};
use crate::partner::{chat, take};
use crate::peers::{Client, Place};

pub struct TokioXmpp;

impl Client for TokioXmpp {
    fn name(&self) -> &'static str {
        "tokio-xmpp"
    }

    fn version(&self) -> Result<String, String> {
        let lock = include_str!("../../Cargo.lock");
        let mut lines = lock.lines().skip_while(|line| *line != "name = \"tokio-xmpp\"");
        let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
        version.map(|v| v.trim_matches('"').to_owned()).ok_or_else(|| "Cargo.lock has no tokio-xmpp".into())
    }

    fn start(&self, login: Login, journal: &Arc<Journal>, _: &Place) -> Result<Driver, String> {
        Ok(Driver::task(End::Client, journal, |seat| run(login, seat)))
    }
}

async fn run(login: Login, mut seat: Seat) -> Result<(), String> {
    let partner: Jid = login.partner.parse().map_err(|e| format!("{}: {e}", login.partner))?;
    let gate = Gate::default();
    let connector = {
        let (login, report, gate) = (login.clone(), seat.report.clone(), gate.clone());
        Box::new(move |_, slot| drop(tokio::spawn(connect(login.clone(), report.clone(), gate.clone(), slot))))
    };
    let mut stream = StanzaStream::new(connector, 4096);
    loop {
        tokio::select! {
            command = seat.commands.recv() => match command {
                Some(Command::Send { number, body }) => {
                    let token = stream.send(Box::new(chat(&partner, number, body).into())).await;
                    tokio::spawn(watch(token, number, seat.report.clone()));
                }
                Some(Command::Stop) => {
                    gate.shut(true);
                    seat.report.event(Event::Stopped);
                }
                Some(Command::Go) => gate.shut(false),
                Some(Command::Quit) | None => {
                    stream.close().await;
                    return Ok(());
                }
            },
            event = stream.next() => match event {
                Some(stanzastream::Event::Stanza(stanza)) => take(&seat.report, &stanza),
                Some(stanzastream::Event::Stream(StreamEvent::Reset { bound_jid, .. })) => {
                    stream.send(Box::new(Presence::available().into())).await;
                    seat.report.event(Event::Online { jid: bound_jid.to_string() });
                }
                Some(stanzastream::Event::Stream(StreamEvent::Resumed)) => seat.report.event(Event::Resumed),
                Some(stanzastream::Event::Stream(StreamEvent::Suspended)) => {
                    seat.report.event(Event::Offline { why: "suspended".into() });
                }
                None => return Err("the stanza stream has ended".into()),
            },
        }
    }
}

async fn watch(mut token: StanzaToken, number: u32, report: Report) {
    match token.wait_for(StanzaStage::Acked).await {
        Some(StanzaState::Acked { .. }) => report.event(Event::Acked { number }),
        other => report.event(Event::Note(format!("message {number}: {other:?}"))),
    }
}

async fn connect(login: Login, report: Report, gate: Gate, slot: oneshot::Sender<Connection>) {
    let timeouts = Timeouts { read_timeout: Duration::from_secs(20), response_timeout: Duration::from_secs(10) };
    let Ok(identity) = login.jid.parse() else { return };
    let (features, stream) = keep_trying(&login, timeouts, &gate, &report).await;
    let _ = slot.send(Connection { stream, features, identity });
}
