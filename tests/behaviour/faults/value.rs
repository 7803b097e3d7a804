//! A session that waits is a value: it can be compared, taken apart and put together.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Config, Counter, Detached, Parts, ReceiptsOpen, SmId};

use super::take_over::{session, stream};
use crate::support::raw::{Seen, answer, deliver, detach, enabled};
use crate::support::secs;

/// Two sessions that no peer could tell apart are equal: so is one that was written down and read again.
#[test]
fn p06_equal_sessions_compare_equal() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    assert_eq!(session(&config, now), session(&config, now));
    let parts = session(&config, now).into_parts().unwrap();
    assert_eq!(Detached::from_parts(config.clone(), parts), Ok(session(&config, now)));
    let mut other = session(&config, now);
    other.record_sent("m6".into(), now).unwrap();
    assert_ne!(other, session(&config, now));
    assert_ne!(session(&config, now), session(&config, now + secs(1)));
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
        let mut parts = session(&config, now).into_parts().unwrap();
        change(&mut parts);
        assert_ne!(Detached::from_parts(config.clone(), parts), Ok(session(&config, now)));
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
    let mut stream = stream(&config, now);
    let receipt = deliver(&mut stream, now);
    let session = detach(stream, now);
    let before = Seen::from(&session);
    let Err(ReceiptsOpen { mut session }) = session.into_parts() else { panic!("a receipt is open") };
    assert_eq!(Seen::from(&session), before);
    session.record_handled(receipt).unwrap();
    assert_eq!(session.into_parts().unwrap().h, Counter::new(4));
}
