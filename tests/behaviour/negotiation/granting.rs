//! What is granted: resumption, for how long, under which SM-ID, and where to come back to.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Action, Condition, Disconnected, Enable, EndReason, Error, Failed, Inbound, InvalidText, Kind, Location, Nonza,
    Reaction, SmId, StreamMgmt,
};

use crate::support::raw::{authenticated, bound, client, element, enabling, grant, smid};
use crate::support::{JULIET, Net, Side, quiet, secs};

#[test]
fn p10_what_is_not_resumable_has_no_id_and_ends_with_its_stream() {
    for (config, enable, kept) in [
        (quiet(), "<enable/>", 1),
        (quiet(), "<enable resume='false'/>", 1),
        (quiet(), "<enable resume='0' max='60'/>", 1),
        (quiet().resume_timeout(None), "<enable resume='true'/>", 1),
        (quiet().buffer(false), "<enable resume='true'/>", 0),
    ] {
        let mut net = Net::new(config);
        let conn = net.connect(JULIET);
        net.client_writes(conn, enable);
        net.expect(&format!("C: {enable}\n S: <enabled/>"));
        assert!(net.server(conn).is_enabled() && net.server(conn).smid().is_none());
        net.server_sends(conn, "<message id='m1'/>");
        net.cut(conn);
        net.ended(&[(conn, EndReason::NotResumable)]);
        net.handed_back(&["NotResumable, 1, at 0 s: <message id='m1'/>"][..kept]);
        assert!(net.is_gone(conn, Side::Server) && net.store.is_empty());
    }
}

#[test]
fn max_is_the_smaller_of_both_sides() {
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
    let mut client = client::<&str>(&Arc::new(quiet().resume_timeout(Some(secs(42)))));
    assert_eq!(client.enable().unwrap().to_string(), "<enable xmlns='urn:xmpp:sm:3' resume='true' max='42'/>");
}

#[test]
fn what_a_server_does_not_grant_in_full_is_not_resumable() {
    let now = Instant::now();
    for not_resumable in ["enabled", "enabled id='x'", "enabled resume='true'", "enabled id='x' resume='false'"] {
        let mut client = enabling::<String>(&Arc::new(quiet()));
        let _ = client.handle(element(not_resumable), now).unwrap();
        assert!(client.is_enabled() && !client.is_resumable(), "{not_resumable}");
    }
}

#[test]
fn location_goes_from_the_options_of_the_server_to_the_host_of_the_client() {
    let place = "[2001:41D0:1:A49b::1]:9222";
    let mut server = bound::<&str>(&Arc::new(quiet().location(Some(Location::new(place).unwrap()))));
    let enabled = grant(&mut server, "<enable resume='true'/>", Some("x"));
    let mut client = client::<&str>(&Arc::new(quiet()));
    let _ = client.enable().unwrap();
    let inbound = Inbound::from_element(&enabled.parse().unwrap(), "jabber:client");
    let Ok(Action::Enabled(enabled)) = client.handle(inbound, Instant::now()) else { panic!() };
    assert_eq!(enabled.location.as_ref().map(Location::as_str), Some(place));
}

