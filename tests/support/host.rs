//! What a host does around a `StreamMgmt`: it obeys.

use std::time::Instant;

use minidom::Element;
use xmpp_sm::{
    Action, Answer, Detached, Disconnected, EnableRequest, Ended, Ending, Epoch, Error, Nonza, Receipt, ResumeRequest,
    SessionStore, StreamMgmt,
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
    pub epoch: Option<Epoch>,
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

/// An [`Action`] that does not borrow the state.
pub enum Todo {
    Nothing,
    Deliver(Receipt),
    Write(Vec<String>),
    Enable(EnableRequest),
    Resume(ResumeRequest),
    Failed(Ended<String>),
    Wrong(Error),
}

impl From<Result<Action<'_, String>, Error>> for Todo {
    fn from(action: Result<Action<'_, String>, Error>) -> Self {
        match action {
            Ok(Action::Deliver(receipt)) => Self::Deliver(receipt),
            Ok(Action::Other | Action::Acked(_) | Action::Enabled(_)) => Self::Nothing,
            Ok(Action::Send(nonza)) => Self::Write(vec![nonza.to_string()]),
            Ok(Action::Enable(request)) => Self::Enable(request),
            Ok(Action::Resume(request)) => Self::Resume(request),
            Ok(Action::Resumed(resend)) => {
                let stanzas = resend.unacked.map(|queued| queued.stanza.clone());
                Self::Write(stanzas.chain(resend.request.then(|| Nonza::Request.to_string())).collect())
            }
            Ok(Action::Failed(_, ended)) => Self::Failed(ended),
            Err(error) => Self::Wrong(error),
        }
    }
}

impl Peer {
    pub fn new(stream: StreamMgmt<String>) -> Self {
        Self {
            place: Place::Live(stream),
            got: Vec::new(),
            holds: false,
            held: Vec::new(),
            epoch: None,
            pending: None,
            told_error: false,
        }
    }
}

/// Both sides.
impl Net {
    pub(super) fn obey(&mut self, conn: Conn, side: Side, todo: Todo, element: &Element) {
        match todo {
            Todo::Nothing => self.peer_mut(conn, side).told_error |= wire::line(element).starts_with("<stream:error"),
            Todo::Deliver(receipt) => {
                let name = element.attr("id").map_or_else(|| wire::line(element), str::to_owned);
                let peer = self.peer_mut(conn, side);
                peer.got.push(name);
                if peer.holds {
                    peer.held.push(receipt);
                } else {
                    self.settle(conn, side, receipt);
                }
            }
            Todo::Write(pieces) => {
                for piece in pieces {
                    self.write(conn, side, &piece);
                }
            }
            Todo::Enable(request) => self.answer_enable(conn, request),
            Todo::Resume(request) if self.slow_lookup => {
                self.peer_mut(conn, side).pending = Some(Pending { request });
            }
            Todo::Resume(request) => self.take_over(conn, request),
            Todo::Failed(ended) => self.hand_back(conn, side, ended),
            Todo::Wrong(error) => self.went_wrong(conn, side, error),
        }
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
        self.answer(conn, side, error.answer());
    }

    fn answer(&mut self, conn: Conn, side: Side, answer: Answer) {
        match answer {
            Answer::Nothing => {}
            Answer::Later => panic!("the host has not kept the order of calls"),
            Answer::Reply(nonza) => self.write_all(conn, side, [nonza]),
            Answer::End(end) => {
                let mut out = bytes::BytesMut::new();
                end.write_to(&mut out);
                out.extend_from_slice(b"</stream:stream>");
                self.write(conn, side, std::str::from_utf8(&out).expect("text"));
                self.end(conn, side, end.ending);
            }
            Answer::Detach => {
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
                    self.write_all(conn, side, sent.request.then_some(Nonza::Request));
                    for returned in sent.evicted.into_iter().flatten() {
                        self.note_back(conn, side, None, returned);
                    }
                }
                Err(refused) => {
                    let answer = refused.answer();
                    self.undelivered.push(refused.stanza);
                    self.answer(conn, side, answer);
                }
            },
            Place::Detached(session) => {
                if let Err(full) = session.record_sent(stanza.to_owned(), now) {
                    self.undelivered.push(full.stanza);
                }
            }
            Place::MovedTo(_) | Place::Gone => self.undelivered.push(stanza.to_owned()),
        }
    }

    /// This side closes the stream in good order.
    pub(super) fn finish(&mut self, conn: Conn, side: Side) {
        let Place::Live(stream) = &mut self.peer_mut(conn, side).place else { return };
        let last = stream.finish();
        self.write_all(conn, side, last);
        self.write(conn, side, wire::CLOSE);
        self.disconnected(conn, side);
    }

    /// The other side has closed the stream.
    pub(super) fn peer_closed(&mut self, conn: Conn, side: Side) {
        if self.peer(conn, side).told_error {
            self.disconnected(conn, side);
        } else {
            self.finish(conn, side);
        }
    }

    /// This side has no connection any more.
    pub(super) fn disconnected(&mut self, conn: Conn, side: Side) {
        match self.take_place(conn, side) {
            Place::Live(stream) => match stream.disconnect(self.now) {
                Disconnected::Resumable(session) => self.put_place(conn, side, Place::Detached(session)),
                Disconnected::Ended(ended) => self.hand_back(conn, side, ended),
            },
            other => self.put_place(conn, side, other),
        }
    }

    /// This side ends its session.
    pub(super) fn end(&mut self, conn: Conn, side: Side, ending: Ending) {
        let ended = match self.take_place(conn, side) {
            Place::Live(stream) => stream.end(ending),
            Place::Detached(session) => session.end(ending),
            other => return self.put_place(conn, side, other),
        };
        self.hand_back(conn, side, ended);
    }

    /// Takes what a session leaves behind: its stanzas, and its record in the store.
    pub(super) fn hand_back(&mut self, conn: Conn, side: Side, ended: Ended<String>) {
        let Ended { ending, smid, h, unacked, .. } = ended;
        if side == Side::Server {
            self.endings.push((conn, ending));
            if let Some((smid, epoch)) = smid.zip(self.peer_mut(conn, side).epoch.take()) {
                let done = match ending {
                    Ending::Closed => self.store.remove(&smid, epoch),
                    _ => self.store.retire(&smid, epoch, h, self.now),
                };
                done.expect("memory does not fail");
            }
        }
        for returned in unacked {
            self.note_back(conn, side, Some(ending), returned);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let peers = self.connections.iter().flat_map(|connection| &connection.peers);
        let due = peers.filter_map(|peer| match &peer.place {
            Place::Live(stream) => stream.poll_timeout(),
            Place::Detached(session) => session.deadline(),
            Place::MovedTo(_) | Place::Gone => None,
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
        if self.store.next_sweep().is_some_and(|due| due <= now) {
            self.store.sweep(now);
        }
    }
}
