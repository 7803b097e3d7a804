//! More than the buffer holds, and more than a connection takes at once.

use super::{Server, User};

#[tokio::test]
async fn an_overflow_costs_neither_a_login_nor_a_message() {
    let server = Server::start().await;
    let (mut user, mut stream) = User::online(&server, &[]).await;
    let all: Vec<String> = (1..=22).map(|number| format!("{number:0>50000}").repeat(2)).collect();
    for (number, text) in all.iter().enumerate() {
        user.send(number, text);
    }
    // The buffer holds ten of them; the presence came first.
    assert_eq!(stream.messages(10).await, all[..10]);
    drop(stream);
    let mut stream = server.accept().await;
    assert_eq!(stream.element().await.name(), "resume");
    stream.send("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='5'/>").await;
    user.until("resumed").await;
    for (number, text) in all.iter().enumerate().skip(4) {
        assert!(stream.messages(1).await == [text.as_str()], "message {number}");
        stream.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", number + 2)).await;
    }
    assert!(user.said.try_recv().is_err(), "the connection was lost");
    user.count(23, 23);
    assert_eq!(stream.messages(1).await, ["23"]);
    user.quit(stream).await;
}

/// The answer to the server's `<r/>` does not wait for all that is sent again.
#[tokio::test]
async fn what_is_sent_again_leaves_room_for_answers() {
    let server = Server::start().await;
    let (user, mut stream) = User::online(&server, &[]).await;
    for number in 1..=99 {
        user.send(number, "x".repeat(10_000));
    }
    stream.messages(99).await;
    drop(stream);
    let mut stream = server.accept().await;
    assert_eq!(stream.element().await.name(), "resume");
    stream.send("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/><r xmlns='urn:xmpp:sm:3'/>").await;
    let mut before = 0;
    while stream.element().await.name() != "a" {
        before += 1;
    }
    assert!(before < 99, "the answer came after {before} stanzas");
    stream.messages(1).await;
    user.quit(stream).await;
}
