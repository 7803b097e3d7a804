//! What the crate says of itself, with the parts that the fingerprint passes over made equal: the numbers of
//! tokens and sessions, the times that are only handed through, and the epoch of the clock.

use std::time::Instant;

use super::World;
use super::event::Side;
use super::pair::Step;
use super::setting::GRACE;

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
                        due.extend(end.asked);
                        let asked = end.asked.zip(self.cx.options(side).ack_timeout);
                        let limits = [asked, end.over.map(|over| (over, GRACE))];
                        due.extend(limits.into_iter().flatten().map(|(since, limit)| since + limit));
                        due.extend(end.stream.poll_timeout());
                        if let Step::Resuming(deadline) = end.step {
                            due.extend(deadline);
                        }
                    }
                }
            }
            for parked in &pair.parked {
                text += &format!("{:?}: {:?}\n", parked.side, parked.detached);
                due.extend(parked.deadline);
            }
            through.extend(pair.open.iter().flatten().map(|open| open.since));
            let halves = pair.sessions.iter().flat_map(|session| &session.halves);
            through.extend(halves.flat_map(|half| &half.sent).map(|sent| sent.at));
        }
        self.equalize(text, through, due)
    }

    fn equalize(&self, text: String, mut through: Vec<Instant>, due: Vec<Instant>) -> String {
        let mut text = without_numbers(text, "Tag(");
        text = without_numbers(text, "Msg { session: Some(");
        text = without_numbers(text, "serial: ");
        through.sort();
        through.dedup();
        for time in through {
            text = text.replace(&format!("queued: {time:?}"), "queued");
            text = text.replace(&format!("oldest: Some({time:?})"), "oldest: open");
            text = text.replace(&format!("Some({time:?})"), &format!("Some({time:?} or open)"));
            text = in_lists(text, &format!("Some({time:?} or open)"), "open");
            text = text.replace(&format!("Some({time:?} or open)"), &format!("Some({time:?})"));
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

/// Replaces in the lists of receipts alone.
fn in_lists(text: String, old: &str, new: &str) -> String {
    let mut parts = text.split("after: [");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(']') {
        Some((list, rest)) => text + "after: [" + &list.replace(old, new) + "]" + rest,
        None => text + part,
    })
}
