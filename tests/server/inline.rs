//! SASL2 and Bind 2, with stream management inside of them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::client::{Client, HEADER};
use super::server::Running;
use super::{all, message, messages, numbers, start};

pub const JULIET: &str = "AGp1bGlldABzZWNyZXQ=";
const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>test</software></user-agent>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const SASL2: &str = "urn:xmpp:sasl:2";

pub fn authenticate(response: &str, children: &str) -> String {
    format!(
        "<authenticate xmlns='{SASL2}' mechanism='PLAIN'><initial-response>{response}</initial-response>\
         {AGENT}{children}</authenticate>"
    )
}

fn bind(content: &str) -> String {
    format!("<bind xmlns='urn:xmpp:bind:0'>{content}</bind>")
}

fn resume(had: &Client) -> String {
    let previd = had.smid.as_deref().expect("something to resume");
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{}'/>", had.h)
}

/// What is between these two.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(between, _)| between)
}

fn jid(success: &str) -> &str {
    between(success, "<authorization-identifier>", "</authorization-identifier>").expect("who it is")
}

/// Gives the client and its `<success/>`. Nothing was sent after `<authenticate/>`.
async fn log_in(server: &Running, children: &str) -> (Client, String) {
    let mut client = Client::opened(server).await;
    client.send(&authenticate(JULIET, children)).await;
    let success = client.upto("</success>").await;
    client.smid = between(&success, " id='", "'").map(str::to_owned);
    client.h = 0;
    (client, success)
}

/// A session that was bound and enabled in one round trip.
async fn session(server: &Running) -> (Client, String) {
    let (mut client, success) = log_in(server, &bind(ENABLE)).await;
    client.upto("</stream:features>").await;
    client.send("<presence/>").await;
    client.ping().await;
    (client, jid(&success).to_owned())
}

#[tokio::test]
async fn both_are_offered_beside_what_is_older_and_can_be_switched_off() {
    let server = start(&[]).await;
    let features = Client::opened(&server).await.features;
    let authentication = between(&features, "<authentication", "</authentication>").expect("SASL2").to_owned();
    assert!(authentication.contains("<mechanism>PLAIN</mechanism>"), "{authentication}");
    assert!(authentication.contains("<sm xmlns='urn:xmpp:sm:3'"), "{authentication}");
    for var in ["urn:xmpp:sm:3", "urn:xmpp:csi:0"] {
        assert!(authentication.contains(&format!("<feature var='{var}'")), "{authentication}");
    }
    assert!(features.contains("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"), "{features}");

    let features = Client::opened(&start(&["--sm=off", "--csi=off"]).await).await.features;
    assert!(features.contains("urn:xmpp:bind:0") && !features.contains("urn:xmpp:sm:3"), "{features}");
    assert!(!features.contains("urn:xmpp:csi:0"), "{features}");

    let server = start(&["--sasl2=off"]).await;
    let mut client = Client::opened(&server).await;
    assert!(!client.features.contains(SASL2), "{}", client.features);
    client.send(&authenticate(JULIET, "")).await;
    client.upto("<invalid-mechanism").await;
}

#[tokio::test]
async fn a_session_is_bound_enabled_and_resumed_in_one_round_trip_each() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let (mut juliet, full) = session(&server).await;
    juliet.cut(&mut romeo).await;
    romeo.send(&messages(&full, 5)).await;
    romeo.ping().await;

    let mut again = Client::opened(&server).await;
    again.send(&authenticate(JULIET, &format!("{}{}", resume(&juliet), bind(ENABLE)))).await;
    let success = again.upto("</success>").await;
    assert_eq!(jid(&success), full, "the session's own");
    assert!(success.contains("<resumed ") && !success.contains("<bound"), "{success}");
    let resent = again.upto("5.</body></message>").await;
    assert_eq!(numbers(&resent), all(5));
    assert!(!resent.contains("features"), "{resent}");
    again.send(&message("romeo@localhost", "back")).await;
    romeo.upto("back").await;
}

#[tokio::test]
async fn what_is_refused_inline_is_bound_in_the_same_success() {
    let server = start(&[]).await;
    let gone = "<resume xmlns='urn:xmpp:sm:3' previd='gone' h='0'/>";
    let (mut juliet, success) = log_in(&server, &format!("{gone}{}", bind(&format!("<tag>test</tag>{ENABLE}")))).await;
    assert!(jid(&success).starts_with("juliet@localhost/test/"), "{success}");
    assert!(success.find("<item-not-found") < success.find("<bound"), "{success}");
    assert!(success.contains("<enabled "), "{success}");
    let features = juliet.upto("</stream:features>").await;
    assert!(!features.contains("xmpp-bind") && !features.contains("urn:xmpp:sm:3"), "{features}");

    // Without a bind, it goes on as of old.
    let (mut juliet, success) = log_in(&server, gone).await;
    assert_eq!(jid(&success), "juliet@localhost");
    assert!(success.contains("<item-not-found"), "{success}");
    let features = juliet.upto("</stream:features>").await;
    assert!(features.contains("xmpp-bind") && features.contains("urn:xmpp:sm:3"), "{features}");
    juliet.bind("balcony").await;
    juliet.enable().await;
}

