//! Presence among the users of this server, who all see each other.

use jid::FullJid;
use minidom::Element;
use xmpp_parsers::ns;

use super::router::{Delivery, Entry, Mail, Table};
use super::stanza::{self, kind};
use super::xml::set;

impl Table {
    /// A presence that a client sent, to everybody or to somebody.
    pub(super) fn presence(&mut self, delivery: Delivery, sender: &FullJid) {
        let stanza = delivery.rest();
        match (stanza.attr("to"), kind(&stanza)) {
            (None, "" | "unavailable") => self.broadcast(stanza, sender),
            (Some(_), "" | "unavailable") => self.direct(stanza, sender),
            (Some(_), "subscribe") => self.answer(Some(stanza::reply(&stanza, "subscribed"))),
            _ => {} // what there is to subscribe to is granted already
        }
    }

    fn broadcast(&mut self, stanza: Element, sender: &FullJid) {
        let Some(entry) = self.entry(sender) else { return };
        let handle = entry.handle.clone();
        let was = (entry.presence.is_some(), entry.priority >= 0);
        let available = kind(&stanza).is_empty();
        entry.priority = priority(&stanza);
        entry.presence = available.then(|| stanza.clone());
        let is = (available, entry.priority >= 0);
        if available && !was.0 {
            let others = self.entries().filter(|other| other.jid != *sender);
            for presence in others.filter_map(|other| other.presence.as_ref()) {
                send(&handle, presence, sender);
            }
        }
        for other in self.entries().filter(|other| other.presence.is_some()) {
            send(&other.handle, &stanza, &other.jid);
        }
        if is == (true, true) && was != is {
            for message in self.offline.take(&sender.to_bare()) {
                let _ = handle.send(Mail::Late(Delivery::own(message)));
            }
        }
    }

    /// Says that a session is gone, if anybody could think it was there.
    pub(super) fn left(&mut self, entry: &Entry) {
        if entry.presence.is_some() {
            let mut gone = Element::bare("presence", ns::JABBER_CLIENT);
            set(&mut gone, "type", "unavailable");
            set(&mut gone, "from", entry.jid.as_str());
            for other in self.entries().filter(|other| other.presence.is_some()) {
                send(&other.handle, &gone, &other.jid);
            }
        }
    }

    fn direct(&mut self, stanza: Element, sender: &FullJid) {
        let Some(to) = stanza::to(&stanza, &sender.to_bare()) else { return };
        for entry in self.sessions.get(&to.to_bare()).into_iter().flatten() {
            let meant = to.try_as_full().map_or(entry.presence.is_some(), |full| *full == entry.jid);
            if meant {
                send(&entry.handle, &stanza, &entry.jid);
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.sessions.values().flatten()
    }
}

fn send(handle: &super::router::Handle, presence: &Element, to: &FullJid) {
    let mut presence = presence.clone();
    set(&mut presence, "to", to.as_str());
    let _ = handle.send(Mail::Deliver(Delivery::own(presence)));
}

fn priority(presence: &Element) -> i8 {
    let priority = presence.get_child("priority", ns::JABBER_CLIENT);
    priority.and_then(|child| child.text().trim().parse().ok()).unwrap_or_default()
}
