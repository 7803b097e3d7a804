//! What nodes say to each other about a session: it is for that one alone, also when it comes late, and a session goes to
//! nobody who cannot have it.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::{Client, JULIET, Node, ROMEO, all_is_at, eventually, message, resumed_at, two};
use crate::server::Redis;

/// A node is told so much sooner.
const TOLD: Duration = Duration::from_secs(2);

/// Says all that was said to a node and is about who has a resource, as if it came late.
struct Late<'a> {
    redis: &'a Redis,
    said: Receiver<(String, String)>,
}

impl<'a> Late<'a> {
    fn to(redis: &'a Redis, node: &str) -> Self {
        let (pattern, client) = (format!("xmpp-sm-link*:{node}/*"), redis.client());
        let ((out, said), (ready, is_ready)) = (channel(), channel());
        thread::spawn(move || {
            let mut connection = client.get_connection().unwrap();
            let mut hears = connection.as_pubsub();
            hears.psubscribe(pattern).unwrap();
            ready.send(()).unwrap();
            // Until the engine is gone.
            while let Ok(message) = hears.get_message() {
                let text: String = message.get_payload().unwrap();
                if !["mail ", "asks ", "let-go "].iter().any(|other| text.starts_with(other)) {
                    let _ = out.send((message.get_channel_name().to_owned(), text));
                }
            }
        });
        is_ready.recv().unwrap();
        Self { redis, said }
    }

    fn say_again(&self) {
        let all: Vec<_> = self.said.try_iter().collect();
        assert!(!all.is_empty());
        for (channel, text) in all {
            let mut connection = self.redis.client().get_connection().unwrap();
            let heard: u32 = redis::cmd("PUBLISH").arg(channel).arg(text).query(&mut connection).unwrap();
            assert!(heard >= 2, "the node and this test");
        }
        thread::sleep(TOLD);
    }
}

/// Another node would only find that it cannot have it.
#[test]
fn a_session_stays_where_it_is_if_its_client_cannot_have_handled_so_much() {
    for promise in ["memory", "parked", "durable"] {
        let redis = Redis::start();
        let [(one, mut romeo, _), (_other, mut juliet, smid)] = two(&redis, promise);
        for h in [3, u32::MAX] {
            let failed = Client::log_in(&one, JULIET).resume(&smid, h);
            assert!(failed.contains("bad-request"), "{promise}: {failed}");
        }
        // On the connection that she has.
        romeo.say(&message(2));
        juliet.gets(&[2]);
        all_is_at(&one, &smid);
    }
}

/// The same where its node has none of it but what is written down.
#[test]
fn a_session_that_is_asked_for_in_vain_at_the_node_that_has_claimed_it_is_resumed_there() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, juliet, smid)] = two(&redis, "durable");
    drop((juliet, other));
    romeo.say(&message(2));
    eventually("her node is dead", || {
        let failed = Client::log_in(&one, JULIET).resume(&smid, 100);
        assert!(failed.contains("<failed"), "{failed}");
        failed.contains("bad-request")
    });
    all_is_at(&one, &smid);
}

#[test]
fn a_resource_that_is_bound_elsewhere_ends_no_session_that_has_it_since() {
    let redis = Redis::start();
    let [one, other] = ["one", "other"].map(|name| Node::start(&redis, name, "parked"));
    let mut romeo = Client::log_in(&one, ROMEO);
    romeo.begin();
    let late = Late::to(&redis, "other");
    let begins = |node: &Node| {
        let mut juliet = Client::log_in(node, JULIET);
        juliet.begins_as("balcony");
        juliet
    };
    let mut juliet = begins(&other);
    let next = begins(&one);
    assert!(juliet.until_closed().contains("<conflict "), "it is said once, and in time");
    drop(next);
    let mut last = begins(&other);
    late.say_again();
    romeo.say(&message(1));
    last.gets(&[1]);
}

#[test]
fn a_session_that_has_moved_and_come_back_is_still_there_for_its_client() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, juliet, smid)] = two(&redis, "parked");
    let late = Late::to(&redis, "other");
    drop(juliet);
    let (juliet, _) = resumed_at(&one, &smid);
    drop(juliet);
    let (juliet, _) = resumed_at(&other, &smid);
    late.say_again();
    romeo.say(&message(2));
    drop(juliet);
    all_is_at(&other, &smid);
}

/// It says whose resource it is by the JID alone.
#[test]
fn what_an_earlier_node_says_too_late_ends_no_session() {
    let redis = Redis::start();
    let [(_one, mut romeo, _), (_other, mut juliet, _)] = two(&redis, "parked");
    let place = "xmpp-sm-place:{juliet@localhost}";
    let resource = redis.tell::<Vec<String>>(&format!("HKEYS {place}")).remove(0);
    let node: String = redis.tell(&format!("HGET {place} {resource}"));
    let say = || {
        let mut connection = redis.client().get_connection().unwrap();
        let text = format!("replaced juliet@localhost/{resource}");
        let () = redis::cmd("PUBLISH").arg(format!("xmpp-sm-link:{node}")).arg(text).query(&mut connection).unwrap();
    };
    say();
    thread::sleep(TOLD);
    romeo.say(&message(2));
    juliet.gets(&[2]);
    // It is true now.
    let _: u32 = redis.tell(&format!("HSET {place} {resource} earlier/1"));
    say();
    assert!(juliet.until_closed().contains("<conflict "));
}
