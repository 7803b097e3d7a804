//! What a host or a peer does wrong: an error that changes nothing, or nothing at all.

use super::*;
use xmpp_sm::{Condition, EndReason, NotSentWhy, ReceiptError};

#[test]
fn a_stanza_that_comes_after_the_end_comes_back() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.session.close(EndReason::Stopped, None, host.now);
    let not = host.session.send(Bytes::from("<m1/>"), host.now).unwrap_err();
    assert_eq!((not.stanza, not.why), (Bytes::from("<m1/>"), NotSentWhy::Over));
}

#[test]
fn a_receipt_settles_its_own_session_once() {
    let (mut one, mut other) = (Host::new(Config::default()), Host::new(Config::default()));
    let receipt = one.receive();
    let _own = other.receive();
    let Err(ReceiptError::Foreign(receipt)) = other.session.settle(receipt, other.now) else { panic!() };
    assert_eq!(other.session.h(), Some(counter(0)));
    one.settle(receipt);
    assert_eq!(one.session.h(), Some(counter(1)));
    // After the end.
    let late = one.receive();
    one.lost();
    one.session.close(EndReason::Stopped, None, one.now);
    one.wait(secs(5));
    assert!(matches!(one.session.settle(late, one.now), Err(ReceiptError::SettledBefore(_))));
}

#[test]
fn a_receipt_of_a_stream_without_stream_management_settles_nothing_and_is_no_error() {
    let mut host = Host::bound(Config::default());
    let receipt = host.receive();
    host.settle(receipt);
    let receipt = host.receive();
    host.lost();
    assert!(host.session.settle(receipt, host.now).is_ok());
}

#[test]
fn an_enable_request_of_another_session_or_of_the_past_comes_back() {
    let (mut one, mut other) = (Host::bound(Config::default()), Host::bound(Config::default()));
    let enable = || Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = one.handle(enable()) else { panic!() };
    let foreign = other.session.accept_enable(request, None, other.now).unwrap_err();
    let foreign = other.session.refuse_enable(foreign.0, Condition::Forbidden, other.now).unwrap_err();
    assert_eq!(other.written(), "");
    // While it is out, nothing else is read.
    assert!(!one.session.wants_read());
    assert_eq!(one.session.handle(Inbound::Stanza { bytes: 1 }, one.now), Err(NotNow(Inbound::Stanza { bytes: 1 })));
    one.wait(secs(30));
    assert_eq!(one.written(), "<failed><internal-server-error/></failed>");
    assert!(one.session.wants_read());
    assert!(one.session.accept_enable(foreign.0, None, one.now).is_err(), "too late");
    let Ok(Arrival::Enable(request)) = one.handle(enable()) else { panic!() };
    one.lost();
    assert!(one.session.accept_enable(request, None, one.now).is_err());
}

#[test]
fn what_was_read_and_not_taken_is_dropped_with_its_connection() {
    let mut host = Host::new(Config::default().receipts_max(n(1)));
    let open = host.receive();
    assert!(!host.session.wants_read());
    assert_eq!(host.session.handle(Inbound::Stanza { bytes: 1 }, host.now), Err(NotNow(Inbound::Stanza { bytes: 1 })));
    host.lost();
    assert_eq!(host.session.handle(Inbound::Stanza { bytes: 1 }, host.now), Err(NotNow(Inbound::Stanza { bytes: 1 })));
    host.settle(open);
    host.take(2, 0);
    // The client sends it once more: it is stanza 2.
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='1'/> |");
    assert_eq!(host.receive().number(), Some(counter(2)));
}

#[test]
fn calls_without_a_connection_change_nothing() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.said();
    let before = format!("{:?}", host.session);
    host.lost();
    host.session.peer_closed(host.now);
    host.session.request_ack(host.now);
    host.session.send_ack();
    assert_eq!(host.handle(Nonza::Ack(0.into())), Err(NotNow(Nonza::Ack(0.into()).into())));
    assert!(host.session.next_write(host.now).is_none());
    assert_eq!((host.said(), format!("{:?}", host.session)), (vec![], before));
}

#[test]
fn a_session_that_is_over_does_nothing_more() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.session.close(EndReason::Stopped, None, host.now);
    host.said();
    host.lost();
    host.session.peer_closed(host.now);
    host.session.close(EndReason::Replaced, conflict(), host.now);
    host.pass(secs(100_000));
    host.session.timeout(host.now);
    assert!(host.session.deadline().is_none() && host.said().is_empty());
    assert!(!host.session.set_expires_at(None));
}

#[test]
fn debug_shows_nothing_that_people_wrote() {
    let mut host = Host::new(Config::default());
    host.send("<secret/>");
    host.written();
    host.lost();
    host.send("<secret/>");
    assert!(!format!("{:?}", host.session).contains("secret"));
    host.session.close(EndReason::Stopped, None, host.now);
    assert!(!format!("{:?}", host.ended()).contains("secret"));
}

#[test]
fn before_authentication_a_request_is_refused_and_all_else_is_the_hosts() {
    let inbound = |xml: &str| Inbound::from_element(&xml.parse().unwrap(), "jabber:client");
    for (xml, refused) in [
        ("<enable xmlns='urn:xmpp:sm:3'/>", true),
        ("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>", true),
        ("<r xmlns='urn:xmpp:sm:3'/>", false),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", false),
    ] {
        let failed = Unbound::before_authentication(&inbound(xml)).map(|failed| failed.to_string());
        assert_eq!(failed.is_some_and(|failed| failed.contains("<unexpected-request ")), refused, "{xml}");
    }
}

