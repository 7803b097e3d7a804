//! What a node meets when it looks for a session, claims it, reads it or writes it down: the tables of the page `nodes`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use xmpp_parsers::ns::XMPP_STANZAS;
use xmpp_sm::snapshot::Promise;
use xmpp_sm::{AsyncSessionStore, Claim, EndReason, Fence, Lookup, NS as SM, Parking, Registration, Revision, SmId};

use super::leaves::settling;
use super::{Fault, Mail, Node, SECOND, WELL, config, run};
use crate::now;
use crate::raw::Raw;

/// A session of Alice's whose message 1 has so long to be written down.
async fn written_down(node: &Node, within: Duration) -> (Raw, String, Registration) {
    let (alice, id) = node.online("alice").await;
    node.cluster.write_to("alice", 1);
    sleep(within).await;
    let registration = node.cluster.lookup("alice", &id).await.session().unwrap().registration;
    (alice, id, registration)
}

/// Alice has as many sessions as she may have: what she had before has made room.
async fn displace(node: &Node) {
    for number in 0..10 {
        let (smid, handle) = (SmId::random().unwrap(), format!("b/{number}").into());
        let store = node.cluster.store.inner();
        let _ = AsyncSessionStore::register(store, &smid, &"alice".into(), handle, now()).await.unwrap();
    }
}

/// Whoever displaces a session cannot know that its host has stanzas of it.
#[test]
fn a_session_that_was_displaced_leaves_its_stanzas_though_the_answer_to_its_claim_was_lost() {
    const FAULTS: &[Fault] =
        &[Fault::After, Fault::None, Fault::None, Fault::None, Fault::After, Fault::None, Fault::None];
    for first in 0..4 {
        run(async || {
            let [a, _] = Node::pair(Promise::Durable, config(), &FAULTS[first..first + 4]);
            let _alice = a.online("alice").await;
            a.cluster.write_to("alice", 1);
            sleep(20 * SECOND).await;
            displace(&a).await;
            let mailbox = a.cluster.inner.lock().unwrap().places["alice"].1.clone();
            mailbox.send(Mail::End(EndReason::Replaced)).unwrap_or_else(|_| panic!("it is there"));
            sleep(60 * SECOND).await;
            assert_eq!(a.cluster.offline("alice"), 1, "{first}");
        });
    }
}

/// Its host does not hear that, and finds it when it writes.
#[test]
fn what_a_session_had_that_was_displaced_goes_on_once() {
    const FAULTS: &[Fault] = &[Fault::After, Fault::None, Fault::None, Fault::None, Fault::None, Fault::None];
    for first in 0..6 {
        run(async || {
            let [a, _] = Node::pair(Promise::Durable, config(), &FAULTS[first..]);
            let (_alice, id, left) = written_down(&a, 10 * SECOND).await;
            let store = a.cluster.store.inner();
            displace(&a).await;
            a.cluster.write_to("alice", 2);
            sleep(10 * SECOND).await;
            assert_eq!(a.cluster.offline("alice"), 2, "{first}");
            let h = a.cluster.lookup("alice", &id).await;
            assert!(matches!(h, Lookup::StaleH(_)), "its client is told its h: {h:?}");
            assert_eq!(store.claim(&left, "b/1".into(), now()).await.unwrap(), Claim::Lost, "it is in no other's list");
        });
    }
}

/// It is in the list of a dead node, by its newest registration, until somebody has passed on what it had.
#[test]
fn what_a_displaced_session_had_goes_on_once_though_its_node_is_dead() {
    const FAULTS: &[Fault] = &[
        Fault::After,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::After,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::None,
    ];
    for (dies_late, first) in (0..7).flat_map(|first| [(false, first), (true, first)]) {
        run(async || {
            let [a, b] = Node::pair(Promise::Durable, config(), &FAULTS[first..first + 7]);
            let (_alice, id, registered) = written_down(&a, 10 * SECOND).await;
            if dies_late {
                displace(&a).await;
                a.is_dying.store(true, Ordering::Relaxed); // it claims the session, and passes nothing on
                a.cluster.mail(&id, Mail::End(EndReason::Replaced));
                sleep(20 * SECOND).await;
                a.kill();
            } else {
                a.kill();
                displace(&b).await;
            }
            let listed = || b.cluster.store.claimed().unwrap_or_else(|| registered.clone());
            for _ in 0..3 {
                let host = b.host(&"".into(), &tokio::sync::mpsc::unbounded_channel().0);
                tokio::spawn(crate::node_loop::adopt(listed(), host));
                sleep(20 * SECOND).await;
            }
            assert_eq!(b.cluster.offline("alice"), 1, "{dies_late} {first}");
            let h = b.cluster.lookup("alice", &id).await;
            assert!(matches!(h, Lookup::StaleH(_)), "its client is told its h: {h:?}");
            let claim = b.cluster.store.inner().claim(&listed(), "b/1".into(), now()).await.unwrap();
            assert_eq!(claim, Claim::Lost, "it is in no other's list");
        });
    }
}

