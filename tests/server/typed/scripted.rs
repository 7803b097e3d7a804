//! The client, before a server that says what its test says; there is no network.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::vec;

use futures::{FutureExt, SinkExt};
use minidom::rxml::NcName;
use tokio::io::{BufReader, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::yield_now;
use tokio_xmpp::connect::AsyncReadAndWrite;
use tokio_xmpp::error::AuthError;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, accept_stream, initiate_stream};
use xmpp_parsers::sasl::DefinedCondition;
use xmpp_parsers::sm::StreamManagement;
use xmpp_parsers::stream_features::StreamFeatures;
use xmpp_sm::typed::xso::{self, AsXml, Item};

use super::host::client::{Connect, Failure, NotSent};
use super::*;

const BOUND: &str = "<iq xmlns='jabber:client' type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                     <jid>romeo@localhost/there</jid></bind></iq>";
const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>";

/// Little enough for what is not read to be seen.
const PIPE: usize = 1024;

fn boxed(io: DuplexStream) -> Box<dyn AsyncReadAndWrite + Send> {
    Box::new(BufReader::with_capacity(PIPE, io))
}

/// Both ends of a stream on which the client has authenticated. The client waits for so long.
pub async fn connected(features: &StreamFeatures, timeouts: Timeouts) -> ((StreamFeatures, TypedStream), Raw) {
    let (ours, theirs) = duplex(PIPE);
    let header = || StreamHeader { from: None, to: None, id: Some("s".into()) };
    let served = async {
        let stream = accept_stream(boxed(theirs), "jabber:client", Timeouts::default()).await?;
        stream.send_header(header()).await?.send_features(features).await
    };
    let opened = initiate_stream(boxed(ours), "jabber:client", header(), timeouts);
    let opened = async { opened.await.expect("a header").recv_features().await };
    let (served, opened) = tokio::join!(served, opened);
    (opened.expect("features"), Raw(served.expect("a header")))
}

/// A client, and the server's ends of its connections.
fn start(has_stream_management: bool) -> (StanzaStream, UnboundedReceiver<Raw>) {
    start_with(has_stream_management, Timeouts::default())
}

fn start_with(has_stream_management: bool, timeouts: Timeouts) -> (StanzaStream, UnboundedReceiver<Raw>) {
    let (ends, accepted) = unbounded_channel();
    let connect: Connect = Box::new(move || {
        let ends = ends.clone();
        let connected = async move {
            let sm = has_stream_management.then_some(StreamManagement { optional: false });
            let features = StreamFeatures { stream_management: sm, ..StreamFeatures::default() };
            let (opened, raw) = connected(&features, timeouts).await;
            let _ = ends.send(raw);
            Ok(opened)
        };
        connected.boxed()
    });
    (StanzaStream::new(Config::default(), "romeo@localhost/orchard".parse().expect("a full JID"), connect), accepted)
}

/// The client asks for its resource.
async fn accept(accepted: &mut UnboundedReceiver<Raw>) -> Raw {
    let mut raw = timeout(TIME, accepted.recv()).await.expect("a client that comes").expect("a client");
    let Iq::Set { id, .. } = raw.iq().await else { panic!("no request") };
    assert_eq!(id, "bind");
    raw
}

async fn hear(stream: &mut StanzaStream) -> Heard {
    timeout(TIME, stream.next()).await.expect("something is heard").expect("the stream goes on")
}

/// It says why it ends, and its tokens say what becomes of the stanzas.
async fn ends(mut stream: StanzaStream, mut token: Token) -> Failure {
    let failure = loop {
        if let Heard::Failed(failure) = hear(&mut stream).await {
            break failure;
        }
    };
    while timeout(TIME, stream.next()).await.expect("the stream ends").is_some() {}
    reaches(&mut token, Stage::Lost).await;
    let late = stream.send(chat(&"juliet@localhost".parse().unwrap(), 2)).expect("XML can carry it");
    assert_eq!(*late.borrow(), Stage::Lost);
    failure
}

fn body(stanza: Stanza) -> String {
    let Stanza::Message(message) = stanza else { panic!("{stanza:?}") };
    message.bodies.into_values().next().expect("a body")
}

fn token(stream: &StanzaStream) -> Token {
    stream.send(chat(&"juliet@localhost".parse().unwrap(), 1)).expect("XML can carry it")
}

