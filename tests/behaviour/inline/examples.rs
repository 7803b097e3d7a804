//! The inline examples of [XEP-0198](https://xmpp.org/extensions/xep-0198.html#inline-examples) under their captions, with
//! the namespace that Bind 2 has by now, and those of XEP-0386 and XEP-0388 that have to do with stream management.

use minidom::Element;
use xmpp_sm::Config;

use super::host::inline_features;
use super::stage::{ENABLED, OWNER, Outcome, Stage};

const TRY: &str = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>\
    <bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag><enable xmlns='urn:xmpp:sm:3'/></bind>";
const ITEM_NOT_FOUND: &str = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
const SERVER_ERROR: &str = "<failed xmlns='urn:xmpp:sm:3'>\
    <internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";

/// `<success/>` with this in it, and nothing else.
pub fn assert_success(written: &str, jid: &str, content: &str) {
    let expected = format!(
        "<success xmlns='urn:xmpp:sasl:2'><additional-data>ZGF0YQ==</additional-data>\
         <authorization-identifier>{jid}</authorization-identifier>{content}</success>"
    );
    assert_eq!(written.parse::<Element>().unwrap(), expected.parse::<Element>().unwrap(), "{written}");
}

#[test]
fn server_announces_support_for_inlining_activation_of_stream_management_and_stream_resumption() {
    let with = |xml: &str| xml.parse::<Element>().unwrap();
    let both = "<inline xmlns='urn:xmpp:sasl:2'><sm xmlns='urn:xmpp:sm:3'/>\
                <bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:sm:3'/></inline></bind></inline>";
    assert_eq!(inline_features(Some(&Config::default()), &[]), with(both));

    let no_resumption = "<inline xmlns='urn:xmpp:sasl:2'><bind xmlns='urn:xmpp:bind:0'><inline>\
                         <feature var='urn:xmpp:sm:3'/></inline></bind></inline>";
    for config in [Config::default().resume_timeout(None), Config::default().buffer(false)] {
        assert_eq!(inline_features(Some(&config), &[]), with(no_resumption));
    }
    let off = "<inline xmlns='urn:xmpp:sasl:2'><bind xmlns='urn:xmpp:bind:0'><inline>\
               <feature var='urn:xmpp:csi:0'/></inline></bind></inline>";
    assert_eq!(inline_features(None, &["urn:xmpp:csi:0"]), with(off));
}

#[test]
fn client_tries_to_resume_stream_and_enables_stream_management_inlined_in_its_bind_request() {
    let stage = Stage::new(Config::default());
    let former = stage.lost_session(OWNER, &["<one/>", "<two/>"]);
    let Outcome::Session(at) = stage.authenticate(OWNER, TRY) else { panic!() };
    assert_eq!(at, former, "the session goes on");
    let written = stage.written(at);
    assert_success(
        &written[0],
        "user@example.com/former",
        "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>",
    );
    let rest = ["flush", "<one/>", "<two/>", "<r xmlns='urn:xmpp:sm:3'/>"];
    assert_eq!(written[1..], rest, "no features, and what is resent in order");
}

#[test]
fn client_failed_to_enable_stream_management() {
    let mut stage = Stage::new(Config::default());
    stage.is_full = true;
    let bind = "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";
    let Outcome::Session(at) = stage.authenticate(OWNER, bind) else { panic!() };
    let written = stage.written(at);
    let bound = format!("<bound xmlns='urn:xmpp:bind:0'>{SERVER_ERROR}</bound>");
    assert_success(&written[0], "user@example.com/resource", &bound);
    assert_eq!(written[1..], ["features bind=false sm=true", "flush"], "it may be asked for again");
}

#[test]
fn client_failed_to_resume_stream() {
    let stage = Stage::new(Config::default());
    let no_enable = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/><bind xmlns='urn:xmpp:bind:0'/>";
    let Outcome::Session(at) = stage.authenticate(OWNER, no_enable) else { panic!() };
    let written = stage.written(at);
    let content = format!("<failed xmlns='urn:xmpp:sm:3'>{ITEM_NOT_FOUND}<bound xmlns='urn:xmpp:bind:0'/>");
    assert_success(&written[0], "user@example.com/resource", &content);
    assert_eq!(written[1..], ["features bind=false sm=true"]);
}

#[test]
fn client_failed_to_resume_stream_and_to_enable_management_of_newly_bound_stream() {
    let mut stage = Stage::new(Config::default());
    stage.is_full = true;
    let Outcome::Session(at) = stage.authenticate(OWNER, TRY) else { panic!() };
    let content =
        format!("<failed xmlns='urn:xmpp:sm:3'>{ITEM_NOT_FOUND}<bound xmlns='urn:xmpp:bind:0'>{SERVER_ERROR}</bound>");
    assert_success(&stage.written(at)[0], "user@example.com/AwesomeXMPP", &content);
}

