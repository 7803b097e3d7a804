//! What the server keeps for its users: not without bound, and what is refused is said.

use super::client::Client;
use super::{all, message, messages, numbers, start};

/// XEP-0160 says so of a message that finds no room; of private storage the condition says why.
const NO_ROOM: &str = "type='cancel'><service-unavailable ";
const TOO_MUCH: &str = "type='wait'><resource-constraint ";

#[tokio::test]
async fn messages_for_one_who_is_away_are_bounded_in_bytes() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let large = |number| message("juliet@localhost", format_args!("{number}.{}", "x".repeat(50_000)));
    for number in 1..=5 {
        romeo.send(&large(number)).await;
    }
    assert!(!romeo.ping().await.contains("<message "), "five are less than 256 KiB");
    romeo.send(&large(6)).await;
    let refused = romeo.upto("</message>").await;
    assert!(refused.contains(NO_ROOM) && refused.contains("from='juliet@localhost'"), "{refused}");

    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    assert_eq!(numbers(&(juliet.upto("5.x").await + &juliet.ping().await)), all(5));
    juliet.send("</stream:stream>").await;
    juliet.rest().await;
    romeo.send(&large(7)).await;
    assert!(!romeo.ping().await.contains("<message "), "what she has got takes no room");
}

/// A session takes only what it has room for.
#[tokio::test]
async fn what_was_handed_out_in_part_takes_no_room() {
    let server = start(&["--buffer-max=3", "--backlog-max=1"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let large = |number| message("juliet@localhost", format_args!("{number}.{}", "x".repeat(50_000)));
    for number in 1..=5 {
        romeo.send(&large(number)).await;
    }
    romeo.ping().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.upto("1.x").await;
    romeo.send(&large(6)).await;
    assert!(!romeo.ping().await.contains("<message "), "the first has left its place");
}

/// Small ones take more memory than their bytes.
#[tokio::test]
async fn many_small_messages_are_bounded_too() {
    let server = start(&["--offline-max-bytes=10000"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&messages("juliet@localhost", 100)).await;
    let refused = romeo.ping().await.matches(NO_ROOM).count();
    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    let kept = numbers(&juliet.ping().await);
    assert_eq!(kept, all(100 - refused));
    assert!((30..50).contains(&kept.len()), "each takes between 200 and 333 bytes: {}", kept.len());
}

async fn set(client: &mut Client, name: &str, bytes: usize) -> String {
    let element = format!("<{name} xmlns='a:b'>{}</{name}>", "x".repeat(bytes));
    client.send(&format!("<iq type='set' id='set'><query xmlns='jabber:iq:private'>{element}</query></iq>")).await;
    client.upto_one_of(&["type='result'/>", "</iq>"]).await
}

async fn get(client: &mut Client, name: &str) -> usize {
    let query = format!("<query xmlns='jabber:iq:private'><{name} xmlns='a:b'/></query>");
    client.send(&format!("<iq type='get' id='get'>{query}</iq>")).await;
    client.upto("</iq>").await.replace("xmlns", "").matches('x').count()
}

#[tokio::test]
async fn private_storage_is_bounded_in_bytes() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    assert!(set(&mut romeo, "one", 60_000).await.ends_with("type='result'/>"));
    for (name, bytes) in [("two", 6_000), ("one", 70_000)] {
        let refused = set(&mut romeo, name, bytes).await;
        assert!(refused.contains(TOO_MUCH), "{refused}");
    }
    assert_eq!((get(&mut romeo, "one").await, get(&mut romeo, "two").await), (60_000, 0));
    assert!(set(&mut romeo, "one", 50_000).await.ends_with("type='result'/>"), "in the place of the old one");
    assert!(set(&mut romeo, "two", 6_000).await.ends_with("type='result'/>"));
    assert_eq!((get(&mut romeo, "one").await, get(&mut romeo, "two").await), (50_000, 6_000));

    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    assert!(set(&mut juliet, "one", 60_000).await.ends_with("type='result'/>"), "another user's room is her own");
}

#[tokio::test]
async fn many_small_elements_are_bounded_too() {
    let server = start(&["--private-max-bytes=1000"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut kept = 0;
    while !set(&mut romeo, &format!("e{kept}"), 0).await.contains(TOO_MUCH) {
        kept += 1;
        assert!(kept < 10, "names and what else they take count");
    }
    assert!(kept > 3, "{kept}");
}
