//! What these tests have found in `Session`, each mistake alone, without a network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use minidom::Element;
use xmpp_sm::{
    Arrival, Config, Early, EndReason, Event, Inbound, Nonza, Offer, OnFull, Parting, Receipt, Session, SessionEnded,
    SmId, StaleH, Unbound, Write,
};

type Server = Session<&'static str, u32>;

const OWNER: &str = "juliet@example.com";

fn now() -> Instant {
    Instant::now()
}

fn config() -> Config {
    Config::default().stale_h(StaleH { enabled: true, ..StaleH::default() })
}

fn inbound(text: &str) -> Inbound {
    Inbound::from_element(&text.parse::<Element>().unwrap(), "jabber:client")
}

fn sm(name: &str, attrs: &str) -> Inbound {
    inbound(&format!("<{name} xmlns='urn:xmpp:sm:3' {attrs}/>"))
}

/// All that is written now.
fn writes<C>(session: &mut Session<&'static str, C>, now: Instant) -> Vec<String> {
    let mut writes = Vec::new();
    while let Some((_, item)) = session.next_write(now) {
        match item {
            Write::Stanza { stanza, .. } => writes.push((*stanza).to_owned()),
            Write::Nonza(nonza) => writes.push(nonza.to_string().replace(" xmlns='urn:xmpp:sm:3'", "")),
            Write::Close => writes.push("close".to_owned()),
            _ => {}
        }
    }
    writes
}

fn server(config: &Arc<Config>, now: Instant) -> Server {
    let mut session = Unbound::new(config.clone(), OWNER).bind(1);
    let Ok(Arrival::Enable(request)) = session.handle(sm("enable", "resume='true'"), now) else { unreachable!() };
    session.accept_enable(request, Some(SmId::new("x").unwrap()), now).unwrap();
    writes(&mut session, now);
    session
}

/// A message of the client, which the host handles.
fn message(session: &mut Server, now: Instant) -> Receipt {
    match session.handle(inbound("<message xmlns='jabber:client'/>"), now) {
        Ok(Arrival::Stanza(receipt)) => receipt,
        other => panic!("{other:?}"),
    }
}

/// The session has dropped its first connection and waits for its host. Gives what happens then: who asks for it is told
/// an `h` of 1.
fn dropped_then_settled(session: &mut Server, receipt: Receipt, now: Instant) -> Vec<Event<&'static str, u32>> {
    let before = events(session);
    assert!(matches!(before[..], [Event::Left { connection: 1, parting: Parting::Drop, .. }]), "{before:?}");
    session.settle(receipt, now).unwrap();
    let after = events(session);
    assert!(failed(&after).is_some_and(|failed| failed.to_string().contains("h='1'")), "{after:?}");
    after
}

fn take(session: &mut Server, config: &Arc<Config>, h: u32, connection: u32, now: Instant) {
    let mut stream = Unbound::new(config.clone(), OWNER);
    let request = match stream.handle(sm("resume", &format!("previd='x' h='{h}'")), now) {
        Ok(Early::Resume(request)) => request,
        other => unreachable!("{other:?}"),
    };
    session.take(stream.into_taker(request, connection).unwrap(), now);
}