/// The `h` of the examples: where `stale_h` is on, `<failed/>` tells what was handled in the session that is gone.
#[test]
fn failed_has_the_h_of_a_session_that_is_gone() {
    let mut stage = Stage::new(Config::default().stale_h(xmpp_sm::StaleH { enabled: true, ..Default::default() }));
    let former = stage.session(OWNER, &[]);
    for _ in 0..3 {
        stage.handle_stanza(former);
    }
    stage.members.lock().unwrap()[former].session.lost(stage.now);
    stage.wait(601);
    let Outcome::Session(at) = stage.authenticate(OWNER, TRY) else { panic!() };
    assert_ne!(at, former);
    let content = format!(
        "<failed xmlns='urn:xmpp:sm:3' h='3'>{ITEM_NOT_FOUND}\
         <bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3'/></bound>"
    );
    assert_success(&stage.written(at)[0], "user@example.com/AwesomeXMPP", &content);
}

/// XEP-0386: "Client provides a resource bind request, additionally requesting some session features".
#[test]
fn client_provides_a_resource_bind_request_additionally_requesting_some_session_features() {
    let stage = Stage::new(Config::default());
    let bind = "<bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag><enable xmlns='urn:xmpp:carbons:2'/>\
                <enable xmlns='urn:xmpp:sm:3' resume='1'/><inactive xmlns='urn:xmpp:csi:0'/></bind>";
    let Outcome::Session(at) = stage.authenticate(OWNER, bind) else { panic!() };
    stage.members.lock().unwrap()[at].session.send("<early/>", stage.now).unwrap();
    let written = stage.written(at);
    let content = format!("<bound xmlns='urn:xmpp:bind:0'>{ENABLED}</bound>");
    assert_success(&written[0], "user@example.com/AwesomeXMPP", &content);
    let rest = ["features bind=false sm=false", "flush", "<early/>", "<r xmlns='urn:xmpp:sm:3'/>"];
    assert_eq!(written[1..], rest, "the first stanza is counted already");
    assert_eq!(stage.members.lock().unwrap()[at].session.unacked(), 1);
}

/// XEP-0386: "Client provides a resource bind request".
#[test]
fn client_provides_a_resource_bind_request() {
    let stage = Stage::new(Config::default());
    let Outcome::Session(at) = stage.authenticate(OWNER, "<bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag></bind>")
    else {
        panic!()
    };
    let written = stage.written(at);
    assert_success(&written[0], "user@example.com/AwesomeXMPP", "<bound xmlns='urn:xmpp:bind:0'/>");
    assert_eq!(written[1..], ["features bind=false sm=true"]);
}

/// XEP-0388: "PLAIN Authentication": nothing inline.
#[test]
fn client_asks_for_nothing_inline() {
    let stage = Stage::new(Config::default());
    let Outcome::Login(mut stream, conn) = stage.authenticate(OWNER, "") else { panic!() };
    assert_success(&conn.written[0], OWNER, "");
    assert_eq!(conn.written[1..], ["features bind=true sm=true"]);
    let bind = "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    assert!(matches!(super::stage::early(&mut stream, bind, stage.now), xmpp_sm::Early::Stanza));
}

/// As on a stream: without `resume` or `previd` a client could not go on, and features would have it bind once more.
#[test]
fn p23_what_is_inline_is_as_exact_as_on_the_stream() {
    let stage = Stage::new(Config::default());
    let inside = |written: &[String], path: &[&str]| {
        let success: Element = written[0].parse().unwrap();
        let found = path.iter().fold(&success, |element, name| element.children().find(|c| c.name() == *name).unwrap());
        ["id", "resume", "max", "previd", "h"].map(|name| found.attr(name).map(str::to_owned))
    };
    let bind = "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";
    let Outcome::Session(at) = stage.authenticate(OWNER, bind) else { panic!() };
    let [Some(smid), Some(resume), Some(max), None, None] = inside(&stage.written(at), &["bound", "enabled"]) else {
        panic!("<enabled/> is not whole")
    };
    assert_eq!((&*resume, &*max), ("true", "600"));
    stage.members.lock().unwrap()[at].session.lost(stage.now);
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' h='0' previd='{smid}'/>");
    let Outcome::Session(again) = stage.authenticate(OWNER, &resume) else { panic!() };
    let written = stage.written(again);
    assert_eq!((again, inside(&written, &["resumed"])), (at, [None, None, None, Some(smid), Some("0".to_owned())]));
    assert!(!written.iter().any(|written| written.starts_with("features")), "{written:?}");
}
