//! A component (XEP-0114) that sends each message back, once, whatever becomes of its connection:
//!
//! ```text
//! cargo run --example server -- --user romeo:secret --component echo.localhost:secret \
//!     --listen-components 127.0.0.1:5347
//! cargo run --example component -- --connect 127.0.0.1:5347 --domain echo.localhost --secret secret
//! ```

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

// The example client's, and the example server's.
#[allow(dead_code, reason = "a client does more with it")]
#[path = "client/connection.rs"]
mod connection;
#[allow(dead_code, reason = "a server does more with it")]
#[path = "server/xml.rs"]
mod xml;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use minidom::Element;
use tokio::time::{sleep, sleep_until, timeout};
use xmpp_parsers::component::Handshake;
use xmpp_parsers::ns;
use xmpp_sm::{Arrival, Config, EndReason, Event, Offer};

use connection::{Connection, drive};
use xml::{Incoming, ReadError, set, to_bytes};

type Session = xmpp_sm::Session<Bytes, Connection>;

/// How long a login may take, and how long after a lost connection the next one is tried.
const LOGIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// A component that sends each message back to whoever it is from.
#[derive(Debug, Parser)]
pub struct Options {
    /// The server's address for components
    #[arg(long)]
    pub connect: SocketAddr,

    /// The component's own domain
    #[arg(long)]
    pub domain: String,

    /// What it shares with the server
    #[arg(long)]
    pub secret: String,

    /// Not to ask for stream management. A component is not told whether its server knows of it
    #[arg(long)]
    pub no_sm: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    run(&Options::parse(), async { drop(tokio::signal::ctrl_c().await) }).await;
}

/// Runs until `stop`.
pub async fn run(options: &Options, stop: impl Future<Output = ()>) {
    let config = Config::default().stanza_ns(ns::COMPONENT_ACCEPT);
    let mut session = Session::client(Arc::new(config), options.domain.as_str());
    let (mut stop, mut is_stopping) = (pin!(stop), false);
    let mut login = Box::pin(log_in(options));
    loop {
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting, .. } => drop(tokio::spawn(connection.part(parting))),
                Event::Ended(_) => return,
                _ => {}
            }
        }
        while session.connection().is_some_and(Connection::has_room)
            && let Some((connection, item)) = session.next_write(Instant::now())
        {
            connection.push(item);
        }
        let (is_offline, deadline) = (session.connection().is_none(), session.deadline());
        let reads = session.wants_read() && (session.has_room() || is_stopping); // what is read is answered
        tokio::select! {
            connection = &mut login, if is_offline && !is_stopping => {
                login.set(log_in(options));
                // XEP-0114 knows no features in which a server could say that it offers stream management.
                let offer = Offer { stream_management: !options.no_sm, binds: false };
                let _ = session.connect(&options.domain, offer, connection, Instant::now());
            }
            arrived = drive(session.connection_mut(), reads) => match arrived {
                Ok(None) => {}
                Ok(Some(Incoming::Element(element))) => on_element(&element, &mut session),
                Ok(Some(Incoming::Nonza(nonza))) => drop(session.handle(nonza.into(), Instant::now())),
                Ok(Some(Incoming::Footer | Incoming::Header)) => session.peer_closed(Instant::now()),
                Err(_) => session.lost(Instant::now()),
            },
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                session.close(EndReason::Closed, None, Instant::now());
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                session.timeout(Instant::now());
            }
        }
    }
}

fn on_element(element: &Element, session: &mut Session) {
    let now = Instant::now();
    let Ok(Arrival::Stanza(receipt)) = session.handle(session.inbound(element), now) else { return };
    if let Some(answer) = answer(element) {
        let _ = session.send(to_bytes(&answer), now); // unless the session is over there is room
    }
    // The answer is the session's now: from here on h covers what was answered.
    let _ = session.settle(receipt, now);
}

/// It is written as a child of the stream, where a name without a prefix is of the stream's namespace: `to_bytes` knows that
/// as `jabber:client`.
fn answer(stanza: &Element) -> Option<Element> {
    let body = stanza.get_child("body", ns::COMPONENT_ACCEPT).filter(|_| stanza.name() == "message");
    let child = match stanza.attr("type") {
        Some("get" | "set") => {
            let condition = Element::bare("service-unavailable", ns::XMPP_STANZAS);
            Element::builder("error", ns::JABBER_CLIENT)
                .attr(rxml::xml_ncname!("type").into(), "cancel")
                .append(condition)
        }
        Some("error") => return None,
        _ => Element::builder("body", ns::JABBER_CLIENT).append(body?.text()),
    };
    let mut answer = Element::builder(stanza.name(), ns::JABBER_CLIENT).append(child.build()).build();
    set(&mut answer, "type", if body.is_some() { stanza.attr("type") } else { Some("error") });
    set(&mut answer, "id", stanza.attr("id"));
    set(&mut answer, "from", stanza.attr("to"));
    set(&mut answer, "to", stanza.attr("from"));
    Some(answer)
}

/// Connects and authenticates, sooner or later.
async fn log_in(options: &Options) -> Connection {
    loop {
        sleep(PAUSE).await;
        if let Ok(Ok(connection)) = timeout(LOGIN, attempt(options)).await {
            return connection;
        }
    }
}

async fn attempt(options: &Options) -> Result<Connection, ReadError> {
    let mut connection = Connection::open(options.connect).await?;
    let (to, ns) = (&options.domain, ns::COMPONENT_ACCEPT);
    let header = format!("<stream:stream xmlns='{ns}' xmlns:stream='{}' to='{to}'>", ns::STREAM);
    connection.push_bytes(header.as_bytes());
    connection.ask().await?;
    let id = connection.reader.header().and_then(|(header, _)| header.attr("id").map(str::to_owned));
    connection.push_element(Handshake::from_stream_id_and_password(id.unwrap_or_default(), &options.secret));
    match connection.ask().await? {
        Incoming::Element(element) if Handshake::try_from(element.clone()).is_ok() => Ok(connection),
        _ => Err(io::Error::other("the server refuses the secret").into()),
    }
}
