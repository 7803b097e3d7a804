//! One schedule again, as a failure has printed it.

use crate::support::{Violation, read_schedule, write_schedule};
use crate::wander::follow;
use crate::world::World;
use crate::world::event::Event;
use crate::world::setting::Setting;

/// Schedules that once broke the promise, and what was wrong.
const FOUND: &[(&str, &str)] = &[
    // A session that was resumed under options without a buffer counted a stanza, did not keep it, and
    // still called itself resumable.
    ("the client's buffer is off @ 0", "send:c cut:s:0"),
    // A stanza left the client's buffer before <enabled/> came, and the session was called resumable.
    ("from nothing, full: gives up resumability", "connect enable send:c deliver:s:0 send:c cut:s:0"),
    // The time of a full buffer ran while the server took its own over <enabled/>, and nothing could be asked for.
    ("from nothing, full: ends after a grace", "connect enable send:c send:c tick"),
    // The last of several <r/> beside the rhythm was forgotten when the first was answered.
    ("quiet @ 4294967294", "a:c r:s send:s r:s r:s"),
    // Of several <r/> beside the rhythm one was waited for that was answered.
    ("asks every stanza @ 4294967294", "a:c send:s r:s send:s a:c"),
    // An <a/> that was not asked for took back the <r/> that was due with <enabled/>.
    (
        "random 0.88.0.0.0.57.0.0.0.0.89.0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.137",
        "connect enable deliver:s:0 a:s send:c",
    ),
    // What went out in the rhythm after the host's own was taken for answered with it.
    (
        "asks every stanza @ 4294967294",
        "send:s r:s send:s deliver:c:0 handle:c:0 deliver:c:0 deliver:s:0 tick timeout:s:0",
    ),
    // Here it was the ledger that was wrong: a session that nobody had ended was asked for when its h was too old.
    (
        "random 0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2",
        "1.connect 1.enable connect enable deliver:s:0 1.deliver:s:0 cut:s:0 1.cut:s:0 tick 1.expire:s:0 tick",
    ),
];

#[test]
fn replay() {
    let (world, schedule) = match (std::env::var("PROOF_WORLD"), std::env::var("PROOF_SCHEDULE")) {
        (Ok(world), Ok(schedule)) => (world, schedule),
        _ => return FOUND.iter().for_each(|(world, schedule)| run(world, schedule, false)),
    };
    run(&world, &schedule, true);
}

fn run(world: &str, schedule: &str, aloud: bool) {
    let setting = Setting::by_title(world).unwrap_or_else(|| panic!("there is no world {world:?}"));
    let schedule: Vec<Event> = read_schedule(schedule).unwrap_or_else(|error| panic!("{error}"));
    if aloud {
        tell(&setting, &schedule);
    } else {
        // What cannot happen would be left out, and the schedule show nothing.
        let mut state = World::new(&setting);
        for event in &schedule {
            assert_eq!(state.apply(*event), Ok(true), "{world}: {event}");
        }
    }
    if let Err(Violation(text)) = follow(&setting, &schedule) {
        panic!("{world}: {}: {text}", write_schedule(&schedule));
    }
}

/// Prints each step with the state after it.
fn tell(setting: &Setting, schedule: &[Event]) {
    let mut world = World::new(setting);
    println!("{}", world.debug_text());
    for event in schedule {
        let done = world.apply(*event).and_then(|done| world.check().map(|()| done));
        println!("== {event}: {done:?}\n{}", world.debug_text());
        if done.is_err() {
            return;
        }
    }
}

#[test]
fn schedules_can_be_written_and_read_and_packed() {
    let text = "connect enable send:c 3.send:s deliver:s:2 read:c:1:65535 handle:s:0 giveup:c:4 giveupall:s cut:s:0 retry:1 r:c a:s \
                tick timeout:c:0 expire:s:1 close:c late listen:s lose:3 probe";
    let schedule: Vec<Event> = read_schedule(text).expect("events");
    assert_eq!(write_schedule(&schedule), text);
    for event in schedule.iter().filter(|event| !event.to_string().starts_with("read")) {
        assert_eq!(Event::from_code(event.code()), *event);
    }
    for bad in ["send", "send:x", "deliver:c", "deliver:c:x", "1", "x.send:c", "read:c:1"] {
        assert!(read_schedule::<Event>(bad).is_err(), "{bad}");
    }
}
