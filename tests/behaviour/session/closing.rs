//! The end of a session.

use super::*;
use xmpp_sm::{EndReason, StreamCondition};

#[test]
fn what_the_client_acknowledges_until_its_own_end_does_not_come_back() {
    let mut host = Host::new(Config::default());
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.written();
    host.session.close(EndReason::Replaced, conflict(), host.now);
    assert_eq!(host.written(), "<a h='0'/> error:conflict close");
    assert!(host.session.wants_read());
    host.ack(1);
    host.ack(2);
    host.session.peer_closed(host.now);
    let said = host.said();
    let [Said::Closed(1), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ended.reason, ended.stanzas.len()), (EndReason::Replaced, 1));
}

#[test]
fn while_it_closes_what_the_client_may_not_have_is_seen_and_can_be_taken_back() {
    let mut host = Host::new(Config::default().buffer_max(n(2)));
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.written();
    let pending = |host: &Host| host.session.pending().map(|stanza| stanza.to_vec()).collect::<Vec<_>>();
    host.session.close(EndReason::Closed, None, host.now);
    assert_eq!(host.written(), "<a h='0'/> close");
    assert_eq!((host.session.unacked(), host.session.stats(host.now).unacked), (2, 2));
    assert_eq!(pending(&host), [b"<m1/>", b"<m2/>", b"<m3/>"]);
    host.ack(1);
    assert_eq!((host.session.unacked(), pending(&host)), (1, vec![b"<m2/>".to_vec(), b"<m3/>".to_vec()]));
    let replaced = host.session.replace(|stanza| stanza == "<m2/>", Bytes::from("<no/>"));
    assert_eq!(replaced, Ok(Bytes::from("<m2/>")));
    host.session.peer_closed(host.now);
    assert_eq!(left(host.ended()), ["Unacknowledged <no/>", "Unsent <m3/>"]);
    assert_eq!((host.session.unacked(), host.session.pending().count()), (0, 0));
}

#[test]
fn the_last_a_and_the_last_h_agree() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.session.peer_closed(host.now);
    assert!(host.said().is_empty(), "a stanza is still on its way");
    host.settle(open);
    let said = host.said();
    let [Said::Parted(1, last), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((last.as_str(), ended.h, ended.reason), ("<a h='1'/>", counter(1), EndReason::Closed));
}

#[test]
fn a_receipt_that_is_lost_delays_the_end_by_its_time() {
    let mut host = Host::new(Config::default());
    drop(host.receive());
    host.session.peer_closed(host.now);
    host.wait(secs(4));
    assert!(host.said().is_empty());
    host.wait(secs(1));
    let said = host.said();
    assert!(matches!(&said[..], [Said::Parted(1, last), Said::Ended(_)] if last == "<a h='1'/>"), "{said:?}");
}

#[test]
fn stanzas_that_come_after_the_end_has_begun_are_not_counted_nor_handled() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.session.close(EndReason::Stopped, None, host.now);
    let late = host.session.handle(Inbound::Stanza { bytes: 1 }, host.now);
    assert_eq!(late, Ok(Arrival::Handled));
    host.settle(open);
    assert_eq!(host.written(), "<a h='1'/> close");
    assert_eq!(host.session.handle(Inbound::Stanza { bytes: 1 }, host.now), Ok(Arrival::Handled));
    host.wait(secs(2));
    assert_eq!(host.ended().h, counter(1));
}

#[test]
fn a_wrong_h_ends_the_session_with_the_error_of_the_xep() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    assert_eq!(host.handle(Nonza::Ack(9.into())), Ok(Arrival::Handled));
    assert_eq!(host.written(), "<a h='0'/> error:undefined-condition close");
    // A right one that comes after it still counts.
    host.ack(1);
    host.session.peer_closed(host.now);
    let said = host.said();
    let [Said::Closed(1), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ended.reason, ended.stanzas.len()), (EndReason::PeerFault, 0));
}

#[test]
fn a_second_enable_is_answered_and_then_closed() {
    let mut host = Host::new(Config::default());
    assert_eq!(host.handle(Nonza::Enable(Enable::default())), Ok(Arrival::Handled));
    assert_eq!(host.written(), "<failed><unexpected-request/></failed> <a h='0'/> close");
}

#[test]
fn the_connection_may_be_lost_in_the_middle_of_the_end() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.session.close(EndReason::Stopped, None, host.now);
    host.written();
    host.lost();
    let said = host.said();
    let [Said::Dropped(1), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ended.reason, ended.stanzas.len()), (EndReason::Stopped, 1));
}

