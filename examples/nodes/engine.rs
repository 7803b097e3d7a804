//! The Redis that the servers share, and the ways to it, which can be cut off.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::sleep;

pub struct Engine {
    port: u16,
    process: Child,
    dir: PathBuf,
    /// When it writes down what it answers.
    fsync: &'static str,
}

impl Engine {
    /// `is_killed`: nothing is lost by that.
    pub async fn start(is_killed: bool) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let dir = std::env::temp_dir().join(format!("xmpp-sm-nodes-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let fsync = if is_killed { "always" } else { "everysec" };
        let engine = Self { port, process: run(port, &dir, fsync)?, dir, fsync };
        engine.is_there().await;
        Ok(engine)
    }

    /// It is killed, and is back with all that it has written down.
    pub async fn start_again(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.process.kill().await?;
        self.process = run(self.port, &self.dir, self.fsync)?;
        self.is_there().await;
        Ok(())
    }

    async fn is_there(&self) {
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A way to it for one server.
    pub async fn way(&self) -> std::io::Result<Way> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, port) = (listener.local_addr()?, self.port);
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut node, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                tokio::spawn(async move {
                    if *is_open.borrow_and_update()
                        && let Ok(mut engine) = TcpStream::connect(("127.0.0.1", port)).await
                    {
                        let _ = (node.set_nodelay(true), engine.set_nodelay(true));
                        tokio::select! {
                            _ = copy_bidirectional(&mut node, &mut engine) => {}
                            _ = is_open.changed() => {}
                        }
                    }
                });
            }
        });
        Ok(Way { address, open })
    }
}

fn run(port: u16, dir: &Path, fsync: &str) -> Result<Child, Box<dyn Error + Send + Sync>> {
    let start = |program: &str| {
        Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port", &port.to_string()])
            .args(["--appendfsync".as_ref(), fsync.as_ref(), "--dir".as_ref(), dir.as_os_str()])
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
    };
    Ok(match std::env::var("REDIS_SERVER") {
        Ok(program) => start(&program)?,
        Err(_) => start("redis-server")
            .or_else(|_| start("valkey-server"))
            .map_err(|_| "neither redis-server nor valkey-server is installed")?,
    })
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub struct Way {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Way {
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}
