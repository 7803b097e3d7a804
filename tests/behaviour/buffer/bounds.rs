//! What is kept, and how much of it: `buffer`, `buffer_max`, `buffer_max_bytes`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use xmpp_sm::{
    Config, Counter, Disconnected, EndReason, Inbound, Measured, Nonza, NotRecordedWhy, OnFull, Reaction, Resumed,
    Stanza, StreamError, StreamMgmt,
};

use crate::support::raw::{ack, detach, enabled, resuming, session_at, smid};
use crate::support::{JULIET, Net, bytes, quiet, secs, stanzas};

/// How many stanzas of a size can be sent before the host is told that the buffer is full.
fn taken(config: Config, size: usize) -> usize {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(config.on_full(OnFull::End)), now);
    (0..10_000).take_while(|_| stream.record_sent("x".repeat(size), now).is_ok()).count()
}

#[test]
fn buffer_is_on() {
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(Config::default()), now);
    let _ = stream.record_sent("m1", now).unwrap();
    assert_eq!(detach(stream, now).unacked().map(|queued| *queued.stanza).collect::<Vec<_>>(), ["m1"]);
}

#[test]
fn buffer_off_keeps_nothing_and_resumes_nothing() {
    let mut net = Net::new(quiet().buffer(false).buffer_max(stanzas(1)).on_full(OnFull::End));
    let conn = net.connect(JULIET);
    net.enable(conn);
    for _ in 0..10 {
        net.server_sends(conn, "<message/>");
    }
    net.run();
    for _ in 0..10 {
        net.server_sends(conn, "<message/>");
    }
    assert_eq!((net.server(conn).sent().get(), net.server(conn).unacked().count()), (10, 0));
    assert_eq!(net.server(conn).unacked_bytes(), 0);
    net.cut(conn);
    net.ended(&[(conn, EndReason::NotResumable)]);
    net.handed_back(&[]);
    net.skip();
    let conn = net.open(JULIET);
    net.authenticate(conn);
    net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
    net.expect(
        "C2: <resume h='0' previd='sm-1'/>
         S2: <failed><feature-not-implemented/></failed>",
    );
}

/// The options may have changed between two streams of a client.
#[test]
fn buffer_off_does_not_lose_what_a_resumed_session_kept() {
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(quiet()), now);
    for stanza in ["m1", "m2"] {
        let _ = stream.record_sent(stanza, now).unwrap();
    }
    let session = detach(stream, now);
    let off = Arc::new(quiet().buffer(false));
    // Until it is resumed it is what it was.
    let (client, _) = StreamMgmt::resume(off.clone(), session).unwrap();
    let (mut client, _) = StreamMgmt::resume(off, detach(client, now)).unwrap();
    let resumed = Inbound::Nonza(Nonza::Resumed(Resumed { previd: smid(), h: Counter::ZERO }));
    let _ = client.handle(resumed, now).unwrap();
    let _ = client.record_sent("m3", now).unwrap();
    // An acknowledgement frees what it acknowledges, and nothing else.
    ack(&mut client, 1, now).unwrap();
    assert_eq!(client.unacked().next().map(|queued| (queued.number.get(), *queued.stanza)), Some((2, "m2")));
    ack(&mut client, 3, now).unwrap();
    let _ = client.record_sent("m4", now).unwrap();
    // With nothing kept any more nothing is, and what is not kept cannot be resumed.
    assert_eq!((client.unacked().count(), client.is_resumable()), (0, false));
    assert!(matches!(client.disconnect(now), Disconnected::Ended(_)));
}

#[test]
fn buffer_max_is_100() {
    assert_eq!(taken(Config::default(), 1), 100);
    for max in [1, 2, 500] {
        assert_eq!(taken(Config::default().buffer_max(stanzas(max)), 1), max as usize);
    }
}

