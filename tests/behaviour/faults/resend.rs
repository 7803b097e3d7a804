//! Stanzas that are sent again, or handed back to be: once each.

use xmpp_sm::EndReason;

use crate::support::{Net, Side, quiet, secs};

const JULIET: &str = "juliet@capulet.lit";

fn three(net: &mut Net, conn: usize) {
    for n in 1..=3 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
}

#[test]
fn p13_ten_resumptions_in_a_row_send_the_same_three_stanzas_once_each_time() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    three(&mut net, conn);
    net.cut(conn);
    net.skip();
    for number in 2..=11 {
        conn = net.resume(conn);
        net.deliver_from(conn, Side::Client, 1);
        net.written(&format!(
            "C{number}: <resume h='0' previd='sm-1'/>
             S{number}: <resumed h='0' previd='sm-1'/>
             S{number}: <message id='m1'/><message id='m2'/><message id='m3'/>"
        ));
        let numbers: Vec<_> = net.server(conn).unacked().map(|queued| queued.number.get()).collect();
        assert_eq!((numbers, net.server(conn).sent().get()), (vec![1, 2, 3], 3));
        // Sometimes the client sees that it was resumed, and sometimes not even that.
        net.deliver_from(conn, Side::Server, number % 2);
        net.cut(conn);
        net.written(&format!("-- cut, lost {} of the server", 4 - number % 2));
    }
    // Another one, and they arrive.
    conn = net.resume(conn);
    net.run();
    net.acks(conn, Side::Client);
    net.skip();
    assert_eq!(net.got(conn, Side::Client), ["m1", "m2", "m3"]);
    assert_eq!(net.server(conn).unacked().count(), 0);
    net.cut(conn);
    net.skip();
    net.resume(conn);
    net.expect(
        "C13: <resume h='3' previd='sm-1'/>
         S13: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn p13_a_client_that_resumes_ten_times_sends_its_three_stanzas_once_each_time() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    for n in 1..=3 {
        net.client_sends(conn, &format!("<message id='m{n}'/>"));
    }
    net.cut(conn);
    net.skip();
    for number in 2..=11 {
        conn = net.resume(conn);
        net.deliver_from(conn, Side::Client, 1);
        net.deliver_from(conn, Side::Server, 1);
        net.written(&format!(
            "C{number}: <resume h='0' previd='sm-1'/>
             S{number}: <resumed h='0' previd='sm-1'/>
             C{number}: <message id='m1'/><message id='m2'/><message id='m3'/>"
        ));
        net.cut(conn);
        net.skip();
    }
    conn = net.resume(conn);
    net.run();
    assert_eq!((net.got(conn, Side::Server), net.client(conn).sent().get()), (vec!["m1", "m2", "m3"], 3));
}

#[test]
fn p13_what_is_queued_behind_a_resumption_comes_after_what_is_sent_again() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    three(&mut net, conn);
    net.cut(conn);
    net.server_sends(conn, "<message id='m4'/>");
    conn = net.resume(conn);
    net.deliver_from(conn, Side::Client, 1);
    net.server_sends(conn, "<message id='m5'/>");
    net.cut(conn);
    conn = net.resume(conn);
    net.run();
    assert_eq!(net.got(conn, Side::Client), ["m1", "m2", "m3", "m4", "m5"]);
    assert_eq!(net.client(conn).h().get(), 5);
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
