//! Peers that are not who they say, or say what they may not.

use clap::Parser;

use super::super::OPTIONS;
use super::super::client::Client;
use super::super::server::Server;
use super::super::server::options::Options;
use super::sessions::component;
use super::{BIDI, authenticated, header, opened, plain, sessions, started};

const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const RESUME: &str = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>";

/// The stream ends with this error.
async fn ends_with(peer: &mut Client, condition: &str) {
    let last = peer.upto("</stream:stream>").await;
    assert!(last.contains(&format!("<stream:error><{condition} ")), "{condition}: {last}");
    peer.send("</stream:stream>").await;
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_sent_away() {
    let server = started(&[]).await;
    // A domain that is not linked; a wrong secret; a user's password; a component's domain.
    for wrong in [("evil.example", "secret"), ("b.example", "x"), ("romeo", "secret"), ("echo.localhost", "secret")] {
        let mut peer = opened(&server, wrong.0).await;
        peer.send(BIDI).await;
        for _ in 0..3 {
            peer.send(&plain(wrong.0, wrong.1)).await;
            peer.upto("<not-authorized/>").await;
        }
        ends_with(&mut peer, "not-authorized").await;
    }
}

#[tokio::test]
async fn a_header_that_is_not_as_it_should_be_is_an_error() {
    let server = started(&[]).await;
    for (header, condition) in [
        (header("jabber:client", "b.example", "localhost"), "invalid-namespace"),
        (header("jabber:component:accept", "b.example", "localhost"), "invalid-namespace"),
        (header("jabber:server", "b.example", "evil.example"), "host-unknown"),
        (header("jabber:server", "b.example", ""), "host-unknown"),
    ] {
        let mut peer = Client::connect_to(server.servers.expect("an address")).await;
        peer.send(&header).await;
        ends_with(&mut peer, condition).await;
    }
    // Who it was before.
    for from in ["c.example", "localhost", ""] {
        let mut peer = opened(&server, "b.example").await;
        peer.send(BIDI).await;
        peer.send(&plain("b.example", "secret")).await;
        peer.upto("<success ").await;
        peer.send(&header("jabber:server", from, "localhost")).await;
        ends_with(&mut peer, "invalid-from").await;
    }
}

#[tokio::test]
async fn stream_management_before_authentication_is_refused_and_the_stream_goes_on() {
    let server = started(&[]).await;
    let mut peer = opened(&server, "b.example").await;
    for early in [ENABLE, RESUME] {
        peer.send(early).await;
        peer.upto("<failed xmlns='urn:xmpp:sm:3'><unexpected-request ").await;
    }
    peer.send(BIDI).await;
    peer.send(ENABLE).await;
    peer.upto("<failed xmlns='urn:xmpp:sm:3'><unexpected-request ").await;
    peer.send(&plain("b.example", "secret")).await;
    peer.upto("<success ").await;

    let (mut echo, _) = sessions::opened(&server, "echo.localhost").await;
    for early in [ENABLE, RESUME] {
        echo.send(early).await;
        echo.upto("<failed xmlns='urn:xmpp:sm:3'><unexpected-request ").await;
    }
    echo.send("<handshake>0000000000000000000000000000000000000000</handshake>").await;
    ends_with(&mut echo, "not-authorized").await;
}

#[tokio::test]
async fn a_stream_that_goes_one_way_and_a_stanza_before_authentication_are_not_taken() {
    let server = started(&[]).await;
    let message = "<message from='b.example' to='romeo@localhost'><body>b</body></message>";
    for early in [&plain("b.example", "secret"), message] {
        let mut peer = opened(&server, "b.example").await;
        peer.send(early).await;
        ends_with(&mut peer, "policy-violation").await;
    }
    let (mut echo, _) = sessions::opened(&server, "echo.localhost").await;
    echo.send("<message from='echo.localhost' to='romeo@localhost'><body>b</body></message>").await;
    ends_with(&mut echo, "not-authorized").await;
}

#[tokio::test]
async fn a_component_that_is_not_known_is_sent_away() {
    let server = started(&[]).await;
    for domain in ["evil.localhost", "localhost", "b.example", ""] {
        let (mut echo, _) = sessions::opened(&server, domain).await;
        ends_with(&mut echo, "host-unknown").await;
    }
    for proof in ["", "secret", "0"] {
        let (mut echo, _) = sessions::opened(&server, "echo.localhost").await;
        echo.send(&format!("<handshake>{proof}</handshake>")).await;
        ends_with(&mut echo, "not-authorized").await;
    }
}

#[tokio::test]
async fn nobody_speaks_for_another_domain_or_for_nobody() {
    let server = started(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let to = "to='romeo@localhost/orchard'";
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    for (stanza, condition) in [
        (format!("<message from='c.example' {to}><body>b</body></message>"), "invalid-from"),
        (format!("<message from='juliet@localhost' {to}><body>b</body></message>"), "invalid-from"),
        (format!("<presence from='x.DOMAIN' {to}/>"), "invalid-from"),
        (format!("<message {to}><body>b</body></message>"), "improper-addressing"),
        (format!("<message from='@' {to}><body>b</body></message>"), "improper-addressing"),
        ("<message from='DOMAIN'><body>b</body></message>".to_owned(), "improper-addressing"),
        (format!("<iq type='set' id='b'>{bind}</iq>"), "improper-addressing"),
        (bind.to_owned(), "unsupported-stanza-type"),
        (format!("<message xmlns='jabber:client' from='DOMAIN' {to}/>"), "unsupported-stanza-type"),
    ] {
        for (domain, first) in [("b.example", ENABLE), ("b.example", ""), ("echo.localhost", ENABLE)] {
            let mut peer = match domain {
                "b.example" => authenticated(&server, domain).await,
                _ => component(&server).await,
            };
            peer.send(first).await;
            peer.send(&stanza.replace("DOMAIN", domain)).await;
            ends_with(&mut peer, condition).await;
        }
    }
    assert!(!romeo.ping().await.contains("<body>"));
}

#[tokio::test]
async fn what_is_not_for_this_server_is_not_passed_on() {
    let server = started(&[]).await;
    let mut other = authenticated(&server, "c.example").await;
    other.enable().await;
    let mut peer = authenticated(&server, "b.example").await;
    peer.enable().await;
    for to in ["x@c.example", "echo.localhost", "nobody.example"] {
        peer.send(&format!("<message from='x@b.example' to='{to}'><body>b</body></message>")).await;
        peer.upto("<remote-server-not-found ").await;
    }
    for to in ["@", "nobody@localhost"] {
        peer.send(&format!("<message from='x@b.example' to='{to}'><body>b</body></message>")).await;
        peer.upto("type='error'").await;
    }
    // Nothing is bound between servers: that is a question like any other.
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    peer.send(&format!("<iq type='set' id='b' from='b.example' to='localhost'>{bind}</iq>")).await;
    peer.upto(" id='b'").await;
    peer.upto("<service-unavailable ").await;
    other.send("<iq type='get' id='x' from='c.example' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    assert!(!other.upto(" id='x'").await.contains("<message"));
}

/// One domain is one thing.
#[tokio::test]
async fn a_domain_that_is_two_things_is_an_error_at_the_start() {
    for twice in [
        ["--link=x.example:a", "--link=x.example:b@127.0.0.1:1"],
        ["--link=x.example:a", "--component=x.example:a"],
        ["--domain=x.example", "--component=x.example:a"],
    ] {
        let options = Options::parse_from(OPTIONS.into_iter().chain(twice));
        assert!(Server::start(&options, None).await.is_err(), "{twice:?}");
    }
    for wrong in ["--link=x.example", "--link=:@", "--component=x"] {
        assert!(Options::try_parse_from(OPTIONS.into_iter().chain([wrong])).is_err(), "{wrong}");
    }
}
