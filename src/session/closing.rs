//! The end of a session: settle, say the last words, take the last acknowledgements, hand back what is left.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::mem;
use std::time::Instant;

use super::timers::after;
use super::write::Front;
use super::{Event, LeftWhy, Parting, Session, State};
use crate::counter::Counter;
use crate::detached::{EndReason, Ended};
use crate::error::{Error, LastWords, Reaction};
use crate::nonza::Nonza;
use crate::queue::{Entry, Queue, Returned, Undelivered};
use crate::smid::SmId;
use crate::stanza::Stanza;
use crate::stream_error::{StreamCondition, StreamError};

/// How a session is being ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) last: LastWords,
    pub(super) why: LeftWhy,
    /// Only the stream ends: a client's session goes on with its next connection.
    pub(super) goes_on: bool,
    /// The peer has written its `</stream:stream>`: it acknowledges nothing more.
    pub(super) peer_closed: bool,
    /// Whether the last words are on their way out.
    is_said: bool,
    /// Until when open receipts are waited for, and then the peer's last acknowledgements.
    pub(super) until: Instant,
}

impl<S: Stanza, C> Session<S, C> {
    /// Ends the session, for a reason of the host's: [`Closed`](EndReason::Closed), [`Replaced`](EndReason::Replaced)
    /// or [`Stopped`](EndReason::Stopped). [`Event::Ended`] comes when the session is over.
    ///
    /// With a connection, the session closes the stream in good order. It [waits](crate::Config::settle_timeout) for
    /// open receipts; it writes the last `<a/>`, the error and `</stream:stream>`; and it takes what the peer then
    /// still acknowledges, for a [bounded](crate::Config::close_timeout) time.
    ///
    /// `error` is the stream error to write. `None`: none, but a [replaced](EndReason::Replaced) session writes
    /// `<conflict/>`, or its client would come back and fight for the resource.
    ///
    /// A session that is ending already goes on as it was.
    pub fn close(&mut self, reason: EndReason, error: Option<StreamError>, now: Instant) {
        let error = error.or((reason == EndReason::Replaced).then_some(StreamError::Conflict));
        self.start_ending(LastWords { write: None, error, reason }, LeftWhy::Closed, now);
    }

    /// The peer has sent what it may not: an element that the host does not know either
    /// ([`unsupported-stanza-type`](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3.24)), or a stanza in another's name
    /// ([`invalid-from`](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3.9)). The stream is closed with this error, and
    /// what the peer then still acknowledges counts. A server's session ends by it, as its
    /// [peer's fault](EndReason::PeerFault); what a client's holds goes into its next session.
    pub fn peer_fault(&mut self, condition: StreamCondition, now: Instant) {
        if self.connection.is_some() {
            let error = Some(StreamError::Other(condition));
            let last = LastWords { write: None, error, reason: EndReason::PeerFault };
            self.end_stream(last, LeftWhy::Closed, now);
        }
    }

    /// The host cannot read what the peer sends, nor what follows: it is [not
    /// well-formed](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3.13), or larger than the host takes. This does
    /// the same as [`peer_fault`](Self::peer_fault), but waits for no acknowledgement afterwards.
    pub fn unreadable(&mut self, condition: StreamCondition, now: Instant) {
        self.peer_fault(condition, now);
        if let Some(ending) = &mut self.ending {
            ending.peer_closed = true;
            self.advance(now);
        }
    }

    /// The peer's `</stream:stream>` has arrived.
    ///
    /// A server's session ends, as [`Closed`](EndReason::Closed). A client's session goes on, as if the connection were
    /// lost: its server cannot end it.
    pub fn peer_closed(&mut self, now: Instant) {
        if self.client.is_some() && self.ending.is_none() {
            return self.leave_client_stream(now);
        }
        if self.connection.is_none() {
            return;
        }
        if self.ending.is_none() {
            let last = LastWords { write: None, error: None, reason: EndReason::Closed };
            self.start_ending(last, LeftWhy::PeerClosed, now);
        }
        if let Some(ending) = &mut self.ending {
            ending.peer_closed = true;
        }
        self.advance(now);
    }

