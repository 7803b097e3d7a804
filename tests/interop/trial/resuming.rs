//! Sessions that go on.

use tokio::time::{Duration, sleep};

use super::{Ring, is};
use crate::raw::{Raw, attribute, message, numbers};

/// What was cut does not swallow what comes on the next connection.
pub async fn cut_inside(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.say("bob", 1).await?;
    alice.write("<message to='bob@localhost/bob' type='chat'><body>number 2").await?;
    bob.until("number 1").await?;
    drop(alice);
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let resumed = alice.until("<resumed").await? + &alice.until("/>").await?;
    is(attribute(&resumed, "h").as_deref() == Some("1"), || format!("it resumes with {resumed}"))?;
    alice.say("bob", 2).await?;
    alice.write("<r xmlns='urn:xmpp:sm:3'/>").await?;
    let got = bob.rest().await;
    is(numbers(&got) == [2], || "what comes on the next connection is swallowed".into())?;
    let answer = alice.rest().await;
    is(answer.contains("<a ") && answer.contains("h='2'"), || format!("it answers <r/> with {answer:?}"))
}

/// The session is as it was, and the client is told why.
pub async fn too_high(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    bob.say("alice", 1).await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "99").await?;
    let failed = alice.rest().await;
    is(failed.contains("<bad-request "), || format!("it says {failed:?}"))?;
    alice.ask(&id, "0").await?;
    let resumed = alice.rest().await;
    is(resumed.contains("<resumed ") && numbers(&resumed) == [1], || "the session is lost".into())
}

