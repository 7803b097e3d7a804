//! A session at a node, and what its host does: the table of `Ledger`.

use std::collections::VecDeque;

use xmpp_sm::snapshot::{Due, Ledger, Promise};
use xmpp_sm::{
    Arrival, Counter, Event, Fate, Fence, Parting, Receipt, Registration, Session, SessionEnded, SmId, StreamError,
    Write,
};

use super::World;
use super::link::{Elem, End, Item};
use super::node::Notify;
use super::setting::MailIs;
use super::store::call_of;
use crate::support::{Checked, Violation, ensure};

#[derive(Debug)]
pub struct Actor {
    pub node: usize,
    pub user: usize,
    pub session: Session<Item, usize>,
    pub ledger: Ledger,
    pub registration: Option<Registration>,
    /// What is being written down.
    pub writing: Option<Writing>,
    /// The store has failed, and it will be tried again.
    pub is_behind: bool,
    /// Whether all that is to be written down is.
    pub is_written: bool,
    /// Whether it was, at some time.
    pub was_written: bool,
    /// Stanzas that its host is handling.
    pub receipts: VecDeque<(Receipt, Item)>,
    /// All that the session has for its client.
    pub held: VecDeque<u32>,
    /// Of these, what was taken from the mail, and is not known to be written down.
    pub untrimmed: VecDeque<u32>,
    /// Stanzas that were handled, and whose `h` is not known to be written down.
    pub handled: Vec<u32>,
    /// What was in a call without an answer.
    pub in_doubt: Vec<u32>,
    /// The session is to be written down, and then to go; and who waits for that.
    pub lets_go: bool,
    pub waits: Vec<Notify>,
    pub ended: Option<Ended>,
}

#[derive(Debug)]
pub struct Writing {
    pub call: usize,
    due: Due,
    /// How much of `untrimmed` and `handled` is in it.
    untrimmed: usize,
    handled: usize,
}

/// A session that is over.
#[derive(Debug)]
pub struct Ended {
    pub h: Counter,
    pub left: Vec<(Item, Fate)>,
    /// Whether these have gone elsewhere.
    pub is_passed_on: bool,
    pub call: Option<usize>,
    pub due: Option<Due>,
}

impl Actor {
    pub fn new(node: usize, user: usize, session: Session<Item, usize>, ledger: Ledger) -> Self {
        let mut actor = Self {
            node,
            user,
            session,
            ledger,
            registration: None,
            writing: None,
            is_behind: false,
            is_written: false,
            was_written: false,
            receipts: VecDeque::new(),
            held: VecDeque::new(),
            untrimmed: VecDeque::new(),
            handled: Vec::new(),
            in_doubt: Vec::new(),
            lets_go: false,
            waits: Vec::new(),
            ended: None,
        };
        actor.session.return_acknowledged(true);
        actor
    }

    pub fn smid(&self) -> Option<&SmId> {
        self.registration.as_ref().map(|registration| registration.smid())
    }

    pub fn wants_read(&self) -> bool {
        self.ended.is_none() && !self.is_behind && self.session.wants_read()
    }

    /// Whether it waits for its client, and for nothing else.
    pub fn rests(&self) -> bool {
        self.session.is_detached() && self.session.open_receipts() == 0
    }

    /// Whether it outlives its process as it is.
    pub fn is_safe(&self) -> bool {
        match self.ledger.promise() {
            Promise::Memory => false,
            Promise::Parked => self.is_written && self.rests(),
            Promise::Durable => self.was_written,
        }
    }
}

