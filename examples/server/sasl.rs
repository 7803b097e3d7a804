//! Accounts, and SASL PLAIN, SCRAM-SHA-1 and SCRAM-SHA-256 by the `sasl` crate, in the elements of RFC 6120 or of
//! SASL2 (XEP-0388).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use jid::{BareJid, DomainPart, Jid, NodePart};
use minidom::Element;
use sasl::common::scram::{Sha1, Sha256};
use sasl::common::{ChannelBinding, Identity};
use sasl::impl_validator_using_provider;
use sasl::secret::{Pbkdf2Sha1, Pbkdf2Sha256, Plain};
use sasl::server::{Mechanism, Provider, ProviderError, Response, Validator, ValidatorError, mechanisms};
use xmpp_parsers::ns;
use xmpp_sm::{Inbound, InlineElements, Unbound};

use super::inline::Sasl2;
use super::stream::{Connection, random};
use super::xml::ReadError;

/// The best first: some clients take the first that they know.
pub const MECHANISMS: [&str; 3] = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];
const ATTEMPTS: usize = 3;
const ITERATIONS: u32 = 4096;

/// `NAME:PASSWORD`, as on the command line.
#[derive(Clone, Debug)]
pub struct Account {
    name: NodePart,
    password: String,
    sha1: OnceLock<Pbkdf2Sha1>,
    sha256: OnceLock<Pbkdf2Sha256>,
}

impl FromStr for Account {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, password) = s.split_once(':').ok_or("NAME:PASSWORD is what it takes")?;
        let name = NodePart::new(name).map_err(|e| e.to_string())?.into_owned();
        Ok(Self { name, password: password.to_owned(), sha1: OnceLock::new(), sha256: OnceLock::new() })
    }
}

impl Account {
    /// `domain`: that of users. `None`: it is another server's, and has its domain for a name.
    fn jid(&self, domain: Option<&DomainPart>) -> Option<BareJid> {
        match domain {
            Some(domain) => Some(domain.with_node(&self.name)),
            None => BareJid::new(self.name.as_str()).ok(),
        }
    }
}

/// Everybody who has an account here.
#[derive(Debug, Default)]
pub struct Accounts(BTreeMap<NodePart, Account>);

impl Accounts {
    pub fn new(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self(accounts.into_iter().map(|account| (account.name.clone(), account)).collect())
    }

    pub fn contains(&self, jid: &BareJid) -> bool {
        jid.node().is_some_and(|node| self.0.contains_key(node))
    }

    pub fn names(&self) -> impl Iterator<Item = &NodePart> {
        self.0.keys()
    }

    fn find(&self, identity: &Identity) -> Option<&Account> {
        let Identity::Username(name) = identity else { return None };
        self.0.get(&*NodePart::new(&unescaped(name)).ok()?)
    }
}

/// A client that has proved who it is.
pub struct Proved {
    pub name: NodePart,
    /// How it has done so, if by SASL2: then it still waits for `<success/>`.
    pub sasl2: Option<(Sasl2, InlineElements)>,
}

/// Asks the client who it is, until it can prove it. `domain`: that of users, or `None` among servers.
pub async fn authenticate(
    connection: &mut Connection,
    domain: Option<&DomainPart>,
    accounts: &Accounts,
    offered: &Offered,
) -> Result<Option<Proved>, ReadError> {
    // Who it says it is.
    let from = connection.reader.header().and_then(|(header, _)| header.attr("from").map(str::to_owned));
    for _ in 0..ATTEMPTS {
        let element = connection.next_element().await?;
        if let Some(failed) = Unbound::before_authentication(&Inbound::from_element(&element, ns::JABBER_CLIENT)) {
            connection.send(failed.to_element()).await?; // an attempt at something else
            continue;
        }
        let profile = match offered.sasl2 && element.has_ns(ns::SASL2) {
            true => Profile::Sasl2,
            false => Profile::Rfc6120,
        };
        match attempt(connection, accounts, offered, profile, &element).await? {
            Ok(Attempted { account, acts_as, .. })
                if !may_act(from.as_deref(), account.jid(domain), acts_as.as_deref()) =>
            {
                connection.send(profile.failure("invalid-authzid")).await?;
            }
            Ok(Attempted { account, data: success, inline, .. }) => {
                let name = account.name.clone();
                let data = success.map(|data| BASE64.encode(data));
                if profile == Profile::Sasl2 {
                    return Ok(Some(Proved { name, sasl2: Some((Sasl2::new(&element, data), inline)) }));
                }
                connection.send(profile.element("success", &data.unwrap_or_default())).await?;
                return Ok(Some(Proved { name, sasl2: None }));
            }
            Err(condition) => connection.send(profile.failure(condition)).await?,
        }
    }
    Ok(None)
}