pub async fn no_number(ring: Ring) -> Result<(), String> {
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    let mut alice = Raw::log_in(ring.addr(), "alice").await?;
    for h in ["", "h='0x0'", "h='0.0'"] {
        alice.write(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' {h}/>")).await?;
        let failed = alice.rest().await;
        is(failed.contains("<bad-request "), || format!("to {h:?} it says {failed:?}"))?;
    }
    alice.ask(&id, "0").await?;
    alice.until("<resumed ").await.map(drop)
}

/// The old connection is told, and nothing is lost on the way.
pub async fn taken_over(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut old, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    old.until("number 1").await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let resumed = alice.until("</message>").await?;
    is(numbers(&resumed) == [1], || format!("it resends {resumed:?}"))?;
    bob.say("alice", 2).await?;
    alice.until("number 2").await?;
    let (is_closed, said) = old.end().await;
    is(is_closed, || "the old connection stays open".into())?;
    is(said.contains("<conflict ") && said.contains("</stream:stream>"), || "the old connection is told nothing".into())
}

/// One has it in the end, the other knows, and each message comes once to the one that has it.
pub async fn two_takers(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    bob.say("alice", 1).await?;
    let mut first = Raw::log_in(ring.addr(), "alice").await?;
    let mut second = Raw::log_in(ring.addr(), "alice").await?;
    first.ask(&id, "0").await?;
    second.ask(&id, "0").await?;
    let has = second.until("</message>").await?;
    bob.say("alice", 2).await?;
    let has = has + &second.rest().await;
    is(numbers(&has) == [1, 2], || format!("the later one gets {:?}", numbers(&has)))?;
    let said = first.rest().await;
    is(!said.contains("number 2"), || "the earlier one goes on".into())?;
    is(said.contains("<conflict "), || "the earlier one is told nothing".into())
}

/// More than the buffer holds is sent, and nothing acknowledged. All of it is there when the client is back.
pub async fn small_buffer(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    for number in 1..=8 {
        bob.say("alice", number).await?;
    }
    bob.rest().await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let mut got = String::new();
    // It acknowledges what it has.
    for _ in 0..3 {
        got += &alice.rest().await;
        let failed = got.contains("<failed");
        is(!failed, || format!("the session is lost: {}", got.get(..60).unwrap_or(&got)))?;
        let answer = alice.write(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", numbers(&got).len())).await;
        answer.map_err(|_| format!("the session is lost, and the connection closed after {got:?}"))?;
    }
    is(numbers(&got).iter().copied().eq(1..=8), || format!("it gets {:?}", numbers(&got)))
}

/// There are fewer than may wait, and more bytes than wait by default, nor do all of them go out at once.
pub async fn long_messages(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    let subject = format!("</body><subject>{}</subject>", "!".repeat(100_000));
    for number in 1..=8 {
        bob.write(&message("alice", number).replace("</body>", &subject)).await?;
    }
    bob.rest().await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let mut got = alice.until("number 1<").await.map_err(|_| "the session is lost".to_owned())?;
    for _ in 0..4 {
        got += &alice.rest().await;
        alice.write(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", numbers(&got).len())).await?;
    }
    is(numbers(&got).into_iter().eq(1..=8), || format!("it gets {:?}", numbers(&got)))
}

/// What was held back comes when it is back, and it is active then: nothing more is held back.
pub async fn inactive(ring: Ring) -> Result<(), String> {
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    look_away(&mut alice).await?;
    let typing = |number| {
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        format!("<message type='headline' to='alice@localhost/alice' id='t{number}'>{state}</message>")
    };
    bob.write(&typing(1)).await?;
    let held = alice.rest().await;
    is(!held.contains("t1"), || "it is not held back".into())?;
    drop(alice);
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    alice.until("id='t1'").await.map_err(|_| "what was held back is lost".to_owned())?;
    bob.write(&typing(2)).await?;
    alice.until("id='t2'").await.map_err(|_| "a client that is back is still inactive".to_owned())?;
    Ok(())
}

/// With that it is asked what it has: it is awake.
pub async fn flushing(ring: Ring) -> Result<(), String> {
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    look_away(&mut alice).await?;
    bob.write("<message type='headline' to='alice@localhost/alice' id='t1'/>").await?;
    bob.rest().await;
    bob.say("alice", 1).await?;
    let got = alice.until("number 1<").await? + &alice.rest().await;
    is(got.contains("id='t1'") && got.contains("<r "), || format!("it gets {got}"))
}

/// What is important then does not stumble over what was held back: it comes when the client is back.
pub async fn gone_silently(ring: Ring) -> Result<(), String> {
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    look_away(&mut alice).await?;
    bob.say("alice", 1).await?;
    alice.until("number 1<").await?;
    is(alice.end().await.0, || "its connection stays open".into())?;
    bob.say("alice", 2).await?;
    bob.say("alice", 3).await?;
    bob.rest().await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1, 2, 3], || format!("it gets {:?}", numbers(&got)))
}

/// Neither waits until something important comes: its connection lives.
pub async fn asked_while_inactive(ring: Ring) -> Result<(), String> {
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    alice.write("<inactive xmlns='urn:xmpp:csi:0'/><r xmlns='urn:xmpp:sm:3'/>").await?;
    alice.until("<a ").await.map_err(|_| "it is not answered".to_owned())?;
    for time in ["first", "second"] {
        alice.until("<r ").await.map_err(|_| format!("it is not asked for the {time} time"))?;
        alice.write("<a xmlns='urn:xmpp:sm:3' h='0'/>").await?;
    }
    Ok(())
}

/// It is more than a connection is given at a time.
pub async fn much_is_held_back(ring: Ring) -> Result<(), String> {
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    look_away(&mut alice).await?;
    let long = "!".repeat(10_000);
    for _ in 1..=80 {
        bob.write(&format!("<message type='headline' to='alice@localhost/alice'><subject>{long}</subject></message>"))
            .await?;
    }
    sleep(Duration::from_secs(7)).await; // longer than the grace
    bob.say("alice", 1).await?;
    let got = alice.until("number 1<").await.map_err(|_| "its session ends".to_owned())?;
    let count = got.matches("type='headline'").count();
    is(count == 80, || format!("it gets {count} of 80"))
}

/// More is resent than a connection takes at a time, and more comes meanwhile: all of it in order.
pub async fn much_is_resent(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    let subject = format!("</body><subject>{}</subject>", "!".repeat(4000));
    let long = |number| message("alice", number).replace("</body>", &subject);
    for number in 1..=60 {
        bob.write(&long(number)).await?;
    }
    bob.rest().await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    for number in 61..=70 {
        bob.write(&long(number)).await?;
    }
    let got = alice.until("number 70<").await?;
    is(numbers(&got).into_iter().eq(1..=70), || format!("it gets {:?}", numbers(&got)))
}

/// A session that has just got a connection, and loses it at its first word, waits for the next.
pub async fn fragile(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    bob.say("alice", 1).await?;
    bob.command("fragile").await?;
    let (is_closed, _) = Raw::resume(ring.addr(), "alice", &id, "0").await?.end().await;
    is(is_closed, || "the connection does not break".into())?;
    bob.say("alice", 2).await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed "), || format!("the session is lost: {got}"))?;
    is(numbers(&got) == [1, 2], || format!("it gets {:?}", numbers(&got)))
}

/// What was not written the client does not get, and comes back for it: it is not left out.
pub async fn choked(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.command("choke alice@localhost/alice").await?;
    for number in 1..=3 {
        bob.say("alice", number).await?;
    }
    let (is_closed, said) = alice.end().await;
    is(is_closed && numbers(&said).is_empty(), || format!("the connection goes on: {said:?}"))?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed ") && numbers(&got) == [1, 2, 3], || format!("it gets {got}"))?;
    bob.say("alice", 4).await?;
    alice.until("number 4").await.map(drop)
}

/// It has the session of a client that is silent, with all that is in it.
pub async fn retaken(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    let mut other = Raw::log_in(ring.addr(), "alice").await?;
    bob.command("retake alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    other.until("<resumed ").await?;
    bob.say("alice", 2).await?;
    let got = other.until("number 2<").await?;
    is(numbers(&got) == [1, 2], || format!("it gets {:?}", numbers(&got)))?;
    other.write("<a xmlns='urn:xmpp:sm:3' h='2'/>").await?;
    other.say("bob", 3).await?;
    bob.until("number 3<").await.map(drop)
}

/// Its client says that nobody looks at it, and the server knows.
async fn look_away(client: &mut Raw) -> Result<(), String> {
    client.write("<inactive xmlns='urn:xmpp:csi:0'/>").await?;
    client.rest().await;
    Ok(())
}
