//! What is kept of stanzas: it can be looked at, replaced, and had back when it is acknowledged.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Action, Counter, Error, Inbound, Nonza, OnFull, Resumed, Returned, Stanza, StreamMgmt};

use crate::support::raw::{ack, deliver, detach, element, enabled, resuming, smid};
use crate::support::{asking_every, quiet, secs, stanzas};

/// Five sent, a second apart, two acknowledged.
fn stream(now: Instant) -> StreamMgmt<String> {
    let mut stream = enabled(&Arc::new(quiet()), now);
    for n in 1..=5 {
        let _ = stream.record_sent(format!("m{n}"), now + secs(n)).unwrap();
    }
    ack(&mut stream, 2, now).unwrap();
    stream
}

fn line(back: &Returned<String>, start: Instant) -> String {
    format!("{} {} at {} s", back.number, back.stanza, back.queued.duration_since(start).as_secs())
}

#[test]
fn a_stanza_can_be_looked_at_by_its_number() {
    let now = Instant::now();
    let (stream, session) = (stream(now), detach(stream(now), now));
    for number in 0..=7 {
        let expected = (3..=5).contains(&number).then(|| (format!("m{number}"), now + secs(number)));
        let number = Counter::new(u32::try_from(number).unwrap());
        for queued in [stream.queued(number), session.queued(number)] {
            assert!(queued.as_ref().is_none_or(|queued| queued.number == number));
            assert_eq!(queued.map(|queued| (queued.stanza.clone(), queued.queued)), expected, "{number}");
        }
    }
}

/// A message that its author has taken back is not resent.
#[test]
fn a_stanza_can_be_replaced_and_the_counts_are_unchanged() {
    let now = Instant::now();
    let mut stream = stream(now);
    let (counts, due) = ((stream.sent(), stream.acked(), stream.h()), stream.poll_timeout());
    assert_eq!(stream.replace(4.into(), "retracted".to_owned()), Ok("m4".to_owned()));
    // What was acknowledged, or never sent, has no place.
    for number in [0, 2, 6, u32::MAX] {
        assert_eq!(stream.replace(number.into(), "new".to_owned()), Err("new".to_owned()), "{number}");
    }
    assert_eq!((stream.sent(), stream.acked(), stream.h()), counts);
    assert_eq!((stream.unacked_bytes(), stream.poll_timeout()), ("m3retractedm5".len(), due));
    let mut session = detach(stream, now);
    assert_eq!(session.replace(5.into(), String::new()), Ok("m5".to_owned()));
    assert_eq!(session.replace(6.into(), "new".to_owned()), Err("new".to_owned()));
    assert_eq!(session.unacked_bytes(), "m3retracted".len());

    let (mut again, request) = resuming(&Arc::new(quiet()), 2, now);
    let _ = again.accept_resume(request, session, now).unwrap();
    // Resent in its place, with its time.
    let unacked: Vec<_> = again.unacked().map(|queued| (queued.stanza.as_str(), queued.queued)).collect();
    assert_eq!(unacked, [("m3", now + secs(3)), ("retracted", now + secs(4)), ("", now + secs(5))]);
    ack(&mut again, 5, now).unwrap();
    assert_eq!(again.unacked_bytes(), 0);
}

#[test]
fn a_replacement_that_is_larger_has_to_fit() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max_bytes(NonZeroUsize::new(10).unwrap()));
    let mut stream = enabled::<String>(&config, now);
    for stanza in ["12345", "1234"] {
        let _ = stream.record_sent(stanza.to_owned(), now).unwrap();
    }
    assert_eq!(stream.replace(2.into(), "123456".to_owned()), Err("123456".to_owned()));
    assert_eq!((stream.unacked_bytes(), stream.is_resumable()), (9, true));
    assert_eq!(stream.replace(2.into(), "12345".to_owned()), Ok("1234".to_owned()));
    // In the grace the buffer is over its bounds: one that is no larger makes nothing worse.
    let _ = stream.record_sent("1".to_owned(), now).unwrap();
    assert_eq!(stream.replace(1.into(), "54321".to_owned()), Ok("12345".to_owned()));
    assert_eq!(stream.replace(3.into(), "12".to_owned()), Err("12".to_owned()));
    ack(&mut stream, 1, now).unwrap();
    let mut session = detach(stream, now);
    assert_eq!(session.replace(3.into(), "123456".to_owned()), Err("123456".to_owned()));
    assert_eq!(session.replace(3.into(), "12345".to_owned()), Ok("1".to_owned()));
}

/// What was evicted is not kept, and has no place either.
#[test]
fn what_left_the_buffer_cannot_be_replaced() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max(stanzas(2)).on_full(OnFull::EvictOldest));
    let mut stream = enabled::<&str>(&config, now);
    for stanza in ["m1", "m2", "m3"] {
        let _ = stream.record_sent(stanza, now).unwrap();
    }
    assert!(stream.queued(1.into()).is_none());
    assert_eq!(stream.replace(1.into(), "new"), Err("new"));
    assert_eq!(stream.replace(2.into(), "new"), Ok("m2"));
}

