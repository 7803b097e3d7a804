//! What comes first, what waits for what, and what a host cannot get wrong.

use std::sync::Arc;
use std::time::Duration;

use xmpp_sm::{
    Condition, Config, Early, EndReason, Event, InlineBind, InlineElements, InlineResume, LoginStep, Parting, Refusal,
    Replay, Session, SmId, StreamCondition, StreamError, Unbound, Write,
};

use super::examples::assert_success;
use super::stage::{OWNER, Outcome, Stage, authenticate, early};

const RESUME: &str = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>";
const BIND: &str = "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";

fn step(stage: &Stage, children: &str) -> LoginStep {
    let inline = InlineElements::from_authenticate(&authenticate(children)).unwrap();
    inline.authenticated(stage.config.clone(), OWNER, Replay::Impossible, stage.now)
}

fn resume(stage: &Stage, children: &str) -> InlineResume {
    let LoginStep::Resume(request) = step(stage, children) else { panic!() };
    request
}

fn bind(step: LoginStep) -> InlineBind {
    let LoginStep::Bind(request) = step else { panic!("{step:?}") };
    request
}

/// `<resume/>` is processed first, wherever it stands.
#[test]
fn the_session_comes_before_the_resource_in_any_order_of_the_elements() {
    for children in [format!("{RESUME}{BIND}"), format!("{BIND}{RESUME}")] {
        let stage = Stage::new(Config::default());
        let former = stage.lost_session(OWNER, &["<one/>"]);
        let Outcome::Session(at) = stage.authenticate(OWNER, &children) else { panic!() };
        assert_eq!((at, stage.members.lock().unwrap().len()), (former, 1), "nothing is bound");
        assert!(stage.written(at)[0].contains("<resumed"));
    }
}

#[test]
fn a_session_that_is_connected_leaves_its_connection_with_conflict() {
    let stage = Stage::new(Config::default());
    let former = stage.session(OWNER, &["<one/>"]);
    let taker = resume(&stage, RESUME).into_taker(Default::default());
    let session = &mut stage.members.lock().unwrap()[former].session;
    session.take(taker, stage.now);
    let Some(Event::Left { parting: Parting::Say(last), .. }) = session.poll() else { panic!() };
    assert_eq!(last.error, Some(StreamError::Conflict));
    assert!(matches!(session.poll(), Some(Event::Resumed)));
    let Some((_, Write::Success(success))) = session.next_write(stage.now) else { panic!() };
    assert_eq!((success.bound, success.features), (None, None));
}

/// A connection that comes back from the mailbox of a session that is gone goes on where it was.
#[test]
fn a_connection_that_comes_back_later_is_bound_in_the_same_success() {
    let stage = Stage::new(Config::default());
    let taker = resume(&stage, &format!("{RESUME}{BIND}")).into_taker(super::stage::Conn::default());
    let refused = taker.refuse(Refusal::NotFound);
    assert!(refused.step.failed().is_some_and(|failed| failed.to_string().contains("<item-not-found ")));
    let Outcome::Session(at) = stage.continue_login(refused.step, refused.connection) else { panic!() };
    let written = stage.written(at);
    assert!(written[0].find("<item-not-found") < written[0].find("<bound"), "{written:?}");
    assert!(written[0].contains("<enabled"));
}

/// Bound, the client would give up a session that may be there, and send once more what that has.
#[test]
fn where_nobody_knows_of_the_session_the_authentication_fails_and_the_session_stays() {
    let mut stage = Stage::new(Config::default());
    let former = stage.lost_session(OWNER, &["<one/>"]);
    stage.is_silent = true;
    let Outcome::Failed(conn) = stage.authenticate(OWNER, &format!("{RESUME}{BIND}")) else { panic!() };
    assert_eq!(conn.written, [""; 0], "no <success/>");
    assert_eq!(stage.members.lock().unwrap().len(), 1, "nothing is bound");
    stage.is_silent = false;
    let Outcome::Session(at) = stage.authenticate(OWNER, &format!("{RESUME}{BIND}")) else { panic!() };
    assert_eq!(at, former);
}

