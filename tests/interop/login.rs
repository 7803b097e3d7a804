//! Connects and authenticates, and leaves the rest to the caller: for the clients that run in this process.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_xmpp::connect::AsyncReadAndWrite;
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::stream_features::StreamFeatures;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_sm::typed::xso::FromXml;

use crate::driver::{Login, Report};
use crate::journal::Event;

/// A stream of elements that are read as `T`.
type Stream<T> = XmlStream<Box<dyn AsyncReadAndWrite + Send>, T>;

pub async fn authenticate<T: FromXml + Debug>(
    login: &Login,
    timeouts: Timeouts,
    gate: &Gate,
) -> Result<(StreamFeatures, Stream<T>), String> {
    let jid: Jid = login.jid.parse().map_err(|e| format!("{}: {e}", login.jid))?;
    let user = jid.node().ok_or("a JID without a user")?.as_str().to_owned();
    let header = || StreamHeader { to: Some(jid.domain().as_str().into()), from: None, id: None };
    let stream = TcpStream::connect(login.addr).await.map_err(|e| format!("connect: {e}"))?;
    let stream = BufStream::new(Gated { stream, gate: gate.clone() });
    let stream = initiate_stream(stream, "jabber:client", header(), timeouts).await;
    let stream = stream.map_err(|e| format!("stream header: {e}"))?;
    let (features, stream) = stream.recv_features().await.map_err(|e| format!("features: {e}"))?;
    let credentials = sasl::common::Credentials::default().with_username(user).with_password(login.password.clone());
    let stream = tokio_xmpp::client_login(stream, features.sasl_mechanisms, credentials);
    let stream = stream.await.map_err(|e| format!("authentication: {e}"))?;
    let stream = stream.send_header(header()).await.map_err(|e| format!("restart: {e}"))?;
    let (features, stream) = stream.recv_features().await.map_err(|e| format!("features: {e}"))?;
    Ok((features, stream.box_stream()))
}

/// Tries until there is a connection, without the second's delay that tokio-xmpp's own connector has.
pub async fn keep_trying<T: FromXml + Debug>(
    login: &Login,
    timeouts: Timeouts,
    gate: &Gate,
    report: &Report,
) -> (StreamFeatures, Stream<T>) {
    loop {
        match authenticate(login, timeouts, gate).await {
            Ok(connected) => return connected,
            Err(why) => report.event(Event::Note(why)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets a client stop reading from its connection.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    pub fn shut(&self, shut: bool) {
        let mut state = self.0.lock().unwrap();
        state.0 = shut;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if !state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[derive(Debug)]
struct Gated {
    stream: TcpStream,
    gate: Gate,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl AsyncRead for Gated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(cx));
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
