//! When a client gives its session up, or its resource.

use super::client::lines::Line;
use super::{MOMENT, Server, User};

const ERROR: &str = "<stream:error><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>\
                     </stream:stream>";
const CONFLICT: &str = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>\
                        </stream:stream>";
const NONE: &str = "";

/// F4a
#[tokio::test]
async fn where_resume_gets_a_stream_error_each_time_the_next_session_begins() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::resuming(&server, &[]).await;
    stream.send(ERROR).await;
    user.until("note stream error: internal-server-error").await;
    assert_eq!(stream.upto_end().await, [""; 0]);

    let mut stream = server.accept().await;
    stream.begin().await;
    user.until("online").await;
    user.count(4, 5);
    assert_eq!(stream.messages(5).await, ["1", "2", "3", "4", "5"]);
    user.quit(stream).await;
}

/// F4b
#[tokio::test]
async fn where_stream_management_is_not_offered_any_more_the_client_goes_on_without() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::online(&server, &[]).await;
    user.count(1, 3);
    stream.messages(3).await;
    drop(stream);
    let mut stream = server.accept_offering(NONE).await;
    stream.bind().await;
    user.until("online").await;
    user.count(4, 5);
    // Neither <enable/> nor an <r/> comes between, and more stanzas than any buffer holds go through.
    for number in 1..=5 {
        let message = loop {
            let element = stream.element().await;
            match element.name() {
                "presence" => {}
                "message" => break element,
                other => panic!("<{other}/>"),
            }
        };
        assert_eq!(super::server::text(&message), number.to_string());
    }
    user.count(1, 300);
    assert_eq!(stream.messages(300).await.pop().as_deref(), Some("300"));
    user.quit(stream).await;
}

/// F4c
#[tokio::test]
async fn where_resume_is_never_answered_the_client_waits_no_longer_than_it_is_told() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::resuming(&server, &["--reply-timeout=1"]).await;
    stream.upto_loss().await;
    let mut stream = server.accept().await;
    assert_eq!(stream.element().await.name(), "resume");
    stream.upto_loss().await;
    let mut stream = server.accept().await;
    stream.begin().await;
    user.until("online").await;
    assert_eq!(stream.messages(3).await, ["1", "2", "3"]);
    user.quit(stream).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_at_all_is_tried_again() {
    let server = Server::start().await;
    let user = User::start(&server, &["--reply-timeout=1"]);
    server.accept_silently().await.upto_loss().await;
    // It does not bind, either.
    let mut stream = server.accept().await;
    assert_eq!(stream.element().await.name(), "iq");
    stream.upto_loss().await;
    let mut stream = server.accept().await;
    stream.begin().await;
    user.quit(stream).await;
}

#[tokio::test]
async fn where_enable_is_refused_the_client_goes_on_without() {
    let server = Server::start().await;
    let mut user = User::start(&server, &[]);
    user.count(1, 2);
    let mut stream = server.accept().await;
    stream.bind().await;
    assert_eq!(stream.element().await.name(), "enable");
    stream.send("<failed xmlns='urn:xmpp:sm:3'/>").await;
    user.until("online").await;
    assert_eq!(stream.messages(2).await, ["1", "2"]);
    user.quit(stream).await;
}

/// F4d
#[tokio::test]
async fn of_two_clients_with_one_jid_the_loser_does_not_come_back_by_itself() {
    let server = Server::start().await;
    let (mut first, mut old) = User::online(&server, &[]).await;
    first.count(1, 1);
    old.messages(1).await;
    let (second, mut new) = User::online(&server, &[]).await;
    old.send(CONFLICT).await;
    first.until("note stream error: conflict").await;
    old.upto_end().await;
    assert!(!server.is_visited(MOMENT).await);
    second.count(2, 2);
    assert_eq!(new.messages(1).await, ["2"]);

    // Its user takes the resource again.
    first.lines.send(Line::Go).expect("a client that listens");
    let mut again = server.accept().await;
    assert_eq!(again.element().await.name(), "resume");
    again.send("<failed xmlns='urn:xmpp:sm:3' h='2'/>").await;
    again.begin().await;
    new.send(CONFLICT).await;
    new.upto_end().await;
    assert!(!server.is_visited(MOMENT).await);
    // And the one that lost can be told to end.
    second.lines.send(Line::Quit).expect("a client that listens");
    second.ends().await.expect("a server that lets us in");
    first.quit(again).await;
}
