//! When a side asks, when it keeps silent, and what it makes of silence.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    AckFreq, Action, Config, Counter, Error, Fault, Inbound, Nonza, NotRecordedWhy, Reaction, Resumed, StreamMgmt,
};

use super::{JULIET, stanzas};
use crate::support::raw::{
    Seen, ack, authenticated, bound, deliver, detach, element, enabled, enabling, resumed_at, resuming, session_at,
    smid,
};
use crate::support::{Net, Side, asking_every, quiet, secs};

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

/// F3: the last stanzas before a silence. A dead link is noticed, and nothing comes again after a clean close.
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

#[test]
fn a_request_never_goes_out_where_acks_are_off() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    for n in 1..=3 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.advance(secs(3600));
    net.expect("S: <message id='m1'/><message id='m2'/><message id='m3'/>");
}

/// Real clients and servers fail on anything of the namespace in between.
#[test]
fn a_client_writes_nothing_of_stream_management_between_enable_and_its_answer() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut client = enabling::<&str>(&config);
    for _ in 0..150 {
        assert_eq!(client.record_sent("<message/>", now).unwrap().write, None);
    }
    let receipt = deliver(&mut client, now);
    assert_eq!(client.record_handled(receipt), Ok(None));
    is_silent(&mut client, now);
    // Then it asks at once for what it could not ask for before.
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    let due = client.poll_timeout().unwrap();
    assert_eq!((due, client.handle_timeout(due)), (now, Ok(Some(Nonza::AckRequest))));
}

#[test]
fn a_client_writes_nothing_of_stream_management_between_resume_and_its_answer() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut session = session_at(&config, 3, 5, now + secs(60));
    session.record_sent("m6", now).unwrap();
    let (mut client, _) = StreamMgmt::resume(config.clone(), session).unwrap();
    // Nor any stanza: it would be taken for one that the resumption did not cover.
    let refused = client.record_sent("m7", now).unwrap_err();
    assert_eq!(
        (refused.reaction(), refused.stanza, refused.why),
        (Reaction::Nothing, "m7", NotRecordedWhy::AwaitingServer)
    );
    is_silent(&mut client, now);
    let resumed = Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h: 5.into() }));
    let Ok(Action::Resumed(after)) = client.handle(resumed, now) else { panic!("nothing is wrong") };
    // What is sent again comes first, and the request after it.
    assert_eq!((client.unacked().count(), after), (1, Some(Nonza::AckRequest)));
    assert_eq!(client.record_sent("m7", now).unwrap().number, Some(Counter::new(7)));
}

fn is_silent(stream: &mut StreamMgmt<&'static str>, now: Instant) {
    assert_eq!((stream.send_ack(), stream.request_ack(now), stream.poll_timeout()), (None, None, None));
    assert_eq!(stream.handle_timeout(now + secs(100_000)), Ok(None));
}

/// A request of the peer is not left without an answer, and until then there is nothing to say.
fn is_silent_until(stream: &mut StreamMgmt<&'static str>, now: Instant, until: Instant) {
    assert_eq!((stream.send_ack(), stream.request_ack(now), stream.poll_timeout()), (None, None, Some(until)));
    assert_eq!(stream.handle_timeout(until - Duration::from_nanos(1)), Ok(None));
}

#[test]
fn a_server_writes_nothing_of_stream_management_before_its_answer() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut stream = bound::<&str>(&config);
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
    assert_eq!(stream.record_sent("before it is enabled", now).unwrap().number, None);
    is_silent_until(&mut stream, now, now + secs(30));
    let _ = stream.accept_enable(request, None).unwrap();
    assert_eq!(stream.record_sent("after", now).unwrap().number, Some(Counter::new(1)));

    let (mut stream, request) = resuming(&config, 0, now);
    is_silent_until(&mut stream, now, now + secs(30));
    let _ = stream.accept_resume(request, session_at(&config, 0, 0, now + secs(60)), now).unwrap();
}

/// Clients in use miscount a stanza in the same TCP segment: what has to be flushed comes by itself.
#[test]
fn enabled_and_resumed_come_apart_from_what_follows_and_hosts_are_told_to_flush_them() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut session = session_at(&config, 0, 0, now + secs(60));
    session.record_sent("m1", now).unwrap();
    let mut stream = authenticated(&config);
    let request = crate::support::raw::ask_to_resume(&mut stream, 0, now);
    let resumption = stream.accept_resume(request, session, now).unwrap();
    assert!(matches!(resumption.write, Nonza::Resumed(_)));
    assert_eq!((stream.unacked().count(), resumption.after), (1, Some(Nonza::AckRequest)));

    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stream");
    let docs: String = fs::read_dir(src).unwrap().map(|f| fs::read_to_string(f.unwrap().path()).unwrap()).collect();
    assert!(docs.contains("/// Flush `<enabled/>` by itself before any stanza"));
    assert!(docs.contains("/// `<resumed/>`. Flush it by itself"));
}

#[test]
fn a_request_without_an_answer_in_ack_timeout_detaches_the_session() {
    let mut net = Net::new(Config::default().ack_timeout(Some(secs(20))));
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.cut_unnoticed(conn);
    net.advance(secs(19));
    assert_eq!(net.errors, []);
    net.advance(secs(1));
    assert_eq!(net.errors, [(Side::Server, Error::AckTimeout)]);
    assert_eq!(Error::AckTimeout.fault(), Fault::Connection);
    // The session waits from then on, with all that it has.
    let session = Seen::from(net.detached(conn, Side::Server));
    assert_eq!((session.unacked.len(), session.due), (1, Some(net.now() + secs(600))));
    let conn = net.resume(conn);
    net.run();
    assert_eq!(net.got(conn, Side::Client), ["m1"]);
}

#[test]
fn a_timeout_that_the_host_does_not_obey_is_told_again_and_changes_nothing() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(Config::default()), now);
    let _ = stream.record_sent("m1".into(), now).unwrap();
    let before = Seen::from(&stream);
    for _ in 0..3 {
        assert_eq!(stream.handle_timeout(now + secs(60)), Err(Error::AckTimeout));
        assert_eq!(Seen::from(&stream), before);
    }
    // A host that calls at any other time does no harm.
    for second in 0..60 {
        assert_eq!(stream.handle_timeout(now + secs(second)), Ok(None));
    }
    ack(&mut stream, 1, now + secs(61)).unwrap();
    assert_eq!(detach(stream, now + secs(61)).unacked().count(), 0);
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
