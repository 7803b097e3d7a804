//! Read and written by the traits of the crate `xso`: by the same rules as by any other way.

use std::collections::BTreeMap;

use minidom::Element;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use tokio_xmpp::xmlstream::FallibleStreamElement;
use xmpp_parsers::stanza::Stanza;
use xmpp_sm::typed::{Received, xso};
use xmpp_sm::{
    Condition, Counter, Enable, Enabled, Failed, Inbound, Kind, Measured, Nonza, ParseError, Resume, SmId, Stanza as _,
    StreamCondition, StreamError, ToInbound,
};

const CLIENT: &str = "jabber:client";

/// Any element that arrives, also those that a typed parser does not read.
const ARRIVE: [&str; 28] = [
    "<failed xmlns='urn:xmpp:sm:3'/>",
    "<failed xmlns='urn:xmpp:sm:3' h='7'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    "<failed xmlns='urn:xmpp:sm:3'><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text><x xmlns='urn:x'>\
     <bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></x>\
     <unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    "<failed xmlns='urn:xmpp:sm:3' h='-1'/>",
    "<failed xmlns='urn:xmpp:sm:3'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
     <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    "<enable xmlns='urn:xmpp:sm:3' resume=' true ' max='99999999999'/>",
    "<enable xmlns='urn:xmpp:sm:3' resume='yes'/>",
    "<enable xmlns='urn:xmpp:sm:3' max='0'>text<child/></enable>",
    "<enabled xmlns='urn:xmpp:sm:3' id='&lt;&quot;&#10;' resume='1' max='43200.0'/>",
    "<resume xmlns='urn:xmpp:sm:3' previd='x' h='+007'/>",
    "<resume xmlns='urn:xmpp:sm:3' h='7'/>",
    "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='4294967296'/>",
    "<a xmlns='urn:xmpp:sm:3' h=' 0 '/>",
    "<a xmlns='urn:xmpp:sm:3' xmlns:x='urn:x' x:h='9'/>",
    "<a xmlns='urn:xmpp:sm:3'/>",
    "<r xmlns='urn:xmpp:sm:3'/>",
    "<sm xmlns='urn:xmpp:sm:3'/>",
    "<a xmlns='urn:xmpp:sm:2' h='1'/>",
    "<message xmlns='jabber:client' to='juliet@example.com'><body>ciao</body>!</message>",
    "<presence xmlns='jabber:client' type='nonsense'/>",
    "<iq xmlns='jabber:client'/>",
    "<iq xmlns='jabber:client' type='get' id='1'><a xmlns='urn:xmpp:sm:3'/><b/></iq>",
    "<message xmlns='jabber:client' to='@'><deep><deeper>text</deeper></deep></message>",
    "<message xmlns='jabber:server'/>",
    "<x xmlns='jabber:client'/>",
    "<error xmlns='http://etherx.jabber.org/streams'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error>",
    "<error xmlns='http://etherx.jabber.org/streams'><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>no</text>\
     <reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error>",
    "<inactive xmlns='urn:xmpp:csi:0'/>",
];

fn read<T: xso::FromXml>(xml: &str) -> Received<T> {
    xso::from_bytes(xml.as_bytes()).unwrap_or_else(|error| panic!("{xml}: {error}"))
}

#[track_caller]
fn is_sorted_as_an_element_is(xml: &str) {
    let element: Element = xml.parse().unwrap();
    for ns in [CLIENT, "jabber:server"] {
        let received = read::<FallibleStreamElement>(xml);
        // The namespaces in a stanza are in its size.
        let expected = match Inbound::from_element(&element, ns) {
            Inbound::Stanza { bytes } => {
                assert!(received.bytes() >= bytes, "{xml}");
                Inbound::Stanza { bytes: received.bytes() }
            }
            other => other,
        };
        assert_eq!(received.to_inbound(ns), expected, "{xml}");
        let received = read::<Element>(xml);
        assert_eq!(received.to_inbound(ns), expected, "{xml}");
        // What has been read can be written, and read by whoever gets it; its size stays the same.
        let bytes = received.bytes();
        if let Ok(element) = received.content {
            let written = String::from_utf8(xso::to_vec(&element).unwrap()).unwrap();
            assert_eq!(read::<Element>(&written).to_inbound(ns), expected, "{xml}");
            assert_eq!(Measured::of(element).unwrap().bytes, bytes, "{xml}");
        }
    }
}

