//! The client comes back while the server still has the old connection open: nobody has told it.

use crate::account::Blame;
use crate::journal::End;
use crate::proxy::Cut;
use crate::stage::{STEP, Stage};

pub async fn run(stage: &mut Stage, ours: Option<Blame>) -> Result<(), String> {
    stage.chat(3).await?;
    let (old, ups) = (stage.proxy.newest(), stage.ups());
    // Both have written what the other does not get before the client learns that the connection is lost.
    let messages = stage.say_in_vain(old, [(End::Partner, 5), (End::Client, 5)]).await?;
    stage.proxy.cut(old, Cut::Blackhole);
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
