//! What a session says about itself, against what its host has seen. States are not told apart by it.

use xmpp_sm::{Condition, Inbound, Nonza, Stats, Unbound};

use super::World;
use super::ledger::{Checked, ensure};
use super::link::{End, Request};
use super::setting::Stream;

/// What a host has seen of its session.
#[derive(Debug, Default)]
pub struct Seen {
    /// Stanzas that were written, and count; and how many of them were acknowledged, and left the buffer before.
    pub sent: u64,
    pub acked: u64,
    pub evicted: u64,
    /// Stanzas that were written once more.
    pub resent: u64,
    /// `<r/>` that were written, and `<a/>` that came.
    pub asked: u64,
    pub answered: u64,
    pub resumed: u64,
    pub refused: u64,
    /// Whether the session has said that it is detached.
    pub is_told: bool,
    /// Stanzas that were sent while it was.
    pub queued: u64,
    /// And how many it has told of.
    pub queued_told: u64,
    /// What the session said before.
    pub before: Stats,
}

impl World<'_> {
    /// The statistics, after every step.
    pub fn check_counts(&mut self) -> Checked {
        for h in 0..self.hosts.len() {
            let stats = self.hosts[h].session.stats(self.now);
            self.check_stats(h, &stats).map_err(|violation| format!("host {h}: {violation}: {stats:?}"))?;
            self.seen[h].before = stats;
        }
        let is_on = self.setting.stream != Stream::Disabled;
        for (l, link) in self.links.iter().enumerate() {
            if let End::Unbound(stream, Request::None) = &link.end[1] {
                ensure!(stream.has_feature() == is_on, "connection {l} offers stream management: {}", !is_on);
            }
        }
        Ok(())
    }

    fn check_stats(&self, h: usize, stats: &Stats) -> Checked {
        let (host, seen) = (&self.hosts[h], &self.seen[h]);
        let (session, side, options) = (&host.session, host.side, &self.setting.options[host.side]);
        ensure!(stats.sent == seen.sent, "{} were sent", seen.sent);
        ensure!(stats.acked == seen.acked, "{} were acknowledged", seen.acked);
        ensure!(stats.evicted == seen.evicted, "{} were evicted", seen.evicted);
        ensure!(stats.resent == seen.resent, "{} were resent", seen.resent);
        ensure!(stats.ack_requests == seen.asked, "{} were asked for", seen.asked);
        ensure!(stats.ack_answers <= seen.answered, "{} were answered", seen.answered);
        ensure!(stats.ack_times <= stats.ack_answers, "{} times of {} answers", stats.ack_times, stats.ack_answers);
        ensure!(stats.resumed == seen.resumed, "it was resumed {} times", seen.resumed);
        ensure!(stats.refused == seen.refused, "{} were refused", seen.refused);
        ensure!(seen.queued_told == seen.queued, "{} are told of, and {} queued", seen.queued_told, seen.queued);
        let is_ordered = stats.ack_time_last <= stats.ack_time_max
            && stats.ack_time_max <= stats.ack_time_sum
            && stats.resumed_after <= stats.resumed_after_max
            && stats.resumed_after_max <= stats.resumed_after_sum;
        ensure!(is_ordered, "times go the wrong way");
        let goes_back = stats.receipts_given_up < seen.before.receipts_given_up
            || stats.requests_dropped < seen.before.requests_dropped
            || stats.detached < seen.before.detached
            || stats.ack_answers < seen.before.ack_answers;
        ensure!(!goes_back, "what has happened goes back");
        if session.is_over() {
            ensure!(!session.has_room() && stats.detached_for.is_none(), "it is over, and goes on");
            return Ok(());
        }
        let waiting: usize = host.waiting.0.iter().map(|waiting| waiting.bytes).sum();
        ensure!(stats.waiting == host.waiting.0.len() && stats.waiting_bytes == waiting, "{waiting} bytes wait");
        // While it closes, this is seen nowhere else.
        let is_closing = side == 1 && session.h().is_none();
        if let Some(life) = host.life.filter(|_| is_closing || session.h().is_some()) {
            let half = &self.lives[life].half[side];
            if half.counts_out {
                let kept = &half.out[half.first_kept()..];
                let bytes: usize = kept.iter().map(|id| self.items[id].bytes).sum();
                ensure!(
                    stats.unacked == kept.len() && stats.unacked_bytes == bytes,
                    "{bytes} bytes are unacknowledged"
                );
                let open = half.out.len() - half.acked;
                ensure!(stats.unacked_max >= open, "{open} are not acknowledged");
            }
        }
        // A client may lose a stream on which it only asks for its session.
        let is_away = session.is_detached();
        let lost = stats.resumed + u64::from(is_away);
        ensure!(if side == 1 { stats.detached == lost } else { stats.detached >= lost }, "it was lost {lost} times");
        ensure!(stats.detached == 0 || stats.detached_why.is_some(), "it was lost for no reason");
        let away = host.detached_since.filter(|_| side == 1 && is_away).map(|since| self.now - since);
        ensure!(side == 0 || stats.detached_for == away, "it has been lost for {away:?}");
        ensure!(!is_away || side == 0 || seen.is_told || self.has_taker(h), "nobody is told that it is lost");
        let is_full = host.waiting.is_full(options);
        ensure!(!(session.has_room() && is_full), "there is room, and it is full");
        let ends = host.is_ending || host.may_settle || self.is_expired(h);
        ensure!(session.has_room() || is_full || ends, "there is no room, and why not?");
        let forgotten = if options.keeps_evicted { 0 } else { seen.evicted };
        let is_right = session.evicted_forgotten() == forgotten;
        ensure!(side == 0 || is_right, "{} are forgotten, and not {forgotten}", session.evicted_forgotten());
        Ok(())
    }
}

/// What may not come before authentication is refused, and nothing else is answered.
pub fn check_early(inbound: &Inbound) -> Checked {
    let is_early = matches!(inbound, Inbound::Nonza(Nonza::Enable(_) | Nonza::Resume(_)));
    let answer = Unbound::before_authentication(inbound);
    let is_right = match &answer {
        Some(Nonza::Failed(failed)) => is_early && failed.condition == Some(Condition::UnexpectedRequest),
        None => !is_early,
        _ => false,
    };
    ensure!(is_right, "before authentication {inbound:?} is answered by {answer:?}");
    Ok(())
}
