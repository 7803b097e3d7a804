//! The behaviours of MongooseIM's `sm_SUITE`, under their names there, as transcripts between two peers.
//!
//! What that suite sees in a server's routing, presence and offline storage is here what the crate hands its
//! host: each unacknowledged stanza once, in order, with the kind of ending.

#![allow(non_snake_case)] // one name has it

mod counting;
mod disabled;
mod endings;
mod harness;
mod hooks;
mod negotiation;
mod requests_and_buffer;
mod rerouting;
mod resumption;
mod stale_h;

use crate::support::{Conn, Net};
use xmpp_sm::SmId;

const JULIET: &str = "juliet@capulet.lit";
const ROMEO: &str = "romeo@montague.lit";

const SESSION_IQ: &str = "<iq id='session' type='set'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>";

fn smid(text: &str) -> SmId {
    SmId::new(text).unwrap()
}

/// The server sends a message for each id.
fn sends(net: &mut Net, conn: Conn, ids: &[&str]) {
    for id in ids {
        net.server_sends(conn, &format!("<message id='{id}'/>"));
    }
}
