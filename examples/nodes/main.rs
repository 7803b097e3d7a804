//! Clients talk through two servers that share a Redis, while their connections are cut and come back to the other
//! server, while they lose their state and bind their resource anew there, and while servers are stopped, killed, and cut
//! off from Redis. Nothing is lost:
//!
//! ```text
//! cargo build --example server && cargo run --example nodes
//! ```
//!
//! It needs a `redis-server`, or `valkey-server`, which it starts for itself; `REDIS_SERVER` names another. The servers are those of the other
//! example, each a process. Half of the clients are `tokio-xmpp`, half are those of the example `client`. Each pair
//! talks, and each message that is received sends the next. The last line counts. The exit status is 1 if something was
//! lost or out of order, or came twice without a cause: each double is accounted for by who sent it and who received it.

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
mod causes;
mod engine;
mod node;
mod user;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, TryStreamExt};
use jid::FullJid;
use tokio::sync::Barrier;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use account::Account;
use balancer::{Balancer, Leaves};
use causes::Causes;
use client::Client;
use engine::Engine;
use node::Node;
use talks::{Example, Inline, Talks};
use user::{Story, User};

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
    /// The Redis is killed, and started again.
    Restart,
    /// Clients are gone, and others of their users bind their resources anew at the other server: one of each pair. The
    /// server sees at once that they are gone, or never.
    Anew,
}

