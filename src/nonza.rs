//! The elements of the stream-management namespace, as types.

mod bytes;
mod condition;
mod parse;
mod write;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

pub use condition::Condition;
pub(crate) use condition::conditions;
pub use parse::ParseError;
pub(crate) use write::escape;

use crate::counter::Counter;
use crate::smid::{InvalidText, SmId, check_text};

/// The [namespace](https://xmpp.org/extensions/xep-0198.html#registrar-ns) of stream management.
///
/// What [`Nonza`] reads and writes is in it.
pub const NS: &str = "urn:xmpp:sm:3";

/// The [stream feature](https://xmpp.org/extensions/xep-0198.html#feature), as text. As an element it is
/// `Element::bare("sm", xmpp_sm::NS)`.
///
/// Shown while [`Unbound::has_feature`](crate::Unbound::has_feature) says so.
pub const FEATURE: &str = "<sm xmlns='urn:xmpp:sm:3'/>";

/// The namespace of the [stanza error conditions](https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3)
/// that `<failed/>` carries.
pub(crate) const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// An element of [`NS`]: it manages stanzas and is
/// [not one itself](https://xmpp.org/extensions/xep-0198.html#intro), so it is never counted.
///
/// ```
/// use bytes::BytesMut;
/// use xmpp_sm::{Counter, Nonza};
///
/// let nonza = Nonza::parse("a", [("h", " 7 ")], None)?;
/// assert_eq!(nonza, Nonza::Ack(Counter::new(7)));
///
/// let mut out = BytesMut::new();
/// nonza.write_to(&mut out);
/// assert_eq!(out, "<a xmlns='urn:xmpp:sm:3' h='7'/>");
/// # Ok::<(), xmpp_sm::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "the peer gets it only if it is written"]
pub enum Nonza {
    /// `<enable/>`: the initiating side asks for stream management.
    Enable(Enable),
    /// `<enabled/>`: it is on.
    Enabled(Enabled),
    /// `<resume/>`: the initiating side asks for its former session.
    Resume(Resume),
    /// `<resumed/>`: it has it.
    Resumed(Resumed),
    /// `<failed/>`: neither.
    Failed(Failed),
    /// `<a/>`: so many stanzas were handled.
    Ack(Counter),
    /// `<r/>`: how many were handled?
    AckRequest,
}

/// What [`<enable/>`](https://xmpp.org/extensions/xep-0198.html#enable) asks for.
///
/// A variant of [`Nonza`], whose example shows how to read and write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Enable {
    /// Whether the session shall be resumable.
    pub resume: bool,
    /// For how many seconds, if the initiating side cares. Larger numbers than fit are read as the largest.
    pub max: Option<NonZeroU32>,
}

/// What [`<enabled/>`](https://xmpp.org/extensions/xep-0198.html#enable) grants.
///
/// A variant of [`Nonza`], whose example shows how to read and write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Enabled {
    /// The SM-ID to resume with.
    pub id: Option<SmId>,
    /// Whether the session is resumable.
    pub resume: bool,
    /// For how many seconds after the stream is lost. Larger numbers than fit are read as the largest.
    pub max: Option<NonZeroU32>,
    /// Where the server prefers to be reconnected to.
    pub location: Option<Location>,
}

/// What [`<resume/>`](https://xmpp.org/extensions/xep-0198.html#resumption) asks for.
///
/// A variant of [`Nonza`], whose example shows how to read and write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resume {
    /// The SM-ID of the former session.
    pub previd: SmId,
    /// How many stanzas of the other side were handled.
    pub h: Counter,
}

/// What [`<resumed/>`](https://xmpp.org/extensions/xep-0198.html#resumption) confirms.
///
/// A variant of [`Nonza`], whose example shows how to read and write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resumed {
    /// The SM-ID of the session.
    pub previd: SmId,
    /// How many stanzas of the other side were handled.
    pub h: Counter,
}

/// Why [`<failed/>`](https://xmpp.org/extensions/xep-0198.html#errors) was sent.
///
/// A variant of [`Nonza`], whose example shows how to read and write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Failed {
    /// How many stanzas of the former session were handled, if that is still known.
    pub h: Option<Counter>,
    /// The reason. Nothing if none was given or it is none of the defined ones.
    pub condition: Option<Condition>,
}

impl Failed {
    /// Whether it leaves open whether there is the session that was asked for.
    pub(crate) fn is_unknown(&self) -> bool {
        let may_pass = matches!(self.condition, Some(Condition::InternalServerError | Condition::ResourceConstraint));
        may_pass && self.h.is_none()
    }
}

/// Where a client shall reconnect to: `domain:port`, `[IPv6]:port`, or either without the port, as the
/// [`location`](https://xmpp.org/extensions/xep-0198.html#enable) attribute carries it.
///
/// An option: [`Config::location`](crate::Config::location).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Arc<str>);

impl Location {
    /// Checks that XML can carry the text. Whether it is an address is for those who connect to it.
    ///
    /// # Errors
    ///
    /// [`InvalidText`] if it is empty, longer than 4000 bytes, or holds a character that XML cannot carry.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        check_text(text)?;
        Ok(Self(text.into()))
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which element a [`Nonza`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<enable/>`
    Enable,
    /// `<enabled/>`
    Enabled,
    /// `<resume/>`
    Resume,
    /// `<resumed/>`
    Resumed,
    /// `<failed/>`
    Failed,
    /// `<a/>`
    Ack,
    /// `<r/>`
    AckRequest,
}

impl Kind {
    /// The element's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Enabled => "enabled",
            Self::Resume => "resume",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Ack => "a",
            Self::AckRequest => "r",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "a" => Self::Ack,
            "r" => Self::AckRequest,
            "enable" => Self::Enable,
            "enabled" => Self::Enabled,
            "resume" => Self::Resume,
            "resumed" => Self::Resumed,
            "failed" => Self::Failed,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}/>", self.name())
    }
}

impl Nonza {
    /// Which element this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Enable(_) => Kind::Enable,
            Self::Enabled(_) => Kind::Enabled,
            Self::Resume(_) => Kind::Resume,
            Self::Resumed(_) => Kind::Resumed,
            Self::Failed(_) => Kind::Failed,
            Self::Ack(_) => Kind::Ack,
            Self::AckRequest => Kind::AckRequest,
        }
    }

    pub(crate) const fn failed(condition: Condition) -> Self {
        Self::Failed(Failed { h: None, condition: Some(condition) })
    }
}
