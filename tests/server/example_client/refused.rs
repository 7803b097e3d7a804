//! How often a client tries to get in, and when it stops trying.

use std::time::{Duration, Instant};

use super::server::MECHANISMS;
use super::{Server, User};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const SASL2: &str = "urn:xmpp:sasl:2";

/// The offer, and the namespace of its elements.
fn offers() -> [(String, &'static str, &'static [&'static str]); 2] {
    let sasl2 = format!("<authentication xmlns='{SASL2}'><mechanism>SCRAM-SHA-1</mechanism></authentication>");
    [(MECHANISMS.to_owned(), SASL, &[]), (sasl2, SASL2, &["--inline"])]
}

/// The next time it would be refused, too.
#[tokio::test]
async fn a_client_whose_password_is_refused_ends_and_says_why() {
    for (offer, ns, args) in offers() {
        for condition in ["not-authorized", "account-disabled"] {
            let server = Server::start().await;
            let user = User::start(&server, args);
            let mut stream = server.accept_silently().await;
            stream.open(&offer).await;
            stream.element().await;
            stream.fail(ns, condition).await;
            let refused = user.ends().await.expect_err("it does not get in");
            assert_eq!(refused.to_string(), format!("the server refuses to log us in: {condition}"));
            assert!(!server.is_visited(super::MOMENT).await);
        }
    }
}

/// What it has had is lost with it, and is not waited for.
#[tokio::test]
async fn a_client_that_has_a_session_and_is_refused_ends_too() {
    let server = Server::start().await;
    let (mut user, stream) = User::online(&server, &[]).await;
    drop(stream);
    user.until("offline").await;
    let mut stream = server.accept_silently().await;
    stream.open(MECHANISMS).await;
    stream.element().await;
    stream.fail(SASL, "credentials-expired").await;
    assert!(user.ends().await.is_err());
}

/// The longest is 400 ms, the first a thirty-second of it, and half of each is left to chance.
#[tokio::test]
async fn each_pause_is_longer_than_the_one_before_until_there_is_a_session() {
    let server = Server::start().await;
    let (mut user, stream) = User::online(&server, &[]).await;
    let mut since = Instant::now();
    drop(stream);
    for least in [6, 12, 25, 50, 100, 200, 200] {
        let stream = server.accept_silently().await;
        assert!(since.elapsed() >= Duration::from_millis(least), "{:?} for {least}", since.elapsed());
        since = Instant::now();
        drop(stream);
    }
    // The next one would last 200 ms at least, too.
    let mut stream = server.accept().await;
    stream.element_named("resume").await;
    stream.send("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>").await;
    user.until("resumed").await;
    since = Instant::now();
    drop(stream);
    drop(server.accept_silently().await);
    assert!(since.elapsed() < Duration::from_millis(200), "{:?}", since.elapsed());
}
