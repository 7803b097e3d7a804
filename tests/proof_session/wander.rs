//! A way through a world: numbers choose what happens next. And a way that fails, made short.

use crate::support::{self, Checked, Failure, Violation, tried};
use crate::world::World;
use crate::world::event::{Act, Event};
use crate::world::setting::Setting;

/// The name of these tests.
pub const SUITE: &str = "proof_session";

/// Takes as many steps as there are choices, and brings the world to one of its ends.
pub fn wander(setting: &Setting, choices: &[u32], which: u64) -> (Vec<Event>, Checked) {
    let mut schedule = Vec::new();
    let result = tried(|| {
        let mut world = World::new(setting)?;
        for choice in choices {
            let Some(event) = support::choose(&world.enabled(), *choice, weight) else { break };
            schedule.push(event);
            world.apply(event)?;
        }
        world.end(which)
    });
    (schedule, result)
}

/// Those that bring things forward come more often than those that end them.
fn weight(event: &Event) -> u32 {
    match event.act {
        Act::Deliver => 60,
        Act::Mail | Act::Lookup | Act::Accept | Act::Connect => 40,
        Act::Send | Act::Settle | Act::Timeout | Act::Deny => 20,
        Act::Unknown | Act::BindUnknown => 20,
        Act::SettleLast | Act::Big | Act::Presence => 10,
        Act::Clog | Act::Tick | Act::Request | Act::Ack | Act::Retract | Act::SettleLost | Act::Inactive => 4,
        Act::Snapshot => 6,
        Act::Cut | Act::DropReceipt | Act::Late | Act::Rival | Act::Prolong | Act::Sleep => 2,
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
        world.end(which)
    })
}

/// A failure made short, which fails for the same reason.
pub fn shorten(setting: &Setting, schedule: Vec<Event>, which: u64, violation: Violation) -> Failure<Event> {
    let result = |schedule: &[Event]| follow(setting, schedule, which);
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
