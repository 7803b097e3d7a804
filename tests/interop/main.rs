//! Real clients and real servers, run against this crate's examples. See README.md in this directory.

mod account;
mod driver;
mod faithful;
mod journal;
mod ledger;
mod libstrophe;
mod login;
mod ours;
mod partner;
mod peers;
mod prosody;
mod proxy;
mod record;
mod rng;
mod scenario;
mod slixmpp;
mod table;
mod tokio_xmpp;
mod wire;
mod xmpp_js;

use std::process::ExitCode;

use clap::Parser;

use crate::account::Blame;
use crate::peers::{Client, Options, Place, Server, root};
use crate::rng::Rng;
use crate::scenario::{Stage, cuts};
use crate::table::{Row, explain};

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
}

const CLIENTS: [&dyn Client; 4] =
    [&slixmpp::Slixmpp, &xmpp_js::XmppJs, &tokio_xmpp::TokioXmpp, &libstrophe::Libstrophe];

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    for dir in ["logs", "data"] {
        std::fs::create_dir_all(root().join(dir)).unwrap();
    }
    let seed = args.seed.unwrap_or(1);
    ours::build(&["server"]).unwrap();
    let server: &dyn Server =
        if std::env::var_os("PROSODY").is_some() { &prosody::Prosody } else { &ours::ExampleServer };
    let mut rows = Vec::new();
    for client in CLIENTS {
        if !args.peers.is_empty() && !args.peers.iter().any(|p| p == client.name()) {
            continue;
        }
        let mut rng = Rng::new(seed);
        let place = Place { name: format!("{}-cuts-{}", client.name(), server.name()) };
        let result = async {
            let mut stage = Stage::set(client, server, &Options::default(), &place).await?;
            let ended = cuts::run(&mut stage, args.cuts, &mut rng).await;
            println!("{ended:?}");
            Ok(stage.audit())
        };
        let row = Row {
            peer: client.name().into(),
            version: client.version().unwrap(),
            scenario: "cuts",
            ours: (server.name() == "xmpp-sm").then_some(Blame::Server),
            result: result.await,
        };
        explain(&row, &place.log("wire"));
        rows.push(row);
    }
    table::print(&rows);
    if rows.iter().all(Row::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
