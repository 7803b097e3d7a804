//! A stream that is closing: it takes acknowledgements, and ends.

use super::inbound::Inbound;
use crate::counter::Counter;
use crate::detached::{EndReason, Ended, Traffic};
use crate::nonza::Nonza;
use crate::queue::{Queue, Returned};
use crate::smid::SmId;
use crate::stanza::Stanza;

/// A stream on which this side has said its last: `</stream:stream>` is written, or about to be.
///
/// What the peer acknowledges before its own `</stream:stream>` does not come back from the session. Everything else
/// that arrives is too late: a stanza is the peer's to send elsewhere, for the last `<a/>` has left it out, and a
/// request gets no reply.
///
/// How long to wait for the peer's `</stream:stream>` is up to the host.
///
/// Nothing else can be done with it. This does not compile:
///
/// ```compile_fail,E0382
/// # fn f(stream: xmpp_sm::StreamMgmt<String>, now: std::time::Instant) {
/// let (last, closing) = stream.finish();
/// let _ = stream.record_sent("<message/>".to_owned(), now);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the session and its stanzas live nowhere else: `end` it"]
pub struct Closing<S> {
    traffic: Traffic<S>,
    smid: Option<SmId>,
}

impl<S: Stanza> Closing<S> {
    pub(super) fn new(traffic: Traffic<S>, smid: Option<SmId>) -> Self {
        Self { traffic, smid }
    }

    /// Takes an element that arrived, and returns how many stanzas it acknowledged. An `h` that cannot be right
    /// acknowledges none.
    pub fn handle(&mut self, inbound: &Inbound) -> u32 {
        self.handle_into(inbound, &mut Discard)
    }

    /// The same, with the acknowledged stanzas given to `into`.
    pub fn handle_into(&mut self, inbound: &Inbound, into: &mut impl Extend<Returned<S>>) -> u32 {
        let Inbound::Nonza(Nonza::Ack(h)) = inbound else { return 0 };
        // Where stream management was never on, nothing was sent that an `h` could count.
        self.traffic.queue.check(*h).map_or(0, |checked| self.traffic.queue.acknowledge_into(checked, into))
    }

    pub(crate) fn traffic(&self) -> &Traffic<S> {
        &self.traffic
    }

    pub(crate) fn queue_mut(&mut self) -> &mut Queue<S> {
        &mut self.traffic.queue
    }

    pub(crate) fn smid(&self) -> Option<&SmId> {
        self.smid.as_ref()
    }

    pub(crate) fn acked(&self) -> Counter {
        self.traffic.queue.acked()
    }

    pub(crate) fn sent(&self) -> Counter {
        self.traffic.queue.sent()
    }

    /// The stream is closed on both sides, or the host has waited long enough.
    pub fn end(self, reason: EndReason) -> Ended<S> {
        self.traffic.into_ended(reason, self.smid)
    }
}

/// Where what is not wanted goes.
pub(super) struct Discard;

impl<T> Extend<T> for Discard {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(drop);
    }
}
