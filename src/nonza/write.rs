//! [`Nonza`] to text, to `BytesMut`, to a minidom element.

use std::fmt::{self, Write};

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
        // Writing to memory cannot fail.
        let _ = write!(out, "{self}");
    }

    /// The element, for hosts that write minidom.
    pub fn to_element(&self) -> Element {
        let mut element = Element::builder(self.kind().name(), NS);
        for (name, value) in self.attributes().into_iter().flatten() {
            // The names are our own: each is an NCName.
            if let Ok(name) = NcName::try_from(name) {
                element = match value {
                    Value::Text(text) => element.attr(name, text),
                    Value::Number(number) => element.attr(name, number.to_string()),
                    Value::True => element.attr(name, "true"),
                };
            }
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
        let name = self.kind().name();
        write!(f, "<{name} xmlns='{NS}'")?;
        for (name, value) in self.attributes().into_iter().flatten() {
            write!(f, " {name}='")?;
            match value {
                Value::Text(text) => write_escaped(f, text)?,
                Value::Number(number) => write!(f, "{number}")?,
                Value::True => f.write_str("true")?,
            }
            f.write_char('\'')?;
        }
        match self {
            Self::Failed(Failed { condition: Some(condition), .. }) => {
                write!(f, "><{} xmlns='{NS_STANZAS}'/></{name}>", condition.name())
            }
            _ => f.write_str("/>"),
        }
    }
}

/// White space goes out as character references, or the reader's attribute normalization would change it.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '\'' => f.write_str("&apos;")?,
            '"' => f.write_str("&quot;")?,
            '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
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
