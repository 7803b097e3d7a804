//! Stanzas go where they should, and every question gets an answer.

use super::client::Client;
use super::{message, start};

#[tokio::test]
async fn the_server_answers() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let private = "<query xmlns='jabber:iq:private'><notes xmlns='a:b'/></query>";
    let answers = [
        ("get", "<ping xmlns='urn:xmpp:ping'/>", " type='result'"),
        ("get", "<query xmlns='jabber:iq:roster'/>", "jid='juliet@localhost'"),
        ("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<feature "),
        ("set", private, " type='result'"),
        ("get", private, private),
        ("get", "<query xmlns='a:b'/>", "<service-unavailable "),
        ("get", "", "<bad-request "),
    ];
    for (kind, query, expected) in answers {
        romeo.send(&format!("<iq type='{kind}' id='question'>{query}</iq>")).await;
        let answer = romeo.upto_one_of(&["</iq>", "type='result'/>"]).await;
        assert!(answer.contains("id='question'") && answer.contains(expected), "{query}: {answer}");
    }
    // One presence and what was asked above.
    romeo.send("<r xmlns='urn:xmpp:sm:3'/>").await;
    romeo.upto("<a xmlns='urn:xmpp:sm:3' h='8'/>").await;
}

#[tokio::test]
async fn stanzas_go_from_client_to_client() {
    let server = start(&[]).await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
    let ask = |to| format!("<iq type='get' id='ask' to='{to}'><query xmlns='jabber:iq:version'/></iq>");

    romeo.send(&ask("juliet@localhost/balcony")).await;
    assert!(juliet.upto("</iq>").await.contains("from='romeo@localhost/orchard'"));
    juliet.send("<iq type='result' id='ask' to='romeo@localhost/orchard'/>").await;
    assert!(romeo.upto("type='result'/>").await.contains("from='juliet@localhost/balcony'"));
    for (nobody, why) in
        [("juliet@localhost/garden", "<service-unavailable "), ("paris@example.org", "<remote-server-not-found ")]
    {
        romeo.send(&ask(nobody)).await;
        romeo.upto(why).await;
    }
    romeo.send(&message("paris@localhost", "who?")).await;
    romeo.upto("<service-unavailable ").await;
    romeo.send(&message("juliet@localhost", "you")).await;
    juliet.upto("you").await;
    romeo.send("</stream:stream>").await;
    romeo.rest().await;
    assert!(juliet.upto(" type='unavailable'/>").await.contains("from='romeo@localhost/orchard'"));
}

#[tokio::test]
async fn messages_wait_for_those_who_are_away() {
    let server = start(&[]).await;
    let mut romeo = Client::session(&server, "romeo", "orchard").await;
    let headline = "<message to='juliet@localhost' type='headline'><body>news</body></message>";
    romeo.send(&(message("juliet@localhost", "one") + headline + &message("juliet@localhost/garden", "two"))).await;
    romeo.ping().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let received = juliet.upto("two").await + &juliet.ping().await;
    for kept in ["one", "two"] {
        let delay = format!("{kept}</body><delay xmlns='urn:xmpp:delay' from='localhost'");
        assert!(received.contains(&delay), "{received}");
    }
    assert!(received.find("one") < received.find("two") && !received.contains("news"), "{received}");
}
