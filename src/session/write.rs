//! The one way out: what is to be written, in order.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::evicted::Evicted;
use super::success::InlineSuccess;
use super::tally::tally;
use super::{Session, State};
use crate::config::OnFull;
use crate::counter::Counter;
use crate::nonza::Nonza;
use crate::queue::{Queue, Returned, Undelivered};
use crate::stanza::Stanza;
use crate::stream_error::StreamError;

/// One thing to write. See [`Session::next_write`].
///
/// A host that matches without `_` forgets none of them: what is not written, the peer waits for.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the peer gets it only if it is written"]
pub enum Write<'a, S> {
    /// A stanza.
    Stanza {
        /// The stanza.
        stanza: &'a S,
        /// `Some`: it was first given to the session at this time, and goes out late: once more, or a second later or more.
        /// It [should be stamped](https://xmpp.org/extensions/xep-0198.html#acking) with it: see [`delay`](crate::delay).
        late: Option<Instant>,
    },
    /// An element of stream management.
    Nonza(&'a Nonza),
    /// `<success/>`, of which this is what stream management has to say, and the features that follow it. Only where the
    /// client has asked [inline](crate::InlineElements).
    Success(Box<InlineSuccess>),
    /// The last stream error, for which the stream's header has to declare the prefix `stream`.
    StreamError(StreamError),
    /// `</stream:stream>`. Nothing follows.
    Close,
    /// Flush: what follows must not share a TCP segment with what was written before. Clients in use miscount a stanza
    /// that arrives together with `<enabled/>` or `<resumed/>`.
    Flush,
}

/// What goes before all else.
#[derive(Debug)]
pub(super) enum Front {
    Flush,
    Nonza(Nonza),
    Success(Box<InlineSuccess>),
    Error(StreamError),
    Close,
}

/// What is to be written on the present stream, beside new stanzas. It is forgotten with the stream.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// What is written before new stanzas. Seldom there is something: it has a word in each session.
    first: Option<Box<First>>,
    /// How many `<a/>`.
    pub(super) acks: u32,
    /// Whether an `<r/>`.
    pub(super) request: bool,
    /// The element that the host is writing, or was the last to write: its place is used again.
    lent: Option<Box<Nonza>>,
}

#[derive(Debug, Default)]
struct First {
    /// What is written before anything else.
    front: VecDeque<Front>,
    /// What is sent once more.
    resend: Option<Resend>,
    /// The session ends its stream: no new stanza is written.
    is_ending: bool,
}

#[derive(Clone, Copy, Debug)]
struct Resend {
    /// The number of the stanza that is next.
    next: Counter,
    /// Whether an `<r/>` follows the last.
    request: bool,
}

/// The most `<a/>` that are owed at a time. A peer that asks more often than it reads gets no more.
const ACKS_MAX: u32 = 64;
/// The most replies that wait to be written while the session reads on. A peer that takes none gets no more.
const FRONT_MAX: usize = 64;

impl Unwritten {
    pub(super) fn push(&mut self, item: Front) {
        self.first.get_or_insert_default().front.push_back(item);
    }

    pub(super) fn extend(&mut self, items: impl IntoIterator<Item = Front>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    /// Whether there is nothing but an `<r/>`.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.first.is_none() && self.acks == 0
    }

    fn has_front(&self) -> bool {
        self.first.as_ref().is_some_and(|first| !first.front.is_empty())
    }

    pub(super) fn pop(&mut self) -> Option<Front> {
        let front = self.first.as_mut()?.front.pop_front();
        self.forget_first();
        front
    }

    /// Most sessions have nothing to write for most of their time: they keep no memory for it.
    fn forget_first(&mut self) {
        self.first.take_if(|first| first.front.is_empty() && first.resend.is_none() && !first.is_ending);
    }

