//! Long random schedules: thousands of steps, several pairs and owners on one store, text that is cut at any
//! byte, options at their edges. What fails is made short, first by proptest and then by leaving out events.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::explore::{Failure, panic_text};
use crate::world::World;
use crate::world::event::{Act, Event, Side};
use crate::world::ledger::Violation;
use crate::world::setting::Setting;
use crate::world::worlds::KNOBS;

/// The most steps of one schedule.
const STEPS: usize = 3000;

/// How many schedules `cargo test` tries; `PROOF_CASES` says otherwise.
const CASES: u32 = 60;

#[test]
fn long_random_schedules_keep_the_promise() {
    let cases = std::env::var("PROOF_CASES").ok().map_or(CASES, |text| text.parse().expect("a number of schedules"));
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

/// Takes as many steps as there are choices, and brings the world to its end.
fn wander(setting: &Setting, choices: &[u32]) -> (Vec<Event>, Result<(), Violation>) {
    let mut schedule = Vec::with_capacity(choices.len());
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(setting);
        let mut events = Vec::new();
        for choice in choices {
            world.enabled(&mut events);
            let event = choose(&world, &events, *choice);
            schedule.push(event);
            world.apply(event)?;
            world.check()?;
        }
        world.drain()
    }));
    (schedule, tried.unwrap_or_else(|panic| Err(Violation(panic_text(&*panic)))))
}

/// One of the events, the ones that bring things forward more often than those that end them.
fn choose(world: &World, events: &[Event], choice: u32) -> Event {
    let weight = |event: &Event| match event.act {
        Act::Deliver(..) => 30,
        Act::Send(_) | Act::Handle(..) => 20,
        Act::Connect | Act::Enable | Act::Retry(_) => 10,
        Act::GiveUp(..) | Act::Late | Act::Probe => 1,
        Act::Cut(..) | Act::Request(_) | Act::Ack(_) | Act::Timeout(..) => 2,
        Act::Tick | Act::Expire(..) | Act::Close(_) => 1,
        Act::Read(..) => 0,
    };
    let probe = Event { pair: 0, act: Act::Probe };
    let all = events.iter().chain([&probe]);
    let sum: u32 = all.clone().map(weight).sum();
    let mut left = choice % sum;
    let chosen = all.copied().find(|event| {
        let here = left < weight(event);
        left = left.saturating_sub(weight(event));
        here
    });
    match chosen.unwrap_or(probe) {
        Event { pair, act: Act::Deliver(side, at) } if world.readable(pair, side, at) > 0 => {
            Event { pair, act: read(side, at, choice / sum) }
        }
        event => event,
    }
}

/// A byte, a piece of an element, several elements, or all that there is.
fn read(side: Side, at: u8, choice: u32) -> Act {
    let bytes = match choice % 4 {
        0 => 1,
        1 => choice / 4 % 40 + 1,
        2 => choice / 4 % 3000 + 1,
        _ => u32::from(u16::MAX),
    };
    Act::Read(side, at, bytes as u16)
}

/// Does a schedule and brings the world to its end. Events that cannot happen are left out.
pub fn follow(setting: &Setting, schedule: &[Event]) -> Result<(), Violation> {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(setting);
        for event in schedule {
            world.apply(*event)?;
            world.check()?;
        }
        world.probe()?;
        world.drain()
    }));
    tried.unwrap_or_else(|panic| Err(Violation(panic_text(&*panic))))
}

/// Leaves out whatever can be left out, in ever smaller pieces.
pub fn shorten(setting: &Setting, mut schedule: Vec<Event>) -> Failure {
    let mut piece = schedule.len();
    while piece > 0 {
        let mut at = 0;
        while at < schedule.len() {
            let mut shorter = schedule.clone();
            shorter.drain(at..(at + piece).min(schedule.len()));
            match follow(setting, &shorter) {
                Err(_) => schedule = shorter,
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    let violation = match follow(setting, &schedule) {
        Err(Violation(text)) => text,
        Ok(()) => "the schedule fails only where it was found".to_owned(),
    };
    Failure { world: setting.title(), schedule, violation }
}
