//! Client state indication (XEP-0352): what an inactive client need not see now waits until it is active again, or until
//! something comes that cannot wait. The order stays, and nothing is dropped but what a newer stanza makes obsolete.

use std::collections::VecDeque;

use minidom::Element;

use super::stanza::Written;

pub const NS: &str = "urn:xmpp:csi:0";
/// What may wait for one client. More goes out at once.
const MAX: usize = 100;
const MAX_BYTES: usize = 16 * 1024;

/// The state of one client, which is active at first, and what waits for it.
#[derive(Default)]
pub struct Csi {
    is_inactive: bool,
    held: VecDeque<Written>,
    /// What is held goes out.
    is_open: bool,
}

impl Csi {
    pub fn set_active(&mut self, active: bool) {
        self.is_inactive = !active;
        self.is_open |= active;
    }

    /// Takes a stanza for the client, and returns it if nothing is in its way. What [`next`](Self::next) returns goes first.
    pub fn pass(&mut self, stanza: Written) -> Option<Written> {
        let waits = self.is_inactive && stanza.can_wait();
        if self.held.is_empty() && !waits {
            return Some(stanza);
        }
        self.held.retain(|older| !stanza.is_news_after(older));
        self.held.push_back(stanza);
        let bytes: usize = self.held.iter().map(Written::cost).sum();
        self.is_open |= !waits || self.held.len() > MAX || bytes > MAX_BYTES;
        None
    }

    /// The next stanza that the client gets.
    pub fn next(&mut self) -> Option<Written> {
        if self.is_open {
            match self.held.pop_front() {
                Some(stanza) => return Some(stanza),
                None => (self.is_open, self.held) = (false, VecDeque::new()),
            }
        }
        None
    }

    /// Nobody takes it any more: it stays the next.
    pub fn put_back(&mut self, stanza: Written) {
        self.held.push_front(stanza);
    }

    /// The client's stream is gone. The next one begins active.
    pub fn restart(&mut self) {
        self.set_active(true);
    }

    /// All that the client did not get.
    pub fn into_held(self) -> impl Iterator<Item = Written> {
        self.held.into_iter()
    }
}

/// Whether an element says that its client is active, or that it is not. `None`: it says something else.
pub fn is_active(element: &Element) -> Option<bool> {
    match element.name() {
        _ if !element.has_ns(NS) => None,
        "active" => Some(true),
        "inactive" => Some(false),
        _ => None,
    }
}

/// What tells in the stream's features that this server understands it.
pub fn feature() -> Element {
    Element::bare("csi", NS)
}
