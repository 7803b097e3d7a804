//! `RedisStore`, on a `redis-server` that the tests start, pause, kill and start again.

#![allow(unused_must_use, reason = "most sessions of these tests end with their engine")]

mod cluster;
mod conformance;
#[path = "../support/examples.rs"]
mod examples;
mod late;
mod nodes;
mod parking;
mod rights;
mod server;
mod transfer;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use late::{Fault, Faulty};
use redis::Value;
use redis::aio::ConnectionLike;
use server::{PATIENCE, Redis};
use xmpp_sm::{
    AsyncSessionStore, AtCap, Config, Counter, Lookup, RedisStore, RedisStoreError, Registered, Registration, SmId,
    StaleH,
};

const JULIET: &str = "juliet@example.com";
const ROMEO: &str = "romeo@example.net";
const KEY: &str = "xmpp-sm:{juliet@example.com}";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn count(n: usize) -> NonZeroUsize {
    n.try_into().unwrap()
}

fn id(n: u32) -> SmId {
    SmId::new(&format!("id{n}")).unwrap()
}

fn store<C: ConnectionLike + Clone + Send + Sync>(connection: C) -> RedisStore<C> {
    let stale_h = StaleH { enabled: true, ..StaleH::default() };
    RedisStore::new(connection, &Config::default().stale_h(stale_h))
}

/// The calls that the tests make most.
trait Calls: AsyncSessionStore<Handle = Bytes, Error = RedisStoreError> {
    async fn add(&self, n: u32, owner: &str, handle: &str) -> Result<Registered<Bytes>, RedisStoreError> {
        self.register(&id(n), &owner.into(), handle.to_owned().into(), Instant::now()).await
    }

    async fn added(&self, n: u32, owner: &str, handle: &str) -> Registration {
        self.add(n, owner, handle).await.unwrap().registration
    }

    /// `s:` and the handle, `h:` and the h, or nothing.
    async fn find(&self, n: u32, owner: &str) -> Result<String, RedisStoreError> {
        Ok(match self.lookup(&id(n), owner, Instant::now()).await? {
            Lookup::Session(record) => format!("s:{}", std::str::from_utf8(&record.handle).unwrap()),
            Lookup::StaleH(h) => format!("h:{}", h.get()),
            Lookup::NotFound => String::new(),
        })
    }

    async fn found(&self, n: u32, owner: &str) -> String {
        self.find(n, owner).await.unwrap()
    }

    async fn end(&self, registration: &Registration, h: u32) -> Result<(), RedisStoreError> {
        self.retire(registration, Counter::new(h), Instant::now()).await
    }
}

impl<S: AsyncSessionStore<Handle = Bytes, Error = RedisStoreError>> Calls for S {}

#[tokio::test]
async fn an_owner_has_as_many_sessions_as_it_may_have_and_the_oldest_makes_room() {
    let redis = Redis::start();
    let few = store(redis.connect().await).per_owner(count(2));
    let first = few.added(1, JULIET, "a").await;
    few.added(2, JULIET, "b").await;
    // The first is the youngest now, and one more than before it is not.
    let again = few.add(1, JULIET, "c").await.unwrap();
    assert_eq!(again.displaced, None);
    let displaced = few.add(3, JULIET, "d").await.unwrap().displaced.unwrap();
    assert_eq!((displaced.registration.smid(), &*displaced.handle), (&id(2), &b"b"[..]));
    assert_eq!(few.found(2, JULIET).await, "");
    few.end(&displaced.registration, 7).await.unwrap();
    assert_eq!(few.found(2, JULIET).await, "h:7");
    few.end(&first, 9).await.unwrap();
    assert_eq!(few.found(1, JULIET).await, "s:c");

    let refuses = store(redis.connect().await).per_owner(count(2)).at_cap(AtCap::Refuse);
    let before: Vec<u8> = redis.tell(&format!("DUMP {KEY}"));
    let refused = refuses.add(4, JULIET, "e").await.unwrap_err();
    assert!(matches!(refused, RedisStoreError::OwnerFull) && !refused.may_have_happened(), "{refused:?}");
    assert_eq!(redis.tell::<Vec<u8>>(&format!("DUMP {KEY}")), before);
    refuses.added(3, JULIET, "f").await;
    refuses.added(4, ROMEO, "g").await;
}

