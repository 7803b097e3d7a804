//! A client's session given up whole, and put together again: its process may end, too.

use super::*;

fn through_parts(mut client: Client) -> Client {
    let parts = client.session.into_parts().unwrap();
    client.session = Session::from_parts(Arc::new(Config::default()), parts, client.now).unwrap();
    client
}

#[test]
fn it_asks_for_the_same_session() {
    let mut client = through_parts(Client::lost(&["<a/>", "<b/>"]));
    client.send("<c/>");
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("resumed previd='x' h='1'");
    assert_eq!(client.events(), ["resumed"]);
    assert_eq!(client.written(), format!("<b/>{R}<c/>{R}"));
}

#[test]
fn without_a_session_what_waits_goes_into_the_first() {
    let mut client = Client::new(Config::default());
    client.send("<a/>");
    let mut client = through_parts(client);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn it_does_not_begin_to_count_its_attempts_anew() {
    let mut client = Client::lost(&["<a/>"]);
    // Twice the server keeps silent.
    for number in 2..=3 {
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.session.peer_closed(client.now);
        assert_eq!(client.events().len(), 1, "connection {number}");
        client = through_parts(client);
    }
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
}
