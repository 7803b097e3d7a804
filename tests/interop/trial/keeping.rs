//! What a session keeps, and for how long; what is told of it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio::time::{Duration, Instant, sleep};

use super::{Ring, is};
use crate::raw::{Raw, attribute, message, numbers};

/// Of two that wait the one that waits for longer makes room, and the other goes on.
pub async fn oldest(ring: Ring) -> Result<(), String> {
    let mut ids = Vec::new();
    for resource in ["one", "two", "three"] {
        let mut alice = Raw::log_in(ring.addr(), "alice").await?;
        alice.bind(resource).await?;
        alice.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
        let enabled = alice.until("<enabled").await? + &alice.until("/>").await?;
        ids.push(attribute(&enabled, "id").ok_or_else(|| format!("{resource} has no id: {enabled}"))?);
        drop(alice);
        // How long it waits is counted in seconds.
        sleep(Duration::from_millis(1100)).await;
    }
    for (id, resource, expected) in [(&ids[0], "one", "<failed "), (&ids[1], "two", "<resumed ")] {
        let said = Raw::resume(ring.addr(), "alice", id, "0").await?.rest().await;
        is(said.contains(expected), || format!("{resource} is told {said}"))?;
    }
    Ok(())
}

/// There is no bound: all of them wait.
pub async fn any_number(ring: Ring) -> Result<(), String> {
    let mut ids = Vec::new();
    for number in 0..12 {
        let mut alice = Raw::log_in(ring.addr(), "alice").await?;
        alice.bind(&format!("r{number}")).await?;
        alice.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
        let enabled = alice.until("<enabled").await? + &alice.until("/>").await?;
        ids.push(attribute(&enabled, "id").ok_or_else(|| format!("session {number} has no id: {enabled}"))?);
    }
    for id in &ids {
        Raw::resume(ring.addr(), "alice", id, "0").await?.until("<resumed ").await?;
    }
    Ok(())
}

/// What the metrics measure, not only how often.
pub async fn amounts(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.write(&(1..=3).map(|number| message("alice", number)).collect::<String>()).await?;
    alice.until("number 3").await?;
    alice.write("<a xmlns='urn:xmpp:sm:3' h='2'/><r xmlns='urn:xmpp:sm:3'/>").await?;
    alice.until("<a ").await?;
    drop(alice);
    sleep(Duration::from_millis(3100)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "2").await?;
    alice.until("number 3").await?;
    bob.say("alice", 4).await?;
    alice.until("number 4").await?;
    alice.write("</stream:stream>").await?;
    alice.end().await;
    let metrics = bob.command("metrics").await?;
    let value = |name: &str| {
        let start = format!("prosody_mod_smacks__{name}{{");
        let line = metrics.lines().find(|line| line.starts_with(&start));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    for (name, expected) in [
        ("tx_acked_stanzas_sum", 2.0..=2.0),
        ("resumption_age_seconds_sum", 2.0..=20.0),
        ("tx_dropped_stanzas_sum", 2.0..=2.0),
        ("sessions_expired_total", 0.0..=0.0),
    ] {
        let value = value(name);
        is(expected.contains(&value), || format!("{name} is {value}"))?;
    }
    Ok(())
}

/// After a restart other clients see the session, what is for its user comes to it, and it has copies, as before.
pub async fn present(mut ring: Ring) -> Result<(), String> {
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.write("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>").await?;
    alice.until("id='c'").await?;
    alice.write("<a xmlns='urn:xmpp:sm:3' h='1'/>").await?;
    ring.restart().await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    bob.write(&message("alice", 1).replace("/alice'", "'")).await?;
    bob.rest().await;
    let mut other = Raw::log_in(ring.addr(), "alice").await?;
    other.bind("other").await?;
    other.write("<presence/>").await?;
    let seen = other.rest().await;
    is(numbers(&seen).is_empty(), || "what is for the user has not come to the session that waits".into())?;
    is(seen.contains("from='alice@localhost/alice'"), || format!("another client does not see it: {seen}"))?;
    bob.write(&message("alice", 2).replace("/alice'", "/other'")).await?;
    other.until("number 2").await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "1").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1, 2], || format!("it gets {got}"))
}

