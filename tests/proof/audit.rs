//! Whether the fingerprint tells all states apart that differ: where it is the same, the `Debug` text of all
//! that the crate holds must be the same, too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::support::{number, write_schedule};
use crate::world::World;
use crate::world::event::Event;
use crate::world::setting::Setting;

/// How many schedules of each world are looked at; `PROOF_AUDIT` says otherwise.
const SCHEDULES: usize = 500;

#[test]
fn equal_fingerprints_mean_equal_states() {
    let most = number("PROOF_AUDIT").unwrap_or(SCHEDULES);
    let met_again: usize = Setting::explored().iter().map(|setting| audit(setting, most)).sum();
    println!("{met_again} times a state was met again, and was the same in every hidden part");
    assert!(met_again > 500, "{met_again} is too few to be sure of anything");
}

fn audit(setting: &Setting, most: usize) -> usize {
    let mut seen: HashMap<u64, (String, Vec<Event>)> = HashMap::new();
    let (mut schedules, mut next, mut met_again) = (vec![setting.prefix.clone()], 0, 0);
    let mut events = Vec::new();
    while next < schedules.len() && next < most {
        let schedule = schedules[next].clone();
        next += 1;
        let mut world = World::new(setting);
        for event in &schedule {
            world.apply(*event).expect("it was explored before");
        }
        match seen.entry(world.fingerprint()) {
            Entry::Occupied(entry) => {
                let ((text, first), now) = (entry.get(), world.debug_text());
                let (first, again) = (write_schedule(first), write_schedule(&schedule));
                assert!(*text == now, "{}: after {first}\n{text}\nand after {again}\n{now}", setting.title());
                met_again += 1;
            }
            Entry::Vacant(entry) => {
                entry.insert((world.debug_text(), schedule.clone()));
                world.enabled(&mut events);
                schedules.extend(events.iter().map(|event| schedule.iter().copied().chain([*event]).collect()));
            }
        }
    }
    met_again
}
