//! The session of a peer that has connected: resumed, replaced, over. The peer is nothing but a socket.

use futures::FutureExt;
use jid::DomainPart;

use super::super::client::Client;
use super::super::server::Running;
use super::super::server::links::Links;
use super::super::server::mail::mailbox;
use super::super::{all, messages, numbers};
use super::{authenticated, goes_back, header, started};

/// A component that is nothing but a socket, after its handshake.
pub async fn component(server: &Running) -> Client {
    let (mut echo, id) = opened(server, "echo.localhost").await;
    let handshake = xmpp_parsers::component::Handshake::from_stream_id_and_password(id, "secret");
    let digest: String = handshake.data.expect("a digest").iter().map(|byte| format!("{byte:02x}")).collect();
    echo.send(&format!("<handshake>{digest}</handshake>")).await;
    echo.upto("<handshake ").await;
    echo.upto("/>").await;
    echo
}

/// Before that, with the id of its stream.
pub async fn opened(server: &Running, domain: &str) -> (Client, String) {
    let mut echo = Client::connect_to(server.components.expect("an address for components")).await;
    echo.send(&header("jabber:component:accept", domain, domain)).await;
    echo.upto(" id='").await;
    let id = echo.upto("'").await.trim_end_matches('\'').to_owned();
    echo.upto(">").await;
    (echo, id)
}

async fn resume(peer: &mut Client, smid: &str, h: usize) -> String {
    peer.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='{h}'/>")).await;
    peer.upto_one_of(&["<resumed ", "</failed>"]).await
}

#[tokio::test]
async fn what_a_server_did_not_acknowledge_comes_again_and_nothing_else() {
    let server = started(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut peer = authenticated(&server, "b.example").await;
    assert!(peer.features.contains("<sm xmlns='urn:xmpp:sm:3'"), "{}", peer.features);
    peer.enable().await;
    romeo.send(&messages("juliet@b.example", 5)).await;
    assert_eq!(numbers(&peer.upto("<body>5.</body>").await), all(5));
    peer.cut(&mut Client::simple(&server, "juliet", "balcony").await).await;

    let mut again = authenticated(&server, "b.example").await;
    let resumed = resume(&mut again, peer.smid.as_deref().expect("an SM-ID"), 3).await;
    assert!(resumed.ends_with("<resumed "), "{resumed}");
    assert_eq!(numbers(&again.upto("<body>5.</body>").await), [4, 5]);
    romeo.send(&messages("juliet@b.example", 1)).await;
    assert_eq!(numbers(&again.upto("<body>1.</body>").await), [1]);
}

#[tokio::test]
async fn a_session_is_its_own_domains() {
    let server = started(&[]).await;
    let mut peer = authenticated(&server, "b.example").await;
    peer.enable().await;
    let smid = peer.smid.clone().expect("an SM-ID");
    let mut other = authenticated(&server, "c.example").await;
    let mut echo = component(&server).await;
    for thief in [&mut other, &mut echo] {
        let answer = resume(thief, &smid, 0).await;
        assert!(answer.contains("<item-not-found "), "{answer}");
        thief.enable().await; // and goes on
    }
    peer.send("<iq type='get' id='x' from='b.example' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    peer.upto(" id='x'").await; // and nothing has happened to the session
}

/// A server that has restarted knows nothing of its session.
#[tokio::test]
async fn what_a_session_leaves_goes_to_the_one_that_takes_its_place() {
    let server = started(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut peer = authenticated(&server, "b.example").await;
    peer.enable().await;
    romeo.send(&messages("juliet@b.example", 5)).await;
    romeo.send("<iq type='get' id='x' to='juliet@b.example/x'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    peer.upto(" id='x'").await;
    peer.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").await;

    let mut again = authenticated(&server, "b.example").await;
    again.enable().await;
    assert_eq!(numbers(&again.upto("<body>5.</body>").await), [3, 4, 5]);
    let told = peer.rest().await;
    assert!(told.contains("<conflict ") && told.ends_with("</stream:stream>"), "{told}");
    romeo.upto(" id='x'").await;
    romeo.upto("<remote-server-timeout ").await; // somebody waits for an answer, and its question may have been heard
    assert!(!romeo.ping().await.contains("type='error'"));
}

/// Two connections of a peer wait for its link to end, and the older of them is the last to hear that it has.
#[test]
fn of_connections_that_wait_for_a_link_the_newest_has_it() {
    let (links, domain) = (Links::default(), DomainPart::new("b.example").expect("a domain").into_owned());
    let [(former, its_mailbox), (older, _older), (newest, mut its_mail)] = [mailbox(), mailbox(), mailbox()];
    assert!(matches!(links.begin(&domain, 1, &former), Ok(None)));
    assert!(matches!(links.begin(&domain, 2, &older), Ok(Some(_))));
    assert!(matches!(links.begin(&domain, 3, &newest), Ok(Some(_))));
    drop(its_mailbox);
    assert!(matches!(links.begin(&domain, 3, &newest), Ok(None)));
    assert!(links.begin(&domain, 2, &older).is_err());
    assert!(its_mail.recv().now_or_never().is_none(), "it is not told to end");
}

#[tokio::test]
async fn what_has_waited_too_long_for_a_server_that_connects_goes_back() {
    let server = started(&["--resume-timeout=1"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut peer = authenticated(&server, "b.example").await;
    peer.enable().await;
    peer.cut(&mut Client::simple(&server, "juliet", "balcony").await).await;
    goes_back(&mut romeo, "juliet@b.example").await;
}
