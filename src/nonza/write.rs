//! [`Nonza`] to text, to `BytesMut`, to a minidom element.

use std::convert::Infallible;
use std::fmt;

use bytes::BytesMut;
use minidom::Element;
use minidom::rxml::NcName;

use super::{Enable, Enabled, Failed, NS, NS_STANZAS, Nonza, Resume, Resumed};

/// The most attributes that an element of the namespace has.
const MOST: usize = 4;

#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Number(u32),
    True,
}

impl Nonza {
    /// Appends the element's text, as UTF-8 and with its own namespace declaration.
    pub fn write_to(&self, out: &mut BytesMut) {
        let Ok(()) = self.emit(|piece| {
            out.extend_from_slice(piece);
            Ok::<_, Infallible>(())
        });
    }

    /// The element, for hosts that write minidom.
    pub fn to_element(&self) -> Element {
        let mut element = Element::builder(self.kind().name(), NS);
        for (name, value) in self.attributes().into_iter().flatten() {
            // The names are our own: each is an NCName.
            let Ok(name) = NcName::try_from(name) else { continue };
            element = match value {
                Value::Text(text) => element.attr(name, text),
                Value::Number(number) => element.attr(name, number.to_string()),
                Value::True => element.attr(name, "true"),
            };
        }
        if let Self::Failed(Failed { condition: Some(condition), .. }) = self {
            element = element.append(Element::bare(condition.name(), NS_STANZAS));
        }
        element.build()
    }

    fn attributes(&self) -> [Option<(&'static str, Value<'_>)>; MOST] {
        // `resume` is left out when it is false: a client in use takes any `resume` for a yes.
        let resume = |resume: bool| resume.then_some(("resume", Value::True));
        match self {
            Self::Request => [None; MOST],
            Self::Ack(h) => [Some(("h", Value::Number(h.get()))), None, None, None],
            Self::Enable(Enable { resume: wanted, max }) => {
                [resume(*wanted), max.map(|max| ("max", Value::Number(max.get()))), None, None]
            }
            Self::Enabled(Enabled { id, resume: granted, max, location }) => [
                id.as_ref().map(|id| ("id", Value::Text(id.as_str()))),
                resume(*granted),
                max.map(|max| ("max", Value::Number(max.get()))),
                location.as_ref().map(|location| ("location", Value::Text(location.as_str()))),
            ],
            Self::Resume(Resume { previd, h }) | Self::Resumed(Resumed { previd, h }) => {
                [Some(("previd", Value::Text(previd.as_str()))), Some(("h", Value::Number(h.get()))), None, None]
            }
            Self::Failed(Failed { h, .. }) => [h.map(|h| ("h", Value::Number(h.get()))), None, None, None],
        }
    }
}

/// The element as text, as [`write_to`](Nonza::write_to) writes it. It shows the SM-ID.
impl fmt::Display for Nonza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pieces are whole characters.
        self.emit(|piece| f.write_str(std::str::from_utf8(piece).map_err(|_| fmt::Error)?))
    }
}

impl Nonza {
    /// The text, piece by piece: the formatting machinery of the standard library would cost more than
    /// all the rest of an acknowledgement.
    fn emit<E>(&self, mut piece: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self {
            // The two that come often.
            Self::Request => return piece(b"<r xmlns='urn:xmpp:sm:3'/>"),
            Self::Ack(h) => {
                piece(b"<a xmlns='urn:xmpp:sm:3' h='")?;
                piece(decimal(h.get(), &mut [0; 10]))?;
                return piece(b"'/>");
            }
            Self::Enable(_) => piece(b"<enable xmlns='urn:xmpp:sm:3'")?,
            Self::Enabled(_) => piece(b"<enabled xmlns='urn:xmpp:sm:3'")?,
            Self::Resume(_) => piece(b"<resume xmlns='urn:xmpp:sm:3'")?,
            Self::Resumed(_) => piece(b"<resumed xmlns='urn:xmpp:sm:3'")?,
            Self::Failed(_) => piece(b"<failed xmlns='urn:xmpp:sm:3'")?,
        }
        for (name, value) in self.attributes().into_iter().flatten() {
            piece(b" ")?;
            piece(name.as_bytes())?;
            piece(b"='")?;
            match value {
                Value::Text(text) => escape(text, &mut piece)?,
                Value::Number(number) => piece(decimal(number, &mut [0; 10]))?,
                Value::True => piece(b"true")?,
            }
            piece(b"'")?;
        }
        match self {
            Self::Failed(Failed { condition: Some(condition), .. }) => {
                for part in ["><", condition.name(), " xmlns='", NS_STANZAS, "'/></failed>"] {
                    piece(part.as_bytes())?;
                }
                Ok(())
            }
            _ => piece(b"/>"),
        }
    }
}

