//! Nodes whose engine, clock or name is not as it should be, and one that hangs: nothing is lost in silence, and streams go
//! on or stop reading.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::{
    ASK, BIND, Client, JULIET, Node, PATIENCE, ROMEO, all_is_at, assert_all_is_there, bodies, example, message,
    resumed_at, two, two_with,
};
use crate::server::Redis;

/// Longer than a node counts as alive that says nothing. On a busy machine it may have to wait before it can say something,
/// but not so long.
const LONG: Duration = Duration::from_secs(12);
const DEAD_AFTER: &str = "--dead-after=10";

#[test]
fn without_memory_streams_go_on_and_nothing_is_confirmed_until_there_is_some() {
    for promise in ["parked", "durable"] {
        let redis = Redis::start();
        let [(one, mut romeo, _), (_other, mut juliet, _)] = two_with(&redis, &["--promise", promise, DEAD_AFTER]);
        // If that were still to be written down, he would not be read any more.
        romeo.is_told(2);
        let () = redis.tell("CONFIG SET maxmemory 1");
        romeo.say(&message(2));
        let answer = romeo.ask(ASK, "<a ");
        assert!(answer.contains("h='2'"), "message 2 is nowhere yet: {answer}");
        // Nobody takes a node for dead, and a new session is refused.
        thread::sleep(LONG);
        let mut third = Client::log_in(&one, ROMEO);
        third.say(BIND);
        assert!(third.until_closed().contains("resource-constraint"));
        let () = redis.tell("CONFIG SET maxmemory 0");
        juliet.gets(&[2]);
        romeo.is_told(3);
    }
}

#[test]
fn a_client_that_comes_back_while_there_is_no_memory_asks_again() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (_other, _juliet, smid)] = two(&redis, "durable");
    romeo.say(&message(2));
    romeo.is_told(3);
    let () = redis.tell("CONFIG SET maxmemory 1");
    let failed = Client::log_in(&one, JULIET).resume(&smid, 1);
    assert!(failed.contains("internal-server-error"), "{failed}");
    let () = redis.tell("CONFIG SET maxmemory 0");
    all_is_at(&one, &smid);
}

/// Bound inline, she would have lost it.
#[test]
fn a_client_that_comes_back_inline_while_there_is_no_memory_cannot_authenticate_yet() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (_other, _juliet, smid)] = two(&redis, "durable");
    romeo.say(&message(2));
    romeo.is_told(3);
    let () = redis.tell("CONFIG SET maxmemory 1");
    let mut juliet = Client::connect(&one);
    let response = format!("<initial-response>{JULIET}</initial-response>");
    let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='1'/><bind xmlns='urn:xmpp:bind:0'/>");
    juliet.say(&format!("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>{response}{resume}</authenticate>"));
    let said = juliet.until_closed();
    assert!(said.contains("<temporary-auth-failure ") && !said.contains("<success"), "{said}");
    assert!(said.ends_with("</failure></stream:stream>"), "{said}");
    let () = redis.tell("CONFIG SET maxmemory 0");
    all_is_at(&one, &smid);
}

#[test]
fn a_node_does_not_start_on_an_engine_that_evicts_takes_no_writes_or_keeps_it_out() {
    let redis = Redis::start();
    let refused = |url: &str| Node::try_start(example("server"), url, "one", &[]).err().unwrap();
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let () = redis.tell(&format!("CONFIG SET maxmemory-policy {policy}"));
        let said = refused(&redis.url());
        assert!(said.contains(policy) && said.contains("noeviction"), "{said}");
    }
    let () = redis.tell("CONFIG SET maxmemory-policy noeviction");
    let () = redis.tell("REPLICAOF 127.0.0.1 1");
    let said = refused(&redis.url());
    assert!(said.to_lowercase().contains("read only"), "{said}");
    let () = redis.tell("REPLICAOF NO ONE");
    let () = redis.tell("CONFIG SET requirepass secret");
    for url in [redis.url(), format!("{}?pass=wrong", redis.url())] {
        let said = refused(&url);
        assert!(said.contains("NOAUTH") || said.to_lowercase().contains("password"), "{said}");
        assert!(!said.contains("secret"));
    }
    let node = Node::try_start(example("server"), &format!("{}?pass=secret", redis.url()), "one", &[]).unwrap();
    Client::log_in(&node, ROMEO).begin();
}

