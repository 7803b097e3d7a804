//! Two peers and the wire between them, on a virtual clock: no socket, no sleep.
//!
//! Client and server are real [`StreamMgmt`]s that hold wire text as their stanzas. What one writes lies on
//! a link until it is delivered; then it is parsed and goes through [`Inbound::from_element`]. Around each
//! state is a host that does what the crate's documentation asks of a host (`host.rs`), the server's with a
//! real [`MemoryStore`].
//!
//! A test calls what the peers do and reads the transcript of what was on the wire:
//!
//! ```text
//! let mut net = Net::new(quiet());
//! let juliet = net.connect("juliet@capulet.lit");
//! net.enable(juliet);
//! net.expect("
//!     C: <enable resume='true' max='600'/>
//!     S: <enabled id='sm-1' resume='true' max='600'/>
//! ");
//! net.server_sends(juliet, "<message id='m1'/>");
//! net.cut(juliet);                            // the message is lost
//! let again = net.resume(juliet);             // a new connection, the second
//! net.expect("
//!     S: <message id='m1'/>
//!     -- cut, lost 1 of the server
//!     C2: <resume previd='sm-1' h='0'/>
//!     S2: <resumed previd='sm-1' h='0'/>
//!     S2: <message id='m1'/>
//! ");
//! ```
//!
//! [`expect`](Net::expect) delivers everything first; [`written`](Net::written) delivers nothing. The first
//! session gets the SM-ID `sm-1`, and so on. Namespaces are left out where they are as expected: see `wire.rs`.

mod acts;
mod host;
mod link;
mod look;
mod server;
pub mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Condition, Config, Detached, EndReason, Error, MemoryStore, Parts, SessionStore, SmId, StreamMgmt};

use super::{quiet, secs};

pub use host::{Peer, Place};
pub use look::{Back, state_of};

/// A connection, by its number in transcripts.
pub type Conn = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// One connection: its two peers, and what each has written that is not delivered yet.
struct Connection {
    owner: String,
    peers: [Peer; 2],
    on_the_way: [VecDeque<String>; 2],
    is_cut: bool,
}

/// See the [module](self).
pub struct Net {
    pub server_config: Arc<Config>,
    pub client_config: Arc<Config>,
    pub store: MemoryStore<Conn>,
    /// The SM-IDs of the sessions to come; then `sm-1`, `sm-2`.
    pub smids: VecDeque<SmId>,
    /// The server refuses `<enable/>` with this.
    pub refuse_enable: Option<Condition>,
    /// The server's host takes its time: a `<resume/>` is answered by [`answer_resume`](Net::answer_resume).
    pub slow_lookup: bool,
    /// What either side's host was told to be wrong.
    pub errors: Vec<(Side, Error)>,
    base: Instant,
    now: Instant,
    named: u32,
    switched_off: bool,
    connections: Vec<Connection>,
    log: Vec<String>,
    read: usize,
    back: Vec<Back>,
    client_back: Vec<Back>,
    undelivered: Vec<String>,
    endings: Vec<(Conn, EndReason)>,
}

/// Making the net and its connections.
impl Net {
    /// A server with these options; clients are [`quiet`].
    pub fn new(server: Config) -> Self {
        Self::with(server, quiet())
    }

    pub fn with(server: Config, client: Config) -> Self {
        let base = Instant::now();
        Self {
            store: MemoryStore::new(&server),
            server_config: Arc::new(server),
            client_config: Arc::new(client),
            smids: VecDeque::new(),
            refuse_enable: None,
            slow_lookup: false,
            errors: Vec::new(),
            base,
            now: base,
            named: 0,
            switched_off: false,
            connections: Vec::new(),
            log: Vec::new(),
            read: 0,
            back: Vec::new(),
            client_back: Vec::new(),
            undelivered: Vec::new(),
            endings: Vec::new(),
        }
    }

    /// A server on which stream management is switched off.
    pub fn switched_off() -> Self {
        Self { switched_off: true, ..Self::new(quiet()) }
    }

    /// The next session gets this SM-ID.
    pub fn name_session(&mut self, smid: &str) {
        self.smids.push_back(SmId::new(smid).expect("a valid SM-ID"));
    }

    /// A new connection, as far as the stream headers.
    pub fn open(&mut self, owner: &str) -> Conn {
        let client = StreamMgmt::client(self.client_config.clone());
        self.open_with(owner, client)
    }

    fn open_with(&mut self, owner: &str, client: StreamMgmt<String>) -> Conn {
        let config = self.server_config.clone();
        let server = if self.switched_off { StreamMgmt::disabled(config) } else { StreamMgmt::server(config) };
        let peers = [Peer::new(client), Peer::new(server)];
        self.connections.push(Connection { owner: owner.into(), peers, on_the_way: Default::default(), is_cut: false });
        self.connections.len()
    }

