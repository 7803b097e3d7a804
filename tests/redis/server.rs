//! A Redis of the test's own: on a socket in a directory of its own, which goes with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};

/// How long a store waits for an answer where the engine gives none.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// What is started: `valkey-server`, for instance.
pub fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

pub struct Redis {
    child: Option<Child>,
    dir: PathBuf,
    args: &'static [&'static str],
}

impl Redis {
    /// It writes nothing down.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// Every command is on the disk before it is answered.
    pub fn with_append_only_file() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A cluster of one node, which has all slots.
    pub fn cluster() -> Self {
        let redis = Self::with(&["--appendonly", "no", "--cluster-enabled", "yes"]);
        let () = redis.tell("CLUSTER ADDSLOTSRANGE 0 16383");
        let begun = Instant::now();
        while !redis.tell::<String>("CLUSTER INFO").contains("cluster_state:ok") {
            assert!(begun.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(5));
        }
        redis
    }

    fn with(args: &'static [&'static str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Short: the name of a socket has a hundred bytes.
        let name = format!("xmpp-sm-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        let mut redis = Self { child: None, dir, args };
        redis.start_again();
        redis
    }

    pub fn start_again(&mut self) {
        let mut command = Command::new(program());
        command.args(["--port", "0", "--unixsocket", "s", "--save", "", "--dir", "."]).args(self.args);
        if self.args.contains(&"--cluster-enabled") {
            // It listens for other nodes, where nobody else does.
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
            command.args(["--bind", "127.0.0.1", "--cluster-port", &free.port().to_string()]);
        }
        let log = fs::File::create(self.dir.join("log")).unwrap();
        self.child =
            Some(command.current_dir(&self.dir).stdout(log).stderr(Stdio::null()).spawn().expect("a redis-server"));
        let begun = Instant::now();
        let answers = || {
            let mut connection = self.client().get_connection().ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        };
        while answers().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", fs::read_to_string(self.dir.join("log")));
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.join("s").display())
    }

    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    pub async fn connect(&self) -> ConnectionManager {
        self.connect_within(Duration::from_secs(30)).await.unwrap()
    }

    pub async fn connect_within(&self, patience: Duration) -> redis::RedisResult<ConnectionManager> {
        let times = ConnectionManagerConfig::new()
            .set_response_timeout(Some(patience))
            .set_connection_timeout(Some(patience))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(10));
        ConnectionManager::new_with_config(self.client(), times).await
    }

    /// What a command returns, on a connection of its own.
    pub fn tell<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut packed = redis::cmd(words.next().unwrap());
        for word in words {
            packed.arg(word);
        }
        packed.query(&mut self.client().get_connection().unwrap()).unwrap()
    }

    /// It is there, and says nothing.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn wake(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// As by `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
