//! A client whose user does not look at it is not asked for acknowledgements, unless the buffer fills up.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{AckFreq, Action, Config, Inbound, Nonza, Resume};

use super::{Host, n, secs};
use crate::support::raw::{authenticated, session_at, smid};

impl Host {
    fn active(&mut self, active: bool) {
        self.session.set_active(active, self.now);
    }
}

#[test]
fn what_was_held_back_is_asked_about_once_when_the_client_is_active_again() {
    for ack_freq in [AckFreq::Every(n(1)), AckFreq::Every(n(3)), AckFreq::SelfClocked] {
        let mut host = Host::new(Config::default().ack_freq(ack_freq));
        host.active(false);
        host.send("<a/>");
        host.send("<b/>");
        assert_eq!(host.written(), "<a/> <b/>", "{ack_freq:?}");
        assert_eq!(host.session.deadline(), None, "nothing is asked after a time, either");
        host.wait(secs(3600));
        assert_eq!(host.written(), "");
        host.active(true);
        assert_eq!(host.written(), "<r/>");
        host.active(true);
        assert_eq!(host.written(), "", "it was active already");
        host.ack(2);
        host.send("<c/>");
        let asked = if ack_freq == AckFreq::Every(n(3)) { "<c/>" } else { "<c/> <r/>" };
        assert_eq!(host.written(), asked, "and all is as before");
    }
}

#[test]
fn a_client_that_has_missed_nothing_is_not_asked() {
    for ack_freq in [AckFreq::Every(n(1)), AckFreq::SelfClocked] {
        let mut host = Host::new(Config::default().ack_freq(ack_freq));
        host.active(false);
        host.active(false);
        host.active(true);
        assert_eq!(host.written(), "", "{ack_freq:?}");
        host.active(false);
        host.send("<a/>");
        host.written();
        host.ack(1); // of its own accord
        host.active(true);
        assert_eq!(host.written(), "");
    }
}

#[test]
fn a_client_that_was_asked_and_has_not_handled_it_is_asked_again() {
    let mut host = Host::new(Config::default().ack_idle(Some(secs(30))));
    host.send("<a/>");
    assert_eq!(host.written(), "<a/> <r/>");
    host.ack(0);
    host.active(false);
    host.wait(secs(60));
    assert_eq!(host.written(), "");
    host.active(true);
    assert_eq!(host.written(), "", "it was asked about all that was sent");
    host.wait(secs(30));
    assert_eq!(host.written(), "<r/>");
}

#[test]
fn a_request_that_was_due_after_a_time_waits_too() {
    let mut host = Host::new(Config::default().ack_freq(AckFreq::Every(n(3))).ack_idle(Some(secs(30))));
    host.send("<a/>");
    assert_eq!(host.written(), "<a/>");
    host.active(false);
    host.wait(secs(60));
    assert_eq!(host.written(), "");
    host.active(true);
    assert_eq!(host.written(), "<r/>");
}

/// An answer that leaves something out would be followed by another request, in time.
#[test]
fn an_answer_brings_about_no_request_either() {
    let mut host = Host::new(Config::default().ack_idle(Some(secs(30))));
    host.send("<a/>");
    assert_eq!(host.written(), "<a/> <r/>");
    host.active(false);
    host.send("<b/>");
    assert_eq!(host.written(), "<b/>");
    host.ack(1);
    assert_eq!((host.written().as_str(), host.session.deadline()), ("", None));
}

/// A request from before says nothing of what went out since.
#[test]
fn what_was_held_back_is_asked_about_beside_a_request_that_is_unanswered() {
    let mut host = Host::new(Config::default().ack_freq(AckFreq::Every(n(1))));
    host.send("<a/>");
    assert_eq!(host.written(), "<a/> <r/>");
    host.active(false);
    host.send("<b/>");
    assert_eq!(host.written(), "<b/>");
    host.active(true);
    assert_eq!(host.written(), "<r/>");
}

