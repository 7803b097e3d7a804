//! How long a session waits for its client, and what it is when the client comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Action, Condition, Config, Counter, Detached, Disconnected, EndReason, Failed, Nonza, NotRecordedWhy, NotResumed,
    NotResumedWhy, OnFull, Parts, Refusal, Resumed, StaleH, StreamMgmt, TooMuch,
};

use super::stanzas;
use crate::support::raw::{Seen, ack, bound, deliver, detach, element, enabled, enabling, resuming, session_at, smid};
use crate::support::{quiet, secs};

/// A client that the server has told this.
fn client(config: &Arc<Config>, enabled: &str, now: Instant) -> StreamMgmt<String> {
    let mut client = enabling(config);
    let _ = client.handle(element(enabled), now).unwrap();
    client
}

/// A client comes back, and its server lets it.
fn back(config: &Arc<Config>, session: Detached<String>, now: Instant) -> StreamMgmt<String> {
    let h = session.acked();
    let (mut client, _) = StreamMgmt::resume(config.clone(), session).unwrap();
    let resumed = Nonza::Resumed(Resumed { previd: smid(), h });
    assert!(matches!(client.handle(resumed.into(), now), Ok(Action::Resumed(_))));
    client
}

#[test]
fn a_client_without_max_comes_back_again_and_again() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = client(&config, "enabled id='sm' resume='true'", now);
    for round in 0..3 {
        assert!(stream.is_resumable(), "{round}");
        let session = detach(stream, now + secs(round));
        assert_eq!(session.deadline(), None, "{round}");
        stream = back(&config, session, now + secs(round));
    }
}

#[test]
fn a_client_waits_as_long_as_its_server_whatever_its_own_options_say() {
    let now = Instant::now();
    for own in [60, 300, 6000] {
        let config = Arc::new(quiet().resume_timeout(Some(secs(own))).resume_timeout_max(Some(secs(own))));
        let mut stream = client(&config, "enabled id='sm' resume='true' max='300'", now);
        for round in 0..2 {
            let session = detach(stream, now);
            assert_eq!(session.deadline(), Some(now + secs(300)), "{own}, {round}");
            stream = back(&config, session, now);
        }
    }
}

#[test]
fn a_resume_that_is_cut_before_its_answer_leaves_the_deadline_as_it_was() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    for (max, deadline) in [("", None), ("max='300'", Some(now + secs(300)))] {
        let session = detach(client(&config, &format!("enabled id='sm' resume='true' {max}"), now), now);
        let before = Seen::from(&session);
        assert_eq!(session.deadline(), deadline);
        let (stream, _) = StreamMgmt::resume(config.clone(), session).unwrap();
        let session = detach(stream, now + secs(100));
        assert_eq!((session.deadline(), Seen::from(&session)), (deadline, before));
    }
    // One that was moved stays where it is, too.
    let mut session = detach(client(&config, "enabled id='sm' resume='true' max='300'", now), now);
    session.set_deadline(None);
    let (stream, _) = StreamMgmt::resume(config, session).unwrap();
    assert_eq!(detach(stream, now + secs(100)).deadline(), None);
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
fn a_deadline_can_be_moved_and_holds_for_this_time() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let minutes = |n: u32| now + n * secs(60);
    for (to, still, over) in [
        (Some(minutes(120)), minutes(119), Some(minutes(120))),
        (Some(minutes(2)), minutes(1), Some(minutes(2))),
        (None, minutes(1_000_000), None),
    ] {
        let mut session = detach(enabled::<String>(&config, now), now);
        assert_eq!(session.deadline(), Some(minutes(10)));
        session.set_deadline(to);
        assert_eq!((session.deadline(), session.is_expired(still)), (to, false));
        session = session.expire(still).expect_err("it is not time yet");
        if let Some(over) = over {
            assert!(session.is_expired(over));
        }
        // A client that comes then is in time, and the next time is as long as it was.
        let (mut stream, request) = resuming(&config, 0, still);
        let _ = stream.accept_resume(request, session, still).unwrap();
        assert_eq!(detach(stream, still).deadline(), Some(still + secs(600)));
    }
    let mut session = detach(enabled::<String>(&config, now), now);
    session.set_deadline(Some(now + secs(60)));
    let Ok(ended) = session.expire(now + secs(60)) else { panic!("it is time") };
    assert_eq!(ended.reason, EndReason::Expired);
}

/// The age of the last h runs from the deadline to now, also where the host took its time since the client asked.
#[test]
fn a_last_h_that_has_become_too_old_meanwhile_is_not_told() {
    let now = Instant::now();
    let stale_h = StaleH { enabled: true, geriatric: secs(100), ..StaleH::default() };
    let config = Arc::new(quiet().stale_h(stale_h));
    for (waited, told) in [(100, Some(Counter::new(1))), (101, None)] {
        let mut stream = enabled::<String>(&config, now);
        let receipt = deliver(&mut stream, now);
        let (mut again, request) = resuming(&config, 0, now + secs(610));
        let NotResumed { mut session, why } =
            again.accept_resume(request, detach(stream, now), now + secs(610)).unwrap_err();
        let NotResumedWhy::ReceiptsOpen(request) = why else { panic!("a receipt is open: {why}") };
        session.record_handled(receipt).unwrap();
        let NotResumed { why, .. } = again.accept_resume(request, session, now + secs(600 + waited)).unwrap_err();
        let write = Nonza::Failed(Failed { h: told, condition: Some(Condition::ItemNotFound) });
        assert_eq!(why, NotResumedWhy::Refused { write, refusal: Refusal::Expired(told) }, "{waited}");
    }
}

