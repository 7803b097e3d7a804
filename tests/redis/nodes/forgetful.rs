//! Nodes whose engine comes back without what it had last: what their sessions have goes on, and is there once more.

use std::thread;
use std::time::Duration;

use super::{Client, JULIET, all_is_at, all_to, bodies, eventually, message, two, two_with};
use crate::server::Redis;

const HERS: &str = "xmpp-sm-sessions:{juliet@localhost}";

/// What is written down of her sessions.
fn written(redis: &Redis) -> String {
    let mut all = Vec::new();
    for key in redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*")) {
        match redis.tell::<String>(&format!("TYPE {key}")).as_str() {
            "string" => all.push(redis.tell::<Vec<u8>>(&format!("GET {key}"))),
            _ => all.extend(redis.tell::<Vec<Vec<u8>>>(&format!("LRANGE {key} 0 -1"))),
        }
    }
    all.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}

/// All that it was told since its last file is gone.
fn starts_again(redis: &mut Redis) {
    redis.kill();
    redis.start_again();
}

/// Until it is written down whole, a node that is killed would leave a session that nobody can read.
#[test]
fn what_an_engine_has_lost_of_a_session_is_written_once_more() {
    let mut redis = Redis::start();
    // Nothing else has the session written down whole.
    let [(one, mut romeo, _), (other, mut juliet, smid)] = two_with(&redis, &["--promise=durable", "--ack-timeout=0"]);
    let () = redis.tell("SAVE");
    for number in [2, 3] {
        romeo.say(&message(number));
        juliet.gets(&[number]);
    }
    starts_again(&mut redis);
    romeo.say(&message(4));
    juliet.gets(&[4]);
    eventually("all is there", || bodies(&written(&redis)) == [1, 2, 3, 4]);
    drop(other);
    all_to(4, &one, &smid);
}

/// Its client is not told, and need not know.
#[test]
fn a_session_that_an_engine_has_lost_is_registered_once_more() {
    for promise in ["memory", "parked", "durable"] {
        let mut redis = Redis::start();
        let [(one, mut romeo, _), (other, mut juliet, smid)] = two(&redis, promise);
        romeo.is_told(2);
        starts_again(&mut redis);
        romeo.say(&message(2));
        juliet.gets(&[2]);
        eventually("it is known", || redis.tell(&format!("HEXISTS {HERS} {smid}")));
        if promise == "durable" {
            eventually("all is there", || bodies(&written(&redis)) == [1, 2]);
            drop(other);
        }
        all_is_at(&one, &smid);
    }
}

/// The answer to that may be lost, or an earlier try may be carried out late.
#[test]
fn a_session_that_is_registered_twice_where_an_engine_has_lost_it_is_nobody_elses() {
    let mut redis = Redis::start();
    let [(one, mut romeo, _), (other, mut juliet, smid)] = two(&redis, "durable");
    romeo.is_told(2);
    starts_again(&mut redis);
    romeo.say(&message(2));
    juliet.gets(&[2]);
    eventually("all is there", || bodies(&written(&redis)) == [1, 2]);
    // The other one was first: this has nothing, and a higher epoch.
    let record: String = redis.tell(&format!("HGET {HERS} {smid}"));
    let [kind_and_epoch, _, ends, handle] = record.split(' ').collect::<Vec<_>>()[..] else { panic!("{record}") };
    let epoch: u64 = kind_and_epoch[1..].parse().unwrap();
    let last = format!("S{} N {ends} {handle}", epoch + 1);
    for key in redis.tell::<Vec<String>>(&format!("KEYS {HERS}:*")) {
        let () = redis.tell(&format!("DEL {key}"));
    }
    let mut set = redis::cmd("HSET");
    let () = set.arg(HERS).arg(&smid).arg(last).query(&mut redis.client().get_connection().unwrap()).unwrap();
    romeo.say(&message(3));
    juliet.gets(&[3]);
    eventually("all is there", || bodies(&written(&redis)) == [1, 2, 3]);
    drop(other);
    all_to(3, &one, &smid);
}

/// Her place, and her session, are at the node where she was.
#[test]
fn a_session_that_has_come_in_what_was_lost_stays() {
    let mut redis = Redis::start();
    let [(one, mut romeo, _), (other, _juliet, smid)] = two(&redis, "durable");
    romeo.is_told(2);
    let () = redis.tell("SAVE");
    romeo.say(&message(2));
    let mut juliet = all_is_at(&one, &smid);
    starts_again(&mut redis);
    eventually("it is at that node", || bodies(&written(&redis)) == [1, 2]);
    romeo.say(&message(3));
    juliet.gets(&[3]);
    eventually("all is there", || bodies(&written(&redis)) == [1, 2, 3]);
    drop(one);
    all_to(3, &other, &smid);
}

/// What it has in memory may be more than what was written down.
#[test]
fn a_node_is_not_taken_for_dead_before_it_could_say_that_it_lives() {
    let mut redis = Redis::with_append_only_file();
    let [(one, mut romeo, _), (other, _juliet, smid)] = two_with(&redis, &["--promise=durable", "--dead-after=3"]);
    romeo.is_told(2);
    redis.kill();
    thread::sleep(Duration::from_secs(4));
    other.hang();
    redis.start_again();
    let lives = |name| redis.tell::<bool>(&format!("EXISTS xmpp-sm-node:{name}"));
    eventually("that node lives", || lives("one"));
    assert!(!lives("other"));
    let failed = Client::log_in(&one, JULIET).resume(&smid, 1);
    assert!(failed.contains("internal-server-error"), "{failed}");
    other.signal("-CONT");
    romeo.say(&message(2));
    all_is_at(&one, &smid);
}
