//! `h` counts what was handled, and nothing else.

use xmpp_sm::EndReason;

use super::{JULIET, SESSION_IQ};
use crate::support::{Net, Side, quiet};

/// The client asks how many of its stanzas were handled.
#[track_caller]
fn expect_h(net: &mut Net, h: u32) {
    net.skip();
    net.requests(1, Side::Client);
    net.expect(&format!("C: <r/>\n S: <a h='{h}'/>"));
}

#[test]
fn basic_ack() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<iq id='roster' type='get'><query xmlns='jabber:iq:roster'/></iq>");
    net.run();
    net.server_sends(juliet, "<iq id='roster' type='result'><query xmlns='jabber:iq:roster'/></iq>");
    net.run();
    net.requests(juliet, Side::Client);
    net.expect(
        "C: <iq id='roster' type='get'><query xmlns='jabber:iq:roster'/></iq>
         S: <iq id='roster' type='result'><query xmlns='jabber:iq:roster'/></iq>
         C: <r/>
         S: <a h='1'/>",
    );
    assert_eq!(net.client(juliet).unacked().len(), 0);
    assert_eq!(net.server(juliet).unacked().len(), 1, "the client was not asked");
}

#[test]
fn h_ok_before_session() {
    let mut net = Net::new(quiet());
    net.login(JULIET);
    expect_h(&mut net, 0);
}

#[test]
fn h_ok_after_session_enabled_before_session() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, SESSION_IQ);
    expect_h(&mut net, 1);
}

#[test]
fn h_ok_after_session_enabled_after_session() {
    let mut net = Net::new(quiet());
    let juliet = net.connect(JULIET);
    net.client_sends(juliet, SESSION_IQ);
    net.run();
    net.enable(juliet);
    net.run();
    net.client_sends(juliet, "<iq id='roster' type='get'><query xmlns='jabber:iq:roster'/></iq>");
    expect_h(&mut net, 1);
    assert_eq!(net.got(juliet, Side::Server), ["session", "roster"], "both were delivered, one was counted");
}

#[test]
fn h_ok_after_a_chat() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<presence/>");
    net.client_sends(juliet, "<message id='hi' type='chat'><body>Hi!</body></message>");
    net.server_sends(juliet, "<message id='hi-to-you' type='chat'><body>Hi to you!</body></message>");
    net.server_sends(juliet, "<message id='how' type='chat'><body>How's life?</body></message>");
    net.client_sends(juliet, "<message id='pretty' type='chat'><body>Pretty !@#$%^$</body></message>");
    expect_h(&mut net, 3);
    // The other direction has a count of its own.
    net.requests(juliet, Side::Server);
    net.expect(
        "S: <r/>
         C: <a h='2'/>",
    );
}

#[test]
fn h_ok_after_presence() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    for kind in ["", "type='unavailable'", "type='probe'", "type='subscribe'", "type='error'"] {
        net.client_sends(juliet, &format!("<presence {kind}/>"));
    }
    expect_h(&mut net, 5);
}

#[test]
fn h_ok_after_iq() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    for kind in ["get", "set", "result", "error", "probe"] {
        net.client_sends(juliet, &format!("<iq id='q' type='{kind}'/>"));
    }
    expect_h(&mut net, 5);
}

#[test]
fn h_ok_after_non_xmpp_stanza() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<message id='counted'/>");
    for other in [
        "<r/>",
        "<a h='0'/>",
        "<active xmlns='urn:xmpp:csi:0'/>",
        "<inactive xmlns='urn:xmpp:csi:0'/>",
        "<whatever/>",
        "<whatever xmlns='urn:xmpp:sm:3'/>",
        "<Message/>",
        "<message xmlns='jabber:server'/>",
        "<iq xmlns='urn:xmpp:sm:3' type='get'/>",
        "<r xmlns='urn:xmpp:sm:2'/>",
    ] {
        net.client_writes(juliet, other);
    }
    expect_h(&mut net, 1);
    assert_eq!(net.got(juliet, Side::Server), ["counted"]);
    net.ended(&[]);
}

#[test]
fn h_non_given_closes_stream_gracefully() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.client_writes(juliet, "<a/>");
    net.expect(
        "S: <message id='m1'/>
         C: <a/>
         S: <stream:error>
                <policy-violation/>
                <text xml:lang='en'>An element of stream management is malformed.</text>
            </stream:error>
         S: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::PeerFault)]);
    net.handed_back(&["PeerFault, 1, at 0 s: <message id='m1'/>"]);
}

#[test]
fn client_acks_more_than_sent() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.client_writes(juliet, "<a h='5'/>");
    net.expect(
        "C: <a h='5'/>
         S: <stream:error>
                <undefined-condition/>
                <text xml:lang='en'>You acknowledged 5 stanzas, but I only sent you 0 so far.</text>
                <handled-count-too-high h='5' send-count='0'/>
            </stream:error>
         S: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::PeerFault)]);
    assert!(net.store.is_empty());
}
