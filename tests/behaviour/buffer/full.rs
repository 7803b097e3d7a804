//! A buffer that is full: `on_full`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Disconnected, EndReason, Error, NotRecordedWhy, OnFull, Refusal, StreamMgmt};

use crate::support::raw::{ack, detach, element, enabled, enabling, smid};
use crate::support::{Conn, JULIET, Net, Side, quiet, secs, stanzas};

fn full(policy: Option<OnFull>) -> (Net, Conn) {
    let config = quiet().buffer_max(stanzas(2));
    let mut net = Net::new(policy.map_or(config.clone(), |policy| config.on_full(policy)));
    let conn = net.login(JULIET);
    for n in 1..=3 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
        net.advance(secs(1));
    }
    (net, conn)
}

const RESOURCE_CONSTRAINT: &str = "
    S: <stream:error><resource-constraint/><text xml:lang='en'>Too many unacknowledged stanzas.</text>
       </stream:error></stream:stream>";

#[test]
fn a_full_buffer_ends_the_stream_after_a_grace_of_5_s() {
    // The third stanza, at two seconds, did not fit. One more second has gone since.
    let (mut net, conn) = full(None);
    net.server_sends(conn, "<message id='m4'/>");
    net.advance(secs(3));
    net.ended(&[]);
    net.skip();
    net.advance(secs(1));
    net.written(RESOURCE_CONSTRAINT);
    net.ended(&[(conn, EndReason::BufferFull)]);
    assert_eq!(net.errors, [(Side::Server, Error::BufferFull)]);
    net.handed_back(&[
        "BufferFull, 1, at 0 s: <message id='m1'/>",
        "BufferFull, 2, at 1 s: <message id='m2'/>",
        "BufferFull, 3, at 2 s: <message id='m3'/>",
        "BufferFull, 4, at 3 s: <message id='m4'/>",
    ]);
    // A client that acknowledges within it is not ended.
    let (mut net, conn) = full(None);
    net.client_writes(conn, "<a h='1'/>");
    net.run();
    net.advance(secs(3600));
    net.ended(&[]);
}

#[test]
fn a_full_buffer_ends_the_stream_at_once() {
    let (mut net, conn) = full(Some(OnFull::End));
    net.written(&format!("S: <message id='m1'/><message id='m2'/>{RESOURCE_CONSTRAINT}"));
    net.ended(&[(conn, EndReason::BufferFull)]);
    net.handed_back(&["BufferFull, 1, at 0 s: <message id='m1'/>", "BufferFull, 2, at 1 s: <message id='m2'/>"]);
    // The one that did not fit was not written, and came back.
    net.undelivered(&["<message id='m3'/>"]);
}

