//! What was not acknowledged comes back to the host, once and in order, to be sent elsewhere.

use xmpp_sm::EndReason;

use super::{JULIET, sends};
use crate::support::{Conn, Net, Side, quiet, secs};

/// The ways in which a session ends with its stanzas unacknowledged.
const STOPPED: fn(&mut Net, Conn) = |net, conn| net.client_writes(conn, "</stream:stream>");
const TERMINATED: fn(&mut Net, Conn) = |net, conn| net.server_ends(conn, EndReason::Stopped);
const REPLACED: fn(&mut Net, Conn) = |net, conn| net.server_ends(conn, EndReason::Replaced);

fn delayed(id: &str, seconds: u32) -> String {
    let stamp = format!("1970-01-01T00:00:{seconds:02}.000Z");
    format!("<message id='{id}'><delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='{stamp}'/></message>")
}

/// Several sessions of one user end; all that they held goes to the next one, and is acknowledged there.
fn resend_unacked_from(end: fn(&mut Net, Conn), ending: &str) {
    let mut net = Net::new(quiet());
    let [balcony, orchard] = [net.login_silent(JULIET), net.login_silent(JULIET)];
    sends(&mut net, balcony, &["m1", "m2"]);
    net.advance(secs(1));
    sends(&mut net, orchard, &["m3"]);
    net.run();
    net.client_writes(balcony, "<a h='1'/>");
    net.run();
    for conn in [balcony, orchard] {
        end(&mut net, conn);
        net.run();
    }
    let again = net.login_silent(JULIET);
    let stored = net.take_handed_back();
    let lines: Vec<_> = stored.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [format!("{ending}, 2, at 0 s: <message id='m2'/>"), format!("{ending}, 1, at 1 s: <message id='m3'/>")]
    );
    for back in &stored {
        let stanza = net.delayed(back);
        net.server_sends(again, &stanza);
    }
    net.expect(&format!("S3: {}\n S3: {}", delayed("m2", 0), delayed("m3", 1)));
    net.client_writes(again, "<a h='2'/>");
    net.run();
    end(&mut net, again);
    net.run();
    net.handed_back(&[]);
}

/// Along a chain of sessions that all end without an acknowledgement, nothing is multiplied.
fn relay_unacked_from(end: fn(&mut Net, Conn)) {
    let mut net = Net::new(quiet());
    let mut conn = net.login_silent(JULIET);
    sends(&mut net, conn, &["m1", "m2", "m3"]);
    for _ in 0..5 {
        net.run();
        net.advance(secs(1));
        end(&mut net, conn);
        net.run();
        conn = net.login_silent(JULIET);
        net.redeliver(conn);
        let three = ["m1", "m2", "m3"].map(|id| format!("S{conn}: {}", delayed(id, 0)));
        net.expect(&three.join("\n"));
    }
    assert_eq!(net.got(conn, Side::Client), ["m1", "m2", "m3"]);
    net.client_writes(conn, "<a h='3'/>");
    net.run();
    end(&mut net, conn);
    net.run();
    net.handed_back(&[]);
}

#[test]
fn resend_unacked_from_stopped_sessions() {
    resend_unacked_from(STOPPED, "Closed");
}

#[test]
fn resend_unacked_from_terminated_sessions() {
    resend_unacked_from(TERMINATED, "Stopped");
}

#[test]
fn resend_unacked_from_replaced_sessions() {
    resend_unacked_from(REPLACED, "Replaced");
}

#[test]
fn relay_unacked_from_stopped_sessions() {
    relay_unacked_from(STOPPED);
}

#[test]
fn relay_unacked_from_terminated_sessions() {
    relay_unacked_from(TERMINATED);
}

#[test]
fn relay_unacked_from_replaced_sessions() {
    relay_unacked_from(REPLACED);
}

#[test]
fn resend_unacked_on_reconnection() {
    let mut net = Net::new(quiet().resume_timeout(None));
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<presence/>");
    net.client_writes(juliet, "<a h='1'/>");
    net.run();
    sends(&mut net, juliet, &["m1", "m2", "m3"]);
    net.run();
    net.cut(juliet);
    net.ended(&[(juliet, EndReason::NotResumable)]);
    let again = net.login_silent(JULIET);
    net.redeliver(again);
    net.run();
    assert_eq!(net.got(again, Side::Client), ["m1", "m2", "m3"]);
    net.client_writes(again, "<a h='3'/>");
    net.run();
    net.cut(again);
    net.handed_back(&[]);
}

