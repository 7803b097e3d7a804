//! A client's session that authenticates by SASL2, before the server of the stage.

use std::sync::Arc;
use std::time::Instant;

use minidom::Element;
use xmpp_sm::{
    Arrival, Condition, Config, EndReason, Event, Failed, Inbound, InlineOffer, InlineRequest, MustBind, Nonza,
    NotConnectedWhy, Offer, Receipt, Session, Unbound, Write,
};

use super::host::inline_features;
use super::stage::{OWNER, Outcome, Stage};

const ALL: InlineOffer = InlineOffer { resume: true, bind: true, enable: true };
const AFTER: Offer = Offer { stream_management: true, binds: true };

struct Client {
    session: Session<&'static str, u32>,
    now: Instant,
    binding: Option<MustBind>,
}

impl Client {
    fn new() -> Self {
        Self::with(Arc::new(Config::default()))
    }

    fn with(config: Arc<Config>) -> Self {
        Self { session: Session::client(config, OWNER), now: Instant::now(), binding: None }
    }

    /// The children of `<authenticate/>`.
    fn ask(&mut self, offer: InlineOffer) -> (InlineRequest, String) {
        let request = self.session.request_inline(OWNER, offer, self.now).unwrap();
        let children = request.to_elements(Some("tag")).map(|child| String::from(&child)).collect();
        (request, children)
    }

    fn connect(&mut self, request: InlineRequest, success: &str, offer: Offer) {
        let reply = request.reply(&success.parse().unwrap());
        self.session.connect_inline(reply, offer, 1, self.now).unwrap();
    }

    /// By the stage. Gives the session's place there.
    fn authenticate(&mut self, stage: &Stage) -> usize {
        let (request, children) = self.ask(ALL);
        let Outcome::Session(at) = stage.authenticate(OWNER, &children) else { panic!("{children}") };
        self.connect(request, &stage.written(at)[0], AFTER);
        at
    }

    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.session.poll() {
            events.push(match event {
                Event::Left { parting, .. } => format!("left {parting:?}"),
                Event::Resumed => "resumed".to_owned(),
                Event::Online { enabled } => format!("online {enabled}"),
                Event::NotResumed(failed) => format!("not resumed {:?}", failed.h.map(|h| h.get())),
                Event::Bind(token) => {
                    self.binding = Some(token);
                    "bind".to_owned()
                }
                other => format!("{other:?}"),
            });
        }
        events
    }

    fn written(&mut self) -> Vec<String> {
        let mut written = Vec::new();
        while let Some((_, item)) = self.session.next_write(self.now) {
            written.push(match item {
                Write::Stanza { stanza, .. } => (*stanza).to_owned(),
                Write::Nonza(nonza) => nonza.to_string(),
                other => format!("{other:?}"),
            });
        }
        written
    }

    /// A session on the stage, with these stanzas sent and the connection lost.
    fn lost(stage: &Stage, stanzas: &[&'static str]) -> Self {
        let mut client = Self::with(stage.config.clone());
        let at = client.authenticate(stage);
        for stanza in stanzas {
            client.session.send(stanza, client.now).unwrap();
        }
        client.written();
        client.session.lost(client.now);
        client.events();
        stage.lose(at);
        client
    }

    fn stanza(&mut self) -> Receipt {
        let Ok(Arrival::Stanza(receipt)) = self.session.handle(Inbound::Stanza { bytes: 1 }, self.now) else {
            panic!()
        };
        receipt
    }
}

#[test]
fn an_offer_is_read_from_the_features() {
    let offer = |inline: &str| {
        let features = format!(
            "<features xmlns='http://etherx.jabber.org/streams'><authentication xmlns='urn:xmpp:sasl:2'>\
             <mechanism>PLAIN</mechanism>{inline}</authentication></features>"
        );
        InlineOffer::from_features(&features.parse().unwrap())
    };
    let inline = |config: Option<&Config>, others: &[&str]| String::from(&inline_features(config, others));
    assert_eq!(offer(""), InlineOffer::default());
    assert_eq!(offer(&inline(Some(&Config::default()), &[])), ALL);
    let no_resumption = Config::default().resume_timeout(None);
    assert_eq!(offer(&inline(Some(&no_resumption), &[])), InlineOffer { resume: false, ..ALL });
    assert_eq!(offer(&inline(None, &["urn:xmpp:csi:0"])), InlineOffer { bind: true, ..InlineOffer::default() });
    let older =
        "<inline><bind xmlns='urn:xmpp:bind2:1'><inline><feature var='urn:xmpp:sm:3'/></inline></bind></inline>";
    assert_eq!(offer(older), InlineOffer::default());
    let other: Element =
        "<features xmlns='http://etherx.jabber.org/streams'><sm xmlns='urn:xmpp:sm:3'/></features>".parse().unwrap();
    assert_eq!(InlineOffer::from_features(&other), InlineOffer::default());
}

