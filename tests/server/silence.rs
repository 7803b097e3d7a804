//! A client that says nothing is asked whether it is there; and is lost, if it does not answer.

use super::client::Client;
use super::{Running, message, start};

const INACTIVE: &str = "<inactive xmlns='urn:xmpp:csi:0'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";

async fn quick() -> Running {
    start(&["--ping-after=0.2", "--ack-timeout=0.5"]).await
}

/// Nothing is sent to an inactive client, and nothing asks it for an acknowledgement: only its silence does.
#[tokio::test]
async fn an_inactive_client_on_a_dead_link_is_found() {
    let server = quick().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>{INACTIVE}", juliet.h)).await;
    let (h, seen) = (juliet.h, juliet.upto(R).await);
    assert!(!seen.contains("<ping"), "{seen}");
    assert!(!juliet.rest().await.contains("</stream:stream>"), "the connection is dropped, and the session waits");
    let (_, resumed) = Client::resume(&server, "juliet", &juliet, h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
}

#[tokio::test]
async fn a_client_that_answers_stays() {
    let server = quick().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    for _ in 0..4 {
        juliet.upto(R).await;
        let h = juliet.h;
        juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")).await;
    }
    assert!(!juliet.ping().await.contains("<ping"));
}

/// Where there is no `<r/>`.
#[tokio::test]
async fn without_stream_management_a_ping_asks() {
    let server = quick().await;
    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    for _ in 0..4 {
        let ping = juliet.upto(PING).await;
        assert!(ping.contains("from='localhost'") && ping.contains("to='juliet@localhost/balcony'"), "{ping}");
        juliet.send("<iq type='result' id='ping' to='localhost'/>").await;
    }
    juliet.upto(PING).await;
    assert!(!juliet.rest().await.contains("<ping"), "it is asked once");
    // Its resource is free: what is for it waits for her.
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&message("juliet@localhost/balcony", "one")).await;
    let mut juliet = Client::simple(&server, "juliet", "garden").await;
    juliet.upto("one").await;
}

#[tokio::test]
async fn a_client_that_talks_is_not_asked() {
    let server = start(&["--ping-after=1"]).await;
    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    for _ in 0..15 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(!juliet.ping().await.contains("<ping"));
    }
}
