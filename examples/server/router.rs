//! Who is here, and where a stanza goes.
//!
//! Everything is decided under one lock and nothing under it waits: that a user goes while a message for them comes
//! cannot fall between two decisions. What is decided goes into the mailboxes under the lock, too, or an older
//! presence could overtake a newer one. What takes time, and what can fail, is done before or after: stanzas are
//! read and written without the lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use jid::{BareJid, DomainPart, FullJid, Jid};
use minidom::Element;
use parking_lot::Mutex;
use xmpp_parsers::stanza_error::DefinedCondition;
use xmpp_sm::disposition::{Step, steps};
use xmpp_sm::{Condition, EndReason, Taker};

use super::iq;
use super::links::Links;
use super::mail::{Delivery, Handle, Mail, Mailbox, Until, waited};
use super::metrics::Metrics;
use super::nodes::Nodes;
use super::offline::{Offline, Storage};
use super::options::Options;
use super::presence::{priority, unavailable};
use super::sasl::Accounts;
use super::stanza::{self, Written, bounce};
use super::state::Known;
use super::stream::Connection;

/// A session as the others see it.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) jid: FullJid,
    pub(super) handle: Handle,
    /// The number of the connection that its client has come by last. `None`: none has since it was restored.
    newest: Option<u64>,
    /// Whether there is a stream, or only the hope of one.
    pub(super) connected: bool,
    /// Its last presence, if that was not `unavailable`.
    pub(super) presence: Option<Written>,
    pub(super) priority: i8,
    /// The sessions that it has sent presence to by name.
    pub(super) directed: HashSet<u64>,
}

impl Entry {
    /// False: its task has ended by a mistake, and reads no mail.
    fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Whether it gets what is sent to its user, and to no session by name.
    pub(super) fn takes_messages(&self) -> bool {
        self.presence.is_some() && self.priority >= 0
    }
}

pub struct Router {
    pub(super) domain: DomainPart,
    pub(super) accounts: Arc<Accounts>,
    metrics: Option<Arc<Metrics>>,
    nodes: Option<Arc<Nodes>>,
    pub(super) storage: Mutex<Storage>,
    /// The lock is one that is not poisoned: a mistake costs the session that makes it, and not all others with it.
    pub(super) table: Mutex<Table>,
    /// Other domains.
    pub(super) links: Links,
}

pub(super) struct Table {
    pub(super) sessions: HashMap<BareJid, Vec<Entry>>,
    pub(super) offline: Offline,
    is_stopping: bool,
}

/// Whoever has the resource has come by a later connection.
#[derive(Debug)]
pub struct HasNewer;

/// A stanza that goes nowhere, and why.
type Undelivered = (Delivery, DefinedCondition);

impl Router {
    pub fn new(
        options: &Options,
        accounts: Arc<Accounts>,
        metrics: Option<Arc<Metrics>>,
        nodes: Option<Arc<Nodes>>,
    ) -> Self {
        let offline = Offline::new(options.offline_max_bytes);
        let table = Table { sessions: HashMap::new(), offline, is_stopping: false };
        Self {
            domain: options.domain.clone(),
            accounts,
            metrics,
            nodes,
            storage: Mutex::new(Storage::new(options.private_max_bytes)),
            table: Mutex::new(table),
            links: Links::default(),
        }
    }

