//! How many stanzas the host may have in its hands: `receipts_max`, `receipts_max_bytes`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Counter, Error, Fault, Inbound, Reaction, Receipt, StreamMgmt};

use crate::support::at_work::{action, refuses};
use crate::support::raw::{answer, deliver, detach, enabled, resuming};
use crate::support::{JULIET, Net, Side, bytes, quiet, stanzas};

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

/// What the host has in its hands is bounded in bytes, too.
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

/// Hosts ask for it with each event. If it walked over them, this would not come to an end.
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
fn more_stanzas_than_the_host_can_hold() {
    let mut net = Net::new(quiet().receipts_max(const { NonZeroU32::new(3).unwrap() }));
    let juliet = net.login(JULIET);
    net.holds(juliet, Side::Server);
    for _ in 0..3 {
        net.client_sends(juliet, "<message/>");
    }
    net.run();
    let stream = net.stream_mut(juliet, Side::Server);
    assert_eq!(refuses(stream, "<message/>"), Error::ReceiptsFull);
    assert_eq!(Error::ReceiptsFull.fault(), Fault::Host);
    // Other elements are no burden, and what is settled makes room once `h` can go on.
    assert!(matches!(action(net.stream_mut(juliet, Side::Server), "<r/>"), Action::Write(_)));
    net.settles(juliet, Side::Server, 3);
    assert_eq!(refuses(net.stream_mut(juliet, Side::Server), "<message/>"), Error::ReceiptsFull);
    net.settles(juliet, Side::Server, 1);
    let Action::Deliver(receipt) = action(net.stream_mut(juliet, Side::Server), "<message/>") else { panic!() };
    assert_eq!(receipt.number(), Some(4.into()));
}
