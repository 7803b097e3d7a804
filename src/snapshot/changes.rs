//! What has changed in a session since its snapshot, and how it is made up for.

use std::time::Instant;

use super::{Limits, Snapshot, SnapshotError};
use crate::config::Config;
use crate::counter::{Counter, count};
use crate::detached::Parts;
use crate::session::{SessionParts, Side};
use crate::stanza::Stanza;

/// All by absolute numbers, so that what comes twice is applied once.
pub(super) struct Changes<S> {
    pub(super) h: Counter,
    pub(super) acked: Counter,
    /// The number of the first of the stanzas, counted as the peer does: those that wait come after those that were
    /// sent.
    pub(super) first: Counter,
    pub(super) stanzas: Vec<(S, Instant)>,
}

const MISSING: SnapshotError = SnapshotError::Malformed("a change before it is missing");

/// Whether one counter is the other, or after it.
fn is_after(one: Counter, other: Counter) -> bool {
    one.since(other) <= u32::MAX / 2
}

impl<S: Stanza> Snapshot<S> {
    pub(super) fn apply(&mut self, changes: Changes<S>, limits: &Limits) -> Result<(), SnapshotError> {
        let SessionParts { side: Side::Server(parts), waiting, .. } = &mut self.session else {
            return Err(SnapshotError::Malformed("changes of what is no server's session"));
        };
        let Changes { h, acked, first, stanzas } = changes;
        let all = parts.unacked.len().saturating_add(waiting.len());
        let next = parts.acked.advance(u32::try_from(all).unwrap_or(u32::MAX)).next();
        if !is_after(next, first) {
            return Err(MISSING);
        }
        waiting.extend(stanzas.into_iter().skip(count(next.since(first))));
        if is_after(h, parts.h) {
            parts.h = h;
        }
        if is_after(acked, parts.acked) {
            let gone = count(acked.since(parts.acked));
            let of_unacked = gone.min(parts.unacked.len());
            let of_waiting = gone.saturating_sub(of_unacked);
            if of_waiting > waiting.len() {
                return Err(MISSING);
            }
            parts.unacked.drain(..of_unacked);
            waiting.drain(..of_waiting);
            parts.acked = acked;
        }
        let all = parts.unacked.len().saturating_add(waiting.len());
        if all > count(limits.stanzas) {
            return Err(SnapshotError::TooMany(u64::try_from(all).unwrap_or(u64::MAX)));
        }
        Ok(())
    }

    /// Takes what waits for sent, as far as the buffer could hold it: it is not known what the process wrote before it
    /// ended. What was not written is resent.
    pub(super) fn take_for_sent(&mut self, config: &Config) {
        let SessionParts { side: Side::Server(Parts { unacked, .. }), waiting, .. } = &mut self.session else { return };
        let mut bytes = unacked.iter().fold(0_usize, |sum, (stanza, _)| sum.saturating_add(stanza.bytes()));
        let room = count(config.buffer_max.get()).saturating_sub(unacked.len());
        let fits = waiting.iter().take(room).take_while(|(stanza, _)| {
            bytes = bytes.saturating_add(stanza.bytes());
            bytes <= config.buffer_max_bytes.get()
        });
        let fits = fits.count();
        unacked.extend(waiting.drain(..fits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_after_another_within_half_of_all() {
        let half = u32::MAX / 2;
        for other in [0, 1, half, half + 1, u32::MAX] {
            for (ahead, expected) in [
                (0, true),
                (1, true),
                (half - 1, true),
                (half, true),
                (half + 1, false),
                (half + 2, false),
                (u32::MAX - 1, false),
                (u32::MAX, false),
            ] {
                let one = Counter::new(other).advance(ahead);
                assert_eq!(is_after(one, other.into()), expected, "{other} and {ahead}");
            }
        }
    }
}
