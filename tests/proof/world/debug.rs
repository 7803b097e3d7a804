//! What the crate says of itself, with the parts that the fingerprint passes over made equal: the numbers of
//! tokens and sessions, the times that are only handed through, and the epoch of the clock.

use std::time::Instant;

use super::World;
use super::event::Side;
use super::pair::Step;

impl World<'_> {
    /// The `Debug` text of every stream and every detached session.
    pub fn debug_text(&self) -> String {
        let mut text = String::new();
        // Times that are handed through, and times at which something is due.
        let (mut through, mut due): (Vec<Instant>, Vec<Instant>) = (Vec::new(), Vec::new());
        for pair in &self.pairs {
            for (connection, at) in pair.connections.iter().zip(0..) {
                for side in Side::BOTH {
                    if let Some(end) = connection.end(side) {
                        text += &format!("{at} {side:?}: {:?}\n", end.stream);
                        due.extend(end.times(self.cx.options(side)));
                        due.extend(end.stream.poll_timeout());
                        due.extend(end.pending_since());
                        if let Step::Resuming(deadline) = end.step {
                            due.extend(deadline);
                        }
                    }
                    if let Some(shut) = connection.shut(side) {
                        text += &format!("{at} {side:?}: {:?}\n", shut.closing);
                    }
                }
            }
            for parked in &pair.parked {
                text += &format!("{:?}: {:?}\n", parked.side, parked.detached);
                due.extend(parked.deadline);
            }
            through.extend(pair.open.iter().flatten().map(|open| open.since));
        }
        self.equalize(text, through, due)
    }

    fn equalize(&self, text: String, mut through: Vec<Instant>, due: Vec<Instant>) -> String {
        let mut text = without_numbers(text, "Tag(");
        text = without_numbers(text, "serial: ");
        through.sort();
        through.dedup();
        for time in through {
            text = text.replace(&format!("oldest: Some({time:?})"), "oldest: open");
        }
        for time in due {
            let name = match time.checked_duration_since(self.cx.now) {
                Some(later) => format!("in {later:?}"),
                None => format!("{:?} ago", self.cx.now - time),
            };
            text = text.replace(&format!("{time:?}"), &name);
        }
        text
    }
}

/// Leaves out the digits after each `prefix`.
fn without_numbers(text: String, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + prefix + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}
