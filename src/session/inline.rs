//! Stream management [inside of SASL2 and Bind 2](https://xmpp.org/extensions/xep-0198.html#inline), the server's side:
//! what a client asks for in its `<authenticate/>`, and what becomes of it, step by step.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use thiserror::Error;

use super::Session;
use super::success::InlineSuccess;
use super::take::Taker;
use super::unbound::Unbound;
use crate::config::Config;
use crate::nonza::{Condition, NS, Nonza};
use crate::smid::SmId;
use crate::stanza::Stanza;
use crate::stream::{Inbound, Refusal, ResumeRequest};

/// The namespace of [SASL](https://www.rfc-editor.org/rfc/rfc6120#section-6).
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// The namespace of [SASL2](https://xmpp.org/extensions/xep-0388.html).
pub(super) const NS_SASL2: &str = "urn:xmpp:sasl:2";
/// The namespace of [Bind 2](https://xmpp.org/extensions/xep-0386.html). The examples of XEP-0198 have an older one, which
/// clients do not use.
pub(super) const NS_BIND2: &str = "urn:xmpp:bind:0";

/// What a client asks for [inline](https://xmpp.org/extensions/xep-0198.html#inline), in its SASL2 `<authenticate/>`: the
/// `<resume/>` for its former session, and the `<bind/>` for a resource, which may have an `<enable/>` in it.
///
/// It is read before authentication, and acted upon [after it](Self::authenticated). If authentication fails, drop it:
/// nothing has been looked up, and nothing is told.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use xmpp_sm::{Config, InlineElements, LoginStep, Refusal, Replay, Session, Write};
///
/// let authenticate: minidom::Element = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'>\
///      <resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/><bind xmlns='urn:xmpp:bind:0'/></authenticate>".parse()?;
/// let inline = InlineElements::from_authenticate(&authenticate)?;
/// // ... the client proves to be juliet@example.com ...
/// let now = Instant::now();
/// let step = inline.authenticated(Arc::new(Config::default()), "juliet@example.com", Replay::Impossible, now);
/// let LoginStep::Resume(request) = step else { unreachable!() };
/// // ... the store knows no session of that SM-ID and owner ...
/// let LoginStep::Bind(request) = request.refuse(Refusal::NotFound) else { unreachable!() };
/// // ... a resource is bound ...
/// let mut session: Session<String, ()> = request.bind((), now);
/// let Some((_, Write::Success(success))) = session.next_write(now) else { unreachable!() };
/// assert!(success.resume.is_some_and(|failed| failed.to_string().contains("<item-not-found ")));
/// assert!(success.bound.is_some_and(|bound| bound.enable.is_none()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default, PartialEq)]
pub struct InlineElements {
    resume: Option<Inbound>,
    bind: Option<Box<Bind>>,
}

/// `<bind xmlns='urn:xmpp:bind:0'/>`.
#[derive(PartialEq)]
pub(super) struct Bind {
    element: Element,
    enable: Option<Inbound>,
}

/// What else its client wants is not for a log.
impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bind {{ enable: {:?} }}", self.enable)
    }
}

/// No client may ask so: fail the authentication, with `malformed-request`.
///
/// Returned by [`InlineElements::from_authenticate`](crate::InlineElements::from_authenticate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthenticateError {
    /// The element begins no authentication.
    #[error("neither <authenticate/> nor <auth/>")]
    NotAuthenticate,
    /// An element stands twice where a client may ask once: the `resume`, `bind` or `enable` of this name.
    #[error("<{0}/> stands twice in one <authenticate/>")]
    Duplicate(&'static str),
}

/// Whether an `<authenticate/>` may be a copy of one that the client sent to another connection.
///
/// Only what came as TLS early data ("0-RTT") may. A server
/// [must not authenticate by it](https://xmpp.org/extensions/xep-0388.html#security) at all: it waits until the handshake is
/// complete, and has the client ask again. This is for a server that has a protection of its own against replays, and
/// knows of each `<authenticate/>` whether that covers it; and for one that takes no early data, where each is
/// [`Impossible`](Self::Impossible).
///
/// See the example of [`InlineElements`](crate::InlineElements).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It came after the handshake, or in early data of which the host knows that it sees each only once.
    Impossible,
    /// It may be one: the host should have failed the authentication. If it has not, no session is resumed and no resource
    /// bound.
    Possible,
}

