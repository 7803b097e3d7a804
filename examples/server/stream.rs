//! A connection: an XML reader and an outbox that never makes its owner wait.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use minidom::Element;
use rand::TryRng;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use xmpp_sm::{EndReason, LastWords, Nonza, Parting, StreamCondition, StreamError, Write, delay};

use super::Server;
use super::inline::Sasl2;
use super::places::Place;
use super::silence::Silence;
use super::stanza::Written;
use super::xml::{self, Incoming, ReadError, XmlReader};

/// How long the other side has when a stream is closed, to take our last words and to say its own.
pub const LINGER: Duration = Duration::from_secs(2);
/// Bytes that may wait in the outbox of a session's connection. The session keeps the rest.
const ROOM: usize = 64 * 1024;

/// Plain TCP or TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub struct Connection {
    pub reader: XmlReader<ReadHalf<Box<dyn Io>>>,
    pub outbox: Outbox<WriteHalf<Box<dyn Io>>>,
    pub silence: Silence,
    /// A client's later connection has a higher one.
    pub number: u64,
    /// How long its client has to come to a session, and that to say so. `None`: it has.
    pub login_until: Option<Instant>,
    /// Its account's place that it takes, once it is known whose it is, and unless its session can be resumed.
    pub place: Option<Place>,
    /// What it has said in SASL2, until `<success/>`.
    pub sasl2: Option<Box<Sasl2>>,
}

/// What arrives on a connection.
pub enum Input {
    Element(Element),
    /// `<r/>` or `<a/>`, read without the XML parser.
    Nonza(Nonza),
    /// `</stream:stream>`
    Closed,
    /// Something that cannot be read, nor what follows it; and the condition of the stream error for it.
    Bad(StreamCondition),
}

impl Connection {
    pub fn new(io: Box<dyn Io>) -> Self {
        let (read, write) = tokio::io::split(io);
        Self {
            reader: XmlReader::of_stranger(read),
            outbox: Outbox::new(write),
            silence: Silence::new(),
            number: 0,
            login_until: None,
            place: None,
            sasl2: None,
        }
    }

    pub fn over(tcp: TcpStream) -> io::Result<Box<Self>> {
        tcp.set_nodelay(true)?;
        Ok(Box::new(Self::new(Box::new(tcp))))
    }

    pub fn into_inner(self) -> Box<dyn Io> {
        self.reader.into_inner().unsplit(self.outbox.io)
    }

    /// During the negotiation nothing else is going on: writes and waits.
    pub async fn send(&mut self, element: impl Into<Element>) -> io::Result<()> {
        self.outbox.push(&xml::to_bytes(&element.into()));
        self.outbox.drain().await
    }

