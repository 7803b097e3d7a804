//! `jabber:server`: SASL with the domain for a name and the shared secret for a password, then stream management. No
//! resource is bound, and one stream carries the stanzas of both servers (XEP-0288), for a session has two directions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jid::{DomainPart, DomainRef};
use minidom::Element;
use sasl::client::Mechanism;
use sasl::client::mechanisms::Scram;
use sasl::common::Credentials;
use sasl::common::scram::Sha256;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use xmpp_parsers::ns;
use xmpp_parsers::sasl::{Auth, Nonza, Response};
use xmpp_sm::{Inbound, Offer, StreamCondition, StreamError, Unbound};

use super::super::Server;
use super::super::negotiate::{TIME, features};
use super::super::options::Peer;
use super::super::sasl::{Offered, authenticate};
use super::super::stream::Connection;
use super::super::xml::{Incoming, ReadError};
use super::accept;
use super::session::Link;
use super::{JABBER_SERVER, header};

/// <https://xmpp.org/extensions/xep-0288.html>
const BIDI: &str = "urn:xmpp:bidi";
const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";

/// How long after a lost connection the next one is tried, and the longest time between one try and the next.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects to those of the servers whose address is known.
pub fn connect(server: &Arc<Server>, peers: &[Peer]) {
    for peer in peers.iter().filter(|peer| peer.address.is_some()) {
        tokio::spawn(link(server, peer.domain.clone()).connect(peer.clone()));
    }
}

fn link(server: &Arc<Server>, domain: DomainPart) -> Link {
    Link { server: server.clone(), domain, config: server.peers.servers_config.clone(), ns: JABBER_SERVER }
}

/// Serves another server, from its first byte until it has a session.
pub async fn serve(tcp: TcpStream, server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    let authenticated = tokio::select! {
        authenticated = timeout(TIME, authenticated(tcp, &server)) => authenticated,
        () = stopping.wait() => return,
    };
    let Ok(Ok(Some((domain, mut connection)))) = authenticated else { return };
    if server.peers.is_called(&domain, &server.domain) {
        return connection.close(Some(StreamError::Conflict)).await;
    }
    let link = link(&server, domain);
    let stream = accept::stream(&link);
    connection.outbox.push(&super::super::xml::to_bytes(&features(false, stream.has_feature(), false)));
    accept::serve(link, stream, connection).await;
}

/// `None`: it did not prove who it is.
async fn authenticated(tcp: TcpStream, server: &Server) -> Result<Option<(DomainPart, Box<Connection>)>, ReadError> {
    let offered = Offered { sasl2: false, ..server.offered.on(tcp.peer_addr()?.ip(), false) };
    let mut connection = Connection::over(tcp)?;
    if let Err(condition) = open(&mut connection, server, None).await? {
        connection.send_away(condition).await;
        return Ok(None);
    }
    let mechanisms = Element::builder("mechanisms", ns::SASL).append_all(offered.elements(ns::SASL));
    let features = Element::builder("features", ns::STREAM).append(mechanisms);
    connection.send(features.append(Element::bare("bidi", BIDI_FEATURE)).build()).await?;
    loop {
        let element = connection.next_element().await?;
        if element.is("bidi", BIDI) {
            break;
        }
        match Unbound::before_authentication(&Inbound::from_element(&element, JABBER_SERVER)) {
            Some(failed) => connection.send(failed.to_element()).await?,
            None => {
                connection.send_away(StreamCondition::PolicyViolation).await; // a stream that goes one way has no session
                return Ok(None);
            }
        }
    }
    let Some(proved) = authenticate(&mut connection, None, &server.peers.servers, &offered).await? else {
        connection.send_away(StreamCondition::NotAuthorized).await;
        return Ok(None);
    };
    connection.reader.trust();
    connection.reader.restart();
    // Of the domains that are linked one has that name.
    let domain = DomainPart::new(proved.name.as_str()).map_err(no)?.into_owned();
    if let Err(condition) = open(&mut connection, server, Some(&domain)).await? {
        connection.send_away(condition).await;
        return Ok(None);
    }
    Ok(Some((domain, connection)))
}

/// Takes the header of a stream, and answers it. `from`: who it has to be from. An error is the condition of what is wrong.
async fn open(
    connection: &mut Connection,
    server: &Server,
    from: Option<&DomainRef>,
) -> Result<Result<(), StreamCondition>, ReadError> {
    let header = header(connection).await?;
    connection.send_header(server.domain.as_str(), JABBER_SERVER).await?;
    let is = |given: &Option<String>, domain: &DomainRef| {
        given.as_deref().and_then(|given| DomainPart::new(given).ok()).is_some_and(|given| *given == *domain)
    };
    Ok(match header {
        header if header.ns != JABBER_SERVER => Err(StreamCondition::InvalidNamespace),
        header if !is(&header.to, &server.domain) => Err(StreamCondition::HostUnknown),
        header if from.is_some_and(|from| !is(&header.from, from)) => Err(StreamCondition::InvalidFrom),
        _ => Ok(()),
    })
}

/// Connects and authenticates, sooner or later; never without an address.
pub async fn log_in(link: &Link, peer: Option<&Peer>) -> (Offer, Box<Connection>) {
    let Some((peer, address)) = peer.and_then(|peer| Some((peer, peer.address.as_deref()?))) else {
        return std::future::pending().await;
    };
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        if let Ok(Ok(arrived)) = timeout(TIME, attempt(link, peer, address)).await {
            return arrived;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

async fn attempt(link: &Link, peer: &Peer, address: &str) -> Result<(Offer, Box<Connection>), ReadError> {
    let tcp = TcpStream::connect(address).await?;
    let mut connection = Connection::over(tcp)?;
    begin(&mut connection, link).await?;
    connection.send(Element::bare("bidi", BIDI)).await?;
    prove(&mut connection, link, peer).await?;
    connection.reader.trust();
    connection.reader.restart();
    let features = begin(&mut connection, link).await?;
    Ok((Offer { stream_management: features.has_child("sm", xmpp_sm::NS), binds: false }, connection))
}

/// Opens the stream, and gives the other server's features.
async fn begin(connection: &mut Connection, link: &Link) -> Result<Element, ReadError> {
    let (from, to) = (&link.server.domain, &link.domain);
    connection.outbox.push(
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='{JABBER_SERVER}' xmlns:stream='{}' from='{from}' to='{to}' \
             version='1.0'>",
            ns::STREAM
        )
        .as_bytes(),
    );
    connection.outbox.drain().await?;
    match connection.reader.next().await? {
        Incoming::Header => connection.next_element().await,
        _ => Err(no("no stream header")),
    }
}

/// Each server proves to the other that it knows the secret.
async fn prove(connection: &mut Connection, link: &Link, peer: &Peer) -> Result<(), ReadError> {
    let us = link.server.domain.as_str();
    let credentials = Credentials::default().with_username(us).with_password(peer.secret.as_str());
    let mut scram = Scram::<Sha256>::from_credentials(credentials).map_err(no)?;
    let mechanism = scram.name().parse().map_err(no)?;
    connection.send(Auth { mechanism, data: scram.initial() }).await?;
    loop {
        match Nonza::try_from(connection.next_element().await?).map_err(no)? {
            Nonza::Challenge(challenge) => {
                let data = scram.response(&challenge.data).map_err(no)?;
                connection.send(Response { data }).await?;
            }
            Nonza::Success(success) => return scram.success(&success.data).map_err(no),
            _ => return Err(no("the other server refuses us")),
        }
    }
}

fn no(why: impl ToString) -> ReadError {
    ReadError::Gone(io::Error::other(why.to_string()))
}
