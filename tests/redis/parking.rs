//! Sessions that are kept: what the suite of every store cannot see.

mod failing;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use redis::aio::ConnectionLike;
use xmpp_sm::snapshot::Snapshot;
use xmpp_sm::{
    AsyncSessionStore, Change, Claim, Claimed, Config, Fence, Journal, Parking, Parts, Record, RedisStore,
    RedisStoreError, Registration, Revision, SessionParts, Side, SmId, StaleH,
};

use crate::late::{Fault, Faulty};
use crate::server::Redis;
use crate::{Calls, JULIET, KEY, ROMEO, count, store};

const FIRST: Revision = Revision::FIRST;
const NEXT: Revision = FIRST.next();

/// The calls that the tests make most.
trait Keeps: Journal<Handle = Bytes, Error = RedisStoreError> + Calls {
    async fn parked(&self, n: u32, owner: &str, snapshot: &str) -> Registration {
        let registration = self.added(n, owner, "node-1/1").await;
        assert_eq!(self.park(&registration, FIRST, snapshot.as_bytes()).await.unwrap(), Fence::Held);
        registration
    }

    async fn note(&self, registration: &Registration, change: &str) -> Result<Fence, RedisStoreError> {
        self.append(&[self::change(registration, change)]).await
    }

    async fn take(&self, registration: &Registration, handle: &str) -> Result<Claim, RedisStoreError> {
        self.claim(registration, handle.to_owned().into(), Instant::now()).await
    }

    /// What comes back, the snapshot first.
    async fn taken(&self, registration: &Registration, handle: &str) -> (Registration, Vec<String>) {
        let Claim::Claimed(claimed) = self.take(registration, handle).await.unwrap() else { panic!("it is kept") };
        let Claimed { registration, snapshot, journal } = claimed;
        let texts = [vec![snapshot], journal].concat();
        (registration, texts.into_iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect())
    }
}

impl<S: Journal<Handle = Bytes, Error = RedisStoreError>> Keeps for S {}

fn change<'a>(registration: &'a Registration, change: &'a str) -> Change<'a> {
    Change { registration, revision: FIRST, change: change.as_bytes() }
}

/// The snapshot of her session, under its first revision. What has a journal is there, with `+` and its SM-ID behind it.
fn place(registration: &Registration) -> String {
    format!("{KEY}:{}:1", registration.epoch().get())
}

/// All that is hers.
fn dump(redis: &Redis) -> Vec<(String, Vec<u8>)> {
    let mut keys: Vec<String> = redis.tell(&format!("KEYS {KEY}*"));
    keys.sort();
    keys.into_iter().map(|key| (redis.tell(&format!("DUMP {key}")), key)).map(|(dump, key)| (key, dump)).collect()
}

/// Of how many sessions something is kept.
fn places(redis: &Redis) -> Vec<String> {
    redis.tell("KEYS xmpp-sm:{*}:*")
}

fn store_without_stale_h<C: ConnectionLike + Clone + Send + Sync>(connection: C) -> RedisStore<C> {
    RedisStore::new(connection, &Config::default().stale_h(StaleH { enabled: false, ..StaleH::default() }))
}

#[tokio::test]
async fn what_is_kept_is_a_string_or_a_list_and_goes_with_its_session() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.parked(1, JULIET, "snapshot").await;
    assert_eq!(redis.tell::<String>(&format!("GET {}", place(&registration))), "snapshot");
    for change in ["one", "two"] {
        assert_eq!(store.note(&registration, change).await.unwrap(), Fence::Held);
    }
    let journal = format!("{}+id1", place(&registration));
    assert_eq!(redis.tell::<Vec<String>>(&format!("LRANGE {journal} 0 -1")), ["snapshot", "one", "two"]);
    assert_eq!(places(&redis), [journal]);
    assert_eq!(store.park(&registration, NEXT, b"next").await.unwrap(), Fence::Held);
    let next = format!("{KEY}:{}:2", registration.epoch().get());
    assert_eq!(redis.tell::<String>(&format!("GET {next}")), "next");
    assert_eq!(places(&redis), [next]);
    // Each has one, and each end takes it.
    let retired = store.parked(2, JULIET, "snapshot").await;
    let removed = store.parked(3, JULIET, "snapshot").await;
    store.parked(4, JULIET, "snapshot").await;
    let unparked = store.parked(5, JULIET, "snapshot").await;
    let claimed = store.taken(&store.parked(6, JULIET, "snapshot").await, "node-2/1").await.0;
    assert_eq!(places(&redis).len(), 6);
    store.end(&retired, 7).await.unwrap();
    assert_eq!(places(&redis).len(), 5);
    store.remove(&removed).await.unwrap();
    assert_eq!(places(&redis).len(), 4);
    store.added(4, JULIET, "node-2/1").await;
    assert_eq!(places(&redis).len(), 3);
    assert_eq!(store.unpark(&unparked, NEXT).await.unwrap(), Fence::Held);
    assert_eq!(places(&redis).len(), 2);
    store.remove(&claimed).await.unwrap();
    assert_eq!(places(&redis).len(), 1);
    store.remove(&registration).await.unwrap();
    assert_eq!(places(&redis).len(), 0);
}

