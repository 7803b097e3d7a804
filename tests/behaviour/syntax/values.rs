//! Malformed elements, and the XSD types of their attributes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use xmpp_sm::{
    Action, Condition, Config, Counter, Enabled, EndReason, Error, Failed, Inbound, Kind, LastWords, Nonza, ParseError,
    Reaction, SmId, StreamError, StreamMgmt,
};

use crate::support::quiet;
use crate::support::raw::{Seen, authenticated, bound, element, enabled, enabling};

/// White space around is none, a `+` and zeros before are none.
const NUMBERS: [(&str, u64); 10] = [
    ("0", 0),
    ("1", 1),
    ("+1", 1),
    ("0001", 1),
    ("+007", 7),
    (" 42 ", 42),
    ("\t\n\r42\n", 42),
    ("4294967295", 4_294_967_295),
    ("+04294967295", 4_294_967_295),
    ("00000000000000000000000000000000000000000001", 1),
];

const NO_NUMBERS: [&str; 19] = [
    "", " ", "+", "-", "-1", "-0", "+-1", "++1", "+ 1", "1 2", "1.0", "1.", ".5", "0x1", "1e3", "1_000", "١",
    "\u{a0}1", "one",
];

/// An element by its name and attributes, by both ways in.
fn parse(name: &str, attributes: &[(&str, &str)]) -> Result<Nonza, ParseError> {
    let mut element = Element::builder(name, xmpp_sm::NS);
    for (name, value) in attributes {
        element = element.attr(minidom::rxml::NcName::try_from(*name).unwrap(), *value);
    }
    let parsed = Nonza::parse(name, attributes.iter().copied(), None);
    assert_eq!(Nonza::from_element(&element.build()), Some(parsed.clone()));
    parsed
}

/// The `h` of an element that carries one.
fn parse_h(kind: Kind, h: &str) -> Result<Counter, ParseError> {
    let with_previd = matches!(kind, Kind::Resume | Kind::Resumed);
    let attributes = [("h", h), ("previd", "x")];
    let attributes = if with_previd { &attributes[..] } else { &attributes[..1] };
    parse(kind.name(), attributes).map(|nonza| match nonza {
        Nonza::Ack(h) => h,
        Nonza::Resume(resume) => resume.h,
        Nonza::Resumed(resumed) => resumed.h,
        Nonza::Failed(Failed { h, .. }) => h.unwrap(),
        other => panic!("{other} has no h"),
    })
}

/// What is made of a malformed attribute: in `<enabled/>` it is as good as none.
fn malformed<T>(element: Kind, attribute: &'static str, absent: T) -> Result<T, ParseError> {
    match element {
        Kind::Enabled => Ok(absent),
        _ => Err(ParseError::Invalid { element, attribute }),
    }
}

#[test]
fn unsigned_int_is_that_of_xsd() {
    for kind in [Kind::Ack, Kind::Resume, Kind::Resumed, Kind::Failed] {
        for (text, value) in NUMBERS {
            assert_eq!(parse_h(kind, text), Ok(Counter::new(value.try_into().unwrap())), "{kind} {text:?}");
        }
        let too_large = ["4294967296", "18446744073709551616", "99999999999999999999999999"];
        for text in NO_NUMBERS.into_iter().chain(too_large) {
            let invalid = ParseError::Invalid { element: kind, attribute: "h" };
            assert_eq!(parse_h(kind, text), Err(invalid), "{kind} {text:?}");
        }
    }
}

#[test]
fn positive_integer_is_that_of_xsd_and_has_no_upper_end() {
    let max = |kind: Kind, text: &str| {
        parse(kind.name(), &[("max", text)]).map(|nonza| match nonza {
            Nonza::Enable(enable) => enable.max,
            Nonza::Enabled(enabled) => enabled.max,
            other => panic!("{other} has no max"),
        })
    };
    for kind in [Kind::Enable, Kind::Enabled] {
        for (text, value) in NUMBERS.into_iter().filter(|(_, value)| *value > 0) {
            assert_eq!(max(kind, text), Ok(NonZeroU32::new(value.try_into().unwrap())), "{kind} {text:?}");
        }
        for huge in ["4294967296", "99999999999999999999999999999999"] {
            assert_eq!(max(kind, huge), Ok(Some(NonZeroU32::MAX)), "{kind} {huge:?}");
        }
        for text in NO_NUMBERS.into_iter().chain(["0", "+0", "000"]) {
            assert_eq!(max(kind, text), malformed(kind, "max", None), "{kind} {text:?}");
        }
    }
}

#[test]
fn boolean_is_that_of_xsd() {
    let resume = |kind: Kind, text: &str| {
        parse(kind.name(), &[("resume", text)]).map(|nonza| match nonza {
            Nonza::Enable(enable) => enable.resume,
            Nonza::Enabled(enabled) => enabled.resume,
            other => panic!("{other} has no resume"),
        })
    };
    for kind in [Kind::Enable, Kind::Enabled] {
        for (text, value) in [("true", true), ("1", true), ("false", false), ("0", false)] {
            for text in [text.to_owned(), format!(" {text}"), format!("{text}\n\t")] {
                assert_eq!(resume(kind, &text), Ok(value), "{kind} {text:?}");
            }
        }
        for text in ["", " ", "yes", "no", "True", "TRUE", "FALSE", "on", "t", "01", "2", "-1", "true false"] {
            assert_eq!(resume(kind, text), malformed(kind, "resume", false), "{kind} {text:?}");
        }
    }
}

