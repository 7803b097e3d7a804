//! When an `<r/>` goes out: `request_acks`, `ack_freq`, `ack_idle`.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{AckFreq, Config, Error, Nonza, StreamMgmt};

use crate::support::raw::{ack, element, enabled, enabling, resumed_at, resuming, session_at};
use crate::support::{JULIET, Net, Side, asking_every, quiet, secs, stanzas};

#[test]
fn ack_is_on_and_after_every_stanza() {
    let mut net = Net::new(Config::default());
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.server_sends(conn, "<message id='m2'/>");
    net.written("S: <message id='m1'/><r/><message id='m2'/><r/>");
}

#[test]
fn ack_off_never_asks() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    for _ in 0..50 {
        net.server_sends(conn, "<message/>");
    }
    assert_eq!(net.server(conn).poll_timeout(), None);
    net.skip();
    net.cut(conn);
    let conn = net.resume(conn);
    net.run();
    net.advance(secs(3600));
    net.expect(
        "-- cut
         C2: <resume h='50' previd='sm-1'/>
         S2: <resumed h='0' previd='sm-1'/>",
    );
    // It answers all the same, and a host may ask of its own accord.
    net.requests(conn, Side::Client);
    net.requests(conn, Side::Server);
    net.expect(
        "C2: <r/>
         S2: <r/>
         S2: <a h='0'/>
         C2: <a h='50'/>",
    );
}

#[test]
fn ack_freq_counts_the_stanzas_since_the_last_request() {
    let mut net = Net::new(asking_every(3));
    let conn = net.login(JULIET);
    for _ in 0..7 {
        net.server_sends(conn, "<message/>");
    }
    net.expect(
        "S: <message/><message/><message/><r/><message/><message/><message/><r/><message/>
         C: <a h='3'/><a h='6'/>",
    );
    // One of the host's own counts, too.
    net.requests(conn, Side::Server);
    for _ in 0..3 {
        net.server_sends(conn, "<message/>");
    }
    net.written("S: <r/><message/><message/><message/><r/>");
}

#[test]
fn ack_freq_self_clocked_waits_for_the_answer() {
    let freq = AckFreq::SelfClocked;
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(Config::default().ack_freq(freq)), now);
    let asks = |stream: &mut StreamMgmt<&'static str>| stream.record_sent("m", now).unwrap().write.is_some();
    assert_eq!([(); 4].map(|()| asks(&mut stream)), [true, false, false, false]);
    ack(&mut stream, 1, now).unwrap();
    // The rest is asked for with the next stanza, or after `ack_idle`.
    assert_eq!(stream.poll_timeout(), Some(now + secs(30)));
    assert_eq!(stream.handle_timeout(now + secs(29)), Ok(None));
    assert_eq!(stream.handle_timeout(now + secs(30)), Ok(Some(Nonza::AckRequest)));
    assert_eq!([(); 2].map(|()| asks(&mut stream)), [false, false]);
    ack(&mut stream, 5, now).unwrap();
    assert!(asks(&mut stream));
}

#[test]
fn a_request_goes_out_with_every_so_many_stanzas() {
    let mut net = Net::new(asking_every(2));
    let conn = net.login(JULIET);
    for n in 1..=5 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.written(
        "S: <message id='m1'/><message id='m2'/><r/><message id='m3'/><message id='m4'/><r/><message id='m5'/>",
    );
    // What is left does not wait for its turn when the session is resumed.
    net.cut(conn);
    net.skip();
    let conn = net.resume(conn);
    net.deliver_from(conn, Side::Client, 1);
    net.written(
        "C2: <resume h='0' previd='sm-1'/>
         S2: <resumed h='0' previd='sm-1'/>
         S2: <message id='m1'/><message id='m2'/><message id='m3'/><message id='m4'/><message id='m5'/><r/>",
    );
}

