//! A session changes hands, or fails to.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Action, Condition, Config, Counter, Detached, Disconnected, EndReason, Failed, Nonza, NotResumed, NotResumedWhy,
    Refusal, SessionStore, SmId, StreamMgmt,
};

use crate::support::raw::{Seen, ack, authenticated, deliver, detach, element, enabled, resuming};
use crate::support::{Net, Side, quiet, secs};

/// A session in the middle of its life: three handled, five sent at different times, two acknowledged.
pub fn session(config: &Arc<Config>, now: Instant) -> Detached<String> {
    detach(stream(config, now), now + secs(10))
}

pub fn stream(config: &Arc<Config>, now: Instant) -> StreamMgmt<String> {
    let mut stream = enabled(config, now);
    for _ in 0..3 {
        let receipt = deliver(&mut stream, now);
        stream.record_handled(receipt).unwrap();
    }
    for n in 1..=5 {
        let _ = stream.record_sent(format!("m{n}"), now + secs(n)).unwrap();
    }
    ack(&mut stream, 2, now + secs(6)).unwrap();
    stream
}

#[test]
fn p04_to_know_an_sm_id_is_not_enough() {
    // What a stranger is told about a session that is live, detached, expired and remembered, or unknown.
    let told = |prepare: fn(&mut Net) -> Option<u32>| {
        let mut net = Net::new(quiet().stale_h(super::STALE_H));
        let expected = prepare(&mut net);
        net.skip();
        let conn = net.open("romeo@montague.lit");
        net.authenticate(conn);
        net.client_writes(conn, "<resume previd='guessed' h='0'/>");
        net.expect(
            "C2: <resume h='0' previd='guessed'/>
             S2: <failed><item-not-found/></failed>",
        );
        // And the owner still has it.
        if let Some(h) = expected {
            let conn = net.open("juliet@capulet.lit");
            net.authenticate(conn);
            net.client_writes(conn, &format!("<resume previd='guessed' h='{h}'/>"));
            net.skip();
            assert_eq!(net.server(conn).smid(), Some(&SmId::new("guessed").unwrap()));
        }
    };
    told(|net| {
        net.login("nurse@capulet.lit");
        None
    });
    told(|net| {
        net.name_session("guessed");
        net.login("juliet@capulet.lit");
        Some(0)
    });
    told(|net| {
        net.name_session("guessed");
        let conn = net.login("juliet@capulet.lit");
        net.cut(conn);
        Some(0)
    });
    told(|net| {
        net.name_session("guessed");
        let conn = net.login("juliet@capulet.lit");
        net.client_sends(conn, "<message/>");
        net.run();
        net.cut(conn);
        net.advance(secs(601));
        None
    });
}

