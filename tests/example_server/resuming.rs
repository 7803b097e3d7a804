//! A client comes back.

use futures::future::join_all;

use super::client::Client;
use super::{all, message, messages, numbers, start};

#[tokio::test]
async fn a_live_stream_is_taken_over() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let h = juliet.h;
    romeo.send(&message("juliet@localhost", "before")).await;
    juliet.upto("before").await;

    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, h).await;
    assert!(resumed.contains(" h='1'"), "the server has handled the presence: {resumed}");
    let old = juliet.rest().await;
    assert!(old.contains("<stream:error><conflict ") && old.ends_with("</stream:stream>"), "{old}");

    let first = again.upto("<r xmlns='urn:xmpp:sm:3'/>").await;
    assert!(first.starts_with("<message ") && first.contains("before"), "first what was not acknowledged: {first}");
    romeo.send(&message("juliet@localhost/balcony", "after")).await;
    assert!(!again.upto("after").await.contains("<delay"));
    again.send(&message("romeo@localhost", "back")).await;
    let seen = romeo.upto("back").await;
    assert!(!seen.contains("unavailable"), "nobody noticed: {seen}");
}

#[tokio::test]
async fn a_wrong_h_and_a_wrong_user_leave_the_session_alone() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;

    let (mut again, failed) = Client::resume(&server, "juliet", &juliet, 99).await;
    assert!(failed.contains("<bad-request ") && !failed.contains(" h="), "{failed}");
    let live = juliet.ping().await;
    assert!(!live.contains("<stream:error"), "the live stream goes on: {live}");
    // Whoever failed to resume may bind.
    again.bind("garden").await;
    again.enable().await;

    let h = juliet.h;
    juliet.cut(&mut romeo).await;
    let (_, failed) = Client::resume(&server, "juliet", &juliet, 99).await;
    assert!(failed.contains("<bad-request "), "{failed}");
    let (_, failed) = Client::resume(&server, "romeo", &juliet, h).await;
    assert!(failed.contains("<item-not-found ") && !failed.contains(" h="), "{failed}");
    let (_, resumed) = Client::resume(&server, "juliet", &juliet, h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
}

#[tokio::test]
async fn without_a_stream_a_session_takes_messages_and_says_when_they_came() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.cut(&mut romeo).await;
    romeo.send(&messages("juliet@localhost", 20)).await;
    romeo.ping().await;

    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    let received = again.upto("<r xmlns='urn:xmpp:sm:3'/>").await;
    assert_eq!(numbers(&received), all(20));
    assert_eq!(received.matches("<delay xmlns='urn:xmpp:delay'").count(), 20, "{received}");
}

/// All are answered, each takes over from the one before, and the last keeps the session.
#[tokio::test]
async fn of_many_that_resume_at_once_one_is_left() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let h = juliet.h;
    romeo.send(&message("juliet@localhost", "before")).await;
    juliet.upto("before").await;

    let racers = join_all((0..8).map(|_| Client::resume(&server, "juliet", &juliet, h))).await;
    romeo.send(&message("juliet@localhost", "after")).await;
    let ends = racers.into_iter().map(|(mut racer, answer)| async move {
        assert!(answer.contains("<resumed "), "{answer}");
        racer.upto_one_of(&["after", "</stream:stream>"]).await
    });
    let ends = join_all(ends).await;
    // Who is taken over before it came to be written gets a conflict in its place.
    let got = |end: &String| end.contains("before") || end.contains("<conflict ");
    assert!(ends.iter().all(got), "each got what was not acknowledged: {ends:?}");
    assert_eq!(ends.iter().filter(|end| end.ends_with("after")).count(), 1, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| end.contains("<conflict ")).count(), 7, "{ends:?}");
    assert!(juliet.rest().await.contains("<conflict "));
}
