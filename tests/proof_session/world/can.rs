//! What can happen now.

use std::time::Instant;

use xmpp_sm::Nonza;

use super::World;
use super::event::{Act, Event};
use super::host::Mail;
use super::link::{Elem, End, Request};

impl World<'_> {
    /// All that can happen, in a fixed order.
    pub fn enabled(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut offer = |act, at| {
            let event = Event::new(act, at);
            if self.can(event) {
                events.push(event);
            }
        };
        for at in 0..self.links.len() * 2 {
            for act in [Act::Deliver, Act::Lookup, Act::DropRequest, Act::RefuseResume, Act::Late, Act::Cut, Act::Clog]
            {
                offer(act, at);
            }
            for act in [Act::HighH, Act::LowH, Act::Unexpected, Act::Malformed, Act::Error] {
                offer(act, at);
            }
            for act in [Act::Deny, Act::Unknown, Act::BindUnknown] {
                offer(act, at);
            }
        }
        for at in 0..self.hosts.len() {
            for act in [Act::Mail, Act::Accept, Act::Settle, Act::SettleLast, Act::Send, Act::Big, Act::Presence] {
                offer(act, at);
            }
            for act in [Act::Timeout, Act::DropReceipt, Act::DropTaker, Act::Refuse, Act::DropEnable, Act::Snapshot] {
                offer(act, at);
            }
            for act in [Act::Close, Act::Request, Act::Ack, Act::SettleLost, Act::Retract, Act::Prolong, Act::Inactive]
            {
                offer(act, at);
            }
        }
        for act in [Act::Connect, Act::Login, Act::Rival, Act::Tick, Act::Sleep] {
            offer(act, 0);
        }
        events
    }

    /// Whether this can happen, and this world has it.
    pub fn can(&self, event: Event) -> bool {
        let (act, at) = (event.act, event.at());
        let always = matches!(
            act,
            Act::Connect
                | Act::Deliver
                | Act::Mail
                | Act::Lookup
                | Act::Accept
                | Act::Settle
                | Act::Tick
                | Act::Timeout
                | Act::Late
        );
        if !always && !act.is_among(self.setting.acts) {
            return false;
        }
        match act {
            Act::Connect => self.can_connect() && self.connects < self.setting.connects,
            Act::Login => self.hosts.len() < 4,
            Act::Rival => self.can_rival(),
            Act::Tick => self.next_deadline().is_some() && !self.is_any_due(),
            Act::Sleep => self.sleeps < self.setting.sleeps,
            Act::Deliver | Act::Lookup | Act::DropRequest | Act::RefuseResume | Act::Late | Act::Cut | Act::Clog => {
                self.links.len() * 2 > at && self.can_at_end(act, at / 2, at % 2)
            }
            Act::Deny | Act::Unknown | Act::BindUnknown => {
                self.links.len() * 2 > at && self.can_at_end(act, at / 2, at % 2)
            }
            Act::HighH | Act::LowH | Act::Unexpected | Act::Malformed | Act::Error => {
                self.links.len() * 2 > at && self.can_forge(act, at / 2, at % 2)
            }
            _ => self.hosts.len() > at && self.can_at_host(act, at),
        }
    }

    fn can_at_end(&self, act: Act, l: usize, side: usize) -> bool {
        let link = &self.links[l];
        match act {
            Act::Deliver => self.can_deliver(l, side),
            Act::Deny => {
                let authenticates = matches!(link.wire[side].front(), Some(Elem::Authenticate(_)));
                authenticates && self.can_deliver(l, side)
            }
            Act::BindUnknown => matches!(&link.end[side], End::Asked(_)) && link.binds_inline,
            Act::Lookup | Act::DropRequest | Act::RefuseResume | Act::Unknown => {
                matches!(&link.end[side], End::Unbound(_, Request::Held(_)) | End::Asked(_))
            }
            Act::Late => match &link.end[side] {
                End::Unbound(stream, Request::Dropped | Request::Held(_)) => self.is_due(stream.deadline()),
                _ => false,
            },
            Act::Cut => self.can_cut(l, side),
            _ => !link.is_gone(side),
        }
    }

    pub fn can_cut(&self, l: usize, side: usize) -> bool {
        match &self.links[l].end[side] {
            End::Host(h) => self.hosts[*h].session.connection() == Some(&l),
            End::Unbound(_, request) => matches!(request, Request::None),
            End::Login(_) => true,
            End::Asked(_) | End::Mail | End::Mute | End::Gone => false,
        }
    }

    fn can_forge(&self, act: Act, l: usize, side: usize) -> bool {
        let link = &self.links[l];
        let End::Host(h) = link.end[side] else { return false };
        let host = &self.hosts[h];
        if link.is_forged || link.is_closed[1 - side] || host.session.connection() != Some(&l) {
            return false;
        }
        let half = host.life.map(|life| &self.lives[life].half[side]);
        let is_on = host.session.is_enabled()
            && host.awaits.is_none()
            && half.is_some_and(|half| half.counts_in && half.counts_out);
        // It must not look like the reply that is waited for.
        let is_quiet = !link.wire[side].iter().any(|elem| matches!(elem, Elem::Nonza(Nonza::Enabled(_))));
        match act {
            Act::LowH => is_on && half.is_some_and(|half| half.acked > 0),
            Act::Error => is_quiet && (side == 1 || is_on),
            _ => is_on,
        }
    }

    fn can_at_host(&self, act: Act, h: usize) -> bool {
        let host = &self.hosts[h];
        let is_over = host.is_over();
        match act {
            Act::Mail => !is_over && !host.mailbox.is_empty(),
            Act::Accept | Act::Refuse | Act::DropEnable => host.enable.is_some(),
            Act::Settle => !host.receipts.is_empty(),
            Act::SettleLast => host.receipts.len() > 1,
            Act::DropReceipt => !host.receipts.is_empty() && !is_over,
            Act::Send | Act::Big | Act::Presence => !is_over && self.sent[host.side] < self.setting.sends[host.side],
            Act::Timeout => !is_over && self.is_due(host.session.deadline()),
            Act::DropTaker => host.mailbox.iter().any(|mail| matches!(mail, Mail::Take(..))),
            Act::SettleLost => self.oldest_open(h).is_some(),
            Act::Retract => self.oldest_kept(h).is_some_and(|(_, id)| !self.retracted.contains(&id)),
            Act::Prolong => host.side == 1 && host.session.is_detached(),
            Act::Snapshot => self.rests(h),
            Act::Inactive => host.side == 1 && host.session.is_enabled() && !host.is_ending,
            Act::Close => !is_over && !host.is_ending,
            Act::Request | Act::Ack => !is_over && host.session.is_enabled(),
            _ => false,
        }
    }

    /// Whether a session of the server waits to be resumed, and for nothing else.
    fn rests(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        let is_settled = host.session.open_receipts() == 0 && !self.has_taker(h);
        let is_waiting = host.session.is_detached() && !self.is_due(host.session.deadline());
        host.side == 1 && is_waiting && is_settled && !host.is_ending
    }

    pub fn can_connect(&self) -> bool {
        let client = &self.hosts[0];
        let logs_in = self.links.iter().any(|link| matches!(link.end[0], End::Login(_)));
        !client.is_over() && !client.is_ending && client.session.connection().is_none() && !logs_in
    }

    fn can_rival(&self) -> bool {
        let life = self.hosts[0].life.map(|life| &self.lives[life]);
        self.links.len() < 5 && life.is_some_and(|life| life.smid.is_some() && life.half[0].is_resumable)
    }

    /// Whether the session of this host will wait to be resumed if its connection is lost now.
    pub fn is_resumable(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        let Some(life) = host.life else { return false };
        let half = &self.lives[life].half[host.side];
        half.is_resumable && half.is_whole() && self.setting.options[host.side].can_resume()
    }

    pub fn is_due(&self, deadline: Option<Instant>) -> bool {
        deadline.is_some_and(|deadline| deadline <= self.now)
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let hosts = self.hosts.iter().filter(|host| !host.is_over()).filter_map(|host| host.session.deadline());
        let ends = self.links.iter().filter_map(|link| match &link.end[1] {
            End::Unbound(stream, _) => stream.deadline(),
            _ => None,
        });
        hosts.chain(ends)
    }

    fn is_any_due(&self) -> bool {
        self.deadlines().any(|deadline| deadline <= self.now)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines().filter(|deadline| *deadline > self.now).min()
    }
}