/// The last stanzas before a silence. A dead link is noticed, and nothing comes again after a clean close.
#[test]
fn what_is_left_of_a_rhythm_is_asked_about_after_ack_idle() {
    let now = Instant::now();
    for (idle, sent) in [(Some(secs(30)), 3), (Some(secs(7)), 4), (None, 3)] {
        let mut stream: StreamMgmt<String> = enabled(&Arc::new(asking_every(5).ack_idle(idle)), now);
        for n in 0..sent {
            // The time runs from the first on.
            assert_eq!(stream.record_sent("<message/>".into(), now + n * secs(1)).unwrap().write, None);
        }
        let due = idle.map(|idle| now + idle);
        assert_eq!(stream.poll_timeout(), due);
        let Some(due) = due else { continue };
        assert_eq!(stream.handle_timeout(due - secs(1)), Ok(None));
        assert_eq!(stream.handle_timeout(due), Ok(Some(Nonza::AckRequest)));
        // From then on it is a request like the others.
        assert_eq!((stream.poll_timeout(), stream.handle_timeout(due)), (Some(due + secs(60)), Ok(None)));
        assert_eq!(stream.handle_timeout(due + secs(60)), Err(Error::AckTimeout));
        ack(&mut stream, sent, due).unwrap();
        assert_eq!(stream.poll_timeout(), None);
    }
}

/// The same for what comes behind the last `<r/>`.
#[test]
fn what_an_answer_leaves_out_is_asked_about_in_its_turn_or_after_ack_idle() {
    let now = Instant::now();
    for idle in [Some(secs(30)), None] {
        let mut stream: StreamMgmt<String> = enabled(&Arc::new(asking_every(2).ack_idle(idle)), now);
        let mut sends = || stream.record_sent("<message/>".into(), now).unwrap().write.is_some();
        assert_eq!([(); 3].map(|()| sends()), [false, true, false]);
        ack(&mut stream, 2, now + secs(1)).unwrap();
        assert_eq!(stream.poll_timeout(), idle.map(|idle| now + secs(1) + idle));
        assert!(stream.record_sent("<message/>".into(), now + secs(2)).unwrap().write.is_some(), "its turn");
        assert_eq!(stream.poll_timeout(), Some(now + secs(62)));
    }
}

