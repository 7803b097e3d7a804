//! The stream errors that stream management ends a stream with.

use std::fmt;

use bytes::BytesMut;
use minidom::Element;
use minidom::rxml::NcName;

use crate::counter::Counter;
use crate::nonza::{NS, conditions};

const NS_STREAM: &str = "http://etherx.jabber.org/streams";
pub(crate) const NS_STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// A [stream error](https://www.rfc-editor.org/rfc/rfc6120#section-4.9), after which the stream is closed.
///
/// ```
/// use xmpp_sm::StreamError;
///
/// assert_eq!(
///     StreamError::Conflict.to_string(),
///     "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// `conflict`: the session [was resumed](https://xmpp.org/extensions/xep-0198.html#resumption) on
    /// another stream while this one was still open.
    Conflict,
    /// `policy-violation`: an element that ends the stream is malformed.
    PolicyViolation,
    /// `resource-constraint`: the peer does not acknowledge and the buffer is full.
    ResourceConstraint,
    /// `undefined-condition` with
    /// [`<handled-count-too-high/>`](https://xmpp.org/extensions/xep-0198.html#errors): the peer
    /// acknowledged what it was never sent.
    HandledCountTooHigh {
        /// What the peer acknowledged.
        h: Counter,
        /// How many stanzas it was sent.
        send_count: Counter,
    },
    /// `undefined-condition`: the peer took back what it had acknowledged.
    HandledCountBackwards {
        /// What the peer acknowledged.
        h: Counter,
        /// What it had acknowledged before.
        acked: Counter,
    },
    /// `undefined-condition`: `<resumed/>` names another session than was asked for.
    ForeignSession,
    /// Another condition, for reasons of the host's: `system-shutdown`, for instance.
    Other(StreamCondition),
}

conditions! {
    /// A [condition](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3) for a stream error of the host's. Those that
    /// RFC 6120 defines, but for `see-other-host`, which says nothing without its host.
    StreamCondition:
    BadFormat = "bad-format",
    BadNamespacePrefix = "bad-namespace-prefix",
    Conflict = "conflict",
    ConnectionTimeout = "connection-timeout",
    HostGone = "host-gone",
    HostUnknown = "host-unknown",
    ImproperAddressing = "improper-addressing",
    InternalServerError = "internal-server-error",
    InvalidFrom = "invalid-from",
    InvalidNamespace = "invalid-namespace",
    InvalidXml = "invalid-xml",
    NotAuthorized = "not-authorized",
    NotWellFormed = "not-well-formed",
    PolicyViolation = "policy-violation",
    RemoteConnectionFailed = "remote-connection-failed",
    Reset = "reset",
    ResourceConstraint = "resource-constraint",
    RestrictedXml = "restricted-xml",
    SystemShutdown = "system-shutdown",
    UndefinedCondition = "undefined-condition",
    UnsupportedEncoding = "unsupported-encoding",
    UnsupportedFeature = "unsupported-feature",
    UnsupportedStanzaType = "unsupported-stanza-type",
    UnsupportedVersion = "unsupported-version",
}

impl StreamError {
    /// The name of the [condition](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3) that RFC 6120
    /// defines.
    pub const fn condition(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::PolicyViolation => "policy-violation",
            Self::ResourceConstraint => "resource-constraint",
            Self::HandledCountTooHigh { .. } | Self::HandledCountBackwards { .. } | Self::ForeignSession => {
                "undefined-condition"
            }
            Self::Other(condition) => condition.name(),
        }
    }

    /// What a human may read about it.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Conflict | Self::Other(_) => None,
            Self::PolicyViolation => Some("An element of stream management is malformed.".into()),
            Self::ResourceConstraint => Some("Too many unacknowledged stanzas.".into()),
            Self::HandledCountTooHigh { h, send_count } => {
                Some(format!("You acknowledged {h} stanzas, but I only sent you {send_count} so far."))
            }
            Self::HandledCountBackwards { h, acked } => {
                Some(format!("You acknowledged {h} stanzas, but had already acknowledged {acked}."))
            }
            Self::ForeignSession => Some("This is not the session that I asked for.".into()),
        }
    }

    /// Appends `<stream:error/>`, with the prefix `stream` as the stream's header has to declare it.
    pub fn write_to(&self, out: &mut BytesMut) {
        use fmt::Write;
        // Writing to memory cannot fail.
        let _ = write!(out, "{self}");
    }

    /// The element, for hosts that write minidom.
    pub fn to_element(&self) -> Element {
        let mut error = Element::builder("error", NS_STREAM).append(Element::bare(self.condition(), NS_STREAMS));
        if let Some(text) = self.text() {
            error = error.append(Element::builder("text", NS_STREAMS).append(text));
        }
        if let Self::HandledCountTooHigh { h, send_count } = self {
            let mut element = Element::builder("handled-count-too-high", NS);
            for (name, value) in [("h", h), ("send-count", send_count)] {
                // The names are our own: each is an NCName.
                if let Ok(name) = NcName::try_from(name) {
                    element = element.attr(name, value.to_string());
                }
            }
            error = error.append(element);
        }
        error.build()
    }
}

/// The element as text, as [`write_to`](StreamError::write_to) writes it.
impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<stream:error><{} xmlns='{NS_STREAMS}'/>", self.condition())?;
        // The order of RFC 6120: condition, text, application-specific condition.
        if let Some(text) = self.text() {
            write!(f, "<text xml:lang='en' xmlns='{NS_STREAMS}'>{text}</text>")?;
        }
        if let Self::HandledCountTooHigh { h, send_count } = self {
            write!(f, "<handled-count-too-high xmlns='{NS}' h='{h}' send-count='{send_count}'/>")?;
        }
        f.write_str("</stream:error>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_element_say_the_same() {
        let (h, other) = (Counter::new(10), Counter::new(8));
        for error in [
            StreamError::Conflict,
            StreamError::PolicyViolation,
            StreamError::ResourceConstraint,
            StreamError::HandledCountTooHigh { h, send_count: other },
            StreamError::HandledCountBackwards { h: other, acked: h },
            StreamError::ForeignSession,
        ]
        .into_iter()
        .chain(StreamCondition::ALL.iter().map(|condition| StreamError::Other(*condition)))
        {
            let mut out = BytesMut::new();
            error.write_to(&mut out);
            let text = std::str::from_utf8(&out).unwrap().replace("xml:lang='en' ", "");
            let stream =
                format!("<stream:stream xmlns:stream='{NS_STREAM}' xmlns='jabber:client'>{text}</stream:stream>");
            let stream: Element = stream.parse().unwrap();
            assert_eq!(stream.children().next(), Some(&error.to_element()), "{error}");
        }
    }

    #[test]
    fn too_high_carries_both_counts() {
        let error = StreamError::HandledCountTooHigh { h: Counter::new(10), send_count: Counter::new(8) };
        let text = error.to_string();
        assert!(text.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/>"), "{text}");
        assert!(text.contains("You acknowledged 10 stanzas, but I only sent you 8 so far."), "{text}");
    }
}
