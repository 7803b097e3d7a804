//! With xmpp-parsers and tokio-xmpp: what a host needs whose stanzas are types, which the crate
//! [xso](https://docs.rs/xso/0.4) 0.4 reads and writes.
//!
//! The types are those of xmpp-parsers 0.23, for instance, and the streams those of `tokio_xmpp::xmlstream` 6.0. All of this
//! needs the feature `xso`. A host that copies what is below has these in its `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! futures = "0.3"
//! minidom = "0.19"
//! sasl = "0.5" # the credentials that `client_login` takes
//! tokio = { version = "1", features = ["io-util", "macros", "net", "rt-multi-thread", "sync", "time"] }
//! tokio-xmpp = "6.0" # with TLS by aws-lc, which needs a C compiler; its feature "ring" does without
//! xmpp-parsers = "0.23"
//! xmpp-sm = { version = "0.1", features = ["xso"] }
//! ```
//!
//! | | |
//! | --- | --- |
//! | [`Received<T>`](Received) | what a stream reads: any element, sorted for stream management, and read as a `T` of the host's |
//! | [`Measured<T>`](Measured) | what a session keeps: a `T` with its size, which [`Measured::of`] finds out |
//! | [`Nonza`], [`StreamError`], [`Measured`] | `AsXml`: the host writes what [`Write`](crate::Write) holds as it is |
//! | [`Nonza`] | `FromXml`, too, for hosts that put their own stream element together |
//!
//! A [`StreamError`] is only written. One that the peer has sent arrives in a `Received`: sorted as
//! [`Inbound::StreamError`], and with its text in what the host's type makes of it.
//!
//! # Reading
//!
//! The stream reads `Received<FallibleStreamElement>`, or `Received` of a type of the host's. Each one goes to the session, as
//! any other element: `session.handle(session.inbound(&received), now)`. After that the host takes out what it wants, and
//! settles the receipt whether there is a stanza or not:
//!
//! ```
//! # use std::time::Instant;
//! # use tokio_xmpp::xmlstream::{FallibleStreamElement, XmppStreamElement};
//! # use xmpp_parsers::stanza::Stanza;
//! # use xmpp_sm::{Arrival, Session, typed::Received};
//! # fn on_element<S: xmpp_sm::Stanza, C>(
//! #     element: Box<Received<FallibleStreamElement>>,
//! #     session: &mut Session<S, C>,
//! #     deliver: impl FnOnce(Stanza),
//! #     now: fn() -> Instant,
//! # ) {
//! let Ok(Arrival::Stanza(receipt)) = session.handle(session.inbound(&*element), now()) else { return };
//! if let Ok(FallibleStreamElement::Ok(XmppStreamElement::Stanza(stanza))) = element.content {
//!     deliver(stanza);
//! }
//! let _ = session.settle(receipt, now());
//! # }
//! ```
//!
//! - **No type of the host's reads `urn:xmpp:sm:3`.** The crate does, by [its own rules](Nonza::parse). `xmpp_parsers::sm`
//!   (0.23) has others: it refuses `max='99999999999'`, `resume=' true '` and `<a h=' 0 '/>`, which are well made, and
//!   `<failed/>` without `h`. What is malformed arrives as [`Inbound::Malformed`], and the session answers it.
//! - **A stanza that the host's type cannot read counts.** [`Received::content`] is an error, or an
//!   `Ok(FallibleStreamElement::Err(_))`, which has its id, and `handle` returns
//!   [`Arrival::Stanza`](crate::Arrival::Stanza) as for any other stanza. The host answers an iq with `<bad-request/>`, and
//!   settles the receipt. The peer counts this stanza: a host that does not is wrong about `h` from there on.
//! - **What is too large, or nested too deep, is thrown away** as it arrives, and counts: see [`Received`](Received#bounds).
//! - **An element that no type reads is not an error of the stream.** `content` is [`TypeMismatch`], and `handle` returns
//!   [`Arrival::Other`](crate::Arrival::Other). Without `Received`, tokio-xmpp ends a stream on which such an element arrives.
//!
//! # Keeping
//!
//! `xmpp_parsers::stanza::Stanza` has no size, and cannot be cloned. `Arc<Measured<Stanza>>` has one and can, and is a
//! [`Stanza`](crate::Stanza) of the crate's. [`Measured::of`] also finds out whether XML can carry the stanza. That comes
//! before [`send`](crate::Session::send): the session counts what it gives out to be written, and a stanza that is then
//! not written makes the two sides count differently. A stanza that was read by `Received` can be written, and is measured
//! already: [`Received::bytes`] is the size that [`Measured::of`] would find, and a router that passes a stanza on makes
//! `Measured { value, bytes }` of the two.
//!
//! # Writing
//!
//! This is the `Connection` of [a server's loop](crate#a-servers-loop) and [a client's](crate#a-clients-loop), on tokio-xmpp. The
//! loops change so:
//!
//! | in the loop of the guide | with this file |
//! | --- | --- |
//! | `Connection` is a trait, `Session<Bytes, H::Connection>` | it is a struct: `Session<Queued, Connection>`; `push` takes `Queued`, or whatever else is a `Deref<Target = Measured<Stanza>>` |
//! | `Element` is what arrives | `Incoming`, in a box: `Ok(Some(Input::Element(element))) => on_element(*element, ...)` |
//! | | two arms more: `Ok(Some(Input::Silence)) => session.request_ack(now())` and `Ok(Some(Input::Bad(condition))) => session.unreadable(condition, now())` |
//! | server: `host.part(connection, parting)`, client: `app.part` | `tokio::spawn(connection.part(parting))` |
//! | client: `session.connection_mut().map(Connection::bind)` | `put` writes the request, as any other element of the host's own: `Iq::from_set(id, BindQuery::new(resource))` |
//! | client: `app.is_bound(&element)` | `BindResponse` is in the result. If it is an error, no resource is bound: the attempt has failed |
//!
//! **Silence.** tokio-xmpp reports it after `Timeouts::read_timeout`, and ends the stream if nothing comes for
//! `response_timeout` after that: five minutes each by default. It sends nothing itself. With stream management on,
//! [`request_ack`](crate::Session::request_ack) writes an `<r/>`, and the peer's `<a/>` shows that it is there. With stream
//! management off, `request_ack` writes nothing, and the host has to send a
//! [ping](https://xmpp.org/extensions/xep-0199.html#s2c): otherwise a peer that is only quiet loses its stream.
//!
//! [`examples/typed`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/typed) has a server and
//! a client around this very file. The client's stanzas have [tokens](crate::tokens), with a `Stage` that is *queued*, *sent*,
//! *acknowledged* or *lost*. *Lost* is told only when the stream is closed for good: the server has not acknowledged the
//! stanza, and may have it all the same. If only a connection is lost, the stanza stays *sent*, and is sent again. Its
//! `connect.rs` has the way from a TCP connection to the authenticated stream, for a client.
//!
//! ```
#![doc = include_str!("host/typed.rs")]
//! ```
//!
//! # What else to know of tokio-xmpp 6
//!
//! - It writes `<mechanisms/>` among the stream features even where there are none. xmpp.js 0.14 then tries to authenticate
//!   once more, and gives up: it cannot log in to a server that offers its features so.
//! - It reads `<iq/>`, `<message/>` and `<presence/>` in `jabber:client` as stanzas, or, where xmpp-parsers is built with its
//!   feature `component`, in `jabber:component:accept`, never both. A stanza in another namespace has no content, and
//!   counts as the session's [namespace](crate::Config::stanza_ns) says.
//! - `client_login` takes a stream of its own types. From `recv_features` after it on the stream reads `Received`.
//!
//! [`TypeMismatch`]: xso::error::Error::TypeMismatch

