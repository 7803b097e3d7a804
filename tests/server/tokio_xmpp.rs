//! A real client, `tokio-xmpp`, resumes against the example server, wherever its connection is cut: every message
//! arrives exactly once and in order, in both directions.
//!
//! The cuts are exact to the byte. Nothing here waits for time to pass: the clients' talk itself stops if a message
//! is lost, and `TIME` is only there so that a test which fails ends.

#[path = "../../examples/resume/client.rs"]
mod client;
#[path = "../../examples/resume/proxy.rs"]
mod proxy;

use std::time::Duration;

use super::server::Server;
use super::server::options::Options;
use clap::Parser;
use client::{Client, Seen, Talk};
use futures::future::join_all;
use jid::FullJid;
use proxy::{Cut, Way};
use tokio::sync::mpsc;
use tokio::time::timeout;

const MESSAGES: usize = 20;
const TIME: Duration = Duration::from_secs(60);

/// Without SCRAM, for the clients log in some two hundred times.
const OPTIONS: [&str; 5] =
    ["server", "--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--mechanism=PLAIN"];

const BOTH: [Way; 2] = [Way::ToServer, Way::ToClient];
/// As the client writes it, and the server.
const R: [(Way, &str); 2] =
    [(Way::ToServer, "<r xmlns='urn:xmpp:sm:3'></r>"), (Way::ToClient, "<r xmlns='urn:xmpp:sm:3'/>")];

/// Lets Romeo talk to Juliet over a connection that is cut, and checks that nobody else could tell. Of the cuts,
/// `resumed` are followed by a resumption; the others came before the client could see one, or need one.
async fn talk_through(cuts: &[Cut], resumed: usize) {
    let server = Server::start(&Options::parse_from(OPTIONS), None).await.expect("a free port");
    let (report, mut done) = mpsc::unbounded_channel();
    let report = move |made| report.send(made).unwrap_or_default();
    let through = proxy::start(server.address, cuts.iter().copied(), report).await.expect("a free port");

    let orchard: FullJid = "romeo@localhost/orchard".parse().expect("a full JID");
    let balcony: FullJid = "juliet@localhost/balcony".parse().expect("a full JID");
    let mut romeo = Client::connect(orchard.clone(), through);
    let mut juliet = Client::connect(balcony.clone(), server.address);
    let talk = async {
        tokio::join!(romeo.bound(), juliet.bound());
        tokio::join!(romeo.talk(&balcony, MESSAGES, TIME), juliet.talk(&orchard, MESSAGES, TIME));
        tokio::join!(romeo.ping(), juliet.ping());
    };
    let finished = timeout(TIME, talk).await;

    let all: Vec<_> = (1..=MESSAGES).collect();
    let seen = |resumed| Seen {
        sent: MESSAGES,
        received: all.clone(),
        latest: MESSAGES,
        resumed,
        sessions: 1,
        ..Seen::default()
    };
    assert_eq!((&romeo.seen, &juliet.seen), (&seen(resumed), &seen(0)), "{cuts:?}");
    finished.expect("what was seen is all there is");
    for cut in cuts {
        assert_eq!(done.try_recv().map(|done| done.cut), Ok(*cut), "a cut was not made");
    }
    tokio::join!(romeo.close(), juliet.close());
    server.stop().await;
}

/// Each cut by itself, all of them at once.
async fn each(cuts: impl IntoIterator<Item = Cut>) {
    join_all(cuts.into_iter().map(|cut| async move { talk_through(&[cut], 1).await })).await;
}

#[tokio::test]
async fn in_the_middle_of_a_stanza() {
    let inside = [1, "<mess".len(), 40, "<message".len()];
    each(BOTH.into_iter().flat_map(|way| inside.map(|keep| Cut { way, what: "<message", nth: 7, keep }))).await;
}

#[tokio::test]
async fn right_after_a_stanza_before_its_ack() {
    let after = |way, nth| Cut { way, what: "</message>", nth, keep: "</message>".len() };
    each(BOTH.into_iter().flat_map(|way| [1, 6, 12].map(|nth| after(way, nth)))).await;
}

#[tokio::test]
async fn between_r_and_a() {
    let after = |(way, r): (Way, &'static str), nth| Cut { way, what: r, nth, keep: r.len() };
    each(R.into_iter().flat_map(|r| [1, 4].map(|nth| after(r, nth)))).await;
}

#[tokio::test]
async fn in_the_middle_of_r_and_of_a() {
    let cut = |way, what| Cut { way, what, nth: 3, keep: 10 };
    each(BOTH.into_iter().flat_map(|way| [cut(way, "<r xmlns"), cut(way, "<a xmlns")])).await;
}

#[tokio::test]
async fn in_the_middle_of_resumed() {
    let first = Cut { way: Way::ToServer, what: "</message>", nth: 7, keep: 2 };
    let second = |keep| Cut { way: Way::ToClient, what: "<resumed", nth: 1, keep };
    // The client never sees the first resumption; the server has made it.
    join_all([0, 5, 40].map(|keep| async move { talk_through(&[first, second(keep)], 1).await })).await;
}

#[tokio::test]
async fn in_the_middle_of_resume() {
    let first = Cut { way: Way::ToClient, what: "</message>", nth: 7, keep: 2 };
    let second = |keep| Cut { way: Way::ToServer, what: "<resume", nth: 1, keep };
    join_all([0, 5, 40].map(|keep| async move { talk_through(&[first, second(keep)], 1).await })).await;
}

#[tokio::test]
async fn while_stanzas_are_sent_again() {
    // After the stanzas and before anything that acknowledges them, so that there is something to send again.
    let first = |way| Cut { way, what: "</message>", nth: 7, keep: "</message>".len() };
    let again = |way, keep| Cut { way, what: "<message", nth: 1, keep };
    let twice = |way, keep| async move { talk_through(&[first(way), again(way, keep)], 2).await };
    join_all(BOTH.into_iter().flat_map(|way| [0, 30].map(|keep| twice(way, keep)))).await;
}

#[tokio::test]
async fn in_the_middle_of_enabled_there_is_nothing_to_resume() {
    talk_through(&[Cut { way: Way::ToClient, what: "<enabled", nth: 1, keep: 20 }], 0).await;
}

#[tokio::test]
async fn again_and_again() {
    let cut = |way, what, keep| Cut { way, what, nth: 2, keep };
    let cuts = [
        cut(Way::ToServer, "<message", 50),
        cut(Way::ToClient, "<message", 50),
        cut(R[1].0, R[1].1, R[1].1.len()),
        cut(Way::ToServer, "</message>", "</message>".len()),
        cut(Way::ToClient, "</message>", "</message>".len()),
    ];
    talk_through(&cuts, cuts.len()).await;
}

/// Every 89th byte of the first kilobyte and a half after `<enable/>` or `<enabled/>`.
#[tokio::test]
async fn at_any_byte() {
    let offsets = (0..18).map(|n| 100 + 89 * n);
    each(offsets.flat_map(|keep| {
        let from = |way, what| Cut { way, what, nth: 1, keep };
        [from(Way::ToServer, "<enable "), from(Way::ToClient, "<enabled ")]
    }))
    .await;
}
