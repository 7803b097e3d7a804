//! When a side has to ask for an acknowledgement, and what it makes of silence.

use std::time::{Duration, Instant};

use xmpp_sm::{AckFreq, Error, Nonza};

use super::event::Side;
use super::ledger::{Checked, Half, ensure};
use super::pair::{End, Shared, Step};
use super::setting::{BUSY, GRACE, Options};

impl End {
    /// Whether an `<r/>` goes out with the last stanza. It has filled the buffer, if that was not full before.
    pub fn must_ask(&self, cx: &Shared, side: Side, half: &Half, was_full: bool) -> bool {
        let options = cx.options(side);
        let Some(freq) = options.ack.filter(|_| matches!(self.step, Step::Enabled)) else { return false };
        let unasked = half.sent.len() - self.asked_at;
        let in_rhythm = match freq {
            AckFreq::Every(stanzas) => unasked >= stanzas.get() as usize,
            AckFreq::SelfClocked { .. } => self.asked.is_none(),
        };
        let has_filled = self.over.is_some() && !was_full;
        in_rhythm || has_filled || unasked > 0 && self.asked.is_none() && self.is_pressed(options, half)
    }

    /// Whether half of the buffer is full, in number or in bytes.
    fn is_pressed(&self, options: &Options, half: &Half) -> bool {
        let (stanzas, bytes) = (2 * half.queued().count(), 2 * half.queued_bytes());
        self.over.is_some() || stanzas >= options.buffer_max as usize || bytes >= options.buffer_max_bytes
    }

    /// When the peer is asked again, after an answer that has left something out.
    pub fn asks_again(&self, cx: &Shared, side: Side, half: &Half) -> Option<Instant> {
        let options = cx.options(side);
        let freq = options.ack.filter(|_| half.acked < half.sent.len())?;
        let is_behind = half.acked < self.asked_at;
        let wait = match freq {
            _ if self.is_pressed(options, half) => Some(if is_behind { BUSY } else { Duration::ZERO }),
            AckFreq::SelfClocked { idle } => Some(idle),
            AckFreq::Every(_) => options.ack_timeout.filter(|_| is_behind),
        };
        wait.map(|wait| cx.now + wait)
    }

    /// When the peer's silence has lasted too long, and when its buffer has been full for too long.
    fn limits(&self, options: &Options) -> [Option<Instant>; 2] {
        let dead = self.asked.zip(options.ack_timeout).map(|(asked, limit)| asked + limit);
        [dead, self.over.map(|over| over + GRACE)]
    }

    /// No timer is of another stream or of another session, and none is missing.
    pub fn check_timer(&self, cx: &Shared, side: Side) -> Checked {
        let [dead, full] = self.limits(cx.options(side));
        let speaks = matches!(self.step, Step::Enabled) && !self.closing;
        let due = [dead, full, self.again].into_iter().flatten().min().filter(|_| speaks);
        let timer = self.stream.poll_timeout();
        ensure!(timer == due, "the timer is set to {timer:?}, and {due:?} is due");
        Ok(())
    }

    /// What a timer that is due must say.
    pub fn told_by_timer(&self, options: &Options, half: &Half, now: Instant) -> Result<Option<Nonza>, Error> {
        match self.out_of_time(options, now) {
            Some(error) if half.takes_more(options) && !self.was_blocked => Err(error),
            // The answer may lie unread: the peer is not to blame.
            _ => Ok(self.again.is_some_and(|again| again <= now).then_some(Nonza::Request)),
        }
    }

    /// Why the stream must end. What came first decides.
    pub fn out_of_time(&self, options: &Options, now: Instant) -> Option<Error> {
        let [dead, full] = self.limits(options).map(|limit| limit.filter(|limit| *limit <= now));
        match (dead, full) {
            (None, None) => None,
            (Some(dead), Some(full)) if full < dead => Some(Error::BufferFull),
            (None, Some(_)) => Some(Error::BufferFull),
            (Some(_), _) => Some(Error::AckTimeout),
        }
    }
}
