//! XML that clients send: what is taken can be written and read again, and what cannot be is refused when it comes.

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use bytes::BytesMut;
use minidom::Element;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use xmpp_sm::delay;

use super::client::{Client, HEADER};
use super::server::stanza::Written;
use super::server::xml::{Incoming, ReadError, XmlReader, from_bytes, to_bytes};
use super::{Running, message, start};

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
const STREAM: &str = "http://etherx.jabber.org/streams";

/// A stanza for herself that she has not acknowledged when she closes her stream. Gives what the server said.
async fn left_behind(server: &Running, attributes: &str, content: &str) -> String {
    let mut juliet = Client::session(server, "juliet", "balcony").await;
    juliet.send(&format!("<message to='juliet@localhost/balcony'{attributes}>{content}</message>")).await;
    juliet.send("<presence type='unavailable'/></stream:stream>").await;
    juliet.rest().await
}

#[tokio::test]
async fn no_stanza_stops_the_server() {
    let in_xmlns = format!("<x xmlns='{XMLNS}'/>");
    for (attributes, content, taken) in [
        ("", "<stream:x/>", true),
        (" stream:b='1'", "<body>b</body>", true),
        ("", &*in_xmlns, false),
        (" xmlns:a='a:b' a:b='1'", "<a:body xml:lang='en'/>", true),
    ] {
        let server = start(&[]).await;
        let mut romeo = Client::session(&server, "romeo", "orchard").await;
        let said = left_behind(&server, attributes, content).await;
        assert_eq!(said.contains("<stream:error><not-well-formed "), !taken, "{attributes} {content}: {said}");
        assert_eq!(said.contains("<message "), taken, "{attributes} {content}: {said}");

        romeo.ping().await;
        let mut juliet = Client::simple(&server, "juliet", "garden").await;
        if taken {
            juliet.upto("<message ").await;
            juliet.upto("<delay ").await;
        }
        romeo.send(&message("juliet@localhost", "on and on")).await;
        juliet.upto("on and on").await;
    }
}

/// A stream with this in it, as far as the server can read it.
fn read(header: &str, stanza: &str) -> Result<Element, ReadError> {
    let stream = format!("{header}{stanza}");
    let mut reader = XmlReader::new(stream.as_bytes());
    futures::executor::block_on(async {
        loop {
            if let Incoming::Element(element) = reader.next().await? {
                return Ok(element);
            }
        }
    })
}

#[test]
fn what_no_namespace_allows_is_refused() {
    for (refused, why) in [
        (format!("<m xmlns='{XML}'/>"), "reserved"),
        (format!("<m xmlns='{XMLNS}'/>"), "reserved"),
        (format!("<m xmlns:a='{XML}'/>"), "reserved"),
        (format!("<m xmlns:a='{XMLNS}'/>"), "reserved"),
        ("<m xmlns:xml='a:b'/>".to_owned(), "reserved"),
        (format!("<m xmlns:xmlns='{XMLNS}'/>"), "reserved"),
        ("<xml:m/>".to_owned(), "reserved"),
        ("<xmlns:m/>".to_owned(), "reserved"),
        ("<m xmlns:a=''/>".to_owned(), "empty"),
        ("<m a='1' a='2'/>".to_owned(), "twice"),
        ("<m xmlns='a:b' xmlns='a:b'/>".to_owned(), "twice"),
        ("<m xmlns:a='c:d' xmlns:b='c:d' a:e='1' b:e='2'/>".to_owned(), "twice"),
        ("<a:m/>".to_owned(), "missing a namespace"),
    ] {
        match read(HEADER, &refused) {
            Err(ReadError::NotWellFormed(error)) => assert!(error.contains(why), "{refused}: {error}"),
            other => panic!("{refused}: {other:?}"),
        }
    }
    let taken = format!("<m xmlns:xml='{XML}' xml:lang='en'/>");
    assert_eq!(read(HEADER, &taken).expect("that is allowed").attr_ns(XML, "lang"), Some("en"));
}

/// A namespace is declared once and used often.
#[test]
fn little_that_means_much_is_too_big() {
    let long = "x".repeat(8_000);
    for often in ["<a:b/>", "<b a:c=''/>"] {
        let small = |count| format!("<m xmlns:a='{long}'>{}</m>", often.repeat(count));
        assert!(to_bytes(&read(HEADER, &small(10)).expect("that is small")).len() < 256 * 1024);
        assert!(matches!(read(HEADER, &small(100)), Err(ReadError::TooBig)));
    }
}

/// As a tree. What is read as one text is one, however it is written.
#[test]
fn little_that_takes_much_memory_is_too_big() {
    let stanza = |part: &str, count| format!("<m>{}</m>", part.repeat(count));
    for (part, most) in [("<a/>", 1800), ("<a/>b", 900), ("<a b=''/>", 400), ("<a xmlns:b='b'/>", 400)] {
        assert!(read(HEADER, &stanza(part, most)).is_ok(), "{part}");
        assert!(matches!(read(HEADER, &stanza(part, most + 200)), Err(ReadError::TooBig)), "{part}");
    }
    assert!(read(HEADER, &stanza("&lt;b ", 40_000)).is_ok());
}

