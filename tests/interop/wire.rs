//! The wire log as XML: what each side wrote on each connection, element by element.

mod websocket;

use std::time::Instant;

use minidom::Element;

use crate::record::{Chunk, Dir};
pub use websocket::Frames;

const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
const SM: &str = "urn:xmpp:sm:3";
const SASL2: &str = "urn:xmpp:sasl:2";
const BIND2: &str = "urn:xmpp:bind:0";
const STREAMS: &str = "http://etherx.jabber.org/streams";
const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

#[derive(Debug, Default)]
pub struct Connection {
    pub to_server: Vec<Item>,
    pub to_client: Vec<Item>,
    /// What went through to the server ended inside an element.
    pub torn: bool,
}

impl Connection {
    /// Whether the client's last `<r/>` has its answer.
    pub fn is_answered(&self) -> bool {
        let asked = self.to_server.iter().rfind(|item| item.what == What::Request);
        let told = self.to_client.iter().rfind(|item| matches!(item.what, What::Ack { .. }));
        asked.is_none_or(|asked| told.is_some_and(|told| told.at > asked.at))
    }

    pub fn items(&self, dir: Dir) -> &[Item] {
        match dir {
            Dir::ToServer => &self.to_server,
            Dir::ToClient => &self.to_client,
        }
    }
}

#[derive(Debug)]
pub struct Item {
    /// When its last byte came by.
    pub at: Instant,
    /// Whether all of it was forwarded.
    pub forwarded: bool,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Header,
    Footer,
    Message {
        body: String,
    },
    OtherStanza,
    Enable,
    Enabled {
        id: String,
        resumable: bool,
        max: Option<u32>,
    },
    Resume {
        previd: String,
        h: u32,
    },
    Resumed {
        h: u32,
    },
    Failed {
        h: Option<u32>,
    },
    Ack {
        h: u32,
    },
    Request,
    /// SASL2's `<authenticate/>`. What it asks for inline follows.
    Authenticate,
    StreamError {
        condition: String,
    },
    /// No XML, or an acknowledgement inside another element.
    Malformed,
    Other,
}

impl What {
    pub fn is_stanza(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::OtherStanza)
    }
}

pub fn read(chunks: &[Chunk]) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut splitters: Vec<[Splitter; 2]> = Vec::new();
    for chunk in chunks {
        while connections.len() <= chunk.connection {
            connections.push(Connection::default());
            splitters.push(Default::default());
        }
        let connection = &mut connections[chunk.connection];
        let (items, splitter) = match chunk.dir {
            Dir::ToServer => (&mut connection.to_server, &mut splitters[chunk.connection][0]),
            Dir::ToClient => (&mut connection.to_client, &mut splitters[chunk.connection][1]),
        };
        splitter.take(chunk, items);
        if chunk.dir == Dir::ToServer && chunk.forwarded {
            connection.torn = splitter.is_inside();
        }
    }
    connections
}

/// Cuts a stream into its header, its top-level elements and its footer. It relies on the stream being well-formed.
#[derive(Default)]
struct Splitter {
    buffer: Vec<u8>,
    tag: Option<usize>,
    quote: Option<u8>,
    depth: usize,
    lost: bool,
    /// Over WebSocket the elements are in frames.
    frames: Option<Frames>,
    has_begun: bool,
}

impl Splitter {
    fn take(&mut self, chunk: &Chunk, items: &mut Vec<Item>) {
        self.lost |= !chunk.forwarded;
        for byte in &chunk.bytes {
            if !std::mem::replace(&mut self.has_begun, true) && Frames::begin_with(*byte) {
                self.frames = Some(Frames::default());
            }
            let text = match &mut self.frames {
                Some(frames) => frames.byte(*byte).unwrap_or_default(),
                None => vec![*byte],
            };
            let whats = text.into_iter().flat_map(|byte| self.byte(byte)).collect::<Vec<_>>();
            items.extend(whats.into_iter().map(|what| Item { at: chunk.at, forwarded: !self.lost, what }));
        }
    }

    fn is_inside(&self) -> bool {
        self.depth > 0 || self.tag.is_some()
    }