/// Where nothing can be written, the store says all the same whose a session is.
#[test]
fn what_a_session_had_that_is_over_and_anothers_goes_on_if_it_was_not_written_down() {
    for has_more in [false, true] {
        run(async || {
            let [a, b] = Node::pair(Promise::Durable, config().ack_timeout(None), WELL);
            let (mut alice, id) = a.online("alice").await;
            a.cluster.write_to("alice", 1);
            assert_eq!(alice.numbers(SECOND).await, [1]);
            a.cluster.store.is_full.store(true, Ordering::Relaxed);
            if has_more {
                a.cluster.write_to("alice", 2);
            }
            let mailbox = a.cluster.inner.lock().unwrap().places["alice"].1.clone();
            b.hangs.store(true, Ordering::Relaxed); // what it asks is not heard
            let mut again = b.connect("alice").await;
            again.conn.say(format!("<resume xmlns='{SM}' previd='{id}' h='1'/>"));
            again.write(5 * SECOND).await;
            mailbox.send(Mail::End(EndReason::Stopped)).unwrap_or_else(|_| panic!("it is there"));
            sleep(30 * SECOND).await;
            a.cluster.store.is_full.store(false, Ordering::Relaxed);
            assert_eq!(again.read().await.name(), "resumed");
            assert_eq!(again.numbers(SECOND).await, if has_more { vec![2] } else { vec![] });
            assert_eq!(a.cluster.offline("alice"), 0);
        });
    }
}

/// Nothing more of it is written down.
#[test]
fn what_comes_for_a_session_that_ends_is_owed_until_it_is_elsewhere() {
    for promise in [Promise::Parked, Promise::Durable] {
        run(async || {
            let [a, b] = Node::pair(promise, config().settle_timeout(20 * SECOND), WELL);
            let (_alice, id, _settle) = settling(&a).await;
            a.cluster.write_to("alice", 1);
            sleep(SECOND).await;
            a.cluster.mail(&id, Mail::End(EndReason::Stopped));
            sleep(SECOND).await;
            let done = Arc::new(AtomicBool::new(false));
            let is_done = done.clone();
            let call = Box::new(move || is_done.store(true, Ordering::Relaxed));
            a.cluster.deliver("alice", "<message from='x' to='alice' id='2'/>".into(), call);
            sleep(SECOND).await;
            assert_eq!(done.load(Ordering::Relaxed), promise == Promise::Parked);
            if promise == Promise::Durable {
                b.hangs.store(true, Ordering::Relaxed); // what it asks is not heard
                let (mut again, resumed) = b.resume("alice", &id, 1).await;
                assert_eq!((resumed.name(), again.numbers(60 * SECOND).await), ("resumed", vec![2]));
            }
            sleep(60 * SECOND).await;
            assert!(done.load(Ordering::Relaxed));
            assert_eq!(a.cluster.offline("alice"), if promise == Promise::Parked { 2 } else { 0 });
        });
    }
}

/// What it has costs nobody whose client is there anything.
#[test]
fn a_client_that_says_what_it_cannot_have_handled_has_no_session_at_another_node_either() {
    run(async || {
        let [a, b] = Node::pair(Promise::Durable, config(), WELL);
        let (mut alice, id) = a.online("alice").await;
        let failed = b.connect("alice").await.resume(&id, 7).await;
        assert!(failed.has_child("bad-request", XMPP_STANZAS), "{failed:?}");
        a.cluster.write_to("alice", 1);
        assert_eq!(alice.numbers(SECOND).await, [1]);
        assert_eq!(b.resume("alice", &id, 1).await.1.name(), "resumed");
    });
}