impl InlineElements {
    /// Whether [`FEATURE`](crate::FEATURE) belongs into the `<inline/>` of
    /// [SASL2](https://xmpp.org/extensions/xep-0388.html#feature), on a server that offers stream management: whether
    /// sessions can be resumed. Into the `<inline/>` of
    /// [Bind 2](https://xmpp.org/extensions/xep-0386.html#usecases) such a server always puts a `<feature/>` with the
    /// `var` [`NS`](crate::NS).
    pub fn has_resume_feature(config: &Config) -> bool {
        config.can_resume()
    }

    /// Reads an `<authenticate/>`. A malformed `<resume/>` or `<enable/>` is no error here: it fails alone, by a `<failed/>`
    /// in `<success/>`, and the rest goes on. An `<enable/>` outside of `<bind/>` is not looked at. The `<auth/>` of
    /// [RFC 6120](https://www.rfc-editor.org/rfc/rfc6120#section-6.4.2) asks for nothing, whatever is in it.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError`] if there are two `<resume/>`, two `<bind/>`, or two `<enable/>` in a `<bind/>`; or if the element
    /// is neither of these.
    pub fn from_authenticate(element: &Element) -> Result<Self, AuthenticateError> {
        if element.is("auth", NS_SASL) {
            return Ok(Self::default());
        }
        if !element.is("authenticate", NS_SASL2) {
            return Err(AuthenticateError::NotAuthenticate);
        }
        let inbound = |element: &Element| Nonza::from_element(element).map(Inbound::from);
        let resume = only(element, "resume", NS)?.and_then(inbound);
        let bind = match only(element, "bind", NS_BIND2)? {
            Some(bind) => {
                let enable = only(bind, "enable", NS)?.and_then(inbound);
                Some(Box::new(Bind { element: bind.clone(), enable }))
            }
            None => None,
        };
        Ok(Self { resume, bind })
    }

    /// The client has authenticated, and `owner` is its bare JID. Returns what to do first, on the way to `<success/>`. Each
    /// step has what belongs to the stream, and leads to the next, in the order that
    /// [XEP-0198](https://xmpp.org/extensions/xep-0198.html#inline-resume) and
    /// [XEP-0386](https://xmpp.org/extensions/xep-0386.html#bind-request) fix: the former session; if the client does not get
    /// it, a resource; without either, `<success/>` alone.
    pub fn authenticated(
        self,
        config: Arc<Config>,
        owner: impl Into<Arc<str>>,
        replay: Replay,
        now: Instant,
    ) -> LoginStep {
        self.begin(Unbound::new(config, owner), replay, now)
    }

    /// Does the same as [`authenticated`](Self::authenticated), where stream management is switched off: what the
    /// client asks of it is refused with `feature-not-implemented`.
    pub fn authenticated_disabled(
        self,
        config: Arc<Config>,
        owner: impl Into<Arc<str>>,
        replay: Replay,
        now: Instant,
    ) -> LoginStep {
        self.begin(Unbound::disabled(config, owner), replay, now)
    }

    fn begin(self, mut stream: Unbound, replay: Replay, now: Instant) -> LoginStep {
        let Self { resume, bind } = self;
        let Some(resume) = resume else {
            return LoginStep::after(stream, bind.filter(|_| replay == Replay::Impossible), None);
        };
        if replay == Replay::Possible {
            return LoginStep::after(stream, None, Some(Nonza::failed(Condition::NotAllowed)));
        }
        match stream.ask(resume, now) {
            Ok(request) => LoginStep::Resume(InlineResume { stream, request, bind }),
            Err(failed) => LoginStep::after(stream, bind, Some(failed)),
        }
    }
}

fn only<'a>(parent: &'a Element, name: &'static str, ns: &str) -> Result<Option<&'a Element>, AuthenticateError> {
    let mut children = parent.children().filter(|child| child.is(name, ns));
    match (children.next(), children.next()) {
        (_, Some(_)) => Err(AuthenticateError::Duplicate(name)),
        (only, None) => Ok(only),
    }
}

