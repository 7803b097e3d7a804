//! What becomes of the stanzas that a session leaves: once each, in order, and not for ever.

use super::client::Client;
use super::{Running, message, start};

const GONE: &str = "type='cancel'><service-unavailable ";

/// One of each kind, to the full JID, with a name of its own.
const STANZAS: [(&str, &str); 9] = [
    ("chat", "<message id='chat' type='chat' to='juliet@localhost/balcony'><body>b</body></message>"),
    ("normal", "<message id='normal' to='juliet@localhost/balcony'><body>b</body></message>"),
    (
        "no-store",
        "<message id='no-store' type='chat' to='juliet@localhost/balcony'><no-store xmlns='urn:xmpp:hints'/></message>",
    ),
    (
        "private",
        "<message id='private' type='chat' to='juliet@localhost/balcony'><body>b</body>\
         <private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/></message>",
    ),
    ("headline", "<message id='headline' type='headline' to='juliet@localhost/balcony'><body>b</body></message>"),
    ("groupchat", "<message id='groupchat' type='groupchat' to='juliet@localhost/balcony'><body>b</body></message>"),
    ("error", "<message id='error' type='error' to='juliet@localhost/balcony'><body>b</body></message>"),
    ("get", "<iq id='get' type='get' to='juliet@localhost/balcony'><ping xmlns='urn:xmpp:ping'/></iq>"),
    ("result", "<iq id='result' type='result' to='juliet@localhost/balcony'/>"),
];

/// The names of those that came, with a star if they carry a stamp.
fn names(received: &str) -> Vec<String> {
    let stanzas = received.split_inclusive("</message>").flat_map(|some| some.split_inclusive("</iq>"));
    let name = |stanza: &str| {
        let (id, _) = stanza.split_once(" id='")?.1.split_once('\'')?;
        Some(format!("{id}{}", if stanza.contains("<delay ") { "*" } else { "" }))
    };
    stanzas.filter_map(name).filter(|name| !matches!(name.as_str(), "bind" | "now")).collect()
}

/// Sends one of each to a session, which gets and does not acknowledge them.
async fn all_to(juliet: &mut Client, romeo: &mut Client) {
    for (name, stanza) in STANZAS {
        romeo.send(stanza).await;
        juliet.upto(&format!(" id='{name}'")).await;
    }
    romeo.ping().await;
}

/// A new session of hers, and what it gets up to the `last` that has waited, and after that.
async fn back(server: &Running, resource: &str, last: &str) -> (Client, Vec<String>) {
    let mut juliet = Client::login(server, "juliet").await;
    juliet.bind(resource).await;
    juliet.send("<presence/>").await;
    let received = juliet.upto(&format!(" id='{last}'")).await + &juliet.upto("</message>").await;
    let received = received + &juliet.ping().await;
    (juliet, names(&received))
}

#[tokio::test]
async fn each_goes_to_another_resource_into_the_storage_back_or_nowhere() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut balcony = Client::session(&server, "juliet", "balcony").await;
    let mut garden = Client::simple(&server, "juliet", "garden").await;
    all_to(&mut balcony, &mut romeo).await;
    garden.ping().await;
    balcony.send("</stream:stream>").await;
    balcony.rest().await;

    assert_eq!(names(&garden.ping().await), ["chat*", "normal*", "no-store*"]);
    let refused = romeo.ping().await;
    assert_eq!(names(&refused), ["private", "groupchat", "get"], "what is for one resource is for no other");
    assert_eq!(refused.matches(GONE).count(), 3, "{refused}");
    let mut again = Client::simple(&server, "juliet", "balcony").await;
    romeo.send(&message("juliet@localhost/balcony", "newer")).await;
    let received = again.upto("newer").await;
    assert!(!received.contains("private"), "{received}");
    assert_eq!(names(&romeo.ping().await), [""; 0]);
}

#[tokio::test]
async fn where_no_other_is_there_what_may_not_be_stored_goes_back() {
    let server = start(&["--resume-timeout=none"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut witness = Client::simple(&server, "romeo", "garden").await;
    let mut balcony = Client::session(&server, "juliet", "balcony").await;
    all_to(&mut balcony, &mut romeo).await;
    balcony.cut(&mut witness).await;
    assert_eq!(names(&romeo.ping().await), ["no-store", "groupchat", "get"]);
    let (_again, received) = back(&server, "garden", "private").await;
    assert_eq!(received, ["chat*", "normal*", "private*"]);
}

#[tokio::test]
async fn who_binds_the_same_resource_gets_what_was_sent_to_it() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut witness = Client::simple(&server, "romeo", "garden").await;
    let mut first = Client::session(&server, "juliet", "balcony").await;
    all_to(&mut first, &mut romeo).await;
    first.cut(&mut witness).await;
    let (_second, received) = back(&server, "balcony", "private").await;
    assert_eq!(received, ["chat*", "normal*", "private*"]);
    assert_eq!(names(&romeo.ping().await), ["no-store", "groupchat", "get"]);
}

/// Its client may be what it ends.
#[tokio::test]
async fn what_comes_back_again_and_again_goes_back_in_the_end() {
    let server = start(&[]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    romeo.send(&message("juliet@localhost/balcony", "poison")).await;
    juliet.upto("poison").await;
    for time in 1..=5 {
        juliet.cut(&mut romeo).await;
        juliet = Client::login(&server, "juliet").await;
        juliet.bind("balcony").await;
        juliet.enable().await;
        juliet.send("<presence/>").await;
        let received = juliet.upto("poison").await + &juliet.ping().await;
        assert_eq!(received.matches("poison").count(), 1, "time {time}: {received}");
        assert_eq!(received.matches("<delay ").count(), 1, "time {time}: {received}");
    }
    assert!(!romeo.ping().await.contains("<message "));
    juliet.cut(&mut romeo).await;
    let mut last = Client::simple(&server, "juliet", "balcony").await;
    assert!(!last.ping().await.contains("poison"));
    let refused = romeo.ping().await;
    assert!(refused.contains("<message ") && refused.matches(GONE).count() == 1, "{refused}");
}
