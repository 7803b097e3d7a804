//! Between clients and servers: each new connection of a user's client goes to the next server that is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Balancer {
    nodes: Arc<Mutex<Vec<Option<SocketAddr>>>>,
    cuts: Arc<watch::Sender<u64>>,
}

/// Where the clients of a user connect to, one after the other.
#[derive(Clone)]
pub struct Place {
    balancer: Balancer,
    /// The number of the server to which the last connection went.
    at: Arc<AtomicUsize>,
}

/// Where one client connects to.
pub struct Door {
    pub address: SocketAddr,
    shut: watch::Sender<Option<Leaves>>,
}

/// What becomes of the connection of a client that is there no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    Cut,
    /// The server does not see that the client is gone.
    Open,
}

impl Door {
    /// The client is there no more, and does not connect again. Once this has returned, the server hears nothing of it.
    pub async fn shut(self, leaves: Leaves) {
        self.shut.send_replace(Some(leaves));
        self.shut.closed().await;
    }
}

impl Balancer {
    pub fn new(nodes: Vec<SocketAddr>) -> Self {
        let nodes = Arc::new(Mutex::new(nodes.into_iter().map(Some).collect()));
        Self { nodes, cuts: Arc::new(watch::channel(0).0) }
    }

    /// `first`: the server to which the first connection goes.
    pub fn place(&self, first: usize) -> Place {
        let before = first + self.nodes.lock().len() - 1;
        Place { balancer: self.clone(), at: Arc::new(AtomicUsize::new(before)) }
    }

    pub fn set(&self, node: usize, address: Option<SocketAddr>) {
        self.nodes.lock()[node] = address;
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Place {
    pub fn at(&self) -> usize {
        self.at.load(Ordering::Relaxed)
    }

    fn choose(&self) -> Option<SocketAddr> {
        let nodes = self.balancer.nodes.lock();
        let next = (1..=nodes.len()).map(|n| (self.at() + n) % nodes.len());
        let (at, node) = { next }.find_map(|at| Some((at, nodes[at]?)))?;
        self.at.store(at, Ordering::Relaxed);
        Some(node)
    }

    pub async fn listen(&self) -> std::io::Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, place) = (listener.local_addr()?, self.clone());
        let (shut, mut is_shut) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((client, _)) => drop(tokio::spawn(place.clone().pass(client, is_shut.clone()))),
                        Err(_) => return,
                    },
                    _ = is_shut.changed() => return,
                }
            }
        });
        Ok(Door { address, shut })
    }

    async fn pass(self, mut client: TcpStream, mut shut: watch::Receiver<Option<Leaves>>) -> std::io::Result<()> {
        let mut cuts = self.balancer.cuts.subscribe();
        let Some(node) = self.choose() else {
            // Clients that find nobody try again without a pause.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Ok(());
        };
        let mut server = TcpStream::connect(node).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return Ok(()),
            _ = cuts.changed() => return Ok(()),
            // It may be shut already.
            _ = shut.wait_for(Option::is_some) => {}
        }
        let leaves = *shut.borrow();
        drop((client, shut));
        if leaves == Some(Leaves::Open) {
            copy(&mut server, &mut sink()).await?;
        }
        Ok(())
    }
}
