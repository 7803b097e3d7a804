//! Clients that do what they may not, and clients that ask for what is not there.

use super::client::Client;
use super::{Running, start};

/// What the server says to `wrong` before it closes the stream.
async fn last_words(mut client: Client, wrong: &str) -> String {
    client.send(wrong).await;
    let last = client.rest().await;
    assert!(last.ends_with("</stream:stream>"), "{wrong}: {last}");
    last
}

async fn juliet(server: &Running) -> Client {
    Client::session(server, "juliet", "balcony").await
}

#[tokio::test]
async fn an_impossible_h_ends_the_stream() {
    let server = start(&[]).await;
    let last = last_words(juliet(&server).await, "<a xmlns='urn:xmpp:sm:3' h='77'/>").await;
    let why = "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='77' send-count='1'/>";
    assert!(last.contains("<stream:error><undefined-condition ") && last.contains(why), "{last}");
    let last = last_words(juliet(&server).await, "<a xmlns='urn:xmpp:sm:3'/>").await;
    assert!(last.contains("<stream:error><policy-violation "), "{last}");
}

#[tokio::test]
async fn what_may_not_come_is_refused() {
    let server = start(&[]).await;
    let last = last_words(juliet(&server).await, "<enable xmlns='urn:xmpp:sm:3'/>").await;
    assert!(last.contains("<unexpected-request ") && !last.contains("<stream:error"), "{last}");

    let mut client = juliet(&server).await;
    client.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>").await;
    client.upto("<unexpected-request ").await;
    assert!(!client.ping().await.contains("<stream:error"), "the stream goes on");
}

#[tokio::test]
async fn what_may_not_come_before_bind_is_refused() {
    let server = start(&[]).await;
    let mut client = Client::login(&server, "juliet").await;
    let refusals = [
        ("<enable xmlns='urn:xmpp:sm:3'/>", "<unexpected-request "),
        ("<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>", "<item-not-found "),
        ("<resume xmlns='urn:xmpp:sm:3' previd='x'/>", "<bad-request "),
    ];
    for (request, refusal) in refusals {
        client.send(request).await;
        let failed = client.upto("</failed>").await;
        assert!(failed.contains(refusal), "{request}: {failed}");
    }
    client.bind("balcony").await;
    client.enable().await;
    let early = last_words(Client::login(&server, "juliet").await, "<message/>").await;
    assert!(early.contains("<stream:error><not-authorized "), "{early}");
}

#[tokio::test]
async fn what_is_no_xmpp_ends_the_stream() {
    let server = start(&[]).await;
    let last = last_words(juliet(&server).await, "<bad<<").await;
    assert!(last.contains("<stream:error><not-well-formed "), "{last}");
    let last = last_words(juliet(&server).await, "<strange xmlns='a:b'/>").await;
    assert!(last.contains("<stream:error><unsupported-stanza-type "), "{last}");
    let big = format!("<message><body>{}", "x".repeat(300_000));
    let last = last_words(juliet(&server).await, &big).await;
    assert!(last.contains("<stream:error><policy-violation "), "{last}");
}

#[tokio::test]
async fn switched_off_it_is_not_offered() {
    let server = start(&["--sm=off"]).await;
    let mut client = Client::login(&server, "juliet").await;
    assert!(!client.features.contains("urn:xmpp:sm:3"), "{}", client.features);
    client.bind("balcony").await;
    client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
    let failed = client.upto("</failed>").await;
    assert!(failed.contains("<feature-not-implemented "), "{failed}");
    client.ping().await;
}

/// Nothing is made of it yet.
#[tokio::test]
async fn a_client_may_say_whether_it_is_active() {
    let server = start(&[]).await;
    let mut client = juliet(&server).await;
    client.send("<inactive xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/>").await;
    assert!(!client.ping().await.contains("<stream:error"), "the stream goes on");
    let last = last_words(client, "<idle xmlns='urn:xmpp:csi:0'/>").await;
    assert!(last.contains("<stream:error><unsupported-stanza-type "), "{last}");
}

/// What cannot be read on is left at once, and the rest of it is of no matter.
#[tokio::test]
async fn what_follows_the_end_of_a_stream_is_not_read() {
    let server = start(&[]).await;
    let mut client = juliet(&server).await;
    client.send("<message to='juliet@localhost'/><r xmlns='urn:xmpp:sm:3'/></stream:stream><<<").await;
    let last = client.rest().await;
    assert!(last.ends_with("<a xmlns='urn:xmpp:sm:3' h='2'/></stream:stream>"), "{last}");
    assert!(!last.contains("<stream:error"), "{last}");
}

/// A client that asks and asks, and takes no answer.
#[tokio::test]
async fn requests_that_are_refused_do_not_pile_up() {
    let server = start(&[]).await;
    let mut client = juliet(&server).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let many = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>".repeat(400_000);
    let sent = tokio::time::timeout(std::time::Duration::from_secs(5), client.send(&many)).await;
    assert!(sent.is_err(), "the server reads on");
    romeo.ping().await;
}
