//! Every attribute of every element: missing, empty, negative, fractional, hexadecimal, too large, with
//! white space around it.

use xmpp_sm::{Action, Condition, Disconnected, Error, Inbound, Kind, ParseError, StreamMgmt};

use crate::support::at_work::{
    NOW, Stream, action, config, detached, enabled_server, end_of, failed, inbound, refuses,
};
use crate::support::secs;

/// How the values of an attribute are read.
#[derive(Clone, Copy)]
enum Type {
    UnsignedInt,
    PositiveInteger,
    Boolean,
    Text,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    /// The element is taken, as if the value was this; nothing: as if the attribute was not there.
    Taken(Option<&'static str>),
    Missing,
    Invalid,
}

const WRONG: [(&str, [Outcome; 4]); 14] = {
    use Outcome::{Invalid, Taken};
    // as xs:unsignedInt, xs:positiveInteger, xs:boolean, xs:string
    [
        ("", [Invalid, Invalid, Invalid, Invalid]),
        ("   ", [Invalid, Invalid, Invalid, Taken(Some("   "))]),
        ("-1", [Invalid, Invalid, Invalid, Taken(Some("-1"))]),
        ("-0", [Invalid, Invalid, Invalid, Taken(Some("-0"))]),
        ("1.5", [Invalid, Invalid, Invalid, Taken(Some("1.5"))]),
        ("1.0", [Invalid, Invalid, Invalid, Taken(Some("1.0"))]),
        ("0x1", [Invalid, Invalid, Invalid, Taken(Some("0x1"))]),
        ("1e0", [Invalid, Invalid, Invalid, Taken(Some("1e0"))]),
        ("4294967296", [Invalid, Taken(Some("4294967295")), Invalid, Taken(Some("4294967296"))]),
        ("99999999999999999999", [Invalid, Taken(Some("4294967295")), Invalid, Taken(Some("99999999999999999999"))]),
        ("yes", [Invalid, Invalid, Invalid, Taken(Some("yes"))]),
        ("0", [Taken(Some("0")), Invalid, Taken(Some("false")), Taken(Some("0"))]),
        (" 1 ", [Taken(Some("1")), Taken(Some("1")), Taken(Some("true")), Taken(Some(" 1 "))]),
        ("&#10;+001&#9;", [Taken(Some("1")), Taken(Some("1")), Invalid, Taken(Some("\n+001\t"))]),
    ]
};

/// An element, one of its attributes, its other attributes, and whether it must have it.
const ATTRIBUTES: [(Kind, &str, Type, &str, bool); 12] = [
    (Kind::Ack, "h", Type::UnsignedInt, "", true),
    (Kind::Enable, "resume", Type::Boolean, "max='9'", false),
    (Kind::Enable, "max", Type::PositiveInteger, "resume='true'", false),
    (Kind::Enabled, "id", Type::Text, "resume='true'", false),
    (Kind::Enabled, "resume", Type::Boolean, "id='sm-1'", false),
    (Kind::Enabled, "max", Type::PositiveInteger, "id='sm-1' resume='true'", false),
    (Kind::Enabled, "location", Type::Text, "id='sm-1' resume='true'", false),
    (Kind::Resume, "h", Type::UnsignedInt, "previd='sm-1'", true),
    (Kind::Resume, "previd", Type::Text, "h='1'", true),
    (Kind::Resumed, "h", Type::UnsignedInt, "previd='sm-1'", true),
    (Kind::Resumed, "previd", Type::Text, "h='1'", true),
    (Kind::Failed, "h", Type::UnsignedInt, "", false),
];

/// A stream that waits for the element.
fn waiting_for(kind: Kind) -> Stream {
    match kind {
        Kind::Ack | Kind::AckRequest => enabled_server(),
        Kind::Enable | Kind::Resume => {
            let mut stream = Stream::server(config());
            stream.authenticated_without_bind();
            stream
        }
        Kind::Enabled | Kind::Failed => {
            let mut stream = Stream::client(config());
            stream.bound();
            let _ = stream.enable().unwrap();
            stream
        }
        Kind::Resumed => StreamMgmt::resume(config(), detached()).unwrap().0,
    }
}

fn answers_as_documented(error: Error, kind: Kind) {
    match kind {
        Kind::Enable | Kind::Resume => assert_eq!(error.reaction(), failed(Condition::BadRequest)),
        _ => assert_eq!(
            end_of(error),
            "<stream:error><policy-violation/><text {http://www.w3.org/XML/1998/namespace}lang='en'>An element of \
             stream management is malformed.</text></stream:error></stream:stream>"
        ),
    }
}

/// One element with one value, and what the receiver makes of it.
fn check(kind: Kind, attribute: &'static str, others: &str, value: Option<&str>, expected: &Outcome) {
    let name = kind.name();
    let text = match value {
        Some(value) => format!("<{name} {attribute}='{value}' {others}/>"),
        None => format!("<{name} {others}/>"),
    };
    let error = match expected {
        Outcome::Taken(as_if) => {
            let Inbound::Nonza(nonza) = inbound(&text) else { panic!("{text}: {:?}", inbound(&text)) };
            let read = nonza.to_element().attr(attribute).map(str::to_owned);
            // A boolean that is false is written by leaving it out.
            assert_eq!(read.as_deref(), as_if.filter(|value| *value != "false"), "{text}");
            if kind == Kind::Enabled {
                assert!(matches!(action(&mut waiting_for(kind), &text), Action::Enabled(_)), "{text}");
            }
            return;
        }
        Outcome::Missing => ParseError::Missing { element: kind, attribute },
        Outcome::Invalid => ParseError::Invalid { element: kind, attribute },
    };
    assert_eq!(inbound(&text), Inbound::Malformed(error), "{text}");
    let mut stream = waiting_for(kind);
    if kind == Kind::Failed {
        let Action::Failed(failed, _) = action(&mut stream, &text) else { panic!("{text}") };
        assert_eq!(failed.h, None, "{text}");
        return;
    }
    assert_eq!(refuses(&mut stream, &text), Error::Malformed(error), "{text}");
    answers_as_documented(Error::Malformed(error), kind);
}

#[test]
fn every_attribute_of_every_element() {
    for (kind, attribute, type_, others, required) in ATTRIBUTES {
        let missing = if required { Outcome::Missing } else { Outcome::Taken(None) };
        check(kind, attribute, others, None, &missing);
        for (value, outcomes) in &WRONG {
            let outcome = match &outcomes[type_ as usize] {
                // A client takes what it can of the answer to its <enable/>.
                Outcome::Invalid if kind == Kind::Enabled => &Outcome::Taken(None),
                outcome => outcome,
            };
            check(kind, attribute, others, Some(value), outcome);
        }
    }
}

#[test]
fn a_client_takes_what_it_can_of_enabled() {
    for (attributes, resumable, window) in [
        // Prosody 0.12.3, where its hibernation time is given as a fraction.
        ("id='x' resume='true' max='43200.0'", true, None),
        ("id='x' resume='true' max='0'", true, None),
        ("id='x' resume='true' max='-1'", true, None),
        ("id='x' resume='true' max=''", true, None),
        ("id='x' resume='true' max='43200'", true, Some(43_200)),
        ("id='x' resume='true' max='+43200'", true, Some(43_200)),
        ("id='x' resume='true' max='60' location=''", true, Some(60)),
        ("id='x' resume='perhaps' max='60'", false, None),
        ("id='x' resume='' max='60'", false, None),
        ("id='' resume='true' max='60'", false, None),
        ("id=''", false, None),
        ("id='' resume='no' max='1.5' location=''", false, None),
    ] {
        let mut stream = waiting_for(Kind::Enabled);
        let Action::Enabled(enabled) = action(&mut stream, &format!("<enabled {attributes}/>")) else { panic!() };
        assert_eq!(enabled.location, None, "{attributes}");
        // It is on, and counts.
        assert!(stream.is_enabled(), "{attributes}");
        assert_eq!(stream.is_resumable(), resumable, "{attributes}");
        let sent = stream.record_sent("<message/>".into(), *NOW).unwrap();
        assert_eq!(sent.number, Some(1.into()), "{attributes}");
        let Action::Acknowledged(acked) = action(&mut stream, "<a h='1'/>") else { panic!() };
        assert_eq!(acked.count, 1);
        // An unreadable max is no max: the server is asked each time.
        match stream.disconnect(*NOW) {
            Disconnected::Resumable(session) if resumable => {
                assert_eq!(session.deadline(), window.map(|window| *NOW + secs(window)), "{attributes}");
            }
            Disconnected::Ended(_) if !resumable => {}
            other => panic!("{attributes}: {other:?}"),
        }
    }
}

#[test]
fn the_largest_h_is_a_number_and_not_taken_for_something_else() {
    let mut stream = enabled_server();
    let error = refuses(&mut stream, "<a h='4294967295'/>");
    assert!(end_of(error).contains("You acknowledged 4294967295 stanzas"), "{error}");
}

#[test]
fn unknown_attributes_children_and_text_are_ignored() {
    let mut stream = enabled_server();
    let text =
        "<a xmlns='urn:xmpp:sm:3' xmlns:x='urn:x' x:h='9' h='2' H='8' unknown='&lt;'>7<b xmlns='urn:b' h='6'/></a>";
    let Action::Acknowledged(acked) = action(&mut stream, text) else { panic!() };
    assert_eq!((acked.h, acked.count), (2.into(), 1));
    let Action::Write(answer) = action(&mut stream, "<r h='9'>junk<r/></r>") else { panic!() };
    assert_eq!(answer.to_string(), "<a xmlns='urn:xmpp:sm:3' h='1'/>");

    let mut stream = waiting_for(Kind::Enable);
    let Action::Enable(request) = action(&mut stream, "<enable stanzas='5' resume='1' id='mine'/>") else { panic!() };
    assert!(request.is_resumable());
    // A required attribute in another namespace is not there.
    let text = "<a xmlns='urn:xmpp:sm:3' xmlns:x='urn:x' x:h='2'/>";
    assert_eq!(
        refuses(&mut enabled_server(), text),
        Error::Malformed(ParseError::Missing { element: Kind::Ack, attribute: "h" })
    );
}

#[test]
fn a_condition_that_is_unknown_or_wrapped_is_none() {
    const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    for (child, condition) in [
        (format!("<item-not-found xmlns='{STANZAS}'/>"), Some(Condition::ItemNotFound)),
        (format!("<text xmlns='{STANZAS}'>gone</text><gone xmlns='{STANZAS}'/>"), Some(Condition::Gone)),
        (format!("<no-such-condition xmlns='{STANZAS}'/>"), None),
        (format!("<error><item-not-found xmlns='{STANZAS}'/></error>"), None),
        ("<item-not-found/>".to_owned(), None),
        ("<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>".to_owned(), None),
    ] {
        let mut stream = waiting_for(Kind::Failed);
        let text = format!("<failed xmlns='urn:xmpp:sm:3'>{child}</failed>");
        let Action::Failed(failed, _) = action(&mut stream, &text) else { panic!("{text}") };
        assert_eq!(failed.condition, condition, "{text}");
    }
}