#[test]
fn nothing_is_asked_after_a_time_where_acks_are_off() {
    let now = Instant::now();
    let mut stream: StreamMgmt<&str> = enabled(&Arc::new(quiet().buffer_max(stanzas(2))), now);
    for _ in 0..2 {
        assert_eq!(stream.record_sent("m", now).unwrap().write, None);
    }
    assert_eq!(stream.poll_timeout(), None);
    ack(&mut stream, 1, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
    // An `<r/>` of the host's own is watched all the same.
    assert_eq!(stream.request_ack(now), Some(Nonza::AckRequest));
    assert_eq!(stream.poll_timeout(), Some(now + secs(60)));
    ack(&mut stream, 1, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn a_resumption_does_not_count_as_stanzas_that_were_not_asked_for() {
    let now = Instant::now();
    let mut stream: StreamMgmt<&str> = resumed_at(&Arc::new(asking_every(3)), 0, 10, now);
    let asks = [(); 6].map(|()| stream.record_sent("m", now).unwrap().write.is_some());
    assert_eq!(asks, [false, false, true, false, false, true]);
}

#[test]
fn nothing_is_asked_about_where_nothing_is_left() {
    let now = Instant::now();
    let self_clocked = AckFreq::SelfClocked;
    for config in [asking_every(1), Config::default().ack_freq(self_clocked)] {
        let config = Arc::new(config);
        let (mut stream, request) = resuming::<String>(&config, 10, now);
        let session = session_at(&config, 0, 10, now + secs(60));
        assert_eq!(stream.accept_resume(request, session, now).unwrap().after, None);
        assert_eq!(stream.poll_timeout(), None);
        let mut client = enabling::<String>(&config);
        let _ = client.handle(element("enabled"), now).unwrap();
        assert_eq!(client.poll_timeout(), None);
    }
    // What went out before `<enabled/>` is, in its turn.
    for (sent, due) in [(2, Some(now + secs(30))), (3, Some(now))] {
        let mut client = enabling::<String>(&Arc::new(asking_every(3)));
        for _ in 0..sent {
            let _ = client.record_sent("<message/>".into(), now).unwrap();
        }
        let _ = client.handle(element("enabled"), now).unwrap();
        assert_eq!(client.poll_timeout(), due);
    }
}

#[test]
fn a_request_clocked_by_its_answers_is_alone_on_its_way() {
    let mut net = Net::new(Config::default().ack_freq(AckFreq::SelfClocked));
    let conn = net.login(JULIET);
    for n in 1..=3 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.deliver_from(conn, Side::Server, 2);
    net.deliver_from(conn, Side::Client, 1);
    net.server_sends(conn, "<message id='m4'/>");
    net.written(
        "S: <message id='m1'/><r/><message id='m2'/><message id='m3'/>
         C: <a h='1'/>
         S: <message id='m4'/><r/>",
    );
    net.run();
    net.server_sends(conn, "<message id='m5'/>");
    net.run();
    // Nothing is unanswered, so nothing is due.
    assert_eq!(net.server(conn).poll_timeout(), None);
    net.expect(
        "C: <a h='4'/>
         S: <message id='m5'/><r/>
         C: <a h='5'/>",
    );
}

/// It answers, if not for everything: it is alive.
#[test]
fn a_peer_that_is_behind_is_asked_again_and_not_given_up() {
    let now = Instant::now();
    let config = Config::default().ack_freq(AckFreq::Every(stanzas(5))).ack_timeout(Some(secs(60)));
    let mut stream = enabled::<&str>(&Arc::new(config), now);
    for _ in 0..5 {
        let _ = stream.record_sent("m", now).unwrap();
    }
    for (round, h) in (0..4).zip(1..) {
        // One second before the last `<r/>` is dead.
        let now = now + round * secs(89) + secs(59);
        assert_eq!(stream.poll_timeout(), Some(now + secs(1)));
        ack(&mut stream, h, now).unwrap();
        assert_eq!(stream.poll_timeout(), Some(now + secs(30)), "ack_idle");
        assert_eq!(stream.handle_timeout(now + secs(30)), Ok(Some(Nonza::AckRequest)));
        assert_eq!(stream.poll_timeout(), Some(now + secs(90)));
    }
    let now = now + secs(400);
    ack(&mut stream, 5, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
}

/// Either side may acknowledge what it was not asked about yet.
#[test]
fn a_peer_that_acknowledges_more_than_it_was_asked_for_is_not_behind() {
    let now = Instant::now();
    let config = Config::default().ack_freq(AckFreq::Every(stanzas(10)));
    let mut stream = enabled::<&str>(&Arc::new(config), now);
    for _ in 0..15 {
        let _ = stream.record_sent("m", now).unwrap();
    }
    // It was asked for ten, and has taken twelve: the rest waits for the rhythm, or is asked about after a time.
    ack(&mut stream, 12, now).unwrap();
    assert_eq!((stream.unacked().len(), stream.poll_timeout()), (3, Some(now + secs(30))));
    // However many requests it has answered thereby.
    for _ in 15..25 {
        let _ = stream.record_sent("m", now).unwrap();
    }
    ack(&mut stream, 24, now + secs(1)).unwrap();
    assert_eq!((stream.unacked().len(), stream.poll_timeout()), (1, Some(now + secs(31))));
}

/// How many `<r/>` a hundred stanzas cost, if the peer answers each after so many more of them.
fn requests_for_a_hundred(freq: AckFreq, answers_after: u32) -> u32 {
    let now = Instant::now();
    let config = Arc::new(Config::default().ack_freq(freq));
    let mut stream = enabled::<&str>(&config, now);
    let (mut requests, mut asked_at) = (0, Vec::new());
    for n in 1..=100 {
        if stream.record_sent("<message/>", now).unwrap().write.is_some() {
            requests += 1;
            asked_at.push(n);
        }
        if asked_at.first().is_some_and(|at| n >= at + answers_after) {
            asked_at.remove(0);
            ack(&mut stream, n, now).unwrap();
        }
    }
    requests
}

#[test]
fn p20_one_request_at_a_time_is_on_its_way() {
    let clocked = AckFreq::SelfClocked;
    // The slower the link, the fewer the requests.
    assert_eq!(requests_for_a_hundred(clocked, 0), 100);
    assert_eq!(requests_for_a_hundred(clocked, 4), 20);
    assert_eq!(requests_for_a_hundred(clocked, 24), 4);
    assert_eq!(requests_for_a_hundred(clocked, 1000), 1);
    let every = AckFreq::Every(stanzas(1));
    assert_eq!(requests_for_a_hundred(every, 24), 100);
}

#[test]
fn p20_what_the_last_answer_left_out_is_asked_for_when_the_link_is_idle() {
    let mut net = Net::new(Config::default().ack_freq(AckFreq::SelfClocked));
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.deliver_from(conn, Side::Server, 2);
    net.server_sends(conn, "<message id='m2'/>");
    net.expect(
        "S: <message id='m1'/><r/>
         C: <a h='1'/>
         S: <message id='m2'/>",
    );
    net.advance(secs(29));
    net.written("");
    net.advance(secs(1));
    net.expect(
        "S: <r/>
         C: <a h='2'/>",
    );
    // All is answered: an idle link costs nothing.
    net.advance(secs(3600));
    net.expect("");
}
