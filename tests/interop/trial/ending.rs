//! Sessions that end, or should not.

use tokio::time::{Duration, sleep};

use super::{Ring, is};
use crate::raw::{Raw, attribute, message, numbers};

/// The client is told how many of its stanzas were handled, as often as it asks, and finds what it did not get.
pub async fn expired(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    for number in 1..=3 {
        alice.say("bob", number).await?;
    }
    bob.until("number 3").await?;
    bob.say("alice", 4).await?;
    alice.until("number 4").await?;
    drop(alice);
    sleep(Duration::from_secs(4)).await;
    for time in ["first", "second"] {
        let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
        let failed = alice.until("</failed>").await?;
        let h = attribute(&failed, "h");
        is(failed.contains("<item-not-found "), || format!("the condition is {failed}"))?;
        is(h.as_deref() == Some("3"), || format!("when it asks for the {time} time, h is {h:?}"))?;
    }
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [4], || format!("it finds {:?}", numbers(&got)))?;
    is(got.contains("<delay "), || "without the time".into())
}

/// The same without `h`: the session is gone, and what the client did not get waits for it.
pub async fn expired_for_good(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.say("bob", 1).await?;
    bob.until("number 1").await?;
    bob.say("alice", 2).await?;
    alice.until("number 2").await?;
    drop(alice);
    sleep(Duration::from_secs(4)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let failed = alice.until("</failed>").await?;
    is(failed.contains("<item-not-found "), || format!("the condition is {failed}"))?;
    is(attribute(&failed, "h").is_none(), || "there is no such option: it tells h".into())?;
    alice.bind("alice").await?;
    alice.write("<presence/>").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [2], || format!("it finds {:?}", numbers(&got)))
}

/// No h that is not true.
pub async fn unknown(ring: Ring) -> Result<(), String> {
    let mut alice = Raw::resume(ring.addr(), "alice", "nobody", "0").await?;
    let failed = alice.until("</failed>").await?;
    let is_good = failed.contains("<item-not-found ") && attribute(&failed, "h").is_none();
    is(is_good, || format!("it says {failed}"))
}

/// What it still acknowledges counts, and the rest waits for it.
pub async fn closed(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.write(&(message("alice", 1) + &message("alice", 2))).await?;
    alice.until("number 2").await?;
    alice.say("bob", 3).await?;
    alice.write("<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>").await?;
    let (_, said) = alice.end().await;
    is(said.contains("<a ") && said.contains("h='1'"), || format!("the last words are {said:?}"))?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "1").await?;
    alice.until("<failed").await?;
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [2], || format!("it finds {:?}", numbers(&got)))
}

pub async fn no_number(ring: Ring) -> Result<(), String> {
    for h in ["h='0.0'", "h='0x0'", "h='-0'"] {
        let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
        alice.write(&format!("<a xmlns='urn:xmpp:sm:3' {h}/>")).await?;
        let said = alice.rest().await;
        is(said.contains("<policy-violation "), || format!("{h} is accepted"))?;
    }
    Ok(())
}

/// SIGTERM, and again: the session goes on.
pub async fn restarted(mut ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    alice.say("bob", 2).await?;
    bob.until("number 2").await?;
    bob.command("mark alice@localhost/alice").await?;
    bob.command("late alice@localhost/alice").await?;
    ring.restart().await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    bob.say("alice", 3).await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed ") && got.contains("h='1'"), || format!("it says {}", got.get(..90).unwrap_or(&got)))?;
    is(numbers(&got) == [1, 9, 3], || format!("it gets {:?}", numbers(&got)))?;
    alice.say("bob", 4).await?;
    bob.until("number 4").await?;
    let marks = bob.command("marks alice@localhost/alice").await?;
    is(marks.contains("true push.example&lt;node jabber:x:data text"), || format!("other modules find {marks}"))
}

/// It is still there.
pub async fn in_a_room(mut ring: Ring) -> Result<(), String> {
    const JOIN: &str = "<presence to='balcony@rooms/NAME'><x xmlns='http://jabber.org/protocol/muc'/></presence>";
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.write(&JOIN.replace("NAME", "alice")).await?;
    alice.until("<subject").await?;
    ring.restart().await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    bob.write(&JOIN.replace("NAME", "bob")).await?;
    bob.until("<subject").await?;
    bob.write("<message to='balcony@rooms' type='groupchat' id='1'><body>number 1</body></message>").await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    alice.until("<body>number 1<").await.map(drop)
}

