//! What an operator sees of two nodes: of each what it has, and nothing of what it had.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;

use super::{Client, JULIET, Node, bodies, message, two_with};
use crate::server::Redis;

/// Where a node shows its metrics.
fn watched(node: &mut Node) -> String {
    let mut line = String::new();
    node.stdout.read_line(&mut line).unwrap();
    line.trim().strip_prefix("metrics on ").unwrap().to_owned()
}

/// Asks for one look, in which these lines are.
fn shows(address: &str, wanted: &[&str]) {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("xmpp_sm_")).collect();
    for wanted in wanted {
        assert!(lines.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn a_session_that_moves_is_counted_where_it_is() {
    for promise in ["memory", "parked", "durable"] {
        let redis = Redis::start();
        let options = ["--promise", promise, "--metrics=127.0.0.1:0"];
        let [(mut one, mut romeo, _), (mut other, mut juliet, smid)] = two_with(&redis, &options);
        let [of_one, of_other] = [&mut one, &mut other].map(watched);
        romeo.say(&[message(2), message(3)].concat());
        juliet.gets(&[2, 3]);
        romeo.is_told(4);
        // Her own presence, and three messages.
        let at_other = ["sessions 1", "unacked_stanzas 4", "mail_put_total 0", "mail_taken_total 3"];
        shows(&of_other, &at_other);
        shows(&of_one, &["sessions 1", "unacked_stanzas 1", "mail_put_total 3", "mail_taken_total 0"]);

        let mut juliet = Client::log_in(&one, JULIET);
        let mut resumed = juliet.resume(&smid, 1);
        if bodies(&resumed).len() < 3 {
            resumed += &juliet.until(|read| read.contains("<body>3</body>"));
        }
        assert_eq!(bodies(&resumed), [1, 2, 3]);
        let nothing =
            ["sessions 0", "sessions_detached 0", "unacked_stanzas 0", "unacked_bytes 0", "waiting_stanzas 0"];
        shows(&of_other, &nothing);
        shows(&of_other, &["waiting_bytes 0", "open_receipts 0", "stanzas_sent_total 4", "mail_failures_total 0"]);
        shows(&of_one, &["sessions 2", "sessions_detached 0", "unacked_stanzas 4", "resumed_total 1"]);
    }
}
