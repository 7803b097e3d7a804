//! The counting of stream management, done again from the wire log by somebody who is neither of the two sides: which
//! stanza had which number in which session, and who acknowledged how many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::journal::Message;
use crate::record::{BOTH, Dir};
use crate::wire::{Connection, Item, What};

/// One time that a message was written.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    pub message: Message,
    pub connection: usize,
    /// None: stream management was not on.
    pub number: Option<u32>,
    pub forwarded: bool,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// The session on it: an index into `Ledger::sessions`.
    pub session: Option<usize>,
    /// `<enabled/>` or `<resumed/>` went through to the client.
    pub up: bool,
    pub resumed: bool,
    /// The client asked to resume this session, with this h.
    pub asked: Option<(String, u32)>,
    /// It did so right after its authentication. What comes out of turn may have ended the stream before.
    pub in_turn: bool,
    pub failed: Option<Option<u32>>,
    /// h of a `<resume/>` that was granted: what the server sends on this connection has the numbers after it.
    pub client_h: u32,
    /// h of `<resumed/>`: the same for the client.
    pub server_h: u32,
    /// The number of the client's last stanza that went through.
    pub last_up: u32,
    /// The number of the server's last stanza.
    pub last_down: u32,
    pub error_by_server: Option<String>,
    pub error_by_client: Option<String>,
    /// The server was the first to end the stream.
    pub closed_by_server: bool,
    /// What went through to the server ended inside an element.
    pub torn: bool,
    /// The server has acknowledged something before the client was gone.
    pub acked: bool,
    /// How long the client's first `<r/>` behind the server's last `<a/>` had waited when the client left.
    pub silence: Duration,
}

#[derive(Debug, Default)]
pub struct Session {
    pub id: String,
    pub began: Option<Instant>,
    /// The server has said that it can be.
    pub resumable: bool,
    /// The resume timeout that the server grants.
    pub max: Option<u32>,
    /// Its connections, in order.
    pub links: Vec<usize>,
    pub server: Told,
    pub client: Told,
}

/// What one side has told of what it handled, over the life of a session.
#[derive(Debug, Default)]
pub struct Told {
    /// The greatest h, in a, resume, resumed or failed.
    pub h: u32,
    /// The same, of what reached the other side in time.
    pub arrived: u32,
    /// How many stanzas the other side has sent.
    sent: u32,
    /// An h that cannot be.
    pub wrong: Option<String>,
}

impl Told {
    fn tell(&mut self, h: u32, sent: u32, arrived: bool) {
        if h > sent {
            self.wrong = Some(format!("h={h} when {sent} were sent"));
        } else if h < self.h {
            self.wrong = Some(format!("h={h} after h={}", self.h));
        } else {
            self.h = h;
            self.arrived = if arrived { h } else { self.arrived };
        }
    }

    /// On a new connection: of what was sent on those before.
    fn tell_again(&mut self, h: u32, arrived: bool) {
        self.tell(h, self.sent, arrived);
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub to_server: Vec<Sending>,
    pub to_client: Vec<Sending>,
    pub links: Vec<Link>,
    pub sessions: Vec<Session>,
    /// Numbers under which two stanzas were written, and by which side: what is sent again is what was sent.
    pub mixed: Vec<(Dir, String)>,
    /// Connections on which a side wrote what is no XML.
    pub malformed: Vec<(Dir, usize)>,
    /// The stanza of each number, if it is a message of the conversation: by session and direction.
    numbered: HashMap<(usize, Dir, u32), Option<Message>>,
}

impl Ledger {
    pub fn new(connections: &[Connection], tag: &str, resets: &[usize]) -> Self {
        let mut ledger = Self::default();
        for (index, connection) in connections.iter().enumerate() {
            let link = ledger.link(index, connections);
            ledger.links.push(link);
            let is_malformed = |dir: &Dir| connection.items(*dir).iter().any(|item| item.what == What::Malformed);
            ledger.malformed.extend(BOTH.into_iter().filter(is_malformed).map(|dir| (dir, index)));
            ledger.count(index, connection, tag);
            ledger.acknowledge(index, connection, resets.contains(&index));
        }
        ledger
    }

    /// How often a session came up again.
    pub fn resumes(&self) -> usize {
        self.links.iter().filter(|link| link.up && link.resumed).count()
    }

    /// Every time that this message was written in one direction.
    pub fn sendings(&self, dir: Dir, message: Message) -> Vec<Sending> {
        let all = if dir == Dir::ToServer { &self.to_server } else { &self.to_client };
        all.iter().filter(|sending| sending.message == message).copied().collect()
    }

