//! A session for its whole life: with a connection, without one, and at its end.

mod client;
mod client_inline;
mod closing;
mod event;
mod evicted;
mod inline;
#[cfg(feature = "snapshot")]
mod lasting;
mod parts;
mod receive;
mod send;
mod stored;
mod success;
mod take;
mod tally;
mod timers;
mod unbound;
mod view;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub use client::{MustBind, NotConnected, NotConnectedWhy, Offer};
pub use client_inline::{InlineOffer, InlineReply, InlineRequest, NotConnectedInline};
pub use closing::{Fate, Leftover, Leftovers, SessionEnded};
pub use event::{Arrival, Event, LeftWhy, NotNow, NotSent, NotSentWhy, Parting};
pub use inline::{AuthenticateError, InlineBind, InlineElements, InlineResume, InlineUnknown, LoginStep, Replay};
#[cfg(feature = "snapshot")]
pub(crate) use lasting::Lasting;
pub use parts::{Attempts, DoesNotFit, NotAtRest, NotAtRestWhy, SessionParts, Side};
pub use success::{InlineBound, InlineSuccess};
pub use take::{Refused, Taker};
pub use unbound::{Early, NotTaken, Unbound};
pub use write::Write;

use crate::config::Config;
use crate::counter::Counter;
use crate::detached::Detached;
use crate::nonza::{Condition, Nonza};
use crate::queue::Queue;
use crate::receipts::{NotOpen, Receipt, ReceiptError};
use crate::smid::SmId;
use crate::stanza::Stanza;
use crate::stream::{Closing, EnableRequest, Foreign, StreamMgmt};
use client::Client;
use closing::Ending;
use evicted::Evicted;
use take::Waiter;
use tally::{Away, Tally};
use timers::Verdict;
use write::{Front, Unwritten};

/// A session, from bind to its end, with or without a connection. Its host owns it in one place (a task, a thread, an
/// actor), feeds it what happens, and does what it returns.
///
/// `S` is what the host keeps of a [`Stanza`]; `C` is the host's own type of connection. A connection comes and
/// goes; the session, its mailbox and its place in the store stay.
///
/// # The order of calls
///
/// | when | call |
/// | --- | --- |
/// | a server has bound a resource | [`Unbound::bind`] makes the session, or [`InlineBind::bind`] |
/// | a client starts | [`client`](Self::client), and [`connect`](Self::connect) for each connection |
/// | after each call below | [`poll`](Self::poll) until it returns `None`; then [`next_write`](Self::next_write) while the connection has room, which makes no event |
/// | an element has arrived, any element, while [`wants_read`](Self::wants_read) | [`handle`](Self::handle) |
/// | the peer's `</stream:stream>` has arrived | [`peer_closed`](Self::peer_closed) |
/// | the connection is lost | [`lost`](Self::lost) |
/// | somebody has a stanza for the peer | [`send`](Self::send) |
/// | a delivered stanza is handled | [`settle`](Self::settle) |
/// | the peer asks for stream management | [`accept_enable`](Self::accept_enable) or [`refuse_enable`](Self::refuse_enable) |
/// | the peer says that it is active, or inactive | [`set_active`](Self::set_active) |
/// | another connection asks for the session | [`take`](Self::take) |
/// | [`deadline`](Self::deadline) has come | [`timeout`](Self::timeout) |
/// | the host ends the session | [`close`](Self::close) |
/// | the host stops, and the session is to go on | [`lost`](Self::lost), then [`into_parts`](Self::into_parts) |
///
/// Every `now` is the host's: a monotonic clock that does not go backwards between calls.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Arrival, Config, Enable, Event, Inbound, Nonza, Parting, Session, SmId, Unbound, Write};
///
/// let now = Instant::now();
/// let stream = Unbound::new(Arc::new(Config::default()), "juliet@example.com");
/// // ... a resource is bound ...
/// let mut session: Session<&'static str, Vec<String>> = stream.bind(Vec::new());
/// let enable = Nonza::Enable(Enable { resume: true, max: None });
/// let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
/// session.accept_enable(request, Some(SmId::new("x")?), now)?;
/// session.send("<message/>", now).map_err(|no| no.to_string())?;
/// while let Some((connection, item)) = session.next_write(now) {
///     connection.push(match item {
///         Write::Stanza { stanza, .. } => stanza.to_string(),
///         Write::Nonza(nonza) => nonza.to_string(),
///         Write::Flush => "(flush)".to_string(),
///         other => unreachable!("{other:?}"),
///     });
/// }
/// let written = session.connection().cloned().unwrap_or_default().concat();
/// assert_eq!(
///     written,
///     "(flush)<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true' max='600'/>(flush)\
///      <message/><r xmlns='urn:xmpp:sm:3'/>",
/// );
///
/// session.lost(now); // and the message waits for the client to come back
/// let Some(Event::Left { parting: Parting::Drop, .. }) = session.poll() else { unreachable!() };
/// assert_eq!(session.unacked(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the session and its stanzas live nowhere else"]
pub struct Session<S, C> {
    config: Arc<Config>,
    owner: Arc<str>,
    state: State<S>,
    connection: Option<C>,
    /// What the host has to know.
    events: VecDeque<Event<S, C>>,
    /// What is to be written on the present stream, beside new stanzas.
    unwritten: Unwritten,
    /// When the session ends because the backlog is over its bounds.
    backlog_full_until: Option<Instant>,
    evicted: Option<Box<Evicted<S>>>,
    /// Another connection that waits for the session.
    waiter: Option<Box<Waiter<C>>>,
    /// How the session is being ended.
    ending: Option<Box<Ending>>,
    /// A timeout that is due and not yet judged.
    verdict: Option<Box<Verdict>>,
    /// What only a client's session has.
    client: Option<Box<Client>>,
    /// What is counted, and what else is seldom touched.
    tally: Option<Box<Tally>>,
}

