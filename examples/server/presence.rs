//! Presence among the users of this server, who all see each other.

use std::collections::HashSet;

use jid::{FullJid, Jid};
use minidom::Element;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::DefinedCondition;

use super::mail::{Delivery, Handle, Mail};
use super::router::{Entry, Router, Table};
use super::stanza::{self, Written, kind};
use super::xml::set;

/// Sessions that one session may send presence to by name. They have to be told when it goes.
const MAX_DIRECTED: usize = 100;

/// More sessions than one may send presence to.
struct TooMany;

impl Router {
    /// A presence that a client sent, to everybody or to somebody.
    pub(super) fn presence(&self, stanza: &Element, written: &Written, to: &Jid, sender: &FullJid) {
        match (stanza.attr("to"), kind(stanza)) {
            (None, "") => self.table.lock().broadcast(written, Some(priority(stanza)), sender),
            (None, "unavailable") => self.table.lock().broadcast(written, None, sender),
            (Some(_), kind @ ("" | "unavailable")) => {
                let directed = self.table.lock().direct(written, kind.is_empty(), to, sender);
                if let Err(TooMany) = directed {
                    self.answer(&stanza::error(stanza, DefinedCondition::ResourceConstraint));
                }
            }
            (Some(_), "subscribe") => self.answer(&stanza::reply(stanza, "subscribed")),
            _ => {} // what there is to subscribe to is granted already
        }
    }
}

impl Table {
    /// Tells everybody who is there. `priority`: none if the sender is not any more.
    fn broadcast(&mut self, presence: &Written, priority: Option<i8>, sender: &FullJid) {
        let Some(entry) = self.entry(sender) else { return };
        let handle = entry.handle.clone();
        let was_here = entry.presence.is_some();
        entry.priority = priority.unwrap_or_default();
        entry.presence = priority.is_some().then(|| presence.clone());
        // Who was told by name that it is there is told that it is not.
        let directed = match priority {
            Some(_) => Default::default(),
            None => std::mem::take(&mut entry.directed),
        };
        if priority.is_some() && !was_here {
            let others = self.entries().filter(|other| other.jid != *sender);
            for presence in others.filter_map(|other| other.presence.as_ref()) {
                send(&handle, presence);
            }
        }
        for other in self.entries().filter(|other| other.presence.is_some() || directed.contains(&other.id)) {
            send(&other.handle, presence);
        }
        self.hand_out(&sender.to_bare());
    }

    /// Says that a session is gone to whoever could think that it was there.
    pub(super) fn left(&self, entry: &Entry, gone: &Written) {
        let seen = entry.presence.is_some();
        if seen || !entry.directed.is_empty() {
            let told = |other: &&Entry| seen && other.presence.is_some() || entry.directed.contains(&other.id);
            self.entries().filter(told).for_each(|other| send(&other.handle, gone));
        }
    }

    /// Tells those who are named.
    fn direct(&mut self, presence: &Written, available: bool, to: &Jid, sender: &FullJid) -> Result<(), TooMany> {
        let named = self.sessions.get(&to.to_bare()).into_iter().flatten();
        let named = named.filter(|entry| to.try_as_full().map_or(entry.presence.is_some(), |full| *full == entry.jid));
        let (ids, handles): (Vec<_>, Vec<_>) = named.map(|entry| (entry.id, entry.handle.clone())).unzip();
        if available {
            self.note_directed(&ids, sender)?;
        } else if let Some(entry) = self.entry(sender) {
            entry.directed.retain(|id| !ids.contains(id));
        }
        handles.iter().for_each(|handle| send(handle, presence));
        Ok(())
    }

    fn note_directed(&mut self, ids: &[u64], sender: &FullJid) -> Result<(), TooMany> {
        let Some(entry) = self.entry(sender) else { return Ok(()) };
        let mut directed: HashSet<_> = entry.directed.iter().chain(ids).copied().collect();
        if directed.len() > MAX_DIRECTED {
            // Some may be gone.
            let here = self.entries().map(|other| other.id);
            directed = here.filter(|id| directed.contains(id)).collect();
        }
        if directed.len() > MAX_DIRECTED {
            return Err(TooMany);
        }
        if let Some(entry) = self.entry(sender) {
            entry.directed = directed;
        }
        Ok(())
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.sessions.values().flatten()
    }
}

/// What is said for a session that cannot say it any more.
pub fn unavailable(jid: &FullJid) -> Written {
    let mut gone = Element::bare("presence", ns::JABBER_CLIENT);
    set(&mut gone, "type", "unavailable");
    set(&mut gone, "from", jid.as_str());
    Written::new(&gone)
}

fn send(handle: &Handle, presence: &Written) {
    let _ = handle.send(Mail::Deliver(Box::new(Delivery::own(presence.clone()))));
}

pub fn priority(presence: &Element) -> i8 {
    let priority = presence.get_child("priority", ns::JABBER_CLIENT);
    priority.and_then(|child| child.text().trim().parse().ok()).unwrap_or_default()
}