#[test]
fn a_stream_that_is_not_bound_refuses_what_may_not_come() {
    let mut stream = Unbound::new(Arc::new(Config::default()), OWNER);
    let now = Instant::now();
    let mut early = |xml: &str| stream.handle(Inbound::from_element(&xml.parse().unwrap(), "jabber:client"), now);
    let failed = |early: Result<Early, NotNow>| match early {
        Ok(Early::Write(nonza)) => nonza.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(failed(early("<enable xmlns='urn:xmpp:sm:3'/>")).contains("<unexpected-request "));
    assert!(failed(early("<resume xmlns='urn:xmpp:sm:3' previd='x'/>")).contains("<bad-request "));
    assert!(matches!(early("<iq xmlns='jabber:client'/>"), Ok(Early::Stanza)));
    assert!(matches!(early("<r xmlns='urn:xmpp:sm:3'/>"), Ok(Early::Ignore)));
    assert!(matches!(early("<a xmlns='urn:xmpp:sm:3'/>"), Ok(Early::Ignore)));
    assert!(matches!(early("<x xmlns='urn:x'/>"), Ok(Early::Other)));
    let mut off = Unbound::disabled(Arc::new(Config::default()), OWNER);
    assert!(!off.has_feature());
    let resume = Nonza::Resume(Resume { previd: SmId::new("x").unwrap(), h: counter(0) });
    assert!(failed(off.handle(resume.into(), now)).contains("<feature-not-implemented "));
}

#[test]
fn between_servers_a_session_begins_with_whatever_comes_first() {
    let now = Instant::now();
    let unbound = || Unbound::without_bind(Arc::new(Config::default()), "montague.example");
    let mut stream = unbound();
    assert!(matches!(stream.handle(Inbound::Stanza { bytes: 1 }, now), Ok(Early::Begin)));
    let enable = Inbound::from(Nonza::Enable(Enable { resume: true, max: None }));
    assert!(matches!(stream.handle(enable.clone(), now), Ok(Early::Begin)));
    let mut session: Session<Bytes, u32> = stream.bind(1);
    assert!(matches!(session.handle(enable, now), Ok(Arrival::Enable(_))));
    let resume = Nonza::Resume(Resume { previd: SmId::new("x").unwrap(), h: counter(0) });
    assert!(matches!(unbound().handle(resume.into(), now), Ok(Early::Resume(_))));
}

#[test]
fn a_peer_that_asks_for_replies_and_does_not_read_them_is_not_read_from() {
    let mut host = Host::new(Config::default());
    let resume = || Nonza::Resume(Resume { previd: SmId::new("x").unwrap(), h: counter(0) });
    let mut asked = 0;
    while host.session.wants_read() {
        assert_eq!(host.handle(resume()), Ok(Arrival::Handled));
        asked += 1;
        assert!(asked < 1000, "it is read from without end");
    }
    assert_eq!(host.written().matches("<failed>").count(), asked);
    assert!(host.session.wants_read());
}

#[test]
fn a_stanza_whose_receipt_is_lost_is_settled_by_its_number() {
    let mut host = Host::new(Config::default().receipts_max(n(2)));
    drop(host.receive());
    let _ = host.handle(Nonza::AckRequest);
    drop(host.receive());
    assert!(!host.session.wants_read());
    let oldest = host.session.oldest_open().expect("it shows");
    assert_eq!(oldest.since, host.now);
    assert!(host.session.settle_without_receipt(counter(3), host.now).is_err());
    assert_eq!(host.session.settle_without_receipt(oldest.number, host.now), Ok(()));
    assert!(host.session.wants_read());
    assert_eq!(host.written(), "<a h='1'/> <a h='1'/>");
    host.lost();
    assert_eq!(host.session.settle_without_receipt(counter(2), host.now), Ok(()));
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='2'/> |");
}

#[test]
fn a_component_that_asks_for_a_session_after_its_first_stanza_is_refused_at_once() {
    let config = Arc::new(Config::default());
    let mut stream = Unbound::without_bind(config.clone(), OWNER);
    let now = Instant::now();
    assert!(matches!(stream.handle(Inbound::Stanza { bytes: 1 }, now), Ok(Early::Begin)));
    let mut host = Host { session: stream.bind(1), config, now, events: Vec::new() };
    let resume = Resume { previd: SmId::new("sm-1").unwrap(), h: counter(0) };
    assert_eq!(host.handle(Nonza::Resume(resume)), Ok(Arrival::Handled));
    assert_eq!(host.written(), "<failed><unexpected-request/></failed>");
    assert!(host.session.wants_read());
    host.enable();
    assert!(host.session.is_enabled());
}

#[test]
fn an_enable_that_begins_a_session_leaves_nothing_to_wait_for() {
    let mut stream = Unbound::without_bind(Arc::new(Config::default()), OWNER);
    let now = Instant::now();
    let early = stream.handle(Nonza::Enable(Enable::default()).into(), now);
    assert!(matches!(early, Ok(Early::Begin)), "{early:?}");
    assert_eq!(stream.deadline(), None);
}
