//! Every option does what it says, and its default is the users' own.

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