#[test]
fn a_session_is_begun_and_resumed() {
    let stage = Stage::new(Config::default());
    let mut client = Client::new();
    client.session.send("<early/>", client.now).unwrap();
    let (request, children) = client.ask(ALL);
    assert_eq!(
        children,
        "<bind xmlns='urn:xmpp:bind:0'><tag>tag</tag><enable xmlns='urn:xmpp:sm:3' max='600' resume='true'/></bind>"
    );
    let Outcome::Session(at) = stage.authenticate(OWNER, &children) else { panic!() };
    client.connect(request, &stage.written(at)[0], AFTER);
    assert_eq!(client.events(), ["online true"]);
    assert_eq!(client.written(), ["<early/>", "<r xmlns='urn:xmpp:sm:3'/>"], "and no <enable/>");

    client.session.lost(client.now);
    client.events();
    client.session.send("<late/>", client.now).unwrap();
    let (request, children) = client.ask(ALL);
    assert!(children.starts_with("<resume ") && children.contains("<bind "), "{children}");
    stage.handle_stanza(at);
    stage.lose(at);
    let Outcome::Session(again) = stage.authenticate(OWNER, &children) else { panic!() };
    assert_eq!(again, at);
    client.connect(request, &stage.written(at)[0], AFTER);
    assert_eq!(client.events(), ["resumed"]);
    assert_eq!(client.written(), ["<late/>", "<r xmlns='urn:xmpp:sm:3'/>"], "the server had the other one");
}

#[test]
fn what_a_refused_session_leaves_goes_into_the_new_one_in_order_once() {
    let mut stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>", "<two/>"]);
    client.session.send("<three/>", client.now).unwrap();
    stage.wait(601);
    let at = client.authenticate(&stage);
    assert_eq!((at, stage.members.lock().unwrap().len()), (1, 2), "a new session");
    assert_eq!(client.events(), ["not resumed None", "online true"]);
    let stanzas: Vec<_> = client.written().into_iter().filter(|item| !item.contains("<r ")).collect();
    assert_eq!(stanzas, ["<one/>", "<two/>", "<three/>"]);
}

/// The `h` of `<failed/>` counts, inline as elsewhere.
#[test]
fn what_the_server_has_of_a_session_that_is_gone_is_not_sent_again() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>", "<two/>"]);
    let (request, _) = client.ask(ALL);
    let failed = "<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                  </failed>";
    let bound = format!("<bound xmlns='urn:xmpp:bind:0'>{}</bound>", super::stage::ENABLED);
    client.connect(request, &format!("<success xmlns='urn:xmpp:sasl:2'>{failed}{bound}</success>"), AFTER);
    assert_eq!(client.events(), ["not resumed Some(1)", "online true"]);
    assert_eq!(client.written()[0], "<two/>");
}

/// A resource is bound all the same: there is nothing to ask again.
#[test]
fn a_server_that_cannot_tell_whether_it_has_the_session_is_asked_again_unless_it_has_bound() {
    let stage = Stage::new(Config::default());
    let unknown = "<failed xmlns='urn:xmpp:sm:3'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                   </failed>";
    let left = &["left Say(LastWords { write: None, error: None, reason: Closed })"][..];
    let bound = ("<bound xmlns='urn:xmpp:bind:0'/>", &["not resumed None", "online false"][..]);
    for (bound, events) in [("", left), bound] {
        let mut client = Client::lost(&stage, &["<one/>"]);
        let (request, _) = client.ask(ALL);
        client.connect(request, &format!("<success xmlns='urn:xmpp:sasl:2'>{unknown}{bound}</success>"), AFTER);
        assert_eq!(client.events(), events, "{bound}");
        assert_eq!(client.session.is_detached(), bound.is_empty());
    }
}

