//! Stanzas on their way, and small things done to them, whichever kind they are.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use jid::{BareJid, Jid};
use minidom::Element;
use triomphe::ThinArc;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType, StanzaError};
use xmpp_sm::disposition::{Facts, Step, steps};
use xmpp_sm::snapshot::Portable;
use xmpp_sm::{EndReason, SessionEnded, SessionParts, Stanza, delay};

use super::xml::{from_bytes, set, with_bytes};

/// A stanza as it is written. It takes the memory that its bytes take, which a tree does not, and all its recipients
/// share them, and what is known of them.
#[derive(Clone)]
pub struct Written {
    shared: ThinArc<Known, u8>,
    /// When it began to wait, if it has waited, in seconds since 1970: there are many of these.
    pub since: Option<NonZeroU32>,
    /// How many sessions had it and did not bring it to their client.
    returns: u8,
}

struct Known {
    /// None: it is no stanza, and none comes here.
    facts: Option<Facts>,
    /// Whose news it is, if of those its recipient wants to know the last.
    news: Option<Box<(News, String)>>,
    /// Whether it gets a stamp if it is late.
    takes_stamp: bool,
}

/// What makes others of its kind and sender obsolete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    Presence,
    /// A message with nothing in it but a chat state (XEP-0085).
    ChatState,
}

/// How often a stanza may come back and go to another session. It may be what ends them.
const MAX_RETURNS: u8 = 5;

impl Written {
    pub fn new(stanza: &Element) -> Self {
        let news = News::of(stanza).zip(stanza.attr("from").map(str::to_owned)).map(Box::new);
        let takes_stamp = match (stanza.name(), kind(stanza)) {
            ("message", kind) => !matches!(kind, "error" | "headline"),
            (name, kind) => name == "presence" && kind != "error",
        };
        let takes_stamp = takes_stamp && !stanza.has_child("delay", delay::NS);
        let known = Known { facts: Facts::of(stanza), news, takes_stamp };
        let shared = with_bytes(stanza, |bytes| ThinArc::from_header_and_slice(known, bytes));
        Self { shared, since: None, returns: 0 }
    }

    /// The stanza that was written so.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        from_bytes(bytes).ok().map(|stanza| Self::new(&stanza))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.shared.slice
    }

    fn known(&self) -> &Known {
        &self.shared.header.header
    }

    /// What its fate depends on, if it finds no client.
    pub fn facts(&self) -> Option<Facts> {
        let facts = self.known().facts?;
        Some(Facts { exhausted: self.returns > MAX_RETURNS, ..facts })
    }

    /// Whether it may wait for its user.
    pub fn can_be_kept(&self) -> bool {
        self.can_go(Step::Store)
    }

    /// Whether that is one of the ways that it may go without a session.
    pub fn can_go(&self, way: Step) -> bool {
        self.facts().is_some_and(|facts| steps(&facts, EndReason::Closed).any(|step| step == way))
    }

    /// A session had it and has ended.
    #[must_use]
    pub fn returned(self) -> Self {
        Self { returns: self.returns.saturating_add(1), ..self }
    }

    /// Whether it is that stanza itself, and not only one that is written so.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.bytes(), other.bytes())
    }

    /// Its size in memory, which is never nothing.
    pub fn cost(&self) -> usize {
        self.bytes().len() + OVERHEAD
    }

    /// With the time at which it began to wait, unless that is known.
    #[must_use]
    pub fn waiting_since(mut self, since: SystemTime) -> Self {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.since = self.since.or(u32::try_from(since).ok().and_then(NonZeroU32::new));
        self
    }

    /// Appends it, with the time since when it has waited. [`delay::stamp_bytes`] does that to any stanza; of this one
    /// it is known where it ends.
    pub fn write_to(&self, out: &mut BytesMut, domain: &str, late: Option<SystemTime>) {
        let since = self.since.and_then(|since| UNIX_EPOCH.checked_add(Duration::from_secs(since.get().into())));
        let Some(since) = since.or(late).filter(|_| self.known().takes_stamp) else {
            return out.extend_from_slice(self.bytes());
        };
        let last_tag = self.bytes().iter().rposition(|byte| *byte == b'<').unwrap_or_default();
        let (content, last_tag) = self.bytes().split_at(last_tag);
        let stamp = delay::date_time(since);
        let delay = format!("<delay xmlns='{}' from='{domain}' stamp='{stamp}'/>", delay::NS);
        match last_tag.strip_suffix(b"/>") {
            None => [content, delay.as_bytes(), last_tag].map(|piece| out.extend_from_slice(piece)),
            Some(start) => {
                let name = start.split(|byte| *byte == b' ').next().unwrap_or_default();
                let end = [b"</", &name[1..], b">"].concat();
                out.extend_from_slice(content);
                [&[start, b">"].concat(), delay.as_bytes(), &end].map(|piece| out.extend_from_slice(piece))
            }
        };
    }

    /// Whether it is nothing that somebody who does not look has to be told.
    pub fn can_wait(&self) -> bool {
        self.known().news.is_some()
    }

    /// Whether it makes an older stanza for the same client obsolete.
    pub fn is_news_after(&self, older: &Self) -> bool {
        self.can_wait() && self.known().news == older.known().news
    }

    /// The stanza itself, which there always is.
    pub fn element(&self) -> Option<Element> {
        from_bytes(self.bytes()).ok()
    }
}

