//! What waits for users who are not there, and what they keep here for themselves: as bytes, and not without bound.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use bytes::Bytes;
use jid::BareJid;

use super::stanza::{OVERHEAD, Written};

/// Stanzas for users who are not there.
pub struct Offline {
    max_bytes: usize,
    users: HashMap<BareJid, Kept>,
}

/// What is kept for one user, oldest first.
#[derive(Default)]
pub struct Kept {
    stanzas: VecDeque<Written>,
    bytes: usize,
}

impl Offline {
    /// `max_bytes`: what may be kept for one user.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, users: HashMap::new() }
    }

    /// Keeps a stanza that comes now, unless it has waited before.
    pub fn put(&mut self, user: &BareJid, stanza: &Written, now: SystemTime) -> Result<(), TooMuch> {
        let kept = self.users.entry(user.clone()).or_default();
        let bytes = kept.bytes.saturating_add(stanza.cost());
        if bytes > self.max_bytes {
            return Err(TooMuch);
        }
        kept.bytes = bytes;
        kept.stanzas.push_back(stanza.clone().waiting_since(now));
        Ok(())
    }

    /// Whether something is kept for a user.
    pub fn has(&self, user: &BareJid) -> bool {
        self.users.get(user).is_some_and(|kept| !kept.stanzas.is_empty())
    }

    /// Keeps what was kept before the server was started. Its bound held then.
    pub fn restore(&mut self, user: &BareJid, stanzas: impl Iterator<Item = Written>) {
        let kept = self.users.entry(user.clone()).or_default();
        for stanza in stanzas {
            kept.bytes = kept.bytes.saturating_add(stanza.cost());
            kept.stanzas.push_back(stanza);
        }
    }

    /// Takes out all that is kept, by user.
    pub fn take_all(&mut self) -> impl Iterator<Item = (BareJid, VecDeque<Written>)> {
        std::mem::take(&mut self.users).into_iter().map(|(user, kept)| (user, kept.stanzas))
    }

    /// The oldest of what is kept for a user.
    pub fn next(&mut self, user: &BareJid) -> Option<Written> {
        let kept = self.users.get_mut(user)?;
        let stanza = kept.stanzas.pop_front();
        kept.bytes -= stanza.as_ref().map_or(0, Written::cost);
        if kept.stanzas.is_empty() {
            self.users.remove(user);
        }
        stanza
    }

    /// Takes out all that is kept for a user: what is older has to go before it. [`put_back`](Self::put_back) keeps it again.
    pub fn take(&mut self, user: &BareJid) -> Kept {
        self.users.remove(user).unwrap_or_default()
    }

    pub fn put_back(&mut self, user: &BareJid, later: Kept) {
        if !later.stanzas.is_empty() {
            let kept = self.users.entry(user.clone()).or_default();
            kept.bytes += later.bytes;
            kept.stanzas.extend(later.stanzas);
        }
    }
}

/// Private storage (XEP-0049).
pub struct Storage {
    max_bytes: usize,
    users: HashMap<BareJid, Private>,
}

#[derive(Default)]
struct Private {
    /// By name and namespace.
    elements: HashMap<(String, String), Bytes>,
    bytes: usize,
}

/// That would be more than a user may keep.
pub struct TooMuch;

impl Storage {
    /// `max_bytes`: what one user may keep.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, users: HashMap::new() }
    }

    /// Keeps an element in the place of one with the same name.
    pub fn put(&mut self, user: &BareJid, key: (String, String), element: Bytes) -> Result<(), TooMuch> {
        let private = self.users.entry(user.clone()).or_default();
        let replaced = private.elements.get(&key).map_or(0, |element| cost(&key, element));
        let bytes = (private.bytes - replaced).saturating_add(cost(&key, &element));
        if bytes > self.max_bytes {
            return Err(TooMuch);
        }
        private.bytes = bytes;
        private.elements.insert(key, element);
        Ok(())
    }

    pub fn get(&self, user: &BareJid, key: &(String, String)) -> Option<Bytes> {
        self.users.get(user)?.elements.get(key).cloned()
    }
}

fn cost((name, ns): &(String, String), element: &Bytes) -> usize {
    name.len() + ns.len() + element.len() + OVERHEAD
}
