//! When a side asks, when it keeps silent, and what it makes of silence.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{AckFreq, Action, Answer, Config, Counter, Error, Fault, Inbound, Nonza, Resumed, StreamMgmt, WhyNot};

use crate::support::{Net, Side, asking_every, quiet, secs};
use crate::support_raw::{
    Seen, ack, authenticated, bound, deliver, detach, element, enabled, enabling, resumed_at, resuming, session_at,
    smid,
};
use crate::{JULIET, stanzas};

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

#[test]
fn an_answer_to_all_that_was_asked_starts_nothing() {
    let now = Instant::now();
    let mut stream: StreamMgmt<String> = enabled(&Arc::new(asking_every(2)), now);
    let asks = [(); 3].map(|()| stream.record_sent("<message/>".into(), now).unwrap().request);
    assert_eq!(asks, [false, true, false]);
    // The third is asked about in its turn.
    ack(&mut stream, 2, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn a_resumption_does_not_count_as_stanzas_that_were_not_asked_for() {
    let now = Instant::now();
    let mut stream: StreamMgmt<&str> = resumed_at(&Arc::new(asking_every(3)), 0, 10, now);
    let asks = [(); 6].map(|()| stream.record_sent("m", now).unwrap().request);
    assert_eq!(asks, [false, false, true, false, false, true]);
}

#[test]
fn nothing_is_asked_about_where_nothing_is_left() {
    let now = Instant::now();
    let self_clocked = AckFreq::SelfClocked { idle: secs(10) };
    for config in [asking_every(1), Config::default().ack_freq(self_clocked)] {
        let config = Arc::new(config);
        let (mut stream, request) = resuming::<String>(&config, 10, now);
        let session = session_at(&config, 0, 10, now + secs(60));
        assert!(!stream.accept_resume(request, session, now).unwrap().resend.request);
        assert_eq!(stream.poll_timeout(), None);
        let mut client = enabling::<String>(&config);
        let _ = client.handle(element("enabled"), now).unwrap();
        assert_eq!(client.poll_timeout(), None);
    }
    // What went out before `<enabled/>` is, in its turn.
    for (sent, due) in [(2, None), (3, Some(now))] {
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
    let mut net = Net::new(Config::default().ack_freq(AckFreq::SelfClocked { idle: secs(10) }));
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
        assert!(!client.record_sent("<message/>", now).unwrap().request);
    }
    let receipt = deliver(&mut client, now);
    assert_eq!(client.record_handled(receipt), Ok(None));
    is_silent(&mut client, now);
    // Then it asks at once for what it could not ask for before.
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    let due = client.poll_timeout().unwrap();
    assert_eq!((due, client.handle_timeout(due)), (now, Ok(Some(Nonza::Request))));
}

#[test]
fn a_client_writes_nothing_of_stream_management_between_resume_and_its_answer() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut session = session_at(&config, 3, 5, now + secs(60));
    session.record_sent("m6", now).unwrap();
    let (mut client, _) = StreamMgmt::resume(config.clone(), session).unwrap();
    // Nor any stanza: it would be taken for one that the resumption did not cover.
    let refused = client.record_sent("m7", now).unwrap_err();
    assert_eq!((refused.answer(), refused.stanza, refused.why), (Answer::Nothing, "m7", WhyNot::Unanswered));
    is_silent(&mut client, now);
    let resumed = Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h: 5.into() }));
    let Ok(Action::Resumed(resend)) = client.handle(resumed, now) else { panic!("nothing is wrong") };
    // What is sent again comes first, and the request after it.
    assert_eq!((resend.unacked.count(), resend.request), (1, true));
    assert_eq!(client.record_sent("m7", now).unwrap().number, Some(Counter::new(7)));
}

fn is_silent(stream: &mut StreamMgmt<&'static str>, now: Instant) {
    assert_eq!((stream.ack(), stream.request(now), stream.poll_timeout()), (None, None, None));
    assert_eq!(stream.handle_timeout(now + secs(100_000)), Ok(None));
}

#[test]
fn a_server_writes_nothing_of_stream_management_before_its_answer() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut stream = bound::<&str>(&config);
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
    assert_eq!(stream.record_sent("before it is enabled", now).unwrap().number, None);
    is_silent(&mut stream, now);
    let _ = stream.accept_enable(request, None).unwrap();
    assert_eq!(stream.record_sent("after", now).unwrap().number, Some(Counter::new(1)));

    let (mut stream, request) = resuming(&config, 0, now);
    is_silent(&mut stream, now);
    let _ = stream.accept_resume(request, session_at(&config, 0, 0, now + secs(60)), now).unwrap();
}

/// Clients in use miscount a stanza in the same TCP segment: what has to be flushed comes by itself.
#[test]
fn enabled_and_resumed_come_apart_from_what_follows_and_hosts_are_told_to_flush_them() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));
    let mut session = session_at(&config, 0, 0, now + secs(60));
    session.record_sent("m1", now).unwrap();
    let mut stream = authenticated(&config);
    let request = crate::support_raw::ask_to_resume(&mut stream, 0, now);
    let resumption = stream.accept_resume(request, session, now).unwrap();
    assert!(matches!(resumption.resumed, Nonza::Resumed(_)));
    assert_eq!((resumption.resend.unacked.count(), resumption.resend.request), (1, true));

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
    let config = Config::default().ack_freq(AckFreq::Every(stanzas(1))).ack_timeout(Some(secs(60)));
    let mut stream = enabled::<&str>(&Arc::new(config), now);
    for _ in 0..5 {
        let _ = stream.record_sent("m", now).unwrap();
    }
    for (minute, h) in (1..=4).zip(1..) {
        let now = now + minute * secs(60) - secs(1);
        ack(&mut stream, h, now).unwrap();
        assert_eq!(stream.poll_timeout(), Some(now + secs(60)));
        assert_eq!(stream.handle_timeout(now + secs(60)), Ok(Some(Nonza::Request)));
        assert_eq!(stream.poll_timeout(), Some(now + secs(120)));
    }
    let now = now + secs(300);
    ack(&mut stream, 5, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
}

/// Either side may acknowledge what nobody asked about yet.
#[test]
fn a_peer_that_acknowledges_more_than_it_was_asked_for_is_not_behind() {
    let now = Instant::now();
    let config = Config::default().ack_freq(AckFreq::Every(stanzas(10)));
    let mut stream = enabled::<&str>(&Arc::new(config), now);
    for _ in 0..15 {
        let _ = stream.record_sent("m", now).unwrap();
    }
    // It was asked for ten, and has taken twelve: the rest waits for the rhythm.
    ack(&mut stream, 12, now).unwrap();
    assert_eq!((stream.unacked().len(), stream.poll_timeout()), (3, None));
}