#[tokio::test]
async fn a_displaced_session_is_kept_until_it_is_over_or_its_time_is() {
    let redis = Redis::start();
    for store in [store(redis.connect().await), store_without_stale_h(redis.connect().await)] {
        // However few stale h there may be: it is none.
        let store = store.per_owner(count(1)).stale_per_owner(count(1));
        let first = store.parked(1, JULIET, "snapshot").await;
        assert_eq!(store.note(&first, "one").await.unwrap(), Fence::Held);
        for n in 2..6 {
            store.added(n, JULIET, "node-2/1").await;
        }
        assert_eq!(store.found(1, JULIET).await, "");
        // It is among what its dead node had, and then among what the heir has.
        let at = async |node: &[u8]| {
            let (sessions, _) = store.sessions_at(node, 0).await.unwrap();
            let hers = |session: &Record<Bytes>| session.registration.smid() == first.smid();
            sessions.into_iter().filter(hers).map(|session| session.registration).collect::<Vec<_>>()
        };
        assert_eq!((at(b"node-1/").await, at(b"node-3/").await), (vec![first.clone()], vec![]));
        let (claimed, kept) = store.taken(&first, "node-3/1").await;
        assert_eq!(kept, ["snapshot", "one"]);
        assert_eq!((at(b"node-1/").await, at(b"node-3/").await), (vec![], vec![claimed.clone()]));
        // That one dies, too: it is claimed as it is listed.
        assert_eq!(store.take(&first, "node-4/1").await.unwrap(), Claim::Lost);
        let (again, kept) = store.taken(&claimed, "node-4/1").await;
        assert_eq!(
            (kept, at(b"node-4/").await),
            (["snapshot", "one"].map(str::to_owned).to_vec(), vec![again.clone()])
        );
        assert_eq!((store.found(1, JULIET).await, places(&redis).len()), (String::new(), 1));
        store.end(&claimed, 9).await.unwrap();
        assert_eq!(places(&redis).len(), 1, "another has it");
        store.end(&again, 7).await.unwrap();
        assert_eq!(places(&redis).len(), 0);
        // One that lives in memory makes room as ever.
        let registration = store.parked(7, JULIET, "snapshot").await;
        assert_eq!(store.unpark(&registration, NEXT).await.unwrap(), Fence::Held);
        store.added(8, JULIET, "node-2/1").await;
        assert_eq!(store.take(&registration, "node-3/1").await.unwrap(), Claim::Lost);
        let () = redis.tell("FLUSHALL");
    }
    // Where sessions have a time, it has what was left of its own, until it is claimed.
    let life = Duration::from_millis(300);
    let store = store(redis.connect().await).per_owner(count(1)).session_ttl(life);
    let first = store.parked(1, JULIET, "snapshot").await;
    store.added(2, JULIET, "node-2/1").await;
    assert_eq!(places(&redis).len(), 1);
    tokio::time::sleep(life + Duration::from_millis(10)).await;
    assert_eq!(places(&redis).len(), 0);
    assert_eq!(store.take(&first, "node-3/1").await.unwrap(), Claim::Lost);
}

/// One that a former release has claimed kept its epoch, and nobody else could claim it.
#[tokio::test]
async fn a_displaced_session_that_a_former_release_has_claimed_can_be_claimed() {
    let redis = Redis::start();
    let store = store(redis.connect().await).per_owner(count(1));
    for handle in ["node-1/2", "node-2/1"] {
        let first = store.parked(1, JULIET, "snapshot").await;
        assert_eq!(store.note(&first, "one").await.unwrap(), Fence::Held);
        store.added(2, JULIET, "node-1/1").await;
        let epoch = first.epoch().get();
        let record = format!("D{epoch} C{epoch} 0 node-1/2");
        let () =
            redis::cmd("HSET").arg(KEY).arg("id1").arg(record).query_async(&mut redis.connect().await).await.unwrap();
        let (claimed, kept) = store.taken(&first, handle).await;
        assert_eq!(kept, ["snapshot", "one"]);
        assert_eq!(store.taken(&first, handle).await.0, claimed, "it is made again");
        store.end(&claimed, 7).await.unwrap();
        assert_eq!((store.found(1, JULIET).await, places(&redis).len()), ("h:7".to_owned(), 0));
        let () = redis.tell("FLUSHALL");
    }
}