#[tokio::test]
async fn an_iq_with_the_id_of_the_request_to_bind_is_any_iq_once_a_resource_is_bound() {
    let (mut stream, mut accepted) = start(false);
    let mut raw = accept(&mut accepted).await;
    // Neither an error of another id nor a request of this one is the answer.
    raw.write("<iq xmlns='jabber:client' type='get' id='bind'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    assert!(matches!(hear(&mut stream).await, Heard::Stanza(_)));
    raw.write(BOUND).await;
    let Heard::Online(jid) = hear(&mut stream).await else { panic!("a resource is bound") };
    assert_eq!(jid.as_str(), "romeo@localhost/there");
    raw.write(&BOUND.replace("there", "elsewhere")).await;
    let Heard::Stanza(stanza) = hear(&mut stream).await else { panic!("it is the user's") };
    assert!(matches!(*stanza, Stanza::Iq(Iq::Result { id, .. }) if id == "bind"));
    raw.write(
        "<iq xmlns='jabber:client' type='error' id='bind'><error type='cancel'><conflict \
               xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
    )
    .await;
    assert!(matches!(hear(&mut stream).await, Heard::Stanza(_)));
}

#[tokio::test]
async fn a_resource_that_is_not_bound_ends_the_stream_with_the_reason() {
    let (stream, mut accepted) = start(true);
    let token = token(&stream);
    let mut raw = accept(&mut accepted).await;
    raw.write(
        "<iq xmlns='jabber:client' type='error' id='bind'><error type='cancel'><not-allowed \
               xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
    )
    .await;
    let failure = ends(stream, token).await;
    assert_eq!(failure.to_string(), "the server binds no resource: NotAllowed");

    let (stream, mut accepted) = start(true);
    let token = self::token(&stream);
    accept(&mut accepted).await.write("<iq xmlns='jabber:client' type='result' id='bind'/>").await;
    assert!(matches!(ends(stream, token).await, Failure::Bind(_)), "nor by an answer that names none");
}

#[tokio::test]
async fn a_conflict_ends_the_stream() {
    let (stream, mut accepted) = start(true);
    let token = token(&stream);
    let mut raw = accept(&mut accepted).await;
    raw.write(BOUND).await;
    assert!(matches!(raw.nonza().await, Nonza::Enable(_)));
    raw.write(ENABLED).await;
    raw.write(
        "<stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict \
               xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
    )
    .await;
    assert!(matches!(ends(stream, token).await, Failure::Conflict));
}

/// A message that is deeper than anybody reads.
struct Deep;

impl AsXml for Deep {
    type ItemIter<'x> = vec::IntoIter<Result<Item<'x>, xso::error::Error>>;

    fn as_xml_iter(&self) -> Result<Self::ItemIter<'_>, xso::error::Error> {
        let name = |number| if number == 0 { "message" } else { "a" };
        let head = |number| {
            let name = NcName::try_from(name(number)).expect("a name");
            [Item::ElementHeadStart("jabber:client".into(), name.into()), Item::ElementHeadEnd]
        };
        let items = (0..1100).flat_map(head).chain((0..1100).map(|_| Item::ElementFoot));
        Ok(items.map(Ok).collect::<Vec<_>>().into_iter())
    }
}

/// A resumed session would get the same message again, and so on without end.
#[tokio::test]
async fn what_cannot_be_read_ends_the_session_and_not_only_the_connection() {
    let (_stream, mut accepted) = start(true);
    let mut raw = accept(&mut accepted).await;
    raw.write(BOUND).await;
    assert!(matches!(raw.nonza().await, Nonza::Enable(_)));
    raw.write(ENABLED).await;
    // Not all of it is read.
    let (_, mut raw) = tokio::join!(raw.0.send(&Deep), accept(&mut accepted));
    raw.write(BOUND).await;
    assert!(matches!(raw.nonza().await, Nonza::Enable(_)));
}

/// Before tokio-xmpp takes the connection for lost.
#[tokio::test]
async fn a_server_that_is_silent_is_asked() {
    let timeouts = Timeouts { read_timeout: Duration::from_millis(100), response_timeout: TIME };
    let (_stream, mut accepted) = start_with(true, timeouts);
    let mut raw = accept(&mut accepted).await;
    raw.write(BOUND).await;
    assert!(matches!(raw.nonza().await, Nonza::Enable(_)));
    raw.write(ENABLED).await;
    assert_eq!(raw.nonza().await, Nonza::AckRequest);
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again() {
    let server = server().await;
    let jid: FullJid = "romeo@localhost/orchard".parse().unwrap();
    let connect = connect(server, jid.clone(), "wrong".to_owned(), |error| panic!("it is tried again: {error}"));
    let stream = StanzaStream::new(Config::default(), jid, connect);
    let token = token(&stream);
    let failure = ends(stream, token).await;
    assert!(matches!(failure, Failure::Login(AuthError::Fail(DefinedCondition::NotAuthorized))), "{failure}");
}

#[tokio::test]
async fn without_stream_management_a_token_ends_when_the_stanza_is_sent() {
    let (stream, mut accepted) = start(false);
    let mut token = token(&stream);
    accept(&mut accepted).await.write(BOUND).await;
    reaches(&mut token, Stage::Sent).await;
    timeout(TIME, token.changed()).await.expect("it ends").expect_err("nothing more is known");
    assert_eq!(*token.borrow(), Stage::Sent);
}

#[tokio::test]
async fn what_the_user_does_not_hear_is_not_read() {
    const COUNT: usize = 500;
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let (mut stream, mut accepted) = start(false);
    let mut raw = accept(&mut accepted).await;
    raw.write(BOUND).await;
    let writer = tokio::spawn(async move {
        for number in 1..=COUNT {
            let message = chat(&"romeo@localhost".parse().unwrap(), number);
            raw.0.send(&message).await.expect("the client reads");
            WRITTEN.store(number, Ordering::Relaxed);
        }
        raw
    });
    // All of this is in one thread, and nothing in it waits for anything else.
    for _ in 0..10 * COUNT {
        yield_now().await;
    }
    let written = WRITTEN.load(Ordering::Relaxed);
    assert!((40..150).contains(&written), "{written}");
    assert!(matches!(hear(&mut stream).await, Heard::Online(_)));
    for number in 1..=COUNT {
        let Heard::Stanza(stanza) = hear(&mut stream).await else { panic!("it is read then") };
        assert_eq!(body(*stanza), number.to_string());
    }
    drop(writer.await.expect("all is written"));
}

#[tokio::test]
async fn a_stanza_for_which_there_is_no_room_comes_back() {
    let (stream, _accepted) = start(true);
    let to: Jid = "juliet@localhost".parse().unwrap();
    let sent: Vec<_> = (1..).map(|number| stream.send(chat(&to, number))).take_while(Result::is_ok).collect();
    assert_eq!(sent.len(), 256);
    let Err(NotSent::Full(back)) = stream.send(chat(&to, 257)) else { panic!("there is room") };
    assert_eq!(body(*back), "257");
    // The session takes them, and there is room again.
    for _ in 0..1000 {
        yield_now().await;
    }
    stream.send(chat(&to, 257)).expect("there is room");
}
