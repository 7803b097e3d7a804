//! Real clients and real servers, run against this crate's examples. See README.md in this directory.

mod account;
mod driver;
mod ejabberd;
#[path = "../support/examples.rs"]
mod examples;
mod faithful;
mod journal;
mod ledger;
mod libstrophe;
mod login;
mod ours;
mod partner;
mod peers;
mod proof;
mod prosody;
mod proxy;
mod raw;
mod record;
mod rng;
mod scenario;
mod slixmpp;
mod stage;
mod table;
mod tokio_xmpp;
mod trial;
mod typed;
mod wire;
mod xmpp_js;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use futures::StreamExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::account::Blame;
use crate::ours::{ExampleClient, ExampleServer};
use crate::peers::{Client, Place, Server, root};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::table::Row;

/// Runs real XMPP clients and servers against each other and this crate's examples, and accounts for every message.
#[derive(Parser)]
struct Args {
    /// Clients and servers to run, each client with each server; all that the table has when none is named.
    peers: Vec<String>,
    /// How often each session is cut.
    #[arg(long, default_value_t = 100)]
    cuts: usize,
    /// How many are run at a time.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Only where this crate is on a side: not what others do among themselves, which is there to be compared.
    #[arg(long)]
    ours: bool,
    /// Repeats the random choices of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this scenario.
    #[arg(long)]
    scenario: Option<String>,
    /// Only the trials that have this in their name, and no scenario.
    #[arg(long)]
    trial: Option<String>,
}

const CLIENTS: [&dyn Client; 8] = [
    &slixmpp::Slixmpp,
    &xmpp_js::XmppJs(xmpp_js::Way::Tcp),
    &xmpp_js::XmppJs(xmpp_js::Way::Inline),
    &xmpp_js::XmppJs(xmpp_js::Way::WebSocket),
    &tokio_xmpp::TokioXmpp,
    &libstrophe::Libstrophe,
    &ExampleClient,
    &typed::TypedClient,
];
const SERVERS: [&dyn Server; 5] =
    [&ExampleServer, &typed::TypedServer, &prosody::ProsodySm, &prosody::Prosody, &ejabberd::Ejabberd];

/// One row of the table.
struct Case {
    client: &'static dyn Client,
    server: &'static dyn Server,
    /// Their versions.
    versions: [String; 2],
    scenario: Scenario,
}

impl Case {
    /// The side that is on trial: our client, or else the server.
    fn tested(&self) -> Blame {
        if self.client.is_ours() { Blame::Client } else { Blame::Server }
    }