#[test]
fn a_client_asks_for_resumption_unless_that_is_switched_off() {
    let asks = |config| client::<&str>(&Arc::new(config)).enable().unwrap().to_string();
    assert_eq!(asks(quiet()), "<enable xmlns='urn:xmpp:sm:3' resume='true' max='600'/>");
    assert_eq!(asks(quiet().resume_timeout(None)), "<enable xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(asks(quiet().buffer(false)), "<enable xmlns='urn:xmpp:sm:3'/>");
}

#[test]
fn without_an_sm_id_nothing_is_resumable() {
    let mut stream = bound::<&str>(&Arc::new(quiet()));
    assert_eq!(grant(&mut stream, "<enable resume='true'/>", None), "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(stream.is_enabled() && !stream.is_resumable());
    assert!(matches!(stream.disconnect(Instant::now()), Disconnected::Ended(_)));
}

#[test]
fn sm_ids_do_not_come_twice() {
    let mut seen = std::collections::HashSet::new();
    assert!((0..10_000).all(|_| seen.insert(SmId::random().unwrap())));
}

#[test]
fn resume_timeout_is_600_s_and_advertised() {
    let millis = Duration::from_millis;
    for (config, resume_timeout, max) in [
        (quiet(), secs(600), 600),
        (quiet().resume_timeout(Some(secs(5))), secs(5), 5),
        // No more is promised than is kept.
        (quiet().resume_timeout(Some(millis(5900))), millis(5900), 5),
    ] {
        // The host is told before it decides.
        let mut stream = bound::<&str>(&Arc::new(config.clone()));
        let Ok(Action::Enable(request)) = stream.handle(element("enable resume='1'"), Instant::now()) else { panic!() };
        assert_eq!((request.is_resumable(), request.resume_timeout()), (true, Some(resume_timeout)));

        let mut net = Net::new(config);
        let conn = net.connect(JULIET);
        net.client_writes(conn, "<enable resume='1'/>");
        net.expect(&format!(
            "C: <enable resume='1'/>
             S: <enabled id='sm-1' max='{max}' resume='true'/>"
        ));
        // It is counted from the loss of the stream.
        net.advance(secs(1000));
        net.cut(conn);
        assert_eq!(net.detached(conn, Side::Server).deadline(), Some(net.now() + resume_timeout));
        net.advance(resume_timeout - millis(1));
        net.ended(&[]);
        net.advance(millis(1));
        net.ended(&[(conn, EndReason::Expired)]);
    }
}

#[test]
fn resume_timeout_max_is_what_a_client_may_ask_for() {
    for (longest, asked, granted) in [
        // The same, if it is not said.
        (None, "", 600),
        (None, "max='601'", 600),
        (Some(secs(1000)), "", 600),
        (Some(secs(1000)), "max='1'", 1),
        (Some(secs(1000)), "max='601'", 601),
        (Some(secs(1000)), "max='1000'", 1000),
        (Some(secs(1000)), "max='1001'", 1000),
        (Some(secs(1000)), "max='99999999999999999999'", 1000),
        // What a client gets without asking, it gets if it asks.
        (Some(secs(60)), "", 600),
        (Some(secs(60)), "max='601'", 600),
    ] {
        let mut net = Net::new(quiet().resume_timeout_max(longest));
        let conn = net.connect(JULIET);
        net.client_writes(conn, &format!("<enable resume='1' {asked}/>"));
        net.expect(&format!(
            "C: <enable resume='1' {asked}/>
             S: <enabled id='sm-1' max='{granted}' resume='true'/>"
        ));
        net.cut(conn);
        assert_eq!(net.detached(conn, Side::Server).deadline(), Some(net.now() + secs(granted)));
        // The granted time is the session's: it is not cut down to what others get.
        net.skip();
        let conn = net.silent_resume(JULIET, "sm-1", 0);
        net.run();
        net.cut(conn);
        assert_eq!(net.detached(conn, Side::Server).deadline(), Some(net.now() + secs(granted)));
    }
    // Without the one there is not the other, and a client asks for what it gets without.
    let off = || quiet().resume_timeout(None).resume_timeout_max(Some(secs(1000)));
    let mut stream = bound::<&str>(&Arc::new(off()));
    let Ok(Action::Enable(request)) = stream.handle(element("enable resume='1'"), Instant::now()) else { panic!() };
    assert!(!request.is_resumable());
    for (config, enable) in [(off(), ""), (quiet().resume_timeout_max(Some(secs(1000))), " resume='true' max='600'")] {
        let mut client = StreamMgmt::<&str>::client(Arc::new(config));
        client.bound();
        assert_eq!(client.enable().unwrap().to_string(), format!("<enable xmlns='urn:xmpp:sm:3'{enable}/>"));
    }
}

#[test]
fn resume_timeout_too_short_to_be_said_is_none() {
    let mut net = Net::new(quiet().resume_timeout(Some(Duration::from_millis(500))));
    let conn = net.connect(JULIET);
    net.client_writes(conn, "<enable resume='true'/>");
    net.expect(
        "C: <enable resume='true'/>
         S: <enabled/>",
    );
    let mut client = StreamMgmt::<&str>::client(Arc::new(quiet().resume_timeout(Some(Duration::from_millis(999)))));
    client.authenticated();
    client.bound();
    assert_eq!(client.enable().unwrap().to_string(), "<enable xmlns='urn:xmpp:sm:3'/>");
}

#[test]
fn resume_timeout_none_lets_sessions_end_with_their_streams() {
    let config = Arc::new(quiet().resume_timeout(None));
    let now = Instant::now();
    let mut stream = bound::<&str>(&config);
    let Ok(Action::Enable(request)) = stream.handle(element("enable resume='true' max='60'"), now) else { panic!() };
    // The host sees what was asked for, and that it cannot be had.
    assert_eq!(request.enable(), Enable { resume: true, max: NonZeroU32::new(60) });
    assert_eq!((request.is_resumable(), request.resume_timeout()), (false, None));
    let enabled = stream.accept_enable(request, Some(smid())).unwrap();
    assert_eq!(enabled.to_string(), "<enabled xmlns='urn:xmpp:sm:3'/>");
    let _ = stream.record_sent("m1", now).unwrap();
    let Disconnected::Ended(ended) = stream.disconnect(now) else { panic!("it is not resumable") };
    assert_eq!((ended.reason, ended.smid, ended.unacked.count()), (EndReason::NotResumable, None, 1));
    // And no other session is.
    let error = authenticated::<&str>(&config).handle(element("resume previd='x' h='0'"), now).unwrap_err();
    assert_eq!(error, Error::Unsupported(Kind::Resume));
    assert_eq!(error.reaction(), Reaction::Write(failed(Condition::FeatureNotImplemented)));
}

fn failed(condition: Condition) -> Nonza {
    Nonza::Failed(Failed { h: None, condition: Some(condition) })
}

#[test]
fn location_is_told_where_it_is_set_and_there_is_something_to_resume() {
    for place in [None, Some("[2001:41D0:1:A49b::1]:9222"), Some("xmpp.capulet.lit"), Some("192.0.2.1:5222")] {
        let config = || place.map_or(quiet(), |place| quiet().location(Some(Location::new(place).unwrap())));
        let location = place.map(|place| format!("location='{place}'")).unwrap_or_default();
        let mut net = Net::new(config());
        let conn = net.connect(JULIET);
        net.enable(conn);
        net.expect(&format!(
            "C: <enable max='600' resume='true'/>
             S: <enabled id='sm-1' {location} max='600' resume='true'/>"
        ));
        let mut net = Net::new(config());
        let conn = net.connect(JULIET);
        net.client_writes(conn, "<enable/>");
        net.expect(
            "C: <enable/>
             S: <enabled/>",
        );
    }
    assert_eq!(Location::new(""), Err(InvalidText::Empty));
    assert_eq!(Location::new("a\u{1}"), Err(InvalidText::NotXml));
    assert_eq!(Location::new(&"x".repeat(SmId::MAX_BYTES + 1)), Err(InvalidText::TooLong));
}

#[test]
fn a_time_of_more_seconds_than_32_bits_hold_is_told_as_what_they_hold() {
    let now = Instant::now();
    for (seconds, max) in [(u64::from(u32::MAX) - 1, u32::MAX - 1), (1 << 32, u32::MAX), (1 << 40, u32::MAX)] {
        let config = Arc::new(quiet().resume_timeout(Some(secs(seconds))));
        let mut stream = bound::<String>(&config);
        let Ok(Action::Enable(request)) = stream.handle(element("enable resume='true'"), now) else { panic!() };
        let told = stream.accept_enable(request, Some(smid())).unwrap().to_string();
        assert_eq!(told, format!("<enabled xmlns='urn:xmpp:sm:3' id='sm' resume='true' max='{max}'/>"));
        let mut client = StreamMgmt::<String>::client(config);
        client.bound();
        let asked = client.enable().unwrap().to_string();
        assert_eq!(asked, format!("<enable xmlns='urn:xmpp:sm:3' resume='true' max='{max}'/>"));
    }
}

#[test]
fn buffer_off_asks_for_no_resumption() {
    let mut net = Net::with(quiet(), quiet().buffer(false));
    let conn = net.connect(JULIET);
    net.enable(conn);
    net.expect(
        "C: <enable/>
         S: <enabled/>",
    );
    net.client_sends(conn, "<message/>");
    net.cut(conn);
    net.handed_back_to_client(&[]);
    // A server that gives what was not asked for does not make it resumable.
    let now = Instant::now();
    let mut client = enabling::<&str>(&Arc::new(quiet().buffer(false)));
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    assert!(!client.is_resumable());
}