    /// A session begins, unless there is one that has the resource: that is told to end, and returned to be waited for. An
    /// error: its client has come to that one by a later connection. Of several connections of a client that wait for a
    /// session to end, the newest has the resource, in whatever order they hear of it: otherwise it would be told of a
    /// conflict with one that is dead. `id`: the number of the connection.
    pub fn bind(&self, id: u64, jid: &FullJid, handle: &Handle) -> Result<Option<Until>, HasNewer> {
        let gone = unavailable(jid);
        let mut table = self.table.lock();
        if let Some(former) = table.having(jid).find(|former| former.is_alive()) {
            return if former.newest > Some(id) { Err(HasNewer) } else { Ok(Some(former.handle.replace())) };
        }
        table.remove(jid, &gone, |_| true);
        if table.is_stopping {
            let _ = handle.send(Mail::End(EndReason::Stopped));
        }
        let (presence, directed) = Default::default();
        let (jid, handle) = (jid.clone(), handle.clone());
        let entry = Entry { id, handle, newest: Some(id), connected: true, presence, priority: 0, directed, jid };
        table.sessions.entry(entry.jid.to_bare()).or_insert_with(|| Vec::with_capacity(1)).push(entry);
        Ok(None)
    }

    /// Ends sessions of a user.
    pub fn replace(&self, user: &BareJid, which: impl Fn(&FullJid) -> bool) {
        for former in self.table.lock().sessions.get(user).into_iter().flatten().filter(|entry| which(&entry.jid)) {
            let _ = former.handle.send(Mail::End(EndReason::Replaced));
        }
    }

    /// A session is over: what is for it goes elsewhere from now on. What its client did not get goes before that:
    /// `left`, and then what is in its mailbox, each where the [`disposition`](xmpp_sm::disposition) of it says. Clients
    /// that ask for the session are returned.
    pub fn end(
        &self,
        (id, jid): (u64, &FullJid),
        reason: EndReason,
        left: impl Iterator<Item = Written>,
        mut mailbox: Mailbox,
    ) -> Vec<Taker<Box<Connection>>> {
        let (gone, to, now) = (unavailable(jid), Jid::from(jid.clone()), SystemTime::now());
        let (mut undelivered, mut takers) = (Vec::new(), Vec::new());
        let mut table = self.table.lock();
        table.remove(jid, &gone, |entry| entry.id == id);
        let later = table.offline.take(&to.to_bare());
        let mut leave = |delivery| {
            let step = table.dispose(delivery, &to, reason, now).unwrap_or_else(|left| {
                undelivered.push(left);
                Step::Bounce(Condition::ServiceUnavailable)
            });
            if let Some(metrics) = &self.metrics {
                metrics.left(step);
            }
        };
        left.for_each(|stanza| leave(Delivery::own(stanza.returned())));
        for mail in mailbox.rest() {
            match mail {
                Mail::Deliver(delivery) => leave(delivery.late(now)),
                Mail::Take(taker) => takers.push(*taker),
                Mail::Kept
                | Mail::Settled(_)
                | Mail::Measure(_)
                | Mail::Replace(_)
                | Mail::End(_)
                | Mail::Halt(_)
                | Mail::Park(_)
                | Mail::LetGo
                | Mail::WaitNoMore
                | Mail::LetGoFor(_)
                | Mail::Bound(_)
                | Mail::Changed
                | Mail::Waiting => {}
            }
        }
        table.offline.put_back(&to.to_bare(), later);
        table.hand_out(&to.to_bare());
        drop(table);
        undelivered.into_iter().for_each(|undelivered| self.refuse(undelivered));
        takers
    }

    /// All sessions end, unless they are to be written down, and those that begin from now on.
    pub fn stop(&self, ends_sessions: bool) {
        self.links.stop();
        self.table.lock().is_stopping = true;
        if ends_sessions {
            self.tell_all(|| Mail::End(EndReason::Stopped));
        }
    }

    /// Tells the sessions that are here with a resource: one that has had it may still be about to end.
    pub fn tell(&self, jid: &FullJid, mail: impl Fn() -> Mail) {
        self.table.lock().having(jid).for_each(|entry| drop(entry.handle.send(mail())));
    }

    /// How many sessions are here.
    pub fn sessions(&self) -> usize {
        self.table.lock().sessions.values().map(Vec::len).sum()
    }

    /// Whether a resource is bound here.
    pub fn has(&self, jid: &FullJid) -> bool {
        self.table.lock().entry(jid).is_some()
    }

