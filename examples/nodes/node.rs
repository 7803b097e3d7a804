//! A server, in a process of its own.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::causes::Causes;
use super::engine::{Engine, Way};

pub struct Node {
    number: usize,
    program: PathBuf,
    args: Vec<String>,
    causes: Causes,
    way: Arc<Way>,
    process: Child,
    address: SocketAddr,
}

impl Node {
    pub async fn start(
        number: usize,
        program: Option<&Path>,
        engine: &Engine,
        more: Vec<String>,
        causes: Causes,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let way = engine.way().await?;
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("server"));
        let program = program.map(Path::to_owned).or_else(beside).ok_or("where is the server?")?;
        let mut args = vec![
            "--listen=127.0.0.1:0".to_owned(),
            format!("--node=node-{number}"),
            format!("--store=redis://{}", way.address),
        ];
        args.extend(more);
        let (process, address) = run(&program, &args, &causes).await?;
        Ok(Self { number, program, args, causes, way: Arc::new(way), process, address })
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// In good order. Returns whether it has stopped within so long.
    pub async fn stop(&mut self, within: Duration) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let id = self.process.id().ok_or("the server has ended by itself")?;
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        let ended = timeout(within, self.process.wait()).await;
        Ok(ended.is_ok_and(|status| status.is_ok()))
    }

    pub async fn kill(&mut self) -> std::io::Result<()> {
        self.process.kill().await
    }

    pub async fn start_again(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        loop {
            match run(&self.program, &self.args, &self.causes).await {
                Ok((process, address)) => {
                    (self.process, self.address) = (process, address);
                    return Ok(());
                }
                // Its name is taken as long as it counts as alive.
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// From Redis, for a time.
    pub fn cut_off(&self, time: Duration) {
        let way = self.way.clone();
        tokio::spawn(async move {
            way.set_open(false);
            sleep(time).await;
            way.set_open(true);
        });
    }
}

async fn run(
    program: &Path,
    args: &[String],
    causes: &Causes,
) -> Result<(Child, SocketAddr), Box<dyn Error + Send + Sync>> {
    let (out, errors) = (Stdio::piped(), Stdio::piped());
    let spawned = Command::new(program).args(args).stdout(out).stderr(errors).kill_on_drop(true).spawn();
    let mut process = spawned.map_err(|error| format!("{}: {error}", program.display()))?;
    let (mut errors, causes) =
        (BufReader::new(process.stderr.take().ok_or("no standard error")?).lines(), causes.clone());
    tokio::spawn(async move {
        while let Ok(Some(line)) = errors.next_line().await {
            eprintln!("{line}");
            causes.hear(&line);
        }
    });
    let mut lines = BufReader::new(process.stdout.take().ok_or("no standard output")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("listening on ") {
            return Ok((process, address.parse()?));
        }
    }
    Err("the server does not start".into())
}