#[test]
fn a_connection_that_takes_no_byte_delays_the_end_by_its_time_and_is_dropped() {
    let mut host = Host::new(Config::default());
    host.session.close(EndReason::Stopped, None, host.now);
    host.wait(secs(1));
    assert!(host.said().is_empty());
    host.wait(secs(1));
    assert!(matches!(&host.said()[..], [Said::Dropped(1), Said::Ended(_)]));
}

#[test]
fn a_session_that_is_not_resumable_settles_before_it_ends() {
    let mut host = Host::bound(Config::default().resume_timeout(None));
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = host.handle(enable) else { panic!() };
    assert!(!request.is_resumable());
    host.session.accept_enable(request, None, host.now).unwrap();
    host.written();
    let open = host.receive();
    host.lost();
    assert_eq!(host.said(), [Said::Dropped(1)]);
    host.settle(open);
    let ended = host.ended();
    assert_eq!((ended.reason, ended.h), (EndReason::NotResumable, counter(1)));
}

#[test]
fn a_detached_session_is_ended_by_its_host_at_once() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.lost();
    host.send("<m2/>");
    host.session.close(EndReason::Replaced, conflict(), host.now);
    let said = host.said();
    let [Said::Dropped(1), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ended.reason, ended.smid.as_ref()), (EndReason::Replaced, Some(&SmId::new("sm-1").unwrap())));
    let Some(Said::Ended(ended)) = said.into_iter().last() else { unreachable!() };
    assert_eq!(left(ended), ["Unacknowledged <m1/>", "Unsent <m2/>"]);
}

#[test]
fn an_end_that_has_begun_goes_on_as_it_was() {
    let mut host = Host::new(Config::default());
    let _open = host.receive();
    host.session.close(EndReason::Replaced, conflict(), host.now);
    host.session.close(EndReason::Stopped, None, host.now);
    host.wait(secs(5));
    assert_eq!(host.written(), "<a h='1'/> error:conflict close");
    host.wait(secs(2));
    assert_eq!(host.ended().reason, EndReason::Replaced);
}

#[test]
fn stanzas_that_wait_when_the_end_begins_come_back() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.session.close(EndReason::Stopped, None, host.now);
    host.send("<m1/>");
    assert_eq!(host.written(), "");
    host.settle(open);
    assert_eq!(host.written(), "<a h='1'/> close");
    host.send("<m2/>");
    host.wait(secs(2));
    assert_eq!(left(host.ended()), ["Unsent <m1/>", "Unsent <m2/>"]);
}

#[test]
fn while_an_end_waits_for_receipts_acknowledgements_are_read_however_many_are_open() {
    let mut host = Host::new(Config::default().receipts_max(n(1)));
    host.send("<m1/>");
    host.written();
    let open = host.receive();
    assert!(!host.session.wants_read());
    host.session.close(EndReason::Stopped, None, host.now);
    assert!(host.session.wants_read());
    host.ack(1);
    host.settle(open);
    assert_eq!(host.written(), "<a h='1'/> close");
    host.session.peer_closed(host.now);
    assert_eq!(left(host.ended()), [""; 0]);
}

#[test]
fn a_stream_error_of_the_peer_ends_the_session() {
    let mut host = Host::new(Config::default());
    let error = host.session.handle(Inbound::StreamError { conflict: false }, host.now);
    assert_eq!(error, Ok(Arrival::Handled));
    assert_eq!(host.written(), "<a h='0'/> close");
    host.session.peer_closed(host.now);
    assert_eq!(host.ended().reason, EndReason::PeerFault);
}

#[test]
fn a_stream_without_stream_management_closes_well_too() {
    let mut host = Host::bound(Config::default());
    host.send("<m1/>");
    host.session.peer_closed(host.now);
    let said = host.said();
    let [Said::Parted(1, last), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((last.as_str(), ended.reason), ("", EndReason::Closed));
    let Some(Said::Ended(ended)) = said.into_iter().last() else { unreachable!() };
    assert_eq!(left(ended), ["Unsent <m1/>"]);
}

#[test]
fn what_comes_during_the_end_is_bounded() {
    let mut host = Host::new(Config::default().backlog_max(n(2)));
    let _open = host.receive();
    host.session.close(EndReason::Stopped, None, host.now);
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>"] {
        host.send(stanza);
    }
    assert!(host.said().is_empty());
    host.send("<m5/>");
    assert_eq!(host.ended().stanzas.len(), 5);
}