    pub fn authenticate(&mut self, conn: Conn) {
        for side in Side::BOTH {
            self.stream_mut(conn, side).authenticated();
        }
    }

    /// Binds a resource. The exchange is not on the wire here.
    pub fn bind(&mut self, conn: Conn) {
        for side in Side::BOTH {
            self.stream_mut(conn, side).bound();
        }
    }

    /// A new connection, authenticated and bound.
    pub fn connect(&mut self, owner: &str) -> Conn {
        let conn = self.open(owner);
        self.authenticate(conn);
        self.bind(conn);
        conn
    }

    /// A new connection on which stream management is on. Its transcript so far is taken as read.
    pub fn login(&mut self, owner: &str) -> Conn {
        let conn = self.connect(owner);
        self.enable(conn);
        self.run();
        assert!(self.server(conn).is_enabled() && self.client(conn).is_enabled(), "{:#?}", self.log);
        self.read = self.log.len();
        conn
    }

    /// A connection of a client that counts nothing and says nothing by itself: a test writes for it. The
    /// server has taken it for a client that enabled stream management, with resumption.
    pub fn login_silent(&mut self, owner: &str) -> Conn {
        let conn = self.connect(owner);
        self.client_writes(conn, "<enable resume='true'/>");
        self.run();
        assert!(self.server(conn).is_enabled(), "{:#?}", self.log);
        self.read = self.log.len();
        self.errors.clear();
        conn
    }

    /// A new connection, authenticated and not bound, on which such a client asks for a session.
    pub fn silent_resume(&mut self, owner: &str, previd: &str, h: u32) -> Conn {
        let conn = self.open(owner);
        self.authenticate(conn);
        self.client_writes(conn, &format!("<resume previd='{previd}' h='{h}'/>"));
        conn
    }

    /// The client asks for stream management.
    pub fn enable(&mut self, conn: Conn) {
        let enable = self.stream_mut(conn, Side::Client).enable().expect("it is bound");
        self.write(conn, Side::Client, &enable.to_string());
    }

    /// The client comes back on a new connection and asks for the session that it had.
    pub fn resume(&mut self, old: Conn) -> Conn {
        let session = match self.take_place(old, Side::Client) {
            Place::Detached(session) => session,
            other => panic!("the client has no detached session: {other:?}"),
        };
        let conn = self.resume_with(&self.owner(old), session);
        self.connections[conn - 1].peers[0].got = std::mem::take(&mut self.peer_mut(old, Side::Client).got);
        self.peer_mut(old, Side::Client).place = Place::MovedTo(conn);
        conn
    }

    /// A client with this session asks for it on a new connection.
    pub fn resume_with(&mut self, owner: &str, session: Detached<String>) -> Conn {
        let (client, resume) = StreamMgmt::resume(self.client_config.clone(), session).expect("all is settled");
        let conn = self.open_with(owner, client);
        self.authenticate(conn);
        self.write(conn, Side::Client, &resume.to_string());
        conn
    }

    /// Where the store says that a session is.
    pub fn registered(&self, smid: &SmId, owner: &str) -> Option<Conn> {
        let found = self.store.lookup(smid, owner, self.now).expect("memory does not fail");
        found.session().ok().map(|record| record.handle)
    }

    /// Both sides of a session that has come so far: the server waits for the client to resume it.
    ///
    /// `handled` is what each side has handled of the other, and has told so; nothing is unacknowledged.
    /// Gives the session of the client, and the connection that the server thinks of as its last one.
    pub fn started_at(&mut self, owner: &str, client_sent: u32, server_sent: u32) -> (Conn, Detached<String>) {
        let smid = self.next_smid();
        let deadline = Some(self.now + secs(600));
        let parts = |h: u32, acked: u32| Parts {
            smid: smid.clone(),
            deadline,
            resume_timeout: Some(secs(600)),
            h: h.into(),
            acked: acked.into(),
            unacked: Vec::new(),
        };
        let server = Detached::from_parts(self.server_config.clone(), parts(client_sent, server_sent));
        let client = Detached::from_parts(self.client_config.clone(), parts(server_sent, client_sent));
        let conn = self.open(owner);
        let _ = self.take_place(conn, Side::Client);
        let registered = self.store.register(&smid, &owner.into(), conn, self.now).expect("room in the store");
        let peer = self.peer_mut(conn, Side::Server);
        peer.place = Place::Detached(server.expect("few stanzas"));
        peer.registration = Some(registered.registration);
        self.connections[conn - 1].is_cut = true;
        (conn, client.expect("few stanzas"))
    }
}
