//! The contract of `SessionStore` with the caps of `MemoryStore`, for one caller at a time. It is written to
//! be read and is as slow as that.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use xmpp_sm::{
    AtCap, Config, Counter, Epoch, Lookup, MemoryStore, Registered, Registration, SessionStore, SmId, StaleH,
    StoreError,
};

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
        handle: u32,
        now: u64,
    },
    Lookup {
        smid: u8,
        owner: u8,
        now: u64,
    },
    Retire {
        smid: u8,
        owner: u8,
        epoch: Epoch,
        h: u32,
        now: u64,
    },
    Remove {
        smid: u8,
        owner: u8,
        epoch: Epoch,
    },
    /// How many records one call drops is the store's affair. What it drops is not answered any more.
    Sweep {
        now: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Registered(Result<(Epoch, Option<u32>), StoreError>),
    Session(u32, Epoch),
    StaleH(u32),
    NotFound,
    Done,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub stale: bool,
    pub geriatric: Duration,
    pub per_owner: usize,
    pub in_all: Option<usize>,
    pub at_cap: AtCap,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            stale: true,
            geriatric: Duration::from_secs(3600),
            per_owner: 10,
            in_all: None,
            at_cap: AtCap::EvictOldest,
        }
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
    /// Without an `h` it was displaced, and its `h` is still to come.
    Stale {
        h: Option<u32>,
        since: u64,
    },
}

/// Records are in the order in which they became what they are.
#[derive(Clone, Debug)]
pub struct Model {
    rules: Rules,
    records: Vec<Record>,
    /// The last epoch of each owner.
    last: [Epoch; 2],
    /// The latest time of a sweep.
    swept: u64,
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        (&self.records, self.last, self.swept) == (&other.records, other.last, other.swept)
    }
}

impl Eq for Model {}

impl std::hash::Hash for Model {
    fn hash<H: std::hash::Hasher>(&self, out: &mut H) {
        (&self.records, self.last, self.swept).hash(out);
    }
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self { rules, records: Vec::new(), last: [Epoch::new(0); 2], swept: 0 }
    }

    /// The store after a call, if that answer is right.
    pub fn after(mut self, op: Op, answer: Answer) -> Option<Self> {
        let right = match op {
            Op::Register { smid, owner, handle, now } => self.register((smid, owner), handle, now, answer),
            Op::Lookup { smid, owner, now } => answer == self.lookup(smid, owner, now),
            Op::Retire { smid, owner, epoch, h, now } => {
                let model = self.clone();
                let is_it = |record: &Record| record.epoch == epoch && model.awaits_end(record, now);
                if let Some(mut record) = self.take((smid, owner), is_it)
                    && self.rules.stale
                {
                    record.state = State::Stale { h: Some(h), since: now };
                    self.records.push(record);
                }
                answer == Answer::Done
            }
            Op::Remove { smid, owner, epoch } => {
                self.take((smid, owner), |record| record.epoch == epoch);
                answer == Answer::Done
            }
            Op::Sweep { now } => {
                self.swept = self.swept.max(now);
                answer == Answer::Done
            }
        };
        right.then_some(self)
    }

    fn register(&mut self, key: (u8, u8), handle: u32, now: u64, answer: Answer) -> bool {
        let (smid, owner) = key;
        let known = self.records.iter().any(|record| record.key() == key && record.is_live());
        let mut displaced = None;
        if !known {
            let live = self.records.iter().filter(|record| record.is_live());
            let (mut of_owner, others): (Vec<_>, Vec<_>) = live.copied().partition(|record| record.owner == owner);
            let refusal = if of_owner.len() >= self.rules.per_owner {
                Some(StoreError::OwnerFull)
            } else {
                let is_full = |most| of_owner.len() + others.len() >= most;
                self.rules.in_all.is_some_and(is_full).then_some(StoreError::Full)
            };
            if let Some(refusal) = refusal {
                if self.rules.at_cap == AtCap::Refuse || of_owner.is_empty() {
                    return answer == Answer::Registered(Err(refusal));
                }
                displaced = Some(of_owner.remove(0));
            }
        }
        self.records.retain(|record| record.key() != key);
        if let Some(Record { smid, owner, epoch, .. }) = displaced {
            self.take((smid, owner), |_| true);
            if self.rules.stale {
                self.records.push(Record { smid, owner, epoch, state: State::Stale { h: None, since: now } });
            }
        }
        // Which number it is, the store says; every one is larger than all that the owner had.
        let Answer::Registered(Ok((epoch, other))) = answer else { return false };
        let last = &mut self.last[usize::from(owner)];
        let rises = epoch > *last;
        *last = epoch;
        self.records.push(Record { smid, owner, epoch, state: State::Live(handle) });
        rises && other == displaced.and_then(|record| record.handle())
    }

    fn lookup(&self, smid: u8, owner: u8, now: u64) -> Answer {
        let record = self.records.iter().find(|record| record.key() == (smid, owner));
        match record.map(|record| (record.state, record.epoch)) {
            Some((State::Live(handle), epoch)) => Answer::Session(handle, epoch),
            Some((State::Stale { h: Some(h), since }, _)) if !self.is_too_old(since, now) => Answer::StaleH(h),
            _ => Answer::NotFound,
        }
    }

    fn awaits_end(&self, record: &Record, now: u64) -> bool {
        match record.state {
            State::Live(_) => true,
            State::Stale { h, since } => h.is_none() && !self.is_too_old(since, now),
        }
    }

    fn is_too_old(&self, since: u64, now: u64) -> bool {
        now.max(self.swept).saturating_sub(since) > self.rules.geriatric.as_secs()
    }

    fn take(&mut self, key: (u8, u8), which: impl Fn(&Record) -> bool) -> Option<Record> {
        let at = self.records.iter().position(|record| record.key() == key && which(record))?;
        Some(self.records.remove(at))
    }
}

