//! Real clients and real servers, run against this crate's examples. See README.md in this directory.

mod account;
mod driver;
mod journal;
mod ledger;
mod login;
mod partner;
mod peers;
mod prosody;
mod proxy;
mod record;
mod rng;
mod scenario;
mod table;
mod tokio_xmpp;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::peers::{Client, Options, Place, Server};
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

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop");
    std::fs::create_dir_all(root.join("logs")).unwrap();
    std::fs::create_dir_all(root.join("data")).unwrap();
    let place = Place {
        root,
        name: "tokio-cuts".into(),
    };
    let client: &dyn Client = &tokio_xmpp::TokioXmpp;
    let server: &dyn Server = &prosody::Prosody;
    let seed = args.seed.unwrap_or(1);
    let mut rng = Rng::new(seed);
    let result = async {
        let mut stage = Stage::set(client, server, &Options::default(), &place).await?;
        cuts::run(&mut stage, args.cuts, &mut rng).await?;
        Ok(stage.audit(false))
    };
    let row = Row {
        peer: client.name().into(),
        version: client.version().unwrap(),
        scenario: "cuts",
        ours: None,
        result: result.await,
    };
    explain(&row, &place.log("wire"));
    let rows = [row];
    table::print(&rows);
    if rows.iter().all(Row::is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