    /// A stanza that no node has a place for. If its recipient is here and has too much mail, it would overtake that.
    pub fn has_no_place(&self, delivery: Delivery) {
        match delivery.stanza.can_go(Step::Bounce(Condition::ServiceUnavailable)) {
            true => self.refuse((delivery, DefinedCondition::ServiceUnavailable)),
            false => drop(delivery.settle()),
        }
    }

    /// A session is another node's: it is here no more, and nobody has to be told.
    pub fn forget(&self, id: u64, jid: &FullJid) {
        let mut table = self.table.lock();
        if let Some(entries) = table.sessions.get_mut(&jid.to_bare()) {
            entries.retain(|entry| entry.id != id);
        }
    }

    /// Whether a session gets what has waited for its user. `None`: it is not available yet.
    pub fn takes_kept(&self, id: u64, jid: &FullJid) -> Option<bool> {
        let mut table = self.table.lock();
        let entry = table.entry_of(id, jid).filter(|entry| entry.presence.is_some())?;
        Some(entry.takes_messages())
    }

    pub fn tell_all(&self, mail: impl Fn() -> Mail) {
        for entry in self.table.lock().sessions.values().flatten() {
            let _ = entry.handle.send(mail());
        }
    }

    /// Takes out all that waits for users who are not there.
    pub fn take_kept(&self) -> Vec<(BareJid, VecDeque<Written>)> {
        self.table.lock().offline.take_all().collect()
    }

    /// Keeps what has waited for a user before the server was started.
    pub fn keep(&self, user: &BareJid, stanzas: impl Iterator<Item = Written>) {
        self.table.lock().offline.restore(user, stanzas);
    }

    /// The sessions by their numbers.
    pub fn jids(&self) -> HashMap<u64, FullJid> {
        self.table.lock().sessions.values().flatten().map(|entry| (entry.id, entry.jid.clone())).collect()
    }

    /// What is to be written down of a session that is given up.
    pub fn known(&self, id: u64, jid: &FullJid, jids: &HashMap<u64, FullJid>) -> Known {
        let mut table = self.table.lock();
        let entry = table.entry_of(id, jid);
        let (presence, directed) =
            entry.map(|entry| (entry.presence.clone(), entry.directed.clone())).unwrap_or_default();
        let directed = directed.iter().filter_map(|id| jids.get(id).cloned()).collect();
        Known { jid: jid.clone(), directed, presence }
    }

    /// A session that was written down is here again, without a stream. Nobody has to be told.
    pub fn restore(&self, id: u64, Known { jid, presence, .. }: &Known, handle: &Handle) {
        let priority =
            presence.as_ref().and_then(Written::element).map(|presence| priority(&presence)).unwrap_or_default();
        let (jid, handle, presence, directed) = (jid.clone(), handle.clone(), presence.clone(), HashSet::new());
        let entry = Entry { id, handle, newest: None, connected: false, presence, priority, directed, jid };
        self.table.lock().sessions.entry(entry.jid.to_bare()).or_default().push(entry);
    }

    /// To whom they have sent presence by name, once all are here.
    pub fn restore_directed(&self, Known { jid, directed, .. }: &Known) {
        let mut table = self.table.lock();
        let ids = directed.iter().filter_map(|other| Some(table.entry(other)?.id)).collect();
        if let Some(entry) = table.entry(jid) {
            entry.directed = ids;
        }
    }

    /// Has all sessions add what is new to the metrics. What is returned ends when they have.
    pub fn measure(&self) -> Until {
        let (measured, all) = waited();
        self.tell_all(|| Mail::Measure(measured.clone()));
        all
    }

    /// `connection`: the number of the one that a session has now.
    pub fn set_connected(&self, id: u64, jid: &FullJid, connection: Option<u64>) {
        let mut table = self.table.lock();
        if let Some(entry) = table.entry_of(id, jid) {
            entry.connected = connection.is_some();
            entry.newest = connection.max(entry.newest);
            table.hand_out(&jid.to_bare());
        }
    }

