//! The examples of [XEP-0198](https://xmpp.org/extensions/xep-0198.html) 1.6.3, in their order and under their
//! captions, as transcripts. Those about SASL2 and Bind2 are in `inline`.
//!
//! Where the XEP has a placeholder there is a value. The server always says `max`, which the XEP leaves open.

mod acking;
mod enabling;
mod errors;
mod resumption;
mod scenarios;

use crate::support::{Conn, Net, Place, Side, quiet};

const OWNER: &str = "laurence@example.net";

fn without_resumption() -> Net {
    Net::with(quiet(), quiet().resume_timeout(None))
}

/// A session that has come so far, both ways, and lost its connection.
fn interrupted(net: &mut Net) -> Conn {
    net.name_session("some-long-sm-id");
    let (conn, session) = net.started_at(OWNER, 7, 42);
    net.put_place(conn, Side::Client, Place::Detached(session));
    conn
}
