//! What goes out, and in which order.

use super::*;

/// Three stanzas are written, and not acknowledged.
fn with_three() -> Host {
    let mut host = Host::new(Config::default().request_acks(false));
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.written();
    host
}

/// Resumed on connection 2, where the first of the three is written again.
fn resent_in_part() -> Host {
    let mut host = with_three();
    host.lost();
    host.take(2, 0);
    for _ in 0..4 {
        let _ = host.session.next_write(host.now).expect("flush, resumed, flush, m1");
    }
    host
}

#[test]
fn a_stanza_goes_out_before_stream_management_is_on_and_is_not_counted() {
    let mut host = Host::bound(Config::default());
    host.send("<a1/>");
    assert_eq!(host.written(), "<a1/>");
    host.enable();
    host.send("<a2/>");
    assert_eq!(host.written(), "| <enabled id='sm-1' resume='true' max='600'/> | <a2/> <r/>");
    host.ack(1);
    assert_eq!(host.session.unacked(), 0);
}

#[test]
fn every_r_gets_an_a_with_the_h_of_the_time_when_it_is_written() {
    let mut host = Host::new(Config::default());
    let first = host.receive();
    for _ in 0..2 {
        assert_eq!(host.handle(Nonza::AckRequest), Ok(Arrival::Handled));
    }
    host.settle(first);
    // The two, and the rest of the answer.
    assert_eq!(host.written(), "<a h='1'/> <a h='1'/> <a h='1'/>");
}

#[test]
fn a_peer_that_asks_and_does_not_read_makes_no_heap_of_answers() {
    let mut host = Host::new(Config::default());
    for _ in 0..100_000 {
        let _ = host.handle(Nonza::AckRequest);
    }
    assert_eq!(host.written().matches("<a ").count(), 64);
}

#[test]
fn what_is_resent_comes_first_with_its_time_and_then_what_has_waited_and_what_is_new() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.send("<m2/>");
    assert_eq!(host.written(), "<m1/> <r/> <m2/> <r/>");
    host.lost();
    host.pass(secs(2));
    host.send("<m3/>");
    host.pass(secs(2));
    host.take(2, 1);
    host.send("<m4/>");
    assert_eq!(
        host.written(),
        "| <resumed previd='sm-1' h='0'/> | <m2/>(late) <r/> <m3/>(late) <r/> <m4/> <r/>",
        "one that is resent is never younger than one that follows it"
    );
    assert_eq!(host.said(), [Said::Dropped(1), Said::Resumed]);
}

#[test]
fn ten_resumptions_in_a_row_resend_the_same_stanzas_and_count_them_once() {
    let mut host = with_three();
    for connection in 2..12 {
        host.lost();
        host.take(connection, 0);
        assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m1/>(late) <m2/>(late) <m3/>(late)");
    }
    host.ack(3);
    assert_eq!(host.session.unacked(), 0);
}

#[test]
fn a_connection_that_is_lost_while_it_is_resent_to_starts_over() {
    let mut host = resent_in_part();
    // In the middle of it, the client has told that it has two.
    host.lost();
    host.take(3, 2);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m3/>(late)");
}

#[test]
fn an_acknowledgement_in_the_middle_of_a_resend_skips_what_it_covers() {
    let mut host = resent_in_part();
    host.ack(2);
    host.send("<m4/>");
    assert_eq!(host.written(), "<m3/>(late) <m4/>");
}

#[test]
fn nothing_of_a_connection_that_is_gone_is_written_to_the_next() {
    let mut host = Host::new(Config::default());
    let _open = host.receive();
    let _ = host.handle(Nonza::AckRequest);
    let _ = host.handle(Nonza::Enable(Enable::default()));
    host.said();
    // The second <enable/> ends the stream; its <failed/> was for that stream.
    assert!(!host.session.is_detached());
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    let _ = host.handle(Nonza::AckRequest);
    host.session.request_ack(host.now);
    host.lost();
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m1/> <r/>");
}

#[test]
fn acknowledged_stanzas_come_back_where_they_are_wanted() {
    let mut host = Host::new(Config::default());
    host.session.return_acknowledged(true);
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.written();
    host.ack(2);
    let acknowledged = |id: &str| Said::Acknowledged(format!("<{id}/>"));
    assert_eq!(host.said(), [acknowledged("m1"), acknowledged("m2")]);
    host.session.close(xmpp_sm::EndReason::Stopped, None, host.now);
    host.written();
    host.ack(3);
    assert_eq!(host.said(), [acknowledged("m3")]);
}

