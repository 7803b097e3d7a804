//! Every option does what it says, and its default is the users' own.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support_raw/mod.rs"]
mod support_raw;

mod acks;
mod buffer;
mod sessions;

use std::num::{NonZeroU32, NonZeroUsize};

const JULIET: &str = "juliet@capulet.lit";

fn stanzas(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn bytes(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}
