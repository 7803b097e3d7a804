//! From a TCP connection to an authenticated stream, and from there to a resource.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use jid::FullJid;
use minidom::Element;
use rxml::xml_ncname;
use sasl::client::Mechanism;
use sasl::client::mechanisms::Scram;
use sasl::common::Credentials;
use sasl::common::scram::{Sha1, Sha256};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::ns;
use xmpp_parsers::sasl::{Auth, Nonza, Response};
use xmpp_sm::{InlineOffer, InlineReply, InlineRequest, NotConnectedWhy, Offer};

use super::Options;
use super::connection::Connection;
use super::xml::{Incoming, ReadError};

/// How long after a lost connection the next one is tried, and the longest time between one try and the next.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const REFUSED: &str = "the server refuses the password";

/// A connection on which the client has authenticated.
pub struct Arrived {
    pub offer: Offer,
    pub connection: Connection,
    /// What was asked for in `<authenticate/>`, and what has come of it.
    pub inline: Option<Inlined>,
}

pub struct Inlined {
    pub reply: InlineReply,
    /// Who we are. With the resource, if it is bound.
    pub jid: String,
}

/// What the session is asked while the client logs in.
pub enum Ask {
    /// What to ask the server for inline.
    Request(InlineOffer, oneshot::Sender<Result<InlineRequest, NotConnectedWhy>>),
    /// The server has refused to authenticate the client that has asked for this.
    Failed(InlineRequest),
}

/// Connects and authenticates, sooner or later.
pub async fn log_in(options: &Options, ask: &UnboundedSender<Ask>, tell: &(impl Fn(String) + Sync)) -> Arrived {
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        match timeout(options.reply_timeout, attempt(options, ask)).await {
            Ok(Ok(arrived)) => return arrived,
            Ok(Err(why)) => tell(format!("offline {why}")),
            Err(_) => tell("offline the server takes too long".to_owned()),
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

async fn attempt(options: &Options, to_session: &UnboundedSender<Ask>) -> Result<Arrived, ReadError> {
    let mut connection = Connection::open(options.connect).await?;
    let features = open(&mut connection, &options.jid).await?;
    if options.inline && features.has_child("authentication", ns::SASL2) {
        let (reply, request) = oneshot::channel();
        to_session.send(Ask::Request(InlineOffer::from_features(&features), reply)).map_err(no)?;
        let request = request.await.map_err(no)?.map_err(no)?;
        let success = match authenticate_inline(&mut connection, &features, options, &request).await? {
            Ok(success) => success,
            Err(failure) => {
                to_session.send(Ask::Failed(request)).map_err(no)?;
                let is_temporary = failure.has_child("temporary-auth-failure", ns::SASL);
                return Err(no(if is_temporary { "the server asks us to try again later" } else { REFUSED }));
            }
        };
        let jid = success.get_child("authorization-identifier", ns::SASL2).map(Element::text).unwrap_or_default();
        let reply = request.reply(&success);
        let offer = if reply.is_resumed() { Offer::default() } else { offer(&ask(&mut connection).await?) };
        return Ok(Arrived { offer, connection, inline: Some(Inlined { reply, jid }) });
    }
    authenticate(&mut connection, &features, options).await?;
    connection.reader.restart();
    let offer = offer(&open(&mut connection, &options.jid).await?);
    Ok(Arrived { offer, connection, inline: None })
}

fn offer(features: &Element) -> Offer {
    Offer { stream_management: features.has_child("sm", xmpp_sm::NS), binds: true }
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

/// The best mechanism that is among these.
fn mechanism(offered: Option<&Element>, options: &Options) -> Result<Box<dyn Mechanism + Send>, ReadError> {
    let user = options.jid.node().ok_or_else(|| no("a JID without a user"))?.as_str();
    let credentials = Credentials::default().with_username(user).with_password(options.password.clone());
    let offers = |name: &str| offered.is_some_and(|m| m.children().any(|mechanism| mechanism.text() == name));
    Ok(match offers("SCRAM-SHA-256") {
        true => Box::new(Scram::<Sha256>::from_credentials(credentials).map_err(no)?),
        false => Box::new(Scram::<Sha1>::from_credentials(credentials).map_err(no)?),
    })
}

async fn authenticate(connection: &mut Connection, features: &Element, options: &Options) -> Result<(), ReadError> {
    let mut mechanism = mechanism(features.get_child("mechanisms", ns::SASL), options)?;
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
            _ => return Err(no(REFUSED)),
        }
    }
}

/// By SASL2. Gives `<success/>`, or `<failure/>`.
async fn authenticate_inline(
    connection: &mut Connection,
    features: &Element,
    options: &Options,
    request: &InlineRequest,
) -> Result<Result<Element, Element>, ReadError> {
    let mut mechanism = mechanism(features.get_child("authentication", ns::SASL2), options)?;
    let data = |name: &str, data: &[u8]| Element::builder(name, ns::SASL2).append(BASE64.encode(data)).build();
    let initial = data("initial-response", &mechanism.initial());
    let authenticate = Element::builder("authenticate", ns::SASL2)
        .attr(xml_ncname!("mechanism").to_owned(), mechanism.name())
        .append(initial)
        .append_all(request.to_elements(Some("client")));
    connection.push_element(authenticate.build());
    loop {
        let element = ask(connection).await?;
        let decode = |text: String| BASE64.decode(text.trim()).map_err(no);
        match element.name() {
            "challenge" => {
                let response = mechanism.response(&decode(element.text())?).map_err(no)?;
                connection.push_element(data("response", &response));
            }
            "success" => {
                let proof = element.get_child("additional-data", ns::SASL2).map(Element::text).unwrap_or_default();
                mechanism.success(&decode(proof)?).map_err(no)?;
                return Ok(Ok(element));
            }
            "failure" => return Ok(Err(element)),
            _ => return Err(no("the server does not keep to SASL2")),
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
