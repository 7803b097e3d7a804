//! What is told to those who want to watch.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::Nonza;

use super::session::{Host, Session};

/// Called with all that is [`Traced`].
pub type Trace = Arc<dyn Fn(&Traced<'_>) + Send + Sync>;

pub struct Traced<'a> {
    /// The client's full JID, or its bare one while it has no resource.
    pub client: &'a str,
    pub what: What<'a>,
}

pub enum What<'a> {
    /// An element of stream management has come from the client.
    From(&'a Nonza),
    /// One goes to it.
    To(&'a Nonza),
    /// The session has lost its connection and waits: here a push service would wake the client's device.
    Detached { unacked: usize, waiting: usize },
    /// A stanza has come for it meanwhile: likewise.
    Queued { waiting: usize },
}

impl Host {
    pub(super) fn trace(&self, what: What<'_>) {
        self.server.trace(self.jid.as_str(), what);
    }

    /// Here a push service would wake the client's device, which then needs some time to come back.
    pub(super) fn wake(&self, what: What<'_>, session: &mut Session) {
        self.trace(what);
        if let Some(wait) = self.server.waits_once_woken {
            let at_least = session.expires_at().map(|at| at.max(Instant::now() + wait));
            session.set_expires_at(at_least);
        }
    }
}

/// `juliet@localhost/balcony <- <r xmlns='urn:xmpp:sm:3'/>`, `juliet@localhost/balcony detached: 2 unacknowledged, 0 waiting`
impl fmt::Display for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.client)?;
        match self.what {
            What::From(nonza) => write!(f, "<- {nonza}"),
            What::To(nonza) => write!(f, "-> {nonza}"),
            What::Detached { unacked, waiting } => write!(f, "detached: {unacked} unacknowledged, {waiting} waiting"),
            What::Queued { waiting } => write!(f, "queued: {waiting} waiting"),
        }
    }
}
