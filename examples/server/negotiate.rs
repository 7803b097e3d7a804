//! From a TCP connection to an authenticated stream: STARTTLS, SASL, and the features after them.

use std::io;
use std::time::Duration;

use jid::BareJid;
use minidom::Element;
use tokio::net::TcpStream;
use tokio::time::timeout;
use xmpp_parsers::bind::BindFeature;
use xmpp_parsers::ns;
use xmpp_parsers::sm::StreamManagement;
use xmpp_parsers::starttls::{Proceed, Request, StartTls};
use xmpp_sm::{InlineElements, StreamCondition};

use super::Server;
use super::sasl::{self, Proved};
use super::stream::Connection;
use super::xml::{Incoming, ReadError};
use super::{csi, inline};

/// How long a client gets to say who it is, and then to ask for a session.
pub const TIME: Duration = Duration::from_secs(30);

/// Who the client is, on a stream that waits for its features, or for `<success/>` to what it asks for inline.
pub type Negotiated = (Box<Connection>, BareJid, Option<InlineElements>);

/// `None`: the client did not say who it is.
pub async fn negotiate(tcp: TcpStream, server: &Server) -> Option<Negotiated> {
    match timeout(TIME, authenticated(tcp, server)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) | Err(_) => None,
    }
}

async fn authenticated(tcp: TcpStream, server: &Server) -> Result<Option<Negotiated>, ReadError> {
    let offered = server.offered.on(tcp.peer_addr()?.ip(), server.tls.is_some());
    let mut connection = Connection::over(tcp)?;
    open(&mut connection, server).await?;
    if let Some(tls) = &server.tls {
        let starttls = StartTls { required: true };
        connection.send(Element::builder("features", ns::STREAM).append(starttls).build()).await?;
        if Request::try_from(connection.next_element().await?).is_err() {
            connection.send_away(StreamCondition::PolicyViolation).await; // TLS comes first
            return Ok(None);
        }
        connection.send(Proceed).await?;
        connection = Box::new(Connection::new(Box::new(tls.accept(connection.into_inner()).await?)));
        open(&mut connection, server).await?;
    }
    let mechanisms = Element::builder("mechanisms", ns::SASL).append_all(offered.elements(ns::SASL));
    let sasl2 = offered.sasl2.then(|| inline::authentication(server, &offered));
    connection.send(Element::builder("features", ns::STREAM).append(mechanisms).append_all(sasl2).build()).await?;
    let Some(proved) = sasl::authenticate(&mut connection, Some(&server.domain), &server.accounts, &offered).await?
    else {
        connection.send_away(StreamCondition::NotAuthorized).await; // that was one attempt too many
        return Ok(None);
    };
    let Proved { name, sasl2 } = proved;
    connection.reader.trust();
    let user = server.domain.with_node(&name);
    Ok(Some(match sasl2 {
        None => {
            connection.reader.restart();
            open(&mut connection, server).await?;
            (connection, user, None)
        }
        Some((sasl2, inline)) => {
            connection.sasl2 = Some(Box::new(sasl2));
            (connection, user, Some(inline))
        }
    }))
}

async fn open(connection: &mut Connection, server: &Server) -> Result<(), ReadError> {
    match connection.reader.next().await? {
        Incoming::Header => Ok(connection.send_header(server.domain.as_str(), ns::JABBER_CLIENT).await.map(drop)?),
        _ => Err(ReadError::Gone(io::ErrorKind::InvalidData.into())),
    }
}

/// What a client can do once it has said who it is.
pub fn features(bind: bool, sm: bool, csi: bool) -> Element {
    let mut features = Element::bare("features", ns::STREAM);
    if bind {
        features.append_child(BindFeature { required: false }.into());
    }
    if sm {
        features.append_child(StreamManagement { optional: false }.into());
    }
    if csi {
        features.append_child(csi::feature());
    }
    features
}
