//! F11: a request that the host drops, or answers too late, is refused; the stream goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Action, Condition, EnableRequest, Error, Failed, Foreign, Inbound, Nonza, NotResumed, NotResumedWhy, Refusal,
    StreamMgmt,
};

use crate::support::raw::{Seen, ask_to_resume, authenticated, bound, deliver, element, resuming, session_at, smid};
use crate::support::{quiet, secs};

const TIMEOUT: Duration = Duration::from_secs(30);

fn enable(stream: &mut StreamMgmt<String>, now: Instant) -> EnableRequest {
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

fn resumable_without_bind(config: &Arc<xmpp_sm::Config>) -> StreamMgmt<String> {
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
    let request = enable(&mut stream, now + TIMEOUT);
    let _ = stream.accept_enable(request, Some(smid())).unwrap();
    assert_eq!(deliver(&mut stream, now).number(), Some(1.into()));
}

#[test]
fn a_token_that_is_late_is_foreign() {
    let (now, config) = (Instant::now(), Arc::new(quiet()));
    let mut stream = bound::<String>(&config);
    let late = enable(&mut stream, now);
    assert_eq!(stream.handle_timeout(now + TIMEOUT), Ok(Some(refused())));
    let Err(Foreign(late)) = stream.accept_enable(late, Some(smid())) else { panic!("it is refused") };
    assert!(!stream.is_enabled() && stream.smid().is_none());
    // Also beside the next one, which is not answered by it.
    let next = enable(&mut stream, now + TIMEOUT);
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
    let first = enable(&mut stream, now);
    let _ = stream.refuse_enable(first, Condition::Gone).unwrap();
    let [second, third] = [now, now + secs(1)].map(|at| {
        let request = enable(&mut stream, at);
        assert_eq!(stream.handle_timeout(at + TIMEOUT), Ok(Some(refused())));
        request
    });
    assert_ne!(second, third);
    let fourth = enable(&mut stream, now);
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
