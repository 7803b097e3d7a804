//! One schedule again, as a failure has printed it.

use crate::support::{Violation, read_schedule, tried, write_schedule};
use crate::wander::follow;
use crate::world::World;
use crate::world::event::{ALL, Event};
use crate::world::setting::Setting;

/// Schedules that once broke the promise, and what was wrong.
const FOUND: &[(&str, &str)] = &[
    // A client that was not offered stream management kept what it wrote, and sent all of it again.
    ("it is not offered", "send:0 connect:0 deliver:1 deliver:0 cut:0"),
    // The last words over a full buffer were not written before another call.
    ("small in bytes", "send:1 big:1"),
    // What the h of <resume/> acknowledged did not come back.
    ("closes", "send:0 send:1 cut:1"),
    // A stream that had not even begun was said to be closed.
    ("one receipt", "send:1 deliver:0 cut:0 connect:0"),
    // A take-over in the grace of a full backlog ended the session, and kept the connection for good.
    ("small buffers", "cut:0 send:1 send:1 send:1 connect:0"),
    // The <a/> at the end stood in the place of a <resumed/> that was not written.
    (
        "random 3.2.2.3.0.1.1.0.0.3.0.1.3.1.0.2.0.3.1.1.3.0.1.1.3.1.0.1.0.0",
        "connect:0 deliver:1 deliver:0 deliver:1 deliver:0 cut:0 send:1 send:1 big:1 big:1 connect:0 cut:2 deliver:3 \
         connect:0 deliver:5 mail:1 close:0 mail:1 mail:1 mail:1 clog:5 mail:1 mail:1 deliver:5",
    ),
    // What was due long after a verdict that was not needed was judged at once.
    ("a host that sleeps", "send:1 tick:0 timeout:1 deliver:0 settle:0 deliver:0 deliver:1 send:1 sleep:0 timeout:1"),
];

#[test]
fn replay() {
    if let (Ok(world), Ok(schedule)) = (std::env::var("PROOF_WORLD"), std::env::var("PROOF_SCHEDULE")) {
        return tell(&world, &schedule);
    }
    for (world, text) in FOUND {
        let setting = Setting::by_title(world).unwrap_or_else(|| panic!("there is no world {world:?}"));
        let schedule: Vec<Event> = read_schedule(text).unwrap_or_else(|error| panic!("{error}"));
        // What cannot happen would be left out, and the schedule show nothing.
        let mut state = World::new(&setting).unwrap_or_else(|violation| panic!("{world}: {violation}"));
        for event in &schedule {
            assert_eq!(state.apply(*event), Ok(true), "{world}: {event}");
        }
        for which in 0..World::ENDS {
            if let Err(Violation(violation)) = follow(&setting, &schedule, which) {
                panic!("{world}: {}: {violation}", write_schedule(&schedule));
            }
        }
    }
}

/// Prints each step with the state after it.
fn tell(world: &str, schedule: &str) {
    let setting = Setting::by_title(world).unwrap_or_else(|| panic!("there is no world {world:?}"));
    let schedule: Vec<Event> = read_schedule(schedule).unwrap_or_else(|error| panic!("{error}"));
    println!("{setting:?}");
    for which in 0..World::ENDS {
        let result = tried(|| {
            let mut world = World::new(&setting)?;
            for event in &schedule {
                let done = world.apply(*event);
                if which == 0 {
                    println!("== {event}: {done:?}");
                    for host in &world.hosts {
                        println!("   {:?}\n      waiting {:?}", host.session, host.waiting.ids());
                    }
                    for (link, l) in world.links.iter().zip(0..) {
                        println!("   {l}: {:?} {:?}", link.end, link.wire);
                    }
                }
                done?;
            }
            world.is_told = true;
            world.end(which)
        });
        println!("end {which}: {result:?}");
        assert_eq!(result, Ok(()));
    }
}

#[test]
fn schedules_can_be_written_and_read() {
    let text = ALL.iter().zip(0..).map(|((_, name), at)| format!("{name}:{at}")).collect::<Vec<_>>().join(" ");
    let schedule: Vec<Event> = read_schedule(&text).expect("events");
    assert_eq!(write_schedule(&schedule), text);
    for bad in ["send", "send:x", "nothing:1", ":1", "send:256"] {
        assert!(read_schedule::<Event>(bad).is_err(), "{bad}");
    }
}