    /// Opens our stream for stanzas of this namespace. Returns its id.
    pub async fn send_header(&mut self, domain: &str, ns: &str) -> io::Result<String> {
        let id = format!("{:016x}", random());
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='{ns}' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{domain}' id='{id}' version='1.0'>",
        );
        self.outbox.push(header.as_bytes());
        self.outbox.drain().await?;
        Ok(id)
    }

    /// Writes what is to be written, and waits for the answer. Dropping the future loses nothing.
    pub async fn ask(&mut self) -> Result<Element, ReadError> {
        self.outbox.drain().await?;
        self.next_element().await
    }

    /// The next child of the stream, while it is being negotiated.
    pub async fn next_element(&mut self) -> Result<Element, ReadError> {
        match self.reader.next().await? {
            Incoming::Element(element) => Ok(element),
            Incoming::Nonza(nonza) => Ok(nonza.to_element()),
            Incoming::Header => Err(ReadError::NotWellFormed("a header in a stream".to_owned())),
            Incoming::Footer => Err(ReadError::Gone(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Whether a session may write more.
    pub fn has_room(&self) -> bool {
        self.outbox.pending() < ROOM
    }

    /// Puts something behind all that waits to be written.
    pub fn push(&mut self, item: Write<'_, Written>, domain: &str) {
        match item {
            Write::Stanza { stanza, late } => {
                let late = late.map(|queued| delay::wall_clock(queued, Instant::now(), SystemTime::now()));
                stanza.write_to(self.outbox.buffer(), domain, late);
            }
            Write::Nonza(nonza) => nonza.write_to(self.outbox.buffer()),
            Write::StreamError(error) => error.write_to(self.outbox.buffer()),
            Write::Flush => self.outbox.seal(),
            Write::Close => self.outbox.push(CLOSE),
            _ => {}
        }
    }

    /// Writes what waits, and reads what comes if `reads`. `None`: something was written. Dropping the future loses
    /// nothing.
    pub async fn drive(&mut self, reads: bool) -> io::Result<Option<Input>> {
        let read = tokio::select! {
            read = self.reader.next(), if reads => read,
            written = self.outbox.drive(), if !self.outbox.is_empty() => return written.map(|()| None),
            else => pending().await,
        };
        self.silence = Silence::new();
        match read {
            Ok(Incoming::Element(element)) => Ok(Some(Input::Element(element))),
            Ok(Incoming::Nonza(nonza)) => Ok(Some(Input::Nonza(nonza))),
            Ok(Incoming::Footer) => Ok(Some(Input::Closed)),
            Ok(Incoming::Header) => Ok(Some(Input::Bad(StreamCondition::BadFormat))),
            Err(ReadError::NotWellFormed(_)) => Ok(Some(Input::Bad(StreamCondition::NotWellFormed))),
            Err(ReadError::TooBig) => Ok(Some(Input::Bad(StreamCondition::PolicyViolation))),
            Err(ReadError::Gone(error)) => Err(error),
        }
    }

    /// Says the last words on a connection, if there are any, and closes it. What the client still sends is read and
    /// thrown away, for a connection with unread bytes is reset, and our last words with it.
    pub async fn part(mut self: Box<Self>, parting: Parting) {
        match parting {
            Parting::Drop => return,
            Parting::Say(last) => {
                last.write_to(self.outbox.buffer());
                self.outbox.push(CLOSE);
            }
            Parting::Close => {}
        }
        let farewell = async {
            self.outbox.drain().await?;
            self.outbox.io.shutdown().await?;
            self.reader.discard().await
        };
        // A client that is gone, or does not listen, gets no more.
        let _ = timeout(LINGER, farewell).await;
    }

    /// The other side has no session, and is sent away.
    pub async fn send_away(self: Box<Self>, condition: StreamCondition) {
        self.close(Some(StreamError::Other(condition))).await;
    }

    /// The other side has no session, and its stream is closed.
    pub async fn close(self: Box<Self>, error: Option<StreamError>) {
        self.part(Parting::Say(LastWords { write: None, error, reason: EndReason::PeerFault })).await;
    }
}

/// [`Connection::drive`], where there may be none.
pub fn drive(
    mut connection: Option<&mut Box<Connection>>,
    reads: bool,
) -> impl Future<Output = io::Result<Option<Input>>> {
    poll_fn(move |context| match &mut connection {
        // What it knows is in the connection. Made anew each time, it takes no memory while the session waits.
        Some(connection) => pin!(connection.drive(reads)).poll(context),
        None => Poll::Pending,
    })
}

/// A session has left this connection, which takes its time. `server`: does not stop before that.
pub fn part(connection: Box<Connection>, parting: Parting, server: Arc<Server>) {
    if parting != Parting::Drop {
        tokio::spawn(async move {
            connection.part(parting).await;
            drop(server);
        });
    }
}

const CLOSE: &[u8] = b"</stream:stream>";

/// What is to be written. Nothing here waits but [`drive`](Self::drive), which its owner polls beside all else it
/// does: a client that stops reading stops no more than itself.
pub struct Outbox<W> {
    io: W,
    segments: VecDeque<BytesMut>,
    /// The last segment is to be flushed before anything else is written.
    sealed: bool,
    /// When something was written last, or began to wait.
    progress: Instant,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    fn new(io: W) -> Self {
        Self { io, segments: VecDeque::new(), sealed: true, progress: Instant::now() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// Where to append what is to be written.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.is_empty() {
            self.progress = Instant::now();
        }
        if std::mem::take(&mut self.sealed) || self.is_empty() {
            self.segments.push_back(BytesMut::new());
        }
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Nothing that is pushed later goes out before the client's kernel could have all that was pushed so far.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Bytes that are not written yet.
    pub fn pending(&self) -> usize {
        self.segments.iter().map(BytesMut::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Since when something waits, and nothing of it is taken.
    pub fn waits_since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.progress)
    }

    /// One step of writing. Dropping the future loses nothing.
    pub async fn drive(&mut self) -> io::Result<()> {
        let Some(first) = self.segments.front_mut() else { return Ok(()) };
        if !first.is_empty() && self.io.write_buf(first).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.progress = Instant::now();
        if first.is_empty() {
            self.io.flush().await?;
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            // Most connections are silent for most of their time: they keep no memory for it.
            self.segments = VecDeque::new();
        }
        Ok(())
    }

    pub async fn drain(&mut self) -> io::Result<()> {
        while !self.is_empty() {
            self.drive().await?;
        }
        Ok(())
    }
}

/// A number that nobody can guess.
pub fn random() -> u64 {
    rand::rngs::SysRng.try_next_u64().expect("the system's random numbers")
}
