//! The server has handled what it was sent, and twice its answer does not come through: our client gives the session up.
//! The acknowledgement that comes behind its end of the stream still counts, and nothing is sent again.

use crate::journal::End;
use crate::stage::Stage;
use crate::wire::What;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(1).await?;
    // The first time nothing reaches the server, either, so that nothing is acknowledged between the two.
    stage.proxy.darken(stage.proxy.newest());
    let message = stage.say(End::Client);
    stage.proxy.pause_next_at(message.body(&stage.tag));
    stage.until_received(message).await?;
    let last = stage.proxy.newest();
    let closed = stage.until_wire("the client's end of the stream", |connections| {
        connections[last].to_server.iter().any(|item| item.what == What::Footer)
    });
    closed.await?;
    stage.proxy.pause(last, &[]);
    stage.until("the client binds anew", |state| state.tally(End::Client).online == 2).await?;
    stage.chat(1).await
}