#[tokio::test]
async fn the_time_of_a_session_begins_anew_when_it_is_written_down_or_claimed() {
    let redis = Redis::start();
    let life = Duration::from_millis(600);
    let short = store(redis.connect().await).session_ttl(life);
    let for_ever = store(redis.connect().await);
    let (hour, some) = (3_600_000, 20);
    let left = |key: &str| redis.tell::<i64>(&format!("PTTL {key}"));
    let assert_short = || {
        let (of_hash, of_list) = (left(KEY), left(&places(&redis)[0]));
        assert!((hour - 60_000..=hour + some).contains(&of_hash), "{of_hash}");
        assert!((1..=600 + some).contains(&of_list), "{of_list}");
    };
    let mut registration = short.parked(1, JULIET, "snapshot").await;
    assert_short();
    assert_eq!(short.note(&registration, "one").await.unwrap(), Fence::Held);
    assert_short();
    for turn in 0..3 {
        tokio::time::sleep(life * 2 / 3).await;
        match turn {
            0 => assert_eq!(short.park(&registration, NEXT, b"next").await.unwrap(), Fence::Held),
            1 => registration = short.taken(&registration, "node-2/1").await.0,
            _ => assert_eq!(short.park(&registration, FIRST, b"last").await.unwrap(), Fence::Held),
        }
        assert_short();
    }
    // Whoever holds it says for how long.
    let registration = for_ever.taken(&registration, "node-3/1").await.0;
    assert_eq!((left(KEY), left(&places(&redis)[0])), (-1, -1));
    let registration = short.taken(&registration, "node-4/1").await.0;
    assert_eq!(left(KEY), -1, "an owner's other sessions may be there for ever");
    assert!((1..=600 + some).contains(&left(&places(&redis)[0])));
    tokio::time::sleep(life + Duration::from_millis(10)).await;
    assert_eq!(places(&redis).len(), 0);
    assert_eq!(short.take(&registration, "node-5/1").await.unwrap(), Claim::Lost);
    assert_eq!(short.park(&registration, NEXT, b"late").await.unwrap(), Fence::Lost);
    assert_eq!(short.note(&registration, "late").await.unwrap(), Fence::Lost);
    assert_eq!(places(&redis).len(), 0);
}

#[tokio::test]
async fn what_comes_late_changes_nothing() {
    let redis = Redis::start();
    let connection = Faulty::new(redis.connect().await);
    let (slow, other) = (store(connection.clone()), store(redis.connect().await));
    let lost = slow.parked(1, JULIET, "snapshot").await;
    // The scripts are there.
    assert_eq!(slow.note(&lost, "one").await.unwrap(), Fence::Held);
    let warm = slow.parked(2, JULIET, "warm").await;
    let _ = slow.taken(&warm, "node-1/1").await;
    connection.set(Fault::Held);
    for error in [
        slow.park(&lost, NEXT, b"late").await.map(drop),
        slow.note(&lost, "late").await.map(drop),
        slow.unpark(&lost, NEXT.next()).await.map(drop),
        slow.take(&lost, "node-3/1").await.map(drop),
    ] {
        assert!(matches!(error, Err(RedisStoreError::TimedOut)), "{error:?}");
    }
    let (held, kept) = other.taken(&lost, "node-2/1").await;
    assert_eq!(kept, ["snapshot", "one"]);
    let before = dump(&redis);
    let replies = connection.clone().arrive().await;
    assert_eq!(replies.len(), 4);
    assert!(replies.iter().all(|reply| format!("{reply:?}").contains("lost")), "{replies:?}");
    assert_eq!(dump(&redis), before);
    // Nor does a registration that was sent before a claim.
    let (held, _) = other.taken(&held, "node-5/1").await;
    slow.found(1, JULIET).await;
    connection.set(Fault::Held);
    slow.add(1, JULIET, "node-1/1").await.unwrap_err();
    let (held, _) = other.taken(&held, "node-6/1").await;
    let replies = connection.clone().arrive().await;
    assert!(replies.len() == 1 && format!("{replies:?}").contains("late"), "{replies:?}");
    assert_eq!(other.taken(&held, "node-4/1").await.1, ["snapshot", "one"]);
}

