//! A buffer that is full, a session that ends, and what it leaves behind.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use minidom::Element;
use xmpp_sm::{Disconnected, EndReason, Error, NotRecordedWhy, OnFull, Refusal, StaleH, delay};

use super::{JULIET, stanzas};
use crate::support::raw::{ack, detach, enabled, smid};
use crate::support::{Conn, Net, Side, quiet, secs};

const GRACE: OnFull = OnFull::EndAfter(Duration::from_secs(5));

fn full(policy: OnFull) -> (Net, Conn) {
    let mut net = Net::new(quiet().buffer_max(stanzas(2)).on_full(policy));
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
    let (mut net, conn) = full(GRACE);
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
    let (mut net, conn) = full(GRACE);
    net.client_writes(conn, "<a h='1'/>");
    net.run();
    net.advance(secs(3600));
    net.ended(&[]);
}

#[test]
fn a_full_buffer_ends_the_stream_at_once() {
    let (mut net, conn) = full(OnFull::End);
    net.written(&format!("S: <message id='m1'/><message id='m2'/>{RESOURCE_CONSTRAINT}"));
    net.ended(&[(conn, EndReason::BufferFull)]);
    net.handed_back(&["BufferFull, 1, at 0 s: <message id='m1'/>", "BufferFull, 2, at 1 s: <message id='m2'/>"]);
    // The one that did not fit was not written, and came back.
    net.undelivered(&["<message id='m3'/>"]);
}

/// F10: evicting is a policy, and no verdict on the rest of the session's life.
#[test]
fn a_full_buffer_keeps_the_stream_and_resumes_where_nothing_is_missing() {
    let (mut net, conn) = full(OnFull::EvictOldest);
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
    let (mut net, conn) = full(OnFull::EvictOldest);
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

/// F18: what waits is within its bounds, or over at once.
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
    let (mut net, conn) = full(OnFull::EvictOldest);
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

type Way = fn(&mut Net, Conn);

/// Every way in which a session of a server ends, and how it is called.
const ENDS: [(EndReason, Way); 7] = [
    (EndReason::Closed, |net, conn| net.closes(conn, Side::Client)),
    (EndReason::Closed, |net, conn| {
        net.closes(conn, Side::Server);
        net.cut(conn);
    }),
    (EndReason::Expired, |net, conn| {
        net.cut(conn);
        net.advance(secs(600));
    }),
    (EndReason::Replaced, |net, conn| net.server_ends(conn, EndReason::Replaced)),
    (EndReason::Stopped, |net, conn| {
        net.cut(conn);
        net.server_ends(conn, EndReason::Stopped);
    }),
    (EndReason::PeerFault, |net, conn| net.client_writes(conn, "<a h='7'/>")),
    (EndReason::PeerFault, |net, conn| net.client_writes(conn, "<enable/>")),
];

#[test]
fn a_session_that_ends_hands_back_what_is_unacknowledged_once_and_in_order() {
    for (reason, end) in ENDS {
        let mut net = Net::new(quiet());
        let conn = net.login(JULIET);
        net.server_sends(conn, "<message id='m1'/>");
        net.run();
        net.acks(conn, Side::Client);
        net.run();
        // The rest does not reach the client any more, or it would say so at the end.
        for n in 2..=3 {
            net.advance(secs(10));
            net.server_sends(conn, &format!("<message id='m{n}'/>"));
        }
        end(&mut net, conn);
        net.run();
        net.ended(&[(conn, reason)]);
        net.handed_back(&[
            &format!("{reason:?}, 2, at 10 s: <message id='m2'/>"),
            &format!("{reason:?}, 3, at 20 s: <message id='m3'/>"),
        ]);
        net.advance(secs(100_000));
        net.handed_back(&[]);
        net.ended(&[]);
    }
}

#[test]
fn the_last_ack_of_a_stream_that_closes_in_good_order_is_counted() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.client_sends(conn, "<message id='c1'/>");
    net.run();
    net.skip();
    net.closes(conn, Side::Client);
    net.expect(
        "C: <a h='1'/></stream:stream>
         S: <a h='1'/></stream:stream>",
    );
    net.ended(&[(conn, EndReason::Closed)]);
    net.handed_back(&[]);
    assert!(net.store.is_empty());
}

