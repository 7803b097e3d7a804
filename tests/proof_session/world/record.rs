//! What a session does, entered in the ledger.

use xmpp_sm::{Nonza, OnFull, Resume};

use super::World;
use super::host::Reply;
use super::ledger::{Checked, Fate, Life, ensure};
use super::link::{End, Item};
use super::setting::{GRACE, MOMENT};

impl World<'_> {
    /// The life that a host is in, if its side counts what it sends.
    fn counting(&mut self, h: usize) -> Option<&mut Life> {
        let (life, side) = (self.hosts[h].life?, self.hosts[h].side);
        Some(&mut self.lives[life]).filter(|life| life.half[side].counts_out)
    }

    pub fn wrote_stanza(&mut self, h: usize, l: usize, item: &Item, late: Option<std::time::Instant>) -> Checked {
        let (side, id) = (self.hosts[h].side, item.id);
        let options = self.setting.options[side];
        self.check_retracted(item)?;
        let host = &mut self.hosts[h];
        ensure!(host.awaits.is_none(), "{id} is written before the reply to {:?}", host.awaits);
        ensure!(!std::mem::take(&mut self.links[l].is_fresh[side]), "{id} is the first that is written");
        let resend = host.resend;
        if let (Some((next, end)), Some(life)) = (resend, host.life) {
            let half = &self.lives[life].half[side];
            let next = next.max(half.acked);
            if next < end {
                ensure!(half.out[next] == id, "{id} is resent in place of {}", half.out[next]);
                ensure!(late.is_some(), "{id} is resent without its time");
                self.hosts[h].resend = Some((next + 1, end));
                self.seen[h].resent += 1;
                return Ok(());
            }
            self.hosts[h].resend = None;
        }
        let first = self.hosts[h].waiting.0.pop_front().map(|waiting| waiting.id);
        ensure!(first == Some(id), "{id} is written in place of {first:?}");
        match self.counting(h) {
            Some(life) => {
                let evicted = life.half[side].record(id, &options);
                self.seen[h].sent += 1;
                self.seen[h].evicted += evicted as u64;
            }
            None => self.fates.set(id, Fate::Passed)?,
        }
        Ok(())
    }

    pub fn wrote_nonza(&mut self, h: usize, l: usize, nonza: &Nonza) -> Checked {
        let (side, now) = (self.hosts[h].side, self.now);
        let awaits = self.hosts[h].awaits;
        let is_start = matches!(nonza, Nonza::Resume(_) | Nonza::Resumed(_));
        let was_fresh = std::mem::take(&mut self.links[l].is_fresh[side]);
        ensure!(!was_fresh || is_start, "{nonza} is the first that is written");
        ensure!(awaits.is_none(), "{nonza} is written before the reply to {awaits:?}");
        let life = self.hosts[h].life;
        match nonza {
            Nonza::Enable(_) => {
                ensure!(side == 0 && self.hosts[h].is_offered, "<enable/> where it is not offered");
                self.end_life(h)?;
                let life = self.lives.len();
                self.lives.push(Life::default());
                self.lives[life].half[0].counts_out = true;
                self.links[l].life = Some(life);
                let host = &mut self.hosts[h];
                (host.life, host.resend, host.awaits) = (Some(life), None, Some(Reply::Enable));
            }
            Nonza::Resume(resume) => self.wrote_resume(h, l, resume)?,
            Nonza::Enabled(enabled) => {
                let life = life.ok_or("<enabled/> without a session")?;
                self.lives[life].smid = enabled.id.clone();
                self.lives[life].half[1].counts_out = true;
                self.lives[life].half[1].is_resumable = enabled.resume;
            }
            Nonza::Resumed(resumed) => {
                let life = life.ok_or("<resumed/> without a session")?;
                ensure!(self.links[l].h[1].is_none(), "a second <resumed/> on one connection");
                let half = &mut self.lives[life].half[1];
                half.give_up_to(resumed.h.get() as usize, now)?;
                ensure!(resumed.h.get() as usize == half.input.len(), "<resumed/> leaves out what is open");
                self.links[l].h[1] = Some(resumed.h.get());
            }
            Nonza::Ack(h) => {
                let life = life.ok_or("<a/> without a session")?;
                let half = &mut self.lives[life].half[side];
                ensure!(half.counts_in, "<a/> where nothing is counted");
                half.give_up_to(h.get() as usize, now)?;
                ensure!(h.get() as usize == half.h(), "<a h='{h}'/>, and {} are handled", half.h());
                self.links[l].acks[side] += 1;
                self.links[l].told[side] = Some(h.get());
            }
            Nonza::AckRequest => {
                ensure!(self.counting(h).is_some(), "<r/> where nothing is counted");
                let may_ask = !self.hosts[h].is_inactive || self.may_ask(h);
                ensure!(may_ask, "an inactive peer is asked");
                self.links[l].asks[side] += 1;
                self.seen[h].asked += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// A client asks for its session.
    pub fn wrote_resume(&mut self, h: usize, l: usize, resume: &Resume) -> Checked {
        let life = self.hosts[h].life.ok_or("a session is asked for that there is not")?;
        ensure!(self.hosts[h].is_offered, "<resume/> where it is not offered");
        let half = &mut self.lives[life].half[0];
        half.give_up_to(resume.h.get() as usize, self.now)?;
        ensure!(resume.h.get() as usize == half.input.len(), "<resume/> leaves out what is open");
        ensure!(half.is_resumable && half.is_whole(), "<resume/> for a session that cannot be resumed");
        ensure!(self.lives[life].smid.as_ref() == Some(&resume.previd), "<resume/> for another session");
        self.links[l].life = Some(life);
        self.links[l].h[0] = Some(resume.h.get());
        self.hosts[h].awaits = Some(Reply::Resume);
        self.hosts[h].tries += 1;
        Ok(())
    }

    /// Before `</stream:stream>` the last `<a/>` has told all.
    pub fn check_last_ack(&self, h: usize, told: Option<u32>) -> Checked {
        let host = &self.hosts[h];
        let life = host.life.filter(|_| host.awaits.is_none()).map(|life| &self.lives[life].half[host.side]);
        if let Some(half) = life.filter(|half| half.counts_in && half.counts_out) {
            let all = half.h();
            ensure!(told == u32::try_from(all).ok(), "the last <a/> told {told:?}, and {all} are handled");
        }
        Ok(())
    }

    /// The peer has acknowledged so many. Returns whether that can be right.
    pub fn on_ack(&mut self, h: usize, handled: u32) -> Checked<bool> {
        let (side, wanted) = (self.hosts[h].side, self.setting.returns);
        let Some(covered) = self.counting(h).and_then(|life| life.half[side].acknowledge(handled)) else {
            return Ok(false);
        };
        self.seen[h].acked += covered.len() as u64;
        self.seen[h].answered += 1;
        for (id, is_kept) in covered {
            self.fates.set(id, Fate::Acknowledged)?;
            if is_kept && wanted {
                self.hosts[h].acknowledged.push_back(id);
            }
        }
        Ok(true)
    }

    /// The session goes on over its present connection: what the peer has not got is resent.
    pub fn on_resumed(&mut self, h: usize) -> Checked {
        let connection = self.hosts[h].session.connection().copied();
        let l = connection.ok_or("a session goes on over no connection")?;
        let side = self.hosts[h].side;
        let life = self.hosts[h].life.ok_or("a session goes on that there is not")?;
        ensure!(self.links[l].is_held_by(side, h), "a session goes on over a connection that it has not got");
        ensure!(self.links[l].life == Some(life), "another session goes on");
        let handled = self.links[l].h[1 - side].ok_or("a session goes on that nobody asked for")?;
        if side == 1 {
            ensure!(self.on_ack(h, handled)?, "a session goes on with h {handled}");
            self.links[l].is_fresh[1] = true;
        }
        let half = &self.lives[life].half[side];
        let host = &mut self.hosts[h];
        host.resend = Some((half.first_kept(), half.out.len()));
        self.seen[h].resumed += 1;
        self.seen[h].is_told = false;
        (host.detached_since, host.prolonged, host.is_inactive) = (None, None, false);
        (host.noticed, host.may_settle) = (None, false);
        Ok(())
    }

    /// A client may have given its session up, and its stanzas wait for the next one.
    fn notice_giving_up(&mut self, h: usize) -> Checked {
        let options = self.setting.options[0];
        let Some(life) = self.counting(h).filter(|_| h == 0) else { return Ok(()) };
        let left = life.half[0].left(&options);
        let host = &self.hosts[h];
        if host.is_over() || left.is_empty() || host.session.waiting() != host.waiting.0.len() + left.len() {
            return Ok(());
        }
        ensure!(host.may_give_up || host.has_broken, "a client gives its session up, and why?");
        self.return_to_backlog(&left);
        self.hosts[h].has_judged = true;
        self.forget_life(h, &left)
    }

    /// A client begins with nothing: whatever its last session left has gone into the backlog.
    pub fn end_life(&mut self, h: usize) -> Checked {
        self.notice_giving_up(h)?;
        let options = self.setting.options[0];
        let left = self.counting(h).map(|life| life.half[0].left(&options)).unwrap_or_default();
        ensure!(left.is_empty(), "a client begins with nothing, and had {left:?}");
        self.forget_life(h, &left)
    }

    /// All but what is `left` was not kept.
    fn forget_life(&mut self, h: usize, left: &[u32]) -> Checked {
        if let Some(life) = self.counting(h) {
            let half = &life.half[0];
            let gone: Vec<u32> = half.out[half.acked..].iter().copied().filter(|id| !left.contains(id)).collect();
            for id in gone {
                self.fates.set(id, Fate::Forgotten)?;
            }
        }
        let host = &mut self.hosts[h];
        (host.life, host.resend, host.is_refused) = (None, None, false);
        (host.tries, host.is_rejected, host.has_broken) = (0, false, false);
        Ok(())
    }

    /// Whether an inactive peer may be asked: the host wants it, something waits for room, or the buffer fills up.
    fn may_ask(&self, h: usize) -> bool {
        let (host, options) = (&self.hosts[h], &self.setting.options[self.hosts[h].side]);
        let Some(life) = host.life else { return true };
        let half = &self.lives[life].half[host.side];
        let kept = &half.out[half.first_kept()..];
        let bytes: usize = kept.iter().map(|id| self.items[id].bytes).sum();
        let is_pressed = 2 * kept.len() >= options.buffer_max as usize || 2 * bytes >= options.buffer_max_bytes;
        let has_room = host.session.connection().is_some_and(|l| self.has_room(*l, host.side));
        host.may_ask || is_pressed || !host.waiting.0.is_empty() || !has_room
    }

    /// After a turn.
    pub fn after_turn(&mut self, h: usize) -> Checked {
        // A client whose server cannot tell whether it has the session keeps it, and asks again.
        self.hosts[h].is_refused &= !self.hosts[h].session.is_detached();
        if self.hosts[h].is_refused && !self.hosts[h].is_over() {
            self.end_life(h)?;
        }
        self.notice_giving_up(h)?;
        self.hosts[h].may_ask = self.may_ask(h);
        let now = self.now;
        let host = &mut self.hosts[h];
        // It may have waited long enough for receipts.
        if let (Some(life), Some(handled)) = (host.life, host.session.h()) {
            self.lives[life].half[host.side].give_up_to(handled.get() as usize, now)?;
        }
        if host.session.deadline().is_none_or(|deadline| deadline > now + MOMENT) {
            host.noticed = None;
        }
        // It may have ended at once for what it was given.
        let options = self.setting.options[host.side];
        let gives_no_grace = options.on_full != OnFull::EndAfter(GRACE)
            || host.waiting.is_over_twice(&options)
            || host.session.connection().is_none();
        host.may_settle |= host.waiting.is_over(&options) && gives_no_grace || host.has_large(&options);
        let is_over = host.side == 1 && host.waiting.is_over(&options) && !host.is_ending;
        // While it does not read, what makes room may lie unread: the time stands still.
        host.full_since = host.full_since.filter(|_| !host.is_deaf()).or(Some(now)).filter(|_| is_over);
        let is_nowhere = host.session.connection().is_none() && !host.session.is_detached();
        host.is_ending |= host.side == 1 && is_nowhere;
        if host.session.is_detached() && host.detached_since.is_none() {
            host.detached_since = Some(now);
        }
        Ok(())
    }

    /// The stanzas of a session that is gone wait before all others.
    fn return_to_backlog(&mut self, left: &[u32]) {
        for id in left.iter().rev() {
            self.hosts[0].waiting.0.push_front(self.items[id]);
        }
    }

    /// Whether an end of a connection waits for its session to take it.
    pub fn has_taker(&self, h: usize) -> bool {
        let present = self.hosts[h].session.connection().copied();
        self.links.iter().enumerate().any(|(l, link)| {
            matches!(link.end[self.hosts[h].side], End::Host(holder) if holder == h) && Some(l) != present
        })
    }
}
