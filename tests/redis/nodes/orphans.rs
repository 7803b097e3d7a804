//! How nodes find sessions that nobody has, and that they do not look through those of all users for nothing.

use std::thread;
use std::time::{Duration, Instant};

use xmpp_sm::{AsyncSessionStore, Config, RedisStore, SmId};

use super::{Node, all_is_at, eventually, message, two_with};
use crate::runtime;
use crate::server::Redis;

const HERS: &str = "xmpp-sm-sessions:{juliet@localhost}";
const USERS: usize = 500;
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How often a hash was read whole: to look through all takes one for the sessions of each user, and one for their places.
fn read_whole(redis: &Redis) -> usize {
    let stats: String = redis.tell("INFO commandstats");
    let calls = stats.split_once("cmdstat_hgetall:calls=").map_or("0", |(_, rest)| rest.split_once(',').unwrap().0);
    calls.parse().unwrap()
}

/// A node that lives, and has a session and a place of each of many users.
fn populate(redis: &Redis) {
    let () = redis.tell("SET xmpp-sm-node:third 1");
    runtime().block_on(async {
        let mut connection = redis.connect().await;
        let store = RedisStore::new(connection.clone(), &Config::default()).prefix("xmpp-sm-sessions");
        for number in 0..USERS {
            let user = format!("user{number}@localhost");
            let (smid, handle) = (SmId::random().unwrap(), format!("third/1/{number}").into());
            store.register(&smid, &user.as_str().into(), handle, Instant::now()).await.unwrap();
            let (place, holder) = (format!("xmpp-sm-place:{{{user}}}"), format!("xmpp-sm-holder:{{{user}}}/x"));
            let mut both = redis::pipe();
            both.hset(place, "x", "third/1").hset_multiple(holder, &[("node", "third/1"), ("session", smid.as_str())]);
            let () = both.query_async(&mut connection).await.unwrap();
        }
    });
}

#[test]
fn all_is_looked_through_when_a_node_is_dead_and_not_while_all_live() {
    let redis = Redis::start();
    populate(&redis);
    let [_one, _other] = ["one", "other"].map(|name| Node::start_with(&redis, name, &["--dead-after=3"]));
    eventually("each has looked through all", || read_whole(&redis) >= 2 * 2 * USERS);
    thread::sleep(DEAD_AFTER / 3);
    let () = redis.tell("CONFIG RESETSTAT");
    thread::sleep(3 * DEAD_AFTER);
    let calls = read_whole(&redis);
    println!("{USERS} users, two nodes, nine seconds: {calls} hashes");
    assert!(calls < USERS / 10, "{calls}");
    let () = redis.tell("DEL xmpp-sm-node:third");
    eventually("what it had is looked for", || read_whole(&redis) >= 2 * 2 * USERS);
}

/// Whoever has asked for it is dead, for instance.
#[test]
fn a_session_that_is_let_go_and_that_nobody_comes_for_goes_on_where_it_was() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, _juliet, smid)] = two_with(&redis, &["--promise=parked", "--dead-after=3"]);
    // By then each node has looked through all.
    thread::sleep(2 * DEAD_AFTER);
    let record = || redis.tell::<String>(&format!("HGET {HERS} {smid}"));
    let before = record();
    let node: String = redis.tell("GET xmpp-sm-node:other");
    let mut asks = redis::cmd("PUBLISH");
    asks.arg(format!("xmpp-sm-link-2:other/{node}")).arg(format!("asks 1 juliet@localhost {smid}"));
    let () = asks.query(&mut redis.client().get_connection().unwrap()).unwrap();
    let kept = || redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*")).len();
    eventually("it is written down", || kept() == 1);
    let let_go = record();
    assert!(let_go != before && let_go.contains("other/"), "{let_go}");
    eventually("it is claimed", || record() != let_go);
    assert!(record().contains("other/"), "{}", record());
    romeo.say(&message(2));
    drop(other);
    all_is_at(&one, &smid);
}
