use std::mem::take;
use std::time::Instant;

use bytes::Bytes;
use minidom::Element;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use xmpp_sm::{Arrival, EndReason, Event, Leftovers, MustBind, Offer, Parting, Receipt, Session, Write};

/// The life of a client's session, over all its connections. `outbox`: the stanzas that the user sends; when it is
/// closed and all of it was taken, the session ends. `settled`: the receipts of what is handled. Returns what the server may not have.
pub async fn run<A: App>(
    mut session: Session<Bytes, A::Connection>,
    mut outbox: UnboundedReceiver<Bytes>,
    mut settled: UnboundedReceiver<Receipt>,
    app: &mut A,
) -> Leftovers<Bytes> {
    let (mut binding, mut is_conflict, mut logins) = (None, false, JoinSet::new());
    loop {
        while let Some(event) = session.poll() {
            match event {
                Event::Left { connection, parting, .. } => app.part(connection, parting),
                Event::Bind(must_bind) => {
                    session.connection_mut().map(Connection::bind);
                    binding = Some(must_bind);
                }
                Event::Online { .. } => app.online(),
                Event::Conflict => is_conflict = true,
                Event::Ended(ended) => return ended.stanzas,
                _ => {}
            }
        }
        while session.connection().is_some_and(Connection::has_room)
            && let Some((connection, item)) = session.next_write(now())
        {
            connection.push(item);
        }
        if session.connection().is_none() && logins.is_empty() {
            logins.spawn(app.log_in(take(&mut is_conflict)));
        }
        let (reads, deadline) = (session.wants_read(), session.deadline());
        tokio::select! {
            Some(Ok((offer, link))) = logins.join_next() => drop(session.connect(app.owner(), offer, link, now())),
            input = drive(session.connection_mut(), reads) => match input {
                Ok(Some(Input::Element(element))) => on_element(element, &mut session, &mut binding, app),
                Ok(Some(Input::Closed)) => session.peer_closed(now()),
                Ok(None) => {}
                Err(_) => session.lost(now()),
            },
            Some(receipt) = settled.recv() => drop(session.settle(receipt, now())),
            stanza = outbox.recv(), if session.has_room() => match stanza {
                Some(stanza) => drop(session.send(stanza, now())),
                None => session.close(EndReason::Closed, None, now()),
            },
            () = sleep_until(deadline.unwrap_or_else(now).into()), if deadline.is_some() => session.timeout(now()),
        }
    }
}

fn on_element<A: App>(
    element: Element,
    session: &mut Session<Bytes, A::Connection>,
    binding: &mut Option<MustBind>,
    app: &mut A,
) {
    let now = now();
    if let Ok(Arrival::Stanza(receipt)) = session.handle(session.inbound(&element), now) {
        if binding.is_some() && app.is_bound(&element) {
            let _ = binding.take().map(|must_bind| session.bound(must_bind, now));
        } else {
            app.receive(element, receipt);
        }
    }
}

async fn drive<C: Connection>(connection: Option<&mut C>, reads: bool) -> std::io::Result<Option<Input>> {
    match connection {
        Some(connection) => connection.drive(reads).await,
        None => std::future::pending().await,
    }
}

/// The clock of `tokio`, which a test can turn on.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What arrives on a connection.
pub enum Input {
    Element(Element),
    /// `</stream:stream>`.
    Closed,
}

/// A connection of the client's own: an XML reader, and bytes that wait to be written.
pub trait Connection: Send + Sized + 'static {
    /// Whether fewer than 64 KiB wait to be written.
    fn has_room(&self) -> bool;
    /// Puts something behind the bytes that wait. Never waits itself. What stands before a [`Write::Flush`] is written to the
    /// socket by itself.
    fn push(&mut self, item: Write<'_, Bytes>);
    /// Writes a request to bind a resource, likewise.
    fn bind(&mut self);
    /// Writes what waits, and reads the next element if `reads`. `None`: something was written. An end of the
    /// file without `</stream:stream>` is an error: the session goes on with the next connection. Cancel safe.
    fn drive(&mut self, reads: bool) -> impl Future<Output = std::io::Result<Option<Input>>> + Send;
}

/// The rest of the client, as its session sees it.
pub trait App {
    type Connection: Connection;
    /// The account's bare JID.
    fn owner(&self) -> &str;
    /// Connects and authenticates, sooner or later; a failure is tried again after a while. `is_conflict`: another connection
    /// has the resource, and would lose it. Then this waits until the user wants it back.
    fn log_in(&self, is_conflict: bool) -> impl Future<Output = (Offer, Self::Connection)> + Send + 'static;
    /// A stanza has arrived. When it is handled (shown, written down), its receipt goes into `settled` of [`run`].
    fn receive(&mut self, stanza: Element, receipt: Receipt);
    /// There is a new session: its initial presence goes into `outbox`.
    fn online(&mut self);
    /// Whether this is the server's answer to the request to bind.
    fn is_bound(&mut self, stanza: &Element) -> bool;
    /// Says the last words on a connection that the session has left, in a task of its own.
    fn part(&mut self, connection: Self::Connection, parting: Parting);
}
