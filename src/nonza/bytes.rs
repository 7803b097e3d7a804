//! `<r/>` and `<a/>` from bytes, without an XML parser: they come once for a stanza or more often.

use super::{NS, Nonza};
use crate::counter::Counter;

/// As many as the largest number has.
const MAX_DIGITS: usize = 10;

impl Nonza {
    /// Recognizes `<r/>` or `<a/>` at the start of `bytes`, and returns it with the number of bytes that it takes.
    /// No XML parser is needed for that, and nothing is allocated.
    ///
    /// `None`: `bytes` start with something else, with an element that is incomplete, or with one that is spelled
    /// in an unusual way or malformed. The XML parser has to read it, and knows which it is. Recognized are the
    /// spellings that implementations use: the namespace declared on the element, no other attribute than `h`,
    /// either order, either quotes, at most one space at a time, `/>` or an end tag at once.
    ///
    /// Call it where an element of the stream may begin, and nowhere else: after the XML parser has reported the end
    /// of the last one, and while it holds back nothing of what follows. Inside of an element the same bytes may be
    /// its content. Which namespaces the stream has declared does not matter.
    ///
    /// ```
    /// use xmpp_sm::{Counter, Nonza};
    ///
    /// let mut read: &[u8] = b"<a xmlns='urn:xmpp:sm:3' h='7'/><r xmlns='urn:xmpp:sm:3'/><message><body>ciao";
    /// let mut nonzas = Vec::new();
    /// while let Some((nonza, length)) = Nonza::from_bytes(read) {
    ///     nonzas.push(nonza);
    ///     read = &read[length..];
    /// }
    /// assert_eq!(nonzas, [Nonza::Ack(Counter::new(7)), Nonza::AckRequest]);
    /// // The rest is for the XML parser.
    /// assert_eq!(read, b"<message><body>ciao");
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut rest = Rest(bytes);
        let is_ack = rest.takes(b"<a");
        if !is_ack {
            rest.take(b"<r")?;
        }
        let (mut has_ns, mut h) = (false, None);
        loop {
            let is_spaced = rest.takes(b" ");
            if rest.takes(b"/>") {
                break;
            }
            if rest.takes(b">") {
                rest.take(if is_ack { b"</a>" } else { b"</r>" })?;
                break;
            }
            if !is_spaced {
                return None;
            }
            if !has_ns && rest.takes(b"xmlns=") {
                rest.quoted(|rest| rest.take(NS.as_bytes()))?;
                has_ns = true;
            } else if is_ack && h.is_none() && rest.takes(b"h=") {
                h = Some(rest.quoted(Rest::number)?);
            } else {
                return None;
            }
        }
        let nonza = if is_ack { Self::Ack(Counter::new(h?)) } else { Self::AckRequest };
        let length = bytes.len().checked_sub(rest.0.len())?;
        has_ns.then_some((nonza, length))
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Reads this text, if it comes next.
    fn takes(&mut self, text: &[u8]) -> bool {
        self.take(text).is_some()
    }

    fn take(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// Reads a value between two quotes of one kind.
    fn quoted<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let quote: &[u8] = match self.0.first()? {
            b'\'' => b"'",
            _ => b"\"",
        };
        self.take(quote)?;
        let value = value(self)?;
        self.take(quote)?;
        Some(value)
    }

    /// Reads a number as it is written usually: without zeros before it.
    fn number(&mut self) -> Option<u32> {
        let count = self.0.iter().take(MAX_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        if matches!(digits, [] | [b'0', _, ..]) {
            return None;
        }
        digits
            .iter()
            .try_fold(0_u32, |value, digit| value.checked_mul(10)?.checked_add(digit.checked_sub(b'0')?.into()))
    }
}

#[cfg(test)]
mod tests {
    use minidom::Element;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    /// What an XML parser finds in the text as the content of a stream; nothing if it is not well-formed.
    fn parsed(text: &[u8]) -> Option<Element> {
        const STREAM: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
        Element::from_reader(&[STREAM.as_bytes(), text, b"</stream:stream>"].concat()[..]).ok()
    }

    /// What is recognized is what the parser reads in these bytes, and all that it reads.
    #[track_caller]
    fn agrees(text: &[u8]) -> Option<(Nonza, usize)> {
        let (nonza, length) = Nonza::from_bytes(text)?;
        let stream = parsed(&text[..length]).expect("well-formed");
        assert_eq!(stream.nodes().count(), 1);
        let element = stream.children().next().expect("an element");
        assert_eq!(Nonza::from_element(element), Some(Ok(nonza.clone())));
        assert_eq!(*element, nonza.to_element());
        Some((nonza, length))
    }

