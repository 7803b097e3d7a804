//! Nodes whose engine has no memory left, or does not answer: sessions end there and nodes stop, all the same.

use std::time::{Duration, Instant};

use super::{Client, ENABLE, JULIET, Node, ROMEO, bodies, message, resumed_at, two_with};
use crate::server::Redis;

const BALCONY: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <resource>balcony</resource></bind></iq>";

#[test]
fn a_session_that_ends_while_there_is_no_memory_leaves_what_it_has_and_its_resource() {
    for promise in ["memory", "parked", "durable"] {
        let redis = Redis::start();
        let node = Node::start_with(&redis, "one", &["--promise", promise, "--dead-after=60"]);
        let mut romeo = Client::log_in(&node, ROMEO);
        romeo.begin();
        let mut juliet = Client::log_in(&node, JULIET);
        juliet.ask(BALCONY, "</iq>");
        juliet.ask(ENABLE, "<enabled");
        juliet.ask("<presence/>", "<presence");
        romeo.say(&message(1));
        juliet.gets(&[1]);
        romeo.is_told(2);
        let () = redis.tell("CONFIG SET maxmemory 1");
        juliet.say("</stream:stream>");
        juliet.until_closed();
        let mut next = Client::log_in(&node, JULIET);
        let begun = Instant::now();
        next.say(BALCONY);
        let said = next.until_closed();
        assert!(said.contains("resource-constraint"), "{promise}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(10), "it waits for nothing");
        let () = redis.tell("CONFIG SET maxmemory 0");
        Client::log_in(&node, JULIET).begins_with(&[1]);
    }
}

/// Message 1, which is sent once more.
fn has_all((mut juliet, mut came): (Client, String)) {
    if bodies(&came).is_empty() {
        came += &juliet.until(|read| read.contains("</body>"));
    }
    assert_eq!(bodies(&came), [1], "{came}");
}

#[test]
fn a_node_stops_while_there_is_no_memory() {
    for promise in ["memory", "parked", "durable"] {
        let redis = Redis::start();
        let [(one, mut romeo, _), (other, juliet, smid)] =
            two_with(&redis, &["--promise", promise, "--dead-after=60", "--stop-within=12"]);
        romeo.is_told(2);
        let () = redis.tell("CONFIG SET maxmemory 1");
        let begun = Instant::now();
        let said = other.stops();
        // Half of the time it waits for memory.
        let took = begun.elapsed();
        assert!((6..11).contains(&took.as_secs()), "{promise}: {took:?}");
        drop(juliet);
        let () = redis.tell("CONFIG SET maxmemory 0");
        if promise == "durable" {
            assert!(said.contains("sessions that go on at another node as far as they were written down: 1"), "{said}");
            has_all(resumed_at(&one, &smid));
        } else {
            assert!(
                said.contains("sessions that ended, for there was no memory: what they held waits for their users: 1"),
                "{said}"
            );
            let mut juliet = Client::log_in(&one, JULIET);
            let failed = juliet.resume(&smid, 1);
            assert!(failed.contains("item-not-found"), "{failed}");
            juliet.begins_with(&[1]);
        }
    }
}

/// The one before it is not over, and the engine may be away for long.
#[test]
fn a_resource_is_not_waited_for_longer_than_a_login_may_take() {
    let redis = Redis::start();
    let node = Node::start_with(&redis, "one", &["--dead-after=60"]);
    let mut juliet = Client::log_in(&node, JULIET);
    juliet.ask(BALCONY, "</iq>");
    redis.pause();
    juliet.say("</stream:stream>");
    let mut next = Client::log_in(&node, JULIET);
    next.say(BALCONY);
    let said = next.until_closed();
    assert!(said.contains("resource-constraint"), "{said}");
    redis.wake();
    Client::log_in(&node, JULIET).ask(BALCONY, "</iq>");
}

/// What cannot be written down in time is said.
#[test]
fn a_node_stops_while_the_engine_is_away() {
    for promise in ["parked", "durable"] {
        let redis = Redis::start();
        let [(one, mut romeo, _), (other, juliet, smid)] = two_with(&redis, &["--promise", promise, "--stop-within=5"]);
        romeo.is_told(2);
        redis.pause();
        let begun = Instant::now();
        let said = other.stops();
        assert!(begun.elapsed() < Duration::from_secs(15));
        drop(juliet);
        redis.wake();
        if promise == "durable" {
            assert!(said.contains("sessions that go on at another node as far as they were written down: 1"), "{said}");
            has_all(resumed_at(&one, &smid));
        } else {
            assert!(said.contains("sessions that are lost: there was no time left to write them down: 1"), "{said}");
        }
    }
}
