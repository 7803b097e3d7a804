//! What an account may have at once, and what is more than that.

use super::client::Client;
use super::server::mail::Mail;
use super::server::session::{Host, Session};
use super::server::stanza::Written;
use super::{all, message, messages, numbers, start};

const REFUSED: &str = "<stream:error><resource-constraint ";

/// What happens to one more connection of juliet's that only logs in.
async fn one_more(server: &super::Running) -> String {
    let mut client = Client::authenticated(server, "juliet").await;
    let answer = client.upto_one_of(&["</stream:features>", REFUSED]).await;
    if answer.ends_with(REFUSED) {
        assert!(client.rest().await.ends_with("</stream:stream>"));
    }
    answer
}

#[tokio::test]
async fn connections_without_a_session_that_can_be_resumed_are_bounded() {
    let server = start(&["--connections-max=3"]).await;
    let mut simple = Client::simple(&server, "juliet", "balcony").await;
    let mut not_resumable = Client::login(&server, "juliet").await;
    not_resumable.bind("garden").await;
    not_resumable.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
    not_resumable.upto("<enabled ").await;
    let waiting = Client::login(&server, "juliet").await;
    assert!(one_more(&server).await.ends_with(REFUSED));
    let mut romeo = Client::simple(&server, "romeo", "orchard").await; // is another account
    assert!(!simple.ping().await.contains("stream:error"), "and those that are there stay");

    // One that goes leaves its place, whether it is bound or not.
    drop(waiting);
    romeo.ping().await;
    assert!(!one_more(&server).await.ends_with(REFUSED));
    simple.cut(&mut romeo).await;
    let _third = Client::login(&server, "juliet").await;
    let _second = Client::login(&server, "juliet").await;
    assert!(one_more(&server).await.ends_with(REFUSED));
}

/// The store counts those.
#[tokio::test]
async fn sessions_that_can_be_resumed_take_no_place() {
    let server = start(&["--connections-max=1"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut balcony = Client::session(&server, "juliet", "balcony").await;
    let _garden = Client::session(&server, "juliet", "garden").await;
    balcony.cut(&mut romeo).await;
    let (_balcony, resumed) = Client::resume(&server, "juliet", &balcony, balcony.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    let _simple = Client::simple(&server, "juliet", "church").await;
    assert!(one_more(&server).await.ends_with(REFUSED));
}

const COUNT: usize = 50;

/// More than twice what a session takes at once waits for its user.
#[tokio::test]
async fn what_has_waited_is_handed_out_as_there_is_room() {
    let server = start(&["--buffer-max=5", "--backlog-max=5", "--on-full=end"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    romeo.ping().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let mut received = juliet.upto("1.</body>").await;
    // What comes now comes last, whichever of her sessions it is for.
    romeo.send(&message("juliet@localhost", "51.")).await;
    romeo.send(&message("juliet@localhost/balcony", "52.")).await;
    romeo.ping().await;
    while !received.contains("52.</body>") {
        let h = juliet.h;
        juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")).await;
        received += &juliet.upto("</message>").await;
    }
    assert_eq!(numbers(&received), all(COUNT + 2));
}

/// Without acknowledgements only the connection holds it up.
#[tokio::test]
async fn what_has_waited_comes_without_stream_management_too() {
    let server = start(&["--backlog-max=5", "--on-full=end"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    romeo.ping().await;
    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    assert_eq!(numbers(&juliet.upto("50.</body>").await), all(COUNT));
}

/// It is not the session's yet when the session ends, and what the session had goes before it.
#[tokio::test]
async fn what_has_not_been_handed_out_stays_in_its_place() {
    let server = start(&["--buffer-max=5", "--backlog-max=5"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&messages("juliet@localhost", COUNT)).await;
    romeo.ping().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.upto("1.</body>").await;
    juliet.send("</stream:stream>").await;
    juliet.rest().await;
    let mut again = Client::simple(&server, "juliet", "balcony").await;
    assert_eq!(numbers(&again.upto("50.</body>").await), all(COUNT));
}

/// While a session that has begun to take it is away, another one of the user's gets the rest.
#[tokio::test]
async fn what_has_waited_goes_to_a_session_that_is_there() {
    // It was there before, or becomes one that gets messages.
    for priority in [0, -1] {
        let server = start(&["--buffer-max=5", "--backlog-max=5"]).await;
        let mut romeo = Client::simple(&server, "romeo", "orchard").await;
        romeo.send(&messages("juliet@localhost", COUNT)).await;
        romeo.ping().await;
        let mut juliet = Client::login(&server, "juliet").await;
        juliet.bind("balcony").await;
        juliet.enable().await;
        juliet.send("<presence><priority>1</priority></presence>").await;
        juliet.upto("1.</body>").await;
        let mut other = Client::login(&server, "juliet").await;
        other.bind("garden").await;
        other.send(&format!("<presence><priority>{priority}</priority></presence>")).await;
        assert!(!other.ping().await.contains("<body>"));
        juliet.cut(&mut romeo).await;
        if priority < 0 {
            other.send("<presence/>").await;
        }
        let received = numbers(&other.upto("50.</body>").await);
        let first = received[0];
        assert!((2..=10).contains(&first), "{first}");
        assert_eq!(received, all(COUNT)[first - 1..]);
        romeo.send(&message("juliet@localhost", "51.")).await;
        assert_eq!(numbers(&other.upto("51.</body>").await), [51]);
    }
}

/// [RFC 6121](https://www.rfc-editor.org/rfc/rfc6121#section-8.5.2.1.1): it waits for one that is there for her.
#[tokio::test]
async fn a_message_for_a_user_goes_to_no_session_of_negative_priority() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::login(&server, "juliet").await;
    juliet.bind("balcony").await;
    juliet.send("<presence><priority>-1</priority></presence>").await;
    juliet.ping().await;
    romeo.send(&(message("juliet@localhost", "1.") + &message("juliet@localhost/balcony", "2."))).await;
    assert_eq!(numbers(&juliet.upto("2.</body>").await), [2]);
    let mut other = Client::session(&server, "juliet", "garden").await;
    assert_eq!(numbers(&other.upto("1.</body>").await), [1]);
    romeo.send(&(message("juliet@localhost", "3.") + &message("juliet@localhost/balcony", "4."))).await;
    assert_eq!(numbers(&other.upto("3.</body>").await), [3]);
    assert_eq!(numbers(&juliet.upto("4.</body>").await), [4]);
    // What the other leaves waits, too.
    other.send("</stream:stream>").await;
    other.rest().await;
    assert_eq!(numbers(&juliet.ping().await), [0; 0]);
    juliet.send("<presence/>").await;
    assert_eq!(numbers(&juliet.upto("3.</body>").await), [1, 3]);
}

fn size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

/// There are many, and most of them wait for most of their time: what they seldom need is not in them.
#[test]
fn a_session_that_waits_is_small() {
    let sizes = [size(Host::serve), size_of::<Session>(), size_of::<Host>(), size_of::<Written>(), size_of::<Mail>()];
    assert!(sizes.iter().zip([656, 512, 256, 16, 24]).all(|(size, most)| *size <= most), "{sizes:?}");
}
