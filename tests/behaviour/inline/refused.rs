//! What is malformed, what stands in the wrong place, and what belongs to somebody else.

use xmpp_sm::{AuthenticateError, Config, InlineElements, Replay};

use super::examples::assert_success;
use super::stage::{ENABLED, OWNER, Outcome, Stage, authenticate};

const RESUME: &str = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

fn failed(condition: &str) -> String {
    format!("<failed xmlns='urn:xmpp:sm:3'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

fn bind(content: &str) -> String {
    format!("<bind xmlns='urn:xmpp:bind:0'>{content}</bind>")
}

fn bound(content: &str) -> String {
    format!("<bound xmlns='urn:xmpp:bind:0'>{content}</bound>")
}

#[test]
fn whoever_asks_twice_is_not_authenticated() {
    let twice = |children: &str| InlineElements::from_authenticate(&authenticate(children)).unwrap_err();
    assert_eq!(twice(&format!("{RESUME}{RESUME}")), AuthenticateError::Duplicate("resume"));
    assert_eq!(
        twice(&format!("{RESUME}<resume xmlns='urn:xmpp:sm:3'/>")),
        AuthenticateError::Duplicate("resume"),
        "malformed or not"
    );
    assert_eq!(twice(&format!("{}{}", bind(""), bind(ENABLE))), AuthenticateError::Duplicate("bind"));
    assert_eq!(twice(&bind(&format!("{ENABLE}{ENABLE}"))), AuthenticateError::Duplicate("enable"));
    let others = format!("<resume xmlns='urn:xmpp:sm:2'/>{RESUME}<enable xmlns='urn:xmpp:carbons:2'/>{}", bind(""));
    assert!(InlineElements::from_authenticate(&authenticate(&others)).is_ok());
}

#[test]
fn what_is_malformed_fails_alone() {
    for resume in ["<resume xmlns='urn:xmpp:sm:3' h='1.5' previd='x'/>", "<resume xmlns='urn:xmpp:sm:3' h='0'/>"] {
        let stage = Stage::new(Config::default());
        let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{resume}{}", bind(ENABLE))) else { panic!() };
        let content = format!("{}{}", failed("bad-request"), bound(ENABLED));
        assert_success(&stage.written(at)[0], "user@example.com/resource", &content);
    }
    let stage = Stage::new(Config::default());
    let enable = bind("<enable xmlns='urn:xmpp:sm:3' resume='maybe'/>");
    let Outcome::Session(at) = stage.authenticate(OWNER, &enable) else { panic!() };
    let written = stage.written(at);
    assert_success(&written[0], "user@example.com/resource", &bound(&failed("bad-request")));
    assert_eq!(written[1..], ["features bind=false sm=true"]);
}

#[test]
fn enable_beside_bind_is_not_looked_at() {
    let stage = Stage::new(Config::default());
    let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{ENABLE}{}", bind(""))) else { panic!() };
    let written = stage.written(at);
    assert_success(&written[0], "user@example.com/resource", &bound(""));
    assert_eq!(written[1..], ["features bind=false sm=true"], "it may be asked for");
}

#[test]
fn somebody_elses_session_is_not_found_and_the_resource_bound() {
    let stage = Stage::new(Config::default());
    let other = stage.lost_session("romeo@example.com", &["<secret/>"]);
    let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{RESUME}{}", bind(""))) else { panic!() };
    assert_ne!(at, other);
    let content = format!("{}{}", failed("item-not-found"), bound(""));
    assert_success(&stage.written(at)[0], "user@example.com/resource", &content);
    let session = &stage.members.lock().unwrap()[other].session;
    assert_eq!((session.is_detached(), session.unacked()), (true, 1), "as it was");
}

#[test]
fn an_h_that_cannot_be_right_resumes_nothing() {
    let stage = Stage::new(Config::default());
    let former = stage.lost_session(OWNER, &["<one/>"]);
    let too_high = "<resume xmlns='urn:xmpp:sm:3' h='2' previd='some-long-sm-id'/>";
    let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{too_high}{}", bind(""))) else { panic!() };
    assert_ne!(at, former);
    let content = format!("{}{}", failed("bad-request"), bound(""));
    assert_success(&stage.written(at)[0], "user@example.com/resource", &content);
    assert!(stage.members.lock().unwrap()[former].session.is_detached());
}

#[test]
fn the_older_namespace_of_bind_2_is_another_element() {
    let stage = Stage::new(Config::default());
    let older = format!("<bind xmlns='urn:xmpp:bind2:1'><tag>x</tag>{ENABLE}</bind>");
    let Outcome::Login(_, conn) = stage.authenticate(OWNER, &older) else { panic!() };
    assert_success(&conn.written[0], OWNER, "");
    // Beside the one that counts it is no second.
    let both = format!("{older}{}", bind(""));
    assert!(InlineElements::from_authenticate(&authenticate(&both)).is_ok());
}

#[test]
fn the_sasl_of_rfc_6120_has_nothing_inline() {
    let xml = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{RESUME}{RESUME}</auth>");
    assert_eq!(InlineElements::from_authenticate(&xml.parse().unwrap()), Ok(InlineElements::default()));
}

/// A host that gives what does not begin an authentication would find that nothing is ever asked for.
#[test]
fn what_begins_no_authentication_is_an_error() {
    let older = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    let others = [
        format!("<message xmlns='jabber:client'>{}</message>", authenticate_text()),
        format!("<response xmlns='urn:xmpp:sasl:2'>{RESUME}</response>"),
        authenticate_text().replace("sasl:2", "sasl:1"),
        authenticate_text().replace("urn:xmpp:sasl:2", "urn:ietf:params:xml:ns:xmpp-sasl"),
        older.replace("urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2"),
        RESUME.to_owned(),
    ];
    for other in others {
        let read = InlineElements::from_authenticate(&other.parse().unwrap());
        assert_eq!(read, Err(AuthenticateError::NotAuthenticate), "{other}");
    }
    for right in [authenticate_text(), older.to_owned()] {
        assert!(InlineElements::from_authenticate(&right.parse().unwrap()).is_ok(), "{right}");
    }
}

fn authenticate_text() -> String {
    String::from(&authenticate(RESUME))
}

/// What is deeper inside is not the client's request.
#[test]
fn only_children_count() {
    let csi = "<inactive xmlns='urn:xmpp:csi:0'/>";
    assert_eq!(InlineElements::from_authenticate(&authenticate(csi)), Ok(InlineElements::default()));
    let wrapped = format!("<user-agent>{RESUME}{}</user-agent><other xmlns='urn:x'>{RESUME}</other>", bind(""));
    assert_eq!(InlineElements::from_authenticate(&authenticate(&wrapped)), Ok(InlineElements::default()));
}

#[test]
fn where_stream_management_is_off_both_are_refused() {
    let mut stage = Stage::new(Config::default());
    stage.sm = false;
    let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{RESUME}{}", bind(ENABLE))) else { panic!() };
    let off = failed("feature-not-implemented");
    let written = stage.written(at);
    assert_success(&written[0], "user@example.com/resource", &format!("{off}{}", bound(&off)));
    assert_eq!(written[1..], ["features bind=false sm=false"]);
    let Outcome::Login(_, conn) = stage.authenticate(OWNER, RESUME) else { panic!() };
    assert_success(&conn.written[0], OWNER, &off);
    assert_eq!(conn.written[1..], ["features bind=true sm=false"]);
}

#[test]
fn where_nothing_can_be_resumed_stream_management_is_enabled_all_the_same() {
    let stage = Stage::new(Config::default().resume_timeout(None));
    let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{RESUME}{}", bind(ENABLE))) else { panic!() };
    let content = format!("{}{}", failed("feature-not-implemented"), bound("<enabled xmlns='urn:xmpp:sm:3'/>"));
    assert_success(&stage.written(at)[0], "user@example.com/resource", &content);
}

/// What came in early data, and may be sent by anybody who has seen it, does nothing.
#[test]
fn what_may_be_a_replay_neither_resumes_nor_binds() {
    let stage = Stage::new(Config::default());
    let former = stage.lost_session(OWNER, &["<one/>"]);
    let children = format!("{RESUME}{}", bind(ENABLE));
    let Ok(Outcome::Login(_, conn)) = stage.authenticate_as(OWNER, &children, Replay::Possible) else { panic!() };
    assert_success(&conn.written[0], OWNER, &failed("not-allowed"));
    let Ok(Outcome::Login(_, conn)) = stage.authenticate_as(OWNER, &bind(ENABLE), Replay::Possible) else { panic!() };
    assert_success(&conn.written[0], OWNER, "");
    assert!(stage.members.lock().unwrap()[former].session.is_detached());
    // The same once more, where it cannot be one.
    let Ok(Outcome::Session(at)) = stage.authenticate_as(OWNER, &children, Replay::Impossible) else { panic!() };
    assert_eq!(at, former);
}
