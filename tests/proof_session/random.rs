//! Long random schedules in worlds of random options. What fails is made short by leaving out events.

use std::time::Instant;

use crate::support::number;
use crate::wander::{shorten, wander};
use crate::world::setting::Setting;
use crate::world::worlds::KNOBS;

/// The most steps of one schedule.
const STEPS: u64 = 600;

/// How many schedules `cargo test` tries; `PROOF_CASES` says otherwise.
const CASES: u64 = 60;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Less than `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[test]
fn long_random_schedules_keep_the_promise() {
    let (cases, first) = (number("PROOF_CASES").unwrap_or(CASES), number("PROOF_SEED").unwrap_or(0));
    let started = Instant::now();
    let mut steps = 0;
    for seed in first..first + cases {
        let mut dice = Dice::new(seed);
        let knobs: Vec<u8> = (0..KNOBS).map(|_| dice.roll(256) as u8).collect();
        let choices: Vec<u32> = (0..dice.roll(STEPS)).map(|_| dice.roll(1 << 32) as u32).collect();
        let setting = Setting::random(&knobs);
        let (schedule, result) = wander(&setting, &choices, seed);
        steps += schedule.len();
        if let Err(violation) = result {
            println!("caught after {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
            panic!("{}", shorten(&setting, schedule, seed, violation));
        }
    }
    println!("{cases} random schedules, {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
}