#[test]
fn a_session_that_is_replaced_says_so() {
    let mut host = Host::new(Config::default());
    host.session.close(EndReason::Replaced, None, host.now);
    assert_eq!(host.written(), "<a h='0'/> error:conflict close");
}

#[test]
fn a_time_that_no_clock_can_tell_is_not_over_at_once() {
    let mut host = Host::new(Config::default().settle_timeout(Duration::MAX).close_timeout(Duration::MAX));
    let open = host.receive();
    host.session.close(EndReason::Stopped, None, host.now);
    host.wait(secs(1_000_000));
    assert_eq!(host.written(), "");
    host.settle(open);
    assert_eq!(host.written(), "<a h='1'/> close");
    host.wait(secs(1_000_000));
    assert!(host.said().is_empty());
}

#[test]
fn nothing_is_taken_behind_the_end_of_the_peers_stream() {
    let mut host = Host::new(Config::default());
    let _open = host.receive();
    host.session.peer_closed(host.now);
    assert!(!host.session.wants_read());
    assert_eq!(host.handle(Nonza::AckRequest), Err(NotNow(Nonza::AckRequest.into())));
}

#[test]
fn a_host_that_closes_a_stream_without_stream_management_waits_for_nothing() {
    let mut host = Host::bound(Config::default());
    host.session.close(EndReason::Stopped, conflict(), host.now);
    let said = host.said();
    assert!(matches!(&said[..], [Said::Parted(1, last), Said::Ended(_)] if last == "conflict"), "{said:?}");
}

#[test]
fn what_was_not_written_when_the_client_ends_its_stream_is_said_at_the_parting() {
    let mut host = Host::new(Config::default());
    host.session.close(EndReason::Replaced, conflict(), host.now);
    host.session.peer_closed(host.now);
    let said = host.said();
    let last = "<a h='0'/> conflict";
    assert!(matches!(&said[..], [Said::Parted(1, words), Said::Ended(_)] if words == last), "{said:?}");
}

#[test]
fn a_reply_that_was_not_written_is_said_before_the_last_acknowledgement() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.take(2, 0);
    host.session.close(EndReason::Stopped, None, host.now);
    host.session.peer_closed(host.now);
    let said = host.said();
    let resumed = "<resumed previd='sm-1' h='0'/>";
    assert!(said.contains(&Said::Parted(2, resumed.into())), "{said:?}");
}

#[test]
fn after_its_end_a_peer_is_not_read_and_is_asked_nothing() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.session.peer_closed(host.now);
    assert!(!host.session.wants_read());
    host.session.request_ack(host.now);
    assert_eq!(host.written(), "");
    host.settle(open);
    assert!(host.session.is_over());
}

#[test]
fn an_evicted_stanza_that_is_acknowledged_while_the_stream_closes_does_not_come_back() {
    let config = Config::default().buffer_max(n(1)).on_full(xmpp_sm::OnFull::EvictOldest).evicted_max_bytes(10_000);
    let mut host = Host::new(config);
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.written();
    host.session.close(EndReason::Closed, None, host.now);
    assert_eq!(host.written(), "<a h='0'/> close");
    host.ack(1);
    host.session.peer_closed(host.now);
    assert_eq!(left(host.ended()), ["Evicted <m2/>", "Unacknowledged <m3/>"]);
}

#[test]
fn a_peer_that_sends_what_it_may_not_is_told_and_what_it_still_acknowledges_counts() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.send("<m2/>");
    host.written();
    host.session.peer_fault(StreamCondition::UnsupportedStanzaType, host.now);
    assert_eq!(host.written(), "<a h='0'/> error:unsupported-stanza-type close");
    assert!(host.session.wants_read());
    host.ack(1);
    host.session.peer_closed(host.now);
    let said = host.said();
    let [Said::Closed(1), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ended.reason, ended.stanzas.len()), (EndReason::PeerFault, 1));
}

#[test]
fn what_cannot_be_read_ends_the_session_and_nothing_is_waited_for() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.session.unreadable(StreamCondition::NotWellFormed, host.now);
    let said = host.said();
    let [Said::Parted(1, last), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((ended.reason, ended.stanzas.len()), (EndReason::PeerFault, 1));
    assert_eq!(last.as_str(), "<a h='0'/> not-well-formed");
}

#[test]
fn a_fault_that_is_told_without_a_connection_does_nothing() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.said();
    host.session.unreadable(StreamCondition::NotWellFormed, host.now);
    host.session.peer_fault(StreamCondition::InvalidFrom, host.now);
    assert!(host.said().is_empty() && host.session.is_detached());
}
