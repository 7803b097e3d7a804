//! An engine that has come back without what it had last: it was killed and read an older file, or a replica has taken its
//! place. What a session lacks there is written once more, from memory; and nobody is taken for dead before all could say
//! that they live.

use std::time::{Duration, Instant};

use jid::FullJid;
use parking_lot::Mutex;
use redis::{InfoDict, RedisResult};
use xmpp_sm::{AsyncSessionStore, Fence, Lookup, RedisStoreError};

use super::super::Server;
use super::super::mail::Mail;
use super::super::state::complain;
use super::answer::Answer;
use super::shared::Shares;
use super::{Nodes, Shared};

/// By when all nodes have said that they live, once the engine is back. Each says so every second, and an answer may take one.
const SETTLED: Duration = Duration::from_secs(4);

/// What a node knows of the engine.
#[derive(Default)]
pub struct Engine {
    known: Mutex<Known>,
    /// How often it was another one than before.
    said: Answer<RedisResult<u64>>,
}

#[derive(Default)]
struct Known {
    /// Another one with each start and each failover, for nobody can tell whether one has lost anything: no answer says at which
    /// offset a call was, which a replica would have to have come to. `None`: it does not say so.
    id: Option<String>,
    /// How often it was another one.
    generation: u64,
    /// How many of these the sessions were told of.
    told: u64,
    /// When it was last found to be another, or away.
    unsettled: Option<Instant>,
}

/// What the engine has of a session that a node has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Held,
    /// It has forgotten it, and nobody else has the session.
    Forgotten,
    /// Another node has it, or it was displaced, or is over.
    Lost,
}

impl Engine {
    /// How often the engine was another one than before, as far as it is known.
    pub fn generation(&self) -> u64 {
        self.known.lock().generation
    }

    /// It does not answer.
    pub fn is_away(&self) {
        self.known.lock().unsettled = Some(Instant::now());
    }

    fn is(&self, id: Option<String>) -> u64 {
        let mut known = self.known.lock();
        if id.is_some() && known.id != id {
            if known.id.is_some() {
                known.generation += 1;
                known.unsettled = Some(Instant::now());
            }
            known.id = id;
        }
        known.generation
    }
}

impl Nodes {
    /// Asks which engine it is. Returns how often it was another one than before.
    pub(super) async fn look(&self) -> RedisResult<u64> {
        // Each session does so, when there is cause.
        self.engine.said.get(self.look_now()).await
    }

    async fn look_now(&self) -> RedisResult<u64> {
        let said: RedisResult<InfoDict> =
            redis::cmd("INFO").arg("replication").query_async(&mut self.redis.clone()).await;
        match said {
            Ok(said) => Ok(self.engine.is(said.get("master_replid"))),
            Err(error) => {
                self.engine.is_away();
                Err(error)
            }
        }
    }

    /// If the engine is another one than before, has all sessions look what it has of them.
    pub(super) async fn look_for_all(&self, server: &Server) {
        let Ok(generation) = self.look().await else { return };
        let told = std::mem::replace(&mut self.engine.known.lock().told, generation);
        if told < generation {
            complain(format_args!(
                "the engine has started anew, or another has taken its place: all is written once more"
            ));
            server.router.tell_all(|| Mail::Changed);
        }
    }

    /// Whether a node that does not say that it lives is dead: all have had time to say so.
    pub(super) async fn is_settled(&self) -> RedisResult<bool> {
        self.look().await?;
        Ok(self.engine.known.lock().unsettled.is_none_or(|since| since.elapsed() > SETTLED))
    }

    /// What the engine has of a session, and how often it was another one than before.
    pub(super) async fn standing(&self, shared: &mut Shared) -> Result<(Standing, u64), RedisStoreError> {
        let (generation, registration) = (self.look().await?, &shared.registration);
        let found = self.store.lookup(registration.smid(), registration.owner(), Instant::now()).await?;
        let standing = match found {
            Lookup::Session(record) if record.registration == *registration => Standing::Held,
            // The answer to a registration was lost, or another one has been carried out late.
            Lookup::Session(record) if shared.asked.as_ref() == Some(&record.handle) => {
                shared.registration = record.registration;
                Standing::Held
            }
            // Whoever claims it gets a higher epoch: it was this node that claimed it from there.
            Lookup::Session(record) if record.registration.epoch() < registration.epoch() => Standing::Forgotten,
            Lookup::NotFound if shared.generation < generation => Standing::Forgotten,
            _ => Standing::Lost,
        };
        Ok((standing, generation))
    }

    /// What the engine may have lost of a session is there again, or will be when what is due is written down.
    pub(super) async fn confirm(&self, shares: &mut Shares, jid: &FullJid) -> Result<Fence, RedisStoreError> {
        if let Some(shared) = &mut shares.session {
            let (standing, generation) = self.standing(shared).await?;
            match standing {
                Standing::Held => {}
                Standing::Lost => return Ok(Fence::Lost),
                Standing::Forgotten => {
                    let (smid, owner) = (shared.registration.smid().clone(), shared.registration.owner().clone());
                    let handle = shared.asked.get_or_insert_with(|| self.handle()).clone();
                    shared.registration = self.register_as(&smid, &owner, handle).await?;
                }
            }
            shared.ledger.host_changed();
            shared.generation = generation;
        }
        self.link.stay(jid, shares.smid()).await?;
        shares.mailbox.is_doubtful = false;
        Ok(Fence::Held)
    }
}
