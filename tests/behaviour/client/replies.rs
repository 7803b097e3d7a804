//! What a server does instead of resuming a session.

use std::time::Duration;

use xmpp_sm::{Config, Offer, StreamCondition};

use super::{Client, ENABLE, ERROR, OFFER, R, RESUME};

#[test]
fn a_stream_error_in_reply_to_resume_is_the_end_of_the_session() {
    let mut client = Client::lost(&["<a/>"]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.error(ERROR);
    assert_eq!(client.events(), ["parted 2 "]);
    client.connect(OFFER);
    assert_eq!((client.written(), client.events()), (String::new(), vec!["bind".to_owned()]));
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn a_stream_error_at_another_time_is_not() {
    let mut client = Client::online(Config::default());
    client.error(ERROR);
    assert_eq!(client.events(), ["parted 1 "]);
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
}

#[test]
fn a_server_that_does_not_reply_twice_is_not_asked_again() {
    let mut client = Client::lost(&["<a/>"]);
    for connection in [2, 3] {
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.wait(29);
        assert_eq!(client.events(), [""; 0]);
        client.wait(2);
        assert_eq!(client.events(), [format!("dropped {connection}")]);
    }
    client.connect(OFFER);
    assert_eq!((client.written(), client.events()), (String::new(), vec!["bind".to_owned()]));
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn a_server_that_closes_the_stream_twice_instead_of_a_reply_is_not_asked_again() {
    let mut client = Client::lost(&["<a/>"]);
    for connection in [2, 3] {
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.session.peer_closed(client.now);
        assert_eq!(client.events(), [format!("parted {connection} ")]);
    }
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
}

#[test]
fn connections_may_be_lost_before_the_reply_but_not_without_end() {
    let mut client = Client::lost(&["<a/>"]);
    for _ in 0..10 {
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.session.lost(client.now);
        client.events();
    }
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
    // The new session has as many tries.
    client.session.lost(client.now);
    client.connect(OFFER);
    assert!(client.written().starts_with("<resume "));
}

#[test]
fn how_many_may_be_lost_is_an_option() {
    let mut client = Client::online(Config::default().resume_tries_max(std::num::NonZeroU32::MIN));
    // A connection that takes nothing is lost over something else.
    for _ in 0..3 {
        client.session.lost(client.now);
        client.connect(OFFER);
    }
    assert_eq!(client.written(), RESUME);
    client.session.lost(client.now);
    client.events();
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
}

#[test]
fn a_reply_makes_up_for_connections_that_were_lost_before() {
    let mut client = Client::lost(&[]);
    for _ in 0..3 {
        for _ in 0..9 {
            client.connect(OFFER);
            assert_eq!(client.written(), RESUME);
            client.session.lost(client.now);
        }
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive("resumed previd='x' h='0'");
        client.session.lost(client.now);
    }
}

#[test]
fn a_reply_makes_up_for_a_silence_before_it() {
    let mut client = Client::lost(&["<a/>"]);
    for _ in 0..3 {
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.wait(31);
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive("resumed previd='x' h='0'");
        assert_eq!(client.written(), format!("<a/>{R}"));
        client.session.lost(client.now);
    }
}

#[test]
fn a_session_is_not_asked_for_where_stream_management_is_not_offered() {
    let mut client = Client::lost(&["<a/>"]);
    client.connect(Offer { stream_management: false, ..OFFER });
    assert_eq!((client.written(), client.events()), (String::new(), vec!["bind".to_owned()]));
    client.bind();
    assert_eq!(client.events(), ["online, plain"]);
    assert_eq!(client.written(), "<a/>");
    // Nothing is counted, and nothing fills up.
    for _ in 0..300 {
        client.send("<b/>");
        assert_eq!(client.written(), "<b/>");
    }
    assert_eq!((client.session.unacked(), client.session.deadline()), (0, None));
}

#[test]
fn where_enable_is_refused_the_stream_goes_on() {
    let mut client = Client::new(Config::default());
    client.send("<a/>");
    client.connect(OFFER);
    client.events();
    client.bind();
    assert_eq!(client.written(), ENABLE);
    client.receive("failed");
    assert_eq!(client.events(), ["online, plain"]);
    client.send("<b/>");
    assert_eq!(client.written(), "<a/><b/>");
    assert!(!client.session.is_enabled());
}

/// There is no session that the server could be asked for again.
#[test]
fn a_server_that_cannot_enable_for_a_while_is_not_left() {
    for condition in UNKNOWN {
        let mut client = Client::new(Config::default());
        client.connect(OFFER);
        client.events();
        client.bind();
        client.written();
        client.receive(&failed("", condition));
        assert_eq!(client.events(), ["online, plain"], "{condition}");
    }
}

#[test]
fn a_server_that_does_not_reply_to_enable_is_left_and_stanzas_wait() {
    let mut client = Client::new(Config::default());
    client.send("<a/>");
    client.connect(OFFER);
    client.events();
    client.bind();
    assert_eq!(client.written(), ENABLE);
    client.wait(31);
    assert_eq!(client.events(), ["dropped 1"]);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn a_resource_that_is_not_bound_is_not_waited_for_without_end() {
    let mut client = Client::new(Config::default());
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.wait(31);
    assert_eq!(client.events(), ["dropped 1"]);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
}

#[test]
fn a_reply_is_waited_for_as_long_as_the_host_says() {
    let config = Config::default().resume_timeout(Some(Duration::from_secs(7))).reply_timeout(Duration::from_secs(4));
    let mut client = Client::new(config);
    client.connect(OFFER);
    assert_eq!(client.events(), ["bind"]);
    client.bind();
    assert_eq!(client.written(), ENABLE.replace("600", "7"));
    assert_eq!(client.session.deadline(), Some(client.now + Duration::from_secs(4)));
}

const UNKNOWN: [&str; 2] = ["internal-server-error", "resource-constraint"];

fn failed(attributes: &str, condition: &str) -> String {
    format!("failed {attributes}><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>")
}

#[test]
fn a_server_that_cannot_tell_whether_it_has_the_session_is_asked_again() {
    for condition in UNKNOWN {
        let mut client = Client::lost(&["<a/>"]);
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive(&failed("", condition));
        assert_eq!(client.events(), ["parted 2 "]);
        assert_eq!(client.session.unacked(), 1);
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive("resumed previd='x' h='0'");
        assert_eq!((client.events(), client.written()), (vec!["resumed".to_owned()], format!("<a/>{R}")));
    }
}

#[test]
fn it_is_not_asked_again_without_end() {
    let mut client = Client::lost(&["<a/>"]);
    for connection in 2..=10 {
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive(&failed("", UNKNOWN[0]));
        assert_eq!(client.events(), [format!("parted {connection} ")]);
    }
    client.connect(OFFER);
    assert_eq!(client.written(), RESUME);
    client.receive(&failed("", UNKNOWN[0]));
    assert_eq!(client.events(), ["not resumed, h None", "bind"]);
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}

#[test]
fn a_server_that_knows_the_last_h_or_has_another_reason_is_not_asked_again() {
    for (attributes, condition) in [("h='0'", UNKNOWN[0]), ("", "item-not-found"), ("", "unexpected-request")] {
        let mut client = Client::lost(&["<a/>"]);
        client.connect(OFFER);
        assert_eq!(client.written(), RESUME);
        client.receive(&failed(attributes, condition));
        assert_eq!(client.events()[1..], ["bind"], "{condition}");
    }
}

#[test]
fn what_a_client_cannot_read_ends_its_stream_and_what_it_holds_goes_into_the_next_session() {
    let mut client = Client::online(Config::default());
    client.session.send("<a/>".into(), client.now).unwrap();
    client.written();
    client.session.unreadable(StreamCondition::NotWellFormed, client.now);
    let said = client.events();
    assert!(matches!(&said[..], [parted] if parted.contains("<stream:error><not-well-formed ")), "{said:?}");
    client.connect(OFFER);
    assert_eq!((client.written(), client.events()), (String::new(), vec!["bind".to_owned()]));
    client.begin();
    assert_eq!(client.written(), format!("<a/>{R}"));
}