#[test]
fn p05_a_failed_take_over_hands_the_session_back() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let later = now + secs(20);

    // The peer's h cannot be: too high, and backwards. The request is answered.
    for h in [6, 1, 0, u32::MAX] {
        let session = session(&config, now);
        let before = Seen::from(&session);
        let (mut stream, request) = resuming(&config, h, later);
        let NotResumed { session, why } = stream.accept_resume(request, session, later).unwrap_err();
        let NotResumedWhy::Refused { write, refusal: Refusal::WrongH(_) } = why else { panic!("{h}: {why}") };
        assert_eq!(write, failed_with(Condition::BadRequest));
        assert_eq!(Seen::from(&session), before, "{h}");
        goes_on(session, &config, later);
    }

    // The session's time is over, whatever the h.
    for h in [2, 6] {
        let session = session(&config, now);
        let before = Seen::from(&session);
        let (mut stream, request) = resuming(&config, h, now + secs(610));
        let NotResumed { session, why } = stream.accept_resume(request, session, now + secs(610)).unwrap_err();
        let NotResumedWhy::Refused { write, refusal: Refusal::Expired(None) } = why else { panic!("{h}: {why}") };
        assert_eq!((write, Seen::from(&session)), (failed_with(Condition::ItemNotFound), before));
    }

    // The host has still to settle a stanza. The request is not answered.
    let mut stream = stream(&config, now);
    let receipt = deliver(&mut stream, now);
    let session = detach(stream, now + secs(10));
    let before = Seen::from(&session);
    let (mut stream, request) = resuming(&config, 2, later);
    let NotResumed { mut session, why } = stream.accept_resume(request, session, later).unwrap_err();
    let NotResumedWhy::ReceiptsOpen(request) = why else { panic!("a receipt is open: {why}") };
    assert_eq!(Seen::from(&session), before);
    session.record_handled(receipt).unwrap();
    let _ = stream.accept_resume(request, session, later).unwrap();
    assert_eq!(stream.unacked().count(), 3);

    // The host mixed up streams.
    let session = self::session(&config, now);
    let before = Seen::from(&session);
    let (_, request) = resuming::<String>(&config, 2, later);
    let (mut other, own_request) = resuming(&config, 2, later);
    let NotResumed { session, why } = other.accept_resume(request, session, later).unwrap_err();
    let NotResumedWhy::Foreign(_) = why else { panic!("it is another stream's: {why}") };
    assert_eq!(Seen::from(&session), before);
    let _ = other.accept_resume(own_request, session, later).unwrap();
    assert_eq!(other.unacked().count(), 3);

    // The host mixed up sessions.
    let session = self::session(&config, now);
    let before = Seen::from(&session);
    let mut stream = authenticated::<String>(&config);
    let Ok(Action::Resume(request)) = stream.handle(element("resume previd='another' h='2'"), later) else { panic!() };
    let NotResumed { session, why } = stream.accept_resume(request, session, later).unwrap_err();
    let NotResumedWhy::Foreign(request) = why else { panic!("it is another session: {why}") };
    assert_eq!(Seen::from(&session), before);
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    goes_on(session, &config, later);
}

/// The session can be resumed, and has lost nothing.
fn goes_on(session: Detached<String>, config: &Arc<Config>, now: Instant) {
    let (mut stream, request) = resuming(config, 2, now);
    let _ = stream.accept_resume(request, session, now).unwrap();
    let again: Vec<_> = stream.unacked().map(|queued| queued.stanza.clone()).collect();
    assert_eq!(again, ["m3", "m4", "m5"]);
}

fn failed_with(condition: Condition) -> Nonza {
    Nonza::Failed(Failed { h: None, condition: Some(condition) })
}

#[test]
fn p05_a_connection_lost_in_the_middle_of_a_take_over_loses_nothing() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let later = now + secs(20);

    // Before the host answers: the new stream takes nothing with it.
    let session = session(&config, now);
    let before = Seen::from(&session);
    let (stream, request) = resuming::<String>(&config, 2, later);
    let Disconnected::Ended(ended) = stream.disconnect(later) else { panic!("it had no session yet") };
    assert_eq!((ended.reason, ended.unacked.count()), (EndReason::NotResumable, 0));
    drop(request);
    assert_eq!(Seen::from(&session), before);

    // After the host has answered, and before the client has read it: only the deadline is new.
    let (mut stream, request) = resuming(&config, 3, later);
    let _ = stream.accept_resume(request, session, later).unwrap();
    let session = detach(stream, later);
    let mut expected = Seen { due: Some(later + secs(600)), acked: Counter::new(3), ..before };
    expected.unacked.remove(0);
    assert_eq!(Seen::from(&session), expected);

    // A client that never reads the answer has the session that it had, with its old deadline.
    let before = Seen::from(&session);
    let (stream, _) = StreamMgmt::resume(config.clone(), session).unwrap();
    assert_eq!(Seen::from(&detach(stream, later + secs(100))), before);
}

