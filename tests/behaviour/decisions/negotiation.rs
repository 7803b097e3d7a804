//! What may be asked for when, and what is granted.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Action, CannotEnable, Condition, Config, EndReason, Error, Fault, Foreign, Inbound, Kind, Reaction, Refusal,
    StreamMgmt,
};

use super::JULIET;
use crate::support::raw::{Seen, ask_to_resume, authenticated, bound, element, enabled, enabling, resumed_at};
use crate::support::{Net, Side, quiet, secs};

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
fn resume_after_bind_or_enable_is_unexpected_and_the_stream_lives() {
    let mut net = Net::new(quiet());
    let gone = net.login(JULIET);
    net.cut(gone);
    net.skip();
    let conn = net.connect(JULIET);
    for _ in 0..2 {
        net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
        net.expect(
            "C2: <resume h='0' previd='sm-1'/>
             S2: <failed><unexpected-request/></failed>",
        );
        if !net.server(conn).is_enabled() {
            net.enable(conn);
            net.skip();
        }
    }
    net.requests(conn, Side::Client);
    net.expect(
        "C2: <r/>
         S2: <a h='0'/>",
    );
    // The session that was asked for still waits.
    net.resume(gone);
    net.expect(
        "C3: <resume h='0' previd='sm-1'/>
         S3: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn a_refused_resume_leaves_the_stream_where_it_was() {
    let mut net = Net::new(quiet());
    let gone = net.login(JULIET);
    net.cut(gone);
    net.skip();
    let conn = net.open(JULIET);
    net.authenticate(conn);
    // It is not bound yet, and may try again.
    net.client_writes(conn, "<resume previd='another' h='0'/>");
    net.client_writes(conn, "<enable/>");
    net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
    net.expect(
        "C2: <resume h='0' previd='another'/>
         C2: <enable/>
         C2: <resume h='0' previd='sm-1'/>
         S2: <failed><item-not-found/></failed>
         S2: <failed><unexpected-request/></failed>
         S2: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn resume_before_authentication_is_unexpected() {
    let mut stream = StreamMgmt::<String>::server(Arc::new(quiet()));
    let error = stream.handle(element("resume previd='x' h='0'"), Instant::now()).unwrap_err();
    assert_eq!(error, Error::Unexpected(Kind::Resume));
}

#[test]
fn a_second_enable_is_unexpected_and_the_stream_is_closed() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.client_writes(conn, "<enable resume='true'/>");
    net.deliver_from(conn, Side::Client, 1);
    net.written(
        "C: <enable resume='true'/>
         S: <failed><unexpected-request/></failed></stream:stream>",
    );
    net.ended(&[(conn, EndReason::PeerFault)]);
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

#[test]
fn what_is_not_resumable_has_no_id_and_ends_with_its_stream() {
    for (config, enable) in [
        (quiet(), "<enable/>"),
        (quiet(), "<enable resume='0' max='60'/>"),
        (quiet().resume_timeout(None), "<enable resume='true'/>"),
        (quiet().buffer(false), "<enable resume='true'/>"),
    ] {
        let mut net = Net::new(config);
        let conn = net.connect(JULIET);
        net.client_writes(conn, enable);
        net.expect(&format!("C: {enable}\n S: <enabled/>"));
        assert!(net.server(conn).is_enabled() && net.server(conn).smid().is_none());
        net.cut(conn);
        net.ended(&[(conn, EndReason::NotResumable)]);
        assert!(net.store.is_empty());
    }
}

#[test]
fn without_an_sm_id_of_the_hosts_nothing_is_resumable() {
    let mut stream = bound::<String>(&Arc::new(quiet()));
    let Ok(Action::Enable(request)) = stream.handle(element("enable resume='true'"), Instant::now()) else { panic!() };
    assert!(request.is_resumable());
    let enabled = stream.accept_enable(request, None).unwrap();
    assert_eq!(enabled.to_string(), "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(stream.is_enabled() && !stream.is_resumable());
}

#[test]
fn the_smaller_of_both_times_is_kept_and_advertised() {
    for (ours, asked, kept) in [
        (600, "", 600),
        (600, "max='60'", 60),
        (600, "max='600'", 600),
        (600, "max='601'", 600),
        (600, "max='99999999999999999999'", 600),
        (30, "max='60'", 30),
        (30, "max='1'", 1),
    ] {
        let mut net = Net::new(quiet().resume_timeout(Some(secs(ours))));
        let conn = net.connect(JULIET);
        let _ = net.stream_mut(conn, Side::Client).enable().unwrap();
        net.client_writes(conn, &format!("<enable resume='true' {asked}/>"));
        net.expect(&format!(
            "C: <enable resume='true' {asked}/>
             S: <enabled id='sm-1' max='{kept}' resume='true'/>"
        ));
        net.advance(secs(5));
        net.cut(conn);
        assert_eq!(net.detached(conn, Side::Server).deadline(), Some(net.now() + secs(kept)));
        // And again after each resumption.
        let conn = net.resume(conn);
        net.run();
        net.cut(conn);
        net.advance(secs(kept - 1));
        net.ended(&[]);
        net.advance(secs(1));
        net.ended(&[(conn, EndReason::Expired)]);
    }
}

#[test]
fn a_client_waits_as_long_as_the_server_says() {
    let now = Instant::now();
    for (enabled, deadline) in [
        ("enabled id='x' resume='true' max='60'", Some(now + secs(60))),
        // It did not say: the server is asked each time.
        ("enabled id='x' resume='1'", None),
    ] {
        let mut client = enabling::<String>(&Arc::new(quiet()));
        let _ = client.handle(element(enabled), now).unwrap();
        assert_eq!(crate::support::raw::detach(client, now).deadline(), deadline);
    }
    for not_resumable in ["enabled", "enabled id='x'", "enabled resume='true'", "enabled id='x' resume='false'"] {
        let mut client = enabling::<String>(&Arc::new(quiet()));
        let _ = client.handle(element(not_resumable), now).unwrap();
        assert!(client.is_enabled() && !client.is_resumable(), "{not_resumable}");
    }
}

#[test]
fn the_feature_is_shown_while_a_request_could_succeed() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    assert!(!StreamMgmt::<String>::server(config.clone()).has_feature());
    let mut stream = authenticated::<String>(&config);
    assert!(stream.has_feature());
    let request = ask_to_resume(&mut stream, 0, now);
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    assert!(stream.has_feature());
    assert!(bound::<String>(&config).has_feature());
    for on in [enabled::<String>(&config, now), resumed_at(&config, 0, 0, now)] {
        assert!(!on.has_feature());
    }
    assert!(!StreamMgmt::<String>::disabled(config.clone()).has_feature());
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
fn only_the_initiating_side_asks_and_it_asks_once() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut client = StreamMgmt::<String>::client(config.clone());
    assert_eq!(client.enable(), Err(CannotEnable::NotBound));
    client.authenticated();
    assert_eq!(client.enable(), Err(CannotEnable::NotBound));
    client.bound();
    let _ = client.enable().unwrap();
    assert_eq!(client.enable(), Err(CannotEnable::SentBefore));
    let _ = client.handle(element("failed"), now).unwrap();
    assert_eq!(client.enable(), Err(CannotEnable::SentBefore));
    assert_eq!(bound::<String>(&config).enable(), Err(CannotEnable::Server));
    for (text, kind) in [("enable", Kind::Enable), ("resume previd='x' h='0'", Kind::Resume)] {
        assert_eq!(enabling::<String>(&config).handle(element(text), now).unwrap_err(), Error::WrongRole(kind));
    }
    for (text, kind) in [("enabled", Kind::Enabled), ("failed", Kind::Failed)] {
        assert_eq!(bound::<String>(&config).handle(element(text), now).unwrap_err(), Error::WrongRole(kind));
    }
}

#[test]
fn a_request_is_answered_before_anything_else_and_on_its_own_stream() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = bound::<String>(&config);
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
    for inbound in [Inbound::Stanza { bytes: 1 }, Inbound::Other, element("r"), element("enable"), element("a")] {
        let error = stream.handle(inbound, now).unwrap_err();
        assert_eq!((error, error.fault(), error.reaction()), (Error::RequestPending, Fault::Host, Reaction::Later));
    }
    // Another stream of the same host gives it back.
    let mut other = bound::<String>(&config);
    let before = Seen::from(&other);
    let Err(Foreign(request)) = other.accept_enable(request, None) else { panic!("it is not its own") };
    let Err(Foreign(request)) = other.refuse_enable(request, Condition::Gone) else { panic!("it is not its own") };
    assert_eq!((Seen::from(&other), other.is_enabled()), (before, false));
    let _ = stream.accept_enable(request, None).unwrap();
    // What was not taken can be fed again, and counts.
    assert_eq!(crate::support::raw::deliver(&mut stream, now).number().map(|n| n.get()), Some(1));
}
