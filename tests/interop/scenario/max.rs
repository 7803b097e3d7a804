//! The client asks for a short time in which to resume; the server grants it, and the session resumes within it.

use crate::proxy::Cut;
use crate::stage::Stage;

/// Seconds.
pub const MAX: u32 = 10;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(2).await?;
    let granted = stage.ledger().sessions.first().and_then(|session| session.max);
    if granted != Some(MAX) {
        return Err(format!("asked for {MAX} s, and the server grants {granted:?}"));
    }
    let ups = stage.ups();
    stage.proxy.cut(stage.proxy.newest(), Cut::Rst);
    stage.until_up(ups).await?;
    stage.chat(2).await
}
