//! A way through a world: numbers choose what happens next. And a way that fails, made short.

use crate::support::{self, Checked, Failure, Violation, tried};
use crate::world::event::{Act, Event};
use crate::world::setting::Setting;
use crate::world::{Sum, World};

/// The name of these tests.
pub const SUITE: &str = "nodes";

/// Takes as many steps as there are choices, and brings the world to its end.
pub fn wander(setting: &Setting, choices: &[u32]) -> (Vec<Event>, Checked<Sum>) {
    let mut schedule = Vec::new();
    let result = tried(|| {
        let mut world = World::new(setting)?;
        for choice in choices {
            let Some(event) = support::choose(&world.enabled(), *choice, weight) else { break };
            schedule.push(event);
            world.apply(event)?;
        }
        world.finish()
    });
    (schedule, result)
}

/// Those that bring things forward come more often than those that end them.
fn weight(event: &Event) -> u32 {
    match event.act {
        Act::Deliver | Act::Execute | Act::Answer => 60,
        Act::Settle | Act::Message | Act::Mail | Act::Send | Act::Connect | Act::Retry => 40,
        Act::Notice | Act::Start | Act::Forget | Act::Adopt => 10,
        Act::Cut | Act::Lose => 6,
        Act::Patience | Act::Silence | Act::Suspect => 4,
        Act::Crash | Act::Stop => 2,
        Act::Tick | Act::Sleep => 1,
    }
}

/// Does a schedule and brings the world to its end. Events that cannot happen are left out.
pub fn follow(setting: &Setting, schedule: &[Event]) -> Checked<Sum> {
    tried(|| {
        let mut world = World::new(setting)?;
        for event in schedule {
            world.apply(*event)?;
        }
        world.finish()
    })
}

/// A failure made short, which fails for the same reason.
pub fn shorten(setting: &Setting, schedule: Vec<Event>, violation: Violation) -> Failure<Event> {
    let result = |schedule: &[Event]| follow(setting, schedule);
    let schedule =
        support::shorten(schedule, |shorter| result(shorter).is_err_and(|other| kind(&other) == kind(&violation)));
    let violation =
        result(&schedule).err().unwrap_or_else(|| Violation(format!("{violation} (only where it was found)")));
    Failure { suite: SUITE, world: setting.title.clone(), schedule, violation }
}

/// A violation without its numbers.
fn kind(Violation(violation): &Violation) -> String {
    violation.chars().filter(|c| c.is_alphabetic()).take(40).collect()
}
