//! A session that is asked for twice, while it lives, by somebody else, and by two at once.

use xmpp_sm::{Counter, Disconnected, Error, Kind, SessionStore, SmId, WrongH};

use crate::support::at_work::{NOW, Stream, config, detached, end_of, refuses};
use crate::support::{Conn, JULIET, Net, Place, ROMEO, STALE_H, Side, quiet, secs};

/// Juliet has `sm-1`, and has not acknowledged the second and third of her three messages.
fn juliet(net: &mut Net) -> Conn {
    let conn = net.login_silent(JULIET);
    for id in ["m1", "m2", "m3"] {
        net.server_sends(conn, &format!("<message id='{id}'/>"));
    }
    net.client_writes(conn, "<a h='1'/>");
    net.skip();
    conn
}

#[test]
fn twice_on_one_connection() {
    let mut net = Net::new(quiet());
    let old = juliet(&mut net);
    net.cut(old);
    net.skip();
    let conn = net.silent_resume(JULIET, "sm-1", 1);
    net.run();
    let before = net.state(conn, Side::Server);
    net.client_writes(conn, "<resume previd='sm-1' h='1'/>");
    net.expect(
        "C2: <resume previd='sm-1' h='1'/>
         S2: <resumed previd='sm-1' h='0'/>
         S2: <message id='m2'/>
         S2: <message id='m3'/>
         C2: <resume previd='sm-1' h='1'/>
         S2: <failed><unexpected-request/></failed>",
    );
    assert_eq!(net.state(conn, Side::Server), before);
}

#[test]
fn twice_one_after_the_other() {
    let mut net = Net::new(quiet());
    let old = juliet(&mut net);
    net.cut(old);
    net.skip();
    net.silent_resume(JULIET, "sm-1", 2);
    net.run();
    net.silent_resume(JULIET, "sm-1", 2);
    net.expect(
        "C2: <resume previd='sm-1' h='2'/>
         S2: <resumed previd='sm-1' h='0'/>
         S2: <message id='m3'/>
         C3: <resume previd='sm-1' h='2'/>
         S2: <stream:error><conflict/></stream:error>
         S2: </stream:stream>
         S3: <resumed previd='sm-1' h='0'/>
         S3: <message id='m3'/>",
    );
    net.handed_back(&[]);
    net.ended(&[]);
}

#[test]
fn of_a_live_session_by_its_owner() {
    let mut net = Net::new(quiet());
    let old = juliet(&mut net);
    let new = net.silent_resume(JULIET, "sm-1", 3);
    net.client_writes(old, "<message id='too-late'/>");
    net.expect(
        "C2: <resume previd='sm-1' h='3'/>
         C: <message id='too-late'/>
         S: <stream:error><conflict/></stream:error>
         S: </stream:stream>
         S2: <resumed previd='sm-1' h='1'/>",
    );
    assert_eq!(net.got(new, Side::Server), ["too-late"]);
    assert!(matches!(net.peer(old, Side::Server).place, Place::MovedTo(2)));
    net.ended(&[]);
}

#[test]
fn p06_of_a_live_session_by_its_owner_with_an_h_that_cannot_be() {
    for h in [0, 4, u32::MAX] {
        let mut net = Net::new(quiet());
        let old = juliet(&mut net);
        let before = net.state(old, Side::Server);
        let new = net.silent_resume(JULIET, "sm-1", h);
        net.expect(&format!(
            "C2: <resume previd='sm-1' h='{h}'/>
             S2: <failed><bad-request/></failed>"
        ));
        assert_eq!(net.state(old, Side::Server), before, "the live stream is not even torn down");
        net.client_writes(old, "<a h='3'/>");
        net.run();
        assert_eq!(net.server(old).unacked().count(), 0);
        net.bind(new);
        assert!(net.server(new).has_feature());
    }
}

#[test]
fn of_a_session_by_another_owner() {
    for is_live in [true, false] {
        let mut net = Net::new(quiet());
        let old = juliet(&mut net);
        if !is_live {
            net.cut(old);
            net.skip();
        }
        let before = net.state(old, Side::Server);
        net.silent_resume(ROMEO, "sm-1", 1);
        net.silent_resume(ROMEO, "never-was", 1);
        net.expect(
            "C2: <resume previd='sm-1' h='1'/>
             C3: <resume previd='never-was' h='1'/>
             S2: <failed><item-not-found/></failed>
             S3: <failed><item-not-found/></failed>",
        );
        assert_eq!(net.state(old, Side::Server), before);
        net.silent_resume(JULIET, "sm-1", 1);
        net.run();
        assert!(net.server(4).is_enabled());
    }
}

