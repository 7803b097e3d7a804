//! A session: the loop of the documentation, and what it takes from the rest of the server.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use jid::FullJid;
use minidom::Element;
use xmpp_parsers::ns;
use xmpp_sm::{
    Arrival, EnableRequest, EndReason, Event, Inbound, Parting, Receipt, Registration, SessionEnded, StreamCondition,
};

use super::csi::{self, Csi};
use super::mail::{Delivery, Handle, Mailbox, Waited};
use super::metrics::Added;
use super::nodes::shared::{Place, Shares};
use super::stanza::Written;
use super::state::restart::Halt;
use super::stream::{Connection, Input, drive, part};
use super::trace::What;
use super::xml::set;
use super::{Server, login, silence, smids};

pub type Session = xmpp_sm::Session<Written, Box<Connection>>;

/// What a session's task knows besides the session. All of it stays for the session's whole life.
pub struct Host {
    pub(super) server: Arc<Server>,
    pub(super) jid: FullJid,
    pub(super) id: u64,
    /// The way to the session's mailbox.
    pub(super) handle: Handle,
    /// What the store knows the session by.
    pub(super) registration: Option<Registration>,
    /// What it has to do with other nodes, if this server is one of several.
    pub(super) shares: Option<Box<Shares>>,
    pub(super) csi: Csi,
    /// Something has waited for the user.
    pub(super) has_kept: bool,
    /// What the metrics have of it.
    pub(super) added: Added,
    /// Whether the server stops, and the session is to be written down.
    pub(super) halt: Halt,
    /// Who wait until it is over.
    pub(super) until_over: Vec<Waited>,
}

impl Host {
    pub fn new(server: Arc<Server>, jid: FullJid, id: u64, handle: Handle, shares: Option<Box<Shares>>) -> Box<Self> {
        Box::new(Self {
            shares,
            server,
            jid,
            id,
            handle,
            registration: None,
            csi: Csi::default(),
            has_kept: false,
            added: Added::default(),
            halt: Halt::default(),
            until_over: Vec::new(),
        })
    }

