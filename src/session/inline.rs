//! Stream management [inside of SASL2 and Bind 2](https://xmpp.org/extensions/xep-0198.html#inline), the server's side:
//! what a client asks for in its `<authenticate/>`, and what belongs into `<success/>`.

use std::time::Instant;

use minidom::Element;
use thiserror::Error;

use super::write::Front;
use super::{Event, Session, State};
use crate::config::Config;
use crate::error::{Error, Reaction};
use crate::nonza::{Condition, NS, Nonza};
use crate::stanza::Stanza;
use crate::stream::{Action, Inbound};

/// The namespace of [SASL2](https://xmpp.org/extensions/xep-0388.html).
pub(super) const NS_SASL2: &str = "urn:xmpp:sasl:2";
/// The namespace of [Bind 2](https://xmpp.org/extensions/xep-0386.html). The examples of XEP-0198 have an older one, which
/// clients do not use.
pub(super) const NS_BIND2: &str = "urn:xmpp:bind:0";

/// What a client asks for [inline](https://xmpp.org/extensions/xep-0198.html#inline), in its SASL2 `<authenticate/>`:
/// its former session, or a resource, with stream management.
///
/// It is read before authentication, and acted upon after it: [`Unbound::with_inline`](crate::Unbound::with_inline). If
/// authentication fails, drop it: nothing has been looked up, and nothing is told.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Config, Early, Inline, Refusal, Replay, Session, Unbound, Write};
///
/// let authenticate: minidom::Element = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'>\
///      <resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/><bind xmlns='urn:xmpp:bind:0'/></authenticate>".parse()?;
/// let inline = Inline::from_authenticate(&authenticate)?;
/// // ... the client proves to be juliet@example.com ...
/// let now = Instant::now();
/// let stream = Unbound::new(Arc::new(Config::default()), "juliet@example.com");
/// let mut stream = stream.with_inline(inline, Replay::Impossible);
/// let Some(Early::Resume(request)) = stream.poll(now) else { unreachable!() };
/// // ... the store knows no session of that SM-ID and owner ...
/// assert_eq!(stream.refuse(request, Refusal::NotFound)?, None, "it goes into <success/>");
/// let Some(Early::Bind(_)) = stream.poll(now) else { unreachable!() };
/// // ... a resource is bound ...
/// let mut session: Session<String, ()> = stream.bind(());
/// let Some((_, Write::Success(success))) = session.next_write(now) else { unreachable!() };
/// assert!(success.resume.is_some_and(|failed| failed.to_string().contains("<item-not-found ")));
/// assert!(success.bound.is_some_and(|bound| bound.enable.is_none()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inline {
    pub(super) resume: Option<Inbound>,
    pub(super) bind: Option<Element>,
    pub(super) enable: Option<Inbound>,
}

/// An element stands twice where a client may ask once: fail the authentication, with `malformed-request`.
///
/// Returned by [`Inline::from_authenticate`](crate::Inline::from_authenticate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("<{0}/> stands twice in one <authenticate/>")]
pub struct Twice(
    /// The name of the element: `resume`, `bind` or `enable`.
    pub &'static str,
);

/// Whether an `<authenticate/>` may be a copy of one that the client sent to another connection.
///
/// Only what came as [TLS early data](https://xmpp.org/extensions/xep-0388.html#security) ("0-RTT") may, and not even that
/// if the client has answered a challenge since.
///
/// See the example of [`Inline`](crate::Inline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It came after the TLS handshake; or the mechanism has a challenge, as SCRAM does; or the host knows each early data
    /// that it has seen.
    Impossible,
    /// No session is resumed and no resource bound by it.
    Possible,
}

impl Inline {
    /// Whether [`FEATURE`](crate::FEATURE) belongs into the `<inline/>` of
    /// [SASL2](https://xmpp.org/extensions/xep-0388.html#feature), on a server that offers stream management: whether
    /// sessions can be resumed. Into the `<inline/>` of
    /// [Bind 2](https://xmpp.org/extensions/xep-0386.html#usecases) such a server always puts a `<feature/>` with the
    /// `var` [`NS`](crate::NS).
    pub fn has_resume_feature(config: &Config) -> bool {
        config.can_resume()
    }

    /// Reads an `<authenticate/>`. A malformed `<resume/>` or `<enable/>` is no error here: it fails alone, by a `<failed/>`
    /// in `<success/>`, and the rest goes on. An `<enable/>` outside of `<bind/>` is not looked at. Of any other element,
    /// the `<auth/>` of RFC 6120 for instance, nothing is.
    ///
    /// # Errors
    ///
    /// [`Twice`] if there are two `<resume/>`, two `<bind/>`, or two `<enable/>` in a `<bind/>`.
    pub fn from_authenticate(element: &Element) -> Result<Self, Twice> {
        let mut inline = Self::default();
        if !element.is("authenticate", NS_SASL2) {
            return Ok(inline);
        }
        let resume = only(element, "resume", NS)?;
        inline.resume = resume.and_then(Nonza::from_element).map(Inbound::from);
        if let Some(bind) = only(element, "bind", NS_BIND2)? {
            let enable = only(bind, "enable", NS)?;
            inline.enable = enable.and_then(Nonza::from_element).map(Inbound::from);
            inline.bind = Some(bind.clone());
        }
        Ok(inline)
    }
}

