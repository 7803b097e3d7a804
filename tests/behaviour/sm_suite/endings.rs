//! How a session ended, which tells a host when others are to see the user as unavailable: at the end of the
//! session, and not when it is only interrupted or resumed.

use std::num::NonZeroU32;

use xmpp_sm::{Condition, EndReason, OnFull};

use super::JULIET;
use crate::support::{Net, Side, quiet, secs};

#[test]
fn closed() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.run();
    net.server_sends(juliet, "<message id='m2'/>");
    net.closes(juliet, Side::Client);
    net.expect(
        "S: <message id='m1'/>
         S: <message id='m2'/>
         C: <a h='1'/>
         C: </stream:stream>
         S: <a h='0'/>
         S: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::Closed)]);
    net.handed_back(&["Closed, 2, at 0 s: <message id='m2'/>"]);
    assert!(net.store.is_empty());
}

#[test]
fn closed_by_the_server() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<message id='m1'/>");
    net.run();
    net.closes(juliet, Side::Server);
    net.expect(
        "C: <message id='m1'/>
         S: <a h='1'/>
         S: </stream:stream>
         C: <a h='0'/>
         C: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::Closed)]);
    net.handed_back_to_client(&[]);
    assert!(net.is_gone(juliet, Side::Client) && net.is_gone(juliet, Side::Server));
}

#[test]
fn not_resumable() {
    let mut net = Net::with(quiet(), quiet().resume_timeout(None));
    let juliet = net.login(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.client_sends(juliet, "<message id='m2'/>");
    net.cut(juliet);
    net.ended(&[(juliet, EndReason::NotResumable)]);
    net.handed_back(&["NotResumable, 1, at 0 s: <message id='m1'/>"]);
    net.handed_back_to_client(&["NotResumable, 1, at 0 s: <message id='m2'/>"]);
}

#[test]
fn expired() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.advance(secs(5));
    net.server_sends(juliet, "<message id='m1'/>");
    net.cut(juliet);
    net.advance(secs(599));
    net.ended(&[]);
    net.advance(secs(1));
    net.ended(&[(juliet, EndReason::Expired)]);
    net.handed_back(&["Expired, 1, at 5 s: <message id='m1'/>"]);
    assert!(net.store.is_empty());
}

#[test]
fn replaced() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.run();
    net.server_ends(juliet, EndReason::Replaced);
    net.expect(
        "S: <message id='m1'/>
         S: <stream:error><conflict/></stream:error>
         S: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::Replaced)]);
    net.handed_back(&["Replaced, 1, at 0 s: <message id='m1'/>"]);
}

#[test]
fn stopped() {
    let mut net = Net::new(quiet());
    let [live, detached] = [net.login(JULIET), net.login(JULIET)];
    for conn in [live, detached] {
        net.server_sends(conn, "<message id='m1'/>");
    }
    net.cut(detached);
    for conn in [live, detached] {
        net.server_ends(conn, EndReason::Stopped);
    }
    net.ended(&[(live, EndReason::Stopped), (detached, EndReason::Stopped)]);
    net.handed_back(&["Stopped, 1, at 0 s: <message id='m1'/>", "Stopped, 1, at 0 s: <message id='m1'/>"]);
}

#[test]
fn peer_fault() {
    let mut net = Net::new(quiet());
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.client_writes(juliet, "<a h='2'/>");
    net.run();
    net.ended(&[(juliet, EndReason::PeerFault)]);
    net.handed_back(&["PeerFault, 1, at 0 s: <message id='m1'/>"]);
    assert!(net.store.is_empty());
}

#[test]
fn buffer_full() {
    let mut net = Net::new(quiet().buffer_max(NonZeroU32::MIN).on_full(OnFull::End));
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<message id='m1'/>");
    net.server_sends(juliet, "<message id='m2'/>");
    net.expect(
        "S: <message id='m1'/>
         S: <stream:error>
                <resource-constraint/>
                <text xml:lang='en'>Too many unacknowledged stanzas.</text>
            </stream:error>
         S: </stream:stream>",
    );
    net.ended(&[(juliet, EndReason::BufferFull)]);
    net.handed_back(&["BufferFull, 1, at 0 s: <message id='m1'/>"]);
    net.undelivered(&["<message id='m2'/>"]);
}

#[test]
fn enable_refused() {
    let mut net = Net::new(quiet());
    net.refuse_enable = Some(Condition::InternalServerError);
    let juliet = net.connect(JULIET);
    net.enable(juliet);
    net.client_sends(juliet, "<message id='m1'/>");
    net.expect(
        "C: <enable resume='true' max='600'/>
         C: <message id='m1'/>
         S: <failed><internal-server-error/></failed>",
    );
    // The client has counted on stream management. The stream lives on without it.
    net.handed_back_to_client(&["EnableRefused, 1, at 0 s: <message id='m1'/>"]);
    net.client_sends(juliet, "<message id='m2'/>");
    net.cut(juliet);
    net.handed_back_to_client(&[]);
    net.ended(&[(juliet, EndReason::NotResumable)]);
}

#[test]
fn resume_refused() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<message id='m1'/>");
    net.cut(juliet);
    net.server_ends(juliet, EndReason::Stopped);
    let again = net.resume(juliet);
    net.expect(
        "C: <message id='m1'/>
         -- cut, lost 1 of the client
         C2: <resume previd='sm-1' h='0'/>
         S2: <failed><item-not-found/></failed>",
    );
    net.handed_back_to_client(&["ResumeRefused, 1, at 0 s: <message id='m1'/>"]);
    net.bind(again);
    net.enable(again);
    net.run();
    assert!(net.server(again).is_enabled() && net.client(again).is_enabled());
}

#[test]
fn a_resumption_is_no_ending() {
    let mut net = Net::new(quiet());
    let mut conn = net.login(JULIET);
    for round in 0..10 {
        net.server_sends(conn, &format!("<message id='m{round}'/>"));
        if round % 2 == 0 {
            net.cut(conn);
        } else {
            net.cut_unnoticed(conn);
        }
        net.advance(secs(599));
        conn = net.resume(conn);
        net.run();
        // What a host keeps beside the session, such as that carbons are on, it can keep by its SM-ID.
        assert_eq!(net.server(conn).smid().map(|smid| smid.as_str()), Some("sm-1"));
    }
    net.ended(&[]);
    net.handed_back(&[]);
    assert_eq!(net.got(conn, Side::Client).len(), 10);
    net.closes(conn, Side::Client);
    net.run();
    net.ended(&[(conn, EndReason::Closed)]);
    net.handed_back(&[]);
}
