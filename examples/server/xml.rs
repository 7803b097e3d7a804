//! XML on the wire: `rxml` for the events, `minidom` for the elements.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use minidom::tree_builder::TreeBuilder;
use minidom::{Element, Node};
use rxml::writer::{SimpleNamespaces, TrackNamespace};
use rxml::{AsyncRawReader, Encoder, Item, Namespace, NcName, NcNameStr, Parse, RawEvent, RawParser};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, ReadBuf};
use xmpp_parsers::ns;
use xmpp_sm::Nonza;

/// An element larger or deeper than this ends its stream: what a client sends is not to be trusted.
const MAX: Most = Most { bytes: 256 * 1024, memory: 512 * 1024 };
/// The same of one that has not said who it is: there may be any number of these.
const MAX_OF_STRANGERS: Most = Most { bytes: 16 * 1024, memory: 64 * 1024 };
const MAX_DEPTH: usize = 64;
/// What an element, a piece of text and an attribute take there beside their bytes, about, and what the first attribute
/// takes besides: that is a map.
const NODE: usize = 256;
const ATTRIBUTE: usize = 128;
const FIRST_ATTRIBUTE: usize = 1024;
/// What is read at a time.
const READ: usize = 4096;

/// What a stream is made of, as seen by its reader.
pub enum Incoming {
    /// `<stream:stream>`, at the start and after each restart.
    Header,
    /// A child of the stream: a stanza, a part of the negotiation, a nonza.
    Element(Element),
    /// `<r/>` or `<a/>`, recognized without the parser.
    Nonza(Nonza),
    /// `</stream:stream>`
    Footer,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the connection is gone: {0}")]
    Gone(io::Error),
    #[error("not well-formed: {0}")]
    NotWellFormed(String),
    #[error("larger or deeper than this server takes")]
    TooBig,
}

impl From<io::Error> for ReadError {
    /// `rxml` reports a connection that ends inside of the stream as an XML error; here it is none.
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|e| e.downcast_ref()) {
            None | Some(rxml::Error::InvalidEof(_)) => Self::Gone(error),
            Some(xml) => Self::NotWellFormed(xml.to_string()),
        }
    }
}

/// Bytes that were read and not parsed. A connection that is silent has no buffer.
struct Buffered<R> {
    io: R,
    bytes: Bytes,
}

impl<R: AsyncRead + Unpin> AsyncRead for Buffered<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.bytes.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, into);
        }
        let length = this.bytes.len().min(into.remaining());
        into.put_slice(&this.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncBufRead for Buffered<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.bytes.is_empty() {
            let mut space = [MaybeUninit::uninit(); READ];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            this.bytes = Bytes::copy_from_slice(read.filled());
        }
        Poll::Ready(Ok(&this.bytes))
    }

    fn consume(mut self: Pin<&mut Self>, length: usize) {
        match length < self.bytes.len() {
            true => drop(self.bytes.split_to(length)),
            false => self.bytes = Bytes::new(),
        }
    }
}

/// What an element may have.
struct Most {
    bytes: usize,
    /// What it may take as a tree. `<a b=''/>` is nine bytes, and a thousand in memory.
    memory: usize,
}

/// Reads a stream, child by child.
pub struct XmlReader<R> {
    events: AsyncRawReader<Buffered<R>>,
    /// What is being read: the header, a child. `None`: the next child has not begun.
    tree: Option<Box<TreeBuilder>>,
    /// What the header has declared, once it has been read.
    declared: Option<Arc<Prefixes>>,
    /// That of the element that is being read.
    size: Size,
    most: &'static Most,
    /// Attributes and declarations of the start tag that is being read.
    attributes: usize,
    /// The last element has ended, and the parser has seen nothing of what follows it.
    between: bool,
}

impl<R: AsyncRead + Unpin> XmlReader<R> {
    pub fn new(io: R) -> Self {
        let events = AsyncRawReader::wrap(Buffered { io, bytes: Bytes::new() }, RawParser::default());
        let (size, most) = (Size::default(), &MAX);
        Self { events, tree: None, declared: None, size, most, attributes: 0, between: false }
    }

    /// Takes less, for as long as nobody knows whose stream it is.
    pub fn of_stranger(io: R) -> Self {
        Self { most: &MAX_OF_STRANGERS, ..Self::new(io) }
    }

    /// It is known whose stream it is.
    pub fn trust(&mut self) {
        self.most = &MAX;
    }

    /// Starts over, as after SASL; bytes that have been read and not parsed are kept.
    pub fn restart(&mut self) {
        *self.events.parser_mut() = RawParser::default();
        (self.tree, self.declared) = (None, None);
        self.size = Size::default();
        self.between = false;
    }

    /// The connection itself, for TLS. Bytes that have been read and not parsed are lost.
    pub fn into_inner(self) -> R {
        self.events.into_inner().0.io
    }

