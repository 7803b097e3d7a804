//! What arrived, sorted.

use minidom::{Element, Node};

use crate::nonza::{NS, Nonza, ParseError};

/// An element that arrived at the root level of the stream.
///
/// All of them go through [`handle`](crate::StreamMgmt::handle), so that none can be left uncounted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inbound {
    /// `message`, `presence` or `iq` in the stream's content namespace.
    Stanza {
        /// Its size, which counts against [`receipts_max_bytes`](crate::Config::receipts_max_bytes).
        bytes: usize,
    },
    /// An element of stream management.
    Nonza(Nonza),
    /// An element in the namespace of stream management that is not well made.
    Malformed(ParseError),
    /// `<stream:error/>`: the peer closes the stream.
    StreamError {
        /// Whether its condition is `<conflict/>`: the session was resumed, or its resource bound, on another stream.
        conflict: bool,
    },
    /// Anything else. It is not counted.
    Other,
}

impl Inbound {
    /// Sorts an element that arrived on a stream whose stanzas are in `stanza_ns`: `jabber:client`,
    /// `jabber:server`, `jabber:component:accept`.
    ///
    /// The size of a stanza is that of its names, attributes and text: less than what was on the wire, and enough for
    /// a bound. [`from_parts`](Self::from_parts) takes the size from a host that knows it.
    ///
    /// ```
    /// use minidom::Element;
    /// use xmpp_sm::Inbound;
    ///
    /// let probe: Element = "<presence xmlns='jabber:client' type='probe'/>".parse()?;
    /// assert!(matches!(Inbound::from_element(&probe, "jabber:client"), Inbound::Stanza { .. }));
    /// assert_eq!(Inbound::from_element(&probe, "jabber:server"), Inbound::Other);
    /// # Ok::<(), minidom::Error>(())
    /// ```
    pub fn from_element(element: &Element, stanza_ns: &str) -> Self {
        match Nonza::from_element(element) {
            Some(parsed) => parsed.into(),
            None if element.has_ns(stanza_ns) && is_stanza_name(element.name()) => {
                Self::Stanza { bytes: size(element, DEEPEST) }
            }
            None if element.is("error", NS_STREAM) => {
                Self::StreamError { conflict: element.has_child("conflict", NS_STREAMS) }
            }
            None => Self::Other,
        }
    }

    /// Sorts an element by its local name and namespace, for hosts with a parser of their own. Its
    /// attributes are read only if it belongs to stream management; `child` is as in [`Nonza::parse`], and for
    /// `<stream:error/>` the name of its condition. `bytes` is the size of the element.
    pub fn from_parts<'a>(
        name: &str,
        ns: &str,
        stanza_ns: &str,
        attrs: impl IntoIterator<Item = (&'a str, &'a str)>,
        child: Option<&str>,
        bytes: usize,
    ) -> Self {
        if ns == stanza_ns && is_stanza_name(name) {
            Self::Stanza { bytes }
        } else if ns == NS {
            Nonza::parse(name, attrs, child).into()
        } else if (ns, name) == (NS_STREAM, "error") {
            Self::StreamError { conflict: child == Some("conflict") }
        } else {
            Self::Other
        }
    }
}

/// An element that has arrived, as a host has it: what [`Session::inbound`](crate::Session::inbound) takes, and
/// [`Unbound::inbound`](crate::Unbound::inbound). A host whose elements are of a type of its own says here how they are
/// sorted.
pub trait ToInbound {
    /// Sorts the element, on a stream whose stanzas are in `stanza_ns`: see [`Inbound::from_element`] and
    /// [`Inbound::from_parts`].
    fn to_inbound(&self, stanza_ns: &str) -> Inbound;
}

impl ToInbound for Element {
    fn to_inbound(&self, stanza_ns: &str) -> Inbound {
        Inbound::from_element(self, stanza_ns)
    }
}

const NS_STREAM: &str = "http://etherx.jabber.org/streams";
const NS_STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// How deep an element is measured. What lies deeper counts as [`DEEP`].
const DEEPEST: u32 = 64;
const DEEP: usize = 1 << 20;

/// The size of an element, by what its sender chose: names, attributes and text.
fn size(element: &Element, depth: u32) -> usize {
    let Some(depth) = depth.checked_sub(1) else { return DEEP };
    let attributes = element.attrs().iter().map(|((_, name), value)| name.len().saturating_add(value.len()));
    let nodes = element.nodes().map(|node| match node {
        Node::Element(child) => size(child, depth),
        Node::Text(text) => text.len(),
    });
    attributes.chain(nodes).fold(element.name().len(), usize::saturating_add)
}

/// A stanza is what RFC 6120 [calls one](https://www.rfc-editor.org/rfc/rfc6120#section-8).
fn is_stanza_name(name: &str) -> bool {
    matches!(name, "message" | "presence" | "iq")
}

impl From<Nonza> for Inbound {
    fn from(nonza: Nonza) -> Self {
        Self::Nonza(nonza)
    }
}

impl From<Result<Nonza, ParseError>> for Inbound {
    fn from(parsed: Result<Nonza, ParseError>) -> Self {
        match parsed {
            Ok(nonza) => Self::Nonza(nonza),
            Err(error) => Self::Malformed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_is_as_large_as_what_its_sender_chose() {
        let size = |xml: &str| match Inbound::from_element(&xml.parse().unwrap(), "jabber:client") {
            Inbound::Stanza { bytes } => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(size("<iq xmlns='jabber:client'/>"), 2);
        assert_eq!(size("<message xmlns='jabber:client' to='ab'><body>ciao</body></message>"), 7 + 4 + 4 + 4);
        let deep = |depth| format!("<iq xmlns='jabber:client'>{}{}</iq>", "<x>".repeat(depth), "</x>".repeat(depth));
        assert_eq!(size(&deep(63)), 2 + 63);
        assert_eq!(size(&deep(64)), 2 + 63 + DEEP, "what lies deeper is not free");
    }

    #[test]
    fn a_stream_error_is_told_with_its_conflict() {
        let error = |condition: &str| {
            let xml = format!("<error xmlns='{NS_STREAM}'><{condition} xmlns='{NS_STREAMS}'/></error>");
            Inbound::from_element(&xml.parse().unwrap(), "jabber:client")
        };
        assert_eq!(error("conflict"), Inbound::StreamError { conflict: true });
        assert_eq!(error("reset"), Inbound::StreamError { conflict: false });
        let parts = |child| Inbound::from_parts("error", NS_STREAM, "jabber:client", [], child, 9);
        assert_eq!(parts(Some("conflict")), Inbound::StreamError { conflict: true });
        assert_eq!(parts(None), Inbound::StreamError { conflict: false });
    }
}
