//! What becomes of the stanzas that a session leaves: the advice of the specifications, as data.
//!
//! A server [should treat](https://xmpp.org/extensions/xep-0198.html#acking) an unacknowledged stanza "in the same way
//! that it would treat a stanza sent to an unavailable resource, by either returning an error to the sender, delivery to an
//! alternate resource, or committing the stanza to offline storage". [`steps`] says which of them suit a stanza. The
//! host tries them in that order and stops at the first one that is possible. The host decides; nothing here is done by
//! the crate.
//!
//! ```
//! use bytes::Bytes;
//! use minidom::Element;
//! use xmpp_sm::disposition::{Facts, IqKind, Kind, Step, steps};
//! use xmpp_sm::{Condition, EndReason, Leftover, SessionEnded, Stanza};
//!
//! /// A stanza on its way: what is written, and what its fate depends on. The facts are read once, when it is routed.
//! struct Outgoing {
//!     wire: Bytes,
//!     facts: Facts,
//!     returns: u8,
//! }
//!
//! impl Stanza for Outgoing {
//!     fn bytes(&self) -> usize {
//!         self.wire.len() + size_of::<Self>()
//!     }
//! }
//!
//! /// For each stanza that a session has left, in order: the first step that is possible.
//! fn dispose(ended: SessionEnded<Outgoing>, offline: &mut Vec<Outgoing>, errors: &mut Vec<Outgoing>) {
//!     for Leftover { mut stanza, .. } in ended.stanzas {
//!         stanza.returns = stanza.returns.saturating_add(1);
//!         let facts = Facts { exhausted: stanza.returns > 5, ..stanza.facts };
//!         for step in steps(&facts, ended.reason) {
//!             match step {
//!                 Step::Successor | Step::Elsewhere => continue, // no other resource is online
//!                 Step::Store => offline.push(stanza),           // with a stamp: see `delay`
//!                 Step::Bounce(_) => errors.push(stanza),
//!                 _ => {}
//!             }
//!             break;
//!         }
//!     }
//! }
//! # use std::sync::Arc;
//! # use std::time::Instant;
//! # use xmpp_sm::{Config, Event, Session, Unbound};
//! # let now = Instant::now();
//! # let mut session: Session<Outgoing, ()> = Unbound::new(Arc::new(Config::default()), "juliet@example.com").bind(());
//! # let to = "xmlns='jabber:client' to='juliet@example.com/balcony'";
//! # let message = format!("<message {to} type='chat'><body>ciao!</body></message>");
//! # let (ping, presence) = (format!("<iq {to} type='get' id='1'/>"), format!("<presence {to}/>"));
//! # for (text, returns) in [(&ping, 0), (&message, 0), (&presence, 0), (&message, 4), (&message, 5)] {
//! #     let facts = Facts::of(&text.parse::<Element>()?).expect("a stanza");
//! #     session.send(Outgoing { wire: text.clone().into(), facts, returns }, now).map_err(|no| no.why)?;
//! # }
//! # session.lost(now);
//! # let ended = std::iter::from_fn(|| session.poll()).find_map(|event| match event {
//! #     Event::Ended(ended) => Some(*ended),
//! #     _ => None,
//! # });
//! # let (mut offline, mut errors) = (Vec::new(), Vec::new());
//! # dispose(ended.expect("an end"), &mut offline, &mut errors);
//! # let wires = |of: Vec<Outgoing>| of.into_iter().map(|stanza| stanza.wire).collect::<Vec<_>>();
//! # assert_eq!(wires(offline), [&message, &message].map(|text| Bytes::from(text.clone())));
//! # assert_eq!(wires(errors), [&ping, &message].map(|text| Bytes::from(text.clone())));
//!
//! // A host with types of its own fills in what it knows.
//! let facts = Facts::new(Kind::Iq(IqKind::Request));
//! assert!(steps(&facts, EndReason::Expired).eq([Step::Bounce(Condition::ServiceUnavailable)]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How far a stanza came ([`Fate`](crate::Fate)) changes nothing: one that the peer may have, and has not acknowledged, is
//! passed on as one that was never written. It may then arrive twice, at two resources; the other choice is to lose it.
//!
//! # The table
//!
//! | stanza | steps | why |
//! | --- | --- | --- |
//! | message `chat`, `normal`, without a type, of an unknown type | elsewhere, store, bounce | [RFC 6121], [XEP-0160] |
//! | - to a full JID that is bound again ([`Replaced`](EndReason::Replaced)) | successor, elsewhere, store, bounce | the address is there again |
//! | - `private` or `no-copy`, to a full JID | store, bounce; before them successor, where there is one | [XEP-0280], [XEP-0334] |
//! | - `private` or `no-copy`, to a bare JID | as without | [XEP-0334] |
//! | - `no-store`, also beside `store` | elsewhere, bounce | [XEP-0334] |
//! | - `no-permanent-store` | as without, and not in an archive | [XEP-0334] |
//! | - `chat` with nothing but a chat state | elsewhere, bounce | [XEP-0160] |
//! | - the same with `store` | elsewhere, store, bounce | [XEP-0334] |
//! | - archived | drop: its user finds it in the archive | |
//! | - a carbon copy | drop: the message itself goes its own way | [XEP-0280] |
//! | message `headline` to a bare JID | elsewhere, drop | [RFC 6121] |
//! | message `headline` to a full JID | drop; before it successor, where there is one | [RFC 6121] |
//! | - `headline` with `store` | store before drop | [XEP-0334] |
//! | message `groupchat` | bounce, with whatever hints: the room takes its occupant out | [XEP-0160] |
//! | message `error` | drop, with whatever hints | [RFC 6121] |
//! | presence, available, `unavailable`, `probe`, `error`, unknown | drop | [RFC 6121] |
//! | presence `subscribe`, `subscribed`, `unsubscribe`, `unsubscribed` | elsewhere, store, drop | [RFC 6121 about subscriptions] |
//! | iq `get`, `set` | bounce | [RFC 6120] |
//! | iq `result`, `error`, unknown | drop | [RFC 6120] |
//! | any that has come back [too often](Facts::exhausted) | only bounce or drop, whichever its row ends with | |
//!
//! Every bounce is a [`ServiceUnavailable`](Condition::ServiceUnavailable). The kind of ending changes nothing else: a
//! session that has expired, was closed, was stopped or broke the protocol leaves its stanzas to a resource that is not
//! there. [RFC 6121] has a `normal` message to a full JID ignored or bounced, where XEP-0160 has it stored and XEP-0198 passed
//! on: here it is not lost.
//!
//! A client "[should try](https://xmpp.org/extensions/xep-0198.html#acking) to silently resend the stanzas upon
//! reconnection or inform the user": that is [`Step::Resend`] for what a refused session leaves, and a client's
//! [`Session`](crate::Session) does it by itself. What has come back too often is not sent again: the last step of its
//! row is left, and a bounce is for the user's eyes.
//!
//! [RFC 6120]: https://www.rfc-editor.org/rfc/rfc6120#section-10.5.4
//! [RFC 6121]: https://www.rfc-editor.org/rfc/rfc6121#section-8.5.3.2
//! [RFC 6121 about subscriptions]: https://www.rfc-editor.org/rfc/rfc6121#section-3
//! [XEP-0160]: https://xmpp.org/extensions/xep-0160.html#types
//! [XEP-0280]: https://xmpp.org/extensions/xep-0280.html#avoiding
//! [XEP-0334]: https://xmpp.org/extensions/xep-0334.html#hints