fn events<C>(session: &mut Session<&'static str, C>) -> Vec<Event<&'static str, C>> {
    std::iter::from_fn(|| session.poll()).collect()
}

/// What the connection that asked for the session is told.
fn failed<'a>(events: &'a [Event<&'static str, u32>]) -> Option<&'a Nonza> {
    events.iter().find_map(|event| if let Event::Refused(refused) = event { refused.step.failed() } else { None })
}

fn client(config: &Arc<Config>, now: Instant) -> Session<&'static str, u32> {
    let mut session = Session::client(config.clone(), OWNER);
    connect(&mut session, 1, now);
    let Some(Event::Bind(token)) = session.poll() else { unreachable!() };
    session.bound(token, now).unwrap();
    session
}

fn connect(session: &mut Session<&'static str, u32>, connection: u32, now: Instant) {
    session.connect(OWNER, Offer { stream_management: true, binds: true }, connection, now).unwrap();
}

fn enabled(session: &mut Session<&'static str, u32>, now: Instant) {
    writes(session, now);
    assert_eq!(session.handle(sm("enabled", "id='x' resume='true' max='10'"), now), Ok(Arrival::Handled));
    events(session);
}

/// The server has no session to go on with: a new one begins.
fn bound_anew(session: &mut Session<&'static str, u32>, now: Instant) {
    let Some(Event::Bind(token)) = events(session).pop() else { unreachable!() };
    session.bound(token, now).unwrap();
    enabled(session, now);
}

#[test]
fn a_session_that_cannot_be_resumed_tells_its_taker_the_last_h() {
    let evicting = config().buffer_max(std::num::NonZeroU32::MIN).on_full(OnFull::EvictOldest);
    let (config, start) = (Arc::new(evicting), now());
    let mut session = server(&config, start);
    let receipt = message(&mut session, start);
    session.send("one", start).unwrap();
    session.send("two", start).unwrap();
    writes(&mut session, start);
    take(&mut session, &config, 0, 2, start);
    let events = dropped_then_settled(&mut session, receipt, start);
    let is_over = |ended: &SessionEnded<_>| ended.reason == EndReason::NotResumable && ended.h.get() == 1;
    assert!(matches!(&events[..], [Event::Refused(_), Event::Ended(ended)] if is_over(ended)), "{events:?}");
}

#[test]
fn who_asks_for_a_session_that_ends_is_told_its_last_h() {
    let (config, start) = (Arc::new(config()), now());
    let mut session = server(&config, start);
    let receipt = message(&mut session, start);
    session.close(EndReason::Stopped, None, start);
    take(&mut session, &config, 0, 2, start);
    let events = dropped_then_settled(&mut session, receipt, start);
    assert!(matches!(&events[..], [Event::Refused(_), Event::Ended(ended)] if ended.h.get() == 1), "{events:?}");
}

#[test]
fn who_comes_too_late_is_told_an_h_that_covers_what_was_open() {
    let (config, start) = (Arc::new(config()), now());
    let mut session = server(&config, start);
    let receipt = message(&mut session, start);
    session.lost(start);
    let late = start + Duration::from_secs(601);
    take(&mut session, &config, 0, 2, late);
    session.settle(receipt, late).unwrap();
    assert!(failed(&events(&mut session)).is_some_and(|failed| failed.to_string().contains("h='1'")));
}

#[test]
fn a_taker_comes_while_the_backlog_is_over_its_bounds() {
    let few = |number| std::num::NonZeroU32::new(number).unwrap();
    let (config, start) = (Arc::new(config().buffer_max(few(2)).backlog_max(few(2))), now());
    let mut session = server(&config, start);
    for stanza in ["one", "two", "three", "four", "five"] {
        session.send(stanza, start).unwrap();
        writes(&mut session, start);
    }
    take(&mut session, &config, 1, 2, start);
    let events = events(&mut session);
    assert!(matches!(events[..], [Event::Left { connection: 1, .. }, Event::Resumed]), "{events:?}");
    let written = writes(&mut session, start);
    assert_eq!(written, ["<resumed previd='x' h='0'/>", "two", "<r/>", "three", "<r/>"]);
}

#[test]
fn an_ack_that_covers_what_is_resent_next_stops_nothing() {
    let (config, start) = (Arc::new(config()), now());
    for (acked, more) in [(2, &["three", "<r/>", "four", "<r/>"][..]), (3, &["<r/>", "four", "<r/>"][..])] {
        let mut session = server(&config, start);
        for stanza in ["one", "two", "three"] {
            session.send(stanza, start).unwrap();
        }
        writes(&mut session, start);
        session.lost(start);
        take(&mut session, &config, 0, 2, start);
        session.send("four", start).unwrap();
        // `<resumed/>` between two flushes, and the first of three.
        for _ in 0..4 {
            assert!(session.next_write(start).is_some());
        }
        let _ = session.handle(sm("a", &format!("h='{acked}'")), start).unwrap();
        assert_eq!(writes(&mut session, start), more);
    }
}

#[test]
fn a_client_waits_a_bounded_time_to_be_bound() {
    let (config, start) = (Arc::new(Config::default()), now());
    let mut session = Session::<&str, u32>::client(config.clone(), OWNER);
    connect(&mut session, 1, start);
    let later = start + Duration::from_secs(31);
    assert!(session.deadline().is_some_and(|deadline| deadline < later));
    session.timeout(later);
    session.timeout(later + Duration::from_secs(1));
    let events = events(&mut session);
    assert!(matches!(events[..], [Event::Bind(_), Event::Left { parting: Parting::Drop, .. }]), "{events:?}");
}

#[test]
fn a_client_writes_no_stanza_before_the_reply_to_enable() {
    let (config, start) = (Arc::new(Config::default()), now());
    let mut session = client(&config, start);
    session.send("one", start).unwrap();
    assert_eq!(writes(&mut session, start), ["<enable resume='true' max='600'/>"]);
    session.lost(start);
    connect(&mut session, 2, start);
    bound_anew(&mut session, start);
    assert_eq!(writes(&mut session, start), ["one", "<r/>"]);
}

#[test]
fn a_client_asks_for_its_session_however_late_it_is() {
    let (config, start) = (Arc::new(Config::default()), now());
    let mut session = client(&config, start);
    enabled(&mut session, start);
    for stanza in ["one", "two"] {
        session.send(stanza, start).unwrap();
    }
    writes(&mut session, start);
    session.lost(start);
    assert_eq!(session.deadline(), None);
    let late = start + Duration::from_secs(100);
    session.timeout(late);
    session.timeout(late + Duration::from_secs(1));
    connect(&mut session, 2, late);
    assert_eq!(writes(&mut session, late), ["<resume previd='x' h='0'/>"]);
    let gone =
        "<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    let _ = session.handle(inbound(gone), late).unwrap();
    bound_anew(&mut session, late);
    assert_eq!(writes(&mut session, late), ["two", "<r/>"]);
}

#[test]
fn a_server_that_answers_with_the_same_h_is_not_silent() {
    let (config, start) = (Arc::new(Config::default()), now());
    for answers in [true, false] {
        let mut session = client(&config, start);
        enabled(&mut session, start);
        session.send("one", start).unwrap();
        let mut time = start;
        for connection in 2..4 {
            writes(&mut session, time);
            if connection == 3 && answers {
                let _ = session.handle(sm("a", "h='0'"), time).unwrap();
                session.send("two", time).unwrap();
                writes(&mut session, time);
            }
            time += Duration::from_secs(61);
            session.timeout(time);
            // A moment for what had arrived; and where the stream is closed, for the server's last acknowledgements.
            for _ in 0..3 {
                time += Duration::from_secs(1);
                session.timeout(time);
                writes(&mut session, time);
            }
            assert!(matches!(events(&mut session).pop(), Some(Event::Left { .. })), "dead, on connection {connection}");
            connect(&mut session, connection, time);
            if connection == 2 {
                assert_eq!(writes(&mut session, time), ["<resume previd='x' h='0'/>"]);
                let _ = session.handle(sm("resumed", "h='0' previd='x'"), time).unwrap();
                events(&mut session);
            }
        }
        let asks = writes(&mut session, time) == ["<resume previd='x' h='0'/>"];
        assert_eq!(asks, answers);
    }
}

#[test]
fn a_client_that_closes_takes_no_more_from_its_user() {
    let few = std::num::NonZeroU32::MIN;
    let (config, start) = (Arc::new(Config::default().backlog_max(few)), now());
    let mut session = client(&config, start);
    assert!(session.has_room());
    session.send("one", start).unwrap();
    assert!(!session.has_room());
    assert!(session.send("two", start).is_err());
    enabled(&mut session, start);
    writes(&mut session, start);
    assert!(session.has_room());
    session.close(EndReason::Closed, None, start);
    assert!(!session.has_room());
}

#[test]
fn a_conflict_in_place_of_a_reply_costs_a_client_no_session_at_once() {
    let (config, start) = (Arc::new(Config::default()), now());
    let mut session = client(&config, start);
    enabled(&mut session, start);
    let conflict = Inbound::StreamError { conflict: true };
    for (connection, asks) in [(2, true), (3, true), (4, false)] {
        session.lost(start);
        connect(&mut session, connection, start);
        assert_eq!(writes(&mut session, start) == ["<resume previd='x' h='0'/>"], asks);
        let _ = session.handle(conflict.clone(), start).unwrap();
    }
}
