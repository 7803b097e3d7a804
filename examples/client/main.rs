//! A small XMPP client with stream management. It connects again whenever its connection is lost, resumes its
//! session, and is told what to do on standard input:
//!
//! ```text
//! cargo run --example client -- --connect 127.0.0.1:5222 --jid romeo@localhost/orchard --password secret \
//!     --partner juliet@localhost
//! ```
//!
//! What it takes and what it prints stands in `lines.rs`; what it does with the crate, in `session.rs`.

mod elements;
mod lines;
mod login;
mod session;
// The example server's: a connection, and XML on it.
#[allow(dead_code, reason = "a server does more with it")]
#[path = "../server/stream.rs"]
mod stream;
#[allow(dead_code, reason = "a server does more with it")]
#[path = "../server/xml.rs"]
mod xml;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use jid::{FullJid, Jid};
use session::{Client, Over};

/// How long after a lost connection the next one is tried.
const PAUSE: Duration = Duration::from_millis(10);

/// A small XMPP client whose session survives its connections.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// The server's address
    #[arg(long)]
    pub connect: SocketAddr,

    /// Who we are, with the resource
    #[arg(long)]
    pub jid: FullJid,

    #[arg(long)]
    pub password: String,

    /// Whom messages go to
    #[arg(long)]
    pub partner: Jid,

    /// Seconds for which the server is asked to keep the session; 0: it is not
    #[arg(long, default_value = "600")]
    pub max: u64,

    /// Seconds for which the server may leave an `<r/>` unanswered
    #[arg(long, default_value = "60")]
    pub ack_timeout: u64,
}

#[tokio::main]
async fn main() {
    let mut client = Client::new(Options::parse(), lines::read());
    loop {
        match client.connection().await {
            Over::Quit => return,
            Over::Lost(why) => lines::print("offline", &why),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
