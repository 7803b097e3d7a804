//! From an authenticated stream to a session: a new one, or one that its client had before.

use std::sync::Arc;
use std::time::Instant;

use jid::{BareJid, FullJid};
use minidom::Element;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout_at};
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::ns;
use xmpp_sm::{
    Early, Inbound, LoginStep, Nonza, Parting, Refused, Replay, StreamCondition, StreamError, Taker, Unbound,
};

use super::Server;
use super::csi;
use super::host_inline::inline_login;
use super::mail::mailbox;
use super::negotiate::{TIME, features, negotiate};
use super::nodes::shared::Shares;
use super::router::HasNewer;
use super::session::{Host, Session};
use super::smids;
use super::stanza::{kind, reply};
use super::state::complain;
use super::stream::{Connection, random};
use super::trace::What;
use super::xml::to_bytes;

/// Serves a client from its first byte until it has a session.
pub async fn serve(tcp: TcpStream, server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    let negotiated = tokio::select! {
        negotiated = negotiate(tcp, &server) => negotiated,
        () = stopping.wait() => None,
    };
    let Some((mut connection, user, inline)) = negotiated else { return };
    connection.place = server.places.take(&user);
    if connection.place.is_none() {
        return connection.send_away(StreamCondition::ResourceConstraint).await;
    }
    let asks = connection.sasl2.as_mut().map(|sasl2| std::mem::take(&mut sasl2.asks)).unwrap_or_default();
    asks.iter().for_each(|nonza| server.trace(user.as_str(), What::From(nonza)));
    (connection.number, connection.login_until) = (server.next_id(), Some(Instant::now() + TIME));
    let (config, owner) = (server.config.clone(), user.as_str());
    if let Some(inline) = inline {
        let (replay, now) = (Replay::Impossible, Instant::now()); // no early data is taken
        let step = match server.sm {
            true => inline.authenticated(config, owner, replay, now),
            false => inline.authenticated_disabled(config, owner, replay, now),
        };
        return log_in(step, connection, server).await;
    }
    let stream = match server.sm {
        true => Unbound::new(config, owner),
        false => Unbound::disabled(config, owner),
    };
    connection.outbox.push(&to_bytes(&features(true, stream.has_feature(), server.csi)));
    Login { server, stream, connection }.ask().await;
}

/// Sends a connection to the session that it asks for. If there is none, its login goes on.
pub fn hand_over(taker: Taker<Box<Connection>>, server: &Arc<Server>) {
    smids::resume(taker, server).into_iter().for_each(|refused| continue_login(refused, server.clone()));
}

/// A client does not get the session that it asked for.
pub fn continue_login(Refused { step, connection }: Refused<Box<Connection>>, server: Arc<Server>) {
    server.metrics.iter().for_each(|metrics| metrics.refused(&step));
    tokio::spawn(log_in(step, connection, server));
}

/// Waits until the client has a session, or is gone, or sent away.
async fn log_in(step: LoginStep, connection: Box<Connection>, server: Arc<Server>) {
    if let Some((stream, connection)) = inline_login(step, connection, &server).await {
        Login { server, stream, connection }.ask().await;
    }
}

/// A client without a session.
struct Login {
    server: Arc<Server>,
    stream: Unbound,
    connection: Box<Connection>,
}

