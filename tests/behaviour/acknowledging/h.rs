//! What an `h` may be, and what becomes of a peer whose `h` cannot be.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{
    Action, Condition, Counter, EndReason, Error, Failed, Fault, Inbound, Kind, LastWords, Nonza, NotResumed,
    NotResumedWhy, Reaction, Refusal, Resumed, SmId, StreamError, StreamMgmt, WrongH,
};

use crate::support::at_work::{action, enabled_server, end_of, refuses};
use crate::support::raw::{Seen, ack, deliver, detach, enabled, feed, resumed_at, resuming, smid};
use crate::support::{JULIET, Net, Side, quiet, secs};

/// A stream whose peer has acknowledged so many stanzas, and was sent so many more.
fn stream_at(acked: u32, unacked: u32, now: Instant) -> StreamMgmt<String> {
    let mut stream = resumed_at(&Arc::new(quiet()), 0, acked, now);
    for n in 0..unacked {
        let _ = stream.record_sent(format!("m{n}"), now).unwrap();
    }
    stream
}

/// How many stanzas an `h` on each of the three elements acknowledges, or nothing if it is refused.
fn by_each_element(acked: u32, unacked: u32, h: u32, now: Instant) -> [Option<u32>; 3] {
    let by_a = ack(&mut stream_at(acked, unacked, now), h, now).ok().map(|acked| acked.count);

    let (mut again, request) = resuming(&Arc::new(quiet()), h, now);
    let resumed = again.accept_resume(request, detach(stream_at(acked, unacked, now), now), now);
    let by_resume = resumed.ok().map(|_| unacked - u32::try_from(again.unacked().len()).unwrap());

    let session = detach(stream_at(acked, unacked, now), now);
    let (mut client, _) = StreamMgmt::resume(Arc::new(quiet()), session).unwrap();
    let element = Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h: h.into() }));
    let by_resumed = match client.handle(element, now) {
        Ok(Action::Resumed(_)) => Some(unacked - u32::try_from(client.unacked().len()).unwrap()),
        _ => None,
    };
    [by_a, by_resume, by_resumed]
}

#[test]
fn h_is_right_if_it_is_no_further_than_what_is_unacknowledged() {
    let now = Instant::now();
    for acked in [0, 1, 7, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        for unacked in 0..=3 {
            let near = (0..=8).map(|n| acked.wrapping_sub(4).wrapping_add(n));
            for h in near.chain([0, u32::MAX, acked ^ (1 << 31)]) {
                let n = h.wrapping_sub(acked);
                let expected = (n <= unacked).then_some(n);
                assert_eq!(by_each_element(acked, unacked, h, now), [expected; 3], "{acked} + {unacked}, {h}");
            }
        }
    }
}

#[test]
fn h_wrong_on_resume_is_a_bad_request_and_leaves_the_session_as_it_was() {
    let now = Instant::now();
    let (sent, acked) = (Counter::new(7), Counter::new(5));
    for (h, why) in
        [(8, WrongH::TooHigh { h: Counter::new(8), sent }), (4, WrongH::Backwards { h: Counter::new(4), acked })]
    {
        let session = detach(stream_at(5, 2, now), now);
        let before = Seen::from(&session);
        let (mut again, request) = resuming(&Arc::new(quiet()), h, now + secs(5));
        let refused = again.accept_resume(request, session, now + secs(5));
        let NotResumed { session, why: refused } = refused.unwrap_err();
        assert_eq!(refused, NotResumedWhy::Refused { write: bad_request(), refusal: Refusal::WrongH(why) });
        assert_eq!(Seen::from(&session), before);
        // The stream lives, too: the same client may ask again.
        assert!(again.has_feature());
    }
}

fn bad_request() -> Nonza {
    Nonza::Failed(Failed { h: None, condition: Some(Condition::BadRequest) })
}

