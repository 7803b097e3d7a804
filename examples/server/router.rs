//! Who is here, and where a stanza goes.
//!
//! Everything is decided under one lock and nothing under it waits: that a user goes while a message for them comes
//! cannot fall between two decisions.

use std::collections::HashMap;
use std::sync::Arc;

use jid::{BareJid, DomainPart, FullJid};
use minidom::Element;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use xmpp_parsers::stanza_error::DefinedCondition;
use xmpp_sm::Receipt;

use super::iq::{self, PrivateStorage};
use super::offline::Offline;
use super::sasl::Accounts;
use super::stanza::{self, bounce};
use super::takeover::TakeOver;

/// The way to a session: whoever owns it reads the other end.
pub type Handle = mpsc::UnboundedSender<Mail>;

pub enum Mail {
    /// A stanza for the session's client.
    Deliver(Delivery),
    /// A stanza for the session's client that has waited already, as have others: they are no reason to think that
    /// the client is slow.
    Late(Delivery),
    /// A stanza of the session's client has come to rest.
    Handled(Receipt),
    /// The session's client is back, on another connection.
    TakeOver(TakeOver),
    /// Another session has taken the resource.
    Replaced,
}

/// A stanza on its way inside of the server.
pub struct Delivery {
    stanza: Element,
    receipt: Option<(Receipt, Handle)>,
}

impl Delivery {
    /// What a client sent; `receipt` returns to its session once somebody else answers for the stanza.
    pub fn new(stanza: Element, receipt: Receipt, sender: Handle) -> Self {
        Self { stanza, receipt: Some((receipt, sender)) }
    }

    /// What the server itself has to say, or says again.
    pub fn own(stanza: Element) -> Self {
        Self { stanza, receipt: None }
    }

    /// The stanza has come to rest: it is in its recipient's session, kept for later, answered, or of no use.
    pub fn rest(self) -> Element {
        if let Some((receipt, sender)) = self.receipt {
            // A session that is over needs its receipts no more.
            let _ = sender.send(Mail::Handled(receipt));
        }
        self.stanza
    }
}

/// A session as the others see it.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) jid: FullJid,
    pub(super) handle: Handle,
    /// Whether there is a stream, or only the hope of one.
    pub(super) connected: bool,
    /// Its last presence, if that was not `unavailable`.
    pub(super) presence: Option<Element>,
    pub(super) priority: i8,
}

/// The lock is one that is not poisoned: a mistake costs the session that makes it, and not all others with it.
pub struct Router(Mutex<Table>);

pub struct Table {
    pub(super) domain: DomainPart,
    pub(super) accounts: Arc<Accounts>,
    pub(super) sessions: HashMap<BareJid, Vec<Entry>>,
    pub(super) offline: Offline,
    pub(super) storage: PrivateStorage,
}

impl Router {
    pub fn new(domain: DomainPart, accounts: Arc<Accounts>) -> Self {
        let (sessions, offline, storage) = Default::default();
        Self(Mutex::new(Table { domain, accounts, sessions, offline, storage }))
    }

    pub fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

impl Table {
    /// A session begins. One that has the resource already is told to end.
    pub fn bind(&mut self, id: u64, jid: FullJid, handle: Handle) {
        self.unbind(&jid);
        let entry = Entry { id, handle, connected: true, presence: None, priority: 0, jid };
        self.sessions.entry(entry.jid.to_bare()).or_default().push(entry);
    }

    fn unbind(&mut self, jid: &FullJid) {
        if let Some(replaced) = self.remove(jid, |_| true) {
            let _ = replaced.handle.send(Mail::Replaced);
        }
    }

    /// A session is over: what is for it goes elsewhere from now on.
    pub fn end(&mut self, id: u64, jid: &FullJid) {
        self.remove(jid, |entry| entry.id == id);
    }

    fn remove(&mut self, jid: &FullJid, which: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entries = self.sessions.get_mut(&jid.to_bare())?;
        let index = entries.iter().position(|entry| entry.jid == *jid && which(entry))?;
        let entry = entries.remove(index);
        self.left(&entry);
        Some(entry)
    }

    pub fn set_connected(&mut self, id: u64, jid: &FullJid, connected: bool) {
        if let Some(entry) = self.entry(jid).filter(|entry| entry.id == id) {
            entry.connected = connected;
        }
    }

    pub(super) fn entry(&mut self, jid: &FullJid) -> Option<&mut Entry> {
        self.sessions.get_mut(&jid.to_bare())?.iter_mut().find(|entry| entry.jid == *jid)
    }

    /// Sends a stanza on its way. It is stamped with who sent it.
    pub fn route(&mut self, delivery: Delivery, sender: &FullJid) {
        let Some(to) = stanza::to(&delivery.stanza, &sender.to_bare()) else {
            return self.refuse(delivery, DefinedCondition::JidMalformed);
        };
        if *to.domain() != *self.domain {
            return self.refuse(delivery, DefinedCondition::RemoteServerNotFound);
        }
        if let Ok(full) = to.try_as_full()
            && delivery.stanza.name() != "presence"
            && let Some(entry) = self.entry(full)
        {
            let _ = entry.handle.send(Mail::Deliver(delivery));
            return;
        }
        match delivery.stanza.name() {
            "message" => self.message(delivery, &to.to_bare(), Mail::Deliver),
            "presence" => self.presence(delivery, sender),
            _ if to.is_full() => self.refuse(delivery, DefinedCondition::ServiceUnavailable),
            _ => {
                let answer = iq::answer(&delivery.rest(), &to.to_bare(), sender, self);
                self.answer(answer);
            }
        }
    }

    /// A stanza that its session could not bring to its client.
    pub fn reroute(&mut self, delivery: Delivery, user: &BareJid) {
        match delivery.stanza.name() {
            "message" => self.message(delivery, user, Mail::Late),
            _ => self.refuse(delivery, DefinedCondition::ServiceUnavailable),
        }
    }

    /// A message for a user: to the best of their sessions, or kept until there is one.
    fn message(&mut self, delivery: Delivery, user: &BareJid, mail: fn(Delivery) -> Mail) {
        let kind = stanza::kind(&delivery.stanza);
        if matches!(kind, "error" | "groupchat") || !self.accounts.contains(user) {
            return self.refuse(delivery, DefinedCondition::ServiceUnavailable);
        }
        let present = self.sessions.get(user).into_iter().flatten();
        let present = present.filter(|entry| entry.presence.is_some() && entry.priority >= 0);
        if let Some(best) = present.max_by_key(|entry| (entry.connected, entry.priority, entry.id)) {
            let _ = best.handle.send(mail(delivery));
        } else if kind == "headline" {
            delivery.rest();
        } else if let Err(message) = self.offline.put(user, delivery.rest(), self.domain.as_str()) {
            self.answer(bounce(&message, DefinedCondition::ServiceUnavailable));
        }
    }

    fn refuse(&mut self, delivery: Delivery, condition: DefinedCondition) {
        self.answer(bounce(&delivery.rest(), condition));
    }

    /// Something of our own, for one session; it is of no use to another.
    pub(super) fn answer(&mut self, answer: Option<Element>) {
        let Some(answer) = answer else { return };
        let to = answer.attr("to").and_then(|to| FullJid::new(to).ok());
        if let Some(entry) = to.and_then(|to| self.entry(&to)) {
            let _ = entry.handle.send(Mail::Deliver(Delivery::own(answer)));
        }
    }
}