/// That a session began inline is nothing to the connections that follow.
#[test]
fn a_server_that_cannot_tell_is_asked_again_however_the_session_began() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    client.session.connect(OWNER, AFTER, 2, client.now).unwrap();
    assert!(client.written()[0].starts_with("<resume "));
    let unknown = Nonza::Failed(Failed { h: None, condition: Some(Condition::InternalServerError) });
    assert_eq!(client.session.handle(unknown.into(), client.now), Ok(Arrival::Handled));
    assert_eq!(client.events(), ["left Say(LastWords { write: None, error: None, reason: Closed })"]);
    assert!(client.session.is_detached());
}

/// The same, where the server's host knows it: the client comes back to its session, and nothing is sent twice.
#[test]
fn a_server_that_cannot_tell_fails_the_authentication_and_the_session_goes_on_later() {
    let mut stage = Stage::new(Config::default());
    let mut client = Client::with(stage.config.clone());
    let at = client.authenticate(&stage);
    client.session.send("<one/>", client.now).unwrap();
    client.written();
    stage.handle_stanza(at);
    client.session.lost(client.now);
    client.events();
    stage.lose(at);
    stage.is_silent = true;
    let (request, children) = client.ask(ALL);
    let Outcome::Failed(_) = stage.authenticate(OWNER, &children) else { panic!() };
    client.session.authentication_failed(request);
    assert_eq!(client.events(), [""; 0]);
    stage.is_silent = false;
    assert_eq!(client.authenticate(&stage), at);
    assert_eq!(client.events(), ["resumed"]);
    assert_eq!(client.written(), [""; 0], "the server has it");
}

/// The server forgets to say `<failed/>`, or to answer `<enable/>`.
#[test]
fn a_server_that_says_less_than_it_should_is_taken_at_its_word() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, _) = client.ask(ALL);
    let bound = "<success xmlns='urn:xmpp:sasl:2'><bound xmlns='urn:xmpp:bind:0'/></success>";
    client.connect(request, bound, AFTER);
    assert_eq!(client.events(), ["not resumed None", "online false"]);
    assert_eq!(client.written(), ["<one/>"]);

    // It knows nothing of what was inline.
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, _) = client.ask(ALL);
    client.connect(request, "<success xmlns='urn:xmpp:sasl:2'/>", AFTER);
    assert!(client.events().is_empty());
    assert!(client.written()[0].starts_with("<resume "), "it is asked as of old");
}

#[test]
fn what_is_not_offered_inline_is_asked_for_after_authentication() {
    let nothing = "<success xmlns='urn:xmpp:sasl:2'/>";
    let mut client = Client::new();
    let (request, children) = client.ask(InlineOffer::default());
    assert_eq!(children, "");
    client.connect(request, nothing, AFTER);
    assert_eq!(client.events(), ["bind"]);
    client.session.bound(client.binding.take().unwrap(), client.now).unwrap();
    assert!(client.written()[0].starts_with("<enable "));

    // Bound inline, and enabled as of old.
    let mut client = Client::new();
    let (request, children) = client.ask(InlineOffer { bind: true, ..InlineOffer::default() });
    assert_eq!(children, "<bind xmlns='urn:xmpp:bind:0'><tag>tag</tag></bind>");
    let bound = "<success xmlns='urn:xmpp:sasl:2'><bound xmlns='urn:xmpp:bind:0'/></success>";
    client.connect(request, bound, AFTER);
    assert!(client.written()[0].starts_with("<enable "));

    // A session that cannot be resumed inline is resumed as of old, and not given up for a new one.
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, children) = client.ask(InlineOffer { resume: false, ..ALL });
    assert_eq!(children, "");
    client.connect(request, nothing, AFTER);
    assert!(client.written()[0].starts_with("<resume "));
}

/// Its `h` would leave a stanza out that is handled all the same, and the server would send it again.
#[test]
fn a_session_is_not_asked_for_inline_while_stanzas_are_being_handled() {
    let stage = Stage::new(Config::default());
    let mut client = Client::new();
    client.authenticate(&stage);
    client.events();
    let receipt = client.stanza();
    client.session.lost(client.now);
    client.events();
    let (request, children) = client.ask(ALL);
    assert_eq!(children, "");
    client.connect(request, "<success xmlns='urn:xmpp:sasl:2'/>", AFTER);
    assert_eq!(client.written(), Vec::<String>::new(), "not yet");
    client.session.settle(receipt, client.now).unwrap();
    let written = client.written();
    assert!(written[0].starts_with("<resume ") && written[0].contains("h='1'"), "{written:?}");
}

