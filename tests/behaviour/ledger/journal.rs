//! Changes: what they make of a snapshot, in whatever order and however often they come.

use std::num::{NonZeroU32, NonZeroUsize};

use xmpp_sm::{Counter, Parts, SessionParts, Side};

use super::*;

/// What each version has written of a session that lived, and what changed since.
const V1: [&[u8]; 2] = [include_bytes!("../snapshot/v1-living.cbor"), include_bytes!("../snapshot/v1-change.cbor")];
const V2: [&[u8]; 2] = [include_bytes!("../snapshot/v2-living.cbor"), include_bytes!("../snapshot/v2-change.cbor")];

/// And what it has written at the session's end, when nothing is left.
const ENDS: [(Version, &[u8]); 2] = [
    (Version::V1, include_bytes!("../snapshot/v1-end.cbor")),
    (Version::V2, include_bytes!("../snapshot/v2-end.cbor")),
];

/// The session of both: three stanzas are handled, `one` and `two` are sent, and the first is acknowledged.
fn written(version: Version) -> Claimed {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    host.ledger = Ledger::new(Promise::Durable).version(version);
    host.keep_up();
    host.out();
    let receipt = host.arrives();
    host.settle(receipt);
    host.keep_up();
    host.ledger.host_changed();
    host.send("one");
    host.keep_up();
    host.out();
    host.hears(Nonza::Ack(1.into()));
    host.send("two");
    let receipts = [host.arrives(), host.arrives()];
    receipts.into_iter().for_each(|receipt| host.settle(receipt));
    host.keep_up();
    host.claimed()
}

#[test]
fn what_each_version_wrote_is_read_and_its_changes_go_with_the_snapshots_of_both() {
    for (version, [living, change]) in [(Version::V1, V1), (Version::V2, V2)] {
        let written = written(version);
        assert_eq!(&written.snapshot[..], living);
        assert_eq!(written.journal, [change]);
    }
    let written = written(Version::V2);
    let host = Host::enabled(Promise::Durable, Config::default());
    for (living, change) in [(V1[0], V1[1]), (V1[0], V2[1]), (V2[0], V1[1]), (V2[0], V2[1])] {
        let claimed = Claimed { snapshot: living.into(), journal: vec![change.into()], ..written.clone() };
        let read = host.read(&claimed).unwrap();
        let parts = read.session.detached().unwrap();
        assert_eq!((parts.h, parts.acked), (3.into(), 1.into()));
        assert_eq!(parts.unacked, [(Text("two".to_owned()), host.now)]);
        assert_eq!(read.session.waiting, []);
    }
}

#[test]
fn with_another_version_all_is_written_anew() {
    let mut host = Host::online(Promise::Durable, Config::default());
    host.send("one");
    host.keep_up();
    for (calls, version) in [(1, Version::V1), (0, Version::V1), (1, Version::V2)] {
        host.ledger = std::mem::replace(&mut host.ledger, Ledger::new(Promise::Memory)).version(version);
        assert_eq!(host.keep_up(), calls, "{version:?}");
    }
    host.ledger = std::mem::replace(&mut host.ledger, Ledger::new(Promise::Memory)).version(Version::V1);
    host.keep_up();
    let Claimed { snapshot, journal, .. } = host.claimed();
    assert_eq!((&snapshot[7..9], journal.len()), (&[0, 1][..], 0), "field 0: the version");
}

#[test]
fn what_is_written_at_an_end_is_of_the_version_that_the_others_read_and_changes_nothing() {
    for (version, end) in ENDS {
        let mut host = Host::enabled(Promise::Durable, Config::default());
        host.ledger = Ledger::new(Promise::Durable).version(version);
        host.keep_up();
        host.out();
        host.send("one");
        host.keep_up();
        let before = host.read(&host.claimed());
        host.session.close(xmpp_sm::EndReason::Stopped, None, host.now);
        let due = host.ledger.end(host.now, wall()).unwrap();
        assert_eq!(due.change(&host.registration).unwrap().change, end, "{version:?}");
        let mut claimed = host.claimed();
        for (_, end) in ENDS {
            claimed.journal.push(end.into());
        }
        assert_eq!(host.read(&claimed), before);
    }
}

