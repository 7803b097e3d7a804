//! Between `<enable/>` or `<resume/>` and its answer nothing of stream management is written.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Action, Config, Counter, Inbound, Nonza, NotRecordedWhy, Reaction, Resumed, StreamMgmt};

use crate::support::raw::{
    ask_to_resume, authenticated, bound, deliver, element, enabling, resuming, session_at, smid,
};
use crate::support::secs;

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
    let request = ask_to_resume(&mut stream, 0, now);
    let resumption = stream.accept_resume(request, session, now).unwrap();
    assert!(matches!(resumption.write, Nonza::Resumed(_)));
    assert_eq!((stream.unacked().count(), resumption.after), (1, Some(Nonza::AckRequest)));

    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stream");
    let docs: String = fs::read_dir(src).unwrap().map(|f| fs::read_to_string(f.unwrap().path()).unwrap()).collect();
    assert!(docs.contains("/// Flush `<enabled/>` by itself before any stanza"));
    assert!(docs.contains("/// `<resumed/>`. Flush it by itself"));
}
