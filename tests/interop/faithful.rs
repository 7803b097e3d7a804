//! Whether the server passed on exactly what it says it handled.
//!
//! Of each connection the server handles the first so many of the client's stanzas that went through, in order. How
//! many is told by the h with which the session is resumed or refused; where that never comes (the client forgot the
//! session) any number is possible, and on a connection that was not cut it is all. What the partner received must be
//! those messages, connection after connection, with nothing between, before or after them. If it is, whatever is
//! missing, double or out of order was written so by the client.

use std::collections::BTreeSet;

use crate::journal::Message;
use crate::ledger::{Ledger, Sending};
use crate::record::Dir;

/// Otherwise the connection that fits no longer, with what it should have brought.
pub fn server_is_faithful(ledger: &Ledger, received: &[Message], cuts: &[usize]) -> Result<(), String> {
    let mut reached = BTreeSet::from([0]);
    for (connection, link) in ledger.links.iter().enumerate() {
        let written = ledger.to_server.iter().filter(|sending| sending.connection == connection && sending.forwarded);
        let written: Vec<&Sending> = written.collect();
        let up = connection + 1 == ledger.links.len() && !cuts.contains(&connection) && link.error_by_server.is_none();
        let exact = match ledger.handled(Dir::ToServer, connection) {
            Some(h) => Some(written.iter().take_while(|sending| sending.number.is_none_or(|n| n <= h)).count()),
            None => up.then_some(written.len()),
        };
        let before = reached;
        reached = before.iter().flat_map(|from| advance(&written, &received[*from..], *from, exact)).collect();
        if reached.is_empty() {
            let of = exact.map_or("some".into(), |n| n.to_string());
            return Err(format!("{of} of {} on #{connection}, when it had {before:?}", written.len()));
        }
    }
    if reached.contains(&received.len()) { Ok(()) } else { Err(format!("{reached:?} in all, not {}", received.len())) }
}

/// How far the partner can have got with this connection, if it was at `from` before it.
fn advance(written: &[&Sending], received: &[Message], from: usize, exact: Option<usize>) -> Vec<usize> {
    let equal = written.iter().zip(received).take_while(|(sending, message)| sending.message == **message).count();
    match exact {
        Some(n) if n <= equal => vec![from + n],
        Some(_) => Vec::new(),
        None => (from..=from + equal).collect(),
    }
}
