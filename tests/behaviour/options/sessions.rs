//! `resume_timeout`, `resume_timeout_max`, `stale_h`, `location`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Action, Condition, Config, Counter, Disconnected, Enable, EndReason, Error, InvalidText, Kind, Location, Lookup,
    MemoryStore, Nonza, OnFull, Reaction, SessionStore, SmId, StaleH, StreamMgmt,
};

use super::JULIET;
use crate::support::raw::{ack, authenticated, bound, element, enabled, smid};
use crate::support::{Net, Side, quiet, secs};

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

#[test]
fn times_that_no_clock_can_tell_never_come() {
    let (now, unlimited, one) = (Instant::now(), Duration::MAX, NonZeroU32::MIN);
    let config = Config::default().resume_timeout(Some(unlimited)).ack_timeout(Some(unlimited));
    let config = config.ack_idle(Some(unlimited)).request_timeout(unlimited);
    let mut stream = enabled(&Arc::new(config.buffer_max(one).on_full(OnFull::EndAfter(unlimited))), now);
    for stanza in ["m1", "m2"] {
        assert!(stream.record_sent(stanza, now).unwrap().write.is_some());
    }
    assert_eq!(stream.poll_timeout(), None);
    ack(&mut stream, 1, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
    let mut pending = bound::<&str>(&Arc::new(Config::default().request_timeout(unlimited)));
    let Ok(Action::Enable(_request)) = pending.handle(element("enable"), now) else { panic!() };
    assert_eq!((pending.poll_timeout(), pending.handle_timeout(now + secs(1 << 32))), (None, Ok(None)));
    let Disconnected::Resumable(session) = stream.disconnect(now) else { panic!("it is resumable") };
    assert_eq!(session.deadline(), None);
}

fn failed(condition: Condition) -> Nonza {
    Nonza::Failed(xmpp_sm::Failed { h: None, condition: Some(condition) })
}

/// What a store says about a session of `h` 7 that was retired so long ago.
fn stale_after(stale_h: StaleH, after: Duration) -> Lookup<u64> {
    let now = Instant::now();
    let store = MemoryStore::new(&Config::default().stale_h(stale_h));
    let epoch = store.register(&smid(), JULIET, 1, Instant::now()).unwrap().epoch;
    store.retire(&smid(), JULIET, epoch, Counter::new(7), now).unwrap();
    store.lookup(&smid(), JULIET, now + after).unwrap()
}

#[test]
fn stale_h_is_not_remembered() {
    let default = MemoryStore::<u64>::new(&Config::default());
    let epoch = default.register(&smid(), JULIET, 1, Instant::now()).unwrap().epoch;
    default.retire(&smid(), JULIET, epoch, Counter::new(7), Instant::now()).unwrap();
    assert_eq!(default.lookup(&smid(), JULIET, Instant::now()), Ok(Lookup::NotFound));
    assert_eq!((StaleH::default().enabled, default.stale_len()), (false, 0));
}

#[test]
fn stale_h_enabled_remembers_it_for_3600_s() {
    let on = StaleH { enabled: true, ..StaleH::default() };
    assert_eq!(stale_after(on, secs(3600)), Lookup::StaleH(Counter::new(7)));
    assert_eq!(stale_after(on, secs(3601)), Lookup::NotFound);
}

#[test]
fn stale_h_geriatric_is_how_old_it_may_be() {
    let on = StaleH { enabled: true, geriatric: secs(10), ..StaleH::default() };
    assert_eq!(stale_after(on, secs(10)), Lookup::StaleH(Counter::new(7)));
    assert_eq!(stale_after(on, secs(11)), Lookup::NotFound);
}

#[test]
fn stale_h_repeat_after_is_1800_s_another_or_never() {
    let now = Instant::now();
    let on = StaleH { enabled: true, ..StaleH::default() };
    for (stale_h, repeat_after) in [
        (on, Some(secs(1800))),
        (StaleH { repeat_after: Some(secs(5)), ..on }, Some(secs(5))),
        (StaleH { repeat_after: None, ..on }, None),
    ] {
        let store = MemoryStore::new(&Config::default().stale_h(stale_h));
        let epoch = store.register(&smid(), JULIET, 1, Instant::now()).unwrap().epoch;
        store.retire(&smid(), JULIET, epoch, Counter::ZERO, now).unwrap();
        assert_eq!(store.next_sweep(), repeat_after.map(|after| now + after));
        let _ = store.sweep(now + secs(6));
        assert_eq!(store.next_sweep(), repeat_after.map(|after| now + secs(6) + after));
    }
}

#[test]
fn location_is_nowhere_in_particular() {
    let mut net = Net::new(quiet());
    let conn = net.connect(JULIET);
    net.enable(conn);
    net.expect(
        "C: <enable max='600' resume='true'/>
         S: <enabled id='sm-1' max='600' resume='true'/>",
    );
}

#[test]
fn location_is_told_where_there_is_something_to_resume() {
    for place in ["[2001:41D0:1:A49b::1]:9222", "xmpp.capulet.lit", "192.0.2.1:5222"] {
        let config = || quiet().location(Some(Location::new(place).unwrap()));
        let mut net = Net::new(config());
        let conn = net.connect(JULIET);
        net.enable(conn);
        net.expect(&format!(
            "C: <enable max='600' resume='true'/>
             S: <enabled id='sm-1' location='{place}' max='600' resume='true'/>"
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
