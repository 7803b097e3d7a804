//! Who gets a stanza: a session, by its full JID or by its user's bare one; later, if the user is not there; or the server.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use jid::{BareJid, FullJid, Jid};
use minidom::Element;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_xmpp::xmlstream::{FallibleStreamElement, StreamElementError, XmppStreamElement};
use xmpp_parsers::disco::{DiscoInfoResult, DiscoItemsResult, Identity};
use xmpp_parsers::iq::{Iq, IqHeader, IqPayload};
use xmpp_parsers::message::MessageType;
use xmpp_parsers::ns;
use xmpp_parsers::presence::Type;
use xmpp_parsers::roster::Roster;
use xmpp_parsers::stanza::Stanza;
use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType, StanzaError};
use xmpp_sm::disposition::{Facts, Step, steps};
use xmpp_sm::typed::xso;
use xmpp_sm::{EndReason, Measured, SessionEnded, Taker, delay};

use super::Server;
use super::connection::{Connection, Incoming, Queued};
use super::session::{Mail, Mailbox};

/// Stanzas that wait for a user who is not there.
const KEPT_MAX: usize = 1000;
const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";

#[derive(Default)]
pub struct Router {
    users: Mutex<HashMap<BareJid, User>>,
    /// How many sessions have asked for a JID.
    asked: AtomicU64,
}

/// A newer session has the JID.
#[derive(Debug)]
pub struct HasNewer;

#[derive(Default)]
struct User {
    sessions: Vec<Bound>,
    /// What waits until one of them is available.
    kept: VecDeque<Queued>,
}

struct Bound {
    /// The later it has asked for its JID, the greater.
    number: u64,
    jid: FullJid,
    mailbox: Mailbox,
    is_connected: bool,
    /// It has sent its initial presence.
    is_available: bool,
}

impl Bound {
    fn deliver(&self, stanza: Queued) {
        // It is open while the session is bound: see `unbind`.
        let _ = self.mailbox.send(Mail::Deliver(stanza));
    }
}

impl User {
    fn session(&mut self, jid: &FullJid) -> Option<&mut Bound> {
        self.sessions.iter_mut().find(|bound| bound.jid == *jid)
    }

    /// The one that gets what is sent to the bare JID: the newest that is connected, if any is.
    fn best(&self) -> Option<&Bound> {
        self.sessions.iter().filter(|bound| bound.is_available).max_by_key(|bound| bound.is_connected)
    }

    /// Returns whether there is room for it.
    fn keep(&mut self, stanza: Queued, queued: Instant, domain: &str) -> bool {
        let has_room = self.kept.len() < KEPT_MAX;
        if has_room {
            self.kept.push_back(stamped(&stanza, queued, domain).unwrap_or(stanza));
        }
        has_room
    }
}

impl Router {
    /// Makes a session known, once the one that has its JID is over. Of several connections of a client that wait for that
    /// the newest has the JID, in whatever order they hear of it: otherwise it would be told of a conflict with one that its
    /// client has left, and not come back.
    pub async fn bind(&self, jid: &FullJid, mailbox: &Mailbox) -> Result<(), HasNewer> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        while let Some(former) = self.try_to_bind(number, jid, mailbox)? {
            let _ = former.send(Mail::End(EndReason::Replaced));
            former.closed().await;
        }
        Ok(())
    }

    /// `Some`: there is an older one of that JID, which has to end before.
    fn try_to_bind(&self, number: u64, jid: &FullJid, mailbox: &Mailbox) -> Result<Option<Mailbox>, HasNewer> {
        let mut users = self.users.lock();
        let user = users.entry(jid.to_bare()).or_default();
        // One whose task has ended by a mistake reads no mail.
        if let Some(former) = user.session(jid).filter(|former| !former.mailbox.is_closed()) {
            return if former.number > number { Err(HasNewer) } else { Ok(Some(former.mailbox.clone())) };
        }
        user.sessions.retain(|bound| bound.jid != *jid);
        let (jid, mailbox) = (jid.clone(), mailbox.clone());
        user.sessions.push(Bound { number, jid, mailbox, is_connected: true, is_available: false });
        Ok(None)
    }

    pub fn set_connected(&self, jid: &FullJid, is_connected: bool) {
        if let Some(bound) = self.users.lock().get_mut(&jid.to_bare()).and_then(|user| user.session(jid)) {
            bound.is_connected = is_connected;
        }
    }

    /// A session has sent presence: what has waited for its user goes there.
    fn set_available(&self, jid: &FullJid, is_available: bool) {
        let mut users = self.users.lock();
        let Some(user) = users.get_mut(&jid.to_bare()) else { return };
        let kept = if is_available { mem::take(&mut user.kept) } else { VecDeque::new() };
        if let Some(bound) = user.session(jid) {
            bound.is_available = is_available;
            kept.into_iter().for_each(|stanza| bound.deliver(stanza));
        }
    }
}

