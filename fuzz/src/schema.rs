//! The [schema](https://xmpp.org/extensions/xep-0198.html#schemas), as tables, and the types of
//! [XSD](https://www.w3.org/TR/xmlschema11-2/) by other means than the parser's: words, and numbers of the
//! standard library.

use std::num::{IntErrorKind, NonZeroU32};

use xmpp_sm::{
    Condition, Counter, Enable, Enabled, Failed, Inbound, Kind, Location, NS, Nonza, ParseError, Resume, Resumed, SmId,
};

use crate::{CLIENT, STREAM};

#[derive(Clone, Copy)]
enum Type {
    UnsignedInt,
    PositiveInteger,
    Boolean,
    Text,
}

use Type::{Boolean, PositiveInteger, Text, UnsignedInt};

/// An attribute, its type, and whether it is required.
type Attribute = (&'static str, Type, bool);

const PREVID_AND_H: &[Attribute] = &[("previd", Text, true), ("h", UnsignedInt, true)];
const RESUME_AND_MAX: &[Attribute] = &[("resume", Boolean, false), ("max", PositiveInteger, false)];
const ENABLED: &[Attribute] =
    &[("resume", Boolean, false), ("max", PositiveInteger, false), ("id", Text, false), ("location", Text, false)];

const ELEMENTS: [(&str, Kind, &[Attribute]); 7] = [
    ("a", Kind::Ack, &[("h", UnsignedInt, true)]),
    ("enable", Kind::Enable, RESUME_AND_MAX),
    ("enabled", Kind::Enabled, ENABLED),
    ("failed", Kind::Failed, &[("h", UnsignedInt, false)]),
    ("r", Kind::AckRequest, &[]),
    ("resume", Kind::Resume, PREVID_AND_H),
    ("resumed", Kind::Resumed, PREVID_AND_H),
];

/// <https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3>
const CONDITIONS: [&str; 22] = [
    "bad-request",
    "conflict",
    "feature-not-implemented",
    "forbidden",
    "gone",
    "internal-server-error",
    "item-not-found",
    "jid-malformed",
    "not-acceptable",
    "not-allowed",
    "not-authorized",
    "policy-violation",
    "recipient-unavailable",
    "redirect",
    "registration-required",
    "remote-server-not-found",
    "remote-server-timeout",
    "resource-constraint",
    "service-unavailable",
    "subscription-required",
    "undefined-condition",
    "unexpected-request",
];

/// The names of all that has one here.
pub fn names() -> impl Iterator<Item = &'static str> {
    let elements = ELEMENTS.iter().flat_map(|(name, _, schema)| schema.iter().map(|(name, ..)| *name).chain([*name]));
    elements.chain(CONDITIONS)
}

/// What must be made of an element of the namespace [`NS`]: itself, or one of these errors.
pub fn nonza(name: &str, attrs: &[(&str, &str)], child: Option<&str>) -> Result<Nonza, Vec<ParseError>> {
    let known = ELEMENTS.iter().find(|(known, ..)| *known == name);
    let (_, element, schema) = *known.ok_or_else(|| vec![ParseError::UnknownElement])?;
    let value = |name: &str| attrs.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    if element == Kind::Enabled {
        return Ok(Nonza::Enabled(enabled(value)));
    }
    let errors = schema.iter().filter_map(|(attribute, of, required)| match value(attribute) {
        None => required.then_some(ParseError::Missing { element, attribute }),
        // In `<enabled/>` what is malformed counts as absent.
        Some(value) => {
            (element != Kind::Enabled && !of.has(value)).then_some(ParseError::Invalid { element, attribute })
        }
    });
    let errors: Vec<_> = errors.collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    // What is required is there and of its type.
    let h = || value("h").and_then(unsigned_int).map(Counter::new);
    let text = |name: &str| value(name).filter(|value| is_text(value));
    let smid = |name: &str| text(name).map(|text| SmId::new(text).expect("a text"));
    let (required_h, previd) = (|| h().expect("required"), || smid("previd").expect("required"));
    let resume = || value("resume").and_then(boolean).unwrap_or(false);
    let max = || value("max").and_then(positive_integer);
    Ok(match element {
        Kind::Ack => Nonza::Ack(required_h()),
        Kind::Enable => Nonza::Enable(Enable { resume: resume(), max: max() }),
        Kind::Enabled => {
            let location = text("location").map(|text| Location::new(text).expect("a text"));
            Nonza::Enabled(Enabled { id: smid("id"), resume: resume(), max: max(), location })
        }
        Kind::Failed => Nonza::Failed(Failed { h: h(), condition: child.and_then(condition) }),
        Kind::AckRequest => Nonza::AckRequest,
        Kind::Resume => Nonza::Resume(Resume { previd: previd(), h: required_h() }),
        Kind::Resumed => Nonza::Resumed(Resumed { previd: previd(), h: required_h() }),
    })
}