    /// How far the receiver of this direction had got when the connection was over: the h with which the session was
    /// resumed next, or was refused; none if that never came.
    pub fn handled(&self, dir: Dir, connection: usize) -> Option<u32> {
        self.resumed_with(dir, connection).or_else(|| self.refused_with(dir, connection))
    }

    pub fn resumed_with(&self, dir: Dir, connection: usize) -> Option<u32> {
        let session = self.links[connection].session?;
        let later = self.sessions[session].links.iter().find(|index| **index > connection)?;
        let next = &self.links[*later];
        Some(if dir == Dir::ToServer { next.server_h } else { next.client_h })
    }

    fn refused_with(&self, dir: Dir, connection: usize) -> Option<u32> {
        let session = self.links[connection].session?;
        let id = &self.sessions[session].id;
        let refused = |link: &&Link| link.asked.as_ref().is_some_and(|(asked, _)| asked == id) && link.failed.is_some();
        let refused = self.links.iter().skip(connection).find(refused)?;
        if dir == Dir::ToServer { refused.failed? } else { refused.asked.as_ref().map(|(_, h)| *h) }
    }

    /// A server that reads a resumed session with the XML parser of an old stream takes what comes after an unfinished
    /// stanza for the content of that stanza: it acknowledges nothing more. The connection that ended with the stanza,
    /// and the last one of the session.
    pub fn deaf(&self, session: usize) -> Option<(usize, usize)> {
        let (last, before) = self.sessions[session].links.split_last()?;
        let torn = before.iter().rposition(|link| self.links[*link].torn)?;
        let silent = self.sessions[session].links[torn + 1..].iter().all(|link| !self.links[*link].acked);
        silent.then_some((before[torn], *last))
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.sessions.iter().position(|session| session.id == id)
    }

    fn link(&mut self, index: usize, connections: &[Connection]) -> Link {
        let connection = &connections[index];
        let mut link = Link { torn: connection.torn, ..Link::default() };
        let end = |items: &[Item]| items.iter().find(|item| item.what == What::Footer).map(|item| item.at);
        link.closed_by_server = match (end(&connection.to_server), end(&connection.to_client)) {
            (Some(by_client), Some(by_server)) => by_server < by_client,
            (_, by_server) => by_server.is_some(),
        };
        let closed = end(&connection.to_server);
        let back = || connections[index + 1..].iter().find_map(|next| next.to_server.first());
        let gone = closed.or_else(|| back().map(|item| item.at));
        let in_time = |item: &&Item| gone.is_none_or(|gone| item.at < gone);
        let mut acks = connection.to_client.iter().filter(|item| matches!(item.what, What::Ack { .. })).filter(in_time);
        let acked = acks.next_back().map(|item| item.at);
        link.acked = acked.is_some();
        let requests = connection.to_server.iter().filter(|item| item.what == What::Request);
        let unanswered = requests.map(|item| item.at).find(|at| acked.is_none_or(|acked| *at > acked));
        link.silence = unanswered.zip(gone).map_or(Duration::ZERO, |(since, until)| until.duration_since(since));
        for (at, item) in connection.to_server.iter().enumerate() {
            match &item.what {
                What::Resume { previd, h } => {
                    link.asked = Some((previd.clone(), *h));
                    let headers = connection.to_server[..at].iter().filter(|item| item.what == What::Header);
                    let before = &connection.to_server[at - 1].what;
                    link.in_turn = match before {
                        What::Header => headers.count() == 2,
                        before => *before == What::Authenticate,
                    };
                }
                What::StreamError { condition } => link.error_by_client = Some(condition.clone()),
                _ => {}
            }
        }
        for item in &connection.to_client {
            match &item.what {
                What::Enabled { id, resumable, max } => {
                    link.session = Some(self.sessions.len());
                    link.up = item.forwarded;
                    self.sessions.push(Session {
                        id: id.clone(),
                        began: Some(item.at),
                        resumable: *resumable,
                        max: *max,
                        links: vec![index],
                        ..Session::default()
                    });
                }
                What::Resumed { h } => {
                    let (id, client_h) = link.asked.clone().unwrap_or_default();
                    link.session = self.find(&id);
                    link.client_h = client_h;
                    (link.up, link.resumed, link.server_h) = (item.forwarded, true, *h);
                    if let Some(session) = link.session {
                        self.sessions[session].links.push(index);
                    }
                }
                What::Failed { h } => link.failed = Some(*h),
                // An error behind the client's end of the stream comes of that.
                What::StreamError { condition } if closed.is_none_or(|closed| item.at < closed) => {
                    link.error_by_server = Some(condition.clone());
                }
                _ => {}
            }
        }
        link
    }

