//! A link that carries text: elements are written as a host writes them, cut anywhere, and put together
//! again by an incremental parser.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use rxml::error::EndOrError;
use rxml::{AttrMap, Event, Namespace, Parse, Parser};
use xmpp_sm::{Inbound, NS};

use super::event::Side;
use super::ledger::{Checked, Msg, Violation, ensure};
use super::link::Wire;

const CLIENT: &str = "jabber:client";
const STREAM: &str = "http://etherx.jabber.org/streams";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

pub struct Text {
    wire: BytesMut,
    parser: Parser,
    depth: u32,
    /// The element at the root level of the stream that is being read.
    open: Option<Open>,
}

struct Open {
    namespace: String,
    name: String,
    attrs: Vec<(String, String)>,
    child: Option<String>,
    text: String,
}

impl Text {
    pub fn new() -> Self {
        let header = format!("<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAM}'>");
        Self { wire: header.as_bytes().into(), parser: Parser::new(), depth: 0, open: None }
    }

    pub fn bytes(&self) -> usize {
        self.wire.len()
    }

    pub fn write(&mut self, wire: &Wire) {
        match wire {
            Wire::Stanza(msg) => self.wire.extend_from_slice(stanza(msg).as_bytes()),
            Wire::Nonza(nonza) => nonza.write_to(&mut self.wire),
            Wire::Error => self.wire.extend_from_slice(b"<stream:error><conflict xmlns='urn:x'/></stream:error>"),
            Wire::Close => self.wire.extend_from_slice(b"</stream:stream>"),
        }
    }

    /// Reads so many bytes more.
    pub fn arrive(&mut self, bytes: usize, ready: &mut VecDeque<Wire>) -> Checked {
        let mut read = self.wire.split_to(bytes.min(self.wire.len()));
        loop {
            match self.parser.parse_buf(&mut read, false) {
                Ok(Some(event)) => ready.extend(self.event(event)?),
                Ok(None) | Err(EndOrError::NeedMoreData) if !read.has_remaining() => return Ok(()),
                other => return Err(Violation(format!("what was written cannot be read: {other:?}"))),
            }
        }
    }

    fn event(&mut self, event: Event) -> Checked<Option<Wire>> {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, name, attrs) => {
                self.depth += 1;
                self.start(name, attrs);
            }
            Event::Text(_, text) => {
                if let Some(open) = &mut self.open {
                    open.text.push_str(&text);
                }
            }
            Event::EndElement(_) => {
                self.depth -= 1;
                match (self.depth, &self.open) {
                    (0, _) => return Ok(Some(Wire::Close)),
                    (1, Some(_)) => return self.open.take().map(Open::into_wire).transpose(),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    fn start(&mut self, (namespace, name): (Namespace, rxml::NcName), attrs: AttrMap) {
        let namespace = namespace.as_str().to_owned();
        match (self.depth, &mut self.open) {
            (2, open) => {
                let attrs = attrs.into_iter().filter(|((namespace, _), _)| namespace.is_none());
                let attrs = attrs.map(|((_, name), value)| (name.to_string(), value)).collect();
                let (child, text) = (None, String::new());
                *open = Some(Open { namespace, name: name.to_string(), attrs, child, text });
            }
            (3, Some(open)) if namespace == STANZAS => open.child = Some(name.to_string()),
            _ => {}
        }
    }
}

impl Open {
    fn into_wire(self) -> Checked<Wire> {
        if self.namespace == STREAM {
            return Ok(Wire::Error);
        }
        let attrs = self.attrs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match Inbound::from_parts(&self.name, &self.namespace, CLIENT, attrs, self.child.as_deref(), 1) {
            Inbound::Stanza { bytes: 1 } => self.into_msg().map(Wire::Stanza),
            Inbound::Nonza(nonza) => Ok(Wire::Nonza(nonza)),
            other => Err(Violation(format!("<{}> of {} or {NS} was read as {other:?}", self.name, self.namespace))),
        }
    }

    fn into_msg(self) -> Checked<Msg> {
        let id = self.attrs.iter().find(|(name, _)| name == "id").map(|(_, id)| id.as_str());
        let msg = id.and_then(parse_id);
        let Some(msg) = msg else { return Err(Violation(format!("a stanza with the id {id:?}"))) };
        ensure!(self.text == body(&msg), "{} bytes of body arrive of {msg:?}", self.text.len());
        Ok(msg)
    }
}

/// The three names take turns, and every stanza is valid XMPP.
fn stanza(msg: &Msg) -> String {
    let name = ["message", "presence", "iq"][msg.position as usize % 3];
    let from = if msg.from == Side::Client { "c" } else { "s" };
    let session = msg.session.map_or("x".to_owned(), |session| session.to_string());
    let body = body(msg).replace('&', "&amp;").replace('<', "&lt;");
    format!("<{name} id='{session}-{from}-{}-{}'><a>{body}</a></{name}>", msg.position, msg.bytes)
}

fn parse_id(id: &str) -> Option<Msg> {
    let mut parts = id.split('-');
    let mut part = || parts.next();
    let session = part()?;
    let session = if session == "x" { None } else { Some(session.parse().ok()?) };
    let from = if part()? == "c" { Side::Client } else { Side::Server };
    Some(Msg { session, from, position: part()?.parse().ok()?, bytes: part()?.parse().ok()? })
}

/// As many characters as the stanza has bytes, of one to three bytes each, some of them to be escaped.
fn body(msg: &Msg) -> String {
    "ab<&ö日".chars().cycle().skip(msg.position as usize % 6).take(msg.bytes as usize).collect()
}
