//! How streams and sessions end.

use xmpp_sm::{Config, EndReason, NotSentWhy};

use super::{CONFLICT, Client, OFFER, OWNER, R, RESUME};

#[test]
fn a_conflict_is_told_and_the_session_is_kept() {
    let mut client = Client::online(Config::default());
    client.send("<a/>");
    client.written();
    client.error(CONFLICT);
    assert_eq!(client.events(), ["parted 1 ", "conflict"]);
    assert_eq!(client.session.unacked(), 1);
    // When its user says so, it comes back.
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
}

#[test]
fn a_server_that_closes_the_stream_gets_the_last_ack_and_the_session_is_asked_for() {
    let mut client = Client::online(Config::default());
    let receipt = client.stanza();
    client.session.settle(receipt, client.now).unwrap();
    client.send("<a/>");
    client.written();
    client.session.peer_closed(client.now);
    assert_eq!(client.events(), ["parted 1 <a xmlns='urn:xmpp:sm:3' h='1'/>"]);
    client.connect(OFFER);
    assert_eq!(client.written(), "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>");
}

/// Connection 2 resumes a session whose server is silent, as it was on connection 1.
fn silent_twice() -> Client {
    let mut client = Client::online(Config::default());
    client.send("<a/>");
    assert_eq!(client.written(), format!("<a/>{R}"));
    client.wait(61);
    assert_eq!(client.events(), ["dropped 1"]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("resumed previd='x' h='0'");
    assert_eq!((client.written(), client.events()), (format!("<a/>{R}"), vec!["resumed".to_owned()]));
    client.wait(61);
    assert_eq!(client.written(), "<a xmlns='urn:xmpp:sm:3' h='0'/></>");
    assert_eq!(client.events(), [""; 0]);
    client
}

#[test]
fn a_session_of_which_nothing_is_acknowledged_twice_is_closed_and_the_next_one_begins() {
    let mut client = silent_twice();
    client.send("<b/>");
    client.wait(3);
    assert_eq!(client.events(), ["closed 2"]);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}<b/>{R}"));
}

#[test]
fn what_is_acknowledged_behind_the_end_of_the_stream_is_not_sent_again() {
    let mut client = silent_twice();
    client.receive("a h='1'");
    client.session.peer_closed(client.now);
    assert_eq!(client.events(), ["closed 2"]);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.begin();
    assert_eq!(client.written(), "");
}

#[test]
fn a_client_that_connects_again_does_not_wait_for_the_end_of_the_old_stream() {
    let mut client = silent_twice();
    client.connect(OFFER);
    assert_eq!(client.events(), ["dropped 2", "bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn nor_for_receipts_that_are_open_at_the_end_of_the_old_stream() {
    let mut client = Client::online(Config::default());
    let receipt = client.stanza();
    client.receive("a h='7'");
    assert_eq!((client.written(), client.events()), (String::new(), vec![]));
    client.connect(OFFER);
    assert_eq!(client.events(), ["dropped 1", "bind"]);
    client.begin();
    assert!(client.session.settle(receipt, client.now).is_err());
}

#[test]
fn silence_after_progress_is_another_silence() {
    let mut client = Client::online(Config::default());
    for connection in 1..5 {
        client.send("<a/>");
        client.written();
        client.receive(&format!("a h='{connection}'"));
        client.send("<b/>");
        client.written();
        client.wait(61);
        assert_eq!(client.events(), [format!("dropped {connection}")]);
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive(&format!("resumed previd='x' h='{}'", connection + 1));
        client.events();
    }
}

#[test]
fn so_is_silence_after_a_reply_to_resume_that_acknowledges() {
    let mut client = Client::online(Config::default());
    client.send("<a/>");
    client.send("<b/>");
    client.written();
    client.wait(61);
    assert_eq!(client.events(), ["dropped 1"]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("resumed previd='x' h='1'");
    assert_eq!((client.written(), client.events()), (format!("<b/>{R}"), vec!["resumed".to_owned()]));
    client.wait(61);
    assert_eq!((client.written(), client.events()), (String::new(), vec!["dropped 2".to_owned()]));
}

#[test]
fn a_server_that_acknowledges_too_much_is_told_and_the_next_session_begins() {
    let mut client = Client::online(Config::default());
    client.send("<a/>");
    client.written();
    client.receive("a h='7'");
    assert!(client.written().contains("<handled-count-too-high "));
    client.send("<b/>");
    client.session.peer_closed(client.now);
    assert_eq!(client.events(), ["closed 1"]);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}<b/>{R}"));
}

#[test]
fn a_conflict_behind_the_end_of_the_stream_is_told() {
    let mut client = silent_twice();
    client.error(CONFLICT);
    client.session.lost(client.now);
    assert_eq!(client.events(), ["conflict", "dropped 2"]);
}

#[test]
fn a_host_that_closes_gets_back_what_is_left() {
    let mut client = Client::online(Config::default());
    ["<a/>", "<b/>"].into_iter().for_each(|stanza| client.send(stanza));
    client.written();
    client.session.close(EndReason::Closed, None, client.now);
    assert!(!client.session.has_room());
    assert_eq!(client.written(), "<a xmlns='urn:xmpp:sm:3' h='0'/></>");
    client.receive("a h='1'");
    client.session.peer_closed(client.now);
    assert_eq!(client.events(), ["closed 1", "ended Closed [\"<b/>\"]"]);
    assert!(client.session.connect(OWNER, OFFER, 2, client.now).is_err());
    let not = client.session.send("<c/>".to_owned(), client.now).unwrap_err();
    assert_eq!(not.why, NotSentWhy::Over);
}

#[test]
fn a_host_closes_at_any_time() {
    let closed = |mut client: Client| {
        client.session.close(EndReason::Stopped, None, client.now);
        client.written();
        client.wait(10);
        client.events().pop().unwrap()
    };
    assert_eq!(closed(Client::new(Config::default())), "ended Stopped []");
    assert_eq!(closed(Client::lost(&["<a/>"])), "ended Stopped [\"<a/>\"]");
    assert_eq!(closed(silent_twice()), "ended Stopped [\"<a/>\"]");
    let mut resuming = Client::lost(&["<a/>"]);
    resuming.connect(OFFER);
    assert_eq!(closed(resuming), "ended Stopped [\"<a/>\"]");
    let mut binding = Client::new(Config::default());
    binding.connect(OFFER);
    binding.send("<a/>");
    assert_eq!(closed(binding), "ended Stopped [\"<a/>\"]");
}

#[test]
fn while_the_session_of_a_silent_server_ends_there_is_room_and_the_next_one_is_not_blamed() {
    let mut client = silent_twice();
    assert!(client.session.has_room());
    client.wait(3);
    client.events();
    client.connect(OFFER);
    client.events();
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
    // Nothing of it is acknowledged either, and it is silent for the first time.
    client.wait(61);
    assert_eq!(client.events(), ["dropped 3"]);
}

#[test]
fn a_server_that_was_silent_and_has_said_something_since_is_silent_anew() {
    for (resumed, ack) in [(1, 1), (0, 0)] {
        let mut client = Client::online(Config::default());
        ["<a/>", "<b/>"].into_iter().for_each(|stanza| client.send(stanza));
        client.written();
        client.wait(61);
        client.connect(OFFER);
        client.receive(&format!("resumed previd='x' h='{resumed}'"));
        client.written();
        if ack == 0 {
            client.receive("a h='0'");
        }
        client.events();
        client.wait(200);
        assert_eq!(client.events(), ["dropped 2"], "h={resumed}");
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME, "it is asked for its session, h={resumed}");
    }
}
