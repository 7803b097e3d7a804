//! Receipts that are open when the stream goes, and ones that stay so: `h` covers what the host has handled.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Counter, EndReason, Nonza, NotOpen, ReceiptError, ReceiptsOpen, StreamMgmt};

use crate::support::raw::{Seen, answer, deliver, detach, enabled, enabling, not_yet, resuming};
use crate::support::{JULIET, Net, Side, quiet, secs};

#[test]
fn receipts_that_are_open_belong_to_the_session_and_go_with_it() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = enabled::<String>(&config, now);
    let receipts = [(); 4].map(|()| deliver(&mut stream, now));
    let [first, second, third, fourth] = receipts;
    stream.record_handled(second).unwrap();
    let mut session = detach(stream, now);
    assert_eq!((session.open_receipts(), session.h()), (3, Counter::ZERO));
    session.record_handled(first).unwrap();
    assert_eq!((session.open_receipts(), session.h()), (2, Counter::new(2)));

    // The peer asks to go on, and has to wait: to say 2 now would have it send 3 and 4 again.
    let (mut again, request) = resuming(&config, 0, now);
    let (request, mut session) = not_yet(again.accept_resume(request, session, now));
    session.record_handled(fourth).unwrap();
    let (request, mut session) = not_yet(again.accept_resume(request, session, now));
    // The host settles the rest, whether it can still handle it or not.
    assert_eq!(session.oldest_open().map(|open| open.number), Some(Counter::new(3)));
    session.settle_without_receipt(Counter::new(3)).unwrap();
    let resumption = again.accept_resume(request, session, now).unwrap();
    assert_eq!(resumption.write.to_string(), "<resumed xmlns='urn:xmpp:sm:3' previd='sm' h='4'/>");
    assert!(matches!(again.record_handled(third), Err(ReceiptError::SettledBefore(_))));
}

/// As seen by the peers: what is handled late is handled once.
#[test]
fn receipts_that_are_open_make_a_resume_wait() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.holds(conn, Side::Server);
    for n in 1..=2 {
        net.client_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.run();
    net.cut(conn);
    net.skip();
    let again = net.resume(conn);
    net.expect("C2: <resume h='0' previd='sm-1'/>");
    net.settles(conn, Side::Server, 2);
    net.expect("");
    net.settles(conn, Side::Server, 1);
    net.expect("S2: <resumed h='2' previd='sm-1'/>");
    assert_eq!((net.got(again, Side::Server), net.client(again).unacked().count()), (vec!["m1", "m2"], 0));
}

/// The peer has asked in time. That the host takes its own over what is open is not to its loss.
#[test]
fn a_resume_that_came_in_time_is_not_late_when_the_last_receipt_is_settled() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = enabled::<String>(&config, now);
    let receipt = deliver(&mut stream, now);
    let session = detach(stream, now);
    let (mut again, request) = resuming(&config, 0, now + secs(599));
    let (request, mut session) = not_yet(again.accept_resume(request, session, now + secs(599)));
    session.record_handled(receipt).unwrap();
    let resumed = again.accept_resume(request, session, now + secs(601)).expect("it came in time").write;
    assert!(resumed.to_string().contains("h='1'"), "{resumed}");
}

#[test]
fn receipts_that_are_open_hold_a_clients_resume_back() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = enabled::<String>(&config, now);
    let receipt = deliver(&mut stream, now);
    let session = detach(stream, now);
    let before = Seen::from(&session);
    let Err(ReceiptsOpen { mut session }) = StreamMgmt::resume(config.clone(), session) else { panic!("one is open") };
    assert_eq!(Seen::from(&session), before);
    session.record_handled(receipt).unwrap();
    let Ok((_, resume)) = StreamMgmt::resume(config, session) else { panic!("all is settled") };
    assert_eq!(resume.to_string(), "<resume xmlns='urn:xmpp:sm:3' previd='sm' h='1'/>");
}

#[test]
fn receipts_that_are_open_at_the_end_are_told() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(quiet()), now);
    let [first, _second, _third] = [(); 3].map(|()| deliver(&mut stream, now));
    stream.record_handled(first).unwrap();
    let ended = detach(stream, now).end(EndReason::Stopped);
    assert_eq!((ended.h, ended.open_receipts), (Counter::new(1), 2));
}

#[test]
fn a_receipt_that_is_never_settled_stops_h_and_can_be_seen_and_given_up() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(quiet()), now);
    let mut receipts = Vec::new();
    for second in 0..5 {
        receipts.push(deliver(&mut stream, now + second * secs(1)));
    }
    let lost = receipts.remove(1);
    for receipt in receipts {
        stream.record_handled(receipt).unwrap();
    }
    assert_eq!(answer(&mut stream, now), Counter::new(1));
    let oldest = stream.oldest_open().unwrap();
    assert_eq!((oldest.number, oldest.since, stream.open_receipts()), (Counter::new(2), now + secs(1), 1));
    // No other number has an open receipt.
    for number in [0, 1, 3, 6, u32::MAX] {
        assert_eq!(stream.settle_without_receipt(Counter::new(number)), Err(NotOpen(Counter::new(number))));
    }
    assert_eq!(stream.settle_without_receipt(oldest.number), Ok(Some(Nonza::Ack(Counter::new(5)))));
    assert_eq!((stream.oldest_open(), stream.open_receipts()), (None, 0));
    // If it turns up after all, it settles nothing.
    let Err(ReceiptError::SettledBefore(lost)) = stream.record_handled(lost) else { panic!("it was given up") };
    assert_eq!((lost.number(), stream.h()), (Some(Counter::new(2)), Counter::new(5)));
}

#[test]
fn a_receipt_of_another_session_comes_back_and_counts_for_nothing() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let (mut one, mut other) = (enabled::<String>(&config, now), enabled::<String>(&config, now));
    let receipt = deliver(&mut one, now);
    let _open = deliver(&mut other, now);
    let Err(ReceiptError::Foreign(receipt)) = other.record_handled(receipt) else { panic!("it is not its own") };
    let mut other = detach(other, now);
    let Err(ReceiptError::Foreign(receipt)) = other.record_handled(receipt) else { panic!("it is not its own") };
    assert_eq!((other.h(), other.open_receipts()), (Counter::ZERO, 1));
    one.record_handled(receipt).unwrap();
    assert_eq!(one.h(), Counter::new(1));
    // The session that a client gave up has taken its receipts with it.
    let mut client = enabling::<String>(&config);
    let before = deliver(&mut client, now);
    assert_eq!(before.number(), None);
    assert_eq!(client.record_handled(before), Ok(None));
}