#[test]
fn an_sm_id_is_any_text_of_1_to_4000_bytes() {
    for kind in [Kind::Resume, Kind::Resumed] {
        let previd = |text: &str| parse(kind.name(), &[("h", "0"), ("previd", text)]);
        let odd = ["x", " ", "a'b\"c<d>&e", "\t\n", "ö😀", "+/=="];
        let long = ["x".repeat(4000), "é".repeat(2000)];
        for text in odd.into_iter().map(str::to_owned).chain(long) {
            let Ok(Nonza::Resume(xmpp_sm::Resume { previd, .. }) | Nonza::Resumed(xmpp_sm::Resumed { previd, .. })) =
                previd(&text)
            else {
                panic!("{text:?} is an SM-ID")
            };
            // As it was, for it is the other side's: white space is no padding here.
            assert_eq!(previd.as_str(), text);
        }
        for text in [String::new(), "x".repeat(4001), "é".repeat(2001)] {
            assert_eq!(previd(&text), Err(ParseError::Invalid { element: kind, attribute: "previd" }));
        }
        assert_eq!(parse(kind.name(), &[("h", "0")]), Err(ParseError::Missing { element: kind, attribute: "previd" }));
    }
    assert_eq!(SmId::MAX_BYTES, 4000);
}

#[test]
fn an_a_without_an_unsigned_int_ends_the_stream_with_policy_violation() {
    let now = Instant::now();
    for text in ["a", "a h=''", "a h='-1'", "a h='4294967296'", "a h='1.5'", "a h='0x1'", "a H='1'"] {
        let mut stream = enabled::<String>(&Arc::new(Config::default()), now);
        let before = Seen::from(&stream);
        let error = stream.handle(element(text), now).unwrap_err();
        let last = LastWords { write: None, error: Some(StreamError::PolicyViolation), reason: EndReason::PeerFault };
        assert!(matches!(error, Error::Malformed(_)), "{text}");
        assert_eq!(error.reaction(), Reaction::Close(last), "{text}");
        assert_eq!(Seen::from(&stream), before, "{text}");
    }
}

#[test]
fn a_malformed_request_is_a_bad_request_and_the_stream_lives() {
    let now = Instant::now();
    let bad = Nonza::Failed(Failed { h: None, condition: Some(Condition::BadRequest) });
    let config = Arc::new(quiet());
    let enables = ["enable resume='yes'", "enable resume=''", "enable max='0'", "enable max='-1'", "enable max='ten'"];
    let resumes =
        ["resume", "resume previd='x'", "resume h='0'", "resume previd='' h='0'", "resume previd='x' h='1.5'"];
    for (mut stream, text) in (enables.into_iter().map(|text| (bound::<String>(&config), text)))
        .chain(resumes.into_iter().map(|text| (authenticated(&config), text)))
    {
        let error = stream.handle(element(text), now).unwrap_err();
        assert_eq!(error.reaction(), Reaction::Write(bad.clone()), "{text}");
        // As if nothing had been asked.
        assert!(stream.has_feature() && !stream.is_enabled());
        stream.bound();
        assert!(matches!(stream.handle(element("enable resume='true'"), now), Ok(Action::Enable(_))));
    }
}

#[test]
fn malformed_and_out_of_place_is_out_of_place() {
    let now = Instant::now();
    let config = Arc::new(quiet());
    // Where the element could not come at all, what is wrong with it does not matter.
    let mut stream = bound::<String>(&config);
    assert_eq!(stream.handle(element("a h='x'"), now).unwrap_err(), Error::NotEnabled(Kind::Ack));
    assert_eq!(stream.handle(element("resume"), now).unwrap_err(), Error::Unexpected(Kind::Resume));
    assert_eq!(stream.handle(element("enabled max='0'"), now).unwrap_err(), Error::WrongRole(Kind::Enabled));
    let mut stream = enabled::<String>(&config, now);
    assert_eq!(stream.handle(element("enable max='0'"), now).unwrap_err(), Error::AlreadyEnabled);
    let mut client = StreamMgmt::<String>::client(config.clone());
    assert_eq!(client.handle(element("failed h='x'"), now).unwrap_err(), Error::NotRequested(Kind::Failed));
    // A server that says yes in words that cannot be read has still said yes.
    let mut client = enabling::<String>(&config);
    let Ok(Action::Enabled(enabled)) = client.handle(element("enabled resume='perhaps' max='43200.0'"), now) else {
        panic!("it is enabled")
    };
    assert_eq!(*enabled, Enabled::default());
    assert!(client.is_enabled() && !client.is_resumable());
}

#[test]
fn what_the_namespace_does_not_have_is_reported_and_changes_nothing() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(quiet()), now);
    let before = Seen::from(&stream);
    for name in ["sm", "ack", "A", "handled-count-too-high", "message"] {
        assert_eq!(element(name), Inbound::Malformed(ParseError::UnknownElement));
        let error = stream.handle(element(name), now).unwrap_err();
        assert_eq!((error, error.reaction()), (Error::Malformed(ParseError::UnknownElement), Reaction::Nothing));
    }
    assert_eq!(Seen::from(&stream), before);
    // Attributes that it does not have are as good as none.
    assert_eq!(element("a h='0' x='1' previd=''"), Inbound::Nonza(Nonza::Ack(Counter::ZERO)));
    assert_eq!(element("r h='junk'"), Inbound::Nonza(Nonza::AckRequest));
}
