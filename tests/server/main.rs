//! The examples, each before a peer that keeps a protocol of its own: the server byte for byte, before a client that is
//! nothing but a socket (`detach`: one that does not answer) and before tokio-xmpp (`tokio_xmpp`); the client, before a
//! server that does what its script says (`example_client`).
//!
//! Nothing here waits for time to pass but for what time brings about, and none of it is told to be quick: `TIME` is
//! only there so that a test which fails ends. Server and clients share one thread. Whoever gets an answer knows,
//! therefore, that the server has also seen what reached it before the question.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do
#![allow(clippy::duplicate_mod, reason = "the example client has the server's XML reader for its own")]

mod blocked;
mod bounds;
mod client;
mod csi;
mod detach;
mod disposition;
mod ending;
mod errors;
mod example_client;
mod full;
mod inline;
mod links;
mod memory;
mod metrics;
mod presence;
#[path = "../../examples/resume/proxy.rs"]
mod proxy;
mod push;
mod reader;
mod restart;
mod resuming;
#[path = "../../examples/server/mod.rs"]
mod server;
mod silence;
mod storage;
mod talking;
mod tls;
mod tokio_xmpp;
mod typed;
mod xml;

use std::time::Duration;

use clap::Parser;
use server::options::Options;
use server::{Running, Server};

/// How long anything may take.
const TIME: Duration = Duration::from_secs(60);

const OPTIONS: [&str; 5] =
    ["server", "--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--mechanism=PLAIN"];

/// A server for one test. It stops when this is dropped.
async fn start(options: &[&str]) -> Running {
    let options = Options::parse_from(OPTIONS.iter().chain(options));
    Server::start(&options, None).await.expect("a free port")
}

fn message(to: &str, body: impl std::fmt::Display) -> String {
    format!("<message to='{to}' type='chat'><body>{body}</body></message>")
}

/// Messages with the bodies `1.` to `count.`
fn messages(to: &str, count: usize) -> String {
    (1..=count).map(|number| message(to, format_args!("{number}."))).collect()
}

/// The numbers in the bodies of the messages that were received.
fn numbers(received: &str) -> Vec<usize> {
    let bodies = received.split("<body>").skip(1);
    bodies.filter_map(|body| body.split_once('.')?.0.parse().ok()).collect()
}

fn all(count: usize) -> Vec<usize> {
    (1..=count).collect()
}
