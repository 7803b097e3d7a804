//! A request that the host has not answered: nothing else is handled meanwhile; dropped, or answered too late or elsewhere, it is
//! refused, and the stream goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Action, CannotEnable, Condition, Config, Detached, EnableRequest, Error, Failed, Fault, Foreign, Inbound, Nonza,
    NotResumed, NotResumedWhy, Reaction, Refusal, ResumeRequest, Resumption, StreamMgmt,
};

use crate::support::at_work::{NOW, Stream, action, config, detached, enabled_client, refuses, sm_id};
use crate::support::raw::{
    Seen, ask_to_resume, authenticated, bound, deliver, element, feed, grant, resuming, session_at, smid,
};
use crate::support::{quiet, secs, state_of, wire};

const TIMEOUT: Duration = Duration::from_secs(30);

fn asks_to_enable(stream: &mut StreamMgmt<String>, now: Instant) -> EnableRequest {
    let Ok(Action::Enable(request)) = stream.handle(element("enable resume='true'"), now) else { panic!() };
    request
}

fn refused() -> Nonza {
    Nonza::Failed(Failed { h: None, condition: Some(Condition::InternalServerError) })
}

#[test]
fn a_request_that_is_dropped_is_refused_in_time() {
    let now = Instant::now();
    for (timeout, config) in [(TIMEOUT, quiet()), (secs(3), quiet().request_timeout(secs(3)))] {
        let config = Arc::new(config);
        let mut without_bind = authenticated::<String>(&config);
        without_bind.authenticated_without_bind();
        let streams: [(StreamMgmt<String>, &str); 4] = [
            (bound(&config), "enable resume='true'"),
            (without_bind, "enable"),
            (authenticated(&config), "resume previd='sm' h='0'"),
            (resumable_without_bind(&config), "resume previd='sm' h='0'"),
        ];
        for (mut stream, request) in streams {
            let before = Seen::from(&stream);
            drop(stream.handle(element(request), now).unwrap());
            let due = now + timeout;
            assert_eq!(stream.poll_timeout(), Some(due), "{request}");
            assert_eq!(stream.handle_timeout(due - Duration::from_nanos(1)), Ok(None), "{request}");
            assert_eq!(stream.handle(Inbound::Other, now).unwrap_err(), Error::RequestPending);
            assert_eq!(stream.handle_timeout(due), Ok(Some(refused())), "{request}");
            // Once, and the stream is where it was: what comes is taken, and the peer may ask again.
            assert_eq!((stream.poll_timeout(), stream.handle_timeout(due)), (None, Ok(None)), "{request}");
            assert_eq!((Seen::from(&stream), stream.has_feature()), (before, true), "{request}");
            assert!(matches!(stream.handle(Inbound::Stanza { bytes: 1 }, due), Ok(Action::Deliver(_))), "{request}");
            let again = stream.handle(element(request), due);
            assert!(matches!(again, Ok(Action::Enable(_) | Action::Resume(_))), "{request}");
            assert_eq!(stream.poll_timeout(), Some(due + timeout), "{request}");
        }
    }
}

fn resumable_without_bind(config: &Arc<Config>) -> StreamMgmt<String> {
    let mut stream = authenticated(config);
    stream.authenticated_without_bind();
    stream
}

#[test]
fn a_resume_that_is_dropped_does_not_keep_the_client_from_binding() {
    let now = Instant::now();
    let (mut stream, request) = resuming::<String>(&Arc::new(quiet()), 0, now);
    drop(request);
    assert_eq!(stream.handle_timeout(now + TIMEOUT), Ok(Some(refused())));
    stream.bound();
    let request = asks_to_enable(&mut stream, now + TIMEOUT);
    let _ = stream.accept_enable(request, Some(smid())).unwrap();
    assert_eq!(deliver(&mut stream, now).number(), Some(1.into()));
}

