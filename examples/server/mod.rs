//! An XMPP server that uses `xmpp_sm` as any other server would.
//!
//! A connection begins as a task that negotiates ([`negotiate`], [`sasl`], [`tls`]) and logs in ([`login`]). A client
//! that binds a resource gets a [`session`], which is a task of its own and stays one, with a connection or without. A
//! client that comes back has its new connection sent to the session, which is found by its SM-ID ([`smids`]). Sessions
//! reach each other through the [`router`] alone, each by its [mailbox](mail). Between two runs of the server they are
//! [`state`], and several servers share them as [`nodes`]. Other domains are linked by [`links`], each by a session.

pub mod links;
pub mod mail;
pub mod metrics;
pub mod options;
pub mod router;
pub mod sasl;
pub mod session;
pub mod stanza;
pub mod state;
pub mod trace;
pub mod xml;

mod csi;
#[path = "../../src/host/inline.rs"]
mod host_inline; // the page of the documentation
mod inline;
mod iq;
mod login;
mod negotiate;
mod nodes;
mod offline;
mod places;
mod presence;
mod silence;
mod smids;
mod stream;
mod tls;

use std::error::Error;
use std::hash::RandomState;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jid::DomainPart;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use xmpp_sm::snapshot::Version;
use xmpp_sm::{Config, Location, MemoryStore, Nonza, Write};

use links::Peers;
use mail::{Handle, Mail};
use metrics::Metrics;
use nodes::Nodes;
use options::{Options, Switch};
use places::Places;
use router::Router;
use sasl::{Accounts, Offered};
use silence::Patience;
use stanza::Written;
use stream::Connection;
use trace::{Trace, Traced, What};

/// How long everybody gets to leave when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// The same, where sessions are written down.
const KEEPING: Duration = Duration::from_secs(60);

/// What all tasks share.
pub struct Server {
    domain: DomainPart,
    accounts: Arc<Accounts>,
    offered: Offered,
    /// From a client to its resource.
    resources: RandomState,
    tls: Option<TlsAcceptor>,
    /// Whether stream management is offered.
    sm: bool,
    /// Whether client state indication is offered.
    csi: bool,
    places: Arc<Places>,
    config: Arc<Config>,
    peers: Peers,
    /// How long stanzas wait for another server that cannot be reached.
    patience: Duration,
    patience_with_silence: Patience,
    /// How long a session waits for its client from when its device is woken.
    waits_once_woken: Option<Duration>,
    store: MemoryStore<Handle>,
    /// What the server shares with others, if it is one of several.
    nodes: Option<Arc<Nodes>>,
    router: Router,
    trace: Option<Trace>,
    metrics: Option<Arc<Metrics>>,
    ids: AtomicU64,
    stopping: Stopping,
    /// Where sessions are kept when it stops, if they are.
    state_dir: Option<PathBuf>,
    /// Of what is written down.
    snapshot_version: Version,
    /// Closed when the last task has let go of the server.
    _alive: mpsc::Sender<()>,
}

/// Knows when the server stops.
#[derive(Clone)]
struct Stopping(watch::Receiver<bool>);

