//! Section 3: who asks, when, and what both say.

use std::time::Instant;

use xmpp_sm::{Action, CannotEnable, Condition, Config, Disconnected, Error, Kind, Location, SmId};

use super::{Stream, bound_client, bound_server, enable, feed, quiet, secs, server};

#[test]
fn max_is_the_smaller_of_both_sides() {
    for (resume_timeout, asked, granted) in [
        (600, "", 600),
        (600, " max='10'", 10),
        (600, " max='601'", 600),
        (5, " max='10'", 5),
        (600, " max='99999999999999999999'", 600),
    ] {
        let mut stream = bound_server(quiet().resume_timeout(Some(secs(resume_timeout))));
        let enabled = enable(&mut stream, &format!("<enable resume='1'{asked}/>"), Some("x"));
        assert_eq!(enabled, format!("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true' max='{granted}'/>"));
        let now = Instant::now();
        let Disconnected::Resumable(session) = stream.disconnect(now) else { panic!("it is resumable") };
        assert_eq!(session.deadline(), Some(now + secs(granted)));
    }
    let mut client = bound_client(quiet().resume_timeout(Some(secs(42))));
    assert_eq!(client.enable().unwrap().to_string(), "<enable xmlns='urn:xmpp:sm:3' resume='true' max='42'/>");
}

#[test]
fn nothing_is_handled_before_a_request_is_answered() {
    let now = Instant::now();
    let mut stream = bound_server(quiet());
    let Ok(Action::Enable(request)) = feed(&mut stream, "<enable/>", now) else { panic!() };
    for xml in ["<message/>", "<r/>", "<a h='0'/>", "<enable/>", "<resume previd='x' h='0'/>"] {
        assert_eq!(feed(&mut stream, xml, now).err(), Some(Error::RequestPending), "{xml}");
    }
    let failed = stream.refuse_enable(request, Condition::InternalServerError).unwrap();
    assert!(failed.to_string().contains("internal-server-error"));
    assert!(matches!(feed(&mut stream, "<message/>", now), Ok(Action::Deliver(_))));
    assert_eq!(enable(&mut stream, "<enable/>", None), "<enabled xmlns='urn:xmpp:sm:3'/>");
}

#[test]
fn location_goes_from_the_options_of_the_server_to_the_host_of_the_client() {
    let place = "[2001:41D0:1:A49b::1]:9222";
    let mut server = bound_server(quiet().location(Some(Location::new(place).unwrap())));
    let enabled = enable(&mut server, "<enable resume='true'/>", Some("x"));
    let mut client = bound_client(quiet());
    let _ = client.enable().unwrap();
    let inbound = xmpp_sm::Inbound::from_element(&enabled.parse().unwrap(), "jabber:client");
    let Ok(Action::Enabled(enabled)) = client.handle(inbound, Instant::now()) else { panic!() };
    assert_eq!(enabled.location.as_ref().map(Location::as_str), Some(place));
}

#[test]
fn a_client_does_not_ask_before_a_resource_is_bound() {
    let mut client = Stream::client(std::sync::Arc::new(quiet()));
    assert_eq!(client.enable(), Err(CannotEnable::NotBound));
    client.authenticated();
    assert_eq!(client.enable(), Err(CannotEnable::NotBound));
    client.bound();
    assert!(client.enable().is_ok());

    let mut component = Stream::client(std::sync::Arc::new(quiet()));
    assert_eq!(component.enable(), Err(CannotEnable::NotBound));
    component.authenticated_without_bind();
    assert!(component.enable().is_ok());

    assert_eq!(bound_server(quiet()).enable(), Err(CannotEnable::Server));
}

#[test]
fn a_client_asks_once_for_each_stream() {
    let mut client = bound_client(quiet());
    let _ = client.enable().unwrap();
    assert_eq!(client.enable(), Err(CannotEnable::SentBefore));
    assert!(matches!(feed(&mut client, "<failed/>", Instant::now()), Ok(Action::Failed(..))));
    assert_eq!(client.enable(), Err(CannotEnable::SentBefore));
}

#[test]
fn a_client_asks_for_resumption_unless_that_is_switched_off() {
    let asks = |config| bound_client(config).enable().unwrap().to_string();
    assert_eq!(asks(quiet()), "<enable xmlns='urn:xmpp:sm:3' resume='true' max='600'/>");
    assert_eq!(asks(quiet().resume_timeout(None)), "<enable xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(asks(quiet().buffer(false)), "<enable xmlns='urn:xmpp:sm:3'/>");
}

#[test]
fn without_an_sm_id_nothing_is_resumable() {
    let mut stream = bound_server(quiet());
    assert_eq!(enable(&mut stream, "<enable resume='true'/>", None), "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(matches!(stream.disconnect(Instant::now()), Disconnected::Ended(_)));
}

#[test]
fn sm_ids_do_not_come_twice() {
    let mut seen = std::collections::HashSet::new();
    assert!((0..10_000).all(|_| seen.insert(SmId::random().unwrap())));
}

#[test]
fn an_sm_id_of_more_than_4000_bytes_is_refused() {
    let now = Instant::now();
    let resume = |bytes| format!("<resume previd='{}' h='0'/>", "x".repeat(bytes));
    assert!(matches!(feed(&mut server(quiet()), &resume(4000), now), Ok(Action::Resume(_))));
    let error = feed(&mut server(quiet()), &resume(4001), now).expect_err("it is too long");
    let xmpp_sm::Reaction::Write(failed) = error.reaction() else { panic!("{error}") };
    assert!(failed.to_string().contains("bad-request"), "{failed}");
    assert!(SmId::new(&"x".repeat(4001)).is_err());
}

#[test]
fn every_error_about_a_request_is_answered_with_failed() {
    let requests = ["<enable/>", "<enable max='0'/>", "<enable resume='yes'/>"];
    let resumes =
        ["<resume previd='x' h='0'/>", "<resume previd='x'/>", "<resume h='0'/>", "<resume previd='' h='1'/>"];
    let enabled = |config| {
        let mut stream = bound_server(config);
        enable(&mut stream, "<enable/>", None);
        stream
    };
    let streams: [fn(Config) -> Stream; 5] = [
        |config| Stream::server(std::sync::Arc::new(config)),
        server,
        bound_server,
        enabled,
        |config| Stream::disabled(std::sync::Arc::new(config)),
    ];
    let mut errors = 0;
    for stream in streams {
        for xml in requests.iter().chain(&resumes) {
            let Err(error) = feed(&mut stream(quiet()), xml, Instant::now()) else { continue };
            let reply = match error.reaction() {
                xmpp_sm::Reaction::Write(nonza) => Some(nonza),
                xmpp_sm::Reaction::Close(last) => last.write,
                _ => None,
            };
            let reply = reply.unwrap_or_else(|| panic!("{xml}: {error} is not answered"));
            assert_eq!(reply.kind(), Kind::Failed, "{xml}: {error}");
            assert!(reply.to_string().contains("urn:ietf:params:xml:ns:xmpp-stanzas"), "{reply}");
            errors += 1;
        }
    }
    // All but <enable/> on the bound stream and <resume/> on the authenticated one.
    assert_eq!(errors, 5 * 7 - 2);
}