#[test]
fn buffer_max_bytes_is_1_mib() {
    assert_eq!(taken(Config::default(), 1 << 20), 1);
    assert_eq!(taken(Config::default(), (1 << 20) + 1), 0);
    assert_eq!(taken(Config::default(), 1 << 18), 4);
    // To the byte.
    assert_eq!(taken(Config::default().buffer_max_bytes(bytes(100)), 10), 10);
    assert_eq!(taken(Config::default().buffer_max_bytes(bytes(99)), 10), 9);
}

#[test]
fn buffer_max_bytes_counts_what_a_stanza_holds() {
    fn counted(stanza: impl Stanza) -> usize {
        let now = Instant::now();
        let mut stream = enabled(&Arc::new(Config::default()), now);
        let _ = stream.record_sent(stanza, now).unwrap_or_else(|_| panic!("it fits"));
        stream.unacked_bytes()
    }
    const TEXT: &str = "<message>è</message>";
    assert_eq!(TEXT.len(), 21);
    let octets = TEXT.as_bytes();
    for bytes in [
        counted(TEXT),
        counted(String::from(TEXT)),
        counted(Box::<str>::from(TEXT)),
        counted(Arc::<str>::from(TEXT)),
        counted(octets),
        counted(octets.to_vec()),
        counted(Box::<[u8]>::from(octets)),
        counted(Arc::<[u8]>::from(octets)),
        counted(Bytes::from_static(octets)),
        counted(BytesMut::from(octets)),
        counted(Arc::new(Bytes::from_static(octets))),
        // Whatever else it is, it counts for what the host says.
        counted(Measured { value: 7, bytes: 21 }),
    ] {
        assert_eq!(bytes, 21);
    }
}

#[test]
fn a_session_that_waited_full_has_the_grace_of_its_stream() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max(stanzas(2)));
    let mut session = session_at::<&str>(&config, 0, 0, now + secs(60));
    session.record_sent("m1", now).unwrap();
    session.record_sent("m2", now).unwrap();
    // On a stream there is a grace for it.
    let (mut stream, request) = resuming(&config, 0, now);
    let _ = stream.accept_resume(request, session, now).unwrap();
    assert_eq!(stream.record_sent("m3", now).unwrap().number, Some(Counter::new(3)));
    let strict = Arc::new(quiet().buffer_max(stanzas(2)).on_full(OnFull::End));
    let (mut stream, request) = resuming(&strict, 0, now);
    let mut session = session_at::<&str>(&strict, 0, 0, now + secs(60));
    session.record_sent("m1", now).unwrap();
    session.record_sent("m2", now).unwrap();
    let _ = stream.accept_resume(request, session, now).unwrap();
    assert_eq!(stream.record_sent("m3", now).unwrap_err().why, NotRecordedWhy::Full);
}

/// What arrives while nobody is connected keeps to the bounds, whatever the policy.
#[test]
fn a_detached_session_is_within_its_bounds() {
    let now = Instant::now();
    for policy in [OnFull::End, OnFull::EndAfter(secs(5)), OnFull::EvictOldest] {
        let config = Arc::new(quiet().buffer_max(stanzas(2)).on_full(policy));
        let mut session = session_at::<String>(&config, 0, 0, now + secs(600));
        for n in 1..=2 {
            assert_eq!(session.record_sent(format!("m{n}"), now).unwrap(), Counter::new(n));
        }
        let refused = session.record_sent("m3".to_owned(), now).unwrap_err();
        assert_eq!((refused.why, &*refused.stanza), (NotRecordedWhy::Full, "m3"), "{policy:?}");
        assert_eq!((session.sent().get(), session.unacked_bytes()), (2, 4));
    }
    // In bytes, too.
    let config = Arc::new(quiet().buffer_max_bytes(bytes(10)));
    let mut session = session_at::<String>(&config, 0, 0, now + secs(600));
    session.record_sent("12345".to_owned(), now).unwrap();
    assert_eq!(session.record_sent("123456".to_owned(), now).unwrap_err().stanza, "123456");
    session.record_sent("12345".to_owned(), now).unwrap();
    // A stream whose bounds are smaller has to make room before it is lost again.
    let (large, small) = (Arc::new(quiet()), Arc::new(quiet().buffer_max(stanzas(1))));
    let mut session = session_at::<String>(&large, 0, 0, now + secs(600));
    for n in 1..=3 {
        session.record_sent(format!("m{n}"), now).unwrap();
    }
    let (mut stream, request) = resuming(&small, 0, now);
    let _ = stream.accept_resume(request, session, now).unwrap();
    assert!(!stream.is_resumable());
    ack(&mut stream, 2, now).unwrap();
    assert_eq!(detach(stream, now).unacked().len(), 1);
}

