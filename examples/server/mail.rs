//! The mailbox of a session: what comes to it from the rest of the server, in order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::iter::{from_fn, once};
use std::mem::take;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures::StreamExt;
use futures::channel::mpsc::{TryRecvError, TrySendError, UnboundedReceiver, UnboundedSender, unbounded};
use jid::FullJid;
use minidom::Element;
use tokio::sync::mpsc;
use xmpp_sm::disposition::Step;
use xmpp_sm::{Counter, EndReason, Receipt, SmId, StreamCondition, StreamError, Taker};

use super::session::{Host, Session};
use super::stanza::Written;
use super::stream::Connection;

/// How much is read, beside the first, before a session that is written down writes again.
const MORE_AT_ONCE: usize = 100;

/// What comes to a session. It is small: it waits in a list, piece by piece.
pub enum Mail {
    /// A stanza for its client.
    Deliver(Box<Delivery>),
    /// Something has waited for its user, and may go to it: see [`Router::next_kept`](super::router::Router::next_kept).
    Kept,
    /// Somebody has taken responsibility for a stanza of its client.
    Settled(Receipt),
    /// Its client is back, on another connection.
    Take(Box<Taker<Box<Connection>>>),
    /// The server stops, and the session is going to be written down: it leaves its client, and drops this when all
    /// that its client sent is settled.
    Halt(Waited),
    /// It gives itself up, as bytes.
    Park(Parking),
    /// Another node wants the session, or this one stops: it leaves its client, is written down, and goes.
    LetGo,
    /// Another node wants it, for a client that says that it has handled so many stanzas.
    LetGoFor(Counter),
    /// This node stops, and has waited for memory of the engine for long enough.
    WaitNoMore,
    /// The resource of this session is bound at another node.
    Bound(Box<SmId>),
    /// The engine may have lost what it had of the session.
    Changed,
    /// There may be mail for it, which all nodes share.
    Waiting,
    /// Somebody looks at the metrics, and waits until this is dropped.
    Measure(Waited),
    /// It has to end: its resource is bound by another stream, which waits until this is dropped.
    Replace(Waited),
    /// It has to end: the store has made room, or the server stops.
    End(EndReason),
}

/// What the peer of a session is told when that has to end; beside what the crate tells it.
pub fn told_at_end(reason: EndReason) -> Option<StreamError> {
    (reason == EndReason::Stopped).then_some(StreamError::Other(StreamCondition::SystemShutdown))
}

/// Somebody waits until this is dropped, and all its copies.
pub type Waited = mpsc::Sender<Infallible>;
/// Ends then.
pub type Until = mpsc::Receiver<Infallible>;

pub fn waited() -> (Waited, Until) {
    mpsc::channel(1)
}

/// Where a session gives itself up.
#[derive(Clone)]
pub struct Parking {
    pub out: mpsc::UnboundedSender<Vec<u8>>,
    /// All sessions by their numbers.
    pub jids: Arc<HashMap<u64, FullJid>>,
}

/// The way to a session, which has the other end for its whole life.
#[derive(Clone)]
pub struct Handle(UnboundedSender<Mail>);

/// What a session reads. That of a session to which nothing comes takes little memory, and most have none for most of
/// their time: a channel of `tokio` keeps a block for 32 of them.
pub struct Mailbox {
    mail: UnboundedReceiver<Mail>,
    /// What was read too early.
    put_back: Vec<Mail>,
}

pub fn mailbox() -> (Handle, Mailbox) {
    let (handle, mailbox) = unbounded();
    (Handle(handle), Mailbox { mail: mailbox, put_back: Vec::new() })
}

impl Handle {
    /// The mail comes back if the session is over.
    pub fn send(&self, mail: Mail) -> Result<(), Mail> {
        self.0.unbounded_send(mail).map_err(TrySendError::into_inner)
    }

    /// Has the session end: another stream binds its resource, once it is over.
    pub fn replace(&self) -> Until {
        let (waited, until_over) = waited();
        let _ = self.send(Mail::Replace(waited));
        until_over
    }

    /// Whether the session is over, or its task has ended by a mistake.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Mailbox {
    /// `None`: all handles are gone. Dropping the future loses nothing.
    pub fn recv(&mut self) -> impl Future<Output = Option<Mail>> {
        self.mail.next()
    }