    /// The oldest stanza that has waited for a session's user: for the session, if it is still one that takes them. What
    /// comes meanwhile waits behind it.
    pub fn next_kept(&self, id: u64, jid: &FullJid) -> Option<Written> {
        let mut table = self.table.lock();
        table.entry_of(id, jid).filter(|entry| entry.takes_messages())?;
        table.offline.next(&jid.to_bare())
    }

    /// Sends a stanza on its way. It is stamped with who sent it.
    pub fn route(&self, stanza: &Element, delivery: Delivery, sender: &FullJid) {
        let Some(to) = stanza::to(stanza, &sender.to_bare()) else {
            return self.refuse((delivery, DefinedCondition::JidMalformed));
        };
        if *to.domain() != *self.domain {
            let sent = self.links.send(to.domain(), delivery);
            return sent.unwrap_or_else(|delivery| self.refuse((delivery, DefinedCondition::RemoteServerNotFound)));
        }
        match stanza.name() {
            "presence" => self.presence(stanza, &delivery.settle(), &to, sender),
            _ => self.to_user(stanza, delivery, &to, &sender.to_bare()),
        }
    }

    /// A message or an iq for a user of this server, or for the server itself.
    pub(super) fn to_user(&self, stanza: &Element, delivery: Delivery, to: &Jid, from: &BareJid) {
        if stanza.name() == "iq" && !to.is_full() {
            return match iq::answer(stanza, &to.to_bare(), from, self) {
                Some(answer) => self.answer_to(delivery, &answer),
                None => drop(delivery.settle()),
            };
        }
        let known = self.accounts.contains(&to.to_bare());
        if let Some(nodes) = self.nodes.as_ref().filter(|_| known) {
            return nodes.link.send(delivery, to.clone());
        }
        let delivered = self.table.lock().deliver(delivery, to, known, SystemTime::now());
        delivered.unwrap_or_else(|undelivered| self.refuse(undelivered));
    }

    pub(super) fn refuse(&self, (delivery, condition): Undelivered) {
        match delivery.stanza.element().and_then(|stanza| bounce(&stanza, condition)) {
            Some(answer) => self.answer_to(delivery, &answer),
            None => drop(delivery.settle()),
        }
    }

    /// Something of our own, for one session, or for another domain. Unless it is kept for its user it is of no use to
    /// another.
    pub(super) fn answer(&self, answer: &Element) {
        self.pass(Delivery::own(Written::new(answer)), answer.attr("to"));
    }

    /// The same, to what was sent. Where there are other nodes that is settled when they have the answer: if this one dies
    /// before, its client sends it once more.
    fn answer_to(&self, question: Delivery, answer: &Element) {
        self.pass(question.answered(answer), answer.attr("to"));
    }

    fn pass(&self, answer: Delivery, to: Option<&str>) {
        let to = to.and_then(|to| Jid::new(to).ok());
        let is_ours = to.as_ref().is_some_and(|to| *to.domain() == *self.domain);
        if let (Some(to), Some(nodes)) = (to.as_ref().filter(|to| is_ours && to.is_full()), &self.nodes) {
            return nodes.link.send(answer, to.clone());
        }
        // What cannot be delivered is not answered: it is an answer.
        let (answer, Some(to)) = (Delivery::own(answer.settle()), to) else { return };
        if !is_ours {
            let _ = self.links.send(to.domain(), answer);
        } else if to.is_full() {
            let _ = self.table.lock().deliver(answer, &to, true, SystemTime::now());
        }
    }
}

impl Table {
    /// Takes a session out, and says so with `gone`.
    fn remove(&mut self, jid: &FullJid, gone: &Written, which: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entries = self.sessions.get_mut(&jid.to_bare())?;
        let index = entries.iter().position(|entry| entry.jid == *jid && which(entry))?;
        let entry = entries.remove(index);
        self.left(&entry, gone);
        Some(entry)
    }

