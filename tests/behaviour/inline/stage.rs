//! A server with one client at a time, whose sessions live on a table, and what it writes, as text.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use minidom::Element;
use xmpp_sm::{
    Arrival, AuthenticateError, Condition, Config, Early, Event, InlineBind, InlineElements, InlineSuccess, LoginStep,
    Lookup, MemoryStore, Nonza, Offer, Parting, Refusal, Refused, Replay, Session, SessionStore, SmId, Taker, Unbound,
    Write,
};

use super::host::{InlineHost, inline_login, success};

pub const OWNER: &str = "user@example.com";
pub const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' max='600'/>";

/// A connection: what was written to it.
#[derive(Debug, Default)]
pub struct Conn {
    pub written: Vec<String>,
}

impl Conn {
    fn write_success(&mut self, jid: &str, sm: InlineSuccess) {
        let features = sm.features;
        self.written.push(String::from(&success(jid, Some("ZGF0YQ=="), sm)));
        let offer = |Offer { binds, stream_management: sm }| format!("features bind={binds} sm={sm}");
        self.written.extend(features.map(offer));
    }
}

/// A session, with the full JID that the host keeps for it.
pub struct Member {
    pub jid: String,
    pub session: Session<&'static str, Conn>,
}

pub struct Stage {
    pub config: Arc<Config>,
    pub now: Instant,
    pub sm: bool,
    /// The store has no room.
    pub is_full: bool,
    /// The store does not answer.
    pub is_silent: bool,
    pub members: Mutex<Vec<Member>>,
    store: MemoryStore<usize>,
    /// The connection of which the authentication failed in the end.
    failed: Mutex<Option<Conn>>,
}

/// What has become of an authenticated stream.
pub enum Outcome {
    /// It has a session: its place.
    Session(usize),
    /// It has none.
    Login(Unbound, Conn),
    /// The authentication has failed.
    Failed(Conn),
}

impl Stage {
    pub fn new(config: Config) -> Self {
        let store = MemoryStore::new(&config);
        let now = Instant::now();
        let (config, members, failed) = (Arc::new(config), Mutex::default(), Mutex::default());
        Self { config, now, sm: true, is_full: false, is_silent: false, members, store, failed }
    }

    /// A client that proves to be this owner, after an `<authenticate/>` with these children.
    pub fn authenticate(&self, owner: &str, children: &str) -> Outcome {
        self.authenticate_as(owner, children, Replay::Impossible).unwrap()
    }

    pub fn authenticate_as(&self, owner: &str, children: &str, replay: Replay) -> Result<Outcome, AuthenticateError> {
        let inline = InlineElements::from_authenticate(&authenticate(children))?;
        let step = match self.sm {
            true => inline.authenticated(self.config.clone(), owner, replay, self.now),
            false => inline.authenticated_disabled(self.config.clone(), owner, replay, self.now),
        };
        Ok(self.continue_login(step, Conn::default()))
    }

    pub fn continue_login(&self, step: LoginStep, conn: Conn) -> Outcome {
        let before: Vec<_> =
            self.members.lock().unwrap().iter().map(|member| member.session.connection().is_some()).collect();
        match block_on(inline_login(step, conn, self)) {
            Some((stream, conn)) => Outcome::Login(stream, conn),
            None => {
                if let Some(conn) = self.failed.lock().unwrap().take() {
                    return Outcome::Failed(conn);
                }
                let members = self.members.lock().unwrap();
                let is_new = |at: usize| members[at].session.connection().is_some() && before.get(at) != Some(&true);
                Outcome::Session((0..members.len()).find(|at| is_new(*at)).expect("a session with the connection"))
            }
        }
    }

    /// The text that a session has written to its connection since it was asked last.
    pub fn written(&self, at: usize) -> Vec<String> {
        let Member { jid, session } = &mut self.members.lock().unwrap()[at];
        while let Some((conn, item)) = session.next_write(self.now) {
            match item {
                Write::Success(success) => conn.write_success(jid, *success),
                Write::Stanza { stanza, .. } => conn.written.push((*stanza).to_owned()),
                Write::Nonza(nonza) => conn.written.push(nonza.to_string()),
                Write::StreamError(error) => conn.written.push(format!("error {}", error.condition())),
                Write::Close => conn.written.push("close".to_owned()),
                Write::Flush => conn.written.push("flush".to_owned()),
            }
        }
        session.connection_mut().map(|conn| std::mem::take(&mut conn.written)).unwrap_or_default()
    }

