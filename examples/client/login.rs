//! From a TCP connection to an authenticated stream, and from there to a resource.

use std::io;

use jid::FullJid;
use minidom::Element;
use sasl::client::Mechanism;
use sasl::client::mechanisms::Scram;
use sasl::common::Credentials;
use sasl::common::scram::{Sha1, Sha256};
use tokio::net::TcpStream;
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::ns;
use xmpp_parsers::sasl::{Auth, Nonza, Response};

use crate::Options;
use crate::stream::Connection;
use crate::xml::{Incoming, ReadError};

/// Authenticates. What comes next is `<resume/>`, or the binding of a resource.
pub async fn log_in(options: &Options) -> Result<Connection, ReadError> {
    let tcp = TcpStream::connect(options.connect).await?;
    tcp.set_nodelay(true)?;
    let mut connection = Connection::new(Box::new(tcp));
    let features = open(&mut connection, &options.jid).await?;
    authenticate(&mut connection, &features, options).await?;
    connection.reader.restart();
    let features = open(&mut connection, &options.jid).await?;
    match features.has_child("sm", xmpp_sm::NS) {
        true => Ok(connection),
        false => Err(no("the server does not offer stream management")),
    }
}

/// Takes the resource of our JID.
pub async fn bind(connection: &mut Connection, jid: &FullJid) -> Result<FullJid, ReadError> {
    connection.send(Iq::from_set("bind", BindQuery::new(Some(jid.resource().to_string())))).await?;
    let answer = Iq::try_from(connection.next_element().await?).map_err(no)?;
    match answer {
        Iq::Result { payload: Some(payload), .. } => Ok(BindResponse::try_from(payload).map_err(no)?.into()),
        _ => Err(no("the server does not let us bind")),
    }
}

/// Opens the stream, and gives the server's features.
async fn open(connection: &mut Connection, jid: &FullJid) -> Result<Element, ReadError> {
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' to='{}' version='1.0'>",
        ns::JABBER_CLIENT,
        ns::STREAM,
        jid.domain()
    );
    connection.outbox.push(header.as_bytes());
    connection.outbox.drain().await?;
    match connection.reader.next().await? {
        Incoming::Header => connection.next_element().await,
        _ => Err(no("no stream header")),
    }
}

async fn authenticate(connection: &mut Connection, features: &Element, options: &Options) -> Result<(), ReadError> {
    let user = options.jid.node().ok_or_else(|| no("a JID without a user"))?.as_str();
    let credentials = Credentials::default().with_username(user).with_password(options.password.clone());
    let offered = features.get_child("mechanisms", ns::SASL);
    let offers = |name: &str| offered.is_some_and(|m| m.children().any(|mechanism| mechanism.text() == name));
    let mut mechanism: Box<dyn Mechanism + Send> = if offers("SCRAM-SHA-256") {
        Box::new(Scram::<Sha256>::from_credentials(credentials).map_err(no)?)
    } else {
        Box::new(Scram::<Sha1>::from_credentials(credentials).map_err(no)?)
    };
    let name = mechanism.name().parse().map_err(no)?;
    connection.send(Auth { mechanism: name, data: mechanism.initial() }).await?;
    loop {
        match Nonza::try_from(connection.next_element().await?).map_err(no)? {
            Nonza::Challenge(challenge) => {
                let data = mechanism.response(&challenge.data).map_err(no)?;
                connection.send(Response { data }).await?;
            }
            // The server proves that it knows the password, too.
            Nonza::Success(success) => return mechanism.success(&success.data).map_err(no),
            _ => return Err(no("the server refuses the password")),
        }
    }
}

fn no(why: impl ToString) -> ReadError {
    ReadError::Gone(io::Error::other(why.to_string()))
}
