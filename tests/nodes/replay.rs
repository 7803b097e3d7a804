//! One schedule again, as a failure has printed it.

use crate::support::{Violation, read_schedule, tried, write_schedule};
use crate::wander::follow;
use crate::world::World;
use crate::world::event::{ALL, Event};
use crate::world::setting::Setting;

/// The shortest schedules that show a bug of `bugs`, which each names.
const FOUND: &[(&str, &str, &str)] = &[
    ("host-takes-the-newest", "memory: taken over", "send:0 send:0"),
    ("changes-before", "durable: two claims", "lose:4 send:0 send:0 cut:1"),
    (
        "changes-before",
        "random 247.175.75.182.62.208.59.165.42.99.130.202",
        "connect:1 connect:5 deliver:1 deliver:3 deliver:0 deliver:2 send:0 deliver:1 execute:0 deliver:3 answer:0 \
         execute:1 answer:1 execute:2 answer:2 send:0 deliver:0 deliver:1 deliver:1 settle:0 deliver:1 settle:0 mail:1 \
         stop:2 crash:1",
    ),
];

#[test]
fn replay() {
    if let (Ok(world), Ok(schedule)) = (std::env::var("PROOF_WORLD"), std::env::var("PROOF_SCHEDULE")) {
        return tell(&world, &schedule);
    }
    for (bug, world, text) in FOUND {
        let setting = Setting::by_title(world).unwrap_or_else(|| panic!("there is no world {world:?}"));
        let schedule: Vec<Event> = read_schedule(text).unwrap_or_else(|error| panic!("{error}"));
        if let Err(Violation(violation)) = follow(&setting, &schedule) {
            panic!("{bug}: {world}: {}: {violation}", write_schedule(&schedule));
        }
    }
}

/// Prints each step with the state after it.
fn tell(world: &str, schedule: &str) {
    let setting = Setting::by_title(world).unwrap_or_else(|| panic!("there is no world {world:?}"));
    let schedule: Vec<Event> = read_schedule(schedule).unwrap_or_else(|error| panic!("{error}"));
    println!("{setting:?}");
    let result = tried(|| {
        let mut world = World::new(&setting)?;
        world.is_told = true;
        for event in &schedule {
            world.apply(*event)?;
        }
        world.finish()
    });
    println!("{result:?}");
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn schedules_can_be_written_and_read() {
    let text = ALL.iter().zip(0..).map(|((_, name), at)| format!("{name}:{at}")).collect::<Vec<_>>().join(" ");
    let schedule: Vec<Event> = read_schedule(&text).expect("events");
    assert_eq!(write_schedule(&schedule), text);
    for bad in ["send", "send:x", "nothing:1", ":1", "send:65536"] {
        assert!(read_schedule::<Event>(bad).is_err(), "{bad}");
    }
}