#[test]
fn a_token_that_is_late_is_foreign() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = bound::<String>(&config);
    let late = asks_to_enable(&mut stream, now);
    assert_eq!(stream.handle_timeout(now + TIMEOUT), Ok(Some(refused())));
    let Err(Foreign(late)) = stream.accept_enable(late, Some(smid())) else { panic!("it is refused") };
    assert!(!stream.is_enabled() && stream.smid().is_none());
    // Also beside the next one, which is not answered by it.
    let next = asks_to_enable(&mut stream, now + TIMEOUT);
    let Err(Foreign(late)) = stream.accept_enable(late, Some(smid())) else { panic!("another is pending") };
    let Err(Foreign(_)) = stream.refuse_enable(late, Condition::Gone) else { panic!("another is pending") };
    assert_eq!(stream.poll_timeout(), Some(now + 2 * TIMEOUT));
    let _ = stream.accept_enable(next, Some(smid())).unwrap();
    assert!(stream.is_resumable());
}

#[test]
fn a_late_resume_comes_back_with_its_session() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let (mut stream, late) = resuming::<String>(&config, 0, now);
    assert_eq!(stream.handle_timeout(now + TIMEOUT), Ok(Some(refused())));
    let session = session_at(&config, 3, 0, now + secs(600));
    let before = Seen::from(&session);
    let NotResumed { session, why } = stream.accept_resume(late, session, now + TIMEOUT).unwrap_err();
    let NotResumedWhy::Foreign(late) = why else { panic!("it is refused: {why}") };
    assert_eq!(Seen::from(&session), before);
    let next = ask_to_resume(&mut stream, 0, now + TIMEOUT);
    let Err(Foreign(late)) = stream.refuse_resume(late, Refusal::NotFound) else { panic!("another is pending") };
    let NotResumed { session, .. } = stream.accept_resume(late, session, now + TIMEOUT).unwrap_err();
    let resumed = stream.accept_resume(next, session, now + TIMEOUT).unwrap();
    assert_eq!(resumed.write.to_string(), "<resumed xmlns='urn:xmpp:sm:3' previd='sm' h='3'/>");
}

/// A token answers its own request, and no later one of the same stream.
#[test]
fn a_token_answers_one_request() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = bound::<String>(&config);
    let first = asks_to_enable(&mut stream, now);
    let _ = stream.refuse_enable(first, Condition::Gone).unwrap();
    let [second, third] = [now, now + secs(1)].map(|at| {
        let request = asks_to_enable(&mut stream, at);
        assert_eq!(stream.handle_timeout(at + TIMEOUT), Ok(Some(refused())));
        request
    });
    assert_ne!(second, third);
    let fourth = asks_to_enable(&mut stream, now);
    for late in [second, third] {
        assert!(stream.accept_enable(late, None).is_err());
    }
    let _ = stream.accept_enable(fourth, None).unwrap();
}

/// The host is not told of a timeout of the peer's while it is itself the one that is late.
#[test]
fn what_is_pending_is_due_even_if_the_host_does_not_read() {
    let now = Instant::now();
    let (mut stream, _late) = resuming::<String>(&Arc::new(quiet()), 0, now);
    stream.hearing(false, now);
    assert_eq!(stream.poll_timeout(), Some(now + TIMEOUT));
    assert_eq!(stream.handle_timeout(now + TIMEOUT), Ok(Some(refused())));
    assert_eq!(stream.poll_timeout(), None);
}

fn enable_pending() -> (Stream, EnableRequest) {
    let mut stream = Stream::server(config());
    stream.bound();
    let Action::Enable(request) = action(&mut stream, "<enable resume='true'/>") else { panic!() };
    (stream, request)
}

fn resume_pending(previd: &str, h: u32) -> (Stream, ResumeRequest) {
    let mut stream = Stream::server(config());
    stream.authenticated();
    let resume = format!("<resume previd='{previd}' h='{h}'/>");
    let Action::Resume(request) = action(&mut stream, &resume) else { panic!() };
    (stream, request)
}

/// The request and the session come back.
fn foreign(resumed: Result<Resumption, NotResumed<String>>) -> (ResumeRequest, Detached<String>) {
    let NotResumed { session, why } = resumed.unwrap_err();
    let NotResumedWhy::Foreign(request) = why else { panic!("{why}") };
    (request, session)
}