/// By an hour at most, and then epochs go on from the last one.
#[tokio::test]
async fn a_clock_that_is_set_back_gives_no_claim_an_epoch_twice() {
    let redis = Redis::start();
    let store = store(redis.connect().await);
    let registration = store.parked(1, JULIET, "snapshot").await;
    let future = registration.epoch().get() + 1_800_000_000;
    let () = redis.tell(&format!("HSET {KEY}  {future}"));
    let mut epochs = vec![future];
    let mut held = registration;
    for n in 0..5 {
        held = store.taken(&held, &format!("node-2/{n}")).await.0;
        epochs.push(held.epoch().get());
        epochs.push(store.added(2, JULIET, "another").await.epoch().get());
    }
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
}

#[tokio::test]
async fn a_call_that_keeps_and_whose_reply_was_lost_is_made_again() {
    let redis = Redis::start();
    let connection = Faulty::new(redis.connect().await);
    let store = store(connection.clone());
    let warm = store.parked(2, JULIET, "warm").await;
    assert_eq!(store.note(&warm, "one").await.unwrap(), Fence::Held);
    let _ = store.taken(&warm, "node-1/1").await;

    let registration = store.added(1, JULIET, "node-1/1").await;
    connection.set(Fault::ReplyLost);
    store.park(&registration, FIRST, b"snapshot").await.unwrap_err();
    store.note(&registration, "one").await.unwrap_err();
    connection.set(Fault::None);
    let before = dump(&redis);
    assert_eq!(store.park(&registration, FIRST, b"snapshot").await.unwrap(), Fence::Held);
    assert_eq!(dump(&redis), before, "what was appended stays");
    assert_eq!(store.note(&registration, "one").await.unwrap(), Fence::Held);

    connection.set(Fault::ReplyLost);
    store.take(&registration, "node-2/1").await.unwrap_err();
    connection.set(Fault::None);
    assert_eq!(store.found(1, JULIET).await, "s:node-2/1");
    let before = dump(&redis);
    let (claimed, kept) = store.taken(&registration, "node-2/1").await;
    assert_eq!(kept, ["snapshot", "one", "one"]);
    assert_eq!(dump(&redis), before);
    connection.set(Fault::ReplyLost);
    store.unpark(&claimed, FIRST).await.unwrap_err();
    connection.set(Fault::None);
    assert_eq!(store.unpark(&claimed, FIRST).await.unwrap(), Fence::Held);
    assert_eq!(places(&redis).len(), 1, "that of the other");
}

/// One node has all slots: what counts is that the engine asks.
#[tokio::test]
async fn on_a_cluster_all_of_an_owner_lies_together_and_sessions_apart_are_told_from_lost_ones() {
    let redis = Redis::cluster();
    let store = store(redis.connect().await).per_owner(count(2));
    let first = store.parked(1, JULIET, "snapshot").await;
    let second = store.parked(2, JULIET, "second").await;
    assert_eq!(store.append(&[change(&first, "two"), change(&second, "two")]).await.unwrap(), Fence::Held);
    let of_romeo = store.parked(1, ROMEO, "romeo").await;
    let error = store.append(&[change(&first, "two"), change(&of_romeo, "two")]).await.unwrap_err();
    assert!(matches!(error, RedisStoreError::Apart) && !error.may_have_happened(), "{error:?}");
    // A third displaces the first; each script reaches the lists of all.
    store.added(3, JULIET, "a").await;
    let (claimed, kept) = store.taken(&first, "node-2/1").await;
    assert_eq!(kept, ["snapshot", "two"]);
    store.end(&claimed, 7).await.unwrap();
    store.remove(&second).await.unwrap();
    assert_eq!(store.unpark(&of_romeo, NEXT).await.unwrap(), Fence::Held);
    assert_eq!(places(&redis).len(), 0);
}

/// With one byte more a claim makes a table of the owner's hash, and a session takes 160 bytes more.
const HANDLE: &str = "a-node/12345678/12345678xx";

/// Bytes of the engine's memory, by its own account: its allocator's rounding is in them.
struct Taken {
    /// All that it has of a session.
    whole: usize,
    /// After another node has claimed it and written it down.
    moved: usize,
    snapshot: usize,
    stanzas: usize,
    /// What these alone take, as one string under the owner's key.
    bare: usize,
}

