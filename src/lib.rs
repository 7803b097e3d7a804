#![doc = include_str!("lib.md")]
#![doc = "```"]
#![doc = include_str!("host/server.rs")]
#![doc = "```"]
#![doc = include_str!("doc/server.md")]
#![doc = "```"]
#![doc = include_str!("host/client.rs")]
#![doc = "```"]
#![doc = include_str!("doc/client.md")]
#![doc = ""]
#![doc = include_str!("doc/more.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::disallowed_methods, clippy::incompatible_msrv)]
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
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::incompatible_msrv))]

pub mod architecture;
mod config;
pub mod conformance;
pub mod costs;
mod counter;
pub mod decisions;
pub mod delay;
mod detached;
pub mod disposition;
mod error;
pub mod inline;
pub mod nodes;
mod nonza;
pub mod phases;
mod queue;
mod receipts;
mod session;
mod smid;
#[cfg(feature = "snapshot")]
pub mod snapshot;
mod stanza;
mod stats;
mod store;
#[cfg(feature = "store-tests")]
pub mod store_tests;
mod stream;
mod stream_error;
pub mod tokens;
mod trace;
#[cfg(feature = "xso")]
pub mod typed;

pub use config::{AckFreq, Config, OnFull, StaleH};
pub use counter::Counter;
pub use detached::{Detached, EndReason, Ended, NotRecorded, NotRecordedWhy, Parts, ReceiptsOpen, TooMuch};
pub use error::{Error, Fault, LastWords, Reaction};
pub use nonza::{Condition, Enable, Enabled, FEATURE, Failed, Kind, Location, NS, Nonza, ParseError, Resume, Resumed};
pub use queue::{Queued, Returned, Unacked, Undelivered, WrongH};
pub use receipts::{NotOpen, OpenReceipt, Receipt, ReceiptError};
pub use session::{
    Arrival, Attempts, AuthenticateError, DoesNotFit, Early, Event, Fate, InlineBind, InlineBound, InlineElements,
    InlineOffer, InlineReply, InlineRequest, InlineResume, InlineSuccess, InlineUnknown, LeftWhy, Leftover, Leftovers,
    LoginStep, MustBind, NotAtRest, NotAtRestWhy, NotConnected, NotConnectedInline, NotConnectedWhy, NotNow, NotSent,
    NotSentWhy, NotTaken, Offer, Parting, Refused, Replay, Session, SessionEnded, SessionParts, Side, Taker, Unbound,
    Write,
};
pub use smid::{InvalidText, RandomError, SmId};
pub use stanza::{Measured, Stanza};
pub use stats::{Detach, Stats, StoreStats};
pub use store::{
    AsyncSessionStore, AtCap, Change, Claim, Claimed, Epoch, Fence, Journal, Lookup, MemoryStore, Parking, Record,
    Registered, Registration, Revision, SessionStore, StaleRecord, StoreError, Sweep, Swept,
};
#[cfg(feature = "redis")]
pub use store::{RedisStore, RedisStoreError};
pub use stream::{
    Acked, Action, CannotEnable, Closing, Disconnected, EnableRequest, Foreign, Inbound, NotResumed, NotResumedWhy,
    Refusal, ResumeRequest, Resumption, Sent, StreamMgmt, ToInbound,
};
pub use stream_error::{StreamCondition, StreamError};

/// Its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
