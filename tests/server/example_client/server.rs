//! A server that does what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use minidom::Element;
use sasl::common::scram::Sha1;
use sasl::common::{ChannelBinding, Identity};
use sasl::impl_validator_using_provider;
use sasl::secret::Pbkdf2Sha1;
use sasl::server::{Mechanism, Provider, ProviderError, Response, mechanisms::Scram};
use tokio::net::TcpListener;
use tokio::time::timeout;
use xmpp_parsers::sasl::{Auth, Challenge, Nonza, Success};

use super::TIME;
use super::client::connection::Connection;
use super::client::xml::{Incoming, ReadError};

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      from='localhost' id='s' version='1.0'>";
pub const MECHANISMS: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>\
                          </mechanisms>";
const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";

pub struct Server(TcpListener);

/// A client's stream.
pub struct Stream(Connection);

impl Server {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// A client comes and authenticates; stream management is offered.
    pub async fn accept(&self) -> Stream {
        self.accept_offering(SM).await
    }

    pub async fn accept_offering(&self, features: &str) -> Stream {
        let mut stream = self.accept_silently().await;
        stream.open(MECHANISMS).await;
        stream.authenticate().await;
        stream.0.reader.restart();
        stream.open(features).await;
        stream
    }

    /// A client comes, and nothing is said.
    pub async fn accept_silently(&self) -> Stream {
        let accepted = timeout(TIME, self.0.accept()).await.expect("a client that comes");
        Stream(Connection::new(accepted.expect("a connection").0).expect("a connection"))
    }

    /// Whether a client comes within this time.
    pub async fn is_visited(&self, within: Duration) -> bool {
        timeout(within, self.0.accept()).await.is_ok()
    }
}

impl Stream {
    pub async fn open(&mut self, features: &str) {
        assert!(matches!(self.next().await, Ok(Incoming::Header)));
        self.send(&format!("{HEADER}<stream:features>{features}</stream:features>")).await;
    }

    async fn authenticate(&mut self) {
        let mut scram = Scram::<Sha1, _>::new(Secret, ChannelBinding::None);
        let auth = Auth::try_from(self.element().await).expect("<auth/>");
        let mut said = auth.data;
        loop {
            match scram.respond(&said).expect("the right password") {
                Response::Success(_, data) => {
                    self.0.push_element(Success { data });
                    return self.0.flush().await.expect("a client that listens");
                }
                Response::Proceed(data) => self.0.push_element(Challenge { data }),
            }
            let Ok(Nonza::Response(response)) = Nonza::try_from(self.element().await) else { panic!("no <response/>") };
            said = response.data;
        }
    }

    /// Binds the client's resource, and enables stream management.
    pub async fn begin(&mut self) {
        self.bind().await;
        assert_eq!(self.element().await.name(), "enable");
        self.send("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true' max='600'/>").await;
    }

    pub async fn bind(&mut self) {
        assert_eq!(self.element().await.attr("id"), Some("bind"));
        let jid = "<jid>juliet@localhost/balcony</jid>";
        let bound = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{jid}</bind>");
        self.send(&format!("<iq type='result' id='bind'>{bound}</iq>")).await;
    }

    /// What the client has said to authenticate comes to nothing.
    pub async fn fail(&mut self, ns: &str, condition: &str) {
        let condition = format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.send(&format!("<failure xmlns='{ns}'>{condition}</failure>")).await;
    }

    pub async fn send(&mut self, text: &str) {
        self.0.push_bytes(text.as_bytes());
        self.0.flush().await.expect("a client that listens");
    }

    async fn next(&mut self) -> Result<Incoming, ReadError> {
        timeout(TIME, self.0.ask()).await.expect("a client that says something")
    }

    pub async fn element(&mut self) -> Element {
        match self.next().await {
            Ok(Incoming::Element(element)) => element,
            Ok(Incoming::Nonza(nonza)) => nonza.to_element(),
            Ok(_) => panic!("the client closes its stream"),
            Err(error) => panic!("the client is gone: {error}"),
        }
    }

    /// The next element of that name.
    pub async fn element_named(&mut self, name: &str) -> Element {
        loop {
            let element = self.element().await;
            if element.name() == name {
                return element;
            }
        }
    }

    /// The texts of the next messages.
    pub async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(text(&self.element_named("message").await));
        }
        messages
    }

    /// What comes before the end of the client's stream: the names of the elements.
    pub async fn upto_end(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            match self.next().await {
                Ok(Incoming::Element(element)) => names.push(element.name().to_owned()),
                Ok(Incoming::Nonza(nonza)) => names.push(nonza.kind().name().to_owned()),
                Ok(_) => return names,
                Err(error) => panic!("the client is gone without a word: {error}"),
            }
        }
    }

    /// Waits until the client has dropped the connection.
    pub async fn upto_loss(&mut self) {
        while self.next().await.is_ok() {}
    }
}

pub fn text(message: &Element) -> String {
    message.get_child("body", "jabber:client").map(Element::text).unwrap_or_default()
}

struct Secret;

impl_validator_using_provider!(Secret, Pbkdf2Sha1);

impl Provider<Pbkdf2Sha1> for Secret {
    fn provide(&self, _: &Identity) -> Result<Pbkdf2Sha1, ProviderError> {
        Ok(Pbkdf2Sha1::derive("secret", b"salt", 1)?)
    }
}
