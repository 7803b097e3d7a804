//! A session that waits is a value: it can be compared, taken apart and put together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Config, Counter, Detached, Disconnected, EndReason, Nonza, Parts, ReceiptsOpen, Resumed, SmId, StreamMgmt, TooMuch,
};

use crate::support::raw::{Seen, answer, comes_back, deliver, detach, enabled, interrupted, midway, resuming, smid};
use crate::support::{quiet, secs, stanzas};

/// Two sessions that no peer could tell apart are equal: so is one that was written down and read again.
#[test]
fn p06_equal_sessions_compare_equal() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    assert_eq!(interrupted(&config, now), interrupted(&config, now));
    let parts = interrupted(&config, now).into_parts().unwrap();
    assert_eq!(Detached::from_parts(config.clone(), parts), Ok(interrupted(&config, now)));
    let mut other = interrupted(&config, now);
    other.record_sent("m6".into(), now).unwrap();
    assert_ne!(other, interrupted(&config, now));
    assert_ne!(interrupted(&config, now), interrupted(&config, now + secs(1)));
    // Each of these alone makes a difference to a peer.
    let changes: [fn(&mut Parts<String>); 6] = [
        |parts| parts.smid = SmId::new("another").unwrap(),
        |parts| parts.deadline = None,
        |parts| parts.resume_timeout = None,
        |parts| parts.h = 4.into(),
        |parts| parts.acked = 3.into(),
        |parts| parts.unacked[0].0.push('!'),
    ];
    for change in changes {
        let mut parts = interrupted(&config, now).into_parts().unwrap();
        change(&mut parts);
        assert_ne!(Detached::from_parts(config.clone(), parts), Ok(interrupted(&config, now)));
    }
}

/// Nor are sessions equal of which one handles more, or owes the rest of an answer.
#[test]
fn p06_sessions_with_other_receipts_differ() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let delivered = |stanzas: u32, asked: bool| {
        let mut stream = enabled::<String>(&config, now);
        for _ in 0..stanzas {
            let _ = deliver(&mut stream, now);
        }
        if asked {
            answer(&mut stream, now);
        }
        detach(stream, now)
    };
    assert_eq!(delivered(2, true), delivered(2, true));
    assert_ne!(delivered(1, false), delivered(2, false));
    assert_ne!(delivered(2, false), delivered(2, true));
    let later = |since: Instant| {
        let mut stream = enabled::<String>(&config, now);
        let _ = deliver(&mut stream, since);
        detach(stream, now)
    };
    assert_ne!(later(now), later(now + secs(1)));
}

/// What is still handled cannot be written down: nobody could settle it afterwards.
#[test]
fn p05_a_session_with_open_receipts_is_not_taken_apart() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut stream = midway(&config, now);
    let receipt = deliver(&mut stream, now);
    let session = detach(stream, now);
    let before = Seen::from(&session);
    let Err(ReceiptsOpen { mut session }) = session.into_parts() else { panic!("a receipt is open") };
    assert_eq!(Seen::from(&session), before);
    session.record_handled(receipt).unwrap();
    assert_eq!(session.into_parts().unwrap().h, Counter::new(4));
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

/// The options of a server apply to a session that was kept elsewhere.
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
        let session = detach(comes_back(&config, session, now), now);
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
    let config = Arc::new(quiet().buffer_max(stanzas(3)).buffer_max_bytes(NonZeroUsize::new(100).unwrap()));
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