impl Disturbance {
    fn happened_to(self, server: usize) -> String {
        match self {
            Self::Cut => "All connections cut".to_owned(),
            Self::Stop => format!("Server {server} stopped and started"),
            Self::Kill => format!("Server {server} killed and started"),
            Self::Restart => "Redis killed and started".to_owned(),
            Self::CutOff => format!("Server {server} cut off from Redis for a while"),
            Self::Anew => "A client of each pair bound anew".to_owned(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let options = Options::parse();
    if options.promise != Promise::Durable && options.disturb.contains(&Disturbance::Kill) {
        return Err(
            "a server that is killed keeps its sessions with --promise durable alone: their clients would wait".into(),
        );
    }
    let mut engine = Engine::start(options.disturb.contains(&Disturbance::Restart)).await?;
    let users: Vec<_> = (0..2 * options.pairs).map(|n| format!("user{n}")).collect();
    let programs = [&options.server, &options.other_server.clone().or_else(|| options.server.clone())];
    let is_earlier = options.other_server.is_some();
    let (mut nodes, causes) = (Vec::new(), Causes::default());
    for (number, program) in programs.into_iter().enumerate() {
        let mut more = vec![format!("--promise={}", options.promise.name())];
        more.extend(users.iter().map(|user| format!("--user={user}:secret")));
        more.extend(options.trace.then(|| "--trace".to_owned()));
        more.extend(options.server_option.iter().filter(|_| number == 0).cloned());
        nodes.push(Node::start(number, program.as_deref(), &engine, more, causes.clone()).await?);
    }
    let balancer = Balancer::new(nodes.iter().map(Node::address).collect());

    let (talks, mut anew) = (FuturesUnordered::new(), Vec::new());
    let are_online = Arc::new(Barrier::new(options.pairs + 1));
    let talking = Talking { balancer: &balancer, messages: options.messages, are_online: &are_online, talks: &talks };
    for pair in 0..options.pairs {
        // Killed with its session, a server knows no h, and tokio-xmpp cannot read a <failed/> without one.
        match pair % 4 {
            0 | 2 => anew.push(talk::<Client>(pair, &talking)?),
            // The server chooses its resource: there is nothing to bind anew. An earlier one may bind another for a client
            // that has given up its connection, and that takes mail.
            1 if !is_earlier => drop(talk::<Inline>(pair, &talking)?),
            _ => anew.push(talk::<Example<false>>(pair, &talking)?),
        }
    }
    let disturb = async {
        // Whoever is cut before it knows of its session leaves that behind.
        are_online.wait().await;
        use Disturbance::{Anew, Cut, CutOff, Kill, Stop};
        let kinds = match (&options.disturb[..], options.promise) {
            ([], Promise::Durable) => &[Cut, Anew, Stop, Cut, Anew, Kill, CutOff][..],
            ([], Promise::Memory | Promise::Parked) => &[Cut, Anew, Stop, Cut, Anew, CutOff, Cut],
            (chosen, _) => chosen,
        };
        let mut counts = [0; 6];
        for (round, kind) in kinds.iter().cycle().enumerate() {
            sleep(Duration::from_millis(options.every)).await;
            let node = &mut nodes[round / kinds.len() % 2];
            if is_earlier && node.number() == 0 && [Kill, CutOff].contains(kind) {
                causes.add_unsaid();
            }
            match kind {
                Disturbance::Cut => balancer.cut(),
                Disturbance::Restart => engine.start_again().await?,
                Disturbance::CutOff => node.cut_off(Duration::from_millis(1500)),
                Disturbance::Anew => {
                    let turn = counts[Anew as usize];
                    let leaves = if turn / 2 % 2 == 0 { Leaves::Cut } else { Leaves::Open };
                    anew.iter().for_each(|pair| pair[turn % 2].send(leaves).unwrap_or_default()); // it is done, perhaps
                }
                Disturbance::Stop | Disturbance::Kill => {
                    balancer.set(node.number(), None);
                    // One of an earlier version may wait for a Redis that was away, and is killed as a supervisor would.
                    let may_hang = is_earlier && node.number() == 1;
                    let within = Duration::from_secs(if may_hang { 5 } else { 20 });
                    if *kind == Kill || !node.stop(within).await? {
                        if *kind == Stop && !may_hang {
                            return Err("the server does not stop".into());
                        }
                        node.kill().await?;
                    }
                    node.start_again().await?;
                    balancer.set(node.number(), Some(node.address()));
                }
            }
            counts[*kind as usize] += 1;
            let [cuts, stops, kills, cut_off, restarts, anew] = counts;
            println!(
                "{} (so far: {cuts} cuts, {stops} stops, {kills} kills, {cut_off} times cut off, {restarts} restarts of Redis, {anew} times bound anew)",
                kind.happened_to(node.number())
            );
        }
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    };
    let begun = Instant::now();
    let all = talks.try_collect::<Vec<_>>();
    let stories = tokio::select! {
        stories = timeout(Duration::from_secs(options.patience), all) => stories.map_err(|_| "it takes too long")??,
        failed = disturb => return Err(failed.err().unwrap_or_else(|| "nothing is left to disturb".into())),
    };
    let seconds = begun.elapsed().as_secs();
    sleep(Duration::from_secs(1)).await; // until the servers are heard
    let mut account = Account::default();
    stories.iter().for_each(|(one, other)| account.add(one, other, &causes, is_earlier));
    println!("{} sessions were taken from a server that had not let go, in {seconds} s", causes.said());
    println!("{account}");
    Ok(if account.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn jid(number: usize) -> Result<FullJid, jid::Error> {
    FullJid::new(&format!("user{number}@localhost/there"))
}

type Talk = LocalBoxFuture<'static, std::io::Result<(Story, Story)>>;

/// What all talks have in common.
struct Talking<'a> {
    balancer: &'a Balancer,
    messages: usize,
    are_online: &'a Arc<Barrier>,
    talks: &'a FuturesUnordered<Talk>,
}

/// Has two users talk. Returns where each is told that its client is gone.
fn talk<C: Talks + 'static>(pair: usize, talking: &Talking<'_>) -> Result<[UnboundedSender<Leaves>; 2], jid::Error> {
    let (messages, are_online) = (talking.messages, talking.are_online.clone());
    let [(first, of_first), (second, of_second)] = [(); 2].map(|()| unbounded_channel());
    let (one, other) = (jid(2 * pair)?, jid(2 * pair + 1)?);
    let [at_one, at_other] = [0, 1].map(|node| talking.balancer.place(node));
    let talk = async move {
        let begin =
            |jid: &FullJid, peer: &FullJid, place, anew| User::<C>::begin(jid.clone(), peer.clone(), place, anew);
        let (mut one, mut other) =
            tokio::try_join!(begin(&one, &other, at_one, of_first), begin(&other, &one, at_other, of_second))?;
        are_online.wait().await;
        tokio::try_join!(one.talk(messages), other.talk(messages))?;
        tokio::try_join!(one.finish(), other.finish())
    };
    talking.talks.push(talk.boxed_local());
    Ok([first, second])
}