#[test]
fn by_two_connections_at_once() {
    for is_live in [true, false] {
        let mut net = Net::new(quiet());
        let old = juliet(&mut net);
        if !is_live {
            net.cut(old);
        }
        net.skip();
        net.slow_lookup = true;
        let [winner, loser] = [net.silent_resume(JULIET, "sm-1", 1), net.silent_resume(JULIET, "sm-1", 1)];
        net.skip();
        net.answer_resume(winner);
        let old_stream = if is_live { "S: <stream:error><conflict/></stream:error>\n S: </stream:stream>" } else { "" };
        net.expect(&format!(
            "{old_stream}
             S2: <resumed previd='sm-1' h='0'/>
             S2: <message id='m2'/>
             S2: <message id='m3'/>"
        ));
        // The loser finds the winner, and takes over from it.
        net.answer_resume(loser);
        net.expect(
            "S2: <stream:error><conflict/></stream:error>
             S2: </stream:stream>
             S3: <resumed previd='sm-1' h='0'/>
             S3: <message id='m2'/>
             S3: <message id='m3'/>",
        );
        assert_eq!(net.whereabouts(old, Side::Server), loser);
        net.ended(&[]);
        net.handed_back(&[]);
        assert_eq!(net.store.len(), 1);
    }
}

#[test]
fn by_two_connections_at_once_of_which_one_was_further() {
    let mut net = Net::new(quiet());
    let old = juliet(&mut net);
    net.cut(old);
    net.slow_lookup = true;
    let [winner, loser] = [net.silent_resume(JULIET, "sm-1", 3), net.silent_resume(JULIET, "sm-1", 1)];
    net.skip();
    net.answer_resume(winner);
    let before = net.state(winner, Side::Server);
    net.skip();
    // Its h is behind what was acknowledged meanwhile: it cannot have the session any more.
    net.answer_resume(loser);
    net.expect("S3: <failed><bad-request/></failed>");
    assert_eq!(net.state(winner, Side::Server), before);
}

#[test]
fn answered_for_another_session_or_with_an_h_that_cannot_be() {
    let resuming = || Stream::resume(config(), detached()).unwrap().0;
    assert_eq!(refuses(&mut resuming(), "<resumed previd='sm-2' h='1'/>"), Error::ForeignSession);
    assert!(end_of(Error::ForeignSession).contains("<undefined-condition/>"));
    for (h, why) in
        [(4, WrongH::TooHigh { h: 4.into(), sent: 3.into() }), (0, WrongH::Backwards { h: 0.into(), acked: 1.into() })]
    {
        let error = refuses(&mut resuming(), &format!("<resumed previd='sm-1' h='{h}'/>"));
        assert_eq!(error, Error::WrongH { element: Kind::Resumed, why });
        assert!(end_of(error).contains("<undefined-condition/>"));
    }
    // And the session is still the client's, as it was.
    let mut stream = resuming();
    refuses(&mut stream, "<resumed previd='sm-1' h='4'/>");
    let Disconnected::Resumable(session) = stream.disconnect(*NOW) else { panic!() };
    assert_eq!((session.deadline(), session.unacked().len()), (Some(*NOW + secs(600)), 2));
}

#[test]
fn p04_to_know_an_sm_id_is_not_enough() {
    // What a stranger is told about a session that is live, detached, expired and remembered, or unknown.
    let told = |prepare: fn(&mut Net) -> Option<u32>| {
        let mut net = Net::new(quiet().stale_h(STALE_H));
        let expected = prepare(&mut net);
        net.skip();
        let conn = net.open("romeo@montague.lit");
        net.authenticate(conn);
        net.client_writes(conn, "<resume previd='guessed' h='0'/>");
        net.expect(
            "C2: <resume h='0' previd='guessed'/>
             S2: <failed><item-not-found/></failed>",
        );
        // And the owner still has it.
        if let Some(h) = expected {
            let conn = net.open("juliet@capulet.lit");
            net.authenticate(conn);
            net.client_writes(conn, &format!("<resume previd='guessed' h='{h}'/>"));
            net.skip();
            assert_eq!(net.server(conn).smid(), Some(&SmId::new("guessed").unwrap()));
        }
    };
    told(|net| {
        net.login("nurse@capulet.lit");
        None
    });
    told(|net| {
        net.name_session("guessed");
        net.login("juliet@capulet.lit");
        Some(0)
    });
    told(|net| {
        net.name_session("guessed");
        let conn = net.login("juliet@capulet.lit");
        net.cut(conn);
        Some(0)
    });
    told(|net| {
        net.name_session("guessed");
        let conn = net.login("juliet@capulet.lit");
        net.client_sends(conn, "<message/>");
        net.run();
        net.cut(conn);
        net.advance(secs(601));
        None
    });
}

#[test]
fn p17_a_process_that_dies_late_does_not_take_the_session_of_its_successor() {
    let mut net = Net::new(quiet().stale_h(STALE_H));
    let conn = net.login("juliet@capulet.lit");
    let old = net.peer(conn, Side::Server).registration.clone().unwrap();
    net.cut_unnoticed(conn);
    let second = net.resume(conn);
    net.run();
    // The old connection's task notices at last, and clears up what it thinks is its own.
    net.store.retire(&old, Counter::new(99), net.now()).unwrap();
    net.store.remove(&old).unwrap();
    net.cut(second);
    net.skip();
    net.resume(second);
    net.expect(
        "C3: <resume previd='sm-1' h='0'/>
         S3: <resumed previd='sm-1' h='0'/>",
    );
}
