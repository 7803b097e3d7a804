//! What is sent, and how it goes on from one connection to the next.

use std::num::{NonZeroU32, NonZeroUsize};

use xmpp_sm::{Config, EndReason, NotConnected, NotConnectedWhy, NotSentWhy, Offer, OnFull, Write};

use super::{Client, ENABLE, OFFER, R, RESUME};

#[test]
fn what_is_sent_before_the_first_connection_waits_for_it() {
    let mut client = Client::new(Config::default());
    client.send("<a/>");
    assert_eq!((client.written(), client.events()), (String::new(), vec![]));
    client.connect(OFFER);
    assert_eq!((client.written(), client.events()), (String::new(), vec!["bind".to_owned()]));
    client.bind();
    // Before the reply nobody could say whether it arrived.
    assert_eq!(client.written(), ENABLE);
    client.receive("enabled id='x' resume='true'");
    assert_eq!(client.events(), ["online, managed"]);
    client.send("<b/>");
    assert_eq!(client.written(), format!("<a/>{R}<b/>{R}"));
    assert_eq!(client.session.unacked(), 2);
}

#[test]
fn a_session_is_resumed_and_what_is_not_acknowledged_is_sent_again() {
    let mut client = Client::lost(&["<a/>", "<b/>"]);
    client.send("<c/>");
    client.connect(OFFER);
    assert_eq!((client.written(), client.events()), (RESUME.to_owned(), vec![]));
    client.receive("resumed previd='x' h='1'");
    assert_eq!(client.events(), ["resumed"]);
    assert_eq!(client.written(), format!("<b/>{R}<c/>{R}"));
    client.receive("a h='3'");
    assert_eq!((client.session.unacked(), client.written()), (0, String::new()));
}

#[test]
fn the_place_where_the_server_wants_it_back_is_told_as_long_as_there_is_the_session() {
    let mut client = Client::new(Config::default());
    let place = |client: &Client| client.session.location().map(|place| place.as_str().to_owned());
    client.connect(OFFER);
    client.events();
    client.bind();
    client.written();
    client.receive("enabled id='x' resume='true' location='[::1]:5222'");
    assert_eq!(place(&client).as_deref(), Some("[::1]:5222"));
    client.session.lost(client.now);
    assert_eq!(place(&client).as_deref(), Some("[::1]:5222"), "there it connects");
    client.connect(OFFER);
    client.written();
    client.receive("resumed previd='x' h='0'");
    assert!(place(&client).is_some(), "and once more");
    client.session.lost(client.now);
    client.connect(OFFER);
    client.written();
    client.receive("failed");
    assert_eq!(place(&client), None, "it was that of the session");
    client.events();
    client.bind();
    client.written();
    client.receive("enabled location='192.0.2.1'");
    assert_eq!(place(&client), None, "there is nothing to come back to");
}

#[test]
fn acknowledged_stanzas_come_back_whichever_way_it_is_told() {
    let mut client = Client::online(Config::default());
    client.session.return_acknowledged(true);
    ["<a/>", "<b/>", "<c/>"].into_iter().for_each(|stanza| client.send(stanza));
    client.written();
    client.receive("a h='1'");
    client.session.lost(client.now);
    assert_eq!(client.events(), ["acknowledged <a/>", "dropped 1"]);
    client.connect(OFFER);
    client.written();
    client.receive("resumed previd='x' h='2'");
    assert_eq!(client.events(), ["acknowledged <b/>", "resumed"]);
    client.session.lost(client.now);
    client.connect(OFFER);
    client.written();
    client.receive("failed h='3'");
    assert_eq!(client.events(), ["dropped 2", "acknowledged <c/>", "not resumed, h Some(3)", "bind"]);
}

#[test]
fn what_is_acknowledged_while_it_is_sent_again_is_not_waited_for() {
    let mut client = Client::lost(&["<a/>", "<b/>", "<c/>"]);
    client.connect(OFFER);
    client.written();
    client.receive("resumed previd='x' h='0'");
    let Some((_, Write::Stanza { stanza, .. })) = client.session.next_write(client.now) else { panic!() };
    assert_eq!(stanza, "<a/>");
    client.receive("a h='2'");
    client.send("<d/>");
    assert_eq!(client.written(), format!("<c/>{R}<d/>{R}"));
}