#[test]
fn every_truncation_of_a_change_is_found() {
    let host = Host::enabled(Promise::Durable, Config::default());
    let written = written(Version::V2);
    for [living, change] in [V1, V2] {
        for length in 0..change.len() {
            let journal = vec![change[..length].to_vec().into()];
            let error = host.read(&Claimed { journal, ..written.clone() }).unwrap_err();
            assert_eq!(error, SnapshotError::Truncated, "{length}");
        }
        // Neither is the other.
        for (snapshot, journal) in [(living, living), (change, change)] {
            let claimed = Claimed { snapshot: snapshot.into(), journal: vec![journal.into()], ..written.clone() };
            assert!(matches!(host.read(&claimed), Err(SnapshotError::Malformed(_))));
        }
    }
}

/// The answer was lost, and the work was done; or it is done much later.
#[test]
fn a_call_without_an_answer_is_made_again_with_what_came_since_and_counts_once() {
    for (is_done, is_late) in [(true, false), (false, true), (true, true), (false, false)] {
        let mut host = Host::online(Promise::Durable, Config::default());
        let receipt = host.arrives();
        host.send("a");
        let first = host.due().unwrap();
        if is_done {
            assert_eq!(host.write(&first), Fence::Held);
        }
        assert_eq!(host.out(), [""; 0], "nobody knows");
        host.send("b");
        host.settle(receipt);
        host.keep_up();
        assert_eq!(host.out(), ["a", "b"]);
        host.hears(Nonza::Ack(1.into()));
        host.send("c");
        host.keep_up();
        if is_late {
            assert_eq!(host.write(&first), Fence::Held);
        }
        let host = host.moved();
        assert_eq!(host.session.h(), Some(1.into()));
        assert_eq!(host.holds().0, ["b", "c"]);
    }
}

#[test]
fn a_snapshot_without_an_answer_is_followed_by_another_and_takes_no_place_when_it_is_late() {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    let first = host.due().unwrap();
    host.send("a");
    let second = host.due().unwrap();
    assert_eq!(host.write(&second), Fence::Held);
    host.ledger.wrote(second);
    // It was not this that was written.
    host.ledger.wrote(first);
    assert_eq!(host.out(), ["<enabled/>", "a"]);
    host.send("b");
    host.keep_up();
    assert_eq!(host.moved().holds().0, ["a", "b"]);
}

#[test]
fn a_change_that_is_missing_is_an_error() {
    let mut host = Host::online(Promise::Durable, Config::default());
    for (text, h) in [("a", 1_u32), ("b", 2), ("c", 3)] {
        host.send(text);
        host.keep_up();
        host.out();
        host.hears(Nonza::Ack(h.into()));
        host.keep_up();
    }
    let claimed = host.claimed();
    assert!(host.read(&claimed).is_ok());
    let without = |gone: usize| {
        let mut claimed = claimed.clone();
        claimed.journal.remove(gone);
        host.read(&claimed)
    };
    assert!(matches!(without(0), Err(SnapshotError::Malformed(_))), "what is acknowledged was never there");
    assert!(matches!(without(2), Err(SnapshotError::Malformed(_))));
    assert!(without(claimed.journal.len() - 1).is_ok(), "nobody knows of the last");
}

#[test]
fn a_long_journal_becomes_a_snapshot() {
    let mut host = Host::online(Promise::Durable, Config::default());
    let (mut since, mut most, mut snapshots) = (0, 0, 0);
    for n in 1..=2000_u32 {
        host.send(&"x".repeat(100));
        let mut calls = 0;
        while let Some(due) = host.due() {
            calls += 1;
            assert!(calls < 5, "what was written is due again");
            match due.change(&host.registration) {
                Some(change) => since += change.change.len(),
                None => (since, snapshots) = (0, snapshots + 1),
            }
            most = most.max(since);
            assert_eq!(host.write(&due), Fence::Held);
            host.ledger.wrote(due);
        }
        host.out();
        host.hears(Nonza::Ack(n.into()));
    }
    // 250 KB and more were written.
    assert!(snapshots >= 2 && most < 100_000, "{snapshots} snapshots, {most} bytes");
    assert_eq!(host.holds().0, [""; 0]);
}