use minidom::Element;

use crate::detached::EndReason;
use crate::nonza::Condition;

/// The namespace of [message hints](https://xmpp.org/extensions/xep-0334.html).
const HINTS: &str = "urn:xmpp:hints";
/// The namespace of [carbon copies](https://xmpp.org/extensions/xep-0280.html).
const CARBONS: &str = "urn:xmpp:carbons:2";
/// The namespace of [chat states](https://xmpp.org/extensions/xep-0085.html).
const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// The namespace of [identifiers](https://xmpp.org/extensions/xep-0359.html), which are no content.
const STANZA_IDS: &str = "urn:xmpp:sid:0";

/// One thing to do with a stanza that came back.
///
/// See the [example](self) of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Give it to the session that has bound the same resource, with [`send`](crate::Session::send): the host finds it
    /// where it finds the recipient of any stanza to that full JID. Not possible before stream management
    /// [is on](crate::Session::is_enabled) there or its initial presence has come: what is written until then may be kept
    /// nowhere.
    Successor,
    /// Give it to another available resource of the same user, to the one that a message to the bare JID would reach.
    /// Not possible if every other resource has a negative priority, or there is none. If such a resource got this very
    /// stanza when it was sent (a message to the bare JID that went to all), this is done already. A carbon copy of it is
    /// not enough.
    Elsewhere,
    /// Keep it until the user is back, [stamped](crate::delay) with the time at which it was
    /// [queued](crate::Leftover::queued). Not possible if the user's storage is full, or there is none. Nor is it where
    /// [`Elsewhere`](Self::Elsewhere) is not advised and another resource would get at once what is stored.
    Store,
    /// Return an error with this condition to its sender. Not possible for what the server has sent of its own accord:
    /// that is dropped.
    Bounce(Condition),
    /// Forget it.
    Drop,
    /// A client: send it again in the next session, stamped, or tell the user.
    Resend,
}

