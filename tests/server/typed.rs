//! The example on the types of xmpp-parsers: its client tells truly how far each stanza has come, wherever its connection is
//! cut, and its server counts what its types cannot read.

mod connection;
#[path = "../../examples/typed/mod.rs"]
mod host;
mod scripted;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use clap::Parser;
use futures::future::join_all;
use futures::{FutureExt, SinkExt, StreamExt, poll};
use host::client::{Heard, Stage, StanzaStream, Token};
use host::connect::{connect, log_in};
use host::connection::{Incoming, TypedStream};
use host::router::Router;
use jid::{FullJid, Jid};
use minidom::Element;
use tokio::sync::mpsc;
use tokio::time::{advance, pause, resume, sleep, timeout};
use tokio_xmpp::xmlstream::{FallibleStreamElement, ReadError, Timeouts, XmppStreamElement};
use xmpp_parsers::bind::BindResponse;
use xmpp_parsers::iq::Iq;
use xmpp_parsers::message::{Id, Lang, Message};
use xmpp_parsers::presence::Presence;
use xmpp_parsers::stanza::Stanza;
use xmpp_parsers::stanza_error::DefinedCondition;
use xmpp_sm::{Config, Counter, Inbound, Nonza, ToInbound};

use super::proxy::{self, Cut, Way};
use super::{TIME, all};

const MESSAGES: usize = 20;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: host::Options,
}

async fn server() -> SocketAddr {
    let options = ["typed", "--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret"];
    host::start(&Args::parse_from(options).server).await.expect("a free port").0
}

fn chat(to: &Jid, number: usize) -> Stanza {
    Stanza::Message(Message::chat(to.clone()).with_body(Lang::default(), number.to_string()))
}

/// One of two who talk.
struct Talker {
    jid: FullJid,
    stream: StanzaStream,
    received: Vec<usize>,
    resumed: usize,
    sessions: usize,
}

impl Talker {
    fn new(jid: &str, server: SocketAddr) -> Self {
        let jid: FullJid = jid.parse().expect("a full JID");
        let connect = connect(server, jid.clone(), "secret".to_owned(), |_| {});
        let stream = StanzaStream::new(Config::default(), jid.clone(), connect);
        Self { jid, stream, received: Vec::new(), resumed: 0, sessions: 0 }
    }

    async fn hear(&mut self) {
        match self.stream.next().await.expect("the stream goes on") {
            Heard::Stanza(stanza) => {
                let Stanza::Message(Message { bodies, .. }) = *stanza else { return };
                self.received.extend(bodies.values().filter_map(|body| body.parse::<usize>().ok()));
            }
            Heard::Online(jid) => {
                assert_eq!(jid, self.jid);
                self.sessions += 1;
                self.stream.send(Presence::available().into()).expect("XML can carry it");
            }
            Heard::Resumed => self.resumed += 1,
            Heard::Offline => {}
            Heard::NotResumed(h) => panic!("the session is gone, with {h:?} stanzas handled"),
            Heard::Failed(why) => panic!("{why}"),
        }
    }

    /// Says one thing after the other has said one, until all is said and heard. Returns the tokens.
    async fn talk(&mut self, to: &str) -> Vec<Token> {
        let to: Jid = to.parse().expect("a JID");
        while self.sessions == 0 {
            self.hear().await;
        }
        let mut tokens = Vec::new();
        for number in 1..=MESSAGES {
            tokens.push(self.stream.send(chat(&to, number)).expect("XML can carry it"));
            while self.received.len() < number {
                self.hear().await;
            }
        }
        tokens
    }
}

async fn reaches(token: &mut Token, stage: Stage) {
    token.wait_for(|reached| *reached == stage).await.unwrap_or_else(|_| panic!("it never was {stage:?}"));
}

