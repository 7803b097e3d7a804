//! What people write to each other is not for logs.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Disconnected, EndReason, OnFull, StreamMgmt};

use crate::support::raw::{deliver, detach, enabled, resuming};
use crate::support::{quiet, stanzas};

const SECRET: &str = "correct-horse";

fn sent(now: Instant) -> StreamMgmt<String> {
    let mut stream = enabled(&Arc::new(quiet().buffer_max(stanzas(3))), now);
    for n in 0..3 {
        let _ = stream.record_sent(format!("<message><body>{SECRET} {n}</body></message>"), now).unwrap();
    }
    let _receipt = deliver(&mut stream, now);
    stream
}

/// It shows how much there is, and not what.
#[track_caller]
fn shows(value: &impl Debug, counts: &[&str]) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!text.contains(SECRET) && !text.contains("body"), "{text}");
        assert!(!text.contains("\"sm\""), "an SM-ID is for its owner: {text}");
        for count in counts {
            assert!(text.contains(count), "{count}: {text}");
        }
    }
}

#[test]
fn streams_and_sessions_show_counts_and_sizes() {
    let now = Instant::now();
    let bytes = format!("bytes: {}", sent(now).unacked_bytes());
    let counts = ["sent: 3", "acked: 0", "kept: 3", &bytes, "open: 1"];
    shows(&sent(now), &counts);
    shows(&detach(sent(now), now), &counts);
    shows(&sent(now).disconnect(now), &counts);
    shows(&sent(now).finish(), &counts);
    // The token of a stream that resumes, and the session that does not get on it.
    let (mut other, request) = resuming(&Arc::new(quiet()), 0, now);
    shows(&request, &[]);
    shows(&other.accept_resume(request, detach(sent(now), now), now), &counts);
}

#[test]
fn what_is_left_shows_how_many_there_are() {
    let now = Instant::now();
    shows(&sent(now).end(EndReason::Stopped), &["Undelivered(3)", "open_receipts: 1"]);
    let Disconnected::Resumable(session) = sent(now).disconnect(now) else { panic!() };
    shows(&session.end(EndReason::Stopped), &["Undelivered(3)"]);
    let config = Arc::new(quiet().buffer_max(stanzas(1)).on_full(OnFull::EvictOldest));
    let mut stream = enabled::<String>(&config, now);
    let _ = stream.record_sent(SECRET.to_owned(), now).unwrap();
    shows(&stream.record_sent(SECRET.to_owned(), now), &["Undelivered(1)"]);
}
