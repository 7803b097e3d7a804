//! A way through a world: numbers choose what happens next. And a way that fails, made short.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::failure::{Failure, panic_text};
use crate::world::World;
use crate::world::event::{Act, Event, Side};
use crate::world::ledger::Violation;
use crate::world::setting::Setting;

/// Takes as many steps as there are choices, and brings the world to its end.
pub fn wander(setting: &Setting, choices: &[u32]) -> (Vec<Event>, Result<(), Violation>) {
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
        Act::GiveUp(..) | Act::GiveUpAll(_) | Act::Late | Act::Probe => 1,
        Act::Cut(..) | Act::Request(_) | Act::Ack(_) | Act::Timeout(..) | Act::Listen(_) => 2,
        Act::Tick | Act::Expire(..) | Act::Close(_) | Act::Lose(_) => 1,
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
