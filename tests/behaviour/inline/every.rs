//! Every short `<authenticate/>` and every short `<success/>`, of elements that are right, wrong, or in the wrong place.

use minidom::Element;
use xmpp_sm::{AuthenticateError, Config, Event, InlineOffer, NS, Offer, Replay, Session};

use super::stage::{ENABLED, OWNER, Outcome, Stage};

const RESUME: &str = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>";
const ASKED: [&str; 10] = [
    RESUME,
    "<resume xmlns='urn:xmpp:sm:3' h='0' previd='gone'/>",
    "<resume xmlns='urn:xmpp:sm:3' h='7' previd='some-long-sm-id'/>",
    "<resume xmlns='urn:xmpp:sm:3'/>",
    "<bind xmlns='urn:xmpp:bind:0'/>",
    "<bind xmlns='urn:xmpp:bind:0'><tag>x</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>",
    "<bind xmlns='urn:xmpp:bind:0'><r xmlns='urn:xmpp:sm:3'/><enable xmlns='urn:xmpp:sm:3' max='0'/></bind>",
    "<bind xmlns='urn:xmpp:bind2:1'><enable xmlns='urn:xmpp:sm:3'/></bind>",
    "<enable xmlns='urn:xmpp:sm:3'/>",
    "<a xmlns='urn:xmpp:sm:3'/>",
];
const SAID: [&str; 9] = [
    "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>",
    "<resumed xmlns='urn:xmpp:sm:3' previd='some-long-sm-id'/>",
    "<failed xmlns='urn:xmpp:sm:3'/>",
    "<failed xmlns='urn:xmpp:sm:3' h='x'/>",
    "<bound xmlns='urn:xmpp:bind:0'/>",
    "<bound xmlns='urn:xmpp:bind:0'><failed xmlns='urn:xmpp:sm:3'/></bound>",
    "<bound xmlns='urn:xmpp:bind2:1'/>",
    "<enabled xmlns='urn:xmpp:sm:3'/>",
    "<r xmlns='urn:xmpp:sm:3'/>",
];

/// Up to three of them, in every order.
fn every(of: &[&'static str], check: impl Fn(&[&'static str])) {
    let mut all = vec![vec![]];
    for length in 0..3 {
        let longer: Vec<Vec<_>> = all.iter().filter(|some| some.len() == length).cloned().collect();
        all.extend(longer.iter().flat_map(|some| of.iter().map(|one| [&some[..], &[*one]].concat())));
    }
    all.iter().for_each(|some| check(some));
}

/// The children of stream management that have one of these names.
fn count(parent: &Element, names: &[&str]) -> usize {
    parent.children().filter(|child| child.has_ns(NS) && names.contains(&child.name())).count()
}

#[test]
fn every_short_authenticate_is_answered_in_full_or_not_at_all() {
    every(&ASKED, |children| {
        let asks = |name: &str, ns: &str| {
            let is_it = |child: &&&str| child.parse::<Element>().unwrap().is(name, ns);
            children.iter().filter(is_it).count()
        };
        let (resumes, binds) = (asks("resume", NS), asks("bind", "urn:xmpp:bind:0"));
        let stage = Stage::new(Config::default());
        let former = stage.lost_session(OWNER, &["<one/>"]);
        let outcome = match stage.authenticate_as(OWNER, &children.concat(), Replay::Impossible) {
            Err(error) => {
                let AuthenticateError::Duplicate(name) = error else { panic!("{error}") };
                assert_eq!(name, if resumes > 1 { "resume" } else { "bind" }, "{children:?}");
                return assert!(resumes > 1 || binds > 1, "{children:?}");
            }
            Ok(outcome) => outcome,
        };
        assert!(resumes <= 1 && binds <= 1, "{children:?}");
        let (written, has_session) = match outcome {
            Outcome::Session(at) => (stage.written(at), true),
            Outcome::Login(_, conn) => (conn.written, false),
            Outcome::Failed(_) => panic!("{children:?}"),
        };
        let success: Element = written[0].parse().unwrap();
        let is_resumed = children.contains(&RESUME);
        assert_eq!(has_session, is_resumed || binds == 1, "{children:?}");
        assert_eq!(count(&success, &["resumed"]), usize::from(is_resumed), "{children:?}");
        assert_eq!(count(&success, &["resumed", "failed"]), resumes, "{children:?}");
        let bound = success.get_child("bound", "urn:xmpp:bind:0");
        assert_eq!(bound.is_some(), binds == 1 && !is_resumed, "{children:?}");
        let enables = children.iter().any(|child| child.contains("bind:0") && child.contains("<enable "));
        let replies = bound.map_or(0, |bound| count(bound, &["enabled", "failed"]));
        assert_eq!(replies, usize::from(enables && bound.is_some()), "{children:?}");
        let has_features = written.iter().any(|item| item.starts_with("features"));
        assert_eq!(has_features, !is_resumed, "{children:?}");
        let session = &stage.members.lock().unwrap()[former].session;
        assert_eq!((session.is_detached(), session.unacked()), (!is_resumed, 1), "{children:?}");
    });
}

#[test]
fn every_short_success_leaves_the_clients_stanza_in_one_place() {
    let (config, now) = (std::sync::Arc::new(Config::default()), std::time::Instant::now());
    let all = InlineOffer { resume: true, bind: true, enable: true };
    let offer = Offer { stream_management: true, binds: true };
    every(&SAID, |children| {
        let mut session: Session<&str, ()> = Session::client(config.clone(), OWNER);
        let connect = |session: &mut Session<&str, ()>, content: &str| {
            let request = session.request_inline(OWNER, all, now).unwrap();
            let success = format!("<success xmlns='urn:xmpp:sasl:2'>{content}</success>");
            let reply = request.reply(&success.parse().unwrap());
            let is = (reply.is_resumed(), reply.is_bound());
            session.connect_inline(reply, offer, (), now).unwrap();
            is
        };
        connect(&mut session, &format!("<bound xmlns='urn:xmpp:bind:0'>{ENABLED}</bound>"));
        session.send("<one/>", now).unwrap();
        while session.next_write(now).is_some() {}
        session.lost(now);
        while session.poll().is_some() {}

        let (is_resumed, is_bound) = connect(&mut session, &children.concat());
        let replies =
            || children.iter().filter(|child| child.starts_with("<resumed ") || child.starts_with("<failed "));
        assert_eq!(is_resumed, replies().next().is_some_and(|first| first.starts_with("<resumed ")), "{children:?}");
        assert_eq!(is_bound, !is_resumed && children.iter().any(|child| child.contains("bind:0")), "{children:?}");
        assert_eq!(session.unacked() + session.waiting(), 1, "{children:?}");
        let events: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
        let has = |is_it: fn(&Event<&str, ()>) -> bool| events.iter().any(is_it);
        let is_whole = replies().next() == Some(&SAID[0]);
        assert_eq!(has(|event| matches!(event, Event::Resumed)), is_whole, "{children:?}");
        let is_refused = !is_resumed && (replies().next().is_some() || is_bound);
        assert_eq!(has(|event| matches!(event, Event::NotResumed(_))), is_refused, "{children:?}");
        assert_eq!(has(|event| matches!(event, Event::Online { .. })), is_bound, "{children:?}");
    });
}
