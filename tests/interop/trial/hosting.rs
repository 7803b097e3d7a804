//! What an operator configures, and what other modules do.

use futures::StreamExt;
use futures::stream::iter;
use tokio::time::{Duration, sleep};

use super::{Ring, is};
use crate::peers::DOMAIN;
use crate::raw::{Raw, attribute, message, numbers};

/// A time that is no whole number of seconds is told as one.
pub async fn fraction(ring: Ring) -> Result<(), String> {
    let max = granted(&mut Raw::plain(ring.addr(), "alice").await?).await?;
    is(max.as_deref() == Some("43200"), || format!("max is {max:?}"))
}

/// A time that is no number at all is as good as none: the default counts, and the log says so.
pub async fn no_time(ring: Ring) -> Result<(), String> {
    let max = granted(&mut Raw::plain(ring.addr(), "alice").await?).await?;
    is(max.as_deref() == Some("600"), || format!("max is {max:?}"))?;
    is(log(&ring).contains("smacks_hibernation_time' not understood"), || "the log does not say it".into())
}

/// They count as the nearest that can be, and the log says so.
pub async fn out_of_range(ring: Ring) -> Result<(), String> {
    let max = granted(&mut Raw::plain(ring.addr(), "alice").await?).await?;
    is(max.as_deref() == Some("4294967295"), || format!("max is {max:?}"))?;
    for option in ["hibernation_time", "max_sessions", "ack_timeout"] {
        is(log(&ring).contains(&format!("smacks_{option} counts as ")), || format!("the log has no word of {option}"))?;
    }
    Ok(())
}

async fn granted(raw: &mut Raw) -> Result<Option<String>, String> {
    raw.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
    let enabled = raw.until("<enabled").await? + &raw.until("/>").await?;
    Ok(attribute(&enabled, "max"))
}

/// Clients that log in after a reload have the options that are new; sessions that were there keep theirs, and go on.
pub async fn new_options(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    drop(alice);
    bob.command("set smacks_hibernation_time 7").await?;
    bob.command("reload").await?;
    bob.say("alice", 1).await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed ") && numbers(&got) == [1], || format!("the session is lost: {got}"))?;
    let max = granted(&mut Raw::plain(ring.addr(), "bob").await?).await?;
    is(max.as_deref() == Some("7"), || format!("then max is {max:?}"))
}

/// The metrics of Prosody's own module, by their names.
pub async fn metrics(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    alice.write("<a xmlns='urn:xmpp:sm:3' h='1'/>").await?;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "1").await?;
    alice.until("<resumed ").await?;
    bob.say("alice", 2).await?;
    alice.until("number 2").await?;
    drop(alice);
    sleep(Duration::from_secs(4)).await;
    Raw::resume(ring.addr(), "alice", &id, "1").await?.until("<failed ").await?;
    let metrics = bob.command("metrics").await?;
    let names = [
        ("sessions_started", 1.0),
        ("tx_queued_stanzas", 2.0),
        ("tx_acked_stanzas", 1.0),
        ("resumption_age", 1.0),
        ("sessions_expired", 1.0),
        ("tx_dropped_stanzas", 1.0),
        ("session_resumption_expired", 1.0),
    ];
    for (name, expected) in names {
        // A histogram has a count of its samples.
        let named = |line: &&str| {
            let line = line.strip_prefix(&format!("prosody_mod_smacks__{name}"));
            line.is_some_and(|rest| ["_total{", "_count{", "_seconds_count{"].iter().any(|end| rest.starts_with(end)))
        };
        let value = metrics.lines().find(named).and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        is(value == Some(expected), || format!("{name} is {value:?}"))?;
    }
    Ok(())
}

