//! A session of which other nodes know: what is written down of it, its mail, and how it goes to another node.

use std::collections::HashMap;
use std::mem::take;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;
use xmpp_sm::snapshot::Promise;
use xmpp_sm::{Condition, EndReason, Event, Fence, Refusal, SessionEnded, SessionStore, Write};

use super::super::login;
use super::super::mail::{Delivery, Mail, Mailbox, told_at_end};
use super::super::session::{Host, Session};
use super::super::stanza::{Written, left, left_of};
use super::super::stream::{Connection, part};
use super::{Mailbox as SharedMailbox, Nodes, Shared, Whereabouts};

/// How long a client waits for a session that ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a session's task knows besides, where there are other nodes.
pub struct Shares {
    /// What all nodes know of the session, if it can be resumed.
    pub session: Option<Shared>,
    /// Its mail.
    mailbox: SharedMailbox,
}

impl Shares {
    pub fn new() -> Box<Self> {
        Box::new(Self { session: None, mailbox: SharedMailbox::new() })
    }
}

/// Where a session is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Here,
    /// At another node, or on its way there.
    Elsewhere,
}

impl Host {
    fn shared(&self) -> Option<&Shared> {
        self.shares.as_ref()?.session.as_ref()
    }

    /// Makes a session that was registered here known to all nodes. If that cannot be, it is not resumable.
    pub async fn share(&mut self, owner: Arc<str>) {
        let (Some(nodes), Some(shares)) = (&self.server.nodes, &mut self.shares) else { return };
        let Some(registration) = &self.registration else { return };
        shares.session = Box::pin(nodes.register(registration.smid(), &owner)).await;
        if shares.session.is_none() {
            let _ = self.server.store.remove(registration);
            self.registration = None;
        }
    }