#[test]
fn it_is_not_known_of_two_conditions_and_only_beside_a_bind() {
    let stage = Stage::new(Config::default());
    let both = format!("{RESUME}{BIND}");
    for condition in [Condition::InternalServerError, Condition::ResourceConstraint] {
        let why = Refusal::Because(condition);
        let at_once = resume(&stage, &both).refuse(why);
        let by_taker = resume(&stage, &both).into_taker(()).refuse(why).step;
        for step in [at_once, by_taker] {
            assert!(step.failed().is_some_and(|failed| failed.to_string().contains(condition.name())), "{step:?}");
            let LoginStep::Unknown(unknown) = step else { panic!("{step:?}") };
            assert_eq!(&**unknown.owner(), OWNER);
            // The host may go on: the client is told both.
            let mut session: Session<&str, ()> = unknown.into_bind().bind((), stage.now);
            let Some(Event::Enable(request)) = session.poll() else { panic!() };
            session.accept_enable(request, None, stage.now).unwrap();
            let Some((_, Write::Success(success))) = session.next_write(stage.now) else { panic!() };
            assert!(success.resume.is_some() && success.bound.is_some());
        }
        // It is told by <success/>, and may ask again.
        let alone = resume(&stage, RESUME).refuse(why);
        assert!(matches!(alone, LoginStep::Success { .. }), "{alone:?}");
    }
    for why in [Refusal::NotFound, Refusal::Expired(None), Refusal::Because(Condition::Conflict)] {
        let _ = bind(resume(&stage, &both).refuse(why));
        let _ = bind(resume(&stage, &both).into_taker(()).refuse(why).step);
    }
}

#[test]
fn a_client_that_wants_its_session_and_no_other_goes_on_with_its_login() {
    let stage = Stage::new(Config::default());
    let Outcome::Login(mut stream, conn) = stage.authenticate(OWNER, RESUME) else { panic!() };
    let failed = "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    assert_success(&conn.written[0], OWNER, failed);
    assert_eq!(conn.written[1..], ["features bind=true sm=true"]);
    // It may ask again, in the old way, and is answered in the old way.
    let again = early(&mut stream, RESUME, stage.now);
    let Early::Resume(request) = again else { panic!("{again:?}") };
    let _ = stream.refuse(request, Refusal::NotFound).unwrap();
}

/// The host need not ask a session to know that there is none.
#[test]
fn a_session_that_its_host_refuses_leaves_the_stream_free() {
    let stage = Stage::new(Config::default());
    let step = resume(&stage, RESUME).refuse(Refusal::NotFound);
    assert!(step.failed().is_some_and(|failed| failed.to_string().contains("<item-not-found ")), "{step:?}");
    let LoginStep::Success { mut stream, .. } = step else { panic!("{step:?}") };
    assert!(matches!(early(&mut stream, RESUME, stage.now), Early::Resume(_)));
}

/// The XEPs want `<success/>` even if the host finds no resource for its client.
#[test]
fn a_resource_that_cannot_be_bound_is_no_success_with_bound() {
    let stage = Stage::new(Config::default());
    let none = "<bind xmlns='urn:xmpp:bind:0'><tag>none</tag><enable xmlns='urn:xmpp:sm:3'/></bind>";
    let Outcome::Login(_, conn) = stage.authenticate(OWNER, none) else { panic!() };
    assert_success(&conn.written[0], OWNER, "");
    // What became of the session is told all the same.
    let Outcome::Login(_, conn) = stage.authenticate(OWNER, &format!("{RESUME}{none}")) else { panic!() };
    let failed = "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    assert_success(&conn.written[0], OWNER, failed);
    assert_eq!(conn.written[1..], ["features bind=true sm=true"]);
}