    #[test]
    fn the_usual_spellings_are_recognized_wherever_they_end() {
        let ack = |h: u32| Nonza::Ack(Counter::new(h));
        for (text, nonza) in [
            ("<r xmlns='urn:xmpp:sm:3'/>", Nonza::AckRequest),
            ("<r xmlns=\"urn:xmpp:sm:3\"/>", Nonza::AckRequest),
            ("<r xmlns='urn:xmpp:sm:3' />", Nonza::AckRequest),
            ("<r xmlns=\"urn:xmpp:sm:3\"></r>", Nonza::AckRequest),
            ("<a xmlns='urn:xmpp:sm:3' h='7'/>", ack(7)),
            ("<a h='7' xmlns='urn:xmpp:sm:3'/>", ack(7)),
            ("<a h=\"4294967295\" xmlns='urn:xmpp:sm:3' />", ack(u32::MAX)),
            ("<a xmlns=\"urn:xmpp:sm:3\" h=\"0\"/>", ack(0)),
            ("<a xmlns='urn:xmpp:sm:3' h='1000000000'></a>", ack(1_000_000_000)),
        ] {
            assert_eq!(agrees(text.as_bytes()), Some((nonza.clone(), text.len())), "{text}");
            for end in 0..text.len() {
                assert_eq!(Nonza::from_bytes(&text.as_bytes()[..end]), None, "{}", &text[..end]);
            }
            for next in ["<", "<r xmlns='urn:xmpp:sm:3'/>", " ", "\0", "<message><body>"] {
                assert_eq!(Nonza::from_bytes(&[text, next].concat().into_bytes()), Some((nonza.clone(), text.len())));
            }
        }
    }

    #[test]
    fn what_the_crate_writes_is_recognized() {
        for h in [0, 1, 9, 10, 4_294_967_295] {
            for nonza in [Nonza::AckRequest, Nonza::Ack(Counter::new(h))] {
                let text = nonza.to_string();
                assert_eq!(agrees(text.as_bytes()), Some((nonza, text.len())));
            }
        }
    }

    #[test]
    fn anything_else_is_left_to_the_parser() {
        for text in [
            // Another element, or none.
            "",
            "r",
            "<",
            "<b xmlns='urn:xmpp:sm:3'/>",
            "<ra xmlns='urn:xmpp:sm:3'/>",
            "<x:r xmlns:x='urn:xmpp:sm:3'/>",
            "</r>",
            " <r xmlns='urn:xmpp:sm:3'/>",
            "\u{feff}<r xmlns='urn:xmpp:sm:3'/>",
            "<!--<r xmlns='urn:xmpp:sm:3'/>-->",
            "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>",
            "<enabled xmlns='urn:xmpp:sm:3'/>",
            // Another namespace, or one that would have to be looked up.
            "<r/>",
            "<a h='1'/>",
            "<r xmlns=''/>",
            "<r xmlns='urn:xmpp:sm:2'/>",
            "<r xmlns='urn:xmpp:sm:33'/>",
            "<r xmlns='urn:xmpp:sm:3 '/>",
            "<r xmlns='URN:XMPP:SM:3'/>",
            "<r xmlns='urn:xmpp:sm:&#51;'/>",
            "<r xmlns:x='urn:xmpp:sm:3'/>",
            // Other attributes, one twice, or one too few.
            "<r xmlns='urn:xmpp:sm:3' h='1'/>",
            "<r xmlns='urn:xmpp:sm:3' xmlns='urn:xmpp:sm:3'/>",
            "<a xmlns='urn:xmpp:sm:3'/>",
            "<a xmlns='urn:xmpp:sm:3' h='1' h='1'/>",
            "<a h='1' xmlns='urn:xmpp:sm:3' h='1'/>",
            "<a xmlns='urn:xmpp:sm:3' x='1' h='1'/>",
            "<a xmlns='urn:xmpp:sm:3' x:h='1'/>",
            "<a xmlns='urn:xmpp:sm:3' H='1'/>",
            // Numbers that are none, too large, or written in another way.
            "<a xmlns='urn:xmpp:sm:3' h=''/>",
            "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
            "<a xmlns='urn:xmpp:sm:3' h='+1'/>",
            "<a xmlns='urn:xmpp:sm:3' h=' 1'/>",
            "<a xmlns='urn:xmpp:sm:3' h='1 '/>",
            "<a xmlns='urn:xmpp:sm:3' h='1.0'/>",
            "<a xmlns='urn:xmpp:sm:3' h='1;'/>",
            "<a xmlns='urn:xmpp:sm:3' h='1:'/>",
            "<a xmlns='urn:xmpp:sm:3' h='&#49;'/>",
            "<a xmlns='urn:xmpp:sm:3' h='4294967296'/>",
            "<a xmlns='urn:xmpp:sm:3' h='9999999999'/>",
            "<a xmlns='urn:xmpp:sm:3' h='10000000000'/>",
            "<a xmlns='urn:xmpp:sm:3' h='01'/>",
            "<a xmlns='urn:xmpp:sm:3' h='00'/>",
            // Quotes and spaces.
            "<a xmlns='urn:xmpp:sm:3\" h='1'/>",
            "<a xmlns=\"urn:xmpp:sm:3' h='1'/>",
            "<a xmlns='urn:xmpp:sm:3' h='1\"/>",
            "<a xmlns='urn:xmpp:sm:3' h=1/>",
            "<a xmlns=urn:xmpp:sm:3 h='1'/>",
            "<a xmlns='urn:xmpp:sm:3'h='1'/>",
            "<axmlns='urn:xmpp:sm:3' h='1'/>",
            "<a  xmlns='urn:xmpp:sm:3' h='1'/>",
            "<a xmlns = 'urn:xmpp:sm:3' h='1'/>",
            "<a\nxmlns='urn:xmpp:sm:3' h='1'/>",
            "< a xmlns='urn:xmpp:sm:3' h='1'/>",
            // Content, and ends that are none.
            "<r xmlns='urn:xmpp:sm:3'><r/></r>",
            "<r xmlns='urn:xmpp:sm:3'> </r>",
            "<r xmlns='urn:xmpp:sm:3'>",
            "<r xmlns='urn:xmpp:sm:3'/ >",
            "<r xmlns='urn:xmpp:sm:3'></a>",
            "<r xmlns='urn:xmpp:sm:3'></r >",
            "<r xmlns='urn:xmpp:sm:3'/<",
        ] {
            assert_eq!(Nonza::from_bytes(text.as_bytes()), None, "{text}");
        }
    }

