//! `jabber:component:accept` (XEP-0114): a handshake with the shared secret, then stream management. There are no features
//! in that protocol: a component that knows of stream management asks for it.

use std::sync::Arc;

use jid::DomainPart;
use tokio::net::TcpStream;
use tokio::time::timeout;
use xmpp_parsers::component::Handshake;
use xmpp_parsers::ns;
use xmpp_sm::{Inbound, StreamCondition, Unbound};

use super::super::Server;
use super::super::negotiate::TIME;
use super::super::stream::Connection;
use super::super::xml::ReadError;
use super::accept;
use super::header;
use super::session::Link;

/// Serves a component, from its first byte until it has a session.
pub async fn serve(tcp: TcpStream, server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    let authenticated = tokio::select! {
        authenticated = timeout(TIME, authenticated(tcp, &server)) => authenticated,
        () = stopping.wait() => return,
    };
    let Ok(Ok(Some((domain, connection)))) = authenticated else { return };
    let config = server.peers.components_config.clone();
    let link = Link { server, domain, config, ns: ns::COMPONENT_ACCEPT };
    accept::serve(link.clone(), accept::stream(&link), connection).await;
}

/// `None`: it did not prove who it is.
async fn authenticated(tcp: TcpStream, server: &Server) -> Result<Option<(DomainPart, Box<Connection>)>, ReadError> {
    let mut connection = Connection::over(tcp)?;
    let header = header(&mut connection).await?;
    let to = header.to.as_deref().and_then(|to| DomainPart::new(to).ok());
    let component = server.peers.components.iter().find(|component| to.as_deref() == Some(&*component.domain));
    // The stream is in the name of the component.
    let from = component.map_or(&server.domain, |component| &component.domain);
    let id = connection.send_header(from.as_str(), ns::COMPONENT_ACCEPT).await?;
    let Some(component) = component.filter(|_| header.ns == ns::COMPONENT_ACCEPT) else {
        let is_known = component.is_some();
        let condition = if is_known { StreamCondition::InvalidNamespace } else { StreamCondition::HostUnknown };
        connection.send_away(condition).await;
        return Ok(None);
    };
    let handshake = Handshake::from_stream_id_and_password(id, &component.secret);
    loop {
        let element = connection.next_element().await?;
        let inbound = Inbound::from_element(&element, ns::COMPONENT_ACCEPT);
        if let Some(failed) = Unbound::before_authentication(&inbound) {
            connection.send(failed.to_element()).await?;
        } else if Handshake::try_from(element).is_ok_and(|proof| proof == handshake) {
            connection.send(Handshake::new()).await?;
            connection.reader.trust();
            return Ok(Some((component.domain.clone(), connection)));
        } else {
            connection.send_away(StreamCondition::NotAuthorized).await;
            return Ok(None);
        }
    }
}
