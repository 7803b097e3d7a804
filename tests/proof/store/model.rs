//! The contract of `SessionStore` with the caps of `MemoryStore`, for one caller at a time. It is written to
//! be read and is as slow as that.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use xmpp_sm::{AtCap, Config, Counter, Epoch, Lookup, MemoryStore, Registered, SessionStore, SmId, StaleH, StoreError};

const OWNERS: [&str; 2] = ["juliet@example.com", "romeo@example.net"];

fn smid(number: u8) -> SmId {
    SmId::new(["a", "b", "c"][usize::from(number)]).expect("a text that XML can carry")
}

/// Times are whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Register {
        smid: u8,
        owner: u8,
        sid: u32,
    },
    Lookup {
        smid: u8,
        owner: u8,
        now: u64,
    },
    Retire {
        smid: u8,
        epoch: Epoch,
        h: u32,
        now: u64,
    },
    Remove {
        smid: u8,
        epoch: Epoch,
    },
    /// How many records it dropped is for the curious, and not part of the contract.
    Sweep {
        now: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Registered(Result<(Epoch, Option<u32>), StoreError>),
    Session(u32),
    StaleH(u32),
    NotFound,
    Done,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub stale: bool,
    pub geriatric: Duration,
    pub per_owner: Option<usize>,
    pub in_all: Option<usize>,
    pub at_cap: AtCap,
}

impl Default for Rules {
    fn default() -> Self {
        Self { stale: true, geriatric: Duration::from_secs(3600), per_owner: None, in_all: None, at_cap: AtCap::Refuse }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    smid: u8,
    owner: u8,
    epoch: Epoch,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Live(u32),
    Stale { h: u32, since: u64 },
}

/// Records are in the order in which they became what they are.
#[derive(Clone, Debug)]
pub struct Model {
    rules: Rules,
    records: Vec<Record>,
    last: Epoch,
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        (&self.records, self.last) == (&other.records, other.last)
    }
}

impl Eq for Model {}

impl std::hash::Hash for Model {
    fn hash<H: std::hash::Hasher>(&self, out: &mut H) {
        (&self.records, self.last).hash(out);
    }
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self { rules, records: Vec::new(), last: Epoch::new(0) }
    }

    /// The store after a call, if that answer is right.
    pub fn after(mut self, op: Op, answer: Answer) -> Option<Self> {
        let right = match op {
            Op::Register { smid, owner, sid } => self.register(smid, owner, sid, answer),
            Op::Lookup { smid, owner, now } => answer == self.lookup(smid, owner, now),
            Op::Retire { smid, epoch, h, now } => {
                if let Some(mut record) = self.take(smid, |record| record.is_live() && record.epoch == epoch)
                    && self.rules.stale
                {
                    record.state = State::Stale { h, since: now };
                    self.records.push(record);
                }
                answer == Answer::Done
            }
            Op::Remove { smid, epoch } => {
                self.take(smid, |record| record.epoch == epoch);
                answer == Answer::Done
            }
            Op::Sweep { now } => {
                self.sweep(now);
                answer == Answer::Done
            }
        };
        right.then_some(self)
    }

    fn register(&mut self, smid: u8, owner: u8, sid: u32, answer: Answer) -> bool {
        let known = self.records.iter().find(|record| record.smid == smid).copied();
        if known.is_some_and(|record| record.owner != owner) {
            return answer == Answer::Registered(Err(StoreError::Taken));
        }
        let mut evicted = None;
        if !known.is_some_and(|record| record.is_live()) {
            let live = |record: &&Record| record.is_live();
            let of_owner = |record: &&Record| record.is_live() && record.owner == owner;
            let reached = |cap: Option<usize>, count: usize| cap.is_some_and(|cap| count >= cap);
            let (oldest, refusal) = if reached(self.rules.per_owner, self.records.iter().filter(of_owner).count()) {
                (self.records.iter().find(of_owner), Some(StoreError::OwnerFull))
            } else if reached(self.rules.in_all, self.records.iter().filter(live).count()) {
                (self.records.iter().find(live), Some(StoreError::Full))
            } else {
                (None, None)
            };
            let oldest = oldest.copied();
            match (refusal, self.rules.at_cap) {
                (Some(refusal), AtCap::Refuse) => return answer == Answer::Registered(Err(refusal)),
                (Some(_), AtCap::EvictOldest) => {
                    self.records.retain(|record| Some(*record) != oldest);
                    evicted = oldest.and_then(|record| match record.state {
                        State::Live(sid) => Some(sid),
                        State::Stale { .. } => None,
                    });
                }
                (None, _) => {}
            }
        }
        self.records.retain(|record| record.smid != smid);
        // Which number it is, the store says; every one is larger than all before.
        let Answer::Registered(Ok((epoch, other))) = answer else { return false };
        let rises = epoch > self.last;
        self.last = epoch;
        self.records.push(Record { smid, owner, epoch, state: State::Live(sid) });
        rises && other == evicted
    }

    fn lookup(&self, smid: u8, owner: u8, now: u64) -> Answer {
        let record = self.records.iter().find(|record| record.smid == smid && record.owner == owner);
        match record.map(|record| record.state) {
            Some(State::Live(sid)) => Answer::Session(sid),
            Some(State::Stale { h, since }) if now.saturating_sub(since) <= self.rules.geriatric.as_secs() => {
                Answer::StaleH(h)
            }
            _ => Answer::NotFound,
        }
    }

    /// Drops what is too old, from the oldest to the first that is not.
    fn sweep(&mut self, now: u64) {
        let limit = self.rules.geriatric.as_secs();
        let mut young = false;
        self.records.retain(|record| match record.state {
            State::Live(_) => true,
            State::Stale { since, .. } => {
                young |= now.saturating_sub(since) <= limit;
                young
            }
        });
    }

    fn take(&mut self, smid: u8, which: impl Fn(&Record) -> bool) -> Option<Record> {
        let at = self.records.iter().position(|record| record.smid == smid && which(record))?;
        Some(self.records.remove(at))
    }
}