async fn talk_through(cuts: &[Cut]) {
    let server = server().await;
    let (report, mut done) = mpsc::unbounded_channel();
    let through = proxy::start(server, cuts.iter().copied(), move |made| report.send(made).unwrap_or_default());
    let mut romeo = Talker::new("romeo@localhost/orchard", through.await.expect("a free port"));
    let mut juliet = Talker::new("juliet@localhost/balcony", server);
    let talk = async {
        // To a bare JID and to a full one.
        let (mut his, mut hers) = tokio::join!(romeo.talk("juliet@localhost"), juliet.talk("romeo@localhost/orchard"));
        let all = join_all(his.iter_mut().chain(&mut hers).map(|token| reaches(token, Stage::Acknowledged)));
        // Romeo may have to come back once more for it.
        tokio::select! {
            _ = all => {}
            () = async { loop { romeo.hear().await } } => {}
        }
    };
    let finished = timeout(TIME, talk).await;
    assert_eq!((&romeo.received, &juliet.received), (&all(MESSAGES), &all(MESSAGES)), "{cuts:?}");
    finished.expect("every token is acknowledged");
    assert_eq!((romeo.sessions, juliet.sessions, juliet.resumed), (1, 1, 0), "{cuts:?}");
    for cut in cuts {
        assert_eq!(done.try_recv().map(|done| done.cut), Ok(*cut), "a cut was not made");
    }
    romeo.stream.close().await;
    juliet.stream.close().await;
}

const BOTH: [Way; 2] = [Way::ToServer, Way::ToClient];

#[tokio::test]
async fn every_stanza_arrives_once_and_its_token_says_so() {
    let cut = |way, what, nth, keep| Cut { way, what, nth, keep };
    let each = BOTH.into_iter().flat_map(|way| {
        [
            cut(way, "<message", 7, 40),
            cut(way, "</message>", 6, "</message>".len()),
            cut(way, "<a xmlns", 3, 10),
            cut(way, "<r xmlns", 4, "<r xmlns='urn:xmpp:sm:3'></r>".len()),
        ]
    });
    join_all(each.map(|cut| async move { talk_through(&[cut]).await })).await;
}

#[tokio::test]
async fn a_resume_that_is_cut_is_tried_again() {
    let first = |way| Cut { way, what: "</message>", nth: 7, keep: 2 };
    let pairs = [
        [first(Way::ToServer), Cut { way: Way::ToClient, what: "<resumed", nth: 1, keep: 5 }],
        [first(Way::ToClient), Cut { way: Way::ToServer, what: "<resume ", nth: 1, keep: 5 }],
        [first(Way::ToClient), Cut { way: Way::ToClient, what: "<message", nth: 1, keep: 30 }],
    ];
    join_all(pairs.iter().map(|cuts| talk_through(cuts))).await;
}

#[tokio::test]
async fn what_was_never_sent_is_lost_when_the_stream_is_closed() {
    // Nobody listens there.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let romeo = Talker::new("romeo@localhost/orchard", nowhere);
    let mut token = romeo.stream.send(chat(&"juliet@localhost".parse().unwrap(), 1)).unwrap();
    assert_eq!(*token.borrow(), Stage::Queued);
    timeout(TIME, romeo.stream.close()).await.expect("it is closed");
    reaches(&mut token, Stage::Lost).await;
}

#[tokio::test]
async fn what_xml_cannot_carry_is_refused_and_the_rest_arrives() {
    let server = server().await;
    let mut romeo = Talker::new("romeo@localhost/orchard", server);
    let me: Jid = "romeo@localhost".parse().unwrap();
    let talk = async {
        romeo.hear().await;
        let unwritable = Message::chat(me.clone()).with_body(Lang::default(), "\0".to_owned());
        assert!(romeo.stream.send(Stanza::Message(unwritable)).is_err());
        let mut token = romeo.stream.send(chat(&me, 1)).unwrap();
        reaches(&mut token, Stage::Acknowledged).await;
        romeo.hear().await;
        assert_eq!(romeo.received, [1]);
    };
    timeout(TIME, talk).await.expect("it arrives");
}

/// A client that writes what it likes.
struct Raw(TypedStream);

impl Raw {
    async fn log_in(server: SocketAddr) -> Self {
        let jid = "juliet@localhost/raw".parse().unwrap();
        Self(log_in(server, &jid, "secret").await.expect("she has an account").1)
    }

    async fn write(&mut self, xml: &str) {
        let element: Element = xml.parse().expect(xml);
        self.0.send(&element).await.expect("the server reads");
    }

    async fn read(&mut self) -> Incoming {
        timeout(TIME, self.0.next()).await.expect("the server answers").expect("an element").expect("no error")
    }

