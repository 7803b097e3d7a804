//! A small XMPP server with stream management:
//!
//! ```text
//! cargo run --example server -- --user romeo:secret --user juliet:secret --trace
//! ```

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

#[path = "mod.rs"]
mod server;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use clap::Parser;
use server::Server;
use server::options::Options;
use server::trace::Traced;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let options = Options::parse();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whoever reads the trace may stop; the server does not.
    let print = |traced: &Traced<'_>| writeln!(std::io::stderr(), "{traced}").unwrap_or_default();
    let running = Server::start(&options, options.trace.then(|| Arc::new(print) as _)).await?;
    println!("listening on {}", running.address);
    if let Some(metrics) = running.metrics {
        println!("metrics on {metrics}");
    }
    running.servers.iter().for_each(|address| println!("listening for servers on {address}"));
    running.components.iter().for_each(|address| println!("listening for components on {address}"));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.stop().await;
    Ok(())
}
