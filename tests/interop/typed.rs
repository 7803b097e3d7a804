//! This crate's side once more: `examples/typed`, whose stanzas are types of xmpp-parsers. Its server is a program; its client
//! runs in this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command as Program;
use tokio_xmpp::jid::{FullJid, Jid};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::xmlstream::Timeouts;
use xmpp_sm::{Config, Counter};

use crate::driver::{Command, Driver, Login, Report, Seat};
use crate::journal::{End, Event, Journal};
use crate::login::{Gate, keep_trying};
use crate::ours::{ACK_TIMEOUT, build, example};
use crate::partner::{chat, take};
use crate::peers::{Client, DOMAIN, Options, PASSWORD, Place, Server, USERS};
use crate::scenario::Scenario;

#[path = "../../examples/typed/mod.rs"]
#[expect(dead_code, reason = "the server is a program of its own")]
mod host;

use host::client::{Connect, Heard, Stage, StanzaStream, Token};

pub struct TypedServer;

impl Server for TypedServer {
    fn name(&self) -> &'static str {
        "typed-server"
    }

    fn version(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn is_ours(&self) -> bool {
        true
    }

    /// xmpp.js takes the empty `<mechanisms/>` that xmpp-parsers 0.23 writes always for a question to authenticate again.
    fn lets_in(&self, client: &str) -> bool {
        client != "xmpp.js"
    }

    fn scenarios(&self, _: bool) -> &'static [Scenario] {
        &[Scenario::Cuts(0), Scenario::Expired, Scenario::TakeOver]
    }

    fn build(&self) -> Result<(), String> {
        build("typed")
    }

    fn prepare(&self, port: u16, options: &Options, _: &Place) -> Result<Program, String> {
        let mut command = Program::new(example("typed"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--domain", DOMAIN]);
        command.args(["--resume-timeout", &options.resume_timeout.to_string()]);
        command.args(["--buffer-max", &options.buffer_max.to_string()]);
        for user in USERS {
            command.args(["--user", &format!("{user}:{PASSWORD}")]);
        }
        Ok(command)
    }
}

pub struct TypedClient;

impl Client for TypedClient {
    fn name(&self) -> &'static str {
        "typed-client"
    }

    fn version(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn is_ours(&self) -> bool {
        true
    }

    /// With what its own code has a part in: the rest is the session's, and tried with the other client.
    fn is_tried_with(&self, scenario: &Scenario) -> bool {
        matches!(scenario, Scenario::Cuts(_) | Scenario::Expired | Scenario::TakeOver)
    }

    fn start(&self, login: Login, journal: &Arc<Journal>, _: &Place) -> Result<Driver, String> {
        Ok(Driver::task(End::Client, journal, |seat| run(login, seat)))
    }
}

async fn run(login: Login, mut seat: Seat) -> Result<(), String> {
    let partner: Jid = login.partner.parse().map_err(|e| format!("{}: {e}", login.partner))?;
    let jid: FullJid = login.jid.parse().map_err(|e| format!("{}: {e}", login.jid))?;
    let gate = Gate::default();
    let mut config = Config::default().ack_timeout(Some(ACK_TIMEOUT));
    if let Some(max) = login.max {
        config = config.resume_timeout(Some(Duration::from_secs(max.into())));
    }
    let mut stream = StanzaStream::new(config, jid, connect(login, seat.report.clone(), gate.clone()));
    loop {
        tokio::select! {
            command = seat.commands.recv() => match command {
                Some(Command::Send { number, body }) => {
                    let token = stream.send(chat(&partner, number, body).into()).map_err(|e| e.to_string())?;
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
            heard = stream.next() => match heard {
                Some(Heard::Stanza(stanza)) => take(&seat.report, &stanza),
                Some(Heard::Online(jid)) => {
                    stream.send(Presence::available().into()).map_err(|e| e.to_string())?;
                    seat.report.event(Event::Online { jid: jid.to_string() });
                }
                Some(Heard::Resumed) => seat.report.event(Event::Resumed),
                Some(Heard::NotResumed(h)) => seat.report.event(Event::Failed { h: h.map(Counter::get) }),
                Some(Heard::Offline) => seat.report.event(Event::Offline { why: "lost".into() }),
                Some(Heard::Failed(why)) => return Err(why.to_string()),
                None => return Err("the stream has ended".into()),
            },
        }
    }
}

async fn watch(mut token: Token, number: u32, report: Report) {
    match token.wait_for(|stage| !matches!(stage, Stage::Queued | Stage::Sent)).await.map(|stage| *stage) {
        Ok(Stage::Acknowledged) => report.event(Event::Acked { number }),
        other => report.event(Event::Note(format!("message {number}: {other:?}"))),
    }
}

fn connect(login: Login, report: Report, gate: Gate) -> Connect {
    Box::new(move || {
        let (login, report, gate) = (login.clone(), report.clone(), gate.clone());
        Box::pin(async move { Ok(keep_trying(&login, Timeouts::default(), &gate, &report).await) })
    })
}
