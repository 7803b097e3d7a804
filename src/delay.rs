//! [XEP-0203](https://xmpp.org/extensions/xep-0203.html) stamps for stanzas that are delivered late.
//!
//! A server [should add](https://xmpp.org/extensions/xep-0198.html#acking) the time at which a stanza was
//! first sent when it delivers it again or keeps it for later. The crate's queues hold an `Instant`, which
//! costs nothing; it becomes a date only when a stamp is written.
//!
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//! use minidom::Element;
//! use xmpp_sm::delay;
//!
//! let queued = Instant::now();
//! let (now, wall_clock) = (queued + Duration::from_secs(90), SystemTime::UNIX_EPOCH + Duration::from_secs(100));
//!
//! let mut message: Element = "<message xmlns='jabber:client'><body>ciao!</body></message>".parse()?;
//! assert!(delay::stamp(&mut message, "example.com", delay::wall_clock(queued, now, wall_clock)));
//! let stamp = message.get_child("delay", delay::NS).and_then(|delay| delay.attr("stamp"));
//! assert_eq!(stamp, Some("1970-01-01T00:00:10.000Z"));
//! # Ok::<(), minidom::Error>(())
//! ```

use std::convert::Infallible;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use minidom::Element;
use minidom::rxml::{Event, Namespace, NcName, Parse, Parser};

use crate::nonza::escape;
use crate::smid::check_text;

/// The [namespace](https://xmpp.org/extensions/xep-0203.html#registrar-ns) of delay stamps.
///
/// See the [example](self) of the module.
pub const NS: &str = "urn:xmpp:delay";

/// Adds the stamp of a stanza that was first sent at `queued`, on behalf of `from`, the domain that kept
/// it. Tells whether it did: only message and presence are stamped, those that carry no stamp, and no
/// messages of type `error` or `headline`.
///
/// See the [example](self) of the module.
pub fn stamp(stanza: &mut Element, from: &str, queued: SystemTime) -> bool {
    if !may_be_stamped(stanza.name(), stanza.attr("type")) || stanza.has_child("delay", NS) {
        return false;
    }
    let mut delay = Element::builder("delay", NS);
    for (name, value) in [("from", from), ("stamp", date_time(queued).as_str())] {
        // The names are our own: each is an NCName.
        if let Ok(name) = NcName::try_from(name) {
            delay = delay.attr(name, value);
        }
    }
    stanza.append_child(delay.build());
    true
}

/// Returns a serialized stanza with the stamp that [`stamp`] gives to an element, for hosts that keep bytes. All
/// that was there stays as it was; the stamp is the last child.
///
/// `stanza` is a child of a stream and need not declare the namespaces that the stream's header has declared: the
/// default one and `stream:`. What follows its end is kept behind it.
///
/// `None`: the stanza is to be sent as it is. It may carry no stamp, has one already, is malformed, or nests more than
/// 128 elements; or XML cannot carry `from`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use bytes::Bytes;
/// use xmpp_sm::delay;
///
/// let queued = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
/// let stamped = |stanza: &Bytes| delay::stamp_bytes(stanza, "example.com", queued).unwrap_or(stanza.clone());
///
/// let message = Bytes::from("<message><body>ciao!</body></message>");
/// assert_eq!(
///     stamped(&message),
///     "<message><body>ciao!</body>\
///      <delay xmlns='urn:xmpp:delay' from='example.com' stamp='1970-01-01T00:00:10.000Z'/></message>",
/// );
/// let iq = Bytes::from("<iq type='result' id='1'/>");
/// assert_eq!(stamped(&iq), iq);
/// ```
pub fn stamp_bytes(stanza: &[u8], from: &str, queued: SystemTime) -> Option<Bytes> {
    check_text(from).ok()?;
    let (element, rest) = stanza.split_at_checked(end_of_unstamped(stanza)?)?;
    // Inside of a tag there is no other `<`: this one opens the end tag, or the only tag.
    let (content, last_tag) = element.split_at_checked(element.iter().rposition(|byte| *byte == b'<')?)?;
    let mut out = BytesMut::with_capacity(stanza.len().saturating_add(128));
    out.extend_from_slice(content);
    if last_tag.starts_with(b"</") {
        write_delay(from, queued, &mut out);
        out.extend_from_slice(last_tag);
    } else {
        let is_name = |byte: &&u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/');
        let name = last_tag.iter().skip(1).take_while(is_name);
        out.extend_from_slice(last_tag.strip_suffix(b"/>")?);
        out.extend_from_slice(b">");
        write_delay(from, queued, &mut out);
        out.extend_from_slice(b"</");
        out.extend(name);
        out.extend_from_slice(b">");
    }
    out.extend_from_slice(rest);
    Some(out.freeze())
}