/// What is offered to whoever has not said who it is.
#[derive(Clone)]
pub struct Offered {
    pub mechanisms: Vec<String>,
    pub sasl2: bool,
}

impl Offered {
    /// What may be offered on a connection with that address. Where others can read along there is no
    /// [PLAIN](https://www.rfc-editor.org/rfc/rfc4616#section-5), and no
    /// [SASL2](https://xmpp.org/extensions/xep-0388.html#security).
    pub fn on(&self, address: IpAddr, is_tls: bool) -> Self {
        let is_private = is_tls || address.to_canonical().is_loopback();
        let may_be_read = |mechanism: &&String| is_private || *mechanism != "PLAIN";
        Self {
            mechanisms: self.mechanisms.iter().filter(may_be_read).cloned().collect(),
            sasl2: self.sasl2 && is_private,
        }
    }

    /// What says so, in this namespace.
    pub fn elements(&self, ns: &'static str) -> impl Iterator<Item = Element> {
        self.mechanisms.iter().map(move |name| Element::builder("mechanism", ns).append(name.as_str()).build())
    }
}

/// The elements around SASL: those of RFC 6120, or SASL2 (XEP-0388).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Rfc6120,
    Sasl2,
}

impl Profile {
    fn ns(self) -> &'static str {
        match self {
            Self::Rfc6120 => ns::SASL,
            Self::Sasl2 => ns::SASL2,
        }
    }

    fn element(self, name: &str, data: &str) -> Element {
        Element::builder(name, self.ns()).append(data).build()
    }

    fn failure(self, condition: &str) -> Element {
        Element::builder("failure", self.ns()).append(Element::bare(condition, ns::SASL)).build()
    }

    /// The name of the mechanism, and the initial response, if there is one.
    fn begin(self, element: &Element) -> Result<(&str, Option<Vec<u8>>), &'static str> {
        let (is_it, data) = match self {
            Self::Rfc6120 => (element.is("auth", ns::SASL), Some(element.text()).filter(|text| !text.is_empty())),
            Self::Sasl2 => {
                (element.name() == "authenticate", element.get_child("initial-response", ns::SASL2).map(Element::text))
            }
        };
        let mechanism = element.attr("mechanism").filter(|_| is_it).ok_or("invalid-mechanism")?;
        Ok((mechanism, data.map(|text| self.decode(&text)).transpose()?))
    }

    fn decode(self, text: &str) -> Result<Vec<u8>, &'static str> {
        match (self, text.trim()) {
            (Self::Rfc6120, "=") => Ok(Vec::new()), // a response that is there, and empty
            (_, text) => BASE64.decode(text).map_err(|_| "incorrect-encoding"),
        }
    }
}

/// What a SASL2 server says that could not log a client in now, and knows no more.
pub fn temporary_failure() -> Element {
    Profile::Sasl2.failure("temporary-auth-failure")
}

/// Who has proved it, and how.
struct Attempted<'a> {
    account: &'a Account,
    /// What the server proves in turn.
    data: Option<Vec<u8>>,
    /// Whom it would act as, if it says so.
    acts_as: Option<String>,
    inline: InlineElements,
}

/// Or the condition of the failure.
type Attempt<'a> = Result<Attempted<'a>, &'static str>;

/// Everybody may act as themselves, and be named so in the stream's header.
fn may_act(from: Option<&str>, user: Option<BareJid>, acts_as: Option<&str>) -> bool {
    let Some(acts_as) = acts_as else { return true };
    let Some(user) = user else { return false };
    let is_from = from.is_none_or(|from| Jid::new(from).is_ok_and(|from| from.to_bare() == user));
    is_from && BareJid::new(acts_as).is_ok_and(|acts_as| acts_as == user)
}

/// Whom a client would act as, if it says so in its first response. The `sasl` crate does not look at it.
fn acts_as(mechanism: &str, first: &[u8]) -> Option<String> {
    let said = match mechanism {
        "PLAIN" => first.split(|byte| *byte == 0).next(),
        _ => first.split(|byte| *byte == b',').nth(1).and_then(|said| said.strip_prefix(b"a=")),
    };
    let said = String::from_utf8_lossy(said.filter(|said| !said.is_empty())?);
    Some(if mechanism == "PLAIN" { said.into_owned() } else { unescaped(&said) })
}