/// What came by a bare `<resume/>` is answered by a bare `<failed/>`, and the login goes on.
#[test]
fn a_session_that_was_not_asked_for_inline_is_refused_bare() {
    let stage = Stage::new(Config::default());
    let mut stream = Unbound::new(stage.config.clone(), OWNER);
    let Early::Resume(request) = early(&mut stream, RESUME, stage.now) else { panic!() };
    let refused = stream.into_taker(request, super::stage::Conn::default()).unwrap().refuse(Refusal::NotFound);
    let Outcome::Login(mut stream, conn) = stage.continue_login(refused.step, refused.connection) else { panic!() };
    assert!(matches!(&conn.written[..], [failed] if failed.contains("<item-not-found ")), "{:?}", conn.written);
    assert!(matches!(early(&mut stream, RESUME, stage.now), Early::Resume(_)));
}

fn binding(stage: &Stage) -> Session<&'static str, ()> {
    bind(step(stage, BIND)).bind((), stage.now)
}

/// The host has its time for `<enable/>` from when it binds.
#[test]
fn the_time_for_enable_runs_from_the_bind() {
    let stage = Stage::new(Config::default().request_timeout(Duration::from_secs(7)));
    let mut session = binding(&stage);
    assert!(matches!(session.poll(), Some(Event::Enable(_))));
    assert_eq!(session.deadline(), Some(stage.now + Duration::from_secs(7)));
}

/// The host drops the request for stream management.
#[test]
fn a_request_to_enable_that_is_dropped_is_refused_in_success() {
    let stage = Stage::new(Config::default());
    let mut session = binding(&stage);
    drop(session.poll());
    session.send("<stanza/>", stage.now).unwrap();
    assert!(!session.wants_read());
    assert!(session.next_write(stage.now).is_none(), "<success/> comes first, and waits");
    let later = session.deadline().unwrap();
    session.timeout(later);
    let Some((_, Write::Success(success))) = session.next_write(later) else { panic!() };
    let failed = success.bound.unwrap().enable.unwrap().to_string();
    assert!(failed.contains("<failed"), "{failed}");
    assert!(success.features.unwrap().stream_management, "and may be made again");
    assert!(matches!(session.next_write(later), Some((_, Write::Flush))));
    assert!(matches!(session.next_write(later), Some((_, Write::Stanza { stanza: &"<stanza/>", .. }))));
}

/// The session ends while its host still thinks about `<enable/>`: there is no success any more.
#[test]
fn a_session_that_ends_before_success_says_an_error_instead() {
    let stage = Stage::new(Config::default());
    let mut session = binding(&stage);
    let Some(Event::Enable(request)) = session.poll() else { panic!() };
    session.close(EndReason::Stopped, Some(StreamError::Other(StreamCondition::SystemShutdown)), stage.now);
    assert!(session.accept_enable(request, Some(SmId::new("x").unwrap()), stage.now).is_err());
    assert!(session.next_write(stage.now).is_none());
    let Some(Event::Left { parting: Parting::Say(last), .. }) = session.poll() else { panic!() };
    assert_eq!((last.write, last.error), (None, Some(StreamError::Other(StreamCondition::SystemShutdown))));
}

/// The peer's stream is closed before `<success/>` could be written: only an error may come without it.
#[test]
fn without_success_there_is_no_other_last_word_than_an_error() {
    let stage = Stage::new(Config::default());
    let at = stage.lost_session(OWNER, &[]);
    let session = &mut stage.members.lock().unwrap()[at].session;
    session.take(resume(&stage, RESUME).into_taker(Default::default()), stage.now);
    session.peer_closed(stage.now);
    let left = std::iter::from_fn(|| session.poll()).find_map(|event| match event {
        Event::Left { parting, .. } => Some(parting),
        _ => None,
    });
    let Some(Parting::Say(last)) = left else { panic!("the end of the stream is not written: {left:?}") };
    assert_eq!(last.write, None, "no <a/> on a stream that has not seen <success/>");
}