/// The session is live, and its connection moves.
#[tokio::test]
async fn a_live_stream_is_taken_over_inline() {
    let server = start(&[]).await;
    let (mut juliet, full) = session(&server).await;
    let mut again = Client::opened(&server).await;
    again.send(&authenticate(JULIET, &resume(&juliet))).await;
    assert_eq!(jid(&again.upto("</success>").await), full);
    assert!(juliet.rest().await.contains("<stream:error><conflict "));
}

#[tokio::test]
async fn somebody_elses_session_is_not_told_of() {
    let server = start(&[]).await;
    let romeo = Client::session(&server, "romeo", "orchard").await;
    let (_, success) = log_in(&server, &format!("{}{}", resume(&romeo), bind(ENABLE))).await;
    assert!(success.contains("<item-not-found") && success.contains("<enabled "), "{success}");
    assert!(!success.contains(" h="), "{success}");
}

#[tokio::test]
async fn a_failed_authentication_tells_nothing_and_changes_nothing() {
    let server = start(&[]).await;
    let (mut juliet, full) = session(&server).await;
    let wrong = "AGp1bGlldAB3cm9uZw==";
    let mut other = Client::opened(&server).await;
    let children = format!("{}{}", resume(&juliet), bind(ENABLE));
    other.send(&authenticate(wrong, &children)).await;
    let failure = other.upto("</failure>").await;
    assert_eq!(
        failure,
        format!("<failure xmlns='{SASL2}'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>")
    );
    assert!(!juliet.ping().await.contains("conflict"), "the session has not moved");
    // On the same stream, the right password.
    other.send(&authenticate(JULIET, &children)).await;
    assert_eq!(jid(&other.upto("</success>").await), full);
}

#[tokio::test]
async fn whoever_fails_three_times_is_sent_away() {
    let server = start(&[]).await;
    let mut client = Client::opened(&server).await;
    for _ in 0..3 {
        client.send(&authenticate("AGp1bGlldAB3cm9uZw==", "")).await;
        client.upto("</failure>").await;
    }
    let last = client.rest().await;
    assert!(last.contains("<stream:error><not-authorized ") && last.ends_with("</stream:stream>"), "{last}");
}

#[tokio::test]
async fn what_may_not_come_before_authentication_is_refused_alone() {
    let server = start(&[]).await;
    let mut client = Client::opened(&server).await;
    client.send(ENABLE).await;
    assert!(client.upto("</failed>").await.contains("<unexpected-request "));
    client.send(&authenticate(JULIET, "")).await;
    let success = client.upto("</success>").await;
    assert!(!success.contains("<failure"), "{success}");
}

#[tokio::test]
async fn whoever_asks_twice_is_not_authenticated() {
    let server = start(&[]).await;
    let (juliet, _) = session(&server).await;
    for children in [resume(&juliet).repeat(2), bind(ENABLE).repeat(2), bind(&ENABLE.repeat(2))] {
        let mut client = Client::opened(&server).await;
        client.send(&authenticate(JULIET, &children)).await;
        assert!(client.upto("</failure>").await.contains("<malformed-request "), "{children}");
        client.send(&authenticate(JULIET, "")).await;
        client.upto("</success>").await;
    }
}

#[tokio::test]
async fn elements_in_the_wrong_place_are_not_looked_at() {
    let server = start(&[]).await;
    let older = format!("<bind xmlns='urn:xmpp:bind2:1'>{ENABLE}</bind>");
    for children in [ENABLE.to_owned(), older] {
        let (mut client, success) = log_in(&server, &children).await;
        assert!(jid(&success) == "juliet@localhost" && !success.contains("<bound"), "{success}");
        assert!(!success.contains("urn:xmpp:sm:3"), "{success}");
        assert!(client.upto("</stream:features>").await.contains("xmpp-bind"));
    }
    // With SASL as of old.
    let mut client = Client::opened(&server).await;
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>";
    client.send(&format!("{auth}{JULIET}{}</auth>", bind(ENABLE))).await;
    let success = client.upto("</success>").await;
    assert!(!success.contains("bound") && !success.contains(SASL2), "{success}");
    // Inside of a stanza.
    let (mut client, _) = session(&server).await;
    let inside = format!("{ENABLE}{}<a xmlns='urn:xmpp:sm:3' h='77'/><r xmlns='urn:xmpp:sm:3'/>", resume(&client));
    client.send(&format!("<message to='romeo@localhost'>{inside}</message>")).await;
    let got = client.ping().await;
    for answer in ["<a ", "<failed ", "<resumed ", "<stream:error"] {
        assert!(!got.contains(answer), "it is a part of the message: {got}");
    }
    client.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    client.upto("<a xmlns='urn:xmpp:sm:3' h='4'/>").await; // presence, a ping, the message, and a ping
}