/// What a server does next in a login.
///
/// It comes from [`InlineElements::authenticated`](crate::InlineElements::authenticated), or with a connection that does
/// [not get](crate::Refused::step) its session. The page [`inline`](crate::inline) has the loop around it.
#[derive(Debug)]
#[must_use = "the client waits for it"]
pub enum LoginStep {
    /// The client asks for its former session in `<authenticate/>`. Look it up, and [`into_taker`](InlineResume::into_taker) or
    /// [`refuse`](InlineResume::refuse) the request.
    Resume(InlineResume),
    /// The client asks for a resource in `<authenticate/>`. Choose one, and [`bind`](InlineBind::bind) or
    /// [`refuse`](InlineBind::refuse) the request.
    Bind(InlineBind),
    /// The client asks for its former session and for a resource, and the store cannot tell whether it has the session.
    /// Fail the authentication, and the client tries again later; or bind, and it loses the session.
    Unknown(InlineUnknown),
    /// The client has no session. Write `<success/>` with the bare JID, and the features that follow it. The login goes on
    /// with [`Unbound::handle`](crate::Unbound::handle).
    Success {
        /// What belongs in `<success/>`.
        success: Box<InlineSuccess>,
        /// The stream.
        stream: Unbound,
    },
    /// The client does not get the session that it has asked for after `<success/>`, or without SASL2. Write this. The login
    /// goes on with [`Unbound::handle`](crate::Unbound::handle): the client may bind, or ask again.
    Failed {
        /// `<failed/>`.
        failed: Nonza,
        /// The stream.
        stream: Unbound,
    },
}

impl LoginStep {
    /// What is left when there is no `<resume/>` any more.
    pub(super) fn after(stream: Unbound, bind: Option<Box<Bind>>, failed: Option<Nonza>) -> Self {
        match bind {
            Some(bind) => Self::Bind(InlineBind { stream, bind, failed }),
            None => {
                let success = Box::new(InlineSuccess::without_session(failed, stream.has_feature()));
                Self::Success { success, stream }
            }
        }
    }

    /// The client does not get the session that it asks for.
    pub(super) fn refused(stream: Unbound, bind: Option<Box<Bind>>, failed: Nonza) -> Self {
        let is_unknown = matches!(&failed, Nonza::Failed(failed) if failed.is_unknown());
        match Self::after(stream, bind, Some(failed)) {
            Self::Bind(request) if is_unknown => Self::Unknown(InlineUnknown(request)),
            step => step,
        }
    }

    /// The `<failed/>` that tells the client about its former session, bare or in `<success/>`. `None`: it has not asked for
    /// one, or is not refused yet.
    pub fn failed(&self) -> Option<&Nonza> {
        match self {
            Self::Resume(_) => None,
            Self::Bind(request) | Self::Unknown(InlineUnknown(request)) => request.failed.as_ref(),
            Self::Success { success, .. } => success.resume.as_ref(),
            Self::Failed { failed, .. } => Some(failed),
        }
    }
}

/// A client asks for its former session in its `<authenticate/>`.
///
/// A part of [`LoginStep`]. The request has the stream, and no timer runs: a host whose store may keep silent bounds the time
/// of the login as a whole. If the request is dropped, there is nothing left to do but to close the connection.
///
/// See the example of [`InlineElements`](crate::InlineElements).
#[must_use = "the client waits for its session: `into_taker` or `refuse` the request"]
pub struct InlineResume {
    stream: Unbound,
    request: ResumeRequest,
    bind: Option<Box<Bind>>,
}

impl InlineResume {
    /// The SM-ID of the session that is asked for.
    pub fn previd(&self) -> &SmId {
        self.request.previd()
    }

    /// The authenticated bare JID of who asks.
    pub fn owner(&self) -> &Arc<str> {
        self.stream.owner()
    }

    /// Bundles the stream, its request and its connection. [`Taker::find_in`] then finds the session in the host's
    /// store, and [`Session::take`](crate::Session::take) gets the taker.
    pub fn into_taker<C>(self, connection: C) -> Taker<C> {
        Taker::inline(self.stream, self.request, connection, self.bind)
    }

    /// Refuses the session that the client asks for, for the reason `why`. `<failed/>` goes into `<success/>`. Returns
    /// the next step of the login.
    pub fn refuse(self, why: Refusal) -> LoginStep {
        self.into_taker(()).refuse(why).step
    }
}