impl Stopping {
    fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    async fn wait(&mut self) {
        // An error: nobody is left who could stop it in good order.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// A server that runs until it is told to stop.
pub struct Running {
    pub address: SocketAddr,
    /// Where other servers connect to.
    #[allow(dead_code, reason = "the example `resume` has a server and does not ask")]
    pub servers: Option<SocketAddr>,
    /// Where components do.
    #[allow(dead_code, reason = "the example `resume` has a server and does not ask")]
    pub components: Option<SocketAddr>,
    /// Where the metrics are, if they were asked for.
    #[allow(dead_code, reason = "the example `resume` has a server and does not ask")]
    pub metrics: Option<SocketAddr>,
    pub farewell: Duration,
    nodes: Option<Arc<Nodes>>,
    server: Weak<Server>,
    stop: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
}

impl Server {
    pub async fn start(options: &Options, trace: Option<Trace>) -> Result<Running, Box<dyn Error + Send + Sync>> {
        let (clients, address) = bind(&options.listen).await?;
        let servers = bind_if(options.listen_servers.as_ref()).await?;
        let components = bind_if(options.listen_components.as_ref()).await?;
        let watchers = bind_if(options.metrics.as_ref()).await?;
        let metrics = watchers.is_some().then(Metrics::new);
        let accounts = Arc::new(Accounts::new(options.users.iter().cloned()));
        let mut config = options.config();
        // Where it listens on every address, nothing says which of them a client can reach.
        if options.store.is_some() && !address.ip().is_unspecified() {
            config = config.location(Location::new(&address.to_string()).ok());
        }
        let config = Arc::new(config);
        let nodes = Nodes::join(options, &config).await?;
        let (stop, stopping) = watch::channel(false);
        let (_alive, alive) = mpsc::channel(1);
        let server = Arc::new(Self {
            router: Router::new(options, accounts.clone(), metrics.clone(), nodes.clone()),
            tls: options.tls.then(|| tls::acceptor(options)).transpose()?,
            domain: options.domain.clone(),
            offered: Offered { mechanisms: options.mechanisms.clone(), sasl2: options.sasl2 == Switch::On },
            resources: RandomState::new(),
            sm: options.sm == Switch::On,
            csi: options.csi == Switch::On,
            places: Places::new(options.connections_max),
            peers: Peers::new(options)?,
            patience: options.resume_timeout.0.unwrap_or_default(),
            patience_with_silence: Patience { asks_after: options.ping_after.0, waits: options.ack_timeout.0 },
            waits_once_woken: options.wait_once_woken.0,
            store: MemoryStore::new(&config),
            nodes: nodes.clone(),
            accounts,
            config,
            trace,
            metrics,
            ids: AtomicU64::new(0),
            stopping: Stopping(stopping),
            state_dir: options.state_dir.clone(),
            snapshot_version: options.snapshot_version,
            _alive,
        });
        if let Some(dir) = &options.state_dir {
            // Before anybody can ask for them.
            state::restore(&server, dir)?;
            tokio::spawn(state::keep(server.clone(), dir.clone()));
        }
        if let Some(nodes) = &nodes {
            server.metrics.iter().for_each(|metrics| metrics.add_mail(&nodes.link.counters));
            nodes.run(&server);
        }
        tokio::spawn(smids::sweep(server.clone()));
        links::server::connect(&server, &options.links);
        let running = Running {
            address,
            servers: servers.as_ref().map(|(_, address)| *address),
            components: components.as_ref().map(|(_, address)| *address),
            metrics: watchers.as_ref().map(|(_, address)| *address),
            farewell: match &nodes {
                Some(nodes) => nodes.stop_within,
                None if options.state_dir.is_some() => KEEPING,
                None => FAREWELL,
            },
            nodes,
            server: Arc::downgrade(&server),
            stop,
            alive,
        };
        tokio::spawn(server.clone().stop_in_time());
        if let Some((listener, _)) = watchers {
            tokio::spawn(server.clone().listen(listener, metrics::serve));
        }
        if let Some((listener, _)) = servers {
            tokio::spawn(server.clone().listen(listener, links::server::serve));
        }
        if let Some((listener, _)) = components {
            tokio::spawn(server.clone().listen(listener, links::component::serve));
        }
        tokio::spawn(server.listen(clients, login::serve));
        Ok(running)
    }

    async fn listen<F>(self: Arc<Self>, listener: TcpListener, serve: fn(TcpStream, Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => drop(tokio::spawn(serve(tcp, self.clone()))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await, // out of descriptors
                },
                () = stopping.wait() => return,
            }
        }
    }

    /// Has all sessions end, and those that begin from then on.
    async fn stop_in_time(self: Arc<Self>) {
        self.stopping.clone().wait().await;
        self.router.stop(self.state_dir.is_none() && self.nodes.is_none());
        if let Some(nodes) = self.nodes.clone() {
            self.router.tell_all(|| Mail::LetGo);
            let weak = Arc::downgrade(&self);
            drop(self); // it does not wait for itself
            tokio::time::sleep(nodes.stop_within / 2).await;
            weak.upgrade().into_iter().for_each(|server| server.router.tell_all(|| Mail::WaitNoMore));
        }
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Has something written that a session has for its peer.
    fn push(&self, peer: &str, connection: &mut Connection, item: Write<'_, Written>) {
        connection.login_until = None;
        match item {
            Write::Success(success) => inline::write_success(self, connection, peer, *success),
            item => {
                if let Write::Nonza(nonza) = &item {
                    self.trace(peer, What::To(nonza));
                }
                connection.push(item, self.domain.as_str());
            }
        }
    }

    /// Has an element of stream management written outside of a session.
    fn write(&self, client: &str, connection: &mut Connection, nonza: &Nonza) {
        self.trace(client, What::To(nonza));
        nonza.write_to(connection.outbox.buffer());
    }

    fn trace(&self, client: &str, what: What<'_>) {
        if let Some(trace) = &self.trace {
            trace(&Traced { client, what });
        }
    }
}

async fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn bind_if(address: Option<&String>) -> io::Result<Option<(TcpListener, SocketAddr)>> {
    match address {
        Some(address) => bind(address).await.map(Some),
        None => Ok(None),
    }
}

impl Running {
    /// Tells all clients, and returns when they are gone, or have had their time: whether they are gone.
    pub async fn stop(mut self) -> bool {
        self.stop.send_replace(true);
        let are_gone = timeout(self.farewell, self.alive.recv()).await.is_ok();
        if let Some(nodes) = &self.nodes {
            let left = self.server.upgrade().map_or(0, |server| server.router.sessions());
            nodes.leave(are_gone, left).await;
        }
        are_gone
    }
}