#[test]
fn h_wrong_on_resumed_is_the_servers_fault_and_leaves_the_session_as_it_was() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.client_sends(conn, "<message id='m1'/>");
    net.cut(conn);
    net.skip();
    let conn = net.resume(conn);
    net.server_writes(conn, "<resumed previd='sm-1' h='2'/>");
    net.deliver_from(conn, Side::Server, 1);
    let why = WrongH::TooHigh { h: Counter::new(2), sent: Counter::new(1) };
    assert_eq!(net.errors, [(Side::Client, Error::WrongH { element: Kind::Resumed, why })]);
    net.handed_back_to_client(&["PeerFault, 1, at 0 s: <message id='m1'/>"]);

    let now = Instant::now();
    let session = detach(stream_at(0, 1, now), now);
    let before = Seen::from(&session);
    let (mut client, _) = StreamMgmt::resume(Arc::new(quiet()), session).unwrap();
    client.handle(Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h: Counter::new(2) })), now).unwrap_err();
    assert_eq!(Seen::from(&detach(client, now)), before);
}

#[test]
fn resumed_for_another_session_is_not_believed() {
    let now = Instant::now();
    let session = detach(stream_at(0, 1, now), now);
    let before = Seen::from(&session);
    let (mut client, _) = StreamMgmt::resume(Arc::new(quiet()), session).unwrap();
    let other = Inbound::Nonza(Nonza::Resumed(Resumed { previd: SmId::new("other").unwrap(), h: Counter::ZERO }));
    let error = client.handle(other, now).unwrap_err();
    assert_eq!(error, Error::ForeignSession);
    let Reaction::Close(end) = error.reaction() else { panic!("the server is not to be trusted") };
    assert_eq!((end.error, end.reason), (Some(StreamError::ForeignSession), EndReason::PeerFault));
    assert_eq!(Seen::from(&detach(client, now)), before);
}

#[test]
fn h_on_failed_spares_what_arrived_and_a_wrong_one_spares_nothing() {
    let now = Instant::now();
    for (h, back) in [(None, 3), (Some(5), 3), (Some(6), 2), (Some(8), 0), (Some(9), 3), (Some(4), 3)] {
        let (mut client, _) = StreamMgmt::resume(Arc::new(quiet()), detach(stream_at(5, 3, now), now)).unwrap();
        let failed = Failed { h: h.map(Counter::new), condition: Some(Condition::ItemNotFound) };
        let Ok(Action::Failed(told, ended)) = client.handle(Inbound::Nonza(Nonza::Failed(failed)), now) else {
            panic!("{h:?}")
        };
        assert_eq!((told, ended.reason), (failed, EndReason::ResumeRefused));
        let numbers: Vec<_> = ended.unacked.map(|returned| returned.number.get()).collect();
        assert_eq!(numbers, (6..=8).skip(3 - back).collect::<Vec<_>>(), "{h:?}");
    }
}

/// Nothing was handled on a stream that was not enabled: the `h` of that refusal is no reason to forget stanzas.
#[test]
fn h_on_failed_for_an_enable_spares_nothing() {
    let now = Instant::now();
    let mut client = StreamMgmt::client(Arc::new(quiet()));
    client.authenticated();
    client.bound();
    let _enable = client.enable().unwrap();
    for stanza in ["m1", "m2"] {
        assert_eq!(client.record_sent(stanza, now).unwrap().evicted, None);
    }
    let failed = Failed { h: Some(Counter::new(2)), condition: None };
    let Ok(Action::Failed(_, ended)) = client.handle(Inbound::Nonza(Nonza::Failed(failed)), now) else { panic!() };
    assert_eq!(ended.reason, EndReason::EnableRefused);
    assert_eq!(ended.unacked.map(|returned| returned.stanza).collect::<Vec<_>>(), ["m1", "m2"]);
}

#[test]
fn p03_send_count_is_what_was_sent() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    for n in 1..=8 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.client_writes(conn, "<a h='6'/>");
    net.skip();
    net.client_writes(conn, "<a h='10'/>");
    net.expect(
        "C: <a h='10'/>
         S: <stream:error><undefined-condition/>
              <text xml:lang='en'>You acknowledged 10 stanzas, but I only sent you 8 so far.</text>
              <handled-count-too-high h='10' send-count='8'/>
            </stream:error></stream:stream>",
    );
    net.ended(&[(conn, EndReason::PeerFault)]);
    net.handed_back(&["PeerFault, 7, at 0 s: <message id='m7'/>", "PeerFault, 8, at 0 s: <message id='m8'/>"]);
}