/// A name in SCRAM.
fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

async fn attempt<'a>(
    connection: &mut Connection,
    accounts: &'a Accounts,
    offered: &Offered,
    profile: Profile,
    element: &Element,
) -> Result<Attempt<'a>, ReadError> {
    let Ok(inline) = InlineElements::from_authenticate(element) else { return Ok(Err("malformed-request")) };
    let (name, mut response) = match profile.begin(element) {
        Ok(begun) => begun,
        Err(condition) => return Ok(Err(condition)),
    };
    let Some(name) = offered.mechanisms.iter().find(|mechanism| *mechanism == name) else {
        return Ok(Err("invalid-mechanism"));
    };
    let mut challenge = Vec::new();
    let (mut mechanism, mut said) = (None, None);
    loop {
        let payload = match response.take() {
            Some(payload) => payload,
            None => {
                connection.send(profile.element("challenge", &BASE64.encode(&challenge))).await?;
                let element = connection.next_element().await?;
                match element.name() {
                    "response" if element.has_ns(profile.ns()) => match profile.decode(&element.text()) {
                        Ok(payload) => payload,
                        Err(condition) => return Ok(Err(condition)),
                    },
                    "abort" if element.has_ns(profile.ns()) => return Ok(Err("aborted")),
                    _ if profile == Profile::Rfc6120 => return Ok(Err("malformed-request")),
                    // During authentication nothing else may come, and the XEP wants the client disconnected at once.
                    _ => return Err(ReadError::NotWellFormed("not SASL".to_owned())),
                }
            }
        };
        if mechanism.is_none() {
            (mechanism, said) = (start(name, &payload, accounts), acts_as(name, &payload));
        }
        let Some(mechanism) = &mut mechanism else {
            return Ok(Err("invalid-mechanism"));
        };
        match mechanism.respond(&payload) {
            Ok(Response::Success(identity, data)) => {
                let data = Some(data).filter(|data| !data.is_empty());
                let Some(account) = accounts.find(&identity) else { return Ok(Err("not-authorized")) };
                return Ok(Ok(Attempted { account, data, acts_as: said, inline }));
            }
            Ok(Response::Proceed(data)) => challenge = data,
            Err(_) => return Ok(Err("not-authorized")),
        }
    }
}

fn start<'a>(name: &str, first: &[u8], accounts: &'a Accounts) -> Option<Box<dyn Mechanism + Send + 'a>> {
    // The `sasl` crate takes the `y` of a client that would bind the channel if we could, and not the `n` of one
    // that would not, unless it is told of a binding; one without data changes nothing in what is computed.
    let binding = match first.first() {
        Some(b'n') => ChannelBinding::TlsUnique(Vec::new()),
        _ => ChannelBinding::None,
    };
    let lookup = Lookup(accounts);
    match name {
        "PLAIN" => Some(Box::new(mechanisms::Plain::new(lookup))),
        "SCRAM-SHA-1" if first.first() != Some(&b'p') => {
            Some(Box::new(mechanisms::Scram::<Sha1, _>::new(lookup, binding)))
        }
        "SCRAM-SHA-256" if first.first() != Some(&b'p') => {
            Some(Box::new(mechanisms::Scram::<Sha256, _>::new(lookup, binding)))
        }
        _ => None,
    }
}

struct Lookup<'a>(&'a Accounts);

impl Validator<Plain> for Lookup<'_> {
    fn validate(&self, identity: &Identity, value: &Plain) -> Result<(), ValidatorError> {
        match self.0.find(identity) {
            Some(account) if account.password == value.0 => Ok(()),
            _ => Err(ValidatorError::AuthenticationFailed),
        }
    }
}

/// A salted password is computed once for each account, when it is first asked for.
macro_rules! provide {
    ($secret:ident, $cache:ident) => {
        impl_validator_using_provider!(Lookup<'_>, $secret);

        impl Provider<$secret> for Lookup<'_> {
            fn provide(&self, identity: &Identity) -> Result<$secret, ProviderError> {
                let account = self.0.find(identity).ok_or(ProviderError::AuthenticationFailed)?;
                if let Some(secret) = account.$cache.get() {
                    return Ok(secret.clone());
                }
                let salt = random().to_ne_bytes();
                let secret = $secret::derive(&account.password, &salt, ITERATIONS)?;
                Ok(account.$cache.get_or_init(|| secret).clone())
            }
        }
    };
}
provide!(Pbkdf2Sha1, sha1);
provide!(Pbkdf2Sha256, sha256);
