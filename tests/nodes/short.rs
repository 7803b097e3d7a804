//! Every short schedule of the small worlds.

use std::time::Instant;

use crate::support::{Violation, number, tried};
use crate::wander::{follow, shorten};
use crate::world::World;
use crate::world::event::Event;
use crate::world::setting::Setting;

#[test]
fn every_short_schedule_keeps_every_promise() {
    let started = Instant::now();
    let deeper = number::<usize>("PROOF_DEEPER").unwrap_or(0);
    let mut tried = 0;
    for setting in Setting::explored() {
        let mut search = Search { setting: &setting, schedules: 0, steps: 0 };
        let depth = setting.depth + deeper;
        if let Err((schedule, violation)) = search.below(&mut Vec::new(), depth) {
            println!("caught after {} schedules, {:.1} s", tried + search.schedules, started.elapsed().as_secs_f64());
            panic!("{}", shorten(&setting, schedule, violation));
        }
        let Search { schedules, steps, .. } = search;
        println!("{:36} depth {depth}: {schedules} schedules, {steps} steps", setting.title);
        tried += schedules;
    }
    println!("{tried} schedules, {:.1} s", started.elapsed().as_secs_f64());
}

struct Search<'a> {
    setting: &'a Setting,
    schedules: u64,
    steps: u64,
}

impl Search<'_> {
    /// Tries all that can come after these events. A world cannot be copied: it is made again.
    fn below(&mut self, schedule: &mut Vec<Event>, depth: usize) -> Result<(), (Vec<Event>, Violation)> {
        let next = tried(|| {
            let mut world = World::new(self.setting)?;
            for event in &*schedule {
                world.apply(*event)?;
            }
            Ok(world.enabled())
        });
        let next = next.map_err(|violation| (schedule.clone(), violation))?;
        self.steps += 1;
        if depth == 0 || next.is_empty() {
            self.schedules += 1;
            return match follow(self.setting, schedule) {
                Ok(_) => Ok(()),
                Err(violation) => Err((schedule.clone(), violation)),
            };
        }
        for event in next {
            schedule.push(event);
            self.below(schedule, depth - 1)?;
            schedule.pop();
        }
        Ok(())
    }
}