    fn count(&mut self, index: usize, connection: &Connection, tag: &str) {
        let link = self.links[index].clone();
        let up_from = if link.resumed {
            position(&connection.to_server, |what| matches!(what, What::Resume { .. }))
        } else {
            position(&connection.to_server, |what| *what == What::Enable)
        };
        let down_from =
            position(&connection.to_client, |what| matches!(what, What::Enabled { .. } | What::Resumed { .. }));
        let sides = [
            (&connection.to_server, up_from, link.server_h, Dir::ToServer),
            (&connection.to_client, down_from, link.client_h, Dir::ToClient),
        ];
        for (items, from, base, dir) in sides {
            let mut number = base;
            for (at, item) in items.iter().enumerate() {
                let counted = link.session.is_some() && from.is_some_and(|from| at > from);
                number += u32::from(counted && item.what.is_stanza());
                match dir {
                    Dir::ToServer if item.forwarded => self.links[index].last_up = number,
                    Dir::ToClient => self.links[index].last_down = number,
                    Dir::ToServer => {}
                }
                let message = match &item.what {
                    What::Message { body } => Message::from_body(body, tag),
                    _ => None,
                };
                if let Some(session) = link.session.filter(|_| counted && item.what.is_stanza()) {
                    let first = *self.numbered.entry((session, dir, number)).or_insert(message);
                    if first != message {
                        let id = &self.sessions[session].id;
                        let why = format!("session {id}: number {number} was {first:?} and on #{index} is {message:?}");
                        self.mixed.push((dir, why));
                    }
                }
                if let Some(message) = message {
                    let number = counted.then_some(number);
                    let sending = Sending { message, connection: index, number, forwarded: item.forwarded };
                    match dir {
                        Dir::ToServer => self.to_server.push(sending),
                        Dir::ToClient => self.to_client.push(sending),
                    }
                }
            }
        }
    }

    /// Goes through the connection in the order of time, and holds each h against what was sent before it.
    /// After an RST it is not known whether the server had read the last of them.
    fn acknowledge(&mut self, index: usize, connection: &Connection, reset: bool) {
        let link = self.links[index].clone();
        // A refused h speaks of the session that was asked for.
        if let (Some((id, h)), Some(failed)) = (&link.asked, link.failed)
            && let Some(session) = self.find(id)
        {
            let session = &mut self.sessions[session];
            // It comes too late for the server to make use of it.
            session.client.tell_again(*h, false);
            if let Some(h) = failed {
                session.server.tell_again(h, true);
            }
        }
        let Some(session) = link.session else { return };
        let session = &mut self.sessions[session];
        let mut items: Vec<(Dir, &Item)> = Vec::new();
        items.extend(connection.to_server.iter().map(|item| (Dir::ToServer, item)));
        items.extend(connection.to_client.iter().map(|item| (Dir::ToClient, item)));
        items.sort_by_key(|(_, item)| item.at);
        let (mut by_client, mut by_server) = (link.server_h, link.client_h);
        let (mut client_on, mut server_on, mut closed) = (false, false, false);
        for (dir, item) in items {
            match (dir, &item.what) {
                (Dir::ToServer, What::Enable | What::Resume { .. }) => client_on = true,
                (Dir::ToClient, What::Enabled { .. }) => server_on = true,
                (Dir::ToClient, What::Resumed { h }) => {
                    server_on = true;
                    session.server.tell_again(*h, item.forwarded);
                    session.client.tell_again(link.client_h, true);
                }
                (Dir::ToClient, What::StreamError { .. } | What::Footer) => closed = true,
                (Dir::ToServer, what) if client_on && what.is_stanza() => by_client += 1,
                (Dir::ToClient, what) if server_on && what.is_stanza() => by_server += 1,
                (Dir::ToServer, What::Ack { h }) => {
                    session.client.tell(*h, by_server, item.forwarded && !reset && !closed);
                }
                (Dir::ToClient, What::Ack { h }) => session.server.tell(*h, by_client, item.forwarded),
                _ => {}
            }
        }
        session.server.sent = session.server.sent.max(by_client);
        session.client.sent = session.client.sent.max(by_server);
    }
}

fn position(items: &[Item], wanted: impl Fn(&What) -> bool) -> Option<usize> {
    items.iter().position(|item| wanted(&item.what))
}
