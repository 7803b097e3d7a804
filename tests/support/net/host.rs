//! What a host does around a `StreamMgmt`: it obeys.

use std::time::Instant;

use minidom::Element;
use xmpp_sm::{
    Action, Closing, Detached, Disconnected, EnableRequest, EndReason, Ended, Error, Inbound, Nonza, Reaction, Receipt,
    Registration, ResumeRequest, SessionStore, StreamMgmt,
};

use super::{Conn, Net, Side, wire};

/// One side of one connection.
#[derive(Debug)]
pub struct Peer {
    pub place: Place,
    /// The names of the stanzas that it got, in this and the earlier connections of its session.
    pub got: Vec<String>,
    /// Receipts are kept.
    pub holds: bool,
    pub held: Vec<Receipt>,
    /// The server's registration of the session.
    pub registration: Option<Registration>,
    /// A `<resume/>` that is not answered yet. Nothing is read from the client meanwhile.
    pub pending: Option<Pending>,
    /// The peer has announced the end of the stream with an error.
    told_error: bool,
}

/// Where the session of a connection is.
#[derive(Debug)]
pub enum Place {
    /// Here.
    Live(StreamMgmt<String>),
    /// Here, and this side has closed the stream, for this reason. The peer has not.
    Closing(Closing<String>, EndReason),
    /// Here, and the connection is lost.
    Detached(Detached<String>),
    /// On a later connection.
    MovedTo(Conn),
    /// Nowhere: it has ended.
    Gone,
}

#[derive(Debug)]
pub struct Pending {
    pub request: ResumeRequest,
}

impl Peer {
    pub fn new(stream: StreamMgmt<String>) -> Self {
        Self {
            place: Place::Live(stream),
            got: Vec::new(),
            holds: false,
            held: Vec::new(),
            registration: None,
            pending: None,
            told_error: false,
        }
    }
}

/// Both sides.
impl Net {
    /// An element has arrived. Returns whether this side still listens.
    pub(super) fn takes(&mut self, conn: Conn, side: Side, element: &Element) -> bool {
        let inbound = Inbound::from_element(element, "jabber:client");
        let (now, is_error) = (self.now, matches!(inbound, Inbound::StreamError { .. }));
        let peer = self.peer_mut(conn, side);
        peer.told_error |= is_error;
        match &mut peer.place {
            Place::Live(stream) => match stream.handle(inbound, now) {
                Ok(action) => self.obey(conn, side, action, element),
                Err(error) => self.went_wrong(conn, side, error),
            },
            Place::Closing(closing, _) => {
                closing.handle(&inbound);
            }
            Place::Detached(_) | Place::MovedTo(_) | Place::Gone => return false,
        }
        true
    }

    fn obey(&mut self, conn: Conn, side: Side, action: Action<String>, element: &Element) {
        match action {
            Action::Deliver(receipt) => {
                let name = element.attr("id").map_or_else(|| wire::line(element), str::to_owned);
                let peer = self.peer_mut(conn, side);
                peer.got.push(name);
                if peer.holds {
                    peer.held.push(receipt);
                } else {
                    self.settle(conn, side, receipt);
                }
            }
            Action::Other | Action::Acknowledged(_) | Action::Enabled(_) => {}
            Action::Write(nonza) => self.write_all(conn, side, [nonza]),
            Action::Enable(request) => self.answer_enable(conn, request),
            Action::Resume(request) if self.slow_lookup => {
                self.peer_mut(conn, side).pending = Some(Pending { request });
            }
            Action::Resume(request) => self.take_over(conn, request),
            Action::Resumed(request) => self.resend(conn, side, request),
            Action::Failed(_, ended) => self.hand_back(conn, side, *ended),
            other => panic!("a host does not know what to do about {other:?}"),
        }
    }

    /// Writes what a resumed session holds, and then what comes after it.
    pub(super) fn resend(&mut self, conn: Conn, side: Side, after: Option<Nonza>) {
        let unacked: Vec<_> = self.stream(conn, side).unacked().map(|queued| queued.stanza.clone()).collect();
        for stanza in unacked {
            self.write(conn, side, &stanza);
        }
        self.write_all(conn, side, after);
    }

    /// Gives a receipt back to its session, wherever that is.
    pub(super) fn settle(&mut self, conn: Conn, side: Side, receipt: Receipt) {
        let answer = match &mut self.peer_mut(conn, side).place {
            Place::Live(stream) => stream.record_handled(receipt).expect("it is this session's"),
            Place::Detached(session) => {
                session.record_handled(receipt).expect("it is this session's");
                None
            }
            other => panic!("no session to settle with: {other:?}"),
        };
        self.write_all(conn, side, answer);
    }

    pub(super) fn went_wrong(&mut self, conn: Conn, side: Side, error: Error) {
        self.errors.push((side, error));
        self.react(conn, side, error.reaction());
    }

