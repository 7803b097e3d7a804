//! The end of a session: what it gives back, and why it may end.

use xmpp_sm::{Counter, EndReason, Fate as Came, SessionEnded, SessionStore};

use super::World;
use super::ledger::{Checked, Fate, ensure};
use super::link::Item;

impl World<'_> {
    pub fn on_ended(&mut self, h: usize, ended: SessionEnded<Item>) -> Checked {
        let (side, now) = (self.hosts[h].side, self.now);
        let options = self.setting.options[side];
        self.hosts[h].has_judged = true;
        let held = self.links.iter().position(|link| link.is_held_by(side, h));
        ensure!(held.is_none(), "connection {held:?} stays in a session that is over");
        self.check_reason(h, &ended)?;
        let mut expected: Vec<(u32, Came)> = Vec::new();
        if let Some(life) = self.hosts[h].life.filter(|life| self.lives[*life].half[side].counts_out) {
            let half = &mut self.lives[life].half[side];
            let first_kept = half.first_kept();
            for (place, id) in half.out.iter().enumerate().skip(half.acked) {
                match place >= first_kept {
                    true => expected.push((*id, Came::Unacknowledged)),
                    false if options.keeps_evicted && options.evicts() => expected.push((*id, Came::Evicted)),
                    false => self.fates.set(*id, Fate::Forgotten)?,
                }
            }
        }
        let counted = self.hosts[h].life.filter(|life| self.lives[*life].half[side].counts_in);
        match counted {
            Some(life) if side == 1 || ended.smid.is_some() => {
                let half = &mut self.lives[life].half[side];
                half.give_up_to(ended.h.get() as usize, now)?;
                // Where too much comes during the end, receipts are not waited for.
                let is_hurried = self.hosts[h].waiting.is_over_twice(&options);
                let all = if is_hurried { half.h() } else { half.input.len() };
                ensure!(ended.h.get() as usize == all, "the last h is {}, and {all} arrived", ended.h);
                let smid = self.lives[life].smid.as_ref();
                let is_told = smid.is_none() || ended.smid.as_ref() == smid;
                ensure!(side == 0 || is_told, "the SM-ID of the end is another one");
            }
            Some(_) => {}
            None => ensure!(ended.h == Counter::ZERO, "h is {} where nothing was counted", ended.h),
        }
        expected.extend(self.hosts[h].waiting.ids().into_iter().map(|id| (id, Came::Unsent)));
        let mut came = Vec::new();
        for left in ended.stanzas {
            self.check_retracted(&left.stanza)?;
            came.push((left.stanza.id, left.fate));
        }
        ensure!(came == expected, "the end gives back {came:?}, and should {expected:?}");
        for (id, _) in came {
            self.fates.set(id, Fate::Returned)?;
        }
        self.hosts[h].waiting.0.clear();
        if let Some(registration) = &self.hosts[h].registration {
            self.store.retire(registration, ended.h, now).map_err(|error| error.to_string())?;
        }
        self.empty_mailbox(h)
    }

    /// Whether a session has waited long enough to be resumed.
    pub fn is_expired(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        let waited = host.detached_since.map(|since| self.now - since);
        // The client may ask for less than the server has.
        let most = self.setting.options.iter().filter_map(|options| options.resume_timeout).min();
        let is_over = most.zip(waited).is_some_and(|(most, waited)| waited >= most);
        host.prolonged.map_or(is_over, |until| self.now >= until)
    }

    /// Whether the reason can be right.
    fn check_reason(&self, h: usize, ended: &SessionEnded<Item>) -> Checked {
        let host = &self.hosts[h];
        let options = self.setting.options[host.side];
        let half = host.life.map(|life| &self.lives[life].half[host.side]);
        let is_over = half.is_some_and(|half| half.out.len() > half.acked + options.buffer_max as usize);
        let is_right = match ended.reason {
            EndReason::PeerFault => host.is_blamed,
            EndReason::Expired => self.is_expired(h),
            EndReason::NotResumable => {
                let is_resumable = half.is_some_and(|half| half.is_resumable && half.is_whole());
                !is_resumable || !options.can_resume()
            }
            EndReason::BufferFull => is_over || host.waiting.is_over(&options) || host.has_large(&options),
            EndReason::Closed => host.peer_closed || host.is_ending,
            _ => host.is_ending,
        };
        ensure!(is_right, "the session ends for {:?}", ended.reason);
        Ok(())
    }
}