use std::vec;

use minidom::rxml::writer::Encoder;
use minidom::rxml::{AttrMap, Event, Namespace, NcName, QName};
use minidom::{Element, Node};
pub use xso;
use xso::error::{Error, FromEventsError};
use xso::fromxml::{FallibleBuilder, XmlNameMatcher};
use xso::{AsXml, Context, FromEventsBuilder, FromXml, Item};

use crate::nonza::{NS, NS_STANZAS, Nonza};
use crate::stanza::Measured;
use crate::stream::{Inbound, ToInbound};
use crate::stream_error::{NS_STREAMS, StreamError};

/// An element that has arrived, any element: sorted for stream management, and read as a `T` of the host's.
///
/// What `T` cannot read is no error of the stream, so that nothing remains uncounted.
///
/// ```
/// use xmpp_parsers::stanza::Stanza;
/// use xmpp_sm::typed::{Received, xso};
/// use xmpp_sm::{Inbound, Nonza, ToInbound};
///
/// let read = |xml: &str| xso::from_bytes::<Received<Stanza>>(xml.as_bytes());
///
/// let enable = read("<enable xmlns='urn:xmpp:sm:3' resume=' true ' max='99999999999'/>")?;
/// let Inbound::Nonza(Nonza::Enable(asked)) = enable.to_inbound("jabber:client") else { unreachable!() };
/// assert!(asked.resume);
///
/// let message = read("<message xmlns='jabber:client'><body>ciao</body></message>")?;
/// assert_eq!(message.to_inbound("jabber:client"), Inbound::Stanza { bytes: message.bytes() });
/// assert!(matches!(message.content, Ok(Stanza::Message(_))));
///
/// // xmpp-parsers does not read it, and it counts.
/// let iq = read("<iq xmlns='jabber:client' type='get' id='1'/>")?;
/// assert!(matches!(iq.to_inbound("jabber:client"), Inbound::Stanza { .. }) && iq.content.is_err());
/// # Ok::<(), xso::error::Error>(())
/// ```
///
/// # Bounds
///
/// Content that is larger than `BYTES_MAX`, takes more than sixteen times that as a tree (4 MiB, unless told otherwise: some
/// 3 000 elements with attributes, or 16 000 without), or is nested deeper than 64 elements, is thrown away as it arrives:
/// `content` is an error, and the stanza counts. At 1024 nested elements the stream ends, for the time that the parser takes grows with the
/// square of their number. tokio-xmpp 6 has no such bounds, and its types read elements by recursion: there a stanza of some
/// kilobytes can overflow the stack, which ends the whole process.
#[derive(Debug)]
pub struct Received<T, const BYTES_MAX: usize = { 256 * 1024 }> {
    head: Head,
    /// What `T` makes of it. An error: it is not well made, or too large, or not for `T`; nothing of stream management is.
    pub content: Result<T, Error>,
}

