//! Stream management ([XEP-0198](https://xmpp.org/extensions/xep-0198.html)) for XMPP servers, clients,
//! components and proxies, without I/O.
//!
//! The crate counts stanzas, acknowledges them, and lets a session go on over a new connection with nothing
//! lost and nothing twice. It opens no socket, reads no clock, starts no thread: a connection handler feeds
//! [`StreamMgmt`] what arrives and what leaves, and does what the return values say.

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
pub use session::{Detached, Ended, Ending, Parts, QueueFull, ReceiptsOpen, Refused};
pub use smid::{InvalidText, RandomError, SmId};
pub use store::{AtCap, Epoch, Lookup, MemoryStore, Registered, SessionStore, StoreError};
pub use stream::{
    Acked, Action, CannotEnable, Disconnected, EnableRequest, Inbound, NotRecorded, OtherStream, Refusal, Resend,
    ResumeError, ResumeRequest, Resumption, Sent, StreamMgmt, WhyNot,
};
pub use stream_error::StreamError;
