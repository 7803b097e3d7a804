//! Stanzas from the peer, and this side's acknowledgements of them.

use std::time::Instant;

use super::{Phase, StreamMgmt};
use crate::counter::Counter;
use crate::error::Error;
use crate::nonza::Nonza;
use crate::receipts::{NotOpen, Receipt, ReceiptError};
use crate::stanza::Stanza;

impl<S: Stanza> StreamMgmt<S> {
    /// Whether a stanza would be taken. A host reads on while this is so, and goes on when a receipt is
    /// settled: beyond [`receipts_max`](crate::Config::receipts_max) and
    /// [`receipts_max_bytes`](crate::Config::receipts_max_bytes) stanzas are refused.
    #[inline]
    pub fn can_receive(&self) -> bool {
        self.traffic.receipts.has_room(&self.config)
    }

    /// Settles a delivered stanza: the host has
    /// [accepted responsibility](https://xmpp.org/extensions/xep-0198.html#acking) for it. Returns an
    /// `<a/>` to write if an `<r/>` was waiting for this stanza: an `<r/>` is answered at once with what is
    /// handled by then, and, if that was not all, once more when it is.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], with the receipt, if it is another session's or its stanza was settled before.
    #[inline(always)]
    pub fn record_handled(&mut self, receipt: Receipt) -> Result<Option<Nonza>, ReceiptError> {
        if self.traffic.receipts.settle_alone(&receipt) {
            return Ok(None);
        }
        self.settle(receipt)
    }

    /// Settles a stanza among others that are open.
    #[inline(never)]
    fn settle(&mut self, receipt: Receipt) -> Result<Option<Nonza>, ReceiptError> {
        Ok(self.traffic.receipts.settle(receipt)?.map(Nonza::Ack))
    }

    /// Settles a delivered stanza without its receipt: the host takes responsibility for it, and `h`
    /// covers it. Returns an `<a/>` as [`record_handled`](Self::record_handled) does.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] if that stanza has no open receipt.
    pub fn settle_without_receipt(&mut self, number: Counter) -> Result<Option<Nonza>, NotOpen> {
        Ok(self.traffic.receipts.settle_number(number)?.map(Nonza::Ack))
    }

    /// Settles all delivered stanzas that are open, as [`settle_without_receipt`](Self::settle_without_receipt)
    /// does for one.
    #[must_use = "the peer gets it only if it is written"]
    pub fn settle_all(&mut self) -> Option<Nonza> {
        self.traffic.receipts.settle_all().map(Nonza::Ack)
    }

    /// An `<a/>` of the host's own accord, which [either side may
    /// send](https://xmpp.org/extensions/xep-0198.html#acking) at any time. `None` where stream management is off.
    #[must_use = "the peer gets it only if it is written"]
    pub fn send_ack(&self) -> Option<Nonza> {
        self.is_enabled().then(|| Nonza::Ack(self.h()))
    }

    /// Whether the host may read on: stanzas are taken, and no request is pending.
    #[inline]
    pub(crate) fn reads(&self) -> bool {
        self.can_receive() && !matches!(self.phase, Phase::EnablePending(_) | Phase::ResumePending(_))
    }

    /// Takes a stanza behind others that are open.
    #[inline(never)]
    pub(super) fn receive(&mut self, bytes: usize, now: Instant) -> Result<Receipt, Error> {
        if !self.can_receive() {
            return Err(Error::ReceiptsFull);
        }
        Ok(self.traffic.receipts.receive(bytes, now))
    }

    /// `<r/>` has come.
    pub(super) fn on_ack_request(&mut self) -> Nonza {
        Nonza::Ack(self.traffic.receipts.answer_request())
    }
}