impl<T, const BYTES_MAX: usize> Received<T, BYTES_MAX> {
    /// The size of the element: of its names, attributes and text, and of each namespace that is not the element's own.
    /// [`Measured::of`] finds the same of what has been read.
    ///
    /// A namespace is declared once, and is written again for each child that is in it: it is counted as often.
    pub fn bytes(&self) -> usize {
        self.head.bytes
    }
}

impl<T, const BYTES_MAX: usize> ToInbound for Received<T, BYTES_MAX> {
    fn to_inbound(&self, stanza_ns: &str) -> Inbound {
        self.head.to_inbound(stanza_ns)
    }
}

/// What stream management has to know of an element, which is read piece by piece.
#[derive(Debug)]
struct Head {
    ns: Namespace<'static>,
    name: NcName,
    /// Of an element of stream management only.
    attrs: AttrMap,
    /// The name of the condition in it.
    child: Option<String>,
    bytes: usize,
    /// What its descendants and their texts take as a tree, besides.
    memory: usize,
    /// Whether the last piece was text: what follows is the same one.
    in_text: bool,
    /// How many of its descendants are open.
    depth: usize,
    /// Whether it could not be written again.
    is_reserved: bool,
}

impl Head {
    fn new(name: &QName, attrs: &AttrMap) -> Self {
        let (ns, local) = name.clone();
        let mut head = Self {
            ns,
            name: local,
            attrs: AttrMap::new(),
            child: None,
            bytes: 0,
            memory: 0,
            in_text: false,
            depth: 0,
            is_reserved: false,
        };
        head.measure(name, attrs);
        head
    }

