//! Long random schedules in worlds of random options. What fails is made short by leaving out events.

use std::time::Instant;

use crate::event::{Act, Event};
use crate::explore::{Failure, end, tried};
use crate::ledger::Checked;
use crate::setting::Setting;
use crate::world::World;

/// The most steps of one schedule.
const STEPS: u64 = 600;

/// How many schedules `cargo test` tries; `PROOF_CASES` says otherwise.
const CASES: u64 = 60;

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Less than `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

#[test]
fn long_random_schedules_keep_the_promise() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (cases, first) = (number("PROOF_CASES").unwrap_or(CASES), number("PROOF_SEED").unwrap_or(0));
    let started = Instant::now();
    let mut steps = 0;
    for seed in first..first + cases {
        let setting = Setting::random(seed);
        let (schedule, result) = wander(&setting, seed);
        steps += schedule.len();
        if let Err(violation) = result {
            println!("caught after {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
            panic!("{}", shorten(&setting, schedule, seed, &violation));
        }
    }
    println!("{cases} random schedules, {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
}

/// Takes random steps, and brings the world to one of its ends.
fn wander(setting: &Setting, seed: u64) -> (Vec<Event>, Checked) {
    let mut dice = Dice::new(seed);
    let mut schedule = Vec::new();
    let result = tried(|| {
        let mut world = World::new(setting)?;
        for _ in 0..dice.roll(STEPS) {
            let events = world.enabled();
            let sum: u64 = events.iter().map(weight).sum();
            if sum == 0 {
                break;
            }
            let mut left = dice.roll(sum);
            let chosen = events.iter().find(|event| {
                let here = left < weight(event);
                left = left.saturating_sub(weight(event));
                here
            });
            let Some(event) = chosen.copied() else { break };
            schedule.push(event);
            world.apply(event)?;
        }
        end(world, seed)
    });
    (schedule, result)
}

/// What brings things forward comes more often than what ends them.
fn weight(event: &Event) -> u64 {
    match event.act {
        Act::Deliver => 60,
        Act::Mail | Act::Lookup | Act::Accept | Act::Connect => 40,
        Act::Send | Act::Settle | Act::Timeout => 20,
        Act::SettleLast | Act::Big | Act::Presence => 10,
        Act::Clog | Act::Tick | Act::Request | Act::Ack => 4,
        Act::Cut | Act::DropReceipt | Act::Late | Act::Rival => 2,
        _ => 1,
    }
}

/// Does a schedule and brings the world to its end. Events that cannot happen are left out.
pub fn follow(setting: &Setting, schedule: &[Event], which: u64) -> Checked {
    tried(|| {
        let mut world = World::new(setting)?;
        for event in schedule {
            world.apply(*event)?;
        }
        end(world, which)
    })
}

/// Leaves out whatever can be left out, in ever smaller pieces.
fn shorten(setting: &Setting, mut schedule: Vec<Event>, which: u64, violation: &str) -> Failure {
    let mut piece = schedule.len();
    while piece > 0 {
        let mut at = 0;
        while at < schedule.len() {
            let mut shorter = schedule.clone();
            shorter.drain(at..(at + piece).min(schedule.len()));
            match follow(setting, &shorter, which) {
                Err(other) if kind(&other) == kind(violation) => schedule = shorter,
                _ => at += piece,
            }
        }
        piece /= 2;
    }
    let result = follow(setting, &schedule, which);
    let violation = result.err().unwrap_or_else(|| format!("{violation} (only where it was found)"));
    Failure { world: setting.title.clone(), schedule, violation }
}

/// A violation without its numbers.
fn kind(violation: &str) -> String {
    violation.chars().filter(|c| c.is_alphabetic()).take(40).collect()
}
