#![doc = include_str!("lib.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::disallowed_methods)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod config;
pub mod conformance;
mod counter;
pub mod delay;
mod error;
mod handled;
mod nonza;
mod queue;
mod session;
mod smid;
mod store;
mod stream;
mod stream_error;

pub use config::{AckFreq, Config, OnFull, StaleH};
pub use counter::Counter;
pub use error::{Answer, End, Error, Fault};
pub use handled::{NotOpen, OpenReceipt, Receipt, ReceiptError};
pub use nonza::{Condition, Enable, Enabled, FEATURE, Failed, Kind, Location, NS, Nonza, ParseError, Resume, Resumed};
pub use queue::{Lost, Measured, Queued, Returned, Stanza, Unacked, WrongH};
pub use session::{Detached, Ended, Ending, Parts, QueueFull, ReceiptsOpen};
pub use smid::{InvalidText, RandomError, SmId};
pub use store::{AtCap, Epoch, Evicted, Lookup, MemoryStore, Registered, SessionStore, StoreError};
pub use stream::{
    Acked, Action, CannotEnable, Disconnected, EnableRequest, Inbound, NotRecorded, OtherStream, Refusal, Resend,
    ResumeError, ResumeRequest, Resumption, Sent, StreamMgmt, WhyNot, WhyRefused,
};
pub use stream_error::StreamError;

/// Its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
