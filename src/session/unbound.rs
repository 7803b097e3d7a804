//! A server's stream before it has a session.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::success::failed_by;
use super::take::Taker;
use super::write::Front;
use super::{NotNow, Session, State};
use crate::config::Config;
use crate::error::{LastWords, Reaction};
use crate::nonza::{Condition, Nonza};
use crate::receipts::Tag;
use crate::stanza::Stanza;
use crate::stream::{Action, Foreign, Inbound, Refusal, ResumeRequest, StreamMgmt, ToInbound};

/// A server's stream that is authenticated and has no session: the peer may bind a resource, or ask for its former
/// session. [`bind`](Self::bind) and [`into_taker`](Self::into_taker) consume the stream.
///
/// A login, from the stream features to the session:
///
/// ```
/// use std::collections::VecDeque;
/// use std::sync::Arc;
/// use std::time::Instant;
/// use minidom::Element;
/// use xmpp_sm::{Config, Early, LoginStep, Refusal, Session, Unbound};
///
/// struct Connection {
///     input: VecDeque<Element>,
///     output: Vec<String>,
/// }
///
/// /// `None`: the connection is lost or closed, or it has moved to the session that the client asked for.
/// fn log_in(mut stream: Unbound, mut connection: Connection, now: Instant) -> Option<Session<String, Connection>> {
///     while let Some(element) = connection.input.pop_front() {
///         match stream.handle(stream.inbound(&element), now).ok()? {
///             Early::Stanza if element.has_child("bind", "urn:ietf:params:xml:ns:xmpp-bind") => {
///                 return Some(stream.bind(connection)); // the host answers the request
///             }
///             Early::Stanza => return None, // write `<not-authorized/>`, a stream error, and `</stream:stream>`
///             Early::Resume(request) => {
///                 let taker = stream.into_taker(request, connection).ok()?;
///                 // Here the taker goes to the session that the store finds. This store finds none:
///                 let refused = taker.refuse(Refusal::NotFound);
///                 let LoginStep::Failed { failed, stream: back } = refused.step else { return None };
///                 (stream, connection) = (back, refused.connection);
///                 connection.output.push(failed.to_string());
///             }
///             Early::Write(nonza) => connection.output.push(nonza.to_string()),
///             Early::Close(_) => return None, // write it, and `</stream:stream>`
///             _ => {} // for the host, or nothing at all
///         }
///     }
///     None
/// }
///
/// let stream = Unbound::new(Arc::new(Config::default()), "juliet@example.com");
/// assert!(stream.has_feature(), "and <sm/> goes into the stream features");
/// let input = VecDeque::from([
///     "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>".parse()?,
///     "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>".parse()?,
/// ]);
/// let session = log_in(stream, Connection { input, output: Vec::new() }, Instant::now()).ok_or("no session")?;
/// let written = session.connection().map(|connection| connection.output.concat()).unwrap_or_default();
/// assert!(written.starts_with("<failed ") && written.contains("<item-not-found "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A login that answers each [`Early::Resume`] at once, as this one does, needs no timer: [`deadline`](Self::deadline) is
/// about requests that the login has dropped, and [`NotNow`] about those that it has not answered yet.
#[must_use = "the peer waits to be bound, or for its session"]
pub struct Unbound {
    /// In a box: an [`Event`](super::Event) holds one, and is seldom about one.
    engine: Box<StreamMgmt<Nothing>>,
    config: Arc<Config>,
    owner: Arc<str>,
    kind: Kind,
    /// Its place among the streams that have authenticated.
    serial: Tag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client,
    WithoutBind,
    Disabled,
}

/// No stanza is sent before there is a session.
#[derive(Debug)]
enum Nothing {}

impl Stanza for Nothing {
    fn bytes(&self) -> usize {
        match *self {}
    }
}

/// What to do about an element that arrived before there is a session.
///
/// Returned by [`Unbound::handle`](crate::Unbound::handle).
#[derive(Debug)]
#[must_use = "the peer waits for what this asks the host to do"]
#[non_exhaustive]
pub enum Early {
    /// A stanza, for the host: a request to bind, for instance. Before there is a session, no stanza is counted.
    Stanza,
    /// The peer asks for its former session. Look it up, and call [`into_taker`](Unbound::into_taker) or
    /// [`refuse`](Unbound::refuse).
    Resume(ResumeRequest),
    /// Write this element.
    Write(Nonza),
    /// Write these last words and `</stream:stream>`, and close the connection.
    Close(LastWords),
    /// Do nothing.
    Ignore,
    /// On a stream [without bind](Unbound::without_bind): call [`bind`](Unbound::bind) now, and give the same element
    /// to the session.
    Begin,
    /// Not a stanza and not stream management: the host handles it.
    Other,
}

