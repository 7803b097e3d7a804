//! What can happen now, and what follows by itself where everybody is quick.

use std::time::{Duration, Instant};

use super::World;
use super::event::{Act, Event};
use super::link::End;
use super::node::{Kind, Step};
use crate::support::Checked;

impl World<'_> {
    /// All that can happen, in a fixed order.
    pub fn enabled(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut offer = |acts: &[Act], count: usize| {
            for at in 0..count {
                for act in acts {
                    let event = Event::new(*act, at);
                    if self.can(event) {
                        events.push(event);
                    }
                }
            }
        };
        offer(&[Act::Deliver], self.links.len() * 2);
        offer(&[Act::Execute, Act::Answer, Act::Lose, Act::Forget], self.calls.len());
        offer(&[Act::Message, Act::Silence], self.messages.len());
        offer(&[Act::Mail, Act::Send], self.clients.len());
        offer(&[Act::Settle, Act::Retry], self.actors.len());
        offer(&[Act::Patience, Act::Suspect], self.ops.len());
        offer(&[Act::Connect], self.clients.len() * self.nodes.len());
        offer(&[Act::Cut, Act::Notice], self.links.len());
        offer(&[Act::Crash, Act::Stop, Act::Start], self.nodes.len());
        offer(&[Act::Adopt], self.smids.len() * self.nodes.len());
        offer(&[Act::Tick, Act::Sleep], 1);
        events
    }

    pub fn is_among(&self, act: Act) -> bool {
        self.acts.contains(&act)
    }

    /// Whether this can happen, and this world has it.
    pub fn can(&self, event: Event) -> bool {
        self.is_among(event.act) && self.can_happen(event)
    }

    fn can_happen(&self, event: Event) -> bool {
        let at = event.at();
        let call = self.calls.get(at).and_then(Option::as_ref);
        let node = self.nodes.get(at);
        match event.act {
            Act::Connect => {
                let (c, node) = (at / self.nodes.len(), at % self.nodes.len());
                self.clients.get(c).is_some_and(|client| {
                    client.link().is_none() && client.connects < self.setting.connects && self.takes(node)
                })
            }
            Act::Cut => self.links.get(at).is_some_and(|link| link.has_client),
            Act::Notice => self.links.get(at).is_some_and(|link| {
                !link.has_client && link.wire[1].is_empty() && !matches!(link.server, End::Gone | End::Asks)
            }),
            Act::Deliver => self.can_deliver(at / 2, at % 2),
            Act::Send => self.clients.get(at).is_some_and(|client| client.sends < self.setting.sends),
            Act::Settle => self.actors.get(at).and_then(Option::as_ref).is_some_and(|actor| !actor.receipts.is_empty()),
            Act::Execute => call.is_some_and(|call| call.answer.is_none() || !call.is_awaited),
            Act::Answer => call.is_some_and(|call| call.is_awaited && call.answer.is_some()),
            Act::Lose => call.is_some_and(|call| call.is_awaited),
            Act::Forget => call.is_some_and(|call| !call.is_awaited),
            Act::Retry => self.actors.get(at).and_then(Option::as_ref).is_some_and(|actor| actor.is_behind),
            Act::Message | Act::Silence => self.messages.get(at).is_some_and(Option::is_some),
            Act::Mail => self.mail.get(at).is_some_and(|mail| mail.iter().any(|post| !post.is_here)),
            Act::Patience | Act::Suspect => self.is_waiting(at),
            Act::Adopt => {
                let (s, node) = (at / self.nodes.len(), at % self.nodes.len());
                self.takes(node) && self.smids.get(s).is_some_and(|(smid, user)| self.is_orphan(smid, *user))
            }
            Act::Crash => node.is_some_and(|node| node.is_up) && self.crashes < self.setting.crashes,
            Act::Stop => {
                // Another one stays.
                let others = self.nodes.iter().filter(|node| node.is_up && !node.is_stopping).count();
                node.is_some_and(|node| node.is_up && !node.is_stopping) && others > 1
            }
            Act::Start => node.is_some_and(|node| !node.is_up),
            // How long receipts are waited for is no subject here.
            Act::Tick => at == 0 && self.next_deadline().is_some_and(|due| due <= self.now + Duration::from_secs(1000)),
            Act::Sleep => at == 0 && self.sleeps < self.setting.sleeps,
        }
    }

    /// Whether an operation waits for another node.
    pub fn is_waiting(&self, o: usize) -> bool {
        let op = self.ops.get(o).and_then(Option::as_ref);
        op.is_some_and(|op| matches!(&op.kind, Kind::Find(find) if matches!(find.step, Step::Waits(_))))
    }

    pub fn takes(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.is_up && !node.is_stopping)
    }

    fn can_deliver(&self, l: usize, side: usize) -> bool {
        let Some(link) = self.links.get(l).filter(|link| !link.wire[side].is_empty()) else { return false };
        if side == 0 {
            let client = &self.clients[link.client];
            return link.has_client && client.link() == Some(l) && client.session.wants_read();
        }
        match link.server {
            End::Unbound(_) => true,
            End::Actor(a) => self.actors[a]
                .as_ref()
                .is_some_and(|actor| actor.session.connection() == Some(&l) && actor.wants_read()),
            End::Asks | End::Gone => false,
        }
    }

    /// What follows by itself.
    pub fn follows(&mut self) -> Checked<bool> {
        let (calls, messages) =
            (!self.setting.has("execute"), !self.setting.has("message") && !self.setting.has("suspect"));
        self.step(calls, messages, false)
    }

    /// All that goes on by itself where nothing fails.
    pub fn advance(&mut self) -> Checked<bool> {
        self.step(true, true, true)
    }

    fn step(&mut self, calls: bool, messages: bool, settles: bool) -> Checked<bool> {
        for c in 0..self.calls.len() {
            let Some(call) = self.calls[c].as_ref().filter(|_| calls) else { continue };
            if !call.is_awaited {
                self.calls[c] = None;
                continue;
            }
            if call.answer.is_none() {
                self.execute(c);
            }
            let answer = self.calls[c].take().and_then(|call| call.answer);
            self.on_answer(c, answer)?;
            return Ok(true);
        }
        for m in 0..self.messages.len() {
            if let Some((_, message)) = self.messages[m].take_if(|_| messages) {
                self.hear(message)?;
                return Ok(true);
            }
        }
        for l in 0..self.links.len() {
            for side in 0..2 {
                if self.can_deliver(l, side) {
                    self.deliver(l, side)?;
                    return Ok(true);
                }
            }
        }
        for user in 0..self.mail.len() {
            if let Some(post) = self.mail[user].iter_mut().find(|post| !post.is_here) {
                post.is_here = true;
                self.wake(user)?;
                return Ok(true);
            }
        }
        for a in 0..self.actors.len() {
            let Some(actor) = self.actors[a].as_mut().filter(|_| settles) else { continue };
            if actor.is_behind {
                actor.is_behind = false;
                self.turn(a)?;
                return Ok(true);
            }
            if !actor.receipts.is_empty() {
                self.settle(a)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().map(|client| client.session.deadline());
        let actors = self.actors.iter().flatten().filter(|actor| actor.ended.is_none());
        clients.chain(actors.map(|actor| actor.session.deadline())).flatten().filter(|due| *due > self.now).min()
    }
}