    async fn nonza(&mut self) -> Nonza {
        match self.read().await.to_inbound("jabber:client") {
            Inbound::Nonza(nonza) => nonza,
            other => panic!("{other:?}"),
        }
    }

    async fn iq(&mut self) -> Iq {
        match self.read().await.content {
            Ok(FallibleStreamElement::Ok(XmppStreamElement::Stanza(Stanza::Iq(iq)))) => iq,
            other => panic!("{other:?}"),
        }
    }

    /// The next message that has an id.
    async fn message(&mut self) -> Message {
        loop {
            if let Ok(FallibleStreamElement::Ok(XmppStreamElement::Stanza(Stanza::Message(message)))) =
                self.read().await.content
                && message.id.is_some()
            {
                return message;
            }
        }
    }
}

fn bind(resource: &str) -> String {
    format!(
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>{resource}</resource></bind></iq>"
    )
}

/// Bound, with a session that can be resumed under this SM-ID.
async fn enabled(server: SocketAddr) -> (Raw, FullJid, String) {
    let mut raw = Raw::log_in(server).await;
    raw.write("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        .await;
    let Iq::Result { payload: Some(bound), .. } = raw.iq().await else { panic!("nothing is bound") };
    let jid = BindResponse::try_from(bound).expect("a JID").into();
    raw.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
    let Nonza::Enabled(enabled) = raw.nonza().await else { panic!("it is not on") };
    (raw, jid, enabled.id.expect("an SM-ID").as_str().to_owned())
}

/// What is for the user goes to the session whose client is there; what is for the other one waits, and has its time.
#[tokio::test]
async fn a_client_that_is_away_gets_what_is_its_own_and_later() {
    const SOON: Duration = Duration::from_millis(200);
    let server = server().await;
    let (mut here, ..) = enabled(server).await;
    let (mut away, jid, id) = enabled(server).await;
    for raw in [&mut here, &mut away] {
        raw.write("<presence xmlns='jabber:client'/>").await;
        raw.write("<r xmlns='urn:xmpp:sm:3'/>").await;
        assert_eq!(raw.nonza().await, Nonza::Ack(Counter::new(1)));
    }
    drop(away);
    // The server may learn of it a little later.
    let talk = async {
        loop {
            here.write("<message xmlns='jabber:client' to='juliet@localhost'><body>1</body></message>").await;
            if let Ok(Some(Ok(element))) = timeout(SOON, here.0.next()).await
                && let Ok(FallibleStreamElement::Ok(XmppStreamElement::Stanza(Stanza::Message(_)))) = element.content
            {
                break;
            }
        }
    };
    timeout(TIME, talk).await.expect("it comes to the client that is there");
    here.write(&format!("<message xmlns='jabber:client' to='{jid}' id='own'/>")).await;
    here.write("<r xmlns='urn:xmpp:sm:3'/>").await;
    while !matches!(here.read().await.to_inbound("jabber:client"), Inbound::Nonza(Nonza::Ack(_))) {}

    // Only then is it late.
    sleep(Duration::from_secs(1) + SOON).await;
    let mut away = Raw::log_in(server).await;
    away.write(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")).await;
    assert!(matches!(away.nonza().await, Nonza::Resumed(_)));
    let message = away.message().await;
    assert!(message.payloads.iter().any(|payload| payload.is("delay", "urn:xmpp:delay")), "{message:?}");
}

/// An account has ten sessions. The first one's client learns that it is over.
#[tokio::test]
async fn the_oldest_session_makes_room() {
    let server = server().await;
    let (mut first, ..) = enabled(server).await;
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(enabled(server).await);
    }
    while first.read().await.to_inbound("jabber:client") != (Inbound::StreamError { conflict: true }) {}
}

/// `Raw` is silent for longer than the server waits for.
#[tokio::test]
async fn a_client_that_is_silent_is_asked() {
    let (mut raw, ..) = enabled(server().await).await;
    pause();
    advance(Timeouts::default().read_timeout * 2).await;
    resume();
    let asked = loop {
        match timeout(TIME, raw.0.next()).await.expect("the server says something").expect("the stream goes on") {
            Err(ReadError::SoftTimeout) => {} // the server was silent for as long
            element => break element.expect("no error").to_inbound("jabber:client"),
        }
    };
    assert_eq!(asked, Inbound::Nonza(Nonza::AckRequest));
}

/// All in one moment: its resource is wanted by another, it gets a message, and its client asks for it.
#[tokio::test]
async fn what_is_on_its_way_to_a_session_that_ends_is_not_lost() {
    let server = server().await;
    let (away, jid, id) = enabled(server).await;
    let mut other = Raw::log_in(server).await;
    let (mut sender, ..) = enabled(server).await;
    let mut back = Raw::log_in(server).await;
    drop(away);
    // The server learns of it.
    sleep(Duration::from_millis(200)).await;

    // There is one thread, and nothing here lets the server go on.
    other.write(&bind(jid.resource().as_str())).await;
    sender.write(&format!("<message xmlns='jabber:client' to='{jid}' id='late'><body>1</body></message>")).await;
    back.write(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")).await;

    let Nonza::Failed(_) = back.nonza().await else { panic!("the session is over") };
    back.write(&bind("back")).await;
    assert!(matches!(back.iq().await, Iq::Result { .. }), "its login goes on");
    assert!(matches!(other.iq().await, Iq::Result { .. }));
    other.write("<presence xmlns='jabber:client'/>").await;
    assert_eq!(other.message().await.id, Some(Id("late".to_owned())));
}

/// Two connections wait for a session to end, and the older of them is the last to hear that it has.
#[tokio::test]
async fn of_those_that_wait_for_a_resource_the_newest_has_it() {
    let (router, jid) = (Router::default(), "juliet@localhost/balcony".parse().unwrap());
    let (former, its_mail) = mpsc::unbounded_channel();
    router.bind(&jid, &former).await.expect("it is free");
    let [(older, _older), (newest, mut its_mailbox)] = [mpsc::unbounded_channel(), mpsc::unbounded_channel()];
    let (mut older, mut newest) = (pin!(router.bind(&jid, &older)), pin!(router.bind(&jid, &newest)));
    assert!(poll!(&mut older).is_pending() && poll!(&mut newest).is_pending());
    drop(its_mail);
    assert!(matches!(newest.now_or_never(), Some(Ok(()))));
    assert!(matches!(older.now_or_never(), Some(Err(_))), "the newest has it");
    assert!(its_mailbox.try_recv().is_err(), "it is not told to end");
}

/// Its types read none of this: `enable` by xmpp-parsers neither.
#[tokio::test]
async fn what_its_types_cannot_read_counts() {
    let mut raw = Raw::log_in(server().await).await;
    raw.write("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        .await;
    assert_eq!(raw.iq().await.id(), "b");
    raw.write("<enable xmlns='urn:xmpp:sm:3' resume=' true ' max='99999999999'/>").await;
    let Nonza::Enabled(enabled) = raw.nonza().await else { panic!() };
    assert!(enabled.resume && enabled.id.is_some(), "{enabled:?}");

    raw.write("<presence xmlns='jabber:client' type='nonsense'/>").await;
    raw.write("<inactive xmlns='urn:xmpp:csi:0'/>").await;
    raw.write("<message xmlns='jabber:client' to='@'/>").await;
    raw.write("<iq xmlns='jabber:client' type='get' id='1'/>").await;
    let Iq::Error { id, error, .. } = raw.iq().await else { panic!() };
    assert_eq!((&*id, error.defined_condition), ("1", DefinedCondition::BadRequest));
    assert_eq!(raw.nonza().await, Nonza::AckRequest);
    raw.write("<a xmlns='urn:xmpp:sm:3' h=' 1 '/>").await;
    raw.write("<r xmlns='urn:xmpp:sm:3'/>").await;
    assert_eq!(raw.nonza().await, Nonza::Ack(Counter::new(3)));

    // What is malformed ends the stream, as it does for every host, with a last acknowledgement before it.
    raw.write("<a xmlns='urn:xmpp:sm:3' h='-1'/>").await;
    assert_eq!(raw.nonza().await, Nonza::Ack(Counter::new(3)));
    let ended = raw.read().await;
    assert_eq!(ended.to_inbound("jabber:client"), Inbound::StreamError { conflict: false });
    let Ok(FallibleStreamElement::Ok(XmppStreamElement::StreamError(error))) = ended.content else { panic!() };
    assert!(error.to_string().contains("policy-violation"), "{error}");
}