/// It is told once of each `<r/>`, and not of one that was answered, nor of a session that is over.
pub async fn slow(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("<r ").await?;
    alice.write("<a xmlns='urn:xmpp:sm:3' h='1'/>").await?;
    sleep(Duration::from_millis(1500)).await;
    let told = bob.command("delays").await?;
    is(told.contains("delays: 0<"), || format!("of one that was answered it is told: {told}"))?;
    bob.say("alice", 2).await?;
    alice.until("<r ").await?;
    sleep(Duration::from_millis(2500)).await;
    let told = bob.command("delays").await?;
    is(told.contains("delays: 1<"), || format!("of one that was not answered: {told}"))?;
    alice.write("<a xmlns='urn:xmpp:sm:3' h='2'/><r xmlns='urn:xmpp:sm:3'/>").await?;
    alice.until("<a ").await?;
    bob.say("alice", 3).await?;
    alice.until("<r ").await?;
    alice.write("</stream:stream>").await?;
    alice.end().await;
    sleep(Duration::from_millis(2000)).await;
    let told = bob.command("delays").await?;
    is(told.contains("delays: 1<"), || format!("of one whose session is over: {told}"))?;
    let log = log(&ring);
    let wrong = log.lines().find(|line| line.contains("\terror\t") && !line.contains("certificate"));
    is(wrong.is_none(), || format!("the log says {wrong:?}"))
}

/// A session goes on over WebSocket, and back: each stanza comes in the namespaces that it needs there.
pub async fn websocket(ring: Ring) -> Result<(), String> {
    let port = ring.options.websocket.ok_or("there is no port")?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    bob.say("alice", 1).await?;
    let mut alice = Raw::log_in_by_websocket(port, "alice").await?;
    alice.ask(&id, "0").await?;
    let got = alice.until("</message>").await?;
    is(numbers(&got) == [1], || format!("over WebSocket it gets {got}"))?;
    bob.say("alice", 2).await?;
    let got = got + &alice.until("number 2").await?;
    let is_bare = |start: &&str| !start.split('>').next().unwrap_or_default().contains("xmlns='jabber:client'");
    let bare = got.split("<message ").skip(1).filter(is_bare).count();
    is(bare == 0, || format!("{bare} stanzas have no namespace: {got}"))?;
    alice.write(&message("bob", 3).replace("<message ", "<message xmlns='jabber:client' ")).await?;
    bob.until("number 3").await.map_err(|_| "what it says over WebSocket is lost".to_owned())?;
    let mut tcp = Raw::resume(ring.addr(), "alice", &id, "1").await?;
    let got = tcp.until("number 2").await?;
    is(got.contains("<resumed ") && got.contains("h='1'"), || format!("back over TCP it says {got}"))?;
    let (is_closed, said) = alice.end().await;
    is(is_closed, || "the old connection stays open".into())?;
    let is_whole = said.contains("<conflict ") && said.contains("<close ");
    is(is_whole && declares(&said, "stream:error"), || format!("the old connection is told {said:?}"))
}

/// Whether the element has the prefix `stream`, as a document of its own.
fn declares(said: &str, name: &str) -> bool {
    let start = said.split(&format!("<{name}")).nth(1).and_then(|rest| rest.split('>').next());
    start.is_some_and(|start| start.contains("xmlns:stream='http://etherx.jabber.org/streams'"))
}

