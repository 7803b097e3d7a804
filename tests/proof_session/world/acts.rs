//! What hosts and users do to sessions.

use xmpp_sm::{
    Counter, EndReason, LoginStep, Nonza, NotOpen, NotSentWhy, Offer, OpenReceipt, ReceiptError, Refusal, StreamError,
};

use super::host::{Mail, Open};
use super::ledger::{Checked, Fate, Waiting, ensure};
use super::link::{Elem, End, Item, Link, Request};
use super::setting::{PROLONGED, SETTLE, Stream};
use super::{OWNER, World};

/// What is counted begins at 0.
fn counter(stanzas: usize) -> Counter {
    Counter::new(stanzas as u32)
}

impl World<'_> {
    pub fn connect(&mut self) -> Checked {
        let (l, now) = (self.links.len(), self.now);
        let stream_management = self.setting.offers[usize::from(self.connects > 0)];
        let is_inline = self.setting.sasl2.is_some();
        let offer = Offer { stream_management, binds: self.setting.stream != Stream::WithoutBind };
        self.connects += 1;
        self.is_conflict = false;
        self.links.push(Link::new(End::Host(0), End::Unbound(self.unbound(), Request::None)));
        let host = &mut self.hosts[0];
        (host.awaits, host.noticed, host.binding, host.peer_closed) = (None, None, None, false);
        host.is_offered = stream_management;
        host.may_give_up = host.has_no_hope(&self.setting.options[0]);
        if is_inline {
            return self.authenticate(l);
        }
        host.session.connect(OWNER, offer, l, now).map_err(|wrong| wrong.to_string().into())
    }

    /// Somebody has a stanza for the peer of this host.
    pub fn send(&mut self, h: usize, bytes: usize, is_presence: bool) -> Checked {
        let side = self.hosts[h].side;
        let id = self.sent[side] * 2 + side as u32;
        self.sent[side] += 1;
        self.items.insert(id, Waiting { id, bytes, is_presence });
        self.post(h, Mail::Deliver(Item { id, bytes, is_presence, is_retracted: false }))
    }

    /// Puts something into the mailbox of a server's session; where there are none, it is taken at once.
    pub fn post(&mut self, h: usize, mail: Mail) -> Checked {
        if h > 0 && self.setting.mailboxes {
            self.hosts[h].mailbox.push_back(mail);
            return Ok(());
        }
        self.open(h, mail)
    }

    pub fn open(&mut self, h: usize, mail: Mail) -> Checked {
        let now = self.now;
        match mail {
            Mail::Deliver(item) => self.give_stanza(h, item),
            Mail::Settled(open) => self.settle(h, open),
            Mail::Take(taker, l) => {
                self.links[l].end[1] = End::Host(h);
                self.hosts[h].session.take(taker, now);
                Ok(())
            }
            Mail::End(reason) => {
                self.hosts[h].is_ending = true;
                let error = Some(StreamError::Conflict).filter(|_| reason == EndReason::Replaced);
                self.hosts[h].session.close(reason, error, now);
                Ok(())
            }
        }
    }

    fn give_stanza(&mut self, h: usize, item: Item) -> Checked {
        let options = self.setting.options[self.hosts[h].side];
        let (now, id) = (self.now, item.id);
        let host = &mut self.hosts[h];
        let waiting = Waiting { id, bytes: item.bytes, is_presence: item.is_presence };
        let is_offline = host.session.connection().is_none();
        let over = host.is_over();
        let full = host.waiting.0.len();
        let was_full = h == 0 && host.waiting.is_full(&options);
        let had_room = host.session.has_room();
        // It is told of before the session may end for it.
        let is_queued = is_offline && host.session.is_detached() && !self.has_taker(h);
        let host = &mut self.hosts[h];
        match host.session.send(item, now) {
            Ok(()) => {
                self.seen[h].queued += u64::from(is_queued);
                // What waits while there is no connection is replaced by what makes it obsolete.
                let replaces = waiting.is_presence && is_offline;
                if let Some(replaced) = replaces.then(|| host.waiting.replace()).flatten() {
                    self.fates.set(replaced, Fate::Replaced)?;
                }
                let host = &mut self.hosts[h];
                ensure!(!was_full || host.waiting.0.len() < full, "{id} is taken, and there is no room");
                host.waiting.0.push_back(waiting);
                Ok(())
            }
            Err(not) => {
                ensure!(not.stanza.id == id, "another stanza comes back");
                let is_full = h == 0 && host.waiting.is_full(&options);
                let is_large = h == 0 && options.buffer && waiting.bytes > options.buffer_max_bytes;
                ensure!(
                    match not.why {
                        NotSentWhy::Over => over,
                        NotSentWhy::TooLarge => is_large,
                        _ => is_full && !had_room,
                    },
                    "{id} is not sent: {}",
                    not.why
                );
                self.fates.set(id, Fate::NotSent)
            }
        }
    }

    fn settle(&mut self, h: usize, open: Open) -> Checked {
        let (side, now) = (self.hosts[h].side, self.now);
        let present = self.hosts[h].life;
        let session = &mut self.hosts[h].session;
        let result = session.settle(open.receipt, now);
        // A client's session that cannot be resumed is gone with its connection.
        let is_gone = session.is_over() || h == 0 && !session.is_enabled() && !session.is_detached();
        let over = self.hosts[h].is_over();
        let Some((life, place)) = open.place else {
            return result.map_err(|error| error.to_string().into());
        };
        let got = &mut self.lives[life].half[side].input[place];
        match result {
            Ok(()) => {
                ensure!(!got.is_settled && !got.is_given_up, "a receipt is settled twice");
                got.is_settled = true;
                Ok(())
            }
            Err(ReceiptError::Foreign(_)) => {
                ensure!(present != Some(life) || over, "a receipt is foreign to its own session");
                Ok(())
            }
            Err(ReceiptError::SettledBefore(_)) => {
                if !got.is_given_up && present == Some(life) && !is_gone {
                    let waited = now - got.since;
                    ensure!(waited >= SETTLE, "a receipt was given up after {waited:?}");
                }
                got.is_given_up = true;
                Ok(())
            }
        }
    }

    /// The number and the time of the oldest stanza that is not settled.
    pub fn oldest_open(&self, h: usize) -> Option<OpenReceipt> {
        let host = &self.hosts[h];
        let half = &self.lives[host.life?].half[host.side];
        // While it closes, nothing of this can be seen.
        host.session.h()?;
        let since = half.input.get(half.h())?.since;
        Some(OpenReceipt { number: counter(half.h() + 1), since })
    }

    pub fn settle_lost(&mut self, h: usize) -> Checked {
        let (side, now) = (self.hosts[h].side, self.now);
        let open = self.oldest_open(h).ok_or("nothing is open")?;
        let life = self.hosts[h].life.ok_or("nothing is counted")?;
        let half = &mut self.lives[life].half[side];
        let session = &mut self.hosts[h].session;
        for number in [counter(half.h()), counter(half.input.len() + 1)] {
            let got = session.settle_without_receipt(number, now);
            ensure!(got == Err(NotOpen(number)), "stanza {number} is not open, and is settled: {got:?}");
        }
        let got = session.settle_without_receipt(open.number, now);
        ensure!(got == Ok(()), "stanza {} is open, and is not settled: {got:?}", open.number);
        let place = half.h();
        half.input[place].is_given_up = true;
        Ok(())
    }

    /// The place of the oldest stanza that can be resent, and its number.
    pub fn oldest_kept(&self, h: usize) -> Option<(usize, u32)> {
        let host = &self.hosts[h];
        let half = &self.lives[host.life?].half[host.side];
        host.session.h().filter(|_| half.counts_out)?;
        let place = half.first_kept();
        Some((place, *half.out.get(place)?))
    }

    pub fn retract(&mut self, h: usize) -> Checked {
        let (_, id) = self.oldest_kept(h).ok_or("nothing is kept")?;
        let Waiting { bytes, is_presence, .. } = self.items[&id];
        let session = &mut self.hosts[h].session;
        let other = Item { id, bytes, is_presence, is_retracted: true };
        let got = session.replace(|item| item.id == u32::MAX, other.clone());
        ensure!(got.as_ref() == Err(&other), "a stanza that is not there is replaced: {got:?}");
        let got = session.replace(|item| item.id == id, other.clone());
        let own = Item { is_retracted: false, ..other };
        ensure!(got.as_ref() == Ok(&own), "{id} is taken back: {got:?}");
        self.retracted.insert(id);
        Ok(())
    }

    /// What was taken back is not seen again.
    pub fn check_retracted(&self, item: &Item) -> Checked {
        let is_retracted = self.retracted.contains(&item.id);
        ensure!(item.is_retracted == is_retracted, "{} is taken back: {is_retracted}, and here is {item:?}", item.id);
        Ok(())
    }

    pub fn prolong(&mut self, h: usize) -> Checked {
        let until = self.now + PROLONGED;
        let host = &mut self.hosts[h];
        let is_prolonged = host.session.set_expires_at(Some(until));
        // One that ends already, and waits for its receipts, ends.
        let may_end = host.may_settle || host.is_ending || self.is_expired(h);
        ensure!(is_prolonged || may_end, "a session that waits to be resumed cannot be prolonged");
        let host = &mut self.hosts[h];
        host.prolonged = host.prolonged.max(Some(until).filter(|_| is_prolonged));
        Ok(())
    }

    pub fn set_inactive(&mut self, h: usize, is_inactive: bool) {
        let now = self.now;
        let host = &mut self.hosts[h];
        (host.is_inactive, host.may_ask) = (is_inactive, false);
        host.session.set_active(!is_inactive, now);
    }

    /// The host does not look for the session.
    pub fn refuse_resume(&mut self, l: usize) -> Checked {
        let step = self.refused_at(l, Refusal::NotFound)?;
        self.go_on_with(l, step)
    }

    /// This end's request for a session is refused.
    pub fn refused_at(&mut self, l: usize, refusal: Refusal) -> Checked<LoginStep> {
        match std::mem::replace(&mut self.links[l].end[1], End::Gone) {
            End::Unbound(mut stream, Request::Held(asked)) => {
                let failed = stream.refuse(asked, refusal).map_err(|_| "a stream does not know its request")?;
                Ok(LoginStep::Failed { failed, stream })
            }
            End::Asked(request) => Ok(request.refuse(refusal)),
            _ => Err("nothing is refused".into()),
        }
    }

    /// This end notices that the connection is lost.
    pub fn cut(&mut self, l: usize, side: usize) {
        let now = self.now;
        match &self.links[l].end[side] {
            End::Host(h) if self.hosts[*h].session.connection() == Some(&l) => {
                let h = *h;
                // It may have given up already, and only wait for its receipts.
                self.hosts[h].may_give_up = !self.is_resumable(h) || self.hosts[h].may_settle;
                self.hosts[h].noticed = None;
                self.links[l].wire[side].clear();
                self.hosts[h].session.lost(now);
                let session = &self.hosts[h].session;
                if side == 1 && !session.is_detached() {
                    self.hosts[h].is_ending = true;
                }
            }
            End::Login(_) => self.leave_login(l),
            _ => drop(self.links[l].leave(side)),
        }
    }

    /// Another connection says that it is the client, and asks for its session.
    pub fn rival(&mut self) -> Checked {
        let life = self.hosts[0].life.ok_or("no session")?;
        let (previd, h) = (self.lives[life].smid.clone().ok_or("no SM-ID")?, self.lives[life].half[0].h() as u32);
        let mut link = Link::new(End::Mute, End::Unbound(self.unbound(), Request::None));
        (link.life, link.h[0]) = (Some(life), Some(h));
        link.wire[1].push_back(Elem::Nonza(Nonza::Resume(xmpp_sm::Resume { previd, h: h.into() })));
        self.links.push(link);
        Ok(())
    }
}
