//! Two resumes in a row with stanzas in flight: what was sent again must neither be counted again nor come a second
//! time.

use crate::journal::End;
use crate::proxy::Cut;
use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(2).await?;
    let messages = stage.say_in_vain(stage.proxy.newest(), [(End::Partner, 3), (End::Client, 3)]).await?;
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
