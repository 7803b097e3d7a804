//! A server that resumes a session and reads nothing more, or whose acknowledgements do not come through.

use super::{Server, Stream, User};

/// The client has resumed its session, has waited for an acknowledgement for the second time, and has closed its stream.
async fn silent_twice(server: &Server) -> (User, Stream) {
    let (user, mut stream) = User::online(server, &["--ack-timeout=1"]).await;
    user.count(1, 2);
    stream.upto_loss().await;
    let mut stream = server.accept().await;
    assert_eq!(stream.element().await.name(), "resume");
    stream.send("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>").await;
    let names = stream.upto_end().await;
    assert_eq!(names.iter().filter(|name| *name == "message").count(), 2);
    assert_eq!(names.last().map(String::as_str), Some("a"));
    (user, stream)
}

#[tokio::test]
async fn after_the_second_silence_the_client_begins_anew() {
    let server = Server::start().await;
    let (mut user, stream) = silent_twice(&server).await;
    user.count(3, 3);
    drop(stream);
    let mut stream = server.accept().await;
    stream.begin().await;
    user.until("online").await;
    assert_eq!(stream.messages(3).await, ["1", "2", "3"]);
    user.quit(stream).await;
}

#[tokio::test]
async fn an_acknowledgement_behind_the_end_of_the_stream_still_counts() {
    let server = Server::start().await;
    let (mut user, mut stream) = silent_twice(&server).await;
    user.count(3, 3);
    stream.send("<a xmlns='urn:xmpp:sm:3' h='2'/></stream:stream>").await;
    let mut stream = server.accept().await;
    stream.begin().await;
    user.until("online").await;
    assert_eq!(stream.messages(2).await, ["2", "3"]);
    user.quit(stream).await;
}
