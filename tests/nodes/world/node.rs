//! What nodes do beside their sessions: they find one that a client asks for, wherever it is, and have it moved.

use xmpp_sm::snapshot::{Ledger, Limits, Snapshot};
use xmpp_sm::{
    Claim, Claimed, Condition, EnableRequest, Fence, LoginStep, Lookup, Record, Refusal, Refused, Registration,
    Session, SmId, Taker,
};

use super::World;
use super::actor::Actor;
use super::link::{Elem, End};
use super::store::{Answer, Call, What};
use crate::support::{Checked, ensure};

#[derive(Debug)]
pub struct Node {
    pub is_up: bool,
    pub is_stopping: bool,
    /// How often it was started.
    pub run: u32,
    pub skew: i64,
}

/// Who waits until a session is let go of: a node, in one of its runs, for one of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    pub node: usize,
    pub op: usize,
}

/// What one node says to another.
#[derive(Debug)]
pub enum Message {
    LetGo { to: usize, registration: Registration, from: Notify },
    Freed(Notify),
}

/// Something that a node does step by step.
#[derive(Debug)]
pub struct Op {
    pub node: usize,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Enable {
        actor: usize,
        request: EnableRequest,
        smid: SmId,
        call: usize,
    },
    /// A session that was never enabled is forgotten.
    Remove {
        registration: Registration,
        call: usize,
    },
    Find(Find),
}

#[derive(Debug)]
pub struct Find {
    /// `None`: it is looked for because its node is dead.
    pub taker: Option<(Taker<usize>, usize)>,
    smid: SmId,
    user: usize,
    /// Who claims: no two operations have the same.
    handle: String,
    tries: u32,
    pub step: Step,
}

#[derive(Debug)]
pub enum Step {
    Lookup(usize),
    /// Another node is to let go of it.
    Waits(Registration),
    Claim(Registration, usize),
    /// It has died with its node.
    Remove(usize),
}

impl Kind {
    pub fn call(&self) -> Option<usize> {
        match self {
            Self::Enable { call, .. } | Self::Remove { call, .. } => Some(*call),
            Self::Find(find) => match find.step {
                Step::Lookup(call) | Step::Claim(_, call) | Step::Remove(call) => Some(call),
                Step::Waits(_) => None,
            },
        }
    }
}

