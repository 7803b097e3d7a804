//! A buffer that is full, a session that ends, and what it leaves behind.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use minidom::Element;
use xmpp_sm::{
    Action, Detached, Disconnected, Ending, Error, Inbound, Nonza, OnFull, Parts, Refusal, ResumeError, Resumed,
    StaleH, StreamMgmt, delay,
};

use crate::support::{Conn, Net, Side, quiet, secs};
use crate::support_raw::{authenticated, bound, deliver, element, enabled, smid};
use crate::{JULIET, stanzas};

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
    net.ended(&[(conn, Ending::BufferFull)]);
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
    net.ended(&[(conn, Ending::BufferFull)]);
    net.handed_back(&["BufferFull, 1, at 0 s: <message id='m1'/>", "BufferFull, 2, at 1 s: <message id='m2'/>"]);
    // The one that did not fit was not written, and came back.
    net.undelivered(&["<message id='m3'/>"]);
}

#[test]
fn a_full_buffer_gives_up_resumability_and_keeps_the_stream() {
    let (mut net, conn) = full(OnFull::GiveUpResumability);
    net.expect("S: <message id='m1'/><message id='m2'/><message id='m3'/>");
    net.handed_back(&["evicted, 1, at 0 s: <message id='m1'/>"]);
    // Acknowledgements go on as if nothing had been, however much room there is again.
    net.acks(conn, Side::Client);
    net.skip();
    assert_eq!((net.errors.len(), net.server(conn).unacked().count()), (0, 0));
    net.server_sends(conn, "<message id='m4'/>");
    net.cut(conn);
    net.ended(&[(conn, Ending::NotResumable)]);
    net.handed_back(&["NotResumable, 4, at 3 s: <message id='m4'/>"]);
    net.skip();
    net.resume(conn);
    net.expect(
        "C2: <resume h='3' previd='sm-1'/>
         S2: <failed><item-not-found/></failed>",
    );
}

/// It is not torn down for a request that would only be refused.
#[test]
fn a_stream_that_gave_up_resumability_is_not_taken_over() {
    let (mut net, conn) = full(OnFull::GiveUpResumability);
    net.skip();
    assert_eq!(net.server(conn).check_resume(3.into()), Err(Refusal::NotFound));
    let other = net.open(JULIET);
    net.authenticate(other);
    net.client_writes(other, "<resume previd='sm-1' h='3'/>");
    net.acks(conn, Side::Client);
    net.expect(
        "C2: <resume h='3' previd='sm-1'/>
         C: <a h='3'/>
         S2: <failed><item-not-found/></failed>",
    );
    assert_eq!(net.server(conn).unacked().count(), 0);
}

type Way = fn(&mut Net, Conn);

/// Every way in which a session of a server ends, and how it is called.
const ENDS: [(Ending, Way); 7] = [
    (Ending::Closed, |net, conn| net.closes(conn, Side::Client)),
    (Ending::Closed, |net, conn| net.closes(conn, Side::Server)),
    (Ending::Expired, |net, conn| {
        net.cut(conn);
        net.advance(secs(600));
    }),
    (Ending::Replaced, |net, conn| net.server_ends(conn, Ending::Replaced)),
    (Ending::Stopped, |net, conn| {
        net.cut(conn);
        net.server_ends(conn, Ending::Stopped);
    }),
    (Ending::PeerFault, |net, conn| net.client_writes(conn, "<a h='7'/>")),
    (Ending::PeerFault, |net, conn| net.client_writes(conn, "<enable/>")),
];

