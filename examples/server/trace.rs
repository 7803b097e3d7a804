//! What is told to those who want to watch.

use std::fmt;
use std::sync::Arc;

use xmpp_sm::Nonza;

/// Called with every element of stream management that comes in or goes out.
pub type Trace = Arc<dyn Fn(&Traced<'_>) + Send + Sync>;

pub struct Traced<'a> {
    /// The client's full JID, or its bare one while it has no resource.
    pub client: &'a str,
    pub from_client: bool,
    pub nonza: &'a Nonza,
}

/// `juliet@localhost/balcony <- <r xmlns='urn:xmpp:sm:3'/>`
impl fmt::Display for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.from_client { "<-" } else { "->" };
        write!(f, "{} {arrow} {}", self.client, self.nonza)
    }
}