/// The stream does not wait for this request. The stream, the request and the connection come back.
///
/// Returned by [`Unbound::into_taker`](crate::Unbound::into_taker).
#[derive(Debug, Error)]
#[error("the stream does not wait for this request")]
pub struct NotTaken<C> {
    /// The stream.
    pub stream: Unbound,
    /// The request of another stream.
    pub request: ResumeRequest,
    /// The connection.
    pub connection: C,
}

impl Unbound {
    /// A client's stream, after authentication. `owner` is the authenticated bare JID.
    pub fn new(config: Arc<Config>, owner: impl Into<Arc<str>>) -> Self {
        Self::of_kind(config, owner.into(), Kind::Client)
    }

    /// A stream on which no resource is bound: another server's, whose `owner` is its domain, or a component's.
    /// The peer may ask for its former session; with anything else a session [begins](Early::Begin).
    ///
    /// - A session has two directions, and so has its stream: between servers that is
    ///   [XEP-0288](https://xmpp.org/extensions/xep-0288.html). Without it each server has a session of its own to the other.
    /// - The session of the side that is connected to expires by itself and hands back what it holds. The other side's
    ///   lives [until it is closed](crate::Session::client): a host closes it when its stanzas have waited long enough, and
    ///   returns them.
    /// - What is handed back goes [to its senders](crate::disposition), or to the session that takes the place of this
    ///   one: which user of the other domain could get it instead is known there alone.
    /// - [`Early::Begin`] comes with the peer's first element. A peer that does not know of stream management may have
    ///   nothing to say before it is spoken to: after some seconds of silence [`bind`](Self::bind) begins without it. To
    ///   components it is not even advertised, for [XEP-0114](https://xmpp.org/extensions/xep-0114.html) has no features.
    pub fn without_bind(config: Arc<Config>, owner: impl Into<Arc<str>>) -> Self {
        Self::of_kind(config, owner.into(), Kind::WithoutBind)
    }

    /// A stream on which stream management is switched off: it is not advertised, and every request is refused with
    /// `feature-not-implemented`.
    pub fn disabled(config: Arc<Config>, owner: impl Into<Arc<str>>) -> Self {
        Self::of_kind(config, owner.into(), Kind::Disabled)
    }

    fn of_kind(config: Arc<Config>, owner: Arc<str>, kind: Kind) -> Self {
        let engine = Box::new(engine(&config, kind));
        Self { engine, serial: Tag::new(&config), config, owner, kind }
    }

    /// What to write about an element that arrives before authentication, if anything: `<failed/>` for a request of
    /// stream management, which
    /// [may not come so early](https://xmpp.org/extensions/xep-0198.html#enable).
    pub fn before_authentication(inbound: &Inbound) -> Option<Nonza> {
        match inbound {
            Inbound::Nonza(Nonza::Enable(_) | Nonza::Resume(_)) => Some(Nonza::failed(Condition::UnexpectedRequest)),
            _ => None,
        }
    }

    /// The authenticated bare JID, or domain.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// Whether [`FEATURE`](crate::FEATURE) belongs in the
    /// [stream features](https://xmpp.org/extensions/xep-0198.html#feature).
    pub fn has_feature(&self) -> bool {
        self.engine.has_feature()
    }

    /// Sorts an element by the [namespace](Config::stanza_ns) of the stanzas, for [`handle`](Self::handle).
    pub fn inbound(&self, element: &impl ToInbound) -> Inbound {
        element.to_inbound(self.config.stanza_ns)
    }

    /// Takes an element that has arrived, any element.
    ///
    /// # Errors
    ///
    /// [`NotNow`] while the host has a [`ResumeRequest`]: keep the element, answer the request, and give the element once
    /// more.
    pub fn handle(&mut self, inbound: Inbound, now: Instant) -> Result<Early, NotNow> {
        if !self.engine.reads() {
            return Err(NotNow(inbound));
        }
        let begins = self.kind == Kind::WithoutBind;
        Ok(match self.engine.handle(inbound, now) {
            Ok(Action::Deliver(_)) if begins => Early::Begin,
            Ok(Action::Deliver(_)) => Early::Stanza,
            Ok(Action::Enable(_)) => {
                self.engine.leave_pending();
                Early::Begin
            }
            Ok(Action::Resume(request)) => Early::Resume(request),
            Ok(Action::Write(nonza)) => Early::Write(nonza),
            Ok(Action::Other) => Early::Other,
            Ok(_) => Early::Ignore,
            Err(error) => match error.reaction() {
                Reaction::Write(nonza) => Early::Write(nonza),
                Reaction::Close(last) => Early::Close(last),
                Reaction::Nothing | Reaction::Detach | Reaction::Later => Early::Ignore,
            },
        })
    }

