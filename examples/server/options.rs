//! The command line.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use jid::DomainPart;
use xmpp_sm::snapshot::{Promise, Version};
use xmpp_sm::{AckFreq, Config, OnFull, StaleH};

use super::sasl::{Account, MECHANISMS};

/// Stanzas of a client that may be on their way at once; more are not read until some are settled.
pub const MAX_OPEN: u32 = 1000;

/// A small XMPP server whose streams can be resumed. Everything is kept in memory, and with `--state-dir` from one
/// run to the next.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Where to listen; port 0 takes any that is free. The address is printed as `listening on ADDRESS:PORT`
    #[arg(long, default_value = "127.0.0.1:5222")]
    pub listen: String,

    /// The domain that is served
    #[arg(long, default_value = "localhost")]
    pub domain: DomainPart,

    /// An account; may be given more than once
    #[arg(long = "user", value_name = "NAME:PASSWORD")]
    pub users: Vec<Account>,

    /// A SASL mechanism that is offered; may be given more than once. All that there are, unless given. `PLAIN` is offered
    /// only with TLS, or on a loopback interface
    #[arg(long = "mechanism", value_name = "NAME", default_values = MECHANISMS, value_parser = MECHANISMS)]
    pub mechanisms: Vec<String>,

    /// Whether SASL2 and Bind 2 are offered, with stream management inside of them, beside SASL and binding as of old: with
    /// TLS, or on a loopback interface
    #[arg(long, default_value = "on")]
    pub sasl2: Switch,

    /// Require STARTTLS, with a certificate that is made at the start and signed by itself, unless one is given
    #[arg(long)]
    pub tls: bool,

    /// The certificate, and those that vouch for it, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    pub tls_cert: Option<PathBuf>,

    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Write the certificate that is made at the start to this file, as PEM, for clients to trust
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "tls_cert")]
    pub tls_cert_out: Option<PathBuf>,

    /// Whether stream management is offered
    #[arg(long, default_value = "on")]
    pub sm: Switch,

    /// Whether client state indication is offered: what an inactive client need not see now waits
    #[arg(long, default_value = "on")]
    pub csi: Switch,

    /// Connections of each account, those without a session that can be resumed
    #[arg(long, default_value = "10", value_name = "CONNECTIONS")]
    pub connections_max: NonZeroUsize,

    /// Another domain, whose server connects to this one; or, where an address is given, this server to that one. May be
    /// given more than once
    #[arg(long = "link", value_name = "DOMAIN:SECRET[@ADDRESS]")]
    pub links: Vec<Peer>,

    /// Where other servers connect to. The address is printed
    #[arg(long, value_name = "ADDRESS")]
    pub listen_servers: Option<String>,

    /// A component, which connects to this server. May be given more than once
    #[arg(long = "component", value_name = "DOMAIN:SECRET", value_parser = Peer::component)]
    pub components: Vec<Peer>,

    /// Where components connect to. The address is printed
    #[arg(long, value_name = "ADDRESS")]
    pub listen_components: Option<String>,

    /// Stanzas kept for each session until its client acknowledges them
    #[arg(long, default_value = "100", value_name = "STANZAS")]
    pub buffer_max: NonZeroU32,

    /// Bytes kept for each session
    #[arg(long, default_value = "262144", value_name = "BYTES")]
    pub buffer_max_bytes: NonZeroUsize,

    /// Bytes of a client's stanzas that may be on their way at once
    #[arg(long, default_value = "524288", value_name = "BYTES")]
    pub receipts_max_bytes: NonZeroUsize,

    /// Stanzas that may wait for each session until its client has taken those before
    #[arg(long, default_value = "10000", value_name = "STANZAS")]
    pub backlog_max: NonZeroU32,

    /// Bytes of them, besides as many as may be kept for a user who is not there
    #[arg(long, default_value = "65536", value_name = "BYTES")]
    pub backlog_max_bytes: NonZeroUsize,

    /// With `--on-full evict-oldest`: bytes kept for each session of what has left the buffer, for its user's next session
    #[arg(long, default_value = "0", value_name = "BYTES")]
    pub evicted_max_bytes: usize,

    /// Bytes kept of messages for each user who is not there
    #[arg(long, default_value = "262144", value_name = "BYTES")]
    pub offline_max_bytes: usize,

    /// Bytes that each user may keep in private storage
    #[arg(long, default_value = "65536", value_name = "BYTES")]
    pub private_max_bytes: usize,

    /// Ask for an acknowledgement after so many stanzas, `self-clocked`, or `never`
    #[arg(long, default_value = "1", value_name = "STANZAS")]
    pub ack_freq: Freq,

    /// Seconds that a client gets to answer a request for an acknowledgement; 0: for ever
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    pub ack_timeout: Seconds,

    /// Seconds of silence after which a client is asked whether it is there, and has as long as `--ack-timeout` to answer; 0: it
    /// is not asked
    #[arg(long, default_value = "300", value_name = "SECONDS")]
    pub ping_after: Seconds,

    /// Seconds that a session waits for its client to come back; less than 1 or `none`: it does not
    #[arg(long, default_value = "600", value_name = "SECONDS")]
    pub resume_timeout: Seconds,

    /// Seconds for which a client may ask instead, at most
    #[arg(long, default_value = "none", value_name = "SECONDS")]
    pub resume_timeout_max: Seconds,

    /// Seconds that a session waits at least from when its client's device is woken, as by a push service: it is detached, or
    /// something was queued for it meanwhile
    #[arg(long, default_value = "none", value_name = "SECONDS")]
    pub wait_once_woken: Seconds,

    /// Whether `<failed/>` tells how many stanzas were handled in a session that is gone. Without that tokio-xmpp 6
    /// connects again for ever, and strophe.js sends everything again
    #[arg(long, default_value = "on")]
    pub stale_h: Switch,

    /// When more waits for a client than may: `end-after[=SECONDS]`, `end`, or `evict-oldest`
    /// (while stanzas are missing, it cannot be resumed)
    #[arg(long, default_value = "end-after=5", value_name = "POLICY")]
    pub on_full: Full,

    /// Where to show metrics for Prometheus, over HTTP. The address is printed as `metrics on ADDRESS:PORT`
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<String>,

    /// Where sessions are kept while the server is not running: it writes them down when it stops, and has them again
    /// when it starts. The directory is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// A Redis or Valkey that several of these servers share, as nodes of one: a client that comes back to another node has
    /// its session there. Presence stays within a node
    #[arg(long, value_name = "URL", conflicts_with = "state_dir")]
    pub store: Option<String>,

    /// The name of this node: no two that run have the same
    #[arg(long, default_value = "node", value_name = "NAME")]
    pub node: String,

    /// Seconds for which it may say nothing, and the others do not take it for dead. It says every second that it lives
    #[arg(long, default_value = "4", value_name = "SECONDS", value_parser = dead_after)]
    pub dead_after: Duration,

    /// With `--store`: seconds after which a node is gone that was told to stop. For half of them its sessions wait where the
    /// Redis has no memory left
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub stop_within: Duration,

    /// With `--store`: how long a session lives. Stanzas for other domains are in memory whatever is promised; with `durable`
    /// nothing waits until a client is active
    #[arg(long, default_value = "parked")]
    pub promise: Promised,

    /// With `--store` or `--state-dir`: the version of what is written down. While nodes run that cannot read the latest, or
    /// before a server is started that cannot: what they can
    #[arg(long, default_value = "2", value_name = "VERSION", value_parser = version)]
    pub snapshot_version: Version,

    /// Print to standard error the elements of stream management (`<-` from the client), and when a push service would wake
    /// a client's device: its session is detached, or something was queued for it meanwhile
    #[arg(long)]
    pub trace: bool,
}

