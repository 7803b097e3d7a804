//! A connection of the host, and the peer at the other end of a pipe.

use tokio_xmpp::xmlstream::Timeouts;
use xmpp_parsers::stream_features::StreamFeatures;
use xmpp_sm::{Parting, Write};

use super::host::connection::{Connection, Input, Queued};
use super::scripted::connected;
use super::*;

async fn pair() -> (Connection, Raw) {
    let ((_, stream), raw) = connected(&StreamFeatures::default(), Timeouts::default()).await;
    (Connection::new(stream, None), raw)
}

fn message(body: String) -> Message {
    Message::chat("juliet@localhost".parse::<Jid>().unwrap()).with_body(Lang::default(), body)
}

/// What is more stays in the session, which can write it elsewhere.
#[tokio::test]
async fn it_takes_64_kib_and_then_more_when_they_are_written() {
    let (mut connection, mut raw) = pair().await;
    let long = message("!".repeat(1000));
    for _ in 0..64 {
        assert!(connection.has_room());
        connection.put(&long, 1024);
    }
    assert!(!connection.has_room());
    let read = async {
        for _ in 0..64 {
            raw.read().await;
        }
    };
    let (written, ()) = tokio::join!(connection.drive(false), read);
    assert!(matches!(written, Ok(None)));
    assert!(connection.has_room());
    // What is behind waits until what is before is written.
    connection.put(&long, 1024);
    connection.push(Write::<Queued>::Flush);
    assert!(!connection.has_room());
}

/// The peer reads only when it has said what it has to say.
#[tokio::test]
async fn its_last_words_come_though_the_peer_talks() {
    let (connection, mut raw) = pair().await;
    let parted = tokio::spawn(connection.part(Parting::Close));
    for number in 0..100 {
        raw.0.send(&message(number.to_string())).await.expect("it is read");
    }
    assert!(matches!(timeout(TIME, raw.0.next()).await, Ok(Some(Err(ReadError::StreamFooterReceived)))));
    drop(raw);
    parted.await.expect("it ends");
}

#[tokio::test]
async fn what_cannot_be_written_is_its_end() {
    let (mut connection, _raw) = pair().await;
    connection.put(&message("\0".to_owned()), 100);
    assert!(timeout(TIME, connection.drive(true)).await.expect("it is told").is_err());
}

#[tokio::test]
async fn the_end_of_the_stream_is_not_that_of_the_connection() {
    let (mut connection, mut raw) = pair().await;
    raw.0.shutdown().await.expect("it is written");
    let input = timeout(TIME, connection.drive(true)).await.expect("it is told");
    assert!(matches!(input, Ok(Some(Input::Closed))));
}