impl Record {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }
}

/// The real store of these rules.
pub fn store(rules: &Rules) -> MemoryStore<u32> {
    let stale_h = StaleH { enabled: rules.stale, geriatric: rules.geriatric, ..StaleH::default() };
    let mut store = MemoryStore::new(&Config::default().stale_h(stale_h)).at_cap(rules.at_cap);
    if let Some(most) = rules.per_owner.and_then(NonZeroUsize::new) {
        store = store.per_owner(most);
    }
    if let Some(most) = rules.in_all.and_then(NonZeroUsize::new) {
        store = store.in_all(most);
    }
    store
}

/// The real call.
pub fn call(store: &MemoryStore<u32>, op: Op, epoch: Instant) -> Answer {
    let at = |now| epoch + Duration::from_secs(now);
    match op {
        Op::Register { smid: number, owner, sid } => {
            let registered = store.register(&smid(number), OWNERS[usize::from(owner)], sid);
            let evicted = |registered: Registered<u32>| registered.evicted.map(|evicted| evicted.sid);
            Answer::Registered(registered.map(|registered| (registered.epoch, evicted(registered))))
        }
        Op::Lookup { smid: number, owner, now } => {
            match store.lookup(&smid(number), OWNERS[usize::from(owner)], at(now)) {
                Ok(Lookup::Session(sid)) => Answer::Session(sid),
                Ok(Lookup::StaleH(h)) => Answer::StaleH(h.get()),
                Ok(Lookup::NotFound) => Answer::NotFound,
                Err(error) => Answer::Registered(Err(error)),
            }
        }
        Op::Retire { smid: number, epoch, h, now } => {
            store.retire(&smid(number), epoch, Counter::new(h), at(now)).map_or(Answer::NotFound, |()| Answer::Done)
        }
        Op::Remove { smid: number, epoch } => {
            store.remove(&smid(number), epoch).map_or(Answer::NotFound, |()| Answer::Done)
        }
        Op::Sweep { now } => {
            store.sweep(at(now));
            Answer::Done
        }
    }
}
