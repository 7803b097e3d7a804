//! From a TCP connection to an authenticated stream, and from there to a resource.

use std::io;
use std::time::Duration;

use jid::FullJid;
use minidom::Element;
use sasl::client::Mechanism;
use sasl::client::mechanisms::Scram;
use sasl::common::Credentials;
use sasl::common::scram::{Sha1, Sha256};
use tokio::time::{sleep, timeout};
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::ns;
use xmpp_parsers::sasl::{Auth, Nonza, Response};
use xmpp_sm::Offer;

use super::Options;
use super::connection::Connection;
use super::xml::{Incoming, ReadError};

/// How long after a lost connection the next one is tried, and the longest time between one try and the next.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects and authenticates, sooner or later.
pub async fn log_in(options: &Options, tell: &(impl Fn(String) + Sync)) -> (Offer, Connection) {
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        match timeout(options.reply_timeout, attempt(options)).await {
            Ok(Ok(arrived)) => return arrived,
            Ok(Err(why)) => tell(format!("offline {why}")),
            Err(_) => tell("offline the server takes too long".to_owned()),
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

async fn attempt(options: &Options) -> Result<(Offer, Connection), ReadError> {
    let mut connection = Connection::open(options.connect).await?;
    let features = open(&mut connection, &options.jid).await?;
    authenticate(&mut connection, &features, options).await?;
    connection.reader.restart();
    let features = open(&mut connection, &options.jid).await?;
    Ok((Offer { stream_management: features.has_child("sm", xmpp_sm::NS), binds: true }, connection))
}

/// Asks for the resource of our JID.
pub fn bind(connection: &mut Connection, jid: &FullJid) {
    connection.push_element(Iq::from_set("bind", BindQuery::new(Some(jid.resource().to_string()))));
}

/// Whether this answers [`bind`].
pub fn is_bind(element: &Element) -> bool {
    element.is("iq", ns::JABBER_CLIENT) && element.attr("id") == Some("bind")
}

/// The answer.
pub fn bound(element: Element) -> Result<FullJid, ReadError> {
    match Iq::try_from(element).map_err(no)? {
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
    connection.push_bytes(header.as_bytes());
    match connection.ask().await? {
        Incoming::Header => ask(connection).await,
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
    connection.push_element(Auth { mechanism: name, data: mechanism.initial() });
    loop {
        match Nonza::try_from(ask(connection).await?).map_err(no)? {
            Nonza::Challenge(challenge) => {
                let data = mechanism.response(&challenge.data).map_err(no)?;
                connection.push_element(Response { data });
            }
            // The server proves that it knows the password, too.
            Nonza::Success(success) => return mechanism.success(&success.data).map_err(no),
            _ => return Err(no("the server refuses the password")),
        }
    }
}

async fn ask(connection: &mut Connection) -> Result<Element, ReadError> {
    match connection.ask().await? {
        Incoming::Element(element) => Ok(element),
        _ => Err(no("the server closes the stream")),
    }
}

fn no(why: impl ToString) -> ReadError {
    ReadError::Gone(io::Error::other(why.to_string()))
}