/// Of two states the first counts.
#[tokio::test]
async fn a_state_that_is_said_twice_or_in_the_wrong_place_harms_nobody() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let (active, inactive) = ("<active xmlns='urn:xmpp:csi:0'/>", "<inactive xmlns='urn:xmpp:csi:0'/>");
    let cases = [
        (bind(&format!("{ENABLE}{inactive}{inactive}")), true),
        (bind(&format!("{ENABLE}{inactive}{active}")), true),
        (bind(&format!("{ENABLE}{active}{inactive}")), false),
        // Beside <bind/> it is nobody's.
        (format!("{inactive}{}", bind(ENABLE)), false),
        (format!("{}{inactive}", bind(ENABLE)), false),
    ];
    for (children, is_inactive) in cases {
        let (mut juliet, success) = log_in(&server, &children).await;
        assert!(success.contains("<enabled "), "{success}");
        juliet.upto("</stream:features>").await;
        juliet.send("<presence/>").await;
        juliet.ping().await;
        romeo.send(&format!("<presence to='{}'><status>news</status></presence>", jid(&success))).await;
        romeo.ping().await;
        if is_inactive {
            for _ in 0..2 {
                juliet.send("<r xmlns='urn:xmpp:sm:3'/>").await;
                let got = juliet.upto("<a xmlns='urn:xmpp:sm:3'").await;
                assert!(!got.contains("news"), "{children}: {got}");
            }
            juliet.send(active).await;
        }
        juliet.upto("<status>news</status>").await;
    }
}

#[tokio::test]
async fn a_tag_that_is_no_part_of_a_resource_is_left_out() {
    let server = start(&[]).await;
    for tag in ["x".repeat(8 * 1024), "x".repeat(65), "bell\u{7f}".to_owned(), "\u{e000}".to_owned(), String::new()] {
        let (_, success) = log_in(&server, &bind(&format!("<tag>{tag}</tag>"))).await;
        let (_, resource) = jid(&success).split_once('/').expect("a full JID");
        assert!(resource.len() == 16 && resource.bytes().all(|byte| byte.is_ascii_hexdigit()), "{success}");
    }
}

/// XEP-0386: one client has one session, and its user agent's id is not to be seen.
#[tokio::test]
async fn the_same_client_gets_the_same_resource() {
    let server = start(&[]).await;
    let (mut first, one) = session(&server).await;
    let (mut second, two) = session(&server).await;
    assert_eq!(one, two);
    assert!(first.rest().await.contains("<conflict "), "its former session ends");
    assert!(!one.contains("d4565fa7"), "{one}");
    let (mut third, other) = log_in(&server, &bind("<tag>other</tag>")).await;
    assert_ne!(jid(&other), one);
    assert!(second.rest().await.contains("<conflict "), "and so does the one that had another tag");
    third.upto("</stream:features>").await;
    third.ping().await;
    // The accounts of one client are not to be told by it, either.
    let mut romeo = Client::opened(&server).await;
    romeo.send(&authenticate("AHJvbWVvAHNlY3JldA==", &bind(""))).await;
    let success = romeo.upto("</success>").await;
    assert_ne!(jid(&success).split_once('/').expect("a full JID").1, one.split_once('/').expect("a full JID").1);
}

/// Anybody may have the same, and would end the other's session.
#[tokio::test]
async fn an_id_that_is_no_uuid_is_none() {
    let server = start(&[]).await;
    let mut resources = Vec::new();
    for id in ["d4565fa7", "d4565fa7", "d4565fa7-4d72-4749-b3d3-740edbf8777g", "d4565fa7-4d72-4749-b3d3-740edbf8777g"] {
        let mut client = Client::opened(&server).await;
        let authenticate = authenticate(JULIET, &bind(""));
        client.send(&authenticate.replace("d4565fa7-4d72-4749-b3d3-740edbf87770", id)).await;
        resources.push(jid(&client.upto("</success>").await).to_owned());
    }
    assert!(resources[0] != resources[1] && resources[2] != resources[3], "{resources:?}");
}

