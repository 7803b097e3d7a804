//! A connection: an XML reader, and bytes that wait to be written.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use minidom::Element;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use xmpp_sm::{Parting, Write};

use super::xml::{self, Incoming, ReadError, XmlReader};

/// How much may wait to be written. The session keeps the rest.
const ROOM: usize = 64 * 1024;
/// How long the last words may take.
const LINGER: Duration = Duration::from_secs(2);
const CLOSE: &[u8] = b"</stream:stream>";

pub struct Connection {
    pub reader: XmlReader<OwnedReadHalf>,
    io: OwnedWriteHalf,
    outbox: BytesMut,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address).await?)
    }

    pub fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let (read, io) = tcp.into_split();
        Ok(Self { reader: XmlReader::new(read), io, outbox: BytesMut::new() })
    }

    pub fn has_room(&self) -> bool {
        self.outbox.len() < ROOM
    }

    /// Puts something behind the bytes that wait.
    pub fn push(&mut self, item: Write<'_, Bytes>) {
        match item {
            Write::Stanza { stanza, .. } => self.outbox.extend_from_slice(stanza),
            Write::Nonza(nonza) => nonza.write_to(&mut self.outbox),
            Write::StreamError(error) => error.write_to(&mut self.outbox),
            Write::Close => self.outbox.extend_from_slice(CLOSE),
            // Only servers have to.
            Write::Flush => {}
            _ => {}
        }
    }

    pub fn push_element(&mut self, element: impl Into<Element>) {
        self.push_bytes(&xml::to_bytes(&element.into()));
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    /// Writes what waits, and then reads the next piece of the stream.
    pub async fn ask(&mut self) -> Result<Incoming, ReadError> {
        self.flush().await?;
        self.reader.next().await
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        self.io.write_all_buf(&mut self.outbox).await
    }

    /// Writes what waits, and reads the next piece of the stream if `reads`. `None`: something was written. Dropping the
    /// future loses nothing.
    pub async fn drive(&mut self, reads: bool) -> Result<Option<Incoming>, ReadError> {
        tokio::select! {
            read = self.reader.next(), if reads => read.map(Some),
            written = self.io.write_buf(&mut self.outbox), if !self.outbox.is_empty() => match written? {
                0 => Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                _ => Ok(None),
            },
            else => std::future::pending().await,
        }
    }

    /// Says the last words, if there are any, and closes the connection. What still comes is read and thrown away, for a
    /// connection with unread bytes is reset, and our last words with it.
    pub async fn part(mut self, parting: Parting) {
        match parting {
            Parting::Drop => return,
            Parting::Close => {}
            Parting::Say(last) => {
                last.write_to(&mut self.outbox);
                self.push_bytes(CLOSE);
            }
        }
        let farewell = async {
            self.flush().await?;
            self.io.shutdown().await?;
            self.reader.discard().await
        };
        let _ = timeout(LINGER, farewell).await;
    }
}

/// [`Connection::drive`], where there may be none.
pub async fn drive(connection: Option<&mut Connection>, reads: bool) -> Result<Option<Incoming>, ReadError> {
    match connection {
        Some(connection) => connection.drive(reads).await,
        None => std::future::pending().await,
    }
}
