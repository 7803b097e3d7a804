//! A session and the store of its host, from `<enable/>` to the end.

use super::*;
use xmpp_sm::{
    Condition, EnableRequest, EndReason, LoginStep, Lookup, MemoryStore, Refused, Registered, Registration,
    SessionStore, StaleH,
};

fn with_stale_h() -> (Host, MemoryStore<u8>) {
    let config = Config::default().stale_h(StaleH { enabled: true, ..StaleH::default() });
    let store = MemoryStore::new(&config);
    (Host::bound(config), store)
}

fn request(host: &mut Host, resume: bool) -> EnableRequest {
    let enable = Nonza::Enable(Enable { resume, max: None });
    let Ok(Arrival::Enable(request)) = host.handle(enable) else { panic!() };
    request
}

fn registered(host: &mut Host, store: &MemoryStore<u8>) -> Registration {
    let request = request(host, true);
    let registered = host.session.accept_enable_in(request, store, 7, host.now);
    registered.unwrap().expect("it can be resumed").registration
}

fn why(refused: Refused<u32>) -> Option<Condition> {
    match refused.step {
        LoginStep::Failed { failed: Nonza::Failed(failed), .. } => failed.condition,
        _ => panic!("it was not asked for inline"),
    }
}

#[test]
fn a_session_is_in_the_store_before_its_client_knows_its_sm_id() {
    let (mut host, store) = with_stale_h();
    let registration = registered(&mut host, &store);
    assert_eq!(host.session.smid(), Some(registration.smid()));
    let found = store.lookup(registration.smid(), OWNER, host.now).unwrap();
    assert!(matches!(found, Lookup::Session(record) if record.handle == 7));
    assert!(host.written().contains(&format!("id='{}'", registration.smid().as_str())));
}

#[test]
fn one_that_is_not_to_be_resumed_is_not_in_the_store() {
    let (mut host, store) = with_stale_h();
    let request = request(&mut host, false);
    assert_eq!(host.session.accept_enable_in(request, &store, 7, host.now), Ok(None));
    assert!(store.is_empty());
    assert_eq!(host.written(), "| <enabled/> |");
}

#[test]
fn one_that_the_store_does_not_take_is_enabled_and_not_resumable() {
    let mut host = Host::bound(Config::default());
    let request = request(&mut host, true);
    assert_eq!(host.session.accept_enable_in(request, &Broken, 7, host.now), Ok(None));
    assert_eq!(host.written(), "| <enabled/> |");
}

#[test]
fn a_request_of_another_session_registers_nothing() {
    let (mut host, store) = with_stale_h();
    let (mut other, _) = with_stale_h();
    let foreign = request(&mut other, true);
    let foreign = host.session.accept_enable_in(foreign, &store, 7, host.now).unwrap_err();
    assert!(store.is_empty());
    assert!(other.session.accept_enable(foreign.0, None, other.now).is_ok(), "it came back");
}

#[test]
fn a_client_that_is_back_finds_its_session_and_no_other() {
    let (mut host, store) = with_stale_h();
    let smid = registered(&mut host, &store).smid().clone();
    let (taker, record) = host.taker_of(OWNER, smid.as_str(), 2, 0).find_in(&store, host.now).unwrap();
    assert_eq!(record.handle, 7);
    host.session.take(taker, host.now);
    assert_eq!(host.session.connection(), Some(&2));
    let stranger = host.taker_of("romeo@example.net", smid.as_str(), 3, 0).find_in(&store, host.now).unwrap_err();
    assert_eq!(stranger.connection, 3);
    assert_eq!(why(stranger), Some(Condition::ItemNotFound));
}

#[test]
fn a_store_that_fails_does_not_say_that_the_session_is_gone() {
    let host = Host::bound(Config::default());
    let refused = host.taker(2, 0).find_in(&Broken, host.now).unwrap_err();
    assert_eq!(why(refused), Some(Condition::InternalServerError));
}

#[test]
fn only_a_session_that_was_closed_well_leaves_no_h() {
    for (reason, is_gone) in [(EndReason::Closed, true), (EndReason::Replaced, false), (EndReason::Stopped, false)] {
        let (mut host, store) = with_stale_h();
        let registration = registered(&mut host, &store);
        let receipt = host.receive();
        host.settle(receipt);
        host.lost();
        host.session.close(reason, None, host.now);
        let ended = host.ended();
        ended.leave(&store, &registration, host.now).unwrap();
        let found = store.lookup(registration.smid(), OWNER, host.now).unwrap();
        match found {
            Lookup::NotFound => assert!(is_gone, "{reason:?}"),
            Lookup::StaleH(h) => assert!(!is_gone && h == Counter::from(1), "{reason:?}"),
            Lookup::Session(_) => panic!("{reason:?}"),
        }
    }
}

/// It is not there.
struct Broken;

impl SessionStore for Broken {
    type Handle = u8;
    type Error = ();

    fn register(&self, _: &SmId, _: &Arc<str>, _: u8, _: Instant) -> Result<Registered<u8>, ()> {
        Err(())
    }

    fn lookup(&self, _: &SmId, _: &str, _: Instant) -> Result<Lookup<u8>, ()> {
        Err(())
    }

    fn retire(&self, _: &Registration, _: Counter, _: Instant) -> Result<(), ()> {
        Err(())
    }

    fn remove(&self, _: &Registration) -> Result<(), ()> {
        Err(())
    }
}