#[test]
fn a_session_that_ends_hands_back_what_is_unacknowledged_once_and_in_order() {
    for (ending, end) in ENDS {
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
        net.ended(&[(conn, ending)]);
        net.handed_back(&[
            &format!("{ending:?}, 2, at 10 s: <message id='m2'/>"),
            &format!("{ending:?}, 3, at 20 s: <message id='m3'/>"),
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
    net.ended(&[(conn, Ending::Closed)]);
    net.handed_back(&[]);
    assert!(net.store.is_empty());
}

/// After `</stream:stream>` nothing may be written.
#[test]
fn a_stream_that_closes_in_good_order_says_nothing_more() {
    let now = Instant::now();
    let config = quiet().ack(true).buffer_max(stanzas(1)).on_full(GRACE);
    let mut stream = enabled::<&str>(&Arc::new(config), now);
    let receipts: Vec<_> = (0..2).map(|_| deliver(&mut stream, now)).collect();
    assert!(matches!(stream.handle(Inbound::Nonza(Nonza::Request), now), Ok(Action::Send(_))));
    for stanza in ["m1", "m2"] {
        let _ = stream.record_sent(stanza, now).unwrap();
    }
    assert_eq!(stream.finish(), Some(Nonza::Ack(0.into())));
    assert_eq!((stream.finish(), stream.ack(), stream.request(now)), (None, None, None));
    assert_eq!((stream.poll_timeout(), stream.handle_timeout(now + secs(600))), (None, Ok(None)));
    assert!(matches!(stream.handle(Inbound::Nonza(Nonza::Request), now), Ok(Action::Other)));
    // What was handled still counts, for the session that ends, and what the peer acknowledges is not handed back.
    for receipt in receipts {
        assert_eq!(stream.record_handled(receipt), Ok(None), "an <r/> had waited for it");
    }
    assert!(matches!(stream.handle(Inbound::Nonza(Nonza::Ack(1.into())), now), Ok(Action::Acked(_))));
    let Disconnected::Ended(ended) = stream.disconnect(now) else { panic!("it was closed") };
    assert_eq!(
        (ended.ending, ended.h.get(), ended.unacked.map(|back| back.stanza).collect()),
        (Ending::Closed, 2, vec!["m2"])
    );
}

/// A request that comes after all cannot be answered, and a session that waits is left to wait.
#[test]
fn a_stream_that_closes_before_it_is_enabled_takes_no_request() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = bound::<&str>(&config);
    assert_eq!(stream.finish(), None);
    assert!(matches!(stream.handle(element("enable resume='true'"), now), Ok(Action::Other)));
    let mut stream = authenticated::<&str>(&config);
    assert_eq!(stream.finish(), None);
    assert!(matches!(stream.handle(element("resume previd='x' h='0'"), now), Ok(Action::Other)));
    // The host has the request in its hands.
    let mut stream = authenticated::<&str>(&config);
    let Ok(Action::Resume(request)) = stream.handle(element("resume previd='x' h='0'"), now) else { panic!() };
    assert_eq!(stream.finish(), None);
    let parts = Parts {
        smid: request.previd().clone(),
        deadline: None,
        window: None,
        h: 0.into(),
        acked: 0.into(),
        unacked: vec![],
    };
    let session = Detached::from_parts(config.clone(), parts).unwrap();
    assert!(matches!(stream.accept_resume(request, session, now), Err(ResumeError::Mismatch { .. })));
    // A client's session has been asked for, and is not any more.
    let parts =
        Parts { smid: smid(), deadline: None, window: None, h: 0.into(), acked: 0.into(), unacked: vec![("m1", now)] };
    let session = Detached::from_parts(config.clone(), parts).unwrap();
    let (mut client, _) = StreamMgmt::resume(config, session).unwrap();
    assert_eq!(client.finish(), None);
    let resumed = Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h: 0.into() }));
    assert!(matches!(client.handle(resumed, now), Ok(Action::Other)));
    let Disconnected::Ended(ended) = client.disconnect(now) else { panic!("it was closed") };
    assert_eq!((ended.ending, ended.unacked.len()), (Ending::Closed, 1));
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
    net.server_ends(conn, Ending::Stopped);
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
        // Nobody comes back to a session that was closed in good order.
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
