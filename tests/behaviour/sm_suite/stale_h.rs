//! The last `h` of a session that is gone.

use xmpp_sm::{EndReason, Lookup, SessionStore, StaleH};

use super::{JULIET, smid};
use crate::support::{Net, Place, Side, quiet, secs};

fn stale_h(repeat_after: Option<u64>, geriatric: u64) -> Net {
    let stale_h = StaleH { enabled: true, repeat_after: repeat_after.map(secs), geriatric: secs(geriatric) };
    Net::new(quiet().resume_timeout(Some(secs(3))).stale_h(stale_h))
}

#[test]
fn resume_expired_session_returns_correct_h() {
    let mut net = stale_h(Some(3600), 3600);
    let juliet = net.login(JULIET);
    net.client_sends(juliet, "<presence/>");
    net.run();
    net.server_sends(juliet, "<message id='m1'/>");
    net.cut(juliet);
    let session = net.take_place(juliet, Side::Client);
    let Place::Detached(session) = session else { panic!("{session:?}") };
    net.advance(secs(3));
    net.ended(&[(juliet, EndReason::Expired)]);
    let again = net.resume_with(JULIET, session);
    net.expect(
        "C: <presence/>
         S: <message id='m1'/>
         -- cut, lost 1 of the server
         C2: <resume previd='sm-1' h='0'/>
         S2: <failed h='1'><item-not-found/></failed>",
    );
    net.handed_back_to_client(&[]);
    // The client goes on with bind, and gets what it has missed.
    net.bind(again);
    net.enable(again);
    net.redeliver(again);
    net.expect(
        "C2: <enable resume='true' max='600'/>
         S2: <message id='m1'>
                <delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='1970-01-01T00:00:00.000Z'/>
             </message>
         S2: <enabled id='sm-2' resume='true' max='3'/>",
    );
    // The answer to another time is the same: the first may have been lost.
    net.silent_resume(JULIET, "sm-1", 0);
    net.expect(
        "C3: <resume previd='sm-1' h='0'/>
         S3: <failed h='1'><item-not-found/></failed>",
    );
}

/// Three sessions that have ended after one, two and three stanzas.
fn three_stale(net: &mut Net) {
    for h in 1..=3 {
        let conn = net.login(JULIET);
        for _ in 0..h {
            net.client_sends(conn, "<presence/>");
        }
        net.run();
        net.server_ends(conn, EndReason::Stopped);
    }
    net.skip();
}

#[test]
fn gc_repeat_after_never_means_no_cleaning() {
    let mut net = stale_h(None, 3);
    three_stale(&mut net);
    net.advance(secs(3));
    for (name, h) in [("sm-1", 1), ("sm-2", 2), ("sm-3", 3)] {
        assert_eq!(net.store.lookup(&smid(name), JULIET, net.now()), Ok(Lookup::StaleH(h.into())));
    }
    net.advance(secs(100_000));
    assert_eq!(net.store.stale_len(), 3);
    assert_eq!(net.store.lookup(&smid("sm-1"), JULIET, net.now()), Ok(Lookup::NotFound), "cleaned or not");
}

#[test]
fn gc_repeat_after_timeout_does_clean() {
    let mut net = stale_h(Some(3), 3);
    three_stale(&mut net);
    assert_eq!(net.store.stale_len(), 3);
    net.advance(secs(6));
    assert_eq!(net.store.stale_len(), 0);
    assert_eq!(net.store.lookup(&smid("sm-1"), JULIET, net.now()), Ok(Lookup::NotFound));
    assert_eq!(net.store.next_sweep(), None, "there is nothing to wake up for");
}

#[test]
fn what_a_resumed_connection_does_late_leaves_the_h_of_its_successor() {
    let mut net = stale_h(None, 3600);
    let juliet = net.login(JULIET);
    let old = net.peer(juliet, Side::Server).registration.clone().unwrap();
    net.cut(juliet);
    let again = net.resume(juliet);
    net.run();
    net.client_sends(again, "<presence/>");
    net.run();
    net.cut(again);
    net.advance(secs(3));
    net.ended(&[(again, EndReason::Expired)]);
    net.store.remove(&old).unwrap();
    net.store.retire(&old, 0.into(), net.now()).unwrap();
    assert_eq!(net.store.lookup(&smid("sm-1"), JULIET, net.now()), Ok(Lookup::StaleH(1.into())));
}
