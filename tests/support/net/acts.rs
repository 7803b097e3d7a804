//! What the peers do, when a test says so.

use xmpp_sm::{EndReason, StreamError};

use super::{Conn, Net, Place, Side, wire};

impl Net {
    /// The client sends a stanza, through its state.
    pub fn client_sends(&mut self, conn: Conn, stanza: &str) {
        self.sends(conn, Side::Client, stanza);
    }

    /// The server routes a stanza to the session that began on this connection, wherever it is now.
    pub fn server_sends(&mut self, conn: Conn, stanza: &str) {
        self.sends(conn, Side::Server, stanza);
    }

    /// Puts anything onto the wire, past the client's state.
    pub fn client_writes(&mut self, conn: Conn, text: &str) {
        self.write(conn, Side::Client, &wire::with_ns(text));
        if text.ends_with(wire::CLOSE) {
            self.take_place(conn, Side::Client);
        }
    }

    /// Puts anything onto the wire, past the server's state.
    pub fn server_writes(&mut self, conn: Conn, text: &str) {
        self.write(conn, Side::Server, &wire::with_ns(text));
    }

    /// Either side writes an `<r/>` of its own accord.
    pub fn requests(&mut self, conn: Conn, side: Side) {
        let now = self.now;
        let request = self.stream_mut(conn, side).request_ack(now).expect("stream management is on");
        self.write(conn, side, &request.to_string());
    }

    /// Either side writes an `<a/>` of its own accord.
    pub fn acks(&mut self, conn: Conn, side: Side) {
        let ack = self.stream_mut(conn, side).send_ack().expect("stream management is on");
        self.write(conn, side, &ack.to_string());
    }

    /// Either side closes the stream in good order.
    pub fn closes(&mut self, conn: Conn, side: Side) {
        self.finish(conn, side);
    }

    /// The server ends a session: `Stopped` with nothing more than a close, `Replaced` with `<conflict/>`.
    pub fn server_ends(&mut self, conn: Conn, reason: EndReason) {
        let conn = self.whereabouts(conn, Side::Server);
        if matches!(self.peer(conn, Side::Server).place, Place::Live(_)) {
            if reason == EndReason::Replaced {
                self.write(conn, Side::Server, &StreamError::Conflict.to_string());
            }
            self.write(conn, Side::Server, wire::CLOSE);
        }
        self.end(conn, Side::Server, reason);
    }

    /// From now on this side's host keeps the receipts of what it gets: see [`settles`](Net::settles).
    pub fn holds(&mut self, conn: Conn, side: Side) {
        self.peer_mut(conn, side).holds = true;
    }

    /// Settles the held receipt of the stanza with this number.
    pub fn settles(&mut self, conn: Conn, side: Side, number: u32) {
        let peer = self.peer_mut(conn, side);
        let at = peer.held.iter().position(|receipt| receipt.number() == Some(number.into())).expect("it is held");
        let receipt = peer.held.remove(at);
        self.settle(conn, side, receipt);
        self.retry_resumes();
    }

    /// Takes out the place of the session on this side, to do something else with it.
    pub fn take_place(&mut self, conn: Conn, side: Side) -> Place {
        std::mem::replace(&mut self.peer_mut(conn, side).place, Place::Gone)
    }

    pub fn put_place(&mut self, conn: Conn, side: Side, place: Place) {
        self.peer_mut(conn, side).place = place;
    }

    /// Sends what was handed back to the server's host to another session, each with its delay.
    pub fn redeliver(&mut self, conn: Conn) {
        for back in std::mem::take(&mut self.back) {
            let stanza = self.delayed(&back);
            self.server_sends(conn, &stanza);
        }
    }
}
