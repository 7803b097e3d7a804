//! A stream that closes is another type. It takes acknowledgements, and ends.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Closing, Counter, Detached, EndReason, Inbound, Nonza, OnFull, Parts, Receipt, ReceiptError, Resumed, StreamMgmt,
};

use crate::support::raw::{
    authenticated, bound, client, deliver, element, enabled, enabling, feed, read, resuming, smid,
};
use crate::support::{JULIET, Net, Side, quiet, secs, stanzas};

/// A stream that has handled two stanzas of three, and sent three.
fn closing(now: Instant) -> (Option<Nonza>, Closing<&'static str>, Receipt) {
    let mut stream = enabled(&Arc::new(quiet().request_acks(true)), now);
    let [first, second, third] = [(); 3].map(|()| deliver(&mut stream, now));
    for receipt in [first, second] {
        stream.record_handled(receipt).unwrap();
    }
    for stanza in ["m1", "m2", "m3"] {
        let _ = stream.record_sent(stanza, now).unwrap();
    }
    let (last, closing) = stream.finish();
    (last, closing, third)
}

fn a(h: u32) -> Inbound {
    Nonza::Ack(h.into()).into()
}

#[test]
fn the_last_a_and_the_last_h_agree() {
    let (last, closing, receipt) = closing(Instant::now());
    assert_eq!(last, Some(Nonza::Ack(2.into())));
    let ended = closing.end(EndReason::Closed);
    assert_eq!((ended.reason, ended.smid, ended.h.get()), (EndReason::Closed, Some(smid()), 2));
    assert_eq!(ended.open_receipts, 1);
    let back: Vec<_> = ended.unacked.map(|back| (back.number.get(), back.stanza)).collect();
    assert_eq!(back, [(1, "m1"), (2, "m2"), (3, "m3")]);
    // A receipt that comes too late is good for no other session.
    let mut other = enabled::<&str>(&Arc::new(quiet()), Instant::now());
    assert!(matches!(other.record_handled(receipt), Err(ReceiptError::Foreign(_))));
}

#[test]
fn what_the_peer_acknowledges_until_it_closes_does_not_come_back() {
    let now = Instant::now();
    for acks in [&[2][..], &[1, 2], &[0, 2, 2]] {
        let (_, mut closing, _receipt) = closing(now);
        let counts: Vec<_> = acks.iter().map(|h| closing.handle(&a(*h))).collect();
        assert_eq!(counts.iter().sum::<u32>(), 2, "{acks:?}");
        let ended = closing.end(EndReason::Closed);
        assert_eq!(ended.unacked.map(|back| back.stanza).collect::<Vec<_>>(), ["m3"], "{acks:?}");
    }
    // The stanzas can be had, as from a stream.
    let (_, mut closing, _receipt) = closing(now);
    let mut acknowledged = Vec::new();
    assert_eq!(closing.handle_into(&a(1), &mut acknowledged), 1);
    assert_eq!(closing.handle_into(&a(3), &mut acknowledged), 2);
    let acknowledged: Vec<_> = acknowledged.iter().map(|back| (back.number.get(), back.stanza, back.queued)).collect();
    assert_eq!(acknowledged, [(1, "m1", now), (2, "m2", now), (3, "m3", now)]);
    assert_eq!(closing.end(EndReason::Closed).unacked.len(), 0);
}

#[test]
fn an_h_that_cannot_be_right_acknowledges_nothing() {
    let (_, mut closing, _receipt) = closing(Instant::now());
    let mut into = Vec::new();
    for h in [4, u32::MAX, 1 << 31] {
        assert_eq!((closing.handle(&a(h)), closing.handle_into(&a(h), &mut into)), (0, 0), "{h}");
    }
    assert_eq!(closing.handle(&a(2)), 2);
    assert_eq!((closing.handle(&a(1)), into.len()), (0, 0), "it was taken back");
    assert_eq!(closing.end(EndReason::Closed).unacked.len(), 1);
}

#[test]
fn everything_else_is_too_late() {
    let (_, mut closing, _receipt) = closing(Instant::now());
    let before = format!("{closing:?}");
    let texts = ["r", "enable resume='true'", "resume previd='sm' h='1'", "enabled", "failed h='1'", "a", "a h='x'"];
    let elements = texts.map(element).into_iter().chain([
        Inbound::Stanza { bytes: 9 },
        Inbound::Other,
        Inbound::StreamError { conflict: true },
        Nonza::Resumed(Resumed { previd: smid(), h: 1.into() }).into(),
    ]);
    for inbound in elements {
        assert_eq!(closing.handle(&inbound), 0, "{inbound:?}");
        assert_eq!(format!("{closing:?}"), before, "{inbound:?}");
    }
    let ended = closing.end(EndReason::Stopped);
    assert_eq!((ended.reason, ended.h.get(), ended.unacked.len()), (EndReason::Stopped, 2, 3));
}