/// A client takes what it can of `<enabled/>`: what is not of its type is as good as none, and without an SM-ID or a yes
/// that can be read the session is not resumable.
fn enabled<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Enabled {
    let of = |name: &str, of: Type| value(name).filter(|value| of.has(value));
    let resume = of("resume", Boolean).and_then(boolean) == Some(true);
    let id = of("id", Text).map(|text| SmId::new(text).expect("a text"));
    let location = of("location", Text).map(|text| Location::new(text).expect("a text"));
    Enabled { id, resume, max: of("max", PositiveInteger).and_then(positive_integer), location }
}

/// Whether these say the same. With an SM-ID and without a yes, or the other way, a session is not resumable.
fn same(one: &Nonza, other: &Nonza) -> bool {
    let resumable = |enabled: &Enabled| enabled.id.clone().filter(|_| enabled.resume);
    match (one, other) {
        (Nonza::Enabled(one), Nonza::Enabled(other)) => {
            let rest = |enabled: &Enabled| (enabled.max, enabled.location.clone());
            (resumable(one), rest(one)) == (resumable(other), rest(other))
        }
        _ => one == other,
    }
}

/// Whether that is what must be made of an element of any namespace. Of several errors the first that is
/// found is told, whichever that is.
pub fn check(inbound: &Inbound, name: &str, ns: &str, attrs: &[(&str, &str)], child: Option<&str>) {
    let is_stanza = ns == CLIENT && ["iq", "message", "presence"].contains(&name);
    let is_error = (ns, name) == (STREAM, "error");
    let right = match (inbound, ns == NS) {
        (Inbound::Stanza { .. }, _) => is_stanza,
        (Inbound::StreamError { .. }, false) => is_error,
        (Inbound::Other, false) => !is_stanza && !is_error,
        (Inbound::Nonza(made), true) => nonza(name, attrs, child).is_ok_and(|wanted| same(made, &wanted)),
        (Inbound::Malformed(error), true) => nonza(name, attrs, child).is_err_and(|errors| errors.contains(error)),
        _ => false,
    };
    assert!(right, "<{name}> of {ns:?} with {attrs:?} and {child:?} is read as {inbound:?}");
}

impl Type {
    fn has(self, value: &str) -> bool {
        match self {
            Self::UnsignedInt => unsigned_int(value).is_some(),
            Self::PositiveInteger => positive_integer(value).is_some(),
            Self::Boolean => boolean(value).is_some(),
            Self::Text => is_text(value),
        }
    }
}

/// What `collapse` leaves of a value that has no white space in it.
fn word(value: &str) -> Option<&str> {
    let mut words = value.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty());
    words.next().filter(|_| words.next().is_none())
}

/// <https://www.w3.org/TR/xmlschema11-2/#unsignedInt>, without a minus before zero. The standard library
/// takes a plus, and leading zeros.
fn unsigned_int(value: &str) -> Option<u32> {
    word(value)?.parse().ok()
}

/// <https://www.w3.org/TR/xmlschema11-2/#positiveInteger>. What is too large is the largest.
fn positive_integer(value: &str) -> Option<NonZeroU32> {
    match word(value)?.parse::<NonZeroU32>() {
        Ok(number) => Some(number),
        Err(error) => {
            (*error.kind() == IntErrorKind::PosOverflow && is_number(word(value)?)).then_some(NonZeroU32::MAX)
        }
    }
}

/// The standard library may tell of an overflow before it has seen all digits.
fn is_number(word: &str) -> bool {
    word.trim_start_matches('+').chars().all(|c| c.is_ascii_digit())
}

/// <https://www.w3.org/TR/xmlschema11-2/#boolean>
fn boolean(value: &str) -> Option<bool> {
    let word = word(value)?;
    ["false", "0", "true", "1"].iter().position(|other| *other == word).map(|at| at >= 2)
}

/// [Characters](https://www.w3.org/TR/xml/#charsets) of XML, 1 to 4000 bytes.
pub fn is_text(value: &str) -> bool {
    let is_char = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    (1..=4000).contains(&value.len()) && value.chars().all(is_char)
}

fn condition(child: &str) -> Option<Condition> {
    let name = CONDITIONS.iter().find(|name| **name == child)?;
    let condition = Condition::ALL.iter().find(|condition| condition.name() == *name);
    Some(*condition.unwrap_or_else(|| panic!("there is no {name}")))
}
