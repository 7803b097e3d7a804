//! What is counted of a session: where a stanza went, and why the stream was lost.

use std::num::NonZeroU32;
use std::time::Duration;

use xmpp_sm::{AckFreq, Arrival, Condition, Config, Detach, Enable, EndReason, Nonza, OnFull, Stats};

use super::{Host, n, secs};

impl Host {
    fn stats(&self) -> Stats {
        self.session.stats(self.now)
    }
}

#[test]
fn it_is_told_where_each_stanza_is() {
    let mut host = Host::new(Config::default());
    let where_they_are = |host: &Host| {
        let stats = host.stats();
        ([stats.sent, stats.acked], [stats.unacked, stats.waiting, stats.unacked_max])
    };
    assert_eq!(where_they_are(&host), ([0, 0], [0, 0, 0]));
    ["<a/>", "<b/>", "<c/>"].into_iter().for_each(|stanza| host.send(stanza));
    assert_eq!(where_they_are(&host), ([0, 0], [0, 3, 0]));
    assert_eq!(host.stats().waiting_bytes, 12);
    host.written();
    assert_eq!(where_they_are(&host), ([3, 0], [3, 0, 3]));
    host.ack(2);
    assert_eq!(where_they_are(&host), ([3, 2], [1, 0, 3]));
    assert_eq!((host.stats().unacked_bytes, host.stats().waiting_bytes), (4, 0));

    host.lost();
    host.send("<d/>");
    assert_eq!(where_they_are(&host), ([3, 2], [1, 1, 3]));
    host.take(2, 2);
    assert_eq!(host.stats().resent, 0, "it is not written yet");
    host.written();
    assert_eq!((where_they_are(&host), host.stats().resent), (([4, 2], [2, 0, 3]), 1));

    host.session.close(EndReason::Closed, None, host.now);
    host.written();
    host.ack(3);
    host.session.peer_closed(host.now);
    assert_eq!(host.ended().stanzas.len(), 1);
    assert_eq!(where_they_are(&host), ([4, 3], [0, 0, 3]), "after the end, too");
}

#[test]
fn requests_and_the_time_of_their_answers() {
    let mut host = Host::new(Config::default());
    for (time, stanzas) in [(2, 1), (7, 2), (4, 3)] {
        host.send("<a/>");
        host.written();
        host.pass(secs(time));
        host.ack(stanzas);
        assert_eq!(host.stats().ack_time_last, secs(time));
    }
    host.ack(3);
    let stats = host.stats();
    assert_eq!((stats.ack_requests, stats.ack_answers), (3, 3), "one came of its own accord");
    let mut busy = Host::new(Config::default());
    busy.send("<a/>");
    busy.written();
    busy.ack(0);
    assert_eq!((busy.stats().ack_requests, busy.stats().ack_answers), (1, 0), "nothing is acknowledged");
    assert_eq!((stats.ack_time_max, stats.ack_time_sum), (secs(7), secs(13)));
    // One answer for two requests is measured from the first.
    host.send("<b/>");
    host.written();
    host.pass(secs(1));
    host.send("<c/>");
    host.written();
    host.pass(secs(1));
    host.ack(5);
    let stats = host.stats();
    assert_eq!((stats.ack_requests, stats.ack_answers, stats.ack_time_last), (5, 4, secs(2)));
}

#[test]
fn one_answer_in_a_millisecond_is_timed() {
    let mut host = Host::new(Config::default().ack_freq(AckFreq::Every(NonZeroU32::MIN)));
    for micros in 1..=3000 {
        host.send("<a/>");
        host.written();
        host.pass(Duration::from_micros(1));
        host.ack(micros);
    }
    let stats = host.stats();
    assert_eq!((stats.ack_answers, stats.ack_times, stats.ack_time_sum), (3000, 3, Duration::from_micros(3)));
    // What is slow is seen, whatever came just before.
    host.send("<a/>");
    host.written();
    host.pass(Duration::from_millis(1));
    host.ack(3001);
    let stats = host.stats();
    assert_eq!((stats.ack_times, stats.ack_time_max), (4, Duration::from_millis(1)));
}

#[test]
fn how_long_it_was_away() {
    let mut host = Host::new(Config::default());
    assert_eq!((host.stats().detached_for, host.stats().detached_why), (None, None));
    for (connection, away) in [(2, 30), (3, 50), (4, 10)] {
        host.lost();
        host.pass(secs(away));
        assert_eq!(host.stats().detached_for, Some(secs(away)));
        host.take(connection, 0);
        let stats = host.stats();
        assert_eq!((stats.detached_for, stats.resumed_after), (None, secs(away)));
    }
    let stats = host.stats();
    assert_eq!((stats.detached, stats.resumed, stats.refused), (3, 3, 0));
    assert_eq!((stats.resumed_after_max, stats.resumed_after_sum), (secs(50), secs(90)));
}