    /// The side that this crate plays, if it plays one.
    fn ours(&self) -> Option<Blame> {
        (self.client.is_ours() || self.server.is_ours()).then(|| self.tested())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Whoever is dropped takes the processes with them that they started.
    let mut terminated = signal(SignalKind::terminate()).expect("there is a runtime");
    let result = tokio::select! {
        result = run(&args) => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminated.recv() => Err("terminated".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<bool, String> {
    for dir in ["logs", "data"] {
        std::fs::create_dir_all(root().join(dir)).map_err(|e| e.to_string())?;
    }
    let (cases, missing) = cases(args)?;
    let tried = tried(args);
    let is_needed = |server: &&&dyn Server| {
        let mut needed = cases.iter().map(|case| case.server).chain(tried.iter().copied());
        needed.any(|needed| needed.name() == server.name())
    };
    for server in SERVERS.iter().filter(is_needed) {
        server.build()?;
    }
    if cases.iter().any(|case| case.client.name() == ExampleClient.name()) {
        ours::build("client")?;
    }
    for line in &missing {
        println!("{line}");
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(clock.as_secs());
    println!("seed {seed}");
    // Most of them wait for their clients most of the time.
    let all = cases.into_iter().map(|case| async {
        let (place, start) = (place(&case), Instant::now());
        (one(case, &place, Rng::new(seed)).await, place, start.elapsed())
    });
    let mut all = futures::stream::iter(all).buffered(args.jobs.max(1));
    let mut rows = Vec::new();
    while let Some((row, place, took)) = all.next().await {
        println!("{} ({:.1} s)", row.line(), took.as_secs_f64());
        row.explain(&place);
        rows.push(row);
    }
    let is_tried = tried.is_empty() || trial::run(&tried, args.trial.as_deref().unwrap_or_default(), args.jobs).await;
    println!();
    table::print(&rows);
    for line in &missing {
        println!("{line}");
    }
    let has_run = !rows.is_empty() || !tried.is_empty();
    Ok(missing.is_empty() && has_run && is_tried && rows.iter().all(Row::is_good))
}

/// The servers for the trials.
fn tried(args: &Args) -> Vec<&'static dyn Server> {
    let is_named = |server: &&dyn Server| args.peers.is_empty() || args.peers.iter().any(|peer| peer == server.name());
    if args.scenario.is_some() || CLIENTS.iter().any(|client| args.peers.iter().any(|peer| peer == client.name())) {
        return Vec::new();
    }
    let servers: [&dyn Server; 2] = [&prosody::ProsodySm, &prosody::Prosody];
    let is_ours = |server: &&dyn Server| !args.ours || server.is_ours();
    servers.into_iter().filter(is_named).filter(is_ours).filter(|server| server.version().is_ok()).collect()
}

async fn one(case: Case, place: &Place, mut rng: Rng) -> Row {
    let (tested, ours) = (case.tested(), case.ours());
    let Case { client, server, versions: [of_client, of_server], scenario } = case;
    let title = |name: &str, version: String| format!("{name} {version}").trim_end().to_owned();
    let mut row = Row {
        client: title(client.name(), of_client),
        server: title(server.name(), of_server),
        scenario: scenario.name(),
        tested,
        is_ours: ours.is_some(),
        known: [client.faults(), server.faults()],
        account: None,
        cpu: None,
        failed: None,
    };
    match Stage::set(client, server, place, scenario, ours).await {
        Ok(mut stage) => {
            let run = tokio::time::timeout(scenario.limit(), scenario.run(&mut stage, &mut rng, ours)).await;
            row.failed = run.unwrap_or_else(|_| Err("it took too long".into())).err();
            row.cpu = stage.cpu();
            row.account = Some(stage.audit());
            stage.clear().await;
        }
        Err(why) => row.failed = Some(why),
    }
    row
}

fn place(case: &Case) -> Place {
    Place { name: format!("{}-{}-{}", case.client.name(), case.server.name(), case.scenario.name()) }
}

/// What is to be run, and a line for each peer that is wanted and missing.
fn cases(args: &Args) -> Result<(Vec<Case>, Vec<String>), String> {
    let clients: Vec<&str> = CLIENTS.iter().map(|client| client.name()).collect();
    let servers: Vec<&str> = SERVERS.iter().map(|server| server.name()).collect();
    if let Some(unknown) = args.peers.iter().find(|peer| ![&clients[..], &servers].concat().contains(&peer.as_str())) {
        return Err(format!("no such peer: {unknown}; there are {} and {}", clients.join(", "), servers.join(", ")));
    }
    let is_named = |name: &str| args.peers.iter().any(|peer| peer == name);
    let are_clients_named = clients.iter().any(|name| is_named(name));
    let are_servers_named = servers.iter().any(|name| is_named(name));
    let (mut cases, mut missing) = (Vec::new(), Vec::new());
    let pairs = CLIENTS.into_iter().flat_map(|client| SERVERS.into_iter().map(move |server| (client, server)));
    for (client, server) in pairs {
        let scenarios = server.scenarios(client.is_ours());
        let is_asked = (!are_clients_named || is_named(client.name()))
            && if are_servers_named { is_named(server.name()) } else { server.is_in_table(client.is_ours()) };
        // A client that logs in inside of SASL2, or over WebSocket, needs a server that has it.
        let has_way = (server.is_inline() || !client.is_inline()) && (server.has_websocket() || !client.is_websocket());
        let is_left_out = args.ours && !client.is_ours() && !server.is_ours();
        if is_left_out || !is_asked || !has_way || !server.lets_in(client.name()) {
            continue;
        }
        match (client.version(), server.version()) {
            (Ok(client_version), Ok(server_version)) => {
                let wanted = |scenario: &&Scenario| {
                    let is_named = || args.scenario.as_ref().is_none_or(|name| name == scenario.name());
                    args.trial.is_none() && client.is_tried_with(scenario) && is_named()
                };
                cases.extend(scenarios.iter().filter(wanted).map(|scenario| Case {
                    client,
                    server,
                    versions: [client_version.clone(), server_version.clone()],
                    scenario: match scenario {
                        Scenario::Cuts(_) => Scenario::Cuts(args.cuts),
                        other => *other,
                    },
                }));
            }
            (client, server) => missing.extend([client, server].into_iter().filter_map(Result::err)),
        }
    }
    missing.sort();
    missing.dedup();
    Ok((cases, missing))
}
