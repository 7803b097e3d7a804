//! A stream of stanzas that outlives its connections, as `tokio_xmpp::stanzastream` has one, with a [`Session`] inside. Each
//! stanza has a token, which tells how far it has come.
//!
//! Nothing here grows without bound: the user's stanzas wait in a channel of [`ORDERS_MAX`] and in the session, up to its
//! backlog; and while the user leaves [`UNHEARD_MAX`] unheard, nothing more is read.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use jid::FullJid;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_xmpp::error::AuthError;
use tokio_xmpp::xmlstream::XmppStreamElement;
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::stanza::Stanza;
use xmpp_parsers::stream_features::StreamFeatures;
use xmpp_sm::typed::xso;
use xmpp_sm::{Arrival, Config, Counter, EndReason, Event, Measured, MustBind, Offer, Session, Write};

use super::connection::{Connection, Incoming, Input, TypedStream, drive};
use super::read;

/// How many stanzas wait before the session takes them.
const ORDERS_MAX: usize = 256;
/// How much of what is to be heard waits for the user.
const UNHEARD_MAX: usize = 64;
/// How much of that is not stanzas, at most.
const EVENTS_MAX: usize = 8;
/// The id of the request to bind.
const BIND: &str = "bind";

/// How far a stanza has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a connection, or for room.
    Queued,
    /// It is written.
    Sent,
    /// The server has it.
    Acknowledged,
    /// The stream has ended, or the stanza is larger than the whole buffer. If it was sent, the server may have it: it did not
    /// acknowledge it in time.
    Lost,
}

/// Tells how far a stanza has come, and when it comes further. It is closed when that is all there is to know: after
/// [`Acknowledged`](Stage::Acknowledged), after [`Lost`](Stage::Lost), and after [`Sent`](Stage::Sent) where the server has no
/// stream management.
pub type Token = watch::Receiver<Stage>;

/// What the session keeps.
struct Tracked(Measured<Stanza>, watch::Sender<Stage>);

impl Tracked {
    fn reach(&self, stage: Stage) {
        self.1.send_replace(stage);
    }
}

impl xmpp_sm::Stanza for Tracked {
    fn bytes(&self) -> usize {
        self.0.bytes
    }
}

impl Deref for Tracked {
    type Target = Measured<Stanza>;

    fn deref(&self) -> &Measured<Stanza> {
        &self.0
    }
}

/// What the user of the stream hears.
pub enum Heard {
    Stanza(Box<Stanza>),
    /// There is a new session. The initial presence is the user's.
    Online(FullJid),
    /// The connection is lost.
    Offline,
    /// The session goes on over a new connection.
    Resumed,
    /// It does not: what it had goes into the next one, but for what this covers.
    NotResumed(Option<Counter>),
    /// The stream ends, for to connect again would be of no use.
    Failed(Failure),
}

/// Why a stream ends of its own accord.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("the server does not let us log in: {0}")]
    Login(#[from] AuthError),
    #[error("the server binds no resource: {0}")]
    Bind(String),
    #[error("another client has taken the resource")]
    Conflict,
}

/// Why a stanza is not sent.
#[derive(Debug, Error)]
pub enum NotSent {
    #[error("XML cannot carry it: {0}")]
    Unwritable(#[from] xso::error::Error),
    /// It comes back.
    #[error("too many stanzas wait to be sent")]
    Full(Box<Stanza>),
}

/// Connects and authenticates, sooner or later. An error: never.
pub type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<(StreamFeatures, TypedStream), AuthError>> + Send>;

pub struct StanzaStream {
    orders: Sender<Tracked>,
    heard: Receiver<Heard>,
}

impl StanzaStream {
    pub fn new(config: Config, jid: FullJid, connect: Connect) -> Self {
        let ((orders, ordered), (tell, heard)) = (channel(ORDERS_MAX), channel(UNHEARD_MAX));
        let session = Session::client(Arc::new(config), jid.to_bare().as_str());
        tokio::spawn(Client { session, jid, tell, binding: None }.run(ordered, connect));
        Self { orders, heard }
    }

