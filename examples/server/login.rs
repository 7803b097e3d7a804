//! From an authenticated stream to a session: a new one, or one that its client had before.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use jid::{BareJid, FullJid};
use minidom::Element;
use tokio::net::TcpStream;
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::ns;
use xmpp_parsers::stream_error::DefinedCondition;
use xmpp_sm::{Action, Answer, Inbound, StreamMgmt};

use super::Server;
use super::connected::Connected;
use super::negotiate::{features, negotiate};
use super::session::Session;
use super::stanza::{kind, reply};
use super::stream::{Connection, random, stream_error};
use super::takeover::{Resumed, resume};
use super::xml::to_bytes;

/// Serves a client from its first byte to its last.
pub async fn serve(tcp: TcpStream, server: Arc<Server>) {
    let Some((mut connection, user)) = negotiate(tcp, &server).await else { return };
    let mut sm = match server.sm {
        true => StreamMgmt::server(server.config.clone()),
        false => StreamMgmt::disabled(server.config.clone()),
    };
    sm.authenticated();
    if connection.send(features(sm.has_feature())).await.is_err() {
        return;
    }
    while let Some(next) = step(&server, &user, sm, connection).await {
        match next {
            Step::Connected(connected) => return connected.run().await,
            Step::Again(same_sm, same_connection) => (sm, connection) = (same_sm, same_connection),
        }
    }
}

enum Step {
    Connected(Box<Connected>),
    Again(StreamMgmt<Bytes>, Connection),
}

/// Takes one element of a client that has no session. None: the client is gone, or sent away.
async fn step(
    server: &Arc<Server>,
    user: &BareJid,
    mut sm: StreamMgmt<Bytes>,
    mut connection: Connection,
) -> Option<Step> {
    let element = connection.next_element().await.ok()?;
    let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
    if let Inbound::Nonza(nonza) = &inbound {
        server.trace(user.as_str(), true, nonza);
    }
    match sm.handle(inbound, Instant::now()) {
        Ok(Action::Deliver(receipt)) => {
            let Some(jid) = bind(&element, user) else {
                let error = stream_error(DefinedCondition::NotAuthorized, "bind a resource first");
                connection.send(error).await.ok()?;
                connection.close().await;
                return None;
            };
            let session = Session::bind(server.clone(), jid.clone());
            let mut result = reply(&element, "result");
            result.append_child(BindResponse { jid }.into());
            // Stream management is off: neither of these does anything, and they are called for every stanza.
            let _ = sm.record_handled(receipt);
            let result = to_bytes(&result);
            let _ = sm.record_sent(result.clone(), Instant::now());
            sm.bound();
            connection.outbox.push(&result);
            return Some(Step::Connected(Box::new(Connected { session, sm, connection })));
        }
        Ok(Action::Resume(request)) => match resume(request, user, server, sm, connection).await {
            Resumed::Yes(connected) => return Some(Step::Connected(connected)),
            Resumed::No(same_sm, same_connection) => (sm, connection) = (same_sm, same_connection),
        },
        Ok(Action::Send(nonza)) => server.send(user.as_str(), &mut connection, &nonza),
        Ok(_) => {
            let error = stream_error(DefinedCondition::UnsupportedStanzaType, element.name());
            connection.send(error).await.ok()?;
            connection.close().await;
            return None;
        }
        Err(error) => match error.answer() {
            Answer::Nothing | Answer::Detach => {}
            Answer::Reply(nonza) => server.send(user.as_str(), &mut connection, &nonza),
            Answer::End(end) => {
                let mut out = BytesMut::new();
                end.write_to(&mut out);
                connection.outbox.push(&out);
                connection.outbox.drain().await.ok()?;
                return None;
            }
        },
    }
    connection.outbox.drain().await.ok()?;
    Some(Step::Again(sm, connection))
}

/// The full JID of a client that asks for a resource, or takes what it is given.
fn bind(iq: &Element, user: &BareJid) -> Option<FullJid> {
    let query = iq.get_child("bind", ns::BIND).filter(|_| kind(iq) == "set")?;
    let resource = BindQuery::try_from(query.clone()).ok()?.resource;
    let asked = resource.and_then(|resource| user.with_resource_str(&resource).ok());
    asked.or_else(|| user.with_resource_str(&format!("{:016x}", random())).ok())
}
