//! From a TCP connection to an authenticated stream, and from there to a resource.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use jid::FullJid;
use minidom::Element;
use rand::TryRng;
use rand::rngs::SysRng;
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

/// How often the pause between two tries doubles before it is the longest.
const DOUBLINGS: u32 = 5;

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

/// Who we say we are is refused, and would be the next time. What is in it is the condition.
#[derive(Debug, thiserror::Error)]
#[error("the server refuses to log us in: {0}")]
pub struct Refused(String);

/// Why a login fails.
enum Failure {
    /// It may come to something the next time.
    Now(ReadError),
    Refused(Refused),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Now(error)
    }
}

/// How many tries have come to no session. The pause before the next one depends on it.
#[derive(Default)]
pub struct Tries(AtomicU32);

impl Tries {
    /// There is a session. When its connection is lost, the first pause is the shortest.
    pub fn have_succeeded(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// The first try is made at once. Those after it wait longer each time, and at random, so that clients that were cut
    /// together do not come back together.
    async fn pause(&self, longest: Duration) {
        let tries = self.0.fetch_add(1, Ordering::Relaxed);
        if tries > 0 {
            let pause = longest / 2_u32.pow((DOUBLINGS + 1).saturating_sub(tries));
            let random = SysRng.try_next_u32().expect("the system's random numbers");
            sleep(pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)).await;
        }
    }
}

/// Connects and authenticates, sooner or later.
pub async fn log_in(
    options: &Options,
    tries: &Tries,
    ask: &UnboundedSender<Ask>,
    tell: &(impl Fn(String) + Sync),
) -> Result<Arrived, Refused> {
    loop {
        tries.pause(options.longest_pause).await;
        match timeout(options.reply_timeout, attempt(options, ask)).await {
            Ok(Ok(arrived)) => return Ok(arrived),
            Ok(Err(Failure::Refused(refused))) => return Err(refused),
            Ok(Err(Failure::Now(why))) => tell(format!("offline {why}")),
            Err(_) => tell("offline the server takes too long".to_owned()),
        }
    }
}

async fn attempt(options: &Options, to_session: &UnboundedSender<Ask>) -> Result<Arrived, Failure> {
    let mut connection = Connection::open(options.connect).await.map_err(ReadError::from)?;
    let features = open(&mut connection, &options.jid).await?;
    if options.inline && features.has_child("authentication", ns::SASL2) {
        let (reply, request) = oneshot::channel();
        to_session.send(Ask::Request(InlineOffer::from_features(&features), reply)).map_err(no)?;
        let request = request.await.map_err(no)?.map_err(no)?;
        let success = match authenticate_inline(&mut connection, &features, options, &request).await? {
            Ok(success) => success,
            Err(failure) => {
                to_session.send(Ask::Failed(request)).map_err(no)?;
                return Err(failed(&failure));
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

/// What a `<failure/>` of [RFC 6120](https://www.rfc-editor.org/rfc/rfc6120#section-6.5) means, inside of SASL2 or not.
fn failed(failure: &Element) -> Failure {
    let condition = failure.children().find(|child| child.has_ns(ns::SASL)).map_or("failure", Element::name);
    match condition {
        "temporary-auth-failure" | "aborted" => no("the server asks us to try again later").into(),
        _ => Failure::Refused(Refused(condition.to_owned())),
    }
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

async fn authenticate(connection: &mut Connection, features: &Element, options: &Options) -> Result<(), Failure> {
    let mut mechanism = mechanism(features.get_child("mechanisms", ns::SASL), options)?;
    let name = mechanism.name().parse().map_err(no)?;
    connection.push_element(Auth { mechanism: name, data: mechanism.initial() });
    loop {
        let element = ask(connection).await?;
        if element.is("failure", ns::SASL) {
            return Err(failed(&element));
        }
        match Nonza::try_from(element).map_err(no)? {
            Nonza::Challenge(challenge) => {
                let data = mechanism.response(&challenge.data).map_err(no)?;
                connection.push_element(Response { data });
            }
            // The server proves that it knows the password, too.
            Nonza::Success(success) => return Ok(mechanism.success(&success.data).map_err(no)?),
            _ => return Err(no("the server does not keep to SASL").into()),
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
