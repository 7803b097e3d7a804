//! What hosts and users do to sessions.

use xmpp_sm::{EndReason, Nonza, NotSentWhy, Offer, ReceiptError, StreamError};

use super::host::{Mail, Open};
use super::ledger::{Checked, Fate, Waiting, ensure};
use super::link::{Elem, End, Item, Link, Request};
use super::setting::{SETTLE, Stream};
use super::{OWNER, World};

impl World<'_> {
    pub fn connect(&mut self) -> Checked {
        let (l, now) = (self.links.len(), self.now);
        let stream_management = self.setting.offers[usize::from(self.connects > 0)];
        let offer = Offer { stream_management, binds: self.setting.stream != Stream::WithoutBind };
        self.connects += 1;
        self.is_conflict = false;
        self.links.push(Link::new(End::Host(0), End::Unbound(self.unbound(), Request::None)));
        let host = &mut self.hosts[0];
        (host.awaits, host.noticed, host.binding, host.peer_closed) = (None, None, None, false);
        host.is_offered = stream_management;
        host.may_give_up = !stream_management || host.tries > 1 || host.is_rejected;
        host.session.connect(OWNER, offer, l, now).map_err(|wrong| wrong.to_string().into())
    }

    /// Somebody has a stanza for the peer of this host.
    pub fn send(&mut self, h: usize, bytes: usize, is_presence: bool) -> Checked {
        let side = self.hosts[h].side;
        let id = self.sent[side] * 2 + side as u32;
        self.sent[side] += 1;
        self.items.insert(id, Waiting { id, bytes, is_presence });
        self.post(h, Mail::Deliver(Item { id, bytes, is_presence }))
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
        match host.session.send(item, now) {
            Ok(()) => {
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
                        _ => is_full,
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

    /// This end notices that the connection is lost.
    pub fn cut(&mut self, l: usize, side: usize) {
        let now = self.now;
        match &self.links[l].end[side] {
            End::Host(h) if self.hosts[*h].session.connection() == Some(&l) => {
                let h = *h;
                self.hosts[h].may_give_up = !self.is_resumable(h);
                self.hosts[h].noticed = None;
                self.links[l].wire[side].clear();
                self.hosts[h].session.lost(now);
                let session = &self.hosts[h].session;
                if side == 1 && !session.is_detached() {
                    self.hosts[h].is_ending = true;
                }
            }
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
