//! Events for `tracing`: one for each transition of a session. Without the feature `tracing` all of it is empty.
//!
//! No SM-ID is in an event and nothing that people wrote: with an SM-ID and its owner's password a session can be taken.

use std::time::Duration;

use crate::counter::Counter;
use crate::detached::EndReason;
use crate::nonza::{Condition, Failed};
use crate::stats::Detach;

#[cfg(feature = "tracing")]
macro_rules! event {
    ($($field:ident = $value:expr),* ; $message:literal) => {
        ::tracing::event!(target: "xmpp_sm", ::tracing::Level::DEBUG, $($field = $value,)* $message)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($field:ident = $value:expr),* ; $message:literal) => {
        { $(let _ = $value;)* }
    };
}

#[inline(always)]
pub(crate) fn enabled(resumable: bool) {
    event!(resumable = resumable; "enabled");
}

#[inline(always)]
pub(crate) fn detached(why: Detach, unacked: usize, waiting: usize) {
    event!(detached_why = why.name(), unacked = unacked, waiting = waiting; "detached");
}

#[inline(always)]
pub(crate) fn resumed(after: Duration, unacked: usize) {
    event!(resumed_after = after.as_secs_f64(), unacked = unacked; "resumed");
}

#[inline(always)]
pub(crate) fn refused(condition: Option<Condition>) {
    event!(condition = condition.map_or("", Condition::name); "refused");
}

#[inline(always)]
pub(crate) fn not_resumed(failed: &Failed) {
    event!(condition = failed.condition.map_or("", Condition::name); "not_resumed");
}

#[inline(always)]
pub(crate) fn ended(reason: EndReason, h: Counter, leftovers: usize) {
    event!(reason = reason.name(), h = h.get(), leftovers = leftovers; "ended");
}
