//! A link's session: the loop of the documentation, for both sides. The one that connects has a client's session, which
//! lives over all its connections; the one that is connected to has a server's, without a resource to bind.

use std::sync::Arc;
use std::time::Instant;

use jid::{DomainPart, Jid};
use minidom::Element;
use tokio::time::sleep_until;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::DefinedCondition;
use xmpp_sm::{
    Arrival, Config, EndReason, Event, Inbound, Parting, Receipt, Registration, StreamCondition, StreamError,
};

use super::super::Server;
use super::super::mail::{Delivery, Handle, Mail, Mailbox, Waited, mailbox, told_at_end};
use super::super::options::Peer;
use super::super::router::HasNewer;
use super::super::session::Session;
use super::super::stream::{Connection, Input, drive, part};
use super::super::trace::What;
use super::super::{silence, smids};
use super::{accept, in_ns, server};

/// A link, whether there is a session or not.
#[derive(Clone)]
pub struct Link {
    pub server: Arc<Server>,
    pub domain: DomainPart,
    pub config: Arc<Config>,
    /// The namespace of its stanzas.
    pub ns: &'static str,
}

/// What the session's task knows beside the session.
pub struct Host {
    pub link: Link,
    /// Where to connect to, and what to say there.
    pub peer: Option<Peer>,
    pub id: u64,
    /// The way to the session's mailbox.
    handle: Handle,
    /// What the store knows the session by.
    pub registration: Option<Registration>,
    /// Since when there is no connection, where it is ours to make one.
    pub away_since: Option<Instant>,
    /// The session has been given up.
    pub is_given_up: bool,
    /// Who wait until the link is over.
    until_over: Vec<Waited>,
}

impl Link {
    /// Begins a session of a peer that has connected, once the one that it had is over. `first`: what it has said.
    pub async fn begin(self, stream: xmpp_sm::Unbound, connection: Box<Connection>, first: Option<Element>) {
        let (mut host, mailbox) = match self.host(None).await {
            Ok(begun) => begun,
            Err(HasNewer) => return connection.close(Some(StreamError::Conflict)).await,
        };
        let mut session = Box::new(stream.bind(connection));
        if let Some(first) = first {
            host.on_element(&first, session.inbound(&first), &mut session);
        }
        tokio::spawn(host.serve(session, mailbox));
    }

    /// Connects, for ever, and has one session after another: the next begins where this server has given one up, or the
    /// other server.
    pub async fn connect(self, peer: Peer) {
        let session = self.client();
        if let Ok((host, mailbox)) = self.host(Some(peer)).await {
            host.serve(session, mailbox).await;
        }
    }

    fn client(&self) -> Box<Session> {
        Box::new(Session::client(self.config.clone(), self.domain.as_str()))
    }

    async fn host(self, peer: Option<Peer>) -> Result<(Host, Mailbox), HasNewer> {
        let (handle, mailbox) = mailbox();
        let id = self.server.next_id();
        while let Some(mut former) = self.server.router.links.begin(&self.domain, id, &handle)? {
            former.recv().await;
        }
        let (registration, away_since) = (None, Some(Instant::now()));
        Ok((
            Host { link: self, peer, id, handle, registration, away_since, is_given_up: false, until_over: Vec::new() },
            mailbox,
        ))
    }
}

