//! One schedule again, as a failure has printed it.

use crate::support::{Violation, read_schedule, tried, write_schedule};
use crate::wander::follow;
use crate::world::World;
use crate::world::event::{ALL, Event};
use crate::world::setting::Setting;

/// Schedules that once broke a promise, or break one with a bug of `bugs`, which they name.
const FOUND: &[(&str, &str, &str)] = &[
    ("host-takes-the-newest", "memory: taken over", "send:0 send:0"),
    ("changes-before", "durable: two claims", "lose:4 send:0 send:0 cut:1"),
    (
        "a session is claimed while the node that had it asks whose it is, for it is at its end",
        "random 207.34.78.238.84.105.229.154.253.70.253.191",
        "connect:0 deliver:1 deliver:0 deliver:1 execute:0 answer:0 connect:3 execute:1 deliver:3 send:1 \
         answer:1 stop:0 deliver:2 execute:2 deliver:0 answer:2 cut:0 start:0 send:1 send:1 connect:0 \
         deliver:5 execute:3 send:1 send:1 send:1 send:1 cut:2 answer:3 connect:0 deliver:3 execute:5 \
         answer:5 deliver:7 execute:6 crash:0 answer:6 deliver:2 deliver:3 settle:1 execute:8 cut:1 answer:8 \
         connect:3 sleep:0 deliver:3 cut:4 connect:3 deliver:3 deliver:3 cut:5 deliver:3 settle:1 settle:1 \
         cut:3 connect:1 deliver:13 execute:9 connect:3 deliver:9 sleep:0 answer:9 execute:10 deliver:15 \
         deliver:11 execute:13 execute:12 execute:11 answer:11 start:0 answer:12 answer:10 answer:13 adopt:1 \
         lose:16 lose:14 deliver:14 adopt:0 execute:17 adopt:1 deliver:15 answer:17 execute:18 execute:19 \
         answer:18 deliver:15 execute:15 execute:20 answer:15 answer:19 deliver:15 execute:22 settle:1 \
         deliver:15 answer:22 execute:23 stop:1 execute:21 answer:20 execute:24 answer:24 answer:21 message:0 \
         tick:0 message:1 settle:1 execute:25 settle:1 cut:7 connect:2 answer:23 connect:0 deliver:17 \
         answer:25 deliver:19 execute:26 answer:26 settle:1 execute:29 execute:30 answer:29 execute:28 \
         answer:30 execute:27 answer:27 message:3 message:4 mail:0 message:2 answer:28 execute:31 message:5 \
         answer:31 execute:33 adopt:0 answer:33 deliver:16 send:1 execute:32 execute:34 answer:34 deliver:17 \
         settle:4 answer:32 execute:37",
    ),
    (
        "a client never hears of its session, which waits in the store with what came before",
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
