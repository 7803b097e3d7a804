//! A session: the loop of the documentation, with typed stanzas.

use std::sync::Arc;
use std::time::Instant;

use jid::FullJid;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep_until;
use xmpp_parsers::iq::Iq;
use xmpp_sm::{
    Arrival, EnableRequest, EndReason, Event, LastWords, LoginStep, Parting, Record, Refusal, Refused, Registration,
    SessionEnded, SessionStore, StreamError, Taker, Unbound,
};

use super::Server;
use super::connection::{Connection, Incoming, Input, Queued, drive};
use super::login::negotiate;
use super::router::HasNewer;

type Session = xmpp_sm::Session<Queued, Connection>;
/// Its channel has no bound, and needs none: the session's task takes what is in it whether its client reads or not, and what
/// waits for the client is in the session, where [`backlog_max`](xmpp_sm::Config::backlog_max) bounds it.
pub type Mailbox = UnboundedSender<Mail>;

/// What comes to a session from the rest of the server.
pub enum Mail {
    /// A stanza for its client.
    Deliver(Queued),
    /// Its client is back, on another connection.
    Take(Box<Taker<Connection>>),
    /// It has to end.
    End(EndReason),
}

/// What a session's task knows besides the session.
struct Host {
    server: Arc<Server>,
    jid: FullJid,
    mailbox: Mailbox,
    registration: Option<Registration>,
}

/// A session begins, once the one that has its resource is over. `bound`: what the client waits for.
pub async fn start(stream: Unbound, mut connection: Connection, jid: FullJid, bound: &Iq, server: Arc<Server>) {
    let (mailbox, mail) = unbounded_channel();
    if let Err(HasNewer) = server.router.bind(&jid, &mailbox).await {
        let last = LastWords { write: None, error: Some(StreamError::Conflict), reason: EndReason::Replaced };
        return connection.part(Parting::Say(last)).await;
    }
    connection.put(bound, 256);
    tokio::spawn(Host { server, jid, mailbox, registration: None }.serve(stream.bind(connection), mail));
}

/// A client asks for its former session: its connection moves there. `Some`: it may not have it, and its login goes on.
pub fn resume(taker: Taker<Connection>, server: &Server) -> Option<Refused<Connection>> {
    match taker.find_in(&server.store, Instant::now()) {
        Err(refused) => Some(refused),
        Ok((taker, Record { handle: mailbox, registration })) => match mailbox.send(Mail::Take(Box::new(taker))) {
            Err(SendError(Mail::Take(taker))) => {
                let _ = server.store.remove(&registration);
                Some(taker.refuse(Refusal::NotFound))
            }
            _ => None,
        },
    }
}

impl Host {
    /// The life of a session, from bind to its end.
    async fn serve(mut self, mut session: Session, mut mail: UnboundedReceiver<Mail>) {
        loop {
            while let Some(event) = session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => {
                        self.server.router.set_connected(&self.jid, false);
                        tokio::spawn(connection.part(parting));
                    }
                    Event::Resumed => self.server.router.set_connected(&self.jid, true),
                    Event::Refused(refused) => self.log_in(refused),
                    Event::Ended(ended) => return self.over(*ended, mail),
                    _ => {}
                }
            }
            while session.connection().is_some_and(Connection::has_room)
                && let Some((connection, item)) = session.next_write(Instant::now())
            {
                connection.push(item);
            }
            let (reads, deadline) = (session.wants_read(), session.deadline());
            tokio::select! {
                input = drive(session.connection_mut(), reads) => match input {
                    Ok(Some(Input::Element(element))) => self.on_element(*element, &mut session),
                    Ok(Some(Input::Silence)) => session.request_ack(Instant::now()),
                    Ok(Some(Input::Closed)) => session.peer_closed(Instant::now()),
                    Ok(Some(Input::Bad(condition))) => session.unreadable(condition, Instant::now()),
                    Ok(None) => {}
                    Err(_) => session.lost(Instant::now()),
                },
                Some(mail) = mail.recv() => match mail {
                    Mail::Deliver(stanza) => drop(session.send(stanza, Instant::now())),
                    Mail::Take(taker) => session.take(*taker, Instant::now()),
                    Mail::End(reason) => session.close(reason, Some(StreamError::Conflict), Instant::now()),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    session.timeout(Instant::now());
                }
            }
        }
    }

    fn on_element(&mut self, element: Incoming, session: &mut Session) {
        let now = Instant::now();
        match session.handle(session.inbound(&element), now) {
            Ok(Arrival::Stanza(receipt)) => {
                // The recipient's mailbox is enough: what its session leaves, `over` sends elsewhere.
                self.server.route(element, &self.jid);
                let _ = session.settle(receipt, now);
            }
            Ok(Arrival::Enable(request)) => self.enable(request, session),
            _ => {}
        }
    }

    fn enable(&mut self, request: EnableRequest, session: &mut Session) {
        let enabled = session.accept_enable_in(request, &self.server.store, self.mailbox.clone(), Instant::now());
        if let Ok(Some(registered)) = enabled {
            self.registration = Some(registered.registration);
            let displaced = registered.displaced.map(|displaced| displaced.handle.send(Mail::End(EndReason::Replaced)));
            drop(displaced); // a session whose mailbox is closed is over
        }
    }

    fn log_in(&self, Refused { step, mut connection }: Refused<Connection>) {
        let LoginStep::Failed { failed, stream } = step else { return }; // there is no SASL2 here
        connection.put(&failed, 256);
        tokio::spawn(negotiate(stream, connection, self.server.clone()));
    }

    fn over(self, ended: SessionEnded<Queued>, mail: UnboundedReceiver<Mail>) {
        if let Some(registration) = &self.registration {
            let _ = ended.leave(&self.server.store, registration, Instant::now()); // a store in memory does not fail
        }
        for taker in self.server.unbind(&self.jid, ended, mail) {
            self.log_in(taker.refuse(Refusal::NotFound));
        }
    }
}