/// A connection that is dead is found out by a request that went out before.
#[test]
fn what_was_asked_before_is_to_be_answered() {
    let mut host = Host::new(Config::default());
    host.send("<a/>");
    assert_eq!(host.written(), "<a/> <r/>");
    host.active(false);
    host.wait(secs(61));
    assert!(host.session.is_detached());
}

#[test]
fn a_buffer_that_fills_up_asks_all_the_same_and_once() {
    let mut host = Host::new(Config::default().buffer_max(n(4)));
    host.active(false);
    for _ in 0..6 {
        host.send("<a/>");
    }
    assert_eq!(host.written(), "<a/> <a/> <r/> <a/> <a/>", "half full it asks; what has no room waits");
    host.ack(4);
    assert_eq!(host.written(), "<a/> <a/> <r/>");
    host.ack(6);
    host.send("<a/>");
    assert_eq!(host.written(), "<a/>", "there is room again");
}

#[test]
fn nobody_is_asked_where_requests_are_off() {
    let mut host = Host::new(Config::default().request_acks(false));
    host.active(false);
    host.send("<a/>");
    host.active(true);
    assert_eq!(host.written(), "<a/>");
}

#[test]
fn a_resumed_stream_is_active() {
    let mut host = Host::new(Config::default());
    host.active(false);
    host.send("<a/>");
    host.written();
    host.lost();
    host.active(false); // there is no stream that could be
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <a/>(late) <r/>");
    host.ack(1);
    host.send("<b/>");
    assert_eq!(host.written(), "<b/> <r/>");
}

/// Where a host drives the engine: the stream is the one on which the client said so.
#[test]
fn a_stream_is_active_once_it_is_resumed_whatever_its_client_said_before() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut stream = authenticated::<&str>(&config);
    assert_eq!(stream.set_active(false, now), None);
    let resume = Nonza::Resume(Resume { previd: smid(), h: 5.into() });
    let Ok(Action::Resume(request)) = stream.handle(resume.into(), now) else { panic!() };
    let _ = stream.accept_resume(request, session_at(&config, 3, 5, now + secs(60)), now).unwrap();
    assert_eq!(stream.record_sent("m6", now).unwrap().write, Some(Nonza::AckRequest));
}

#[test]
fn a_client_may_be_inactive_before_it_enables() {
    let mut host = Host::bound(Config::default());
    host.active(false);
    host.send("<a/>");
    host.active(true);
    host.active(false);
    assert_eq!(host.written(), "<a/>", "stream management is off");
    host.enable();
    host.send("<b/>");
    assert!(host.written().ends_with("<b/>"));
    host.active(true);
    assert_eq!(host.written(), "<r/>");
}

#[test]
fn a_session_that_ends_asks_nothing() {
    let mut host = Host::new(Config::default());
    host.active(false);
    host.send("<a/>");
    host.written();
    host.session.peer_closed(host.now);
    host.active(true);
    assert!(!host.written().contains("<r/>"));
}

/// The other direction is not its business.
#[test]
fn an_inactive_client_gets_its_acknowledgements() {
    let mut host = Host::new(Config::default());
    host.active(false);
    let receipt = host.receive();
    host.settle(receipt);
    assert!(host.session.handle(Inbound::Nonza(Nonza::AckRequest), host.now).is_ok());
    assert_eq!(host.written(), "<a h='1'/>");
}

/// The peer is busy, its buffer half full, and the next request due in a moment: it goes out all the same.
#[test]
fn a_request_for_room_that_was_due_is_made() {
    let mut host = Host::new(Config::default().buffer_max(n(4)));
    host.send("<a/>");
    host.send("<b/>");
    assert_eq!(host.written(), "<a/> <r/> <b/> <r/>");
    host.ack(0);
    host.ack(0);
    host.active(false);
    host.wait(secs(1));
    assert_eq!(host.written(), "<r/>");
}
