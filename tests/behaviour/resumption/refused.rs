//! A `<resume/>` that is refused, and what becomes of the stream and of the stanzas.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Condition, Config, EndReason, Reaction, Refusal, StreamMgmt};

use crate::support::raw::{authenticated, client, detach, feed, grant};
use crate::support::{JULIET, Net, Side, quiet};

#[test]
fn resume_after_bind_or_enable_is_unexpected_and_the_stream_lives() {
    let mut net = Net::new(quiet());
    let gone = net.login(JULIET);
    net.cut(gone);
    net.skip();
    let conn = net.connect(JULIET);
    for _ in 0..2 {
        net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
        net.expect(
            "C2: <resume h='0' previd='sm-1'/>
             S2: <failed><unexpected-request/></failed>",
        );
        if !net.server(conn).is_enabled() {
            net.enable(conn);
            net.skip();
        }
    }
    net.requests(conn, Side::Client);
    net.expect(
        "C2: <r/>
         S2: <a h='0'/>",
    );
    // The session that was asked for still waits.
    net.resume(gone);
    net.expect(
        "C3: <resume h='0' previd='sm-1'/>
         S3: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn a_refused_resume_leaves_the_stream_where_it_was() {
    let mut net = Net::new(quiet());
    let gone = net.login(JULIET);
    net.cut(gone);
    net.skip();
    let conn = net.open(JULIET);
    net.authenticate(conn);
    // It is not bound yet, and may try again.
    net.client_writes(conn, "<resume previd='another' h='0'/>");
    net.client_writes(conn, "<enable/>");
    net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
    net.expect(
        "C2: <resume h='0' previd='another'/>
         C2: <enable/>
         C2: <resume h='0' previd='sm-1'/>
         S2: <failed><item-not-found/></failed>
         S2: <failed><unexpected-request/></failed>
         S2: <resumed h='0' previd='sm-1'/>",
    );
}

#[test]
fn no_resumption_before_authentication() {
    let mut stream = StreamMgmt::<&'static str>::server(Arc::new(quiet()));
    assert!(!stream.has_feature());
    let error = feed(&mut stream, "<resume previd='x' h='0'/>", Instant::now()).expect_err("it may be anybody");
    let Reaction::Write(failed) = error.reaction() else { panic!("{error}") };
    assert!(failed.to_string().contains("<unexpected-request "), "{failed}");
    stream.authenticated();
    assert!(matches!(feed(&mut stream, "<resume previd='x' h='0'/>", Instant::now()), Ok(Action::Resume(_))));
}

#[test]
fn a_server_without_resumption_says_feature_not_implemented() {
    let without: [fn(Config) -> Config; 2] = [|config| config.resume_timeout(None), |config| config.buffer(false)];
    for without in without {
        let mut stream = authenticated::<&str>(&Arc::new(without(quiet())));
        let error = feed(&mut stream, "<resume previd='x' h='0'/>", Instant::now()).expect_err("it cannot");
        let Reaction::Write(failed) = error.reaction() else { panic!("{error}") };
        assert!(failed.to_string().contains("<feature-not-implemented "), "{failed}");
        stream.bound();
        assert_eq!(grant(&mut stream, "<enable resume='true'/>", Some("x")), "<enabled xmlns='urn:xmpp:sm:3'/>");
    }
}

#[test]
fn after_a_refused_resume_the_client_binds_and_enables() {
    let now = Instant::now();
    let mut stream = authenticated::<&str>(&Arc::new(quiet()));
    for previd in ["x", "y"] {
        let resume = format!("<resume previd='{previd}' h='0'/>");
        let Ok(Action::Resume(request)) = feed(&mut stream, &resume, now) else { panic!() };
        let failed = stream.refuse_resume(request, Refusal::NotFound).unwrap();
        assert!(failed.to_string().contains("<item-not-found "), "{failed}");
    }
    assert!(stream.has_feature());
    stream.bound();
    assert!(grant(&mut stream, "<enable resume='true'/>", Some("z")).contains(" id='z' resume='true' "));

    let mut old = client::<&str>(&Arc::new(quiet()));
    let _ = old.enable().unwrap();
    let _ = feed(&mut old, "<enabled id='x' resume='true'/>", now).unwrap();
    let (mut client, _resume) = StreamMgmt::<&'static str>::resume(Arc::new(quiet()), detach(old, now)).unwrap();
    assert!(matches!(feed(&mut client, "<failed/>", now), Ok(Action::Failed(..))));
    client.bound();
    assert!(client.enable().is_ok());
}

#[test]
fn a_client_that_is_refused_gets_back_what_it_had_sent() {
    let mut net = Net::new(quiet());
    net.refuse_enable = Some(Condition::ResourceConstraint);
    let conn = net.connect(JULIET);
    net.enable(conn);
    net.client_sends(conn, "<message id='m1'/>");
    net.run();
    net.handed_back_to_client(&["EnableRefused, 1, at 0 s: <message id='m1'/>"]);

    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    net.client_sends(conn, "<message id='m1'/>");
    net.cut(conn);
    net.server_ends(conn, EndReason::Stopped);
    net.resume(conn);
    net.run();
    net.handed_back_to_client(&["ResumeRefused, 1, at 0 s: <message id='m1'/>"]);
}
