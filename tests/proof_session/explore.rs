//! Every schedule up to a depth, breadth first, each state once. A session is moved and never copied, so a state is
//! kept as the schedule that leads to it, and is reached again by doing that.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::support::{Checked, Failure, number, tried};
use crate::wander::SUITE;
use crate::world::World;
use crate::world::event::{Act, Event};
use crate::world::setting::Setting;

/// The exploration of one world.
struct Explorer<'a> {
    setting: &'a Setting,
    /// Whether each state is brought to all ends, and not to one of them in turn.
    all_ends: bool,
    seen: HashSet<u64>,
    /// How each state was reached first: from which, by which event.
    from: Vec<(usize, Event)>,
    transitions: usize,
}

impl<'a> Explorer<'a> {
    fn schedule(&self, mut state: usize) -> Vec<Event> {
        let mut schedule = Vec::new();
        while state != 0 {
            let (from, event) = self.from[state];
            schedule.push(event);
            state = from;
        }
        schedule.reverse();
        schedule
    }

    fn replay(&self, schedule: &[Event]) -> Checked<World<'a>> {
        let mut world = World::new(self.setting)?;
        for event in schedule {
            world.apply(*event)?;
        }
        Ok(world)
    }

    fn run(&mut self, depth: usize, most: usize, total: &AtomicUsize) -> Result<(), Failure<Event>> {
        let fail = |schedule: Vec<Event>, violation| Failure {
            suite: SUITE,
            world: self.setting.title.clone(),
            schedule,
            violation,
        };
        let first = tried(|| World::new(self.setting)).map_err(|violation| fail(vec![], violation))?;
        self.seen.insert(first.fingerprint());
        let mut frontier = 0..1;
        for _ in 0..depth {
            for state in frontier.clone() {
                if self.from.len() > most {
                    return Ok(());
                }
                let schedule = self.schedule(state);
                let events = tried(|| self.replay(&schedule).map(|world| world.enabled()));
                for event in events.map_err(|violation| fail(schedule.clone(), violation))? {
                    let longer: Vec<Event> = schedule.iter().copied().chain([event]).collect();
                    self.transitions += 1;
                    let (seen, which) = (&self.seen, self.from.len() as u64);
                    let step = tried(|| {
                        let world = self.replay(&longer)?;
                        let fingerprint = world.fingerprint();
                        if seen.contains(&fingerprint) {
                            return Ok(None);
                        }
                        world.end(which)?;
                        for other in (1..World::ENDS).filter(|_| self.all_ends) {
                            self.replay(&longer)?.end(which + other)?;
                        }
                        Ok(Some(fingerprint))
                    });
                    match step {
                        Ok(Some(fingerprint)) => {
                            self.seen.insert(fingerprint);
                            self.from.push((state, event));
                            total.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(None) => {}
                        Err(violation) => {
                            return Err(Failure {
                                suite: SUITE,
                                world: self.setting.title.clone(),
                                schedule: longer,
                                violation,
                            });
                        }
                    }
                }
            }
            frontier = frontier.end..self.from.len();
        }
        Ok(())
    }
}

#[test]
fn every_short_schedule_keeps_the_promise() {
    let started = Instant::now();
    // How deep, instead of what each world says.
    let depth = number("PROOF_DEPTH");
    // A world of more states is not explored to its depth.
    let most = number("PROOF_STATES").unwrap_or(usize::MAX);
    // Whether one that is found ends the search in the other worlds.
    let every = number::<u32>("PROOF_EVERY").is_some();
    let all_ends = number::<u32>("PROOF_ALL_ENDS").is_some();
    let only = std::env::var("PROOF_WORLD").ok();
    let worlds = Setting::explored();
    let worlds: Vec<Setting> =
        worlds.into_iter().filter(|setting| only.as_ref().is_none_or(|only| *only == setting.title)).collect();
    assert!(!worlds.is_empty(), "there is no world {only:?}");
    let (next, total) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some(setting) = worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begun = Instant::now();
            let start = Event::new(Act::Tick, 0);
            let (seen, from) = (HashSet::new(), vec![(0, start)]);
            let mut explorer = Explorer { setting, all_ends, seen, from, transitions: 0 };
            let result = explorer.run(depth.unwrap_or(setting.depth), most, &total);
            let found = result.is_err();
            let at = total.load(Ordering::Relaxed);
            let row = (setting, explorer.from.len(), explorer.transitions, begun.elapsed(), result, at);
            done.lock().expect("no thread panics here").push(row);
            if found && !every {
                next.store(usize::MAX / 2, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{:<52} {:>5} {:>9} {:>12} {:>8}", "world", "depth", "states", "transitions", "seconds");
    let (mut all, mut transitions) = (0, 0);
    let rows = done.into_inner().expect("no thread panics here");
    for (setting, states, steps, time, _, _) in &rows {
        let depth = depth.unwrap_or(setting.depth);
        println!("{:<52} {depth:>5} {states:>9} {steps:>12} {:>8.1}", setting.title, time.as_secs_f64());
        all += states;
        transitions += steps;
    }
    let time = started.elapsed().as_secs_f64();
    println!("in all: {} worlds, {all} states, {transitions} transitions, {time:.1} s", rows.len());
    let found: Vec<_> =
        rows.into_iter().filter_map(|(.., result, at)| result.err().map(|failure| (failure, at))).collect();
    for (failure, at) in &found {
        println!("caught after {at} states, {time:.1} s: a schedule of {}\n{failure}", failure.schedule.len());
    }
    assert!(found.is_empty(), "the promise is broken, see above");
}