impl Login {
    /// The client asks, element by element.
    async fn ask(mut self) {
        let mut stopping = self.server.stopping.clone();
        let until = self.connection.login_until.unwrap_or_else(Instant::now).into();
        loop {
            let element = tokio::select! {
                element = self.connection.ask() => match element {
                    Ok(element) => element,
                    Err(_) => return,
                },
                () = sleep_until(until) => return self.connection.send_away(StreamCondition::ConnectionTimeout).await,
                // An error is reply enough to a `<resume/>` that is on its way: the client would give its session up.
                () = stopping.wait() => return self.connection.close(None).await,
            };
            let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
            if let Inbound::Nonza(nonza) = &inbound {
                self.server.trace(self.stream.owner(), What::From(nonza));
            }
            match self.stream.handle(inbound, Instant::now()) {
                Ok(Early::Stanza) => return self.bind(&element).await,
                Ok(Early::Resume(request)) => {
                    if let Ok(taker) = self.stream.into_taker(request, self.connection) {
                        hand_over(taker, &self.server);
                    }
                    return;
                }
                Ok(Early::Write(nonza)) => self.write(&nonza),
                Ok(Early::Close(last)) => return self.connection.part(Parting::Say(last)).await,
                Ok(Early::Ignore) => {}
                _ if csi::is_active(&element).is_some() => {} // each stream begins active, and nothing waits yet
                _ => return self.connection.send_away(StreamCondition::UnsupportedStanzaType).await,
            }
        }
    }

    async fn bind(self, iq: &Element) {
        let Some(jid) = asked_for(iq, self.stream.owner()) else {
            return self.connection.send_away(StreamCondition::NotAuthorized).await;
        };
        let mut result = reply(iq, "result");
        result.append_child(BindResponse { jid: jid.clone() }.into());
        let begin = |connection| self.stream.bind(connection);
        bind(begin, self.connection, jid, &to_bytes(&result), None, self.server).await;
    }

    fn write(&mut self, nonza: &Nonza) {
        self.server.write(self.stream.owner(), &mut self.connection, nonza);
    }
}

/// Binds a resource: a session begins, once the one that had the resource is over. `result` is what the client waits for.
///
/// `is_active`: what the client has said of itself.
pub async fn bind(
    begin: impl FnOnce(Box<Connection>) -> Session,
    mut connection: Box<Connection>,
    jid: FullJid,
    result: &[u8],
    is_active: Option<bool>,
    server: Arc<Server>,
) {
    let (handle, mailbox) = mailbox();
    let id = connection.number;
    // What the former session leaves comes before all that arrives from now on.
    loop {
        match server.router.bind(id, &jid, &handle) {
            Ok(Some(mut former)) => {
                let until = connection.login_until.unwrap_or_else(Instant::now).into();
                tokio::select! {
                    biased;
                    // It would take the resource from the client's next connection, perhaps at another node.
                    () = connection.reader.gone() => return,
                    over = timeout_at(until, former.recv()) => if over.is_err() {
                        // Where nodes share an engine that fails, it is not over.
                        return connection.send_away(StreamCondition::ResourceConstraint).await;
                    }
                }
            }
            Ok(None) => break,
            Err(HasNewer) => return connection.close(Some(StreamError::Conflict)).await,
        }
    }
    let mut shares = None;
    if let Some(nodes) = &server.nodes {
        match Shares::begin(nodes, &jid).await {
            Ok(begun) => shares = Some(begun),
            Err(error) => {
                complain(format_args!("{jid}: {error}"));
                server.router.forget(id, &jid);
                return connection.send_away(StreamCondition::ResourceConstraint).await;
            }
        }
    }
    connection.outbox.push(result);
    connection.login_until.take_if(|_| !result.is_empty()); // or the session has the answer
    let mut host = Host::new(server, jid, id, handle, shares);
    let mut session = Box::new(begin(connection));
    if let Some(active) = is_active {
        host.set_active(active, &mut session);
    }
    tokio::spawn(host.serve(session, mailbox));
}

/// The full JID of a client that asks for a resource, or takes what it is given.
fn asked_for(iq: &Element, owner: &str) -> Option<FullJid> {
    let query = iq.get_child("bind", ns::BIND).filter(|_| kind(iq) == "set")?;
    let resource = BindQuery::try_from(query.clone()).ok()?.resource;
    let user = BareJid::new(owner).ok()?;
    let asked = resource.and_then(|resource| user.with_resource_str(&resource).ok());
    asked.or_else(|| user.with_resource_str(&format!("{:016x}", random())).ok())
}
