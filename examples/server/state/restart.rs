//! A session that leaves its process, and lives again: after a restart ([`state`](super)), or at another
//! node.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use xmpp_sm::snapshot::Snapshot;
use xmpp_sm::{DoesNotFit, EndReason, Event, SessionParts, SessionStore};

use super::super::Server;
use super::super::mail::{Handle, Mail, Mailbox, Parking, Waited, mailbox, told_at_end};
use super::super::metrics::Added;
use super::super::nodes::Shared;
use super::super::nodes::shared::Shares;
use super::super::session::{Host, Session};
use super::super::stanza::{Written, left_of};
use super::{Known, complain};

/// What is asked of a session when the server stops.
#[derive(Default)]
pub struct Halt {
    has_come: bool,
    /// Who waits until it is at rest.
    until_rest: Option<Waited>,
}

impl Host {
    /// The server stops. A client that can resume is told by the end of its connection and by nothing else: after an
    /// error, or the end of the stream, there are clients that do not.
    pub fn halt(&mut self, until_rest: Waited, session: &mut Session) {
        self.halt = Halt { has_come: true, until_rest: Some(until_rest) };
        match session.smid() {
            Some(_) => session.lost(Instant::now()),
            None => session.close(EndReason::Stopped, told_at_end(EndReason::Stopped), Instant::now()),
        }
    }

    /// Whether a client that asks for the session finds it where it goes.
    pub fn is_leaving(&self) -> bool {
        self.halt.has_come || self.lets_go()
    }

    pub fn tell_rest(&mut self, session: &Session) {
        if session.is_detached() && session.open_receipts() == 0 {
            self.halt.until_rest = None;
        }
    }

    /// The session gives itself up, to be written down. If it cannot, it ends.
    pub async fn park(mut self: Box<Self>, mut session: Session, mut mailbox: Mailbox, parking: Parking) {
        let now = Instant::now();
        loop {
            // Also the connection of a client that has waited for it.
            session.lost(now);
            while let Some(event) = session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => self.left(connection, parting, &session),
                    Event::Ended(ended) => return self.over(*ended, session, mailbox).await,
                    _ => {}
                }
            }
            if let Some(stanza) = self.csi.next() {
                drop(session.send(stanza, now));
            } else if let Some(mail) = mailbox.rest().next() {
                match mail {
                    Mail::Deliver(delivery) => self.send(delivery.settle(), &mut session),
                    Mail::Settled(receipt) => drop(session.settle(receipt, now)),
                    _ => {}
                }
            } else if session.open_receipts() > 0 {
                session.settle_all(now); // they have had their time
            } else {
                break;
            }
        }
        match session.into_parts() {
            Ok(session) => {
                let host = self.server.router.known(self.id, &self.jid, &parking.jids).to_bytes();
                let snapshot = Snapshot { session, host };
                let _ = parking.out.send(snapshot.to_bytes_of(self.server.snapshot_version, now, SystemTime::now()));
            }
            Err(not) => complain(format_args!("{}: {not}", self.jid)),
        }
    }
}

/// Sessions that were written down begin to live again. Returns how many cannot: what they hold waits for their
/// users.
pub fn restore(server: &Arc<Server>, sessions: Vec<(SessionParts<Written>, Known)>, now: Instant) -> usize {
    let mut errors = 0;
    let mut restored = Vec::new();
    for (parts, known) in sessions {
        match revive(server, parts, &known, None, now) {
            Ok(_) => restored.push(known),
            Err(no) => {
                complain(format_args!("{}: {no}: what it holds waits for its user", known.jid));
                errors += 1;
                let stanzas = left_of(no.parts, (now, SystemTime::now())).map(Written::returned);
                server.router.keep(&known.jid.to_bare(), stanzas.filter(Written::can_be_kept));
            }
        }
    }
    restored.iter().for_each(|known| server.router.restore_directed(known));
    errors
}

/// A session that was written down lives here, without a connection. Returns the way to it.
#[expect(clippy::result_large_err, reason = "it is the session that comes back")]
pub fn revive(
    server: &Arc<Server>,
    parts: SessionParts<Written>,
    known: &Known,
    shared: Option<Shared>,
    now: Instant,
) -> Result<Handle, DoesNotFit<Written>> {
    let session = Session::from_parts(server.config.clone(), parts, now)?;
    let (handle, mailbox) = mailbox();
    let mut host =
        Host::new(server.clone(), known.jid.clone(), server.next_id(), handle.clone(), shared.map(Shares::claimed));
    host.added = Added::revived(server, &session);
    if let Some(smid) = session.smid() {
        let registered = server.store.register(smid, session.owner(), handle.clone(), now);
        host.registration = registered.ok().map(|registered| registered.registration);
    }
    server.router.restore(host.id, known, &handle);
    tokio::spawn(host.serve(Box::new(session), mailbox));
    if server.nodes.is_some() && server.stopping.has_come() {
        let _ = handle.send(Mail::LetGo); // the others were told before
    }
    Ok(handle)
}
