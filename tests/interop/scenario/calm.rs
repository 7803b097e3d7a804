//! Nothing happens for longer than our client waits for an answer: nobody has a reason to leave.

use std::time::Duration;

use crate::ours::ACK_TIMEOUT;
use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(2).await?;
    let connection = stage.proxy.newest();
    tokio::time::sleep(ACK_TIMEOUT + Duration::from_secs(1)).await;
    stage.chat(1).await?;
    if stage.proxy.newest() == connection { Ok(()) } else { Err("the client is on another connection".into()) }
}
