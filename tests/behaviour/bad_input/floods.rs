//! More than anybody asked for.

use bytes::BytesMut;
use xmpp_sm::{Action, Counter, Error, NS, WrongH};

use super::*;
use crate::support::{Net, Side};

const MILLION: usize = 1_000_000;

#[test]
fn a_million_requests_in_one_read_get_a_million_answers_and_leave_nothing_behind() {
    let mut stream = enabled_server();
    let before = crate::support::state_of(&stream);
    let answer = format!("<a xmlns='{NS}' h='1'/>");
    let mut out = BytesMut::new();
    for _ in 0..MILLION {
        let inbound = Inbound::from_parts("r", NS, "jabber:client", [], None, 9);
        let Ok(Action::Write(nonza)) = stream.handle(inbound, *NOW) else { panic!("no answer") };
        out.clear();
        nonza.write_to(&mut out);
        assert_eq!(out, answer.as_bytes());
    }
    assert_eq!(crate::support::state_of(&stream), before);
}

#[test]
fn requests_for_a_stanza_in_the_hosts_hands_are_owed_one_more_answer_in_all() {
    let mut stream = enabled_server();
    let Action::Deliver(receipt) = action(&mut stream, "<message/>") else { panic!() };
    let _ = action(&mut stream, "<r/>");
    let before = crate::support::state_of(&stream);
    for _ in 0..MILLION {
        let Ok(Action::Write(answer)) = stream.handle(Inbound::Nonza(Nonza::AckRequest), *NOW) else { panic!() };
        assert_eq!(answer, Nonza::Ack(1.into()));
    }
    assert_eq!(crate::support::state_of(&stream), before, "however often it is asked");
    assert_eq!(stream.record_handled(receipt), Ok(Some(Nonza::Ack(2.into()))));
    let Action::Deliver(receipt) = action(&mut stream, "<message/>") else { panic!() };
    assert_eq!(stream.record_handled(receipt), Ok(None), "it was not asked since");
}

#[test]
fn requests_in_one_read_over_the_wire() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.client_writes(juliet, &format!("<message/>{}", format!("<r xmlns='{NS}'/>").repeat(1000)));
    net.expect(&format!("C: <message/> {} S: {}", "<r/>".repeat(1000) + "\n", "<a h='1'/>".repeat(1000)));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent() {
    // One acknowledged, three sent.
    for h in [4, 5, 100, 1 << 31, (1 << 31) + 1] {
        let mut stream = enabled_server();
        let error = refuses(&mut stream, &format!("<a h='{h}'/>"));
        let why = WrongH::TooHigh { h: h.into(), sent: 3.into() };
        assert_eq!(error, Error::WrongH { element: xmpp_sm::Kind::Ack, why });
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
        assert_eq!(error, Error::WrongH { element: xmpp_sm::Kind::Ack, why });
        let end = end_of(error);
        assert!(end.contains("<undefined-condition/>") && !end.contains("handled-count-too-high"), "{end}");
        assert!(end.contains(&format!("You acknowledged {h} stanzas, but had already acknowledged 1.")), "{end}");
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_with_the_buffer_off() {
    let mut net = Net::new(quiet().buffer(false));
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<message/>");
    net.client_writes(juliet, "<a h='1'/>");
    net.run();
    assert!(net.server(juliet).is_enabled());
    net.skip();
    net.client_writes(juliet, "<a h='2'/>");
    net.expect(
        "C: <a h='2'/>
         S: <stream:error>
              <undefined-condition/>
              <text xml:lang='en'>You acknowledged 2 stanzas, but I only sent you 1 so far.</text>
              <handled-count-too-high h='2' send-count='1'/>
            </stream:error>
            </stream:stream>",
    );
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_at_the_wrap() {
    let last = u32::MAX;
    for (acked, sends, h, right) in [
        (last, 0, 0, false),
        (last, 1, 0, true),
        (last, 1, 1, false),
        (last - 1, 3, 1, true),
        (last - 1, 3, 2, false),
        (last - 1, 3, last - 2, false),
        (0, 1, last, false),
    ] {
        let mut net = Net::new(quiet());
        let (_, session) = net.started_at(JULIET, 0, acked);
        let conn = net.resume_with(JULIET, session);
        net.run();
        for _ in 0..sends {
            net.server_sends(conn, "<message/>");
        }
        net.run();
        net.client_writes(conn, &format!("<a h='{h}'/>"));
        net.run();
        let lives = matches!(net.peer(conn, Side::Server).place, crate::support::Place::Live(_));
        assert_eq!(lives, right, "{acked} and {sends} more: {h}");
        if right {
            assert_eq!(net.server(conn).acked(), Counter::new(h));
        }
    }
}

#[test]
fn more_stanzas_than_the_host_can_hold() {
    let mut net = Net::new(quiet().receipts_max(const { std::num::NonZeroU32::new(3).unwrap() }));
    let juliet = net.login(JULIET);
    net.holds(juliet, Side::Server);
    for _ in 0..3 {
        net.client_sends(juliet, "<message/>");
    }
    net.run();
    let stream = net.stream_mut(juliet, Side::Server);
    assert_eq!(refuses(stream, "<message/>"), Error::ReceiptsFull);
    assert_eq!(Error::ReceiptsFull.fault(), xmpp_sm::Fault::Host);
    // Other elements are no burden, and what is settled makes room once `h` can go on.
    assert!(matches!(action(net.stream_mut(juliet, Side::Server), "<r/>"), Action::Write(_)));
    net.settles(juliet, Side::Server, 3);
    assert_eq!(refuses(net.stream_mut(juliet, Side::Server), "<message/>"), Error::ReceiptsFull);
    net.settles(juliet, Side::Server, 1);
    let Action::Deliver(receipt) = action(net.stream_mut(juliet, Side::Server), "<message/>") else { panic!() };
    assert_eq!(receipt.number(), Some(4.into()));
}
