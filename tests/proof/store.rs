//! `MemoryStore` under many threads: whatever they get as answers, they could have got one after the other.
//!
//! Threads call at random and note when each call began and ended. A search then looks for an order of the
//! calls that agrees with those times and in which a store without any concurrency, `model.rs`, gives the
//! same answers (Wing and Gong's method). `loom/` does the same with every interleaving of a few calls.

pub mod linear;
pub mod model;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use xmpp_sm::{AtCap, Epoch, MemoryStore};

use linear::{Call, order};
use model::{Answer, Model, Op, Rules, call, store};

/// How many calls each thread makes of one store.
const CALLS: usize = 12;
/// How many stores the same threads go through: to start threads takes longer than all they do to one.
const STORES: usize = 50;
/// How long stores are tried, and how many calls have to meet another, however long that takes: on a busy machine few do.
const TIME: Duration = Duration::from_secs(3);
const FEW: usize = 300;
/// How long a thread waits for the others.
const PATIENCE: Duration = Duration::from_secs(600);
/// After so many rounds it is not the machine that keeps calls from meeting.
const ROUNDS: usize = 20_000;

#[test]
fn answers_of_the_store_could_have_been_given_one_after_the_other() {
    let limits = |per_owner, in_all, at_cap| Rules { per_owner, in_all, at_cap, ..Rules::default() };
    let rules = [
        Rules::default(),
        Rules { geriatric: Duration::from_secs(2), ..Rules::default() },
        Rules { stale: false, ..Rules::default() },
        limits(1, None, AtCap::EvictOldest),
        limits(10, Some(2), AtCap::EvictOldest),
        limits(1, Some(2), AtCap::Refuse),
    ];
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.clamp(2, 4);
    // On one processor none meet but where it is taken from a thread in the middle of a call.
    let few = if processors > 1 { FEW } else { 0 };
    let (mut seeds, mut made, mut met) = (0.., 0, 0);
    let start = Instant::now();
    for rules in rules.iter().cycle().take(ROUNDS) {
        if met >= few && start.elapsed() > TIME {
            break;
        }
        for calls in histories(rules, threads, seeds.by_ref().take(STORES)) {
            made += calls.len();
            met += calls.iter().filter(|call| calls.iter().any(|other| call.overlaps(other))).count();
            let order = order(&calls, Model::new(*rules));
            assert!(order.is_some(), "no order explains these answers under {rules:?}:\n{calls:#?}");
        }
    }
    println!("{made} calls by {threads} threads, {met} of them at the same time as another");
    assert!(met >= few, "hardly any call met another, and that shows nothing");
}

/// One store, and what the threads that use it share.
struct Ring {
    seed: u64,
    store: MemoryStore<u32>,
    epoch: Instant,
    ready: AtomicUsize,
    clock: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

/// What a few threads do to stores at once, one store after the other.
fn histories(rules: &Rules, threads: usize, seeds: impl Iterator<Item = u64>) -> impl Iterator<Item = Vec<Call>> {
    let ring = |seed| Ring {
        seed,
        store: store(rules),
        epoch: Instant::now(),
        ready: AtomicUsize::new(0),
        clock: AtomicU64::new(0),
        calls: Mutex::default(),
    };
    let rings: Vec<_> = seeds.map(ring).collect();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let rings = &rings;
            scope.spawn(move || rings.iter().for_each(|ring| ring.enter(thread, threads)));
        }
    });
    rings.into_iter().map(|ring| ring.calls.into_inner().expect("no call panics"))
}

impl Ring {
    fn enter(&self, thread: usize, threads: usize) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&thread.to_le_bytes());
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut epochs = vec![((0, 0), Epoch::new(1))];
        let mut calls = Vec::with_capacity(CALLS);
        self.await_all(threads);
        for _ in 0..CALLS {
            let op = choose(&mut random, &epochs, thread);
            let began = self.clock.fetch_add(1, Ordering::SeqCst);
            let answer = call(&self.store, op, self.epoch);
            let ended = self.clock.fetch_add(1, Ordering::SeqCst);
            if let (Op::Register { smid, owner, .. }, Answer::Registered(Ok((epoch, _)))) = (op, answer) {
                epochs.push(((smid, owner), epoch));
            }
            calls.push(Call { op, answer, began, ended });
        }
        self.calls.lock().expect("no call panics").append(&mut calls);
    }

    /// Until all are here, so that all begin at once. To sleep would take longer than all the calls; to yield lets
    /// one come that has no processor.
    fn await_all(&self, threads: usize) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        let mut spins = 0_u32;
        while self.ready.load(Ordering::SeqCst) < threads {
            spins += 1;
            if spins < 10_000 {
                std::hint::spin_loop();
            } else {
                assert!(self.epoch.elapsed() < PATIENCE, "a thread has panicked and will not come");
                std::thread::yield_now();
            }
        }
    }
}

fn choose(random: &mut TestRng, epochs: &[((u8, u8), Epoch)], thread: usize) -> Op {
    let mut dice = |sides: u32| random.next_u32() % sides;
    let (smid, owner, now) = (dice(3) as u8, dice(2) as u8, u64::from(dice(5)));
    let ((of, its), epoch) = epochs[dice(epochs.len() as u32) as usize];
    match dice(10) {
        0..=3 => Op::Register { smid, owner, handle: dice(1 << 20) << 4 | thread as u32, now },
        4..=6 => Op::Lookup { smid, owner, now },
        7 => Op::Retire { smid: of, owner: its, epoch, h: dice(100), now },
        8 => Op::Remove { smid: of, owner: its, epoch },
        _ => Op::Sweep { now },
    }
}
