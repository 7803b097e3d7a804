//! A connection of both hosts: an XML reader, and bytes that wait to be written.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use minidom::Element;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use xmpp_sm::{Inbound, LastWords, Nonza, Parting, Write};

use crate::net::End;
use crate::now;
use crate::xml::{Incoming, XmlReader};
use crate::{client_loop, server_loop};

pub const NS: &str = "jabber:client";
pub const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

pub struct Conn {
    /// Which of a server's connections it is, in the order in which they were made.
    pub number: u64,
    reader: XmlReader<ReadHalf<End>>,
    writer: WriteHalf<End>,
    /// What goes out in one piece each.
    out: VecDeque<Vec<u8>>,
    waiting: usize,
    /// How often it was waited for at the same time.
    steps: u32,
    stepped: Instant,
}

impl Conn {
    pub fn new(end: End) -> Self {
        let (reader, writer) = tokio::io::split(end);
        let (reader, out) = (XmlReader::new(reader), VecDeque::new());
        Self { number: 0, reader, writer, out, waiting: 0, steps: 0, stepped: now() }
    }

    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        self.waiting += text.len();
        match self.out.back_mut() {
            Some(last) => last.extend_from_slice(text),
            None => self.out.push_back(text.to_vec()),
        }
    }

    pub fn write(&mut self, item: Write<'_, Bytes>) {
        match item {
            Write::Stanza { stanza, .. } => self.say(stanza),
            Write::Nonza(nonza) => {
                if matches!(nonza, Nonza::Enabled(_) | Nonza::Resumed(_)) {
                    let is_alone = self.out.back().is_none_or(Vec::is_empty);
                    assert!(is_alone, "{nonza:?} shares a segment with what was before it");
                }
                self.say(nonza.to_string());
            }
            Write::StreamError(error) => self.say(error.to_string()),
            Write::Close => self.say("</stream:stream>"),
            Write::Flush => {
                let is_alone =
                    |part: &Vec<u8>| !has(part, b"<enabled ") && !has(part, b"<resumed ") || count(part) == 1;
                assert!(self.out.back().is_none_or(is_alone), "{:?}", self.out);
                self.out.push_back(Vec::new());
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// Writes what waits, and reads if it shall.
    pub async fn step(&mut self, reads: bool) -> io::Result<Option<Incoming>> {
        self.steps = if self.stepped == now() { self.steps + 1 } else { 0 };
        self.stepped = now();
        assert!(self.steps < 100_000, "a loop goes round and round, and time stands still");
        while self.out.front().is_some_and(Vec::is_empty) {
            self.out.pop_front();
        }
        let Self { reader, writer, out, waiting, .. } = self;
        let first = out.front_mut();
        tokio::select! {
            biased;
            read = reader.next(), if reads => read.map(Some).map_err(io::Error::other),
            written = async { writer.write(first.as_ref().map_or(&[][..], |first| first)).await }, if first.is_some() => {
                let n = written?;
                *waiting -= n;
                out.front_mut().map(|first| first.drain(..n).count());
                Ok(None)
            }
            else => std::future::pending().await,
        }
    }

    /// The next element, for a login.
    pub async fn element(&mut self) -> io::Result<Element> {
        loop {
            match self.step(true).await? {
                Some(Incoming::Element(element)) => return Ok(element),
                Some(Incoming::Nonza(nonza)) => return Ok(nonza.to_element()),
                Some(Incoming::Footer) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Incoming::Header) | None => {}
            }
        }
    }

    async fn flush(mut self) -> io::Result<()> {
        while self.waiting > 0 {
            let _ = self.step(false).await?;
        }
        self.writer.shutdown().await
    }

    /// Says the last words, in a task of its own.
    pub fn part(mut self, parting: Parting) {
        match parting {
            Parting::Drop => return,
            Parting::Say(LastWords { write, error, .. }) => {
                write.into_iter().for_each(|nonza| self.write(Write::Nonza(&nonza)));
                error.into_iter().for_each(|error| self.write(Write::StreamError(error)));
                self.write(Write::Close);
            }
            Parting::Close => {}
        }
        tokio::spawn(tokio::time::timeout(Duration::from_secs(30), self.flush()));
    }
}

fn has(part: &[u8], what: &[u8]) -> bool {
    part.windows(what.len()).any(|window| window == what)
}

/// How many elements without children these are.
fn count(part: &[u8]) -> usize {
    part.iter().filter(|byte| **byte == b'<').count()
}

pub fn inbound(element: &Element) -> Inbound {
    Inbound::from_element(element, NS)
}

impl server_loop::Connection for Conn {
    fn has_room(&self) -> bool {
        self.waiting < 64 * 1024
    }
    fn push(&mut self, item: Write<'_, Bytes>) {
        self.write(item);
    }
    async fn drive(&mut self, reads: bool) -> io::Result<Option<server_loop::Input>> {
        Ok(match self.step(reads).await? {
            Some(Incoming::Element(element)) => Some(server_loop::Input::Element(element)),
            Some(Incoming::Nonza(nonza)) => Some(server_loop::Input::Element(nonza.to_element())),
            Some(Incoming::Footer) => Some(server_loop::Input::Closed),
            Some(Incoming::Header) | None => None,
        })
    }
}

impl client_loop::Connection for Conn {
    fn has_room(&self) -> bool {
        self.waiting < 64 * 1024
    }
    fn push(&mut self, item: Write<'_, Bytes>) {
        self.write(item);
    }
    fn bind(&mut self) {
        self.say("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    }
    async fn drive(&mut self, reads: bool) -> io::Result<Option<client_loop::Input>> {
        Ok(match self.step(reads).await? {
            Some(Incoming::Element(element)) => Some(client_loop::Input::Element(element)),
            Some(Incoming::Nonza(nonza)) => Some(client_loop::Input::Element(nonza.to_element())),
            Some(Incoming::Footer) => Some(client_loop::Input::Closed),
            Some(Incoming::Header) | None => None,
        })
    }
}