impl Server {
    /// A stanza of a client.
    pub fn route(&self, element: Incoming, from: &FullJid) {
        let bytes = element.bytes();
        let mut stanza = match element.content {
            Ok(FallibleStreamElement::Ok(XmppStreamElement::Stanza(stanza))) => stanza,
            Ok(FallibleStreamElement::Err(StreamElementError::InvalidStanza { name, header, .. })) => {
                let is_request = name.to_string() == "iq" && matches!(header.type_.as_deref(), Some("get" | "set"));
                if let (true, Some(id)) = (is_request, header.id) {
                    self.deliver(iq_error(id, from.clone().into(), DefinedCondition::BadRequest));
                }
                return;
            }
            _ => return,
        };
        *from_mut(&mut stanza) = Some(from.clone().into());
        let to = to(&stanza);
        match stanza {
            Stanza::Presence(presence) if to.is_none() => match presence.type_ {
                Type::None => self.router.set_available(from, true),
                Type::Unavailable => self.router.set_available(from, false),
                _ => {}
            },
            Stanza::Iq(iq) if to.as_ref().is_none_or(|to| self.is_own(to, from)) => self.answer(iq, from),
            stanza => {
                // It could be read, and so it can be written: there is no need to measure it again.
                let stanza = Measured { value: stanza, bytes: bytes + from.as_str().len() };
                self.send_to(&to.unwrap_or_else(|| from.to_bare().into()), stanza.into());
            }
        }
    }

    /// Whether the server answers for that address.
    fn is_own(&self, to: &Jid, from: &FullJid) -> bool {
        to.as_str() == self.domain || to.as_str() == from.to_bare().as_str()
    }

    fn send_to(&self, to: &Jid, stanza: Queued) {
        let mut users = self.router.users.lock();
        let user = users.get_mut(&to.to_bare());
        let named = user.zip(to.try_as_full().ok()).and_then(|(user, to)| user.session(to));
        if let Some(bound) = named {
            bound.deliver(stanza);
        } else {
            drop(users);
            self.pass_on(to.to_bare(), stanza, Instant::now(), EndReason::Expired);
        }
    }

    /// A stanza whose session is not there, or has left it.
    fn pass_on(&self, user: BareJid, stanza: Queued, queued: Instant, reason: EndReason) {
        let mut users = self.router.users.lock();
        // Only somebody who has an account.
        let is_user = user.node().is_some_and(|name| self.secrets.contains_key(name.as_str()));
        let mut user = is_user.then(|| users.entry(user).or_default());
        let element = xso::transform::<Element, _>(&*stanza);
        let Some(facts) = element.ok().as_ref().and_then(Facts::of) else { return };
        for step in steps(&facts, reason) {
            match (step, &mut user) {
                (Step::Elsewhere, Some(user)) => match user.best() {
                    Some(bound) => return bound.deliver(stamped(&stanza, queued, &self.domain).unwrap_or(stanza)),
                    None => continue,
                },
                (Step::Store, Some(user)) => match user.keep(stanza.clone(), queued, &self.domain) {
                    true => return,
                    false => continue,
                },
                (Step::Bounce(_), _) => {
                    drop(users);
                    return self.bounce(&stanza.value);
                }
                (Step::Drop, _) => return,
                _ => {}
            }
        }
    }

    /// A session is over: what it leaves goes elsewhere, and then what waits in its mailbox. Returns who has asked for it.
    pub fn unbind(
        &self,
        jid: &FullJid,
        ended: SessionEnded<Queued>,
        mut mail: UnboundedReceiver<Mail>,
    ) -> Vec<Taker<Connection>> {
        let mut left: Vec<_> = ended.stanzas.map(|left| (left.stanza, left.queued)).collect();
        let mut takers = Vec::new();
        let mut users = self.router.users.lock();
        if let Some(user) = users.get_mut(&jid.to_bare()) {
            user.sessions.retain(|bound| bound.jid != *jid);
        }
        // From here on nothing comes into it, and its JID can be bound.
        mail.close();
        drop(users);
        while let Ok(mail) = mail.try_recv() {
            match mail {
                Mail::Deliver(stanza) => left.push((stanza, Instant::now())),
                Mail::Take(taker) => takers.push(*taker),
                Mail::End(_) => {}
            }
        }
        left.into_iter().for_each(|(stanza, queued)| self.pass_on(jid.to_bare(), stanza, queued, ended.reason));
        takers
    }

