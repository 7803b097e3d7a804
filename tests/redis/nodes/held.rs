//! Whose a session is, and whose it stays, when a node has lost another one, has made room for one, hangs or stops.

use std::thread;
use std::time::{Duration, Instant};

use xmpp_sm::{AsyncSessionStore, Config, RedisStore, SmId};

use super::mail::bind;
use super::{
    ASK, BIND, Client, ENABLE, JULIET, Node, ROMEO, all_is_at, bodies, eventually, id_in, message, resumed_at, two,
    two_with,
};
use crate::runtime;
use crate::server::Redis;

const HERS: &str = "xmpp-sm-sessions:{juliet@localhost}";
/// Something that the server handles, and answers.
const PING: &str = "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>";
/// Less than a call of the engine is waited for.
const SOON: Duration = Duration::from_millis(200);

/// What three sessions write down goes in one call, or in two.
#[test]
fn a_session_that_is_lost_takes_no_other_with_it() {
    let redis = Redis::start();
    let one = Node::start(&redis, "one", "durable");
    let [mut romeo, mut lost, mut juliet] = [ROMEO, JULIET, JULIET].map(|auth| Client::log_in(&one, auth));
    romeo.begin();
    let smid = lost.begin();
    juliet.begin();
    for client in [&mut romeo, &mut lost, &mut juliet] {
        client.ask(PING, "id='p'");
        client.is_told(2);
    }
    for key in redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*+{smid}")) {
        let () = redis.tell(&format!("DEL {key}"));
    }
    let () = redis.tell(&format!("HDEL {HERS} {smid}"));
    redis.pause();
    romeo.say(PING);
    thread::sleep(SOON);
    lost.say(PING);
    juliet.say(PING);
    thread::sleep(SOON);
    redis.wake();
    for client in [&mut romeo, &mut juliet] {
        client.until(|read| read.contains("id='p'"));
        client.is_told(3);
    }
    assert!(!lost.until_closed().contains("id='p'"), "nothing that is not written down goes out");
}

/// What a node has answered is its client's to send again, until other nodes have the answer.
#[test]
fn what_is_answered_is_not_handled_before_the_answer_outlives_the_node() {
    let redis = Redis::start();
    let [(one, ..), (other, mut juliet, smid)] = two(&redis, "durable");
    juliet.is_told(1);
    // It writes down sessions, and puts nothing into lists.
    let has_put = format!("xmpp-sm-put:other/{}", redis.tell::<String>("GET xmpp-sm-node:other"));
    let () = redis.tell(&format!("SET {has_put} x"));
    for question in [PING, "<message to='nobody@localhost'><body>2</body></message>"] {
        juliet.say(question);
        thread::sleep(SOON);
        assert!(juliet.ask(ASK, "<a ").contains("h='1'"), "{question}");
    }
    drop(other);
    let (mut juliet, resumed) = resumed_at(&one, &smid);
    assert!(resumed.contains("h='1'"), "{resumed}");
    juliet.ask(PING, "id='p'");
    juliet.is_told(2);
}

/// Its host claims it by its own registration, for nobody else can.
#[test]
fn what_a_session_has_that_makes_room_goes_to_the_next() {
    let redis = Redis::start();
    // Nobody takes it for one that nobody has before the test is over.
    let [(one, _romeo, _), (_other, mut juliet, _)] = two_with(&redis, &["--promise=durable", "--dead-after=60"]);
    // As many as she may have, with hers.
    runtime().block_on(async {
        let store = RedisStore::new(redis.connect().await, &Config::default()).prefix("xmpp-sm-sessions");
        for number in 1..10 {
            let (smid, handle) = (SmId::random().unwrap(), format!("dead/1/{number}").into());
            let registered = store.register(&smid, &"juliet@localhost".into(), handle, Instant::now()).await.unwrap();
            assert_eq!(registered.displaced, None);
        }
    });
    let mut next = Client::log_in(&one, JULIET);
    let mut came = next.ask(BIND, "</iq>") + &next.ask(ENABLE, "<enabled") + &next.ask("<presence/>", "<presence");
    assert!(juliet.until_closed().contains("<conflict "));
    if !came.contains("<body>1</body>") {
        came += &next.until(|read| read.contains("<body>1</body>"));
    }
    assert_eq!(bodies(&came), [1]);
}

