//! Any text as what arrives on a stream, in every phase of both roles: it is sorted as the schema says, what
//! is refused changes nothing, every answer is short and well-formed, and the counts stay right.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libfuzzer_sys::{Corpus, fuzz_target};
use minidom::Element;
use xmpp_sm::{
    Action, Config, Counter, Detached, Disconnected, Enable, Enabled, EndReason, Error, Inbound, Nonza, NotResumed,
    NotResumedWhy, Parts, Reaction, Refusal, Resume, SmId, StreamMgmt,
};
use xmpp_sm_fuzz::{CLIENT, schema, written};

type Stream = StreamMgmt<&'static str>;

static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

const STANZA: &str = "<message/>";

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // What is no XML is the business of the host's parser.
    let Some(elements) = std::str::from_utf8(bytes).ok().and_then(written::read) else { return Corpus::Reject };
    let arrived: Vec<Inbound> = elements.iter().map(sorted).collect();
    for stream in phases() {
        receive(stream, &arrived);
    }
    for stream in phases() {
        close(stream, &arrived);
    }
    Corpus::Keep
});

/// Sorts an element, and looks after it that this is right.
fn sorted(element: &Element) -> Inbound {
    let inbound = Inbound::from_element(element, CLIENT);
    let plain = element.attrs().iter().filter(|((ns, _), _)| ns.is_none());
    let attrs: Vec<_> = plain.map(|((_, name), value)| (name.as_str(), value.as_str())).collect();
    let stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";
    let child = element.children().find(|child| child.ns() == stanzas && child.name() != "text").map(Element::name);
    schema::check(&inbound, element.name(), &element.ns(), &attrs, child);
    inbound
}

fn config() -> Arc<Config> {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(Arc::default);
    CONFIG.clone()
}

fn smid() -> SmId {
    SmId::new("sm-1").expect("a text")
}

/// A session that is about to count past 2^32 in both directions.
fn detached() -> Detached<&'static str> {
    let (h, acked) = (Counter::new(u32::MAX - 1), Counter::new(u32::MAX - 1));
    let unacked = vec![(STANZA, *NOW); 3];
    let parts = Parts { smid: smid(), deadline: None, resume_timeout: None, h, acked, unacked };
    Detached::from_parts(config(), parts).expect("there is room")
}

/// A stream in each phase of each role.
fn phases() -> Vec<Stream> {
    let with = |mut stream: Stream, step: fn(&mut Stream)| {
        step(&mut stream);
        stream
    };
    let server = |step| with(Stream::server(config()), step);
    let client = |step| with(Stream::client(config()), step);
    let resume = || Inbound::Nonza(Nonza::Resume(Resume { previd: smid(), h: Counter::new(u32::MAX) }));
    let mut resumed = server(Stream::authenticated);
    let Ok(Action::Resume(request)) = resumed.handle(resume(), *NOW) else { panic!("<resume/> may come") };
    assert!(resumed.accept_resume(request, detached(), *NOW).is_ok());
    assert_eq!(resumed.unacked().len(), 2);
    let mut resume_pending = server(Stream::authenticated);
    assert!(matches!(resume_pending.handle(resume(), *NOW), Ok(Action::Resume(_))));
    let mut enable_pending = server(Stream::bound);
    let enable = Inbound::Nonza(Nonza::Enable(Enable::default()));
    assert!(matches!(enable_pending.handle(enable, *NOW), Ok(Action::Enable(_))));
    let enabling = |stream: &mut Stream| {
        stream.bound();
        assert!(stream.enable().is_ok() && stream.record_sent(STANZA, *NOW).is_ok());
    };
    let enabled = |stream: &mut Stream| {
        let enabled = Nonza::Enabled(Enabled { id: Some(smid()), resume: true, ..Enabled::default() });
        assert!(matches!(stream.handle(Inbound::Nonza(enabled), *NOW), Ok(Action::Enabled(_))));
    };
    let (resuming, _) = Stream::resume(config(), detached()).expect("no receipt is open");
    vec![
        Stream::disabled(config()),
        server(|_| {}),
        server(Stream::authenticated),
        server(Stream::authenticated_without_bind),
        server(Stream::bound),
        enable_pending,
        resume_pending,
        resumed,
        client(|_| {}),
        client(Stream::authenticated),
        client(Stream::bound),
        client(enabling),
        with(client(enabling), enabled),
        resuming,
    ]
}

