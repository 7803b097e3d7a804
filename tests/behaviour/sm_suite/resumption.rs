//! A session goes on over another connection.

use xmpp_sm::{EndReason, SessionStore, StaleH};

use super::{JULIET, ROMEO, smid};
use crate::support::{Net, Place, Side, quiet, secs};

const THREE: [&str; 3] = ["<message id='m1'/>", "<message id='m2'/>", "<message id='m3'/>"];

/// Juliet has got a presence and three messages, and has acknowledged none; then her connection is lost.
fn three_unacked_and_cut(net: &mut Net) {
    let juliet = net.login_silent(JULIET);
    net.server_sends(juliet, "<presence/>");
    for message in THREE {
        net.server_sends(juliet, message);
    }
    net.run();
    net.cut(juliet);
    net.skip();
}

#[test]
fn session_established() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<presence/>");
    net.skip();
    assert!(net.server(juliet).is_resumable() && net.client(juliet).is_resumable());
    assert_eq!(net.server(juliet).poll_timeout(), None);
    net.advance(secs(100_000));
    assert!(net.server(juliet).is_enabled());
    net.handed_back(&[]);
    net.ended(&[]);
}

#[test]
fn wait_for_resumption() {
    let mut net = Net::new(quiet());
    three_unacked_and_cut(&mut net);
    let deadline = net.start() + secs(600);
    assert_eq!(net.detached(1, Side::Server).deadline(), Some(deadline));
    net.advance(secs(599));
    assert_eq!(net.detached(1, Side::Server).unacked().len(), 4);
    assert_eq!(net.registered(&smid("sm-1"), JULIET), Some(1));
    net.ended(&[]);
    net.handed_back(&[]);
}

#[test]
fn resume_session() {
    let mut net = Net::new(quiet());
    three_unacked_and_cut(&mut net);
    let again = net.silent_resume(JULIET, "sm-1", 1);
    net.expect(
        "C2: <resume previd='sm-1' h='1'/>
         S2: <resumed previd='sm-1' h='0'/>
         S2: <message id='m1'/>
         S2: <message id='m2'/>
         S2: <message id='m3'/>",
    );
    net.client_writes(again, "<a h='4'/>");
    net.client_writes(again, "</stream:stream>");
    net.expect(
        "C2: <a h='4'/>
         C2: </stream:stream>
         S2: <a h='0'/>
         S2: </stream:stream>",
    );
    net.ended(&[(again, EndReason::Closed)]);
    net.handed_back(&[]);
}

#[test]
fn session_resumed_then_old_session_is_closed_gracefully_with_correct_error_stanza() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.cut_unnoticed(juliet);
    let again = net.resume(juliet);
    net.expect(
        "-- cut, unnoticed by the server
         C2: <resume previd='sm-1' h='0'/>
         S: <stream:error><conflict/></stream:error>
         S: </stream:stream>
         S2: <resumed previd='sm-1' h='0'/>",
    );
    assert!(net.server(again).is_enabled());
    net.ended(&[]);
}

#[test]
fn session_resumed_and_old_session_dead_doesnt_route_error_to_new_session() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.server_sends(juliet, "<message id='seen'/>");
    net.run();
    net.cut(juliet);
    let again = net.resume(juliet);
    net.skip();
    net.client_sends(again, "<presence/>");
    net.advance(secs(100_000));
    net.expect("C2: <presence/>");
    assert_eq!(net.got(again, Side::Client), ["seen"]);
    net.ended(&[]);
    net.handed_back(&[]);
}

#[test]
fn resume_session_with_wrong_h_does_not_leak_sessions() {
    let mut net = Net::new(quiet());
    three_unacked_and_cut(&mut net);
    net.advance(secs(300));
    let before = net.state(1, Side::Server);
    let again = net.silent_resume(JULIET, "sm-1", 30);
    net.expect(
        "C2: <resume previd='sm-1' h='30'/>
         S2: <failed><bad-request/></failed>",
    );
    assert_eq!(net.state(1, Side::Server), before);
    // The client may bind instead; the old session still ends at its own time.
    net.bind(again);
    net.client_writes(again, "<enable resume='true'/>");
    net.expect(
        "C2: <enable resume='true'/>
         S2: <enabled id='sm-2' resume='true' max='600'/>",
    );
    net.advance(secs(299));
    net.ended(&[]);
    net.advance(secs(1));
    net.ended(&[(1, EndReason::Expired)]);
    net.handed_back(&[
        "Expired, 1, at 0 s: <presence/>",
        "Expired, 2, at 0 s: <message id='m1'/>",
        "Expired, 3, at 0 s: <message id='m2'/>",
        "Expired, 4, at 0 s: <message id='m3'/>",
    ]);
    assert_eq!(net.store.len(), 1, "that of the new session");
}

#[test]
fn resume_session_with_wrong_sid_returns_item_not_found() {
    let mut net = Net::new(quiet());
    three_unacked_and_cut(&mut net);
    net.silent_resume(JULIET, "wrong-sid", 2);
    net.silent_resume(ROMEO, "sm-1", 2);
    net.expect(
        "C2: <resume previd='wrong-sid' h='2'/>
         C3: <resume previd='sm-1' h='2'/>
         S2: <failed><item-not-found/></failed>
         S3: <failed><item-not-found/></failed>",
    );
    assert_eq!(net.detached(1, Side::Server).unacked().len(), 4);
}