/// It is in the memory of that node.
#[test]
fn a_session_of_a_node_that_hangs_is_asked_for_again() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, _juliet, smid)] = two_with(&redis, &["--promise=memory", "--dead-after=20"]);
    other.hang();
    let failed = Client::log_in(&one, JULIET).resume(&smid, 1);
    assert!(failed.contains("internal-server-error"), "{failed}");
    other.signal("-CONT");
    romeo.say(&message(2));
    all_is_at(&one, &smid);
}

/// What it has taken out of her mail, and neither written down nor struck off, is found by the node that has claimed her session.
#[test]
fn what_a_node_has_taken_that_hangs_comes_once() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, mut old, smid)] = two(&redis, "durable");
    romeo.is_told(2);
    // Nothing is written down.
    let () = redis.tell("ACL SETUSER default -rpushx");
    romeo.say(&message(2));
    let holder = redis.tell::<Vec<String>>("KEYS xmpp-sm-holder:{juliet@localhost}/*").remove(0);
    eventually("it is taken", || redis.tell(&format!("HEXISTS {holder} call")));
    other.hang();
    let () = redis.tell("ACL SETUSER default +rpushx");
    let mut juliet = all_is_at(&one, &smid);
    other.signal("-CONT");
    assert_eq!(bodies(&old.until_closed()), [0; 0]);
    thread::sleep(Duration::from_secs(1));
    romeo.say(&message(3));
    juliet.gets(&[3]);
}

#[test]
fn a_node_that_stops_leaves_the_next_of_its_name_alive() {
    let redis = Redis::start();
    let [first, second] = [true, false].map(|hangs| {
        let node = Node::start_with(&redis, "one", &["--dead-after=3"]);
        if hangs {
            node.hang();
        }
        node
    });
    let mut juliet = Client::log_in(&second, JULIET);
    let smid = juliet.begin();
    first.signal("-CONT");
    first.stop();
    assert!(redis.tell::<bool>("EXISTS xmpp-sm-node:one"), "it would be dead until it says again that it lives");
    drop(juliet);
    resumed_at(&second, &smid);
}

/// What may have come twice is said, by whoever takes a session.
#[test]
fn a_session_is_said_to_be_taken_from_a_node_that_is_dead_and_not_from_one_that_has_stopped() {
    for is_killed in [false, true] {
        let redis = Redis::start();
        let [(one, mut romeo, _), (other, _juliet, smid)] = two(&redis, "durable");
        romeo.is_told(2);
        if is_killed {
            drop(other);
        } else {
            other.stop();
        }
        resumed_at(&one, &smid);
        let said = one.stops();
        assert_eq!(said.contains(" was taken from other/"), is_killed, "{said}");
    }
}

/// It counts as dead, and nobody can tell it from one that is. What is in its memory is there when it is back.
#[test]
fn a_session_of_a_node_that_hangs_for_long_is_found_where_it_was() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, _juliet, smid)] = two_with(&redis, &["--promise=memory", "--dead-after=5"]);
    other.hang();
    let lives = || redis.tell::<bool>("EXISTS xmpp-sm-node:other");
    eventually("it counts as dead", || !lives());
    thread::sleep(Duration::from_secs(11)); // the others look twice for what it has left
    other.signal("-CONT");
    eventually("it says that it lives", lives);
    romeo.say(&message(2));
    all_is_at(&one, &smid);
}

/// Her client has lost its state twice, the second time while the session that it had first is about to end. The one that it had
/// then comes from a dead node meanwhile, and nobody asks for it.
#[test]
fn a_session_that_comes_from_a_dead_node_keeps_her_resource_from_nobody_who_waits_for_it() {
    let redis = Redis::start();
    let [one, other] = ["one", "other"].map(|name| Node::start(&redis, name, "durable"));
    let mut first = Client::log_in(&one, JULIET);
    first.begins_as("balcony");
    let mut next = Client::log_in(&other, JULIET);
    next.ask(&bind("balcony"), "</iq>");
    let smid = id_in(&next.ask(ENABLE, "<enabled"));
    let [mut last, mut asks] = [(); 2].map(|()| Client::log_in(&one, JULIET));
    first.until(|read| read.contains("<conflict "));
    drop((next, other));
    // The first waits for its client's last words.
    last.say(&bind("balcony"));
    let failed = asks.resume(&smid, 100);
    assert!(failed.contains("bad-request"), "it is here now: {failed}");
    let bound = last.until(|read| read.contains("</iq>") || read.contains("</stream:stream>"));
    assert!(bound.contains("type='result'"), "{bound}");
    last.ask(ENABLE, "<enabled");
}