    /// When [`timeout`](Self::timeout) is due. `None`: no timeout runs.
    pub fn deadline(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// Refuses a [`ResumeRequest`] that was dropped, once [`request_timeout`](Config::request_timeout) is over: returns the
    /// `<failed/>` to write. Calling it early is a no-op.
    pub fn timeout(&mut self, now: Instant) -> Option<Nonza> {
        self.engine.handle_timeout(now).ok().flatten()
    }

    /// Refuses the session that the peer asks for, for the reason `why`. Returns the `<failed/>` to write. The stream
    /// goes on.
    ///
    /// # Errors
    ///
    /// [`Foreign`], with the request, if the stream does not wait for it.
    pub fn refuse(&mut self, request: ResumeRequest, why: Refusal) -> Result<Nonza, Foreign<ResumeRequest>> {
        self.engine.refuse_resume(request, why)
    }

    /// The client has asked for its former session in `<authenticate/>`.
    ///
    /// # Errors
    ///
    /// What to tell it, if that cannot be.
    pub(super) fn ask(&mut self, resume: Inbound, now: Instant) -> Result<ResumeRequest, Nonza> {
        match self.engine.handle(resume, now) {
            Ok(Action::Resume(request)) => Ok(request),
            Ok(_) => Err(Nonza::failed(Condition::UnexpectedRequest)),
            Err(error) => Err(failed_by(&error)),
        }
    }

    /// The request of the peer is answered.
    pub(super) fn leave_pending(&mut self) {
        self.engine.leave_pending();
    }

    /// Bundles the stream, its request and its connection. [`Taker::find_in`] then finds the session in the host's store, and
    /// [`Session::take`] gets the taker.
    ///
    /// # Errors
    ///
    /// [`NotTaken`], with everything, if the stream does not wait for this request.
    pub fn into_taker<C>(self, request: ResumeRequest, connection: C) -> Result<Taker<C>, Box<NotTaken<C>>> {
        if !self.engine.waits_for(&request) {
            return Err(Box::new(NotTaken { stream: self, request, connection }));
        }
        Ok(Taker::bare(self, request, connection))
    }

    /// Begins the session, when a resource is bound or none has to be. Then the peer may send `<enable/>`. A
    /// [`ResumeRequest`] that is not answered by now is refused.
    ///
    /// This is the bind of [RFC 6120](https://www.rfc-editor.org/rfc/rfc6120#section-7). That of Bind 2 is
    /// [`InlineBind::bind`](crate::InlineBind::bind).
    pub fn bind<S: Stanza, C>(self, connection: C) -> Session<S, C> {
        // The host has dropped the peer's request, or forgotten it.
        let failed = (!self.engine.reads()).then(|| Nonza::failed(Condition::InternalServerError));
        let mut session = self.begin(connection);
        session.unwritten.extend(failed.map(Front::Nonza));
        session
    }

    /// The session begins.
    pub(super) fn begin<S: Stanza, C>(self, connection: C) -> Session<S, C> {
        let mut engine = engine(&self.config, self.kind);
        if self.kind != Kind::WithoutBind {
            engine.bound();
        }
        Session::new(self.config, self.owner, State::Live(engine), Some(connection))
    }

    /// The engine of this stream once it has a session.
    pub(super) fn engine<S: Stanza>(&self) -> StreamMgmt<S> {
        engine(&self.config, self.kind)
    }

    /// Whether this stream authenticated before the one of that number. Streams with other options are not numbered
    /// with it.
    pub(super) fn is_before(&self, (config, serial): &(Arc<Config>, Tag)) -> bool {
        Arc::ptr_eq(&self.config, config) && self.serial.is_before(*serial)
    }

    pub(super) fn serial(&self) -> (Arc<Config>, Tag) {
        (self.config.clone(), self.serial)
    }
}

fn engine<S: Stanza>(config: &Arc<Config>, kind: Kind) -> StreamMgmt<S> {
    if kind == Kind::Disabled {
        return StreamMgmt::disabled(config.clone());
    }
    let mut engine = StreamMgmt::server(config.clone());
    match kind {
        Kind::WithoutBind => engine.authenticated_without_bind(),
        Kind::Client | Kind::Disabled => engine.authenticated(),
    }
    engine
}

/// It has no content that a log may show.
impl fmt::Debug for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unbound({:?})", self.kind)
    }
}
