//! A client's way to a stream on which it has authenticated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jid::FullJid;
use parking_lot::Mutex;
use sasl::common::Credentials;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_xmpp::Error;
use tokio_xmpp::connect::AsyncReadAndWrite;
use tokio_xmpp::error::AuthError;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, initiate_stream};
use xmpp_parsers::ns;
use xmpp_parsers::sasl::DefinedCondition;
use xmpp_parsers::stream_features::StreamFeatures;

use super::client::Connect;
use super::connection::TypedStream;

/// How long after a try that has failed the next one is made. It doubles each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long after a login the next one is made: a server may end each stream as soon as it is there.
const BETWEEN_LOGINS: Duration = Duration::from_millis(250);

/// Connects without TLS, again and again until it works, or the server refuses to authenticate the client. `tell` hears why a
/// try has failed.
pub fn connect(server: SocketAddr, jid: FullJid, password: String, tell: fn(&Error)) -> Connect {
    let next = Arc::new(Mutex::new(Instant::now()));
    Box::new(move || {
        let (jid, password, next) = (jid.clone(), password.clone(), next.clone());
        Box::pin(async move {
            let due = *next.lock();
            sleep_until(due).await;
            let mut pause = PAUSE;
            loop {
                match log_in(server, &jid, &password).await {
                    Ok(connected) => {
                        *next.lock() = Instant::now() + BETWEEN_LOGINS;
                        return Ok(connected);
                    }
                    Err(Error::Auth(error)) if !is_temporary(&error) => return Err(error),
                    Err(error) => tell(&error),
                }
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        })
    })
}

/// Whether the same may work [another time](https://www.rfc-editor.org/rfc/rfc6120#section-6.5).
fn is_temporary(error: &AuthError) -> bool {
    matches!(error, AuthError::Fail(DefinedCondition::TemporaryAuthFailure | DefinedCondition::Aborted))
}

/// Connects and authenticates.
pub async fn log_in(server: SocketAddr, jid: &FullJid, password: &str) -> Result<(StreamFeatures, TypedStream), Error> {
    let header = || StreamHeader { to: Some(jid.domain().as_str().into()), from: None, id: None };
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    let io: Box<dyn AsyncReadAndWrite + Send> = Box::new(BufReader::new(tcp));
    let stream = initiate_stream(io, ns::JABBER_CLIENT, header(), Timeouts::default()).await?;
    let (features, stream) = stream.recv_features().await?;
    let user = jid.node().map(|node| node.as_str()).unwrap_or_default();
    let credentials = Credentials::default().with_username(user).with_password(password);
    let stream = tokio_xmpp::client_login(stream, features.sasl_mechanisms, credentials).await?;
    Ok(stream.send_header(header()).await?.recv_features().await?)
}