#[test]
fn resend_unacked_after_resume_timeout() {
    let mut net = Net::new(quiet().resume_timeout(Some(secs(3))));
    let juliet = net.login_silent(JULIET);
    sends(&mut net, juliet, &["m1"]);
    net.cut(juliet);
    net.advance(secs(3));
    net.ended(&[(juliet, EndReason::Expired)]);
    let again = net.login_silent(JULIET);
    net.redeliver(again);
    net.expect(&format!("S2: {}", delayed("m1", 0)));
}

#[test]
fn resend_unacked_to_different_res_after_resume_timeout() {
    let mut net = Net::new(quiet().resume_timeout(Some(secs(3))));
    let [balcony, orchard] = [net.login_silent(JULIET), net.login_silent(JULIET)];
    net.advance(secs(1));
    sends(&mut net, balcony, &["m1"]);
    net.cut(balcony);
    net.advance(secs(2));
    net.handed_back(&[]);
    net.skip();
    net.advance(secs(1));
    net.redeliver(orchard);
    net.expect(&format!("S2: {}", delayed("m1", 1)));
}

/// Stanzas are sent to a session whose client is away; then the client comes back without resuming it.
fn resume_session_state_send_message(acks_before: bool) {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    sends(&mut net, juliet, &["m1"]);
    net.run();
    if acks_before {
        net.client_writes(juliet, "<a h='1'/>");
        net.run();
    }
    net.cut(juliet);
    net.advance(secs(1));
    sends(&mut net, juliet, &["m2", "m3"]);
    net.undelivered(&[]);
    assert_eq!(net.detached(juliet, Side::Server).sent(), 3.into());
    net.server_ends(juliet, EndReason::Replaced);
    let again = net.login_silent(JULIET);
    net.redeliver(again);
    let first = if acks_before { String::new() } else { format!("S2: {}", delayed("m1", 0)) };
    net.expect(&format!("{first}\n S2: {}\n S2: {}", delayed("m2", 1), delayed("m3", 1)));
}

#[test]
fn resume_session_state_send_message_with_ack() {
    resume_session_state_send_message(true);
}

#[test]
fn resume_session_state_send_message_without_ack() {
    resume_session_state_send_message(false);
}

#[test]
fn resume_session_state_stop_c2s() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    sends(&mut net, juliet, &["m1"]);
    net.run();
    net.cut(juliet);
    net.server_ends(juliet, EndReason::Stopped);
    net.ended(&[(juliet, EndReason::Stopped)]);
    let again = net.login_silent(JULIET);
    net.redeliver(again);
    net.expect(&format!("S2: {}", delayed("m1", 0)));
    // Its time passes and nothing more comes of it.
    net.advance(secs(100_000));
    net.ended(&[]);
    net.handed_back(&[]);
}

#[test]
fn subscription_requests_are_buffered_properly() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    for stanza in ["<presence id='p'/>", "<presence id='s' type='subscribe'/>", "<message id='buffered'/>"] {
        net.server_sends(juliet, stanza);
    }
    net.run();
    net.cut(juliet);
    net.server_ends(juliet, EndReason::Replaced);
    net.handed_back(&[
        "Replaced, 1, at 0 s: <presence id='p'/>",
        "Replaced, 2, at 0 s: <presence id='s' type='subscribe'/>",
        "Replaced, 3, at 0 s: <message id='buffered'/>",
    ]);
}

#[test]
fn preserve_order() {
    let mut net = Net::new(quiet());
    let first = net.login_silent(JULIET);
    sends(&mut net, first, &["m1"]);
    net.cut(first);
    sends(&mut net, first, &["m2", "m3"]);
    net.server_ends(first, EndReason::Replaced);
    let second = net.login_silent(JULIET);
    net.redeliver(second);
    sends(&mut net, second, &["m4", "m5"]);
    net.run();
    sends(&mut net, second, &["m6"]);
    net.run();
    assert_eq!(net.got(second, Side::Client), ["m1", "m2", "m3", "m4", "m5", "m6"]);
    net.server_ends(second, EndReason::Replaced);
    let third = net.login_silent(JULIET);
    net.redeliver(third);
    net.run();
    assert_eq!(net.got(third, Side::Client), ["m1", "m2", "m3", "m4", "m5", "m6"]);
}
