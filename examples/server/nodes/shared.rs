//! A session of which other nodes know: what is written down of it, its mail, and how it goes to another node.

use std::collections::HashMap;
use std::error::Error;
use std::mem::take;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jid::FullJid;
use tokio::time::sleep;
use xmpp_sm::snapshot::Promise;
use xmpp_sm::{Condition, Counter, EndReason, Event, Fence, Refusal, SessionEnded, SessionStore, SmId, Write};

use super::super::mail::{Delivery, Mail, Mailbox, told_at_end};
use super::super::session::{Host, Session};
use super::super::stanza::{Written, left, left_of};
use super::super::state::complain;
use super::super::stream::{Connection, part};
use super::super::{Server, login};
use super::link::PAUSE;
use super::lists::Kept;
use super::{Mailbox as SharedMailbox, Nodes, Shared, Whereabouts};

/// How long a client waits for a session that ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a session's task knows besides, where there are other nodes.
pub struct Shares {
    /// What all nodes know of the session, if it can be resumed.
    pub session: Option<Shared>,
    /// Its mail.
    pub mailbox: SharedMailbox,
}

impl Shares {
    /// A client binds a resource here. Where that was, it is no more.
    pub async fn begin(nodes: &Nodes, jid: &FullJid) -> Result<Box<Self>, Box<dyn Error + Send + Sync>> {
        let smid = SmId::random()?;
        nodes.link.arrive(jid, &smid, true).await.inspect_err(|_| nodes.orphans.may_be_at(jid))?;
        Ok(Box::new(Self { session: None, mailbox: SharedMailbox::new(smid) }))
    }

    /// A session was claimed.
    pub fn claimed(session: Shared) -> Box<Self> {
        let mut mailbox = SharedMailbox::new(session.registration.smid().clone());
        mailbox.open();
        Box::new(Self { session: Some(session), mailbox })
    }

    /// By which the session is known if it can be resumed.
    pub fn smid(&self) -> &SmId {
        &self.mailbox.smid
    }
}

impl Nodes {
    /// A session is over: of what it leaves goes on what may be kept, and whoever has sent the rest is told.
    pub(super) async fn pass_on(
        &self,
        left: impl Iterator<Item = Written>,
        mailbox: &SharedMailbox,
        jid: &FullJid,
        server: &Server,
    ) {
        let (left, others): (Vec<_>, Vec<_>) = left.partition(Written::can_be_kept);
        self.link.depart(mailbox, jid, &left).await;
        others.into_iter().for_each(|stanza| server.router.has_no_place(Delivery::own(stanza)));
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
        if !self.is_confirmed(&nodes).await {
            return Place::Elsewhere;
        }
        let lets_go = self.lets_go();
        // What its client need not see is in memory alone, and goes where the session goes.
        self.send_held(session);
        if lets_go {
            session.lost(Instant::now()); // it has waited for open receipts
        } else if self.takes_mail(session) {
            self.take_mail(&nodes, session).await;
        }
        let Some(shares) = self.shares.as_deref_mut() else { return Place::Here };
        if let Some(shared) = &mut shares.session {
            let (router, id, jid) = (&self.server.router, self.id, &self.jid);
            let host = || router.known(id, jid, &HashMap::new()).to_bytes();
            let due = shared.ledger.due(session, host, Instant::now(), SystemTime::now());
            if nodes.write(shared, due).await == Fence::Lost {
                // By another node, or by the engine.
                shared.behind = Some(shares.mailbox.again.unwrap_or_else(Instant::now));
                shares.mailbox.is_doubtful = true;
                return Place::Here;
            }
            if shared.behind.is_some() {
                if shared.gives_up {
                    nodes.gives_up();
                    return Place::Elsewhere;
                }
                return Place::Here;
            }
        }
        let Shares { session: shared, mailbox } = shares;
        if may_trim(session) {
            nodes.link.trim(mailbox, &self.jid).await;
        }
        if take(&mut mailbox.is_replaced) {
            session.close(EndReason::Replaced, None, Instant::now());
            let _ = self.handle.send(Mail::Waiting); // the loop sees that it is over
        }
        match shared {
            Some(shared)
                if lets_go && session.is_detached() && session.open_receipts() == 0 && !mailbox.has_taken() =>
            {
                nodes.has_let_go(&shared.registration).await;
                Place::Elsewhere
            }
            _ => Place::Here,
        }
    }

    /// Whether the session is this node's still, as far as it is known.
    async fn is_confirmed(&mut self, nodes: &Nodes) -> bool {
        let Some(shares) = self.shares.as_deref_mut() else { return true };
        if !shares.mailbox.looks() {
            return true;
        }
        match (nodes.confirm(shares, &self.jid).await, &mut shares.session) {
            (Ok(Fence::Held), _) => {}
            (Ok(Fence::Lost), shared) => {
                shared.iter().for_each(|shared| super::tell_lost(&shared.registration));
                return false;
            }
            (Err(error), _) => {
                complain(format_args!("{}: {error}", self.jid));
                shares.mailbox.again = Some(Instant::now() + PAUSE);
            }
        }
        true
    }

    /// The engine may have lost what it had of the session.
    pub fn may_be_lost(&mut self) {
        self.shares.iter_mut().for_each(|shares| shares.mailbox.is_doubtful = true);
    }

