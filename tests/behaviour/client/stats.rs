//! What is counted of a client's session, over all its connections.

use xmpp_sm::{Config, Detach};

use super::{CONFLICT, Client, ENABLE, ERROR, OFFER, R, RESUME};

#[test]
fn why_the_stream_was_lost() {
    let why = |lose: fn(&mut Client)| {
        let mut client = Client::online(Config::default());
        lose(&mut client);
        let stats = client.session.stats(client.now);
        assert_eq!(stats.detached, 1);
        stats.detached_why
    };
    assert_eq!(why(|client| client.session.lost(client.now)), Some(Detach::Lost));
    assert_eq!(why(|client| client.session.peer_closed(client.now)), Some(Detach::Closed));
    assert_eq!(why(|client| client.error(ERROR)), Some(Detach::StreamError));
    assert_eq!(why(|client| client.error(CONFLICT)), Some(Detach::StreamError));

    let mut client = Client::lost(&[]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.wait(600);
    let stats = client.session.stats(client.now);
    assert_eq!((stats.detached, stats.detached_why), (2, Some(Detach::NoReply)));
}

#[test]
fn it_counts_on_from_one_session_to_the_next() {
    let mut client = Client::lost(&["<a/>", "<b/>"]);
    client.wait(40);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("failed h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
    let _ = client.events();
    client.bind();
    assert_eq!(client.written(), ENABLE);
    client.receive("enabled id='y' resume='true'");
    assert_eq!(client.written(), format!("<b/>{R}"));
    let stats = client.session.stats(client.now);
    assert_eq!((stats.sent, stats.acked, stats.unacked, stats.resumed), (3, 1, 1, 0));
    client.receive("a h='1'");
    assert_eq!(client.session.stats(client.now).acked, 2);

    client.session.lost(client.now);
    client.wait(30);
    client.connect(OFFER);
    client.written();
    client.receive("resumed previd='y' h='1'");
    let stats = client.session.stats(client.now);
    assert_eq!((stats.resumed, stats.resumed_after.as_secs(), stats.sent), (1, 30, 3));
}

#[test]
fn what_has_happened_is_not_taken_back_while_the_session_is_asked_for() {
    let mut client = Client::lost(&["<a/>", "<b/>"]);
    let before = client.session.stats(client.now);
    assert_eq!((before.sent, before.unacked), (2, 2));
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    let stats = client.session.stats(client.now);
    assert_eq!((stats.sent, stats.unacked, stats.unacked_bytes), (2, 2, before.unacked_bytes));
}

#[test]
fn what_all_its_sessions_have_sent_is_added_up() {
    let mut client = Client::lost(&["<a/>", "<b/>"]);
    for (session, sent, acked) in [("y", 4, 2), ("z", 6, 3), ("w", 8, 4)] {
        client.connect(OFFER);
        client.written();
        client.receive("failed h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
        let _ = client.events();
        client.bind();
        assert_eq!(client.written(), ENABLE);
        client.receive(&format!("enabled id='{session}' resume='true'"));
        // What the former one has not acknowledged, and one more.
        client.send("<c/>");
        client.written();
        client.receive("a h='1'");
        let stats = client.session.stats(client.now);
        assert_eq!((stats.sent, stats.acked), (sent, acked), "{session}");
        client.session.lost(client.now);
        let _ = client.events();
    }
}

#[test]
fn how_long_it_is_without_a_session_and_a_stream() {
    let mut client = Client::new(Config::default());
    client.connect(OFFER);
    let _ = client.events();
    client.bind();
    client.written();
    client.receive("enabled");
    client.session.lost(client.now);
    let _ = client.events();
    client.wait(5);
    let away = |client: &Client| client.session.stats(client.now).detached_for.map(|away| away.as_secs());
    assert_eq!(away(&client), Some(5));
    client.connect(OFFER);
    assert_eq!((client.events(), away(&client)), (vec!["bind".to_owned()], None), "it has a stream");
}