/// What a stanza is, as far as it matters here.
///
/// See the [example](self) of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message(MessageKind),
    /// `<presence/>`
    Presence(PresenceKind),
    /// `<iq/>`
    Iq(IqKind),
}

/// The types of `<message/>`.
///
/// See the [example](self) of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// `normal`, no type, and any that is unknown.
    Normal,
    /// `chat`
    Chat,
    /// `groupchat`
    Groupchat,
    /// `headline`
    Headline,
    /// `error`
    Error,
}

/// The types of `<presence/>`.
///
/// See the [example](self) of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PresenceKind {
    /// `subscribe`, `subscribed`, `unsubscribe`, `unsubscribed`
    Subscription,
    /// All others: they are sent again when the user is back.
    Passing,
}

/// The types of `<iq/>`.
///
/// See the [example](self) of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IqKind {
    /// `get`, `set`: somebody waits for a response.
    Request,
    /// `result`, `error`, and any that is unknown.
    Response,
}

/// What [`steps`] has to know about a stanza. [`of`](Self::of) reads it from an element, but for the last two; hosts
/// with typed stanzas begin with [`new`](Self::new) and fill in the rest.
///
/// See the [example](self) of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Its name and type.
    pub kind: Kind,
    /// Whether `to` is a full JID.
    pub to_full: bool,
    /// Whether it has the hint `<no-store/>`.
    pub no_store: bool,
    /// Whether it has the hint `<store/>`.
    pub store: bool,
    /// Whether it has the hint `<no-copy/>`, or the `<private/>` of carbon copies.
    pub no_copy: bool,
    /// Whether it is a carbon copy: a `<sent/>` or `<received/>` from the bare JID of its recipient. From anybody else
    /// it is a forgery, and a message as any other.
    pub carbon: bool,
    /// Whether it says nothing but a chat state.
    pub only_chat_state: bool,
    /// Whether the host has put it into an archive that its user's clients read. [`of`](Self::of) says `false`.
    pub archived: bool,
    /// Whether it has come back as often as the host puts up with: it is not passed on, stored or sent once more, or it
    /// would go round for ever. [`of`](Self::of) says `false`.
    pub exhausted: bool,
}

impl Facts {
    /// A stanza of that kind, to a bare JID and without anything special.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            to_full: false,
            no_store: false,
            store: false,
            no_copy: false,
            carbon: false,
            only_chat_state: false,
            archived: false,
            exhausted: false,
        }
    }

    /// Reads a stanza. `None`: it is not one.
    ///
    /// `from` and `to` are compared as they stand: they have to be normalized, as a server does before it routes.
    pub fn of(stanza: &Element) -> Option<Self> {
        let kind = Kind::of(stanza.name(), stanza.attr("type"))?;
        let (bare, resource) = match stanza.attr("to").map(|to| to.split_once('/').ok_or(to)) {
            Some(Ok((bare, resource))) => (Some(bare), Some(resource)),
            Some(Err(bare)) => (Some(bare), None),
            None => (None, None),
        };
        let has = |name: &str, ns: &str| stanza.has_child(name, ns);
        let is_copy = has("sent", CARBONS) || has("received", CARBONS);
        Some(Self {
            to_full: resource.is_some(),
            no_store: has("no-store", HINTS),
            store: has("store", HINTS),
            no_copy: has("no-copy", HINTS) || has("private", CARBONS),
            carbon: is_copy && bare.is_some() && stanza.attr("from") == bare,
            only_chat_state: is_only_chat_state(stanza),
            ..Self::new(kind)
        })
    }
}

