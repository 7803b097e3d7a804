//! Name and attributes, or a minidom element, to [`Nonza`]. No state, no allocation but for long ids.

use std::num::NonZeroU32;

use minidom::Element;
use thiserror::Error;

use super::{Condition, Enable, Enabled, Failed, Kind, Location, NS, NS_STANZAS, Nonza, Resume, Resumed};
use crate::counter::Counter;
use crate::smid::SmId;

/// Why an element of the namespace is not a [`Nonza`]. It holds nothing that the peer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The namespace has no such element.
    #[error("no such element in the namespace {NS}")]
    UnknownElement,
    /// An attribute that the schema requires is not there.
    #[error("{element} has no {attribute}")]
    Missing {
        /// Where it is missing.
        element: Kind,
        /// Its name.
        attribute: &'static str,
    },
    /// The value of an attribute is not of its type in the
    /// [schema](https://xmpp.org/extensions/xep-0198.html#schemas).
    #[error("{attribute} of {element} is malformed")]
    Invalid {
        /// Where it stands.
        element: Kind,
        /// Its name.
        attribute: &'static str,
    },
}

impl ParseError {
    /// Which element was malformed; nothing if it has no name that the namespace knows.
    pub const fn element(&self) -> Option<Kind> {
        match self {
            Self::UnknownElement => None,
            Self::Missing { element, .. } | Self::Invalid { element, .. } => Some(*element),
        }
    }
}

impl Nonza {
    /// Reads an element of [`NS`] from its local name, its attributes without a namespace (values
    /// unescaped), and, for `<failed/>`, the name of its child in `urn:ietf:params:xml:ns:xmpp-stanzas`.
    ///
    /// Values are read as [XSD](https://www.w3.org/TR/xmlschema11-2/) says: white space around them is
    /// ignored, a number may have a leading `+` and zeros, a boolean is one of `true`, `false`, `1`, `0`.
    /// Attributes that the schema does not have are ignored.
    ///
    /// `<enabled/>` never fails: a malformed attribute of it counts as absent, because servers in use write some
    /// (Prosody 0.12.3 can send `max='43200.0'`). Without an `id` or a `resume` that can be read the session is not
    /// resumable; nothing else depends on them.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if the element is unknown, if a required attribute is missing, or, in any element but
    /// `<enabled/>`, if an attribute is malformed.
    pub fn parse<'a>(
        name: &str,
        attrs: impl IntoIterator<Item = (&'a str, &'a str)>,
        child: Option<&str>,
    ) -> Result<Self, ParseError> {
        let element = Kind::from_name(name).ok_or(ParseError::UnknownElement)?;
        let mut found = Attributes::default();
        for (name, value) in attrs {
            match name {
                "h" => found.h = Some(value),
                "previd" => found.previd = Some(value),
                "id" => found.id = Some(value),
                "resume" => found.resume = Some(value),
                "max" => found.max = Some(value),
                "location" => found.location = Some(value),
                _ => {}
            }
        }
        found.into_nonza(element, child)
    }

    /// Reads an element. `None` if it is not of the namespace [`NS`].
    ///
    /// # Errors
    ///
    /// [`ParseError`] as for [`parse`](Self::parse).
    ///
    /// ```
    /// use xmpp_sm::{Nonza, ParseError, Kind};
    ///
    /// let element: minidom::Element = "<a xmlns='urn:xmpp:sm:3' h='1.5'/>".parse()?;
    /// let error = ParseError::Invalid { element: Kind::Ack, attribute: "h" };
    /// assert_eq!(Nonza::from_element(&element), Some(Err(error)));
    /// # Ok::<(), minidom::Error>(())
    /// ```
    pub fn from_element(element: &Element) -> Option<Result<Self, ParseError>> {
        if !element.has_ns(NS) {
            return None;
        }
        let plain = element.attrs().iter().filter(|((ns, _), _)| ns.is_none());
        let attrs = plain.map(|((_, name), value)| (name.as_str(), value.as_str()));
        // Only a direct child counts: a wrapper around the condition is somebody else's dialect.
        let child = element.children().find(|child| child.has_ns(NS_STANZAS) && child.name() != "text");
        Some(Self::parse(element.name(), attrs, child.map(Element::name)))
    }
}

#[derive(Default)]
struct Attributes<'a> {
    h: Option<&'a str>,
    previd: Option<&'a str>,
    id: Option<&'a str>,
    resume: Option<&'a str>,
    max: Option<&'a str>,
    location: Option<&'a str>,
}

