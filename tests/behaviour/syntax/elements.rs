//! What is read from the wire, and what is written to it.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Action, Condition, Config, Counter, EndReason, Failed, Inbound, Kind, NS, Nonza, ParseError, Reaction, Refusal,
    Resume, SmId, StreamMgmt,
};

use crate::support::raw::{ask_to_resume, authenticated, bound, element, enabled};
use crate::support::{Net, Side, quiet};

#[test]
fn p08_resume_is_a_boolean_with_four_spellings_and_nothing_else() {
    for (spelling, resumable) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        let mut net = Net::new(quiet());
        let conn = net.connect("juliet@capulet.lit");
        net.client_writes(conn, &format!("<enable resume='{spelling}'/>"));
        net.run();
        // Whichever: stream management is on, and the stream lives.
        assert_eq!(net.server(conn).is_resumable(), resumable, "{spelling}");
        assert!(net.server(conn).is_enabled());
    }
    for spelling in ["yes", "no", "TRUE", "True", "t", "on", "2", "-1", "01", "", "resume"] {
        let mut net = Net::new(quiet());
        let conn = net.connect("juliet@capulet.lit");
        net.client_writes(conn, &format!("<enable resume='{spelling}'/>"));
        net.client_writes(conn, "<enable/>");
        net.expect(&format!(
            "C: <enable resume='{spelling}'/>
             C: <enable/>
             S: <failed><bad-request/></failed>
             S: <enabled/>"
        ));
    }
}

#[test]
fn p14_a_number_is_an_unsigned_int_and_must_be_there() {
    let wrong = [
        "",
        " ",
        "1.5",
        "1.0",
        "0x1",
        "-1",
        "-0",
        "+",
        "1e0",
        "4294967296",
        "99999999999999999999",
        "one",
        "1 2",
        "١",
        "1;",
        "NaN",
        "\u{a0}1",
    ];
    for h in wrong.map(Some).into_iter().chain([None]) {
        let h = h.map(|h| format!("h='{h}'")).unwrap_or_default();
        // An <a/> ends the stream with an error that says so.
        let mut net = Net::new(quiet());
        let conn = net.login("juliet@capulet.lit");
        net.server_sends(conn, "<message id='m1'/>");
        net.run();
        net.client_writes(conn, &format!("<a {h}/>"));
        net.skip();
        net.ended(&[(conn, EndReason::PeerFault)]);
        net.handed_back(&["PeerFault, 1, at 0 s: <message id='m1'/>"]);
        // A <resume/> is refused, and the client may start afresh on the same stream.
        let mut net = Net::new(quiet());
        let conn = net.open("juliet@capulet.lit");
        net.authenticate(conn);
        net.client_writes(conn, &format!("<resume previd='sm-1' {h}/>"));
        net.expect(&format!("C: <resume previd='sm-1' {h}/>\n S: <failed><bad-request/></failed>"));
        net.bind(conn);
        net.client_writes(conn, "<enable/>");
        net.expect("C: <enable/>\n S: <enabled/>");
    }
}

/// They are a part of the stanza, which is counted as any other.
#[test]
fn elements_inside_of_a_stanza_ask_for_nothing() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    for name in ["r", "a h='7'", "a", "enable", "resume previd='x' h='0'", "failed", "enabled"] {
        let (name, attributes) = name.split_once(' ').unwrap_or((name, ""));
        let inside = format!("<{name} xmlns='{NS}' {attributes}/>");
        let message: minidom::Element = format!("<message xmlns='jabber:client'>{inside}</message>").parse().unwrap();
        let inbound = || Inbound::from_element(&message, "jabber:client");
        for mut stream in [authenticated::<String>(&config), bound(&config)] {
            assert!(matches!(stream.handle(inbound(), now), Ok(Action::Deliver(_))), "{inside}");
        }
        let mut stream = enabled::<String>(&config, now);
        assert!(matches!(stream.handle(inbound(), now), Ok(Action::Deliver(_))), "{inside}");
        assert_eq!(stream.settle_all(), None, "{inside}");
        let Ok(Action::Write(answer)) = stream.handle(element("r"), now) else { panic!("{inside}") };
        assert_eq!(answer, Nonza::Ack(1.into()), "{inside}");
    }
}

/// Every `<failed/>` that the crate can give, and what is in it.
#[test]
fn p22_failed_holds_a_bare_condition() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut given = Vec::new();
    for condition in Condition::ALL {
        let mut stream = bound::<String>(&config);
        let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
        given.push((*condition, stream.refuse_enable(request, *condition).unwrap()));
        let mut stream = authenticated::<String>(&config);
        let request = ask_to_resume(&mut stream, 0, now);
        given.push((*condition, stream.refuse_resume(request, Refusal::Because(*condition)).unwrap()));
    }
    for refusal in [Refusal::NotFound, Refusal::StaleH(Counter::new(7))] {
        let mut stream = authenticated::<String>(&config);
        let request = ask_to_resume(&mut stream, 0, now);
        given.push((Condition::ItemNotFound, stream.refuse_resume(request, refusal).unwrap()));
    }
    let resume = || Inbound::Nonza(Nonza::Resume(Resume { previd: SmId::new("x").unwrap(), h: Counter::ZERO }));
    for (condition, mut stream, inbound) in [
        (Condition::UnexpectedRequest, StreamMgmt::<String>::server(config.clone()), element("enable")),
        (Condition::UnexpectedRequest, bound(&config), resume()),
        (Condition::FeatureNotImplemented, StreamMgmt::disabled(config.clone()), resume()),
        (Condition::BadRequest, bound(&config), element("enable max='0'")),
    ] {
        let error = stream.handle(inbound, now).unwrap_err();
        let Reaction::Write(failed) = error.reaction() else { panic!("{error}") };
        given.push((condition, failed));
    }
    for (condition, failed) in given {
        for element in [failed.to_element(), failed.to_string().parse().unwrap()] {
            assert!(element.is("failed", NS));
            let inside: Vec<_> =
                element.children().map(|child| (child.name(), child.ns(), child.nodes().count())).collect();
            assert_eq!(inside, [(condition.name(), "urn:ietf:params:xml:ns:xmpp-stanzas".to_owned(), 0)]);
        }
    }
}

/// The same dialect, read: an `<error/>` around the condition is nobody's condition, and no error either.
#[test]
fn p22_a_failed_with_a_wrapper_is_still_a_no() {
    let wrapped = "<failed xmlns='urn:xmpp:sm:3'><error xmlns='jabber:client'>\
                   <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></failed>";
    for text in [wrapped, "<failed xmlns='urn:xmpp:sm:3' h='-1'/>", "<failed xmlns='urn:xmpp:sm:3'/>"] {
        let mut net = Net::new(quiet());
        let conn = net.connect("juliet@capulet.lit");
        let enable = net.stream_mut(conn, Side::Client).enable();
        assert!(enable.is_ok());
        net.server_writes(conn, text);
        net.run();
        assert_eq!(net.errors, []);
        // One no is an answer: nothing is waited for any more, and nothing counts.
        net.client_sends(conn, "<message/>");
        assert_eq!(net.client(conn).unacked().count(), 0);
    }
    // Nor is it the condition of another namespace.
    let foreign = "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:x'/></failed>".parse().unwrap();
    assert_eq!(Inbound::from_element(&foreign, "jabber:client"), Inbound::Nonza(Nonza::Failed(Failed::default())));
    let no_number = element("a h=''");
    assert_eq!(no_number, Inbound::Malformed(ParseError::Invalid { element: Kind::Ack, attribute: "h" }));
}