/// A connection that is lost before there is an answer.
#[test]
fn a_request_that_comes_to_nothing_changes_nothing() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    for _ in 0..3 {
        let (request, children) = client.ask(ALL);
        assert!(children.starts_with("<resume "));
        drop(request);
        assert!(client.session.is_detached());
        assert_eq!((client.session.unacked(), client.events().len()), (1, 0));
    }
    let at = client.authenticate(&stage);
    assert_eq!((at, client.events()), (0, vec!["resumed".to_owned()]));
}

/// A server may as well fail each time that it tries.
#[test]
fn a_session_is_given_up_after_ten_tries_in_a_row() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    for _ in 0..10 {
        assert!(client.ask(ALL).1.starts_with("<resume "));
    }
    let (request, children) = client.ask(ALL);
    assert!(children.starts_with("<bind "), "{children}");
    let Outcome::Session(at) = stage.authenticate(OWNER, &children) else { panic!() };
    client.connect(request, &stage.written(at)[0], AFTER);
    assert_eq!(client.events(), ["online true"]);
    assert_eq!(client.written()[0], "<one/>");
}

/// The server has answered: it does not die of the `<resume/>`.
#[test]
fn an_authentication_that_fails_is_no_try() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    for _ in 0..9 {
        let _ = client.ask(ALL);
    }
    for _ in 0..3 {
        let (request, children) = client.ask(ALL);
        assert!(children.starts_with("<resume "), "{children}");
        client.session.authentication_failed(request);
    }
    // One that is answered late makes up for no other.
    let (late, _) = client.ask(ALL);
    let (_, children) = client.ask(ALL);
    assert!(children.starts_with("<bind "), "{children}");
    client.session.authentication_failed(late);
    let (_, children) = client.ask(ALL);
    assert!(children.starts_with("<bind "), "{children}");
}

#[test]
fn an_authentication_that_asks_for_no_session_is_no_try() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    for _ in 0..20 {
        assert_eq!(client.ask(InlineOffer { resume: false, ..ALL }).1, "");
    }
    assert!(client.ask(ALL).1.starts_with("<resume "));
}

/// The server knows nothing of what was inline, and is asked once more on this connection, be it the last.
#[test]
fn what_is_asked_again_on_the_same_connection_is_one_try() {
    let stage = Stage::new(Config::default().resume_tries_max(std::num::NonZeroU32::MIN));
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, children) = client.ask(ALL);
    assert!(children.starts_with("<resume "), "{children}");
    client.connect(request, "<success xmlns='urn:xmpp:sasl:2'/>", AFTER);
    assert!(client.written()[0].starts_with("<resume "), "it is not given up");
}

#[test]
fn a_session_is_not_offered_to_another_account_or_by_an_earlier_request() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    let now = client.now;
    assert_eq!(client.session.request_inline("romeo@example.com", ALL, now), Err(NotConnectedWhy::WrongAccount));
    let (early, _) = client.ask(ALL);
    let (late, children) = client.ask(ALL);
    let Outcome::Session(at) = stage.authenticate(OWNER, &children) else { panic!() };
    let success: Element = stage.written(at)[0].parse().unwrap();
    let not = client.session.connect_inline(early.reply(&success), AFTER, 7, now).unwrap_err();
    assert_eq!((not.connection, not.why), (7, NotConnectedWhy::Outdated));
    // A request of one account, and the session of another.
    let mut romeo: Session<&str, u32> = Session::client(stage.config.clone(), "romeo@example.com");
    let _ = romeo.request_inline("romeo@example.com", ALL, now).unwrap();
    let _ = romeo.request_inline("romeo@example.com", ALL, now).unwrap();
    let _ = romeo.request_inline("romeo@example.com", ALL, now).unwrap();
    let not = romeo.connect_inline(late.reply(&success), AFTER, 8, now).unwrap_err();
    assert_eq!((not.connection, not.why), (8, NotConnectedWhy::WrongAccount));
    // All came back, and goes where it belongs.
    client.session.connect_inline(not.reply, AFTER, not.connection, now).unwrap();
    assert_eq!(client.events(), ["resumed"]);
}

