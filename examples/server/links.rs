//! Other domains: those of other servers (`jabber:server`) and of components (`jabber:component:accept`). What is for them
//! goes to the session of their link, what comes from them to the users of this server, and nothing from one of them to
//! another.

pub mod component;
pub mod server;

mod accept;
mod ending;
mod session;

use std::collections::HashMap;
use std::sync::Arc;

use jid::{DomainPart, DomainRef, Jid};
use minidom::{Element, Node};
use parking_lot::Mutex;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::DefinedCondition;
use xmpp_sm::disposition::Step;
use xmpp_sm::{Config, EndReason, Taker};

use super::mail::{Delivery, Handle, Mail, Mailbox, Until};
use super::options::{Options, Peer};
use super::router::{HasNewer, Router};
use super::sasl::Accounts;
use super::stanza::{self, Written, kind};
use super::stream::Connection;
use super::xml::{Incoming, ReadError};

/// The namespace of the stanzas between servers.
const JABBER_SERVER: &str = "jabber:server";

/// Who may be linked.
pub struct Peers {
    /// The other servers, which authenticate as users do: by their domain and the secret.
    servers: Accounts,
    /// Those to which this one connects.
    called: Vec<DomainPart>,
    components: Vec<Peer>,
    servers_config: Arc<Config>,
    components_config: Arc<Config>,
}

impl Peers {
    pub fn new(options: &Options) -> Result<Self, String> {
        let all: Vec<_> = options.links.iter().chain(&options.components).map(|peer| &peer.domain).collect();
        if let Some(twice) =
            all.iter().find(|one| ***one == options.domain || all.iter().filter(|x| x == one).count() > 1)
        {
            return Err(format!("{twice} cannot be two things"));
        }
        let servers: Result<Vec<_>, _> = options.links.iter().map(Peer::account).collect();
        Ok(Self {
            servers: Accounts::new(servers?),
            called: options
                .links
                .iter()
                .filter(|peer| peer.address.is_some())
                .map(|peer| peer.domain.clone())
                .collect(),
            components: options.components.clone(),
            servers_config: Arc::new(options.config().stanza_ns(JABBER_SERVER)),
            components_config: Arc::new(options.config().stanza_ns(ns::COMPONENT_ACCEPT)),
        })
    }

    /// Whether a link with that server is made from here alone. Where each has the address of the other, and both would
    /// have one link, it is the one whose domain comes first that connects: the other gives up as soon as it has.
    fn is_called(&self, peer: &DomainRef, us: &DomainRef) -> bool {
        us < peer && self.called.iter().any(|called| **called == *peer)
    }
}

/// The header of a peer's stream.
struct Header {
    /// The namespace of its stanzas.
    ns: String,
    from: Option<String>,
    to: Option<String>,
}

async fn header(connection: &mut Connection) -> Result<Header, ReadError> {
    match (connection.reader.next().await?, connection.reader.header()) {
        (Incoming::Header, Some((header, ns))) => {
            let attr = |name| header.attr(name).map(str::to_owned);
            Ok(Header { ns: ns.to_owned(), from: attr("from"), to: attr("to") })
        }
        _ => Err(ReadError::Gone(std::io::ErrorKind::InvalidData.into())),
    }
}

/// The links that there are: the way to the session of each.
#[derive(Default)]
pub struct Links(Mutex<Table>);

#[derive(Default)]
struct Table {
    open: HashMap<DomainPart, (u64, Handle)>,
    /// What a session has left to its successor, which is about to begin.
    left: HashMap<DomainPart, Vec<Delivery>>,
    is_stopping: bool,
}

/// What is left of a link whose session is over: stanzas that go back, and connections that ask for the session.
type Remains = (Vec<Delivery>, Vec<Taker<Box<Connection>>>);

