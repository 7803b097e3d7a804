use std::future::{pending, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use futures::{Sink, Stream, StreamExt};
use minidom::{Element, rxml};
use tokio::time::timeout;
use tokio_xmpp::connect::AsyncReadAndWrite;
use tokio_xmpp::xmlstream::{FallibleStreamElement, ReadError, XmlStream};
use xmpp_parsers::stanza::Stanza;
use xmpp_sm::typed::Received;
use xmpp_sm::typed::xso::{self, AsXml};
use xmpp_sm::{Measured, Parting, StreamCondition, Write, delay};

/// What is read: any element.
pub type Incoming = Received<FallibleStreamElement>;
/// What a session keeps.
pub type Queued = Arc<Measured<Stanza>>;
pub type TypedStream = XmlStream<Box<dyn AsyncReadAndWrite + Send>, Incoming>;

/// What arrives on a connection.
pub enum Input {
    Element(Box<Incoming>),
    /// Nothing has come for the `read_timeout` of the stream. If nothing comes for its `response_timeout` either, the
    /// connection is lost.
    Silence,
    /// `</stream:stream>`.
    Closed,
    /// It cannot be read, nor what follows it.
    Bad(StreamCondition),
}

pub struct Connection {
    stream: TypedStream,
    /// The domain in whose name late stanzas are stamped. `None`: they are not.
    domain: Option<String>,
    /// How many bytes wait to be written, at most.
    waiting: usize,
    /// They have to be written before there are more.
    flushes: bool,
    closes: bool,
    error: Option<io::Error>,
}

/// How many bytes may wait to be written. The session keeps the rest.
const ROOM: usize = 64 * 1024;
/// No element of stream management is larger, but for an unusual SM-ID.
const NONZA: usize = 128;
/// How long the last words may take.
const LINGER: Duration = Duration::from_secs(2);

impl Connection {
    pub fn new(stream: TypedStream, domain: Option<String>) -> Self {
        Self { stream, domain, waiting: 0, flushes: false, closes: false, error: None }
    }

    pub fn has_room(&self) -> bool {
        self.waiting < ROOM && !self.flushes && !self.closes
    }

    /// Puts something behind the bytes that wait. Never waits itself.
    pub fn push(&mut self, item: Write<'_, impl Deref<Target = Measured<Stanza>>>) {
        match item {
            Write::Stanza { stanza, late } => self.write(stanza, late),
            Write::Nonza(nonza) => self.put(nonza, NONZA),
            Write::StreamError(error) => self.put(&error, NONZA),
            Write::Flush => self.flushes = self.waiting > 0,
            Write::Close => self.closes = true,
            Write::Success(_) => {} // only where the server offers SASL2
        }
    }

    /// Writes an element of the host's own: while the client logs in, for instance. `bytes`: about its size, for
    /// [`has_room`](Self::has_room) alone.
    pub fn put(&mut self, element: &impl AsXml, bytes: usize) {
        self.waiting += bytes.max(1);
        let put = Pin::new(&mut self.stream).start_send(element);
        self.error = self.error.take().or(put.err());
    }

    fn write(&mut self, stanza: &Measured<Stanza>, late: Option<Instant>) {
        if let (Some(queued), Some(domain)) = (late, &self.domain)
            && let Ok(mut element) = xso::transform::<Element, _>(stanza)
        {
            let queued = delay::wall_clock(queued, Instant::now(), SystemTime::now());
            delay::stamp(&mut element, domain, queued);
            return self.put(&element, stanza.bytes);
        }
        self.put(stanza, stanza.bytes);
    }

    /// Writes what waits, and reads the next element if `reads`. `None`: something was written. Cancel safe.
    pub async fn drive(&mut self, reads: bool) -> io::Result<Option<Input>> {
        poll_fn(|cx| {
            if let Some(error) = self.error.take() {
                return Poll::Ready(Err(error));
            }
            let mut stream = Pin::new(&mut self.stream);
            let written = match (self.closes, self.waiting) {
                (true, _) => stream.as_mut().poll_shutdown(cx),
                (false, 0) => Poll::Pending,
                (false, _) => Sink::<&Element>::poll_flush(stream.as_mut(), cx),
            };
            if let Poll::Ready(written) = written {
                (self.waiting, self.flushes, self.closes) = (0, false, false);
                return Poll::Ready(written.map(|()| None));
            }
            if !reads {
                return Poll::Pending;
            }
            Poll::Ready(match ready!(stream.poll_next(cx)) {
                Some(Ok(element)) => Ok(Some(Input::Element(Box::new(element)))),
                Some(Err(ReadError::SoftTimeout)) => Ok(Some(Input::Silence)),
                Some(Err(ReadError::StreamFooterReceived)) => Ok(Some(Input::Closed)),
                Some(Err(ReadError::HardError(error))) if is_malformed(&error) => {
                    Ok(Some(Input::Bad(StreamCondition::NotWellFormed)))
                }
                Some(Err(ReadError::HardError(error))) => Err(error),
                Some(Err(ReadError::ParseError(_))) => Ok(Some(Input::Bad(StreamCondition::PolicyViolation))),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            })
        })
        .await
    }

    /// Says the last words on a connection that its session has left, in a task of its own. What still comes is read and
    /// thrown away, for a connection with unread bytes is reset, and the last words with it.
    pub async fn part(mut self, parting: Parting) {
        match parting {
            Parting::Drop => return,
            Parting::Close => {}
            Parting::Say(last) => {
                last.write.iter().for_each(|nonza| self.put(nonza, NONZA));
                last.error.iter().for_each(|error| self.put(error, NONZA));
            }
        }
        let farewell = async {
            self.stream.shutdown().await?;
            while !matches!(self.stream.next().await, None | Some(Err(ReadError::HardError(_)))) {}
            io::Result::Ok(())
        };
        let _ = timeout(LINGER, farewell).await;
    }
}

/// What has arrived is no XML. That it ends too early is the connection's fault.
fn is_malformed(error: &io::Error) -> bool {
    let why = error.get_ref().and_then(|why| why.downcast_ref::<rxml::Error>());
    why.is_some_and(|why| !matches!(why, rxml::Error::InvalidEof(_)))
}

/// [`Connection::drive`], where there may be none.
pub async fn drive(connection: Option<&mut Connection>, reads: bool) -> io::Result<Option<Input>> {
    match connection {
        Some(connection) => connection.drive(reads).await,
        None => pending().await,
    }
}