#[test]
fn an_enable_of_another_stream_comes_back() {
    let ((mut one, request), (mut other, _)) = (enable_pending(), enable_pending());
    let before = state_of(&other);
    let Err(Foreign(request)) = other.accept_enable(request, Some(sm_id("sm-1"))) else { panic!() };
    let Err(Foreign(request)) = other.refuse_enable(request, Condition::ResourceConstraint) else { panic!() };
    assert_eq!(state_of(&other), before);
    assert!(!other.is_enabled() && other.smid().is_none());
    let _ = one.accept_enable(request, Some(sm_id("sm-1"))).unwrap();
    assert!(one.is_enabled());
}

#[test]
fn a_resume_of_another_stream_or_another_session_comes_back_with_the_session() {
    let ((mut one, request), (mut other, _)) = (resume_pending("sm-1", 1), resume_pending("sm-1", 1));
    let (before, session) = (state_of(&other), detached());
    let session_before = state_of(&session);
    let (request, session) = foreign(other.accept_resume(request, session, *NOW));
    assert_eq!(state_of(&session), session_before);
    let Err(Foreign(request)) = other.refuse_resume(request, Refusal::NotFound) else { panic!() };
    assert_eq!(state_of(&other), before);
    let _ = one.accept_resume(request, session, *NOW).unwrap();
    assert!(one.is_enabled());

    let (mut stream, request) = resume_pending("sm-2", 1);
    let (before, session) = (state_of(&stream), detached());
    let session_before = state_of(&session);
    let (request, session) = foreign(stream.accept_resume(request, session, *NOW));
    assert_eq!((state_of(&stream), state_of(&session)), (before, session_before));
    let failed = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    assert_eq!(wire::lines(&failed.to_string()), ["<failed><item-not-found/></failed>"]);
}

#[test]
fn whatever_comes_before_the_answer_can_be_fed_again() {
    let (mut stream, request) = resume_pending("sm-1", 1);
    for text in [
        "<message/>",
        "<r/>",
        "<a h='1'/>",
        "<resume previd='sm-1' h='1'/>",
        "<enable/>",
        "<presence xmlns='urn:x'/>",
        "<a/>",
    ] {
        let error = refuses(&mut stream, text);
        assert_eq!((error, error.fault(), error.reaction()), (Error::RequestPending, Fault::Host, Reaction::Later));
    }
    drop(stream.accept_resume(request, detached(), *NOW).unwrap());
    let Action::Deliver(receipt) = action(&mut stream, "<message/>") else { panic!() };
    assert_eq!(receipt.number(), Some(2.into()));
}

#[test]
fn a_client_that_may_not_enable_is_told_why_and_is_as_it_was() {
    let mut connected = Stream::client(config());
    connected.authenticated();
    let (mut server, _) = enable_pending();
    for (stream, why) in [
        (&mut connected, CannotEnable::NotBound),
        (&mut enabled_client(), CannotEnable::SentBefore),
        (&mut server, CannotEnable::Server),
        (&mut Stream::resume(config(), detached()).unwrap().0, CannotEnable::NotBound),
    ] {
        let before = state_of(stream);
        assert_eq!(stream.enable(), Err(why));
        assert_eq!(state_of(stream), before);
    }
}

#[test]
fn nothing_is_handled_before_a_request_is_answered() {
    let now = Instant::now();
    let mut stream = bound::<&str>(&Arc::new(quiet()));
    let Ok(Action::Enable(request)) = feed(&mut stream, "<enable/>", now) else { panic!() };
    for xml in ["<message/>", "<r/>", "<a h='0'/>", "<enable/>", "<resume previd='x' h='0'/>"] {
        assert_eq!(feed(&mut stream, xml, now).err(), Some(Error::RequestPending), "{xml}");
    }
    let failed = stream.refuse_enable(request, Condition::InternalServerError).unwrap();
    assert!(failed.to_string().contains("internal-server-error"));
    assert!(matches!(feed(&mut stream, "<message/>", now), Ok(Action::Deliver(_))));
    assert_eq!(grant(&mut stream, "<enable/>", None), "<enabled xmlns='urn:xmpp:sm:3'/>");
}
