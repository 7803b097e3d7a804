//! Clients talk through two servers that share a Redis, while their connections are cut and come back to the other
//! server, and while servers are stopped, killed, and cut off from Redis. Nothing is lost:
//!
//! ```text
//! cargo build --example server && cargo run --example nodes
//! ```
//!
//! It needs a `redis-server`, or `valkey-server`, which it starts for itself; `REDIS_SERVER` names another. The servers are those of the other
//! example, each a process. Half of the clients are `tokio-xmpp`, half are those of the example `client`. Each pair
//! talks, and each message that is received sends the next. The last line counts. The exit status is 1 if something was
//! lost, or came twice or out of order more often than the promise allows.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

#[path = "../resume/client.rs"]
mod client;
#[expect(dead_code, reason = "it reads no standard input here")]
#[path = "../client/mod.rs"]
mod example_client;
#[path = "../resume/talks.rs"]
mod talks;

mod account;
mod balancer;
mod engine;
mod node;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use jid::FullJid;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use account::Account;
use balancer::Balancer;
use client::{Client, Seen};
use engine::Engine;
use node::{Node, Taken};
use talks::{Inline, Talks};

/// Two servers, a Redis, and clients that lose nothing
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// What the servers promise
    #[arg(long, default_value = "durable")]
    promise: Promise,

    /// Pairs of clients
    #[arg(long, default_value = "4")]
    pairs: usize,

    /// Messages that each client sends
    #[arg(long, default_value = "5000")]
    messages: usize,

    /// What happens, in turn. Unless given, all that the promise allows for: a server that is killed keeps nothing else
    #[arg(long, value_delimiter = ',')]
    disturb: Vec<Disturbance>,

    /// Milliseconds from one disturbance to the next
    #[arg(long, default_value = "2500")]
    every: u64,

    /// How long all of it may take, in seconds
    #[arg(long, default_value = "600")]
    patience: u64,

    /// Have the servers print the elements of stream management
    #[arg(long)]
    trace: bool,

    /// The program of the servers. Unless given, that which stands beside this one
    #[arg(long)]
    server: Option<std::path::PathBuf>,

    /// That of the second one: an earlier version, for instance
    #[arg(long)]
    other_server: Option<std::path::PathBuf>,

    /// An option of the first one, which the second may not know
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    server_option: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Promise {
    Memory,
    Parked,
    Durable,
}

impl Promise {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Parked => "parked",
            Self::Durable => "durable",
        }
    }
}

/// What happens to the servers and their clients, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Disturbance {
    /// All clients lose their connections, and come back to the other server.
    Cut,
    /// A server is told to stop, and started again.
    Stop,
    /// It is killed.
    Kill,
    /// It does not reach Redis for a while.
    CutOff,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let options = Options::parse();
    let engine = Engine::start().await?;
    let users: Vec<_> = (0..2 * options.pairs).map(|n| format!("user{n}")).collect();
    let programs = [&options.server, &options.other_server.clone().or_else(|| options.server.clone())];
    let (mut nodes, taken) = (Vec::new(), Taken::default());
    for (number, program) in programs.into_iter().enumerate() {
        let mut more = vec![format!("--promise={}", options.promise.name())];
        more.extend(users.iter().map(|user| format!("--user={user}:secret")));
        more.extend(options.trace.then(|| "--trace".to_owned()));
        more.extend(options.server_option.iter().filter(|_| number == 0).cloned());
        nodes.push(Node::start(number, program.as_deref(), &engine, more, taken.clone()).await?);
    }
    let balancer = Balancer::new(nodes.iter().map(Node::address).collect());

    let mut talks = JoinSet::new();
    for pair in 0..options.pairs {
        let (one, other) = (jid(2 * pair)?, jid(2 * pair + 1)?);
        let (at_one, at_other) = (balancer.listen().await?, balancer.listen().await?);
        // Killed with its session, a server knows no h, and tokio-xmpp cannot read a <failed/> without one.
        if pair % 2 == 0 {
            talks.spawn(talk::<Client>(one, other, at_one, at_other, options.messages));
        } else {
            talks.spawn(talk::<Inline>(one, other, at_one, at_other, options.messages));
        }
    }
    let kills = AtomicUsize::new(0);
    let disturb = async {
        use Disturbance::{Cut, CutOff, Kill, Stop};
        let kinds = match (&options.disturb[..], options.promise) {
            ([], Promise::Durable) => &[Cut, Stop, Cut, Kill, CutOff][..],
            ([], Promise::Memory | Promise::Parked) => &[Cut, Stop, Cut, CutOff, Cut],
            (chosen, _) => chosen,
        };
        let mut counts = [0; 4];
        for (round, kind) in kinds.iter().cycle().enumerate() {
            sleep(Duration::from_millis(options.every)).await;
            let node = &mut nodes[round / kinds.len() % 2];
            match kind {
                Disturbance::Cut => balancer.cut(),
                Disturbance::CutOff => node.cut_off(Duration::from_millis(1500)),
                Disturbance::Stop | Disturbance::Kill => {
                    balancer.set(node.number(), None);
                    match kind {
                        Disturbance::Kill => node.kill().await?,
                        _ => node.stop().await?,
                    }
                    node.start_again().await?;
                    balancer.set(node.number(), Some(node.address()));
                }
            }
            counts[*kind as usize] += 1;
            kills.fetch_add((*kind == Kill).into(), Ordering::Relaxed);
            println!("{kind:?} {} (cuts, stops, kills, cut off: {counts:?})", node.number());
        }
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    };
    let begun = Instant::now();
    let all = async {
        let mut account = Account::default();
        while let Some(pair) = talks.join_next().await {
            let (one, other) = pair?;
            account.add(&one, &other);
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(account)
    };
    let account = tokio::select! {
        account = timeout(Duration::from_secs(options.patience), all) => account.map_err(|_| "it takes too long")??,
        failed = disturb => return Err(failed.err().unwrap_or_else(|| "nothing is left to disturb".into())),
    };
    // A server that lives says so. If it is of an earlier version, it may not: then the one counts that has taken it.
    let is_told = |line: &&String| options.other_server.is_some() || line.contains(" from this node");
    let lost = taken.lock().iter().filter(is_told).count();
    println!("{account}, {lost} taken from a server that lived, in {} s", begun.elapsed().as_secs());
    let taken = lost + kills.load(Ordering::Relaxed) * account.clients();
    Ok(if account.is_well(taken) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn jid(number: usize) -> Result<FullJid, jid::Error> {
    FullJid::new(&format!("user{number}@localhost/there"))
}

async fn talk<C: Talks>(
    one: FullJid,
    other: FullJid,
    at_one: SocketAddr,
    at_other: SocketAddr,
    messages: usize,
) -> (Seen, Seen) {
    let mut first = C::connect(one.clone(), &other, at_one);
    let mut second = C::connect(other.clone(), &one, at_other);
    tokio::join!(first.bound(), second.bound());
    tokio::join!(first.talk(&other, messages), second.talk(&one, messages));
    tokio::join!(first.finish(), second.finish())
}
