//! One `StreamMgmt` by itself, for tests that look at the state more than at the wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Acked, Action, Config, Counter, Detached, Disconnected, Enable, Error, Inbound, Nonza, NotResumed, NotResumedWhy,
    OpenReceipt, Parts, Receipt, Resume, ResumeRequest, Resumed, Resumption, SmId, Stanza, StreamMgmt,
};

/// The SM-ID of every session here.
pub fn smid() -> SmId {
    SmId::new("sm").unwrap()
}

/// An element of stream management, by what stands between `<` and `/>`.
pub fn element(text: &str) -> Inbound {
    let (name, attributes) = text.split_once(' ').unwrap_or((text, ""));
    let element = format!("<{name} xmlns='urn:xmpp:sm:3' {attributes}/>").parse().unwrap();
    Inbound::from_element(&element, "jabber:client")
}

/// A server's stream, with a resource bound.
pub fn bound<S: Stanza>(config: &Arc<Config>) -> StreamMgmt<S> {
    let mut stream = authenticated(config);
    stream.bound();
    stream
}

/// A server's stream that waits for `<resume/>`.
pub fn authenticated<S: Stanza>(config: &Arc<Config>) -> StreamMgmt<S> {
    let mut stream = StreamMgmt::server(config.clone());
    stream.authenticated();
    stream
}

/// A server's stream, enabled and resumable if the options allow that.
pub fn enabled<S: Stanza>(config: &Arc<Config>, now: Instant) -> StreamMgmt<S> {
    let mut stream = bound(config);
    let enable = Inbound::Nonza(Nonza::Enable(Enable { resume: true, max: None }));
    let Ok(Action::Enable(request)) = stream.handle(enable, now) else { panic!("it may be enabled") };
    let _ = stream.accept_enable(request, Some(smid())).unwrap();
    stream
}

/// A client's stream, with a resource bound.
pub fn client<S: Stanza>(config: &Arc<Config>) -> StreamMgmt<S> {
    let mut stream = StreamMgmt::client(config.clone());
    stream.authenticated();
    stream.bound();
    stream
}

/// A server's stream in the middle of its life: three handled, five sent at different times, two acknowledged.
pub fn midway(config: &Arc<Config>, now: Instant) -> StreamMgmt<String> {
    let mut stream = enabled(config, now);
    for _ in 0..3 {
        let receipt = deliver(&mut stream, now);
        stream.record_handled(receipt).unwrap();
    }
    for n in 1..=5 {
        let _ = stream.record_sent(format!("m{n}"), now + Duration::from_secs(n)).unwrap();
    }
    ack(&mut stream, 2, now + Duration::from_secs(6)).unwrap();
    stream
}

/// Such a stream, lost.
pub fn interrupted(config: &Arc<Config>, now: Instant) -> Detached<String> {
    detach(midway(config, now), now + Duration::from_secs(10))
}

/// A client comes back, and its server lets it.
pub fn comes_back(config: &Arc<Config>, session: Detached<String>, now: Instant) -> StreamMgmt<String> {
    let h = session.acked();
    let (mut client, _) = StreamMgmt::resume(config.clone(), session).unwrap();
    let resumed = Nonza::Resumed(Resumed { previd: smid(), h });
    assert!(matches!(client.handle(resumed.into(), now), Ok(Action::Resumed(_))));
    client
}

/// Receipts are open: the request and the session come back.
pub fn not_yet(resumed: Result<Resumption, NotResumed<String>>) -> (ResumeRequest, Detached<String>) {
    let NotResumed { session, why } = resumed.unwrap_err();
    let NotResumedWhy::ReceiptsOpen(request) = why else { panic!("receipts are open: {why}") };
    (request, session)
}

/// An element of stream management or a stanza, as wire text without its namespace.
pub fn read(xml: &str) -> Inbound {
    let (name, rest) = xml.split_at(xml.find([' ', '/', '>']).expect("an element"));
    let ns = if matches!(name, "<message" | "<presence" | "<iq") { "jabber:client" } else { xmpp_sm::NS };
    let element = format!("{name} xmlns='{ns}'{rest}").parse().expect("well-formed");
    Inbound::from_element(&element, "jabber:client")
}

/// Such an element arrives.
pub fn feed<S: Stanza>(stream: &mut StreamMgmt<S>, xml: &str, now: Instant) -> Result<Action<S>, Error> {
    stream.handle(read(xml), now)
}

/// A server is asked with this `<enable/>`, and grants it; gives what it writes.
pub fn grant<S: Stanza>(stream: &mut StreamMgmt<S>, enable: &str, smid: Option<&str>) -> String {
    let Ok(Action::Enable(request)) = feed(stream, enable, Instant::now()) else { panic!("not an <enable/>") };
    let smid = smid.map(|smid| SmId::new(smid).expect("valid"));
    stream.accept_enable(request, smid).expect("its own request").to_string()
}

