//! Real clients and real servers, run against this crate's examples. See README.md in this directory.

mod driver;
mod journal;
mod login;
mod partner;
mod peers;
mod prosody;
mod proxy;
mod record;
mod rng;
mod scenario;
mod tokio_xmpp;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::peers::{Client, Options, Place, Server};
use crate::rng::Rng;
use crate::scenario::{Stage, cuts};

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
    let place = Place {
        root,
        name: "tokio-cuts".into(),
    };
    let client: &dyn Client = &tokio_xmpp::TokioXmpp;
    let server: &dyn Server = &prosody::Prosody;
    println!("{:?} {:?}", client.version(), server.version());
    let mut rng = Rng::new(args.seed.unwrap_or(1));
    let r = async {
        let mut stage = Stage::set(client, server, &Options::default(), &place).await?;
        println!("online");
        let r = cuts::run(&mut stage, args.cuts, &mut rng).await;
        stage.journal.with(|s| {
            println!(
                "{:#?} {:#?}",
                s.tally(journal::End::Client),
                s.tally(journal::End::Partner)
            )
        });
        r
    };
    println!("{:?}", r.await);
    ExitCode::SUCCESS
}