#[derive(Debug)]
enum State<S> {
    /// There is a stream.
    Live(StreamMgmt<S>),
    /// The stream is lost, and the session can be resumed.
    Detached(Detached<S>, Away),
    /// Our `</stream:stream>` is on its way, and the peer's last acknowledgements count.
    Closing(Closing<S>),
    /// A client that has no session, and no stream. What waits goes into the next one.
    Offline(Queue<S>),
    Over,
}

impl<S: Stanza> State<S> {
    /// What is on its way to the peer, sent or not. `None`: the session is over.
    #[inline(always)]
    fn queue(&self) -> Option<&Queue<S>> {
        match self {
            Self::Live(stream) => Some(&stream.traffic().queue),
            Self::Detached(session, _) => Some(&session.traffic.queue),
            Self::Closing(closing) => Some(&closing.traffic().queue),
            Self::Offline(queue) => Some(queue),
            Self::Over => None,
        }
    }

    #[inline(always)]
    fn queue_mut(&mut self) -> Option<&mut Queue<S>> {
        match self {
            Self::Live(stream) => Some(stream.queue_mut()),
            Self::Detached(session, _) => Some(&mut session.traffic.queue),
            Self::Closing(closing) => Some(closing.queue_mut()),
            Self::Offline(queue) => Some(queue),
            Self::Over => None,
        }
    }
}

impl<S: Stanza, C> Session<S, C> {
    fn new(config: Arc<Config>, owner: Arc<str>, state: State<S>, connection: Option<C>) -> Self {
        Self {
            config,
            owner,
            state,
            connection,
            events: VecDeque::new(),
            unwritten: Unwritten::default(),
            backlog_full_until: None,
            evicted: None,
            waiter: None,
            ending: None,
            verdict: None,
            client: None,
            tally: None,
        }
    }

    /// Makes each acknowledged stanza that is still in the buffer come back as [`Event::Acknowledged`], so that the
    /// host can report its delivery or delete its row. The page [`tokens`](crate::tokens) shows a host that does so.
    /// Default: off, and then it costs nothing.
    pub fn return_acknowledged(&mut self, on: bool) {
        self.tally.get_or_insert_default().returns_acknowledged = on;
    }

