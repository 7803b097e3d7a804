//! Long random schedules in worlds of random options. What fails is made short by leaving out events.

use std::time::Instant;

use crate::dice::roll;
use crate::support::number;
use crate::wander::{shorten, wander};
use crate::world::setting::Setting;
use crate::world::worlds::KNOBS;

/// The most steps of one schedule.
const STEPS: u64 = 600;

/// How many schedules `cargo test` tries; `PROOF_CASES` says otherwise.
const CASES: u64 = 60;

#[test]
fn long_random_schedules_keep_the_promise() {
    let (cases, first) = (number("PROOF_CASES").unwrap_or(CASES), number("PROOF_SEED").unwrap_or(0));
    let started = Instant::now();
    let mut steps = 0;
    for seed in first..first + cases {
        let (knobs, choices) = roll(seed, KNOBS, STEPS);
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