/// The parser looks for a namespace in every element around: without a bound, deep nesting would take the square of
/// its depth.
const MAX_DEPTH: usize = 128;

/// Where the stanza ends, if it is one that is to be stamped.
///
/// No tree is built and nothing is written again: the peer's prefixes need not fit those that a writer chooses.
fn end_of_unstamped(stanza: &[u8]) -> Option<usize> {
    let mut parser = Parser::new();
    let mut header: &[u8] = b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>";
    parser.parse(&mut header, false).ok()?;
    let (mut left, mut depth) = (stanza, 0_usize);
    while let Some(event) = parser.parse(&mut left, false).ok()? {
        match event {
            Event::StartElement(_, (ns, name), attrs) => {
                let is_wanted = match depth {
                    0 => may_be_stamped(&name, attrs.get(&Namespace::NONE, "type").map(String::as_str)),
                    1 => !(name == "delay" && ns == NS),
                    _ => true,
                };
                if !is_wanted {
                    return None;
                }
                depth = depth.checked_add(1).filter(|depth| *depth <= MAX_DEPTH)?;
            }
            Event::EndElement(_) => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return stanza.len().checked_sub(left.len());
                }
            }
            Event::Text(_, text) if depth == 0 && !text.trim_ascii().is_empty() => return None,
            Event::XmlDeclaration(..) | Event::Text(..) => {}
        }
    }
    None
}

fn write_delay(from: &str, queued: SystemTime, out: &mut BytesMut) {
    out.extend_from_slice(b"<delay xmlns='urn:xmpp:delay' from='");
    let Ok(()) = escape(from, |piece| {
        out.extend_from_slice(piece);
        Ok::<_, Infallible>(())
    });
    out.extend_from_slice(b"' stamp='");
    out.extend_from_slice(date_time(queued).as_bytes());
    out.extend_from_slice(b"'/>");
}

/// Whether a stanza of that name and type may carry a stamp.
fn may_be_stamped(name: &str, kind: Option<&str>) -> bool {
    match name {
        "message" => !matches!(kind, Some("error" | "headline")),
        "presence" => kind != Some("error"),
        _ => false,
    }
}

/// The date of an `Instant`, from two readings of the host's clocks that were taken together. A date
/// before 1970 becomes 1970.
///
/// See the [example](self) of the module.
pub fn wall_clock(queued: Instant, now: Instant, now_by_the_wall: SystemTime) -> SystemTime {
    let since = now.saturating_duration_since(queued);
    now_by_the_wall.checked_sub(since).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH)
}

