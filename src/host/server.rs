use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use minidom::Element;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::sleep_until;
use xmpp_sm::{
    Arrival, EndReason, Event, Parting, Receipt, Record, Refusal, Refused, Registration, ResumeRequest, Session,
    SessionEnded, SmId, Taker, Unbound, Write,
};

/// The life of a session, from bind to its end.
pub async fn serve<H: Host>(
    mut session: Session<Bytes, H::Connection>,
    mut mailbox: UnboundedReceiver<Mail<H::Connection>>,
    host: H,
) {
    loop {
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting, .. } => host.part(connection, parting),
                Event::Refused(refused) => host.log_in(refused),
                Event::Ended(ended) => return host.over(*ended, mailbox),
                _ => {}
            }
        }
        while session.connection().is_some_and(Connection::has_room)
            && let Some((connection, item)) = session.next_write(now())
        {
            connection.push(item);
        }
        let (reads, deadline) = (session.wants_read(), session.deadline());
        tokio::select! {
            input = drive(session.connection_mut(), reads) => match input {
                Ok(Some(Input::Element(element))) => on_element(element, &mut session, &host),
                Ok(Some(Input::Closed)) => session.peer_closed(now()),
                Ok(None) => {}
                Err(_) => session.lost(now()),
            },
            Some(mail) = mailbox.recv() => match mail {
                Mail::Deliver(stanza) => drop(session.send(stanza, now())),
                Mail::Settled(receipt) => drop(session.settle(receipt, now())),
                Mail::Take(taker) => session.take(taker, now()),
                Mail::End(reason) => session.close(reason, None, now()),
            },
            () = sleep_until(deadline.unwrap_or_else(now).into()), if deadline.is_some() => {
                session.timeout(now());
            }
        }
    }
}

fn on_element<H: Host>(element: Element, session: &mut Session<Bytes, H::Connection>, host: &H) {
    let now = now();
    match session.handle(session.inbound(&element), now) {
        Ok(Arrival::Stanza(receipt)) => host.route(element, receipt),
        Ok(Arrival::Enable(request)) => {
            let smid = if request.is_resumable() { host.register(session.owner()) } else { None };
            let _ = session.accept_enable(request, smid, now);
        }
        _ => {}
    }
}

pub async fn drive<C: Connection>(connection: Option<&mut C>, reads: bool) -> std::io::Result<Option<Input>> {
    match connection {
        Some(connection) => connection.drive(reads).await,
        None => std::future::pending().await,
    }
}

/// A client asks for its former session: its connection moves there. `Some`: it may not have it, and goes on here.
pub fn resume<H: Host>(
    stream: Unbound,
    request: ResumeRequest,
    connection: H::Connection,
    host: &H,
) -> Option<Refused<H::Connection>> {
    let Ok(taker) = stream.into_taker(request, connection) else { return None }; // the request is this stream's
    hand_over(taker, host)
}

/// Gives a connection to the session that it asks for, likewise.
pub fn hand_over<H: Host>(taker: Taker<H::Connection>, host: &H) -> Option<Refused<H::Connection>> {
    match host.look_up(taker.previd(), taker.owner()) {
        Err(refusal) => Some(taker.refuse(refusal)),
        Ok(Record { registration, handle: mailbox }) => match mailbox.send(Mail::Take(taker)) {
            Err(SendError(Mail::Take(taker))) => {
                host.forget(&registration);
                Some(taker.refuse(Refusal::NotFound))
            }
            _ => None,
        },
    }
}

/// The clock of `tokio`, which a test can turn on.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What comes to a session from the rest of the server.
pub enum Mail<C> {
    /// A stanza for its client.
    Deliver(Bytes),
    /// Somebody has taken responsibility for a stanza of its client.
    Settled(Receipt),
    /// Its client is back, on another connection.
    Take(Taker<C>),
    /// It has to end: its resource is bound by another stream, the store has made room, or the server stops.
    End(EndReason),
}

/// What arrives on a connection.
pub enum Input {
    Element(Element),
    /// `</stream:stream>`.
    Closed,
}

/// A connection of the server's own: an XML reader, and bytes that wait to be written. [`examples/server/stream.rs`][stream] has one.
///
/// [stream]: https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server/stream.rs
pub trait Connection: Send + Sized + 'static {
    /// Whether fewer than 64 KiB wait to be written.
    fn has_room(&self) -> bool;
    /// Puts something behind the bytes that wait. Never waits itself. What stands before a [`Write::Flush`] is written to the
    /// socket by itself.
    fn push(&mut self, item: Write<'_, Bytes>);
    /// Writes what waits, and reads the next element if `reads`. `None`: something was written. An end of the
    /// file without `</stream:stream>` is an error: the session waits for its client, which [`Input::Closed`] would end. Cancel safe.
    fn drive(&mut self, reads: bool) -> impl Future<Output = std::io::Result<Option<Input>>> + Send;
}

/// The rest of the server, as a session sees it.
pub trait Host: Clone + Send + 'static {
    type Connection: Connection;
    /// Sends a stanza on its way. When somebody has taken responsibility for it (the recipient's session, another
    /// server's queue, the disk), the receipt comes back as [`Mail::Settled`] to the session that it is from.
    fn route(&self, stanza: Element, receipt: Receipt);
    /// Makes a session of this owner known under a new SM-ID, with the way to its mailbox, and keeps the [`Registration`]
    /// for `over`. `serve` gets a `Host` that is made for its session: that has the sender of the mailbox, and a cell for the
    /// registration. The `Host` of a login has neither.
    fn register(&self, owner: &Arc<str>) -> Option<SmId>;
    /// The session of that SM-ID and owner, with the way to its mailbox.
    fn look_up(&self, smid: &SmId, owner: &str) -> Result<Record<UnboundedSender<Mail<Self::Connection>>>, Refusal>;
    /// The task that had this session is gone without a word: its record is removed from the store.
    fn forget(&self, registration: &Registration);
    /// Says the last words on a connection that its session has left, in a task of its own.
    fn part(&self, connection: Self::Connection, parting: Parting);
    /// Takes the next step of this login, in a task of its own: writes `failed`, and reads on.
    fn log_in(&self, refused: Refused<Self::Connection>);
    /// Takes the mailbox from where `route` finds it, unless a newer session is there already, and closes it; retires
    /// the SM-ID; sends the stanzas elsewhere: those of the session first, then those in the mailbox, queued just now.
    /// A [`Taker`] in the mailbox is [handed over](hand_over) again, to be told the last `h`; a receipt is of no use any
    /// more.
    fn over(&self, ended: SessionEnded<Bytes>, mailbox: UnboundedReceiver<Mail<Self::Connection>>);
}
