//! A session: what outlives its stream, besides what `xmpp_sm` keeps of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use jid::FullJid;
use minidom::Element;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;
use xmpp_sm::{Counter, Ended, Ending, Epoch, Lost, Receipt, Returned, SessionStore, SmId, delay};

use super::Server;
use super::router::{Delivery, Handle, Mail};
use super::stanza::Written;
use super::xml::set;

/// How long a session waits for its client's last stanzas to come to rest. Nobody here takes that long.
const SETTLE: Duration = Duration::from_secs(5);
/// Stanzas that may wait for a client beside those that are on their way.
const MAX_BACKLOG: usize = 20_000;

/// It is owned by one task at a time, and moves to another when its client comes back: with it moves the mailbox,
/// so that mail which comes late comes in order all the same, to whoever owns the session then.
pub struct Session {
    pub server: Arc<Server>,
    pub jid: FullJid,
    id: u64,
    handle: Handle,
    mailbox: UnboundedReceiver<Mail>,
    /// What the client has room for later. It is as late as what came before the session, or came behind that.
    pub backlog: VecDeque<Bytes>,
    /// What was sent, is not acknowledged, and was not kept in the buffer.
    evicted: VecDeque<Returned<Bytes>>,
    /// Mail that came while something else was waited for.
    held: VecDeque<Mail>,
    /// How many of the client's stanzas have not come to rest.
    open: usize,
    /// Where the store knows it.
    registered: Option<(SmId, Epoch)>,
}

impl Session {
    pub fn bind(server: Arc<Server>, jid: FullJid) -> Self {
        let (handle, mailbox) = mpsc::unbounded_channel();
        let id = server.next_id();
        server.router.bind(id, jid.clone(), handle.clone());
        let (backlog, evicted, held) = Default::default();
        Self { server, jid, id, handle, mailbox, backlog, evicted, held, open: 0, registered: None }
    }

    /// Makes the session known under its SM-ID, when it is enabled and each time it has moved.
    pub fn register(&mut self, smid: &SmId) -> bool {
        let owner = self.jid.to_bare();
        match self.server.store.register(smid, owner.as_str(), self.handle.clone()) {
            Ok(registered) => {
                if let Some(evicted) = registered.evicted {
                    let _ = evicted.sid.send(Mail::Replaced);
                }
                self.registered = Some((smid.clone(), registered.epoch));
                true
            }
            Err(_) => false,
        }
    }

    pub fn set_connected(&self, connected: bool) {
        self.server.router.set_connected(self.id, &self.jid, connected);
    }

    pub async fn next_mail(&mut self) -> Mail {
        match self.held.pop_front() {
            Some(mail) => mail,
            None => self.mailbox.recv().await.expect("the session itself can send"),
        }
    }

    /// Puts a stanza behind all that waits already. False: that is too much, and the session cannot go on.
    #[must_use]
    pub fn put_off(&mut self, delivery: Delivery) -> bool {
        self.backlog.push_back(delivery.rest().late(self.server.domain.as_str()));
        self.backlog.len() <= MAX_BACKLOG
    }

    /// Stanzas have left the buffer before they were acknowledged.
    pub fn keep_evicted(&mut self, evicted: Lost<Bytes>) {
        self.evicted.extend(evicted);
    }

    /// The client has acknowledged `h` of so many stanzas that were sent.
    pub fn acknowledged(&mut self, h: Counter, sent: Counter) {
        // Numbers go round. What is covered is as far behind the last stanza as h is, or farther.
        while self.evicted.pop_front_if(|first| sent.since(first.number) >= sent.since(h)).is_some() {}
    }

    /// How many of the client's stanzas have not come to rest.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Sends a stanza of the client on its way; its receipt comes back as [`Mail::Handled`].
    pub fn route(&mut self, mut stanza: Element, receipt: Receipt) {
        set(&mut stanza, "from", self.jid.as_str());
        self.open += 1;
        let delivery = Delivery::new(&stanza, receipt, self.handle.clone());
        self.server.router.route(&stanza, delivery, &self.jid);
    }

    /// A receipt has come back.
    pub fn rested(&mut self, receipt: Receipt) -> Receipt {
        self.open -= 1;
        receipt
    }

    /// Waits until all of the client's stanzas have come to rest, and gives their receipts. Before that nobody may
    /// be told how many were handled, or the client sends them again.
    pub async fn settle(&mut self) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        let settled = async {
            while self.open > 0 {
                match self.mailbox.recv().await.expect("the session itself can send") {
                    Mail::Handled(receipt) => receipts.push(self.rested(receipt)),
                    Mail::Deliver(delivery) => self.held.push_back(Mail::Deliver(Delivery::own(delivery.rest()))),
                    Mail::Late(delivery) => self.held.push_back(Mail::Late(Delivery::own(delivery.rest()))),
                    other => self.held.push_back(other),
                }
            }
        };
        // Two sessions that wait for each other do not: a stanza rests as soon as it is held.
        let _ = timeout(SETTLE, settled).await;
        receipts
    }

    /// The session is over. What its client did not get goes where it would have gone without it: first what was
    /// sent and not acknowledged, then what waited to be sent, then what waits in the mailbox.
    pub fn end(mut self, ended: Ended<Bytes>) {
        let now = Instant::now();
        self.retire(&ended, now);
        // They are read before the router is locked.
        let mut left = Vec::new();
        for returned in self.evicted.drain(..).chain(ended.unacked) {
            let queued = delay::wall_clock(returned.queued, now, SystemTime::now());
            left.extend(Written::kept(returned.stanza, Some(queued)));
        }
        left.extend(self.backlog.drain(..).filter_map(|stanza| Written::kept(stanza, None)));
        let waiting = std::iter::from_fn(|| self.held.pop_front().or_else(|| self.mailbox.try_recv().ok()));
        let waiting = waiting.filter_map(|mail| match mail {
            Mail::Deliver(delivery) | Mail::Late(delivery) => Some(delivery),
            // A client that asks for the session, in a `TakeOver`, is left without an answer and looks again.
            _ => None,
        });
        self.server.router.end(self.id, &self.jid, left.into_iter().map(Delivery::own).chain(waiting));
    }

    fn retire(&self, ended: &Ended<Bytes>, now: Instant) {
        let Some((smid, epoch)) = &self.registered else { return };
        let store = &self.server.store;
        // A store in this process does not fail; one that did would let the record grow old by itself.
        let _ = match ended.ending {
            Ending::Closed => store.remove(smid, *epoch),
            _ => store.retire(smid, *epoch, ended.h, now),
        };
    }
}
