//! The account of every stanza, in the words of the XEP and of the design, and not of the code.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use xmpp_sm::SmId;

pub(crate) use crate::support::ensure;
pub use crate::support::{Checked, Violation};

use super::setting::{Options, SETTLE};

/// What became of a stanza in the end. Each has one of these, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// `send` gave it back.
    NotSent,
    /// The peer has acknowledged it.
    Acknowledged,
    /// It was written where nothing is counted or kept.
    Passed,
    /// The end of the session gave it back.
    Returned,
    /// It left the buffer and was forgotten, as the options say.
    Forgotten,
    /// A later one made it obsolete before it was written.
    Replaced,
    /// It waited in the mailbox of a session that is over.
    Elsewhere,
}

#[derive(Debug, Default)]
pub struct Fates(BTreeMap<u32, Fate>);

impl Fates {
    pub fn set(&mut self, id: u32, fate: Fate) -> Checked {
        match self.0.insert(id, fate) {
            None => Ok(()),
            Some(before) => Err(Violation(format!("stanza {id} is {fate:?}, and was {before:?} before"))),
        }
    }

    pub fn get(&self, id: u32) -> Option<Fate> {
        self.0.get(&id).copied()
    }
}

/// One life of stream management, from `<enable/>` to the end of the session, over all its connections.
#[derive(Debug, Default)]
pub struct Life {
    /// The client's and the server's.
    pub half: [Half; 2],
    pub smid: Option<SmId>,
}

/// What one side has sent and got in a life.
#[derive(Debug, Default)]
pub struct Half {
    /// Whether what it sends counts, and what it gets.
    pub counts_out: bool,
    pub counts_in: bool,
    /// Whether it knows that it may resume.
    pub is_resumable: bool,
    /// What was written and counted, in order.
    pub out: Vec<u32>,
    /// How many of them the peer has acknowledged.
    pub acked: usize,
    /// How many of them, from the first, have left the buffer.
    pub gone: usize,
    /// What it got.
    pub input: Vec<Got>,
}

#[derive(Debug)]
pub struct Got {
    pub since: Instant,
    pub is_settled: bool,
    /// The session could not wait for its receipt any longer.
    pub is_given_up: bool,
}

impl Half {
    /// How many stanzas of the peer are settled without a gap.
    pub fn h(&self) -> usize {
        self.input.iter().take_while(|got| got.is_settled || got.is_given_up).count()
    }

    /// The place of the first stanza that the buffer keeps.
    pub fn first_kept(&self) -> usize {
        self.acked.max(self.gone)
    }

    pub fn is_whole(&self) -> bool {
        self.gone <= self.acked
    }

    /// A stanza was written for the first time. Returns how many it has evicted.
    pub fn record(&mut self, id: u32, options: &Options) -> usize {
        self.out.push(id);
        let before = self.first_kept();
        if !options.buffer {
            self.gone = self.out.len();
        } else if options.evicts() {
            let most = usize::try_from(options.buffer_max).expect("it is small");
            self.gone = self.gone.max(self.out.len().saturating_sub(most));
        }
        if options.buffer { self.first_kept() - before } else { 0 }
    }

    /// The session says that so many are handled: the receipts that this leaves out must have been waited for.
    pub fn give_up_to(&mut self, h: usize, now: Instant) -> Checked {
        ensure!(h <= self.input.len(), "h is {h}, and {} stanzas have arrived", self.input.len());
        for (got, number) in self.input[..h].iter_mut().zip(1..) {
            if !got.is_settled && !got.is_given_up {
                let waited = now - got.since;
                ensure!(waited >= SETTLE, "h is {h} and covers stanza {number}, which is open for {waited:?}");
                got.is_given_up = true;
            }
        }
        Ok(())
    }

    /// The peer says that it has handled so many. Returns the stanzas that this acknowledges, each with whether it was
    /// still kept. `None`: it cannot be right.
    pub fn acknowledge(&mut self, h: u32) -> Option<Vec<(u32, bool)>> {
        let h = usize::try_from(h).ok()?;
        if !self.counts_out || h < self.acked || h > self.out.len() {
            return None;
        }
        let gone = self.gone;
        let covered = (self.acked..h).map(|place| (self.out[place], place >= gone)).collect();
        self.acked = h;
        Some(covered)
    }

    /// What the end of the session gives back of what was counted.
    pub fn left(&self, options: &Options) -> Vec<u32> {
        let first = if options.keeps_evicted && options.evicts() { self.acked } else { self.first_kept() };
        self.out[first..].to_vec()
    }
}

/// A stanza that waits to be written.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub id: u32,
    pub bytes: usize,
    pub is_presence: bool,
}

/// What a session was given and has not written.
#[derive(Debug, Default)]
pub struct Backlog(pub VecDeque<Waiting>);

impl Backlog {
    fn bytes(&self) -> usize {
        self.0.iter().map(|waiting| waiting.bytes).sum()
    }

    pub fn is_over(&self, options: &Options) -> bool {
        self.0.len() > options.backlog_max as usize || self.bytes() > options.backlog_max_bytes
    }

    /// Whether it is so large that it has no grace.
    pub fn is_over_twice(&self, options: &Options) -> bool {
        self.0.len() > 2 * options.backlog_max as usize || self.bytes() > 2 * options.backlog_max_bytes
    }

    /// Whether a client's backlog takes no more.
    pub fn is_full(&self, options: &Options) -> bool {
        self.0.len() >= options.backlog_max as usize || self.bytes() >= options.backlog_max_bytes
    }

    /// One that was given before and is obsolete.
    pub fn replace(&mut self) -> Option<u32> {
        let place = self.0.iter().rposition(|waiting| waiting.is_presence)?;
        self.0.remove(place).map(|waiting| waiting.id)
    }

    pub fn ids(&self) -> Vec<u32> {
        self.0.iter().map(|waiting| waiting.id).collect()
    }
}
