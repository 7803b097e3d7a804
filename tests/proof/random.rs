//! Long random schedules: thousands of steps, several pairs and owners on one store, text that is cut at any
//! byte, options at their edges. What fails is made short, first by proptest and then by leaving out events.

use std::cell::Cell;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::support::{Violation, number};
use crate::wander::{shorten, wander};
use crate::world::setting::Setting;
use crate::world::worlds::KNOBS;

/// The most steps of one schedule.
const STEPS: usize = 3000;

/// How many schedules `cargo test` tries; `PROOF_CASES` says otherwise.
const CASES: u32 = 60;

#[test]
fn long_random_schedules_keep_the_promise() {
    let cases = number("PROOF_CASES").unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let started = Instant::now();
    let (steps, caught) = (Cell::new(0), Cell::new(None));
    let strategy = (vec(any::<u8>(), KNOBS), vec(any::<u32>(), 0..STEPS));
    let found = runner.run(&strategy, |(knobs, choices)| {
        let setting = Setting::random(&knobs);
        let (schedule, result) = wander(&setting, &choices);
        if caught.get().is_none() {
            steps.set(steps.get() + schedule.len());
        }
        result.map_err(|Violation(text)| {
            caught.set(caught.get().or(Some(started.elapsed())));
            TestCaseError::fail(text)
        })
    });
    let time = caught.get().unwrap_or(started.elapsed()).as_secs_f64();
    match caught.get() {
        None => println!("{cases} random schedules, {} steps, {time:.1} s", steps.get()),
        Some(_) => println!("caught after {} steps, {time:.1} s", steps.get()),
    }
    match found {
        Ok(()) => {}
        Err(TestError::Fail(_, (knobs, choices))) => {
            let setting = Setting::random(&knobs);
            panic!("{}", shorten(&setting, wander(&setting, &choices).0));
        }
        Err(error) => panic!("{error}"),
    }
}