/// A server's session, and one that is closed, have nothing to ask for, and stay as they are.
#[test]
fn only_a_client_that_goes_on_asks_inline() {
    let now = Instant::now();
    let mut server: Session<&str, u32> = Unbound::new(Arc::new(Config::default()), OWNER).bind(1);
    assert_eq!(server.request_inline(OWNER, ALL, now), Err(NotConnectedWhy::NotClient));
    assert!(server.poll().is_none());
    assert_eq!(server.connection(), Some(&1));

    let mut client = Client::new();
    client.authenticate(&Stage::new(Config::default()));
    client.events();
    client.session.close(EndReason::Closed, None, now);
    assert_eq!(client.session.request_inline(OWNER, ALL, now), Err(NotConnectedWhy::Over));
    assert_eq!(client.written().pop(), Some("Close".to_owned()), "its last words are not cut off");
}

/// Nothing of it was asked for.
#[test]
fn a_server_that_says_more_than_it_should_is_not_listened_to() {
    let resumed = "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='x'/>";
    let bound = "<bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/></bound>";
    let success: Element = format!("<success xmlns='urn:xmpp:sasl:2'>{resumed}{bound}</success>").parse().unwrap();
    let mut client = Client::new();
    let (request, children) = client.ask(InlineOffer::default());
    assert_eq!(children, "");
    let reply = request.reply(&success);
    assert!(!reply.is_resumed() && !reply.is_bound());
    client.session.connect_inline(reply, AFTER, 1, client.now).unwrap();
    assert_eq!(client.events(), ["bind"], "the features follow, and what is not bound is");

    // A resource was asked for, and stream management was not.
    let mut client = Client::new();
    let (request, _) = client.ask(InlineOffer { bind: true, ..InlineOffer::default() });
    client.connect(request, &String::from(&success), AFTER);
    assert!(client.written()[0].starts_with("<enable "));

    // The session goes on, and there is no other.
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, _) = client.ask(ALL);
    let success = String::from(&success).replace("'x'", "'some-long-sm-id'").replace("\"x\"", "\"some-long-sm-id\"");
    let reply = request.reply(&success.parse().unwrap());
    assert!(reply.is_resumed() && !reply.is_bound());
    client.session.connect_inline(reply, AFTER, 1, client.now).unwrap();
    assert_eq!(client.events(), ["resumed"]);
}

/// What may come first, and is no reply.
#[test]
fn other_elements_of_stream_management_hide_no_reply() {
    let stage = Stage::new(Config::default());
    let others = "<r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3'/><x xmlns='urn:xmpp:sm:3'/>";
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, _) = client.ask(ALL);
    let resumed = "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='some-long-sm-id'/>";
    client.connect(request, &format!("<success xmlns='urn:xmpp:sasl:2'>{others}{resumed}</success>"), AFTER);
    assert_eq!(client.events(), ["resumed"]);

    let mut client = Client::new();
    let (request, _) = client.ask(ALL);
    let bound = format!("<bound xmlns='urn:xmpp:bind:0'>{others}{resumed}{}</bound>", super::stage::ENABLED);
    client.connect(request, &format!("<success xmlns='urn:xmpp:sasl:2'>{bound}</success>"), AFTER);
    assert_eq!(client.events(), ["online true"]);
}

#[test]
fn an_earlier_connection_is_left() {
    let stage = Stage::new(Config::default());
    let mut client = Client::new();
    client.authenticate(&stage);
    client.events();
    let (_, children) = client.ask(ALL);
    assert_eq!(client.events(), ["left Drop"]);
    assert!(children.starts_with("<resume "));
}

/// `<resumed/>` that cannot be read: no features follow it, and the stanzas are sent in another session.
#[test]
fn a_malformed_resumed_ends_the_session() {
    let stage = Stage::new(Config::default());
    let mut client = Client::lost(&stage, &["<one/>"]);
    let (request, _) = client.ask(ALL);
    let success =
        "<success xmlns='urn:xmpp:sasl:2'><resumed xmlns='urn:xmpp:sm:3' previd='some-long-sm-id'/></success>";
    let reply = request.reply(&success.parse().unwrap());
    assert!(reply.is_resumed());
    client.session.connect_inline(reply, AFTER, 1, client.now).unwrap();
    client.written();
    client.session.lost(client.now);
    client.events();
    client.session.connect(OWNER, AFTER, 2, client.now).unwrap();
    assert_eq!(client.events(), ["bind"], "a new session");
    assert_eq!(client.session.waiting(), 1);
}