    /// A spelling that is recognized.
    fn spelling() -> impl Strategy<Value = String> {
        let quote = || select(&["'", "\""]);
        let h = prop_oneof![any::<u32>(), 0..100_u32].prop_map(|h| h.to_string());
        let tail = select(&["/>", " />", "></", " ></"]);
        (any::<(bool, bool)>(), quote(), quote(), h, tail).prop_map(|((is_ack, ns_first), q, p, h, tail)| {
            let ns = format!(" xmlns={q}{NS}{q}");
            let h = if is_ack { format!(" h={p}{h}{p}") } else { String::new() };
            let attributes = if ns_first { ns + &h } else { h + &ns };
            let name = if is_ack { "a" } else { "r" };
            let tail = if tail.ends_with('/') { format!("{tail}{name}>") } else { tail.to_owned() };
            format!("<{name}{attributes}{tail}")
        })
    }

    /// Where to edit a text, how many bytes to take away there, and what to put in their place.
    fn edit() -> impl Strategy<Value = (Index, usize, &'static [u8])> {
        const PIECES: [&[u8]; 24] = [
            b"",
            b"<",
            b">",
            b"/",
            b"/>",
            b"<a",
            b"<r",
            b"</a>",
            b"</r>",
            b"'",
            b"\"",
            b" ",
            b"\n",
            b"=",
            b"h='1'",
            b"0",
            b"9",
            b":",
            b"&#49;",
            b"<!--",
            b"\0",
            b"\xff",
            b" xmlns='urn:xmpp:sm:3'",
            b" x='1'",
        ];
        (any::<Index>(), 0..4_usize, select(&PIECES))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn each_usual_spelling_is_recognized(text in spelling(), next in vec(any::<u8>(), 0..8)) {
            let bytes = [text.as_bytes(), &next].concat();
            prop_assert_eq!(agrees(&bytes).map(|(_, length)| length), Some(text.len()));
        }

        #[test]
        fn nothing_is_read_other_than_the_parser_reads_it(text in spelling(), edits in vec(edit(), 1..4)) {
            let mut bytes = text.into_bytes();
            for (at, taken, put) in edits {
                let start = at.index(bytes.len() + 1);
                let end = bytes.len().min(start + taken);
                bytes.splice(start..end, put.iter().copied());
            }
            agrees(&bytes);
        }
    }
}
