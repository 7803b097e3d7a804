//! What things cost, exactly: allocations and sizes, for those who keep a million sessions.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Instant;

use crate::support::count::counted;
use bytes::{Bytes, BytesMut};
use xmpp_sm::{
    AckFreq, Action, Arrival, Config, Counter, Detached, Disconnected, Enable, Event, Inbound, MemoryStore, Nonza,
    Receipt, Registration, Sent, Session, SessionStore, SmId, StreamMgmt, Taker, Unbound, Write,
};

const KEPT: u32 = 20;

fn config() -> Arc<Config> {
    let config = Config::default().ack_freq(AckFreq::Every(NonZeroU32::new(5).unwrap()));
    Arc::new(config.buffer_max(NonZeroU32::MAX).buffer_max_bytes(NonZeroUsize::MAX).receipts_max(NonZeroU32::MAX))
}

fn enabled(config: &Arc<Config>, now: Instant) -> StreamMgmt<Bytes> {
    let mut stream = StreamMgmt::server(config.clone());
    stream.bound();
    let enable = Inbound::Nonza(Nonza::Enable(Enable { resume: true, max: None }));
    let Ok(Action::Enable(request)) = stream.handle(enable, now) else { panic!() };
    let _ = stream.accept_enable(request, Some(SmId::random().unwrap())).unwrap();
    stream
}

fn send(stream: &mut StreamMgmt<Bytes>, message: &Bytes, now: Instant) -> Option<Nonza> {
    stream.record_sent(message.clone(), now).unwrap().write
}

fn deliver(stream: &mut StreamMgmt<Bytes>, now: Instant) -> Receipt {
    let Ok(Action::Deliver(receipt)) = stream.handle(Inbound::Stanza { bytes: 1 }, now) else { panic!() };
    receipt
}

/// Nothing is allocated for a stanza or an acknowledgement, in either direction, once the rings have the
/// size that the exchange needs.
#[test]
fn a_steady_exchange_allocates_nothing() {
    let now = Instant::now();
    let message = Bytes::from("<message/>".repeat(20));
    let mut stream = enabled(&config(), now);
    let mut out = BytesMut::with_capacity(256);
    let mut round = |stream: &mut StreamMgmt<Bytes>, n: u32| {
        for _ in 0..KEPT {
            if let Some(request) = send(stream, &message, now) {
                out.clear();
                request.write_to(&mut out);
            }
        }
        let acked = stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new((n + 1) * KEPT))), now);
        assert!(matches!(acked, Ok(Action::Acknowledged(acked)) if acked.count == KEPT));
        let receipts = [(); KEPT as usize].map(|()| deliver(stream, now));
        let Ok(Action::Write(answer)) = stream.handle(Inbound::Nonza(Nonza::AckRequest), now) else { panic!() };
        out.clear();
        answer.write_to(&mut out);
        for receipt in receipts {
            stream.record_handled(receipt).unwrap();
        }
        assert_eq!(stream.handle_timeout(now), Ok(None));
    };
    (0..3).for_each(|n| round(&mut stream, n));
    let ((), counts) = counted(|| (3..100).for_each(|n| round(&mut stream, n)));
    assert_eq!((counts.taken, counts.freed), (0, 0));
}

/// The same of a `Session`, whose host asks after each turn what there is to write, to know and to wait for.
#[test]
fn a_session_allocates_nothing_in_a_steady_exchange() {
    let now = Instant::now();
    let message = Bytes::from("<message/>".repeat(20));
    let mut session: Session<Bytes, ()> = Unbound::new(config(), "juliet@example.com").bind(());
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
    session.accept_enable(request, Some(SmId::random().unwrap()), now).unwrap();
    let mut out = BytesMut::with_capacity(8192);
    let mut turn = |session: &mut Session<Bytes, ()>| {
        let mut stanzas = 0;
        while session.poll().is_some() {}
        out.clear();
        while let Some(((), item)) = session.next_write(now) {
            match item {
                Write::Stanza { stanza, .. } => {
                    stanzas += 1;
                    out.extend_from_slice(stanza);
                }
                Write::Nonza(nonza) => nonza.write_to(&mut out),
                _ => {}
            }
        }
        assert!(session.wants_read());
        std::hint::black_box(session.deadline());
        stanzas
    };
    let mut round = |session: &mut Session<Bytes, ()>, n: u32| {
        let mut written = 0;
        for _ in 0..KEPT {
            session.send(message.clone(), now).unwrap();
            written += turn(session);
        }
        assert_eq!(written, KEPT);
        let ack = Nonza::Ack(Counter::new((n + 1) * KEPT));
        assert_eq!(session.handle(ack.into(), now), Ok(Arrival::Handled));
        let receipts = [(); KEPT as usize].map(|()| {
            let Ok(Arrival::Stanza(receipt)) = session.handle(Inbound::Stanza { bytes: 1 }, now) else { panic!() };
            receipt
        });
        assert_eq!(session.handle(Nonza::AckRequest.into(), now), Ok(Arrival::Handled));
        for receipt in receipts {
            session.settle(receipt, now).unwrap();
        }
        turn(session);
    };
    (0..3).for_each(|n| round(&mut session, n));
    let ((), counts) = counted(|| (3..100).for_each(|n| round(&mut session, n)));
    assert_eq!((counts.taken, counts.freed), (0, 0));
}