#[test]
fn acknowledged_stanzas_can_be_had_back() {
    let now = Instant::now();
    let (mut one, mut other) = (stream(now), stream(now));
    let mut back = Vec::new();
    for (h, expected) in [(2, &[][..]), (4, &["3 m3 at 3 s", "4 m4 at 4 s"]), (4, &[]), (5, &["5 m5 at 5 s"])] {
        let acked = one.handle_into(Nonza::Ack(h.into()).into(), now, &mut back).unwrap();
        let Action::Acknowledged(acked) = acked else { panic!("{acked:?}") };
        assert_eq!(acked, ack(&mut other, h, now).unwrap(), "the same as without");
        assert_eq!(acked.count as usize, expected.len());
        assert_eq!(back.drain(..).map(|back| line(&back, now)).collect::<Vec<_>>(), expected);
        assert_eq!((one.unacked_bytes(), one.poll_timeout()), (other.unacked_bytes(), other.poll_timeout()));
    }
}

#[test]
fn an_h_that_cannot_be_right_gives_nothing_back() {
    let now = Instant::now();
    let mut stream = stream(now);
    let mut back = Vec::new();
    for h in [1, 6, u32::MAX] {
        let error = stream.handle_into(Nonza::Ack(h.into()).into(), now, &mut back).unwrap_err();
        assert!(matches!(error, Error::WrongH { .. }), "{h}");
    }
    let resumed = Nonza::Resumed(Resumed { previd: smid(), h: 3.into() });
    stream.handle_into(resumed.into(), now, &mut back).unwrap_err();
    assert_eq!((back, stream.unacked().len()), (vec![], 3));
}

/// What was evicted came back before, and is not there to come again.
#[test]
fn what_was_evicted_does_not_come_back_twice() {
    let now = Instant::now();
    let config = Arc::new(quiet().buffer_max(stanzas(2)).on_full(OnFull::EvictOldest));
    let mut stream = enabled::<String>(&config, now);
    for n in 1..=4 {
        let _ = stream.record_sent(format!("m{n}"), now).unwrap();
    }
    let mut back = Vec::new();
    let Ok(Action::Acknowledged(acked)) = stream.handle_into(Nonza::Ack(3.into()).into(), now, &mut back) else {
        panic!()
    };
    assert_eq!((acked.h.get(), acked.count), (3, 3));
    assert_eq!(back.iter().map(|back| line(back, now)).collect::<Vec<_>>(), ["3 m3 at 0 s"]);
}

#[test]
fn what_resumed_acknowledges_can_be_had_back_too() {
    let now = Instant::now();
    let (mut client, _) = StreamMgmt::resume(Arc::new(quiet()), detach(stream(now), now)).unwrap();
    let mut back = Vec::new();
    let resumed = Nonza::Resumed(Resumed { previd: smid(), h: 4.into() });
    let action = client.handle_into(resumed.into(), now, &mut back).unwrap();
    assert!(matches!(action, Action::Resumed(None)), "{action:?}");
    assert_eq!(back.iter().map(|back| line(back, now)).collect::<Vec<_>>(), ["3 m3 at 3 s", "4 m4 at 4 s"]);
    assert_eq!(client.unacked().map(|queued| queued.stanza.as_str()).collect::<Vec<_>>(), ["m5"]);
}

/// Whatever else arrives is taken as by `handle`.
#[test]
fn everything_else_acknowledges_nothing() {
    let now = Instant::now();
    let mut stream = stream(now);
    let mut back = Vec::new();
    let mut into = |stream: &mut StreamMgmt<String>, inbound| stream.handle_into(inbound, now, &mut back).map_err(drop);
    assert!(matches!(into(&mut stream, Inbound::Stanza { bytes: 1 }), Ok(Action::Deliver(_))));
    assert!(matches!(into(&mut stream, element("r")), Ok(Action::Write(Nonza::Ack(_)))));
    assert!(matches!(into(&mut stream, Inbound::Other), Ok(Action::Other)));
    assert!(matches!(into(&mut stream, element("a")), Err(())));
    assert_eq!((back, deliver(&mut stream, now).number()), (vec![], Some(2.into())));
}

/// It is large, and says so.
struct Large(usize);

impl Stanza for Large {
    fn bytes(&self) -> usize {
        self.0
    }
}

/// However much is acknowledged at once, the account of bytes is right, by each way in.
#[test]
fn bytes_are_right_after_a_large_ack() {
    type Way = fn(&mut StreamMgmt<Large>, u32, Instant);
    let ways: [Way; 2] = [
        |stream, h, now| assert_eq!(ack(stream, h, now).unwrap().h.get(), h),
        |stream, h, now| drop(stream.handle_into(Nonza::Ack(h.into()).into(), now, &mut Vec::new()).unwrap()),
    ];
    let now = Instant::now();
    for acknowledge in ways {
        let mut stream = enabled::<Large>(&Arc::new(asking_every(100)), now);
        let sizes = [1, 70_000, 65_536, 65_537, 300_000, 5];
        for bytes in sizes {
            assert!(stream.record_sent(Large(bytes), now).is_ok());
        }
        assert_eq!(stream.unacked_bytes(), sizes.iter().sum::<usize>());
        acknowledge(&mut stream, 2, now);
        assert_eq!(stream.unacked_bytes(), sizes[2..].iter().sum::<usize>());
        acknowledge(&mut stream, 5, now);
        assert_eq!(stream.unacked_bytes(), 5);
        acknowledge(&mut stream, 6, now);
        assert_eq!(stream.unacked_bytes(), 0);
        assert!(stream.has_room());
    }
}