#[test]
fn what_is_evicted_all_the_same_is_written_once_more_or_waits_for_its_user() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, mut juliet, smid)] = two(&redis, "durable");
    // What was written down of her session, and not its record.
    let hers: Vec<String> = redis.tell("KEYS xmpp-sm-sessions:{juliet@localhost}:*");
    assert_eq!(hers.len(), 1);
    let () = redis.tell(&format!("DEL {}", hers[0]));
    romeo.say(&message(2));
    juliet.gets(&[2]);
    drop(other);
    let mut juliet = all_is_at(&one, &smid);
    let resource = redis.tell::<Vec<String>>("HKEYS xmpp-sm-place:{juliet@localhost}").remove(0);
    romeo.say(&format!(
        "<iq type='get' id='open' to='juliet@localhost/{resource}'><query xmlns='jabber:iq:version'/></iq>"
    ));
    juliet.until(|read| read.contains("id='open'"));
    // Now the store knows of no session of hers. She is told by the end of her stream, and asks for it in vain.
    for key in redis.tell::<Vec<String>>("KEYS xmpp-sm-sessions:{juliet@localhost}*") {
        let () = redis.tell(&format!("DEL {key}"));
    }
    romeo.say(&message(3));
    let last = juliet.until_closed();
    assert_eq!(bodies(&last), [0; 0], "{last}");
    let mut juliet = Client::log_in(&one, JULIET);
    let failed = juliet.resume(&smid, 1);
    assert!(failed.contains("item-not-found"), "{failed}");
    juliet.begins_with(&[1, 2, 3]);
    // She has not answered that, and nobody else does.
    assert!(romeo.until(|read| read.contains("</error>")).contains("id='open'"));
}

#[test]
fn scripts_that_are_lost_are_given_again_by_nodes() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, mut juliet, smid)] = two(&redis, "durable");
    let () = redis.tell("SCRIPT FLUSH");
    romeo.say(&message(2));
    juliet.gets(&[2]);
    let () = redis.tell("SCRIPT FLUSH");
    drop(other);
    all_is_at(&one, &smid);
}

#[test]
fn a_primary_that_is_a_replica_for_a_while_loses_nothing() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (_other, mut juliet, smid)] = two(&redis, "durable");
    let () = redis.tell("REPLICAOF 127.0.0.1 1");
    romeo.say(&message(2));
    let failed = Client::log_in(&one, JULIET).resume(&smid, 1);
    assert!(failed.contains("internal-server-error"), "{failed}");
    let () = redis.tell("REPLICAOF NO ONE");
    // That was asked of her node: she has to come back.
    let last = juliet.until_closed();
    assert_eq!(bodies(&last), [0; 0], "{last}");
    all_is_at(&one, &smid);
}

/// Another node has claimed the session meanwhile.
#[test]
fn a_node_that_hangs_finds_that_it_has_lost_the_session() {
    let redis = Redis::start();
    let [(one, mut romeo, _), (other, mut old, smid)] = two(&redis, "durable");
    other.hang();
    romeo.say(&message(2));
    // What she has sent to it she sends to the next, too.
    let answer = "<message to='romeo@localhost' type='chat'><body>9</body></message>";
    old.say(answer);
    let mut juliet = all_is_at(&one, &smid);
    juliet.say(answer);
    other.signal("-CONT");
    let last = old.until_closed();
    assert_eq!(bodies(&last), [0; 0], "it has nothing to say any more: {last}");
    for number in 3..10 {
        romeo.say(&message(number));
    }
    juliet.gets(&[3, 4, 5, 6, 7, 8, 9]);
    // It was handled here and there: once each, at most.
    thread::sleep(Duration::from_secs(1));
    let got = bodies(&romeo.ask(ASK, "<a "));
    assert!([&[9][..], &[9, 9]].contains(&&*got), "{got:?}");
}

