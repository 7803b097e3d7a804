//! An `<r/>` is answered at once, and again when what it asked about is handled.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use xmpp_sm::{Action, Counter, Inbound, NS, Nonza};

use crate::support::at_work::{NOW, action, enabled_server};
use crate::support::raw::{answer, deliver, detach, enabled, resuming};
use crate::support::{JULIET, Net, quiet, state_of};

#[test]
fn an_r_is_answered_at_once_and_again_when_the_rest_is_handled() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(quiet()), now);
    let [first, second] = [(); 2].map(|()| deliver(&mut stream, now));
    assert_eq!(answer(&mut stream, now), Counter::ZERO);
    // What comes after the question is not part of it.
    let third = deliver(&mut stream, now);
    assert_eq!(stream.record_handled(second), Ok(None));
    assert_eq!(stream.record_handled(first), Ok(Some(Nonza::Ack(Counter::new(2)))));
    assert_eq!(stream.record_handled(third), Ok(None));
    assert_eq!(answer(&mut stream, now), Counter::new(3));
}

/// A stanza that is open alone is settled another way.
#[test]
fn a_request_that_waits_for_one_stanza_is_answered_again_when_that_is_settled() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(quiet()), now);
    let receipt = deliver(&mut stream, now);
    assert_eq!(answer(&mut stream, now), Counter::ZERO);
    assert_eq!(stream.record_handled(receipt), Ok(Some(Nonza::Ack(Counter::new(1)))));
    // Once.
    let receipt = deliver(&mut stream, now);
    assert_eq!(stream.record_handled(receipt), Ok(None));
}

#[test]
fn an_answer_that_the_lost_stream_was_owed_is_not_given_on_the_next() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = enabled::<String>(&config, now);
    let receipt = deliver(&mut stream, now);
    answer(&mut stream, now);
    let mut session = detach(stream, now);
    session.record_handled(receipt).unwrap();
    let (mut again, request) = resuming(&config, 0, now);
    let _ = again.accept_resume(request, session, now).unwrap();
    let receipt = deliver(&mut again, now);
    assert_eq!(again.record_handled(receipt), Ok(None));
}

const MILLION: usize = 1_000_000;

#[test]
fn a_million_requests_in_one_read_get_a_million_answers_and_leave_nothing_behind() {
    let mut stream = enabled_server();
    let before = state_of(&stream);
    let answer = format!("<a xmlns='{NS}' h='1'/>");
    let mut out = BytesMut::new();
    for _ in 0..MILLION {
        let inbound = Inbound::from_parts("r", NS, "jabber:client", [], None, 9);
        let Ok(Action::Write(nonza)) = stream.handle(inbound, *NOW) else { panic!("no answer") };
        out.clear();
        nonza.write_to(&mut out);
        assert_eq!(out, answer.as_bytes());
    }
    assert_eq!(state_of(&stream), before);
}

#[test]
fn requests_for_a_stanza_in_the_hosts_hands_are_owed_one_more_answer_in_all() {
    let mut stream = enabled_server();
    let Action::Deliver(receipt) = action(&mut stream, "<message/>") else { panic!() };
    let _ = action(&mut stream, "<r/>");
    let before = state_of(&stream);
    for _ in 0..MILLION {
        let Ok(Action::Write(answer)) = stream.handle(Inbound::Nonza(Nonza::AckRequest), *NOW) else { panic!() };
        assert_eq!(answer, Nonza::Ack(1.into()));
    }
    assert_eq!(state_of(&stream), before, "however often it is asked");
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