    fn measure(&mut self, (ns, name): &QName, attrs: &AttrMap) {
        self.is_reserved |= is_reserved(ns) || attrs.iter().any(|((ns, _), _)| is_reserved(ns));
        let attrs = attrs.iter().map(|((ns, name), value)| attr_size(ns, name, value));
        self.bytes = attrs.fold(self.bytes.saturating_add(name_size(&self.ns, ns, name)), usize::saturating_add);
    }

    /// The next piece. Returns whether it is the last one.
    fn feed(&mut self, event: &Event) -> bool {
        match event {
            Event::StartElement(_, qname, attrs) => {
                let (ns, name) = qname;
                let conditions = if self.ns == *NS { NS_STANZAS } else { NS_STREAMS };
                if self.depth == 0 && self.child.is_none() && *ns == *conditions && *name != *"text" {
                    self.child = Some(name.to_string());
                }
                self.measure(qname, attrs);
                let map = if attrs.is_empty() { 0 } else { FIRST_ATTRIBUTE };
                let attrs = attrs.len().saturating_mul(ATTRIBUTE).saturating_add(map);
                self.memory = self.memory.saturating_add(NODE).saturating_add(attrs);
                self.depth = self.depth.saturating_add(1);
            }
            Event::Text(_, text) => {
                self.bytes = self.bytes.saturating_add(text.len());
                self.memory = self.memory.saturating_add(if self.in_text { 0 } else { NODE });
            }
            Event::EndElement(_) => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => return true,
            },
            Event::XmlDeclaration(..) => {}
        }
        self.in_text = matches!(event, Event::Text(..));
        false
    }
}

impl ToInbound for Head {
    fn to_inbound(&self, stanza_ns: &str) -> Inbound {
        let plain = self.attrs.iter().filter(|((ns, _), _)| ns.is_none());
        let attrs = plain.map(|((_, name), value)| (name.as_str(), value.as_str()));
        Inbound::from_parts(&self.name, &self.ns, stanza_ns, attrs, self.child.as_deref(), self.bytes)
    }
}

/// Reads a [`Received`].
pub struct ReceivedBuilder<T: FromXml, const BYTES_MAX: usize> {
    head: Option<Head>,
    content: Content<T>,
}

enum Content<T: FromXml> {
    Reads(FallibleBuilder<T::Builder, Error>),
    Is(Result<T, Error>),
}

impl<T: FromXml, const BYTES_MAX: usize> FromXml for Received<T, BYTES_MAX> {
    type Builder = ReceivedBuilder<T, BYTES_MAX>;

    fn from_events(name: QName, attrs: AttrMap, ctx: &Context<'_>) -> Result<Self::Builder, FromEventsError> {
        let mut head = Head::new(&name, &attrs);
        let content = if head.ns == *NS {
            head.attrs = attrs;
            Content::Is(Err(Error::TypeMismatch))
        } else {
            match Result::<T, Error>::from_events(name, attrs, ctx) {
                Ok(builder) => Content::Reads(builder),
                Err(FromEventsError::Mismatch { .. }) => Content::Is(Err(Error::TypeMismatch)),
                Err(FromEventsError::Invalid(error)) => Content::Is(Err(error)),
            }
        };
        Ok(ReceivedBuilder { head: Some(head), content })
    }
}

impl<T: FromXml, const BYTES_MAX: usize> FromEventsBuilder for ReceivedBuilder<T, BYTES_MAX> {
    type Output = Received<T, BYTES_MAX>;

