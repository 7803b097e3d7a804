//! More than the buffer holds.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Config, EndReason, NotRecordedWhy, OnFull, Reaction, StreamError, StreamMgmt};

use super::{bytes, stanzas};
use crate::support::raw::{detach, element, enabled, enabling};
use crate::support::{Net, Side, quiet, secs};

const JULIET: &str = "juliet@capulet.lit";
const POLICIES: [OnFull; 3] = [OnFull::EndAfter(std::time::Duration::from_secs(5)), OnFull::End, OnFull::EvictOldest];

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

#[test]
fn p15_the_peer_is_told_that_the_buffer_is_full() {
    let mut net = Net::new(quiet().buffer_max(stanzas(1)).on_full(OnFull::End));
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.server_sends(conn, "<message id='m2'/>");
    net.expect(
        "S: <message id='m1'/>
         S: <stream:error><resource-constraint/><text xml:lang='en'>Too many unacknowledged stanzas.</text>
            </stream:error></stream:stream>",
    );
    net.handed_back(&["BufferFull, 1, at 0 s: <message id='m1'/>"]);
    net.undelivered(&["<message id='m2'/>"]);
}

#[test]
fn p15_a_detached_session_that_is_full_hands_the_stanza_back() {
    let (now, config) = (Instant::now(), Arc::new(quiet().buffer_max(stanzas(2)).buffer_max_bytes(bytes(10))));
    let mut session = detach(enabled(&config, now), now);
    session.record_sent("12345".to_owned(), now).unwrap();
    assert_eq!(session.record_sent("123456".to_owned(), now).unwrap_err().stanza, "123456");
    session.record_sent("12345".to_owned(), now).unwrap();
    assert_eq!(session.record_sent(String::new(), now).unwrap_err().stanza, "");
    assert_eq!((session.unacked().count(), session.sent().get()), (2, 2));
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

#[test]
fn p19_bytes_are_bounded_whatever_the_number_of_stanzas() {
    let now = Instant::now();
    let kilobyte = "x".repeat(1000);
    for (policy, most) in POLICIES.into_iter().zip([20, 10, 10]) {
        let config = Config::default().buffer_max(stanzas(u32::MAX)).buffer_max_bytes(bytes(10_000)).on_full(policy);
        let mut stream = enabled::<String>(&Arc::new(config), now);
        let mut back = 0;
        for n in 1..=1000 {
            match stream.record_sent(kilobyte.clone(), now) {
                Ok(sent) => back += sent.evicted.map_or(0, |evicted| evicted.count()),
                Err(refused) => {
                    assert_eq!((refused.why, &refused.stanza, n), (NotRecordedWhy::Full, &kilobyte, most + 1));
                    let Reaction::Close(end) = refused.reaction() else { panic!("the stream ends") };
                    assert_eq!(end.error, Some(StreamError::ResourceConstraint));
                    break;
                }
            }
            assert!(stream.unacked_bytes() <= most * 1000, "{policy:?}");
        }
        assert_eq!(stream.unacked().count(), most);
        assert_eq!(back, if policy == OnFull::EvictOldest { 990 } else { 0 });
    }
}

#[test]
fn p19_stanzas_without_bytes_are_bounded_too() {
    let now = Instant::now();
    let config = Arc::new(Config::default().buffer_max(stanzas(1000)).buffer_max_bytes(bytes(1)));
    let mut stream = enabled::<&str>(&config, now);
    let taken = (0..100_000).take_while(|_| stream.record_sent("", now).is_ok()).count();
    assert_eq!((taken, stream.unacked().len()), (2000, 2000));
}

/// One stanza that is larger than the whole buffer.
#[test]
fn p19_a_stanza_that_can_never_fit_is_answered_like_the_others() {
    let now = Instant::now();
    let config = |policy| Arc::new(Config::default().buffer_max_bytes(bytes(10)).on_full(policy));
    let huge = || "x".repeat(30);
    for policy in [POLICIES[0], POLICIES[1]] {
        let mut stream = enabled::<String>(&config(policy), now);
        assert_eq!(stream.record_sent(huge(), now).unwrap_err().stanza, huge());
        assert_eq!(stream.sent().get(), 0);
    }
    let mut stream = enabled::<String>(&config(OnFull::EvictOldest), now);
    let evicted: Vec<_> = stream.record_sent(huge(), now).unwrap().evicted.unwrap().collect();
    assert_eq!((evicted.len(), evicted[0].number.get(), evicted[0].stanza.len()), (1, 1, 30));
    assert_eq!((stream.sent().get(), stream.unacked().count(), stream.unacked_bytes()), (1, 0, 0));
    // It is on the wire and counted, and the peer's h for it is right.
    assert_eq!(crate::support::raw::ack(&mut stream, 1, now).unwrap().count, 1);
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
    let xmpp_sm::Disconnected::Ended(ended) = client.disconnect(now) else { panic!("m1 is not in it") };
    assert_eq!(ended.unacked.map(|back| (back.number.get(), back.stanza)).collect::<Vec<_>>(), [(2, "m2"), (3, "m3")]);
}