/// A second `<enable/>`, after the one in `<bind/>`.
#[test]
fn a_session_that_was_enabled_inline_is_enabled() {
    let stage = Stage::new(Config::default());
    let Outcome::Session(at) = stage.authenticate(OWNER, BIND) else { panic!() };
    let session = &mut stage.members.lock().unwrap()[at].session;
    let enable: minidom::Element = "<enable xmlns='urn:xmpp:sm:3'/>".parse().unwrap();
    let _ = session.handle(session.inbound(&enable), stage.now).unwrap();
    assert!(
        std::iter::from_fn(|| session.next_write(stage.now).map(|(_, item)| format!("{item:?}")))
            .any(|item| item.contains("UnexpectedRequest"))
    );
}

/// An `<enable/>` that the client sends behind `<authenticate/>` is not the one of its `<bind/>`.
#[test]
fn an_enable_that_comes_before_success_is_written_is_answered_after_it() {
    let stage = Stage::new(Config::default());
    let mut session: Session<&str, ()> = bind(step(&stage, "<bind xmlns='urn:xmpp:bind:0'/>")).bind((), stage.now);
    let enable: minidom::Element = "<enable xmlns='urn:xmpp:sm:3'/>".parse().unwrap();
    let Ok(xmpp_sm::Arrival::Enable(request)) = session.handle(session.inbound(&enable), stage.now) else { panic!() };
    session.accept_enable(request, None, stage.now).unwrap();
    let Some((_, Write::Success(success))) = session.next_write(stage.now) else { panic!() };
    assert_eq!(success.bound.unwrap().enable, None);
    assert!(matches!(session.next_write(stage.now), Some((_, Write::Flush))));
    assert!(matches!(session.next_write(stage.now), Some((_, Write::Nonza(xmpp_sm::Nonza::Enabled(_))))));
}

/// The connection is lost before `<success/>`: the session waits as if its client knew of it.
#[test]
fn a_connection_that_is_lost_before_success_takes_it_along() {
    let stage = Stage::new(Config::default());
    let mut session = binding(&stage);
    let Some(Event::Enable(request)) = session.poll() else { panic!() };
    session.accept_enable(request, Some(SmId::new("x").unwrap()), stage.now).unwrap();
    session.lost(stage.now);
    assert!(session.is_detached());
    let config: Arc<Config> = stage.config.clone();
    let mut stream = Unbound::new(config, OWNER);
    let resume = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>";
    let Early::Resume(request) = early(&mut stream, resume, stage.now) else { panic!() };
    session.take(stream.into_taker(request, ()).unwrap(), stage.now);
    assert!(matches!(session.next_write(stage.now), Some((_, Write::Flush))));
    assert!(matches!(session.next_write(stage.now), Some((_, Write::Nonza(_)))), "nothing of the former stream");
}

/// The same, where the last `<a/>` has waited for a stanza that is being handled.
#[test]
fn an_acknowledgement_that_was_waited_for_is_no_last_word_without_success() {
    let stage = Stage::new(Config::default());
    let mut session = binding(&stage);
    let Some(Event::Enable(request)) = session.poll() else { panic!() };
    session.accept_enable(request, Some(SmId::new("x").unwrap()), stage.now).unwrap();
    let stanza = xmpp_sm::Inbound::Stanza { bytes: 1 };
    let Ok(xmpp_sm::Arrival::Stanza(open)) = session.handle(stanza, stage.now) else { panic!() };
    session.peer_closed(stage.now);
    assert!(session.poll().is_none());
    session.settle(open, stage.now).unwrap();
    let Some(Event::Left { parting: Parting::Say(last), .. }) = session.poll() else { panic!() };
    assert_eq!((last.write, last.error), (None, None));
}
