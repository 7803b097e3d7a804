//! Requests that are answered on another stream, or with another session.

use xmpp_sm::{
    CannotEnable, EnableRequest, Fault, Foreign, NotResumed, NotResumedWhy, Refusal, ResumeRequest, Resumption,
};

use super::*;
use crate::support::state_of;

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
    let Err(Foreign(request)) = other.accept_enable(request, Some(smid("sm-1"))) else { panic!() };
    let Err(Foreign(request)) = other.refuse_enable(request, Condition::ResourceConstraint) else { panic!() };
    assert_eq!(state_of(&other), before);
    assert!(!other.is_enabled() && other.smid().is_none());
    let _ = one.accept_enable(request, Some(smid("sm-1"))).unwrap();
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
    for text in
        ["<message/>", "<r/>", "<a h='1'/>", "<resume previd='sm-1' h='1'/>", "<enable/>", "<presence xmlns='urn:x'/>"]
    {
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
