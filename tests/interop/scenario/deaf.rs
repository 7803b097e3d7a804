//! The connection is cut inside the text of a message, and the server, which resumes the session, reads nothing more.
//! Our client comes back once, and then begins anew.

use crate::journal::End;
use crate::proxy::Cut;
use crate::record::Dir;
use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<(), String> {
    stage.chat(1).await?;
    let (old, ups) = (stage.proxy.newest(), stage.ups());
    stage.proxy.cut_after(old, Dir::ToServer, stage.bytes_to_text(old)? + 2, Cut::Fin);
    let messages = [stage.say(End::Client), stage.say(End::Client)];
    stage.until_up(ups).await?;
    let last = stage.say(End::Client);
    for message in messages.into_iter().chain([last]) {
        stage.until_received(message).await?;
    }
    stage.chat(1).await?;
    let sessions = stage.ledger().sessions;
    let links: Vec<&[usize]> = sessions.iter().map(|session| &session.links[..]).collect();
    match links[..] {
        [[0, 1, 2], [3]] => Ok(()),
        _ => Err(format!("the server is not deaf, or the client does not leave as it should: {links:?}")),
    }
}