impl Stanza for Written {
    fn bytes(&self) -> usize {
        self.cost()
    }

    fn replaces(&self, older: &Self) -> bool {
        self.is_news_after(older)
    }
}

/// Since when it has waited, in milliseconds since 1970, or zero; how often it came back; and then itself.
impl Portable for Written {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        let since = (u64::from(self.since.map_or(0, NonZeroU32::get)) * 1000).to_be_bytes();
        [&since, &[self.returns][..], self.bytes()].concat().into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (since, rest) = bytes.split_first_chunk()?;
        let (returns, stanza) = rest.split_first()?;
        let since = u32::try_from(u64::from_be_bytes(*since) / 1000).ok().and_then(NonZeroU32::new);
        Some(Self { since, returns: *returns, ..Self::read(stanza)? })
    }
}

/// What the peer of a session did not get, with the time since when it waits.
pub fn left(ended: &mut SessionEnded<Written>) -> impl Iterator<Item = Written> {
    let (now, by_the_wall) = (Instant::now(), SystemTime::now());
    ended.stanzas.by_ref().map(move |left| left.stanza.waiting_since(delay::wall_clock(left.queued, now, by_the_wall)))
}

/// The same of a session that was taken apart.
pub fn left_of(
    parts: SessionParts<Written>,
    (now, by_the_wall): (Instant, SystemTime),
) -> impl Iterator<Item = Written> {
    let late = move |(stanza, queued): (Written, _)| stanza.waiting_since(delay::wall_clock(queued, now, by_the_wall));
    parts.into_stanzas().map(late)
}

/// What is taken by anything that is kept, beside its bytes.
pub const OVERHEAD: usize = 128;

impl News {
    fn of(stanza: &Element) -> Option<Self> {
        let is_state = |child: &Element| child.has_ns(ns::CHATSTATES);
        let beside = |child: &Element| child.is("thread", ns::JABBER_CLIENT) || child.has_ns("urn:xmpp:hints");
        match (stanza.name(), kind(stanza)) {
            ("presence", "" | "unavailable") => Some(Self::Presence),
            ("message", "" | "normal" | "chat" | "groupchat") => {
                let is_bare = stanza.children().all(|child| is_state(child) || beside(child));
                (is_bare && stanza.children().any(is_state)).then_some(Self::ChatState)
            }
            _ => None,
        }
    }
}

/// Where it goes. None: to nobody that could be.
pub fn to(stanza: &Element, default: &BareJid) -> Option<Jid> {
    match stanza.attr("to") {
        Some(to) => Jid::new(to).ok(),
        None => Some(default.clone().into()),
    }
}

/// `get`, `set`, `chat`, ..., or nothing.
pub fn kind(stanza: &Element) -> &str {
    stanza.attr("type").unwrap_or_default()
}

/// An iq that wants an answer.
pub fn is_request(stanza: &Element) -> bool {
    stanza.name() == "iq" && matches!(kind(stanza), "get" | "set")
}

/// The beginning of an answer: the same kind of stanza, the way back.
pub fn reply(stanza: &Element, kind: &str) -> Element {
    let mut reply = Element::bare(stanza.name(), ns::JABBER_CLIENT);
    set(&mut reply, "type", kind);
    set(&mut reply, "id", stanza.attr("id"));
    set(&mut reply, "to", stanza.attr("from"));
    set(&mut reply, "from", stanza.attr("to"));
    reply
}

/// The stanza back to its sender, with what was wrong. Errors, results and presence are not answered.
pub fn bounce(stanza: &Element, condition: DefinedCondition) -> Option<Element> {
    let answered = match stanza.name() {
        "message" => kind(stanza) != "error",
        "iq" => is_request(stanza),
        _ => false,
    };
    answered.then(|| error(stanza, condition))
}

/// What was wrong with a stanza, for its sender.
pub fn error(stanza: &Element, condition: DefinedCondition) -> Element {
    let error_type = match condition {
        DefinedCondition::BadRequest | DefinedCondition::JidMalformed => ErrorType::Modify,
        DefinedCondition::ResourceConstraint => ErrorType::Wait,
        _ => ErrorType::Cancel,
    };
    let mut reply = reply(stanza, "error");
    let mut error = StanzaError::new(error_type, condition, "en", "");
    error.texts.clear();
    reply.append_child(error.into());
    reply
}