#[test]
fn nothing_in_a_reserved_namespace_is_passed_on() {
    for child in ["<x xmlns='http://www.w3.org/2000/xmlns/'/>", "<x xmlns:p='http://www.w3.org/2000/xmlns/' p:y='1'/>"]
    {
        let xml = format!("<message xmlns='jabber:client'><deep>{child}</deep></message>");
        let received = read::<Stanza>(&xml);
        assert!(matches!(received.to_inbound(CLIENT), Inbound::Stanza { .. }), "{xml}");
        assert!(received.content.is_err(), "{xml}");
        assert!(Measured::of(xml.parse::<Element>().unwrap()).is_err(), "{xml}");
    }
}

#[test]
fn whatever_arrives_is_sorted_as_an_element_is() {
    ARRIVE.iter().for_each(|xml| is_sorted_as_an_element_is(xml));
}

/// A message with so many elements, each in the one before.
fn nested(depth: usize) -> String {
    let inner = depth - 1;
    format!("<message xmlns='jabber:client'>{}{}</message>", "<x>".repeat(inner), "</x>".repeat(inner))
}

#[test]
fn what_is_nested_too_deep_is_not_kept_and_counts() {
    for (depth, is_kept) in [(64, true), (65, false), (1024, false)] {
        let received = read::<Stanza>(&nested(depth));
        assert_eq!(received.content.is_ok(), is_kept, "{depth}");
        assert!(matches!(received.to_inbound(CLIENT), Inbound::Stanza { .. }), "{depth}");
    }
    assert!(xso::from_bytes::<Received<Stanza>>(nested(1025).as_bytes()).is_err(), "the stream ends");
}

#[test]
fn what_is_too_large_is_not_kept_and_counts() {
    let message = |text: &str| format!("<message xmlns='jabber:client'><body>{text}</body></message>");
    let parts = "messagebody".len();
    for (length, is_kept) in [(100 - parts, true), (101 - parts, false), (10_000, false)] {
        let received: Received<Stanza, 100> = xso::from_bytes(message(&"x".repeat(length)).as_bytes()).unwrap();
        assert_eq!(received.content.is_ok(), is_kept, "{length}");
        assert_eq!(received.to_inbound(CLIENT), Inbound::Stanza { bytes: length + parts });
    }
    let large = message(&"x".repeat(256 * 1024));
    assert!(read::<Stanza>(&large).content.is_err());
}

/// Of an element with an attribute two bytes are counted, and a tree takes a thousand.
#[test]
fn what_takes_much_memory_is_not_kept_and_counts() {
    for (part, bytes, most) in [("<a/>", 1, 16_000), ("<a/>b", 2, 8_000), ("<a b=''/>", 2, 2_900)] {
        for (count, is_kept) in [(most, true), (most + most / 6, false)] {
            let all = part.repeat(count);
            let received = read::<Stanza>(&format!("<message xmlns='jabber:client'><x>{all}</x></message>"));
            assert_eq!(received.content.is_ok(), is_kept, "{count} of {part}");
            assert_eq!(received.to_inbound(CLIENT), Inbound::Stanza { bytes: count * bytes + "messagex".len() });
        }
    }
    // Sixteen times the bytes, and not more: four elements.
    for (count, is_kept) in [(4, true), (5, false)] {
        let message = format!("<message xmlns='jabber:client'>{}</message>", "<a/>".repeat(count));
        let received: Received<Stanza, 64> = xso::from_bytes(message.as_bytes()).unwrap();
        assert_eq!(received.content.is_ok(), is_kept, "{count}");
    }
    let text = "&lt;b ".repeat(40_000);
    let message = read::<Stanza>(&format!("<message xmlns='jabber:client'><body>{text}</body></message>"));
    assert!(message.content.is_ok(), "it is one text, in whatever pieces it comes");
}