/// A restart does not start the time to resume anew, and it ends.
pub async fn time_left(mut ring: Ring) -> Result<(), String> {
    let (alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    drop(alice);
    let whole = Duration::from_secs(ring.options.resume_timeout.into());
    sleep(whole / 2).await;
    ring.running.stop().await?;
    let anew = Instant::now() + whole;
    ring.start_again().await?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    while !bob.command("bound alice@localhost/alice").await?.contains("gone") {
        is(Instant::now() < anew, || "it is still there".into())?;
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// What is written down of it has the time of its end.
pub async fn age(mut ring: Ring) -> Result<(), String> {
    let (alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    drop(alice);
    sleep(Duration::from_secs(5)).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
    ring.running.stop().await?;
    let file = ring.place.dir(ring.server.name()).join("localhost/smacks_sessions/alice.dat");
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let time = text.split("[\"t\"] = ").nth(1).and_then(|rest| rest.split(';').next()?.parse::<u64>().ok());
    let time = time.ok_or_else(|| format!("there is no time: {text}"))?;
    is(now.abs_diff(time) >= 2, || format!("it has ended at {time}, and now it is {now}"))
}

/// Who has asked, and gets no answer, is told.
pub async fn bounced(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    bob.write("<iq type='get' id='q' to='alice@localhost/alice'><query xmlns='jabber:iq:version'/></iq>").await?;
    alice.until("jabber:iq:version").await?;
    drop(alice);
    let answer = bob.until("</iq>").await.map_err(|_| "nobody tells who has asked".to_owned())?;
    let is_good = answer.contains("id='q'") && answer.contains("<recipient-unavailable ");
    is(is_good, || format!("the answer is {answer}"))
}

/// A client that is silent is asked, and its connection stays.
pub async fn silent(ring: Ring) -> Result<(), String> {
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    for _ in 0..2 {
        alice.until("<r ").await.map_err(|_| "it is not asked".to_owned())?;
        alice.write("<a xmlns='urn:xmpp:sm:3' h='0'/>").await?;
    }
    alice.write("<r xmlns='urn:xmpp:sm:3'/>").await?;
    alice.until("<a ").await.map(drop)
}

/// It is told of the next `<r/>`, too.
pub async fn slow_again(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    for number in 1..=2 {
        bob.say("alice", number).await?;
        alice.until("<r ").await?;
        sleep(Duration::from_millis(2500)).await;
        alice.write(&format!("<a xmlns='urn:xmpp:sm:3' h='{number}'/><r xmlns='urn:xmpp:sm:3'/>")).await?;
        alice.until("<a ").await?;
    }
    let told = bob.command("delays").await?;
    is(told.contains("delays: 2<"), || format!("of two it is told: {told}"))
}

/// A session that is not resumed waits on, and nobody is told otherwise; one that is has what is new of its connection.
pub async fn told(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.command("from alice@localhost/alice").await?;
    alice.vanish().await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "99").await?;
    alice.until("<failed").await?;
    let ends = bob.command("ends").await?;
    is(ends.contains("ends: 0<"), || format!("a session that waits on has ended to wait: {ends}"))?;
    alice.ask(&id, "0").await?;
    alice.until("<resumed ").await?;
    let ends = bob.command("ends").await?;
    is(ends.contains("ends: 1<"), || format!("a session goes on, and {ends}"))?;
    let address = bob.command("address alice@localhost/alice").await?;
    is(address.contains("127.0.0.1 false"), || format!("it comes from {address}"))
}

/// What a client gets when it is back has the time at which it was sent.
pub async fn late(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    bob.say("alice", 1).await?;
    sleep(Duration::from_secs(3)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.until("</message>").await?;
    let stamp = attribute(&got, "stamp").ok_or_else(|| format!("it has no time: {got}"))?;
    let stamp: Timestamp = stamp.parse().map_err(|e| format!("{stamp}: {e}"))?;
    let late = Timestamp::now().duration_since(stamp).as_secs_f64();
    is((1.5..20.0).contains(&late), || format!("it was sent {late} s ago"))
}

/// A connection is lost whose buffer is full: the next one takes what there is.
pub async fn clogged(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.command("clog alice@localhost/alice").await?;
    let subject = format!("</body><subject>{}</subject>", "!".repeat(4000));
    for number in 1..=40 {
        bob.write(&message("alice", number).replace("</body>", &subject)).await?;
    }
    bob.rest().await;
    drop(alice);
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.until("number 40<").await.map_err(|_| "it gets nothing".to_owned())?;
    is(numbers(&got).into_iter().eq(1..=40), || format!("it gets {:?}", numbers(&got)))
}

/// The longest time, and how many stanzas go unacknowledged.
pub async fn bounds(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let mut alice = Raw::plain(ring.addr(), "alice").await?;
    alice.write("<enable xmlns='urn:xmpp:sm:3' resume='true' max='900'/>").await?;
    let enabled = alice.until("<enabled").await? + &alice.until("/>").await?;
    is(attribute(&enabled, "max").as_deref() == Some("700"), || format!("it may resume as {enabled}"))?;
    for number in 1..=3 {
        bob.say("alice", number).await?;
    }
    let got = alice.rest().await;
    is(!got.contains("<r "), || format!("it is asked too early: {got}"))?;
    bob.say("alice", 4).await?;
    alice.until("<r ").await.map(drop)
}