/// Mostly one of the first, which are right.
fn mostly(right: &'static [&str], wrong: &'static [&str]) -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![60 => prop::sample::select(right), 1 => prop::sample::select(wrong)]
}

/// Anything like a stanza.
fn stanzas() -> impl Strategy<Value = String> {
    let prefix = mostly(&["", "", "", "stream:", "a:", "b:", "tns0:"], &["xml:", "xmlns:", "c:"]);
    let name = mostly(&["message", "x", "xmlns", "lang", "é", "stream", "tns0"], &["-", "", "a:b"]);
    let name = (prefix, name).prop_map(|(prefix, name)| format!("{prefix}{name}"));
    const ODD: [&str; 10] = ["", "b", "\r", "\n\t ", "&#13;&#10;", "\u{fffd}", "🦀", "]]&gt;", "&lt;&quot;", "\""];
    let text = mostly(&ODD, &["&#xFFFE;", "\u{fffe}", "\u{ffff}", "&", "<", "\0", "]]>", "&nbsp;", "'"]);
    let text = prop_oneof![10 => text.prop_map(str::to_owned), 1 => "[^<&']{0,4}"];
    let namespace = mostly(&["jabber:client", STREAM, "a:b", "é&lt;&#10;&apos;", "tns0"], &["", XML, XMLNS]);
    let declared =
        mostly(&["xmlns", "xmlns:a", "xmlns:b", "xmlns:tns0", "xmlns:stream"], &["xmlns:xml", "xmlns:xmlns"]);
    let language = Just(("xml:lang".to_owned(), "en".to_owned()));
    let attribute = prop_oneof![
        8 => (declared, namespace).prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
        8 => (name.clone(), text.clone()),
        1 => language,
    ];
    let attributes = prop::collection::vec(attribute, 0..3).prop_map(|attributes| {
        attributes.into_iter().map(|(name, value)| format!(" {name}='{value}'")).collect::<String>()
    });
    let leaf = (name.clone(), attributes.clone()).prop_map(|(name, attributes)| format!("<{name}{attributes}/>"));
    let content = prop_oneof![leaf, text].prop_recursive(3, 12, 3, {
        let (name, attributes) = (name.clone(), attributes.clone());
        move |inner| element(name.clone(), attributes.clone(), inner)
    });
    element(name, attributes, content)
}

fn element(
    name: impl Strategy<Value = String>,
    attributes: impl Strategy<Value = String>,
    content: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    let content = prop::collection::vec(content, 0..3).prop_map(|nodes| nodes.concat());
    (name, attributes, content)
        .prop_map(|(name, attributes, content)| format!("<{name}{attributes}>{content}</{name}>"))
}

/// Read, written and read again by both readers that there are, and by the client's on the server's stream, it is
/// the same; and few enough are refused for that to mean something.
#[test]
fn what_is_taken_can_be_written_and_read_again() {
    let header = HEADER.replace("to=", "xmlns:a='a:b' xmlns:b='jabber:client' xmlns:tns0='tns1' to=");
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&stanzas(), |stanza| {
        let Ok(element) = read(&header, &stanza) else {
            refused.update(|refused| refused + 1);
            return Ok(());
        };
        taken.update(|taken| taken + 1);
        let written = to_bytes(&element);
        let text = std::str::from_utf8(&written)?;
        prop_assert_eq!(&from_bytes(&written).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?, &element);
        prop_assert_eq!(read(HEADER, text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?, element);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(taken.get() > 1000 && refused.get() > 300, "{taken:?} taken, {refused:?} refused");
}

/// A stamp is written without reading the stanza. It is the one that the crate gives.
#[test]
fn what_is_late_is_stamped_as_the_crate_does_it() {
    for xml in [
        "<message/>",
        "<message id='>'/>",
        "<message type='chat'><body>&lt;/message></body></message>",
        "<message><message/></message>",
        "<presence type='unavailable'/>",
        "<presence><status/></presence>",
        "<message type='error'/>",
        "<message type='headline'><body>news</body></message>",
        "<presence type='error'/>",
        "<iq type='get' id='1'/>",
        "<message><delay xmlns='urn:xmpp:delay' stamp='x'/></message>",
        "<message><x xmlns='a:b'><delay xmlns='urn:xmpp:delay' stamp='x'/></x></message>",
    ] {
        let mut stanza = from_bytes(xml.as_bytes()).expect("XML");
        let mut out = BytesMut::new();
        Written::new(&stanza).write_to(&mut out, "localhost", Some(UNIX_EPOCH));
        delay::stamp(&mut stanza, "localhost", UNIX_EPOCH);
        assert_eq!(from_bytes(&out).expect("XML"), stanza, "{xml}: {out:?}");
    }
}
