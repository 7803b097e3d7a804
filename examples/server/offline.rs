//! Messages for users who are not there.

use std::collections::HashMap;
use std::time::SystemTime;

use jid::BareJid;
use minidom::Element;
use xmpp_sm::delay;

/// Messages kept for one user.
pub const MAX: usize = 10_000;

#[derive(Default)]
pub struct Offline(HashMap<BareJid, Vec<Element>>);

impl Offline {
    /// Keeps a message, and notes the time unless it carries one; a user who has too many gets it back.
    pub fn put(&mut self, user: &BareJid, mut message: Element, domain: &str) -> Result<(), Element> {
        let kept = self.0.entry(user.clone()).or_default();
        if kept.len() >= MAX {
            return Err(message);
        }
        delay::stamp(&mut message, domain, SystemTime::now());
        kept.push(message);
        Ok(())
    }

    /// All of a user's messages, oldest first.
    pub fn take(&mut self, user: &BareJid) -> Vec<Element> {
        self.0.remove(user).unwrap_or_default()
    }
}