impl Links {
    /// A link begins, unless there is one: that is told to end, and returned to be waited for. An error: that one is newer.
    /// Of several connections of a peer that wait for its link to end, the newest has it, as with
    /// [users](Router::bind).
    pub fn begin(&self, domain: &DomainPart, id: u64, handle: &Handle) -> Result<Option<Until>, HasNewer> {
        let mut table = self.0.lock();
        if let Some((open, former)) = table.open.get(domain).filter(|(_, former)| !former.is_closed()) {
            return if *open > id { Err(HasNewer) } else { Ok(Some(former.replace())) };
        }
        for delivery in table.left.remove(domain).unwrap_or_default() {
            let _ = handle.send(Mail::Deliver(Box::new(delivery)));
        }
        if table.is_stopping {
            let _ = handle.send(Mail::End(EndReason::Stopped));
        }
        table.open.insert(domain.clone(), (id, handle.clone()));
        Ok(None)
    }

    /// A link is over. What its peer did not get goes to the link that takes its place, or back.
    fn end(
        &self,
        (id, domain): (u64, &DomainPart),
        reason: EndReason,
        left: impl Iterator<Item = Written>,
        mut mailbox: Mailbox,
    ) -> Remains {
        let (mut on, mut back, mut takers) = (Vec::new(), Vec::new(), Vec::new());
        let mut table = self.0.lock();
        if table.open.get(domain).is_some_and(|(open, _)| *open == id) {
            table.open.remove(domain);
        }
        for stanza in left {
            match ending::step(&stanza, reason) {
                Some(Step::Bounce(_)) => back.push(Delivery::own(stanza)),
                Some(_) => on.push(Delivery::own(stanza.returned())),
                None => {}
            }
        }
        for mail in mailbox.rest() {
            match mail {
                Mail::Deliver(delivery) if reason == EndReason::Replaced => on.push(*delivery),
                Mail::Deliver(delivery) => back.push(*delivery),
                Mail::Take(taker) => takers.push(*taker),
                _ => {}
            }
        }
        if !on.is_empty() {
            table.left.entry(domain.clone()).or_default().extend(on);
        }
        (back, takers)
    }

    /// All links end, and those that begin from now on.
    pub fn stop(&self) {
        let mut table = self.0.lock();
        table.is_stopping = true;
        for (_, handle) in table.open.values() {
            let _ = handle.send(Mail::End(EndReason::Stopped));
        }
    }

    /// Sends a stanza over the link to that domain. It comes back if there is none.
    pub fn send(&self, domain: &DomainRef, delivery: Delivery) -> Result<(), Delivery> {
        let table = self.0.lock();
        let Some((_, handle)) = table.open.get(domain) else { return Err(delivery) };
        match handle.send(Mail::Deliver(Box::new(delivery))) {
            Err(Mail::Deliver(delivery)) => Err(*delivery),
            _ => Ok(()),
        }
    }
}

impl Router {
    /// A stanza of another domain, which is for a user of this one, or for the server.
    fn arrive(&self, stanza: &Element, delivery: Delivery, from: &Jid) {
        let Some(to) = stanza.attr("to").and_then(|to| Jid::new(to).ok()) else {
            return self.refuse((delivery, DefinedCondition::JidMalformed));
        };
        if *to.domain() != *self.domain {
            return self.refuse((delivery, DefinedCondition::RemoteServerNotFound));
        }
        match (stanza.name(), from.try_as_full()) {
            ("presence", Ok(from)) => self.presence(stanza, &delivery.settle(), &to, from),
            ("presence", Err(_)) => {
                delivery.settle();
                if kind(stanza) == "subscribe" {
                    self.answer(&stanza::reply(stanza, "subscribed"));
                }
            }
            _ => self.to_user(stanza, delivery, &to, &from.to_bare()),
        }
    }
}

/// The same in another namespace: a stanza is `jabber:client` here, and on a link what its stream says.
fn in_ns(element: &Element, from: &str, to: &str) -> Element {
    let ns = Some(element.ns()).filter(|ns| ns != from).unwrap_or_else(|| to.to_owned());
    let mut copy = Element::bare(element.name(), ns);
    copy.attrs_mut().clone_from(element.attrs());
    for node in element.nodes() {
        copy.append_node(match node {
            Node::Element(child) => Node::Element(in_ns(child, from, to)),
            Node::Text(text) => Node::Text(text.clone()),
        });
    }
    copy
}