    /// The sessions that have, or had, a resource: one may still be about to end.
    fn having(&self, jid: &FullJid) -> impl Iterator<Item = &Entry> {
        self.sessions.get(&jid.to_bare()).into_iter().flatten().filter(move |entry| entry.jid == *jid)
    }

    /// The one of them that has it.
    pub(super) fn entry(&mut self, jid: &FullJid) -> Option<&mut Entry> {
        let all = self.sessions.get_mut(&jid.to_bare())?.iter_mut();
        all.filter(|entry| entry.jid == *jid).max_by_key(|entry| entry.connected)
    }

    /// One of them.
    fn entry_of(&mut self, id: u64, jid: &FullJid) -> Option<&mut Entry> {
        self.sessions.get_mut(&jid.to_bare())?.iter_mut().find(|entry| entry.id == id)
    }

    /// To the session that is named, or else where a stanza goes whose recipient is not there.
    pub(super) fn deliver(
        &mut self,
        delivery: Delivery,
        to: &Jid,
        known: bool,
        now: SystemTime,
    ) -> Result<(), Undelivered> {
        // What has waited for a user goes before it, to whichever session takes that.
        let waits = delivery.stanza.can_be_kept() && self.offline.has(&to.to_bare());
        if let Ok(full) = to.try_as_full()
            && let Some(entry) = self.entry(full).filter(|entry| entry.is_alive())
            && (!waits || entry.presence.is_some() && !entry.takes_messages())
        {
            let _ = entry.handle.send(Mail::Deliver(Box::new(delivery)));
            return Ok(());
        }
        match known {
            true => self.dispose(delivery, to, EndReason::Closed, now).map(drop),
            false => Err((delivery, DefinedCondition::ServiceUnavailable)),
        }
    }

    /// The session that gets what is sent to its user.
    fn best(&self, user: &BareJid) -> Option<&Entry> {
        let entries = self.sessions.get(user).into_iter().flatten();
        let here = entries.filter(|entry| entry.takes_messages() && entry.is_alive());
        here.max_by_key(|entry| (entry.connected, entry.priority, entry.id))
    }

    /// Tells the best session of a user that something has waited for them.
    pub(super) fn hand_out(&self, user: &BareJid) {
        if self.offline.has(user)
            && let Some(best) = self.best(user)
        {
            let _ = best.handle.send(Mail::Kept);
        }
    }

    /// What becomes of a stanza whose recipient is not there, or not any more, `reason` being why. What may wait for its
    /// user goes behind what waits already.
    fn dispose(
        &mut self,
        delivery: Delivery,
        to: &Jid,
        reason: EndReason,
        now: SystemTime,
    ) -> Result<Step, Undelivered> {
        let user = to.to_bare();
        let waits = delivery.stanza.can_be_kept() && self.offline.has(&user);
        let Some(facts) = delivery.stanza.facts() else { return Ok(Step::Drop) };
        let best = self.best(&user).map(|best| best.handle.clone());
        // What waits is handed out to any session of the user.
        let may_wait = best.is_none() || !(facts.to_full && facts.no_copy);
        for step in steps(&facts, reason) {
            match step {
                Step::Elsewhere => {
                    if let Some(best) = best.as_ref().filter(|_| !waits) {
                        let _ = best.send(Mail::Deliver(Box::new(delivery)));
                        return Ok(step);
                    }
                }
                Step::Store if may_wait && self.offline.put(&user, &delivery.stanza, now).is_ok() => {
                    delivery.settle();
                    return Ok(step);
                }
                // A successor begins when this session is over, and is written to when it has sent its presence.
                Step::Successor | Step::Store => {}
                Step::Bounce(_) => return Err((delivery, DefinedCondition::ServiceUnavailable)),
                _ => break,
            }
        }
        delivery.settle();
        Ok(Step::Drop)
    }
}