    /// Keeps an element while the host writes it.
    fn lend(&mut self, nonza: Nonza) -> &Nonza {
        match &mut self.lent {
            Some(place) => {
                **place = nonza;
                place
            }
            none => none.insert(Box::new(nonza)),
        }
    }

    /// `<success/>`, which comes before all else.
    pub(super) fn success(&mut self) -> Option<&mut InlineSuccess> {
        match self.first.as_mut()?.front.front_mut() {
            Some(Front::Success(success)) => Some(success),
            _ => None,
        }
    }

    /// All that was to be written before anything else.
    pub(super) fn take_front(&mut self) -> VecDeque<Front> {
        let front = self.first.as_mut().map(|first| mem::take(&mut first.front)).unwrap_or_default();
        self.forget_first();
        front
    }

    /// Whether the peer takes its replies.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.first.as_ref().is_none_or(|first| first.front.len() < FRONT_MAX)
    }

    #[inline]
    pub(super) fn owe_ack(&mut self) {
        self.acks = self.acks.saturating_add(1).min(ACKS_MAX);
    }

    /// A stream goes on with stanzas that are sent once more, from the one of that number on. Whether an `<r/>` is written
    /// behind them.
    pub(super) fn start_resending(&mut self, next: Option<Counter>, request: bool) {
        (self.acks, self.request) = (0, request && next.is_none());
        if let Some(next) = next {
            self.first.get_or_insert_default().resend = Some(Resend { next, request });
        }
    }

    /// The number of the stanza that is sent once more next.
    fn resend(&self) -> Option<Counter> {
        Some(self.first.as_ref()?.resend?.next)
    }

    /// `None`: no more are sent once more.
    fn resend_next(&mut self, number: Option<Counter>) {
        let Some(first) = &mut self.first else { return };
        let last = first.resend;
        first.resend = last.zip(number).map(|(resend, next)| Resend { next, ..resend });
        self.request |= first.resend.is_none() && last.is_some_and(|resend| resend.request);
        self.forget_first();
    }

    /// The session ends its stream: no new stanza is written.
    pub(super) fn end(&mut self) {
        self.first.get_or_insert_default().is_ending = true;
    }

    /// What is left of a stream that closes: its last words.
    pub(super) fn keep_front(&mut self) {
        let front = self.take_front();
        *self = Self::default();
        self.extend(front);
    }
}

impl<'a, S> Write<'a, S> {
    /// A stanza that is written for the first time, and was given to the session at `queued`.
    #[inline(always)]
    fn stanza((stanza, queued): (&'a S, Instant), now: Instant) -> Self {
        let is_late = queued != now && now.saturating_duration_since(queued) >= LATE;
        Self::Stanza { stanza, late: is_late.then_some(queued) }
    }
}

/// What has waited for so long goes out with its time.
const LATE: Duration = Duration::from_secs(1);

/// What is written next.
enum Next {
    Front,
    Ack,
    AckRequest,
    Resent(Counter),
    /// What was recorded last.
    New,
    /// One that is not kept once it is written.
    Lent,
}

impl<S: Stanza, C> Session<S, C> {
    /// The next thing to write, and the connection to write it to. `None`: there is nothing to write now.
    ///
    /// Call it while the connection takes more: while fewer bytes wait in its own output than a bound that the host
    /// chooses, 64 KiB for instance. A connection that takes no more keeps nothing else waiting.
    #[inline(always)]
    pub fn next_write(&mut self, now: Instant) -> Option<(&mut C, Write<'_, S>)> {
        // The fast path: new stanzas, and an `<r/>`. They are put together in the caller: to hand them over in memory takes
        // longer than the rest.
        if let (State::Live(stream), Some(_)) = (&self.state, &self.connection)
            && stream.is_enabled()
            && self.unwritten.is_plain()
        {
            if self.unwritten.request {
                return self.write_request();
            }
            if stream.traffic().queue.is_all_sent() {
                return None;
            }
            if stream.is_first_calm() && self.backlog_full_until.is_none() {
                return self.write_first(now);
            }
        }
        self.write_otherwise(now)
    }

