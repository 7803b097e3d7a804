//! What stream management puts into the `<success/>` of SASL2.

use std::time::Instant;

use super::client::Offer;
use super::write::Front;
use super::{Event, Session, State};
use crate::error::{Error, Reaction};
use crate::nonza::{Condition, Nonza};
use crate::stanza::Stanza;
use crate::stream::{Action, Inbound};

/// All that stream management puts into a SASL2 [`<success/>`](https://xmpp.org/extensions/xep-0388.html#success), and
/// what follows that.
///
/// The host adds `<additional-data/>`, and as `<authorization-identifier/>` the full JID: that of the session which goes on,
/// or which is new. Where it is [neither](crate::LoginStep::Success), it is the bare JID.
///
/// See the example of [`InlineElements`](crate::InlineElements).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the client waits for `<success/>`"]
#[non_exhaustive]
pub struct InlineSuccess {
    /// `<resumed/>`, or `<failed/>`: directly in `<success/>`.
    pub resume: Option<Nonza>,
    /// `Some`: a resource is bound, and there is a [`<bound/>`](https://xmpp.org/extensions/xep-0386.html#bind-request) in
    /// `<success/>`.
    pub bound: Option<InlineBound>,
    /// What the stream features that follow `<success/>` offer. `None`: the session goes on, and
    /// [none may follow](https://xmpp.org/extensions/xep-0198.html#inline-resume).
    pub features: Option<Offer>,
    /// Whether the host has not yet answered the `<enable/>` in `<bind/>`.
    pub(super) waits: bool,
}

/// `<bound xmlns='urn:xmpp:bind:0'/>`: a resource is bound by Bind 2.
///
/// See the example of [`InlineElements`](crate::InlineElements).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InlineBound {
    /// `<enabled/>` or `<failed/>`, if the client has asked: in `<bound/>`.
    pub enable: Option<Nonza>,
}

impl InlineSuccess {
    /// Neither a session that goes on nor a new one.
    pub(super) fn without_session(resume: Option<Nonza>, stream_management: bool) -> Self {
        Self { resume, bound: None, features: Some(Offer { stream_management, binds: true }), waits: false }
    }

    pub(super) fn resumed(resumed: Nonza) -> Self {
        Self { resume: Some(resumed), bound: None, features: None, waits: false }
    }

    /// A new session. Whether stream management can be enabled later is seen when this is written.
    fn bound(resume: Option<Nonza>) -> Self {
        let features = Some(Offer { stream_management: false, binds: false });
        Self { resume, bound: Some(InlineBound::default()), features, waits: false }
    }

    /// The reply to the `<enable/>` in `<bind/>`.
    pub(super) fn set_enable(&mut self, reply: Nonza) {
        self.waits = false;
        self.bound.get_or_insert_default().enable = Some(reply);
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// The client has asked for its resource in `<authenticate/>`, and perhaps for stream management. `failed`: what it is
    /// told about its former session.
    pub(super) fn begin_inline(&mut self, enable: Option<Inbound>, failed: Option<Nonza>, now: Instant) {
        let mut success = InlineSuccess::bound(failed);
        if let (Some(enable), State::Live(stream)) = (enable, &mut self.state) {
            match stream.handle(enable, now) {
                Ok(Action::Enable(request)) => {
                    success.waits = true;
                    self.events.push_back(Event::Enable(request));
                }
                Ok(_) => {}
                Err(error) => success.set_enable(failed_by(&error)),
            }
        }
        self.unwritten.push(Front::Success(Box::new(success)));
    }
}

/// The `<failed/>` for a request that the engine does not take.
pub(super) fn failed_by(error: &Error) -> Nonza {
    match error.reaction() {
        Reaction::Write(failed) => failed,
        _ => Nonza::failed(Condition::UnexpectedRequest),
    }
}
