//! A session that another host has claimed, and one that is over.

use super::*;

/// Another host has it from now on.
fn stolen(host: &Host) {
    let _ = host.claimed();
}

#[test]
fn what_is_not_written_down_goes_after_a_session_that_is_lost() {
    let mut host = Host::online(Promise::Durable, Config::default());
    ["a", "b"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    host.out();
    host.hears(Nonza::Ack(1.into()));
    host.keep_up();
    stolen(&host);
    host.send("c");
    let due = host.due().unwrap();
    assert_eq!(host.write(&due), Fence::Lost);
    assert_eq!(host.out(), [""; 0]);
    assert_eq!(host.not_written(), ["c"]);
}

/// A snapshot was due, and not written: the store has what it had.
#[test]
fn what_the_store_has_does_not_go_after_it_once_more() {
    for is_compacted in [false, true] {
        let mut host = Host::online(Promise::Durable, Config::default());
        ["a", "b"].into_iter().for_each(|text| host.send(text));
        host.keep_up();
        host.out();
        stolen(&host);
        match is_compacted {
            true => host.ledger.host_changed(),
            false => host.lost(),
        }
        let due = host.due().unwrap();
        assert_eq!(host.write(&due), Fence::Lost);
        assert_eq!(host.not_written(), [""; 0]);
    }
}

#[test]
fn of_a_session_that_was_claimed_and_lost_at_once_only_what_is_new_goes_after_it() {
    for promise in [Promise::Parked, Promise::Durable] {
        let mut host = Host::online(promise, Config::default());
        host.send("a");
        host.keep_up();
        host.out();
        host.lost();
        host.send("b");
        host.keep_up();
        let mut host = host.moved();
        stolen(&host);
        host.send("c");
        let due = host.due().unwrap();
        assert_eq!(host.write(&due), Fence::Lost);
        assert_eq!(host.not_written(), ["c"]);
    }
}

/// What waits has other places by then: better twice than never.
#[test]
fn what_waits_behind_a_stanza_that_was_replaced_goes_after_it() {
    let mut host = Host::online(Promise::Durable, Config::default());
    host.send("a");
    host.keep_up();
    host.out();
    host.lost();
    ["p1", "b"].into_iter().for_each(|text| host.send(text));
    host.keep_up();
    stolen(&host);
    host.send("p2");
    let due = host.due().unwrap();
    assert_eq!(host.write(&due), Fence::Lost);
    assert_eq!(host.not_written(), ["b", "p2"]);
}

#[test]
fn of_a_session_that_was_never_written_down_all_goes_elsewhere() {
    let mut host = Host::enabled(Promise::Durable, Config::default());
    host.send("a");
    assert_eq!(host.not_written(), ["a"]);
}

#[test]
fn at_its_end_a_session_is_another_s_or_stays_until_it_is_retired() {
    for is_lost in [false, true] {
        let mut host = Host::online(Promise::Durable, Config::default());
        host.send("a");
        host.keep_up();
        host.out();
        if is_lost {
            stolen(&host);
        }
        host.session.close(xmpp_sm::EndReason::Stopped, None, host.now);
        assert!(host.due().is_none(), "it is not written down any more");
        let due = host.ledger.end(host.now, wall()).unwrap();
        assert_eq!(host.write(&due), if is_lost { Fence::Lost } else { Fence::Held });
        if !is_lost {
            host.ledger.wrote(due);
            assert_eq!(host.moved().holds().0, ["a"], "its host may die before its stanzas have gone elsewhere");
        }
    }
    // Of one that is only in memory there is nothing to be told.
    for promise in [Promise::Memory, Promise::Parked] {
        let mut host = Host::online(promise, Config::default());
        assert!(host.ledger.end(host.now, wall()).is_none());
    }
}

/// A call has failed, or a claimed session ends at once: it is not known what is written down, and all of it stays until the
/// stanzas have gone elsewhere.
#[test]
fn at_its_end_what_is_kept_of_a_session_stays_though_nothing_is_known_to_be_written() {
    for is_claimed in [false, true] {
        for is_lost in [false, true] {
            let mut host = Host::online(Promise::Durable, Config::default());
            host.send("a");
            host.keep_up();
            host.out();
            if is_claimed {
                host = host.moved();
            } else {
                host.ledger.host_changed();
                let _unwritten = host.due().unwrap();
            }
            if is_lost {
                stolen(&host);
            }
            host.session.close(xmpp_sm::EndReason::Stopped, None, host.now);
            let due = host.ledger.end(host.now, wall()).unwrap();
            assert_eq!(host.write(&due), if is_lost { Fence::Lost } else { Fence::Held });
            if !is_lost {
                host.ledger.wrote(due);
                assert!(host.ledger.end(host.now, wall()).is_some(), "as often as it is asked");
                assert_eq!(host.moved().holds().0, ["a"], "its host may die before they have gone");
            }
        }
    }
}

/// The last words of a session wait for nothing.
#[test]
fn what_is_said_at_the_end_is_not_held_back() {
    let mut host = Host::online(Promise::Durable, Config::default());
    host.send("a");
    host.session.close(xmpp_sm::EndReason::Stopped, None, host.now);
    assert_eq!(host.out(), ["<a h='0'/>", "Close"]);
}
