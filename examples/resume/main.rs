//! Two clients talk through a server while their connections are cut, and nothing is lost:
//!
//! ```text
//! cargo run --example resume
//! ```
//!
//! The server is the other example; the clients are `tokio-xmpp`, which resumes by itself; the cuts are made by a
//! small proxy in between. What is printed is each element of stream management, as the server sees it. The last
//! line counts. With `-- --inline` the clients are those of the example `client`, and each comes back in one round trip:
//! `<resume/>` stands in its `<authenticate/>`, and `<resumed/>` in `<success/>`. The exit status is 1 if anything was lost, came twice or
//! out of order, or was not resumed.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do
#![allow(clippy::duplicate_mod, reason = "the example client has the server's XML reader for its own")]

mod client;
#[expect(dead_code, reason = "it reads no standard input here")]
#[path = "../client/mod.rs"]
mod example_client;
mod proxy;
#[path = "../server/mod.rs"]
mod server;
mod talks;

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use client::{Client, Seen};
use jid::FullJid;
use proxy::{Cut, Done, Way};
use server::Server;
use server::options::Options;
use server::trace::{Traced, What};
use talks::{Inline, Talks};

/// Messages each way.
const MESSAGES: usize = 30;
/// Far more than it takes.
const TIME: Duration = Duration::from_secs(30);

/// Romeo loses his connection in the middle of a message that he sends, and the next one between a message that he
/// gets and his acknowledgement of it.
const ROMEO: [Cut; 2] = [
    Cut { way: Way::ToServer, what: "<message", nth: 10, keep: 30 },
    Cut { way: Way::ToClient, what: "</message>", nth: 5, keep: "</message>".len() },
];
/// Juliet loses hers in the middle of a message that she gets.
const JULIET: [Cut; 1] = [Cut { way: Way::ToClient, what: "<message", nth: 15, keep: 30 }];

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    match std::env::args().nth(1).as_deref() {
        None => run::<Client>().await,
        Some("--inline") => run::<Inline>().await,
        Some(other) => Err(format!("{other}? There is --inline, and nothing else").into()),
    }
}

async fn run<C: Talks>() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let log = Log(Instant::now());
    let trace = move |traced: &Traced<'_>| {
        let (way, nonza) = match traced.what {
            What::From(nonza) => ("-> server", nonza),
            What::To(nonza) => ("<- server", nonza),
            _ => return,
        };
        log.line(traced.client, way, &nonza.to_string().replace(" xmlns='urn:xmpp:sm:3'", ""));
    };
    let options = ["server", "--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--ack-freq=3"];
    let server = Server::start(&Options::parse_from(options), Some(Arc::new(trace))).await?;

    let (orchard, balcony) = ("romeo@localhost/orchard".parse()?, "juliet@localhost/balcony".parse()?);
    let cuts = Arc::new(AtomicUsize::new(0));
    let mut romeo: C = connect(&orchard, &balcony, server.address, &ROMEO, log, cuts.clone()).await?;
    let mut juliet: C = connect(&balcony, &orchard, server.address, &JULIET, log, cuts.clone()).await?;
    let talk = async {
        tokio::join!(romeo.bound(), juliet.bound());
        tokio::join!(romeo.talk(&balcony, MESSAGES, TIME), juliet.talk(&orchard, MESSAGES, TIME));
        tokio::join!(romeo.finish(), juliet.finish())
    };
    let Ok((romeo, juliet)) = tokio::time::timeout(TIME, talk).await else {
        return Err("it takes too long".into());
    };
    server.stop().await;
    Ok(if account(cuts.load(Ordering::Relaxed), &romeo, &juliet) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A client, and a proxy between it and the server.
async fn connect<C: Talks>(
    jid: &FullJid,
    peer: &FullJid,
    server: SocketAddr,
    cuts: &[Cut],
    log: Log,
    count: Arc<AtomicUsize>,
) -> std::io::Result<C> {
    let who = jid.to_string();
    let report = move |done: Done| {
        count.fetch_add(1, Ordering::Relaxed);
        let to = if done.cut.way == Way::ToServer { "to the server" } else { "to the client" };
        log.line(&who, "   ---   ", &format!("the connection is cut after {} bytes {to}", done.bytes));
    };
    let proxy = proxy::start(server, cuts.iter().copied(), report).await?;
    Ok(C::connect(jid.clone(), peer, proxy))
}

/// Prints what became of the messages, and tells whether that is as it should be.
fn account(cuts: usize, romeo: &Seen, juliet: &Seen) -> bool {
    let (mut delivered, mut twice, mut in_order) = (0, 0, true);
    for received in [&romeo.received, &juliet.received] {
        let different = received.iter().collect::<BTreeSet<_>>().len();
        delivered += different;
        twice += received.len() - different;
        in_order &= received.is_sorted();
    }
    let sent = romeo.sent + juliet.sent;
    let resumed = romeo.resumed + juliet.resumed;
    let lost = sent - delivered;
    println!("{cuts} cuts, {resumed} resumed, {sent} sent, {delivered} delivered, {lost} lost, {twice} duplicated");
    let planned = ROMEO.len() + JULIET.len();
    cuts == planned && resumed == planned && sent == 2 * MESSAGES && lost == 0 && twice == 0 && in_order
}

/// One line for each thing that happens, with the time since the start.
#[derive(Clone, Copy)]
struct Log(Instant);

impl Log {
    fn line(self, client: &str, way: &str, what: &str) {
        let who = client.split('@').next().unwrap_or_default();
        println!("{:>5} ms  {who:<6}  {way}  {what}", self.0.elapsed().as_millis());
    }
}
