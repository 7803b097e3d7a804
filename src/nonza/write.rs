//! [`Nonza`] to text, to `BytesMut`, to a minidom element.

use std::convert::Infallible;
use std::fmt;

use bytes::BytesMut;
use minidom::Element;
use minidom::rxml::NcName;

use super::{Enable, Enabled, Failed, NS, NS_STANZAS, Nonza, Resume, Resumed};
use crate::counter::count;

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
    #[inline]
    pub fn write_to(&self, out: &mut BytesMut) {
        match self {
            // The two that come often.
            Self::AckRequest => out.extend_from_slice(ACK_REQUEST),
            Self::Ack(h) => write_ack(h.get(), out),
            _ => self.write_pieces_to(out),
        }
    }

    fn write_pieces_to(&self, out: &mut BytesMut) {
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
            Self::AckRequest => [None; MOST],
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
            Self::AckRequest => return piece(ACK_REQUEST),
            Self::Ack(_) => piece(b"<a xmlns='urn:xmpp:sm:3'")?,
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
                Value::Number(number) => decimal(number, &mut piece)?,
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

const ACK_REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

/// One piece of a fixed size, of which the rest is cut off: to copy pieces of any size would take several times as long.
#[inline]
fn write_ack(h: u32, out: &mut BytesMut) {
    const START: [u8; 28] = *b"<a xmlns='urn:xmpp:sm:3' h='";
    const END: u128 = u128::from_le_bytes(*b"\0\0\0\0\0\0\0\0\0\0'/>\0\0\0");
    let Decimal { digits, zeros } = Decimal::new(h);
    let end = (digits | END).wrapping_shr(zeros.wrapping_mul(8)).to_le_bytes();
    let mut text = [0; START.len() + 16];
    let (start, rest) = text.split_at_mut(START.len());
    start.copy_from_slice(&START);
    rest.copy_from_slice(&end);
    out.extend_from_slice(&text);
    out.truncate(out.len().saturating_sub(count(zeros).saturating_add(3)));
}

fn decimal<E>(number: u32, mut piece: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let Decimal { digits, zeros } = Decimal::new(number);
    piece(digits.to_le_bytes().get(count(zeros)..10).unwrap_or_default())
}

/// A number as ten digits, made without a loop.
struct Decimal {
    /// As text. The first digit is in the lowest byte.
    digits: u128,
    /// How many at the beginning are not needed.
    zeros: u32,
}

impl Decimal {
    #[inline]
    fn new(number: u32) -> Self {
        const ZEROS: u128 = 0x3030_3030_3030_3030_3030;
        let (first, last) = (number / 100, number % 100);
        let digits = u128::from(eight_digits(first)) | u128::from((last / 10) | ((last % 10) << 8)) << 64;
        // The last digit stays, if it is a zero, too.
        let zeros = (digits | 1 << 72).trailing_zeros() / 8;
        Self { digits: digits | ZEROS, zeros }
    }
}

/// The digits of a number below 10^8, one in each byte: it is split into halves, into fourths and into eighths, the
/// parts side by side. A fixed-point product divides all parts at once.
#[inline]
fn eight_digits(number: u32) -> u64 {
    let halves = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = (halves.wrapping_mul(10_486) >> 20) & 0x0000_007f_0000_007f;
    let fourths = hundreds | halves.wrapping_sub(hundreds.wrapping_mul(100)) << 16;
    let tens = (fourths.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
    tens | fourths.wrapping_sub(tens.wrapping_mul(10)) << 8
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
            Nonza::AckRequest,
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
    fn numbers_are_written_as_the_standard_library_does() {
        let edges = (0..10).flat_map(|power| [10_u32.pow(power) - 1, 10_u32.pow(power), 10_u32.pow(power) + 1]);
        let spread = (0..100_000).map(|i: u32| i.wrapping_mul(42_949));
        let low = (0..100_000).chain(99_990_000..100_010_000);
        for h in edges.chain(spread).chain(low).chain([u32::MAX - 1, u32::MAX]) {
            let mut out = BytesMut::from("before");
            Nonza::Ack(Counter::new(h)).write_to(&mut out);
            assert_eq!(out, format!("before<a xmlns='urn:xmpp:sm:3' h='{h}'/>"));
            assert_eq!(Nonza::Ack(Counter::new(h)).to_string().len() + 6, out.len());
        }
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