#[test]
fn a_client_that_is_refused_gets_back_what_it_had_sent() {
    let mut net = Net::new(quiet());
    net.refuse_enable = Some(xmpp_sm::Condition::ResourceConstraint);
    let conn = net.connect(JULIET);
    net.enable(conn);
    net.client_sends(conn, "<message id='m1'/>");
    net.run();
    net.handed_back_to_client(&["EnableRefused, 1, at 0 s: <message id='m1'/>"]);

    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.client_sends(conn, "<message id='m1'/>");
    net.cut(conn);
    net.server_ends(conn, EndReason::Stopped);
    net.resume(conn);
    net.run();
    net.handed_back_to_client(&["ResumeRefused, 1, at 0 s: <message id='m1'/>"]);
}

fn asks_again(net: &mut Net, answer: &str) {
    let conn = net.open(JULIET);
    net.authenticate(conn);
    net.skip();
    net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
    net.expect(&format!(
        "C{conn}: <resume h='0' previd='sm-1'/>
         S{conn}: {answer}"
    ));
}

#[test]
fn stale_h_is_kept_when_it_is_answered_and_not_past_geriatric() {
    for (enabled, closed) in [(true, false), (true, true), (false, false)] {
        let mut net = Net::new(quiet().stale_h(StaleH { enabled, ..StaleH::default() }));
        let conn = net.login(JULIET);
        for _ in 0..3 {
            net.client_sends(conn, "<message/>");
        }
        net.run();
        if closed {
            net.closes(conn, Side::Client);
            net.run();
        } else {
            net.cut(conn);
            net.advance(secs(600));
        }
        // A session that was closed in good order is not asked for.
        let known = enabled && !closed;
        let answer =
            if known { "<failed h='3'><item-not-found/></failed>" } else { "<failed><item-not-found/></failed>" };
        // The first answer may not have arrived.
        for _ in 0..3 {
            asks_again(&mut net, answer);
        }
        net.advance(secs(3601));
        asks_again(&mut net, "<failed><item-not-found/></failed>");
    }
}

#[test]
fn a_delay_stamp_is_that_of_the_queueing_on_what_may_carry_one() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.advance(secs(3661));
    let stamp = |at: &str| format!("<delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='1970-01-01T{at}.000Z'/>");
    let hour = stamp("01:01:01");
    let sent = [
        (
            "<message id='1'><body>ciao</body></message>",
            Some(format!("<message id='1'><body>ciao</body>{hour}</message>")),
        ),
        ("<presence id='2'/>", Some(format!("<presence id='2'>{hour}</presence>"))),
        ("<presence id='3' type='subscribe'/>", Some(format!("<presence id='3' type='subscribe'>{hour}</presence>"))),
        ("<iq id='4' type='get'/>", None),
        ("<message id='5' type='error'/>", None),
        ("<message id='6' type='headline'/>", None),
        ("<message id='7'><delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/></message>", None),
    ];
    for (stanza, _) in &sent {
        net.server_sends(conn, stanza);
    }
    net.cut(conn);
    net.advance(secs(600));
    net.skip();
    let conn = net.connect(JULIET);
    net.redeliver(conn);
    let expected: Vec<_> = sent.into_iter().map(|(stanza, stamped)| stamped.unwrap_or(stanza.to_owned())).collect();
    net.expect(&format!("S{conn}: {}", expected.concat()));
}

/// By the time it is sent again it may have been delayed before, by this host or another.
#[test]
fn a_delay_stamp_is_written_once() {
    let mut stanza: Element = "<message xmlns='jabber:client'/>".parse().unwrap();
    assert!(delay::stamp(&mut stanza, "capulet.lit", UNIX_EPOCH));
    assert!(!delay::stamp(&mut stanza, "montague.lit", UNIX_EPOCH + secs(1)));
    let stamps: Vec<_> = stanza.children().filter_map(|child| child.attr("from")).collect();
    assert_eq!(stamps, ["capulet.lit"]);
}