impl Taken {
    /// A session is parked whose stanzas have so many bytes each, and came one every 20 seconds.
    async fn by(redis: &Redis, sizes: &[usize]) -> Self {
        let () = redis.tell("FLUSHALL");
        let (store, now) = (store(redis.connect().await), Instant::now());
        let smid = SmId::random().unwrap();
        let registered = store.register(&smid, &JULIET.into(), HANDLE.into(), now).await.unwrap();
        let registration = registered.registration;
        let stanza = |size| {
            let (start, end) = ("<message id='0123456789' to='juliet@example.com'><body>", "</body></message>");
            format!("{start}{}{end}", "x".repeat(size - start.len() - end.len()))
        };
        let ages = (0..sizes.len()).rev().map(|n| Duration::from_secs(20) * u32::try_from(n).unwrap());
        let unacked: Vec<_> = sizes.iter().map(|size| stanza(*size)).zip(ages.map(|age| now - age)).collect();
        let all: String = unacked.iter().map(|(stanza, _)| &**stanza).collect();
        let parts = Parts {
            smid: registration.smid().clone(),
            deadline: Some(now + Duration::from_secs(600)),
            resume_timeout: Some(Duration::from_secs(600)),
            h: 1234.into(),
            acked: 5678.into(),
            unacked,
        };
        let session = SessionParts { owner: JULIET.into(), side: Side::Server(parts), waiting: vec![] };
        let snapshot = Snapshot { session, host: b"balcony".to_vec() }.to_bytes(now, SystemTime::now());
        assert_eq!(store.park(&registration, FIRST, &snapshot).await.unwrap(), Fence::Held);
        let keys: Vec<String> = redis.tell("KEYS *");
        assert_eq!(keys.len(), 2);
        let usage = |key: &str| redis.tell::<usize>(&format!("MEMORY USAGE {key} SAMPLES 0"));
        let whole = keys.iter().map(|key| usage(key)).sum();
        // Claimed, its record is longest; written down again it is what it was.
        let claim = store.claim(&registration, HANDLE.into(), now).await.unwrap();
        let Claim::Claimed(Claimed { registration, .. }) = claim else { panic!("{claim:?}") };
        assert_eq!(store.park(&registration, FIRST, &snapshot).await.unwrap(), Fence::Held);
        let moved = redis.tell::<Vec<String>>("KEYS *").iter().map(|key| usage(key)).sum();
        let () = redis.tell("FLUSHALL");
        let () = redis::cmd("SET").arg(KEY).arg(&all).query(&mut redis.client().get_connection().unwrap()).unwrap();
        let bare = usage(KEY);
        Self { whole, moved, snapshot: snapshot.len(), stanzas: all.len(), bare }
    }
}

#[tokio::test]
async fn a_parked_session_takes_few_bytes_beside_its_stanzas() {
    let redis = Redis::start();
    let none = Taken::by(&redis, &[]).await;
    println!("no stanza: {} bytes, the snapshot {}", none.whole, none.snapshot);
    assert!(none.snapshot <= 104, "{}", none.snapshot);
    assert!(none.whole <= 384, "{}", none.whole);
    println!("the same after a move: {} bytes", none.moved);
    assert!(none.moved <= 400, "{}", none.moved);
    for stanzas in [1, 5, 10, 20, 50, 100_u32] {
        // Of another size in each turn, up to 1 000 bytes, for the allocator rounds a size up by nothing or by a quarter.
        let (mut beside, mut beside_bare, mut rounding, turns) = (0, 0, 0, 51);
        for turn in 0..turns {
            let sizes = vec![100 + 18 * turn; stanzas as usize];
            let taken = Taken::by(&redis, &sizes).await;
            let of_each = taken.snapshot - none.snapshot - taken.stanzas;
            // The string's head, two fields of the snapshot and their lengths; and of each stanza its length and its time.
            assert!(of_each <= 12 + 6 * sizes.len(), "{of_each} for {stanzas} stanzas");
            beside += taken.whole - taken.stanzas;
            beside_bare += taken.whole - taken.bare;
            rounding += taken.bare - taken.stanzas;
        }
        let [beside, beside_bare, rounding] = [beside, beside_bare, rounding].map(|sum| sum / turns);
        println!(
            "{stanzas} stanzas: {beside} bytes beside them, {beside_bare} beside a bare SET, which takes {rounding}"
        );
        assert!(stanzas > 10 || beside_bare <= 400, "{stanzas} stanzas: {beside_bare}");
    }
}
