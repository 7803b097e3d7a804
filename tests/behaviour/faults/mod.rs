//! The faults of other implementations, each with a test that shows what protects from it.
//!
//! The number in a test's name is the fault's. That inline elements follow the state (P21, second half)
//! and are exact (P23) is for those who build them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use xmpp_sm::StaleH;

fn stanzas(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn bytes(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// The last h is remembered.
const STALE_H: StaleH =
    StaleH { enabled: true, repeat_after: Some(Duration::from_secs(1800)), geriatric: Duration::from_secs(3600) };

/// Long enough for whatever a test does at once.
const MINUTE: Duration = Duration::from_secs(60);

mod cost;
mod counting;
mod giving_up;
mod negotiation;
mod overflow;
mod resend;
mod stale;
mod syntax;
mod take_over;
mod timers;
mod value;
mod wrap;
