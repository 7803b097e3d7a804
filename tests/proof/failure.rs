//! How the promise was broken, in the words that show it again.

use crate::world::event::{Event, write_schedule};

/// A schedule that breaks the promise.
#[derive(Debug)]
pub struct Failure {
    pub world: String,
    pub schedule: Vec<Event>,
    pub violation: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { world, schedule, violation } = self;
        let schedule = write_schedule(schedule);
        write!(f, "{violation}\nTo see it again:\nPROOF_WORLD='{world}' PROOF_SCHEDULE='{schedule}' ")?;
        write!(f, "cargo test --test proof replay -- --nocapture")
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without a word"))
}