    /// Whether the session itself ends, and not only its stream.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| !ending.goes_on)
    }

    pub(super) fn start_ending(&mut self, last: LastWords, why: LeftWhy, now: Instant) {
        if let Some(ending) = &mut self.ending
            && mem::take(&mut ending.goes_on)
        {
            ending.last.reason = last.reason;
        }
        self.start_closing(last, why, false, now);
    }

    /// The stream cannot go on. A server's session ends with it; what a client's session holds goes into the next one.
    pub(super) fn end_stream(&mut self, last: LastWords, why: LeftWhy, now: Instant) {
        self.start_closing(last, why, self.client.is_some(), now);
    }

    fn start_closing(&mut self, last: LastWords, why: LeftWhy, goes_on: bool, now: Instant) {
        if self.ending.is_some() || self.is_over() {
            return;
        }
        let until = after(now, self.config.settle_timeout);
        self.ending = Some(Box::new(Ending { last, why, goes_on, peer_closed: false, is_said: false, until }));
        self.unwritten.end();
        self.advance(now);
    }

    pub(super) fn end_full(&mut self, now: Instant) {
        if let Reaction::Close(last) = Reaction::buffer_full() {
            self.start_ending(last, LeftWhy::Error(Error::BufferFull), now);
        }
    }

    /// Goes on with what waits for open receipts: an end, or a taker.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.ending.is_some() {
            self.advance_ending(now);
        } else if self.waiter.is_some() {
            self.advance_waiter(now);
        } else if self.client.is_some() {
            self.advance_client(now);
        }
        self.tell_hearing(now);
    }

    /// Whether open receipts are still to be waited for. If their time is over, they are settled.
    pub(super) fn is_settling(&mut self, until: Option<Instant>, now: Instant) -> bool {
        if self.open_receipts() == 0 {
            return false;
        }
        if until.is_some_and(|until| now < until) {
            return true;
        }
        let _ = self.give_up_receipts(); // the last `<a/>` or `<resumed/>` says it
        false
    }

    /// Settles what is open. Returns the `<a/>` that was owed for it.
    pub(super) fn give_up_receipts(&mut self) -> Option<Nonza> {
        self.count_given_up(self.open_receipts());
        match &mut self.state {
            State::Live(stream) => stream.settle_all(),
            State::Detached(session, _) => {
                session.settle_all();
                None
            }
            State::Closing(_) | State::Offline(_) | State::Over => None,
        }
    }

    fn advance_ending(&mut self, now: Instant) {
        let until = self.ending.as_ref().map(|ending| ending.until);
        if self.is_settling(until, now) {
            return;
        }
        let Some(ending) = &mut self.ending else { return };
        // Without stream management nothing that the peer still says counts.
        ending.peer_closed |= matches!(&self.state, State::Live(stream) if !stream.is_enabled());
        if matches!(self.state, State::Live(_)) && self.connection.is_some() {
            let State::Live(stream) = mem::replace(&mut self.state, State::Over) else { return };
            let (ack, closing) = stream.finish();
            self.state = State::Closing(closing);
            self.unwritten.keep_front();
            if ending.peer_closed {
                ending.last.write = ack;
            } else {
                (ending.is_said, ending.until) = (true, after(now, self.config.close_timeout));
                self.unwritten.extend(ending.last.write.take().into_iter().chain(ack).map(Front::Nonza));
                self.unwritten.extend(ending.last.error.take().map(Front::Error));
                self.unwritten.push(Front::Close);
                return;
            }
        }
        let is_done = ending.peer_closed || self.connection.is_none() || !ending.is_said || ending.until <= now;
        if is_done {
            self.finish_ending();
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn finish_ending(&mut self) {
        let Some(mut ending) = self.ending.take() else { return };
        let reason = ending.last.reason;
        let has_success = self.unwritten.success().is_some();
        let mut unsaid = self.unwritten.take_front();
        let is_all_said = unsaid.is_empty();
        if has_success {
            // Before `<success/>` the peer takes nothing but an error.
            unsaid.retain(|front| matches!(front, Front::Error(_)));
            ending.last.write = None;
        }
        if self.connection.is_some() {
            let parting = match (ending.is_said, is_all_said) {
                (true, true) => Parting::Close,
                // It takes nothing.
                (true, false) if !ending.peer_closed => Parting::Drop,
                // There was no stream, or no time, to say it on.
                _ => Parting::Say(unsaid.into_iter().fold(ending.last, take_in)),
            };
            self.leave(parting, ending.why);
        }
        let waiting = self.take_waiting();
        let ended = match mem::replace(&mut self.state, State::Over) {
            State::Live(stream) => Some(stream.end(reason)),
            State::Detached(session, away) => {
                self.count_away(away);
                Some(session.end(reason))
            }
            State::Closing(closing) => Some(closing.end(reason)),
            State::Offline(_) | State::Over => None,
        };
        if ending.goes_on {
            self.state = State::Offline(waiting);
            self.forget_stream();
            return ended.into_iter().for_each(|ended| self.reclaim(ended));
        }
        self.say_ended(reason, ended, waiting);
    }

    /// The session is over: its stanzas go back.
    pub(super) fn say_ended(&mut self, reason: EndReason, ended: Option<Ended<S>>, waiting: Queue<S>) {
        self.backlog_full_until = None;
        let evicted = self.evicted.take().map(|evicted| evicted.into_returned()).unwrap_or_default();
        let (smid, h, unacked) = match ended {
            Some(ended) => {
                self.count_ended(&ended);
                (ended.smid, ended.h, ended.unacked)
            }
            None => (None, Counter::ZERO, Undelivered::default()),
        };
        self.refuse_at_end(reason, h);
        self.verdict = None;
        let stanzas = Leftovers { evicted, unacked, waiting: waiting.into_waiting() };
        crate::trace::ended(reason, h, stanzas.len());
        self.events.push_back(Event::Ended(Box::new(SessionEnded { reason, smid, h, stanzas })));
    }
}

/// The last words, with one that there was no time to write before.
fn take_in(last: LastWords, front: Front) -> LastWords {
    let is_reply = matches!(last.write, Some(Nonza::Enabled(_) | Nonza::Resumed(_)));
    match front {
        // Without the reply, an acknowledgement says nothing to the peer.
        Front::Nonza(_) if is_reply => last,
        Front::Nonza(nonza) => LastWords { write: Some(nonza), ..last },
        Front::Error(error) => LastWords { error: Some(error), ..last },
        Front::Success(_) | Front::Flush | Front::Close => last,
    }
}

/// What a session leaves behind.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Config, EndReason, Event, Fate, Session, Unbound};
///
/// let now = Instant::now();
/// let stream = Unbound::new(Arc::new(Config::default()), "juliet@example.com");
/// let mut session: Session<&'static str, ()> = stream.bind(());
/// session.send("<message/>", now)?;
/// session.lost(now); // before anything was written, and there is no stream management
///
/// let Some(Event::Left { .. }) = session.poll() else { unreachable!() };
/// let Some(Event::Ended(ended)) = session.poll() else { unreachable!() };
/// assert_eq!(ended.reason, EndReason::NotResumable);
/// let elsewhere: Vec<_> = ended.stanzas.map(|leftover| (leftover.stanza, leftover.fate)).collect();
/// assert_eq!(elsewhere, [("<message/>", Fate::Unsent)]);
/// # Ok::<(), xmpp_sm::NotSent<&'static str>>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its stanzas are kept nowhere else"]
pub struct SessionEnded<S> {
    /// How the session ended.
    pub reason: EndReason,
    /// The session's SM-ID, which the store still knows. `None`: it could not be resumed.
    pub smid: Option<SmId>,
    /// How many stanzas of the peer were handled: what [`retire`](crate::SessionStore::retire) remembers, and what the
    /// last `<a/>` said.
    pub h: Counter,
    /// What the peer may not have, each stanza once, in order: evicted, unacknowledged, never sent. What was written while
    /// stream management was off is not among them.
    pub stanzas: Leftovers<S>,
}

/// A stanza that comes back at the end of a session.
///
/// See the [example](SessionEnded#example) of `SessionEnded`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "this stanza is kept nowhere else"]
pub struct Leftover<S> {
    /// The stanza.
    pub stanza: S,
    /// When the stanza was given to the session.
    pub queued: Instant,
    /// How far the stanza came.
    pub fate: Fate,
}

/// How far a stanza came that was not acknowledged.
///
/// See the [example](SessionEnded#example) of `SessionEnded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// The stanza was written, and left the buffer before it was acknowledged. The peer may have it.
    Evicted,
    /// The stanza was written, and not acknowledged. The peer may have it.
    Unacknowledged,
    /// The stanza was never written. Client: it may have been written in an earlier session, which the server did not
    /// resume.
    Unsent,
}

