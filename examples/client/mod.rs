//! An XMPP client that uses `xmpp_sm` as any other client would.

pub mod connection;
pub mod lines;
// The example server's.
#[allow(dead_code, reason = "a server does more with it")]
#[path = "../server/xml.rs"]
pub mod xml;

mod login;
mod message;
mod session;
mod user;

use std::net::SocketAddr;
use std::num::ParseFloatError;
use std::time::Duration;

use clap::Parser;
use jid::{FullJid, Jid};
use xmpp_sm::Config;

#[allow(unused_imports, reason = "tests see what it says")]
pub use login::Refused;
pub use session::run;

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
    #[arg(long, default_value = "600", value_parser = seconds)]
    pub max: Duration,

    /// Seconds for which the server may leave an `<r/>` unanswered
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub ack_timeout: Duration,

    /// Authenticate by SASL2, and resume or bind in the same round trip, where the server offers it
    #[arg(long)]
    pub inline: bool,

    /// Seconds for a login, and then for each reply to what is asked of the server
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub reply_timeout: Duration,

    /// Seconds between two tries to connect, at most. After a connection is lost it is a thirty-second of that, and twice as
    /// long each time until there is a session again, less up to a half at random
    #[arg(long, default_value = "16", value_parser = seconds)]
    pub longest_pause: Duration,
}

impl Options {
    fn config(&self) -> Config {
        Config::default()
            .resume_timeout(Some(self.max))
            .ack_timeout(Some(self.ack_timeout))
            .reply_timeout(self.reply_timeout)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|error: ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