    fn byte(&mut self, byte: u8) -> Vec<What> {
        self.buffer.push(byte);
        match (self.tag, self.quote) {
            (None, _) if byte == b'<' => self.tag = Some(self.buffer.len() - 1),
            (None, _) if self.depth == 0 => self.buffer.clear(),
            (None, _) => {}
            (Some(_), Some(quote)) if byte == quote => self.quote = None,
            (Some(_), Some(_)) => {}
            (Some(_), None) if byte == b'"' || byte == b'\'' => self.quote = Some(byte),
            (Some(start), None) if byte == b'>' => {
                self.tag = None;
                return self.end_of_tag(start);
            }
            (Some(_), None) => {}
        }
        Vec::new()
    }

    fn end_of_tag(&mut self, start: usize) -> Vec<What> {
        let tag = &self.buffer[start..];
        let is_ack = tag.starts_with(b"<r ") || tag.starts_with(b"<a ");
        if self.depth > 0 && is_ack && String::from_utf8_lossy(tag).contains(SM) {
            return vec![What::Malformed];
        }
        if tag.starts_with(b"<?") {
            self.buffer.truncate(start);
            return Vec::new();
        }
        if tag.starts_with(b"<stream:stream") {
            self.depth = 0;
            self.buffer.clear();
            return vec![What::Header];
        }
        if tag.starts_with(b"</stream:stream") {
            self.buffer.clear();
            return vec![What::Footer];
        }
        if tag.starts_with(b"</") {
            self.depth = self.depth.saturating_sub(1);
        } else if !tag.ends_with(b"/>") {
            self.depth += 1;
        }
        if self.depth > 0 {
            return Vec::new();
        }
        let text = std::mem::take(&mut self.buffer);
        classify(&String::from_utf8_lossy(&text))
    }
}

fn classify(xml: &str) -> Vec<What> {
    let wrapped = format!("<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}'>{xml}</stream:stream>");
    let Ok(root) = wrapped.parse::<Element>() else {
        return vec![What::Malformed];
    };
    let Some(element) = root.children().next() else {
        return vec![What::Other];
    };
    // What is inline is taken as if it came by itself.
    let inline = |outer: What, inner: &str| {
        let inner = element.children().filter(|child| child.is(inner, BIND2)).flat_map(Element::children);
        let nonzas = element.children().chain(inner).filter(|child| child.has_ns(SM));
        [outer].into_iter().chain(nonzas.map(one)).collect()
    };
    match (element.name(), element.ns().as_str()) {
        ("authenticate", SASL2) => inline(What::Authenticate, "bind"),
        ("success", SASL2) => inline(What::Other, "bound"),
        _ => vec![one(element)],
    }
}

fn one(element: &Element) -> What {
    let number = |name| element.attr(name).and_then(|value: &str| value.parse::<u32>().ok());
    let text = |name| element.attr(name).unwrap_or_default().to_owned();
    match (element.name(), element.ns().as_str()) {
        ("message", "jabber:client") => match element.get_child("body", "jabber:client") {
            Some(body) if element.attr("type") != Some("error") => What::Message { body: body.text() },
            _ => What::OtherStanza,
        },
        ("presence" | "iq", "jabber:client") => What::OtherStanza,
        ("enable", SM) => What::Enable,
        ("enabled", SM) => What::Enabled {
            id: text("id"),
            resumable: element.attr("id").is_some() && matches!(element.attr("resume"), Some("true" | "1")),
            max: number("max"),
        },
        ("resume", SM) => What::Resume { previd: text("previd"), h: number("h").unwrap_or_default() },
        ("resumed", SM) => What::Resumed { h: number("h").unwrap_or_default() },
        ("failed", SM) => What::Failed { h: number("h") },
        ("a", SM) => What::Ack { h: number("h").unwrap_or_default() },
        ("r", SM) => What::Request,
        ("open", FRAMING) => What::Header,
        ("close", FRAMING) => What::Footer,
        ("error", STREAMS) => {
            let condition = element.children().find(|child| child.ns() == STREAM_ERRORS);
            What::StreamError { condition: condition.map_or("", |child| child.name()).to_owned() }
        }
        _ => What::Other,
    }
}