impl Options {
    pub fn config(&self) -> Config {
        let config = Config::default()
            .buffer_max(self.buffer_max)
            .buffer_max_bytes(self.buffer_max_bytes)
            .receipts_max(NonZeroU32::new(MAX_OPEN).unwrap_or(NonZeroU32::MIN))
            .receipts_max_bytes(self.receipts_max_bytes)
            .backlog_max(self.backlog_max)
            // What one session of a user leaves goes to another at once.
            .backlog_max_bytes(self.backlog_max_bytes.saturating_add(self.offline_max_bytes))
            .evicted_max_bytes(self.evicted_max_bytes)
            .ack_timeout(self.ack_timeout.0)
            .resume_timeout(self.resume_timeout.0)
            .resume_timeout_max(self.resume_timeout_max.0)
            .stale_h(StaleH { enabled: self.stale_h == Switch::On, ..StaleH::default() })
            .on_full(self.on_full.0);
        match self.ack_freq.0 {
            Some(freq) => config.ack_freq(freq),
            None => config.request_acks(false),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// How long the sessions of a node live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Promised {
    /// As long as their node, or until it stops in good order
    Memory,
    /// One that has lost its stream outlives a node that is killed
    Parked,
    /// All outlive it, with every stanza
    Durable,
}

impl From<Promised> for Promise {
    fn from(promised: Promised) -> Self {
        match promised {
            Promised::Memory => Self::Memory,
            Promised::Parked => Self::Parked,
            Promised::Durable => Self::Durable,
        }
    }
}

/// Another domain.
#[derive(Clone, Debug)]
pub struct Peer {
    pub domain: DomainPart,
    pub secret: String,
    /// Where to connect to. None: it connects.
    pub address: Option<String>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.rsplit_once('@') {
            Some((peer, address)) => Ok(Self { address: Some(address.to_owned()), ..Self::component(peer)? }),
            None => Self::component(s),
        }
    }
}

impl Peer {
    fn component(s: &str) -> Result<Self, String> {
        let (domain, secret) = s.split_once(':').ok_or("DOMAIN:SECRET is what it takes")?;
        let domain = DomainPart::new(domain).map_err(|e| e.to_string())?.into_owned();
        Ok(Self { domain, secret: secret.to_owned(), address: None })
    }

