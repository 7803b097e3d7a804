//! Streams in the middle of their work, and input that is wrong: it is refused, and leaves the state as it was.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use xmpp_sm::{
    Action, Condition, Config, Detached, Enabled, Error, Failed, Inbound, Nonza, Parts, Reaction, SmId, StreamMgmt,
};

use super::{quiet, secs, state_of, wire};

pub type Stream = StreamMgmt<String>;

pub static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

pub fn config() -> Arc<Config> {
    Arc::new(quiet())
}

pub fn sm_id(text: &str) -> SmId {
    SmId::new(text).unwrap()
}

/// What a receiver makes of wire text.
pub fn inbound(text: &str) -> Inbound {
    let (elements, _) = wire::read(&wire::with_ns(text));
    let [element] = &elements[..] else { panic!("one element: {text}") };
    Inbound::from_element(element, "jabber:client")
}

/// The state refuses the input, and is as it was.
#[track_caller]
pub fn refuses(stream: &mut Stream, text: &str) -> Error {
    let before = state_of(stream);
    let error = match stream.handle(inbound(text), *NOW) {
        Err(error) => error,
        Ok(action) => panic!("{text}: {action:?}"),
    };
    // By the other way in it is the same.
    let mut acknowledged = Vec::new();
    assert_eq!(stream.handle_into(inbound(text), *NOW, &mut acknowledged).map(drop), Err(error), "{text}");
    assert!(acknowledged.is_empty(), "{text}");
    assert_eq!(state_of(stream), before, "{text}: {error}");
    error
}

#[track_caller]
pub fn action(stream: &mut Stream, text: &str) -> Action<String> {
    stream.handle(inbound(text), *NOW).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `<failed/>` with this condition, and the stream goes on.
pub fn failed(condition: Condition) -> Reaction {
    Reaction::Write(Nonza::Failed(Failed { h: None, condition: Some(condition) }))
}

/// The stream errors that a stream ends with, as one line.
#[track_caller]
pub fn end_of(error: Error) -> String {
    let Reaction::Close(last) = error.reaction() else { panic!("{error} does not end the stream") };
    let mut out = bytes::BytesMut::new();
    last.write_to(&mut out);
    out.extend_from_slice(b"</stream:stream>");
    wire::lines(std::str::from_utf8(&out).unwrap()).concat()
}

/// A server's stream on which stream management is on: it has handled one stanza, and sent three, of which the
/// first is acknowledged.
pub fn enabled_server() -> Stream {
    let mut stream = Stream::server(config());
    stream.bound();
    let Action::Enable(request) = action(&mut stream, "<enable resume='true'/>") else { panic!() };
    let _ = stream.accept_enable(request, Some(sm_id("sm-1"))).unwrap();
    at_work(stream)
}

/// The same of a client.
pub fn enabled_client() -> Stream {
    let mut stream = Stream::client(config());
    stream.bound();
    let _ = stream.enable().unwrap();
    let enabled = Enabled { id: Some(sm_id("sm-1")), resume: true, max: None, location: None };
    let Action::Enabled(_) = action(&mut stream, &Nonza::Enabled(enabled).to_string()) else { panic!() };
    at_work(stream)
}

pub fn at_work(mut stream: Stream) -> Stream {
    let Action::Deliver(receipt) = action(&mut stream, "<message/>") else { panic!() };
    stream.record_handled(receipt).unwrap();
    for id in ["m1", "m2", "m3"] {
        let _ = stream.record_sent(format!("<message id='{id}'/>"), *NOW).unwrap();
    }
    let Action::Acknowledged(_) = action(&mut stream, "<a h='1'/>") else { panic!() };
    stream
}

/// A session `sm-1` that has come as far, and waits.
pub fn detached() -> Detached<String> {
    let parts = Parts {
        smid: sm_id("sm-1"),
        deadline: Some(*NOW + secs(600)),
        resume_timeout: Some(secs(600)),
        h: 1.into(),
        acked: 1.into(),
        unacked: vec![("<message id='m2'/>".into(), *NOW), ("<message id='m3'/>".into(), *NOW)],
    };
    Detached::from_parts(config(), parts).unwrap()
}