fn only<'a>(parent: &'a Element, name: &'static str, ns: &str) -> Result<Option<&'a Element>, Twice> {
    let mut children = parent.children().filter(|child| child.is(name, ns));
    match (children.next(), children.next()) {
        (_, Some(_)) => Err(Twice(name)),
        (only, None) => Ok(only),
    }
}

/// An [`Inline`] on its way to `<success/>`.
#[derive(Debug)]
pub(super) struct Inlined {
    pub(super) inline: Inline,
    /// What `<success/>` says about the former session.
    pub(super) failed: Option<Nonza>,
    /// When the host was told to bind a resource, if it was.
    pub(super) bind_at: Option<Instant>,
}

impl Inlined {
    pub(super) fn new(inline: Inline, replay: Replay) -> Self {
        match replay {
            Replay::Impossible => Self { inline, failed: None, bind_at: None },
            Replay::Possible => {
                let failed = inline.resume.map(|_| Nonza::failed(Condition::NotAllowed));
                Self { inline: Inline::default(), failed, bind_at: None }
            }
        }
    }
}

/// All that stream management puts into a SASL2 [`<success/>`](https://xmpp.org/extensions/xep-0388.html#success), and
/// what follows that.
///
/// The host adds `<additional-data/>`, and as `<authorization-identifier/>` the full JID: that of the session which goes on,
/// or which is new. Where it is [neither](crate::Early::Success), it is the bare JID.
///
/// See the example of [`Inline`](crate::Inline).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the client waits for `<success/>`"]
#[non_exhaustive]
pub struct Success {
    /// `<resumed/>`, or `<failed/>`: directly in `<success/>`.
    pub resume: Option<Nonza>,
    /// `Some`: a resource is bound, and there is a [`<bound/>`](https://xmpp.org/extensions/xep-0386.html#bind-request) in
    /// `<success/>`.
    pub bound: Option<Bound>,
    /// The stream features that follow `<success/>`. `None`: the session goes on, and
    /// [none may follow](https://xmpp.org/extensions/xep-0198.html#inline-resume).
    pub features: Option<Features>,
    /// Whether the host has not yet answered the `<enable/>` in `<bind/>`.
    pub(super) waits: bool,
}

/// A resource is bound.
///
/// See the example of [`Inline`](crate::Inline).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bound {
    /// `<enabled/>` or `<failed/>`, if the client has asked: in `<bound/>`.
    pub enable: Option<Nonza>,
}

/// The stream features that follow `<success/>`, as far as they depend on the session.
///
/// A part of [`Success`]: see the example of [`Inline`](crate::Inline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// Whether a resource can be bound.
    pub bind: bool,
    /// Whether [`FEATURE`](crate::FEATURE) is among them.
    pub sm: bool,
}

impl Success {
    /// Neither a session that goes on nor a new one.
    pub(super) fn without_session(resume: Option<Nonza>, sm: bool) -> Self {
        Self { resume, bound: None, features: Some(Features { bind: true, sm }), waits: false }
    }

    pub(super) fn resumed(resumed: Nonza) -> Self {
        Self { resume: Some(resumed), bound: None, features: None, waits: false }
    }

    /// A new session. Whether stream management can be enabled later is seen when this is written.
    pub(super) fn bound(resume: Option<Nonza>, binds: bool) -> Self {
        let features = Some(Features { bind: false, sm: false });
        Self { resume, bound: binds.then(Bound::default), features, waits: false }
    }

    /// The reply to the `<enable/>` in `<bind/>`.
    pub(super) fn set_enable(&mut self, reply: Nonza) {
        self.waits = false;
        self.bound.get_or_insert_default().enable = Some(reply);
    }
}

impl<S: Stanza, C> Session<S, C> {
    /// The client has asked for its resource in `<authenticate/>`, and perhaps for stream management.
    pub(super) fn begin_inline(&mut self, inlined: Inlined, failed: Option<Nonza>) {
        let Inlined { inline, failed: failed_before, bind_at } = inlined;
        let mut success = Success::bound(failed.or(failed_before), bind_at.is_some());
        if let (Some(enable), Some(at), State::Live(stream)) = (inline.enable, bind_at, &mut self.state) {
            match stream.handle(enable, at) {
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
