//! Section 8: scenarios.

use super::{OWNER, without_resumption};
use crate::support::{Conn, Net, Side, asking_every, quiet};

/// The steps of the [basic scenario](https://xmpp.org/extensions/xep-0198.html#scenarios-basic).
const BASIC: [fn(&mut Net, Conn); 8] = [
    |net, conn| net.enable(conn),
    |net, _| net.run(),
    |net, conn| {
        net.client_sends(conn, "<iq id='ls72g593' type='get'><query xmlns='jabber:iq:roster'/></iq>");
        net.requests(conn, Side::Client);
    },
    |net, conn| {
        net.holds(conn, Side::Server);
        net.deliver_from(conn, Side::Client, 1);
        net.server_sends(
            conn,
            "<iq id='ls72g593' type='result'><query xmlns='jabber:iq:roster'>
               <item jid='juliet@capulet.lit'/><item jid='benvolio@montague.lit'/>
             </query></iq>",
        );
        net.settles(conn, Side::Server, 1);
        net.run();
    },
    |net, conn| {
        net.acks(conn, Side::Client);
        net.client_sends(conn, "<presence/>");
        net.requests(conn, Side::Client);
    },
    |net, conn| {
        net.peer_mut(conn, Side::Server).holds = false;
        net.run();
        net.server_sends(conn, "<presence from='romeo@montague.lit/orchard' to='romeo@montague.lit/orchard'/>");
        net.run();
    },
    |net, conn| {
        net.acks(conn, Side::Client);
        net.client_sends(conn, "<message to='juliet@capulet.lit'><body>ciao!</body></message>");
        net.requests(conn, Side::Client);
    },
    |net, _| net.run(),
];

/// Does the steps up to this one, which is in the transcript.
#[track_caller]
fn basic(step: usize, transcript: &str) -> Net {
    let mut net = without_resumption();
    let conn = net.connect("romeo@montague.lit");
    let (last, before) = BASIC[..step].split_last().unwrap();
    for step in before {
        step(&mut net, conn);
    }
    net.take_as_read();
    last(&mut net, conn);
    net.written(transcript);
    net
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_18_client_enables_stream_management() {
    basic(1, "C: <enable xmlns='urn:xmpp:sm:3'/>");
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_19_server_enables_stream_management() {
    basic(2, "S: <enabled xmlns='urn:xmpp:sm:3'/>");
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_20_client_sends_a_stanza_and_requests_acknowledgement() {
    basic(
        3,
        "C: <iq id='ls72g593' type='get'>
              <query xmlns='jabber:iq:roster'/>
            </iq>
            <r xmlns='urn:xmpp:sm:3'/>",
    );
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_21_server_handles_client_stanza_and_acknowledges_handling_of_client_stanza() {
    let net = basic(
        4,
        "S: <iq id='ls72g593' type='result'>
              <query xmlns='jabber:iq:roster'>
                <item jid='juliet@capulet.lit'/>
                <item jid='benvolio@montague.lit'/>
              </query>
            </iq>
            <a xmlns='urn:xmpp:sm:3' h='1'/>",
    );
    assert_eq!(net.client(1).unacked().len(), 0);
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_22_client_acks_handling_of_first_server_stanza_sends_a_stanza_and_requests_acknowledgement() {
    basic(
        5,
        "C: <a xmlns='urn:xmpp:sm:3' h='1'/>
            <presence/>
            <r xmlns='urn:xmpp:sm:3'/>",
    );
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_23_server_acks_handling_of_second_client_stanza_and_sends_a_stanza() {
    let net = basic(
        6,
        "S: <a xmlns='urn:xmpp:sm:3' h='2'/>
            <presence from='romeo@montague.lit/orchard'
                      to='romeo@montague.lit/orchard'/>",
    );
    assert_eq!(net.server(1).unacked().len(), 1, "the roster is acknowledged, the presence not yet");
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_24_client_acks_receipt_of_second_server_stanza_sends_a_stanza_and_requests_acknowledgement() {
    basic(
        7,
        "C: <a xmlns='urn:xmpp:sm:3' h='2'/>
            <message to='juliet@capulet.lit'>
              <body>ciao!</body>
            </message>
            <r xmlns='urn:xmpp:sm:3'/>",
    );
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-basic
#[test]
fn example_25_server_acknowledges_handling_of_third_client_stanza() {
    let net = basic(8, "S: <a xmlns='urn:xmpp:sm:3' h='3'/>");
    assert_eq!([net.client(1).unacked().len(), net.server(1).unacked().len()], [0, 0]);
}

// https://xmpp.org/extensions/xep-0198.html#scenarios-efficient
#[test]
fn example_26_an_efficient_session() {
    let mut net = Net::with(quiet(), asking_every(5).resume_timeout(None));
    let conn = net.connect(OWNER);
    net.enable(conn);
    net.expect(
        "C: <enable/>
         S: <enabled/>",
    );
    for h in [5, 10] {
        for _ in 0..5 {
            net.client_sends(conn, "<message/>");
        }
        net.expect(&format!(
            "C: <message/>
                <message/>
                <message/>
                <message/>
                <message/>
                <r/>
             S: <a h='{h}'/>"
        ));
    }
}
