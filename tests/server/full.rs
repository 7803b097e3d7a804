//! A client acknowledges nothing, and its buffer is full: what was promised to its senders is kept all the same.

use super::client::Client;
use super::{all, messages, numbers, start};

const COUNT: usize = 30;
const LAST: &str = "30.</body>";

/// Sends more than the buffer and the backlog take to a client that reads and does not answer; gives what it saw until its stream
/// ended.
async fn overflow(on_full: &str, then: impl AsyncFnOnce(&super::Running)) -> String {
    let server = start(&["--buffer-max=10", "--backlog-max=10", on_full]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    let seen = juliet.rest().await;
    romeo.ping().await;
    then(&server).await;
    let (_, failed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(failed.contains("<item-not-found "), "{failed}");
    seen
}

/// Whatever the session held is there for the next one.
async fn nothing_is_lost(server: &super::Running) {
    let mut again = Client::simple(server, "juliet", "balcony").await;
    let received = again.upto(LAST).await;
    assert_eq!(numbers(&received), all(COUNT));
}

#[tokio::test]
async fn the_stream_ends_after_a_while() {
    let seen = overflow("--on-full=end-after=0.2", nothing_is_lost).await;
    assert!(seen.contains("<stream:error><resource-constraint "), "{seen}");
    assert!(seen.ends_with("</stream:stream>"), "{seen}");
}

#[tokio::test]
async fn the_stream_ends_at_once() {
    let seen = overflow("--on-full=end", nothing_is_lost).await;
    assert!(seen.contains("<stream:error><resource-constraint "), "{seen}");
    assert_eq!(numbers(&seen), all(8), "with two presences, what fits and not one more");
}

#[tokio::test]
async fn the_stream_goes_on_and_cannot_be_resumed() {
    let server = start(&["--buffer-max=10", "--on-full=evict-oldest"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    assert_eq!(numbers(&juliet.upto(LAST).await), all(COUNT));
    assert!(!juliet.ping().await.contains("<stream:error"));
    juliet.cut(&mut romeo).await;
    let (_, failed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(failed.contains("<item-not-found "), "{failed}");
}

#[tokio::test]
async fn a_session_without_a_stream_ends() {
    let server = start(&["--backlog-max=5"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.cut(&mut romeo).await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    let gone = romeo.upto(" type='unavailable'/>").await;
    assert!(gone.contains("<presence from='juliet@localhost/balcony'"), "{gone}");
    romeo.ping().await;
    // Under another name, for to bind the same would end the session too.
    let mut garden = Client::simple(&server, "juliet", "garden").await;
    let received = garden.upto(LAST).await + &garden.upto("</message>").await;
    assert_eq!(numbers(&received), all(COUNT));
    assert_eq!(received.matches("<delay ").count(), COUNT);
}

/// The newest within a bound, once each; the rest is as without stream management.
#[tokio::test]
async fn what_has_left_the_buffer_is_kept_within_a_bound() {
    let server = start(&["--buffer-max=10", "--on-full=evict-oldest", "--evicted-max-bytes=2000"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    juliet.upto(LAST).await;
    juliet.cut(&mut romeo).await;
    let mut again = Client::simple(&server, "juliet", "garden").await;
    let kept = numbers(&again.upto(LAST).await);
    assert!((12..20).contains(&kept.len()) && kept == all(COUNT)[COUNT - kept.len()..], "{kept:?}");
}
