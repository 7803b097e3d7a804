//! Which session has which SM-ID: what the server does with the crate's store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use xmpp_sm::{
    EndReason, Lookup, Record, Refusal, Refused, Registered, Registration, SessionEnded, SessionStore, SmId, Taker,
};

use super::Server;
use super::mail::{Handle, Mail};
use super::stanza::Written;
use super::stream::Connection;

/// How long the store waits to be swept if it does not know better.
const SWEEP: Duration = Duration::from_secs(60);

/// Makes a session known under its SM-ID, or a new one. `None`: it cannot be, and is not resumable.
pub fn register(server: &Server, smid: Option<SmId>, owner: &Arc<str>, handle: &Handle) -> Option<Registration> {
    let smid = smid.or_else(|| SmId::random().ok())?;
    let Registered { registration, displaced } =
        server.store.register(&smid, owner, handle.clone(), Instant::now()).ok()?;
    if let Some(displaced) = displaced {
        // A session is registered once, and has its mailbox for itself.
        let _ = displaced.handle.send(Mail::End(EndReason::Replaced));
    }
    Some(registration)
}

/// Sends a connection to the session that it asks for. `Some`: there is none.
pub fn resume(taker: Taker<Box<Connection>>, server: &Arc<Server>) -> Option<Refused<Box<Connection>>> {
    if (server.state_dir.is_some() || server.nodes.is_some()) && server.stopping.has_come() {
        return None; // the session is being written down: its client tries again, and has nobody to ask until then
    }
    let found = server.store.lookup(taker.previd(), taker.owner(), Instant::now());
    match (found.map_or(Err(Refusal::NotFound), Lookup::session), &server.nodes) {
        (Ok(Record { registration, handle }), _) => {
            let refused = give(taker, &handle)?;
            // The task that had this session is gone without a word.
            let _ = server.store.remove(&registration);
            Some(refused)
        }
        (Err(_), Some(nodes)) => {
            nodes.clone().find(taker, server.clone());
            None
        }
        (Err(refusal), None) => Some(taker.refuse(refusal)),
    }
}

/// Sends a connection to this session. `Some`: it is not there any more.
pub fn give(taker: Taker<Box<Connection>>, session: &Handle) -> Option<Refused<Box<Connection>>> {
    match session.send(Mail::Take(Box::new(taker))) {
        Err(Mail::Take(taker)) => Some(taker.refuse(Refusal::NotFound)),
        _ => None,
    }
}

/// A session that was registered is over.
pub fn end(server: &Server, registration: Option<&Registration>, ended: &SessionEnded<Written>) {
    if let Some(registration) = registration {
        // A store in this process does not fail; one that did would let the record grow old by itself.
        let _ = ended.leave(&server.store, registration, Instant::now());
    }
}

/// The store keeps no clock: its host sweeps out what is too old.
pub async fn sweep(server: Arc<Server>) {
    let mut stopping = server.stopping.clone();
    loop {
        let next = server.store.next_sweep().unwrap_or_else(|| Instant::now() + SWEEP);
        tokio::select! {
            () = sleep_until(next.into()) => { let _ = server.store.sweep(Instant::now()); }
            () = stopping.wait() => return,
        }
    }
}
