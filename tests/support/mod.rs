//! What tests of the library share: two peers and the wire between them (`net`), one stream by itself (`raw`), streams
//! in the middle of their work and what they refuse (`at_work`), and a count of allocations (`count`).

// Each test binary uses a part of this.
#![allow(dead_code, unused_imports)]

pub mod at_work;
pub mod count;
pub mod faulty;
pub mod net;
pub mod raw;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use xmpp_sm::{AckFreq, Config, StaleH};

pub use net::{Back, Conn, Net, Peer, Place, Side, state_of, wire};

pub const JULIET: &str = "juliet@capulet.lit";
pub const ROMEO: &str = "romeo@montague.lit";

/// The last h is remembered.
pub const STALE_H: StaleH =
    StaleH { enabled: true, repeat_after: Some(Duration::from_secs(1800)), geriatric: Duration::from_secs(3600) };

/// The defaults, but `<r/>` is only written when a test says so.
pub fn quiet() -> Config {
    Config::default().request_acks(false)
}

/// The defaults, with an `<r/>` after so many stanzas.
pub fn asking_every(stanzas: u32) -> Config {
    Config::default().ack_freq(AckFreq::Every(NonZeroU32::new(stanzas).expect("not zero")))
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn stanzas(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

pub fn bytes(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("not zero")
}