#[test]
fn what_is_replaced_is_replaced_in_the_store() {
    let mut host = Host::online(Promise::Durable, Config::default());
    ["a", "b"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    host.out();
    host.session.replace(|text| text.0 == "a", Text("A".to_owned())).unwrap();
    assert_eq!(host.keep_up(), 1);
    host.lost();
    host.keep_up();
    ["p1", "c", "p2"].into_iter().for_each(|text| {
        host.send(text);
        assert_eq!(host.keep_up(), 1, "{text}");
    });
    let (sent, waiting) = host.moved().holds();
    assert_eq!((sent, waiting), (vec!["A".to_owned(), "b".to_owned()], vec!["c".to_owned(), "p2".to_owned()]));
}

/// It is not known what the process wrote before it was killed.
#[test]
fn what_waited_is_taken_for_sent_as_far_as_the_buffer_could_hold_it() {
    let two = Config::default().buffer_max(NonZeroU32::new(2).unwrap());
    let mut host = Host::online(Promise::Durable, two);
    ["a", "b", "c"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    let mut host = host.moved();
    assert_eq!((host.session.unacked(), host.session.waiting()), (2, 1));
    // What was sent before has its room.
    host.keep_up();
    let host = host.moved();
    assert_eq!((host.session.unacked(), host.session.waiting()), (2, 1));
    // In bytes, too.
    let five = Config::default().buffer_max_bytes(NonZeroUsize::new(5).unwrap());
    let mut host = Host::online(Promise::Durable, five);
    host.send("aaa");
    host.keep_up();
    host.out();
    host.ledger.host_changed();
    ["bb", "c"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    let host = host.moved();
    assert_eq!((host.session.unacked(), host.session.waiting()), (2, 1));
    // One that rested has written nothing.
    let mut host = Host::online(Promise::Parked, Config::default());
    host.lost();
    host.send("a");
    host.keep_up();
    assert_eq!(host.moved().session.waiting(), 1);
}

#[test]
fn counters_go_over_the_wrap() {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    let max = Counter::new(u32::MAX);
    let parts = Parts {
        smid: SmId::new("x").unwrap(),
        deadline: None,
        resume_timeout: None,
        h: max,
        acked: Counter::new(u32::MAX - 1),
        unacked: vec![(Text("a".to_owned()), host.now)],
    };
    let parts = SessionParts { owner: JULIET.into(), side: Side::Server(parts), waiting: vec![] };
    host.session = Session::from_parts(host.config.clone(), parts, host.now).unwrap();
    host.keep_up();
    host.taken(u32::MAX - 1);
    let receipts = [host.arrives(), host.arrives()];
    host.keep_up();
    host.out();
    host.send("b");
    receipts.into_iter().for_each(|receipt| host.settle(receipt));
    host.keep_up();
    host.out();
    host.hears(Nonza::Ack(max));
    host.send("c");
    host.keep_up();
    let host = host.moved();
    assert_eq!(host.session.h(), Some(1.into()));
    assert_eq!(host.holds().0, ["b", "c"]);
}

#[test]
fn limits_hold_for_each_and_for_all() {
    let mut host = Host::online(Promise::Durable, Config::default());
    for n in 1..=3_u32 {
        host.send("abc");
        host.keep_up();
        host.out();
        if n == 1 {
            // There were never more than two at a time.
            host.hears(Nonza::Ack(1.into()));
        }
    }
    host.keep_up();
    let Claimed { snapshot, journal, .. } = host.claimed();
    let longest = journal.iter().map(|change| change.len()).max().unwrap().max(snapshot.len());
    let read = |bytes, stanzas| {
        let limits = Limits { bytes, stanzas };
        Snapshot::<Text>::from_journal(&snapshot, &journal, &host.config, &limits, (host.now, wall()))
    };
    assert!(read(longest, 2).is_ok());
    assert!(matches!(read(longest, 1), Err(SnapshotError::TooMany(2))));
    assert!(matches!(read(longest - 1, 2), Err(SnapshotError::TooLarge(_))));
}

#[test]
fn debug_shows_nothing_that_people_wrote() {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    host.send("secret");
    let due = host.due().unwrap();
    let shown = format!("{due:?} {:?}", host.ledger);
    assert!(shown.contains("Snapshot(") && !shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}
