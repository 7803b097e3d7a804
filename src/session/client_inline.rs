//! The client's side of stream management [inside of SASL2 and Bind 2](https://xmpp.org/extensions/xep-0198.html#inline).

use std::time::Instant;

use minidom::Element;

use super::inline::{NS_BIND2, NS_SASL2};
use super::timers::after;
use super::{Offer, Session, State, WrongAccount};
use crate::nonza::{Failed, Kind, NS, Nonza, Resume};
use crate::stanza::Stanza;
use crate::stream::{Inbound, StreamMgmt};

/// What a server offers [inline](https://xmpp.org/extensions/xep-0198.html#inline), before authentication.
/// Given to [`Session::inline`](crate::Session::inline).
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

/// What a client asks for in its `<authenticate/>`. It goes to [`Session::connect_inline`] when `<success/>` has come; if it
/// does not come, drop it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it goes into `<authenticate/>`, and then to `connect_inline`"]
pub struct InlineRequest {
    connection: u64,
    resume: Option<Nonza>,
    binds: bool,
    enable: Option<Nonza>,
}

impl InlineRequest {
    /// The children of `<authenticate/>`: `<resume/>`, and `<bind/>` with `<enable/>`, as far as they are asked for. `tag`:
    /// what the resource [begins with](https://xmpp.org/extensions/xep-0386.html#identifiers).
    pub fn to_elements(&self, tag: Option<&str>) -> impl Iterator<Item = Element> {
        let tag = tag.map(|tag| Element::builder("tag", NS_BIND2).append(tag).build());
        let enable = self.enable.as_ref().map(Nonza::to_element);
        let bind = || Element::builder("bind", NS_BIND2).append_all(tag).append_all(enable).build();
        self.resume.as_ref().map(Nonza::to_element).into_iter().chain(self.binds.then(bind))
    }
}

/// What `<success/>` says about an [`InlineRequest`]. Given to
/// [`Session::connect_inline`](crate::Session::connect_inline).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InlineReply {
    resume: Option<Inbound>,
    is_bound: bool,
    enable: Option<Inbound>,
}

impl InlineReply {
    /// Reads `<success/>`.
    pub fn from_success(success: &Element) -> Self {
        let nonza = |parent: &Element| parent.children().find_map(Nonza::from_element).map(Inbound::from);
        let bound = success.get_child("bound", NS_BIND2);
        Self { resume: nonza(success), is_bound: bound.is_some(), enable: bound.and_then(nonza) }
    }

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
        self.is_bound
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// A client is about to authenticate by SASL2 on a new connection, whose server makes this `offer`. Returns what to put
    /// into `<authenticate/>`. What the server does not offer is left out; [`connect_inline`](Self::connect_inline) asks for
    /// it after authentication.
    ///
    /// Where the server has no SASL2, do not call this: authenticate, and call [`connect`](Self::connect).
    ///
    /// An earlier connection [leaves](crate::Event::Left). Each call is a try: after ten in a row that came to nothing, the
    /// session [is given up](Self::client). So call it when the connection is there, not before.
    ///
    /// See the [example](crate::inline#a-client) of the module.
    pub fn inline(&mut self, offer: InlineOffer, now: Instant) -> InlineRequest {
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
        InlineRequest { connection: self.connection_number(), resume, binds, enable }
    }

    fn enable_element(&self) -> Option<Nonza> {
        let mut engine = StreamMgmt::<S>::client(self.config.clone());
        engine.authenticated();
        engine.bound();
        engine.enable().ok()
    }

    /// A new connection on which the client has authenticated as `owner` by SASL2, and the `reply` to its `request`. The
    /// session goes on over it, or a new session begins. What `<success/>` does not answer is asked for now, as after
    /// [`connect`](Self::connect).
    ///
    /// `offer` says what the stream features after `<success/>` offer. Where the session is
    /// [resumed](InlineReply::is_resumed), no features follow, and any `offer` will do.
    ///
    /// # Errors
    ///
    /// [`WrongAccount`], with the connection: a session is not offered to another account; or the session is over; or
    /// another connection was made since [`inline`](Self::inline). Nothing has changed.
    pub fn connect_inline(
        &mut self,
        owner: &str,
        request: InlineRequest,
        reply: InlineReply,
        offer: Offer,
        connection: C,
        now: Instant,
    ) -> Result<(), WrongAccount<C>> {
        let is_latest = self.connection.is_none() && self.connection_number() == request.connection;
        if *owner != *self.owner || self.is_ending() || self.is_over() || self.client.is_none() || !is_latest {
            return Err(WrongAccount(connection));
        }
        let InlineReply { resume, is_bound, enable } = reply;
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
