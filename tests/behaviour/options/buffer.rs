//! `buffer`, `buffer_max`, `buffer_max_bytes`, `on_full`, `receipts_max`, `receipts_max_bytes`.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xmpp_sm::{
    Action, Config, Counter, Disconnected, EndReason, Error, Fault, Inbound, Measured, Nonza, NotRecordedWhy, OnFull,
    Reaction, Receipt, Resumed, Stanza, StreamMgmt,
};

use super::{JULIET, bytes, stanzas};
use crate::support::raw::{ack, answer, deliver, detach, element, enabled, enabling, resuming, session_at, smid};
use crate::support::{Net, quiet, secs};

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

#[test]
fn buffer_off_asks_for_no_resumption() {
    let mut net = Net::with(quiet(), quiet().buffer(false));
    let conn = net.connect(JULIET);
    net.enable(conn);
    net.expect(
        "C: <enable/>
         S: <enabled/>",
    );
    net.client_sends(conn, "<message/>");
    net.cut(conn);
    net.handed_back_to_client(&[]);
    // A server that gives what was not asked for does not make it resumable.
    let now = Instant::now();
    let mut client = enabling::<&str>(&Arc::new(quiet().buffer(false)));
    let _ = client.handle(element("enabled id='sm' resume='true'"), now).unwrap();
    assert!(!client.is_resumable());
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
fn on_full_ends_the_stream_after_5_s() {
    let mut net = Net::new(quiet().buffer_max(stanzas(1)));
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.advance(secs(100));
    net.server_sends(conn, "<message id='m2'/>");
    assert_eq!(net.server(conn).poll_timeout(), Some(net.now() + secs(5)));
    net.advance(secs(4));
    net.ended(&[]);
    net.advance(secs(1));
    net.ended(&[(conn, EndReason::BufferFull)]);
}

#[test]
fn receipts_max_bounds_what_the_host_has_in_its_hands() {
    let now = Instant::now();
    for (config, max) in [(quiet().receipts_max(stanzas(3)), 3), (quiet(), 1_000)] {
        let mut stream = enabled::<&str>(&Arc::new(config), now);
        let mut receipts: Vec<_> = (0..max).map(|_| deliver(&mut stream, now)).collect();
        let full = stream.handle(Inbound::Stanza { bytes: 1 }, now).unwrap_err();
        assert_eq!((full, full.fault(), full.reaction()), (Error::ReceiptsFull, Fault::Host, Reaction::Later));
        // One is settled, and the same stanza can be fed again.
        stream.record_handled(receipts.remove(0)).unwrap();
        assert_eq!(deliver(&mut stream, now).number(), Some(Counter::new(max + 1)));
        assert_eq!(answer(&mut stream, now), Counter::new(1));
    }
}

/// F28: what the host has in its hands is bounded in bytes, too.
#[test]
fn receipts_max_bytes_is_512_kib_and_bounds_what_the_host_has_in_its_hands() {
    let now = Instant::now();
    let arrives = |stream: &mut StreamMgmt<&str>, bytes| match stream.handle(Inbound::Stanza { bytes }, now) {
        Ok(Action::Deliver(receipt)) => Ok(receipt),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    for (config, most) in [(quiet(), 512 * 1024), (quiet().receipts_max_bytes(bytes(1000)), 1000)] {
        let mut stream = enabled::<&str>(&Arc::new(config), now);
        // 10 000 of 256 KiB: two are all.
        let mut receipts = Vec::new();
        while let Ok(receipt) = arrives(&mut stream, most / 2) {
            receipts.push(receipt);
        }
        assert_eq!((receipts.len(), stream.can_receive()), (2, false));
        assert_eq!(arrives(&mut stream, 0), Err(Error::ReceiptsFull));
        assert_eq!(Error::ReceiptsFull.reaction(), Reaction::Later);
        // Settled in any order, they make room.
        stream.record_handled(receipts.remove(1)).unwrap();
        let small = arrives(&mut stream, most / 2 - 1).unwrap();
        let last = arrives(&mut stream, 1).unwrap();
        assert!(!stream.can_receive());
        for receipt in receipts.into_iter().chain([small]) {
            stream.record_handled(receipt).unwrap();
        }
        // The bytes go with the session, and end with their receipts.
        let mut session = detach(stream, now);
        session.record_handled(last).unwrap();
        let (mut stream, request) = resuming(&Arc::new(quiet().receipts_max_bytes(bytes(most))), 0, now);
        let _ = stream.accept_resume(request, session, now).unwrap();
        // A stanza of any size is taken where none is open: it has to be.
        let huge = arrives(&mut stream, most * 100).unwrap();
        assert_eq!(arrives(&mut stream, 0), Err(Error::ReceiptsFull));
        assert_eq!(stream.settle_without_receipt(huge.number().unwrap()), Ok(None));
        assert!(stream.can_receive());
        let _open = [arrives(&mut stream, most).unwrap()];
        assert!(!stream.can_receive());
        assert_eq!(stream.settle_all(), None);
        assert!(stream.can_receive());
    }
}

/// F29: hosts ask for it with each event. If it walked over them, this would not come to an end.
#[test]
fn how_many_receipts_are_open_is_told_at_once() {
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(quiet().receipts_max(stanzas(u32::MAX))), now);
    let mut receipts: Vec<_> = (0..200_000).map(|_| deliver(&mut stream, now)).collect();
    // The first is settled; of the others, every other one.
    let settled = |receipt: &mut Receipt| receipt.number().is_some_and(|number| number.get() % 2 == 1);
    for receipt in receipts.extract_if(.., settled) {
        stream.record_handled(receipt).unwrap();
    }
    let mut open = 0;
    for _ in 0..1_000_000 {
        open = stream.open_receipts();
    }
    assert_eq!((open, stream.h()), (100_000, Counter::new(1)));
}

#[test]
fn a_detached_session_keeps_to_the_same_bounds_at_once() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max(stanzas(2)));
    let mut session = session_at::<&str>(&config, 0, 0, now + secs(60));
    session.record_sent("m1", now).unwrap();
    session.record_sent("m2", now).unwrap();
    assert_eq!(session.record_sent("m3", now).unwrap_err().stanza, "m3");
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
