//! The client's side of stream management [inside of SASL2 and Bind 2](https://xmpp.org/extensions/xep-0198.html#inline).

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use thiserror::Error;

use super::client::NotConnectedWhy;
use super::inline::{NS_BIND2, NS_SASL2};
use super::timers::after;
use super::{Offer, Session, State};
use crate::nonza::{Failed, Kind, NS, Nonza, Resume};
use crate::stanza::Stanza;
use crate::stream::{Inbound, StreamMgmt};

/// What a server offers [inline](https://xmpp.org/extensions/xep-0198.html#inline), before authentication.
/// Given to [`Session::request_inline`](crate::Session::request_inline).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InlineOffer {
    /// Whether a session can be resumed in `<authenticate/>`.
    pub resume: bool,
    /// Whether a resource can be bound in `<authenticate/>`, by Bind 2.
    pub bind: bool,
    /// Whether stream management can be enabled in that `<bind/>`.
    pub enable: bool,
}

impl InlineOffer {
    /// Reads the stream features.
    pub fn from_features(features: &Element) -> Self {
        let authentication = features.get_child("authentication", NS_SASL2);
        let Some(inline) = authentication.and_then(|offered| offered.get_child("inline", NS_SASL2)) else {
            return Self::default();
        };
        let bind = inline.get_child("bind", NS_BIND2);
        let is_sm = |feature: &Element| feature.is("feature", NS_BIND2) && feature.attr("var") == Some(NS);
        let switches = bind.and_then(|bind| bind.get_child("inline", NS_BIND2));
        Self {
            resume: inline.has_child("sm", NS),
            bind: bind.is_some(),
            enable: switches.is_some_and(|switches| switches.children().any(is_sm)),
        }
    }
}

/// What a client asks for in its `<authenticate/>`.
///
/// When `<success/>` has come, [`reply`](Self::reply) reads it. When `<failure/>` has, give the request to
/// [`Session::authentication_failed`](crate::Session::authentication_failed). If the connection is lost before either, drop
/// it.
///
/// See the [example](crate::inline#a-client) of the module.
#[derive(PartialEq, Eq)]
#[must_use = "it goes into `<authenticate/>`, and waits for `<success/>`"]
pub struct InlineRequest {
    owner: Arc<str>,
    connection: u64,
    resume: Option<Nonza>,
    binds: bool,
    enable: Option<Nonza>,
}

impl InlineRequest {
    /// The children of `<authenticate/>`: `<resume/>`, and `<bind/>` with `<enable/>`, as far as they are asked for. `tag`:
    /// what the resource [begins with](https://xmpp.org/extensions/xep-0386.html#identifiers).
    ///
    /// A client [must not](https://xmpp.org/extensions/xep-0388.html#security) send `<authenticate/>` as TLS early data
    /// ("0-RTT"), and least of all [with `<resume/>`](https://xmpp.org/extensions/xep-0198.html#security): an attacker
    /// who records it can send it again.
    pub fn to_elements(&self, tag: Option<&str>) -> impl Iterator<Item = Element> {
        let tag = tag.map(|tag| Element::builder("tag", NS_BIND2).append(tag).build());
        let enable = self.enable.as_ref().map(Nonza::to_element);
        let bind = || Element::builder("bind", NS_BIND2).append_all(tag).append_all(enable).build();
        self.resume.as_ref().map(Nonza::to_element).into_iter().chain(self.binds.then(bind))
    }

    /// Reads `<success/>`, as far as it replies to this request: nothing is looked at that was not asked for.
    pub fn reply(self, success: &Element) -> InlineReply {
        let resume = self.resume.as_ref().and_then(|_| find(success, ["resumed", "failed"]));
        let bound = success.get_child("bound", NS_BIND2).filter(|_| self.binds);
        let enable = bound.and_then(|bound| find(bound, ["enabled", "failed"]));
        InlineReply { request: self, resume, is_bound: bound.is_some(), enable }
    }
}

/// Whose account it is, is not for a log.
impl fmt::Debug for InlineRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, resume, binds, enable, .. } = self;
        write!(
            f,
            "InlineRequest {{ connection: {connection}, resume: {resume:?}, binds: {binds}, enable: {enable:?} }}"
        )
    }
}

/// The first element of stream management that has one of these names.
fn find(parent: &Element, names: [&str; 2]) -> Option<Inbound> {
    let is_one = |child: &&Element| names.iter().any(|name| child.is(*name, NS));
    parent.children().find(is_one).and_then(Nonza::from_element).map(Inbound::from)
}

/// What `<success/>` says to an [`InlineRequest`], which it holds. Given to
/// [`Session::connect_inline`](crate::Session::connect_inline).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it goes to `connect_inline`"]
pub struct InlineReply {
    request: InlineRequest,
    resume: Option<Inbound>,
    is_bound: bool,
    enable: Option<Inbound>,
}

impl InlineReply {
    /// Whether the session goes on. If so, no stream features follow.
    pub fn is_resumed(&self) -> bool {
        match &self.resume {
            Some(Inbound::Nonza(nonza)) => matches!(nonza, Nonza::Resumed(_)),
            Some(Inbound::Malformed(error)) => error.element() == Some(Kind::Resumed),
            _ => false,
        }
    }

    /// Whether a resource is bound: its JID is the `<authorization-identifier/>`.
    pub fn is_bound(&self) -> bool {
        self.is_bound && !self.is_resumed()
    }
}

