//! Sessions that are kept, where the engine does something wrong.

use std::time::Instant;

use bytes::Bytes;
use redis::Value;
use xmpp_sm::{AsyncSessionStore, Claim, Fence, Journal, Parking, RedisStoreError};

use super::{FIRST, Keeps, NEXT, change, dump, place, places};
use crate::server::{PATIENCE, Redis};
use crate::{Calls, JULIET, KEY, ROMEO, count, eventually, store};

#[tokio::test]
async fn without_memory_nothing_more_is_kept_and_what_is_there_is_claimed_and_goes() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let first = store.parked(1, JULIET, "snapshot").await;
    let [second, third, fourth] =
        [store.parked(2, JULIET, "b").await, store.parked(3, JULIET, "c").await, store.added(4, JULIET, "d").await];
    assert_eq!(store.note(&first, "one").await.unwrap(), Fence::Held);
    let () = redis.tell("CONFIG SET maxmemory 1");
    let before = dump(&redis);
    for error in [
        store.park(&first, NEXT, b"next").await,
        store.park(&fourth, FIRST, b"new").await,
        store.note(&first, "two").await,
        store.append(&[change(&first, "two"), change(&second, "two"), change(&first, "two")]).await,
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, RedisStoreError::NoMemory) && !error.may_have_happened(), "{error:?}");
        assert_eq!(dump(&redis), before);
    }
    let (first, kept) = store.taken(&first, "node-2/1").await;
    assert_eq!(kept, ["snapshot", "one"]);
    assert_eq!(store.found(1, JULIET).await, "s:node-2/1");
    assert_eq!(store.unpark(&first, FIRST).await.unwrap(), Fence::Held);
    assert_eq!(store.unpark(&fourth, FIRST).await.unwrap(), Fence::Held, "nor was there anything");
    store.end(&second, 7).await.unwrap();
    store.remove(&third).await.unwrap();
    assert_eq!(places(&redis).len(), 0);
    let () = redis.tell("CONFIG SET maxmemory 0");
    assert_eq!(store.park(&first, NEXT, b"next").await.unwrap(), Fence::Held);
    assert_eq!(store.taken(&first, "node-3/1").await.1, ["next"]);
}

/// It would be listed for ever, and nobody could claim it.
#[tokio::test]
async fn a_displaced_session_that_was_evicted_is_struck_off_by_whoever_looks_next() {
    let redis = Redis::start();
    let store = store(redis.connect().await).per_owner(count(1));
    let first = store.parked(1, JULIET, "one").await;
    assert_eq!(store.note(&first, "a journal").await.unwrap(), Fence::Held);
    for n in [2, 3] {
        store.parked(n, JULIET, "next").await;
        let listed = async || store.sessions_at(b"node-1/", 0).await.unwrap().0.len();
        assert_eq!(listed().await, 2, "what is there is left there");
        for place in places(&redis).iter().filter(|place| place.contains(":D")) {
            let () = redis.tell(&format!("DEL {place}"));
        }
        // That needs none.
        let () = redis.tell("CONFIG SET maxmemory 1");
        assert_eq!(listed().await, 1);
        assert_eq!(store.found(n, JULIET).await, "s:node-1/1");
        assert_eq!(redis.tell::<u32>(&format!("HLEN {KEY}")), 2, "one session and the epoch");
        let () = redis.tell("CONFIG SET maxmemory 0");
    }
    // With the last session the owner goes, if not at once.
    store.parked(4, JULIET, "last").await;
    let _: u32 = redis.tell(&format!("HDEL {KEY} id4"));
    for place in places(&redis) {
        let () = redis.tell(&format!("DEL {place}"));
    }
    assert_eq!(redis.tell::<i64>(&format!("PTTL {KEY}")), -1);
    assert_eq!(store.sessions_at(b"", 0).await.unwrap(), (vec![], None));
    assert!(redis.tell::<i64>(&format!("PTTL {KEY}")) > 0);
}