/// A value between quotes. White space goes out as character references, or the reader's attribute normalization would change it.
pub(crate) fn escape<E>(text: &str, mut piece: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    // Seldom is there anything to escape. Not to stop at the first lets many bytes be looked at at once.
    let is_special = |byte| matches!(byte, b'&' | b'<' | b'>' | b'\'' | b'"' | b'\t' | b'\n' | b'\r');
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        return piece(text.as_bytes());
    }
    let mut utf8 = [0; 4];
    for c in text.chars() {
        let escaped = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' => "&apos;",
            '"' => "&quot;",
            '\t' => "&#9;",
            '\n' => "&#10;",
            '\r' => "&#13;",
            c => c.encode_utf8(&mut utf8),
        };
        piece(escaped.as_bytes())?;
    }
    Ok(())
}

/// A number of up to ten digits, in the buffer given.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut start = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        // The remainder is a digit.
        *digit = b'0'.saturating_add(u8::try_from(number % 10).unwrap_or(0));
        start = place;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::counter::Counter;
    use crate::nonza::{Condition, Location};
    use crate::smid::SmId;

    fn all() -> Vec<Nonza> {
        let id = SmId::new("a'b\"c<d>&e\t\n\r ö").unwrap();
        let max = NonZeroU32::new(300);
        let h = Counter::new(u32::MAX);
        let mut all = vec![
            Nonza::Request,
            Nonza::Ack(h),
            Nonza::Enable(Enable { resume: true, max }),
            Nonza::Enable(Enable::default()),
            Nonza::Enabled(Enabled::default()),
            Nonza::Enabled(Enabled {
                id: Some(id.clone()),
                resume: true,
                max,
                location: Some(Location::new("[2001:41D0:1:A49b::1]:9222").unwrap()),
            }),
            Nonza::Resume(Resume { previd: id.clone(), h }),
            Nonza::Resumed(Resumed { previd: id, h }),
            Nonza::Failed(Failed::default()),
            Nonza::Failed(Failed { h: Some(h), condition: None }),
        ];
        all.extend(Condition::ALL.iter().map(|condition| Nonza::failed(*condition)));
        all
    }

    #[test]
    fn what_is_written_is_read_again_by_a_real_parser() {
        for nonza in all() {
            let mut out = BytesMut::new();
            nonza.write_to(&mut out);
            let element: Element = std::str::from_utf8(&out).unwrap().parse().unwrap();
            assert_eq!(Nonza::from_element(&element), Some(Ok(nonza.clone())), "{nonza}");
            assert_eq!(element, nonza.to_element());
        }
    }

    /// Takes so many bytes and no more.
    struct Narrow(String, usize);

    impl fmt::Write for Narrow {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            self.0.push_str(piece);
            if self.0.len() > self.1 { Err(fmt::Error) } else { Ok(()) }
        }
    }

    #[test]
    fn a_writer_that_fails_is_told_and_written_to_no_more() {
        for nonza in all() {
            let whole = nonza.to_string();
            for room in 0..=whole.len() {
                let mut narrow = Narrow(String::new(), room);
                let written = fmt::Write::write_fmt(&mut narrow, format_args!("{nonza}"));
                assert_eq!(written.is_ok(), room == whole.len());
                // The piece that failed was the last.
                assert!(whole.starts_with(&narrow.0) && (room..room + 60).contains(&narrow.0.len()), "{}", narrow.0);
            }
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, 999_999_999, 1_000_000_000, u32::MAX - 1, u32::MAX] {
            assert_eq!(decimal(number, &mut [0; 10]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn enabled_without_resumption_has_no_resume_attribute() {
        assert_eq!(Nonza::Enabled(Enabled::default()).to_string(), "<enabled xmlns='urn:xmpp:sm:3'/>");
    }

    #[test]
    fn failed_holds_a_bare_condition() {
        assert_eq!(
            Nonza::failed(Condition::ItemNotFound).to_string(),
            "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
        );
    }
}