impl Record {
    fn key(&self) -> (u8, u8) {
        (self.smid, self.owner)
    }

    fn is_live(&self) -> bool {
        self.handle().is_some()
    }

    fn handle(&self) -> Option<u32> {
        match self.state {
            State::Live(handle) => Some(handle),
            State::Stale { .. } => None,
        }
    }
}

/// The real store of these rules.
pub fn store(rules: &Rules) -> MemoryStore<u32> {
    let stale_h = StaleH { enabled: rules.stale, geriatric: rules.geriatric, ..StaleH::default() };
    let per_owner = NonZeroUsize::new(rules.per_owner).expect("not zero");
    let store = MemoryStore::new(&Config::default().stale_h(stale_h)).at_cap(rules.at_cap).per_owner(per_owner);
    match rules.in_all.and_then(NonZeroUsize::new) {
        Some(most) => store.in_all(most),
        None => store,
    }
}

/// The real call.
pub fn call(store: &MemoryStore<u32>, op: Op, start: Instant) -> Answer {
    let at = |now| start + Duration::from_secs(now);
    let of = |owner| OWNERS[usize::from(owner)];
    match op {
        Op::Register { smid: number, owner, handle, now } => {
            let registered = store.register(&smid(number), &of(owner).into(), handle, at(now));
            Answer::Registered(registered.map(|Registered { registration, displaced }| {
                (registration.epoch(), displaced.map(|displaced| displaced.handle))
            }))
        }
        Op::Lookup { smid: number, owner, now } => match store.lookup(&smid(number), of(owner), at(now)) {
            Ok(Lookup::Session(record)) => Answer::Session(record.handle, record.registration.epoch()),
            Ok(Lookup::StaleH(h)) => Answer::StaleH(h.get()),
            Ok(Lookup::NotFound) => Answer::NotFound,
            Err(error) => Answer::Registered(Err(error)),
        },
        Op::Retire { smid: number, owner, epoch, h, now } => {
            let done = store.retire(&Registration::new(of(owner), smid(number), epoch), Counter::new(h), at(now));
            done.map_or(Answer::NotFound, |()| Answer::Done)
        }
        Op::Remove { smid: number, owner, epoch } => {
            store.remove(&Registration::new(of(owner), smid(number), epoch)).map_or(Answer::NotFound, |()| Answer::Done)
        }
        Op::Sweep { now } => {
            let _ = store.sweep(at(now));
            Answer::Done
        }
    }
}
