//! Two peers, or several pairs of them, and whatever may happen to them: the promise, checked against the
//! ledger of `tests/proof` after every step and in the end. The input sets the knobs of the world and chooses
//! the events. A failure prints the schedule, made short, and the command that shows it again.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use world::setting::Setting;
use world::worlds::KNOBS;

#[path = "../../tests/support_proof/mod.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod support;
#[path = "../../tests/proof/wander.rs"]
mod wander;
#[path = "../../tests/proof/world/mod.rs"]
#[allow(dead_code, reason = "the explorer needs more of it")]
mod world;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    knobs: [u8; KNOBS],
    choices: &'a [u8],
}

fuzz_target!(
    // A panic within a step is caught there, for the schedule to be told. Of many it would say the same.
    init: std::panic::set_hook(Box::new(|_| {})),
    |input: Input| {
        let setting = Setting::random(&input.knobs);
        let choices = input.choices.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
        let choices: Vec<u32> = choices.collect();
        let (schedule, result) = wander::wander(&setting, &choices);
        if result.is_err() {
            eprintln!("{}", wander::shorten(&setting, schedule));
            std::process::abort();
        }
    }
);