/// What was handled is known after a restart, too.
pub async fn expired_and_restarted(mut ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.say("bob", 1).await?;
    bob.until("number 1").await?;
    drop(alice);
    sleep(Duration::from_secs(4)).await;
    for time in ["first", "second"] {
        ring.restart().await?;
        let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
        let h = attribute(&alice.until("</failed>").await?, "h");
        is(h.as_deref() == Some("1"), || format!("after the {time} restart h is {h:?}"))?;
    }
    Ok(())
}

/// What its sessions hold goes where it goes at their end.
pub async fn nowhere_to_write(mut ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    bob.command("full").await?;
    ring.restart().await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    alice.until("<failed").await?;
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1], || format!("it finds {:?}", numbers(&got)))
}

/// What can be read is there, and the rest is kept.
pub async fn unreadable(mut ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    bob.say("alice", 1).await?;
    bob.rest().await;
    ring.running.stop().await?;
    let dir = ring.place.dir(ring.server.name()).join("localhost/smacks_sessions");
    let write = |user: &str, text: &str| std::fs::write(dir.join(format!("{user}.dat")), text);
    // In whatever order they are read.
    for number in 0..10 {
        write(&format!("half{number}"), "return { [\"x\"] = ").map_err(|e| e.to_string())?;
        write(&format!("false{number}"), "return { [\"x\"] = \"AAAA\" };").map_err(|e| e.to_string())?;
    }
    ring.start_again().await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed ") && numbers(&got) == [1], || format!("the others are lost: {got}"))?;
    let kept = std::fs::read_dir(dir).map_err(|e| e.to_string())?.count();
    is(kept == 20, || format!("{kept} are kept, of 20"))
}

/// The others come back all the same, the sender of that one is told, and the session is gone.
pub async fn refused(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    bob.command("refuse 2").await?;
    for number in 1..=3 {
        bob.say("alice", number).await?;
    }
    alice.until("number 3").await?;
    drop(alice);
    sleep(Duration::from_secs(4)).await;
    let said = bob.rest().await;
    is(said.contains("type='error'") && said.contains("id='2'"), || format!("its sender is told {said:?}"))?;
    let bound = bob.command("bound alice@localhost/alice").await?;
    is(bound.contains("gone"), || "its resource is still bound".into())?;
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1, 3], || format!("it finds {:?}", numbers(&got)))
}

/// The module is loaded once more while sessions live and wait.
pub async fn reloaded(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    bob.command("reload").await?;
    bob.say("alice", 2).await?;
    alice.say("bob", 3).await?;
    alice.until("number 2").await?;
    alice.vanish().await;
    bob.command("reload").await?;
    bob.say("alice", 4).await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "1").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed ") && got.contains("h='1'"), || format!("it says {}", got.get(..90).unwrap_or(&got)))?;
    is(numbers(&got) == [2, 4], || format!("it gets {:?}", numbers(&got)))
}

/// The module is taken out: what its sessions held waits for their users, and the server serves on.
pub async fn unloaded(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    bob.command("unload").await?;
    bob.say("alice", 2).await?;
    bob.rest().await;
    drop(alice);
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1, 2], || format!("it finds {:?}", numbers(&got)))
}

/// Another module has ended a session in a way of its own: the connection is closed, and what came then is not lost.
pub async fn spoilt(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    bob.command("spoil alice@localhost/alice").await?;
    bob.say("alice", 1).await?;
    alice.say("bob", 2).await?;
    let (is_closed, said) = alice.end().await;
    is(is_closed && said.contains("<internal-server-error "), || format!("the connection says {said:?}"))?;
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1], || format!("it finds {:?}", numbers(&got)))?;
    let log = std::fs::read_to_string(ring.place.log(&format!("{}.log", ring.server.name()))).unwrap_or_default();
    is(log.contains("error\tStream management: "), || "the log does not say it".into())
}