/// The stanzas that a session leaves behind, in order, each once.
///
/// A server [should treat](https://xmpp.org/extensions/xep-0198.html#acking) them like stanzas for a resource that is
/// not there: they go to another resource, to offline storage, or back to the sender as an error. See
/// [`disposition`](crate::disposition), and the [example](SessionEnded#example) of `SessionEnded`.
#[derive(PartialEq, Eq)]
#[must_use = "these stanzas are kept nowhere else"]
pub struct Leftovers<S> {
    evicted: VecDeque<Returned<S>>,
    unacked: Undelivered<S>,
    waiting: VecDeque<Entry<S>>,
}

/// How many there are: what people wrote to each other is not for logs.
impl<S> fmt::Debug for Leftovers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leftovers({})", self.len())
    }
}

impl<S> Iterator for Leftovers<S> {
    type Item = Leftover<S>;

    fn next(&mut self) -> Option<Self::Item> {
        let written = |fate| move |Returned { stanza, queued, .. }| Leftover { stanza, queued, fate };
        let evicted = self.evicted.pop_front().map(written(Fate::Evicted));
        let unacked = || self.unacked.next().map(written(Fate::Unacknowledged));
        evicted.or_else(unacked).or_else(|| {
            let Entry { stanza, queued } = self.waiting.pop_front()?;
            Some(Leftover { stanza, queued, fate: Fate::Unsent })
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let written = self.evicted.len().saturating_add(self.unacked.len());
        let all = written.saturating_add(self.waiting.len());
        (all, Some(all))
    }
}

impl<S> ExactSizeIterator for Leftovers<S> {}
impl<S> FusedIterator for Leftovers<S> {}
