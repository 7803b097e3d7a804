//! The server's own answers: every iq get and set gets one.

use jid::BareJid;
use minidom::Element;
use xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult, DiscoItemsResult, Identity};
use xmpp_parsers::ns;
use xmpp_parsers::roster::{Item, Roster, Subscription};
use xmpp_parsers::stanza_error::DefinedCondition;

use super::offline::TooMuch;
use super::router::Router;
use super::stanza::{bounce, is_request, kind, reply};
use super::xml::{from_bytes, to_bytes};

const PRIVATE: &str = "jabber:iq:private";
const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
const VCARD: &str = "vcard-temp";

/// Answers `user` for the server and for its accounts. None: it was no question.
pub(super) fn answer(iq: &Element, to: &BareJid, user: &BareJid, router: &Router) -> Option<Element> {
    if !is_request(iq) {
        return None;
    }
    match payload(iq, to, user, router) {
        Ok(payload) => {
            let mut result = reply(iq, "result");
            if let Some(payload) = payload {
                result.append_child(payload);
            }
            Some(result)
        }
        Err(condition) => bounce(iq, condition),
    }
}

type Payload = Result<Option<Element>, DefinedCondition>;

fn payload(iq: &Element, to: &BareJid, user: &BareJid, router: &Router) -> Payload {
    let query = iq.children().next().ok_or(DefinedCondition::BadRequest)?;
    let own = to == user;
    let server = to.node().is_none();
    match (kind(iq), query.name(), query.ns().as_str()) {
        ("get", "ping", ns::PING) if own || server => Ok(None),
        ("get", "query", ns::DISCO_INFO) if own || server => disco(query, server),
        ("get", "query", ns::DISCO_ITEMS) if own || server => {
            Ok(Some(DiscoItemsResult { node: None, items: Vec::new(), rsm: None }.into()))
        }
        ("get", "query", ns::ROSTER) if own => Ok(Some(roster(user, router).into())),
        ("set", "query", ns::ROSTER) if own => Err(DefinedCondition::NotAllowed),
        ("get" | "set", "query", PRIVATE) if own => private(kind(iq), query, user, router),
        ("get", "vCard", VCARD) if own => Ok(Some(Element::bare("vCard", VCARD))),
        ("set", "session", SESSION) if own || server => Ok(None),
        _ => Err(DefinedCondition::ServiceUnavailable),
    }
}

fn disco(query: &Element, server: bool) -> Payload {
    let query = DiscoInfoQuery::try_from(query.clone()).map_err(|_| DefinedCondition::BadRequest)?;
    if query.node.is_some() {
        return Err(DefinedCondition::ItemNotFound);
    }
    let (category, kind) = if server { ("server", "im") } else { ("account", "registered") };
    let features = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::ROSTER, PRIVATE, "msgoffline"];
    let info = DiscoInfoResult {
        node: None,
        identities: vec![Identity::new(category, kind, "en", "an example server")],
        features: features.map(str::to_owned).into(),
        extensions: Vec::new(),
    };
    Ok(Some(info.into()))
}

/// Everybody has everybody else as a contact.
fn roster(user: &BareJid, router: &Router) -> Roster {
    let others = router.accounts.names().map(|name| router.domain.with_node(name));
    let items = others.filter(|jid| jid != user).map(|jid| Item {
        jid,
        name: None,
        subscription: Subscription::Both,
        ask: Default::default(),
        groups: Vec::new(),
        approved: None,
    });
    Roster { ver: None, items: items.collect() }
}

fn private(kind: &str, query: &Element, user: &BareJid, router: &Router) -> Payload {
    let item = query.children().next().ok_or(DefinedCondition::BadRequest)?;
    let key = (item.name().to_owned(), item.ns());
    if kind == "set" {
        let written = to_bytes(item);
        let put = router.storage.lock().put(user, key, written);
        return put.map(|()| None).map_err(|TooMuch| DefinedCondition::ResourceConstraint);
    }
    let kept = router.storage.lock().get(user, &key);
    let kept = kept.and_then(|written| from_bytes(&written).ok()).unwrap_or_else(|| item.clone());
    Ok(Some(Element::builder("query", PRIVATE).append(kept).build()))
}
