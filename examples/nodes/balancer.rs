//! Between clients and servers: each new connection of a client goes to the next server that is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Balancer {
    nodes: Arc<Mutex<Vec<Option<SocketAddr>>>>,
    next: Arc<AtomicUsize>,
    cuts: Arc<watch::Sender<u64>>,
}

impl Balancer {
    pub fn new(nodes: Vec<SocketAddr>) -> Self {
        let nodes = Arc::new(Mutex::new(nodes.into_iter().map(Some).collect()));
        Self { nodes, next: Arc::default(), cuts: Arc::new(watch::channel(0).0) }
    }

    pub fn set(&self, node: usize, address: Option<SocketAddr>) {
        self.nodes.lock()[node] = address;
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn choose(&self) -> Option<SocketAddr> {
        let nodes: Vec<_> = self.nodes.lock().iter().flatten().copied().collect();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        nodes.get(next % nodes.len().max(1)).copied()
    }

    /// Where a client connects to.
    pub async fn listen(&self) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, balancer) = (listener.local_addr()?, self.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(balancer.clone().pass(client));
            }
        });
        Ok(address)
    }

    async fn pass(self, mut client: TcpStream) -> std::io::Result<()> {
        let mut cuts = self.cuts.subscribe();
        let Some(node) = self.choose() else {
            // Clients that find nobody try again without a pause.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Ok(());
        };
        let mut server = TcpStream::connect(node).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            _ = cuts.changed() => {}
        }
        Ok(())
    }
}
