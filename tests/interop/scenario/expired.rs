//! The server's resume timeout passes while the client is away. It is told how many of its stanzas were handled,
//! binds anew on the same stream, and finds what it had not acknowledged, with the time at which it was sent.

use std::time::Duration;

use jiff::Timestamp;

use crate::account::Blame;
use crate::journal::{End, Event};
use crate::proxy::Cut;
use crate::record::Dir;
use crate::scenario::ENDS;
use crate::stage::Stage;

const SLACK: Duration = Duration::from_secs(4);

pub async fn run(stage: &mut Stage, ours: Option<Blame>) -> Result<(), String> {
    stage.chat(3).await?;
    let connection = stage.proxy.newest();
    if ours == Some(Blame::Client) {
        // The h of <failed/> covers these, and no acknowledgement: a client that heeds it does not send them again.
        stage.proxy.pause(connection, &[Dir::ToClient]);
        for _ in 0..3 {
            let message = stage.say(End::Client);
            stage.until_received(message).await?;
        }
    }
    let sent = Timestamp::now();
    // And these it does not cover: our client sends them as new.
    let by_client = if ours == Some(Blame::Client) { 3 } else { 0 };
    let messages = stage.say_in_vain(connection, [(End::Partner, 5), (End::Client, by_client)]).await?;
    stage.proxy.hold(true);
    stage.proxy.cut(connection, Cut::Rst);
    // The server's time, and the machine's: it has to store what it holds before the client asks for it.
    tokio::time::sleep(Duration::from_secs(u64::from(ENDS)) + SLACK).await;
    stage.proxy.hold(false);
    stage.until("the client binds anew", |state| state.tally(End::Client).online == 2).await?;
    for message in &messages {
        stage.until_received(*message).await?;
    }
    stage.chat(2).await?;
    told(stage, connection, ours)?;
    stage.redelivered(sent, &messages, None)
}

/// The server refuses with an h, and it is the true one; our client knows it.
fn told(stage: &Stage, connection: usize, ours: Option<Blame>) -> Result<(), String> {
    let ledger = stage.ledger();
    let sent = ledger.links[connection].last_up;
    let told: Vec<_> = ledger.links.iter().filter_map(|link| link.failed).collect();
    match told[..] {
        [Some(h)] if h == sent => {}
        _ => return Err(format!("the client had sent {sent}, and <failed/> told {told:?}")),
    }
    let known = stage
        .journal
        .with(|state| state.of(End::Client).any(|entry| matches!(entry.event, Event::Failed { h } if h == Some(sent))));
    if ours == Some(Blame::Client) && !known {
        return Err(format!("the client does not say that h is {sent}"));
    }
    let anew = ledger.links.iter().position(|link| link.failed.is_some() && link.session.is_some());
    anew.map(drop).ok_or_else(|| "no new session on the stream of the refusal".into())
}