#[tokio::test]
async fn what_was_evicted_is_not_there_and_is_never_half_there() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.parked(1, JULIET, "snapshot").await;
    let other = store.parked(2, JULIET, "other").await;
    assert_eq!(store.note(&registration, "one").await.unwrap(), Fence::Held);
    let () = redis.tell(&format!("DEL {}+id1", place(&registration)));
    assert_eq!(store.take(&registration, "node-2/1").await.unwrap(), Claim::NotParked);
    assert_eq!(store.found(1, JULIET).await, "s:node-1/1");
    let error = store.append(&[change(&other, "two"), change(&registration, "two")]).await.unwrap_err();
    assert!(matches!(error, RedisStoreError::Evicted) && !error.may_have_happened(), "{error:?}");
    assert_eq!(places(&redis).len(), 1);
    assert_eq!(store.taken(&other, "node-2/1").await.1, ["other"]);
    // It is written once more: as it was, or anew.
    assert_eq!(store.park(&registration, FIRST, b"snapshot").await.unwrap(), Fence::Held);
    assert_eq!(store.note(&registration, "two").await.unwrap(), Fence::Held);
    let (registration, kept) = store.taken(&registration, "node-2/1").await;
    assert_eq!(kept, ["snapshot", "two"]);
    // So it is behind a claim, and with a displaced session.
    let () = redis.tell(&format!("DEL {KEY}:{}:C+id1", registration.epoch().get()));
    assert_eq!(store.take(&registration, "node-3/1").await.unwrap(), Claim::NotParked);
    let one = self::store(redis.connect().await).per_owner(count(1));
    let displaced = one.parked(1, ROMEO, "snapshot").await;
    one.added(2, ROMEO, "a").await;
    let () = redis.tell(&format!("DEL xmpp-sm:{{romeo@example.net}}:{}:D", displaced.epoch().get()));
    assert_eq!(one.take(&displaced, "node-2/1").await.unwrap(), Claim::Lost);
    one.remove(&displaced).await.unwrap();

    // As the engine does it.
    let () = redis.tell("FLUSHALL");
    let () = redis.tell("CONFIG SET maxmemory-policy allkeys-random");
    let used: String = redis.tell("INFO memory");
    let used: u64 = used.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse().ok()).unwrap();
    let () = redis.tell(&format!("CONFIG SET maxmemory {}", used + 400_000));
    let snapshot = "s".repeat(2000);
    let (mut sessions, mut journal_lost) = (Vec::new(), 0);
    for n in 0..300 {
        let owner = format!("user{n}@example.com");
        let registration = store.added(1, &owner, "node-1/1").await;
        let mut held = store.park(&registration, FIRST, snapshot.as_bytes()).await.unwrap() == Fence::Held;
        let mut changes = 0;
        while held && changes < 3 {
            match store.note(&registration, &changes.to_string()).await {
                Ok(Fence::Held) => changes += 1,
                Ok(Fence::Lost) => held = false,
                Err(error) => {
                    assert!(matches!(error, RedisStoreError::Evicted), "{error:?}");
                    journal_lost += 1;
                    held = false;
                }
            }
        }
        sessions.push((registration, changes));
    }
    let (mut whole, mut not_parked, mut lost) = (0, 0, 0);
    for (registration, changes) in sessions {
        match store.take(&registration, "node-2/1").await.unwrap() {
            Claim::Claimed(claimed) => {
                assert_eq!(claimed.snapshot, snapshot.as_bytes());
                let expected: Vec<_> = (0..changes).map(|n| Bytes::from(n.to_string())).collect();
                assert_eq!(claimed.journal, expected);
                whole += 1;
            }
            Claim::NotParked => not_parked += 1,
            Claim::Lost => lost += 1,
        }
    }
    assert!(whole > 0 && not_parked > 0 && lost > 0, "{whole} {not_parked} {lost}, {journal_lost}");
}

#[tokio::test]
async fn a_replica_keeps_and_gives_nothing() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.parked(1, JULIET, "snapshot").await;
    let () = redis.tell("REPLICAOF 127.0.0.1 1");
    let before = dump(&redis);
    for error in [
        store.park(&registration, NEXT, b"next").await.map(drop),
        store.unpark(&registration, NEXT).await.map(drop),
        store.note(&registration, "one").await.map(drop),
        store.take(&registration, "node-2/1").await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, RedisStoreError::ReadOnly) && !error.may_have_happened(), "{error:?}");
    }
    assert_eq!(dump(&redis), before);
}

#[tokio::test]
async fn scripts_that_are_lost_are_given_again_with_what_they_write() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let flush = || {
        let () = redis.tell("SCRIPT FLUSH");
    };
    let registration = store.added(1, JULIET, "node-1/1").await;
    flush();
    assert_eq!(store.park(&registration, FIRST, b"snapshot").await.unwrap(), Fence::Held);
    flush();
    assert_eq!(store.note(&registration, "one").await.unwrap(), Fence::Held);
    flush();
    let (registration, kept) = store.taken(&registration, "node-2/1").await;
    assert_eq!(kept, ["snapshot", "one"]);
    flush();
    assert_eq!(store.unpark(&registration, FIRST).await.unwrap(), Fence::Held);
}

#[tokio::test]
async fn without_the_right_nothing_is_kept_or_claimed() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.parked(1, JULIET, "snapshot").await;
    let before = dump(&redis);
    for (right, is_denial) in [("-evalsha", true), ("+@all -@write", false)] {
        let () = redis.tell(&format!("ACL SETUSER default {right}"));
        for error in [
            store.park(&registration, NEXT, b"next").await.map(drop),
            store.unpark(&registration, NEXT).await.map(drop),
            store.note(&registration, "one").await.map(drop),
            store.take(&registration, "node-2/1").await.map(drop),
        ] {
            let error = error.unwrap_err();
            // What a script may not do, the engine says in its own words.
            let is_other = matches!(error, RedisStoreError::Other(_)) && !is_denial;
            assert!(is_other || matches!(error, RedisStoreError::Denied(_)), "{right}: {error:?}");
        }
    }
    let () = redis.tell("ACL SETUSER default +@all");
    assert_eq!(dump(&redis), before);
}