fn parts(resume_timeout: Option<Duration>, unacked: usize, size: usize, now: Instant) -> Parts<String> {
    Parts {
        smid: smid(),
        deadline: Some(now + secs(60)),
        resume_timeout,
        h: 7.into(),
        acked: 3.into(),
        unacked: vec![("x".repeat(size), now); unacked],
    }
}

/// F21: the options of a server apply to a session that was kept elsewhere.
#[test]
fn a_session_from_parts_waits_as_the_options_say() {
    let now = Instant::now();
    let longer = || quiet().resume_timeout_max(Some(secs(1000)));
    for (config, from_parts, granted) in [
        (quiet(), None, 600),
        (quiet(), Some(secs(60)), 60),
        (quiet(), Some(secs(100_000)), 600),
        (longer(), None, 600),
        (longer(), Some(secs(900)), 900),
        (longer(), Some(secs(100_000)), 1000),
    ] {
        let config = Arc::new(config);
        let session = Detached::from_parts(config.clone(), parts(from_parts, 2, 5, now)).unwrap();
        assert_eq!(session.deadline(), Some(now + secs(60)), "this time the parts say it");
        let (mut stream, request) = resuming(&config, 3, now);
        let _ = stream.accept_resume(request, session, now).unwrap();
        let session = detach(stream, now);
        assert_eq!(session.deadline(), Some(now + secs(granted)), "{from_parts:?}");
        assert_eq!(session.into_parts().unwrap().resume_timeout, Some(secs(granted)));
    }
    // A client's server has said it, and has the right to.
    let config = Arc::new(quiet());
    for resume_timeout in [None, Some(secs(100_000))] {
        let session = Detached::from_parts(config.clone(), parts(resume_timeout, 0, 0, now)).unwrap();
        let session = detach(back(&config, session, now), now);
        assert_eq!(session.deadline(), resume_timeout.map(|timeout| now + timeout));
    }
}

#[test]
fn a_server_without_resumption_does_not_keep_a_session_that_was() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let off = Arc::new(quiet().resume_timeout(None));
    let session = Detached::from_parts(config.clone(), parts(Some(secs(60)), 1, 5, now)).unwrap();
    let (client, _) = StreamMgmt::resume(off.clone(), session).unwrap();
    let mut client = client;
    let resumed = Nonza::Resumed(Resumed { previd: smid(), h: 3.into() });
    let _ = client.handle(resumed.into(), now).unwrap();
    assert!(client.is_enabled() && !client.is_resumable());
    let Disconnected::Ended(ended) = client.disconnect(now) else { panic!("resumption is off") };
    assert_eq!((ended.reason, ended.unacked.len()), (EndReason::NotResumable, 1));
}

#[test]
fn parts_that_are_too_much_come_back() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max(stanzas(3)).buffer_max_bytes(std::num::NonZeroUsize::new(100).unwrap()));
    for (unacked, size, fits) in [(3, 33, true), (2, 50, true), (2, 51, false), (4, 1, false), (100_000, 0, false)] {
        let parts = parts(None, unacked, size, now);
        let before = parts.clone();
        match Detached::from_parts(config.clone(), parts) {
            Ok(session) => {
                assert!(fits, "{unacked} of {size}");
                assert_eq!((session.unacked().len(), session.unacked_bytes()), (unacked, unacked * size));
                assert_eq!((session.sent().get(), session.acked().get()), (3 + unacked as u32, 3));
                assert_eq!(session.into_parts().unwrap(), before);
            }
            Err(TooMuch { parts }) => {
                assert!(!fits, "{unacked} of {size}");
                assert_eq!(parts, before, "nothing is lost");
            }
        }
    }
}

/// F18: what arrives while nobody is connected keeps to the bounds, whatever the policy.
#[test]
fn a_detached_session_is_within_its_bounds() {
    let now = Instant::now();
    for policy in [OnFull::End, OnFull::EndAfter(secs(5)), OnFull::EvictOldest] {
        let config = Arc::new(quiet().buffer_max(stanzas(2)).on_full(policy));
        let mut session = session_at::<String>(&config, 0, 0, now + secs(600));
        for n in 1..=2 {
            assert_eq!(session.record_sent(format!("m{n}"), now).unwrap(), Counter::new(n));
        }
        let refused = session.record_sent("m3".to_owned(), now).unwrap_err();
        assert_eq!((refused.why, &*refused.stanza), (NotRecordedWhy::Full, "m3"), "{policy:?}");
        assert_eq!((session.sent().get(), session.unacked_bytes()), (2, 4));
    }
    // A stream whose bounds are smaller has to make room before it is lost again.
    let (large, small) = (Arc::new(quiet()), Arc::new(quiet().buffer_max(stanzas(1))));
    let mut session = session_at::<String>(&large, 0, 0, now + secs(600));
    for n in 1..=3 {
        session.record_sent(format!("m{n}"), now).unwrap();
    }
    let (mut stream, request) = resuming(&small, 0, now);
    let _ = stream.accept_resume(request, session, now).unwrap();
    assert!(!stream.is_resumable());
    ack(&mut stream, 2, now).unwrap();
    assert_eq!(detach(stream, now).unacked().len(), 1);
}
