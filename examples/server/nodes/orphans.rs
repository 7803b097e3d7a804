//! Sessions that nobody has: their node is dead, or does not know them. They go on here, and end here if their clients do
//! not come.
//!
//! To look through all sessions and places takes two commands for each user. A node does so when it starts, when a node is
//! dead, until that has left nothing, when the engine may have come back with what was gone, and every hour. What may be its
//! own and not here it looks for by name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use jid::FullJid;
use parking_lot::Mutex;
use tokio::time::sleep;
use xmpp_sm::{AsyncSessionStore, Claim, Lookup, Parking, Record, RedisStoreError, Registration, SessionStore, SmId};

use super::super::Server;
use super::super::state::complain;
use super::lists::Place;
use super::{Nodes, node_of};

/// How many are taken over at once.
const AT_ONCE: usize = 50;
/// How long a node has been dead when its sessions in memory are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long a session of this node may be on its way here or away, by how long the node counts as alive.
const ON_ITS_WAY: u32 = 2;
/// How often all is looked through for no reason, but that nodes of an earlier version do not say that they are there.
const EVERY: Duration = Duration::from_secs(3600);

/// What a node looks for by name, and since when it has been found to be missing.
#[derive(Default)]
pub struct Orphans(Mutex<Vec<(Stray, Option<Instant>)>>);

/// What may be this node's and is not here: it was let go and nobody has come for it, it could not be put together, or the
/// answer was lost. It is so if that is found twice, and it was nobody's in between: it may be on its way.
enum Stray {
    Session(SmId, Arc<str>, Option<Registration>),
    Place(FullJid, Option<Place>),
}

impl Orphans {
    pub fn may_have(&self, smid: &SmId, owner: &Arc<str>) {
        self.0.lock().push((Stray::Session(smid.clone(), owner.clone(), None), None));
    }

    pub fn may_be_at(&self, jid: &FullJid) {
        self.0.lock().push((Stray::Place(jid.clone(), None), None));
    }

    fn is_missing(&self, stray: Stray) {
        self.0.lock().push((stray, Some(Instant::now())));
    }
}

/// How all was looked through.
#[derive(Default)]
struct Sweep {
    /// Since when nodes are dead that have left something.
    missing: HashMap<String, Instant>,
    /// When that last began, and on which engine.
    last: Option<(Instant, u64)>,
}

pub fn run(nodes: Arc<Nodes>, server: &Arc<Server>) {
    let weak = Arc::downgrade(server);
    tokio::spawn(async move {
        let mut sweep = Sweep::default();
        while let Some(server) = weak.upgrade() {
            if !server.stopping.has_come() {
                match nodes.is_settled().await {
                    Ok(true) => nodes.look_after_orphans(&server, &mut sweep).await,
                    is_settled => is_settled.map(drop).map_err(RedisStoreError::from),
                }
                .unwrap_or_else(|error| complain(format_args!("sessions that nobody has: {error}")));
            }
            drop(server);
            sleep(nodes.alive).await;
        }
    });
}

impl Nodes {
    async fn look_after_orphans(&self, server: &Arc<Server>, sweep: &mut Sweep) -> Result<(), RedisStoreError> {
        self.gather(server).await?;
        let (begun, generation, mut dead) = (Instant::now(), self.engine.generation(), Vec::new());
        for node in self.link.nodes().await? {
            if !self.link.is_alive(&node).await? {
                dead.push(node);
            }
        }
        let is_due = sweep.last.is_none_or(|(at, engine)| at.elapsed() > EVERY || engine != generation);
        if (is_due || !dead.is_empty() || !sweep.missing.is_empty()) && self.adopt(server, &mut sweep.missing).await? {
            sweep.last = Some((begun, generation));
            for node in dead.iter().filter(|node| !sweep.missing.contains_key(*node)) {
                self.link.forget_node(node).await?;
            }
        }
        Ok(())
    }