#[test]
fn resume_session_with_wrong_namespace_is_a_noop() {
    let mut net = Net::new(quiet());
    let juliet = net.open(JULIET);
    net.authenticate(juliet);
    let before = net.state(juliet, Side::Server);
    net.client_writes(juliet, "<resume xmlns='not-stream-mgnt' previd='whatever' h='4'/>");
    net.expect("C: <resume xmlns='not-stream-mgnt' previd='whatever' h='4'/>");
    assert_eq!(net.state(juliet, Side::Server), before);
    assert!(net.errors.is_empty());
}

#[test]
fn resume_dead_session_results_in_item_not_found() {
    let mut net = Net::new(quiet());
    let dead = net.login(JULIET);
    net.take_place(dead, Side::Server);
    assert_eq!(net.registered(&smid("sm-1"), JULIET), Some(dead));
    let again = net.silent_resume(JULIET, "sm-1", 0);
    net.expect(
        "C2: <resume previd='sm-1' h='0'/>
         S2: <failed><item-not-found/></failed>",
    );
    assert!(!net.server(again).is_enabled());
}

#[test]
fn resume_session_kills_old_C2S_gracefully() {
    for enabled in [false, true] {
        let mut net = Net::new(quiet().stale_h(StaleH { enabled, ..StaleH::default() }));
        three_unacked_and_cut(&mut net);
        let old = net.peer(1, Side::Server).registration.clone().unwrap();
        let again = net.silent_resume(JULIET, "sm-1", 1);
        net.run();
        assert!(matches!(net.peer(1, Side::Server).place, Place::MovedTo(2)));
        // What the old connection still does about its record is too late to hurt.
        net.store.retire(&old, 0.into(), net.now()).unwrap();
        net.store.remove(&old).unwrap();
        net.advance(secs(100_000));
        assert_eq!(net.registered(&smid("sm-1"), JULIET), Some(again));
        assert!(net.server(again).is_enabled());
        net.ended(&[]);
        net.handed_back(&[]);
    }
}

#[test]
fn messages_are_properly_flushed_during_resumption() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.cut(juliet);
    net.slow_lookup = true;
    let again = net.resume(juliet);
    net.run();
    // Behind the resume, ahead of the move.
    net.server_sends(juliet, "<message id='m1'/>");
    net.answer_resume(again);
    // After the move, by the old address.
    net.server_sends(juliet, "<message id='m2'/>");
    net.expect(
        "-- cut
         C2: <resume previd='sm-1' h='0'/>
         S2: <resumed previd='sm-1' h='0'/>
         S2: <message id='m1'/>
         S2: <message id='m2'/>",
    );
    assert_eq!(net.got(again, Side::Client), ["m1", "m2"]);
    assert_eq!([net.client(again).h(), net.server(again).sent()], [2.into(), 2.into()]);
}

#[test]
fn replies_are_processed_by_resumed_session() {
    let mut net = Net::new(quiet());
    let juliet = net.login(JULIET);
    net.holds(juliet, Side::Server);
    net.client_sends(juliet, "<iq id='q' type='get'><query xmlns='regression'/></iq>");
    net.run();
    net.cut(juliet);
    let again = net.resume(juliet);
    // While the query is being answered, nobody can tell whether it is to be sent again.
    net.expect(
        "C: <iq id='q' type='get'><query xmlns='regression'/></iq>
         -- cut
         C2: <resume previd='sm-1' h='0'/>",
    );
    net.server_sends(juliet, "<iq id='q' type='result'/>");
    net.settles(juliet, Side::Server, 1);
    net.expect(
        "S2: <resumed previd='sm-1' h='1'/>
         S2: <iq id='q' type='result'/>",
    );
    assert_eq!(net.got(again, Side::Client), ["q"]);
    assert_eq!(net.got(again, Side::Server), ["q"], "it was asked once");
    assert_eq!(net.client(again).unacked().len(), 0);
}

#[test]
fn aggressively_pipelined_resume() {
    for slow_lookup in [false, true] {
        let mut net = Net::new(quiet());
        three_unacked_and_cut(&mut net);
        net.slow_lookup = slow_lookup;
        let again = net.open(JULIET);
        net.authenticate(again);
        net.client_writes(
            again,
            "<resume xmlns='urn:xmpp:sm:3' previd='sm-1' h='2'/>\
             <message id='pipelined'/>\
             <r xmlns='urn:xmpp:sm:3'/>",
        );
        net.run();
        if slow_lookup {
            assert_eq!(net.got(again, Side::Server), [""; 0]);
            net.answer_resume(again);
        }
        net.expect(
            "C2: <resume previd='sm-1' h='2'/>
             C2: <message id='pipelined'/>
             C2: <r/>
             S2: <resumed previd='sm-1' h='0'/>
             S2: <message id='m2'/>
             S2: <message id='m3'/>
             S2: <a h='1'/>",
        );
        assert_eq!(net.got(again, Side::Server), ["pipelined"]);
    }
}
