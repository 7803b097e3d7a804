//! A session without a stream: it takes what comes, and waits for its client or its end.

use std::time::Instant;

use bytes::Bytes;
use tokio::time::sleep_until;
use xmpp_sm::{Detached, Ending};

use super::router::Mail;
use super::session::Session;
use super::takeover::TakeOver;

/// Owns the session until it is over or has moved on. A `taker` may be waiting for it already.
pub async fn run(mut session: Session, mut detached: Detached<Bytes>, mut taker: Option<TakeOver>) {
    session.set_connected(false);
    let mut stopping = session.server.stopping.clone();
    loop {
        if let Some(taker) = taker.take() {
            settle(&mut session, &mut detached).await;
            match taker.hand_over(session, detached) {
                None => return,
                Some(back) => (session, detached) = back,
            }
        }
        let deadline = detached.deadline();
        let expired = async { sleep_until(deadline.unwrap_or_else(Instant::now).into()).await };
        let ending = tokio::select! {
            mail = session.next_mail() => match mail {
                Mail::Deliver(delivery) if session.backlog.is_empty() => {
                    // It will be late, whenever that is.
                    let stanza = delivery.rest().late(session.server.domain.as_str());
                    match detached.record_sent(stanza, Instant::now()) {
                        Ok(_) => continue,
                        Err(full) => session.backlog.push_back(full.stanza),
                    }
                    Ending::BufferFull
                }
                Mail::Deliver(delivery) | Mail::Late(delivery) => match session.put_off(delivery) {
                    true => continue,
                    false => Ending::BufferFull,
                },
                Mail::Handled(receipt) => {
                    let receipt = session.rested(receipt);
                    let _ = detached.record_handled(receipt);
                    continue;
                }
                Mail::TakeOver(request) => {
                    taker = Some(request);
                    continue;
                }
                Mail::Replaced => Ending::Replaced,
            },
            () = expired, if deadline.is_some() => Ending::Expired,
            () = stopping.wait() => Ending::Stopped,
        };
        settle(&mut session, &mut detached).await;
        return session.end(detached.end(ending));
    }
}

async fn settle(session: &mut Session, detached: &mut Detached<Bytes>) {
    for receipt in session.settle().await {
        let _ = detached.record_handled(receipt);
    }
    // Whoever still has a stanza in their hands will bring it to rest. It must not be asked for twice.
    detached.give_up_all();
}
