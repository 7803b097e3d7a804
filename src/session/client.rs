//! A client's session: over many connections, and from one session to the next.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::parts::Attempts;
use super::tally::Away;
use super::timers::after;
use super::write::Front;
use super::{Event, LeftWhy, Session, State};
use crate::config::{Config, OnFull};
use crate::counter::Counter;
use crate::detached::{EndReason, Ended};
use crate::error::{Error, LastWords};
use crate::nonza::{Failed, Location, Nonza};
use crate::queue::Queue;
use crate::stanza::Stanza;
use crate::stream::{Disconnected, Foreign, StreamMgmt};
use crate::trace;

/// What only a client's session has.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Whether stream management is offered on the present stream.
    offer: Offer,
    /// Which connection this is: a [`MustBind`] of an earlier one is of no use.
    connection: u64,
    /// Whether a resource is bound on the present stream.
    is_bound: bool,
    /// Whether the server has bound one inline, whatever becomes of `<resume/>`.
    pub(super) is_bound_inline: bool,
    /// On a new connection: until when open receipts are waited for before the session is asked for.
    pub(super) settle_until: Option<Instant>,
    /// Until when the server may reply to `<enable/>` or `<resume/>`, or the host may bind.
    pub(super) reply_until: Option<Instant>,
    /// How many times in a row `<resume/>` was written, and not replied to.
    tries: u32,
    /// How many times in a row the server kept silent instead, or closed the stream.
    unanswered: u32,
    /// How much the server had acknowledged when it last left an `<r/>` unanswered. `None`: it has answered one since.
    pub(super) silent_at: Option<Counter>,
    /// Where the server wants the client to come back to the session.
    pub(super) location: Option<Location>,
}

/// What the stream features of a server offer after authentication.
///
/// A client gives it to [`Session::connect`](crate::Session::connect); a server has it in
/// [`InlineSuccess`](crate::InlineSuccess).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Whether `<sm xmlns='urn:xmpp:sm:3'/>` is among the
    /// [stream features](https://xmpp.org/extensions/xep-0198.html#feature).
    pub stream_management: bool,
    /// Whether a resource has to be bound, by the
    /// [`<bind/>`](https://www.rfc-editor.org/rfc/rfc6120#section-7) of RFC 6120; not so between servers and for components.
    pub binds: bool,
}

/// A resource has to be bound on the present stream. It goes to [`Session::bound`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "no stanza is sent before this is given to `bound`"]
pub struct MustBind {
    connection: u64,
}

/// The session does not take this connection. It comes back.
///
/// Returned by [`Session::connect`](crate::Session::connect).
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the session does not take the connection: {why}")]
pub struct NotConnected<C> {
    /// The connection.
    pub connection: C,
    /// The reason.
    pub why: NotConnectedWhy,
}

/// Why a session does not take a connection.
///
/// A field of [`NotConnected`] and [`NotConnectedInline`](crate::NotConnectedInline).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotConnectedWhy {
    /// The session belongs to another account than the one that has authenticated.
    #[error("it is another account's")]
    WrongAccount,
    /// The session is a server's: its connections come by [`take`](crate::Session::take).
    #[error("it is a server's")]
    NotClient,
    /// The session is over, or is being closed.
    #[error("it is over, or is being closed")]
    Over,
    /// Inline: another connection was made, or asked for, since this one was.
    #[error("another connection was made since")]
    Outdated,
}

/// How many times in a row the server may keep silent, or close the stream, instead of a reply to `<resume/>`.
const UNANSWERED_MAX: u32 = 2;

