//! A session ends: by time, by its client, by another that takes its place, with the server.

use tokio::net::TcpStream;

use super::client::Client;
use super::{TIME, all, message, messages, numbers, start};

#[tokio::test]
async fn a_session_expires_and_its_h_is_remembered() {
    let server = start(&["--resume-timeout=1"]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let mut juliet = Client::login(&server, "juliet").await;
    juliet.bind("balcony").await;
    let enabled = juliet.enable().await;
    assert!(enabled.contains(" max='1'"), "{enabled}");
    juliet.send("<presence/>").await;
    juliet.send(&message("romeo@localhost", "mine")).await;
    romeo.upto("mine").await;
    romeo.send(&message("juliet@localhost", "sent")).await;
    juliet.upto("sent").await;
    let h = juliet.h;
    juliet.cut(&mut romeo).await;
    let question = "<iq type='get' id='open' to='juliet@localhost/balcony'><query xmlns='jabber:iq:version'/></iq>";
    romeo.send(&(message("juliet@localhost", "queued") + question)).await;
    // It is answered for the client when it is certain that the client cannot.
    let bounced = romeo.upto("<service-unavailable").await;
    assert!(bounced.contains(" id='open'") && bounced.contains(" type='unavailable'"), "{bounced}");

    let (mut again, failed) = Client::resume(&server, "juliet", &juliet, h).await;
    assert!(failed.contains("<item-not-found ") && failed.contains(" h='2'"), "{failed}");
    again.bind("balcony").await;
    again.send("<presence/>").await;
    let received = again.upto("queued").await + &again.upto("</message>").await;
    assert_eq!(received.matches("<delay ").count(), 2, "{received}");
    assert!(received.find("sent") < received.find("queued"), "{received}");
}

#[tokio::test]
async fn switched_off_its_h_is_not_remembered() {
    let server = start(&["--resume-timeout=1", "--stale-h=off"]).await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
    juliet.cut(&mut romeo).await;
    romeo.upto(" type='unavailable'/>").await;
    let (_, failed) = Client::resume(&server, "juliet", &juliet, 0).await;
    assert!(failed.contains("<item-not-found ") && !failed.contains(" h="), "{failed}");
}

#[tokio::test]
async fn what_an_expired_session_had_goes_to_another() {
    let server = start(&["--resume-timeout=1"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let mut garden = Client::simple(&server, "juliet", "garden").await;
    juliet.cut(&mut romeo).await;
    romeo.send(&message("juliet@localhost/balcony", "queued")).await;
    let received = garden.upto("</message>").await;
    assert!(received.contains("queued</body><delay "), "{received}");
}

#[tokio::test]
async fn a_resource_that_is_bound_again_replaces_the_session() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut first = Client::session(&server, "juliet", "balcony").await;
    romeo.send(&message("juliet@localhost/balcony", "one")).await;
    first.upto("one").await;

    let mut second = Client::session(&server, "juliet", "balcony").await;
    let old = first.rest().await;
    assert!(old.contains("<stream:error><conflict ") && old.ends_with("</stream:stream>"), "{old}");
    assert!(second.upto("</message>").await.contains("one</body><delay "));

    // The same without a stream: what was not acknowledged comes first.
    second.cut(&mut romeo).await;
    romeo.send(&message("juliet@localhost/balcony", "two")).await;
    romeo.ping().await;
    let mut third = Client::session(&server, "juliet", "balcony").await;
    let received = third.upto("two").await;
    assert!(received.contains("one</body><delay "), "{received}");
    for gone in [&first, &second] {
        let (_, failed) = Client::resume(&server, "juliet", gone, 0).await;
        assert!(failed.contains("<item-not-found "), "{failed}");
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_resumed_ends_with_its_stream() {
    let server = start(&["--resume-timeout=none"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::login(&server, "juliet").await;
    juliet.bind("balcony").await;
    let enabled = juliet.enable().await;
    assert!(!enabled.contains(" id=") && !enabled.contains(" resume="), "{enabled}");
    juliet.send("<presence/>").await;
    juliet.upto("<presence from='juliet").await;
    romeo.send(&message("juliet@localhost", "sent")).await;
    juliet.upto("sent").await;
    juliet.cut(&mut romeo).await;

    let mut again = Client::simple(&server, "juliet", "balcony").await;
    assert!(again.upto("</message>").await.contains("sent</body><delay "));
}

#[tokio::test]
async fn a_stream_that_is_closed_is_acknowledged_and_over() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.send(&message("romeo@localhost", "last")).await;
    juliet.send("</stream:stream>").await;
    let last = juliet.rest().await;
    assert!(last.ends_with("<a xmlns='urn:xmpp:sm:3' h='2'/></stream:stream>"), "{last}");
    assert!(romeo.upto(" type='unavailable'/>").await.contains("last"));
    let (_, failed) = Client::resume(&server, "juliet", &juliet, 0).await;
    assert!(failed.contains("<item-not-found "), "{failed}");
}

/// What SIGINT and SIGTERM do.
#[tokio::test]
async fn the_server_stops() {
    let mut server = start(&[]).await;
    server.farewell = TIME;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let simple = Client::simple(&server, "romeo", "garden").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.cut(&mut romeo).await; // a session without a stream holds nothing up
    let address = server.address;

    let told = |mut client: Client| async move { client.rest().await };
    let (are_gone, romeo, simple) = tokio::join!(server.stop(), told(romeo), told(simple));
    assert!(are_gone, "the server has waited for somebody");
    for last in [romeo, simple] {
        assert!(last.contains("<stream:error><system-shutdown "), "{last}");
        assert!(last.ends_with("</stream:stream>"), "{last}");
    }
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// Its client has read all that it has been sent, and says so after the server has begun to close.
#[tokio::test]
async fn what_is_acknowledged_while_the_server_closes_does_not_come_again() {
    let server = start(&["--ack-freq=never"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut first = Client::session(&server, "juliet", "balcony").await;
    romeo.send(&messages("juliet@localhost", 5)).await;
    first.upto("5.</body></message>").await;
    let last = async {
        first.upto("<stream:error><conflict ").await;
        first.upto("</stream:stream>").await;
        let h = first.h;
        first.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/></stream:stream>")).await;
        first.rest().await;
    };
    let ((), mut second) = tokio::join!(last, Client::session(&server, "juliet", "balcony"));
    assert!(!second.ping().await.contains("<message "));
}

/// However many come meanwhile, and whether it has a connection or not.
#[tokio::test]
async fn what_a_replaced_session_had_comes_before_what_is_newer() {
    for is_connected in [false, true] {
        let server = start(&[]).await;
        let mut romeo = Client::simple(&server, "romeo", "orchard").await;
        let mut witness = Client::simple(&server, "romeo", "garden").await;
        let mut first = Client::session(&server, "juliet", "balcony").await;
        if !is_connected {
            first.cut(&mut romeo).await;
        }
        romeo.send(&messages("juliet@localhost", 90)).await;
        romeo.ping().await;
        let newer = async {
            for number in 91..=300 {
                let to = if number % 2 == 0 { "juliet@localhost" } else { "juliet@localhost/balcony" };
                romeo.send(&message(to, format_args!("{number}."))).await;
                romeo.ping().await;
            }
        };
        let (mut second, ()) = tokio::join!(Client::login(&server, "juliet"), newer);
        let newer = async {
            for number in 301..=400 {
                romeo.send(&message("juliet@localhost/balcony", format_args!("{number}."))).await;
                romeo.ping().await;
            }
        };
        let bound = async {
            second.bind("balcony").await;
            second.send("<presence/>").await;
        };
        tokio::join!(bound, newer);
        witness.ping().await;
        assert_eq!(numbers(&second.upto("400.</body>").await), all(400), "connected: {is_connected}");
        drop(first);
    }
}