impl Host {
    async fn serve(mut self, mut session: Box<Session>, mut mailbox: Mailbox) {
        let (link, peer) = (self.link.clone(), self.peer.clone());
        let mut log_in = Box::pin(server::log_in(&link, peer.as_ref()));
        loop {
            while let Some(event) = session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => self.part(connection, parting),
                    Event::Online { .. } | Event::Resumed => self.away_since = None,
                    Event::Refused(refused) => accept::continue_login(link.clone(), refused),
                    // Replaced, it is the other server that connects.
                    Event::Ended(ended)
                        if self.peer.is_none() || matches!(ended.reason, EndReason::Stopped | EndReason::Replaced) =>
                    {
                        return self.over(*ended, mailbox);
                    }
                    Event::Ended(ended) => {
                        self.is_given_up = false;
                        *session = *link.client();
                        self.hand_back(*ended);
                    }
                    _ => {}
                }
            }
            let now = Instant::now();
            while session.connection().is_some_and(|connection| connection.has_room())
                && let Some((connection, item)) = session.next_write(now)
            {
                link.server.push(link.domain.as_str(), connection, item);
            }
            let (reads, is_offline) = (session.wants_read(), session.connection().is_none());
            let gives_up = self.gives_up(&session);
            let deadline = silence::deadline(&mut session, &link.server, reads).into_iter().chain(gives_up).min();
            tokio::select! {
                (offer, connection) = &mut log_in, if is_offline => {
                    log_in.set(server::log_in(&link, peer.as_ref()));
                    // The owner is the session's. If it is over, the connection is of no use.
                    let _ = session.connect(link.domain.as_str(), offer, connection, Instant::now());
                }
                input = drive(session.connection_mut(), reads) => match input {
                    Ok(Some(Input::Element(element))) => {
                        let inbound = session.inbound(&element);
                        if let Inbound::Nonza(nonza) = &inbound {
                            link.server.trace(link.domain.as_str(), What::From(nonza));
                        }
                        self.on_element(&element, inbound, &mut session);
                    }
                    Ok(Some(Input::Nonza(nonza))) => {
                        link.server.trace(link.domain.as_str(), What::From(&nonza));
                        let _ = session.handle(nonza.into(), Instant::now());
                    }
                    Ok(Some(Input::Closed)) => session.peer_closed(Instant::now()),
                    Ok(Some(Input::Bad(condition))) => session.unreadable(condition, Instant::now()),
                    Ok(None) => {}
                    Err(_) => session.lost(Instant::now()),
                },
                Some(mail) = mailbox.recv() => match mail {
                    Mail::Deliver(delivery) => {
                        if let Err(not) = session.send(delivery.settle(), Instant::now()) {
                            self.refuse(Delivery::own(not.stanza), DefinedCondition::ResourceConstraint);
                        }
                    }
                    Mail::Settled(receipt) => drop(session.settle(receipt, Instant::now())),
                    Mail::Take(taker) => session.take(*taker, Instant::now()),
                    Mail::Replace(waited) => {
                        self.until_over.push(waited);
                        session.close(EndReason::Replaced, None, Instant::now());
                    }
                    Mail::End(reason) => session.close(reason, told_at_end(reason), Instant::now()),
                    _ => {} // a user's
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    match Instant::now() {
                        now if gives_up.is_some_and(|until| until <= now) => {
                            self.is_given_up = true;
                            session.close(EndReason::Expired, None, now);
                        }
                        _ => silence::timeout(&mut session, &link.server, link.domain.as_str()),
                    }
                }
            }
        }
    }

    fn on_element(&mut self, element: &Element, inbound: Inbound, session: &mut Session) {
        let now = Instant::now();
        match session.handle(inbound, now) {
            Ok(Arrival::Stanza(receipt)) => self.on_stanza(element, receipt, session),
            Ok(Arrival::Enable(request)) => {
                if request.is_resumable() {
                    self.registration = smids::register(&self.link.server, None, session.owner(), &self.handle);
                }
                let smid = self.registration.as_ref().map(|registration| registration.smid().clone());
                let _ = session.accept_enable(request, smid, now);
            }
            Ok(Arrival::Other) => session.peer_fault(StreamCondition::UnsupportedStanzaType, now),
            _ => {}
        }
    }

    /// A stanza says who sent it and who is to have it, and nobody speaks for another domain:
    /// <https://www.rfc-editor.org/rfc/rfc6120#section-8.1.2.2>.
    fn on_stanza(&mut self, stanza: &Element, receipt: Receipt, session: &mut Session) {
        let from = stanza.attr("from").and_then(|from| Jid::new(from).ok());
        let wrong = match from {
            Some(from) if stanza.attr("to").is_some() && *from.domain() == *self.link.domain => {
                let stanza = in_ns(stanza, self.link.ns, ns::JABBER_CLIENT);
                let delivery = Delivery::new(&stanza, receipt, self.handle.clone());
                return self.link.server.router.arrive(&stanza, delivery, &from);
            }
            Some(_) if stanza.attr("to").is_some() => StreamCondition::InvalidFrom,
            _ => StreamCondition::ImproperAddressing,
        };
        let _ = session.settle(receipt, Instant::now());
        session.peer_fault(wrong, Instant::now());
    }

    /// The session has left a connection.
    fn part(&mut self, connection: Box<Connection>, parting: Parting) {
        self.away_since.get_or_insert_with(Instant::now);
        part(connection, parting, self.link.server.clone());
    }
}
