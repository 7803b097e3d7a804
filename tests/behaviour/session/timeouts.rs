//! When something is due, and what a slow or sleeping host makes of it.

use super::*;
use xmpp_sm::{AckFreq, EndReason};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_silent_peer_is_detached_after_its_time_and_a_moment() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.wait(secs(60) - Duration::from_nanos(1));
    assert!(host.said().is_empty());
    host.wait(Duration::from_millis(51));
    assert_eq!(host.said(), [Said::Dropped(1)]);
    assert!(host.session.is_detached());
}

#[test]
fn an_answer_that_lies_unread_after_a_sleep_is_read_first() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.pass(DAY);
    host.session.timeout(host.now);
    assert!(host.session.deadline().is_some_and(|deadline| deadline > host.now), "the host looks at its socket first");
    host.pass(Duration::from_millis(49));
    host.ack(1);
    host.wait(secs(1000));
    assert!(host.said().is_empty());
}

#[test]
fn what_is_read_in_the_moment_prolongs_it_but_not_without_end() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.pass(DAY);
    let begin = host.now;
    while host.said().is_empty() {
        assert!(host.now < begin + secs(60), "there is always more to read, and no end");
        host.session.timeout(host.now);
        let receipt = if host.session.wants_read() { host.receive() } else { break };
        host.settle(receipt);
        host.pass(Duration::from_millis(10));
    }
    let took = host.now - begin;
    assert!(took > secs(4) && took < secs(6), "{took:?}");
}

#[test]
fn a_resume_that_lies_in_the_mailbox_after_a_sleep_is_in_time() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.pass(secs(599));
    let taker = host.taker(2, 0);
    host.pass(DAY);
    host.session.timeout(host.now);
    assert_eq!(host.said(), [Said::Dropped(1)]);
    host.session.take(taker, host.now);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> |");
}

#[test]
fn a_session_expires() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.lost();
    host.wait(secs(599));
    host.send("<m2/>");
    assert!(host.session.is_detached());
    host.wait(secs(2));
    let ended = host.ended();
    assert_eq!((ended.reason, ended.h), (EndReason::Expired, counter(0)));
    assert_eq!(left(ended), ["Unacknowledged <m1/>", "Unsent <m2/>"]);
}

#[test]
fn a_deadline_can_be_moved_while_the_session_is_detached() {
    let mut host = Host::new(Config::default());
    assert!(!host.session.set_expires_at(None));
    host.lost();
    assert!(host.session.set_expires_at(Some(host.now + DAY)));
    host.wait(DAY - secs(1));
    assert!(host.session.is_detached());
    host.wait(secs(2));
    assert_eq!(host.ended().reason, EndReason::Expired);
}

#[test]
fn while_this_side_does_not_read_the_peer_is_not_blamed() {
    let mut host = Host::new(Config::default().receipts_max(n(1)));
    host.send("<m1/>");
    host.written();
    host.pass(secs(50));
    let open = host.receive();
    assert!(!host.session.wants_read());
    host.wait(DAY);
    assert!(host.said().is_empty());
    host.settle(open);
    assert!(host.session.wants_read());
    host.wait(secs(9));
    assert!(host.said().is_empty(), "the time went on where it stood");
    host.wait(secs(2));
    assert_eq!(host.said(), [Said::Dropped(1)]);
}

#[test]
fn what_was_sent_before_a_silence_is_asked_about() {
    let config = Config::default().ack_freq(AckFreq::Every(n(5))).ack_idle(Some(secs(3)));
    let mut host = Host::new(config);
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    assert_eq!(host.written(), "<m1/> <m2/> <m3/>");
    host.wait(secs(3));
    assert_eq!(host.written(), "<r/>");
}

#[test]
fn timeouts_that_are_not_due_change_nothing() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    let _open = host.receive();
    let (deadline, before) = (host.session.deadline(), format!("{:?}", host.session));
    for _ in 0..3 {
        host.session.timeout(host.now);
    }
    assert_eq!((host.session.deadline(), format!("{:?}", host.session)), (deadline, before));
    assert_eq!((host.written(), host.said()), (String::new(), vec![]));
}

#[test]
fn a_clock_that_stands_still_is_no_trouble() {
    let mut host = Host::new(Config::default().resume_timeout(Some(secs(1))));
    for round in 0..50 {
        host.send("<m1/>");
        host.written();
        let receipt = host.receive();
        host.settle(receipt);
        host.lost();
        host.take(round, round);
        host.written();
        host.session.timeout(host.now);
    }
    assert!(!host.session.is_over());
    assert_eq!(host.session.h(), Some(counter(50)));
}

