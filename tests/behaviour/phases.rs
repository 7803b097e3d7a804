//! Every element in every phase of both roles.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Action, Condition, Enabled, Error, Fault, Inbound, Kind, NotRecordedWhy, ParseError, Reaction, StreamMgmt,
};

use crate::support::at_work::{
    NOW, Stream, action, config, detached, enabled_client, enabled_server, end_of, failed, inbound, refuses,
};
use crate::support::raw::{authenticated, bound, element, enabling};
use crate::support::{quiet, state_of};

/// The page of the documentation that says what may come when.
const PAGE: &str = include_str!("../../src/phases.rs");

type Table = Vec<Vec<&'static str>>;

type Make = fn(&str) -> Stream;

/// One of its tables. `yes`: the element is taken; the other words are errors, see [`word`].
fn table(heading: &str) -> Table {
    let (_, page) = PAGE.split_once(&format!("//! # {heading}\n")).expect("the page has the heading");
    let lines = page.lines().skip_while(|line| !line.starts_with("//! |"));
    let rows = lines.map_while(|line| line.strip_prefix("//! | ")).filter(|line| !line.starts_with("---"));
    rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect()
}

fn tables() -> [(Table, Make); 2] {
    [(table("Server"), server), (table("Client"), client)]
}

fn server(phase: &str) -> Stream {
    let mut stream = match phase {
        "disabled" => Stream::disabled(config()),
        "enabled" => return enabled_server(),
        "no-resumption" => Stream::server(Arc::new(quiet().resume_timeout(None))),
        "no-buffer" => Stream::server(Arc::new(quiet().buffer(false))),
        _ => Stream::server(config()),
    };
    match phase {
        "authenticated" | "resume-pending" | "no-resumption" | "no-buffer" => stream.authenticated(),
        "without-bind" => stream.authenticated_without_bind(),
        "bound" | "enable-pending" => stream.bound(),
        _ => {}
    }
    match phase {
        "enable-pending" => drop(action(&mut stream, "<enable resume='true'/>")),
        "resume-pending" => drop(action(&mut stream, "<resume previd='sm-1' h='1'/>")),
        _ => {}
    }
    stream
}

fn client(phase: &str) -> Stream {
    let mut stream = match phase {
        "resuming" => return StreamMgmt::resume(config(), detached()).unwrap().0,
        "enabled" => return enabled_client(),
        _ => Stream::client(config()),
    };
    match phase {
        "authenticated" => stream.authenticated(),
        "bound" | "enabling" | "refused" => stream.bound(),
        _ => {}
    }
    if matches!(phase, "enabling" | "refused") {
        let _ = stream.enable().unwrap();
        let _ = stream.record_sent("<message id='m1'/>".into(), *NOW).unwrap();
    }
    if phase == "refused" {
        drop(action(&mut stream, "<failed/>"));
    }
    stream
}

/// A well-made element of each name, and one that is not.
fn elements(name: &str) -> (&'static str, Option<&'static str>) {
    match name {
        "enable" => ("<enable/>", Some("<enable resume='yes'/>")),
        "resume" => ("<resume previd='sm-1' h='1'/>", Some("<resume previd='sm-1'/>")),
        "a" => ("<a h='2'/>", Some("<a/>")),
        "r" => ("<r/>", None),
        "enabled" => ("<enabled/>", Some("<enabled id='' resume='yes' max='0' location=''/>")),
        "resumed" => ("<resumed previd='sm-1' h='1'/>", Some("<resumed previd='sm-1' h='x'/>")),
        "failed" => ("<failed/>", Some("<failed h='x'/>")),
        "message" => ("<message/>", None),
        "other" => ("<active xmlns='urn:xmpp:csi:0'/>", None),
        _ => panic!("no such column: {name}"),
    }
}

fn kind(name: &str) -> Kind {
    let kinds = [Kind::Enable, Kind::Resume, Kind::Ack, Kind::AckRequest, Kind::Enabled, Kind::Resumed, Kind::Failed];
    kinds.into_iter().find(|kind| kind.name() == name).unwrap()
}

