//! What the runner needs to know of a client and of a server, whoever wrote them.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minidom::Element;
use tokio::process::{Child, Command};
use tokio_xmpp::xmlstream::Timeouts;

use crate::account::Kind;
use crate::driver::{Driver, Login};
use crate::journal::Journal;
use crate::login::{Gate, authenticate};
use crate::scenario::Scenario;

/// What every server is tried with by the clients that others wrote.
pub const BY_CLIENTS: [Scenario; 4] = [Scenario::Cuts(0), Scenario::Expired, Scenario::TakeOver, Scenario::Full];

pub const DOMAIN: &str = "localhost";
pub const PASSWORD: &str = "secret";
/// The account of the client under test, and the one of its partner.
pub const USERS: [&str; 2] = ["alice", "bob"];

pub trait Client: Sync {
    fn name(&self) -> &'static str;
    /// The version, or in one line what is missing and how to get it.
    fn version(&self) -> Result<String, String>;
    /// Faults of its own that are known. Any other fails the run until somebody has looked at it.
    fn faults(&self) -> &'static [Kind] {
        &[]
    }
    /// Whether it resumes and binds inside of SASL2.
    fn is_inline(&self) -> bool {
        false
    }
    /// Whether it connects by WebSocket.
    fn is_websocket(&self) -> bool {
        false
    }
    /// Whether this crate is in it.
    fn is_ours(&self) -> bool {
        false
    }
    /// Whether it is tried with one of the server's scenarios.
    fn is_tried_with(&self, _: &Scenario) -> bool {
        true
    }
    fn start(&self, login: Login, journal: &Arc<Journal>, place: &Place) -> Result<Driver, String>;
}

pub trait Server: Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> Result<String, String>;
    /// As those of a client.
    fn faults(&self) -> &'static [Kind] {
        &[]
    }
    /// Whether it offers SASL2 and Bind 2.
    fn is_inline(&self) -> bool {
        false
    }
    /// Whether it can be reached by WebSocket.
    fn has_websocket(&self) -> bool {
        false
    }
    /// Whether this crate is in it.
    fn is_ours(&self) -> bool {
        false
    }
    /// Whether this client can log in at all.
    fn lets_in(&self, _client: &str) -> bool {
        true
    }
    /// What it is tried with: by our client, or by clients that others wrote.
    fn scenarios(&self, by_our_client: bool) -> &'static [Scenario];
    /// Whether it is tried if nobody asks for it by name: our servers by the clients of others, and theirs by our client.
    fn is_in_table(&self, by_our_client: bool) -> bool {
        self.is_ours() != by_our_client
    }
    /// Builds it, where it is part of this repository.
    fn build(&self) -> Result<(), String> {
        Ok(())
    }
    /// Writes a configuration with both accounts into its [`dir`](Place::dir) and says how to start the server from it.
    fn prepare(&self, port: u16, options: &Options, place: &Place) -> Result<Command, String>;
}

/// What a scenario wants of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds that a session without a connection is kept.
    pub resume_timeout: u32,
    /// Stanzas that it holds unacknowledged.
    pub buffer_max: u32,
    /// Seconds that a client has when there are more.
    pub grace: u32,
    /// Seconds that the client asks for.
    pub max: Option<u32>,
    /// Whether SASL2 and Bind 2 are offered.
    pub inline: bool,
    /// A port for WebSockets, at `/xmpp-websocket`.
    pub websocket: Option<u16>,
    /// More lines for its configuration, in its own language.
    pub config: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self { resume_timeout: 300, buffer_max: 1000, grace: 5, max: None, inline: false, websocket: None, config: "" }
    }
}

/// Where the files of one scenario go.
#[derive(Clone, Debug)]
pub struct Place {
    /// `slixmpp-cuts` and the like
    pub name: String,
}

impl Place {
    pub fn log(&self, kind: &str) -> PathBuf {
        root().join("logs").join(format!("{}.{kind}", self.name))
    }

    /// The directory of a server.
    pub fn dir(&self, server: &str) -> PathBuf {
        root().join("data").join(format!("{}-{server}", self.name))
    }

    /// Makes it, empty.
    fn clear_dir(&self, server: &str) -> Result<(), String> {
        let dir = self.dir(server);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))
    }
}

/// A server that is up; it is killed when this is dropped.
pub struct Running {
    pub addr: SocketAddr,
    child: Child,
}

impl Running {
    /// How much CPU time it has taken.
    pub fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // Behind the name, which may have blanks: the 14th and the 15th are its time and the kernel's, in hundredths.
        let fields = stat.rsplit(')').next()?.split_whitespace().skip(11).take(2);
        Some(Duration::from_millis(10 * fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()))
    }

    /// Has it end by itself.
    pub async fn stop(&mut self) -> Result<(), String> {
        let id = self.child.id().ok_or("it has ended")?;
        let kill = Command::new("kill").arg(id.to_string()).status().await.map_err(|e| e.to_string())?;
        let end = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        if kill.success() && end.is_ok() { Ok(()) } else { Err("it does not end".into()) }
    }
}

/// With nothing of an earlier run.
pub async fn start(server: &dyn Server, options: &Options, place: &Place) -> Result<Running, String> {
    place.clear_dir(server.name())?;
    start_at(server, free_port().map_err(|e| e.to_string())?, options, place).await
}

pub async fn start_at(server: &dyn Server, port: u16, options: &Options, place: &Place) -> Result<Running, String> {
    let mut command = server.prepare(port, options, place)?;
    let log = place.log(&format!("{}.log", server.name()));
    let log = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("{:?}: {e}", command.as_std().get_program()))?;
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    // Some listen before they know their users.
    let ready = async {
        for user in USERS {
            while !lets_in(addr, user).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::select! {
        () = ready => Ok(Running { addr, child }),
        status = child.wait() => Err(format!("{} ended at once: {status:?}", server.name())),
        () = tokio::time::sleep(Duration::from_secs(180)) => Err(format!("{} lets nobody in", server.name())),
    }
}

async fn lets_in(addr: SocketAddr, user: &str) -> bool {
    let jid = format!("{user}@{DOMAIN}");
    let login = Login { addr, jid, password: PASSWORD.to_owned(), partner: String::new(), max: None };
    authenticate::<Element>(&login, Timeouts::default(), &Gate::default()).await.is_ok()
}

/// None twice: some listen only after a while.
pub fn free_port() -> std::io::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        if GIVEN.lock().unwrap().insert(port) {
            return Ok(port);
        }
    }
}

/// Where everything goes that the runner and the installation of its peers write.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop")
}

/// The first line that a program prints when asked for its version, or what to install.
pub fn ask_version(program: &Path, args: &[&str], missing: &str) -> Result<String, String> {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.ok().filter(|output| output.status.success()).ok_or(missing)?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() { Err(missing.to_owned()) } else { Ok(text) }
}