/// The session does not take this connection. It comes back, with the reply.
///
/// Returned by [`Session::connect_inline`](crate::Session::connect_inline).
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the session does not take the connection: {why}")]
pub struct NotConnectedInline<C> {
    /// The connection.
    pub connection: C,
    /// What `<success/>` said on it.
    pub reply: InlineReply,
    /// The reason.
    pub why: NotConnectedWhy,
}

impl<S: Stanza, C> Session<S, C> {
    /// A client is about to authenticate as `owner` by SASL2 on a new connection, whose server makes this `offer`. Returns
    /// what to put into `<authenticate/>`. What the server does not offer is left out;
    /// [`connect_inline`](Self::connect_inline) asks for it after authentication.
    ///
    /// Where the server has no SASL2, do not call this: authenticate, and call [`connect`](Self::connect).
    ///
    /// An earlier connection [leaves](crate::Event::Left). A `<resume/>` is a try, unless the authentication
    /// [fails](Self::authentication_failed): after ten in a row that came to nothing, the session
    /// [is given up](Self::client). So call it when the connection is there, not before.
    ///
    /// # Errors
    ///
    /// [`NotConnectedWhy`]: the session would not take the connection. Nothing has changed.
    ///
    /// See the [example](crate::inline#a-client) of the module.
    pub fn request_inline(
        &mut self,
        owner: &str,
        offer: InlineOffer,
        now: Instant,
    ) -> Result<InlineRequest, NotConnectedWhy> {
        self.check_connects(owner)?;
        self.leave_for_another(now);
        self.count_connection();
        let may_resume = self.client.as_ref().is_some_and(|client| client.may_try(&self.config));
        let (resume, begins) = match &self.state {
            State::Offline(_) => (None, true),
            State::Detached(..) if !may_resume => (None, true),
            // Its `h` would leave out what is still being handled.
            State::Detached(session, _) if offer.resume && session.open_receipts() == 0 => {
                (Some(Nonza::Resume(Resume { previd: session.smid().clone(), h: session.h() })), true)
            }
            _ => (None, false),
        };
        if resume.is_some() {
            self.count_try();
        }
        let binds = begins && offer.bind;
        let enable = if binds && offer.enable { self.enable_element() } else { None };
        Ok(InlineRequest { owner: self.owner.clone(), connection: self.connection_number(), resume, binds, enable })
    }

    fn enable_element(&self) -> Option<Nonza> {
        let mut engine = StreamMgmt::<S>::client(self.config.clone());
        engine.authenticated();
        engine.bound();
        engine.enable().ok()
    }

    /// The server has answered `<authenticate/>` with `<failure/>`, or the client has not written it: the request is no try
    /// any more. Nothing else has changed.
    ///
    /// If the connection is lost before the server answers, drop the request instead: the `<resume/>` in it may be what the
    /// server cannot stand.
    pub fn authentication_failed(&mut self, request: InlineRequest) {
        if request.resume.is_some() && self.check_request(&request).is_ok() {
            self.uncount_try();
        }
    }

    /// Whether a connection may still be made by this request.
    fn check_request(&self, request: &InlineRequest) -> Result<(), NotConnectedWhy> {
        self.check_connects(&request.owner)?;
        let is_latest = self.connection.is_none() && self.connection_number() == request.connection;
        if is_latest { Ok(()) } else { Err(NotConnectedWhy::Outdated) }
    }

    /// A new connection on which the client has authenticated by SASL2, and the server's `reply` to what it
    /// [asked for](Self::request_inline). The session goes on over it, or a new session begins. What `<success/>` does not
    /// answer is asked for now, as after [`connect`](Self::connect).
    ///
    /// `offer` says what the stream features after `<success/>` offer. Where the session is
    /// [resumed](InlineReply::is_resumed), no features follow, and any `offer` will do.
    ///
    /// # Errors
    ///
    /// [`NotConnectedInline`], with the connection and the reply: the request is another account's; or the session is closed;
    /// or another connection was made since. Nothing has changed. Close the connection: a session that the server has
    /// resumed on it is resumed once more on the next.
    pub fn connect_inline(
        &mut self,
        reply: InlineReply,
        offer: Offer,
        connection: C,
        now: Instant,
    ) -> Result<(), Box<NotConnectedInline<C>>> {
        if let Err(why) = self.check_request(&reply.request) {
            return Err(Box::new(NotConnectedInline { connection, reply, why }));
        }
        let is_bound = reply.is_bound();
        let InlineReply { request, resume, enable, .. } = reply;
        if let Some(client) = &mut self.client {
            client.is_bound_inline = is_bound;
        }
        let enables = is_bound && request.enable.is_some();
        let offer = Offer { stream_management: offer.stream_management || enables, binds: offer.binds && !is_bound };
        self.set_offer(offer, after(now, self.config.settle_timeout));
        self.connection = Some(connection);
        if request.resume.is_some() && (resume.is_some() || is_bound) {
            self.resume_again(now);
            let reply = resume.unwrap_or(Inbound::Nonza(Nonza::Failed(Failed::default())));
            // The session waits for it.
            let _ = self.handle(reply, now);
        } else if is_bound {
            self.end_session();
            self.begin(now);
        } else {
            if request.resume.is_some() {
                // It is asked once more on this connection.
                self.uncount_try();
            }
            self.advance(now);
        }
        if enables && self.has_asked_to_enable() {
            // It is asked for already, and this is the reply.
            drop(self.unwritten.take_front());
            let _ = self.handle(enable.unwrap_or(Inbound::Nonza(Nonza::Failed(Failed::default()))), now);
        }
        Ok(())
    }
}
