//! Stream management inside of SASL2 and Bind 2: what the crate's page on it leaves to the server.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use jid::{BareJid, FullJid};
use minidom::Element;
use xmpp_parsers::ns;
use xmpp_sm::{InlineBind, InlineSuccess, Nonza, Offer, Refused, Taker};

use super::Server;
use super::csi;
use super::host_inline::{InlineHost, inline_features, success};
use super::login;
use super::negotiate::features;
use super::sasl::{Offered, temporary_failure};
use super::stream::{Connection, random};
use super::trace::What;
use super::xml::to_bytes;

/// A `<tag/>` of more bytes is not taken over.
const TAG_MAX: usize = 64;

/// What a connection keeps of a SASL2 `<authenticate/>` until `<success/>`.
pub struct Sasl2 {
    /// The additional data, in Base64.
    data: Option<String>,
    /// Which client it is, among those of its user.
    user_agent: Option<String>,
    /// What it asks of stream management, to be traced.
    pub asks: Vec<Nonza>,
}

impl Sasl2 {
    pub fn new(authenticate: &Element, data: Option<String>) -> Self {
        let id = authenticate.get_child("user-agent", ns::SASL2).and_then(|agent| agent.attr("id"));
        // A UUID.
        let id = id.filter(|id| id.len() == 36 && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
        let bind = authenticate.get_child("bind", ns::BIND2);
        let children = authenticate.children().chain(bind.into_iter().flat_map(Element::children));
        let asks = children.filter_map(Nonza::from_element).flatten().collect();
        Self { data, user_agent: id.map(str::to_owned), asks }
    }
}

/// What stands among the features before authentication.
pub fn authentication(server: &Server, offered: &Offered) -> Element {
    let others: &[&str] = if server.csi { &[csi::NS] } else { &[] };
    Element::builder("authentication", ns::SASL2)
        .append_all(offered.elements(ns::SASL2))
        .append(inline_features(server.sm.then_some(&server.config), others))
        .build()
}

/// Writes `<success/>`, and the features that follow it.
pub fn write_success(server: &Server, connection: &mut Connection, jid: &str, sm: InlineSuccess) {
    let nonzas = [sm.resume.as_ref(), sm.bound.as_ref().and_then(|bound| bound.enable.as_ref())];
    nonzas.into_iter().flatten().for_each(|nonza: &Nonza| server.trace(jid, What::To(nonza)));
    let follows = sm.features;
    let data = connection.sasl2.take().and_then(|sasl2| sasl2.data);
    connection.outbox.push(&to_bytes(&success(jid, data.as_deref(), sm)));
    if let Some(Offer { stream_management, binds }) = follows {
        connection.outbox.push(&to_bytes(&features(binds, stream_management, server.csi)));
    }
}

impl InlineHost for Arc<Server> {
    type Connection = Box<Connection>;
    type Jid = FullJid;

    fn resume(&self, taker: Taker<Box<Connection>>) -> Option<Refused<Box<Connection>>> {
        login::hand_over(taker, self); // which goes on with the login, too
        None
    }

    /// The same client gets the same resource, and the session that it left there ends: one user agent has one session. Its
    /// id is not in the resource, nor to be found from it.
    fn choose(&self, connection: &Box<Connection>, request: &InlineBind) -> Option<FullJid> {
        let owner = &**request.owner();
        let user = BareJid::new(owner).ok()?;
        let tag = request.element().get_child("tag", ns::BIND2).map(Element::text).unwrap_or_default();
        let user_agent = connection.sasl2.as_ref().and_then(|sasl2| sasl2.user_agent.as_ref());
        let number = user_agent.map_or_else(random, |id| self.resources.hash_one((owner, id)));
        let tagged = (!tag.is_empty() && tag.len() <= TAG_MAX).then(|| format!("{tag}/{number:016x}"));
        // A tag that may not stand in a resource is left out.
        let tagged = tagged.and_then(|resource| user.with_resource_str(&resource).ok());
        tagged.or_else(|| user.with_resource_str(&format!("{number:016x}")).ok())
    }

    /// What waits for the user waits for initial presence: there is no archive here from which the client could have it.
    async fn bind(&self, request: InlineBind, connection: Box<Connection>, jid: FullJid) {
        let is_active = request.element().children().find_map(csi::is_active);
        // The same client, which had another tag.
        let number = |jid: &FullJid| jid.resource().as_str().rsplit('/').next().map(str::to_owned);
        self.router.replace(&jid.to_bare(), |former| *former != jid && number(former) == number(&jid));
        let begin = |connection| request.bind(connection, Instant::now());
        login::bind(begin, connection, jid, &[], is_active, self.clone()).await;
    }

    fn fail(&self, mut connection: Box<Connection>) {
        connection.outbox.push(&to_bytes(&temporary_failure()));
        tokio::spawn(connection.close(None));
    }

    fn write_success(&self, connection: &mut Box<Connection>, jid: &str, success: InlineSuccess) {
        write_success(self, connection, jid, success);
    }

    fn write_failed(&self, connection: &mut Box<Connection>, jid: &str, failed: Nonza) {
        self.write(jid, connection, &failed);
    }
}
