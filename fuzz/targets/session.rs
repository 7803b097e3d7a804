//! A client's session, the sessions of a server, and whatever may happen to them, with hosts that do what the
//! documentation says: the promise, checked against the ledger of `tests/proof_session` after every step and in the end.
//! The input sets the knobs of the world and chooses the events. A failure prints the schedule, made short, and the
//! command that shows it again.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use world::setting::Setting;
use world::worlds::KNOBS;

#[path = "../../tests/support_proof/mod.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod support;
#[path = "../../tests/proof_session/wander.rs"]
mod wander;
#[path = "../../tests/support_proof/words.rs"]
mod words;
#[path = "../../tests/proof_session/world/mod.rs"]
#[allow(dead_code, reason = "the explorer needs more of it")]
mod world;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    knobs: [u8; KNOBS],
    /// Which of the ends the world comes to.
    which: u8,
    choices: &'a [u8],
}

fuzz_target!(
    // A panic within a step is caught there, for the schedule to be told. Of many it would say the same.
    init: std::panic::set_hook(Box::new(|_| {})),
    |input: Input| {
        let (setting, which) = (Setting::random(&input.knobs), input.which.into());
        let choices = input.choices.chunks_exact(2).map(|bytes| u16::from_le_bytes(bytes.try_into().expect("two")));
        let choices: Vec<u32> = choices.map(u32::from).collect();
        let (schedule, result) = wander::wander(&setting, &choices, which);
        if let Err(violation) = result {
            eprintln!("{}", wander::shorten(&setting, schedule, which, violation));
            std::process::abort();
        }
    }
);
