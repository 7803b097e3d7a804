//! How deep the worlds are explored: to a fixed depth in `cargo test`, or for so many minutes with
//! `PROOF_MINUTES`, always the world whose next level is the cheapest.

use std::time::{Duration, Instant};

use super::Explorer;
use crate::support::{Failure, number};
use crate::world::event::Event;
use crate::world::setting::Setting;

/// The most states that all worlds may have together, for the memory of a machine of 24 GB.
const STATES: usize = 150_000_000;

#[test]
fn every_short_schedule_keeps_the_promise() {
    let started = Instant::now();
    let minutes = number::<f64>("PROOF_MINUTES");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let only = std::env::var("PROOF_WORLD").ok();
    let worlds =
        Setting::explored().into_iter().filter(|setting| only.as_ref().is_none_or(|only| *only == setting.title()));
    let mut worlds: Vec<Explorer> = worlds.map(Explorer::new).collect();
    assert!(!worlds.is_empty(), "there is no world {only:?}");
    let found = match minutes {
        None => {
            worlds.iter_mut().try_for_each(|world| (0..world.setting.depth).try_for_each(|_| world.go_deeper(threads)))
        }
        Some(minutes) => deepen(&mut worlds, threads, started + Duration::from_secs_f64(minutes * 60.0)),
    };
    print_figures(&worlds, started.elapsed());
    if let Err(failure) = found {
        let states: usize = worlds.iter().map(Explorer::seen).sum();
        println!(
            "caught after {states} states, {:.1} s: a schedule of {}",
            started.elapsed().as_secs_f64(),
            failure.schedule.len()
        );
        panic!("{failure}");
    }
}

fn deepen(worlds: &mut [Explorer], threads: usize, until: Instant) -> Result<(), Failure<Event>> {
    // What a level costs follows from the two before it.
    let mut costs: Vec<(f64, f64)> = vec![(0.0, 0.0); worlds.len()];
    loop {
        let states: usize = worlds.iter().map(Explorer::states).sum();
        let next = (0..worlds.len()).min_by(|a, b| costs[*a].1.total_cmp(&costs[*b].1)).expect("some world");
        let cost = costs[next].1;
        let world = &mut worlds[next];
        let grown = world.states() as f64 * cost / world.time.as_secs_f64().max(1e-3);
        if Instant::now() + Duration::from_secs_f64(cost) > until || states as f64 + grown > STATES as f64 {
            return Ok(());
        }
        let before = world.time;
        world.go_deeper(threads)?;
        let spent = (world.time - before).as_secs_f64();
        let growth = if costs[next].0 > 0.0 { (spent / costs[next].0).clamp(1.5, 12.0) } else { 4.0 };
        costs[next] = (spent, spent * growth);
        if spent > 10.0 {
            println!("{}: depth {}, {} states, {spent:.0} s", world.setting.title(), world.depth, world.states());
        }
    }
}

fn print_figures(worlds: &[Explorer], time: Duration) {
    println!(
        "{:<52} {:>5} {:>12} {:>14} {:>12} {:>8}",
        "world", "depth", "states", "transitions", "schedules", "seconds"
    );
    for world in worlds {
        println!(
            "{:<52} {:>5} {:>12} {:>14} {:>12.3e} {:>8.1}",
            world.setting.title(),
            world.depth,
            world.states(),
            world.transitions(),
            world.schedules,
            world.time.as_secs_f64()
        );
    }
    let (states, transitions, schedules) =
        worlds.iter().fold((0, 0, 0.0), |(states, transitions, schedules), world| {
            (states + world.states(), transitions + world.transitions(), schedules + world.schedules)
        });
    println!(
        "in all: {states} states, {transitions} transitions, {schedules:.3e} schedules, {:.1} s",
        time.as_secs_f64()
    );
    // Two states that share a fingerprint would be taken for one.
    println!("chance that a state was passed over: {:.1e}", (states as f64).powi(2) / 2f64.powi(65));
}
