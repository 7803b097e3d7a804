//! A session: the loop of the documentation, and what it takes from the rest of the server.

mod shared;

use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jid::FullJid;
use minidom::Element;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use xmpp_parsers::ns;
use xmpp_sm::snapshot::Snapshot;
use xmpp_sm::{
    Arrival, Counter, DoesNotFit, EnableRequest, EndReason, Event, Inbound, Lookup, Parting, Record, Refusal, Refused,
    Registered, Registration, SessionEnded, SessionParts, SessionStore, Side, SmId, StreamCondition, StreamError,
    Taker, Write, delay,
};

use super::csi::{self, Csi};
use super::inline::write_success;
use super::metrics::Added;
use super::nodes::{Mailbox, Shared};
use super::router::{Delivery, Handle, Mail, Parking};
use super::stanza::Written;
use super::state::{Known, complain};
use super::stream::{Connection, Input};
use super::trace::What;
use super::xml::set;
use super::{Server, login};
use shared::{Place, next_write};

pub type Session = xmpp_sm::Session<Written, Box<Connection>>;

/// Nothing is waited for so long. A deadline that moves away with every stanza does not move the alarm, which is set anew
/// when it has come too early.
const LONG: Duration = Duration::from_secs(86_400);

/// What a session's task knows besides the session. All of it stays for the session's whole life.
struct Host {
    server: Arc<Server>,
    jid: FullJid,
    id: u64,
    /// The way to the session's mailbox.
    handle: Handle,
    /// What the store knows the session by.
    registration: Option<Registration>,
    /// What all nodes know of it, if this server is one of several.
    shared: Option<Box<Shared>>,
    /// Its mail, which the nodes share.
    mailbox: Mailbox,
    csi: Csi,
    /// Something has waited for the user.
    has_kept: bool,
    /// The server stops, and the session with it, to be written down.
    is_halted: bool,
    /// Somebody waits until it is at rest.
    resting: Option<UnboundedSender<()>>,
    /// What the metrics have of it.
    added: Added,
}

/// Binds a resource: a session begins, once the one that had the resource is over. `result` is what the client waits for.
///
/// `is_active`: what the client has said of itself.
pub async fn bind(
    begin: impl FnOnce(Box<Connection>) -> Session,
    mut connection: Box<Connection>,
    jid: FullJid,
    result: &[u8],
    is_active: Option<bool>,
    server: Arc<Server>,
) {
    let (handle, mailbox) = unbounded_channel();
    let id = server.next_id();
    // What the former session leaves comes before all that arrives from now on.
    while let Some(former) = server.router.bind(id, &jid, &handle) {
        former.closed().await;
    }
    if let Some(nodes) = &server.nodes
        && let Err(error) = nodes.link.arrive(&jid, None).await
    {
        complain(format_args!("{jid}: {error}"));
        server.router.forget(id, &jid);
        return connection.send_away(StreamCondition::ResourceConstraint).await;
    }
    connection.outbox.push(result);
    let mut host = Host::new(server, jid, id, handle);
    let mut session = Box::new(begin(connection));
    if let Some(active) = is_active {
        host.set_active(active, &mut session);
    }
    tokio::spawn(host.serve(session, mailbox));
}

/// Sends a connection to the session that it asks for. If there is none, its login goes on.
pub fn hand_over(taker: Taker<Box<Connection>>, server: &Arc<Server>) {
    resume(taker, server).into_iter().for_each(|refused| login::continue_login(refused, server.clone()));
}

/// Sends a connection to the session that it asks for. `Some`: there is none.
pub fn resume(taker: Taker<Box<Connection>>, server: &Arc<Server>) -> Option<Refused<Box<Connection>>> {
    if (server.state_dir.is_some() || server.nodes.is_some()) && server.stopping.has_come() {
        return None; // the session is being written down: its client tries again, and has nobody to ask until then
    }
    let found = server.store.lookup(taker.previd(), taker.owner(), Instant::now());
    Some(match found.map_or(Err(Refusal::NotFound), Lookup::session) {
        Err(refusal) => match &server.nodes {
            Some(nodes) => {
                nodes.clone().find(taker, server.clone());
                return None;
            }
            None => taker.refuse(refusal),
        },
        Ok(Record { registration, handle }) => {
            let refused = give(taker, &handle)?;
            // The task that had this session is gone without a word.
            let _ = server.store.remove(&registration);
            refused
        }
    })
}