#[test]
fn a_day_that_jumps_ends_each_thing_once() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    let _open = host.receive();
    host.pass(DAY);
    for _ in 0..10 {
        host.session.timeout(host.now);
        host.pass(DAY);
    }
    let said = host.said();
    assert!(matches!(&said[..], [Said::Dropped(1), Said::Ended(_)]), "{said:?}");
}

#[test]
fn the_time_of_an_enable_that_was_waited_for_is_not_the_peers() {
    let mut host = Host::bound(Config::default());
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = host.handle(enable) else { panic!() };
    host.session.timeout(host.now);
    host.pass(secs(1));
    host.session.accept_enable(request, SmId::new("sm-1").ok(), host.now).unwrap();
    host.send("<m1/>");
    host.written();
    host.wait(secs(61));
    assert_eq!(host.said(), [Said::Dropped(1)], "it is heard again, and may be silent");
}

#[test]
fn a_session_does_not_expire_while_a_taker_waits_for_its_receipts() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.lost();
    host.pass(secs(599));
    host.take(2, 0);
    host.wait(secs(4));
    host.settle(open);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='1'/> |");
    assert_eq!(host.said(), [Said::Dropped(1), Said::Resumed]);
}

#[test]
fn the_deadline_of_a_session_that_has_expired_and_waits_for_a_receipt_is_not_moved() {
    let mut host = Host::new(Config::default().settle_timeout(secs(5)));
    let _open = host.receive();
    host.lost();
    host.wait(secs(601));
    assert!(host.session.is_detached(), "a stanza is still being handled");
    assert!(!host.session.set_expires_at(Some(host.now + DAY)));
    host.wait(secs(5));
    assert_eq!(host.ended().reason, EndReason::Expired);
}

#[test]
fn what_is_read_in_the_moment_gives_another_moment_and_no_more() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.pass(secs(60));
    host.session.timeout(host.now);
    let receipt = host.receive();
    host.settle(receipt);
    host.wait(Duration::from_millis(90));
    assert_eq!(host.said(), []);
    host.wait(Duration::from_millis(20));
    assert_eq!(host.said(), [Said::Dropped(1)], "nothing else has come");
}

#[test]
fn each_request_about_the_same_stanza_is_to_be_answered() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.send("<m2/>");
    host.written();
    host.session.request_ack(host.now);
    assert_eq!(host.written(), "<r/>");
    // Two of the three are answered, and m2 is not handled.
    host.ack(1);
    host.ack(1);
    assert_eq!(host.session.deadline(), Some(host.now + secs(60)));
    host.ack(1);
    assert_eq!(host.session.deadline(), Some(host.now + secs(30)), "all are");
}

/// One that no clock can tell does not make the request forgotten.
#[test]
fn a_request_for_a_session_that_the_host_drops_is_refused_at_bind() {
    let resume: minidom::Element = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>".parse().unwrap();
    for timeout in [secs(5), Duration::MAX] {
        let now = Instant::now();
        let mut stream = Unbound::new(Arc::new(Config::default().request_timeout(timeout)), OWNER);
        assert!(matches!(stream.handle(stream.inbound(&resume), now), Ok(Early::Resume(_))));
        let mut session: Session<&str, ()> = stream.bind(());
        let Some((_, Write::Nonza(failed))) = session.next_write(now) else { panic!("{timeout:?}") };
        assert_eq!(short(failed), "<failed><internal-server-error/></failed>");
    }
}

#[test]
fn what_is_due_when_another_timeout_is_settled_has_a_moment_of_its_own() {
    let bytes = std::num::NonZeroUsize::new(10).unwrap();
    let timeout = Some(Duration::from_millis(5_040));
    let mut host = Host::new(Config::default().buffer_max(n(1)).backlog_max_bytes(bytes).ack_timeout(timeout));
    host.send("<m1/>");
    assert_eq!(host.written(), "<m1/> <r/>");
    host.send("<over-its-bytes/>");
    host.wait(secs(5));
    // The backlog's grace is over: this settles it within its moment. The peer's own time is over 40 milliseconds later.
    host.session.replace(|stanza| stanza == "<over-its-bytes/>", Bytes::from("<m2/>")).unwrap();
    host.wait(Duration::from_millis(60));
    assert_eq!(host.session.connection(), Some(&1));
    host.ack(1);
    host.wait(secs(5));
    assert_eq!((host.written().as_str(), host.said().len()), ("<m2/>(late) <r/>", 0));
}