    /// Other servers authenticate as users do.
    pub fn account(&self) -> Result<Account, String> {
        format!("{}:{}", self.domain, self.secret).parse()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Freq(Option<AckFreq>);

impl FromStr for Freq {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(match s {
            "never" => None,
            "self-clocked" => Some(AckFreq::SelfClocked),
            _ => Some(AckFreq::Every(s.parse().map_err(|_| "a number above 0, `self-clocked` or `never`")?)),
        }))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Option<Duration>);

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "none" | "0" => Ok(Self(None)),
            _ => Ok(Self(Some(seconds(s)?))),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Full(OnFull);

impl FromStr for Full {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(match s.split_once('=').unwrap_or((s, "5")) {
            ("end-after", grace) => OnFull::EndAfter(seconds(grace)?),
            ("end", "5") => OnFull::End,
            ("evict-oldest", "5") => OnFull::EvictOldest,
            _ => return Err("`end-after[=SECONDS]`, `end` or `evict-oldest`"),
        }))
    }
}

fn version(s: &str) -> Result<Version, &'static str> {
    match s {
        "1" => Ok(Version::V1),
        "2" => Ok(Version::V2),
        _ => Err("1 or 2"),
    }
}

/// Three times that a node says that it lives: an answer of the engine may take one. In an hour nobody would wait for the
/// sessions of a node that is dead.
fn dead_after(s: &str) -> Result<Duration, &'static str> {
    match s.parse() {
        Ok(seconds @ 3..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds from 3 to 3600: a node says every second that it lives"),
    }
}

fn seconds(s: &str) -> Result<Duration, &'static str> {
    let seconds = s.parse().map_err(|_| "a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "a number of seconds")
}
