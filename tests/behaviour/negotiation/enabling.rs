//! Who may ask for stream management, when, and how often.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, CannotEnable, Config, EndReason, Kind, Reaction, StreamMgmt};

use crate::support::raw::{authenticated, bound, client, feed, grant};
use crate::support::{JULIET, Net, quiet};

#[test]
fn enable_before_bind_is_unexpected_and_the_stream_lives() {
    let mut net = Net::new(quiet());
    let conn = net.open(JULIET);
    net.client_writes(conn, "<enable resume='true'/>");
    net.expect(
        "C: <enable resume='true'/>
         S: <failed><unexpected-request/></failed>",
    );
    net.authenticate(conn);
    net.client_writes(conn, "<enable resume='true'/>");
    net.expect(
        "C: <enable resume='true'/>
         S: <failed><unexpected-request/></failed>",
    );
    net.bind(conn);
    net.enable(conn);
    net.expect(
        "C: <enable max='600' resume='true'/>
         S: <enabled id='sm-1' max='600' resume='true'/>",
    );
}

#[test]
fn what_is_switched_off_is_not_implemented() {
    let mut net = Net::switched_off();
    let conn = net.open(JULIET);
    for _ in 0..2 {
        for request in ["<enable/>", "<enable resume='true'/>", "<resume h='0' previd='x'/>"] {
            net.client_writes(conn, request);
            net.expect(&format!("C: {request}\n S: <failed><feature-not-implemented/></failed>"));
        }
        net.authenticate(conn);
        net.bind(conn);
    }
    assert!(!net.server(conn).is_enabled());
}

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
fn a_client_does_not_ask_before_a_resource_is_bound() {
    let mut client = StreamMgmt::<&'static str>::client(Arc::new(quiet()));
    assert_eq!(client.enable(), Err(CannotEnable::NotBound));
    client.authenticated();
    assert_eq!(client.enable(), Err(CannotEnable::NotBound));
    client.bound();
    assert!(client.enable().is_ok());

    let mut component = StreamMgmt::<&'static str>::client(Arc::new(quiet()));
    assert_eq!(component.enable(), Err(CannotEnable::NotBound));
    component.authenticated_without_bind();
    assert!(component.enable().is_ok());

    assert_eq!(bound::<&str>(&Arc::new(quiet())).enable(), Err(CannotEnable::Server));
}

#[test]
fn a_client_asks_once_for_each_stream() {
    let mut client = client::<&str>(&Arc::new(quiet()));
    let _ = client.enable().unwrap();
    assert_eq!(client.enable(), Err(CannotEnable::SentBefore));
    assert!(matches!(feed(&mut client, "<failed/>", Instant::now()), Ok(Action::Failed(..))));
    assert_eq!(client.enable(), Err(CannotEnable::SentBefore));
}

#[test]
fn every_error_about_a_request_is_answered_with_failed() {
    let requests = ["<enable/>", "<enable max='0'/>", "<enable resume='yes'/>"];
    let resumes =
        ["<resume previd='x' h='0'/>", "<resume previd='x'/>", "<resume h='0'/>", "<resume previd='' h='1'/>"];
    let enabled = |config| {
        let mut stream = bound::<&str>(&Arc::new(config));
        grant(&mut stream, "<enable/>", None);
        stream
    };
    let streams: [fn(Config) -> StreamMgmt<&'static str>; 5] = [
        |config| StreamMgmt::<&'static str>::server(Arc::new(config)),
        |config| authenticated(&Arc::new(config)),
        |config| bound(&Arc::new(config)),
        enabled,
        |config| StreamMgmt::<&'static str>::disabled(Arc::new(config)),
    ];
    let mut errors = 0;
    for stream in streams {
        for xml in requests.iter().chain(&resumes) {
            let Err(error) = feed(&mut stream(quiet()), xml, Instant::now()) else { continue };
            let reply = match error.reaction() {
                Reaction::Write(nonza) => Some(nonza),
                Reaction::Close(last) => last.write,
                _ => None,
            };
            let reply = reply.unwrap_or_else(|| panic!("{xml}: {error} is not answered"));
            assert_eq!(reply.kind(), Kind::Failed, "{xml}: {error}");
            assert!(reply.to_string().contains("urn:ietf:params:xml:ns:xmpp-stanzas"), "{reply}");
            errors += 1;
        }
    }
    // All but <enable/> on the bound stream and <resume/> on the authenticated one.
    assert_eq!(errors, 5 * 7 - 2);
}
