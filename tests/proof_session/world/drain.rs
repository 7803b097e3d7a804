//! What every state must come to: where everybody is quick, all is delivered; where nothing moves, all is over in time.

use std::time::Duration;

use super::World;
use super::event::{Act, Event};
use super::ledger::{Checked, Violation, ensure};
use super::link::End;
use super::setting::{CLOSE, SETTLE};

/// More steps than any world needs.
const STEPS: usize = 2000;

impl World<'_> {
    /// How many ends there are.
    pub const ENDS: u64 = 3;

    /// Brings the world to one of them.
    pub fn end(mut self, which: u64) -> Checked {
        match which % Self::ENDS {
            0 => {
                self.settle_down()?;
                self.go_dark()
            }
            1 => self.go_dark(),
            _ => self.freeze(),
        }
    }

    /// Everything arrives, everything is settled, and the client comes back: nothing is left to do.
    fn settle_down(&mut self) -> Checked {
        let mut connects = 0;
        for link in &mut self.links {
            link.is_clogged = [false; 2];
        }
        for h in 0..self.hosts.len() {
            self.set_inactive(h, false);
        }
        for _ in 0..STEPS {
            self.turns()?;
            self.check()?;
            if self.advance()? || self.settle_one()? || self.lose_one()? {
                continue;
            }
            if self.can_connect() && connects < 4 {
                connects += 1;
                self.force(Event::new(Act::Connect, 0))?;
            } else if !self.wait_if_needed()? {
                return self.check_quiet();
            }
        }
        Err(Violation(format!("no rest after {STEPS} steps")))
    }

    fn force(&mut self, event: Event) -> Checked {
        self.connects = self.connects.min(self.setting.connects.saturating_sub(1));
        let done = self.apply(event)?;
        ensure!(done, "{event} cannot happen");
        Ok(())
    }

    fn settle_one(&mut self) -> Checked<bool> {
        let open = (0..self.hosts.len()).find(|h| !self.hosts[*h].receipts.is_empty());
        open.map_or(Ok(false), |h| self.apply(Event::new(Act::Settle, h)))
    }

    /// A connection whose other end is gone is noticed.
    fn lose_one(&mut self) -> Checked<bool> {
        for l in 0..self.links.len() {
            for side in 0..2 {
                let link = &self.links[l];
                if link.is_gone(1 - side) && link.wire[side].is_empty() && self.can_cut(l, side) {
                    self.cut(l, side);
                    self.turns()?;
                    self.check()?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Lets time pass while something is still to happen.
    fn wait_if_needed(&mut self) -> Checked<bool> {
        let waits = self.hosts.iter().any(|host| {
            let session = &host.session;
            let is_owed = session.is_enabled() && session.unacked() + session.waiting() > 0 && !self.has_dropped;
            let waits = is_owed || host.awaits.is_some();
            !session.is_over() && (host.is_ending || host.session.connection().is_some() && waits)
        });
        let dropped = self
            .links
            .iter()
            .any(|link| matches!(&link.end[1], End::Unbound(stream, _) if stream.deadline().is_some()));
        let is_deaf = self.hosts.iter().any(|host| {
            host.enable_since.is_some() && host.session.connection().is_some() && !host.session.wants_read()
        });
        Ok((waits || dropped || is_deaf) && self.pass_time()?)
    }

    /// One timeout that is due, or the clock goes on to the next. `false`: nothing will ever be due.
    fn pass_time(&mut self) -> Checked<bool> {
        let due = self.enabled().into_iter().find(|event| matches!(event.act, Act::Timeout | Act::Late));
        match due {
            Some(event) => self.apply(event),
            None => self.apply(Event::new(Act::Tick, 0)),
        }
    }

    fn check_quiet(&self) -> Checked {
        for (h, host) in self.hosts.iter().enumerate() {
            let session = &host.session;
            if session.is_over() {
                continue;
            }
            ensure!(!host.is_ending, "host {h} does not come to its end: {session:?}");
            if let Some(l) = session.connection().copied() {
                // A peer that does not read, or that has lost a receipt.
                let is_mute = matches!(self.links[l].end[1 - host.side], End::Mute) || self.has_dropped;
                let waiting = session.waiting();
                ensure!(waiting == 0 || is_mute, "host {h}: {waiting} stanzas are not sent");
                let asks = self.setting.options[host.side].ack.is_some();
                let owed = session.is_enabled() && asks && !is_mute;
                let unacked = session.unacked();
                ensure!(!owed || unacked == 0, "host {h}: {unacked} stanzas are not acknowledged");
            } else {
                ensure!(session.is_detached() || h == 0, "host {h} has no connection, and is nothing");
            }
        }
        for (l, link) in self.links.iter().enumerate() {
            for side in 0..2 {
                let is_read = !matches!(link.end[side], End::Mute | End::Gone) && !self.has_dropped;
                ensure!(!is_read || link.wire[side].is_empty(), "connection {l}: {:?} is not read", link.wire[side]);
            }
        }
        Ok(())
    }

    /// All connections are lost, no receipt comes back, and nobody does anything any more.
    fn go_dark(&mut self) -> Checked {
        for l in 0..self.links.len() {
            for side in 0..2 {
                if self.can_cut(l, side) {
                    self.cut(l, side);
                    self.turns()?;
                }
            }
        }
        self.drop_everything()?;
        let client = !self.hosts[0].is_over();
        if client {
            (self.hosts[0].is_ending, self.hosts[0].is_closed) = (true, true);
            self.hosts[0].session.close(xmpp_sm::EndReason::Closed, None, self.now);
            self.turns()?;
        }
        self.run_out(None)
    }

    /// Nothing is written or read any more, no receipt comes back, and everybody ends its session.
    fn freeze(&mut self) -> Checked {
        for link in &mut self.links {
            link.is_clogged = [true; 2];
        }
        self.is_stopping = true;
        self.drop_everything()?;
        for h in 0..self.hosts.len() {
            if !self.hosts[h].is_over() {
                (self.hosts[h].is_ending, self.hosts[h].is_closed) = (true, true);
                self.hosts[h].session.close(xmpp_sm::EndReason::Stopped, None, self.now);
                self.turns()?;
            }
        }
        // Those that are ending already have less time.
        self.run_out(Some(SETTLE + CLOSE))
    }

    /// The hosts read their mail, and drop all that they have.
    fn drop_everything(&mut self) -> Checked {
        for h in 0..self.hosts.len() {
            self.hosts[h].receipts.clear();
            self.hosts[h].enable = None;
            while self.apply(Event::new(Act::Mail, h))? {}
        }
        Ok(())
    }

    fn run_out(&mut self, most: Option<Duration>) -> Checked {
        let begin = self.now;
        for _ in 0..STEPS {
            if self.hosts.iter().all(|host| host.is_over()) {
                let took = self.now - begin;
                ensure!(most.is_none_or(|most| took <= most), "the end took {took:?}");
                return self.check_accounts();
            }
            let mut goes_on = false;
            for l in 0..self.links.len() {
                if most.is_none() && self.can_cut(l, 1) {
                    self.cut(l, 1);
                    self.turns()?;
                    goes_on = true;
                }
            }
            if !goes_on && !self.pass_time()? {
                break;
            }
        }
        let left = self.hosts.iter().find(|host| !host.is_over());
        Err(Violation(format!("a session does not come to its end: {:?}", left.map(|host| &host.session))))
    }

    /// Each stanza has had one end.
    fn check_accounts(&self) -> Checked {
        for side in 0..2 {
            for id in (0..self.sent[side]).map(|number| number * 2 + side as u32) {
                ensure!(self.fates.get(id).is_some(), "stanza {id} is nowhere");
            }
        }
        for (l, link) in self.links.iter().enumerate() {
            let is_in = link.end.iter().any(|end| matches!(end, End::Host(_)));
            ensure!(!is_in, "connection {l} stays in a session");
        }
        Ok(())
    }
}