/// An element whose parts are those of stanzas, of stream management and of stream errors, put together at random. There is
/// one condition in it at most, as there should be.
fn any_element() -> impl Strategy<Value = String> {
    let name = select(&["a", "enabled", "failed", "resume", "message", "presence", "iq", "error", "body", "x"][..]);
    let ns = select(&[xmpp_sm::NS, CLIENT, "jabber:server", "http://etherx.jabber.org/streams", "urn:x", ""][..]);
    let value = select(&["", " 1 ", "4294967296", "true", "get", "a@b/c", "&#9;&lt;"][..]);
    let attribute = select(&["h", "resume", "max", "id", "previd", "type", "to", "xml:lang"][..]);
    let attributes = btree_map(attribute, value, 0..4);
    let condition = option::of((
        select(&["conflict", "item-not-found", "text"][..]),
        select(&["urn:ietf:params:xml:ns:xmpp-stanzas", "urn:ietf:params:xml:ns:xmpp-streams"][..]),
    ));
    let leaf = (name.clone(), ns.clone(), attributes.clone()).prop_map(|parts| element(parts, ""));
    let content = vec(
        prop_oneof![leaf, Just("text".to_owned()), Just("<x><x>&amp;</x></x>".to_owned()), Just(RESERVED.to_owned())],
        0..4,
    );
    ((name, ns, attributes), condition, content).prop_map(|(parts, condition, content)| {
        let condition = condition.map(|(name, ns)| format!("<{name} xmlns='{ns}'/>")).unwrap_or_default();
        element(parts, &(content.concat() + &condition))
    })
}

/// The parser takes it, and makes nothing of it that can be written.
const RESERVED: &str = "<x xmlns='http://www.w3.org/2000/xmlns/'/>";

fn element((name, ns, attributes): (&str, &str, BTreeMap<&str, &str>), content: &str) -> String {
    let attributes: String = attributes.iter().map(|(name, value)| format!(" {name}='{value}'")).collect();
    format!("<{name} xmlns='{ns}'{attributes}>{content}</{name}>")
}

proptest! {
    #[test]
    fn any_element_is_sorted_as_an_element_is(xml in any_element()) {
        is_sorted_as_an_element_is(&xml);
    }
}

#[test]
fn the_content_is_what_its_type_reads_and_nothing_of_stream_management() {
    for xml in ARRIVE {
        let element: Element = xml.parse().unwrap();
        let is_nonza = element.has_ns(xmpp_sm::NS);
        let any = read::<Element>(xml).content.ok();
        assert_eq!(any, (!is_nonza).then(|| element.clone()), "{xml}");
        let expected = xso::transform::<Stanza, _>(&element).map_err(|error| error.to_string());
        assert_eq!(read::<Stanza>(xml).content.map_err(|error| error.to_string()), expected, "{xml}");
    }
}

#[test]
fn a_stanza_that_its_type_cannot_read_counts() {
    let stanzas = ["<iq xmlns='jabber:client'/>", "<presence xmlns='jabber:client' type='nonsense'/>"];
    for xml in stanzas {
        let received = read::<Stanza>(xml);
        assert!(matches!(received.to_inbound(CLIENT), Inbound::Stanza { .. }), "{xml}");
        assert!(received.content.is_err(), "{xml}");
    }
}

/// The page about typed stanzas names these. Where xmpp-parsers reads one by now, the page is out of date.
#[test]
fn xmpp_parsers_refuses_what_is_well_made() {
    for xml in [
        "<enable xmlns='urn:xmpp:sm:3' max='99999999999'/>",
        "<enable xmlns='urn:xmpp:sm:3' resume=' true '/>",
        "<a xmlns='urn:xmpp:sm:3' h=' 0 '/>",
        "<failed xmlns='urn:xmpp:sm:3'/>",
    ] {
        let theirs = xso::from_bytes::<xmpp_parsers::sm::Nonza>(xml.as_bytes());
        assert!(theirs.is_err(), "{theirs:?}");
        assert!(xso::from_bytes::<Nonza>(xml.as_bytes()).is_ok(), "{xml}");
    }
    let features = xmpp_parsers::stream_features::StreamFeatures::default();
    let written = String::from_utf8(xso::to_vec(&features).unwrap()).unwrap();
    assert!(written.contains("<mechanisms "), "{written}");
}

/// A stream element of a host's own.
#[derive(Debug, PartialEq, xso::FromXml, xso::AsXml)]
#[xml()]
enum StreamElement {
    #[xml(transparent)]
    Stanza(Box<Stanza>),
    #[xml(transparent)]
    Nonza(Nonza),
}

