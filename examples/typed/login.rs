//! From a TCP connection to a session: a new one, or the one that its client had before.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures::{SinkExt, StreamExt};
use jid::{BareJid, FullJid};
use sasl::common::scram::Sha1;
use sasl::common::{ChannelBinding, Identity};
use sasl::impl_validator_using_provider;
use sasl::secret::Pbkdf2Sha1;
use sasl::server::mechanisms::Scram;
use sasl::server::{Mechanism, Provider, ProviderError, Response};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_xmpp::connect::AsyncReadAndWrite;
use tokio_xmpp::xmlstream::{AcceptedStream, StreamHeader, Timeouts, XmppStreamElement, accept_stream};
use xmpp_parsers::bind::{BindFeature, BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::sasl::{Challenge, DefinedCondition, Failure, Mechanism as Name, Nonza, Success};
use xmpp_parsers::sm::StreamManagement;
use xmpp_parsers::stanza::Stanza;
use xmpp_parsers::stream_features::StreamFeatures;
use xmpp_parsers::{ns, sasl as xmpp_sasl};
use xmpp_sm::{Early, LoginStep, Parting, Refused, Unbound};

use super::connection::{Connection, Input, TypedStream};
use super::session;
use super::{Server, random, read};

const SCRAM: &str = "SCRAM-SHA-1";

/// Serves a client until it has a session.
pub async fn log_in(tcp: TcpStream, server: Arc<Server>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let io: Box<dyn AsyncReadAndWrite + Send> = Box::new(BufReader::new(tcp));
    let accepted = accept_stream(io, ns::JABBER_CLIENT, Timeouts::default()).await?;
    let features = StreamFeatures { sasl_mechanisms: [SCRAM.to_owned()].into(), ..StreamFeatures::default() };
    let mut stream = open(accepted, &features, &server).await?;
    let (user, success) = authenticate(&mut stream, &server).await?;
    let accepted = stream.accept_reset(&success).await?;

    let unbound = Unbound::new(server.config.clone(), format!("{user}@{}", server.domain));
    let features = StreamFeatures {
        bind: Some(BindFeature { required: false }),
        stream_management: unbound.has_feature().then_some(StreamManagement { optional: false }),
        ..StreamFeatures::default()
    };
    let stream = open(accepted, &features, &server).await?;
    negotiate(unbound, Connection::new(stream, Some(server.domain.clone())), server).await
}

async fn open(
    accepted: AcceptedStream<Box<dyn AsyncReadAndWrite + Send>>,
    features: &StreamFeatures,
    server: &Server,
) -> io::Result<TypedStream> {
    let id = format!("{:016x}", random());
    let header = StreamHeader { from: Some(server.domain.as_str().into()), to: None, id: Some(id.into()) };
    accepted.send_header(header).await?.send_features(features).await
}

/// Returns who the client is, and what tells it so.
async fn authenticate(stream: &mut TypedStream, server: &Server) -> io::Result<(String, Success)> {
    let Nonza::Auth(xmpp_sasl::Auth { mechanism: Name::ScramSha1, mut data }) = ask(stream).await? else {
        return refuse(stream, DefinedCondition::InvalidMechanism).await;
    };
    // The `sasl` crate takes the `n` of a client that binds no channel only if it is told of a binding.
    let binding = match data.first() {
        Some(b'n') => ChannelBinding::TlsUnique(Vec::new()),
        _ => ChannelBinding::None,
    };
    let mut mechanism = Scram::<Sha1, _>::new(Lookup(server), binding);
    loop {
        match mechanism.respond(&data) {
            Ok(Response::Success(Identity::Username(user), data)) => return Ok((user, Success { data })),
            Ok(Response::Proceed(data)) => stream.send(&Challenge { data }).await?,
            _ => return refuse(stream, DefinedCondition::NotAuthorized).await,
        }
        data = match ask(stream).await? {
            Nonza::Response(response) => response.data,
            _ => return refuse(stream, DefinedCondition::Aborted).await,
        };
    }
}

async fn ask(stream: &mut TypedStream) -> io::Result<Nonza> {
    match stream.next().await.map(|element| element.map(read)) {
        Some(Ok(Some(XmppStreamElement::Sasl(nonza)))) => Ok(nonza),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn refuse<T>(stream: &mut TypedStream, defined_condition: DefinedCondition) -> io::Result<T> {
    stream.send(&Failure { defined_condition, texts: Default::default() }).await?;
    Err(io::ErrorKind::PermissionDenied.into())
}

struct Lookup<'a>(&'a Server);

impl Provider<Pbkdf2Sha1> for Lookup<'_> {
    fn provide(&self, identity: &Identity) -> Result<Pbkdf2Sha1, ProviderError> {
        let Identity::Username(name) = identity else { return Err(ProviderError::AuthenticationFailed) };
        self.0.secrets.get(name).cloned().ok_or(ProviderError::AuthenticationFailed)
    }
}

impl_validator_using_provider!(Lookup<'_>, Pbkdf2Sha1);

/// The client binds a resource, or asks for its former session.
pub async fn negotiate(mut stream: Unbound, mut connection: Connection, server: Arc<Server>) -> io::Result<()> {
    loop {
        let element = match connection.drive(true).await? {
            Some(Input::Element(element)) => element,
            Some(Input::Silence | Input::Closed | Input::Bad(_)) => return Ok(()),
            None => continue,
        };
        match stream.handle(stream.inbound(&*element), Instant::now()) {
            Ok(Early::Stanza) => {
                if let Some(XmppStreamElement::Stanza(Stanza::Iq(Iq::Set { id, payload, .. }))) = read(*element)
                    && let Some(jid) = asked_for(BindQuery::try_from(payload).ok(), stream.owner())
                {
                    let bound = Iq::from_result(id, Some(BindResponse { jid: jid.clone() }));
                    session::start(stream, connection, jid, &bound, server).await;
                }
                return Ok(());
            }
            Ok(Early::Resume(request)) => {
                let Ok(taker) = stream.into_taker(request, connection) else { return Ok(()) };
                let Some(Refused { step, connection: back }) = session::resume(taker, &server) else { return Ok(()) };
                let LoginStep::Failed { failed, stream: unbound } = step else { return Ok(()) }; // there is no SASL2 here
                (stream, connection) = (unbound, back);
                connection.put(&failed, 256);
            }
            Ok(Early::Write(nonza)) => connection.put(&nonza, 256),
            Ok(Early::Close(last)) => {
                connection.part(Parting::Say(last)).await;
                return Ok(());
            }
            Ok(Early::Ignore) => {}
            _ => return Ok(()),
        }
    }
}

/// The full JID of a client that asks for a resource, or takes what it is given.
fn asked_for(query: Option<BindQuery>, owner: &str) -> Option<FullJid> {
    let resource = query?.resource.unwrap_or_else(|| format!("{:016x}", random()));
    BareJid::new(owner).ok()?.with_resource_str(&resource).ok()
}
