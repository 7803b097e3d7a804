//! From an authenticated stream to a session: a new one, or one that its client had before.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jid::{BareJid, FullJid};
use minidom::Element;
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::ns;
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_sm::{Action, Answer, Inbound, StreamMgmt};

use super::Server;
use super::connected::Connected;
use super::negotiate::{TIME, features, negotiate};
use super::session::Session;
use super::stanza::{kind, reply};
use super::stream::{Connection, random, stream_error};
use super::takeover::resume;
use super::xml::to_bytes;

/// Serves a client from its first byte to its last.
pub async fn serve(tcp: TcpStream, server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    let negotiated = tokio::select! {
        negotiated = negotiate(tcp, &server) => negotiated,
        () = stopping.wait() => None,
    };
    let Some((connection, user)) = negotiated else { return };
    let mut sm = match server.sm {
        true => StreamMgmt::server(server.config.clone()),
        false => StreamMgmt::disabled(server.config.clone()),
    };
    sm.authenticated();
    let mut login = Login { server, user, sm, connection };
    if let Some(session) = login.session().await {
        Connected::new(session, login.sm, login.connection).run().await;
    }
}

/// A client without a session.
struct Login {
    server: Arc<Server>,
    user: BareJid,
    sm: StreamMgmt<Bytes>,
    connection: Connection,
}

impl Login {
    /// Waits until the client has a session. None: it is gone, or sent away.
    async fn session(&mut self) -> Option<Session> {
        let mut stopping = self.server.stopping.clone();
        let deadline = tokio::time::Instant::now() + TIME;
        self.connection.outbox.push(&to_bytes(&features(self.sm.has_feature())));
        loop {
            // Nothing but this is given up in the middle: a session that is on its way to us must find us here.
            let element = tokio::select! {
                element = self.connection.ask() => element.ok()?,
                () = sleep_until(deadline) => {
                    return self.away(DefinedCondition::ConnectionTimeout, "that took too long").await;
                }
                () = stopping.wait() => return self.away(DefinedCondition::SystemShutdown, "goodbye").await,
            };
            if let Some(session) = self.element(element).await? {
                return Some(session);
            }
        }
    }

    async fn element(&mut self, element: Element) -> Option<Option<Session>> {
        let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
        if let Inbound::Nonza(nonza) = &inbound {
            self.server.trace(self.user.as_str(), true, nonza);
        }
        let answer = match self.sm.handle(inbound, Instant::now()) {
            Ok(Action::Deliver(receipt)) => {
                // Stream management is off, and neither this nor `record_sent` does anything. Every stanza has them.
                let _ = self.sm.record_handled(receipt);
                return match bind(&element, &self.user) {
                    Some(jid) => Some(Some(self.bound(&element, jid))),
                    None => self.away(DefinedCondition::NotAuthorized, "bind a resource first").await,
                };
            }
            Ok(Action::Resume(request)) => {
                let (sm, connection) = (&mut self.sm, &mut self.connection);
                return Some(resume(request, &self.user, &self.server, sm, connection).await);
            }
            Ok(_) => return self.away(DefinedCondition::UnsupportedStanzaType, element.name()).await,
            Err(error) => error.answer(),
        };
        match answer {
            Answer::Reply(nonza) => self.server.send(self.user.as_str(), &mut self.connection, &nonza),
            Answer::End(_) => return self.away(DefinedCondition::PolicyViolation, "not now").await,
            Answer::Nothing | Answer::Later | Answer::Detach => {}
        }
        Some(None)
    }

    fn bound(&mut self, iq: &Element, jid: FullJid) -> Session {
        let session = Session::bind(self.server.clone(), jid.clone());
        let mut result = reply(iq, "result");
        result.append_child(BindResponse { jid }.into());
        let result = to_bytes(&result);
        let _ = self.sm.record_sent(result.clone(), Instant::now());
        self.connection.outbox.push(&result);
        self.sm.bound();
        session
    }

    async fn away<T>(&mut self, condition: DefinedCondition, text: &str) -> Option<T> {
        self.connection.outbox.push(&to_bytes(&stream_error(condition, text)));
        self.connection.close().await;
        None
    }
}

/// The full JID of a client that asks for a resource, or takes what it is given.
fn bind(iq: &Element, user: &BareJid) -> Option<FullJid> {
    let query = iq.get_child("bind", ns::BIND).filter(|_| kind(iq) == "set")?;
    let resource = BindQuery::try_from(query.clone()).ok()?.resource;
    let asked = resource.and_then(|resource| user.with_resource_str(&resource).ok());
    asked.or_else(|| user.with_resource_str(&format!("{:016x}", random())).ok())
}
