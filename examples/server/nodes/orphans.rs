//! Sessions that nobody has: their node is dead, or does not know them. They go on here, and end here if their clients do
//! not come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use tokio::time::sleep;
use xmpp_sm::{AsyncSessionStore, Claim, Lookup, Parking, RedisStoreError, Registration, SessionStore};

use super::super::Server;
use super::super::state::complain;
use super::{Nodes, node_of, tell_taken};

/// How many are taken over at once.
const AT_ONCE: usize = 50;
/// How long a node has been dead when its sessions in memory are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long a session of this node may be on its way here or away, by how long the node counts as alive.
const ON_ITS_WAY: u32 = 2;

pub fn run(nodes: Arc<Nodes>, server: &Arc<Server>) {
    let weak = Arc::downgrade(server);
    tokio::spawn(async move {
        let mut missing = HashMap::new();
        while let Some(server) = weak.upgrade() {
            if !server.stopping.has_come()
                && let Err(error) = nodes.adopt(&server, &mut missing).await
            {
                complain(format_args!("sessions that nobody has: {error}"));
            }
            drop(server);
            sleep(nodes.alive).await;
        }
    });
}

impl Nodes {
    /// `missing`: since when a node is dead, or one of this node's own sessions, by its handle, is not here. That is one which
    /// could not be put together, or whose registration this node has given up.
    async fn adopt(&self, server: &Arc<Server>, missing: &mut HashMap<String, Instant>) -> Result<(), RedisStoreError> {
        let mut lives = Lives { nodes: self, known: HashMap::new() };
        let (mut cursor, mut still) = (Some(0), HashMap::new());
        while let Some(at) = cursor {
            let (sessions, next) = self.store.sessions_at(b"", at).await?;
            let mut left = Vec::new();
            for session in sessions {
                let node = node_of(&session.handle);
                let is_own = node == self.me;
                if if is_own { is_here(server, &session.registration) } else { lives.has(&node).await? } {
                    continue;
                }
                let what = if is_own { String::from_utf8_lossy(&session.handle).into_owned() } else { node.clone() };
                let since = *still.entry(what).or_insert_with_key(|what| *missing.get(what).unwrap_or(&Instant::now()));
                let is_forgotten = since.elapsed() > if is_own { ON_ITS_WAY * self.alive } else { FORGOTTEN };
                if is_forgotten || !is_own {
                    left.push(self.adopt_one(session.registration, node, is_forgotten, server));
                }
            }
            stream::iter(left).buffer_unordered(AT_ONCE).collect::<()>().await;
            cursor = next;
        }
        *missing = still;
        // What nobody has adopted is gone, and its mail goes on.
        for (jid, node) in self.link.places().await? {
            if !lives.has(&node).await? {
                self.link.depart_from(&node, &jid, &[]).await?;
            }
        }
        Ok(())
    }

    async fn adopt_one(&self, registration: Registration, node: String, is_forgotten: bool, server: &Arc<Server>) {
        let adopted = match self.store.claim(&registration, self.handle(), Instant::now()).await {
            Ok(Claim::Claimed(claimed)) => {
                tell_taken(&registration);
                self.revive(claimed, Some(&node), server).await.map(drop).map_err(|error| error.to_string())
            }
            // It has died with its node, unless that is only cut off.
            Ok(Claim::NotParked) if is_forgotten => {
                self.store.remove(&registration).await.map_err(|error| error.to_string())
            }
            Ok(Claim::NotParked | Claim::Lost) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        adopted.unwrap_or_else(|error| complain(format_args!("a session of {node}: {error}")));
    }
}

/// Whether this node has a session, which may be at its end.
fn is_here(server: &Server, registration: &Registration) -> bool {
    let found = SessionStore::lookup(&server.store, registration.smid(), registration.owner(), Instant::now());
    matches!(found, Ok(Lookup::Session(_)))
}

/// Which nodes live, each asked once.
struct Lives<'a> {
    nodes: &'a Nodes,
    known: HashMap<String, bool>,
}

impl Lives<'_> {
    async fn has(&mut self, node: &str) -> redis::RedisResult<bool> {
        if let Some(lives) = self.known.get(node) {
            return Ok(*lives);
        }
        let lives = self.nodes.is_alive(node).await?;
        self.known.insert(node.to_owned(), lives);
        Ok(lives)
    }
}
