//! What of a session would outlive its stream, seen where it is.

use std::time::{Duration, Instant};

use super::{Session, State};
use crate::counter::Counter;
use crate::detached::Traffic;
use crate::queue::{Queue, Unacked};
use crate::smid::SmId;
use crate::stanza::Stanza;

/// What lasts of a session, where it is.
pub(crate) struct Lasting<'a, S> {
    pub(crate) owner: &'a str,
    pub(crate) smid: &'a SmId,
    pub(crate) resume_timeout: Option<Duration>,
    /// When it expires. `None`: it lives, or its host still handles stanzas of the peer.
    pub(crate) expires: Option<Option<Instant>>,
    pub(crate) h: Counter,
    pub(crate) acked: Counter,
    pub(crate) sent: Counter,
    pub(crate) unacked: Unacked<'a, S>,
    queue: &'a Queue<S>,
    /// How many stanzas have changed in place.
    pub(crate) rewritten: u32,
}

impl<'a, S> Lasting<'a, S> {
    /// The stanzas that were never sent.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = (&'a S, Instant)> + Clone + use<'a, S> {
        self.queue.waiting()
    }

    /// All stanzas: those that are unacknowledged, and those that wait.
    pub(crate) fn stanzas(&self) -> impl Iterator<Item = (&'a S, Instant)> + use<'a, S> {
        self.unacked.clone().map(|queued| (queued.stanza, queued.queued)).chain(self.waiting())
    }

    /// The number that the last stanza has or will have.
    pub(crate) fn end(&self) -> Counter {
        self.sent.advance(u32::try_from(self.queue.backlog().stanzas).unwrap_or(u32::MAX))
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// Whether it ends, or has ended: it is not written down any more.
    pub(crate) fn is_ending_or_over(&self) -> bool {
        self.ending.is_some() || matches!(self.state, State::Closing(_) | State::Offline(_) | State::Over)
    }

    /// What would outlive the loss of the stream. `None`: nothing, or it is a client's.
    pub(crate) fn lasting(&self) -> Option<Lasting<'_, S>> {
        let (traffic, resumable, expires) = match &self.state {
            _ if self.client.is_some() => return None,
            State::Live(stream) if stream.is_resumable() => (stream.traffic(), stream.resumable()?, None),
            State::Detached(session, _) => {
                let rests = session.open_receipts() == 0;
                (&session.traffic, &session.resumable, rests.then_some(session.deadline))
            }
            State::Live(_) | State::Closing(_) | State::Offline(_) | State::Over => return None,
        };
        let Traffic { receipts, queue } = traffic;
        Some(Lasting {
            owner: &self.owner,
            smid: &resumable.smid,
            resume_timeout: resumable.resume_timeout,
            expires,
            h: receipts.h(),
            acked: queue.acked(),
            sent: queue.sent(),
            unacked: queue.unacked(),
            queue,
            rewritten: self.tally.as_ref().map_or(0, |tally| tally.rewritten),
        })
    }
}
