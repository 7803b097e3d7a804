//! A cluster of three nodes: what is kept for an owner lies on one of them, and every script finds all that it needs there.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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
use crate::{Calls, count, store};

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
        let dir = std::env::temp_dir().join(format!("xmpp-sm-cluster-{}", std::process::id()));
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
            Err(error) if error.may_have_happened() => away += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((here, away), (OWNERS - kept[1] / 3, kept[1] / 3));
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
    assert_eq!(claim(&displaced, "node-2/1").await.snapshot, &b"snapshot"[..]);
    store.remove(&displaced).await.unwrap();
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