/// In Base64, as PLAIN and SCRAM begin.
fn base64(said: &str) -> String {
    BASE64.encode(said)
}

/// `acts_as` with the name and password of Juliet.
fn plain(acts_as: &str) -> String {
    base64(&format!("{acts_as}\0juliet\0secret"))
}

/// XEP-0388: a mismatch "MUST be considered an error".
#[tokio::test]
async fn nobody_acts_as_somebody_else() {
    let server = start(&[]).await;
    let from = |jid: &str| HEADER.replace(" to=", &format!(" from='{jid}' to="));
    let refused = [
        (HEADER.to_owned(), "romeo"),
        (HEADER.to_owned(), "romeo@localhost"),
        (HEADER.to_owned(), "juliet@elsewhere"),
        (HEADER.to_owned(), "juliet@localhost/balcony"),
        (HEADER.to_owned(), "@"),
        (from("romeo@localhost"), "romeo@localhost"),
        (from("romeo@localhost"), "juliet@localhost"),
        (from("@"), "juliet@localhost"),
    ];
    let auth =
        |response: &str| format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{response}</auth>");
    for (header, acts_as) in refused {
        let mut client = Client::connect(&server).await;
        client.send(&header).await;
        client.upto("</stream:features>").await;
        for attempt in [authenticate(&plain(acts_as), &bind(ENABLE)), auth(&plain(acts_as))] {
            client.send(&attempt).await;
            let failure = client.upto("</failure>").await;
            assert!(failure.contains("<invalid-authzid"), "{header} {acts_as}: {failure}");
        }
    }
    let taken = [
        (HEADER.to_owned(), "juliet@localhost"),
        (HEADER.to_owned(), "Juliet@LOCALHOST"),
        (from("juliet@localhost"), "juliet@localhost"),
        (from("juliet@localhost/balcony"), "juliet@localhost"),
        (from("romeo@localhost"), ""), // a hint, and no more
    ];
    for (header, acts_as) in taken {
        let mut client = Client::connect(&server).await;
        client.send(&header).await;
        client.upto("</stream:features>").await;
        client.send(&authenticate(&plain(acts_as), "")).await;
        assert_eq!(jid(&client.upto("</success>").await), "juliet@localhost");
    }
}

#[tokio::test]
async fn during_authentication_nothing_else_is_taken() {
    let server = start(&["--mechanism=SCRAM-SHA-1"]).await;
    let first = "biwsbj1qdWxpZXQscj1hYmM="; // n,,n=juliet,r=abc
    let begin = authenticate(first, &bind(ENABLE)).replace("'PLAIN'", "'SCRAM-SHA-1'");

    let mut client = Client::opened(&server).await;
    client.send(&begin).await;
    client.upto("</challenge>").await;
    client.send(&format!("<abort xmlns='{SASL2}'/>")).await;
    assert!(client.upto("</failure>").await.contains("<aborted "));
    // What answers nothing fails in its own namespace, and the stream goes on.
    client.send(&format!("<response xmlns='{SASL2}'/>")).await;
    assert!(client.upto("</failure>").await.contains(SASL2));
    client.send(&begin).await;
    client.upto("</challenge>").await;
    client.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    assert!(!client.rest().await.contains("<a "), "disconnected at once");
}

#[tokio::test]
async fn a_second_authentication_ends_the_stream() {
    let server = start(&[]).await;
    let (mut client, _) = log_in(&server, "").await;
    client.send(&authenticate(JULIET, "")).await;
    assert!(client.rest().await.contains("<stream:error>"));
    let (mut client, _) = session(&server).await;
    client.send(&authenticate(JULIET, "")).await;
    assert!(client.rest().await.contains("<stream:error>"));
}

/// XEP-0386: "the session must begin in that state".
#[tokio::test]
async fn a_session_begins_inactive_if_its_client_says_so() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let (mut juliet, success) = log_in(&server, &bind(&format!("{ENABLE}<inactive xmlns='urn:xmpp:csi:0'/>"))).await;
    juliet.upto("</stream:features>").await;
    juliet.send("<presence/>").await;
    romeo.send(&message(jid(&success), "1.")).await;
    let got = juliet.upto("1.</body></message>").await + &juliet.ping().await;
    assert!(!got.contains("<r xmlns='urn:xmpp:sm:3'/>"), "no <r/> while it is inactive: {got}");
    juliet.send("<active xmlns='urn:xmpp:csi:0'/>").await;
    juliet.upto("<r xmlns='urn:xmpp:sm:3'/>").await;
}