/// Whether there is a chat state, and beside it nothing that somebody could read.
fn is_only_chat_state(stanza: &Element) -> bool {
    let is_beside = |child: &Element| {
        child.name() == "thread" && child.ns() == stanza.ns()
            || [CHAT_STATES, HINTS, STANZA_IDS, CARBONS, crate::delay::NS].contains(&child.ns().as_str())
    };
    stanza.children().any(|child| child.ns() == CHAT_STATES) && stanza.children().all(is_beside)
}

impl Kind {
    /// The kind of a stanza by its name and `type`. `None`: it is not a stanza.
    pub fn of(name: &str, kind: Option<&str>) -> Option<Self> {
        Some(match (name, kind) {
            ("message", Some("chat")) => Self::Message(MessageKind::Chat),
            ("message", Some("groupchat")) => Self::Message(MessageKind::Groupchat),
            ("message", Some("headline")) => Self::Message(MessageKind::Headline),
            ("message", Some("error")) => Self::Message(MessageKind::Error),
            ("message", _) => Self::Message(MessageKind::Normal),
            ("presence", Some("subscribe" | "subscribed" | "unsubscribe" | "unsubscribed")) => {
                Self::Presence(PresenceKind::Subscription)
            }
            ("presence", _) => Self::Presence(PresenceKind::Passing),
            ("iq", Some("get" | "set")) => Self::Iq(IqKind::Request),
            ("iq", _) => Self::Iq(IqKind::Response),
            _ => return None,
        })
    }
}

/// What to do with a stanza that a session has left, which ended for `reason`: the steps in the order to try them in.
/// The last one is always possible, except a [`Step::Bounce`] of a stanza that has no sender.
///
/// See the [example](self) of the module.
pub fn steps(facts: &Facts, reason: EndReason) -> impl Iterator<Item = Step> + use<> {
    const BOUNCE: Step = Step::Bounce(Condition::ServiceUnavailable);
    let plan = match (facts.kind, reason) {
        (_, EndReason::EnableRefused | EndReason::ResumeRefused) if !facts.exhausted => Plan::only(Step::Resend),
        (Kind::Message(MessageKind::Error), _) => Plan::only(Step::Drop),
        // A member of a room is not replaced by another resource, and the room has to know that it is gone.
        (Kind::Message(MessageKind::Groupchat), _) => Plan::only(BOUNCE),
        (Kind::Message(_), _) if facts.carbon || facts.archived => Plan::only(Step::Drop),
        (Kind::Message(MessageKind::Headline), _) => Plan {
            successor: facts.to_full && reason == EndReason::Replaced,
            elsewhere: !facts.to_full,
            store: facts.store && !facts.no_store,
            last: Step::Drop,
        },
        (Kind::Message(MessageKind::Normal | MessageKind::Chat), _) => Plan {
            successor: facts.to_full && reason == EndReason::Replaced,
            elsewhere: !(facts.to_full && facts.no_copy),
            store: !facts.no_store && (facts.store || !is_chat_state(facts)),
            last: BOUNCE,
        },
        (Kind::Presence(PresenceKind::Subscription), _) => {
            Plan { successor: false, elsewhere: true, store: true, last: Step::Drop }
        }
        (Kind::Presence(PresenceKind::Passing), _) => Plan::only(Step::Drop),
        (Kind::Iq(IqKind::Request), _) => Plan::only(BOUNCE),
        (Kind::Iq(IqKind::Response), _) => Plan::only(Step::Drop),
    };
    let plan = if facts.exhausted { Plan::only(plan.last) } else { plan };
    let steps = [(plan.successor, Step::Successor), (plan.elsewhere, Step::Elsewhere), (plan.store, Step::Store)];
    steps.into_iter().filter_map(|(is_advised, step)| is_advised.then_some(step)).chain([plan.last])
}

/// [XEP-0160](https://xmpp.org/extensions/xep-0160.html#types) excepts them among the `chat` messages alone.
fn is_chat_state(facts: &Facts) -> bool {
    facts.only_chat_state && facts.kind == Kind::Message(MessageKind::Chat)
}

struct Plan {
    successor: bool,
    elsewhere: bool,
    store: bool,
    last: Step,
}

impl Plan {
    fn only(last: Step) -> Self {
        Self { successor: false, elsewhere: false, store: false, last }
    }
}
