//! Calls of the store in every interleaving, against the model of one caller at a time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loom::sync::Arc;
use xmpp_sm::{AtCap, Epoch};

use crate::linear::{Call, order};
use crate::model::{Answer, Model, Op, Rules, call, store};

/// One live session of each owner, and a stale one of the first, whose time is 1.
const BEFORE: [Op; 4] = [
    Op::Register { smid: 2, owner: 0, handle: 102, now: 0 },
    Op::Retire { smid: 2, owner: 0, epoch: nth(0), h: 5, now: 1 },
    Op::Register { smid: 0, owner: 0, handle: 100, now: 1 },
    Op::Register { smid: 1, owner: 1, handle: 101, now: 1 },
];

const OPS: [Op; 11] = [
    Op::Register { smid: 0, owner: 0, handle: 1, now: 1 },
    Op::Register { smid: 0, owner: 1, handle: 2, now: 1 },
    Op::Register { smid: 2, owner: 0, handle: 3, now: 1 },
    Op::Lookup { smid: 0, owner: 0, now: 1 },
    Op::Lookup { smid: 2, owner: 0, now: 1 },
    Op::Lookup { smid: 1, owner: 1, now: 1 },
    Op::Retire { smid: 0, owner: 0, epoch: nth(1), h: 7, now: 2 },
    Op::Remove { smid: 0, owner: 0, epoch: nth(1) },
    Op::Remove { smid: 2, owner: 0, epoch: nth(0) },
    Op::Retire { smid: 1, owner: 1, epoch: nth(2), h: 9, now: 2 },
    Op::Sweep { now: 9 },
];

/// The registrations of [`BEFORE`] by their order. Which epochs they get, the store says.
const fn nth(registration: u64) -> Epoch {
    Epoch::new(registration)
}

/// The same call with the epoch that the store has given.
fn with_epoch(op: Op, epochs: &[Epoch]) -> Op {
    match op {
        Op::Retire { smid, owner, epoch, h, now } => {
            Op::Retire { smid, owner, epoch: epochs[epoch.get() as usize], h, now }
        }
        Op::Remove { smid, owner, epoch } => Op::Remove { smid, owner, epoch: epochs[epoch.get() as usize] },
        other => other,
    }
}

fn all_rules() -> [Rules; 5] {
    let limits = |per_owner, in_all, at_cap| Rules { per_owner, in_all, at_cap, ..Rules::default() };
    [
        Rules { geriatric: Duration::from_secs(3), ..Rules::default() },
        Rules { stale: false, ..Rules::default() },
        limits(1, None, AtCap::EvictOldest),
        limits(10, Some(2), AtCap::EvictOldest),
        limits(1, Some(2), AtCap::Refuse),
    ]
}

#[test]
fn two_threads_of_two_calls_each() {
    let pairs = || OPS.iter().flat_map(|first| OPS.iter().map(|second| vec![*first, *second]));
    let mut models = Vec::new();
    for rules in all_rules() {
        for (one, i) in pairs().zip(0..) {
            models.extend(pairs().skip(i).map(|other| (rules, vec![one.clone(), other])));
        }
    }
    interleave_sample("pairs of two calls each", &models);
}

#[test]
fn three_threads_of_one_call_each() {
    let mut models = Vec::new();
    for rules in all_rules() {
        for (i, one) in OPS.iter().enumerate() {
            for (j, two) in OPS.iter().enumerate().skip(i) {
                models.extend(OPS.iter().skip(j).map(|three| (rules, vec![vec![*one], vec![*two], vec![*three]])));
            }
        }
    }
    interleave_sample("triples of calls", &models);
}

/// All of them, unless `loom.sh` says that every so many, from one on, are enough.
fn interleave_sample(what: &str, models: &[(Rules, Vec<Vec<Op>>)]) {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse::<usize>().expect("a number"));
    let every = variable("LOOM_SAMPLE").unwrap_or(1);
    let sample = models.iter().skip(variable("LOOM_FROM").unwrap_or(0)).step_by(every);
    let (number, interleavings) = (sample.len(), AtomicUsize::new(0));
    sample.for_each(|(rules, threads)| interleave(*rules, threads.clone(), &interleavings));
    println!("{number} of {} {what}, {} interleavings", models.len(), interleavings.into_inner());
}

/// A sweep goes from shard to shard, and is seen at once: two lookups in the past agree on whether it was.
#[test]
fn a_sweep_is_seen_for_all_records_at_one_moment() {
    let interleavings = AtomicUsize::new(0);
    let next = [
        Op::Retire { smid: 1, owner: 1, epoch: nth(2), h: 9, now: 2 },
        Op::Lookup { smid: 2, owner: 0, now: 1 },
        Op::Lookup { smid: 1, owner: 1, now: 2 },
        Op::Lookup { smid: 2, owner: 0, now: 1 },
    ];
    interleave(all_rules()[0], vec![vec![Op::Sweep { now: 9 }], next.to_vec()], &interleavings);
    println!("a sweep and three calls, {} interleavings", interleavings.into_inner());
}

fn interleave(rules: Rules, threads: Vec<Vec<Op>>, interleavings: &AtomicUsize) {
    let epoch = Instant::now();
    // Loom wants what it runs to be 'static, and so it is counted there and added here.
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let run = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let store = Arc::new(store(&rules));
        // What loom runs is one thread after the other, so this clock says in which order.
        let clock = std::sync::Arc::new(AtomicU64::new(0));
        let timed = |op| {
            let (store, clock) = (store.clone(), clock.clone());
            move || {
                let began = clock.fetch_add(1, Ordering::SeqCst);
                let answer = call(&store, op, epoch);
                Call { op, answer, began, ended: clock.fetch_add(1, Ordering::SeqCst) }
            }
        };
        let (mut calls, mut epochs) = (Vec::new(), Vec::new());
        for op in BEFORE {
            let call: Call = timed(with_epoch(op, &epochs))();
            if let Answer::Registered(Ok((epoch, _))) = call.answer {
                epochs.push(epoch);
            }
            calls.push(call);
        }
        let start = |ops: &Vec<Op>| {
            let timed: Vec<_> = ops.iter().map(|op| timed(with_epoch(*op, &epochs))).collect();
            loom::thread::spawn(move || timed.into_iter().map(|call| call()).collect::<Vec<Call>>())
        };
        let (first, others) = threads.split_first().expect("some thread");
        let others: Vec<_> = others.iter().map(start).collect();
        calls.extend(first.iter().map(|op| timed(with_epoch(*op, &epochs))()));
        for thread in others {
            calls.extend(thread.join().expect("no call panics"));
        }
        // What is there in the end must be explained, too.
        for (smid, owner) in [(0, 0), (0, 1), (1, 1), (2, 0)] {
            calls.push(timed(Op::Lookup { smid, owner, now: 2 })());
        }
        assert!(order(&calls, Model::new(rules)).is_some(), "no order explains these under {rules:?}:\n{calls:#?}");
    };
    loom::model(run);
    interleavings.fetch_add(count.load(Ordering::Relaxed), Ordering::Relaxed);
}