    fn react(&mut self, conn: Conn, side: Side, reaction: Reaction) {
        match reaction {
            Reaction::Nothing => {}
            Reaction::Later => panic!("the host has not kept the order of calls"),
            Reaction::Write(nonza) => self.write_all(conn, side, [nonza]),
            Reaction::Close(last) => {
                let mut out = bytes::BytesMut::new();
                last.write_to(&mut out);
                out.extend_from_slice(b"</stream:stream>");
                self.write(conn, side, std::str::from_utf8(&out).expect("text"));
                self.end(conn, side, last.reason);
            }
            Reaction::Detach => {
                self.connections[conn - 1].is_cut = true;
                self.connections[conn - 1].on_the_way = Default::default();
                self.log.push(format!(
                    "-- the {} gives the connection up",
                    if side == Side::Client { "client" } else { "server" }
                ));
                self.disconnected(conn, side);
            }
        }
    }

    pub(super) fn sends(&mut self, conn: Conn, side: Side, stanza: &str) {
        let conn = self.whereabouts(conn, side);
        let now = self.now;
        match &mut self.peer_mut(conn, side).place {
            Place::Live(stream) => match stream.record_sent(stanza.to_owned(), now) {
                Ok(sent) => {
                    self.write(conn, side, stanza);
                    self.write_all(conn, side, sent.write);
                    for returned in sent.evicted.into_iter().flatten() {
                        self.note_back(conn, side, None, returned);
                    }
                }
                Err(refused) => {
                    let reaction = refused.reaction();
                    self.undelivered.push(refused.stanza);
                    self.react(conn, side, reaction);
                }
            },
            Place::Detached(session) => {
                if let Err(full) = session.record_sent(stanza.to_owned(), now) {
                    self.undelivered.push(full.stanza);
                }
            }
            Place::Closing(..) | Place::MovedTo(_) | Place::Gone => self.undelivered.push(stanza.to_owned()),
        }
    }

    /// This side closes the stream in good order.
    pub(super) fn finish(&mut self, conn: Conn, side: Side) {
        match self.take_place(conn, side) {
            Place::Live(stream) => {
                let (last, closing) = stream.finish();
                self.write_all(conn, side, last);
                self.write(conn, side, wire::CLOSE);
                self.put_place(conn, side, Place::Closing(closing, EndReason::Closed));
            }
            other => self.put_place(conn, side, other),
        }
    }

    /// The other side has closed the stream.
    pub(super) fn peer_closed(&mut self, conn: Conn, side: Side) {
        if !self.peer(conn, side).told_error {
            self.finish(conn, side);
        }
        self.disconnected(conn, side);
    }

    /// This side has no connection any more.
    pub(super) fn disconnected(&mut self, conn: Conn, side: Side) {
        match self.take_place(conn, side) {
            Place::Live(stream) => match stream.disconnect(self.now) {
                Disconnected::Resumable(session) => self.put_place(conn, side, Place::Detached(session)),
                Disconnected::Ended(ended) => self.hand_back(conn, side, ended),
            },
            Place::Closing(closing, reason) => self.hand_back(conn, side, closing.end(reason)),
            other => self.put_place(conn, side, other),
        }
    }

    /// This side ends its session.
    pub(super) fn end(&mut self, conn: Conn, side: Side, reason: EndReason) {
        let ended = match self.take_place(conn, side) {
            Place::Live(stream) => stream.end(reason),
            Place::Detached(session) => session.end(reason),
            other => return self.put_place(conn, side, other),
        };
        self.hand_back(conn, side, ended);
    }

    /// Takes what a session leaves behind: its stanzas, and its record in the store.
    pub(super) fn hand_back(&mut self, conn: Conn, side: Side, ended: Ended<String>) {
        let Ended { reason, h, unacked, .. } = ended;
        if side == Side::Server {
            self.endings.push((conn, reason));
            if let Some(registration) = self.peer_mut(conn, side).registration.take() {
                let done = match reason {
                    EndReason::Closed => self.store.remove(&registration),
                    _ => self.store.retire(&registration, h, self.now),
                };
                done.expect("memory does not fail");
            }
        }
        for returned in unacked {
            self.note_back(conn, side, Some(reason), returned);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let peers = self.connections.iter().flat_map(|connection| &connection.peers);
        let due = peers.filter_map(|peer| match &peer.place {
            Place::Live(stream) => stream.poll_timeout(),
            Place::Detached(session) => session.deadline(),
            Place::Closing(..) | Place::MovedTo(_) | Place::Gone => None,
        });
        due.chain(self.store.next_sweep()).min()
    }

    /// Does what is due.
    pub(super) fn fire(&mut self) {
        let now = self.now;
        for conn in 1..=self.connections.len() {
            for side in Side::BOTH {
                match self.take_place(conn, side) {
                    Place::Live(mut stream) => {
                        let done = stream.handle_timeout(now);
                        self.put_place(conn, side, Place::Live(stream));
                        match done {
                            Ok(request) => self.write_all(conn, side, request),
                            Err(error) => self.went_wrong(conn, side, error),
                        }
                    }
                    Place::Detached(session) => match session.expire(now) {
                        Ok(ended) => self.hand_back(conn, side, ended),
                        Err(session) => self.put_place(conn, side, Place::Detached(session)),
                    },
                    other => self.put_place(conn, side, other),
                }
            }
        }
        for _ in 0..1000 {
            if self.store.next_sweep().is_none_or(|due| due > now) {
                return;
            }
            let _ = self.store.sweep(now);
        }
        panic!("the same sweep is due again and again");
    }
}