/// It has no content that a log may show.
impl fmt::Debug for InlineResume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InlineResume {{ request: {:?}, bind: {:?} }}", self.request, self.bind)
    }
}

/// A client asks for its former session and for a resource, and it is not known whether there is that session: the host
/// has refused it with `internal-server-error` or `resource-constraint`, because the store or another node does not
/// answer.
///
/// A part of [`LoginStep`]. A client that is bound gives its former session up: it sends again all stanzas that were
/// not acknowledged, though the server may have them. So fail the authentication: write `<failure/>` with
/// [`temporary-auth-failure`](https://www.rfc-editor.org/rfc/rfc6120#section-6.5.10), close the stream, and drop this.
/// By [XEP-0388](https://xmpp.org/extensions/xep-0388.html#outcome) a failure leaves the session as it is: the client
/// [tries again](crate::Session::authentication_failed) later.
///
/// Where a client without its session is better than one that waits, [bind](Self::into_bind).
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Instant;
/// # use xmpp_sm::{Config, InlineElements, LoginStep, Refusal, Replay};
/// use xmpp_sm::Condition;
///
/// # let authenticate: minidom::Element = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'>\
/// #      <resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/><bind xmlns='urn:xmpp:bind:0'/></authenticate>".parse()?;
/// # let inline = InlineElements::from_authenticate(&authenticate)?;
/// # let owner = "juliet@example.com";
/// # let step = inline.authenticated(Arc::new(Config::default()), owner, Replay::Impossible, Instant::now());
/// let LoginStep::Resume(request) = step else { unreachable!() };
/// // ... the store does not answer ...
/// let step = request.refuse(Refusal::Because(Condition::InternalServerError));
/// assert!(matches!(step, LoginStep::Unknown(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the client waits: fail its authentication, or bind"]
pub struct InlineUnknown(InlineBind);

impl InlineUnknown {
    /// The authenticated bare JID of who asks.
    pub fn owner(&self) -> &Arc<str> {
        self.0.owner()
    }

    /// Binds the client's resource all the same. What its former session holds comes back at that session's end.
    pub fn into_bind(self) -> InlineBind {
        self.0
    }
}

/// A client asks for a resource by Bind 2, in its `<authenticate/>`.
///
/// A part of [`LoginStep`]. The request has the stream, so that no resource is bound on it in any other way before
/// `<success/>`:
///
/// ```compile_fail,E0382
/// # use std::time::Instant;
/// # use xmpp_sm::{InlineBind, Session};
/// # fn bind(request: InlineBind, now: Instant) {
/// let session: Session<String, ()> = request.bind((), now);
/// let _ = request.refuse(); // `request` was moved
/// # }
/// ```
///
/// See the example of [`InlineElements`](crate::InlineElements).
#[must_use = "the client waits for its resource: `bind` or `refuse` the request"]
pub struct InlineBind {
    stream: Unbound,
    bind: Box<Bind>,
    failed: Option<Nonza>,
}

impl InlineBind {
    /// The authenticated bare JID of who asks.
    pub fn owner(&self) -> &Arc<str> {
        self.stream.owner()
    }

    /// Returns `<bind xmlns='urn:xmpp:bind:0'/>`. Its children are the host's, except `<enable
    /// xmlns='urn:xmpp:sm:3'/>`: a `<tag/>`, and what else the client wants to [switch
    /// on](https://xmpp.org/extensions/xep-0386.html#bind-request).
    pub fn element(&self) -> &Element {
        &self.bind.element
    }

    /// Begins the session, when a resource is bound. The session [writes](crate::Write::Success) `<success/>` when the
    /// host has answered the [`<enable/>`](crate::Event::Enable) that may be in `<bind/>`.
    pub fn bind<S: Stanza, C>(self, connection: C, now: Instant) -> Session<S, C> {
        let Self { stream, bind, failed } = self;
        let mut session = stream.begin(connection);
        session.begin_inline(bind.enable, failed, now);
        session
    }

    /// Refuses to bind a resource. A `<success/>` without `<bound/>` tells the client so. Returns the next step of the
    /// login.
    pub fn refuse(self) -> LoginStep {
        LoginStep::after(self.stream, None, self.failed)
    }
}

/// It has no content that a log may show.
impl fmt::Debug for InlineBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InlineBind {{ bind: {:?}, failed: {:?} }}", self.bind, self.failed)
    }
}
