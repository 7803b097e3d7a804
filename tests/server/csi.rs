//! Client state indication (XEP-0352): what an inactive client need not see waits, in order, and all else does not.

use super::client::Client;
use super::{message, start};

const ACTIVE: &str = "<active xmlns='urn:xmpp:csi:0'/>";
pub const INACTIVE: &str = "<inactive xmlns='urn:xmpp:csi:0'/>";
const FEATURE: &str = "<csi xmlns='urn:xmpp:csi:0'/>";
const TO: &str = "juliet@localhost/balcony";

pub fn status(text: impl std::fmt::Display) -> String {
    format!("<presence><status>{text}</status></presence>")
}

pub fn state(name: &str) -> String {
    let state = format!("<{name} xmlns='http://jabber.org/protocol/chatstates'/>");
    format!("<message to='{TO}' type='chat'>{state}</message>")
}

/// The texts and chat states that were received, in order.
pub fn seen(received: &str) -> Vec<&str> {
    let tags = received.split('<').filter_map(|tag| tag.split_once(['>', ' ']));
    let told = |(name, rest)| match name {
        "status" | "body" => Some(rest),
        "composing" | "paused" => Some(name),
        _ => None,
    };
    tags.filter_map(told).collect()
}

/// An inactive client, with stream management or without, and somebody who has things to say.
async fn inactive(server: &super::Running, sm: bool) -> (Client, Client) {
    let mut juliet = match sm {
        true => Client::session(server, "juliet", "balcony").await,
        false => Client::simple(server, "juliet", "balcony").await,
    };
    assert!(juliet.features.contains(FEATURE), "{}", juliet.features);
    let mut romeo = Client::simple(server, "romeo", "orchard").await;
    juliet.upto("<presence from='romeo@localhost/orchard'").await;
    juliet.send(INACTIVE).await;
    juliet.ping().await;
    romeo.ping().await;
    (juliet, romeo)
}

#[tokio::test]
async fn presence_and_chat_states_wait_until_the_client_is_active() {
    for sm in [true, false] {
        let server = start(&[]).await;
        let (mut juliet, mut romeo) = inactive(&server, sm).await;
        romeo.send(&(status("one") + &state("composing") + &status("two") + &state("paused"))).await;
        romeo.ping().await;
        // All of it is there before what the client asks next is answered.
        juliet.send(ACTIVE).await;
        assert_eq!(seen(&juliet.ping().await), ["two", "paused"], "the last of each; stream management: {sm}");
        romeo.send(&status("three")).await;
        assert_eq!(seen(&juliet.upto("</presence>").await), ["three"]);
    }
}

/// Each stream begins active: what has waited goes out, though the client looks away before it could.
#[tokio::test]
async fn a_client_that_comes_back_for_a_moment_gets_what_has_waited() {
    let server = start(&[]).await;
    let (mut juliet, mut romeo) = inactive(&server, true).await;
    romeo.send(&(status("one") + &state("composing"))).await;
    romeo.ping().await;
    let (h, smid) = (juliet.h, juliet.smid.take().expect("a session that can be resumed"));
    let mut again = Client::login(&server, "juliet").await;
    again.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='{h}'/>{INACTIVE}")).await;
    assert_eq!(seen(&again.upto("<composing ").await), ["one", "composing"]);
}

#[tokio::test]
async fn what_cannot_wait_brings_along_what_came_before_it() {
    let server = start(&[]).await;
    let (mut juliet, mut romeo) = inactive(&server, true).await;
    romeo.send(&(status("one") + &message(TO, "a word") + &status("two"))).await;
    romeo.ping().await;
    assert_eq!(seen(&juliet.upto("</message>").await), ["one", "a word"]);
    assert_eq!(seen(&juliet.ping().await), ["two"], "the answer to a question cannot wait either");
    romeo.send(&format!("<message to='{TO}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/><body>both</body></message>")).await;
    assert!(juliet.upto("</message>").await.contains("both"));
}

