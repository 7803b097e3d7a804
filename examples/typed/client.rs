//! A stream of stanzas that outlives its connections, as `tokio_xmpp::stanzastream` has one, with a [`Session`] inside. Each
//! stanza has a token, which tells how far it has come.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use jid::FullJid;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_xmpp::xmlstream::XmppStreamElement;
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::stanza::Stanza;
use xmpp_parsers::stream_features::StreamFeatures;
use xmpp_sm::typed::xso::error::Error;
use xmpp_sm::{Arrival, Config, Counter, EndReason, Event, Measured, MustBind, Offer, Session, Write};

use super::connection::{Connection, Incoming, Input, TypedStream, drive};
use super::read;

/// How far a stanza has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It waits for a connection, or for room.
    Queued,
    /// It is written. Without stream management nothing more is known of it.
    Sent,
    /// The server has it.
    Acknowledged,
    /// The stream is closed, and the server may not have it.
    Lost,
}

/// Tells how far a stanza has come, and when it comes further.
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
}

/// Connects and authenticates, sooner or later.
pub type Connect = Box<dyn Fn() -> BoxFuture<'static, (StreamFeatures, TypedStream)> + Send>;

pub struct StanzaStream {
    orders: UnboundedSender<Tracked>,
    heard: UnboundedReceiver<Heard>,
}

impl StanzaStream {
    pub fn new(config: Config, jid: FullJid, connect: Connect) -> Self {
        let ((orders, ordered), (tell, heard)) = (unbounded_channel(), unbounded_channel());
        let session = Session::client(Arc::new(config), jid.to_bare().as_str());
        tokio::spawn(Client { session, jid, tell, binding: None }.run(ordered, connect));
        Self { orders, heard }
    }

    /// Sends a stanza. An error: XML cannot carry it.
    pub fn send(&self, stanza: Stanza) -> Result<Token, Error> {
        let (stage, token) = watch::channel(Stage::Queued);
        if let Err(closed) = self.orders.send(Tracked(Measured::of(stanza)?, stage)) {
            closed.0.reach(Stage::Lost);
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
    tell: UnboundedSender<Heard>,
    binding: Option<MustBind>,
}

impl Client {
    async fn run(mut self, mut orders: UnboundedReceiver<Tracked>, connect: Connect) {
        let (mut logins, mut is_conflict) = (JoinSet::new(), false);
        self.session.return_acknowledged(true);
        loop {
            while let Some(event) = self.session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => {
                        tokio::spawn(connection.part(parting));
                        drop(self.tell.send(Heard::Offline));
                    }
                    Event::Bind(token) => {
                        let iq = Iq::from_set("bind", BindQuery::new(Some(self.jid.resource().to_string())));
                        self.session.connection_mut().into_iter().for_each(|connection| connection.put(&iq, 256));
                        self.binding = Some(token);
                    }
                    Event::Online { .. } => drop(self.tell.send(Heard::Online(self.jid.clone()))),
                    Event::Resumed => drop(self.tell.send(Heard::Resumed)),
                    Event::NotResumed(failed) => drop(self.tell.send(Heard::NotResumed(failed.h))),
                    Event::Acknowledged(back) => back.stanza.reach(Stage::Acknowledged),
                    Event::Conflict => is_conflict = true,
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
            if self.session.connection().is_none() && !is_conflict && logins.is_empty() {
                logins.spawn(connect());
            }
            let (reads, deadline) = (self.session.wants_read(), self.session.deadline());
            tokio::select! {
                Some(Ok((features, stream))) = logins.join_next() => {
                    let offer = Offer { stream_management: features.stream_management.is_some(), binds: true };
                    let owner = self.session.owner().clone();
                    let _ = self.session.connect(&owner, offer, Connection::new(stream, None), Instant::now());
                }
                input = drive(self.session.connection_mut(), reads) => match input {
                    Ok(Some(Input::Element(element))) => self.on_element(*element),
                    Ok(Some(Input::Silence)) => self.session.request_ack(Instant::now()),
                    Ok(Some(Input::Closed)) => self.session.peer_closed(Instant::now()),
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
        match read(element) {
            Some(XmppStreamElement::Stanza(Stanza::Iq(Iq::Result { id, payload: Some(payload), .. })))
                if id == "bind" =>
            {
                if let Ok(BindResponse { jid }) = BindResponse::try_from(payload) {
                    self.jid = jid;
                    let _ = self.binding.take().map(|token| self.session.bound(token, now));
                }
            }
            Some(XmppStreamElement::Stanza(stanza)) => drop(self.tell.send(Heard::Stanza(Box::new(stanza)))),
            _ => {} // it cannot be read, and counts
        }
        let _ = self.session.settle(receipt, now);
    }
}