    /// What is to be written next, if it is written down.
    pub fn next_write<'a>(&self, session: &'a mut Session) -> Option<(&'a mut Box<Connection>, Write<'a, Written>)> {
        match self.shared() {
            Some(shared) => shared.ledger.next_write(session, Instant::now()),
            None => session.next_write(Instant::now()),
        }
    }

    /// Takes mail, and writes down what is due, before anything goes out.
    pub async fn keep_up(&mut self, session: &mut Session) -> Place {
        match self.shares.is_some() {
            true => Box::pin(self.keep_up_with_others(session)).await,
            false => Place::Here,
        }
    }

    async fn keep_up_with_others(&mut self, session: &mut Session) -> Place {
        let Some(nodes) = self.server.nodes.clone() else { return Place::Here };
        let lets_go = self.lets_go();
        if lets_go {
            session.lost(Instant::now()); // it has waited for open receipts
        } else if session.has_room() && session.waiting() == 0 {
            self.take_mail(&nodes, session).await;
        }
        let Some(Shares { session: shared, mailbox }) = self.shares.as_deref_mut() else { return Place::Here };
        if take(&mut mailbox.is_replaced) {
            session.close(EndReason::Replaced, None, Instant::now());
        }
        if let Some(shared) = shared {
            let (router, id, jid) = (&self.server.router, self.id, &self.jid);
            let host = || router.known(id, jid, &HashMap::new()).to_bytes();
            let due = shared.ledger.due(session, host, Instant::now(), SystemTime::now());
            if nodes.write(shared, due).await == Fence::Lost {
                super::tell_lost(&shared.registration);
                return Place::Elsewhere;
            }
            if shared.behind.is_some() {
                return Place::Here;
            }
        }
        // If its resource is bound at another node, that is found when it takes the next.
        let _ = nodes.link.trim(mailbox, &self.jid).await;
        match shared {
            Some(shared)
                if lets_go && session.is_detached() && session.open_receipts() == 0 && mailbox.taken() == 0 =>
            {
                nodes.has_let_go(&shared.registration).await;
                Place::Elsewhere
            }
            _ => Place::Here,
        }
    }

    async fn take_mail(&mut self, nodes: &Nodes, session: &mut Session) {
        let Some(shares) = self.shares.as_mut().filter(|shares| shares.mailbox.has_mail) else { return };
        let takes_kept = self.server.router.takes_kept(self.id, &self.jid);
        for stanza in nodes.link.take(&mut shares.mailbox, &self.jid, takes_kept).await {
            self.send(stanza, session);
        }
        // It is the session's before it is struck off.
        while let Some(stanza) = self.csi.next() {
            drop(session.send(stanza, Instant::now()));
        }
    }

    /// There may be mail.
    pub fn has_mail(&mut self) {
        self.shares.iter_mut().for_each(|shares| shares.mailbox.has_mail = true);
    }

    /// After a presence is seen to, the session may get what waits for its user.
    pub fn on_presence(&mut self) {
        if let Some(shares) = &mut self.shares {
            let _ = self.handle.send(Mail::Waiting);
            shares.session.iter_mut().for_each(|shared| shared.ledger.host_changed());
        }
    }

    /// Whether something could not be written down, and nothing is read meanwhile.
    pub fn is_behind(&self) -> bool {
        self.shared().is_some_and(|shared| shared.behind.is_some())
    }

    /// When to try again what has failed.
    pub fn tries_again(&self) -> Option<Instant> {
        let shares = self.shares.as_ref()?;
        self.shared().and_then(|shared| shared.behind).into_iter().chain(shares.mailbox.again).min()
    }

    pub fn lets_go(&self) -> bool {
        self.shared().is_some_and(|shared| shared.lets_go)
    }

    /// Another node wants the session, or this one stops.
    pub fn let_go(&mut self, session: &mut Session) {
        let now = Instant::now();
        match self.shares.as_mut().and_then(|shares| shares.session.as_mut()) {
            Some(shared) if session.smid().is_some() => {
                if shared.ledger.promise() == Promise::Memory {
                    shared.ledger.set_promise(Promise::Parked);
                }
                shared.lets_go = true;
                session.lost(now);
            }
            _ if self.server.stopping.has_come() => {
                session.close(EndReason::Stopped, told_at_end(EndReason::Stopped), now);
            }
            _ => {}
        }
    }

    /// The session is elsewhere. What it has and has not written down goes after it.
    pub async fn gone(mut self: Box<Self>, mut session: Session, mut mailbox: Mailbox) {
        let Some((nodes, shares)) = self.server.nodes.clone().zip(self.shares.take()) else { return };
        let Shares { session: Some(shared), mailbox: mail } = *shares else { return };
        let now = Instant::now();
        // Its new owner's h leaves out what was not written down.
        session.settle_all(now);
        // A connection that has waited for that has the session by now.
        session.lost(now);
        let mut ended = Vec::new();
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting, .. } => part(connection, parting, self.server.clone()),
                Event::Ended(mut session) => ended.extend(left(&mut session)), // it was closing
                _ => {}
            }
        }
        self.server.router.forget(self.id, &self.jid);
        self.server.metrics.iter().for_each(|metrics| metrics.gone(take(&mut self.added)));
        if let Some(registration) = &self.registration {
            let _ = self.server.store.remove(registration);
        }
        let whereabouts = nodes.whereabouts(&shared.registration).await;
        let mut left: Vec<_> = match (session.into_parts(), whereabouts) {
            (Err(_), _) => ended,
            // What was written down may be gone with it: better twice than never.
            (Ok(parts), Whereabouts::Nowhere) => left_of(parts, (now, SystemTime::now())).collect(),
            (Ok(parts), _) => shared.ledger.not_written(parts).into_iter().map(|(stanza, _)| stanza).collect(),
        };
        // What was taken out of its mail is still there.
        left.truncate(left.len().saturating_sub(mail.taken()));
        let to = jid::Jid::from(self.jid.clone());
        if whereabouts == Whereabouts::Elsewhere {
            left.into_iter().for_each(|stanza| nodes.link.send(Delivery::own(stanza), to.clone()));
        } else {
            left.retain(Written::can_be_kept);
            nodes.link.depart(&self.jid, &left).await;
        }
        for mail in mailbox.rest() {
            match mail {
                Mail::Deliver(delivery) => nodes.link.send(*delivery, to.clone()),
                Mail::Take(taker) => nodes.clone().find(*taker, self.server.clone()),
                _ => {}
            }
        }
    }

    /// The session is over: see [`end_shared`](Self::end_shared). That takes as long as the engine is away. Who asks for the
    /// session waits a second for it, and asks again then.
    pub async fn end_in_time(&mut self, ended: &mut SessionEnded<Written>, mailbox: &mut Mailbox) -> Vec<Written> {
        let (server, mut came) = (self.server.clone(), Vec::new());
        let (mut ending, mut patience) = (pin!(self.end_shared(ended)), pin!(sleep(PATIENCE)));
        let left = loop {
            tokio::select! {
                biased;
                left = &mut ending => break left,
                () = &mut patience, if !patience.is_elapsed() => {}
                Some(mail) = mailbox.recv() => came.push(mail),
            }
            if patience.is_elapsed() {
                for mail in came.extract_if(.., |mail| matches!(mail, Mail::Take(_))) {
                    if let Mail::Take(taker) = mail {
                        let refused = taker.refuse(Refusal::Because(Condition::InternalServerError));
                        login::continue_login(refused, server.clone());
                    }
                }
            }
        };
        mailbox.put_back(came);
        left
    }

    /// The session is over: the other nodes are told. Returns what has to go elsewhere from here, which is nothing if
    /// the session was another node's already.
    async fn end_shared(&mut self, ended: &mut SessionEnded<Written>) -> Vec<Written> {
        let h = (ended.reason != EndReason::Closed).then_some(ended.h);
        let mut left: Vec<_> = left(ended).collect();
        let Some((nodes, shares)) = self.server.nodes.clone().zip(self.shares.as_mut()) else { return left };
        let Shares { session: shared, mailbox } = &mut **shares;
        if let Some(shared) = shared
            && nodes.ends(shared).await == Fence::Lost
        {
            return Vec::new();
        }
        // What was taken and is still in the list goes from there.
        while mailbox.taken() > 0 {
            if nodes.link.trim(mailbox, &self.jid).await == Fence::Lost {
                left.truncate(left.len().saturating_sub(mailbox.taken()));
                break;
            }
            if let Some(again) = mailbox.again {
                tokio::time::sleep_until(again.into()).await;
            }
        }
        // Their order with what is in the mail stays, and any node may have the user's next session.
        let (kept, left): (Vec<_>, Vec<_>) = left.into_iter().partition(Written::can_be_kept);
        nodes.link.depart(&self.jid, &kept).await;
        // Only then is it forgotten: another node would take it over if this one died before.
        if let Some(shared) = shared {
            nodes.retire(&shared.registration, h).await;
        }
        left
    }
}
