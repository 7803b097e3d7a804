//! What became of the messages.

use std::collections::BTreeSet;
use std::fmt;

use super::client::{Seen, WINDOW};

#[derive(Clone, Debug, Default)]
pub struct Account {
    sent: usize,
    delivered: usize,
    doubled: usize,
    out_of_order: usize,
    resumed: usize,
    sessions: usize,
    clients: usize,
}

impl Account {
    pub fn add(&mut self, one: &Seen, other: &Seen) {
        for (seen, peer) in [(one, other), (other, one)] {
            let different: BTreeSet<_> = seen.received.iter().collect();
            self.sent += peer.sent;
            self.delivered += different.len();
            self.doubled += seen.received.len() - different.len();
            // Each by what came first of it.
            let mut first = BTreeSet::new();
            let firsts: Vec<_> = seen.received.iter().filter(|number| first.insert(**number)).collect();
            self.out_of_order += firsts.windows(2).filter(|pair| pair[0] > pair[1]).count();
            self.resumed += seen.resumed;
            self.sessions += seen.sessions;
            self.clients += 1;
        }
    }

    fn lost(&self) -> usize {
        self.sent - self.delivered
    }

    pub fn clients(&self) -> usize {
        self.clients
    }

    /// What was on its way when a session was `taken` from a server that had not let go of it, for it was killed or has not
    /// answered, may come twice: handled by it, and its `h` not written down; or taken out of the mail, and not struck off. Of either there are at most two windows: a
    /// client is one ahead of what it has received, as its peer is.
    pub fn is_well(&self, taken: usize) -> bool {
        let may_be_doubled = taken * 2 * (2 * WINDOW);
        self.lost() == 0 && self.out_of_order == 0 && self.doubled <= may_be_doubled && self.sessions == self.clients
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, delivered, doubled, out_of_order, resumed, sessions, clients } = self;
        write!(
            f,
            "{sent} sent, {delivered} delivered, {} lost, {doubled} doubled, {out_of_order} out of order; {clients} clients, \
             {sessions} sessions, {resumed} resumed",
            self.lost(),
        )
    }
}