/// Evicting is a policy, and no verdict on the rest of the session's life.
#[test]
fn a_full_buffer_keeps_the_stream_and_resumes_where_nothing_is_missing() {
    let (mut net, conn) = full(Some(OnFull::EvictOldest));
    net.expect("S: <message id='m1'/><message id='m2'/><message id='m3'/>");
    net.handed_back(&["evicted, 1, at 0 s: <message id='m1'/>"]);
    // The first is missing until the peer says that it has it.
    assert!(!net.server(conn).is_resumable());
    assert_eq!(net.server(conn).smid().map(|smid| smid.as_str()), Some("sm-1"));
    net.client_writes(conn, "<a h='0'/>");
    net.skip();
    assert!(!net.server(conn).is_resumable());
    net.client_writes(conn, "<a h='1'/>");
    net.skip();
    assert!(net.server(conn).is_resumable());
    assert_eq!((net.errors.len(), net.server(conn).unacked().count()), (0, 2));
    net.cut(conn);
    net.ended(&[]);
    net.skip();
    net.resume(conn);
    net.expect(
        "C2: <resume h='3' previd='sm-1'/>
         S2: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn a_session_from_which_a_stanza_is_missing_ends_with_its_stream() {
    let (mut net, conn) = full(Some(OnFull::EvictOldest));
    net.take_handed_back();
    net.cut(conn);
    net.ended(&[(conn, EndReason::NotResumable)]);
    net.handed_back(&["NotResumable, 2, at 1 s: <message id='m2'/>", "NotResumable, 3, at 2 s: <message id='m3'/>"]);
    net.skip();
    net.resume(conn);
    net.expect(
        "C2: <resume h='0' previd='sm-1'/>
         S2: <failed><item-not-found/></failed>",
    );
}

/// What waits is within its bounds, or over at once.
#[test]
fn a_session_over_its_bounds_ends_with_its_stream() {
    for (config, size, most) in [
        (quiet().buffer_max(stanzas(100)), 100, 200),
        (quiet().buffer_max_bytes(NonZeroUsize::new(1000).unwrap()), 100, 20),
    ] {
        let (config, now) = (Arc::new(config), Instant::now());
        let mut stream = enabled::<String>(&config, now);
        for n in 1..=most {
            assert!(stream.record_sent("x".repeat(size), now).is_ok(), "{n}");
            assert_eq!(stream.is_resumable(), n <= most / 2, "{n}");
        }
        let refused = stream.record_sent("x".repeat(size), now).unwrap_err();
        assert_eq!((refused.why, refused.stanza.len()), (NotRecordedWhy::Full, size));
        assert_eq!(stream.check_resume(0.into()), Err(Refusal::NotFound));
        let Disconnected::Ended(ended) = stream.disconnect(now) else { panic!("it is over its bounds") };
        assert_eq!((ended.reason, ended.smid, ended.unacked.len()), (EndReason::BufferFull, Some(smid()), most));
        // One that is within them again waits.
        let mut stream = enabled::<String>(&config, now);
        for _ in 0..=most / 2 {
            let _ = stream.record_sent("x".repeat(size), now).unwrap();
        }
        ack(&mut stream, 1, now).unwrap();
        assert_eq!(detach(stream, now).unacked().len(), most / 2);
    }
}

/// It is not torn down for a request that would only be refused.
#[test]
fn a_stream_that_lacks_a_stanza_is_not_taken_over() {
    let (mut net, conn) = full(Some(OnFull::EvictOldest));
    net.skip();
    assert_eq!(net.server(conn).check_resume(3.into()), Err(Refusal::NotFound));
    let other = net.open(JULIET);
    net.authenticate(other);
    net.client_writes(other, "<resume previd='sm-1' h='3'/>");
    net.expect(
        "C2: <resume h='3' previd='sm-1'/>
         S2: <failed><item-not-found/></failed>",
    );
    net.acks(conn, Side::Client);
    net.expect("C: <a h='3'/>");
    assert_eq!(net.server(conn).unacked().count(), 0);
}

const POLICIES: [OnFull; 3] = [OnFull::EndAfter(Duration::from_secs(5)), OnFull::End, OnFull::EvictOldest];

/// What became of twelve stanzas where three may be unacknowledged and two were acknowledged.
#[test]
fn p15_an_overflow_is_an_answer_and_loses_nothing() {
    for policy in POLICIES {
        let mut net = Net::new(quiet().buffer_max(stanzas(3)).on_full(policy));
        let conn = net.login(JULIET);
        for n in 1..=12 {
            net.server_sends(conn, &format!("<message id='m{n}'/>"));
            if n == 3 {
                net.client_writes(conn, "<a h='2'/>");
                net.run();
            }
        }
        net.run();
        match policy {
            OnFull::EvictOldest => {
                // The stream and its counting go on; the oldest came out at once.
                assert!(net.server(conn).is_enabled() && !net.server(conn).is_resumable());
                net.ended(&[]);
                assert_eq!(net.server(conn).unacked().count(), 3);
                net.cut(conn);
                net.ended(&[(conn, EndReason::NotResumable)]);
            }
            // It is over without the grace, too, where twice the bounds are reached.
            _ => net.ended(&[(conn, EndReason::BufferFull)]),
        }
        // In order, and each once: what came back, and what was not even taken.
        let back = net.take_handed_back();
        let back: Vec<_> = back.iter().map(|back| back.returned.stanza.as_str()).collect();
        let taken = match policy {
            OnFull::EvictOldest => 12,
            OnFull::EndAfter(_) => 2 + 2 * 3,
            _ => 2 + 3,
        };
        let untaken: Vec<_> = (taken + 1..=12).map(|n| format!("<message id='m{n}'/>")).collect();
        net.undelivered(&untaken.iter().map(String::as_str).collect::<Vec<_>>());
        let all: Vec<_> = back.into_iter().map(str::to_owned).chain(untaken).collect();
        assert_eq!(all, (3..=12).map(|n| format!("<message id='m{n}'/>")).collect::<Vec<_>>(), "{policy:?}");
    }
}

/// A client that logs in and finds messages waiting, more than the buffer holds: it acknowledges when it has read them.
#[test]
fn p19_a_burst_at_login_is_no_reason_to_end_the_stream() {
    for (policy, waiting) in [(POLICIES[0], 200), (POLICIES[2], 500)] {
        let mut net = Net::new(quiet().on_full(policy));
        let conn = net.login(JULIET);
        for n in 1..=waiting {
            net.server_sends(conn, &format!("<message id='m{n}'/>"));
        }
        net.advance(secs(4));
        net.run();
        net.acks(conn, Side::Client);
        net.run();
        net.advance(secs(3600));
        assert_eq!((net.got(conn, Side::Client).len(), net.errors.len()), (waiting, 0), "{policy:?}");
        assert!(net.server(conn).is_enabled());
        assert_eq!(net.server(conn).unacked().count(), 0);
        net.undelivered(&[]);
    }
}

/// A session without all of its stanzas cannot go on, whenever they left it.
#[test]
fn p19_what_leaves_before_enabled_is_missing_too() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max(stanzas(2)).on_full(OnFull::EvictOldest));
    let mut client: StreamMgmt<&str> = enabling(&config);
    let evicted = ["m1", "m2", "m3"].map(|m| client.record_sent(m, now).unwrap().evicted.map_or(0, |e| e.count()));
    assert_eq!(evicted, [0, 0, 1]);
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    assert!(!client.is_resumable());
    let Disconnected::Ended(ended) = client.disconnect(now) else { panic!("m1 is not in it") };
    assert_eq!(ended.unacked.map(|back| (back.number.get(), back.stanza)).collect::<Vec<_>>(), [(2, "m2"), (3, "m3")]);
}
