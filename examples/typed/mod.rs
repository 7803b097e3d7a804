//! An XMPP server whose stanzas are those of `xmpp_parsers`.

pub mod client;
pub mod connect;
#[path = "../../src/host/typed.rs"]
pub mod connection;
mod login;
pub mod router;
mod session;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jid::{DomainPart, NodePart};
use rand::TryRng;
use sasl::secret::Pbkdf2Sha1;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_xmpp::xmlstream::{FallibleStreamElement, XmppStreamElement};
use xmpp_sm::{Config, MemoryStore, StaleH};

use connection::Incoming;
use router::Router;
use session::Mailbox;

/// A small XMPP server whose stanzas are types
#[derive(Args, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, default_value = "127.0.0.1:5222")]
    pub listen: String,

    /// The domain that is served
    #[arg(long, default_value = "localhost")]
    pub domain: DomainPart,

    /// An account; may be given more than once
    #[arg(long = "user", value_name = "NAME:PASSWORD")]
    pub users: Vec<User>,

    /// Seconds that a session waits for its client to come back
    #[arg(long, default_value = "600", value_name = "SECONDS")]
    pub resume_timeout: u64,

    /// Stanzas kept for each session until its client acknowledges them
    #[arg(long, default_value = "100", value_name = "STANZAS")]
    pub buffer_max: NonZeroU32,
}

/// `NAME:PASSWORD`, as on the command line.
#[derive(Clone, Debug)]
pub struct User {
    name: NodePart,
    password: String,
}

impl FromStr for User {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, password) = s.split_once(':').ok_or("NAME:PASSWORD is what it takes")?;
        let name = NodePart::new(name).map_err(|e| e.to_string())?.into_owned();
        Ok(Self { name, password: password.to_owned() })
    }
}

struct Server {
    domain: String,
    config: Arc<Config>,
    /// Of each user, the salted password.
    secrets: HashMap<String, Pbkdf2Sha1>,
    store: MemoryStore<Mailbox>,
    router: Router,
}

/// Returns the address, and the server's task.
pub async fn start(options: &Options) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(&options.listen).await?;
    let secret = |user: &User| {
        let salt = random().to_ne_bytes();
        let secret = Pbkdf2Sha1::derive(&user.password, &salt, 4096);
        secret.map(|secret| (user.name.to_string(), secret)).map_err(|error| io::Error::other(format!("{error:?}")))
    };
    let config = Config::default()
        .buffer_max(options.buffer_max)
        .resume_timeout(Some(Duration::from_secs(options.resume_timeout)))
        // tokio-xmpp 6 takes a `<failed/>` without h for a parse error, and connects without end.
        .stale_h(StaleH { enabled: true, ..StaleH::default() });
    let config = Arc::new(config);
    let server = Arc::new(Server {
        domain: options.domain.to_string(),
        secrets: options.users.iter().map(secret).collect::<io::Result<_>>()?,
        store: MemoryStore::new(&config),
        config,
        router: Router::default(),
    });
    let address = listener.local_addr()?;
    let running = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(login::log_in(tcp, server.clone()));
        }
    });
    Ok((address, running))
}

/// As one of the types that tokio-xmpp reads.
fn read(element: Incoming) -> Option<XmppStreamElement> {
    match element.content {
        Ok(FallibleStreamElement::Ok(element)) => Some(element),
        _ => None,
    }
}

fn random() -> u64 {
    rand::rngs::SysRng.try_next_u64().expect("the system's random numbers")
}
