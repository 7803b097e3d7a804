//! Accounts, and SASL PLAIN, SCRAM-SHA-1 and SCRAM-SHA-256 by the `sasl` crate.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::OnceLock;

use jid::{BareJid, NodePart};
use sasl::common::scram::{Sha1, Sha256};
use sasl::common::{ChannelBinding, Identity};
use sasl::impl_validator_using_provider;
use sasl::secret::{Pbkdf2Sha1, Pbkdf2Sha256, Plain};
use sasl::server::{Mechanism, Provider, ProviderError, Response, Validator, ValidatorError, mechanisms};
use xmpp_parsers::sasl::{Auth, Challenge, DefinedCondition, Failure, Mechanism as Name, Nonza, Success};

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
        self.0.get(&*NodePart::new(&name.replace("=2C", ",").replace("=3D", "=")).ok()?)
    }
}

/// Asks the client who it is, until it can prove it.
pub async fn authenticate(
    connection: &mut Connection,
    accounts: &Accounts,
    offered: &[String],
) -> Result<Option<NodePart>, ReadError> {
    for _ in 0..ATTEMPTS {
        match attempt(connection, accounts, offered).await? {
            Ok((account, success)) => {
                connection.send(Success { data: success }).await?;
                return Ok(Some(account.name.clone()));
            }
            Err(defined_condition) => {
                connection.send(Failure { defined_condition, texts: BTreeMap::new() }).await?;
            }
        }
    }
    Ok(None)
}

type Attempt<'a> = Result<(&'a Account, Vec<u8>), DefinedCondition>;

async fn attempt<'a>(
    connection: &mut Connection,
    accounts: &'a Accounts,
    offered: &[String],
) -> Result<Attempt<'a>, ReadError> {
    let mut element = connection.next_element().await?;
    let mut has_response = !element.text().is_empty();
    if element.text() == "=" {
        element.take_nodes(); // a response that is there, and empty
    }
    let Ok(auth) = Auth::try_from(element) else {
        return Ok(Err(DefinedCondition::InvalidMechanism));
    };
    if !offered.contains(&auth.mechanism.to_string()) {
        return Ok(Err(DefinedCondition::InvalidMechanism));
    }
    let mut challenge = Vec::new();
    let mut payload = auth.data;
    let mut mechanism = None;
    loop {
        if !has_response {
            connection.send(Challenge { data: challenge }).await?;
            payload = match Nonza::try_from(connection.next_element().await?) {
                Ok(Nonza::Response(response)) => response.data,
                Ok(Nonza::Abort(_)) => return Ok(Err(DefinedCondition::Aborted)),
                _ => return Ok(Err(DefinedCondition::MalformedRequest)),
            };
        }
        has_response = false;
        if mechanism.is_none() {
            mechanism = start(&auth.mechanism, &payload, accounts);
        }
        let Some(mechanism) = &mut mechanism else {
            return Ok(Err(DefinedCondition::InvalidMechanism));
        };
        match mechanism.respond(&payload) {
            Ok(Response::Success(identity, data)) => {
                let account = accounts.find(&identity).ok_or(DefinedCondition::NotAuthorized);
                return Ok(account.map(|account| (account, data)));
            }
            Ok(Response::Proceed(data)) => challenge = data,
            Err(_) => return Ok(Err(DefinedCondition::NotAuthorized)),
        }
    }
}

fn start<'a>(name: &Name, first: &[u8], accounts: &'a Accounts) -> Option<Box<dyn Mechanism + Send + 'a>> {
    // The `sasl` crate takes the `y` of a client that would bind the channel if we could, and not the `n` of one
    // that would not, unless it is told of a binding; one without data changes nothing in what is computed.
    let binding = match first.first() {
        Some(b'n') => ChannelBinding::TlsUnique(Vec::new()),
        _ => ChannelBinding::None,
    };
    let lookup = Lookup(accounts);
    match name {
        Name::Plain => Some(Box::new(mechanisms::Plain::new(lookup))),
        Name::ScramSha1 if first.first() != Some(&b'p') => {
            Some(Box::new(mechanisms::Scram::<Sha1, _>::new(lookup, binding)))
        }
        Name::ScramSha256 if first.first() != Some(&b'p') => {
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
