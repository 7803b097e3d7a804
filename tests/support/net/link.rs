//! The wire and the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use xmpp_sm::Nonza;

use super::{Conn, Net, Side, wire};

impl Net {
    /// Delivers until nothing is on the way.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let mut delivered = false;
            for conn in 1..=self.connections.len() {
                for side in Side::BOTH {
                    delivered |= self.deliver_one(conn, side);
                }
            }
            if !delivered {
                return;
            }
        }
        panic!("the peers are never quiet");
    }

    /// Delivers the next so many pieces that this side has written.
    pub fn deliver_from(&mut self, conn: Conn, side: Side, pieces: usize) {
        for _ in 0..pieces {
            assert!(self.deliver_one(conn, side), "nothing is on the way from the {side:?}");
        }
    }

    fn deliver_one(&mut self, conn: Conn, from: Side) -> bool {
        if from == Side::Client && self.peer(conn, Side::Server).pending.is_some() {
            return false;
        }
        let Some(piece) = self.connections[conn - 1].on_the_way[from as usize].pop_front() else { return false };
        self.arrives(conn, from.other(), &piece);
        true
    }

    /// The connection is lost, with all that is on its way, and both sides notice.
    pub fn cut(&mut self, conn: Conn) {
        let mut event = "-- cut".to_owned();
        for (side, name) in Side::BOTH.into_iter().zip(["client", "server"]) {
            let lost = std::mem::take(&mut self.connections[conn - 1].on_the_way[side as usize]).len();
            if lost > 0 {
                event.push_str(&format!(", lost {lost} of the {name}"));
            }
        }
        self.log.push(event);
        self.connections[conn - 1].is_cut = true;
        for side in Side::BOTH {
            self.disconnected(conn, side);
        }
    }

    /// The connection is lost, and the server does not know it yet: what it writes goes nowhere.
    pub fn cut_unnoticed(&mut self, conn: Conn) {
        self.log.push("-- cut, unnoticed by the server".into());
        self.connections[conn - 1].on_the_way = Default::default();
        self.connections[conn - 1].is_cut = true;
        self.disconnected(conn, Side::Client);
    }

    /// Lets time pass. What is due on either side is done at its time; nothing is delivered.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..100_000 {
            let Some(due) = self.next_due().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.fire();
        }
        panic!("a timer is due again and again");
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The virtual time at which the net was made.
    pub fn start(&self) -> Instant {
        self.base
    }

    /// Writes wire text, in one piece.
    pub(super) fn write(&mut self, conn: Conn, side: Side, text: &str) {
        let mark = match side {
            Side::Client => 'C',
            Side::Server => 'S',
        };
        let number = if conn == 1 { String::new() } else { conn.to_string() };
        self.log.extend(wire::lines(text).into_iter().map(|line| format!("{mark}{number}: {line}")));
        if !self.connections[conn - 1].is_cut {
            self.connections[conn - 1].on_the_way[side as usize].push_back(text.to_owned());
        }
    }

    pub(super) fn write_all(&mut self, conn: Conn, side: Side, nonzas: impl IntoIterator<Item = Nonza>) {
        for nonza in nonzas {
            self.write(conn, side, &nonza.to_string());
        }
    }

    /// A piece of wire text arrives.
    fn arrives(&mut self, conn: Conn, side: Side, text: &str) {
        let (elements, closes) = wire::read(text);
        let mut elements = VecDeque::from(elements);
        while let Some(element) = elements.pop_front() {
            if !self.takes(conn, side, &element) {
                return;
            }
            if self.peer(conn, side).pending.is_some() {
                // The rest of the piece waits with the others.
                let rest: String = elements.iter().map(String::from).collect();
                if !rest.is_empty() || closes {
                    let rest = rest + if closes { wire::CLOSE } else { "" };
                    self.connections[conn - 1].on_the_way[side.other() as usize].push_front(rest);
                }
                return;
            }
        }
        if closes {
            self.peer_closed(conn, side);
        }
    }
}
