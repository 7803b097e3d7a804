//! Asking twice, and being offered what cannot be had.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Condition, Config, EndReason, Refusal, StreamMgmt};

use crate::support::raw::{ask_to_resume, authenticated, bound, element, enabled, session_at};
use crate::support::{Net, quiet};

#[test]
fn p16_a_second_enable_is_answered_and_ends_the_stream() {
    for again in ["<enable resume='true'/>", "<enable/>"] {
        let mut net = Net::new(quiet());
        let conn = net.login("juliet@capulet.lit");
        net.server_sends(conn, "<message id='m1'/>");
        net.skip();
        net.client_writes(conn, again);
        net.expect(&format!(
            "C: {again}
             S: <failed><unexpected-request/></failed></stream:stream>
             C: <a h='1'/></stream:stream>"
        ));
        // Stream management was not switched off under what had been sent.
        net.ended(&[(conn, EndReason::PeerFault)]);
        net.handed_back(&["PeerFault, 1, at 0 s: <message id='m1'/>"]);
    }
}

#[test]
fn p16_a_resumed_session_is_enabled_already() {
    let mut net = Net::new(quiet());
    let conn = net.login("juliet@capulet.lit");
    net.cut(conn);
    let conn = net.resume(conn);
    net.skip();
    net.client_writes(conn, "<enable/>");
    net.expect(
        "C2: <enable/>
         S2: <failed><unexpected-request/></failed></stream:stream>
         C2: <a h='0'/></stream:stream>",
    );
}

#[test]
fn p21_features_follow_the_state() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));

    let mut stream = StreamMgmt::<String>::server(config.clone());
    assert!(!stream.has_feature(), "who has not authenticated can have nothing");
    stream.authenticated();
    assert!(stream.has_feature(), "a session can be resumed");
    let request = ask_to_resume(&mut stream, 0, now);
    assert!(!stream.has_feature(), "it is asked for already");
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    assert!(stream.has_feature());
    stream.bound();
    assert!(stream.has_feature(), "it can be enabled");
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
    assert!(!stream.has_feature(), "it is asked for already");
    let _ = stream.refuse_enable(request, Condition::ResourceConstraint).unwrap();
    assert!(stream.has_feature(), "it can be asked for again");

    assert!(!enabled::<String>(&config, now).has_feature(), "it is on");

    let mut stream = authenticated::<String>(&config);
    let request = ask_to_resume(&mut stream, 0, now);
    let _ = stream.accept_resume(request, session_at(&config, 0, 0, now + super::MINUTE), now).unwrap();
    assert!(!stream.has_feature(), "it is on again");
    // Nor does anything that the host may do later bring it back.
    stream.authenticated();
    stream.bound();
    assert!(!stream.has_feature() && stream.is_enabled());
}

#[test]
fn p21_features_follow_the_state_without_a_bind() {
    let now = Instant::now();
    let mut stream = StreamMgmt::<String>::server(Arc::new(Config::default()));
    stream.authenticated_without_bind();
    assert!(stream.has_feature());
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!("there is no bind") };
    let _ = stream.refuse_enable(request, Condition::ResourceConstraint).unwrap();
    assert!(stream.has_feature(), "it can be asked for again, and so can a former session");
    let request = ask_to_resume(&mut stream, 0, now);
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!("there is no bind") };
    let _ = stream.accept_enable(request, None).unwrap();
    assert!(!stream.has_feature());
}

#[test]
fn p21_nothing_is_offered_where_nothing_can_be_had() {
    let config = Arc::new(Config::default());
    for mut stream in [StreamMgmt::<String>::disabled(config.clone()), StreamMgmt::client(config.clone())] {
        for go_on in [StreamMgmt::authenticated, StreamMgmt::bound, StreamMgmt::authenticated_without_bind] {
            assert!(!stream.has_feature());
            go_on(&mut stream);
        }
        assert!(!stream.has_feature());
    }
    // Where nothing is resumable it can still be enabled.
    let no_buffer = Arc::new(Config::default().buffer(false));
    assert!(authenticated::<String>(&no_buffer).has_feature() && bound::<String>(&no_buffer).has_feature());
}