#[test]
fn a_nonza_stands_in_a_hosts_own_stream_element() {
    for xml in ARRIVE {
        let element: Element = xml.parse().unwrap();
        let Some(expected) = Nonza::from_element(&element) else { continue };
        match (xso::transform(&element), expected) {
            (Ok(StreamElement::Nonza(nonza)), Ok(expected)) => assert_eq!(nonza, expected),
            (Err(xso::error::Error::TextParseError(error)), Err(expected)) => {
                assert_eq!(error.downcast_ref::<ParseError>(), Some(&expected));
            }
            other => panic!("{xml}: {other:?}"),
        }
    }
    let matcher = <Nonza as xso::FromXml>::xml_name_matcher();
    assert!(matches!(matcher, xso::fromxml::XmlNameMatcher::InNamespace(xmpp_sm::NS)), "{matcher:?}");
    let message = "<message xmlns='jabber:client'/>".parse::<Element>().unwrap();
    assert!(
        matches!(xso::transform(&message), Ok(StreamElement::Stanza(stanza)) if matches!(*stanza, Stanza::Message(_)))
    );
}

#[test]
fn what_is_written_is_the_element() {
    let (previd, h) = (SmId::new("a'b\"<>&\n").unwrap(), Counter::new(u32::MAX));
    let max = std::num::NonZeroU32::new(600);
    for nonza in [
        Nonza::AckRequest,
        Nonza::Ack(h),
        Nonza::Enable(Enable { resume: true, max }),
        Nonza::Enabled(Enabled { id: Some(previd.clone()), resume: true, max, location: None }),
        Nonza::Resume(Resume { previd, h }),
        Nonza::Failed(Failed::default()),
        Nonza::Failed(Failed { h: Some(h), condition: Some(Condition::ItemNotFound) }),
    ] {
        let written = xso::to_vec(&nonza).unwrap();
        assert_eq!(Element::from_reader(&written[..]).unwrap(), nonza.to_element());
        assert_eq!(xso::transform::<Nonza, _>(&nonza).unwrap(), nonza);
    }
    for error in [
        StreamError::Conflict,
        StreamError::HandledCountTooHigh { h, send_count: Counter::new(1) },
        StreamError::Other(StreamCondition::SystemShutdown),
    ] {
        let written = xso::to_vec(&error).unwrap();
        assert_eq!(Element::from_reader(&written[..]).unwrap(), error.to_element());
        let read = xso::transform::<xmpp_parsers::stream_error::StreamError, _>(&error).unwrap();
        assert_eq!(read.texts.values().next().cloned(), error.text());
    }
}

#[test]
fn a_stanza_has_one_size_read_or_measured() {
    let xml = "<message xmlns='jabber:client' to='a@b'><body>ciao</body><x xmlns='urn:x'><y/></x></message>";
    let received = read::<Stanza>(xml);
    let bytes = ["message", "to", "a@b", "body", "ciao", "x", "urn:x", "y", "urn:x"].concat().len();
    assert_eq!(received.bytes(), bytes);
    let measured = Measured::of(received.content.unwrap()).unwrap();
    assert_eq!(measured.bytes(), bytes);
    assert_eq!(xso::to_vec(&measured).unwrap(), xso::to_vec(&xml.parse::<Element>().unwrap()).unwrap());
    assert_eq!(std::sync::Arc::new(measured).bytes(), bytes);
}

/// What is small when it is read is not large when it is written: a namespace that is declared once stands in each child.
#[test]
fn a_namespace_counts_each_time_that_it_is_written() {
    let ns = "n".repeat(4000);
    let message = |child: &str, count: usize| {
        read::<Stanza>(&format!("<message xmlns='jabber:client' xmlns:p='{ns}'>{}</message>", child.repeat(count)))
    };
    for child in ["<p:x/>", "<x p:y='1'/>"] {
        let received = message(child, 10);
        let bytes = received.bytes();
        let written = xso::to_vec(&received.content.unwrap()).unwrap().len();
        assert!(written > 10 * ns.len() && bytes > written / 2, "{child}: {bytes} for {written}");
        let large = message(child, 100);
        assert!(large.content.is_err(), "{child}");
        assert!(matches!(large.to_inbound(CLIENT), Inbound::Stanza { .. }), "{child}");
    }
}

#[test]
fn what_xml_cannot_carry_is_refused_when_it_is_measured() {
    for text in ["\0", "\u{b}", "\u{ffff}"] {
        let element = Element::builder("message", CLIENT).append(text).build();
        assert!(Measured::of(element).is_err(), "{text:?}");
    }
}

#[test]
fn the_error_names_what_is_malformed() {
    let error = xso::from_bytes::<Nonza>(b"<a xmlns='urn:xmpp:sm:3' h='1.5'/>").unwrap_err();
    let xso::error::Error::TextParseError(error) = error else { panic!("{error}") };
    assert_eq!(error.downcast_ref(), Some(&ParseError::Invalid { element: Kind::Ack, attribute: "h" }));
}
