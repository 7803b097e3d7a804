//! A way through a world: numbers choose what happens next. And a way that fails, made short.

use crate::support::{self, Checked, Failure, tried};
use crate::world::World;
use crate::world::event::{Act, Event, Side};
use crate::world::setting::Setting;

/// The name of these tests.
pub const SUITE: &str = "proof";

/// Takes as many steps as there are choices, and brings the world to its end.
pub fn wander(setting: &Setting, choices: &[u32]) -> (Vec<Event>, Checked) {
    let mut schedule = Vec::with_capacity(choices.len());
    let result = tried(|| {
        let mut world = World::new(setting);
        let mut events = Vec::new();
        for choice in choices {
            world.enabled(&mut events);
            let event = choose(&world, &mut events, *choice);
            schedule.push(event);
            world.apply(event)?;
            world.check()?;
        }
        world.drain()
    });
    (schedule, result)
}

/// One of the events, the ones that bring things forward more often than those that end them.
fn choose(world: &World, events: &mut Vec<Event>, choice: u32) -> Event {
    let weight = |event: &Event| match event.act {
        Act::Deliver(..) => 30,
        Act::Send(_) | Act::Handle(..) => 20,
        Act::Connect | Act::Enable | Act::Retry(_) => 10,
        Act::GiveUp(..) | Act::GiveUpAll(_) | Act::Late | Act::Probe => 1,
        Act::Cut(..) | Act::Request(_) | Act::Ack(_) | Act::Timeout(..) | Act::Listen(_) => 2,
        Act::Tick | Act::Expire(..) | Act::Close(_) | Act::Lose(_) => 1,
        Act::Read(..) => 0,
    };
    let probe = Event { pair: 0, act: Act::Probe };
    events.push(probe);
    let sum: u32 = events.iter().map(weight).sum();
    match support::choose(events, choice, weight).unwrap_or(probe) {
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
pub fn follow(setting: &Setting, schedule: &[Event]) -> Checked {
    tried(|| {
        let mut world = World::new(setting);
        for event in schedule {
            world.apply(*event)?;
            world.check()?;
        }
        world.probe()?;
        world.drain()
    })
}

/// A failure made short.
pub fn shorten(setting: &Setting, schedule: Vec<Event>) -> Failure<Event> {
    let schedule = support::shorten(schedule, |shorter| follow(setting, shorter).is_err());
    let violation = follow(setting, &schedule).err();
    let violation = violation.unwrap_or_else(|| "the schedule fails only where it was found".into());
    Failure { suite: SUITE, world: setting.title(), schedule, violation }
}
