//! What each promise has written down, and when.

use std::num::NonZeroU32;

use xmpp_sm::{EndReason, OnFull};

use super::*;
use crate::support::secs;

#[test]
fn under_durable_nothing_goes_out_before_it_is_written() {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    assert_eq!(host.out(), [""; 0], "<enabled/> is not written down");
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["<enabled/>"]);

    host.send("one");
    assert_eq!(host.out(), [""; 0]);
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["one"]);

    let receipt = host.arrives();
    host.hears(Nonza::AckRequest);
    assert_eq!((host.keep_up(), host.out()), (0, vec!["<a h='0'/>".to_owned()]), "h is written already");
    host.settle(receipt);
    assert_eq!(host.out(), [""; 0], "h is not");
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["<a h='1'/>"]);

    host.lost();
    assert_eq!(host.keep_up(), 1, "that it rests");
    host.taken(1);
    assert_eq!(host.out(), [""; 0], "<resumed/> is not written down");
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["<resumed h='1'/>"]);
    assert_eq!(host.keep_up(), 0);

    // What waited goes out with it: who reads this must take that for sent.
    host.lost();
    host.send("two");
    host.keep_up();
    host.taken(1);
    assert_eq!(host.out(), [""; 0], "that it lives is not written down");
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["<resumed h='1'/>", "two"]);
}

#[test]
fn what_comes_is_kept_when_it_is_written_as_promised_and_not_while_its_session_ends() {
    for promise in [Promise::Memory, Promise::Parked, Promise::Durable] {
        let waits = promise == Promise::Durable;
        let mut host = Host::online(promise, Config::default());
        host.send("one");
        assert_eq!(is_written(&host), !waits, "{promise:?}");
        host.keep_up();
        assert!(is_written(&host));

        let _open = host.arrives();
        host.session.close(EndReason::Stopped, None, host.now);
        host.send("two");
        assert_eq!(host.keep_up(), 0);
        assert_eq!(is_written(&host), !waits, "{promise:?}");
    }

    let mut host = Host::online(Promise::Parked, Config::default());
    host.lost();
    assert!(!is_written(&host));
    host.keep_up();
    assert!(is_written(&host));
}

fn is_written(host: &Host) -> bool {
    host.ledger.is_written(&host.session)
}

#[test]
fn all_that_one_turn_has_changed_is_one_call() {
    let mut host = Host::online(Promise::Durable, Config::default());
    let receipts = [host.arrives(), host.arrives()];
    receipts.into_iter().for_each(|receipt| host.settle(receipt));
    ["a", "b", "c"].into_iter().for_each(|text| host.send(text));
    assert_eq!(host.keep_up(), 1);
    let host = host.moved();
    assert_eq!(host.session.h(), Some(2.into()));
    assert_eq!(host.holds().0, ["a", "b", "c"]);
}

/// Who reads the journal has as much room in the buffer as the session had.
#[test]
fn what_is_acknowledged_is_written_before_more_goes_out() {
    let one = Config::default().buffer_max(NonZeroU32::MIN);
    let mut host = Host::online(Promise::Durable, one);
    ["a", "b"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    assert_eq!(host.out(), ["a"]);
    host.hears(Nonza::Ack(1.into()));
    assert_eq!(host.out(), [""; 0]);
    host.keep_up();
    assert_eq!(host.out(), ["b"]);
    let mut host = host.moved();
    host.keep_up();
    host.taken(2);
    assert_eq!(host.session.unacked(), 0);
}

#[test]
fn under_parked_a_session_is_written_down_when_it_rests_and_taken_out_before_it_goes_on() {
    let mut host = Host::online(Promise::Parked, Config::default());
    let receipt = host.arrives();
    host.send("one");
    assert_eq!((host.keep_up(), host.out()), (0, vec!["one".to_owned()]));
    host.lost();
    assert_eq!(host.keep_up(), 0, "its host handles a stanza");
    host.settle(receipt);
    assert_eq!(host.keep_up(), 1);
    host.send("two");
    assert_eq!(host.keep_up(), 1);

    host.taken(0);
    assert_eq!(host.out(), [""; 0]);
    let due = host.due().unwrap();
    assert_eq!(host.out(), [""; 0]);
    assert_eq!(host.write(&due), Fence::Held);
    host.ledger.wrote(due);
    assert_eq!(host.out(), ["<resumed h='1'/>", "one", "two"]);
    assert_eq!(host.claim("node-2"), Claim::NotParked);

    // And once more.
    host.lost();
    assert_eq!(host.keep_up(), 1);
    let host = host.moved();
    assert_eq!(host.session.h(), Some(1.into()));
    assert_eq!(host.holds(), (vec!["one".to_owned(), "two".to_owned()], vec![]));
}

#[test]
fn under_memory_nothing_is_due_until_the_host_stops() {
    let mut host = Host::enabled(Promise::Memory, Config::default());
    host.send("one");
    let receipt = host.arrives();
    assert_eq!((host.keep_up(), host.out()), (0, vec!["<enabled/>".to_owned(), "one".to_owned()]));
    host.settle(receipt);
    host.lost();
    assert_eq!(host.keep_up(), 0);
    host.ledger.set_promise(Promise::Parked);
    assert_eq!((host.ledger.promise(), host.keep_up()), (Promise::Parked, 1));
    assert!(host.is_parked());
}

#[test]
fn under_memory_what_was_claimed_is_taken_out_before_it_goes_on() {
    let mut host = Host::online(Promise::Parked, Config::default());
    host.send("one");
    host.lost();
    host.keep_up();
    host.ledger.set_promise(Promise::Memory);
    let mut host = host.moved();
    assert_eq!(host.ledger.promise(), Promise::Memory);
    host.taken(0);
    assert_eq!(host.out(), [""; 0]);
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["<resumed h='0'/>", "one"]);
    assert_eq!((host.keep_up(), host.claim("node-3")), (0, Claim::NotParked));
}