    /// Makes the session tell what a push service has to know: that it is [detached](Event::Detached), once each time,
    /// and each stanza that is [queued](Event::Queued) meanwhile. Default: off, and then it costs nothing. Call this
    /// once, directly after `bind` or [`from_parts`](Self::from_parts). If the client is back before `poll`, there is
    /// no event.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::time::{Duration, Instant};
    /// # use xmpp_sm::{Config, Enable, Event, Nonza, Arrival, Session, SmId, Unbound};
    /// # let now = Instant::now();
    /// # let stream = Unbound::new(Arc::new(Config::default()), "juliet@example.com");
    /// # let mut session: Session<&str, ()> = stream.bind(());
    /// session.report_detached(true);
    /// // ... stream management is on, and the connection is lost ...
    /// # let enable = Nonza::Enable(Enable { resume: true, max: None });
    /// # let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
    /// # session.accept_enable(request, Some(SmId::new("x")?), now)?;
    /// # while session.next_write(now).is_some() {}
    /// # session.lost(now);
    /// # let mut pushes = Vec::new();
    /// # let hour = now + Duration::from_secs(3600);
    /// # for stanza in [None, Some("<message><body>ciao!</body></message>")] {
    /// # if let Some(stanza) = stanza { session.send(stanza, now).map_err(|no| no.why)?; }
    /// while let Some(event) = session.poll() {
    ///     match event {
    ///         Event::Detached { unacked, waiting } if unacked + waiting > 0 => pushes.push("you have mail"),
    ///         // `poll` follows each call, so this is about the stanza that `send` was just given.
    ///         Event::Queued => {
    ///             pushes.push("one more");
    ///             let at_least = session.expires_at().map(|at| at.max(hour));
    ///             session.set_expires_at(at_least);
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// assert_eq!(pushes, ["one more"]);
    /// # assert_eq!(session.expires_at(), Some(hour));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A host that has woken a device gives it time to come back, as here. Its client is not told: `<resumed/>` has a
    /// place for `previd` and `h`
    /// [and nothing else](https://xmpp.org/extensions/xep-0198.html#resumption), and a session is kept for "the time
    /// specified in the [original](https://xmpp.org/extensions/xep-0198.html#acking) `<enabled/>` element". What
    /// `<enabled max>` has said holds again each time the stream is lost. A host that means to give more from the start
    /// says so there: [`resume_timeout_max`](Config::resume_timeout_max), for the clients that ask.
    pub fn report_detached(&mut self, on: bool) {
        self.tally.get_or_insert_default().reports_detached = on;
    }