#[tokio::test]
async fn the_oldest_stale_h_of_an_owner_go() {
    let redis = Redis::start();
    let store = store(redis.connect().await).stale_per_owner(count(3));
    for n in 0..10 {
        let registration = store.added(n, JULIET, "a").await;
        store.end(&registration, n).await.unwrap();
    }
    for n in 0..10 {
        let expected = if n < 7 { String::new() } else { format!("h:{n}") };
        assert_eq!(store.found(n, JULIET).await, expected);
    }
    assert_eq!(redis.tell::<u32>(&format!("HLEN {KEY}")), 4, "three and the epoch");
}

#[tokio::test]
async fn what_is_of_no_use_any_more_expires() {
    let redis = Redis::start();
    let life = Duration::from_millis(300);
    let store = store(redis.connect().await).session_ttl(life);
    let for_ever = self::store(redis.connect().await);
    let registration = for_ever.added(1, JULIET, "a").await;
    assert_eq!(redis.tell::<i64>(&format!("PTTL {KEY}")), -1);
    store.added(2, JULIET, "b").await;
    assert_eq!(redis.tell::<i64>(&format!("PTTL {KEY}")), -1, "the first would go with it");
    for_ever.end(&registration, 7).await.unwrap();
    let hour = 3_600_000;
    let left: i64 = redis.tell(&format!("PTTL {KEY}"));
    assert!((hour - 60_000..=hour + 10).contains(&left), "{left}");
    assert_eq!(store.found(2, JULIET).await, "s:b");
    tokio::time::sleep(life + Duration::from_millis(10)).await;
    assert_eq!(store.found(2, JULIET).await, "");
    assert_eq!(store.found(1, JULIET).await, "h:7");
    // The next that writes takes it out.
    store.added(3, JULIET, "c").await;
    assert!(!redis.tell::<bool>(&format!("HEXISTS {KEY} id2")));
}

#[tokio::test]
async fn what_a_dead_node_had_is_listed_and_removed() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let others = self::store(redis.connect().await).prefix("xmpp-sm*");
    others.added(1, JULIET, "node-1/1").await;
    let odd = ["}", "{}", "%7D", "a{b}c%25@example.com"];
    for owner in odd {
        store.added(1, owner, "node-1/1").await;
    }
    for n in 0..2000 {
        store.added(n, &format!("user{}@example.com", n / 4), &format!("node-{}/{n}", n % 2 + 1)).await;
    }
    let registration = store.added(1, JULIET, "node-1/gone").await;
    store.end(&registration, 1).await.unwrap();
    let () = redis.tell("SET xmpp-sm:{foreign} 1");
    let () = redis.tell("HSET xmpp-sm:{foreign-hash} a b");
    let list = async || {
        let (mut found, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (sessions, next) = store.sessions_at(b"node-1/", at).await.unwrap();
            found.extend(sessions);
            cursor = next;
        }
        found
    };
    let found = list().await;
    assert_eq!(found.len(), 1000 + odd.len());
    for session in &found {
        assert!(session.handle.starts_with(b"node-1/"));
        let known = store.lookup(session.registration.smid(), session.registration.owner(), Instant::now()).await;
        assert_eq!(known.unwrap(), Lookup::Session(session.clone()));
    }
    // One has come back meanwhile, to another node.
    store.added(1, "}", "node-2/new").await;
    for session in found {
        store.remove(&session.registration).await.unwrap();
    }
    assert_eq!(list().await, []);
    assert_eq!(store.found(1, "}").await, "s:node-2/new");
    assert_eq!(store.found(3, "user0@example.com").await, "s:node-2/3");
    assert_eq!(others.found(1, JULIET).await, "s:node-1/1");
}