impl Client {
    /// What is left of it without a stream.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts { tries: self.tries, unanswered: self.unanswered, silent_at: self.silent_at }
    }

    pub(super) fn after(Attempts { tries, unanswered, silent_at }: Attempts) -> Self {
        Self { tries, unanswered, silent_at, ..Self::default() }
    }

    /// Whether stanzas may be sent on the present stream. Not before the reply to `<enable/>`, though a client could:
    /// if the connection were lost before it, they would have to be sent twice.
    pub(super) fn is_online(&self) -> bool {
        self.is_bound && self.reply_until.is_none()
    }

    /// Nothing is bound, and no reply waited for, without a stream.
    pub(super) fn leave_stream(&mut self) {
        (self.settle_until, self.reply_until, self.is_bound) = (None, None, false);
        self.is_bound_inline = false;
    }

    /// Whether a reply to `<resume/>` is waited for.
    fn is_resuming(&self) -> bool {
        self.tries > 0 && self.reply_until.is_some()
    }

    /// Whether this `<failed/>` leaves it unknown whether there is such a session, and the server is asked again.
    pub(super) fn asks_again(&self, failed: &Failed, config: &Config) -> bool {
        failed.is_unknown() && self.is_resuming() && !self.is_bound_inline && self.may_try(config)
    }

    /// Whether it makes sense to ask the server for a former session.
    fn may_resume(&self, config: &Config) -> bool {
        self.offer.stream_management && self.may_try(config)
    }

    /// Whether a reply may still come.
    pub(super) fn may_try(&self, config: &Config) -> bool {
        self.unanswered < UNANSWERED_MAX && self.tries < config.resume_tries_max.get()
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// Makes a client's session, before its first connection. `owner` is the account's bare JID. Stanzas may be sent at
    /// once: they wait.
    ///
    /// The `Session` lives over all the connections of the account, until the host [closes](Self::close) it. If the
    /// server does not resume a session, or breaks the protocol, its stanzas go into the next one, in order, once.
    ///
    /// They do so, too, if `<resume/>` has had no reply [ten times](Config::resume_tries_max) in a row, or twice where
    /// the server kept silent or closed the stream: the session is given up, and [`Event::Bind`] comes. The server may
    /// have these stanzas then, and gets them twice. A server that [cannot tell](crate::LeftWhy::Unavailable) whether
    /// it has the session is asked again on another connection, as often.
    ///
    /// See [a client's loop](crate#a-clients-loop).
    pub fn client(config: Arc<Config>, owner: impl Into<Arc<str>>) -> Self {
        let mut session = Self::new(config, owner.into(), State::Offline(Queue::default()), None);
        session.client = Some(Box::default());
        session
    }

    /// Takes a new connection, on which the client has authenticated as `owner`. If there is a session and the server
    /// `offer`s stream management, the session asks to be resumed; if not, [`Event::Bind`] comes.
    ///
    /// An earlier connection [leaves](Event::Left).
    ///
    /// # Errors
    ///
    /// [`NotConnected`], with the connection: the session is another account's or a server's, or is over or being
    /// closed. Nothing has changed.
    pub fn connect(&mut self, owner: &str, offer: Offer, connection: C, now: Instant) -> Result<(), NotConnected<C>> {
        if let Err(why) = self.check_connects(owner) {
            return Err(NotConnected { connection, why });
        }
        self.leave_for_another(now);
        self.count_connection();
        self.set_offer(offer, after(now, self.config.settle_timeout));
        self.connection = Some(connection);
        self.advance(now);
        Ok(())
    }

    /// Whether a connection of this account may be made.
    pub(super) fn check_connects(&self, owner: &str) -> Result<(), NotConnectedWhy> {
        match () {
            () if self.client.is_none() => Err(NotConnectedWhy::NotClient),
            () if self.is_ending() || self.is_over() => Err(NotConnectedWhy::Over),
            () if *owner != *self.owner => Err(NotConnectedWhy::WrongAccount),
            () => Ok(()),
        }
    }

    /// There is a new connection, and the session leaves the one that it has.
    pub(super) fn leave_for_another(&mut self, now: Instant) {
        self.lost(now);
        if let Some(ending) = &mut self.ending {
            // The former stream has no more time.
            ending.until = now;
            self.advance(now);
        }
    }

    /// A [`MustBind`] or a request of an earlier connection is of no use from here on.
    pub(super) fn count_connection(&mut self) {
        if let Some(client) = &mut self.client {
            client.connection = client.connection.wrapping_add(1);
        }
    }

    pub(super) fn connection_number(&self) -> u64 {
        self.client.as_ref().map_or(0, |client| client.connection)
    }

    pub(super) fn set_offer(&mut self, offer: Offer, settle_until: Instant) {
        if let Some(client) = &mut self.client {
            (client.offer, client.settle_until) = (offer, Some(settle_until));
        }
    }

    /// On a new connection: asks for the former session, once its open receipts are settled, or begins a new one.
    pub(super) fn advance_client(&mut self, now: Instant) {
        if self.connection.is_none() || !matches!(self.state, State::Detached(..) | State::Offline(_)) {
            return;
        }
        if self.client.as_ref().is_some_and(|client| !client.may_resume(&self.config)) {
            self.end_session();
        }
        let until = self.client.as_ref().and_then(|client| client.settle_until);
        if self.is_settling(until, now) {
            return;
        }
        match self.is_detached() {
            true => {
                if let Some(resume) = self.resume_again(now) {
                    self.unwritten.push(Front::Nonza(resume));
                }
            }
            false => self.begin(now),
        }
    }

    /// The session asks for itself, and waits for the reply. Returns `<resume/>`.
    pub(super) fn resume_again(&mut self, now: Instant) -> Option<Nonza> {
        match mem::replace(&mut self.state, State::Over) {
            State::Detached(session, away) => match StreamMgmt::resume(self.config.clone(), session) {
                Ok((engine, resume)) => {
                    self.count_away(away);
                    self.state = State::Live(engine);
                    self.await_reply(now);
                    return Some(resume);
                }
                // Its receipts are settled.
                Err(open) => self.state = State::Detached(open.session, away),
            },
            other => self.state = other,
        }
        None
    }

    /// A try has come to nothing, and not for the server's session.
    pub(super) fn uncount_try(&mut self) {
        if let Some(client) = &mut self.client {
            client.tries = client.tries.saturating_sub(1);
        }
    }

    pub(super) fn count_try(&mut self) {
        if let Some(client) = &mut self.client {
            client.tries = client.tries.saturating_add(1);
        }
    }

    /// A new session.
    pub(super) fn begin(&mut self, now: Instant) {
        let mut engine = StreamMgmt::client(self.config.clone());
        engine.authenticated();
        *engine.queue_mut() = self.take_waiting();
        self.state = State::Live(engine);
        self.must_bind(now);
    }

    /// Whether the reply to `<enable/>` is waited for.
    pub(super) fn has_asked_to_enable(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_bound && client.reply_until.is_some())
    }

    fn must_bind(&mut self, now: Instant) {
        let Some(client) = &self.client else { return };
        let must_bind = MustBind { connection: client.connection };
        if client.offer.binds {
            self.await_reply(now);
            self.events.push_back(Event::Bind(must_bind));
        } else {
            // It is of this connection.
            let _ = self.bound(must_bind, now);
        }
    }

    /// A resource is bound on the present stream. The session asks to enable stream management, where the server offers
    /// it; [`Event::Online`] says how that went.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the `MustBind`, if it belongs to another connection.
    pub fn bound(&mut self, must_bind: MustBind, now: Instant) -> Result<(), Foreign<MustBind>> {
        let (State::Live(stream), Some(client)) = (&mut self.state, &mut self.client) else {
            return Err(Foreign(must_bind));
        };
        if must_bind.connection != client.connection || self.ending.is_some() || client.is_bound {
            return Err(Foreign(must_bind));
        }
        client.is_bound = true;
        client.reply_until = None;
        stream.bound();
        match client.offer.stream_management.then(|| stream.enable()) {
            Some(Ok(enable)) => {
                self.unwritten.push(Front::Nonza(enable));
                self.await_reply(now);
            }
            _ => self.events.push_back(Event::Online { enabled: false }),
        }
        Ok(())
    }

    fn await_reply(&mut self, now: Instant) {
        if let Some(client) = &mut self.client {
            client.reply_until = Some(after(now, self.config.reply_timeout));
        }
    }

    pub(super) fn on_enabled(&mut self, location: Option<Location>) {
        self.on_reply();
        if let (State::Live(stream), Some(client)) = (&self.state, &mut self.client) {
            trace::enabled(stream.is_resumable());
            client.location = location.filter(|_| stream.is_resumable());
        }
        self.events.push_back(Event::Online { enabled: true });
    }

    pub(super) fn on_resumed(&mut self, request_after: bool, now: Instant) {
        self.on_reply();
        if let Some(client) = &mut self.client {
            client.is_bound = true;
        }
        self.forget_acked_evicted();
        self.count_resumed(now);
        self.events.push_back(Event::Resumed);
        self.start_resending(request_after);
    }

    fn on_reply(&mut self) {
        if let Some(client) = &mut self.client {
            (client.reply_until, client.tries, client.unanswered) = (None, 0, 0);
        }
    }

    pub(super) fn on_failed(&mut self, failed: Failed, ended: Ended<S>, now: Instant) {
        self.on_reply();
        if ended.reason == EndReason::EnableRefused {
            trace::refused(failed.condition);
            self.events.push_back(Event::Online { enabled: false });
        } else {
            trace::not_resumed(&failed);
            self.events.push_back(Event::NotResumed(failed));
            self.reclaim(ended);
            self.must_bind(now);
        }
    }

    /// The stanzas of a session that is gone go into the next one, before all that waits.
    pub(super) fn reclaim(&mut self, ended: Ended<S>) {
        self.count_ended(&ended);
        let evicted = self.evicted.take().map(|evicted| evicted.into_returned()).unwrap_or_default();
        let stanzas: Vec<_> = evicted.into_iter().chain(ended.unacked).map(|back| (back.stanza, back.queued)).collect();
        if let Some(queue) = self.state.queue_mut() {
            queue.push_before(stanzas.into_iter());
        }
        if let Some(client) = &mut self.client {
            (client.silent_at, client.tries, client.unanswered) = (None, 0, 0);
            client.location = None;
        }
    }

    /// The session is not asked for any more; its stanzas wait for the next one.
    pub(super) fn end_session(&mut self) {
        match mem::replace(&mut self.state, State::Over) {
            State::Detached(mut session, away) => {
                self.state = State::Offline(session.traffic.queue.successor());
                self.count_away(away);
                session.settle_all();
                self.reclaim(session.end(EndReason::ResumeRefused));
            }
            other => self.state = other,
        }
    }

    /// The stream is gone.
    pub(super) fn detach_client(&mut self, why: LeftWhy, now: Instant) {
        self.forget_stream();
        let away = Away { at: now, why: why.into() };
        match mem::replace(&mut self.state, State::Over) {
            State::Live(stream) => match stream.leave(now) {
                (Disconnected::Resumable(mut session), _) => {
                    session.traffic.queue.rest();
                    self.state = State::Detached(session, away);
                }
                (Disconnected::Ended(ended), waiting) => {
                    self.state = State::Offline(waiting);
                    self.count_away(away);
                    self.reclaim(ended);
                }
            },
            other => self.state = other,
        }
        self.tell_detached();
    }

    /// The server closes the stream.
    pub(super) fn leave_client_stream(&mut self, now: Instant) {
        let write = match &self.state {
            State::Live(stream) => stream.send_ack(),
            _ => None,
        };
        self.note_unanswered(1);
        let last = LastWords { write, error: None, reason: EndReason::Closed };
        self.detach(Some(last), LeftWhy::PeerClosed, now);
    }

    /// The server closes the stream with an error. To a `<resume/>` that is reply enough, unless it is a conflict: that
    /// may be with an earlier connection of this client, whose request was late on its way.
    pub(super) fn on_server_error(&mut self, conflict: bool, now: Instant) {
        self.note_unanswered(if conflict { 1 } else { UNANSWERED_MAX });
        let last = LastWords { write: None, error: None, reason: EndReason::Closed };
        self.detach(Some(last), LeftWhy::PeerError { conflict }, now);
        if conflict {
            self.events.push_back(Event::Conflict);
        }
    }

    /// The server cannot tell whether it has the session. It may on another connection.
    pub(super) fn on_unavailable(&mut self, now: Instant) {
        let last = LastWords { write: None, error: None, reason: EndReason::Closed };
        self.detach(Some(last), LeftWhy::Unavailable, now);
    }

    /// The server has not replied in time, or the host has not bound.
    pub(super) fn on_no_reply(&mut self, now: Instant) {
        self.note_unanswered(1);
        self.detach(None, LeftWhy::NoReply, now);
    }

    /// `<resume/>` is not going to be replied to.
    fn note_unanswered(&mut self, times: u32) {
        if let Some(client) = self.client.as_mut().filter(|client| client.is_resuming()) {
            client.unanswered = client.unanswered.saturating_add(times);
        }
    }

    /// The peer leaves an `<r/>` unanswered.
    ///
    /// The first time, a client's connection may be dead. The second time, with nothing acknowledged since, it may as
    /// well be the server's session: there are servers that resume a session and read nothing more of it. To resume it
    /// once more could go on without end.
    pub(super) fn on_silence(&mut self, now: Instant) {
        let acked = match &self.state {
            State::Live(stream) => Some(stream.acked()),
            _ => None,
        };
        let before = self.client.as_mut().and_then(|client| mem::replace(&mut client.silent_at, acked));
        if before.is_some() && before == acked {
            let last = LastWords { write: None, error: None, reason: EndReason::Closed };
            self.end_stream(last, LeftWhy::Error(Error::AckTimeout), now);
        } else {
            self.detach(None, LeftWhy::Error(Error::AckTimeout), now);
        }
    }

    /// Whether a stanza of so many bytes fits into the buffer, as long as nothing else is in it.
    pub(super) fn can_keep(&self, bytes: usize) -> bool {
        let config = &self.config;
        !config.buffer || config.on_full == OnFull::EvictOldest || bytes <= config.buffer_max_bytes.get()
    }
}
