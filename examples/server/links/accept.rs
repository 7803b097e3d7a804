//! A peer that has connected and authenticated, and asks for the session that it had, or begins one.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use xmpp_sm::{Early, Inbound, LoginStep, Nonza, Parting, Refused, StreamCondition, Unbound};

use super::super::smids::resume;
use super::super::stream::Connection;
use super::super::trace::What;
use super::session::Link;

/// How long a peer may keep silent. After that it has no former session, and gets what is for it: a component need not
/// know of stream management, and may have nothing to say before it is spoken to.
const SILENCE: Duration = Duration::from_secs(2);

/// The stream of a peer that has authenticated.
pub fn stream(link: &Link) -> Unbound {
    match link.server.sm {
        true => Unbound::without_bind(link.config.clone(), link.domain.as_str()),
        false => Unbound::disabled(link.config.clone(), link.domain.as_str()),
    }
}

/// The peer does not get the session that it asked for.
pub fn continue_login(link: Link, Refused { step, mut connection }: Refused<Box<Connection>>) {
    let LoginStep::Failed { failed, stream } = step else { return }; // there is no SASL2 here
    write(&link, &mut connection, &failed);
    tokio::spawn(serve(link, stream, connection));
}

/// Waits until the peer has a session, or is gone, or sent away.
pub async fn serve(link: Link, mut stream: Unbound, mut connection: Box<Connection>) {
    let mut stopping = link.server.stopping.clone();
    loop {
        let element = tokio::select! {
            element = connection.ask() => match element {
                Ok(element) => element,
                Err(_) => return,
            },
            () = sleep(SILENCE) => return link.begin(stream, connection, None).await,
            () = stopping.wait() => return connection.send_away(StreamCondition::SystemShutdown).await,
        };
        let inbound = stream.inbound(&element);
        if let Inbound::Nonza(nonza) = &inbound {
            link.server.trace(link.domain.as_str(), What::From(nonza));
        }
        match stream.handle(inbound, Instant::now()) {
            Ok(Early::Begin | Early::Stanza) => return link.begin(stream, connection, Some(element)).await,
            Ok(Early::Resume(request)) => {
                let Ok(taker) = stream.into_taker(request, connection) else { return }; // the request is this stream's
                match resume(taker, &link.server) {
                    Some(refused) => return continue_login(link, refused),
                    None => return,
                }
            }
            Ok(Early::Write(nonza)) => write(&link, &mut connection, &nonza),
            Ok(Early::Close(last)) => return connection.part(Parting::Say(last)).await,
            Ok(Early::Ignore) => {}
            _ => return connection.send_away(StreamCondition::UnsupportedStanzaType).await,
        }
    }
}

fn write(link: &Link, connection: &mut Connection, nonza: &Nonza) {
    link.server.write(link.domain.as_str(), connection, nonza);
}
