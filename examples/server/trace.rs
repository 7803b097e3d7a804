//! What is told to those who want to watch.

use std::fmt;
use std::sync::Arc;

use xmpp_sm::Nonza;

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