    fn feed(&mut self, event: Event, ctx: &Context<'_>) -> Result<Option<Self::Output>, Error> {
        let Some(head) = &mut self.head else { return Err(ENDED) };
        let is_last = head.feed(&event);
        if head.bytes > BYTES_MAX || head.memory / MEMORY > BYTES_MAX || head.depth >= DEEPEST {
            self.content = Content::Is(Err(TOO_LARGE));
            if head.depth >= DEEPEST_READ {
                return Err(TOO_LARGE);
            }
        }
        if let Content::Reads(builder) = &mut self.content
            && let Some(content) = builder.feed(event, ctx)?
        {
            self.content = Content::Is(content);
        }
        if !is_last {
            return Ok(None);
        }
        let content = match std::mem::replace(&mut self.content, Content::Is(Err(ENDED))) {
            _ if head.is_reserved => Err(RESERVED),
            Content::Is(content) => content,
            Content::Reads(_) => Err(ENDED),
        };
        Ok(self.head.take().map(|head| Received { head, content }))
    }
}

/// Nothing may be in [this namespace](https://www.w3.org/TR/xml-names/#xmlReserved). The parser of the crate `rxml` (0.14)
/// takes it all the same, and its writer makes of it what no parser takes: who gets it would lose its connection, and again
/// each time that it has resumed.
fn is_reserved(ns: &str) -> bool {
    ns == "http://www.w3.org/2000/xmlns/"
}

/// How much an element counts for by its name. `own`: the namespace of the element that it is in, at the root.
fn name_size(own: &str, ns: &str, name: &str) -> usize {
    let ns = if ns == own { 0 } else { ns.len() };
    ns.saturating_add(name.len())
}

fn attr_size(ns: &str, name: &str, value: &str) -> usize {
    ns.len().saturating_add(name.len()).saturating_add(value.len())
}

/// How many elements may be nested, as where an [element](Inbound::from_element) is measured.
const DEEPEST: usize = 64;
/// What an element or a piece of text takes in a tree beside its bytes, about; an attribute; and the first one besides, for
/// that is a map. `<a b=''/>` has two bytes to count, and takes a thousand.
const NODE: usize = 256;
const ATTRIBUTE: usize = 128;
const FIRST_ATTRIBUTE: usize = 1024;
/// How many times `BYTES_MAX` all of that may be.
const MEMORY: usize = 16;
/// Where the stream ends.
const DEEPEST_READ: usize = 1024;

const TOO_LARGE: Error = Error::Other("too large, or nested too deep");
const RESERVED: Error = Error::Other("a name is in a reserved namespace");
const ENDED: Error = Error::Other("the element has ended");

/// Reads a [`Nonza`].
pub struct NonzaBuilder(Head);

/// An element of stream management, by the rules of [`Nonza::parse`]. One that is malformed is a
/// [`TextParseError`](Error::TextParseError) that holds the [`ParseError`](crate::ParseError); in a [`Received`] it is
/// [`Inbound::Malformed`], without further ado.
impl FromXml for Nonza {
    type Builder = NonzaBuilder;

    fn from_events(name: QName, attrs: AttrMap, _: &Context<'_>) -> Result<Self::Builder, FromEventsError> {
        if name.0 != *NS {
            return Err(FromEventsError::Mismatch { name, attrs });
        }
        Ok(NonzaBuilder(Head { attrs, ..Head::new(&name, &AttrMap::new()) }))
    }

    fn xml_name_matcher() -> XmlNameMatcher<'static> {
        XmlNameMatcher::InNamespace(NS)
    }
}

impl FromEventsBuilder for NonzaBuilder {
    type Output = Nonza;

    fn feed(&mut self, event: Event, _: &Context<'_>) -> Result<Option<Nonza>, Error> {
        if !self.0.feed(&event) {
            return Ok(None);
        }
        match self.0.to_inbound("") {
            Inbound::Nonza(nonza) => Ok(Some(nonza)),
            Inbound::Malformed(error) => Err(Error::text_parse_error(error)),
            _ => Err(Error::TypeMismatch),
        }
    }
}