#[test]
fn a_due_request_allocates_nothing() {
    let now = Instant::now();
    let config = Arc::new(Config::default().ack_freq(AckFreq::SelfClocked));
    let mut stream = enabled(&config, now);
    let message = Bytes::from_static(b"<message/>");
    send(&mut stream, &message, now);
    send(&mut stream, &message, now);
    assert!(stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(1))), now).is_ok());
    let (request, counts) = counted(|| stream.handle_timeout(stream.poll_timeout().unwrap()));
    assert_eq!(request, Ok(Some(Nonza::AckRequest)));
    assert_eq!(counts.taken, 0);
}

#[test]
fn reading_and_writing_what_comes_often_allocates_nothing() {
    let mut out = BytesMut::with_capacity(256);
    let ((), counts) = counted(|| {
        for (name, h) in [("a", "4294967295"), ("a", " +0017\n"), ("a", "1.5"), ("r", "")] {
            if let Ok(nonza) = Nonza::parse(name, [("h", h)], None) {
                out.clear();
                nonza.write_to(&mut out);
            }
        }
        // An SM-ID as this crate makes them fits into its place.
        let resume = Nonza::parse("resume", [("h", "7"), ("previd", "0123456789abcdefghijkl")], None).unwrap();
        out.clear();
        resume.write_to(&mut out);
    });
    assert_eq!(counts.taken, 0);
}

#[test]
fn an_element_is_read_without_an_allocation() {
    let ack: minidom::Element = "<a xmlns='urn:xmpp:sm:3' h='17'/>".parse().unwrap();
    let message: minidom::Element = "<message xmlns='jabber:client'><body>hi</body></message>".parse().unwrap();
    let (inbound, counts) = counted(|| [&ack, &message].map(|element| Inbound::from_element(element, "jabber:client")));
    assert_eq!(inbound, [Inbound::Nonza(Nonza::Ack(Counter::new(17))), Inbound::Stanza { bytes: 7 + 4 + 2 }]);
    assert_eq!(counts.taken, 0);
}

#[test]
fn a_stream_costs_no_heap_before_its_first_stanza() {
    let (now, config) = (Instant::now(), config());
    let (stream, counts) = counted(|| enabled(&config, now));
    assert_eq!((counts.taken, counts.bytes), (0, 0));
    let (disconnected, counts) = counted(|| stream.disconnect(now));
    assert!(matches!(disconnected, Disconnected::Resumable(_)));
    assert_eq!(counts.taken, 0);
}

/// Nothing of its stream is left, nor of the events that the host has taken.
#[test]
fn a_detached_session_that_is_empty_has_nothing_on_the_heap() {
    let (now, config, owner) = (Instant::now(), config(), Arc::from("juliet@example.com"));
    let smid = SmId::from_random([7; 16]);
    let (session, counts) = counted(|| detached(&config, &owner, smid, now));
    assert!(session.is_detached());
    assert_eq!(counts.bytes, 0);
}

#[test]
fn memory_is_given_back_after_a_burst() {
    let now = Instant::now();
    let message = Bytes::from_static(b"<message/>");
    let mut stream = enabled(&config(), now);
    const BURST: u32 = 10_000;
    let ((), counts) = counted(|| {
        let receipts: Vec<_> = (0..BURST).map(|_| deliver(&mut stream, now)).collect();
        for _ in 0..BURST {
            send(&mut stream, &message, now);
        }
        assert!(stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(BURST))), now).is_ok());
        for receipt in receipts {
            stream.record_handled(receipt).unwrap();
        }
    });
    // Room for 64 stanzas and 64 receipts stays.
    assert_eq!(counts.bytes, 64 * 48 + 64 * 24);
}

#[test]
fn memory_is_given_back_while_some_stanzas_are_left() {
    let (now, message) = (Instant::now(), Bytes::from_static(b"<message/>"));
    let mut stream = enabled(&config(), now);
    let ((), counts) = counted(|| {
        for _ in 0..10_000 {
            send(&mut stream, &message, now);
        }
        assert!(stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(9_900))), now).is_ok());
    });
    // Room for as many again.
    assert_eq!(counts.bytes, 200 * 48);
}

