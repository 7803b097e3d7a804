//! A session that was claimed lives here, or is found to be unable to.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use xmpp_sm::snapshot::{Ledger, Limits, Snapshot, SnapshotError};
use xmpp_sm::{AsyncSessionStore, Claimed, EndReason, Registration};

use super::super::Server;
use super::super::mail::{Handle, Mail};
use super::super::stanza::left_of;
use super::super::state::{Known, complain, restart};
use super::{Mailbox, Nodes, Shared};

/// How long the bytes of a session that cannot be read are kept, for whoever can mend them.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What became of a session that was claimed.
pub enum Revived {
    Here(Handle),
    /// It cannot live any more. What could be read of it waits for its user.
    Over,
}

impl Nodes {
    /// Has a session live here that was claimed. `Err`: it does not yet, and is kept for the next that claims it.
    pub(super) async fn revive(
        &self,
        claimed: Claimed,
        server: &Arc<Server>,
    ) -> Result<Revived, Box<dyn Error + Send + Sync>> {
        let generation = self.engine.generation();
        let Claimed { registration, snapshot, journal } = claimed;
        let clocks = (Instant::now(), SystemTime::now());
        let read = match Snapshot::from_journal(&snapshot, &journal, &server.config, &Limits::default(), clocks) {
            Ok(read) => read,
            // A newer node can read it. Its mail does not wait for that.
            Err(error @ SnapshotError::Newer(_)) => {
                self.vacate(&registration).await?;
                return Err(error.into());
            }
            Err(error) => return self.set_aside(&registration, snapshot, journal, error).await,
        };
        let Some(known) = Known::from_bytes(&read.host) else {
            return self.set_aside(&registration, snapshot, journal, "the server's own part is damaged").await;
        };
        let is_here = self.link.arrive(&known.jid, registration.smid(), false).await?;
        // Whose resource another session has is seen by nobody.
        let known = if is_here { known } else { Known { presence: None, directed: Vec::new(), ..known } };
        let ledger = Ledger::claimed(self.promise, &read).version(self.version);
        let shared = Shared::new(registration.clone(), ledger, generation);
        match restart::revive(server, read.session, &known, Some(shared), clocks.0) {
            Ok(handle) => {
                if !is_here {
                    // Its client has bound the resource anew since.
                    let _ = handle.send(Mail::End(EndReason::Replaced));
                }
                Ok(Revived::Here(handle))
            }
            Err(no) => {
                complain(format_args!("{}: {no}: what it holds waits for its user", known.jid));
                let h = no.parts.detached().map(|parts| parts.h);
                let mailbox = Mailbox::new(registration.smid().clone());
                self.pass_on(left_of(no.parts, clocks), &mailbox, &known.jid, server).await;
                self.retire(&registration, h).await;
                Ok(Revived::Over)
            }
        }
    }

    /// Nobody has its resource, which cannot be read either.
    async fn vacate(&self, registration: &Registration) -> redis::RedisResult<()> {
        match self.link.place_of(registration).await? {
            Some(place) => self.link.vacate(&place).await,
            None => Ok(()),
        }
    }

    /// Nobody can read it.
    async fn set_aside(
        &self,
        registration: &Registration,
        snapshot: Bytes,
        journal: Vec<Bytes>,
        why: impl Display,
    ) -> Result<Revived, Box<dyn Error + Send + Sync>> {
        let (owner, epoch) = (registration.owner(), registration.epoch().get());
        let key = format!("xmpp-sm-damaged:{{{owner}}}:{epoch}");
        let parts: Vec<&[u8]> = [&snapshot].into_iter().chain(&journal).map(AsRef::as_ref).collect();
        let mut keep = redis::pipe();
        keep.atomic().del(&key).rpush(&key, parts).expire(&key, KEPT.as_secs().try_into()?);
        let () = keep.query_async(&mut self.redis.clone()).await?;
        self.vacate(registration).await?;
        self.store.remove(registration).await?;
        complain(format_args!("a session of {owner} is lost: {why}: what it was is in {key}"));
        Ok(Revived::Over)
    }
}
