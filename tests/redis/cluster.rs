//! A cluster of three nodes: what is kept for an owner lies on one of them, and every script finds all that it needs there.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Connection, FromRedisValue};
use xmpp_sm::{
    AsyncSessionStore, Change, Claim, Fence, Journal, Parking, RedisStore, RedisStoreError, Registration, Revision,
    SmId,
};

use crate::server::{PATIENCE, program};
use crate::{Calls, count, eventually, store};

const MASTERS: usize = 3;
/// So many owners lie on all of them.
const OWNERS: usize = 30;
const FIRST: Revision = Revision::FIRST;
const NEXT: Revision = FIRST.next();

struct Cluster {
    dir: PathBuf,
    masters: Vec<(Child, u16)>,
}

impl Cluster {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("xmpp-sm-cluster-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        // Ports that nobody uses, the client's and the other nodes' of each.
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<_> = (0..2 * MASTERS).map(|_| listen()).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let masters = ports.chunks(2).map(|ports| {
            let place = dir.join(ports[0].to_string());
            fs::create_dir(&place).unwrap();
            let mut command = Command::new(program());
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &ports[0].to_string()]);
            command.args(["--cluster-enabled", "yes", "--cluster-port", &ports[1].to_string()]);
            command.args(["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"]);
            (command.current_dir(place).stdout(Stdio::null()).spawn().expect("a redis-server"), ports[0])
        });
        let cluster = Self { masters: masters.collect(), dir };
        // Or it were resolved later who has which slot.
        for n in 0..MASTERS {
            let () = cluster.tell(n, &format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1));
        }
        for (n, buses) in (0..MASTERS).zip(ports.chunks(2)) {
            let (first, last) = (n * 16384 / MASTERS, (n + 1) * 16384 / MASTERS - 1);
            let () = cluster.tell(n, &format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            let () = cluster.tell(0, &format!("CLUSTER MEET 127.0.0.1 {} {}", buses[0], buses[1]));
        }
        for n in 0..MASTERS {
            cluster.until(n, &format!("cluster_known_nodes:{MASTERS}"));
            cluster.until(n, "cluster_slots_assigned:16384");
            cluster.until(n, "cluster_state:ok");
        }
        cluster
    }

    fn until(&self, n: usize, said: &str) {
        let begun = Instant::now();
        while !self.tell::<String>(n, "CLUSTER INFO").contains(said) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn url(&self, n: usize) -> String {
        format!("redis://127.0.0.1:{}", self.masters[n].1)
    }

    /// What one of them returns.
    fn tell<T: FromRedisValue>(&self, n: usize, command: &str) -> T {
        let begun = Instant::now();
        let mut connection: Connection = loop {
            match Client::open(self.url(n)).unwrap().get_connection() {
                Ok(connection) => break connection,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let mut words = command.split(' ');
        let mut packed = redis::cmd(words.next().unwrap());
        for word in words {
            packed.arg(word);
        }
        packed.query(&mut connection).unwrap()
    }

    async fn connect(&self) -> ClusterConnection {
        let nodes = (0..MASTERS).map(|n| self.url(n));
        let client = ClusterClientBuilder::new(nodes).response_timeout(PATIENCE).connection_timeout(PATIENCE);
        client.retries(1).build().unwrap().get_async_connection().await.unwrap()
    }

    /// One of them by itself.
    async fn master(&self, n: usize) -> RedisStore<ConnectionManager> {
        let times = ConnectionManagerConfig::new().set_response_timeout(Some(PATIENCE));
        let client = Client::open(self.url(n)).unwrap();
        store(ConnectionManager::new_with_config(client, times).await.unwrap())
    }

    fn keys(&self, n: usize) -> usize {
        self.tell::<Vec<String>>(n, "KEYS xmpp-sm:*").len()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (master, _) in &mut self.masters {
            let _ = (master.kill(), master.wait());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn owner(n: usize) -> String {
    format!("user{n}@example.com")
}

fn change<'a>(registration: &'a Registration, revision: Revision) -> Change<'a> {
    Change { registration, revision, change: b"change" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_keeps_every_owner_on_one_node_and_loses_only_those_of_a_node_that_is_gone() {
    let mut cluster = Cluster::start();
    let store = store(cluster.connect().await).per_owner(count(2));
    let mut sessions = Vec::new();
    for n in 0..OWNERS {
        sessions.push(every_call(&store, &owner(n)).await);
    }
    let kept: Vec<usize> = (0..MASTERS).map(|n| cluster.keys(n)).collect();
    // For each owner the hash, a journal and a snapshot.
    assert_eq!(kept.iter().sum::<usize>(), 3 * OWNERS);
    assert!(kept.iter().all(|kept| *kept > 0 && *kept % 3 == 0), "{kept:?}");

    // What a dead node of the host's had is listed by each of them.
    let mut listed = 0;
    for (n, kept) in kept.iter().enumerate() {
        let (at, _) = cluster.master(n).await.sessions_at(b"node-2/", 0).await.unwrap();
        assert_eq!(at.len(), kept / 3);
        listed += at.len();
    }
    assert_eq!(listed, OWNERS);

    // Changes of owners that do not lie together are refused, and none is written.
    let (mut apart, mut together) = (0, 0);
    for pair in sessions.windows(2) {
        match store.append(&[change(&pair[0], FIRST), change(&pair[1], FIRST)]).await {
            Ok(Fence::Held) => together += 1,
            Err(RedisStoreError::Apart) => apart += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(apart > 0, "{apart} {together}");

    let (gone, _) = &mut cluster.masters[1];
    let _ = (gone.kill(), gone.wait());
    let (mut away, mut here) = (0, 0);
    for registration in &sessions {
        match store.append(&[change(registration, FIRST)]).await {
            Ok(Fence::Held) => here += 1,
            Err(RedisStoreError::Unavailable(_) | RedisStoreError::TimedOut) => away += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((here, away), (OWNERS - kept[1] / 3, kept[1] / 3));
    drop(cluster);
    for registration in &sessions {
        let error = store.append(&[change(registration, FIRST)]).await.unwrap_err();
        assert!(matches!(error, RedisStoreError::Unavailable(_)), "{error:?}");
    }
}

/// Every script, with all keys that it can reach. Returns a session whose snapshot is there, beside another with a journal.
async fn every_call(store: &RedisStore<ClusterConnection>, owner: &str) -> Registration {
    let retired = store.added(1, owner, "node-1/1").await;
    store.end(&retired, 7).await.unwrap();
    assert_eq!(store.found(1, owner).await, "h:7");
    let displaced = store.added(2, owner, "node-1/2").await;
    assert_eq!(store.park(&displaced, FIRST, b"snapshot").await.unwrap(), Fence::Held);
    let journal = store.added(3, owner, "node-1/3").await;
    assert_eq!(store.park(&journal, FIRST, b"before").await.unwrap(), Fence::Held);
    assert_eq!(store.park(&journal, NEXT, b"snapshot").await.unwrap(), Fence::Held);
    // The first makes room.
    let third = store.added(4, owner, "node-1/4").await;
    assert_eq!(store.park(&third, FIRST, b"snapshot").await.unwrap(), Fence::Held);
    assert_eq!(store.append(&[change(&journal, NEXT), change(&third, FIRST)]).await.unwrap(), Fence::Held);
    let claim = async |registration: &Registration, handle: &'static str| match store
        .claim(registration, handle.into(), Instant::now())
        .await
        .unwrap()
    {
        Claim::Claimed(claimed) => claimed,
        other => panic!("{other:?}"),
    };
    let claimed = claim(&displaced, "node-2/1").await;
    assert_eq!(claimed.snapshot, &b"snapshot"[..]);
    store.remove(&claimed.registration).await.unwrap();
    let claimed = claim(&third, "node-2/4").await;
    assert_eq!((&*claimed.snapshot, claimed.journal.len()), (&b"snapshot"[..], 1));
    assert_eq!(store.unpark(&claimed.registration, FIRST).await.unwrap(), Fence::Held);
    assert_eq!(store.park(&third, NEXT, b"late").await.unwrap(), Fence::Lost);
    store.remove(&claimed.registration).await.unwrap();
    // The third under the SM-ID of the first, and then its own.
    let smid = SmId::new("id1").unwrap();
    let again = store.register(&smid, &owner.into(), "node-2/5".into(), Instant::now()).await.unwrap().registration;
    assert_eq!(store.park(&again, FIRST, b"snapshot").await.unwrap(), Fence::Held);
    again
}

/// Which of an owner's keys the other node has already: the hash, and what is kept of one session.
const MOVED: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// A slot that is on its way from one node to another.
struct Move<'a> {
    cluster: &'a Cluster,
    slot: u16,
    from: usize,
    to: usize,
}

impl<'a> Move<'a> {
    fn begin(cluster: &'a Cluster, owner: &str) -> Self {
        let slot: u16 = cluster.tell(0, &format!("CLUSTER KEYSLOT xmpp-sm:{{{owner}}}"));
        let has_it = |n: &usize| cluster.tell::<u32>(*n, &format!("CLUSTER COUNTKEYSINSLOT {slot}")) > 0;
        let from = (0..MASTERS).find(has_it).unwrap();
        let moving = Self { cluster, slot, from, to: (from + 1) % MASTERS };
        let () = cluster.tell(moving.to, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", moving.id(from)));
        let () = cluster.tell(from, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", moving.id(moving.to)));
        moving
    }

    fn id(&self, n: usize) -> String {
        self.cluster.tell(n, "CLUSTER MYID")
    }

    fn keys(&self, n: usize) -> Vec<String> {
        self.cluster.tell(n, &format!("CLUSTER GETKEYSINSLOT {} 100", self.slot))
    }

    fn bring(&self, key: &str) {
        let port = self.cluster.masters[self.to].1;
        let () = self.cluster.tell(self.from, &format!("MIGRATE 127.0.0.1 {port} {key} 0 10000"));
    }

    /// What there is, and where.
    fn dump(&self) -> Vec<(usize, String, Vec<u8>)> {
        let mut dump = Vec::new();
        for n in [self.from, self.to] {
            let mut connection = Client::open(self.cluster.url(n)).unwrap().get_connection().unwrap();
            for key in self.keys(n) {
                let () = redis::cmd("ASKING").query(&mut connection).unwrap();
                let value = redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap();
                dump.push((n, key, value));
            }
        }
        dump.sort();
        dump
    }

    fn finish(self) {
        self.keys(self.from).iter().for_each(|key| self.bring(key));
        // The new node first.
        for n in (0..MASTERS).map(|n| (self.to + n) % MASTERS) {
            let () = self.cluster.tell(n, &format!("CLUSTER SETSLOT {} NODE {}", self.slot, self.id(self.to)));
        }
        // All know that it was the last, or the next could be taken for one before it.
        let epoch = |n| {
            let info: String = self.cluster.tell(n, "CLUSTER INFO");
            info.lines().find(|line| line.starts_with("cluster_current_epoch:")).map(str::to_owned)
        };
        for n in 0..MASTERS {
            self.cluster.until(n, &epoch(self.to).unwrap());
        }
    }
}

/// What is done to a session while its slot moves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Park,
    ParkAgain,
    /// Another of the owner, of which nothing is kept.
    ParkOther,
    Unpark,
    Append,
    Claim,
    Retire,
    Remove,
    /// Another takes its SM-ID.
    Replace,
    /// Another takes its room.
    Displace,
}

impl Call {
    const ALL: [Self; 10] = [
        Self::Park,
        Self::ParkAgain,
        Self::ParkOther,
        Self::Unpark,
        Self::Append,
        Self::Claim,
        Self::Retire,
        Self::Remove,
        Self::Replace,
        Self::Displace,
    ];

    async fn make(
        self,
        store: &RedisStore<ClusterConnection>,
        registration: &Registration,
        other: &Registration,
    ) -> Result<(), RedisStoreError> {
        let owner = registration.owner();
        match self {
            Self::Park => assert_eq!(store.park(registration, NEXT, b"next").await?, Fence::Held),
            Self::ParkAgain => assert_eq!(store.park(registration, FIRST, b"snapshot").await?, Fence::Held),
            Self::ParkOther => assert_eq!(store.park(other, NEXT, b"other").await?, Fence::Held),
            Self::Unpark => assert_eq!(store.unpark(registration, NEXT).await?, Fence::Held),
            Self::Append => assert_eq!(store.append(&[change(registration, FIRST)]).await?, Fence::Held),
            Self::Claim => {
                let claim = store.claim(registration, "node-2/1".into(), Instant::now()).await?;
                let Claim::Claimed(claimed) = claim else { panic!("{claim:?}") };
                assert_eq!(claimed.snapshot, &b"snapshot"[..]);
            }
            Self::Retire => store.end(registration, 7).await?,
            Self::Remove => store.remove(registration).await?,
            Self::Replace => drop(store.add(1, owner, "node-2/2").await?),
            Self::Displace => {
                let displaced = store.add(3, owner, "node-2/3").await?.displaced.unwrap();
                assert_eq!(displaced.registration, *registration);
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_slot_moves_a_call_is_done_or_changes_nothing_and_can_be_made_again() {
    let cluster = Cluster::start();
    let store = store(cluster.connect().await).per_owner(count(2));
    let mut n = OWNERS;
    for call in Call::ALL {
        for (is_hash_moved, is_kept_moved) in MOVED {
            for has_journal in [false, true] {
                let about = format!("{call:?} {is_hash_moved} {is_kept_moved} {has_journal}");
                n += 1;
                let owner = owner(n);
                let registration = store.added(1, &owner, "node-1/1").await;
                assert_eq!(store.park(&registration, FIRST, b"snapshot").await.unwrap(), Fence::Held);
                if has_journal {
                    assert_eq!(store.append(&[change(&registration, FIRST)]).await.unwrap(), Fence::Held);
                }
                // One that lives in memory.
                let other = store.added(2, &owner, "node-1/2").await;
                let moving = Move::begin(&cluster, &owner);
                for key in moving.keys(moving.from) {
                    let is_hash = key.ends_with('}');
                    if is_hash && is_hash_moved || !is_hash && is_kept_moved {
                        moving.bring(&key);
                    }
                }
                let before = moving.dump();
                assert_eq!(before.len(), 2);
                let made = call.make(&store, &registration, &other).await;
                // A journal that is there is all that is asked for.
                if call == Call::Append && has_journal {
                    assert!(made.is_ok(), "{about}: {made:?}");
                } else {
                    assert!(matches!(made, Err(RedisStoreError::Unavailable(_))), "{about}: {made:?}");
                    assert_eq!(moving.dump(), before, "{about}");
                }
                // What needs only the hash goes on.
                assert_eq!(store.found(1, &owner).await, "s:node-1/1", "{about}");
                assert_eq!(store.unpark(&other, FIRST).await.unwrap(), Fence::Held, "{about}");
                let error = store.claim(&registration, "node-3/1".into(), Instant::now()).await.unwrap_err();
                assert!(matches!(error, RedisStoreError::Unavailable(_)), "{about}: {error:?}");
                if is_hash_moved {
                    // Nor is it known what a node has to which sessions come.
                    let error = cluster.master(moving.to).await.sessions_at(b"", 0).await.unwrap_err();
                    assert!(matches!(error, RedisStoreError::Unavailable(_)), "{about}: {error:?}");
                }
                moving.finish();
                // The nodes do not hear of it all at once.
                if !(call == Call::Append && has_journal) {
                    eventually(async || call.make(&store, &registration, &other).await).await;
                }
                if matches!(call, Call::ParkAgain | Call::ParkOther | Call::Append | Call::Displace) {
                    let claim = async || store.claim(&registration, "node-3/1".into(), Instant::now()).await;
                    let claim = eventually(claim).await;
                    let Claim::Claimed(claimed) = claim else { panic!("{about}: {claim:?}") };
                    let changes = usize::from(has_journal) + usize::from(call == Call::Append);
                    assert_eq!((&*claimed.snapshot, claimed.journal.len()), (&b"snapshot"[..], changes), "{about}");
                }
            }
        }
    }
}
