//! Long random schedules in worlds of random options. What fails is made short by leaving out events.

use std::time::Instant;

use crate::dice::roll;
use crate::support::number;
use crate::wander::{shorten, wander};
use crate::world::Sum;
use crate::world::setting::Setting;

/// The most steps of one schedule.
const STEPS: u64 = 400;
/// How many schedules `cargo test` tries; `PROOF_CASES` says otherwise.
const CASES: u64 = 400;
const KNOBS: usize = 12;

#[test]
fn long_random_schedules_keep_every_promise() {
    let (cases, first) = (number("PROOF_CASES").unwrap_or(CASES), number("PROOF_SEED").unwrap_or(0));
    let started = Instant::now();
    let mut steps = 0;
    let mut sums = [Sum::default(); 3];
    for seed in first..first + cases {
        let (knobs, choices) = roll(seed, KNOBS, STEPS);
        let setting = Setting::random(&knobs);
        let (schedule, result) = wander(&setting, &choices);
        steps += schedule.len();
        match result {
            Ok(sum) => sums[setting.promise as usize] += sum,
            Err(violation) => {
                println!("caught after {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
                panic!("seed {seed}: {}", shorten(&setting, schedule, violation));
            }
        }
    }
    println!("{cases} random schedules, {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
    for (promise, sum) in ["memory", "parked", "durable"].iter().zip(sums) {
        let Sum { messages, resumed, lost, doubled, late } = sum;
        println!(
            "{promise}: {messages} messages, {resumed} resumed, {lost} lost, {doubled} doubled and {late} late as accounted for"
        );
    }
    if cases >= CASES {
        assert!(sums.iter().all(|sum| sum.resumed > 0 && sum.messages > 0), "{sums:?}");
        assert!(sums[2].lost == 0 && sums[2].doubled > 0, "{sums:?}");
    }
}
