//! A client's way to a stream on which it has authenticated.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jid::FullJid;
use sasl::common::Credentials;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_xmpp::connect::AsyncReadAndWrite;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, initiate_stream};
use xmpp_parsers::ns;
use xmpp_parsers::stream_features::StreamFeatures;

use super::client::Connect;
use super::connection::TypedStream;

/// Connects without TLS, again and again until it works.
pub fn connect(server: SocketAddr, jid: FullJid, password: String) -> Connect {
    Box::new(move || {
        let (jid, password) = (jid.clone(), password.clone());
        Box::pin(async move {
            loop {
                match log_in(server, &jid, &password).await {
                    Ok(connected) => return connected,
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        })
    })
}

/// Connects and authenticates.
pub async fn log_in(server: SocketAddr, jid: &FullJid, password: &str) -> io::Result<(StreamFeatures, TypedStream)> {
    let header = || StreamHeader { to: Some(jid.domain().as_str().into()), from: None, id: None };
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    let io: Box<dyn AsyncReadAndWrite + Send> = Box::new(BufReader::new(tcp));
    let stream = initiate_stream(io, ns::JABBER_CLIENT, header(), Timeouts::default()).await?;
    let (features, stream) = stream.recv_features().await.map_err(io::Error::other)?;
    let user = jid.node().map(|node| node.as_str()).unwrap_or_default();
    let credentials = Credentials::default().with_username(user).with_password(password);
    let stream = tokio_xmpp::client_login(stream, features.sasl_mechanisms, credentials).await;
    let stream = stream.map_err(io::Error::other)?.send_header(header()).await?;
    stream.recv_features().await.map_err(io::Error::other)
}