    /// Reads to the end of the connection, whatever comes.
    pub async fn discard(&mut self) -> io::Result<()> {
        tokio::io::copy(self.events.inner_mut(), &mut tokio::io::sink()).await.map(drop)
    }

    /// Waits until the other side is gone. Of one that has said something since, that is not seen. Dropping the future loses
    /// nothing.
    pub async fn gone(&mut self) {
        let buffered = self.events.inner_mut();
        if buffered.bytes.is_empty() && !buffered.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()) {
            return;
        }
        std::future::pending().await
    }

    /// The header, until the next piece is read, and the namespace of what has no prefix.
    pub fn header(&mut self) -> Option<(&Element, &str)> {
        let header = self.tree.as_mut()?.top()?;
        Some((header, header.prefixes.get(&None).map(String::as_str).unwrap_or_default()))
    }

    /// The next piece of the stream. Dropping the future loses nothing: all state is in `self`.
    pub async fn next(&mut self) -> Result<Incoming, ReadError> {
        if let Some(header) = self.tree.as_mut().filter(|_| self.declared.is_none()).and_then(|tree| tree.top()) {
            self.declared = Some(shared(header.prefixes.declared_prefixes()));
            self.tree = None;
        }
        if self.events.inner().bytes.is_empty() {
            // Most connections are silent for most of their time: they keep no memory for it.
            self.events.parser_mut().release_temporaries();
            self.tree.take_if(|_| self.size.bytes == 0);
            self.events.inner_mut().fill_buf().await?;
        }
        if self.between {
            if let Some(nonza) = self.nonza().await? {
                return Ok(Incoming::Nonza(nonza));
            }
            self.between = false;
        }
        loop {
            let Some(event) = self.events.read().await? else {
                return Err(ReadError::Gone(io::ErrorKind::UnexpectedEof.into()));
            };
            self.check(&event)?;
            let tree = self.tree.get_or_insert_with(|| of_children(self.declared.as_deref()));
            self.size.add(&event, self.attributes);
            if self.size.is_over(self.most) || tree.depth() >= MAX_DEPTH {
                return Err(ReadError::TooBig);
            }
            let opened = matches!(event, RawEvent::ElementHeadClose(_));
            let closed = matches!(event, RawEvent::ElementFoot(_));
            if self.size.in_text && tree.depth() == 0 {
                self.size = Size::default(); // white space between stanzas keeps the connection alive, no more
                continue;
            }
            tree.process_event(event).map_err(|e| ReadError::NotWellFormed(e.to_string()))?;
            let (depth, child) = (tree.depth(), tree.root.take());
            if opened {
                self.check_head()?;
            }
            if opened && self.declared.is_none() {
                self.size = Size::default();
                return Ok(Incoming::Header);
            }
            if closed && depth == 0 {
                self.size = Size::default();
                self.between = child.is_some();
                return Ok(child.map_or(Incoming::Footer, Incoming::Element));
            }
        }
    }

    /// What `rxml` leaves to the layer above its raw events: <https://www.w3.org/TR/xml-names/#ns-decl>. An element
    /// that breaks these rules could not be written so that others can read it.
    fn check(&mut self, event: &RawEvent) -> Result<(), ReadError> {
        let wrong = |what: &str| Err(ReadError::NotWellFormed(what.to_owned()));
        match event {
            RawEvent::ElementHeadOpen(_, (prefix, _)) => {
                self.attributes = 0;
                match prefix.as_deref().map(NcNameStr::as_str) {
                    Some("xml" | "xmlns") => wrong("an element with a reserved prefix"),
                    _ => Ok(()),
                }
            }
            RawEvent::Attribute(_, (prefix, name), value) => {
                self.attributes += 1;
                let reserved = [rxml::XMLNS_XML, rxml::XMLNS_XMLNS].contains(&value.as_str());
                match (prefix.as_deref().map(NcNameStr::as_str), name.as_str()) {
                    (None, "xmlns") if reserved => wrong("a reserved namespace as the default"),
                    (Some("xmlns"), "xml") if value == rxml::XMLNS_XML => Ok(()),
                    (Some("xmlns"), _) if reserved => wrong("a reserved namespace with a prefix"),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A start tag is complete: no attribute came twice, and the namespaces that it uses, which were declared once
    /// and are kept and written for each element, are no way to make much of little.
    fn check_head(&mut self) -> Result<(), ReadError> {
        let Some(element) = self.tree.as_mut().and_then(|tree| tree.top()) else { return Ok(()) };
        if element.attrs().len() + element.prefixes.declared_prefixes().len() != self.attributes {
            return Err(ReadError::NotWellFormed("an attribute is given twice".to_owned()));
        }
        self.size.bytes += element.ns().len();
        self.size.bytes += element.attrs().iter().map(|((ns, _), _)| ns.len()).sum::<usize>();
        match self.size.is_over(self.most) {
            true => Err(ReadError::TooBig),
            false => Ok(()),
        }
    }

    /// Between two elements: skips white space and returns `<r/>` or `<a/>`, if that comes next. `None`: the parser has
    /// to look.
    async fn nonza(&mut self) -> io::Result<Option<Nonza>> {
        let input = self.events.inner_mut();
        loop {
            let bytes = input.fill_buf().await?;
            if let Some((nonza, length)) = Nonza::from_bytes(bytes) {
                input.consume(length);
                return Ok(Some(nonza));
            }
            let blank = bytes.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
            if blank == 0 {
                return Ok(None);
            }
            input.consume(blank);
        }
    }
}

/// What an element takes of which so much was read.
#[derive(Default)]
struct Size {
    bytes: usize,
    /// As a tree, besides.
    memory: usize,
    /// What comes in pieces, as what `&lt;` is in does, is one text.
    in_text: bool,
}

impl Size {
    /// `attributes`: how many of them its start tag has had, with this one.
    fn add(&mut self, event: &RawEvent, attributes: usize) {
        self.bytes += event.metrics().len();
        self.memory += match event {
            RawEvent::ElementHeadOpen(..) => NODE,
            RawEvent::Text(..) if !self.in_text => NODE,
            RawEvent::Attribute(..) if attributes == 1 => FIRST_ATTRIBUTE,
            RawEvent::Attribute(..) => ATTRIBUTE,
            _ => 0,
        };
        self.in_text = matches!(event, RawEvent::Text(..));
    }

    fn is_over(&self, most: &Most) -> bool {
        self.bytes > most.bytes || self.bytes + self.memory > most.memory
    }
}

/// What is declared for all children of a stream.
type Prefixes = BTreeMap<Option<String>, String>;

/// Most streams declare the same, which is in memory once.
fn shared(declared: &Prefixes) -> Arc<Prefixes> {
    static USUAL: LazyLock<Arc<Prefixes>> = LazyLock::new(|| Arc::new(usual()));
    if *declared == **USUAL { USUAL.clone() } else { Arc::new(declared.clone()) }
}

fn usual() -> Prefixes {
    let declared = [(None, ns::JABBER_CLIENT), (Some("stream"), ns::STREAM)];
    declared.map(|(prefix, ns)| (prefix.map(str::to_owned), ns.to_owned())).into()
}

/// Builds the header, and after it one child after the other, which know what it has declared.
fn of_children(declared: Option<&Prefixes>) -> Box<TreeBuilder> {
    let stack = match declared {
        None => Vec::new(),
        // One map alone would become the first child's own.
        Some(declared) => vec![declared.clone().into(), Prefixes::default().into()],
    };
    Box::new(TreeBuilder::new().with_prefixes_stack(stack))
}

/// Writes an element as a child of our stream, whose header has declared `jabber:client` and `stream:`.
///
/// The namespaces are declared anew from what the element *means*, never copied from what a client wrote.
pub fn to_bytes(element: &Element) -> Bytes {
    with_bytes(element, Bytes::copy_from_slice)
}

/// The same, for those who keep it for long. What is copied out of `bytes` takes no more than these; what is cut to its
/// size where it was written leaves a hole behind it that fits nothing.
pub fn with_bytes<T>(element: &Element, keep: impl FnOnce(&[u8]) -> T) -> T {
    let mut names = SimpleNamespaces::new();
    names.declare_fixed(None, ns::JABBER_CLIENT.into());
    names.declare_fixed(Some(ncname("stream").as_ref()), ns::STREAM.into());
    names.push();
    let mut out = Vec::with_capacity(512);
    write(element, &mut Encoder::from(names), &mut out).expect("what was parsed can be written");
    keep(&out)
}

fn write(element: &Element, to: &mut Encoder<SimpleNamespaces>, out: &mut Vec<u8>) -> rxml::Result<()> {
    let name = ncname(element.name());
    to.encode(Item::ElementHeadStart(element.ns().into(), &name), out)?;
    for ((ns, name), value) in element.attrs() {
        to.encode(Item::Attribute(ns.clone(), name, value), out)?;
    }
    if element.nodes().next().is_some() {
        to.encode(Item::ElementHeadEnd, out)?;
    }
    for node in element.nodes() {
        match node {
            Node::Element(child) => write(child, to, out)?,
            Node::Text(text) => to.encode(Item::Text(text), out)?,
        }
    }
    to.encode(Item::ElementFoot, out)
}

/// The element that [`to_bytes`] wrote. What came from an [`XmlReader`] is never an error.
pub fn from_bytes(bytes: &[u8]) -> Result<Element, minidom::Error> {
    Element::from_reader_with_prefixes(bytes, usual())
}

/// Sets an attribute, or takes it away.
pub fn set<'a>(element: &mut Element, name: &str, value: impl Into<Option<&'a str>>) {
    element.set_attr(Namespace::NONE, ncname(name), value.into());
}

fn ncname(name: &str) -> NcName {
    <&NcNameStr>::try_from(name).expect("a name without a colon").to_ncname()
}
