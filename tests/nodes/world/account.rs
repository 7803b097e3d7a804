//! What became of every message, and what each promise allows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use xmpp_sm::SmId;
use xmpp_sm::snapshot::Promise;

use crate::support::{Checked, ensure};

#[derive(Debug, Default)]
pub struct Account {
    /// How many messages there are: their numbers are below.
    pub sent: u32,
    /// How often each was handled for its author, and how often it came to whom it was for.
    pub posted: BTreeMap<u32, u32>,
    pub delivered: BTreeMap<u32, u32>,
    /// How often each may come once more: see [`may_double`](Self::may_double).
    extra: BTreeMap<u32, u32>,
    /// Those that were in the memory of a process that was killed, where the promise is no better.
    may_be_lost: BTreeSet<u32>,
    /// Those that may come after what was sent behind them: see [`may_be_late`](Self::may_be_late).
    late: BTreeSet<u32>,
    /// The session of each client that has taken it.
    taken: BTreeMap<u32, (usize, SmId)>,
    /// The last that has come to each client for the first time. All are of one sender, who numbers them.
    last: [Option<u32>; 2],
    /// The sessions that were, and those that came to their end.
    killed: HashSet<SmId>,
    ended: HashSet<SmId>,
    pub resumed: u32,
    pub refused: u32,
    late_ones: u64,
}

/// What is told at the end of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub messages: u64,
    pub resumed: u64,
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.resumed += other.resumed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.late += other.late;
    }
}

impl Account {
    /// Each of these may come once more than it did so far: it was handled and its `h` was not written down, or it was in a
    /// call without an answer, or its session ended before it was acknowledged.
    pub fn may_double(&mut self, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            *self.extra.entry(id).or_default() += 1;
        }
    }

    /// These were in a process that was killed.
    pub fn may_be_lost(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.may_be_lost.extend(ids);
    }

    pub fn killed(&mut self, smid: &SmId) {
        self.killed.insert(smid.clone());
    }

    pub fn ended(&mut self, smid: &SmId) {
        self.ended.insert(smid.clone());
    }

    /// Whether a client may be told that there is no such session.
    pub fn is_gone(&self, smid: &SmId) -> bool {
        self.killed.contains(smid) || self.ended.contains(smid)
    }

    /// These go on from a session that has ended, or that its node has lost before they were written down: behind what
    /// waits for the next one by then.
    pub fn may_be_late(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.late.extend(ids);
    }

    /// A session has taken one. What another session of the client has, in memory or in the store, comes behind it.
    pub fn taken(&mut self, id: u32, client: usize, smid: &SmId) {
        let before = self.taken.range(..id).filter(|(_, (other, taker))| *other == client && taker != smid);
        self.late.extend(before.map(|(id, _)| *id));
        self.taken.insert(id, (client, smid.clone()));
    }

    pub fn arrives(&mut self, id: u32, client: usize) -> Checked {
        let came = self.delivered.entry(id).or_default();
        *came += 1;
        if *came == 1 {
            let last = &mut self.last[client];
            let is_late = last.is_some_and(|last| id < last);
            ensure!(!is_late || self.late.contains(&id), "{id} comes to client {client} after {last:?}");
            self.late_ones += u64::from(is_late);
            *last = (*last).max(Some(id));
        }
        Ok(())
    }

    pub fn acknowledged(&self, id: u32) -> Checked {
        ensure!(self.posted.contains_key(&id), "{id} is acknowledged, and was not handled");
        Ok(())
    }

    pub fn settle(&self, promise: Promise) -> Checked<Sum> {
        let (messages, resumed, late) = (self.sent.into(), self.resumed.into(), self.late_ones);
        let mut sum = Sum { messages, resumed, late, ..Sum::default() };
        for id in 0..self.sent {
            let came = self.delivered.get(&id).copied().unwrap_or_default();
            let most = 1 + self.extra.get(&id).copied().unwrap_or_default();
            if came == 0 {
                let is_allowed = promise != Promise::Durable && self.may_be_lost.contains(&id);
                ensure!(is_allowed, "{id} is lost: handled {:?} times", self.posted.get(&id));
                sum.lost += 1;
            }
            ensure!(came <= most, "{id} came {came} times, and at most {most} are accounted for");
            sum.doubled += u64::from(came.saturating_sub(1));
        }
        Ok(sum)
    }
}
