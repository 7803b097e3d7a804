//! A host as the documentation says: it polls, writes while there is room, and then waits. Whatever it sees of its
//! session goes into the ledger.

use std::collections::VecDeque;
use std::time::Instant;

use xmpp_sm::{EnableRequest, EndReason, Event, MustBind, Parting, Receipt, Registration, Session, StreamError, Taker};

use super::World;
use super::ledger::{Backlog, Checked, Fate, Violation, ensure};
use super::link::{Elem, Item};
use super::setting::Options;

/// What waits in a mailbox.
#[derive(Debug)]
pub enum Mail {
    Deliver(Item),
    Settled(Open),
    Take(Taker<usize>, usize),
    End(EndReason),
}

/// A receipt that the host has.
#[derive(Debug)]
pub struct Open {
    pub receipt: Receipt,
    /// The life in which it was counted, and its place there.
    pub place: Option<(usize, usize)>,
}

/// A reply that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Enable,
    Resume,
}

#[derive(Debug)]
pub struct Host {
    pub session: Session<Item, usize>,
    pub side: usize,
    pub life: Option<usize>,
    pub waiting: Backlog,
    /// The places, in what was sent, of the next stanza that is resent and of the end of the resent ones.
    pub resend: Option<(usize, usize)>,
    pub awaits: Option<Reply>,
    pub receipts: VecDeque<Open>,
    pub mailbox: VecDeque<Mail>,
    pub enable: Option<EnableRequest>,
    /// When the peer asked to enable.
    pub enable_since: Option<Instant>,
    pub binding: Option<MustBind>,
    pub registration: Option<Registration>,
    /// When `timeout` was called for something that was due and may blame somebody.
    pub noticed: Option<Instant>,
    /// The same, as it was when this step began.
    pub noticed_before: Option<Instant>,
    /// Whether something was judged in this step.
    pub has_judged: bool,
    /// Whether what is due now is something that a host waits for, and no verdict.
    pub blames_nobody: bool,
    /// Whether the session may have been judged, and wait for its receipts.
    pub may_settle: bool,
    /// Whether the session must come to its end.
    pub is_ending: bool,
    pub is_blamed: bool,
    /// Client: whether its host has closed the session.
    pub is_closed: bool,
    /// Client: whether the server offers stream management on the present connection.
    pub is_offered: bool,
    /// Since when its backlog is over its bounds.
    pub full_since: Option<Instant>,
    /// Client: how many times it has asked for its session since the server has last replied.
    pub tries: u32,
    /// Client: whether a stream has ended in a way that its session does not survive.
    pub has_broken: bool,
    /// Client: whether a stream error was the reply.
    pub is_rejected: bool,
    pub peer_closed: bool,
    pub detached_since: Option<Instant>,
    /// Acknowledged stanzas that have to come back.
    pub acknowledged: VecDeque<u32>,
    /// Whether a stream error said `<conflict/>`.
    pub has_conflict: bool,
    /// Whether the server has just refused a client its session.
    pub is_refused: bool,
    /// Whether a client may give its session up in this step.
    pub may_give_up: bool,
    /// Until when a detached session waits that was prolonged.
    pub prolonged: Option<Instant>,
    /// Whether the peer is inactive, and whether it may be asked all the same.
    pub is_inactive: bool,
    pub may_ask: bool,
}