    async fn gather(&self, server: &Arc<Server>) -> Result<(), RedisStoreError> {
        let is_due = |since: Option<Instant>| since.is_none_or(|since| since.elapsed() > ON_ITS_WAY * self.alive);
        let due: Vec<_> = self.orphans.0.lock().extract_if(.., |(_, since)| is_due(*since)).collect();
        let mut due = due.into_iter();
        while let Some((stray, since)) = due.next() {
            let gathered = match &stray {
                Stray::Session(smid, owner, seen) => self.gather_session(smid, owner, seen.as_ref(), server).await,
                Stray::Place(jid, seen) => self.gather_place(jid, seen.as_ref(), server).await,
            };
            if let Err(error) = gathered {
                self.orphans.0.lock().extend(due.chain([(stray, since)]));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn gather_session(
        &self,
        smid: &SmId,
        owner: &Arc<str>,
        seen: Option<&Registration>,
        server: &Arc<Server>,
    ) -> Result<(), RedisStoreError> {
        let found = self.store.lookup(smid, owner, Instant::now()).await?;
        let Ok(Record { registration, handle }) = found.session() else { return Ok(()) };
        if node_of(&handle) != self.me || is_here(server, &registration) {
            return Ok(());
        }
        if seen != Some(&registration) {
            self.orphans.is_missing(Stray::Session(smid.clone(), owner.clone(), Some(registration)));
            return Ok(());
        }
        let is_there = self.adopt_one(registration.clone(), self.me.clone(), true, server).await;
        if let (false, Some(place)) = (is_there, self.link.place_of(&registration).await?) {
            self.orphans.may_be_at(&place.jid);
        }
        Ok(())
    }

    async fn gather_place(&self, jid: &FullJid, seen: Option<&Place>, server: &Server) -> Result<(), RedisStoreError> {
        if server.router.has(jid) || !self.link.is_here(jid).await? {
            return Ok(());
        }
        let place = self.link.place(jid.clone(), self.me.clone()).await?;
        if seen != Some(&place) || self.is_on_its_way(&place).await? {
            self.orphans.is_missing(Stray::Place(jid.clone(), Some(place)));
        } else {
            self.link.vacate(&place).await?;
        }
        Ok(())
    }

    /// Looks through all. Returns whether it did so to the end. `missing`: since when nodes are dead that have left something.
    async fn adopt(
        &self,
        server: &Arc<Server>,
        missing: &mut HashMap<String, Instant>,
    ) -> Result<bool, RedisStoreError> {
        let mut lives = Lives { nodes: self, known: HashSet::new() };
        let (mut cursor, mut still) = (Some(0), HashMap::new());
        while let Some(at) = cursor {
            let (sessions, next) = self.store.sessions_at(b"", at).await?;
            let mut left = Vec::new();
            for Record { registration, handle } in sessions {
                let node = node_of(&handle);
                if node == self.me {
                    if !is_here(server, &registration) {
                        self.orphans.may_have(registration.smid(), registration.owner());
                    }
                } else if !lives.has(&node).await? {
                    let since = *still.entry(node.clone()).or_insert_with_key(|node| since(missing, node));
                    left.push(self.adopt_one(registration, node, since.elapsed() > FORGOTTEN, server));
                }
            }
            // This node may have slept since it was asked.
            if !left.is_empty() && !self.is_settled().await? {
                return Ok(false);
            }
            stream::iter(left).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
            cursor = next;
        }
        for (jid, node) in self.link.places().await? {
            if node == self.me {
                if !server.router.has(&jid) {
                    self.orphans.may_be_at(&jid);
                }
            } else if !lives.has(&node).await? {
                still.entry(node.clone()).or_insert_with_key(|node| since(missing, node));
                let place = self.link.place(jid, node).await?;
                if !self.is_on_its_way(&place).await? {
                    self.link.vacate(&place).await?;
                }
            }
        }
        *missing = still;
        let noted = self.link.note_nodes(&lives.known).await;
        noted.unwrap_or_else(|error| complain(format_args!("which nodes there are: {error}")));
        Ok(true)
    }

    /// Whether a session that is not at its place comes to another one, or back to there: what a node has in memory is there
    /// still if that is only cut off, and is forgotten after a time.
    async fn is_on_its_way(&self, place: &Place) -> Result<bool, RedisStoreError> {
        Ok(self.session_at(place).await?.is_some())
    }

    /// The session that has a place, if it is known, wherever it is.
    async fn session_at(&self, place: &Place) -> Result<Option<Record<Bytes>>, RedisStoreError> {
        let Some(smid) = place.session.as_deref().and_then(|smid| SmId::new(smid).ok()) else { return Ok(None) };
        let found = self.store.lookup(&smid, place.jid.to_bare().as_str(), Instant::now()).await?;
        Ok(found.session().ok())
    }

    /// Whether any of these has something that it is still to leave to who has its resource now. They do so as soon as they
    /// hear of that. What one has written down whose node is dead goes on here, at once.
    pub async fn are_to_leave(&self, before: &[Place], server: &Arc<Server>) -> bool {
        let mut are_to_leave = false;
        for place in before {
            are_to_leave |= self.is_to_leave(place, server).await.unwrap_or(true);
        }
        are_to_leave
    }

    async fn is_to_leave(&self, place: &Place, server: &Arc<Server>) -> Result<bool, RedisStoreError> {
        if self.link.is_alive(&place.node).await? || !self.is_settled().await? {
            return Ok(true);
        }
        let Some(Record { registration, handle }) = self.session_at(place).await? else { return Ok(false) };
        let node = node_of(&handle);
        // Another has taken it over by now, or this node has.
        Ok(self.link.is_alive(&node).await? || self.adopt_one(registration, node, false, server).await)
    }

    /// Returns whether the session is there, or may be.
    async fn adopt_one(
        &self,
        registration: Registration,
        node: String,
        is_forgotten: bool,
        server: &Arc<Server>,
    ) -> bool {
        let adopted = match self.store.claim(&registration, self.handle(), Instant::now()).await {
            Ok(Claim::Claimed(claimed)) => {
                self.tell_taken(&registration, &node).await;
                self.revive(claimed, server).await.map(|_| true).map_err(|error| error.to_string())
            }
            // It has died with its node, unless that is only cut off.
            Ok(Claim::NotParked) if is_forgotten => {
                self.store.remove(&registration).await.map(|()| false).map_err(|error| error.to_string())
            }
            Ok(Claim::NotParked) => Ok(false),
            Ok(Claim::Lost) => Ok(true), // another was faster
            Err(error) => Err(error.to_string()),
        };
        adopted.unwrap_or_else(|error| {
            complain(format_args!("a session of {node}: {error}"));
            self.orphans.may_have(registration.smid(), registration.owner());
            true
        })
    }
}

/// Since when a node is dead.
fn since(missing: &HashMap<String, Instant>, node: &str) -> Instant {
    missing.get(node).copied().unwrap_or_else(Instant::now)
}

/// Whether this node has a session, which may be at its end.
fn is_here(server: &Server, registration: &Registration) -> bool {
    let found = SessionStore::lookup(&server.store, registration.smid(), registration.owner(), Instant::now());
    matches!(found, Ok(Lookup::Session(_)))
}

/// Which nodes live. One that is dead is asked again: a sweep may take minutes.
struct Lives<'a> {
    nodes: &'a Nodes,
    known: HashSet<String>,
}

impl Lives<'_> {
    async fn has(&mut self, node: &str) -> redis::RedisResult<bool> {
        if self.known.contains(node) {
            return Ok(true);
        }
        let lives = self.nodes.link.is_alive(node).await?;
        if lives {
            self.known.insert(node.to_owned());
        }
        Ok(lives)
    }
}