    /// The life of a session, from bind to its end. A task has room all its life for what it ever waits for: what is seldom
    /// waited for is in a box.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` has its arguments twice")]
    pub fn serve(
        mut self: Box<Self>,
        mut session: Box<Session>,
        mut mailbox: Mailbox,
    ) -> impl Future<Output = ()> + Send + 'static {
        async move {
            session.report_detached(self.server.trace.is_some() || self.server.waits_once_woken.is_some());
            let (mut alarm, mut enable) = (pin!(silence::alarm()), None);
            let end = 'life: loop {
                self.send_held(&mut session);
                while let Some(event) = session.poll() {
                    match event {
                        Event::Left { connection, parting, .. } => self.left(connection, parting, &session),
                        Event::Resumed => self.resumed(&mut session),
                        Event::Enable(request) => enable = Some(request),
                        Event::Refused(refused) => login::continue_login(refused, self.server.clone()),
                        Event::Detached { unacked, waiting } => {
                            self.wake(What::Detached { unacked, waiting }, &mut session)
                        }
                        Event::Queued => self.wake(What::Queued { waiting: session.waiting() }, &mut session),
                        Event::Ended(ended) => break 'life self.over(*ended, *session, mailbox).boxed(),
                        _ => {}
                    }
                }
                if let Some(request) = enable.take() {
                    self.enable(request, &mut session).boxed().await;
                    continue;
                }
                if self.keep_up(&mut session).await == Place::Elsewhere {
                    break self.gone(*session, mailbox).boxed();
                }
                while session.connection().is_some_and(|connection| connection.has_room())
                    && let Some((connection, item)) = self.next_write(&mut session)
                {
                    self.server.push(self.jid.as_str(), connection, item);
                }
                self.tell_rest(&session);
                let reads = session.wants_read() && !self.is_behind();
                let takes_kept = self.has_kept && session.has_room() && session.waiting() == 0;
                let is_set = self.set_alarm(alarm.as_mut(), reads, &mut session);
                tokio::select! {
                    input = drive(session.connection_mut(), reads) => match input {
                        Ok(Some(Input::Element(element))) => enable = self.on_element(element, &mut session),
                        Ok(Some(Input::Nonza(nonza))) => {
                            self.trace(What::From(&nonza));
                            let _ = session.handle(nonza.into(), Instant::now());
                        }
                        Ok(Some(Input::Closed)) => session.peer_closed(Instant::now()),
                        Ok(Some(Input::Bad(condition))) => session.unreadable(condition, Instant::now()),
                        Ok(None) => {}
                        Err(_) => session.lost(Instant::now()),
                    },
                    Some(mail) = mailbox.recv() => {
                        if let Some(parking) = self.on_mail(mail, &mut mailbox, &mut session) {
                            break self.park(*session, mailbox, parking).boxed();
                        }
                    }
                    () = std::future::ready(()), if takes_kept => {
                        match self.server.router.next_kept(self.id, &self.jid) {
                            Some(stanza) => self.send(stanza, &mut session),
                            None => self.has_kept = false,
                        }
                    }
                    () = &mut alarm, if is_set => silence::timeout(&mut session, &self.server, self.jid.as_str()),
                }
            };
            end.await;
        }
    }

    /// Returns what takes its time: the client asks for stream management.
    fn on_element(&mut self, element: Element, session: &mut Session) -> Option<EnableRequest> {
        let now = Instant::now();
        let inbound = Inbound::from_element(&element, ns::JABBER_CLIENT);
        if let Inbound::Nonza(nonza) = &inbound {
            self.trace(What::From(nonza));
        }
        match session.handle(inbound, now) {
            Ok(Arrival::Stanza(receipt)) => self.on_stanza(element, receipt),
            Ok(Arrival::Enable(request)) => return Some(request),
            Ok(Arrival::Other) => match csi::is_active(&element) {
                Some(active) => self.set_active(active, session),
                None => session.peer_fault(StreamCondition::UnsupportedStanzaType, now),
            },
            _ => {}
        }
        None
    }

    fn on_stanza(&mut self, mut stanza: Element, receipt: Receipt) {
        set(&mut stanza, "from", self.jid.as_str());
        self.takes_mail_from_now_on();
        if stanza.name() == "presence" {
            self.on_presence();
        }
        let delivery = Delivery::new(&stanza, receipt, self.handle.clone());
        self.server.router.route(&stanza, delivery, &self.jid);
    }

    /// A stanza for the client, now or when it is active. What a session that is over does not take stays held back.
    pub(super) fn send(&mut self, stanza: Written, session: &mut Session) {
        if let Some(stanza) = self.csi.pass(stanza)
            && let Err(not) = session.send(stanza, Instant::now())
        {
            self.csi.put_back(not.stanza);
        }
    }

    /// What was held back for it, if it goes out.
    pub(super) fn send_held(&mut self, session: &mut Session) {
        while let Some(stanza) = self.csi.next() {
            if let Err(not) = session.send(stanza, Instant::now()) {
                return self.csi.put_back(not.stanza);
            }
        }
    }

    pub fn set_active(&mut self, active: bool, session: &mut Session) {
        if self.server.csi {
            self.csi.set_active(active || self.server.nodes.as_ref().is_some_and(|nodes| !nodes.may_hold_back()));
            session.set_active(active, Instant::now());
        }
    }

    async fn enable(&mut self, request: EnableRequest, session: &mut Session) {
        if request.is_resumable() {
            let smid = self.shares.as_ref().map(|shares| shares.smid().clone());
            self.registration = smids::register(&self.server, smid, session.owner(), &self.handle);
            self.share(session.owner().clone()).await;
        }
        let smid = self.registration.as_ref().map(|registration| registration.smid().clone());
        let _ = session.accept_enable(request, smid, Instant::now());
        self.takes_mail_from_now_on();
        self.free_place(session);
    }

    fn resumed(&mut self, session: &mut Session) {
        self.server.router.set_connected(self.id, &self.jid, session.connection().map(|connection| connection.number));
        self.free_place(session);
    }

    /// The connection of a session that is registered needs no place of its account: the store counts it.
    fn free_place(&self, session: &mut Session) {
        if let Some(connection) = session.connection_mut().filter(|_| self.registration.is_some()) {
            connection.place = None;
        }
    }

    pub(super) fn left(&mut self, connection: Box<Connection>, parting: Parting, session: &Session) {
        self.added.measure(&self.server, session); // why it was left is known of the last time only
        self.csi.restart();
        self.server.router.set_connected(self.id, &self.jid, None);
        part(connection, parting, self.server.clone());
    }

    /// Another stream binds the resource, and waits.
    pub fn replace(&mut self, waited: Waited, session: &mut Session) {
        self.until_over.push(waited);
        session.close(EndReason::Replaced, None, Instant::now());
    }

    /// The session is over. What its client did not get goes where it would have gone without it: first what the session
    /// had, then what waits in the mailbox.
    pub(super) async fn over(
        mut self: Box<Self>,
        mut ended: SessionEnded<Written>,
        session: Session,
        mut mailbox: Mailbox,
    ) {
        self.added.measure(&self.server, &session);
        drop(session);
        self.server.metrics.iter().for_each(|metrics| metrics.end(ended.reason));
        let left = Box::pin(self.end_in_time(&mut ended, &mut mailbox)).await;
        // Not before: a client that asks for it meanwhile would have this node bring it here once more.
        smids::end(&self.server, self.registration.as_ref(), &ended);
        let left = left.into_iter().chain(self.csi.into_held());
        for taker in self.server.router.end((self.id, &self.jid), ended.reason, left, mailbox) {
            login::hand_over(taker, &self.server);
        }
    }
}
