//! One `StreamMgmt` by itself, for tests that look at the state more than at the wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Acked, Action, Config, Counter, Detached, Disconnected, Enable, Error, Inbound, Nonza, OpenReceipt, Parts, Receipt,
    Resume, ResumeRequest, SmId, Stanza, StreamMgmt,
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

/// A client's stream, bound, its `<enable/>` sent.
pub fn enabling<S: Stanza>(config: &Arc<Config>) -> StreamMgmt<S> {
    let mut stream = StreamMgmt::client(config.clone());
    stream.authenticated();
    stream.bound();
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
