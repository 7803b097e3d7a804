//! A client comes back.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures::future::join_all;
use xmpp_sm::Nonza;

use super::client::Client;
use super::server::Server;
use super::server::options::Options;
use super::server::trace::{Trace, Traced, What};
use super::{OPTIONS, all, message, messages, numbers, start};

#[tokio::test]
async fn a_live_stream_is_taken_over() {
    let server = start(&[]).await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
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
    let (mut romeo, mut juliet) = Client::both(&server).await;

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
    let (mut romeo, mut juliet) = Client::both(&server).await;
    juliet.cut(&mut romeo).await;
    romeo.send(&messages("juliet@localhost", 20)).await;
    romeo.ping().await;
    a_second().await;

    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    let received = again.upto("20.<").await + &again.upto("</message>").await;
    assert_eq!(numbers(&received), all(20));
    assert_eq!(received.matches("<delay xmlns='urn:xmpp:delay'").count(), 20, "{received}");
}

/// All are answered, each takes over from the one before, and the last keeps the session.
#[tokio::test]
async fn of_many_that_resume_at_once_one_is_left() {
    let server = start(&[]).await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
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

/// What has waited for less is not late.
async fn a_second() {
    tokio::time::sleep(Duration::from_millis(1001)).await;
}

/// Seconds and all, as they are compared by a client that sorts by them.
fn stamps(received: &str) -> Vec<&str> {
    let stamps = received.split(" stamp='").skip(1);
    stamps.map(|stamp| stamp.split('\'').next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn what_is_sent_again_is_not_younger_than_what_follows_it() {
    let server = start(&[]).await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
    let h = juliet.h;
    romeo.send(&message("juliet@localhost", "one")).await;
    assert!(!juliet.upto("</message>").await.contains("<delay "));
    juliet.cut(&mut romeo).await;
    romeo.send(&message("juliet@localhost", "two")).await;
    romeo.ping().await;
    a_second().await;
    let (mut again, _) = Client::resume(&server, "juliet", &juliet, h).await;
    let received = again.upto("two").await + &again.upto("</message>").await;
    let stamps = stamps(&received);
    assert!(stamps.len() == 2 && stamps.is_sorted(), "{received}");
    assert!(received.find("one") < received.find("two"), "{received}");
}

#[tokio::test]
async fn of_a_contacts_presence_a_client_that_was_away_gets_the_last() {
    let server = start(&["--backlog-max=20"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut garden = Client::simple(&server, "romeo", "garden").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.ping().await;
    juliet.cut(&mut romeo).await;
    romeo.send("<presence to='juliet@localhost' type='subscribed'/>").await;
    for number in 1..=110 {
        romeo.send(&format!("<presence><status>{number}.</status></presence>")).await;
        garden.send(&format!("<presence><status>{number}.</status></presence>")).await;
    }
    romeo.send("<presence type='unavailable'/>").await;
    romeo.ping().await;
    garden.ping().await;
    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    let received = again.ping().await;
    let of = |sender: &str| received.matches(&format!("<presence from='{sender}'")).count();
    assert_eq!((of("romeo@localhost/orchard"), of("romeo@localhost/garden")), (1, 1), "{received}");
    assert!(received.contains("type='unavailable'") && received.contains(">110.<"), "{received}");
}

#[tokio::test]
async fn a_client_may_ask_for_more_time_where_it_may() {
    let server = start(&["--resume-timeout=100", "--resume-timeout-max=900"]).await;
    for (asked, max) in [("", "100"), (" max='300'", "300"), (" max='5000'", "900")] {
        let mut juliet = Client::login(&server, "juliet").await;
        juliet.bind("balcony").await;
        juliet.send(&format!("<enable xmlns='urn:xmpp:sm:3' resume='true'{asked}/>")).await;
        let enabled = juliet.upto("/>").await;
        assert!(enabled.contains(&format!(" max='{max}'")), "{asked}: {enabled}");
        juliet.send("</stream:stream>").await;
        juliet.rest().await;
    }
}

/// Its mailbox is closed, and its record names it. The trace runs in the session's task, and is a way to end it.
#[tokio::test]
async fn a_session_whose_task_has_died_is_refused_and_may_be_bound_again() {
    let trace: Trace = Arc::new(|traced: &Traced<'_>| {
        assert!(!matches!(traced.what, What::From(Nonza::AckRequest)), "a mistake in the session's task");
    });
    let server = Server::start(&Options::parse_from(OPTIONS), Some(trace)).await.expect("a free port");
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    juliet.rest().await;
    let (mut again, failed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(failed.contains("<item-not-found "), "{failed}");
    again.bind("balcony").await;
    again.enable().await;
    again.ping().await;
}