#[test]
fn two_nodes_of_one_name_are_one_when_the_first_has_hung() {
    let redis = Redis::start();
    let [(_one, mut romeo, _), (other, mut old, smid)] = two(&redis, "durable");
    other.hang();
    // It starts when the first has counted as dead.
    let second = Node::start(&redis, "other", "durable");
    other.signal("-CONT");
    romeo.say(&message(2));
    let (mut juliet, mut resumed) = resumed_at(&second, &smid);
    if bodies(&resumed).len() < 2 {
        resumed += &juliet.until(|read| read.contains("<body>2</body>"));
    }
    // The first may just have it, and not have struck it off.
    let came = bodies(&resumed);
    assert!([&[1, 2][..], &[1, 2, 2]].contains(&&*came), "{resumed}");
    // Now it has something to write down.
    old.say("<presence/>");
    let last = old.until_closed();
    assert!([&[][..], &[2]].contains(&&*bodies(&last)), "{last}");
}

/// It has her session, and can neither write down nor say that she has it again. She is not left without an answer: her
/// connection ends when a login has to.
#[test]
fn a_client_that_comes_back_to_its_own_node_is_not_kept_waiting_while_the_engine_is_away() {
    let mut redis = Redis::with_append_only_file();
    let one = Node::start(&redis, "one", "durable");
    let mut juliet = Client::log_in(&one, JULIET);
    let smid = juliet.begin();
    let mut again = Client::log_in(&one, JULIET);
    redis.kill();
    drop(juliet);
    let begun = Instant::now();
    again.say(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='1'/>"));
    assert_eq!(again.until_closed(), "", "nothing that is not written down goes out");
    assert!(begun.elapsed() < PATIENCE, "it is still open");
    redis.start_again();
    resumed_at(&one, &smid);
}

/// The Debian package `faketime` has it.
fn faketime() -> PathBuf {
    let libraries = std::fs::read_dir("/usr/lib").unwrap().map(|dir| dir.unwrap().path());
    let mut places = libraries.map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
    places.find(|place| place.exists()).expect("libfaketime: apt-get install faketime")
}

/// Parked sessions count their time by the clocks of both nodes: one may end early, and waits for its user then. The rest goes
/// by the engine's clock.
#[test]
fn a_clock_that_is_an_hour_off_loses_nothing() {
    for (ahead, is_stopped) in [("-3600s", false), ("+3600s", false), ("+3600s", true), ("-3600s", true)] {
        let redis = Redis::start();
        let one = Node::start(&redis, "one", "durable");
        let mut server = example("server");
        server.env("LD_PRELOAD", faketime()).env("FAKETIME", ahead).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let other = Node::try_start(server, &redis.url(), "other", &["--promise", "durable"]).unwrap();
        let mut romeo = Client::log_in(&one, ROMEO);
        romeo.begin();
        let mut juliet = Client::log_in(&other, JULIET);
        let smid = juliet.begin();
        romeo.say(&message(1));
        juliet.gets(&[1]);
        if is_stopped {
            other.stop()
        } else {
            drop(other)
        }
        romeo.say(&message(2));
        let mut juliet = Client::log_in(&one, JULIET);
        let mut came = juliet.resume(&smid, 1);
        if came.contains("item-not-found") {
            assert_eq!((ahead, is_stopped), ("-3600s", true), "its time has not passed");
            juliet.begins_with(&[1, 2]);
        } else {
            if bodies(&came).len() < 2 {
                came += &juliet.until(|read| read.contains("<body>2</body>"));
            }
            assert_all_is_there(&came);
        }
    }
}
