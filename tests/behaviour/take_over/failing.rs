//! A session that changes hands, or fails to: nothing of it is lost.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Condition, Config, Counter, Detached, Disconnected, EndReason, Failed, Nonza, NotResumed, NotResumedWhy, Refusal,
    StreamMgmt,
};

use crate::support::raw::{Seen, deliver, detach, interrupted, midway, resuming};
use crate::support::{Net, STALE_H, Side, quiet, secs};

#[test]
fn p05_a_failed_take_over_hands_the_session_back() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let later = now + secs(20);

    // The peer's h cannot be: too high, and backwards. The request is answered.
    for h in [6, 1, 0, u32::MAX] {
        let session = interrupted(&config, now);
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
        let session = interrupted(&config, now);
        let before = Seen::from(&session);
        let (mut stream, request) = resuming(&config, h, now + secs(610));
        let NotResumed { session, why } = stream.accept_resume(request, session, now + secs(610)).unwrap_err();
        let NotResumedWhy::Refused { write, refusal: Refusal::Expired(None) } = why else { panic!("{h}: {why}") };
        assert_eq!((write, Seen::from(&session)), (failed_with(Condition::ItemNotFound), before));
    }

    // The host has still to settle a stanza. The request is not answered.
    let mut stream = midway(&config, now);
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
    let session = interrupted(&config, now);
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
        let mut net = Net::new(quiet().stale_h(STALE_H));
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
