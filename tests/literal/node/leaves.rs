//! How a session leaves its node: let go, or left by a node that has died.

use std::sync::atomic::Ordering;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;
use xmpp_sm::snapshot::Promise;
use xmpp_sm::{EndReason, Lookup, NS as SM};

use super::{Done, Mail, Node, SECOND, WELL, config, run};
use crate::raw::Raw;

#[test]
fn a_session_that_a_dead_node_has_left_ends_at_another() {
    // The node is killed while the session lives; or when it is over, and its stanzas have not gone on.
    for is_over in [false, true] {
        run(async || {
            let config = config().resume_timeout(Some(2 * SECOND));
            let [a, b] = Node::pair(Promise::Durable, config, WELL);
            let (alice, id) = a.online("alice").await;
            a.cluster.write_to("alice", 1);
            sleep(SECOND).await;
            a.is_dying.store(true, Ordering::Relaxed);
            if is_over {
                a.cluster.mail(&id, Mail::End(EndReason::Stopped));
                sleep(60 * SECOND).await;
            }
            a.kill();
            drop(alice);
            b.adopt("alice", &id).await;
            sleep(SECOND).await;
            assert_eq!(a.cluster.offline("alice"), 0);
            sleep(2 * SECOND).await;
            assert_eq!(a.cluster.offline("alice"), 1, "its time begins when it is claimed");
            let (_, failed) = b.resume("alice", &id, 0).await;
            assert_eq!((failed.name(), failed.attr("h")), ("failed", Some("1")));
        });
    }
}

#[test]
fn a_session_that_has_died_with_its_node_is_removed() {
    run(async || {
        let [a, b] = Node::pair(Promise::Memory, config(), WELL);
        let (_alice, id) = a.online("alice").await;
        a.kill();
        b.adopt("alice", &id).await;
        sleep(SECOND).await;
        assert_eq!(a.cluster.lookup("alice", &id).await, Lookup::NotFound);
    });
}

/// A node whose session of Alice is to go, and waits for a receipt of hers; and what settles that.
pub async fn settling(node: &Node) -> (Raw, String, Done) {
    let (mailbox, mut bob) = unbounded_channel();
    node.cluster.arrive(node.name, "bob", &mailbox);
    let (mut alice, id) = node.online("alice").await;
    alice.conn.say("<message from='alice' to='bob' id='1'/>");
    alice.write(SECOND).await;
    let Some(Mail::Deliver(_, done)) = bob.recv().await else { unreachable!() };
    (alice, id, done)
}

#[test]
fn a_session_that_is_let_go_waits_for_what_its_node_handles() {
    for promise in [Promise::Parked, Promise::Durable] {
        run(async || {
            let [a, b] = Node::pair(promise, config(), WELL);
            let (alice, id, done) = settling(&a).await;
            drop(alice);
            let settle = async {
                sleep(SECOND).await;
                done();
            };
            let ((_, resumed), ()) = tokio::join!(b.resume("alice", &id, 0), settle);
            assert_eq!((resumed.name(), resumed.attr("h")), ("resumed", Some("2")), "{promise:?}");
        });
    }
}

#[test]
fn a_session_that_is_let_go_waits_two_seconds_and_takes_nobody() {
    run(async || {
        let [a, b] = Node::pair(Promise::Parked, config().settle_timeout(10 * SECOND), WELL);
        let (alice, id, _lost) = settling(&a).await;
        drop(alice);
        // Its client waits for the receipt, too.
        let mut early = a.connect("alice").await;
        early.conn.say(format!("<resume xmlns='{SM}' previd='{id}' h='0'/>"));
        early.write(SECOND).await;
        for _ in 0..2 {
            a.cluster.mail(&id, Mail::LetGo(None));
            sleep(SECOND).await;
        }
        sleep(SECOND / 10).await;
        assert!(a.cluster.inner.lock().unwrap().sessions.is_empty(), "asking again does not prolong it");
        assert!(early.conn.element().await.is_err(), "it is left without a word");
        assert_eq!(b.resume("alice", &id, 0).await.1.name(), "resumed");
    });
}
