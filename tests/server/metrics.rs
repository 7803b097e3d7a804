//! What an operator sees: one look at it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Client;
use super::{Running, message, start};

/// The lines of one look, without the prefix.
async fn look(server: &Running) -> Vec<String> {
    let mut tcp = TcpStream::connect(server.metrics.expect("it was asked for")).await.expect("a connection");
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it listens");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.expect("text");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(&format!("Content-Length: {}\r\n", text.len())));
    assert!(text.ends_with("# EOF\n"), "{text}");
    text.lines().filter_map(|line| line.strip_prefix("xmpp_sm_")).map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], wanted: &[&str]) {
    for wanted in wanted {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is not in {lines:#?}");
    }
}

#[tokio::test]
async fn it_says_where_stanzas_went_and_why_streams_were_lost() {
    let server = start(&["--metrics=127.0.0.1:0"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", juliet.h)).await;
    let acked = juliet.h;
    juliet.ping().await;
    romeo.send(&message("juliet@localhost", "one")).await;
    romeo.send("<message to='juliet@localhost/balcony' type='groupchat'><body>two</body></message>").await;
    juliet.upto("two").await;
    romeo.ping().await;
    let lines = look(&server).await;
    has(
        &lines,
        &["sessions 2", "sessions_detached 0", "sessions_begun_total 2", "store_sessions 1", "unacked_stanzas 3"],
    );
    has(&lines, &[&format!("stanzas_sent_total {}", acked + 3), &format!("stanzas_acked_total {acked}")]);

    juliet.cut(&mut romeo).await;
    romeo.send(&message("juliet@localhost", "three")).await;
    romeo.ping().await;
    let lines = look(&server).await;
    has(&lines, &["sessions_detached 1", "unacked_stanzas 3", "waiting_stanzas 1", "detached_total{why=\"Lost\"} 1"]);

    let (mut again, _) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    again.upto("three").await;
    let lines = look(&server).await;
    has(&lines, &["resumed_total 1", "sessions_detached 0", "stanzas_resent_total 0", "store_found 1"]);
    again.ping().await;
    again.send("</stream:stream>").await;
    again.rest().await;
    romeo.ping().await;
    let lines = look(&server).await;
    has(&lines, &["sessions 1", "ended_total{reason=\"Closed\"} 1", "unacked_stanzas 0", "store_sessions 0"]);
    has(&lines, &["left_total{step=\"store\"} 1", "left_total{step=\"drop\"} 1"]);
    has(&lines, &["refused_total{condition=\"item-not-found\"} 0", "oldest_receipt_seconds 0.0"]);
    let mut late = Client::login(&server, "juliet").await;
    late.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>").await;
    late.upto("<item-not-found ").await;
    has(&look(&server).await, &["refused_total{condition=\"item-not-found\"} 1"]);
    let mut inline = Client::opened(&server).await;
    let resume = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>";
    inline.send(&super::inline::authenticate(super::inline::JULIET, resume)).await;
    inline.upto("</success>").await;
    has(&look(&server).await, &["refused_total{condition=\"item-not-found\"} 2"]);
    assert!(!lines.iter().any(|line| line.contains("juliet") || line.contains("romeo")), "{lines:#?}");
}

#[tokio::test]
async fn each_metric_is_documented() {
    let server = start(&["--metrics=127.0.0.1:0"]).await;
    let mut tcp = TcpStream::connect(server.metrics.expect("it was asked for")).await.expect("a connection");
    tcp.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("it listens");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.expect("text");
    let names = |kind: &str| -> Vec<String> {
        let lines = answer.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(" xmpp_sm_"));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(names("# HELP"), names("# TYPE"));
    assert_eq!(names("# HELP").len(), 35);
}
