//! A small XMPP client with stream management. It connects again whenever its connection is lost, resumes its
//! session, and is told what to do on standard input:
//!
//! ```text
//! cargo run --example client -- --connect 127.0.0.1:5222 --jid romeo@localhost/orchard --password secret \
//!     --partner juliet@localhost
//! ```
//!
//! What it takes and what it prints stands in `lines.rs`; what it does with the crate, in `session.rs`.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

#[path = "mod.rs"]
mod client;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let run = client::run(client::Options::parse(), client::lines::read(), |line| println!("{line}"));
    match run.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            eprintln!("{refused}");
            ExitCode::FAILURE
        }
    }
}