fn word(word: &str, name: &str) -> (Error, Reaction) {
    let (error, reaction) = match word {
        "off" => (Error::Unsupported(kind(name)), failed(Condition::FeatureNotImplemented)),
        "unexpected" => (Error::Unexpected(kind(name)), failed(Condition::UnexpectedRequest)),
        "idle" => (Error::NotEnabled(kind(name)), Reaction::Nothing),
        "role" => (Error::WrongRole(kind(name)), Reaction::Nothing),
        "unasked" => (Error::NotRequested(kind(name)), Reaction::Nothing),
        "wait" => (Error::RequestPending, Reaction::Later),
        "again" => (Error::AlreadyEnabled, Error::AlreadyEnabled.reaction()),
        _ => panic!("no such word: {word}"),
    };
    assert_eq!(error.fault(), if word == "wait" { Fault::Host } else { Fault::Peer });
    (error, reaction)
}

/// Calls `check` for each cell with the phase, the column and the word.
fn each_cell(rows: &[Vec<&str>], mut check: impl FnMut(&str, &str, &str)) {
    let (head, rows) = rows.split_first().unwrap();
    for row in rows {
        assert_eq!(row.len(), head.len(), "{row:?}");
        for (name, word) in head.iter().zip(row).skip(1) {
            check(row[0], name, word);
        }
    }
}

fn each_phase(mut check: impl FnMut(Stream, &str)) {
    for (table, make) in tables() {
        for row in &table[1..] {
            check(make(row[0]), row[0]);
        }
    }
}

#[test]
fn the_right_element_in_the_wrong_phase_or_from_the_wrong_side() {
    let mut cells = 0;
    for (table, make) in tables() {
        each_cell(&table, |phase, name, expected| {
            cells += 1;
            let (text, malformed) = elements(name);
            let mut stream = make(phase);
            if expected == "yes" {
                assert!(stream.handle(inbound(text), *NOW).is_ok(), "{phase}: {text}");
                return;
            }
            let (error, reaction) = word(expected, name);
            // That it may not come at all is said before what is wrong in it.
            for text in [Some(text), malformed].into_iter().flatten() {
                assert_eq!(refuses(&mut stream, text), error, "{phase}: {text}");
                assert_eq!(error.reaction(), reaction);
            }
        });
    }
    assert_eq!(cells, 9 * 17);
}

#[test]
fn a_malformed_element_in_the_right_phase() {
    for (table, make) in tables() {
        each_cell(&table, |phase, name, expected| {
            let (_, Some(malformed)) = elements(name) else { return };
            let mut stream = make(phase);
            if expected != "yes" {
                return;
            }
            if name == "failed" {
                // However it is written, the answer is no.
                let Action::Failed(failed, _) = action(&mut stream, malformed) else { panic!() };
                assert_eq!((failed.h, failed.condition), (None, None));
                return;
            }
            if name == "enabled" {
                // However it is written, the answer is yes.
                let Action::Enabled(enabled) = action(&mut stream, malformed) else { panic!() };
                assert_eq!(*enabled, Enabled::default());
                return;
            }
            let error = refuses(&mut stream, malformed);
            assert!(matches!(error, Error::Malformed(_)), "{phase}: {malformed}: {error}");
            match name {
                "enable" | "resume" => assert_eq!(error.reaction(), failed(Condition::BadRequest)),
                _ => assert!(end_of(error).starts_with("<stream:error><policy-violation/>"), "{phase}: {malformed}"),
            }
        });
    }
}