#[test]
fn why_the_stream_was_lost() {
    let mut host = Host::new(Config::default());
    host.lost();
    assert_eq!(host.stats().detached_why, Some(Detach::Lost));

    let mut host = Host::new(Config::default());
    host.take(2, 0);
    let stats = host.stats();
    assert_eq!((stats.detached_why, stats.detached, stats.resumed), (Some(Detach::TakenOver), 1, 1));

    let mut host = Host::new(Config::default().ack_timeout(Some(secs(60))));
    host.send("<a/>");
    host.written();
    host.wait(secs(70));
    assert_eq!(host.stats().detached_why, Some(Detach::AckTimeout));
    let mut host = Host::new(Config::default());
    host.session.peer_closed(host.now);
    assert_eq!(host.stats().detached_why, None, "it is over, and that is told by its end");
}

#[test]
fn what_the_host_owes_and_what_it_has_dropped() {
    let mut host = Host::new(Config::default().settle_timeout(secs(5)));
    let _first = host.receive();
    host.pass(secs(3));
    let second = host.receive();
    let stats = host.stats();
    assert_eq!((stats.open_receipts, stats.oldest_open, stats.h), (2, Some(secs(3)), 0.into()));
    host.settle(second);
    host.lost();
    host.take(2, 0);
    host.wait(secs(10));
    let stats = host.stats();
    assert_eq!((stats.receipts_given_up, stats.open_receipts, stats.h), (1, 0, 2.into()));
    assert_eq!((stats.oldest_open, stats.resumed_after), (None, secs(5)));
    host.session.peer_closed(host.now);
    assert_eq!((host.ended().h, host.stats().h), (2.into(), 2.into()), "after the end, too");

    let mut host = Host::bound(Config::default().request_timeout(secs(5)));
    let Ok(Arrival::Enable(_dropped)) = host.handle(Nonza::Enable(Enable { resume: true, max: None })) else {
        panic!()
    };
    host.wait(secs(10));
    assert_eq!(host.stats().requests_dropped, 1);
}

#[test]
fn what_left_the_buffer_and_who_was_refused() {
    let mut host = Host::new(Config::default().buffer_max(n(2)).on_full(OnFull::EvictOldest));
    (0..5).for_each(|_| host.send("<a/>"));
    host.written();
    let stats = host.stats();
    assert_eq!((stats.sent, stats.unacked, stats.evicted), (5, 2, 3));

    let mut host = Host::new(Config::default());
    let stranger = host.taker_of("romeo@example.net", "sm-1", 2, 0);
    host.session.take(stranger, host.now);
    assert_eq!((host.stats().refused, host.stats().refused_why), (1, Some(Condition::ItemNotFound)));
    host.take(3, 17);
    assert_eq!((host.stats().refused, host.stats().refused_why), (2, Some(Condition::BadRequest)));
    assert_eq!(host.stats().detached, 0);
}

#[test]
fn without_stream_management_nothing_is_counted() {
    let mut host = Host::bound(Config::default());
    host.send("<a/>");
    host.written();
    host.lost();
    assert_eq!(host.stats(), Stats::default());
}

#[test]
fn answers_are_counted_where_the_acknowledged_stanzas_come_back_too() {
    let mut host = Host::new(Config::default());
    host.session.return_acknowledged(true);
    host.send("<a/>");
    host.written();
    host.pass(secs(3));
    host.ack(1);
    let stats = host.stats();
    assert_eq!((stats.ack_answers, stats.ack_time_last), (1, secs(3)));
}

#[test]
fn a_stanza_that_is_larger_than_the_buffer_has_left_it_too() {
    let bytes = std::num::NonZeroUsize::new(10).unwrap();
    let mut host = Host::new(Config::default().buffer_max_bytes(bytes).on_full(OnFull::EvictOldest));
    host.send("<m1/>");
    host.send("<larger-than-that/>");
    host.written();
    assert_eq!((host.stats().evicted, host.stats().unacked), (2, 0));
}

#[test]
fn what_nobody_has_acknowledged_is_among_the_most_at_a_time() {
    let mut host = Host::new(Config::default());
    (0..3).for_each(|_| host.send("<a/>"));
    host.written();
    host.lost();
    host.session.close(EndReason::Stopped, None, host.now);
    assert_eq!(host.ended().stanzas.len(), 3);
    assert_eq!(host.stats().unacked_max, 3);
    assert_eq!((host.stats().detached, host.stats().detached_why), (1, Some(Detach::Lost)), "and its loss is counted");
}