#[tokio::test]
async fn foreign_data_is_an_error_and_is_left_as_it_is() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.added(1, JULIET, "a").await;
    for foreign in [
        "SET KEY 1",
        "RPUSH KEY a",
        "HSET KEY a b",
        "HSET KEY id1 b",
        "HSET KEY id1 S1",
        "EVAL return(redis.call('HSET',KEYS[1],'','1x')) 1 KEY",
        "EVAL return(redis.call('HSET',KEYS[1],'','1','id1','S1_N_2_3')) 1 KEY",
        "EVAL return(redis.call('HSET',KEYS[1],'','','id1','x')) 1 KEY",
    ] {
        let () = redis.tell(&format!("DEL {KEY}"));
        let _: Value = redis.tell(&foreign.replace("KEY ", &format!("{KEY} ")).replace(" KEY", &format!(" {KEY}")));
        let before: Vec<u8> = redis.tell(&format!("DUMP {KEY}"));
        let errors = [
            store.add(1, JULIET, "b").await.map(drop),
            store.find(1, JULIET).await.map(drop),
            store.end(&registration, 7).await,
            store.remove(&registration).await,
        ];
        for (at, error) in errors.into_iter().enumerate() {
            assert!(matches!(error, Err(RedisStoreError::Foreign)), "{foreign}, {at}: {error:?}");
        }
        assert_eq!(redis.tell::<Vec<u8>>(&format!("DUMP {KEY}")), before, "{foreign}");
    }
    store.added(1, ROMEO, "others are not touched").await;
}

#[tokio::test]
async fn without_memory_new_sessions_are_refused_and_old_ones_go_on_and_go() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let (first, second) = (store.added(1, JULIET, "a").await, store.added(2, JULIET, "b").await);
    let () = redis.tell("CONFIG SET maxmemory 1");
    let before: Vec<u8> = redis.tell(&format!("DUMP {KEY}"));
    for owner in [JULIET, ROMEO] {
        let error = store.add(3, owner, "c").await.unwrap_err();
        assert!(matches!(error, RedisStoreError::NoMemory) && !error.may_have_happened(), "{error:?}");
    }
    assert_eq!(redis.tell::<Vec<u8>>(&format!("DUMP {KEY}")), before);
    assert_eq!(store.found(1, JULIET).await, "s:a");
    store.end(&first, 7).await.unwrap();
    assert_eq!(store.found(1, JULIET).await, "h:7");
    store.remove(&second).await.unwrap();
    assert_eq!(store.found(2, JULIET).await, "");
    let () = redis.tell("CONFIG SET maxmemory 0");
    store.added(3, JULIET, "c").await;
}

#[tokio::test]
async fn a_replica_is_read_and_says_that_it_takes_no_writes() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.added(1, JULIET, "a").await;
    let () = redis.tell("REPLICAOF 127.0.0.1 1");
    assert_eq!(store.found(1, JULIET).await, "s:a");
    let errors = [
        store.add(2, JULIET, "b").await.map(drop),
        store.end(&registration, 7).await,
        store.remove(&registration).await,
    ];
    for error in errors.map(Result::unwrap_err) {
        assert!(matches!(error, RedisStoreError::ReadOnly) && !error.may_have_happened(), "{error:?}");
    }
    assert_eq!(store.found(1, JULIET).await, "s:a");
}

#[tokio::test]
async fn scripts_that_are_lost_are_given_again() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let flush = || {
        let () = redis.tell("SCRIPT FLUSH");
    };
    flush();
    let registration = store.added(1, JULIET, "a").await;
    flush();
    assert_eq!(store.found(1, JULIET).await, "s:a");
    flush();
    store.end(&registration, 7).await.unwrap();
    flush();
    store.remove(&registration).await.unwrap();
    flush();
    assert_eq!(store.sessions_at(b"", 0).await.unwrap(), (vec![], None));
}

#[tokio::test]
async fn a_password_that_is_missing_or_wrong_and_a_right_that_is_missing_are_denials() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let () = redis.tell("ACL SETUSER default -evalsha");
    let error = store.find(1, JULIET).await.unwrap_err();
    assert!(matches!(error, RedisStoreError::Denied(_)) && !error.may_have_happened(), "{error:?}");
    let () = redis.tell("CONFIG SET requirepass secret");
    // Whoever is in stays in; whoever comes is asked.
    let error = match redis.connect_within(PATIENCE).await {
        Err(error) => error.into(),
        Ok(connection) => self::store(connection).find(1, JULIET).await.unwrap_err(),
    };
    assert!(matches!(error, RedisStoreError::Denied(_)), "{error:?}");
    assert!(!format!("{store:?}").contains("secret"));
}

