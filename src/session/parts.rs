//! A session given up whole, to be kept elsewhere, and put together again.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::client::Client;
use super::tally::Away;
use super::{Session, State};
use crate::config::Config;
use crate::counter::Counter;
use crate::detached::{Detached, Parts, TooMuch};
use crate::queue::{Backlog, Queue};
use crate::stanza::Stanza;
use crate::stats::Detach;

/// All that a [`Session`] without a connection is: to be written down (a `Snapshot`, with the feature `snapshot`), or
/// to go on elsewhere.
///
/// Three things stay behind. A client's [`location`](Session::location) is not known any more. What its host has set
/// ([`report_detached`](Session::report_detached), [`return_acknowledged`](Session::return_acknowledged)) is set again by
/// the host. The [statistics](Session::stats) start from zero, with two exceptions: [`sent`](crate::Stats::sent) and [`acked`](crate::Stats::acked) go on, and the
/// present time without a stream is the first of [`detached`](crate::Stats::detached).
///
/// Returned by [`Session::into_parts`], and given to [`Session::from_parts`].
#[derive(Clone, PartialEq, Eq)]
#[must_use = "the session and its stanzas live nowhere else"]
pub struct SessionParts<S> {
    /// The authenticated bare JID that the session belongs to.
    pub owner: Arc<str>,
    /// Whose side of the session this is, and what the peer knows of the session.
    pub side: Side<S>,
    /// The stanzas that were never written, oldest first, each with the time at which it was given to the session. They
    /// come after the unacknowledged ones.
    pub waiting: Vec<(S, Instant)>,
}

/// Whose side of a session it is. A field of [`SessionParts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side<S> {
    /// The side that is asked to resume: a server's.
    Server(Parts<S>),
    /// The side that asks: a client's, and of two servers that of the one that connects.
    Client {
        /// The session that the client asks its server for. `None`: there is none at present, and what waits goes into
        /// the next one.
        session: Option<Parts<S>>,
        /// What the client remembers of its attempts to resume.
        attempts: Attempts,
    },
}

/// What a client remembers of its attempts to resume, so that the count goes on: see [`Session::client`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many times in a row `<resume/>` was written, and not replied to.
    pub(crate) tries: u32,
    /// How many times in a row the server kept silent instead, or closed the stream.
    pub(crate) unanswered: u32,
    /// How much the server had acknowledged when it last left an `<r/>` unanswered.
    pub(crate) silent_at: Option<Counter>,
}

/// Counts: what people wrote to each other is not for logs.
impl<S> fmt::Debug for SessionParts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unacked = self.detached().map(|parts| parts.unacked.len());
        write!(f, "SessionParts {{ unacked: {unacked:?}, waiting: {} }}", self.waiting.len())
    }
}

impl<S> SessionParts<S> {
    /// What the peer knows of the session. `None`: a client's that has none at present.
    ///
    /// See the example of [`into_parts`](Session::into_parts).
    pub fn detached(&self) -> Option<&Parts<S>> {
        match &self.side {
            Side::Server(parts) => Some(parts),
            Side::Client { session, .. } => session.as_ref(),
        }
    }

    /// All its stanzas, oldest first, with the times at which they were given to the session: what is unacknowledged, and
    /// then what waits. For a session that cannot go on, because it [does not fit](DoesNotFit), for instance.
    pub fn into_stanzas(self) -> impl Iterator<Item = (S, Instant)> {
        let session = match self.side {
            Side::Server(parts) => Some(parts),
            Side::Client { session, .. } => session,
        };
        let unacked = session.map(|session| session.unacked).unwrap_or_default();
        unacked.into_iter().chain(self.waiting)
    }
}

/// A session cannot be given up now. It comes back, as it was.
///
/// Returned by [`Session::into_parts`].
#[derive(Error)]
#[error("the session cannot be given up: {why}")]
pub struct NotAtRest<S, C> {
    /// The session.
    pub session: Session<S, C>,
    /// The reason.
    pub why: NotAtRestWhy,
}

impl<S, C> fmt::Debug for NotAtRest<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotAtRest").field("why", &self.why).finish_non_exhaustive()
    }
}

/// Why a session cannot be given up. A field of [`NotAtRest`]. [What a host meets](crate::nodes#what-a-host-meets) has them
/// beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAtRestWhy {
    /// It has events: [`poll`](Session::poll) until there are none. They hold connections and stanzas.
    #[error("it has events")]
    Events,
    /// It has a connection: see [`lost`](Session::lost).
    #[error("it has a connection")]
    Connected,
    /// The host still handles stanzas of the peer: [`settle`](Session::settle) them, or
    /// [all that are left](Session::settle_all). Otherwise `h` would leave them out, the peer would
    /// send them once more, and they would be handled twice.
    #[error("stanzas of the peer are not settled")]
    ReceiptsOpen,
    /// A connection waits for it: open receipts are settled first, or their time is over.
    #[error("a connection waits for it")]
    Taken,
    /// It is being ended, or is over.
    #[error("it ends, or is over")]
    Ending,
}

/// The parts of a session are more than the options allow. They come back.
///
/// Returned by [`Session::from_parts`]. [What a host meets](crate::nodes#what-a-host-meets) says where its stanzas go.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the session holds more than the options allow")]
pub struct DoesNotFit<S> {
    /// The parts, as they were.
    pub parts: SessionParts<S>,
}

