//! The client stops reading, and does not acknowledge. The server's buffer is small: after a grace it ends the stream
//! with `resource-constraint`, and what the client did not get waits for it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::driver::Command;
use crate::journal::{End, Message};
use crate::scenario::ENDS;
use crate::stage::Stage;
use crate::wire::What;

pub const BUFFER: u32 = 10;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(3).await?;
    let (old, ups) = (stage.proxy.newest(), stage.ups());
    stage.client.command(Command::Stop);
    stage.until("the client stops reading", |state| state.tally(End::Client).stopped > 0).await?;
    let (sent, since) = (Timestamp::now(), Instant::now());
    let messages: Vec<Message> = (0..3 * BUFFER).map(|_| stage.say(End::Partner)).collect();
    let error = What::StreamError { condition: "resource-constraint".into() };
    stage
        .until_wire("resource-constraint", |connections| {
            connections[old].to_client.iter().any(|item| item.what == error)
        })
        .await?;
    grace(stage, old, &error, since)?;
    stage.client.command(Command::Go);
    stage.until_up(ups).await?;
    for message in &messages {
        stage.until_received(*message).await?;
    }
    stage.chat(2).await?;
    stage.redelivered(sent, &messages, Some(old))
}

/// Neither at once nor never. The buffer cannot be full before the first is sent; when the server has it, the proxy may
/// be late to see.
fn grace(stage: &Stage, old: usize, error: &What, since: Instant) -> Result<(), String> {
    let connections = stage.recorder.with_chunks(crate::wire::read);
    let error = connections[old].to_client.iter().find(|item| item.what == *error).ok_or("no such error")?;
    let took = error.at.duration_since(since);
    if took < Duration::from_secs(u64::from(ENDS)) {
        return Err(format!("{took:?} of grace instead of {ENDS} s"));
    }
    Ok(())
}
