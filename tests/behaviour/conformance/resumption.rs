//! Sections 5, 6 and 10: who may come back, and what is said.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Config, EndReason, Nonza, NotResumed, NotResumedWhy, Reaction, Refusal};

use super::{Stream, bound_client, bound_server, enable, feed, lose, quiet, server};

#[test]
fn no_resumption_before_authentication() {
    let mut stream = Stream::server(Arc::new(quiet()));
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
        let mut stream = server(without(quiet()));
        let error = feed(&mut stream, "<resume previd='x' h='0'/>", Instant::now()).expect_err("it cannot");
        let Reaction::Write(failed) = error.reaction() else { panic!("{error}") };
        assert!(failed.to_string().contains("<feature-not-implemented "), "{failed}");
        stream.bound();
        assert_eq!(enable(&mut stream, "<enable resume='true'/>", Some("x")), "<enabled xmlns='urn:xmpp:sm:3'/>");
    }
}

#[test]
fn after_a_refused_resume_the_client_binds_and_enables() {
    let now = Instant::now();
    let mut stream = server(quiet());
    for previd in ["x", "y"] {
        let resume = format!("<resume previd='{previd}' h='0'/>");
        let Ok(Action::Resume(request)) = feed(&mut stream, &resume, now) else { panic!() };
        let failed = stream.refuse_resume(request, Refusal::NotFound).unwrap();
        assert!(failed.to_string().contains("<item-not-found "), "{failed}");
    }
    assert!(stream.has_feature());
    stream.bound();
    assert!(enable(&mut stream, "<enable resume='true'/>", Some("z")).contains(" id='z' resume='true' "));

    let mut old = bound_client(quiet());
    let _ = old.enable().unwrap();
    let _ = feed(&mut old, "<enabled id='x' resume='true'/>", now).unwrap();
    let (mut client, _resume) = Stream::resume(Arc::new(quiet()), lose(old, now)).unwrap();
    assert!(matches!(feed(&mut client, "<failed/>", now), Ok(Action::Failed(..))));
    client.bound();
    assert!(client.enable().is_ok());
}

#[test]
fn no_resumption_while_stanzas_are_being_handled() {
    let now = Instant::now();
    let mut old = bound_server(quiet());
    enable(&mut old, "<enable resume='true'/>", Some("x"));
    let Ok(Action::Deliver(receipt)) = feed(&mut old, "<message/>", now) else { panic!() };
    let session = lose(old, now);

    let mut stream = server(quiet());
    let Ok(Action::Resume(request)) = feed(&mut stream, "<resume previd='x' h='0'/>", now) else { panic!() };
    let NotResumed { mut session, why } = stream.accept_resume(request, session, now).unwrap_err();
    let NotResumedWhy::ReceiptsOpen(request) = why else { panic!("its h would leave a stanza out: {why}") };
    session.record_handled(receipt).unwrap();
    let resumption = stream.accept_resume(request, session, now).unwrap();
    assert_eq!(resumption.write.to_string(), "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='1'/>");
}

/// A client that has handled one stanza and sent three, of which one was acknowledged.
fn interrupted_client(now: Instant) -> Stream {
    let mut client = bound_client(quiet());
    let _ = client.enable().unwrap();
    let _ = feed(&mut client, "<enabled id='x' resume='true'/>", now).unwrap();
    for stanza in ["<presence id='1'/>", "<message id='2'/>", "<message id='3'/>"] {
        assert!(client.record_sent(stanza, now).is_ok());
    }
    let Ok(Action::Deliver(receipt)) = feed(&mut client, "<message/>", now) else { panic!() };
    client.record_handled(receipt).unwrap();
    assert!(matches!(feed(&mut client, "<a h='1'/>", now), Ok(Action::Acknowledged(_))));
    client
}

#[test]
fn a_client_that_comes_back_sends_the_rest_again() {
    let now = Instant::now();
    let session = lose(interrupted_client(now), now);
    let (mut client, resume) = Stream::resume(Arc::new(Config::default()), session).unwrap();
    assert_eq!(resume.to_string(), "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>");
    let Ok(Action::Resumed(after)) = feed(&mut client, "<resumed previd='x' h='2'/>", now) else { panic!() };
    let again: Vec<_> = client.unacked().map(|queued| (*queued.stanza, queued.number.get())).collect();
    assert_eq!(again, [("<message id='3'/>", 3)]);
    assert_eq!(after, Some(Nonza::AckRequest));
    assert_eq!((client.h().get(), client.sent().get(), client.acked().get()), (1, 3, 2));
}

#[test]
fn a_client_that_is_refused_gets_back_what_the_server_did_not_handle() {
    let now = Instant::now();
    let failed = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    for (h, back) in [(" h='2'", &["<message id='3'/>"][..]), ("", &["<message id='2'/>", "<message id='3'/>"])] {
        let (mut client, _) = Stream::resume(Arc::new(quiet()), lose(interrupted_client(now), now)).unwrap();
        let Ok(Action::Failed(_, ended)) = feed(&mut client, &format!("<failed{h}>{failed}"), now) else { panic!() };
        assert_eq!(ended.reason, EndReason::ResumeRefused);
        assert_eq!(ended.unacked.map(|returned| returned.stanza).collect::<Vec<_>>(), back);
        client.bound();
        let _ = client.enable().unwrap();
        assert_eq!(client.record_sent(back[0], now).unwrap().number, Some(1.into()), "a new session counts from one");
    }
}
