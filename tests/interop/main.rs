//! Real clients and real servers, run against this crate's examples. See README.md in this directory.

mod account;
mod driver;
mod ejabberd;
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
mod record;
mod rng;
mod scenario;
mod slixmpp;
mod stage;
mod table;
mod tokio_xmpp;
mod wire;
mod xmpp_js;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::account::Blame;
use crate::ours::{ExampleClient, ExampleServer};
use crate::peers::{Client, Place, Server, root};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::table::Row;

/// Runs real XMPP clients and servers against this crate's examples and accounts for every message.
#[derive(Parser)]
struct Args {
    /// Peers to run; all of them when none is named.
    peers: Vec<String>,
    /// How often each session is cut.
    #[arg(long, default_value_t = 100)]
    cuts: usize,
    /// Repeats the random choices of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this scenario.
    #[arg(long)]
    scenario: Option<String>,
    /// Runs the clients against `prosody` or `ejabberd` instead of our server: is it the client, or is it us?
    #[arg(long)]
    against: Option<String>,
}

const CLIENTS: [&dyn Client; 5] = [
    &slixmpp::Slixmpp,
    &xmpp_js::XmppJs { inline: false },
    &xmpp_js::XmppJs { inline: true },
    &tokio_xmpp::TokioXmpp,
    &libstrophe::Libstrophe,
];
const SERVERS: [&dyn Server; 2] = [&prosody::Prosody, &ejabberd::Ejabberd];

/// One row of the table.
struct Case {
    peer: &'static str,
    version: String,
    client: &'static dyn Client,
    server: &'static dyn Server,
    scenario: Scenario,
    /// The side that this crate plays, if it plays one.
    ours: Option<Blame>,
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
    ours::build(&["server", "client"])?;
    let (cases, missing) = cases(args)?;
    for line in &missing {
        println!("{line}");
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(clock.as_secs());
    println!("seed {seed}");
    let mut rows = Vec::new();
    for case in cases {
        let (place, start) = (place(&case), Instant::now());
        let row = one(case, &place, Rng::new(seed)).await;
        println!("{} ({:.1} s)", row.line(), start.elapsed().as_secs_f64());
        row.explain(&place);
        rows.push(row);
    }
    println!();
    table::print(&rows);
    for line in &missing {
        println!("{line}");
    }
    Ok(missing.is_empty() && !rows.is_empty() && rows.iter().all(Row::is_good))
}

async fn one(case: Case, place: &Place, mut rng: Rng) -> Row {
    let Case { peer, version, client, server, scenario, ours } = case;
    let known = [client.faults(), server.faults()].concat();
    let mut row = Row { peer, version, scenario: scenario.name(), ours, known, account: None, failed: None };
    match Stage::set(client, server, place, scenario, ours).await {
        Ok(mut stage) => {
            let run = tokio::time::timeout(scenario.limit(), scenario.run(&mut stage, &mut rng, ours)).await;
            row.failed = run.unwrap_or_else(|_| Err("it took too long".into())).err();
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

/// What is to be run, and a line for each peer that was asked for and is missing.
fn cases(args: &Args) -> Result<(Vec<Case>, Vec<String>), String> {
    let names: Vec<&str> = CLIENTS.iter().map(|c| c.name()).chain(SERVERS.iter().map(|s| s.name())).collect();
    if let Some(unknown) = args.peers.iter().find(|peer| !names.contains(&peer.as_str())) {
        return Err(format!("no such peer: {unknown}; there are {}", names.join(", ")));
    }
    let asked = |name: &str| args.peers.is_empty() || args.peers.iter().any(|peer| peer == name);
    let against = match &args.against {
        Some(name) => Some(*SERVERS.iter().find(|s| s.name() == name).ok_or("no such server to run against")?),
        None => None,
    };
    let (mut cases, mut missing) = (Vec::new(), Vec::new());
    let mut add = |peer, version: Result<String, String>, client, server, ours, scenarios: &[Scenario]| match version {
        Ok(version) => cases.extend(scenarios.iter().map(|scenario| Case {
            peer,
            version: version.clone(),
            client,
            server,
            scenario: *scenario,
            ours,
        })),
        Err(line) => missing.push(line),
    };
    let cuts = Scenario::Cuts(args.cuts);
    for client in CLIENTS.into_iter().filter(|client| asked(client.name())) {
        let scenarios = [cuts, Scenario::Expired, Scenario::TakeOver, Scenario::Full];
        match against {
            // What a server does when its buffer is full is its own.
            Some(server) => add(client.name(), client.version(), client, server, None, &scenarios[..3]),
            None => add(client.name(), client.version(), client, &ExampleServer, Some(Blame::Server), &scenarios),
        }
    }
    for server in SERVERS.into_iter().filter(|server| against.is_none() && asked(server.name())) {
        let mut scenarios = vec![cuts, Scenario::Expired, Scenario::TakeOver, Scenario::Twice];
        scenarios.extend([Scenario::Calm, Scenario::Farewell]);
        // Prosody does not heed `max`, and is deaf where ejabberd is not.
        scenarios.push(if server.name() == "prosody" { Scenario::Deaf } else { Scenario::Max });
        add(server.name(), server.version(), &ExampleClient, server, Some(Blame::Client), &scenarios);
    }
    cases.retain(|case| args.scenario.as_ref().is_none_or(|name| name == case.scenario.name()));
    Ok((cases, missing))
}
