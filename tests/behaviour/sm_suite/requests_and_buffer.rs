//! The server asks for acknowledgements, and has a limit to what it keeps without them.

use std::num::NonZeroU32;

use xmpp_sm::{Config, EndReason};

use super::JULIET;
use crate::support::{Net, Side, asking_every, secs};

/// Room for three stanzas, as the suite has it.
fn small_buffer(config: Config) -> Config {
    config.buffer_max(NonZeroU32::new(3).unwrap())
}

#[test]
fn server_requests_ack() {
    let mut net = Net::new(asking_every(1));
    let juliet = net.login(JULIET);
    net.server_sends(juliet, "<presence/>");
    net.expect(
        "S: <presence/>
         S: <r/>
         C: <a h='1'/>",
    );
    net.server_sends(juliet, "<message id='m1'/>");
    net.expect(
        "S: <message id='m1'/>
         S: <r/>
         C: <a h='2'/>",
    );
}

#[test]
fn server_requests_ack_freq_2() {
    let mut net = Net::new(asking_every(2));
    let juliet = net.login(JULIET);
    for _ in 0..2 {
        net.server_sends(juliet, "<presence/>");
        net.expect("S: <presence/>");
        net.server_sends(juliet, "<message id='m'/>");
        let h = net.server(juliet).sent();
        net.expect(&format!(
            "S: <message id='m'/>
             S: <r/>
             C: <a h='{h}'/>"
        ));
    }
}

#[test]
fn server_requests_ack_after_session() {
    let mut net = Net::new(asking_every(1));
    let juliet = net.login_silent(JULIET);
    net.client_writes(juliet, "<iq id='session' type='set'/>");
    net.run();
    net.server_sends(juliet, "<iq id='session' type='result'/>");
    net.expect(
        "C: <iq id='session' type='set'/>
         S: <iq id='session' type='result'/>
         S: <r/>",
    );
}

#[test]
fn too_many_unacked_stanzas() {
    let mut net = Net::new(small_buffer(asking_every(1)));
    let juliet = net.login_silent(JULIET);
    for stanza in ["<presence/>", "<message id='m1'/>", "<message id='m2'/>"] {
        net.server_sends(juliet, stanza);
    }
    net.advance(secs(10));
    net.expect(
        "S: <presence/>
         S: <r/>
         S: <message id='m1'/>
         S: <r/>
         S: <message id='m2'/>
         S: <r/>",
    );
    // One too many; the client has five seconds from here, and more stanzas do not give it longer.
    net.server_sends(juliet, "<message id='m3'/>");
    net.advance(secs(4));
    net.server_sends(juliet, "<message id='m4'/>");
    net.expect(
        "S: <message id='m3'/>
         S: <r/>
         S: <message id='m4'/>
         S: <r/>",
    );
    net.advance(secs(1));
    net.expect(
        "S: <stream:error>
                <resource-constraint/>
                <text xml:lang='en'>Too many unacknowledged stanzas.</text>
            </stream:error>
         S: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::BufferFull)]);
    net.handed_back(&[
        "BufferFull, 1, at 0 s: <presence/>",
        "BufferFull, 2, at 0 s: <message id='m1'/>",
        "BufferFull, 3, at 0 s: <message id='m2'/>",
        "BufferFull, 4, at 10 s: <message id='m3'/>",
        "BufferFull, 5, at 14 s: <message id='m4'/>",
    ]);
}

#[test]
fn resend_more_offline_messages_than_buffer_size() {
    let mut net = Net::new(small_buffer(asking_every(1)));
    let juliet = net.login_silent(JULIET);
    for id in ["m1", "m2", "m3", "m4"] {
        net.server_sends(juliet, &format!("<message id='{id}'/>"));
    }
    net.server_sends(juliet, "<presence/>");
    net.advance(secs(4));
    net.skip();
    net.client_writes(juliet, "<a h='5'/>");
    net.run();
    net.advance(secs(60));
    net.expect("C: <a h='5'/>");
    assert_eq!(net.got(juliet, Side::Client), ["m1", "m2", "m3", "m4", "<presence/>"]);
    assert!(net.server(juliet).is_enabled());
    // The next burst has five seconds of its own.
    for _ in 0..4 {
        net.server_sends(juliet, "<message/>");
    }
    net.advance(secs(4));
    assert!(net.server(juliet).is_enabled());
    net.advance(secs(1));
    net.ended(&[(juliet, EndReason::BufferFull)]);
}