#[test]
fn of_a_refused_session_the_h_tells_what_arrived_and_the_rest_goes_into_the_next_one() {
    let mut client = Client::lost(&["<a/>", "<b/>"]);
    client.send("<c/>");
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("failed h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
    assert_eq!(client.events(), ["not resumed, h Some(1)", "bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<b/>{R}<c/>{R}"));
}

#[test]
fn of_a_session_that_is_refused_without_h_all_goes_into_the_next_one() {
    let mut client = Client::lost(&["<a/>", "<b/>"]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("failed");
    assert_eq!(client.events(), ["not resumed, h None", "bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}<b/>{R}"));
    assert_eq!(client.session.smid().map(|smid| smid.as_str()), Some("y"));
}

#[test]
fn a_component_binds_no_resource() {
    let mut client = Client::new(Config::default());
    let offer = Offer { binds: false, ..OFFER };
    client.connect(offer);
    assert_eq!((client.written(), client.events()), (ENABLE.to_owned(), vec![]));
    client.receive("enabled id='x' resume='true'");
    assert_eq!(client.events(), ["online, managed"]);
    client.send("<a/>");
    client.written();
    client.session.lost(client.now);
    client.connect(offer);
    assert_eq!(client.written(), RESUME);
    client.receive("failed");
    assert_eq!(client.written(), ENABLE);
    assert_eq!(client.events(), ["dropped 1", "not resumed, h None"]);
}

#[test]
fn a_session_is_not_offered_to_another_account() {
    let mut client = Client::online(Config::default());
    let refused = client.session.connect("romeo@example.com", OFFER, 2, client.now);
    assert_eq!(refused, Err(NotConnected { connection: 2, why: NotConnectedWhy::WrongAccount }));
    // And nothing has changed.
    assert_eq!((client.session.connection().copied(), client.events()), (Some(1), vec![]));
    client.send("<a/>");
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn a_token_is_of_one_connection() {
    let mut client = Client::new(Config::default());
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    let first = client.binding.take().unwrap();
    client.connect(OFFER);
    assert_eq!(client.events(), ["dropped 1", "bind"]);
    let first = client.session.bound(first, client.now).unwrap_err().0;
    assert_eq!(client.written(), "");
    client.bind();
    assert_eq!(client.written(), ENABLE);
    client.session.lost(client.now);
    assert!(client.session.bound(first, client.now).is_err());
}

#[test]
fn a_session_that_ends_is_not_bound() {
    let mut client = Client::new(Config::default());
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    let token = client.binding.take().unwrap();
    client.session.close(EndReason::Closed, None, client.now);
    assert!(client.session.bound(token, client.now).is_err());
    assert!(!client.written().contains("<enable"));
}

#[test]
fn a_full_backlog_gives_the_stanza_back() {
    let mut client = Client::new(Config::default().backlog_max(NonZeroU32::new(2).unwrap()));
    client.send("<a/>");
    assert!(client.session.has_room());
    client.send("<b/>");
    assert!(!client.session.has_room());
    let not = client.session.send("<c/>".to_owned(), client.now).unwrap_err();
    assert_eq!((not.stanza.as_str(), not.why), ("<c/>", NotSentWhy::Full));
    client.connect(OFFER);
    client.events();
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}<b/>{R}"));
    assert!(client.session.has_room());
}

#[test]
fn a_stanza_that_no_buffer_keeps_comes_back_at_once() {
    let mut client = Client::online(Config::default().buffer_max_bytes(NonZeroUsize::new(4).unwrap()));
    let not = client.session.send("<aa/>".to_owned(), client.now).unwrap_err();
    assert_eq!((not.stanza.as_str(), not.why), ("<aa/>", NotSentWhy::TooLarge));
    client.send("<a/>");
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn a_stanza_of_any_size_is_sent_where_it_need_not_be_kept() {
    let four_bytes = Config::default().buffer_max_bytes(NonZeroUsize::new(4).unwrap());
    for config in [four_bytes.clone().buffer(false), four_bytes.on_full(OnFull::EvictOldest)] {
        let mut client = Client::new(config);
        client.connect(OFFER);
        assert_eq!(client.events(), ["bind"]);
        client.bind();
        client.written();
        client.receive("enabled");
        client.send("<aa/>");
        assert_eq!(client.written(), format!("<aa/>{R}"));
    }
}

/// It is not in the buffer, nor among the evicted before it is written.
#[test]
fn a_stanza_larger_than_the_buffer_that_was_on_its_way_goes_into_the_next_session_in_its_place() {
    let config = Config::default().buffer_max_bytes(NonZeroUsize::new(4).unwrap());
    let mut client = Client::online(config.on_full(OnFull::EvictOldest).evicted_max_bytes(10_000));
    ["<a/>", "<large/>", "<c/>"].into_iter().for_each(|stanza| client.send(stanza));
    let mut writes = std::iter::from_fn(|| {
        let (_, item) = client.session.next_write(client.now)?;
        Some(matches!(item, Write::Stanza { stanza, .. } if stanza == "<large/>"))
    });
    assert!(writes.any(|is_large| is_large));
    client.session.lost(client.now);
    client.connect(OFFER);
    assert_eq!(client.events(), ["dropped 1", "bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}<large/>{R}<c/>{R}"));
}

#[test]
fn what_has_no_room_in_the_buffer_waits_and_the_stream_lives() {
    let mut client = Client::online(Config::default().buffer_max(NonZeroU32::new(2).unwrap()));
    ["<a/>", "<b/>", "<c/>", "<d/>"].into_iter().for_each(|stanza| client.send(stanza));
    assert_eq!(client.written(), format!("<a/>{R}<b/>{R}"));
    client.wait(20);
    assert_eq!((client.written(), client.events()), (String::new(), vec![]));
    client.receive("a h='1'");
    assert_eq!(client.written(), format!("<c/>{R}"));
    client.receive("a h='3'");
    assert_eq!(client.written(), format!("<d/>{R}"));
}

#[test]
fn a_client_asks_even_if_its_time_is_over_for_the_server_knows_what_it_handled() {
    let mut client = Client::lost(&["<a/>"]);
    client.wait(10_000);
    assert_eq!((client.session.deadline(), client.events()), (None, vec![]));
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("failed h='1'");
    assert_eq!(client.session.waiting(), 0);
}

#[test]
fn open_receipts_are_waited_for_before_the_session_is_asked_for() {
    let mut client = Client::online(Config::default());
    let [first, second] = [client.stanza(), client.stanza()];
    client.session.lost(client.now);
    client.connect(OFFER);
    assert_eq!(client.written(), "");
    client.session.settle(first, client.now).unwrap();
    assert_eq!(client.written(), "");
    client.wait(6);
    assert_eq!(client.written(), "<resume xmlns='urn:xmpp:sm:3' previd='x' h='2'/>");
    assert!(client.session.settle(second, client.now).is_err());
}

#[test]
fn nothing_that_a_lost_stream_still_had_to_say_is_said_on_the_next() {
    let mut client = Client::lost(&["<a/>"]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive("resumed previd='x' h='0'");
    client.receive("r");
    client.session.request_ack(client.now);
    client.session.lost(client.now);
    client.connect(Offer { stream_management: false, ..OFFER });
    client.events();
    client.bind();
    assert_eq!(client.written(), "<a/>");
}

#[test]
fn what_came_back_of_a_session_counts_among_what_waits() {
    let config = Config::default().backlog_max_bytes(std::num::NonZeroUsize::new(8).unwrap());
    let mut client = Client::online(config);
    client.send("<a/>");
    client.written();
    client.session.lost(client.now);
    client.connect(Offer { stream_management: false, ..OFFER });
    assert!(client.session.has_room());
    client.send("<b/>");
    assert!(!client.session.has_room(), "the bound itself is no room");
    assert!(client.session.send("<c/>".to_owned(), client.now).is_err());
}

#[test]
fn a_client_without_a_connection_waits_for_no_receipt() {
    let mut client = Client::online(Config::default());
    let _open = client.stanza();
    client.session.lost(client.now);
    client.connect(OFFER);
    assert!(client.session.deadline().is_some());
    client.session.lost(client.now);
    assert_eq!(client.session.deadline(), None);
}