    #[inline(always)]
    fn write_request(&mut self) -> Option<(&mut C, Write<'_, S>)> {
        let connection = self.connection.as_mut()?;
        self.unwritten.request = false;
        tally(&mut self.tally).count_request();
        Some((connection, Write::Nonza(&Nonza::AckRequest)))
    }

    #[inline(always)]
    fn write_first(&mut self, now: Instant) -> Option<(&mut C, Write<'_, S>)> {
        let (State::Live(stream), Some(connection)) = (&mut self.state, &mut self.connection) else { return None };
        let (stanza, queued, request) = stream.record_first_calm(now)?;
        self.unwritten.request = request;
        Some((connection, Write::stanza((stanza, queued), now)))
    }

    #[inline(never)]
    fn write_otherwise(&mut self, now: Instant) -> Option<(&mut C, Write<'_, S>)> {
        self.connection.as_ref()?;
        let next = self.choose(now)?;
        self.write(next, now)
    }

    fn write(&mut self, next: Next, now: Instant) -> Option<(&mut C, Write<'_, S>)> {
        let write = match next {
            Next::Front => match self.unwritten.pop()? {
                Front::Flush => Write::Flush,
                Front::Nonza(nonza) => {
                    if matches!(nonza, Nonza::Resume(_)) {
                        // One that is not written can have done no harm.
                        self.count_try();
                    }
                    Write::Nonza(self.unwritten.lend(nonza))
                }
                Front::Success(success) => Write::Success(success),
                Front::Error(error) => Write::StreamError(error),
                Front::Close => Write::Close,
            },
            Next::Ack => {
                let State::Live(stream) = &self.state else { return None };
                self.unwritten.acks = self.unwritten.acks.saturating_sub(1);
                Write::Nonza(self.unwritten.lend(Nonza::Ack(stream.h())))
            }
            Next::AckRequest => {
                tally(&mut self.tally).count_request();
                Write::Nonza(&Nonza::AckRequest)
            }
            Next::Resent(number) => {
                self.count_resent();
                let State::Live(stream) = &self.state else { return None };
                let queued = stream.queued(number)?;
                self.unwritten.resend_next(Some(number.next()).filter(|_| number != stream.sent()));
                Write::Stanza { stanza: queued.stanza, late: Some(queued.queued) }
            }
            Next::New => {
                let State::Live(stream) = &self.state else { return None };
                Write::stanza(stream.newest()?, now)
            }
            Next::Lent => Write::stanza(self.state.queue()?.lent()?, now),
        };
        Some((self.connection.as_mut()?, write))
    }

    fn choose(&mut self, now: Instant) -> Option<Next> {
        if self.unwritten.has_front() {
            return self.choose_front();
        }
        let State::Live(stream) = &self.state else { return None };
        let unwritten = &mut self.unwritten;
        if mem::take(&mut unwritten.request) {
            return Some(Next::AckRequest);
        }
        if unwritten.acks > 0 {
            return Some(Next::Ack);
        }
        if self.ending.is_some() {
            // What was not sent by now comes back.
            return None;
        }
        if let Some(number) = unwritten.resend() {
            if stream.queued(number).is_some() {
                return Some(Next::Resent(number));
            }
            // The peer has acknowledged it meanwhile.
            unwritten.resend_next(stream.unacked().next().map(|queued| queued.number));
            return self.choose(now);
        }
        self.choose_new(now)
    }

    fn choose_front(&mut self) -> Option<Next> {
        if let Some(success) = self.unwritten.success() {
            // What it says depends on the host's answer.
            if success.waits {
                return None;
            }
            if let (Some(features), State::Live(stream)) = (&mut success.features, &self.state) {
                features.stream_management = stream.has_feature();
            }
        }
        Some(Next::Front)
    }

