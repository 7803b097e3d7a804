//! A connection: an XML reader and an outbox that never makes its owner wait.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use minidom::Element;
use rand::TryRng;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;
use xmpp_parsers::stream_error::{DefinedCondition, StreamError};

use super::xml::{self, Incoming, ReadError, XmlReader};

/// How long a client may take nothing of what is written to it.
const STALL: Duration = Duration::from_secs(60);
/// How long the other side has when a stream is closed, to take our last words and to say its own.
pub const LINGER: Duration = Duration::from_secs(2);

/// Plain TCP or TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub struct Connection {
    pub reader: XmlReader<ReadHalf<Box<dyn Io>>>,
    pub outbox: Outbox<WriteHalf<Box<dyn Io>>>,
}

impl Connection {
    pub fn new(io: Box<dyn Io>) -> Self {
        let (read, write) = tokio::io::split(io);
        Self { reader: XmlReader::new(read), outbox: Outbox::new(write) }
    }

    pub fn into_inner(self) -> Box<dyn Io> {
        self.reader.into_inner().unsplit(self.outbox.io)
    }

    /// During the negotiation nothing else is going on: writes and waits.
    pub async fn send(&mut self, element: impl Into<Element>) -> io::Result<()> {
        self.outbox.push(&xml::to_bytes(&element.into()));
        self.outbox.drain().await
    }

    pub async fn send_header(&mut self, domain: &str) -> io::Result<()> {
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{domain}' id='{:016x}' version='1.0'>",
            random()
        );
        self.outbox.push(header.as_bytes());
        self.outbox.drain().await
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

    /// Closes the stream: what is still in the outbox, `</stream:stream>`, and the connection. What the client
    /// still sends is read and thrown away, for a connection with unread bytes is reset, and our last words with it.
    pub async fn close(&mut self) {
        self.outbox.push(b"</stream:stream>");
        let farewell = async {
            self.outbox.drain().await?;
            self.outbox.io.shutdown().await?;
            self.reader.discard().await
        };
        // A client that is gone, or does not listen, gets no more.
        let _ = timeout(LINGER, farewell).await;
    }
}

/// What is to be written. Nothing here waits but [`drive`](Self::drive), which its owner polls beside all else it
/// does: a client that stops reading stops no more than itself.
pub struct Outbox<W> {
    io: W,
    segments: VecDeque<BytesMut>,
    /// Where the elements end that are not written to their ends, in bytes from the first of the connection.
    ends: VecDeque<u64>,
    /// How many bytes were pushed, and written, and the end of the last element that was written to its end.
    pushed: u64,
    written: u64,
    whole: u64,
    /// How many had been pushed when it was sealed last.
    sealed_to: u64,
    /// The last segment is to be flushed before anything else is written.
    sealed: bool,
    /// When something was written last, or began to wait.
    progress: Instant,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    fn new(io: W) -> Self {
        let (segments, ends) = Default::default();
        Self {
            io,
            segments,
            ends,
            pushed: 0,
            written: 0,
            whole: 0,
            sealed_to: 0,
            sealed: true,
            progress: Instant::now(),
        }
    }

    /// An element, or whatever else makes no sense if it is cut.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_empty() {
            self.progress = Instant::now();
        }
        match self.segments.back_mut() {
            Some(last) if !self.sealed => last.extend_from_slice(bytes),
            _ => self.segments.push_back(bytes.into()),
        }
        self.sealed = false;
        self.pushed += bytes.len() as u64;
        self.ends.push_back(self.pushed);
    }

    /// Takes back what was pushed since the last seal and is not begun: an element that is written in part stays, as
    /// do answers of stream management, and what is not counted because it came before them.
    pub fn withdraw(&mut self) {
        let partial = self.ends.front().copied().filter(|_| self.written > self.whole);
        let end = partial.unwrap_or(self.written).max(self.sealed_to);
        self.ends.truncate(self.ends.partition_point(|element| *element <= end));
        self.pushed = end;
        let mut left = (end - self.written) as usize;
        for segment in &mut self.segments {
            segment.truncate(left);
            left -= segment.len();
        }
        self.sealed = true;
    }

    /// Nothing that is pushed later goes out before the client's kernel could have all that was pushed so far.
    pub fn seal(&mut self) {
        self.sealed = true;
        self.sealed_to = self.pushed;
    }

    /// Bytes that are not written yet.
    pub fn pending(&self) -> usize {
        self.segments.iter().map(BytesMut::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// When the client counts as gone if it takes nothing until then.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| self.progress + STALL)
    }

    /// One step of writing. Dropping the future loses nothing.
    pub async fn drive(&mut self) -> io::Result<()> {
        let Some(first) = self.segments.front_mut() else { return Ok(()) };
        if !first.is_empty() {
            let written = self.io.write_buf(first).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += written as u64;
            while let Some(end) = self.ends.pop_front_if(|end| *end <= self.written) {
                self.whole = end;
            }
        }
        self.progress = Instant::now();
        if first.is_empty() {
            self.io.flush().await?;
            self.segments.pop_front();
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

pub fn stream_error(condition: DefinedCondition, text: &str) -> Element {
    StreamError::new(condition, "en", text).into()
}

/// A number that nobody can guess.
pub fn random() -> u64 {
    rand::rngs::SysRng.try_next_u64().expect("the system's random numbers")
}
