//! How a session leaves its node: over, lost to another, let go of, or killed.

use xmpp_sm::{Counter, Event, Fate, Fence};

use super::World;
use super::store::{What, call_of};
use crate::support::Checked;

impl World<'_> {
    /// The session is over: it is this node's still, its stanzas go elsewhere, and it is retired.
    pub fn end(&mut self, a: usize) -> Checked {
        let now = self.now;
        let Some(actor) = self.actors.get_mut(a).and_then(Option::as_mut) else { return Ok(()) };
        if actor.writing.is_some() {
            return Ok(());
        }
        let wall = super::wall(now, self.nodes[actor.node].skew);
        let (Some(ended), node) = (&mut actor.ended, actor.node) else { return Ok(()) };
        if ended.call.is_some() {
            return Ok(());
        }
        let Some(registration) = actor.registration.clone() else {
            self.pass_on(a);
            return self.remove_actor(a);
        };
        if !ended.is_passed_on
            && let Some(due) = actor.ledger.end(now, wall)
        {
            let what = call_of(&due, &registration);
            ended.due = Some(due);
            return self.ends_by(a, node, what);
        }
        let h = ended.h;
        self.pass_on(a);
        self.ends_by(a, node, What::Retire(registration, h))
    }

    fn ends_by(&mut self, a: usize, node: usize, what: What) -> Checked {
        let call = self.call(node, what);
        if let Some(ended) = self.actor(a).and_then(|actor| actor.ended.as_mut()) {
            ended.call = Some(call);
        }
        Ok(())
    }

    /// `None`: nobody knows. `Some(None)`: it is retired.
    pub fn on_end_answered(&mut self, a: usize, answer: Option<Option<Fence>>) -> Checked {
        let Some(ended) = self.actor(a).and_then(|actor| actor.ended.as_mut()) else { return Ok(()) };
        ended.call = None;
        match answer {
            None => self.end(a),
            Some(None) => self.remove_actor(a),
            Some(Some(Fence::Lost)) => {
                ended.left.clear();
                self.remove_actor(a)
            }
            Some(Some(Fence::Held)) => {
                let Some(actor) = self.actor(a) else { return Ok(()) };
                let due = actor.ended.as_mut().and_then(|ended| ended.due.take());
                due.into_iter().for_each(|due| actor.ledger.wrote(due));
                let (h, node) = (actor.ended.as_ref().map_or(Counter::ZERO, |ended| ended.h), actor.node);
                let Some(registration) = actor.registration.clone() else { return Ok(()) };
                self.pass_on(a);
                self.ends_by(a, node, What::Retire(registration, h))
            }
        }
    }

    fn pass_on(&mut self, a: usize) {
        let Some(actor) = self.actors.get_mut(a).and_then(Option::as_mut) else { return };
        let Some(ended) = actor.ended.as_mut().filter(|ended| !ended.is_passed_on) else { return };
        ended.is_passed_on = true;
        let left = ended.left.clone();
        let untrimmed = std::mem::take(&mut actor.untrimmed);
        if let Some(registration) = actor.registration.clone()
            && self.registered_as(&registration).is_none_or(|now| now == registration)
        {
            // Otherwise another has claimed it meanwhile, with its mail.
            self.release(registration.smid());
        }
        for (item, fate) in left {
            if fate != Fate::Unsent {
                self.account.may_double([item.id]);
            }
            if !untrimmed.contains(&item.id) {
                self.post(item, false);
            }
        }
    }

    /// The session is another node's. What it has not written down goes after it.
    pub fn leave(&mut self, a: usize) -> Checked {
        let now = self.now;
        let Some(mut actor) = self.actors[a].take() else { return Ok(()) };
        self.account.may_double(actor.handled.drain(..));
        self.account.may_double(actor.in_doubt.drain(..));
        actor.receipts.clear();
        while let Some(open) = actor.session.oldest_open() {
            let _ = actor.session.settle_without_receipt(open.number, now);
        }
        // One that has waited for the receipts has it by now.
        actor.session.lost(now);
        while let Some(event) = actor.session.poll() {
            match event {
                Event::Left { connection, .. } => self.links[connection].leave(),
                Event::Refused(refused) => self.refused(refused),
                _ => {}
            }
        }
        if actor.session.is_over() || actor.ended.is_some() {
            return self.wake(actor.user);
        }
        let parts = actor.session.into_parts().map_err(|not| not.to_string())?;
        for (item, _) in actor.ledger.not_written(parts) {
            // What is in the mail is for the new owner to take.
            if !actor.untrimmed.contains(&item.id) {
                self.post(item, false);
            }
        }
        self.notify(actor.waits);
        self.wake(actor.user)
    }

    pub fn is_free(&mut self, a: usize) -> Checked {
        let Some(actor) = self.actors[a].take() else { return Ok(()) };
        self.notify(actor.waits);
        Ok(())
    }

    fn remove_actor(&mut self, a: usize) -> Checked {
        let Some(actor) = self.actors[a].take() else { return Ok(()) };
        self.notify(actor.waits);
        self.wake(actor.user)
    }

    /// All that is left when its process is killed.
    pub fn kill(&mut self, a: usize) {
        let Some(actor) = self.actors[a].take() else { return };
        let untrimmed = &actor.untrimmed;
        if let (false, None) = (actor.is_safe(), &actor.ended) {
            self.account.may_be_lost(actor.held.iter().copied().filter(|id| !untrimmed.contains(id)));
            actor.smid().into_iter().for_each(|smid| self.account.killed(smid));
        }
        if let Some(ended) = &actor.ended {
            let left = ended.left.iter().map(|(item, _)| item.id);
            if ended.is_passed_on {
                self.account.may_double(left);
            } else if !actor.is_safe() {
                self.account.may_be_lost(left.filter(|id| !untrimmed.contains(id)));
                actor.smid().into_iter().for_each(|smid| self.account.killed(smid));
            }
        }
        self.account.may_double(actor.handled.iter().copied());
    }
}