    /// Returns what the host has to know or to do next. `None`: nothing more. Call it until it returns `None`, after
    /// every call that changes the session, but for [`next_write`](Self::next_write), which makes no event.
    ///
    /// See [the order of calls](Self#the-order-of-calls).
    pub fn poll(&mut self) -> Option<Event<S, C>> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // Most sessions wait for most of their time: they keep no memory for it.
            self.events = VecDeque::new();
        }
        event
    }

    /// Settles a delivered stanza: the host has
    /// [accepted responsibility](https://xmpp.org/extensions/xep-0198.html#acking) for it, and `h` covers it. Stanzas may be
    /// settled in any order, with or without a connection.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`], with the receipt, if it is another session's, or if the session could not wait for it any
    /// longer and has settled its stanza without it.
    pub fn settle(&mut self, receipt: Receipt, now: Instant) -> Result<(), ReceiptError> {
        let ack = match &mut self.state {
            State::Live(stream) => stream.record_handled(receipt)?,
            State::Detached(session, _) => session.record_handled(receipt).map(|()| None)?,
            State::Closing(_) | State::Offline(_) | State::Over if receipt.number().is_none() => None,
            State::Closing(_) | State::Offline(_) | State::Over => return Err(ReceiptError::SettledBefore(receipt)),
        };
        self.on_settled(ack, now);
        Ok(())
    }

    /// Settles a delivered stanza whose receipt is lost: the host takes responsibility for it, and `h` covers it.
    /// [`oldest_open`](Self::oldest_open) shows the stanza that `h` waits for.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] if that stanza has no open receipt.
    pub fn settle_without_receipt(&mut self, number: Counter, now: Instant) -> Result<(), NotOpen> {
        let ack = match &mut self.state {
            State::Live(stream) => stream.settle_without_receipt(number)?,
            State::Detached(session, _) => session.settle_without_receipt(number).map(|()| None)?,
            State::Closing(_) | State::Offline(_) | State::Over => return Err(NotOpen(number)),
        };
        self.on_settled(ack, now);
        Ok(())
    }

    /// Settles all delivered stanzas whose receipts are open, as [`settle_without_receipt`](Self::settle_without_receipt)
    /// settles one. Call it when you have waited for them long enough and want [`into_parts`](Self::into_parts).
    /// [`Stats::receipts_given_up`](crate::Stats::receipts_given_up) counts them.
    pub fn settle_all(&mut self, now: Instant) {
        if self.open_receipts() > 0 {
            let ack = self.give_up_receipts();
            self.on_settled(ack, now);
        }
    }

    /// A stanza is settled, which may have let an `<a/>` go out, or what waits for open receipts go on.
    fn on_settled(&mut self, ack: Option<Nonza>, now: Instant) {
        if ack.is_some() {
            self.unwritten.owe_ack();
        }
        self.advance(now);
    }

    /// Switches stream management on, with an SM-ID that is [registered](crate::SessionStore::register) with the store.
    /// `None`: the session cannot be resumed. [`accept_enable_in`](Self::accept_enable_in) does both.
    ///
    /// See the [example](Self#example) of `Session`.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the session does not wait for it.
    pub fn accept_enable(
        &mut self,
        request: EnableRequest,
        smid: Option<SmId>,
        now: Instant,
    ) -> Result<(), Foreign<EnableRequest>> {
        let State::Live(stream) = &mut self.state else { return Err(Foreign(request)) };
        let enabled = stream.accept_enable(request, smid)?;
        crate::trace::enabled(stream.is_resumable());
        self.reply_to_enable(enabled);
        self.tell_hearing(now);
        Ok(())
    }

    /// Refuses stream management, for the reason `why`. The session goes on without it.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the session does not wait for it.
    pub fn refuse_enable(
        &mut self,
        request: EnableRequest,
        why: Condition,
        now: Instant,
    ) -> Result<(), Foreign<EnableRequest>> {
        let State::Live(stream) = &mut self.state else { return Err(Foreign(request)) };
        let failed = stream.refuse_enable(request, why)?;
        self.reply_to_enable(failed);
        self.tell_hearing(now);
        Ok(())
    }

    /// `<enabled/>` or `<failed/>`, into `<success/>` if it was asked for there.
    fn reply_to_enable(&mut self, reply: Nonza) {
        match self.unwritten.success() {
            Some(success) if success.waits => {
                success.set_enable(reply);
                self.unwritten.push(Front::Flush);
            }
            _ if matches!(reply, Nonza::Enabled(_)) => {
                self.unwritten.extend([Front::Flush, Front::Nonza(reply), Front::Flush]);
            }
            _ => self.unwritten.push(Front::Nonza(reply)),
        }
    }

    /// Asks the peer for an acknowledgement by one more `<r/>`, whatever [`ack_freq`](Config::ack_freq) says. Without a
    /// stream, or while stream management is off, it does nothing.
    pub fn request_ack(&mut self, now: Instant) {
        if let State::Live(stream) = &mut self.state
            && self.ending.is_none()
        {
            self.unwritten.request |= stream.request_ack(now).is_some();
        }
    }

    /// Says whether the peer is active, where a server understands [client state
    /// indication](https://xmpp.org/extensions/xep-0352.html#indication). While the peer is inactive, `<r/>` waits,
    /// unless the buffer fills up; it goes out when the peer is active again. Every stream starts active, a resumed one
    /// too; without a stream the call does nothing.
    ///
    /// Without `<r/>` nobody notices that the connection of an inactive client is dead: after a long silence the host
    /// [asks](Self::request_ack). What else an inactive client need not see is the host's business.
    pub fn set_active(&mut self, active: bool, now: Instant) {
        if let State::Live(stream) = &mut self.state
            && self.ending.is_none()
        {
            self.unwritten.request |= stream.set_active(active, now).is_some();
        }
    }

    /// Sends the peer an `<a/>` that it has not asked for. While stream management is off it does nothing.
    pub fn send_ack(&mut self) {
        if let State::Live(stream) = &self.state
            && stream.is_enabled()
        {
            self.unwritten.owe_ack();
        }
    }

    /// Moves the time at which a detached session [expires](Self::expires_at), earlier or later. `None`: it does not
    /// expire by itself. Returns whether the time was moved: not if the session is not detached, or already ends.
    ///
    /// See the example of [`report_detached`](Self::report_detached).
    pub fn set_expires_at(&mut self, deadline: Option<Instant>) -> bool {
        let State::Detached(session, _) = &mut self.state else { return false };
        if self.ending.is_some() {
            return false;
        }
        session.set_deadline(deadline);
        true
    }
}