/// Sends a connection to this session. `Some`: it is not there any more.
pub fn give(taker: Taker<Box<Connection>>, session: &Handle) -> Option<Refused<Box<Connection>>> {
    match session.send(Mail::Take(Box::new(taker))) {
        Err(SendError(Mail::Take(taker))) => Some(taker.refuse(Refusal::NotFound)),
        _ => None,
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
    let (handle, mailbox) = unbounded_channel();
    let mut host = Host::new(server.clone(), known.jid.clone(), server.next_id(), handle.clone());
    if let Some(smid) = session.smid() {
        let registered = server.store.register(smid, session.owner(), handle.clone(), now);
        host.registration = registered.ok().map(|registered| registered.registration);
    }
    host.shared = shared.map(Box::new);
    server.router.restore(host.id, known, &handle);
    tokio::spawn(host.serve(Box::new(session), mailbox));
    if server.nodes.is_some() && server.stopping.has_come() {
        let _ = handle.send(Mail::LetGo); // the others were told before
    }
    Ok(handle)
}

impl Host {
    fn new(server: Arc<Server>, jid: FullJid, id: u64, handle: Handle) -> Self {
        Self {
            server,
            jid,
            id,
            handle,
            registration: None,
            shared: None,
            mailbox: Mailbox::new(),
            csi: Csi::default(),
            has_kept: false,
            is_halted: false,
            resting: None,
            added: Added::default(),
        }
    }

    /// The life of a session, from bind to its end.
    async fn serve(mut self, mut session: Box<Session>, mut mailbox: UnboundedReceiver<Mail>) {
        let mut alarm = pin!(sleep(LONG));
        if self.server.trace.is_some() {
            session.report_detached(true);
        }
        loop {
            while !session.is_over()
                && let Some(stanza) = self.csi.next()
            {
                drop(session.send(stanza, Instant::now()));
            }
            while let Some(event) = session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => {
                        self.measure(&session); // why it was left is known of the last time only
                        self.part(connection, parting);
                    }
                    Event::Detached { unacked, waiting } => self.trace(What::Detached { unacked, waiting }),
                    Event::Queued => self.trace(What::Queued { waiting: session.waiting() }),
                    Event::Resumed => self.server.router.set_connected(self.id, &self.jid, true),
                    Event::Enable(request) => self.enable(request, &mut session).await,
                    Event::Refused(refused) => login::continue_login(refused, self.server.clone()),
                    Event::Ended(ended) => {
                        self.measure(&session);
                        return self.over(*ended, mailbox).await;
                    }
                    _ => {}
                }
            }
            if self.keep_up(&mut session).await == Place::Elsewhere {
                return self.gone(*session, mailbox).await;
            }
            if let Some(connection) = session.connection_mut().filter(|_| self.registration.is_some()) {
                connection.place = None; // the store counts it
            }
            let now = Instant::now();
            while session.connection().is_some_and(|connection| connection.has_room())
                && let Some((connection, item)) = next_write(self.shared.as_deref(), &mut session, now)
            {
                match item {
                    Write::Success(success) => write_success(&self.server, connection, self.jid.as_str(), *success),
                    item => {
                        if let Write::Nonza(nonza) = &item {
                            self.trace(What::To(nonza));
                        }
                        connection.push(item, self.server.domain.as_str());
                    }
                }
            }
            if session.is_detached() && session.open_receipts() == 0 {
                self.resting = None;
            }
            let behind = self.shared.as_ref().and_then(|shared| shared.behind);
            let reads = session.wants_read() && behind.is_none();
            let stalls = session.connection().and_then(|connection| connection.outbox.deadline());
            let deadline = session
                .deadline()
                .into_iter()
                .chain(stalls)
                .chain(behind)
                .chain(self.mailbox.again)
                .min()
                .map(Into::into);
            if let Some(deadline) = deadline.filter(|due| *due < alarm.deadline() || alarm.is_elapsed()) {
                alarm.as_mut().reset(deadline);
            }
            let takes_kept = self.has_kept && session.has_room() && session.waiting() == 0;
            tokio::select! {
                input = drive(session.connection_mut(), reads) => match input {
                    Ok(Some(Input::Element(element))) => self.on_element(element, &mut session).await,
                    Ok(Some(Input::Nonza(nonza))) => {
                        self.trace(What::From(&nonza));
                        let _ = session.handle(nonza.into(), Instant::now());
                    }
                    Ok(Some(Input::Closed)) => session.peer_closed(Instant::now()),
                    Ok(Some(Input::Bad(condition))) => {
                        let error = StreamError::Other(condition);
                        session.close(EndReason::PeerFault, Some(error), Instant::now());
                        session.peer_closed(Instant::now()); // what follows cannot be read
                    }
                    Ok(None) => {}
                    Err(_) => session.lost(Instant::now()),
                },
                Some(mail) = mailbox.recv() => match mail {
                    Mail::Deliver(delivery) => self.send(delivery.settle(), &mut session),
                    Mail::Kept => self.has_kept = true,
                    Mail::Settled(receipt) => drop(session.settle(receipt, Instant::now())),
                    Mail::Take(_) if self.is_halted || self.lets_go() => {} // its client tries again
                    Mail::Take(taker) => session.take(*taker, Instant::now()),
                    Mail::Measure(_measured) => self.measure(&session),
                    Mail::End(reason) => close(&mut session, reason),
                    Mail::Halt(resting) => self.halt(resting, &mut session),
                    Mail::Park(parking) => return self.park(*session, mailbox, &parking).await,
                    Mail::LetGo => self.let_go(&mut session),
                    Mail::Waiting => self.mailbox.has_mail = true,
                },
                () = ready(()), if takes_kept => match self.server.router.next_kept(self.id, &self.jid) {
                    Some(stanza) => self.send(stanza, &mut session),
                    None => self.has_kept = false,
                },
                () = &mut alarm, if deadline.is_some() => match Instant::now() {
                    now if stalls.is_some_and(|stalls| stalls <= now) => session.lost(now),
                    now => session.timeout(now),
                },
            }
        }
    }

    fn trace(&self, what: What<'_>) {
        self.server.trace(self.jid.as_str(), what);
    }

    /// Adds what is new to the metrics, if somebody wants them.
    fn measure(&mut self, session: &Session) {
        if let Some(metrics) = &self.server.metrics {
            metrics.add(&mut self.added, session.stats(Instant::now()));
        }
    }

    /// A stanza for the client. An inactive one gets it later, perhaps.
    fn send(&mut self, stanza: Written, session: &mut Session) {
        if let Some(stanza) = self.csi.pass(stanza) {
            drop(session.send(stanza, Instant::now()));
        }
    }

    async fn on_element(&mut self, mut element: Element, session: &mut Session) {
        let now = Instant::now();
        let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
        if let Inbound::Nonza(nonza) = &inbound {
            self.trace(What::From(nonza));
        }
        match session.handle(inbound, now) {
            Ok(Arrival::Stanza(receipt)) => {
                set(&mut element, "from", self.jid.as_str());
                if element.name() == "presence" && self.server.nodes.is_some() {
                    // It may get what waits for its user from now on, after this is seen to.
                    let _ = self.handle.send(Mail::Waiting);
                    self.shared.iter_mut().for_each(|shared| shared.ledger.host_changed());
                }
                let delivery = Delivery::new(&element, receipt, self.handle.clone());
                self.server.router.route(&element, delivery, &self.jid);
            }
            Ok(Arrival::Enable(request)) => self.enable(request, session).await,
            Ok(Arrival::Other) => match csi::is_active(&element) {
                Some(active) => self.set_active(active, session),
                None => session.close(
                    EndReason::PeerFault,
                    Some(StreamError::Other(StreamCondition::UnsupportedStanzaType)),
                    now,
                ),
            },
            _ => {}
        }
    }

    /// The client has said whether it is active.
    fn set_active(&mut self, active: bool, session: &mut Session) {
        if self.server.csi {
            self.csi.set_active(active);
            session.set_active(active, Instant::now());
        }
    }

    async fn enable(&mut self, request: EnableRequest, session: &mut Session) {
        if request.is_resumable() {
            self.registration = register(&self.server, session.owner(), &self.handle);
        }
        if let (Some(nodes), Some(registration)) = (&self.server.nodes, &self.registration) {
            match nodes.register(registration.smid(), session.owner()).await {
                Some(shared) => self.shared = Some(Box::new(shared)),
                None => {
                    let _ = self.server.store.remove(registration);
                    self.registration = None;
                }
            }
        }
        let smid = self.registration.as_ref().map(|registration| registration.smid().clone());
        let _ = session.accept_enable(request, smid, Instant::now());
    }

    /// The session has left a connection.
    fn part(&mut self, connection: Box<Connection>, parting: Parting) {
        self.csi.restart();
        self.server.router.set_connected(self.id, &self.jid, false);
        part(self.server.clone(), connection, parting);
    }

    /// The server stops. A client that can resume is told by the end of its connection and by nothing else: after an
    /// error, or the end of the stream, there are clients that do not.
    fn halt(&mut self, resting: UnboundedSender<()>, session: &mut Session) {
        (self.is_halted, self.resting) = (true, Some(resting));
        match session.smid() {
            Some(_) => session.lost(Instant::now()),
            None => close(session, EndReason::Stopped),
        }
    }

    /// The session gives itself up, to be written down. If it cannot, it ends.
    async fn park(mut self, mut session: Session, mut mailbox: UnboundedReceiver<Mail>, parking: &Parking) {
        let now = Instant::now();
        mailbox.close();
        loop {
            // Also the connection of a client that has waited for it.
            session.lost(now);
            while let Some(event) = session.poll() {
                match event {
                    Event::Left { connection, parting, .. } => self.part(connection, parting),
                    Event::Ended(ended) => return self.over(*ended, mailbox).await,
                    _ => {}
                }
            }
            if let Some(stanza) = self.csi.next() {
                drop(session.send(stanza, now));
            } else if let Ok(mail) = mailbox.try_recv() {
                match mail {
                    Mail::Deliver(delivery) => self.send(delivery.settle(), &mut session),
                    Mail::Settled(receipt) => drop(session.settle(receipt, now)),
                    _ => {}
                }
            } else if let Some(open) = session.oldest_open() {
                // It has had its time.
                let _ = session.settle_without_receipt(open.number, now);
            } else {
                break;
            }
        }
        match session.into_parts() {
            Ok(session) => {
                let host = self.server.router.known(self.id, &self.jid, &parking.jids).to_bytes();
                let _ = parking.out.send(Snapshot { session, host }.to_bytes(now, SystemTime::now()));
            }
            Err(not) => complain(format_args!("{}: {not}", self.jid)),
        }
    }

    /// The session is over. What its client did not get goes where it would have gone without it: first what the session
    /// had, then what waits in the mailbox.
    async fn over(mut self, ended: SessionEnded<Written>, mailbox: UnboundedReceiver<Mail>) {
        let (reason, h) = (ended.reason, ended.h);
        if let Some(metrics) = &self.server.metrics {
            metrics.end(reason);
        }
        let left = self.end_shared(ended).await;
        // Not before: a client that asks for it meanwhile would have this node bring it here once more.
        forget(&self.server, self.registration.as_ref(), (reason, h));
        let left = left.into_iter().chain(self.csi.into_held());
        for taker in self.server.router.end((self.id, &self.jid), reason, left, mailbox) {
            hand_over(taker, &self.server);
        }
    }
}