/// It is gone then, though nothing of its connection is left to be closed.
pub async fn room_after_websocket(ring: Ring) -> Result<(), String> {
    let port = ring.options.websocket.ok_or("there is no port")?;
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let mut web = Raw::log_in_by_websocket(port, "alice").await?;
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind>";
    web.write(&format!("<iq xmlns='jabber:client' type='set' id='bind'>{bind}</iq>")).await?;
    web.until("</iq>").await?;
    web.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
    web.until("<enabled").await?;
    web.vanish().await;
    let bound = bob.command("bound alice@localhost/web").await?;
    is(bound.contains(">bound<"), || "it does not wait".into())?;
    let (_alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    let bound = bob.command("bound alice@localhost/web").await?;
    is(bound.contains(">gone<"), || "its resource is still bound".into())
}

/// The same user, session for session, at two hosts of one server.
pub async fn two_hosts(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    bob.command("user alice elsewhere").await?;
    let (here, id) = Raw::enabled(ring.addr(), "alice").await?;
    let (there, other) = Raw::enabled_at(ring.addr(), "alice", "elsewhere").await?;
    drop((here, there));
    sleep(Duration::from_millis(200)).await;
    bob.say("alice", 1).await?;
    bob.write(&message("alice", 2).replace(&format!("@{DOMAIN}"), "@elsewhere")).await?;
    bob.rest().await;
    for (previd, domain) in [(&other, DOMAIN), (&id, "elsewhere")] {
        let mut stranger = Raw::log_in_at(ring.addr(), "alice", domain).await?;
        stranger.ask(previd, "0").await?;
        let said = stranger.rest().await;
        is(said.contains("<item-not-found "), || format!("at {domain} the other's SM-ID gets {said}"))?;
    }
    for (previd, domain, number) in [(id, DOMAIN, 1), (other, "elsewhere", 2)] {
        let mut alice = Raw::log_in_at(ring.addr(), "alice", domain).await?;
        alice.ask(&previd, "0").await?;
        let got = alice.rest().await;
        is(got.contains("<resumed ") && numbers(&got) == [number], || format!("at {domain} it gets {got}"))?;
    }
    Ok(())
}

/// The module does not stumble over a component, and what a component sends waits for a client that is away.
pub async fn component(ring: Ring) -> Result<(), String> {
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.write("<message to='component' id='command'><body>later 500</body></message>").await?;
    alice.write("<r xmlns='urn:xmpp:sm:3'/>").await?;
    alice.until("h='1'").await?;
    drop(alice);
    sleep(Duration::from_millis(1000)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    let got = alice.rest().await;
    is(got.contains("<resumed ") && got.contains("<body>done<"), || format!("it gets {got:?}"))?;
    let log = log(&ring);
    let wrong = log.lines().find(|line| line.contains("\terror\t"));
    is(wrong.is_none(), || format!("the log says {wrong:?}"))
}

/// Other modules send and close and fail where the module tells them something: each message comes once, in order.
pub async fn meddling(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    bob.command("meddle alice@localhost/alice").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    alice.vanish().await;
    bob.say("alice", 3).await?;
    bob.rest().await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "1").await?;
    let got = alice.until("number 5<").await?;
    bob.say("alice", 6).await?;
    let got = got + &alice.until("number 6<").await?;
    is(numbers(&got) == [2, 3, 4, 5, 6], || format!("it gets {:?}", numbers(&got)))?;
    alice.write("<r xmlns='urn:xmpp:sm:3'/>").await?;
    alice.until("<a ").await.map(drop)
}

/// The session that has waited for longest makes room for another, and one whose client is there never does.
pub async fn too_many(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let mut there = Vec::new();
    let mut waits = Vec::new();
    for (resource, is_there) in [("one", true), ("two", false), ("three", true), ("four", true)] {
        let mut alice = Raw::log_in(ring.addr(), "alice").await?;
        alice.bind(resource).await?;
        alice.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
        let enabled = alice.until("<enabled").await? + &alice.until("/>").await?;
        let id = attribute(&enabled, "id").ok_or_else(|| format!("{resource} has no id: {enabled}"))?;
        if is_there {
            there.push((alice, resource))
        } else {
            waits.push(id)
        }
        sleep(Duration::from_millis(200)).await;
    }
    for (alice, resource) in &mut there {
        bob.write(&message("alice", 1).replace("/alice'", &format!("/{resource}'"))).await?;
        alice.until("number 1<").await.map_err(|why| format!("{resource}: {why}"))?;
    }
    let mut alice = Raw::resume(ring.addr(), "alice", &waits[0], "0").await?;
    let said = alice.rest().await;
    is(said.contains("<item-not-found "), || format!("the one that waits has made no room: {said}"))
}

/// It waits for as long as the service says, and not for longer; and not while the client is there.
pub async fn pushing(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    bob.command("prolong 2").await?;
    let (mut alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    // The time of the first absence is not that of the second.
    for absence in ["first", "second"] {
        drop(alice);
        sleep(Duration::from_millis(2500)).await;
        alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
        alice.until("<resumed ").await.map_err(|_| format!("the {absence} time it does not wait longer"))?;
    }
    sleep(Duration::from_secs(3)).await;
    bob.say("alice", 1).await?;
    alice.until("number 1<").await.map_err(|_| "it ends while the client is there".to_owned())?;
    drop(alice);
    sleep(Duration::from_secs(6)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    alice.until("<failed ").await.map_err(|_| "it waits for ever".to_owned())?;
    alice.bind("alice").await?;
    alice.write("<presence/>").await?;
    let got = alice.rest().await;
    is(numbers(&got) == [1], || format!("it finds {:?}", numbers(&got)))
}

/// The service has what was kept in its care once more: for as long as it says then.
pub async fn pushing_past_a_restart(mut ring: Ring) -> Result<(), String> {
    let (alice, id) = Raw::enabled(ring.addr(), "alice").await?;
    alice.vanish().await;
    ring.restart().await?;
    sleep(Duration::from_secs(2)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    alice.until("<resumed ").await.map_err(|_| "it does not wait longer".to_owned())?;
    alice.vanish().await;
    ring.restart().await?;
    sleep(Duration::from_secs(9)).await;
    let mut alice = Raw::resume(ring.addr(), "alice", &id, "0").await?;
    alice.until("<failed ").await.map(drop).map_err(|_| "it waits for ever".to_owned())
}

/// They see what the client may not have, with its time, as the shell does.
pub async fn looked_at(ring: Ring) -> Result<(), String> {
    let mut bob = Raw::plain(ring.addr(), "bob").await?;
    let (mut alice, _) = Raw::enabled(ring.addr(), "alice").await?;
    bob.say("alice", 1).await?;
    alice.until("number 1").await?;
    alice.vanish().await;
    bob.say("alice", 2).await?;
    let told = bob.command("queued").await?;
    is(told.contains("delay 2 2 true"), || format!("they are told {told}"))?;
    let told = bob.command("queue alice@localhost/alice").await?;
    is(told.contains("queue: 2<"), || format!("the shell is told {told}"))
}

/// Elements that are no stanzas cannot be written there as they are.
pub async fn bosh(ring: Ring) -> Result<(), String> {
    let offered = Raw::plain(ring.addr(), "bob").await?.command("bosh").await?;
    is(offered.contains("nothing"), || "stream management is offered".into())
}

/// As many sessions as are named wait, each for its own client.
pub async fn many(ring: Ring) -> Result<(), String> {
    const SESSIONS: usize = 10_000;
    let addr = ring.addr();
    let open = |number: usize| async move {
        let mut raw = Raw::log_in(addr, "alice").await?;
        raw.bind(&format!("r{number}")).await?;
        raw.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await?;
        let enabled = raw.until("<enabled").await? + &raw.until("/>").await?;
        attribute(&enabled, "id").ok_or_else(|| format!("session {number} has no id: {enabled}"))
    };
    let ids: Vec<Result<String, String>> = iter(0..SESSIONS).map(open).buffered(16).collect().await;
    let ids = ids.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut bob = Raw::plain(addr, "bob").await?;
    for number in (0..SESSIONS).step_by(SESSIONS / 10) {
        bob.write(&message("alice", number as u32).replace("/alice'", &format!("/r{number}'"))).await?;
    }
    bob.rest().await;
    for number in (0..SESSIONS).step_by(SESSIONS / 10) {
        let mut alice = Raw::resume(addr, "alice", &ids[number], "0").await?;
        let got = alice.until("</message>").await?;
        is(numbers(&got) == [number as u32], || format!("session {number} gets {:?}", numbers(&got)))?;
    }
    Ok(())
}

fn log(ring: &Ring) -> String {
    std::fs::read_to_string(ring.place.log(&format!("{}.log", ring.server.name()))).unwrap_or_default()
}