#[test]
fn p06_a_resume_with_a_wrong_h_changes_nothing() {
    for h in ["3", "4294967295", "2147483648"] {
        let mut net = Net::new(quiet().stale_h(super::STALE_H));
        let conn = net.login("juliet@capulet.lit");
        for stanza in ["<message id='m1'/>", "<message id='m2'/>"] {
            net.server_sends(conn, stanza);
        }
        net.advance(secs(50));
        net.cut(conn);
        net.skip();
        let before = Seen::from(net.detached(conn, Side::Server));
        net.advance(secs(500));
        let conn = net.open("juliet@capulet.lit");
        net.authenticate(conn);
        net.client_writes(conn, &format!("<resume previd='sm-1' h='{h}'/>"));
        net.expect(&format!(
            "C2: <resume h='{h}' previd='sm-1'/>
             S2: <failed><bad-request/></failed>"
        ));
        assert_eq!(Seen::from(net.detached(1, Side::Server)), before);
        // It ends when it would have ended: not sooner, and not never.
        net.advance(secs(99));
        assert_eq!(Seen::from(net.detached(1, Side::Server)), before);
        net.advance(secs(1));
        net.ended(&[(1, EndReason::Expired)]);
        net.handed_back(&["Expired, 1, at 0 s: <message id='m1'/>", "Expired, 2, at 0 s: <message id='m2'/>"]);
    }
}

#[test]
fn p06_a_resume_with_a_wrong_h_leaves_a_live_stream_alone() {
    let mut net = Net::new(quiet());
    let live = net.login("juliet@capulet.lit");
    net.server_sends(live, "<message id='m1'/>");
    net.skip();
    let before = Seen::from(net.server(live));
    let conn = net.open("juliet@capulet.lit");
    net.authenticate(conn);
    net.client_writes(conn, "<resume previd='sm-1' h='2'/>");
    net.expect(
        "C2: <resume h='2' previd='sm-1'/>
         S2: <failed><bad-request/></failed>",
    );
    assert_eq!(Seen::from(net.server(live)), before);
    net.acks(live, Side::Client);
    net.expect("C: <a h='1'/>");
    assert_eq!(net.server(live).unacked().count(), 0);
}

#[test]
fn p10_a_session_that_nobody_asked_to_be_resumable_ends_with_its_stream() {
    for enable in ["<enable/>", "<enable resume='false'/>", "<enable resume='0' max='100'/>"] {
        let mut net = Net::new(quiet());
        let conn = net.connect("juliet@capulet.lit");
        net.client_writes(conn, enable);
        net.run();
        net.server_sends(conn, "<message id='m1'/>");
        net.cut(conn);
        net.ended(&[(conn, EndReason::NotResumable)]);
        net.handed_back(&["NotResumable, 1, at 0 s: <message id='m1'/>"]);
        assert!(net.is_gone(conn, Side::Server) && net.store.is_empty());
    }
}

#[test]
fn p17_a_process_that_dies_late_does_not_take_the_session_of_its_successor() {
    let mut net = Net::new(quiet().stale_h(super::STALE_H));
    let conn = net.login("juliet@capulet.lit");
    let old = net.peer(conn, Side::Server).epoch.unwrap();
    net.cut_unnoticed(conn);
    let second = net.resume(conn);
    net.run();
    // The old connection's task notices at last, and clears up what it thinks is its own.
    net.store.retire(&SmId::new("sm-1").unwrap(), "juliet@capulet.lit", old, Counter::new(99), net.now()).unwrap();
    net.store.remove(&SmId::new("sm-1").unwrap(), "juliet@capulet.lit", old).unwrap();
    net.cut(second);
    net.skip();
    net.resume(second);
    net.expect(
        "C3: <resume previd='sm-1' h='0'/>
         S3: <resumed previd='sm-1' h='0'/>",
    );
}

/// For hosts that do the same whatever went wrong.
#[test]
fn p05_every_failure_of_a_take_over_has_the_session_in_it() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let before = Seen::from(&session(&config, now));
    // An h that cannot be; another stream's request.
    let ((mut stream, refused), (_, foreign)) = (resuming(&config, 6, now), resuming::<String>(&config, 2, now));
    for request in [foreign, refused] {
        let error = stream.accept_resume(request, session(&config, now), now).map(drop).unwrap_err();
        assert_eq!(Seen::from(&error.session), before);
    }
    // An open receipt.
    let (mut stream, request) = resuming(&config, 2, now);
    let mut open = self::stream(&config, now);
    let _receipt = deliver(&mut open, now);
    let open = detach(open, now);
    let before = Seen::from(&open);
    let error = stream.accept_resume(request, open, now).map(drop).unwrap_err();
    assert_eq!(Seen::from(&error.session), before);
}