impl World<'_> {
    pub fn actor(&mut self, a: usize) -> Option<&mut Actor> {
        self.actors.get_mut(a)?.as_mut()
    }

    /// The server's end of a connection gets an element.
    pub fn arrives_at_actor(&mut self, a: usize, elem: Elem) -> Checked {
        let now = self.now;
        let Some(actor) = self.actor(a) else { return Ok(()) };
        let Some(inbound) = elem.inbound() else {
            actor.session.peer_closed(now);
            return self.turn(a);
        };
        let arrival = actor.session.handle(inbound, now).map_err(|not| not.to_string())?;
        match (elem, arrival) {
            (Elem::Stanza(item), Arrival::Stanza(receipt)) => actor.receipts.push_back((receipt, item)),
            (_, Arrival::Enable(request)) => self.enable(a, request)?,
            (_, Arrival::Handled) => {}
            (elem, arrival) => return Err(Violation(format!("{elem:?} is {arrival:?}"))),
        }
        self.turn(a)
    }

    /// A stanza is handled: it is on its way to whom it is for.
    pub fn settle(&mut self, a: usize) -> Checked {
        let now = self.now;
        let Some(actor) = self.actor(a) else { return Ok(()) };
        let Some((receipt, item)) = actor.receipts.pop_front() else { return Ok(()) };
        if receipt.number().is_some() {
            actor.handled.push(item.id);
        }
        let settled = actor.session.settle(receipt, now);
        ensure!(settled.is_ok(), "the receipt of {} is not taken: {settled:?}", item.id);
        self.post(item, true);
        self.turn(a)
    }

    /// Another connection asks for the session.
    pub fn take(&mut self, a: usize, taker: xmpp_sm::Taker<usize>, l: usize) -> Checked {
        let now = self.now;
        let Some(actor) = self.actor(a) else { return Ok(()) };
        actor.session.take(taker, now);
        // Its time begins anew with the next loss.
        let smid = actor.smid().cloned();
        if let Some(smid) = smid {
            self.deadlines.remove(&smid);
        }
        self.links[l].server = End::Actor(a);
        self.turn(a)
    }

    pub fn let_go(&mut self, a: usize, wait: Option<Notify>) -> Checked {
        let now = self.now;
        let Some(actor) = self.actor(a) else { return Ok(()) };
        actor.waits.extend(wait);
        if !actor.lets_go {
            actor.lets_go = true;
            if actor.ledger.promise() == Promise::Memory {
                actor.ledger.set_promise(Promise::Parked);
            }
            actor.session.lost(now);
        }
        self.turn(a)
    }

    /// One turn of the host's loop.
    pub fn turn(&mut self, a: usize) -> Checked {
        loop {
            while let Some(event) = self.actor(a).and_then(|actor| actor.session.poll()) {
                self.on_event(a, event)?;
            }
            let now = self.now;
            let Some(actor) = self.actor(a) else { return Ok(()) };
            if actor.ended.is_some() {
                return self.end(a);
            }
            if actor.lets_go && actor.session.connection().is_some() {
                // One that has waited for it got it.
                actor.session.lost(now);
                continue;
            }
            self.take_mail(a)?;
            self.write_down(a);
            if !self.write_out(a)? {
                break;
            }
        }
        let Some(actor) = self.actor(a) else { return Ok(()) };
        if actor.lets_go && actor.is_written && actor.rests() {
            return self.is_free(a);
        }
        Ok(())
    }

    fn take_mail(&mut self, a: usize) -> Checked {
        let (now, is_kept) = (self.now, self.setting.mail == MailIs::Kept);
        let Some(actor) = self.actors.get_mut(a).and_then(Option::as_mut) else { return Ok(()) };
        if actor.lets_go || actor.is_behind || actor.session.smid().is_none() || actor.session.waiting() > 2 {
            return Ok(());
        }
        let Some(smid) = actor.registration.as_ref().map(|registration| registration.smid().clone()) else {
            return Ok(());
        };
        let mail = &mut self.mail[actor.user];
        while let Some(place) = mail.iter().position(|post| {
            let is_free = post.lease.as_ref().is_none_or(|lease| *lease == smid);
            post.is_here && is_free && !actor.untrimmed.contains(&post.item.id)
        }) {
            let item = mail[place].item.clone();
            self.account.taken(item.id, actor.user, &smid);
            actor.held.push_back(item.id);
            if is_kept {
                mail[place].lease = Some(smid.clone());
                actor.untrimmed.push_back(item.id);
            } else {
                mail.remove(place);
            }
            actor.is_written = false;
            let sent = actor.session.send(item, now);
            ensure!(sent.is_ok(), "a session takes no more: {sent:?}");
        }
        Ok(())
    }

    /// What is due is on its way to the store.
    fn write_down(&mut self, a: usize) {
        let (now, mail) = (self.now, self.setting.mail);
        let Some(actor) = self.actors.get_mut(a).and_then(Option::as_mut) else { return };
        if actor.writing.is_some() || actor.is_behind {
            actor.is_written = false;
            return;
        }
        let wall = super::wall(now, self.nodes[actor.node].skew);
        let host = vec![actor.user as u8];
        let Some(due) = actor.ledger.due(&actor.session, || host, now, wall) else {
            actor.handled.clear();
            actor.is_written = true;
            let untrimmed = actor.untrimmed.len();
            self.trim(a, untrimmed);
            return;
        };
        actor.is_written = false;
        let Some(registration) = &actor.registration else { return };
        let what = call_of(&due, registration);
        let (untrimmed, handled, node) = (actor.untrimmed.len(), actor.handled.len(), actor.node);
        if mail == MailIs::Taken {
            actor.in_doubt = actor.held.iter().copied().collect();
        }
        let call = self.call(node, what);
        if let Some(actor) = self.actor(a) {
            actor.writing = Some(Writing { call, due, untrimmed, handled });
        }
    }

    /// What was taken from the mail is written down.
    fn trim(&mut self, a: usize, count: usize) {
        let Some(actor) = self.actors.get_mut(a).and_then(Option::as_mut) else { return };
        let trimmed: Vec<u32> = actor.untrimmed.drain(..count).collect();
        self.mail[actor.user].retain(|post| !trimmed.contains(&post.item.id) || post.lease.is_none());
    }

    /// The store has answered, or will not.
    pub fn on_written(&mut self, a: usize, answer: Option<Fence>) -> Checked {
        let Some(actor) = self.actor(a) else { return Ok(()) };
        let Some(Writing { due, untrimmed, handled, .. }) = actor.writing.take() else { return Ok(()) };
        match answer {
            Some(Fence::Held) => {
                actor.ledger.wrote(due);
                actor.handled.drain(..handled);
                actor.in_doubt.clear();
                actor.was_written = true;
                self.trim(a, untrimmed);
                self.turn(a)
            }
            Some(Fence::Lost) => self.leave(a),
            None => {
                actor.is_behind = true;
                self.turn(a)
            }
        }
    }

    fn write_out(&mut self, a: usize) -> Checked<bool> {
        let now = self.now;
        let Some(actor) = self.actors.get_mut(a).and_then(Option::as_mut) else { return Ok(false) };
        let mut has_written = false;
        while let Some((l, write)) = actor.ledger.next_write(&mut actor.session, now) {
            has_written = true;
            let elem = match write {
                Write::Stanza { stanza, .. } => Elem::Stanza(stanza.clone()),
                Write::Nonza(nonza) => Elem::Nonza(nonza.clone()),
                Write::StreamError(error) => Elem::Error { conflict: error == StreamError::Conflict },
                Write::Close => Elem::Close,
                Write::Flush => continue,
                other => return Err(Violation(format!("a node writes {other:?}"))),
            };
            self.links[*l].tell_client(elem);
        }
        Ok(has_written)
    }

    fn on_event(&mut self, a: usize, event: Event<Item, usize>) -> Checked {
        match event {
            Event::Left { connection, parting, .. } => {
                let link = &mut self.links[connection];
                if let Parting::Say(last) = parting {
                    link.wire[0].extend(last.write.map(Elem::Nonza).filter(|_| link.has_client));
                    if let Some(error) = last.error {
                        link.tell_client(Elem::Error { conflict: error == StreamError::Conflict });
                    }
                    link.tell_client(Elem::Close);
                }
                link.leave();
            }
            Event::Refused(refused) => self.refused(refused),
            Event::Acknowledged(returned) => {
                let first = self.actor(a).and_then(|actor| actor.held.pop_front());
                ensure!(first == Some(returned.stanza.id), "{first:?} is not acknowledged first");
            }
            Event::Ended(ended) => {
                let SessionEnded { h, stanzas, .. } = *ended;
                let left = stanzas.map(|leftover| (leftover.stanza, leftover.fate)).collect();
                let Some(actor) = self.actor(a) else { return Ok(()) };
                if let Some(smid) = actor.smid().cloned() {
                    self.account.ended(&smid);
                }
                let Some(actor) = self.actor(a) else { return Ok(()) };
                actor.ended = Some(Ended { h, left, is_passed_on: false, call: None, due: None });
            }
            _ => {}
        }
        Ok(())
    }

    /// The `<enabled/>` of a session may be written.
    pub fn is_enabled(
        &mut self,
        a: usize,
        registration: Registration,
        request: xmpp_sm::EnableRequest,
    ) -> Checked<bool> {
        let now = self.now;
        let Some(actor) = self.actor(a) else { return Ok(false) };
        let smid = registration.smid().clone();
        if actor.session.accept_enable(request, Some(smid), now).is_err() {
            return Ok(false);
        }
        actor.registration = Some(registration);
        self.turn(a)?;
        Ok(true)
    }
}
