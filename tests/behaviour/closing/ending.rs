//! What a session leaves when it ends: once, in order, with its times.

use std::time::UNIX_EPOCH;

use minidom::Element;
use xmpp_sm::{EndReason, delay};

use crate::support::{Conn, JULIET, Net, Side, quiet, secs};

type Way = fn(&mut Net, Conn);

/// Every way in which a session of a server ends, and how it is called.
const ENDS: [(EndReason, Way); 7] = [
    (EndReason::Closed, |net, conn| net.closes(conn, Side::Client)),
    (EndReason::Closed, |net, conn| {
        net.closes(conn, Side::Server);
        net.cut(conn);
    }),
    (EndReason::Expired, |net, conn| {
        net.cut(conn);
        net.advance(secs(600));
    }),
    (EndReason::Replaced, |net, conn| net.server_ends(conn, EndReason::Replaced)),
    (EndReason::Stopped, |net, conn| {
        net.cut(conn);
        net.server_ends(conn, EndReason::Stopped);
    }),
    (EndReason::PeerFault, |net, conn| net.client_writes(conn, "<a h='7'/>")),
    (EndReason::PeerFault, |net, conn| net.client_writes(conn, "<enable/>")),
];

#[test]
fn a_session_that_ends_hands_back_what_is_unacknowledged_once_and_in_order() {
    for (reason, end) in ENDS {
        let mut net = Net::new(quiet());
        let conn = net.login(JULIET);
        net.server_sends(conn, "<message id='m1'/>");
        net.run();
        net.acks(conn, Side::Client);
        net.run();
        // The rest does not reach the client any more, or it would say so at the end.
        for n in 2..=3 {
            net.advance(secs(10));
            net.server_sends(conn, &format!("<message id='m{n}'/>"));
        }
        end(&mut net, conn);
        net.run();
        net.ended(&[(conn, reason)]);
        net.handed_back(&[
            &format!("{reason:?}, 2, at 10 s: <message id='m2'/>"),
            &format!("{reason:?}, 3, at 20 s: <message id='m3'/>"),
        ]);
        net.advance(secs(100_000));
        net.handed_back(&[]);
        net.ended(&[]);
    }
}

#[test]
fn a_delay_stamp_is_that_of_the_queueing_on_what_may_carry_one() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.advance(secs(3661));
    let stamp = |at: &str| format!("<delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='1970-01-01T{at}.000Z'/>");
    let hour = stamp("01:01:01");
    let sent = [
        (
            "<message id='1'><body>ciao</body></message>",
            Some(format!("<message id='1'><body>ciao</body>{hour}</message>")),
        ),
        ("<presence id='2'/>", Some(format!("<presence id='2'>{hour}</presence>"))),
        ("<presence id='3' type='subscribe'/>", Some(format!("<presence id='3' type='subscribe'>{hour}</presence>"))),
        ("<iq id='4' type='get'/>", None),
        ("<message id='5' type='error'/>", None),
        ("<message id='6' type='headline'/>", None),
        ("<message id='7'><delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/></message>", None),
    ];
    for (stanza, _) in &sent {
        net.server_sends(conn, stanza);
    }
    net.cut(conn);
    net.advance(secs(600));
    net.skip();
    let conn = net.connect(JULIET);
    net.redeliver(conn);
    let expected: Vec<_> = sent.into_iter().map(|(stanza, stamped)| stamped.unwrap_or(stanza.to_owned())).collect();
    net.expect(&format!("S{conn}: {}", expected.concat()));
}

/// By the time it is sent again it may have been delayed before, by this host or another.
#[test]
fn a_delay_stamp_is_written_once() {
    let mut stanza: Element = "<message xmlns='jabber:client'/>".parse().unwrap();
    assert!(delay::stamp(&mut stanza, "capulet.lit", UNIX_EPOCH));
    assert!(!delay::stamp(&mut stanza, "montague.lit", UNIX_EPOCH + secs(1)));
    let stamps: Vec<_> = stanza.children().filter_map(|child| child.attr("from")).collect();
    assert_eq!(stamps, ["capulet.lit"]);
}

fn three(net: &mut Net, conn: usize) {
    for n in 1..=3 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
}

/// A chain of sessions, each of which ends before the client has acknowledged anything, in every way.
#[test]
fn p24_what_is_rerouted_along_a_chain_of_sessions_does_not_multiply() {
    let ends: [fn(&mut Net, usize); 5] = [
        |net, conn| net.server_ends(conn, EndReason::Stopped),
        |net, conn| net.server_ends(conn, EndReason::Replaced),
        |net, conn| net.closes(conn, Side::Client),
        |net, conn| {
            net.cut(conn);
            net.server_ends(conn, EndReason::Replaced);
        },
        |net, conn| {
            net.cut(conn);
            net.advance(secs(600));
        },
    ];
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    three(&mut net, conn);
    for round in 0..20 {
        let end = ends[round % ends.len()];
        let sent: Vec<_> = net.server(conn).unacked().map(|queued| (queued.number, queued.queued)).collect();
        end(&mut net, conn);
        net.run();
        let back = net.take_handed_back();
        let of: Vec<_> = back.iter().map(|back| (back.returned.number, back.returned.queued)).collect();
        // Each comes once, as what it was when it was sent: its number tells it from all others.
        assert_eq!((of.len(), &of), (3, &sent), "after {round} sessions");
        let stanzas: Vec<_> = back.iter().map(|back| net.delayed(back)).collect();
        conn = net.login(JULIET);
        for stanza in stanzas {
            net.server_sends(conn, &stanza);
        }
    }
    net.run();
    assert_eq!(net.got(conn, Side::Client), ["m1", "m2", "m3"]);
    net.acks(conn, Side::Client);
    net.run();
    net.server_ends(conn, EndReason::Stopped);
    net.handed_back(&[]);
}

#[test]
fn p24_what_was_acknowledged_or_sent_again_is_not_handed_back_as_well() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    three(&mut net, conn);
    net.client_writes(conn, "<a h='1'/>");
    net.run();
    net.advance(secs(7));
    net.server_sends(conn, "<message id='m4'/>");
    net.cut(conn);
    let conn = net.resume(conn);
    net.deliver_from(conn, Side::Client, 1);
    net.handed_back(&[]);
    net.cut(conn);
    net.server_ends(conn, EndReason::Stopped);
    net.ended(&[(conn, EndReason::Stopped)]);
    net.handed_back(&["Stopped, 4, at 7 s: <message id='m4'/>"]);
}