/// A client's stream, bound, its `<enable/>` sent.
pub fn enabling<S: Stanza>(config: &Arc<Config>) -> StreamMgmt<S> {
    let mut stream = client(config);
    let _ = stream.enable().unwrap();
    stream
}

/// A session that has come so far in both directions, with all acknowledged.
pub fn session_at<S: Stanza>(config: &Arc<Config>, h: u32, acked: u32, deadline: Instant) -> Detached<S> {
    let parts = Parts {
        smid: smid(),
        deadline: Some(deadline),
        resume_timeout: Some(Duration::from_secs(600)),
        h: h.into(),
        acked: acked.into(),
        unacked: Vec::new(),
    };
    Detached::from_parts(config.clone(), parts).unwrap_or_else(|_| panic!("few stanzas"))
}

/// A stream on which a session goes on that has come so far in both directions.
pub fn resumed_at<S: Stanza>(config: &Arc<Config>, h: u32, acked: u32, now: Instant) -> StreamMgmt<S> {
    let (mut stream, request) = resuming(config, acked, now);
    let session = session_at(config, h, acked, now + Duration::from_secs(600));
    let _ = stream.accept_resume(request, session, now).unwrap_or_else(|_| panic!("it may be resumed"));
    stream
}

/// A server's stream with a `<resume/>` of the peer on it.
pub fn resuming<S: Stanza>(config: &Arc<Config>, h: u32, now: Instant) -> (StreamMgmt<S>, ResumeRequest) {
    let mut stream = authenticated(config);
    let request = ask_to_resume(&mut stream, h, now);
    (stream, request)
}

pub fn ask_to_resume<S: Stanza>(stream: &mut StreamMgmt<S>, h: u32, now: Instant) -> ResumeRequest {
    let resume = Inbound::Nonza(Nonza::Resume(Resume { previd: smid(), h: h.into() }));
    match stream.handle(resume, now) {
        Ok(Action::Resume(request)) => request,
        _ => panic!("it may be resumed"),
    }
}

/// The connection is lost, and the session waits.
pub fn detach<S: Stanza>(stream: StreamMgmt<S>, now: Instant) -> Detached<S> {
    match stream.disconnect(now) {
        Disconnected::Resumable(session) => session,
        Disconnected::Ended(_) => panic!("it is resumable"),
    }
}

/// An `<a/>` arrives.
pub fn ack<S: Stanza>(stream: &mut StreamMgmt<S>, h: u32, now: Instant) -> Result<Acked, Error> {
    match stream.handle(Inbound::Nonza(Nonza::Ack(h.into())), now)? {
        Action::Acknowledged(acked) => Ok(acked),
        _ => panic!("an <a/> acknowledges"),
    }
}

/// A stanza arrives.
pub fn deliver<S: Stanza>(stream: &mut StreamMgmt<S>, now: Instant) -> Receipt {
    match stream.handle(Inbound::Stanza { bytes: 1 }, now) {
        Ok(Action::Deliver(receipt)) => receipt,
        _ => panic!("a stanza is delivered"),
    }
}

/// An `<r/>` arrives: the h of the answer.
pub fn answer<S: Stanza>(stream: &mut StreamMgmt<S>, now: Instant) -> Counter {
    match stream.handle(Inbound::Nonza(Nonza::AckRequest), now) {
        Ok(Action::Write(Nonza::Ack(h))) => h,
        _ => panic!("an <r/> is answered"),
    }
}

/// All that anybody can see of a session.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub smid: Option<SmId>,
    pub h: Counter,
    pub sent: Counter,
    pub acked: Counter,
    pub unacked: Vec<(u32, String, Instant)>,
    pub open_receipts: usize,
    pub oldest_open: Option<OpenReceipt>,
    /// When the session expires, or something is due on its stream.
    pub due: Option<Instant>,
    pub is_resumable: bool,
}

impl From<&Detached<String>> for Seen {
    fn from(session: &Detached<String>) -> Self {
        Self {
            smid: Some(session.smid().clone()),
            h: session.h(),
            sent: session.sent(),
            acked: session.acked(),
            unacked: session.unacked().map(|q| (q.number.get(), q.stanza.clone(), q.queued)).collect(),
            open_receipts: session.open_receipts(),
            oldest_open: session.oldest_open(),
            due: session.deadline(),
            is_resumable: true,
        }
    }
}

impl From<&StreamMgmt<String>> for Seen {
    fn from(stream: &StreamMgmt<String>) -> Self {
        Self {
            smid: stream.smid().cloned(),
            h: stream.h(),
            sent: stream.sent(),
            acked: stream.acked(),
            unacked: stream.unacked().map(|q| (q.number.get(), q.stanza.clone(), q.queued)).collect(),
            open_receipts: stream.open_receipts(),
            oldest_open: stream.oldest_open(),
            due: stream.poll_timeout(),
            is_resumable: stream.is_resumable(),
        }
    }
}
