//! Two resumes in a row with stanzas in flight: what was sent again must neither be counted again nor come a second
//! time.

use crate::journal::{End, Message};
use crate::proxy::Cut;
use crate::record::BOTH;
use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(2).await?;
    let mut messages: Vec<Message> = Vec::new();
    stage.proxy.pause(stage.proxy.newest(), &BOTH);
    for from in [End::Client, End::Partner] {
        messages.extend((0..3).map(|_| stage.say(from)));
    }
    for _ in 0..2 {
        let (connection, ups) = (stage.proxy.newest(), stage.ups());
        stage.proxy.cut(connection, Cut::Rst);
        stage.until_up(ups).await?;
    }
    for message in messages {
        stage.until_received(message).await?;
    }
    let ups = stage.ups();
    stage.proxy.cut(stage.proxy.newest(), Cut::Fin);
    stage.until_up(ups).await?;
    stage.chat(2).await
}
