//! A session of which other nodes know: what is written down of it, its mail, and how it goes to another node.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc::UnboundedReceiver;
use xmpp_sm::snapshot::Promise;
use xmpp_sm::{EndReason, Event, Fence, SessionEnded, SessionStore, Write};

use super::super::nodes::{Shared, Whereabouts};
use super::super::router::{Delivery, Mail};
use super::super::stanza::Written;
use super::super::stream::Connection;
use super::{Host, Session, close, left};

/// Where a session is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Here,
    /// At another node, or on its way there.
    Elsewhere,
}

/// What is to be written next, if it is written down.
pub fn next_write<'a>(
    shared: Option<&Shared>,
    session: &'a mut Session,
    now: Instant,
) -> Option<(&'a mut Box<Connection>, Write<'a, Written>)> {
    match shared {
        Some(shared) => shared.ledger.next_write(session, now),
        None => session.next_write(now),
    }
}

impl Host {
    /// Takes mail, and writes down what is due, before anything goes out.
    pub(super) async fn keep_up(&mut self, session: &mut Session) -> Place {
        let Some(nodes) = self.server.nodes.clone() else { return Place::Here };
        let lets_go = self.lets_go();
        if lets_go && session.connection().is_some() {
            // It has waited for open receipts.
            session.lost(Instant::now());
        }
        if self.mailbox.has_mail && !lets_go && session.has_room() && session.waiting() == 0 {
            let takes_kept = self.server.router.takes_kept(self.id, &self.jid);
            for stanza in nodes.link.take(&mut self.mailbox, &self.jid, takes_kept).await {
                self.send(stanza, session);
            }
            // It is the session's before it is struck off.
            while let Some(stanza) = self.csi.next() {
                drop(session.send(stanza, Instant::now()));
            }
        }
        if std::mem::take(&mut self.mailbox.is_replaced) {
            close(session, EndReason::Replaced);
        }
        if let Some(shared) = &mut self.shared {
            let (router, id, jid) = (&self.server.router, self.id, &self.jid);
            let host = || router.known(id, jid, &HashMap::new()).to_bytes();
            let due = shared.ledger.due(session, host, Instant::now(), SystemTime::now());
            if nodes.write(shared, due).await == Fence::Lost {
                return Place::Elsewhere;
            }
            if shared.behind.is_some() {
                return Place::Here;
            }
        }
        // If its resource is bound at another node, that is found when it takes the next.
        let _ = nodes.link.trim(&mut self.mailbox, &self.jid).await;
        match &self.shared {
            Some(shared)
                if lets_go && session.is_detached() && session.open_receipts() == 0 && self.mailbox.taken() == 0 =>
            {
                nodes.has_let_go(&shared.registration).await;
                Place::Elsewhere
            }
            _ => Place::Here,
        }
    }

    pub(super) fn lets_go(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.lets_go)
    }

    /// Another node wants the session, or this one stops.
    pub(super) fn let_go(&mut self, session: &mut Session) {
        let now = Instant::now();
        match &mut self.shared {
            Some(shared) if session.smid().is_some() => {
                if shared.ledger.promise() == Promise::Memory {
                    shared.ledger.set_promise(Promise::Parked);
                }
                shared.lets_go = true;
                session.lost(now);
            }
            _ if self.server.stopping.has_come() => {
                close(session, EndReason::Stopped);
            }
            _ => {}
        }
    }

    /// The session is elsewhere. What it has and has not written down goes after it.
    pub(super) async fn gone(mut self, mut session: Session, mut mailbox: UnboundedReceiver<Mail>) {
        let (Some(nodes), Some(shared)) = (self.server.nodes.clone(), self.shared.take()) else { return };
        let now = Instant::now();
        while let Some(open) = session.oldest_open() {
            // Its new owner's h leaves it out, if it was not written down.
            let _ = session.settle_without_receipt(open.number, now);
        }
        // A connection that has waited for that has the session by now.
        session.lost(now);
        while let Some(event) = session.poll() {
            if let Event::Left { connection, parting, .. } = event {
                super::part(self.server.clone(), connection, parting);
            }
        }
        self.server.router.forget(self.id, &self.jid);
        if let Some(registration) = &self.registration {
            let _ = self.server.store.remove(registration);
        }
        let whereabouts = nodes.whereabouts(&shared.registration).await;
        let mut left: Vec<_> = match (session.into_parts(), whereabouts) {
            (Err(_), _) => Vec::new(),
            // What was written down may be gone with it: better twice than never.
            (Ok(parts), Whereabouts::Nowhere) => super::left_of(parts, (now, SystemTime::now())).collect(),
            (Ok(parts), _) => shared.ledger.not_written(parts).into_iter().map(|(stanza, _)| stanza).collect(),
        };
        // What was taken out of its mail is still there.
        left.truncate(left.len().saturating_sub(self.mailbox.taken()));
        let to = jid::Jid::from(self.jid.clone());
        if whereabouts == Whereabouts::Elsewhere {
            left.into_iter().for_each(|stanza| nodes.link.send(Delivery::own(stanza), to.clone()));
        } else {
            left.retain(Written::can_be_kept);
            nodes.link.depart(&self.jid, &left).await;
        }
        mailbox.close();
        while let Ok(mail) = mailbox.try_recv() {
            match mail {
                Mail::Deliver(delivery) => nodes.link.send(*delivery, to.clone()),
                Mail::Take(taker) => nodes.clone().find(*taker, self.server.clone()),
                _ => {}
            }
        }
    }

    /// The session is over: the other nodes are told. Returns what has to go elsewhere from here, which is nothing if
    /// the session was another node's already.
    pub(super) async fn end_shared(&mut self, ended: SessionEnded<Written>) -> Vec<Written> {
        let h = (ended.reason != EndReason::Closed).then_some(ended.h);
        let mut left: Vec<_> = left(ended).collect();
        let Some(nodes) = self.server.nodes.clone() else { return left };
        if let Some(shared) = &mut self.shared
            && nodes.ends(shared).await == Fence::Lost
        {
            return Vec::new();
        }
        // What was taken and is still in the list goes from there.
        while self.mailbox.taken() > 0 {
            if nodes.link.trim(&mut self.mailbox, &self.jid).await == Fence::Lost {
                left.truncate(left.len().saturating_sub(self.mailbox.taken()));
                break;
            }
            if let Some(again) = self.mailbox.again {
                tokio::time::sleep_until(again.into()).await;
            }
        }
        // Their order with what is in the mail stays, and any node may have the user's next session.
        let (kept, left): (Vec<_>, Vec<_>) = left.into_iter().partition(Written::can_be_kept);
        nodes.link.depart(&self.jid, &kept).await;
        // Only then is it forgotten: another node would take it over if this one died before.
        if let Some(shared) = &self.shared {
            nodes.retire(&shared.registration, h).await;
        }
        left
    }
}