const POLICIES: [OnFull; 3] = [OnFull::EndAfter(Duration::from_secs(5)), OnFull::End, OnFull::EvictOldest];

#[test]
fn p19_bytes_are_bounded_whatever_the_number_of_stanzas() {
    let now = Instant::now();
    let kilobyte = "x".repeat(1000);
    for (policy, most) in POLICIES.into_iter().zip([20, 10, 10]) {
        let config = Config::default().buffer_max(stanzas(u32::MAX)).buffer_max_bytes(bytes(10_000)).on_full(policy);
        let mut stream = enabled::<String>(&Arc::new(config), now);
        let mut back = 0;
        for n in 1..=1000 {
            match stream.record_sent(kilobyte.clone(), now) {
                Ok(sent) => back += sent.evicted.map_or(0, |evicted| evicted.count()),
                Err(refused) => {
                    assert_eq!((refused.why, &refused.stanza, n), (NotRecordedWhy::Full, &kilobyte, most + 1));
                    let Reaction::Close(end) = refused.reaction() else { panic!("the stream ends") };
                    assert_eq!(end.error, Some(StreamError::ResourceConstraint));
                    break;
                }
            }
            assert!(stream.unacked_bytes() <= most * 1000, "{policy:?}");
        }
        assert_eq!(stream.unacked().count(), most);
        assert_eq!(back, if policy == OnFull::EvictOldest { 990 } else { 0 });
    }
}

#[test]
fn p19_stanzas_without_bytes_are_bounded_too() {
    let now = Instant::now();
    let config = Arc::new(Config::default().buffer_max(stanzas(1000)).buffer_max_bytes(bytes(1)));
    let mut stream = enabled::<&str>(&config, now);
    let taken = (0..100_000).take_while(|_| stream.record_sent("", now).is_ok()).count();
    assert_eq!((taken, stream.unacked().len()), (2000, 2000));
}

/// One stanza that is larger than the whole buffer.
#[test]
fn p19_a_stanza_that_can_never_fit_is_answered_like_the_others() {
    let now = Instant::now();
    let config = |policy| Arc::new(Config::default().buffer_max_bytes(bytes(10)).on_full(policy));
    let huge = || "x".repeat(30);
    for policy in [POLICIES[0], POLICIES[1]] {
        let mut stream = enabled::<String>(&config(policy), now);
        assert_eq!(stream.record_sent(huge(), now).unwrap_err().stanza, huge());
        assert_eq!(stream.sent().get(), 0);
    }
    let mut stream = enabled::<String>(&config(OnFull::EvictOldest), now);
    let evicted: Vec<_> = stream.record_sent(huge(), now).unwrap().evicted.unwrap().collect();
    assert_eq!((evicted.len(), evicted[0].number.get(), evicted[0].stanza.len()), (1, 1, 30));
    assert_eq!((stream.sent().get(), stream.unacked().count(), stream.unacked_bytes()), (1, 0, 0));
    // It is on the wire and counted, and the peer's h for it is right.
    assert_eq!(ack(&mut stream, 1, now).unwrap().count, 1);
}