impl Attributes<'_> {
    fn into_nonza(self, element: Kind, child: Option<&str>) -> Result<Nonza, ParseError> {
        let missing = |attribute| ParseError::Missing { element, attribute };
        let invalid = |attribute| ParseError::Invalid { element, attribute };
        let h = || self.h.map(|h| unsigned_int(h).ok_or(invalid("h"))).transpose();
        let required_h = || h()?.ok_or(missing("h"));
        let previd = || SmId::new(self.previd.ok_or(missing("previd"))?).map_err(|_| invalid("previd"));
        let resume = || self.resume.map_or(Ok(false), |resume| boolean(resume).ok_or(invalid("resume")));
        let max = || self.max.map(|max| positive_integer(max).ok_or(invalid("max"))).transpose();
        Ok(match element {
            Kind::Ack => Nonza::Ack(required_h()?),
            Kind::AckRequest => Nonza::AckRequest,
            Kind::Enable => Nonza::Enable(Enable { resume: resume()?, max: max()? }),
            Kind::Enabled => Nonza::Enabled(Enabled {
                // A server has granted it: not even an answer that is half unreadable takes that back.
                id: self.id.and_then(|id| SmId::new(id).ok()),
                resume: resume().unwrap_or(false),
                max: max().unwrap_or(None),
                location: self.location.and_then(|location| Location::new(location).ok()),
            }),
            Kind::Resume => Nonza::Resume(Resume { previd: previd()?, h: required_h()? }),
            Kind::Resumed => Nonza::Resumed(Resumed { previd: previd()?, h: required_h()? }),
            Kind::Failed => Nonza::Failed(Failed { h: h()?, condition: child.and_then(Condition::from_name) }),
        })
    }
}

/// <https://www.w3.org/TR/xmlschema11-2/#unsignedInt>
fn unsigned_int(text: &str) -> Option<Counter> {
    let mut value = 0_u32;
    for digit in digits(text)? {
        value = value.checked_mul(10)?.checked_add(digit?.into())?;
    }
    Some(Counter::new(value))
}

/// <https://www.w3.org/TR/xmlschema11-2/#positiveInteger>, which has no upper end: what does not fit
/// saturates.
fn positive_integer(text: &str) -> Option<NonZeroU32> {
    let mut value = 0_u32;
    for digit in digits(text)? {
        value = value.saturating_mul(10).saturating_add(digit?.into());
    }
    NonZeroU32::new(value)
}