impl World<'_> {
    /// Sends a call on its way.
    pub fn call(&mut self, node: usize, what: What) -> usize {
        let run = self.nodes[node].run;
        self.asked.push(what.clone());
        self.calls.push(Some(Call { node, run, what, answer: None, is_awaited: true }));
        self.calls.len() - 1
    }

    fn op(&mut self, node: usize, kind: Kind) {
        self.ops.push(Some(Op { node, kind }));
    }

    pub fn enable(&mut self, a: usize, request: EnableRequest) -> Checked {
        let Some((node, user)) = self.actors[a].as_ref().map(|actor| (actor.node, actor.user)) else { return Ok(()) };
        let smid = SmId::new(&format!("s{}", self.smids.len())).map_err(|error| error.to_string())?;
        self.smids.push((smid.clone(), user));
        let handle = format!("{node}/{}/a{a}", self.nodes[node].run);
        let call = self.call(node, What::Register(smid.clone(), super::client::owner(user).into(), handle));
        self.op(node, Kind::Enable { actor: a, request, smid, call });
        Ok(())
    }

    /// A client asks for a session, or (without one) it is looked whether it can be taken over from a dead node.
    pub fn find(&mut self, node: usize, smid: SmId, user: usize, taker: Option<(Taker<usize>, usize)>) {
        let handle = format!("{node}/{}/f{}", self.nodes[node].run, self.ops.len());
        let call = self.call(node, What::Lookup(smid.clone(), super::client::owner(user).into()));
        let step = Step::Lookup(call);
        self.op(node, Kind::Find(Find { taker, smid, user, handle, tries: 0, step }));
    }

    /// The node of a handle, if the process that has written it lives.
    pub fn alive(&self, handle: &str) -> Option<usize> {
        let mut words = handle.split('/');
        let node: usize = words.next()?.parse().ok()?;
        let run: u32 = words.next()?.parse().ok()?;
        let is_alive = self.nodes.get(node).is_some_and(|node| node.is_up && node.run == run);
        is_alive.then_some(node)
    }

    /// Whether a session is being put into the store, or out of it.
    pub fn is_enabling(&self, smid: &SmId) -> bool {
        self.ops.iter().flatten().any(|op| match &op.kind {
            Kind::Enable { smid: other, .. } => other == smid,
            Kind::Remove { registration, .. } => registration.smid() == smid,
            Kind::Find(find) => find.smid == *smid,
        })
    }

    fn actor_of(&self, node: usize, registration: &Registration) -> Option<usize> {
        self.actors.iter().position(|actor| {
            actor.as_ref().is_some_and(|actor| actor.node == node && actor.registration.as_ref() == Some(registration))
        })
    }

    /// An answer has come, or none will: `None`.
    pub fn on_answer(&mut self, call: usize, answer: Option<Answer>) -> Checked {
        if self.is_told {
            println!("   {:?} is answered by {answer:?}", self.asked.get(call));
        }
        for a in 0..self.actors.len() {
            let Some(actor) = &self.actors[a] else { continue };
            if actor.writing.as_ref().is_some_and(|writing| writing.call == call) {
                let fence = match answer {
                    Some(Answer::Fence(fence)) => Some(fence),
                    _ => None,
                };
                return self.on_written(a, fence);
            }
            if actor.ended.as_ref().is_some_and(|ended| ended.call == Some(call)) {
                let is_held = |found| match found {
                    Lookup::Session(record) => Some(&record.registration) == actor.registration.as_ref(),
                    _ => false,
                };
                let answer = answer.map(|answer| match answer {
                    Answer::Fence(fence) => Some(fence),
                    Answer::Found(found) => Some(if is_held(found) { Fence::Held } else { Fence::Lost }),
                    _ => None,
                });
                return self.on_end_answered(a, answer);
            }
        }
        let place = self.ops.iter().position(|op| op.as_ref().is_some_and(|op| op.kind.call() == Some(call)));
        let Some(o) = place else { return Ok(()) };
        let Some(Op { node, kind }) = self.ops[o].take() else { return Ok(()) };
        match kind {
            Kind::Enable { actor, request, .. } => match answer {
                Some(Answer::Registered(registration)) => {
                    if !self.is_enabled(actor, registration.clone(), request)? {
                        self.account.killed(registration.smid());
                        let call = self.call(node, What::Remove(registration.clone()));
                        self.ops[o] = Some(Op { node, kind: Kind::Remove { registration, call } });
                    }
                    Ok(())
                }
                // It may be registered yet, however late: that must not take the place of this session.
                _ => self.enable(actor, request),
            },
            Kind::Remove { registration, call } => {
                if answer.is_none() {
                    let call = self.again(node, call);
                    self.ops[o] = Some(Op { node, kind: Kind::Remove { registration, call } });
                }
                Ok(())
            }
            Kind::Find(find) => self.found(o, node, find, answer),
        }
    }

    /// The same call once more.
    fn again(&mut self, node: usize, call: usize) -> usize {
        let what = self.asked.get(call).cloned();
        what.map_or(usize::MAX, |what| self.call(node, what))
    }

    fn found(&mut self, o: usize, node: usize, mut find: Find, answer: Option<Answer>) -> Checked {
        match (find.step, answer) {
            (Step::Lookup(_), Some(Answer::Found(Lookup::Session(Record { registration, handle })))) => {
                let owner = self.alive(&handle);
                if find.taker.is_none() && owner.is_some_and(|owner| owner != node) {
                    return Ok(());
                }
                match owner {
                    Some(owner) if owner == node => match self.actor_of(node, &registration) {
                        Some(a) => {
                            let Some((taker, l)) = find.taker else { return Ok(()) };
                            let is_here = self.actors[a].as_ref().is_some_and(|a| !a.lets_go && a.ended.is_none());
                            if is_here {
                                return self.take(a, taker, l);
                            }
                            self.unknown(taker);
                            Ok(())
                        }
                        // It was claimed, and not put together.
                        None => self.claim(o, node, Find { step: Step::Waits(registration.clone()), ..find }),
                    },
                    Some(owner) => {
                        let from = Notify { node, op: o };
                        let message = Message::LetGo { to: owner, registration: registration.clone(), from };
                        self.messages.push(Some((node, message)));
                        find.step = Step::Waits(registration);
                        self.ops[o] = Some(Op { node, kind: Kind::Find(find) });
                        Ok(())
                    }
                    None => self.claim(o, node, Find { step: Step::Waits(registration.clone()), ..find }),
                }
            }
            (Step::Lookup(_), Some(Answer::Found(_))) => {
                if let Some((taker, _)) = find.taker {
                    self.refused(taker.refuse(Refusal::NotFound));
                }
                Ok(())
            }
            (Step::Claim(_, _), Some(Answer::Claim(Claim::Claimed(claimed)))) => {
                self.revive(node, find.user, claimed, find.taker)
            }
            (Step::Claim(registration, _), Some(Answer::Claim(Claim::NotParked))) => {
                let found = self.record_of(&registration);
                if found.and_then(|record| self.alive(&record.handle)).is_some() {
                    if let Some((taker, _)) = find.taker {
                        self.unknown(taker);
                    }
                    return Ok(());
                }
                let call = self.call(node, What::Remove(registration.clone()));
                find.step = Step::Remove(call);
                self.ops[o] = Some(Op { node, kind: Kind::Find(find) });
                Ok(())
            }
            (Step::Claim(_, _), Some(Answer::Claim(Claim::Lost))) if find.tries < 3 => {
                let owner = super::client::owner(find.user).into();
                let call = self.call(node, What::Lookup(find.smid.clone(), owner));
                (find.step, find.tries) = (Step::Lookup(call), find.tries + 1);
                self.ops[o] = Some(Op { node, kind: Kind::Find(find) });
                Ok(())
            }
            (Step::Claim(registration, call), None) if find.tries < 3 => {
                let call = self.again(node, call);
                (find.step, find.tries) = (Step::Claim(registration, call), find.tries + 1);
                self.ops[o] = Some(Op { node, kind: Kind::Find(find) });
                Ok(())
            }
            (Step::Remove(..), Some(_)) => {
                self.release(&find.smid);
                if let Some((taker, _)) = find.taker {
                    self.refused(taker.refuse(Refusal::NotFound));
                }
                self.wake(find.user)
            }
            // It is not known.
            _ => {
                if let Some((taker, _)) = find.taker {
                    self.unknown(taker);
                }
                Ok(())
            }
        }
    }

    /// The session of a registration as any node may look it up.
    fn record_of(&self, registration: &Registration) -> Option<Record<String>> {
        let look_up = What::Lookup(registration.smid().clone(), registration.owner().clone());
        match super::store::execute(&self.store, &look_up, self.now) {
            Answer::Found(Lookup::Session(record)) => Some(record),
            _ => None,
        }
    }

    pub fn registered_as(&self, registration: &Registration) -> Option<Registration> {
        self.record_of(registration).map(|record| record.registration)
    }

    /// Nobody knows whether there is such a session: the client asks again.
    fn unknown(&mut self, taker: Taker<usize>) {
        self.refused(taker.refuse(Refusal::Because(Condition::InternalServerError)));
    }

    pub fn refused(&mut self, refused: Refused<usize>) {
        let Refused { step: LoginStep::Failed { failed, stream }, connection } = refused else { unreachable!() };
        let link = &mut self.links[connection];
        link.server = End::Unbound(Box::new(stream));
        link.tell_client(Elem::Nonza(failed));
    }

    /// A node waits no longer, or another has let go.
    pub fn claim_of(&mut self, o: usize) -> Checked {
        match self.ops[o].take() {
            Some(Op { node, kind: Kind::Find(find) }) => self.claim(o, node, find),
            other => {
                self.ops[o] = other;
                Ok(())
            }
        }
    }

    fn claim(&mut self, o: usize, node: usize, mut find: Find) -> Checked {
        let Step::Waits(registration) = find.step else { return Err("a claim of nothing".into()) };
        let call = self.call(node, What::Claim(registration.clone(), find.handle.clone()));
        find.step = Step::Claim(registration, call);
        self.ops[o] = Some(Op { node, kind: Kind::Find(find) });
        Ok(())
    }

    pub fn out_of_patience(&mut self, o: usize) {
        if let Some(Op { kind: Kind::Find(Find { taker: Some((taker, _)), .. }), .. }) = self.ops[o].take() {
            self.unknown(taker);
        }
    }

    /// A session that was claimed lives here.
    fn revive(&mut self, node: usize, user: usize, claimed: Claimed, taker: Option<(Taker<usize>, usize)>) -> Checked {
        let Claimed { registration, snapshot, journal } = claimed;
        let clocks = (self.now, super::wall(self.now, self.nodes[node].skew));
        let read = Snapshot::from_journal(&snapshot, &journal, &self.config, &Limits::default(), clocks);
        let read: Snapshot<super::link::Item> = read.map_err(|error| format!("it cannot be read: {error}"))?;
        ensure!(read.host == [user as u8], "the host's own state is {:?}", read.host);
        let ledger = Ledger::claimed(self.setting.promise, &read);
        let parts = read.session;
        let unacked = parts.detached().map(|parts| parts.unacked.clone()).unwrap_or_default();
        let held: Vec<u32> = unacked.iter().chain(&parts.waiting).map(|(item, _)| item.id).collect();
        let session = Session::from_parts(self.config.clone(), parts, self.now).map_err(|not| not.to_string())?;
        self.check_deadline(registration.smid(), session.deadline())?;
        // What is in the session is not taken from the mail once more.
        let smid = registration.smid().clone();
        // It may be at its end at the node that had it: asked whose it is, or passing on what it has.
        let ending = self.actors.iter().flatten().filter(|actor| actor.smid() == Some(&smid));
        let left = ending.filter_map(|actor| actor.ended.as_ref()).flat_map(|ended| &ended.left);
        self.account.may_double(left.map(|(item, _)| item.id));
        self.mail[user].retain(|post| post.lease.as_ref() != Some(&smid) || !held.contains(&post.item.id));
        let mut actor = Actor::new(node, user, session, ledger);
        actor.held = held.into();
        actor.registration = Some(registration);
        actor.was_written = true;
        let a = self.actors.len();
        self.actors.push(Some(actor));
        if self.nodes[node].is_stopping {
            if let Some((taker, _)) = taker {
                self.unknown(taker);
            }
            return self.let_go(a, None);
        }
        match taker {
            Some((taker, l)) => self.take(a, taker, l),
            None => self.turn(a),
        }
    }

    pub fn notify(&mut self, waits: Vec<Notify>) {
        for wait in waits {
            self.messages.push(Some((wait.node, Message::Freed(wait))));
        }
    }

    /// What one node says to another has arrived.
    pub fn hear(&mut self, message: Message) -> Checked {
        match message {
            Message::LetGo { to, registration, from } => match self.actor_of(to, &registration) {
                _ if !self.nodes[to].is_up => Ok(()),
                Some(a) => self.let_go(a, Some(from)),
                None => {
                    self.notify(vec![from]);
                    Ok(())
                }
            },
            Message::Freed(Notify { op, .. }) => {
                let waits = |op: &Op| matches!(&op.kind, Kind::Find(Find { step: Step::Waits(_), .. }));
                if self.ops[op].as_ref().is_some_and(waits) { self.claim_of(op) } else { Ok(()) }
            }
        }
    }

    pub fn crash(&mut self, node: usize) -> Checked {
        for a in 0..self.actors.len() {
            if self.actors[a].as_ref().is_some_and(|actor| actor.node == node) {
                self.kill(a);
            }
        }
        for op in &mut self.ops {
            op.take_if(|op| op.node == node);
        }
        self.goes_down(node);
        Ok(())
    }

    /// It is down, and its connections with it.
    pub fn goes_down(&mut self, node: usize) {
        for link in self.links.iter_mut().filter(|link| link.node == node) {
            link.leave();
        }
        let run = self.nodes[node].run;
        for call in self.calls.iter_mut().flatten().filter(|call| call.node == node && call.run == run) {
            call.is_awaited = false;
        }
        let node = &mut self.nodes[node];
        (node.is_up, node.is_stopping, node.run) = (false, false, run + 1);
    }

    pub fn stop(&mut self, node: usize) -> Checked {
        self.nodes[node].is_stopping = true;
        for a in 0..self.actors.len() {
            if self.actors[a].as_ref().is_some_and(|actor| actor.node == node) {
                self.let_go(a, None)?;
            }
        }
        Ok(())
    }

    /// A node that is told to stop is down when nothing is left to do.
    pub fn stops(&mut self) {
        for link in &mut self.links {
            if self.nodes[link.node].is_stopping && matches!(link.server, End::Unbound(_)) {
                link.leave();
            }
        }
        for node in 0..self.nodes.len() {
            let is_busy = self.actors.iter().flatten().any(|actor| actor.node == node)
                || self.ops.iter().flatten().any(|op| op.node == node);
            if self.nodes[node].is_stopping && !is_busy {
                self.goes_down(node);
            }
        }
    }
}
