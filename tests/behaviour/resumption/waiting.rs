//! How long a session waits for its client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Config, EndReason, StreamMgmt};

use crate::support::raw::{Seen, bound, comes_back, detach, element, enabled, enabling, grant, resuming};
use crate::support::{quiet, secs};

/// A client that the server has told this.
fn told(config: &Arc<Config>, enabled: &str, now: Instant) -> StreamMgmt<String> {
    let mut client = enabling(config);
    let _ = client.handle(element(enabled), now).unwrap();
    client
}

#[test]
fn a_client_without_max_comes_back_again_and_again() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = told(&config, "enabled id='sm' resume='true'", now);
    for round in 0..3 {
        assert!(stream.is_resumable(), "{round}");
        let session = detach(stream, now + secs(round));
        assert_eq!(session.deadline(), None, "{round}");
        stream = comes_back(&config, session, now + secs(round));
    }
}

#[test]
fn a_client_waits_as_long_as_its_server_whatever_its_own_options_say() {
    let now = Instant::now();
    for own in [60, 300, 6000] {
        let config = Arc::new(quiet().resume_timeout(Some(secs(own))).resume_timeout_max(Some(secs(own))));
        let mut stream = told(&config, "enabled id='sm' resume='true' max='300'", now);
        for round in 0..2 {
            let session = detach(stream, now);
            assert_eq!(session.deadline(), Some(now + secs(300)), "{own}, {round}");
            stream = comes_back(&config, session, now);
        }
    }
}

#[test]
fn a_resume_that_is_cut_before_its_answer_leaves_the_deadline_as_it_was() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    for (max, deadline) in [("", None), ("max='300'", Some(now + secs(300)))] {
        let session = detach(told(&config, &format!("enabled id='sm' resume='true' {max}"), now), now);
        let before = Seen::from(&session);
        assert_eq!(session.deadline(), deadline);
        let (stream, _) = StreamMgmt::resume(config.clone(), session).unwrap();
        let session = detach(stream, now + secs(100));
        assert_eq!((session.deadline(), Seen::from(&session)), (deadline, before));
    }
    // One that was moved stays where it is, too.
    let mut session = detach(told(&config, "enabled id='sm' resume='true' max='300'", now), now);
    session.set_deadline(None);
    let (stream, _) = StreamMgmt::resume(config, session).unwrap();
    assert_eq!(detach(stream, now + secs(100)).deadline(), None);
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

fn granted_a_minute(config: Config) -> StreamMgmt<&'static str> {
    let mut stream = bound::<&str>(&Arc::new(config));
    grant(&mut stream, "<enable resume='true' max='60'/>", Some("x"));
    stream
}

#[test]
fn the_deadline_is_the_time_of_the_original_enabled() {
    let now = Instant::now();
    let mut stream = granted_a_minute(quiet());
    assert!(stream.record_sent("<message/>", now).is_ok());
    let session = detach(stream, now + secs(100));
    assert_eq!(session.deadline(), Some(now + secs(160)));
    let just_before = now + secs(160) - Duration::from_nanos(1);
    let session = session.expire(just_before).expect_err("it may still be resumed");
    let ended = session.expire(now + secs(160)).expect("its time is over");
    assert_eq!(ended.reason, EndReason::Expired);
    let back: Vec<_> = ended.unacked.map(|returned| (returned.stanza, returned.queued)).collect();
    assert_eq!(back, [("<message/>", now)]);
}