    /// Sends a stanza. It does not wait: who waits for room hears nothing meanwhile, and may be what the room waits for.
    pub fn send(&self, stanza: Stanza) -> Result<Token, NotSent> {
        let (stage, token) = watch::channel(Stage::Queued);
        match self.orders.try_send(Tracked(Measured::of(stanza)?, stage)) {
            Ok(()) => {}
            Err(TrySendError::Full(Tracked(stanza, _))) => return Err(NotSent::Full(stanza.value.into())),
            Err(TrySendError::Closed(stanza)) => stanza.reach(Stage::Lost),
        }
        Ok(token)
    }

    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Closes the stream, and waits until it is closed.
    pub async fn close(mut self) {
        drop(self.orders);
        while self.heard.recv().await.is_some() {}
    }
}

struct Client {
    session: Session<Tracked, Connection>,
    jid: FullJid,
    tell: Sender<Heard>,
    /// We have asked for a resource, and the server has not answered.
    binding: Option<MustBind>,
}

impl Client {
    async fn run(mut self, mut orders: Receiver<Tracked>, connect: Connect) {
        let mut logins = JoinSet::new();
        self.session.return_acknowledged(true);
        loop {
            while let Some(event) = self.session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => {
                        tokio::spawn(connection.part(parting));
                        self.tell(Heard::Offline);
                    }
                    Event::Bind(must_bind) => {
                        let iq = Iq::from_set(BIND, BindQuery::new(Some(self.jid.resource().to_string())));
                        self.session.connection_mut().into_iter().for_each(|connection| connection.put(&iq, 256));
                        self.binding = Some(must_bind);
                    }
                    Event::Online { .. } => self.tell(Heard::Online(self.jid.clone())),
                    Event::Resumed => self.tell(Heard::Resumed),
                    Event::NotResumed(failed) => self.tell(Heard::NotResumed(failed.h)),
                    Event::Acknowledged(back) => back.stanza.reach(Stage::Acknowledged),
                    Event::Conflict => self.fail(Failure::Conflict),
                    Event::Ended(ended) => return ended.stanzas.for_each(|left| left.stanza.reach(Stage::Lost)),
                    _ => {}
                }
            }
            while self.session.connection().is_some_and(Connection::has_room)
                && let Some((connection, item)) = self.session.next_write(Instant::now())
            {
                if let Write::Stanza { stanza, .. } = &item {
                    stanza.reach(Stage::Sent);
                }
                connection.push(item);
            }
            // A turn adds a stanza and some events. Meanwhile a connection may be lost, which is one more.
            let is_unheard = !self.tell.is_closed() && self.tell.capacity() <= EVENTS_MAX;
            if self.session.connection().is_none() && !is_unheard && logins.is_empty() {
                logins.spawn(connect());
            }
            let (reads, deadline) = (self.session.wants_read() && !is_unheard, self.session.deadline());
            tokio::select! {
                Some(Ok(connected)) = logins.join_next() => match connected {
                    Ok((features, stream)) => {
                        let offer = Offer { stream_management: features.stream_management.is_some(), binds: true };
                        let owner = self.session.owner().clone();
                        let _ = self.session.connect(&owner, offer, Connection::new(stream, None), Instant::now());
                    }
                    Err(error) => self.fail(error.into()),
                },
                () = self.tell.reserve_many(EVENTS_MAX + 1).map(drop), if is_unheard => {}
                input = drive(self.session.connection_mut(), reads) => match input {
                    Ok(Some(Input::Element(element))) => self.on_element(*element),
                    Ok(Some(Input::Silence)) => self.session.request_ack(Instant::now()),
                    Ok(Some(Input::Closed)) => self.session.peer_closed(Instant::now()),
                    Ok(Some(Input::Bad(condition))) => self.session.unreadable(condition, Instant::now()),
                    Ok(None) => {}
                    Err(_) => self.session.lost(Instant::now()),
                },
                order = orders.recv(), if self.session.has_room() => match order {
                    // One that is larger than the whole buffer is not taken.
                    Some(stanza) =>
                        self.session.send(stanza, Instant::now()).unwrap_or_else(|not| not.stanza.reach(Stage::Lost)),
                    None => self.session.close(EndReason::Closed, None, Instant::now()),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.session.timeout(Instant::now());
                }
            }
        }
    }

    fn on_element(&mut self, element: Incoming) {
        let now = Instant::now();
        let Ok(Arrival::Stanza(receipt)) = self.session.handle(self.session.inbound(&element), now) else { return };
        if let Some(XmppStreamElement::Stanza(stanza)) = read(element) {
            // Where no resource is asked for, an iq of that id is any iq.
            match (bound(&stanza), self.binding.take()) {
                (Some(Ok(jid)), Some(must_bind)) => {
                    self.jid = jid;
                    let _ = self.session.bound(must_bind, now); // it is of this connection, or comes too late
                }
                (Some(Err(failure)), Some(_)) => self.fail(failure),
                (_, binding) => {
                    self.binding = binding;
                    self.tell(Heard::Stanza(Box::new(stanza)));
                }
            }
        } // what cannot be read counts
        let _ = self.session.settle(receipt, now);
    }

    fn tell(&self, heard: Heard) {
        let _ = self.tell.try_send(heard); // there is room, or nobody who listens
    }

    fn fail(&mut self, why: Failure) {
        self.tell(Heard::Failed(why));
        self.session.close(EndReason::Closed, None, Instant::now());
    }
}

/// What the server answers to the request to bind. `None`: the stanza is something else.
fn bound(stanza: &Stanza) -> Option<Result<FullJid, Failure>> {
    let Stanza::Iq(iq) = stanza else { return None };
    let jid = match iq {
        _ if iq.id() != BIND => return None,
        Iq::Result { payload, .. } => {
            let payload = payload.clone().ok_or_else(|| "no payload".to_owned());
            payload.and_then(|payload| BindResponse::try_from(payload).map_err(|error| error.to_string()))
        }
        Iq::Error { error, .. } => Err(format!("{:?}", error.defined_condition)),
        _ => return None,
    };
    Some(jid.map(FullJid::from).map_err(Failure::Bind))
}