/// Makes a session known under a new SM-ID.
pub fn register(server: &Server, owner: &Arc<str>, handle: &Handle) -> Option<Registration> {
    let smid = SmId::random().ok()?;
    let Registered { registration, displaced } =
        server.store.register(&smid, owner, handle.clone(), Instant::now()).ok()?;
    if let Some(displaced) = displaced {
        // A session is registered once, and has its mailbox for itself.
        let _ = displaced.handle.send(Mail::End(EndReason::Replaced));
    }
    Some(registration)
}

/// A session that was registered is over.
pub fn forget(server: &Server, registration: Option<&Registration>, (reason, h): (EndReason, Counter)) {
    if let Some(registration) = registration {
        // A store in this process does not fail; one that did would let the record grow old by itself.
        let _ = match reason {
            EndReason::Closed => server.store.remove(registration),
            _ => server.store.retire(registration, h, Instant::now()),
        };
    }
}

/// What the peer of a session did not get, with the time since when it waits.
pub fn left(ended: SessionEnded<Written>) -> impl Iterator<Item = Written> {
    let (now, wall_clock) = (Instant::now(), SystemTime::now());
    ended.stanzas.map(move |left| left.stanza.waiting_since(delay::wall_clock(left.queued, now, wall_clock)))
}

/// The same of a session that was taken apart.
pub fn left_of(
    parts: SessionParts<Written>,
    (now, by_the_wall): (Instant, SystemTime),
) -> impl Iterator<Item = Written> {
    let SessionParts { side, waiting, .. } = parts;
    let unacked = match side {
        Side::Server(parts) => parts.unacked,
        Side::Client { .. } => Vec::new(),
    };
    let all = unacked.into_iter().chain(waiting);
    all.map(move |(stanza, queued)| stanza.waiting_since(delay::wall_clock(queued, now, by_the_wall)))
}

/// A session has left this connection, which takes its time.
pub fn part(server: Arc<Server>, connection: Box<Connection>, parting: Parting) {
    if parting != Parting::Drop {
        tokio::spawn(async move {
            connection.part(parting).await;
            drop(server); // which does not stop before that
        });
    }
}

/// The session has to end, as the rest of the server says, and its peer is told why.
pub fn close(session: &mut Session, reason: EndReason) {
    let error = match reason {
        EndReason::Replaced => Some(StreamError::Conflict),
        EndReason::Stopped => Some(StreamError::Other(StreamCondition::SystemShutdown)),
        _ => None,
    };
    session.close(reason, error, Instant::now());
}

/// [`Connection::drive`], where there may be none.
pub async fn drive(connection: Option<&mut Box<Connection>>, reads: bool) -> std::io::Result<Option<Input>> {
    match connection {
        // What it knows is in the connection. Made anew each time, it takes no memory while the session waits.
        Some(connection) => poll_fn(|context| pin!(connection.drive(reads)).poll(context)).await,
        None => pending().await,
    }
}
