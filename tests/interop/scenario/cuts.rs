//! The connection is cut again and again while messages go both ways; the client resumes each time.

use std::time::Duration;

use crate::journal::{End, Message};
use crate::proxy::Cut;
use crate::record::Dir;
use crate::rng::Rng;
use crate::stage::Stage;

/// Cuts a session that is up `count` times, and sometimes the connection on which the client was about to resume.
pub async fn run(stage: &mut Stage, count: usize, rng: &mut Rng) -> Result<(), String> {
    let mut tries = 0;
    loop {
        let left = count.saturating_sub(1 + stage.audit().cuts);
        for _ in 0..left {
            one(stage, rng).await?;
        }
        if left == 0 {
            // The last one, with nothing new said.
            let ups = stage.ups();
            stage.proxy.cut(stage.proxy.newest(), Cut::Fin);
            stage.until_up(ups).await?;
            if stage.audit().cuts >= count {
                break;
            }
        }
        tries += left.max(1);
        if tries > 2 * count {
            return Err(format!("after {tries} tries {left} cuts are left"));
        }
    }
    settle(stage).await
}

async fn one(stage: &mut Stage, rng: &mut Rng) -> Result<(), String> {
    let (connection, ups, how) = (stage.proxy.newest(), stage.ups(), how(rng));
    let exact = rng.chance(50);
    if exact {
        stage.proxy.cut_after(connection, dir(rng), rng.within(1..=2500), how);
    }
    if rng.chance(20) {
        stage.proxy.cut_next_after(dir(rng), rng.within(1..=2000), Cut::Rst);
    }
    chatter(stage, rng, 4).await;
    if !exact {
        stage.proxy.cut(connection, how);
    }
    chatter(stage, rng, 4).await;
    // For an exact cut that the traffic has not reached.
    stage.proxy.cut(connection, how);
    stage.until_up(ups).await
}

async fn chatter(stage: &mut Stage, rng: &mut Rng, most: u64) {
    for _ in 0..rng.within(0..=most) {
        stage.say(if rng.chance(50) { End::Client } else { End::Partner });
        if rng.chance(40) {
            tokio::time::sleep(Duration::from_millis(rng.within(0..=8))).await;
        }
    }
}

fn dir(rng: &mut Rng) -> Dir {
    if rng.chance(50) { Dir::ToServer } else { Dir::ToClient }
}

fn how(rng: &mut Rng) -> Cut {
    match rng.within(0..=9) {
        0..=3 => Cut::Rst,
        4..=5 => Cut::Fin,
        6 => Cut::HalfClose(dir(rng)),
        7 => Cut::Stall(Duration::from_millis(rng.within(5..=60))),
        _ => Cut::Blackhole,
    }
}

/// One more message each way: as order is kept, nothing that was sent before can come after it.
async fn settle(stage: &mut Stage) -> Result<(), String> {
    let last: [Message; 2] = [stage.say(End::Client), stage.say(End::Partner)];
    for message in last {
        stage.until_received(message).await?;
    }
    Ok(())
}
