//! `<sm/>` among the features of a stream.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Condition, Config, Refusal, StreamMgmt};

use crate::support::raw::{ask_to_resume, authenticated, bound, element, enabled, session_at};
use crate::support::secs;

#[test]
fn p21_features_follow_the_state() {
    let (now, config) = (Instant::now(), Arc::new(Config::default()));

    let mut stream = StreamMgmt::<String>::server(config.clone());
    assert!(!stream.has_feature(), "who has not authenticated can have nothing");
    stream.authenticated();
    assert!(stream.has_feature(), "a session can be resumed");
    let request = ask_to_resume(&mut stream, 0, now);
    assert!(!stream.has_feature(), "it is asked for already");
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    assert!(stream.has_feature());
    stream.bound();
    assert!(stream.has_feature(), "it can be enabled");
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!() };
    assert!(!stream.has_feature(), "it is asked for already");
    let _ = stream.refuse_enable(request, Condition::ResourceConstraint).unwrap();
    assert!(stream.has_feature(), "it can be asked for again");

    assert!(!enabled::<String>(&config, now).has_feature(), "it is on");

    let mut stream = authenticated::<String>(&config);
    let request = ask_to_resume(&mut stream, 0, now);
    let _ = stream.accept_resume(request, session_at(&config, 0, 0, now + secs(60)), now).unwrap();
    assert!(!stream.has_feature(), "it is on again");
    // Nor does anything that the host may do later bring it back.
    stream.authenticated();
    stream.bound();
    assert!(!stream.has_feature() && stream.is_enabled());
}

#[test]
fn p21_features_follow_the_state_without_a_bind() {
    let now = Instant::now();
    let mut stream = StreamMgmt::<String>::server(Arc::new(Config::default()));
    stream.authenticated_without_bind();
    assert!(stream.has_feature());
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!("there is no bind") };
    let _ = stream.refuse_enable(request, Condition::ResourceConstraint).unwrap();
    assert!(stream.has_feature(), "it can be asked for again, and so can a former session");
    let request = ask_to_resume(&mut stream, 0, now);
    let _ = stream.refuse_resume(request, Refusal::NotFound).unwrap();
    let Ok(Action::Enable(request)) = stream.handle(element("enable"), now) else { panic!("there is no bind") };
    let _ = stream.accept_enable(request, None).unwrap();
    assert!(!stream.has_feature());
}

#[test]
fn p21_nothing_is_offered_where_nothing_can_be_had() {
    let config = Arc::new(Config::default());
    for mut stream in [StreamMgmt::<String>::disabled(config.clone()), StreamMgmt::client(config.clone())] {
        for step in [StreamMgmt::authenticated, StreamMgmt::bound, StreamMgmt::authenticated_without_bind] {
            assert!(!stream.has_feature());
            step(&mut stream);
        }
        assert!(!stream.has_feature());
    }
    // Where nothing is resumable it can still be enabled.
    let no_buffer = Arc::new(Config::default().buffer(false));
    assert!(authenticated::<String>(&no_buffer).has_feature() && bound::<String>(&no_buffer).has_feature());
}