#[tokio::test]
async fn an_engine_that_is_silent_or_away_loses_nothing_that_it_has_confirmed() {
    let mut redis = Redis::with_append_only_file();
    let store = store(redis.connect_within(PATIENCE).await.unwrap());
    let registration = store.parked(1, JULIET, "snapshot").await;
    assert_eq!(store.note(&registration, "one").await.unwrap(), Fence::Held);
    let other = store.parked(2, JULIET, "other").await;
    let _ = store.taken(&other, "node-2/1").await;
    let in_time = |begun: Instant| assert!(begun.elapsed() < 20 * PATIENCE, "{:?}", begun.elapsed());

    redis.pause();
    let begun = Instant::now();
    for error in [
        store.note(&registration, "two").await.map(drop),
        store.park(&registration, FIRST, b"snapshot").await.map(drop),
        store.take(&other, "node-3/1").await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, RedisStoreError::TimedOut) && error.may_have_happened(), "{error:?}");
    }
    in_time(begun);
    redis.wake();
    eventually(async || store.note(&registration, "two").await).await;

    redis.kill();
    let begun = Instant::now();
    for error in [
        store.note(&registration, "three").await.map(drop),
        store.park(&registration, NEXT, b"next").await.map(drop),
        store.take(&registration, "node-2/1").await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, RedisStoreError::Unavailable(_) | RedisStoreError::TimedOut), "{error:?}");
        assert!(error.may_have_happened());
    }
    in_time(begun);
    redis.start_again();
    assert_eq!(eventually(async || store.note(&registration, "three").await).await, Fence::Held);
    let (_, mut kept) = store.taken(&registration, "node-2/1").await;
    // Nobody waited for it, and it was made again.
    kept.dedup();
    assert_eq!(kept, ["snapshot", "one", "two", "three"]);
    assert_eq!(store.take(&other, "node-4/1").await.unwrap(), Claim::Lost, "it was claimed");
}

#[tokio::test]
async fn an_engine_that_has_lost_everything_holds_nothing_for_anybody() {
    let mut redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.parked(1, JULIET, "snapshot").await;
    redis.kill();
    redis.start_again();
    assert_eq!(eventually(async || store.note(&registration, "one").await).await, Fence::Lost);
    assert_eq!(store.park(&registration, NEXT, b"next").await.unwrap(), Fence::Lost);
    assert_eq!(store.take(&registration, "node-2/1").await.unwrap(), Claim::Lost);
    assert_eq!(redis.tell::<u32>("DBSIZE"), 0);
}

#[tokio::test]
async fn foreign_data_is_no_session_and_is_left_as_it_is() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    for (foreign, is_kept) in [
        ("HSET PLACE a b", true),
        ("SET JOURNAL 1", true),
        ("SET KEY 1", false),
        ("HSET KEY a b", false),
        ("EVAL return(redis.call('HSET',KEYS[1],'','1','id1','S1_N_2_3')) 1 KEY", false),
        ("EVAL return(redis.call('HSET',KEYS[1],'','1x')) 1 KEY", false),
    ] {
        let () = redis.tell("FLUSHALL");
        let other = store.parked(1, ROMEO, "other").await;
        let registration = store.parked(1, JULIET, "snapshot").await;
        let words = foreign.split(' ').map(|word| match word {
            "KEY" => KEY.to_owned(),
            "PLACE" => place(&registration),
            "JOURNAL" => format!("{}+id1", place(&registration)),
            word => word.to_owned(),
        });
        let () = redis.tell(&format!("DEL {}", if is_kept { place(&registration) } else { KEY.to_owned() }));
        let _: Value = redis.tell(&words.collect::<Vec<_>>().join(" "));
        let before = dump(&redis);
        for (at, error) in [
            store.note(&registration, "one").await.map(drop),
            store.append(&[change(&other, "two"), change(&registration, "two")]).await.map(drop),
            store.take(&registration, "node-2/1").await.map(drop),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(matches!(error, Err(RedisStoreError::Foreign)), "{foreign}, {at}: {error:?}");
        }
        assert_eq!(dump(&redis), before, "{foreign}");
        let parked = store.park(&registration, NEXT, b"next").await;
        if is_kept {
            // It is written elsewhere, and the session ends all the same.
            assert_eq!(parked.unwrap(), Fence::Held);
            store.end(&registration, 7).await.unwrap();
            assert_eq!(store.found(1, JULIET).await, "h:7");
            assert_eq!(dump(&redis)[1..], before[1..], "{foreign}");
        } else {
            assert!(matches!(parked, Err(RedisStoreError::Foreign)), "{foreign}: {parked:?}");
            assert_eq!(dump(&redis), before, "{foreign}");
        }
        assert_eq!(store.taken(&other, "node-2/1").await.1, ["other"], "others are not touched");
    }
}
