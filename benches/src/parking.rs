//! What it costs that a session outlives its process: `RedisStore` beside the commands that it comes down to, on the same
//! connection to a `redis-server` of its own, over loopback.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;
use xmpp_sm::{
    AsyncSessionStore, Change, Claim, Config, Fence, Journal, Lookup, Parking, RedisStore, Registration, Revision, SmId,
};

/// A stanza, as `Ledger` writes it.
const STANZA: usize = 200;
const SNAPSHOT: &[u8] = &[7; 10 * STANZA];
/// How many one turn of a host's loop writes down.
const BATCH: usize = 100;
const ROUNDS: usize = 15;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (mut redis, connection) = start().await;
    let store = RedisStore::new(connection.clone(), &Config::default());
    take_over(&store, connection.clone()).await;
    for sessions in [1, 10, 100] {
        append(&store, connection.clone(), sessions).await;
    }
    let _ = redis.kill();
    let _ = redis.wait();
}

/// On a port that nobody uses. It writes nothing down.
async fn start() -> (Child, ConnectionManager) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]).stdout(Stdio::null());
    let redis = command.spawn().expect("redis-server");
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).expect("an address");
    loop {
        match ConnectionManager::new(client.clone()).await {
            Ok(connection) => return (redis, connection),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

type Store = RedisStore<ConnectionManager>;

async fn register(store: &Store, n: usize) -> Registration {
    let owner: Arc<str> = format!("user{n}@example.com").into();
    let smid = SmId::random().expect("random bytes");
    store.register(&smid, &owner, "node-1/1".into(), Instant::now()).await.expect("registered").registration
}

async fn park(store: &Store, registration: &Registration, revision: Revision) {
    let fence = store.park(registration, revision, SNAPSHOT).await.expect("parked");
    assert_eq!(fence, Fence::Held);
}

/// What the store does in a take-over, against one `GET` of the same bytes.
async fn take_over(store: &Store, mut connection: ConnectionManager) {
    const TIMES: usize = 300;
    let () = redis::cmd("SET").arg("raw").arg(SNAPSHOT).query_async(&mut connection).await.expect("SET");
    let (mut get, mut claim, mut whole) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..TIMES {
            let _: Vec<u8> = redis::cmd("GET").arg("raw").query_async(&mut connection).await.expect("GET");
        }
        get = get.min(begun.elapsed());

        let mut parked = Vec::new();
        for n in 0..2 * TIMES {
            let registration = register(store, 2 * round * TIMES + n).await;
            park(store, &registration, Revision::FIRST).await;
            parked.push(registration);
        }
        let (ones, others) = parked.split_at(TIMES);
        let begun = Instant::now();
        for registration in ones {
            let Ok(Claim::Claimed(_)) = store.claim(registration, "node-2/1".into(), Instant::now()).await else {
                unreachable!("it is parked")
            };
        }
        claim = claim.min(begun.elapsed());
        let begun = Instant::now();
        for registration in others {
            let found = store.lookup(registration.smid(), registration.owner(), Instant::now()).await;
            let Ok(Lookup::Session(record)) = found else { unreachable!("it is there") };
            let claimed = store.claim(&record.registration, "node-2/1".into(), Instant::now()).await;
            let Ok(Claim::Claimed(claimed)) = claimed else { unreachable!("it is parked") };
            let fence = store.unpark(&claimed.registration, Revision::FIRST).await;
            assert!(matches!(fence, Ok(Fence::Held)));
        }
        whole = whole.min(begun.elapsed());
    }
    let one = |time: Duration| time.as_secs_f64() * 1e6 / TIMES as f64;
    println!("GET {:.1} us", one(get));
    println!("claim {:.1} us: {:.2} GET", one(claim), one(claim) / one(get));
    println!("take-over (lookup, claim, unpark) {:.1} us: {:.2} GET", one(whole), one(whole) / one(get));
}

/// Turns of a loop that each write down [`BATCH`] stanzas for so many sessions, one change for each as `Ledger` makes it,
/// against an `RPUSH` for each stanza, all of a turn in one pipeline.
async fn append(store: &Store, mut connection: ConnectionManager, sessions: usize) {
    // After so many of its stanzas a session is parked anew.
    const TIMES: usize = 300;
    let stanza = [7_u8; STANZA];
    let change = stanza.repeat(BATCH / sessions);
    let mut parked = Vec::new();
    for n in 0..sessions {
        let registration = register(store, 1_000_000 + n).await;
        let key = format!("raw:{{{}}}", registration.owner());
        parked.push((registration, key));
    }
    let (mut raw, mut journal) = (Duration::MAX, Duration::MAX);
    let (mut raw_cpu, mut journal_cpu) = (f64::MAX, f64::MAX);
    let mut revision = Revision::FIRST;
    for _ in 0..ROUNDS {
        for (registration, key) in &parked {
            let mut pipe = redis::pipe();
            let pipe = pipe.del(key).ignore().rpush(key, SNAPSHOT).ignore();
            let () = pipe.query_async(&mut connection).await.expect("RPUSH");
            park(store, registration, revision).await;
        }
        let (begun, used) = (Instant::now(), cpu(&mut connection).await);
        for _ in 0..TIMES {
            let mut pipe = redis::pipe();
            for n in 0..BATCH {
                pipe.rpush(&parked[n % sessions].1, &stanza[..]).ignore();
            }
            let () = pipe.query_async(&mut connection).await.expect("RPUSH");
        }
        raw = raw.min(begun.elapsed());
        raw_cpu = raw_cpu.min(cpu(&mut connection).await - used);
        let (begun, used) = (Instant::now(), cpu(&mut connection).await);
        for _ in 0..TIMES {
            let changes = parked.iter().map(|(registration, _)| Change { registration, revision, change: &change });
            assert!(matches!(store.append(&changes.collect::<Vec<_>>()).await, Ok(Fence::Held)));
        }
        journal = journal.min(begun.elapsed());
        journal_cpu = journal_cpu.min(cpu(&mut connection).await - used);
        revision = revision.next();
    }
    let per_second = |time: Duration| (TIMES * BATCH) as f64 / time.as_secs_f64();
    let (raw, journal) = (per_second(raw), per_second(journal));
    println!(
        "{BATCH} stanzas of {sessions} sessions in a turn: {journal:.0} a second, RPUSH {raw:.0}: {:.2}; by the engine's CPU {:.2}",
        journal / raw,
        raw_cpu / journal_cpu
    );
}

/// The seconds that the engine's thread has worked, which do not depend on what else the machine does.
async fn cpu(connection: &mut ConnectionManager) -> f64 {
    let used: redis::InfoDict = redis::cmd("INFO").arg("cpu").query_async(connection).await.expect("INFO");
    let seconds = |name| used.get::<f64>(name).expect("seconds");
    seconds("used_cpu_sys_main_thread") + seconds("used_cpu_user_main_thread")
}
