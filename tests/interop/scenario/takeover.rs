//! The client comes back while the server still has the old connection open: nobody has told it.

use crate::account::Blame;
use crate::journal::{End, Message};
use crate::proxy::Cut;
use crate::stage::{STEP, Stage};
use crate::wire::What;

pub async fn run(stage: &mut Stage, ours: Option<Blame>) -> Result<(), String> {
    stage.chat(3).await?;
    let (old, ups) = (stage.proxy.newest(), stage.ups());
    stage.proxy.hold(true);
    stage.proxy.cut(old, Cut::Blackhole);
    let mut messages: Vec<Message> = (0..5).map(|_| stage.say(End::Partner)).collect();
    messages.extend((0..5).map(|_| stage.say(End::Client)));
    // The server has written them into the hole before the client is back.
    let last = What::Message { body: messages[4].body(&stage.tag) };
    stage
        .until_wire("the last message", |connections| connections[old].to_client.iter().any(|item| item.what == last))
        .await?;
    stage.proxy.hold(false);
    stage.until_up(ups).await?;
    for message in messages {
        stage.until_received(message).await?;
    }
    stage.chat(2).await?;
    if !stage.proxy.over(old, STEP).await {
        return Err("the server keeps the old connection open".into());
    }
    let error = stage.ledger().links[old].error_by_server.clone();
    match error.as_deref() {
        Some("conflict") => Ok(()),
        // Some servers say nothing.
        None if ours != Some(Blame::Server) => Ok(()),
        other => Err(format!("the old connection ended with {other:?}, not with a conflict")),
    }
}