/// Nor is it given back to be taken again, when the number of stanzas goes up and down.
#[test]
fn an_exchange_that_swings_allocates_nothing() {
    let (now, message) = (Instant::now(), Bytes::from_static(b"<message/>"));
    let mut stream = enabled(&config(), now);
    let mut swing = || {
        for _ in 0..200 {
            send(&mut stream, &message, now);
        }
        let h = stream.sent().get() - 100;
        assert!(stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(h))), now).is_ok());
    };
    (0..3).for_each(|_| swing());
    let ((), counts) = counted(|| (0..100).for_each(|_| swing()));
    assert_eq!((counts.taken, counts.freed), (0, 0));
}

#[test]
fn types_have_the_sizes_that_they_should() {
    assert_eq!(size_of::<StreamMgmt<Bytes>>(), 328);
    assert_eq!(size_of::<Session<Bytes, ()>>(), 480);
    assert_eq!(size_of::<Detached<Bytes>>(), 216);
    assert_eq!(size_of::<Action<Bytes>>(), 56);
    assert_eq!(size_of::<Sent<Bytes>>(), 64);
    assert_eq!(size_of::<Write<'_, Bytes>>(), 24);
    assert_eq!(size_of::<Nonza>(), 48);
    assert_eq!(size_of::<Inbound>(), 48);
    assert_eq!(size_of::<Receipt>(), 16);
    assert_eq!(size_of::<SmId>(), 24);
}

#[test]
fn what_the_host_holds_can_move_between_threads() {
    fn assert_send<T: Send>() {}
    fn assert_sync<T: Sync>() {}
    assert_send::<StreamMgmt<Bytes>>();
    assert_send::<Detached<Bytes>>();
    assert_send::<Action<Bytes>>();
    assert_send::<Session<Bytes, u32>>();
    assert_send::<Unbound>();
    assert_send::<Taker<u32>>();
    assert_send::<Event<Bytes, u32>>();
    assert_send::<Receipt>();
    assert_sync::<Config>();
    assert_sync::<MemoryStore<u64>>();
}

/// Key and owner included, as the allocator was asked for them: one session of each owner, and ten, as many as an
/// owner has by default.
#[test]
fn a_million_sessions_cost_no_more_than_160_bytes_each() {
    const SESSIONS: u64 = 1_000_000;
    let now = Instant::now();
    for of_each in [1, 10] {
        let (store, counts) = counted(|| {
            let store = MemoryStore::new(&Config::default());
            for n in 0..SESSIONS {
                let smid = SmId::from_random(mixed(n).to_be_bytes());
                assert!(store.register(&smid, &format!("user{:07}@example.com", n / of_each).into(), n, now).is_ok());
            }
            store
        });
        assert_eq!(store.len(), SESSIONS as usize);
        let each = counts.bytes / SESSIONS as isize;
        assert!(each <= 160, "{each} bytes");
        println!("{each} bytes for a registered session of an owner with {of_each}");
    }
}

/// All that a server keeps for a client that is away: the session with its registration, in a table of the host's own
/// that has the number which is the handle, and the record in the store. Each owner has one, which costs most.
#[test]
fn a_million_detached_sessions_cost_no_more_than_800_bytes_each() {
    /// An eighth: its tables are as full as those of a million.
    const SESSIONS: u64 = 125_000;
    type Kept = Box<(Session<Bytes, ()>, Registration)>;
    let (now, config) = (Instant::now(), config());
    let ((table, store), counts) = counted(|| {
        let (mut table, store) = (HashMap::<u64, Kept>::new(), MemoryStore::new(&config));
        for n in 0..SESSIONS {
            let owner: Arc<str> = format!("user{n:07}@example.com").into();
            let smid = SmId::from_random(mixed(n).to_be_bytes());
            let registration = store.register(&smid, &owner, n, now).unwrap().registration;
            table.insert(n, Box::new((detached(&config, &owner, smid, now), registration)));
        }
        (table, store)
    });
    assert_eq!((table.len(), store.len()), (SESSIONS as usize, SESSIONS as usize));
    assert!(table.values().all(|kept| kept.0.is_detached()));
    let each = counts.bytes / SESSIONS as isize;
    assert!(each <= 800, "{each} bytes");
    println!("{each} bytes for a detached session");
}

/// A session that has lost its connection, with nothing in it.
fn detached(config: &Arc<Config>, owner: &Arc<str>, smid: SmId, now: Instant) -> Session<Bytes, ()> {
    let mut session: Session<Bytes, ()> = Unbound::new(config.clone(), owner.clone()).bind(());
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
    session.accept_enable(request, Some(smid), now).unwrap();
    while session.next_write(now).is_some() {}
    session.lost(now);
    while session.poll().is_some() {}
    session
}

/// Numbers that look as random as SM-IDs do.
fn mixed(n: u64) -> u128 {
    let half = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    };
    (u128::from(half(n.wrapping_add(0x9e37_79b9_7f4a_7c15))) << 64) | u128::from(half(!n))
}