/// A date as [XEP-0082](https://xmpp.org/extensions/xep-0082.html) wants it: UTC,
/// with milliseconds. It has room for the years 1970 to 9999 and saturates.
///
/// See the [example](self) of the module.
pub fn date_time(date: SystemTime) -> String {
    const LAST: u64 = 253_402_300_799;
    let since = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = match since.as_secs() {
        seconds if seconds <= LAST => (seconds, since.subsec_millis()),
        _ => (LAST, 999),
    };
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of the day that is so many days after 1970-01-01, by walking years of
/// four centuries, which all have the same number of days.
#[expect(clippy::arithmetic_side_effects, reason = "there are fewer than 2^22 days up to the year 9999")]
fn civil(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_a_real_calendar() {
        // Every day of eight centuries, and the ends.
        for seconds in (0..800 * 366).map(|day| day * 86_400 + day % 86_400).chain([253_402_207_200]) {
            let date = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            let expected = jiff::Timestamp::try_from(date).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
            assert_eq!(date_time(date), expected);
        }
        assert_eq!(date_time(UNIX_EPOCH + Duration::from_millis(253_402_300_799_005)), "9999-12-31T23:59:59.005Z");
        assert_eq!(date_time(UNIX_EPOCH + Duration::from_secs(253_402_300_800)), "9999-12-31T23:59:59.999Z");
        assert_eq!(date_time(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn only_what_may_carry_a_stamp_gets_one_and_only_one() {
        for (xml, wanted) in [
            ("<message xmlns='jabber:client'/>", true),
            ("<message xmlns='jabber:client' type='chat'/>", true),
            ("<message xmlns='jabber:client' type='groupchat'/>", true),
            ("<presence xmlns='jabber:server'/>", true),
            ("<presence xmlns='jabber:client' type='subscribe'/>", true),
            ("<presence xmlns='jabber:client' type='error'/>", false),
            ("<message xmlns='jabber:client' type='error'/>", false),
            ("<message xmlns='jabber:client' type='headline'/>", false),
            ("<iq xmlns='jabber:client' type='set'/>", false),
            ("<message xmlns='jabber:client'><delay xmlns='urn:xmpp:delay' stamp='x'/></message>", false),
        ] {
            let mut stanza: Element = xml.parse().unwrap();
            let before = stanza.clone();
            assert_eq!(stamp(&mut stanza, "example.com", UNIX_EPOCH), wanted, "{xml}");
            assert_eq!(stanza != before, wanted);
            assert!(!stamp(&mut stanza, "example.com", UNIX_EPOCH), "{xml}");
            assert_eq!(stamp_bytes(xml.as_bytes(), "example.com", UNIX_EPOCH).is_some(), wanted, "{xml}");
        }
    }

    /// The first element in the content of a stream.
    fn received(bytes: &[u8]) -> Element {
        const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
        let stream = Element::from_reader(&[HEADER.as_bytes(), bytes, b"</stream:stream>"].concat()[..]);
        stream.unwrap().unshift_child().unwrap()
    }

    /// What is to be written for these bytes, each time stamped by `from` at the beginning of time.
    fn sent(bytes: &[u8], from: &str) -> Bytes {
        stamp_bytes(bytes, from, UNIX_EPOCH).unwrap_or(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn bytes_are_stamped_as_elements_are() {
        for xml in [
            "<message/>",
            "<message />",
            "<message\tid='1'/>",
            "<message\nid='1'/>",
            "<message\rid='1'/>",
            "<message></message>",
            "<message\n\ttype = \"chat\"\r\n></message\n>",
            "<message to='a/>b' id='>'/>",
            "<presence><priority>1</priority></presence>",
            "<presence type='unavailable'/>",
            "<message xmlns='jabber:client'><body>ciao!</body></message>",
            // Namespaces are declared within, or borrowed from the stream.
            "<message><x xmlns='urn:x'><message/><y xmlns=''/></x></message>",
            "<message xmlns:x='urn:x' x:type='error'><x:a xmlns:x='urn:y'><x:b/></x:a></message>",
            "<c:message xmlns:c='jabber:client'><c:body>ciao!</c:body></c:message>",
            "<c:presence xmlns:c='jabber:client'/>",
            "<message stream:b='1'><stream:x/></message>",
            "<message xml:lang='en'><body xml:lang='it'>ciao!</body></message>",
            // What looks like an end is none.
            "<message><body>&lt;/message&gt; &amp; &#x27;ö😀\r\n</body></message>",
            "<message><body><![CDATA[</message><delay xmlns='urn:xmpp:delay'/>]]></body></message>",
            "<message><body>a</body><message/></message>",
            // Stamps that are not its own.
            "<message><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='x'/></forwarded></message>",
            "<message><delay xmlns='urn:x'/><delay/><x xmlns='urn:xmpp:delay'/></message>",
            "<message><x:delay xmlns:x='jabber:x:delay'/></message>",
        ] {
            let mut element = received(xml.as_bytes());
            assert!(stamp(&mut element, "example.com", UNIX_EPOCH), "{xml}");
            for (before, after) in
                [("", ""), (" \n", ""), ("", "\n "), ("", "<message/>"), ("", "<iq><"), ("", "\u{0}")]
            {
                let stamped = sent([before, xml, after].concat().as_bytes(), "example.com");
                let stanza = stamped.strip_suffix(after.as_bytes()).unwrap();
                assert_eq!(received(stanza), element, "{stamped:?}");
                // As it was, but for the one thing.
                let delay = "<delay xmlns='urn:xmpp:delay' from='example.com' stamp='1970-01-01T00:00:00.000Z'/>";
                let (begins, ends) = std::str::from_utf8(&stamped).unwrap().split_once(delay).unwrap();
                let without = [begins, ends].concat();
                assert!(without == [before, xml, after].concat() || xml.ends_with("/>"), "{without}");
                assert_eq!(stamp_bytes(&stamped, "example.com", UNIX_EPOCH), None, "{stamped:?}");
            }
        }
    }

    #[test]
    fn bytes_that_may_not_be_stamped_stay_as_they_are() {
        for xml in [
            "<iq type='result' id='1'/>",
            "<iq type='set'><message/></iq>",
            "<message type='error'/>",
            "<message type='&#101;rror'/>",
            "<message type='headline'><body/></message>",
            "<presence type='error'/>",
            "<messages/>",
            "<r xmlns='urn:xmpp:sm:3'/>",
            "<message><delay xmlns='urn:xmpp:delay' stamp='x'/></message>",
            "<message><body/><d:delay xmlns:d='urn:xmpp:delay' stamp='x'/></message>",
            "<d:message xmlns:d='urn:xmpp:delay'><d:delay stamp='x'/></d:message>",
            // Nothing that can be read.
            "",
            " ",
            "message",
            "message<message/>",
            "<![CDATA[x]]><message/>",
            "<",
            "<message",
            "<message>",
            "<message/",
            "<message><body></message>",
            "<message></presence>",
            "<message a='1' a='2'/>",
            "<message a=1/>",
            "<message><x:y/></message>",
            "<message>&nbsp;</message>",
            "<message>\u{0}</message>",
            "</stream:stream>",
            "</message>",
            "<?xml version='1.0'?><message/>",
            "<!DOCTYPE message><message/>",
        ] {
            assert_eq!(stamp_bytes(xml.as_bytes(), "example.com", UNIX_EPOCH), None, "{xml}");
        }
        for bytes in
            [b"\xff".as_slice(), b"<message>\xff</message>", b"<message \xc3='1'/>", b"<message>\xc3</message>"]
        {
            assert_eq!(stamp_bytes(bytes, "example.com", UNIX_EPOCH), None, "{bytes:?}");
        }
    }

    #[test]
    fn who_stamps_is_escaped_or_does_not_stamp() {
        let from = "o'neil & \"sons\" <sons@example.com>\t";
        let mut element = received(b"<message/>");
        assert!(stamp(&mut element, from, UNIX_EPOCH));
        assert_eq!(received(&sent(b"<message/>", from)), element);
        for from in ["", "\u{0}", "a\u{ffff}"] {
            assert_eq!(stamp_bytes(b"<message/>", from, UNIX_EPOCH), None, "{from:?}");
        }
    }

    #[test]
    fn bytes_may_be_nested_to_a_bound() {
        let nested = |depth: usize| ["<message>", &"<x>".repeat(depth), &"</x>".repeat(depth), "</message>"].concat();
        assert!(stamp_bytes(nested(MAX_DEPTH - 1).as_bytes(), "example.com", UNIX_EPOCH).is_some());
        for depth in [MAX_DEPTH, 200_000] {
            assert_eq!(stamp_bytes(nested(depth).as_bytes(), "example.com", UNIX_EPOCH), None);
        }
        let wide = ["<message>", &"<x/>".repeat(1000), "</message>"].concat();
        assert!(stamp_bytes(wide.as_bytes(), "example.com", UNIX_EPOCH).is_some());
    }

    #[test]
    fn the_wall_clock_goes_back_by_the_time_in_the_queue() {
        let queued = Instant::now();
        let wall = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(wall_clock(queued, queued + Duration::from_secs(400), wall), UNIX_EPOCH + Duration::from_secs(600));
        assert_eq!(wall_clock(queued, queued + Duration::from_secs(4000), wall), UNIX_EPOCH);
        assert_eq!(wall_clock(queued + Duration::from_secs(1), queued, wall), wall);
    }
}