#[tokio::test]
async fn an_engine_that_is_silent_or_away_is_no_absent_session() {
    let mut redis = Redis::with_append_only_file();
    let store = store(redis.connect_within(PATIENCE).await.unwrap());
    let registration = store.added(1, JULIET, "a").await;
    store.added(2, JULIET, "b").await;
    // Its script is there, or what is paused would ask for it.
    let warm = store.added(3, JULIET, "c").await;
    store.end(&warm, 3).await.unwrap();
    let in_time = |begun: Instant| assert!(begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());

    redis.pause();
    let begun = Instant::now();
    let error = store.find(1, JULIET).await.unwrap_err();
    assert!(matches!(error, RedisStoreError::TimedOut), "{error:?}");
    let error = store.end(&registration, 7).await.unwrap_err();
    assert!(matches!(error, RedisStoreError::TimedOut) && error.may_have_happened(), "{error:?}");
    in_time(begun);
    redis.wake();
    // What nobody waited for was done all the same, and is done once.
    assert_eq!(eventually(async || store.find(1, JULIET).await).await, "h:7");
    store.end(&registration, 8).await.unwrap();
    assert_eq!(store.found(1, JULIET).await, "h:7");

    redis.kill();
    let begun = Instant::now();
    for _ in 0..3 {
        let error = store.find(2, JULIET).await.unwrap_err();
        assert!(matches!(error, RedisStoreError::Unavailable(_) | RedisStoreError::TimedOut), "{error:?}");
        assert!(error.may_have_happened());
    }
    in_time(begun);
    redis.start_again();
    // With its append-only file it has forgotten nothing.
    assert_eq!(eventually(async || store.find(2, JULIET).await).await, "s:b");
    assert_eq!(store.found(1, JULIET).await, "h:7");
}

/// And a session of before ends nothing of afterwards.
#[tokio::test]
async fn an_engine_that_has_lost_everything_gives_higher_epochs() {
    let mut redis = Redis::start();
    let store = store(redis.connect().await);
    let mut old = Vec::new();
    for _ in 0..100 {
        old.push(store.added(1, JULIET, "a").await);
    }
    redis.kill();
    redis.start_again();
    assert_eq!(eventually(async || store.find(1, JULIET).await).await, "");
    let new = store.added(1, JULIET, "b").await;
    for old in old {
        assert!(old.epoch() < new.epoch());
        store.end(&old, 99).await.unwrap();
        store.remove(&old).await.unwrap();
    }
    assert_eq!(store.found(1, JULIET).await, "s:b");
}

/// Or it is another engine, whose clock is behind.
#[tokio::test]
async fn a_clock_that_was_set_back_gives_higher_epochs_all_the_same() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let mut last = store.added(1, JULIET, "a").await.epoch().get() + 600_000_000;
    let _: i64 = redis.tell(&format!("EVAL return(redis.call('HSET',KEYS[1],'',ARGV[1])) 1 {KEY} {last}"));
    for n in 0..10 {
        let registration = store.added(n % 2, JULIET, "b").await;
        assert!(registration.epoch().get() > last);
        last = registration.epoch().get();
    }
}

/// The connection is made again by itself.
async fn eventually<T>(call: impl AsyncFn() -> Result<T, RedisStoreError>) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(found) => return found,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error:?}"),
        }
    }
}