/// The pieces of an element that the crate has made.
type Items<'x> = vec::IntoIter<Result<Item<'x>, Error>>;

fn items<'x>(element: &Element) -> Result<Items<'x>, Error> {
    let mut items = Vec::new();
    push(element, &mut items)?;
    Ok(items.into_iter().map(Ok).collect::<Vec<_>>().into_iter())
}

fn push(element: &Element, items: &mut Vec<Item<'_>>) -> Result<(), Error> {
    items.push(Item::ElementHeadStart(element.ns().into(), NcName::try_from(element.name())?.into()));
    for ((ns, name), value) in element.attrs() {
        items.push(Item::Attribute(ns.clone(), name.clone().into(), value.clone().into()));
    }
    items.push(Item::ElementHeadEnd);
    for node in element.nodes() {
        match node {
            Node::Element(child) => push(child, items)?,
            Node::Text(text) => items.push(Item::Text(text.clone().into())),
        }
    }
    items.push(Item::ElementFoot);
    Ok(())
}

/// As [`to_element`](Nonza::to_element).
impl AsXml for Nonza {
    type ItemIter<'x> = Items<'x>;

    fn as_xml_iter(&self) -> Result<Items<'_>, Error> {
        items(&self.to_element())
    }
}

/// As [`to_element`](StreamError::to_element).
impl AsXml for StreamError {
    type ItemIter<'x> = Items<'x>;

    fn as_xml_iter(&self) -> Result<Items<'_>, Error> {
        items(&self.to_element())
    }
}

impl<T: AsXml> Measured<T> {
    /// Measures a stanza, as [`Received::bytes`](crate::typed::Received::bytes) does. With the feature `xso`; see the
    /// [page](crate::typed) about it.
    ///
    /// # Errors
    ///
    /// XML cannot carry it: U+0000 is in its text, for instance, or a name is in a namespace that is
    /// [reserved](https://www.w3.org/TR/xml-names/#xmlReserved).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use xmpp_parsers::message::{Lang, Message};
    /// use xmpp_parsers::stanza::Stanza;
    /// use xmpp_sm::Measured;
    ///
    /// let message = |text: &str| Stanza::Message(Message::chat(None).with_body(Lang::default(), text.to_owned()));
    ///
    /// let queued: Arc<Measured<Stanza>> = Measured::of(message("ciao"))?.into();
    /// assert_eq!(queued.bytes, ["message", "type", "chat", "body", "ciao"].concat().len());
    /// assert!(Measured::of(message("\0")).is_err());
    /// # Ok::<(), xmpp_sm::typed::xso::error::Error>(())
    /// ```
    pub fn of(value: T) -> Result<Self, Error> {
        let (mut encoder, mut written) = (Encoder::new(), Vec::new());
        let (mut own, mut bytes) = (None, 0_usize);
        for item in value.as_xml_iter()? {
            let item = item?;
            let size = match &item {
                Item::ElementHeadStart(ns, _) | Item::Attribute(ns, ..) if is_reserved(ns) => return Err(RESERVED),
                Item::ElementHeadStart(ns, name) => name_size(own.get_or_insert_with(|| ns.clone()), ns, name),
                Item::Attribute(ns, name, value) => attr_size(ns, name, value),
                Item::Text(text) => text.len(),
                _ => 0,
            };
            bytes = bytes.saturating_add(size);
            encoder.encode(item.as_rxml_item(), &mut written)?;
            written.clear();
        }
        Ok(Self { value, bytes })
    }
}

/// The value itself.
impl<T: AsXml> AsXml for Measured<T> {
    type ItemIter<'x>
        = T::ItemIter<'x>
    where
        T: 'x;

    fn as_xml_iter(&self) -> Result<Self::ItemIter<'_>, Error> {
        self.value.as_xml_iter()
    }
}
