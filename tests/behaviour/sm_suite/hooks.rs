//! A host that looks at what a waiting session holds, and at what comes of it.

use xmpp_sm::EndReason;

use super::{JULIET, sends};
use crate::support::{Conn, Net, Side, quiet};

/// The numbers and ids of what a session that waits has not had acknowledged: a hook would see each once.
fn unacknowledged(net: &Net, conn: Conn) -> Vec<(u32, String)> {
    let unacked = net.detached(conn, Side::Server).unacked();
    unacked.map(|queued| (queued.number.get(), queued.stanza.clone())).collect()
}

/// A session that waits with four stanzas, two of which came while it did.
fn four_unacknowledged() -> Net {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<presence/>");
    net.client_writes(juliet, "<a h='1'/>");
    sends(&mut net, juliet, &["m1", "m2"]);
    net.run();
    net.cut(juliet);
    assert_eq!(unacknowledged(&net, juliet), [(2, "<message id='m1'/>".into()), (3, "<message id='m2'/>".into())]);
    sends(&mut net, juliet, &["m3", "m4"]);
    let numbers: Vec<_> = unacknowledged(&net, juliet).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    net.skip();
    net
}

#[test]
fn unacknowledged_message_hook_resume() {
    let mut net = four_unacknowledged();
    let before = unacknowledged(&net, 1);
    let again = net.silent_resume(JULIET, "sm-1", 1);
    net.run();
    assert_eq!(net.got(again, Side::Client), ["m1", "m2", "m3", "m4"]);
    net.cut(again);
    assert_eq!(unacknowledged(&net, again), before, "the same stanzas under the same numbers");
    net.handed_back(&[]);
}

#[test]
fn unacknowledged_message_hook_bounce() {
    let mut net = four_unacknowledged();
    let other = net.login_silent(JULIET);
    net.server_ends(1, EndReason::Stopped);
    net.redeliver(other);
    net.run();
    assert_eq!(net.got(other, Side::Client), ["m1", "m2", "m3", "m4"]);
    net.cut(other);
    let numbers: Vec<_> = unacknowledged(&net, other).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "they are that session's own now");
    net.handed_back(&[]);
}

#[test]
fn unacknowledged_message_hook_offline() {
    let mut net = four_unacknowledged();
    net.server_ends(1, EndReason::Replaced);
    let stored = net.take_handed_back();
    assert_eq!(stored.iter().map(|back| back.returned.number.get()).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert!(stored.iter().all(|back| back.reason == Some(EndReason::Replaced)));
    let again = net.login_silent(JULIET);
    for back in &stored {
        let stanza = net.delayed(back);
        net.server_sends(again, &stanza);
    }
    net.run();
    assert_eq!(net.got(again, Side::Client), ["m1", "m2", "m3", "m4"]);
    net.handed_back(&[]);
}

#[test]
fn unacknowledged_message_hook_filter() {
    let mut net = four_unacknowledged();
    net.server_ends(1, EndReason::Stopped);
    // The host keeps what it wants to; the crate has let go of all.
    let kept: Vec<_> = net.take_handed_back().into_iter().filter(|back| back.returned.number.get() % 2 == 0).collect();
    let again = net.login_silent(JULIET);
    for back in &kept {
        let stanza = net.delayed(back);
        net.server_sends(again, &stanza);
    }
    net.run();
    assert_eq!(net.got(again, Side::Client), ["m1", "m3"]);
    net.cut(again);
    assert_eq!(unacknowledged(&net, again).len(), 2);
}
