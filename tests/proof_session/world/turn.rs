//! One turn of a host's loop, and what its session writes.

use std::time::Instant;

use xmpp_sm::{InlineSuccess, Nonza, StreamError, Write};

use super::World;
use super::ledger::{Checked, ensure};
use super::link::{Elem, Item};

/// What a session wrote.
enum Out {
    Stanza(Item, Option<Instant>),
    Nonza(Nonza),
    /// `<success/>` with this in it, and with all that may be in it.
    Success(Nonza),
    Login(Box<InlineSuccess>),
    Error(bool),
    Close,
    Flush,
}

impl World<'_> {
    /// One turn of the host's loop: all that the session says, all that it writes; and then it waits.
    pub fn turn(&mut self, h: usize) -> Checked {
        while let Some(event) = self.hosts[h].session.poll() {
            self.on_event(h, event)?;
            if self.hosts[h].is_over() && self.hosts[h].session.connection().is_none() {
                continue;
            }
        }
        while let Some(link) = self.hosts[h].session.connection().copied()
            && self.has_room(link, self.hosts[h].side)
        {
            let now = self.now;
            let Some((to, item)) = self.hosts[h].session.next_write(now) else {
                let again = self.hosts[h].session.next_write(now).is_some();
                ensure!(!again, "host {h} waits, and something is to be written");
                break;
            };
            let to = *to;
            let out = match item {
                Write::Stanza { stanza, late } => Out::Stanza(stanza.clone(), late),
                Write::Nonza(nonza) => Out::Nonza(nonza.clone()),
                Write::Success(success) if self.setting.sasl2.is_some() => Out::Login(success),
                Write::Success(success) => {
                    ensure!(success.features.is_none() && success.bound.is_none(), "more than a session: {success:?}");
                    Out::Success(success.resume.ok_or("<success/> says nothing")?)
                }
                Write::StreamError(error) => Out::Error(error == StreamError::Conflict),
                Write::Close => Out::Close,
                Write::Flush => Out::Flush,
            };
            ensure!(to == link, "a host writes to connection {to}, and its session has {link}");
            self.on_write(h, to, out)?;
        }
        ensure!(self.hosts[h].session.poll().is_none(), "host {h} waits, and its session has something to say");
        self.after_turn(h)
    }

    pub fn has_room(&self, link: usize, side: usize) -> bool {
        let link = &self.links[link];
        !link.is_clogged[side] && link.wire[1 - side].len() < self.setting.room
    }

    fn on_write(&mut self, h: usize, l: usize, out: Out) -> Checked {
        let side = self.hosts[h].side;
        let link = &mut self.links[l];
        ensure!(link.is_held_by(side, h), "host {h} writes to connection {l}, which it has left");
        ensure!(!link.is_closed[side], "host {h} writes to connection {l} after its end");
        let is_flush = matches!(out, Out::Flush);
        ensure!(is_flush || !link.must_flush[side], "no flush after <enabled/> or <resumed/>");
        let was_flushed = std::mem::replace(&mut link.flushed[side], is_flush);
        link.must_flush[side] = false;
        match out {
            Out::Flush => Ok(()),
            Out::Close => {
                link.is_closed[side] = true;
                let told = link.told[side];
                self.check_last_ack(h, told)?;
                self.hosts[h].has_judged = true;
                self.links[l].push(side, Elem::Close);
                self.hosts[h].is_ending = true;
                Ok(())
            }
            Out::Error(conflict) => {
                // There may be no room for `</stream:stream>` yet.
                (self.hosts[h].has_judged, self.hosts[h].is_ending) = (true, true);
                self.links[l].push(side, Elem::Error { conflict });
                Ok(())
            }
            Out::Stanza(item, late) => {
                self.wrote_stanza(h, l, &item, late)?;
                self.links[l].push(side, Elem::Stanza(item));
                Ok(())
            }
            Out::Success(nonza) => {
                ensure!(matches!(nonza, Nonza::Resumed(_)), "{nonza} in <success/>");
                self.links[l].must_flush[side] = true;
                self.wrote_nonza(h, l, &nonza)?;
                self.links[l].push(side, Elem::Nonza(nonza));
                Ok(())
            }
            Out::Login(success) => self.wrote_success(h, l, &success),
            Out::Nonza(nonza) => {
                let is_bare = side == 1 && matches!(nonza, Nonza::Resumed(_));
                ensure!(!(is_bare && self.is_inline(l)), "a bare {nonza}");
                if matches!(nonza, Nonza::Enabled(_) | Nonza::Resumed(_)) {
                    ensure!(was_flushed, "no flush before {nonza}");
                    self.links[l].must_flush[side] = true;
                }
                self.wrote_nonza(h, l, &nonza)?;
                self.links[l].push(side, Elem::Nonza(nonza));
                Ok(())
            }
        }
    }
}