#[test]
fn only_a_stream_that_is_enabled_counts() {
    each_phase(|mut stream, phase| {
        let (h, sent) = (stream.h(), stream.sent());
        let enabled = stream.is_enabled();
        match stream.handle(Inbound::Stanza { bytes: 1 }, *NOW) {
            Ok(Action::Deliver(receipt)) => {
                assert_eq!(receipt.number().is_some(), enabled, "{phase}");
                stream.record_handled(receipt).unwrap();
            }
            Ok(action) => panic!("{phase}: {action:?}"),
            Err(error) => assert_eq!(error, Error::RequestPending, "{phase}"),
        }
        assert_eq!(stream.h().since(h), u32::from(enabled), "{phase}");
        // What a client sends after <enable/> is counted at once; after <resume/> it has to wait.
        let counted = enabled || phase == "enabling";
        assert_eq!(stream.is_recording(), counted || phase == "resuming", "{phase}");
        match stream.record_sent("<message/>".into(), *NOW) {
            Ok(recorded) => assert_eq!((recorded.number.is_some(), phase == "resuming"), (counted, false), "{phase}"),
            Err(refused) => {
                assert_eq!((refused.reaction(), phase), (Reaction::Nothing, "resuming"));
                assert_eq!((refused.why, &*refused.stanza), (NotRecordedWhy::AwaitingServer, "<message/>"));
            }
        }
        assert_eq!(stream.sent().since(sent), u32::from(counted), "{phase}");
    });
}

#[test]
fn an_unknown_element_of_the_namespace() {
    each_phase(|mut stream, phase| {
        for text in
            ["<sm/>", "<t xmlns='urn:xmpp:sm:3'/>", "<R xmlns='urn:xmpp:sm:3'/>", "<message xmlns='urn:xmpp:sm:3'/>"]
        {
            let error = refuses(&mut stream, text);
            let pending = phase.ends_with("pending");
            let expected = if pending { Error::RequestPending } else { Error::Malformed(ParseError::UnknownElement) };
            assert_eq!(error, expected, "{phase}: {text}");
            assert_eq!(error.reaction(), if pending { Reaction::Later } else { Reaction::Nothing });
        }
    });
}

#[test]
fn an_element_of_another_namespace() {
    each_phase(|mut stream, phase| {
        if phase.ends_with("pending") {
            return;
        }
        let before = state_of(&stream);
        for ns in ["urn:xmpp:sm:2", "urn:xmpp:sm:3#", "URN:XMPP:SM:3", "jabber:client", "urn:xmpp:sm:3/"] {
            for name in ["enable", "resume", "a", "r", "enabled", "resumed", "failed"] {
                let text = format!("<{name} xmlns='{ns}' h='7' previd='sm-1' resume='true'/>");
                assert!(matches!(action(&mut stream, &text), Action::Other), "{phase}: {text}");
            }
        }
        for text in ["<message xmlns='jabber:server'/>", "<presence xmlns='urn:x'/>", "<Message/>", "<messages/>"] {
            assert!(matches!(action(&mut stream, text), Action::Other), "{phase}: {text}");
        }
        assert_eq!(state_of(&stream), before, "{phase}");
    });
}

#[test]
fn r_and_a_while_off_are_reported_and_not_answered() {
    let now = Instant::now();
    let config = Arc::new(quiet());
    let mut refused = bound::<String>(&config);
    let Ok(Action::Enable(request)) = refused.handle(element("enable"), now) else { panic!() };
    let _ = refused.refuse_enable(request, Condition::PolicyViolation).unwrap();
    let streams = [
        StreamMgmt::server(config.clone()),
        StreamMgmt::disabled(config.clone()),
        StreamMgmt::client(config.clone()),
        authenticated(&config),
        bound(&config),
        refused,
        enabling(&config),
    ];
    for mut stream in streams {
        for (text, kind) in [("r", Kind::AckRequest), ("a h='0'", Kind::Ack), ("a h='17'", Kind::Ack)] {
            let error = stream.handle(element(text), now).unwrap_err();
            assert_eq!(
                (error, error.fault(), error.reaction()),
                (Error::NotEnabled(kind), Fault::Peer, Reaction::Nothing)
            );
        }
        // The stream lives: stanzas go both ways.
        assert!(matches!(stream.handle(Inbound::Stanza { bytes: 1 }, now), Ok(Action::Deliver(_))));
        assert!(stream.record_sent("<message/>".into(), now).is_ok());
    }
}