#[test]
fn a_session_that_is_not_resumable_is_not_written_down() {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    let mut session: Session<Text, ()> = Unbound::new(host.config.clone(), JULIET).bind(());
    session.send(Text("one".to_owned()), host.now).unwrap();
    host.session = session;
    assert_eq!((host.keep_up(), host.out()), (0, vec!["one".to_owned()]));

    host.session = Session::client(host.config.clone(), "romeo@example.net");
    assert_eq!(host.keep_up(), 0, "a client's");
}

/// It gave up its resumability, and has it again when the peer has acknowledged what is gone.
#[test]
fn a_session_that_has_evicted_is_taken_out_and_written_down_again() {
    let one = Config::default().buffer_max(NonZeroU32::MIN).on_full(OnFull::EvictOldest);
    let mut host = Host::online(Promise::Durable, one);
    ["a", "b"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    assert_eq!(host.out(), ["a", "b"]);
    host.send("c");
    assert_eq!(host.out(), [""; 0]);
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.out(), ["c"]);
    assert_eq!(host.claim("node-2"), Claim::NotParked);
    host.hears(Nonza::Ack(2.into()));
    assert_eq!(host.keep_up(), 1);
    assert_eq!(host.moved().holds().0, ["c"]);
}

#[test]
fn a_deadline_that_is_moved_is_written_down() {
    for promise in [Promise::Parked, Promise::Durable] {
        let mut host = Host::online(promise, Config::default());
        host.lost();
        host.keep_up();
        assert!(host.session.set_expires_at(Some(host.now + secs(3600))));
        assert_eq!(host.keep_up(), 1);
        assert_eq!(host.keep_up(), 0);
        let host = host.moved();
        assert_eq!(host.session.deadline(), Some(host.now + secs(3600)));
    }
}

/// Nobody knows when its process ended.
#[test]
fn a_session_that_lived_begins_to_wait_when_it_is_read() {
    let host = Host::online(Promise::Durable, Config::default().resume_timeout(Some(secs(600))));
    let clocks = |host: &Host, later| (host.now, wall() + secs(later));
    let claimed = host.claimed();
    let read = |host: &Host, claimed: &Claimed, later| {
        let limits = Limits::default();
        let clocks = clocks(host, later);
        let read = Snapshot::<Text>::from_journal(&claimed.snapshot, &claimed.journal, &host.config, &limits, clocks);
        read.unwrap().session.detached().unwrap().deadline.unwrap() - host.now
    };
    assert_eq!(read(&host, &claimed, 86_400), secs(600));

    // One that rested when it was written down had less left.
    let mut host = Host { registration: claimed.registration, ..host };
    host.lost();
    host.keep_up();
    let claimed = host.claimed();
    assert_eq!(read(&host, &claimed, 100), secs(500));
    assert_eq!(read(&host, &claimed, 86_400), secs(0));

    // And one that was resumed since lives again.
    let mut host = Host { registration: claimed.registration, ledger: Ledger::new(Promise::Durable), ..host };
    host.lost();
    host.keep_up();
    host.taken(0);
    host.keep_up();
    assert_eq!(read(&host, &host.claimed(), 86_400), secs(600));
}

#[test]
fn what_the_host_keeps_is_written_down_when_it_has_changed() {
    let mut host = Host::online(Promise::Durable, Config::default());
    let due =
        |host: &mut Host, text: &str| host.ledger.due(&host.session, || text.as_bytes().to_vec(), host.now, wall());
    assert!(due(&mut host, "other").is_none(), "nobody said so");
    host.ledger.host_changed();
    let first = due(&mut host, "one").unwrap();
    // It changes while that is on its way.
    host.ledger.host_changed();
    assert_eq!(host.write(&first), Fence::Held);
    host.ledger.wrote(first);
    let second = due(&mut host, "two").unwrap();
    assert_eq!(host.write(&second), Fence::Held);
    host.ledger.wrote(second);
    assert!(due(&mut host, "three").is_none());
    let claimed = host.claimed();
    assert_eq!(host.read(&claimed).unwrap().host, b"two");
}