    /// A stanza of the server's own.
    fn deliver(&self, iq: Iq) {
        if let (Some(to), Ok(stanza)) = (iq.to().cloned(), Measured::of(Stanza::Iq(iq))) {
            self.send_to(&to, stanza.into());
        }
    }

    /// Every request that is for the server gets an answer.
    fn answer(&self, iq: Iq, from: &FullJid) {
        let (IqHeader { id, to, .. }, payload) = iq.split();
        let (query, is_get) = match payload {
            IqPayload::Get(query) => (query, true),
            IqPayload::Set(query) => (query, false),
            _ => return,
        };
        let result = match (is_get, query.name(), query.ns().as_str()) {
            (true, "ping", ns::PING) | (false, "session", SESSION) => None,
            (true, "query", ns::ROSTER) => Some(Roster { ver: None, items: Vec::new() }.into()),
            (true, "query", ns::DISCO_ITEMS) => {
                Some(DiscoItemsResult { node: None, items: Vec::new(), rsm: None }.into())
            }
            (true, "query", ns::DISCO_INFO) => {
                let identities = vec![Identity::new("server", "im", "en", "an example server")];
                let features = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING].map(str::to_owned).into();
                Some(DiscoInfoResult { node: None, identities, features, extensions: Vec::new() }.into())
            }
            _ => return self.deliver(iq_error(id, from.clone().into(), DefinedCondition::ServiceUnavailable)),
        };
        self.deliver(Iq::Result { from: to, to: Some(from.clone().into()), id, payload: result });
    }

    /// Tells the sender of a stanza that nobody gets it.
    fn bounce(&self, stanza: &Stanza) {
        match stanza {
            Stanza::Iq(iq) => {
                let (id, sender) = (iq.id().to_owned(), iq.from().cloned());
                if let Some(sender) = sender {
                    self.deliver(iq_error(id, sender, DefinedCondition::ServiceUnavailable));
                }
            }
            Stanza::Message(message) => {
                let mut back = message.clone();
                mem::swap(&mut back.from, &mut back.to);
                back.type_ = MessageType::Error;
                back.payloads.push(error(DefinedCondition::ServiceUnavailable).into());
                if let (Some(to), Ok(back)) = (back.to.clone(), Measured::of(Stanza::Message(back))) {
                    self.send_to(&to, back.into());
                }
            }
            Stanza::Presence(_) => {}
        }
    }
}

fn to(stanza: &Stanza) -> Option<Jid> {
    match stanza {
        Stanza::Iq(iq) => iq.to().cloned(),
        Stanza::Message(message) => message.to.clone(),
        Stanza::Presence(presence) => presence.to.clone(),
    }
}

fn from_mut(stanza: &mut Stanza) -> &mut Option<Jid> {
    match stanza {
        Stanza::Iq(iq) => iq.from_mut(),
        Stanza::Message(message) => &mut message.from,
        Stanza::Presence(presence) => &mut presence.from,
    }
}

fn iq_error(id: String, to: Jid, condition: DefinedCondition) -> Iq {
    Iq::Error { from: None, to: Some(to), id, error: error(condition), payload: None }
}

fn error(defined_condition: DefinedCondition) -> StanzaError {
    StanzaError { type_: ErrorType::Cancel, by: None, defined_condition, texts: Default::default(), other: None }
}

/// The stanza with the time since when it waits. `None`: it carries none, or has one already.
fn stamped(stanza: &Queued, queued: Instant, domain: &str) -> Option<Queued> {
    let mut element = xso::transform::<Element, _>(&**stanza).ok()?;
    let queued = delay::wall_clock(queued, Instant::now(), SystemTime::now());
    let is_stamped = delay::stamp(&mut element, domain, queued);
    let stanza = is_stamped.then(|| xso::transform::<Stanza, _>(&element).ok()).flatten()?;
    Some(Measured::of(stanza).ok()?.into())
}