#[test]
fn p09_without_a_buffer_acknowledgements_are_checked_against_what_was_sent() {
    let mut net = Net::new(quiet().buffer(false));
    let conn = net.login(JULIET);
    for n in 1..=5 {
        net.server_sends(conn, "<message/>");
        if n % 2 == 1 {
            net.run();
            net.acks(conn, Side::Client);
        }
    }
    net.run();
    assert_eq!((net.errors.as_slice(), net.server(conn).acked().get()), ([].as_slice(), 5));
    assert!(net.server(conn).is_enabled());
    net.client_writes(conn, "<a h='6'/>");
    net.run();
    let why = WrongH::TooHigh { h: 6.into(), sent: 5.into() };
    assert_eq!(net.errors, [(Side::Server, Error::WrongH { element: Kind::Ack, why })]);
    net.handed_back(&[]);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent() {
    // One acknowledged, three sent.
    for h in [4, 5, 100, 1 << 31, (1 << 31) + 1] {
        let mut stream = enabled_server();
        let error = refuses(&mut stream, &format!("<a h='{h}'/>"));
        let why = WrongH::TooHigh { h: h.into(), sent: 3.into() };
        assert_eq!(error, Error::WrongH { element: Kind::Ack, why });
        assert!(end_of(error).contains(&format!("<handled-count-too-high h='{h}' send-count='3'/>")), "{h}");
        // Both directions are as they were: the right answer is still taken.
        let Action::Acknowledged(acked) = action(&mut stream, "<a h='3'/>") else { panic!() };
        assert_eq!(acked.count, 2);
    }
}

#[test]
fn an_acknowledgement_that_is_taken_back() {
    for h in [0, u32::MAX, u32::MAX - 5, (1 << 31) + 3] {
        let mut stream = enabled_server();
        let error = refuses(&mut stream, &format!("<a h='{h}'/>"));
        let why = WrongH::Backwards { h: h.into(), acked: 1.into() };
        assert_eq!(error, Error::WrongH { element: Kind::Ack, why });
        let stream_error = StreamError::HandledCountBackwards { h: h.into(), acked: 1.into() };
        let last = LastWords { write: None, error: Some(stream_error), reason: EndReason::PeerFault };
        assert_eq!((error.fault(), error.reaction()), (Fault::Peer, Reaction::Close(last)));
        let end = end_of(error);
        assert!(end.starts_with("<stream:error><undefined-condition/><text"), "{end}");
        assert!(
            end.ends_with(&format!(
                ">You acknowledged {h} stanzas, but had already acknowledged 1.</text></stream:error></stream:stream>"
            )),
            "{end}"
        );
    }
}

#[test]
fn an_a_needs_no_r() {
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(quiet()), now);
    let handled = deliver(&mut stream, now);
    assert_eq!(stream.record_handled(handled), Ok(None));
    assert_eq!(stream.send_ack(), Some(Nonza::Ack(1.into())));

    for stanza in ["<message id='1'/>", "<message id='2'/>"] {
        assert_eq!(stream.record_sent(stanza, now).unwrap().write, None);
    }
    for (h, new, left) in [(1, 1, 1), (1, 0, 1), (2, 1, 0), (2, 0, 0)] {
        let Ok(Action::Acknowledged(acked)) = feed(&mut stream, &format!("<a h='{h}'/>"), now) else { panic!() };
        assert_eq!((acked.h.get(), acked.count), (h, new));
        assert_eq!((stream.acked().get(), stream.unacked().len()), (h, left));
    }
    assert!(feed(&mut stream, "<a h='1'/>", now).is_err(), "it goes back behind the one on record");
    assert_eq!(stream.acked().get(), 2);
}
