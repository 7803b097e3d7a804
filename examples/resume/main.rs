//! Two clients talk through a server while their connections are cut, and nothing is lost:
//!
//! ```text
//! cargo run --example resume
//! ```
//!
//! The server is the other example; the clients are `tokio-xmpp`, which resumes by itself; the cuts are made by a
//! small proxy in between. What is printed is each element of stream management, as the server sees it. The last
//! line counts, and the exit status is 1 if anything was lost, came twice, or was not resumed.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

mod client;
mod proxy;
#[path = "../server/mod.rs"]
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use client::{Client, Report};
use proxy::{Cut, Done, Proxy, Way};
use server::Server;
use server::options::Options;
use server::trace::Traced;

/// Messages each way.
const MESSAGES: usize = 30;
/// Far more than it takes.
const TIME: Duration = Duration::from_secs(30);

/// Romeo loses his connection in the middle of a message that he sends, and the next one between a message that he
/// gets and his acknowledgement of it. Juliet loses hers in the middle of a message that she gets.
const ROMEO: [Cut; 2] = [
    Cut { way: Way::ToServer, what: "<message", nth: 10, keep: 30 },
    Cut { way: Way::ToClient, what: "</message>", nth: 5, keep: "</message>".len() },
];
const JULIET: [Cut; 1] = [Cut { way: Way::ToClient, what: "<message", nth: 15, keep: 30 }];

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let start = Instant::now();
    let print = move |who: &str, way: &str, what: &str| {
        println!("{:>5} ms  {who:<6}  {way}  {what}", start.elapsed().as_millis());
    };
    let trace = move |traced: &Traced<'_>| {
        let who = traced.client.split('@').next().unwrap_or_default();
        let way = if traced.from_client { "-> server" } else { "<- server" };
        print(who, way, &traced.nonza.to_string().replace(" xmlns='urn:xmpp:sm:3'", ""));
    };
    let options = ["server", "--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--ack-freq=3"];
    let server = Server::start(&Options::parse_from(options), Some(Arc::new(trace))).await?;

    let (mut romeo, romeo_cuts) = connect("romeo", server.address, &ROMEO, print).await?;
    let (mut juliet, juliet_cuts) = connect("juliet", server.address, &JULIET, print).await?;
    let talk = async {
        tokio::join!(romeo.bound(), juliet.bound());
        tokio::join!(romeo.talk("juliet", MESSAGES), juliet.talk("romeo", MESSAGES))
    };
    // A client that waits in vain has its report made for it.
    let finished = tokio::time::timeout(TIME, talk).await.is_ok();
    let cuts = romeo_cuts.await? + juliet_cuts.await?;
    let report = Report::of(&romeo.report, &juliet.report);
    tokio::join!(romeo.close(), juliet.close());
    server.stop().await;

    let resumed = report.resumed;
    println!("{cuts} cuts, {resumed} resumed, {report}");
    let good = finished && cuts == ROMEO.len() + JULIET.len() && resumed == cuts && report.is_clean();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