    fn choose_new(&mut self, now: Instant) -> Option<Next> {
        self.drop_lent();
        let is_open = self.is_open();
        let State::Live(stream) = &mut self.state else { return None };
        let (bytes, _) = stream.traffic().queue.first_waiting().filter(|_| is_open)?;
        if !stream.is_recording() {
            return self.lend();
        }
        if !stream.takes(bytes) {
            return stream.request_room(now).map(|_| Next::AckRequest);
        }
        if !stream.keeps() {
            self.unwritten.request = stream.record_unkept(now).write.is_some();
            return self.lend();
        }
        match stream.record_first(now) {
            Some(sent) => {
                self.unwritten.request = sent.write.is_some();
                self.on_backlog_less();
                match sent.evicted {
                    Some(evicted) => Some(self.on_evicted(*evicted, sent.number)),
                    None => Some(Next::New),
                }
            }
            // It is larger than the whole buffer.
            None => {
                self.end_full(now);
                // The last words may be said at once.
                Some(Next::Front)
            }
        }
    }

    /// Whether new stanzas may be written. What a client writes before the reply to `<enable/>` belongs to no session that
    /// could be resumed.
    #[inline(always)]
    fn is_open(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.is_online())
    }

    /// The next stanza is lent to the host, and not kept.
    fn lend(&mut self) -> Option<Next> {
        let is_lent = self.state.queue_mut().is_some_and(Queue::lend);
        self.on_backlog_less();
        is_lent.then_some(Next::Lent)
    }

    /// The stanza that was lent to the host is written.
    #[inline]
    pub(super) fn drop_lent(&mut self) {
        let lent = self.state.queue_mut().and_then(Queue::take_lent);
        if let (Some(stanza), Some(evicted)) = (lent, &mut self.evicted) {
            evicted.keep_lent(stanza, self.config.evicted_max_bytes);
        }
    }

    /// Takes out what waits to be sent: its session is over, or has not begun.
    pub(super) fn take_waiting(&mut self) -> Queue<S> {
        self.drop_lent();
        self.state.queue_mut().map(Queue::successor).unwrap_or_default()
    }

    /// Something waits no more. If the backlog is within its bounds again, its time is over.
    #[inline(always)]
    pub(super) fn on_backlog_less(&mut self) {
        if self.backlog_full_until.is_some() && self.backlog().is_within(&self.config) {
            self.backlog_full_until = None;
        }
    }

    /// Stanzas have left the buffer; the one that is written next, too, if it is larger than the whole buffer.
    #[cold]
    fn on_evicted(&mut self, mut evicted: Undelivered<S>, number: Option<Counter>) -> Next {
        self.count_evicted(evicted.len());
        let kept = self.evicted.get_or_insert_with(|| Box::new(Evicted::new()));
        let newest = evicted.take_newest(number);
        kept.keep(evicted, self.config.evicted_max_bytes);
        let Some(Returned { stanza, queued, number }) = newest else { return Next::New };
        kept.lend(number, queued);
        if let Some(queue) = self.state.queue_mut() {
            queue.push_before(std::iter::once((stanza, queued)));
            queue.lend();
        }
        Next::Lent
    }

    /// The backlog is over its bounds.
    pub(super) fn on_backlog_full(&mut self, now: Instant) {
        if self.ending.is_some() {
            // What comes during the end waits for it, and not without bound.
            if !self.backlog().is_within_twice(&self.config) {
                self.finish_ending();
            }
            return;
        }
        let is_attended = self.connection.is_some() || self.waiter.is_some();
        let grace = match self.config.on_full {
            OnFull::EndAfter(grace) if is_attended && self.backlog().is_within_twice(&self.config) => grace,
            _ => return self.end_full(now),
        };
        let clock = match &self.state {
            State::Live(stream) => stream.clock(now),
            _ => now,
        };
        // The first stanza over the bounds starts the time, and no other.
        self.backlog_full_until = self.backlog_full_until.or_else(|| clock.checked_add(grace));
    }
}