#[tokio::test]
async fn not_more_than_a_bound_waits() {
    let server = start(&["--connections-max=200"]).await;
    let (mut juliet, mut romeo) = inactive(&server, true).await;
    let long = "x".repeat(1000);
    // Directed presence of many senders, none of which makes another obsolete.
    let mut others = Vec::new();
    for number in 0..20 {
        let mut other = Client::login(&server, "romeo").await;
        other.bind(&format!("r{number}")).await;
        other.send(&format!("<presence to='{TO}'><status>{number}{long}</status></presence>")).await;
        other.ping().await;
        others.push(other);
    }
    romeo.ping().await;
    let received = juliet.upto("</presence>").await;
    assert!(received.contains("/r0'"), "the oldest goes first: {received}");
}

#[tokio::test]
async fn no_request_wakes_an_inactive_client() {
    let server = start(&["--buffer-max=8"]).await;
    let (mut juliet, mut romeo) = inactive(&server, true).await;
    let h = juliet.h;
    juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")).await;
    romeo.send(&message(TO, "one")).await;
    let received = juliet.upto("</message>").await + &juliet.ping().await;
    assert!(!received.contains("<r "), "{received}");
    juliet.send(ACTIVE).await;
    assert!(juliet.ping().await.contains("<r "), "what was held back");
    let h = juliet.h;
    juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>{INACTIVE}")).await;
    juliet.ping().await;
    for _ in 0..3 {
        romeo.send(&message(TO, "more")).await;
    }
    romeo.ping().await;
    assert_eq!(juliet.ping().await.matches("<r ").count(), 1, "a buffer that fills up asks, once");
}

#[tokio::test]
async fn a_stream_begins_active_and_one_that_is_resumed_too() {
    let server = start(&[]).await;
    let (mut juliet, mut romeo) = inactive(&server, true).await;
    romeo.send(&(status("one") + &status("two"))).await;
    romeo.ping().await;
    juliet.cut(&mut romeo).await;
    romeo.send(&status("three")).await;
    romeo.ping().await;
    let (mut juliet, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    assert_eq!(seen(&juliet.upto("</presence>").await), ["three"], "while it was away, too, the last is what counts");
    romeo.send(&status("four")).await;
    assert_eq!(seen(&juliet.upto("</presence>").await), ["four"]);
}

#[tokio::test]
async fn what_waits_at_the_end_of_a_session_does_not_overtake_what_it_had() {
    let server = start(&[]).await;
    let (mut juliet, mut romeo) = inactive(&server, true).await;
    romeo.send(&(message(TO, "a word") + &status("one"))).await;
    romeo.ping().await;
    juliet.cut(&mut romeo).await;
    let mut again = Client::simple(&server, "juliet", "balcony").await;
    assert_eq!(seen(&again.upto("</message>").await).last(), Some(&"a word"));
}

#[tokio::test]
async fn indications_at_odd_times_change_nothing_else() {
    let server = start(&[]).await;
    // Before there is a session, of which nothing is left in it.
    let mut juliet = Client::login(&server, "juliet").await;
    juliet.send(&[INACTIVE, INACTIVE, ACTIVE, INACTIVE].concat()).await;
    juliet.bind("balcony").await;
    juliet.send("<presence/>").await;
    juliet.upto("/>").await;
    // Twice, with things in them that do not belong there, and inside of a stanza.
    let odd = "<inactive xmlns='urn:xmpp:csi:0' since='1'>now<x xmlns='y'/></inactive>";
    juliet.send(&[INACTIVE, odd, ACTIVE, ACTIVE].concat()).await;
    juliet.send(&format!("<message to='juliet@localhost'>{INACTIVE}<body>no indication</body></message>")).await;
    assert!(juliet.upto("</message>").await.contains("no indication"));
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&status("seen")).await;
    assert_eq!(seen(&juliet.upto("</presence>").await), ["seen"]);
    // Something else of that namespace is nothing that a client may send.
    juliet.send("<drowsy xmlns='urn:xmpp:csi:0'/>").await;
    assert!(juliet.rest().await.contains("<unsupported-stanza-type "));
}

#[tokio::test]
async fn where_it_is_off_it_is_not_offered_and_does_nothing() {
    let server = start(&["--csi=off"]).await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    assert!(!juliet.features.contains("urn:xmpp:csi:0"), "{}", juliet.features);
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    juliet.send(INACTIVE).await;
    juliet.ping().await;
    romeo.send(&status("seen")).await;
    assert_eq!(seen(&juliet.upto("</presence>").await), ["seen"]);
}
