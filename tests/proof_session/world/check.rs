//! What must hold after every step, and what tells states apart.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::World;
use super::ledger::{Checked, Violation, ensure};
use super::link::End;
use super::setting::{GRACE, MOMENT, REQUEST};

/// No more `<a/>` are owed than this.
const ACKS_MAX: u32 = 64;

impl World<'_> {
    pub fn check(&self) -> Checked {
        for h in 0..self.hosts.len() {
            self.check_host(h).map_err(|violation| Violation(format!("host {h}: {violation}")))?;
        }
        self.check_ends()
    }

    fn check_host(&self, h: usize) -> Checked {
        let host = &self.hosts[h];
        let (session, side, options) = (&host.session, host.side, self.setting.options[host.side]);
        let connection = session.connection().copied();
        if session.is_over() {
            ensure!(connection.is_none() && session.deadline().is_none(), "it is over, and goes on");
            ensure!(!session.wants_read() && session.smid().is_none(), "it is over, and goes on");
            return Ok(());
        }
        ensure!(session.waiting() == host.waiting.0.len(), "{} wait, of {:?}", session.waiting(), host.waiting.ids());
        if let Some(l) = connection {
            ensure!(self.links[l].is_held_by(side, h), "it has connection {l}, which it was not given");
        }
        let held = self.links.iter().filter(|link| link.is_held_by(side, h)).count();
        ensure!(held <= 1, "it holds {held} connections");
        ensure!(side == 1 || held == usize::from(connection.is_some()), "a client holds {held} connections");
        ensure!(host.acknowledged.is_empty(), "{:?} are acknowledged and do not come back", host.acknowledged);
        let life = host.life.map(|life| &self.lives[life]);
        // While it closes, nothing of this can be seen.
        if let (Some(seen), Some(life)) = (session.h(), life) {
            let half = &life.half[side];
            let open = half.input.iter().skip(seen.get() as usize).filter(|got| !got.is_settled).count();
            ensure!(seen.get() as usize == half.h(), "h is {seen}, and {} are settled", half.h());
            ensure!(session.open_receipts() == open, "{} are open, and not {open}", session.open_receipts());
            let oldest = self.oldest_open(h);
            ensure!(session.oldest_open() == oldest, "{:?} is the oldest, not {oldest:?}", session.oldest_open());
            if half.counts_out {
                let kept = half.out.len() - half.first_kept();
                ensure!(session.unacked() == kept, "{} are unacknowledged, and not {kept}", session.unacked());
            }
        } else if session.h().is_some() {
            ensure!(session.unacked() == 0 && session.open_receipts() == 0, "it counts where nothing is counted");
        }
        self.check_times(h)?;
        let window = life.map_or(0, |life| life.half[side].input.len() - life.half[side].h());
        let is_full = window >= options.receipts_max as usize;
        let awaits_host = host.enable_since.is_some_and(|since| self.now <= since + REQUEST);
        let has_reason = is_full
            || session.is_detached()
            || host.peer_closed
            || awaits_host
            || host.enable_since.is_some() && self.may_be_due(h);
        ensure!(connection.is_none() || session.wants_read() || has_reason, "it does not read, and why not?");
        let ends = host.is_ending || host.has_large(&options) || host.waiting.is_over(&options);
        if let Some(l) = connection.filter(|l| self.has_room(*l, side) && !ends) {
            let link = &self.links[l];
            // One when it is asked, and one when all of it is handled; and the last.
            let most = 2 * link.requests[side] + link.unasked[side] + 1;
            ensure!(link.acks[side] <= most, "{} <a/> for {} <r/>", link.acks[side], link.requests[side]);
            ensure!(link.acks[side] >= link.requests[side].min(ACKS_MAX), "an <r/> is not answered");
        }
        Ok(())
    }

    fn may_be_due(&self, h: usize) -> bool {
        self.is_due(self.hosts[h].session.deadline())
    }

    /// What waits for somebody else waits for a bounded time.
    fn check_times(&self, h: usize) -> Checked {
        let host = &self.hosts[h];
        let (session, side, options) = (&host.session, host.side, self.setting.options[host.side]);
        let has_deadline = session.deadline().is_some();
        let unacked = session.is_enabled() && session.unacked() > 0 && options.ack.is_some();
        ensure!(
            !unacked || has_deadline || !session.wants_read() || host.is_inactive,
            "an acknowledgement is waited for without end"
        );
        // A client asks however late it is: its host connects, sooner or later.
        ensure!(side == 0 || !session.is_detached() || has_deadline, "a detached session waits without end");
        ensure!(
            host.awaits.is_none() || session.connection().is_none() || has_deadline,
            "a reply is waited for without end"
        );
        let until = host.prolonged.filter(|until| *until > self.now && session.is_detached() && !host.is_ending);
        let is_prolonged = until.is_none_or(|until| session.deadline().is_some_and(|deadline| deadline <= until));
        ensure!(is_prolonged, "it waits until {:?}, and was prolonged to {until:?}", session.deadline());
        ensure!(!self.has_taker(h) || has_deadline, "a connection waits without end");
        ensure!(!host.is_ending || has_deadline || side == 0 && session.connection().is_none(), "an end without end");
        // One that closes has come to that, and may not have had room to say so.
        let is_at_end = host.is_ending || host.may_settle || session.h().is_none();
        if let Some(since) = host.full_since.filter(|_| !is_at_end && !host.is_deaf()) {
            let latest = (since + GRACE).max(self.now + MOMENT);
            let is_in_time = session.deadline().is_some_and(|deadline| deadline <= latest);
            ensure!(is_in_time, "it is full for longer than its grace");
        }
        ensure!(
            host.is_ending || host.is_deaf() || !host.waiting.is_over(&options) || side == 0 || has_deadline,
            "it is full without end"
        );
        Ok(())
    }

    /// Each connection is where the world thinks.
    fn check_ends(&self) -> Checked {
        for (l, link) in self.links.iter().enumerate() {
            for side in 0..2 {
                if let End::Host(h) = link.end[side] {
                    ensure!(!self.hosts[h].is_over(), "connection {l} is in a session that is over");
                }
            }
        }
        Ok(())
    }

    /// A state, as far as anything can tell it from another.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for text in [format!("{:?}", self.hosts), format!("{:?}", self.links), format!("{:?}", self.lives)] {
            self.hash_text(&text, &mut hasher);
        }
        self.retracted.hash(&mut hasher);
        (self.sent, self.connects, self.sleeps, self.is_conflict, self.has_dropped).hash(&mut hasher);
        hasher.finish()
    }

    /// Times are told from now on, and the numbers of tokens do not matter.
    fn hash_text(&self, text: &str, hasher: &mut DefaultHasher) {
        const MARKS: [&str; 4] = ["Instant { tv_sec: ", "Tag(", "config: Config {", "Epoch("];
        let mut rest = text;
        while let Some((at, mark)) =
            MARKS.iter().filter_map(|mark| rest.find(mark).map(|at| (at, *mark))).min_by_key(|(at, _)| *at)
        {
            rest[..at].hash(hasher);
            rest = &rest[at + mark.len()..];
            if mark == MARKS[0] {
                let end = rest.find('}').unwrap_or(0);
                let mut numbers = rest[..end].split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
                let mut next = || numbers.next().and_then(|word| word.parse::<i128>().ok()).unwrap_or(0);
                let time = next() * 1_000_000_000 + next();
                (time - self.now_in_nanoseconds()).hash(hasher);
                rest = &rest[end..];
            } else if mark != MARKS[2] {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            } else {
                let end = rest.find("serial: ..").unwrap_or(0);
                rest = &rest[end..];
            }
        }
        rest.hash(hasher);
    }

    fn now_in_nanoseconds(&self) -> i128 {
        let text = format!("{:?}", self.now);
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
        let mut next = || numbers.next().and_then(|word| word.parse::<i128>().ok()).unwrap_or(0);
        next() * 1_000_000_000 + next()
    }
}