#[test]
fn what_a_resumption_acknowledges_comes_back_where_it_is_wanted() {
    let mut host = Host::new(Config::default());
    host.session.return_acknowledged(true);
    host.send("<m1/>");
    host.send("<m2/>");
    host.written();
    host.lost();
    host.take(2, 1);
    assert_eq!(host.said(), [Said::Dropped(1), Said::Resumed, Said::Acknowledged("<m1/>".into())]);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m2/>(late) <r/>");
}

#[test]
fn a_stanza_is_written_where_nothing_is_kept() {
    let mut host = Host::new(Config::default().buffer(false));
    host.send("<m1/>");
    host.send("<m2/>");
    assert_eq!(host.written(), "<m1/> <r/> <m2/> <r/>");
    host.ack(2);
    host.lost();
    assert_eq!(host.ended().reason, xmpp_sm::EndReason::NotResumable);
}

#[test]
fn a_stanza_is_replaced_whether_it_was_sent_or_waits() {
    let config = Config::default().buffer_max(n(1)).backlog_max_bytes(std::num::NonZeroUsize::new(24).unwrap());
    let mut host = Host::new(config);
    let replace = |host: &mut Host, old: &'static str, new: &'static str| {
        let replaced = host.session.replace(|stanza| stanza == old, Bytes::from(new));
        assert!(replaced.as_ref().map_or_else(|back| back == new, |replaced| replaced == old), "{replaced:?}");
        replaced.is_ok()
    };
    for stanza in ["<secret/>", "<secret/>", "<other/>"] {
        host.send(stanza);
    }
    assert_eq!((host.written().as_str(), host.session.waiting()), ("<secret/> <r/>", 2));
    assert!(replace(&mut host, "<secret/>", "<gone/>"), "the oldest, in the buffer");
    assert!(replace(&mut host, "<secret/>", "<gone/>"), "and then the one that waits");
    assert!(!replace(&mut host, "<secret/>", "<gone/>"), "there is no other");
    assert!(!replace(&mut host, "<other/>", "<much-larger-than-it-was/>"), "it does not fit");
    host.lost();
    assert!(replace(&mut host, "<other/>", "<o/>"), "without a connection, too");
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <gone/>(late) <r/>");
    host.ack(1);
    assert_eq!(host.written(), "<gone/> <r/>");
    host.ack(2);
    assert_eq!(host.written(), "<o/> <r/>");
}

#[test]
fn what_is_being_written_is_not_replaced() {
    let mut host = Host::bound(Config::default());
    host.send("<m1/>");
    assert!(host.session.next_write(host.now).is_some());
    assert_eq!(host.session.waiting(), 0);
    assert!(host.session.replace(|_| true, Bytes::from("<m2/>")).is_err());
    host.send("<m3/>");
    assert_eq!((host.session.waiting(), host.written().as_str()), (1, "<m3/>"));
}

#[test]
fn the_host_asks_of_its_own_accord() {
    let mut host = Host::new(Config::default().request_acks(false));
    host.send("<m1/>");
    assert_eq!(host.written(), "<m1/>");
    host.session.request_ack(host.now);
    assert_eq!(host.written(), "<r/>");
}

#[test]
fn the_host_can_change_its_connection() {
    let mut host = Host::new(Config::default());
    *host.session.connection_mut().unwrap() += 10;
    assert_eq!(host.session.connection(), Some(&11));
    host.lost();
    assert_eq!(host.session.connection_mut(), None);
}

#[test]
fn without_stream_management_the_host_can_acknowledge_nothing() {
    let mut host = Host::bound(Config::default());
    host.session.send_ack();
    host.session.request_ack(host.now);
    assert_eq!(host.written(), "");
}

#[test]
fn the_last_of_several_requests_is_answered_in_full() {
    let mut host = Host::new(Config::default());
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(host.receive());
        assert_eq!(host.handle(Nonza::AckRequest), Ok(Arrival::Handled));
    }
    assert_eq!(host.written(), "<a h='0'/> <a h='0'/>");
    let last = open.pop();
    open.into_iter().for_each(|open| host.settle(open));
    host.written();
    last.into_iter().for_each(|open| host.settle(open));
    assert_eq!(host.written(), "<a h='2'/>");
}

/// What was to be resent is acknowledged before it is written, and nobody is asked: the new stanzas do not wait for
/// another call.
#[test]
fn what_is_new_follows_at_once_where_nothing_is_left_to_resend() {
    for resent in [0, 1] {
        let mut host = with_three();
        host.lost();
        host.take(2, 0);
        for _ in 0..3 + resent {
            let _ = host.session.next_write(host.now).expect("flush, resumed, flush, m1");
        }
        host.ack(3);
        host.send("<m4/>");
        assert_eq!(host.written(), "<m4/>", "{resent} were resent");
    }
}