/// What of a session is in memory is nobody's to remove while its node lives.
#[test]
fn a_session_that_is_not_parked_is_its_nodes_until_that_is_dead() {
    run(async || {
        let [a, b] = Node::pair(Promise::Parked, config(), WELL);
        let (mut alice, id) = a.online("alice").await;
        a.cluster.write_to("alice", 1);
        b.hangs.store(true, Ordering::Relaxed); // what it asks is not heard
        let reply = b.connect("alice").await.resume(&id, 0).await;
        assert!(reply.has_child("internal-server-error", XMPP_STANZAS), "{reply:?}");
        assert_eq!(alice.numbers(SECOND).await, [1]);
        b.hangs.store(false, Ordering::Relaxed);
        let (mut alice, resumed) = b.resume("alice", &id, 0).await;
        assert_eq!((resumed.name(), alice.numbers(SECOND).await), ("resumed", vec![1]));

        b.kill();
        let (_, failed) = a.resume("alice", &id, 0).await;
        assert!(failed.has_child("item-not-found", XMPP_STANZAS), "{failed:?}");
        assert!(a.cluster.store.inner().is_empty());
    });
}

/// Message 1 was written down. What comes next finds that the session is lost.
async fn is_lost_with_what_was_written_down(node: &Node, alice: &mut Raw) {
    node.cluster.write_to("alice", 2);
    sleep(SECOND).await;
    assert!(alice.numbers(SECOND).await.len() < 2, "nothing that is not written down goes out");
    assert!(alice.conn.element().await.is_err(), "its client is left");
    assert_eq!(node.cluster.offline("alice"), 2, "better twice than never");
}

#[test]
fn a_session_that_the_store_has_lost_goes_to_its_user_with_what_was_written_down() {
    run(async || {
        let [a, _] = Node::pair(Promise::Durable, config(), WELL);
        let (mut alice, _, left) = written_down(&a, SECOND).await;
        AsyncSessionStore::remove(a.cluster.store.inner(), &left).await.unwrap();
        is_lost_with_what_was_written_down(&a, &mut alice).await;
        assert!(a.cluster.inner.lock().unwrap().places.is_empty(), "it is nowhere");
    });
}

/// A store that has lost its last seconds has an older revision, or epoch, than what the node writes goes on from.
#[test]
fn what_a_session_had_that_the_store_has_as_it_was_before_goes_to_its_user_whole() {
    run(async || {
        let [a, _] = Node::pair(Promise::Durable, config(), WELL);
        let (mut alice, _, left) = written_down(&a, SECOND).await;
        let parked = a.cluster.store.inner().park(&left, Revision::FIRST.next(), b"as it was").await.unwrap();
        assert_eq!(parked, Fence::Held);
        is_lost_with_what_was_written_down(&a, &mut alice).await;
    });
}

#[test]
fn what_a_node_cannot_read_is_left_to_one_that_can_or_set_aside() {
    let payload = b"\xa2\x00\x18\x63\x01\xf6"; // of version 99
    let later = [&b"\xd9\xd9\xf7\x82\x46"[..], payload, b"\x1a", &crc32fast::hash(payload).to_be_bytes()].concat();
    let cut = later[..later.len() - 1].to_vec();
    for (bytes, said, set_aside, left) in [(later, "internal-server-error", 0, 1), (cut, "item-not-found", 1, 0)] {
        run(async || {
            let [_, b] = Node::pair(Promise::Durable, config(), WELL);
            let (store, smid) = (b.cluster.store.inner(), SmId::random().unwrap());
            let registered = AsyncSessionStore::register(store, &smid, &"alice".into(), "a/1".into(), now()).await;
            let registration = registered.unwrap().registration;
            assert_eq!(store.park(&registration, Revision::FIRST, &bytes).await.unwrap(), Fence::Held);
            let failed = b.connect("alice").await.resume(smid.as_str(), 0).await;
            assert!(failed.has_child(said, XMPP_STANZAS), "{failed:?}");
            assert_eq!((b.cluster.inner.lock().unwrap().set_aside, store.len()), (set_aside, left));
            if let Lookup::Session(found) = AsyncSessionStore::lookup(store, &smid, "alice", now()).await.unwrap() {
                let claim = store.claim(&found.registration, "c/1".into(), now()).await.unwrap();
                assert!(matches!(claim, Claim::Claimed(claimed) if claimed.snapshot == bytes));
            }
        });
    }
}