#[test]
fn a_stream_that_was_never_enabled_closes_without_a_word() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut refused = bound::<&str>(&config);
    assert!(refused.handle(element("enable"), now).is_ok(), "and the host drops the request");
    let (asked, _request) = resuming(&config, 0, now);
    let streams = [
        StreamMgmt::server(config.clone()),
        StreamMgmt::disabled(config.clone()),
        StreamMgmt::client(config.clone()),
        authenticated(&config),
        bound(&config),
        refused,
        asked,
    ];
    for stream in streams {
        let (last, mut closing) = stream.finish();
        assert_eq!((last, closing.handle(&a(0)), closing.handle(&a(1))), (None, 0, 0));
        let ended = closing.end(EndReason::Closed);
        assert_eq!((ended.smid, ended.h, ended.unacked.len()), (None, Counter::ZERO, 0));
    }
}

/// A client that gives up waiting for its server has sent, and says nothing of stream management.
#[test]
fn a_client_that_waits_for_its_server_closes_and_loses_nothing() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut client = enabling::<&str>(&config);
    for stanza in ["m1", "m2"] {
        let _ = client.record_sent(stanza, now).unwrap();
    }
    let (last, mut closing) = client.finish();
    // The `<enabled/>` that was on its way counts for nothing; the `<a/>` behind it does.
    assert_eq!((last, closing.handle(&element("enabled")), closing.handle(&a(1))), (None, 0, 1));
    assert_eq!(closing.end(EndReason::Closed).unacked.map(|back| back.stanza).collect::<Vec<_>>(), ["m2"]);

    let parts = Parts {
        smid: smid(),
        deadline: None,
        resume_timeout: None,
        h: 4.into(),
        acked: 0.into(),
        unacked: vec![("m1", now)],
    };
    let session = Detached::from_parts(config.clone(), parts).unwrap();
    let (client, _) = StreamMgmt::resume(config, session).unwrap();
    let (last, closing) = client.finish();
    let ended = closing.end(EndReason::Closed);
    assert_eq!((last, ended.smid, ended.h.get(), ended.unacked.len()), (None, Some(smid()), 4, 1));
}

/// As seen by the peers: the server closes, and what the client has read of it counts until the client closes, too.
#[test]
fn the_answer_to_a_close_counts() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    for n in 1..=5 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.closes(conn, Side::Server);
    // It is too late for what the client has sent meanwhile.
    net.client_sends(conn, "<message id='c1'/>");
    net.client_writes(conn, "<r/>");
    net.expect(
        "S: <message id='m1'/><message id='m2'/><message id='m3'/><message id='m4'/><message id='m5'/>
         S: <a h='0'/></stream:stream>
         C: <message id='c1'/><r/>
         C: <a h='5'/></stream:stream>",
    );
    net.ended(&[(conn, EndReason::Closed)]);
    net.handed_back(&[]);
    assert_eq!(net.got(conn, Side::Server), [""; 0]);
    // And the client has it back.
    net.handed_back_to_client(&["Closed, 1, at 0 s: <message id='c1'/>"]);
}

/// What is due on a stream ends with it: a grace that has begun before the close ends nothing after it.
#[test]
fn a_stream_that_closes_has_no_timeouts() {
    let mut net = Net::new(quiet().buffer_max(stanzas(1)).on_full(OnFull::EndAfter(secs(5))));
    let conn = net.login(JULIET);
    for n in 1..=2 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.closes(conn, Side::Server);
    net.advance(secs(600));
    assert_eq!(net.errors, []);
    net.ended(&[]);
    net.run();
    net.ended(&[(conn, EndReason::Closed)]);
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
fn the_last_a_goes_out_before_the_stream_is_closed() {
    let now = Instant::now();
    let mut client = client::<&str>(&Arc::new(quiet()));
    let _ = client.enable().unwrap();
    let _ = feed(&mut client, "<enabled id='x' resume='true'/>", now).unwrap();
    for mut stream in [enabled::<&str>(&Arc::new(quiet()), now), client] {
        let handled = deliver(&mut stream, now);
        stream.record_handled(handled).unwrap();
        for stanza in ["<presence/>", "<message/>"] {
            let _ = stream.record_sent(stanza, now).unwrap();
        }
        assert!(stream.is_resumable());
        let (last, mut closing) = stream.finish();
        assert_eq!(last, Some(Nonza::Ack(1.into())));
        // The peer's last one, before its own end of the stream.
        assert_eq!(closing.handle(&read("<a h='1'/>")), 1);
        let ended = closing.end(EndReason::Closed);
        assert_eq!(ended.h.get(), 1);
        assert!(ended.unacked.map(|returned| returned.stanza).eq(["<message/>"]));
    }
    assert_eq!(bound::<&str>(&Arc::new(quiet())).finish().0, None);
}