/// Everything that can be seen of a state.
fn look(stream: &Stream) -> (String, Option<SmId>) {
    (format!("{stream:?}"), stream.smid().cloned())
}

/// Does what a host does, and sends a stanza after each that arrives.
fn receive(mut stream: Stream, arrived: &[Inbound]) {
    for inbound in arrived {
        let before = look(&stream);
        let (h, sent, acked, queued) = (stream.h(), stream.sent(), stream.acked(), stream.unacked().len());
        match stream.handle(inbound.clone(), *NOW) {
            Err(error) => {
                assert_eq!(look(&stream), before, "{inbound:?} is refused: {error}");
                match error.reaction() {
                    Reaction::Nothing => {}
                    Reaction::Later => assert_eq!(error, Error::RequestPending),
                    Reaction::Write(nonza) => check_answer(&nonza),
                    Reaction::Close(last) => {
                        written::check_last(&last);
                        let left = stream.unacked().len();
                        return assert_eq!(stream.end(last.reason).unacked.len(), left);
                    }
                    Reaction::Detach => panic!("{inbound:?} takes the connection down"),
                }
                continue;
            }
            Ok(Action::Deliver(receipt)) => {
                let number = stream.is_enabled().then(|| h.next());
                assert_eq!(receipt.number(), number);
                assert!(stream.record_handled(receipt).is_ok());
                assert_eq!(stream.h(), number.unwrap_or(h));
            }
            Ok(Action::Write(nonza)) => {
                check_answer(&nonza);
                assert_eq!(nonza, Nonza::Ack(h));
            }
            Ok(Action::Acknowledged(acknowledged)) => {
                assert!(acknowledged.count <= sent.since(acked));
                assert_eq!(acked.advance(acknowledged.count), acknowledged.h);
                assert_eq!(stream.acked(), acknowledged.h);
            }
            Ok(Action::Enable(request)) => {
                check_answer(&stream.accept_enable(request, Some(smid())).expect("its own request"));
                assert_eq!((stream.h(), stream.sent()), (Counter::ZERO, Counter::ZERO));
            }
            Ok(Action::Resume(request)) if *request.previd() != smid() => {
                check_answer(&stream.refuse_resume(request, Refusal::StaleH(h)).expect("its own request"));
            }
            Ok(Action::Resume(request)) => match stream.accept_resume(request, detached(), *NOW) {
                Ok(resumption) => {
                    check_answer(&resumption.write);
                    resumption.after.iter().for_each(check_answer);
                    assert!(stream.unacked().len() <= detached().unacked().len());
                }
                Err(NotResumed { session, why: NotResumedWhy::Refused { write, refusal: Refusal::WrongH(_) } }) => {
                    check_answer(&write);
                    assert_eq!(session, detached());
                }
                Err(error) => panic!("{error}"),
            },
            Ok(Action::Resumed(after)) => {
                after.iter().for_each(check_answer);
                assert!(stream.unacked().len() <= queued);
            }
            Ok(Action::Failed(_, ended)) => assert!(ended.unacked.len() <= queued),
            Ok(Action::Enabled(_) | Action::Other) => {}
            Ok(action) => panic!("{inbound:?} gives {action:?}"),
        }
        // Nothing is kept that was not sent, and all that was not acknowledged is.
        let _ = stream.record_sent(STANZA, *NOW);
        assert_eq!(stream.sent().since(stream.acked()) as usize, stream.unacked().len());
    }
    if let Some(due) = stream.poll_timeout() {
        let _ = stream.handle_timeout(due);
    }
    let left = stream.unacked().len();
    let kept = match stream.disconnect(*NOW) {
        Disconnected::Resumable(session) => session.unacked().len(),
        Disconnected::Ended(ended) => ended.unacked.len(),
    };
    assert_eq!(kept, left);
}

/// The same arrives after this side has closed its stream: each stanza is acknowledged or comes back, and once.
fn close(stream: Stream, arrived: &[Inbound]) {
    let queued = stream.unacked().len();
    let (last, mut closing) = stream.finish();
    last.iter().for_each(check_answer);
    let acknowledged: u32 = arrived.iter().map(|inbound| closing.handle(inbound)).sum();
    assert_eq!(closing.end(EndReason::Closed).unacked.len() + acknowledged as usize, queued);
}

/// Nothing that the peer wrote makes an answer long.
fn check_answer(nonza: &Nonza) {
    written::check(nonza);
    assert!(nonza.to_string().len() < 200, "{nonza}");
}