    /// What is there already.
    pub fn try_recv(&mut self) -> Option<Mail> {
        self.mail.try_recv().ok()
    }

    /// It comes before the [`rest`](Self::rest).
    pub fn put_back(&mut self, mail: Vec<Mail>) {
        self.put_back = mail;
    }

    /// Closes it, and returns what is in it.
    pub fn rest(&mut self) -> impl Iterator<Item = Mail> {
        self.mail.close();
        let rest = from_fn(|| {
            loop {
                match self.mail.try_recv() {
                    Ok(mail) => return Some(mail),
                    Err(TryRecvError::Closed) => return None,
                    Err(TryRecvError::Empty) => std::thread::yield_now(), // one is just being put in
                }
            }
        });
        take(&mut self.put_back).into_iter().chain(rest)
    }
}

impl Host {
    /// Takes what has come; and where sessions are written down, what there is behind it, for all that this changes is
    /// written down at once. Returns where the session is to give itself up, if it is.
    pub fn on_mail(&mut self, first: Mail, mailbox: &mut Mailbox, session: &mut Session) -> Option<Parking> {
        let more = if self.shares.is_some() { MORE_AT_ONCE } else { 0 };
        for mail in once(first).chain(from_fn(|| mailbox.try_recv()).take(more)) {
            self.send_held(session);
            match mail {
                Mail::Deliver(delivery) => self.send(delivery.settle(), session),
                Mail::Kept => self.has_kept = true,
                Mail::Settled(receipt) => drop(session.settle(receipt, Instant::now())),
                Mail::Take(_) if self.is_leaving() => {} // its client tries again
                Mail::Take(taker) => session.take(*taker, Instant::now()),
                Mail::Replace(waited) => self.replace(waited, session),
                Mail::End(reason) => session.close(reason, told_at_end(reason), Instant::now()),
                Mail::Measure(_measured) => self.added.measure(&self.server, session),
                Mail::Halt(until_rest) => self.halt(until_rest, session),
                Mail::Park(parking) => return Some(parking),
                Mail::LetGo => self.let_go(session),
                Mail::Changed => self.may_be_lost(),
                Mail::LetGoFor(h) => self.let_go_for(h, session),
                Mail::WaitNoMore => self.wait_no_more(session),
                Mail::Bound(smid) => self.bound_elsewhere(&smid, session),
                Mail::Waiting => self.has_mail(),
            }
        }
        None
    }
}

/// A stanza on its way inside of the server.
pub struct Delivery {
    pub(super) stanza: Written,
    receipt: Option<(Receipt, Handle)>,
}

impl Delivery {
    /// What a client sent; `receipt` returns to its session once somebody else answers for the stanza.
    pub fn new(stanza: &Element, receipt: Receipt, sender: Handle) -> Self {
        Self { stanza: Written::new(stanza), receipt: Some((receipt, sender)) }
    }

    /// What the server itself has to say, or says again.
    pub fn own(stanza: Written) -> Self {
        Self { stanza, receipt: None }
    }

    /// The answer, in the place of what a client sent: where that goes, both are settled.
    pub(super) fn answered(self, answer: &Element) -> Self {
        Self { stanza: Written::new(answer), ..self }
    }

    pub fn bytes(&self) -> &[u8] {
        self.stanza.bytes()
    }

    /// Whether it may wait for its user.
    pub fn can_be_kept(&self) -> bool {
        self.stanza.can_be_kept()
    }

    /// Whether another session of its user may have it.
    pub fn can_go_elsewhere(&self) -> bool {
        self.stanza.can_go(Step::Elsewhere)
    }

    /// It has waited.
    pub(super) fn late(self, since: SystemTime) -> Self {
        Self { stanza: self.stanza.waiting_since(since), ..self }
    }

    /// The stanza is settled: it is in its recipient's session, kept for later, answered, or of no use.
    pub fn settle(self) -> Written {
        if let Some((receipt, sender)) = self.receipt {
            // A session that is over needs its receipts no more.
            let _ = sender.send(Mail::Settled(receipt));
        }
        self.stanza
    }
}