    async fn take_mail(&mut self, nodes: &Nodes, session: &mut Session) {
        let Some(shares) = &mut self.shares else { return };
        let kept = match self.server.router.takes_kept(self.id, &self.jid) {
            Some(true) => Kept::Now,
            Some(false) => Kept::Never,
            None => Kept::Later,
        };
        let stanzas = match nodes.link.take(&mut shares.mailbox, &self.jid, kept).await {
            Ok(stanzas) => stanzas,
            Err(before) => return shares.mailbox.wait(nodes.are_to_leave(&before, &self.server).await),
        };
        stanzas.into_iter().for_each(|stanza| self.send(stanza, session));
        // What goes out is the session's before it is struck off.
        self.send_held(session);
        if !session.has_room() {
            let _ = self.handle.send(Mail::Waiting); // that may have been its end, which the loop has to see
        }
    }

    /// There may be mail.
    pub fn has_mail(&mut self) {
        self.shares.iter_mut().for_each(|shares| shares.mailbox.told());
    }

    /// The client has said something beside that it binds a resource.
    pub fn takes_mail_from_now_on(&mut self) {
        self.shares.iter_mut().for_each(|shares| shares.mailbox.open());
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

    /// When to go on with what has failed, and with mail.
    pub fn goes_on(&self, session: &Session) -> Option<Instant> {
        let mailbox = &self.shares.as_ref()?.mailbox;
        let behind = self.shared().and_then(|shared| shared.behind);
        let (takes, trims) = (self.takes_mail(session), mailbox.has_taken() && may_trim(session));
        let at_once = takes || mailbox.is_doubtful;
        behind.or(mailbox.again.filter(|_| at_once || trims)).or_else(|| at_once.then(Instant::now))
    }

    /// Whether there may be mail that a session takes.
    fn takes_mail(&self, session: &Session) -> bool {
        let has_mail = self.shares.as_ref().is_some_and(|shares| shares.mailbox.has_mail());
        has_mail && !self.lets_go() && session.has_room() && session.waiting() == 0
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

    /// This node stops, and has waited for memory for long enough. What is written down goes on without it; a session of
    /// which nothing is ends, for what it leaves needs no memory that it would wait for.
    pub fn wait_no_more(&mut self, session: &mut Session) {
        let Some(shared) = self.shares.as_mut().and_then(|shares| shares.session.as_mut()) else { return };
        if shared.lacks_memory {
            match shared.ledger.promise() {
                Promise::Durable => shared.gives_up = true,
                Promise::Memory | Promise::Parked => session.close(EndReason::Stopped, None, Instant::now()),
            }
        }
    }

    /// Another node wants the session for a client. If it could not have the session, that stays where it is.
    pub fn let_go_for(&mut self, h: Counter, session: &mut Session) {
        match (session.check_resume(h), self.shared(), self.server.nodes.clone()) {
            (Err(Refusal::WrongH(_)), Some(shared), Some(nodes)) => {
                let registration = shared.registration.clone();
                tokio::spawn(async move { nodes.link.say_kept(&registration, h).await });
            }
            _ => self.let_go(session),
        }
    }

    /// A resource is bound at another node, where this session had it.
    pub fn bound_elsewhere(&mut self, smid: &SmId, session: &mut Session) {
        if self.shares.as_ref().is_some_and(|shares| shares.smid() == smid) {
            session.close(EndReason::Replaced, None, Instant::now());
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
        let h = session.stats(now).h;
        let whereabouts = nodes.whereabouts(&shared.registration).await;
        let mut left: Vec<_> = match (session.into_parts(), &whereabouts) {
            (Err(_), _) => ended,
            // What was written down may be gone with it: better twice than never.
            (Ok(parts), Whereabouts::Nowhere | Whereabouts::Displaced(_)) => {
                left_of(parts, (now, SystemTime::now())).collect()
            }
            (Ok(parts), _) => shared.ledger.not_written(parts).into_iter().map(|(stanza, _)| stanza).collect(),
        };
        left.extend(self.csi.into_held());
        let to = jid::Jid::from(self.jid.clone());
        if whereabouts == Whereabouts::Elsewhere {
            nodes.link.has_moved(&mail, &self.jid).await;
            // What is still in its list is found there.
            left.retain(|stanza| !mail.is_taken(stanza));
            left.into_iter().for_each(|stanza| nodes.link.send(Delivery::own(stanza), to.clone()));
        } else {
            nodes.pass_on(left.into_iter(), &mail, &self.jid, &self.server).await;
        }
        if let Whereabouts::Displaced(registration) = whereabouts {
            nodes.retire(&registration, Some(h)).await;
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
        let mut held: Vec<_> = take(&mut self.csi).into_held().collect();
        let Some((nodes, shares)) = self.server.nodes.clone().zip(self.shares.as_mut()) else {
            return left.into_iter().chain(held).collect();
        };
        let Shares { session: shared, mailbox } = &mut **shares;
        if let Some(shared) = shared
            && nodes.ends(shared).await == Fence::Lost
        {
            super::tell_lost(&shared.registration);
            held.retain(|stanza| !mailbox.is_taken(stanza));
            return held;
        }
        left.append(&mut held);
        // Their order with what is in the mail stays, and any node may have the user's next session.
        let (kept, mut left): (Vec<_>, Vec<_>) = left.into_iter().partition(Written::can_be_kept);
        if !nodes.link.depart(mailbox, &self.jid, &kept).await {
            left.retain(|stanza| !mailbox.is_taken(stanza));
        }
        // Only then is it forgotten: another node would take it over if this one died before.
        if let Some(shared) = shared {
            if shared.lacks_memory && ended.reason == EndReason::Stopped {
                nodes.gives_up();
            }
            nodes.retire(&shared.registration, h).await;
        }
        left
    }
}

/// Whether what was taken is struck off. If the session ends it may have taken less than that.
fn may_trim(session: &Session) -> bool {
    session.has_room() || session.is_detached()
}