    /// A session of this owner with this SM-ID, connected, to which some messages were sent.
    pub fn session(&self, owner: &str, sent: &[&'static str]) -> usize {
        let bind =
            "<bind xmlns='urn:xmpp:bind:0'><tag>former</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";
        let Outcome::Session(at) = self.authenticate(owner, bind) else { panic!() };
        for stanza in sent {
            self.members.lock().unwrap()[at].session.send(stanza, self.now).unwrap();
        }
        self.written(at);
        at
    }

    /// The same, after its connection is lost.
    pub fn lost_session(&self, owner: &str, sent: &[&'static str]) -> usize {
        let at = self.session(owner, sent);
        self.lose(at);
        at
    }

    pub fn lose(&self, at: usize) {
        let session = &mut self.members.lock().unwrap()[at].session;
        session.lost(self.now);
        assert!(matches!(session.poll(), Some(Event::Left { parting: Parting::Drop, .. })));
    }

    /// The peer's stanza, settled at once.
    pub fn handle_stanza(&self, at: usize) {
        let session = &mut self.members.lock().unwrap()[at].session;
        let stanza: Element = "<message xmlns='jabber:client'/>".parse().unwrap();
        let Ok(Arrival::Stanza(receipt)) = session.handle(session.inbound(&stanza), self.now) else { panic!() };
        session.settle(receipt, self.now).unwrap();
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

pub fn authenticate(children: &str) -> Element {
    let xml = format!("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'>{children}</authenticate>");
    xml.parse().unwrap()
}

/// The stage stands in for the tasks of the sessions, too.
impl InlineHost for Stage {
    type Connection = Conn;
    type Jid = String;

    fn resume(&self, taker: Taker<Conn>) -> Option<Refused<Conn>> {
        if self.is_silent {
            return Some(taker.refuse(Refusal::Because(Condition::InternalServerError)));
        }
        let found = self.store.lookup(taker.previd(), taker.owner(), self.now);
        let at = match found.map_or(Err(Refusal::NotFound), Lookup::session) {
            Err(refusal) => return Some(taker.refuse(refusal)),
            Ok(found) => found.handle,
        };
        let session = &mut self.members.lock().unwrap()[at].session;
        session.take(taker, self.now);
        while let Some(event) = session.poll() {
            match event {
                Event::Refused(refused) => return Some(refused),
                Event::Resumed | Event::Left { .. } | Event::Ended(_) => {}
                other => panic!("{other:?}"),
            }
        }
        None
    }

    fn choose(&self, _: &Conn, request: &InlineBind) -> Option<String> {
        let (owner, bind) = (request.owner(), request.element());
        let tag = bind.get_child("tag", "urn:xmpp:bind:0").map(Element::text).unwrap_or("resource".to_owned());
        (tag != "none").then(|| format!("{owner}/{tag}"))
    }

    async fn bind(&self, request: InlineBind, connection: Conn, jid: String) {
        let mut session = request.bind(connection, self.now);
        while let Some(event) = session.poll() {
            let Event::Enable(request) = event else { panic!("{event:?}") };
            assert!(session.next_write(self.now).is_none(), "nothing is written before <success/> is complete");
            if self.is_full {
                session.refuse_enable(request, Condition::InternalServerError, self.now).unwrap();
                continue;
            }
            let smid = request.is_resumable().then(|| SmId::new("some-long-sm-id").unwrap());
            if let Some(smid) = &smid {
                let at = self.members.lock().unwrap().len();
                let _ = self.store.register(smid, session.owner(), at, self.now).unwrap();
            }
            session.accept_enable(request, smid, self.now).unwrap();
        }
        self.members.lock().unwrap().push(Member { jid, session });
    }

    fn fail(&self, connection: Conn) {
        *self.failed.lock().unwrap() = Some(connection);
    }

    fn write_success(&self, connection: &mut Conn, jid: &str, success: InlineSuccess) {
        assert!(success.features.is_some_and(|features| features.binds), "there is no session");
        connection.write_success(jid, success);
    }

    fn write_failed(&self, connection: &mut Conn, _: &str, failed: Nonza) {
        connection.written.push(failed.to_string());
    }
}

/// Early data is asked about once; what an [`Unbound`] says otherwise is looked at here.
pub fn early(stream: &mut Unbound, xml: &str, now: Instant) -> Early {
    let element: Element = xml.parse().unwrap();
    stream.handle(stream.inbound(&element), now).unwrap()
}