impl<S: Stanza, C> Session<S, C> {
    /// Gives the session up, whole: to be written down before the process ends, or to go on elsewhere. Call
    /// [`lost`](Self::lost) and [`poll`](Self::poll) first: the session must have no connection and no events. Do not
    /// call [`close`](Self::close): that ends it.
    ///
    /// # Errors
    ///
    /// [`NotAtRest`], with the session as it was.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Instant;
    /// use xmpp_sm::{Arrival, Config, Enable, Inbound, Nonza, NotAtRestWhy, Session, SmId, Unbound};
    ///
    /// let now = Instant::now();
    /// let config = Arc::new(Config::default());
    /// let mut session: Session<&str, ()> = Unbound::new(config.clone(), "juliet@example.com").bind(());
    /// let enable = Nonza::Enable(Enable { resume: true, max: None });
    /// let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { unreachable!() };
    /// session.accept_enable(request, Some(SmId::new("x")?), now)?;
    ///
    /// session.lost(now);
    /// session.send("<message/>", now)?;
    /// let not = session.into_parts().unwrap_err();
    /// assert_eq!(not.why, NotAtRestWhy::Events); // it has left its connection
    /// let mut session = not.session;
    /// while let Some(_) = session.poll() {}
    /// let parts = session.into_parts().map_err(|not| not.why)?;
    /// assert_eq!(parts.detached().map(|parts| parts.smid.as_str()), Some("x"));
    /// assert_eq!(parts.waiting, [("<message/>", now)]);
    /// assert!(parts.clone().into_stanzas().eq([("<message/>", now)]));
    ///
    /// let session: Session<&str, ()> = Session::from_parts(config, parts, now)?;
    /// assert!(session.is_detached() && session.waiting() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn into_parts(mut self) -> Result<SessionParts<S>, NotAtRest<S, C>> {
        if let Some(why) = self.unrest() {
            return Err(NotAtRest { session: self, why });
        }
        let waiting = self.state.queue_mut().map(|queue| queue.successor().into_waiting());
        let waiting = waiting.into_iter().flatten().map(|waiting| (waiting.stanza, waiting.queued));
        let session = match mem::replace(&mut self.state, State::Over) {
            State::Detached(detached, away) => match detached.into_parts() {
                Ok(parts) => Some(parts),
                Err(open) => {
                    let mut detached = open.session;
                    detached.traffic.queue.push_before(waiting);
                    self.state = State::Detached(detached, away);
                    return Err(NotAtRest { session: self, why: NotAtRestWhy::ReceiptsOpen });
                }
            },
            _ => None,
        };
        let side = match (session, &self.client) {
            (session, Some(client)) => Side::Client { session, attempts: client.attempts() },
            (Some(parts), None) => Side::Server(parts),
            // Only a client's has no session and no stream.
            (None, None) => return Err(NotAtRest { session: self, why: NotAtRestWhy::Ending }),
        };
        // Nothing is evicted: a session that can be resumed has all that is unacknowledged.
        Ok(SessionParts { owner: self.owner, side, waiting: waiting.collect() })
    }

    /// What there is that cannot be given up.
    fn unrest(&self) -> Option<NotAtRestWhy> {
        if !self.events.is_empty() {
            return Some(NotAtRestWhy::Events);
        }
        if self.ending.is_some() {
            return Some(NotAtRestWhy::Ending);
        }
        if self.waiter.is_some() {
            return Some(NotAtRestWhy::Taken);
        }
        match &self.state {
            _ if self.connection.is_some() => Some(NotAtRestWhy::Connected),
            State::Detached(session, _) => (session.open_receipts() > 0).then_some(NotAtRestWhy::ReceiptsOpen),
            State::Offline(_) => None,
            State::Live(_) | State::Closing(_) | State::Over => Some(NotAtRestWhy::Ending),
        }
    }

    /// Puts a session together. It has no connection: a server's waits to be [taken](Self::take), once the host has
    /// registered its SM-ID with the store; a client's is [connected](Self::connect).
    ///
    /// A deadline that has passed meanwhile is [due](Self::deadline) at once.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`], with the parts: what is unacknowledged is more than the [buffer](Config::buffer_max) takes, or
    /// what waits in a server's is more than its [backlog](Config::backlog_max) does.
    #[expect(clippy::result_large_err, reason = "it is the session that comes back")]
    pub fn from_parts(config: Arc<Config>, parts: SessionParts<S>, now: Instant) -> Result<Self, DoesNotFit<S>> {
        let bytes = parts.waiting.iter().fold(0_usize, |sum, (stanza, _)| sum.saturating_add(stanza.bytes()));
        let backlog = Backlog { stanzas: parts.waiting.len(), bytes };
        if matches!(parts.side, Side::Server(_)) && !backlog.is_within(&config) {
            return Err(DoesNotFit { parts });
        }
        let SessionParts { owner, side, waiting } = parts;
        let (detached, attempts) = match side {
            Side::Server(session) => (Some(Detached::from_parts(config.clone(), session)), None),
            Side::Client { session, attempts } => {
                (session.map(|session| Detached::from_parts(config.clone(), session)), Some(attempts))
            }
        };
        let state = match detached {
            Some(Ok(detached)) => State::Detached(detached, Away { at: now, why: Detach::Lost }),
            Some(Err(TooMuch { parts })) => {
                let side = match attempts {
                    Some(attempts) => Side::Client { session: Some(parts), attempts },
                    None => Side::Server(parts),
                };
                return Err(DoesNotFit { parts: SessionParts { owner, side, waiting } });
            }
            None => State::Offline(Queue::default()),
        };
        let mut session = Self::new(config, owner, state, None);
        session.client = attempts.map(|attempts| Box::new(Client::after(attempts)));
        if let Some(queue) = session.state.queue_mut() {
            queue.push_before(waiting.into_iter());
        }
        Ok(session)
    }
}