impl Host {
    pub fn new(session: Session<Item, usize>, side: usize) -> Self {
        Self {
            session,
            side,
            life: None,
            waiting: Backlog::default(),
            resend: None,
            awaits: None,
            receipts: VecDeque::new(),
            mailbox: VecDeque::new(),
            enable: None,
            enable_since: None,
            binding: None,
            registration: None,
            noticed: None,
            noticed_before: None,
            has_judged: false,
            blames_nobody: false,
            may_settle: false,
            is_ending: false,
            is_blamed: false,
            is_closed: false,
            tries: 0,
            is_offered: false,
            full_since: None,
            is_rejected: false,
            has_broken: false,
            peer_closed: false,
            detached_since: None,
            acknowledged: VecDeque::new(),
            has_conflict: false,
            may_give_up: false,
            is_refused: false,
            prolonged: None,
            is_inactive: false,
            may_ask: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.session.is_over()
    }

    /// Client: whether it makes no sense to ask for its session on a new connection.
    pub fn has_no_hope(&self, options: &Options) -> bool {
        !self.is_offered || self.tries >= options.resume_tries_max.min(2) || self.is_rejected
    }

    /// Whether it has a connection and does not read.
    pub fn is_deaf(&self) -> bool {
        self.session.connection().is_some() && !self.session.wants_read()
    }

    /// Whether a stanza waits that is larger than the whole buffer.
    pub fn has_large(&self, options: &Options) -> bool {
        self.waiting.0.iter().any(|waiting| waiting.bytes > options.buffer_max_bytes)
    }
}

impl World<'_> {
    pub fn on_event(&mut self, h: usize, event: Event<Item, usize>) -> Checked {
        let side = self.hosts[h].side;
        match event {
            Event::Left { connection, parting, .. } => {
                let link = &mut self.links[connection];
                ensure!(link.is_held_by(side, h), "connection {connection} leaves a session that has not got it");
                self.hosts[h].has_judged = true;
                match parting {
                    Parting::Drop => {}
                    Parting::Close => {
                        ensure!(link.is_closed[side], "the end of connection {connection} is not written");
                    }
                    Parting::Say(last) => {
                        ensure!(!link.is_closed[side], "connection {connection} is closed twice");
                        if let Some(write) = last.write {
                            self.wrote_nonza(h, connection, &write)?;
                            self.links[connection].push(side, Elem::Nonza(write));
                        }
                        let link = &mut self.links[connection];
                        if let Some(error) = last.error {
                            link.push(side, Elem::Error { conflict: error == StreamError::Conflict });
                        }
                        link.push(side, Elem::Close);
                        link.is_closed[side] = true;
                    }
                }
                self.links[connection].leave(side);
                if side == 0 && !self.hosts[h].is_closed {
                    // A client's session outlives its streams, however they end.
                    self.hosts[h].has_broken |= self.hosts[h].is_ending;
                    self.hosts[h].is_ending = false;
                }
                Ok(())
            }
            Event::Refused(refused) => {
                let l = refused.connection;
                ensure!(side == 1 && self.links[l].is_held_by(1, h), "connection {l} comes back from elsewhere");
                self.seen[h].refused += 1;
                self.refused(refused)?;
                Ok(())
            }
            Event::Detached { unacked, waiting } => {
                let is_twice = std::mem::replace(&mut self.seen[h].is_told, true);
                ensure!(!is_twice || side == 0, "it is told twice that a session is detached");
                // It may have ended since.
                let session = &self.hosts[h].session;
                let is_right = (unacked, waiting) == (session.unacked(), session.waiting());
                ensure!(is_right || !session.is_detached(), "{unacked} are unacknowledged, and {waiting} wait");
                Ok(())
            }
            Event::Queued => {
                self.seen[h].queued_told += 1;
                Ok(())
            }
            Event::Resumed => self.on_resumed(h),
            Event::Enable(request) => self.asked_inline(h, request),
            Event::Acknowledged(returned) => {
                let expected = self.hosts[h].acknowledged.pop_front();
                let id = returned.stanza.id;
                self.check_retracted(&returned.stanza)?;
                ensure!(expected == Some(id), "{id} comes back as acknowledged in place of {expected:?}");
                Ok(())
            }
            Event::Bind(token) => {
                let connection = self.hosts[h].session.connection().copied();
                let l = connection.ok_or("a resource has to be bound on no connection")?;
                self.hosts[h].binding = Some(token);
                self.links[l].push(0, Elem::Bind);
                self.end_life(h)
            }
            Event::Online { enabled } => {
                ensure!(side == 0, "a server's session is online");
                ensure!(enabled == self.hosts[h].session.is_enabled(), "online, enabled: {enabled}");
                if enabled { Ok(()) } else { self.end_life(h) }
            }
            // What was not acknowledged goes into the next session, which the ledger follows.
            Event::NotResumed(_) => {
                ensure!(side == 0, "a server's session is not resumed");
                Ok(())
            }
            Event::Conflict => {
                ensure!(self.hosts[h].has_conflict, "a conflict that nobody told of");
                Ok(())
            }
            Event::Ended(ended) => self.on_ended(h, *ended),
            other => Err(Violation(format!("{other:?}"))),
        }
    }

    /// A connection goes on with its login.
    pub fn refused(&mut self, refused: xmpp_sm::Refused<usize>) -> Checked {
        self.go_on_with(refused.connection, refused.step)
    }

    /// What was left in the mailbox of a session that is over.
    pub fn empty_mailbox(&mut self, h: usize) -> Checked {
        while let Some(mail) = self.hosts[h].mailbox.pop_front() {
            match mail {
                Mail::Deliver(item) => self.fates.set(item.id, Fate::Elsewhere)?,
                Mail::Take(taker, _) => self.refused(taker.refuse(xmpp_sm::Refusal::NotFound))?,
                Mail::Settled(_) | Mail::End(_) => {}
            }
        }
        Ok(())
    }
}
