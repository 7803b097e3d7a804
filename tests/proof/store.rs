//! `MemoryStore` under many threads: whatever they get as answers, they could have got one after the other.
//!
//! Threads call at random and note when each call began and ended. A search then looks for an order of the
//! calls that agrees with those times and in which a store without any concurrency, `model.rs`, gives the
//! same answers (Wing and Gong's method). `loom/` does the same with every interleaving of a few calls.

pub mod linear;
pub mod model;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use xmpp_sm::{AtCap, Epoch};

use linear::{Call, order};
use model::{Answer, Model, Op, Rules, call, store};

const THREADS: usize = 3;
const CALLS: usize = 6;
/// How many calls of each store shall meet another, and how many histories are made for that at most. A
/// machine that is busy, or has one processor, makes few meet.
const MEETINGS: usize = 2000;
const HISTORIES: u64 = 3000;

#[test]
fn answers_of_the_store_could_have_been_given_one_after_the_other() {
    let limits = |per_owner, in_all, at_cap| Rules { per_owner, in_all, at_cap, ..Rules::default() };
    let rules = [
        Rules::default(),
        Rules { geriatric: Duration::from_secs(2), ..Rules::default() },
        Rules { stale: false, ..Rules::default() },
        limits(Some(1), None, AtCap::EvictOldest),
        limits(None, Some(2), AtCap::EvictOldest),
        limits(Some(1), Some(2), AtCap::Refuse),
    ];
    for (rules, number) in rules.into_iter().zip(0..) {
        let (mut histories, mut met) = (0, 0);
        while histories < HISTORIES && met < MEETINGS {
            let calls = history(&rules, number * HISTORIES + histories);
            histories += 1;
            met += calls.iter().filter(|call| calls.iter().any(|other| call.overlaps(other))).count();
            let order = order(&calls, Model::new(rules));
            assert!(order.is_some(), "no order explains these answers under {rules:?}:\n{calls:#?}");
        }
        println!("{histories} histories of {} calls, {met} of them at the same time as another", THREADS * CALLS);
    }
}

/// What a few threads do to a store at once.
fn history(rules: &Rules, seed: u64) -> Vec<Call> {
    let (store, clock, start) = (store(rules), AtomicU64::new(0), AtomicUsize::new(0));
    let epoch = Instant::now();
    let (store, clock, start) = (&store, &clock, &start);
    let work = move |thread: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&thread.to_le_bytes());
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut epochs = vec![(0, Epoch::new(1))];
        let mut calls = Vec::new();
        start.fetch_add(1, Ordering::SeqCst);
        while start.load(Ordering::SeqCst) < THREADS {
            std::thread::yield_now();
        }
        for _ in 0..CALLS {
            let op = choose(&mut random, &epochs, thread);
            (0..random.next_u32() % 64).for_each(|_| std::hint::spin_loop());
            let began = clock.fetch_add(1, Ordering::SeqCst);
            let answer = call(store, op, epoch);
            let ended = clock.fetch_add(1, Ordering::SeqCst);
            if let (Op::Register { smid, .. }, Answer::Registered(Ok((epoch, _)))) = (op, answer) {
                epochs.push((smid, epoch));
            }
            calls.push(Call { op, answer, began, ended });
        }
        calls
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no call panics")).collect()
    })
}

fn choose(random: &mut TestRng, epochs: &[(u8, Epoch)], thread: u64) -> Op {
    let mut dice = |sides: u32| random.next_u32() % sides;
    let (smid, owner, now) = (dice(3) as u8, dice(2) as u8, u64::from(dice(5)));
    let (of, epoch) = epochs[dice(epochs.len() as u32) as usize];
    match dice(10) {
        0..=3 => Op::Register { smid, owner, sid: dice(1 << 20) << 4 | thread as u32 },
        4..=6 => Op::Lookup { smid, owner, now },
        7 => Op::Retire { smid: of, epoch, h: dice(100), now },
        8 => Op::Remove { smid: of, epoch },
        _ => Op::Sweep { now },
    }
}
