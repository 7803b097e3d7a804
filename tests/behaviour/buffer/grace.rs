//! The time that a full buffer has to empty.

use xmpp_sm::{EndReason, Error, OnFull};

use crate::support::{Net, Side, bytes, quiet, secs, stanzas};

/// A buffer for three stanzas, and five seconds of grace.
fn net() -> Net {
    let config = quiet().buffer_max(stanzas(3)).on_full(OnFull::EndAfter(secs(5)));
    Net::new(config)
}

fn due(net: &Net, conn: usize) -> Option<u64> {
    net.server(conn).poll_timeout().map(|due| due.duration_since(net.start()).as_secs())
}

#[test]
fn p07_steady_traffic_does_not_put_the_end_off() {
    let mut net = net();
    let conn = net.login("juliet@capulet.lit");
    for second in 0..20 {
        // The fourth stanza, at three seconds, is the first over the limit.
        if second < 6 {
            net.server_sends(conn, &format!("<message id='m{second}'/>"));
            assert_eq!(due(&net, conn), (second >= 3).then_some(8), "at {second} s");
        }
        net.run();
        net.advance(secs(1));
        if second < 7 {
            assert!(net.server(conn).is_enabled(), "at {second} s");
        }
    }
    net.ended(&[(conn, EndReason::BufferFull)]);
    assert_eq!(net.errors, [(Side::Server, Error::BufferFull)]);
    assert_eq!(net.take_handed_back().len(), 6);
}

#[test]
fn p07_the_time_ends_when_there_is_room_and_not_before() {
    let mut net = net();
    let conn = net.login("juliet@capulet.lit");
    for n in 1..=5 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.advance(secs(1));
    // One is not enough.
    net.client_writes(conn, "<a h='1'/>");
    net.run();
    assert_eq!(due(&net, conn), Some(5));
    net.client_writes(conn, "<a h='2'/>");
    net.run();
    assert_eq!(due(&net, conn), None);
    // The next time it is full is another time.
    net.advance(secs(1));
    net.server_sends(conn, "<message id='m6'/>");
    assert_eq!(due(&net, conn), Some(7));
    net.advance(secs(5));
    net.ended(&[(conn, EndReason::BufferFull)]);
}

#[test]
fn p07_bytes_start_the_same_time() {
    let config = quiet().buffer_max_bytes(bytes(100)).on_full(OnFull::EndAfter(secs(5)));
    let mut net = Net::new(config);
    let conn = net.login("juliet@capulet.lit");
    for second in 0..4 {
        let body = "x".repeat(10);
        net.server_sends(conn, &format!("<message id='{body}'/>"));
        assert_eq!(due(&net, conn), (second == 3).then_some(8));
        net.advance(secs(1));
    }
    net.advance(secs(4));
    net.ended(&[(conn, EndReason::BufferFull)]);
}

/// A peer that asks, acknowledges nothing and sends stanzas of its own is not given more time.
#[test]
fn p07_nothing_that_the_peer_sends_puts_the_end_off_but_an_acknowledgement() {
    let mut net = net();
    let conn = net.login("juliet@capulet.lit");
    for n in 1..=4 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    for _ in 0..4 {
        net.client_sends(conn, "<message/>");
        net.client_writes(conn, "<r/>");
        net.client_writes(conn, "<a h='0'/>");
        net.run();
        assert_eq!(due(&net, conn), Some(5));
        net.advance(secs(1));
    }
    net.advance(secs(1));
    net.ended(&[(conn, EndReason::BufferFull)]);
}
