//! The end of a run: everybody recovers, the clients come back, and every message is accounted for.

use std::time::Duration;

use xmpp_sm::{Lookup, SmId};

use super::World;
use super::account::Sum;
use super::client::owner;
use super::link::End;
use super::store::{Answer, What, execute};
use crate::support::{Checked, ensure};

impl World<'_> {
    pub fn finish(&mut self) -> Checked<Sum> {
        if self.is_told {
            println!("== the end");
        }
        self.stops();
        self.calm_down()?;
        for node in &self.nodes {
            ensure!(!node.is_stopping, "a node does not stop: {node:?}");
        }
        self.nodes.iter_mut().for_each(|node| node.is_up = true);
        // After an hour no session is left but those of the clients that are here.
        for _ in 0..8 {
            self.come_back()?;
            self.now += Duration::from_secs(500);
            for _ in 0..3 {
                self.times_out()?;
                self.calm_down()?;
                self.now += Duration::from_millis(100);
            }
            self.adopt()?;
        }
        self.come_back()?;
        if self.is_told {
            self.tell();
        }
        self.account.settle(self.setting.promise)
    }

    /// All clients are online, and have nothing to say.
    fn come_back(&mut self) -> Checked {
        for round in 0..20 {
            self.calm_down()?;
            let Some(c) = (0..self.clients.len()).find(|c| self.clients[*c].link().is_none()) else { break };
            self.connect(c, (c + round) % self.nodes.len())?;
            self.client_turn(c)?;
        }
        self.calm_down()?;
        for l in 0..self.links.len() {
            let link = &self.links[l];
            // A connection that the node has given up.
            if link.has_client && matches!(link.server, End::Gone) {
                self.cut(l)?;
                return self.come_back();
            }
        }
        Ok(())
    }

    /// Until nothing goes on by itself.
    fn calm_down(&mut self) -> Checked {
        for turn in 0.. {
            ensure!(turn < 5_000, "it goes on for ever");
            if self.advance()? {
                self.stops();
                continue;
            }
            let gone = (0..self.links.len()).find(|l| {
                let link = &self.links[*l];
                !link.has_client && matches!(link.server, End::Actor(_) | End::Unbound(_)) && self.is_held(*l)
            });
            let waits = (0..self.ops.len()).find(|o| self.is_waiting(*o));
            match (gone, waits) {
                (Some(l), _) => self.notice(l)?,
                (None, Some(o)) => self.out_of_patience(o),
                (None, None) => break,
            }
        }
        self.stops();
        Ok(())
    }

    fn is_held(&self, l: usize) -> bool {
        match self.links[l].server {
            End::Actor(a) => self.actors[a].as_ref().is_some_and(|actor| actor.session.connection() == Some(&l)),
            _ => true,
        }
    }

    fn adopt(&mut self) -> Checked {
        for s in 0..self.smids.len() {
            let (smid, user) = self.smids[s].clone();
            if self.is_orphan(&smid, user) {
                self.find(s % self.nodes.len(), smid.clone(), user, None);
            }
            self.calm_down()?;
            if self.look_up(&smid, user).is_none() {
                self.release(&smid);
                self.wake(user)?;
                self.calm_down()?;
            }
        }
        Ok(())
    }

    fn look_up(&self, smid: &SmId, user: usize) -> Option<String> {
        match execute(&self.store, &What::Lookup(smid.clone(), owner(user).into()), self.now) {
            Answer::Found(Lookup::Session(record)) => Some(record.handle),
            _ => None,
        }
    }

    /// Whether a session is in the store, and nobody has it.
    pub fn is_orphan(&self, smid: &SmId, user: usize) -> bool {
        let Some(handle) = self.look_up(smid, user) else { return false };
        let has = |node| self.actors.iter().flatten().any(|actor| actor.node == node && actor.smid() == Some(smid));
        self.alive(&handle).is_none_or(|node| !has(node) && !self.is_enabling(smid))
    }
}