/// <https://www.w3.org/TR/xmlschema11-2/#boolean>
fn boolean(text: &str) -> Option<bool> {
    match collapse(text) {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The digits of a number that is not negative; nothing in the place of what is no digit.
fn digits(text: &str) -> Option<impl Iterator<Item = Option<u8>>> {
    let text = collapse(text);
    let digits = text.strip_prefix('+').unwrap_or(text);
    let value = |byte: u8| byte.checked_sub(b'0').filter(|digit| *digit < 10);
    (!digits.is_empty()).then(|| digits.bytes().map(value))
}

/// White space as XSD has it, which is less than what Unicode has.
fn collapse(text: &str) -> &str {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t' | b'\r' | b'\n'));
    // Seldom is there any.
    if is_space(text.as_bytes().first()) || is_space(text.as_bytes().last()) {
        text.trim_matches([' ', '\t', '\r', '\n'])
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_int_is_as_in_xsd() {
        for (text, value) in [
            ("0", 0),
            ("4294967295", u32::MAX),
            ("+7", 7),
            ("007", 7),
            (" \t\r\n7\n", 7),
            ("00000000000000000000000000000000012", 12),
        ] {
            assert_eq!(unsigned_int(text), Some(Counter::new(value)), "{text:?}");
        }
        for text in [
            "",
            " ",
            "+",
            "-1",
            "-0",
            "1.5",
            "1.0",
            "0x1",
            "1e3",
            "4294967296",
            "18446744073709551617",
            "++1",
            "+ 1",
            "1 2",
            "١",
            "\u{a0}1",
            "one",
            "NaN",
            // The neighbours of the digits.
            ":",
            "/",
        ] {
            assert_eq!(unsigned_int(text), None, "{text:?}");
        }
    }

    #[test]
    fn positive_integer_saturates_and_has_no_zero() {
        for (text, value) in [("1", 1), ("+10", 10), ("4294967296", u32::MAX), ("99999999999999999999999", u32::MAX)] {
            assert_eq!(positive_integer(text), NonZeroU32::new(value), "{text:?}");
        }
        for text in ["0", "+0", "000", "-1", "1.5", "", "0x10"] {
            assert_eq!(positive_integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn boolean_has_four_spellings() {
        for (text, value) in [("true", true), ("1", true), ("false", false), ("0", false), (" true\n", true)] {
            assert_eq!(boolean(text), Some(value), "{text:?}");
        }
        for text in ["", "yes", "no", "TRUE", "True", "2", "01", "on", "t"] {
            assert_eq!(boolean(text), None, "{text:?}");
        }
    }

    #[test]
    fn required_attributes_are_required() {
        let missing = |element, attribute| Err(ParseError::Missing { element, attribute });
        assert_eq!(Nonza::parse("a", [], None), missing(Kind::Ack, "h"));
        assert_eq!(Nonza::parse("resume", [("h", "0")], None), missing(Kind::Resume, "previd"));
        assert_eq!(Nonza::parse("resume", [("previd", "x")], None), missing(Kind::Resume, "h"));
        assert_eq!(Nonza::parse("resumed", [("h", "0")], None), missing(Kind::Resumed, "previd"));
        assert_eq!(Nonza::parse("resumed", [("previd", "x")], None), missing(Kind::Resumed, "h"));
        assert_eq!(Nonza::parse("enable", [], None), Ok(Nonza::Enable(Enable::default())));
        assert_eq!(Nonza::parse("enabled", [], None), Ok(Nonza::Enabled(Enabled::default())));
        assert_eq!(Nonza::parse("failed", [], None), Ok(Nonza::Failed(Failed::default())));
        assert_eq!(Nonza::parse("r", [("h", "junk")], None), Ok(Nonza::AckRequest));
    }

    #[test]
    fn what_is_malformed_in_enabled_counts_as_absent() {
        let enabled = |attrs: &[(&str, &str)]| match Nonza::parse("enabled", attrs.iter().copied(), None) {
            Ok(Nonza::Enabled(enabled)) => enabled,
            other => panic!("{attrs:?}: {other:?}"),
        };
        let good = [("id", "x"), ("resume", "1"), ("max", "60"), ("location", "example.net")];
        let granted = enabled(&good);
        assert!(granted.resume && granted.id.is_some() && granted.max.is_some() && granted.location.is_some());
        for (attribute, values) in [
            ("id", &["", "\u{b}"][..]),
            ("resume", &["", "yes", "TRUE", "2"]),
            ("max", &["", "0", "-1", "43200.0", "43200,0", "4e4", "ten"]),
            ("location", &["", "a\u{ffff}b"]),
        ] {
            for value in values {
                let wrong = good.map(|(name, good)| (name, if name == attribute { value } else { good }));
                let absent: Vec<_> = good.into_iter().filter(|(name, _)| *name != attribute).collect();
                assert_eq!(enabled(&wrong), enabled(&absent), "{attribute}={value:?}");
            }
        }
    }

    #[test]
    fn names_are_exact() {
        for name in ["", "A", "ack", "sm", "enable ", "handled-count-too-high", "t"] {
            assert_eq!(Nonza::parse(name, [("h", "1")], None), Err(ParseError::UnknownElement), "{name:?}");
        }
    }

    #[test]
    fn an_attribute_of_another_namespace_is_another_attribute() {
        let element: Element = "<a xmlns='urn:xmpp:sm:3' xmlns:x='urn:x' x:h='9' h='4' extra='1'/>".parse().unwrap();
        assert_eq!(Nonza::from_element(&element), Some(Ok(Nonza::Ack(Counter::new(4)))));
    }

    #[test]
    fn failed_looks_at_its_own_children_only() {
        let failed = |xml: &str| match Nonza::from_element(&xml.parse().unwrap()) {
            Some(Ok(Nonza::Failed(failed))) => failed,
            other => panic!("{other:?}"),
        };
        let bare = "<failed xmlns='urn:xmpp:sm:3' h='3'><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>gone</text>\
                    <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
        assert_eq!(failed(bare), Failed { h: Some(Counter::new(3)), condition: Some(Condition::ItemNotFound) });
        let wrapped = "<failed xmlns='urn:xmpp:sm:3'><error>\
                       <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></failed>";
        assert_eq!(failed(wrapped), Failed::default());
        let unknown = "<failed xmlns='urn:xmpp:sm:3'><what xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
        assert_eq!(failed(unknown), Failed::default());
    }

    #[test]
    fn another_namespace_is_nobodys_nonza() {
        for ns in ["urn:xmpp:sm:2", "jabber:client", "urn:xmpp:sm:3 ", ""] {
            assert_eq!(Nonza::from_element(&Element::builder("a", ns).build()), None);
        }
    }
}