/// A node asks for a registration, hears nothing and gives up. The client comes to another node. Then the first command
/// arrives.
#[tokio::test]
async fn a_registration_that_comes_too_late_is_void() {
    let redis = Redis::start();
    let mut connection = Faulty::new(redis.connect().await);
    let (slow, other) = (store(connection.clone()), store(redis.connect().await));
    for is_known in [false, true] {
        // Its script is there, and it has seen the engine's time, or not.
        if is_known {
            slow.added(9, ROMEO, "x").await;
        }
        connection.set(Fault::Held);
        let error = slow.add(1, JULIET, "slow").await.unwrap_err();
        assert!(matches!(error, RedisStoreError::TimedOut) && error.may_have_happened(), "{error:?}");
        let registration = other.added(1, JULIET, "other").await;
        let replies = connection.arrive().await;
        assert_eq!(replies.len(), 1);
        assert!(format!("{replies:?}").contains("late"), "{replies:?}");
        assert_eq!(other.found(1, JULIET).await, "s:other");
        // Nor after that one has ended.
        connection.set(Fault::Held);
        slow.add(1, JULIET, "slow").await.unwrap_err();
        other.end(&registration, 7).await.unwrap();
        let again = other.added(2, JULIET, "other").await;
        other.remove(&again).await.unwrap();
        connection.arrive().await;
        assert_eq!(other.found(1, JULIET).await, "h:7");
        // Whoever still waits is served, whatever others have done.
        let registration = slow.added(1, JULIET, "slow").await;
        assert_eq!(other.found(1, JULIET).await, "s:slow");
        slow.remove(&registration).await.unwrap();
    }
}

/// A node is so far away that another one always registers a session of the owner first.
#[tokio::test]
async fn a_registration_has_its_turn_while_others_register() {
    let redis = Redis::start();
    let mut connection = Faulty::new(redis.connect().await);
    let (far, near) = (store(connection.clone()), store(redis.connect().await));
    for n in 0..10 {
        connection.set(Fault::Overtaken);
        far.added(n, JULIET, "far").await;
        assert_eq!(near.found(n, JULIET).await, "s:far");
    }
    // It does not keep its turn for ever: another session has come, and then one that was given up.
    for (seconds, found) in [(9, "s:far"), (11, "s:near")] {
        connection.set(Fault::OvertakenAndHeld);
        far.add(1, JULIET, "far").await.unwrap_err();
        near.added(1, JULIET, "near").await;
        let replies = connection.arrive_after(Duration::from_secs(seconds)).await;
        assert_eq!(replies.len(), 1);
        assert_eq!(near.found(1, JULIET).await, found);
    }
}

#[tokio::test]
async fn a_call_whose_reply_was_lost_is_made_again() {
    let redis = Redis::start();
    let connection = Faulty::new(redis.connect().await);
    let store = store(connection.clone());
    // The scripts are there: what is lost is the reply to a call.
    let warm = store.added(9, ROMEO, "x").await;
    store.end(&warm, 1).await.unwrap();
    store.remove(&warm).await.unwrap();
    connection.set(Fault::ReplyLost);
    store.add(1, JULIET, "a").await.unwrap_err();
    connection.set(Fault::None);
    assert_eq!(store.found(1, JULIET).await, "s:a", "it was carried out");
    let registration = store.added(1, JULIET, "a").await;
    assert_eq!(redis.tell::<u32>(&format!("HLEN {KEY}")), 2, "one session and the epoch");
    connection.set(Fault::ReplyLost);
    store.end(&registration, 7).await.unwrap_err();
    connection.set(Fault::None);
    assert_eq!(store.found(1, JULIET).await, "h:7");
    store.end(&registration, 7).await.unwrap();
    assert_eq!(store.found(1, JULIET).await, "h:7");
    connection.set(Fault::ReplyLost);
    store.remove(&registration).await.unwrap_err();
    connection.set(Fault::None);
    store.remove(&registration).await.unwrap();
    assert_eq!(store.found(1, JULIET).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_at_once_give_one_owner_no_epoch_twice() {
    let redis = Redis::start();
    let mut nodes = Vec::new();
    for node in 0..4 {
        let store = Arc::new(store(redis.connect().await));
        nodes.push(tokio::spawn(async move {
            let mut epochs = Vec::new();
            for _ in 0..100 {
                epochs.push(store.added(node, JULIET, "a").await.epoch());
            }
            epochs
        }));
    }
    let mut all = Vec::new();
    for node in nodes {
        let epochs = node.await.unwrap();
        assert!(epochs.is_sorted());
        all.extend(epochs);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400);
}
