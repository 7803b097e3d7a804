//! A buffer that fills up: the peer is asked to acknowledge before it is blamed.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    AckFreq, Action, Config, Counter, Enabled, Error, Inbound, Nonza, NotRecordedWhy, OnFull, Reaction, StreamMgmt,
};

use crate::support::raw::enabled;

const GRACE: Duration = Duration::from_secs(5);

fn every(stanzas: u32) -> AckFreq {
    AckFreq::Every(NonZeroU32::new(stanzas).unwrap())
}

/// A peer that answers each `<r/>` a tenth of a second after it was sent, with what had been sent by then.
/// Gives how many it was asked, or how the stream ended.
fn healthy_peer(config: Config, stanzas: &[usize]) -> Result<usize, Error> {
    let start = Instant::now();
    let mut stream: StreamMgmt<String> = enabled(&Arc::new(config.on_full(OnFull::EndAfter(GRACE))), start);
    let mut asked = Vec::new();
    for bytes in stanzas {
        let sent = stream.record_sent("x".repeat(*bytes), start).unwrap();
        asked.extend(sent.number.filter(|_| sent.write.is_some()));
    }
    let mut answered = 0;
    let mut now = start;
    while answered < asked.len() || stream.poll_timeout().is_some_and(|at| at < start + 10 * GRACE) {
        if let Some(h) = asked.get(answered) {
            now += Duration::from_millis(100);
            answered += 1;
            assert!(matches!(stream.handle(Inbound::Nonza(Nonza::Ack(*h)), now), Ok(Action::Acknowledged(_))));
        } else if let Some(at) = stream.poll_timeout() {
            now = now.max(at);
        }
        if stream.handle_timeout(now)?.is_some() {
            asked.push(stream.sent());
        }
    }
    assert_eq!(stream.unacked().len(), 0, "all is acknowledged in the end");
    Ok(asked.len())
}

#[test]
fn a_self_clocked_burst_over_the_bounds_does_not_end_a_peer_that_answers() {
    let config = Config::default().ack_freq(AckFreq::SelfClocked);
    let asked = healthy_peer(config, &[10; 150]).expect("it answers all it is asked");
    // The first stanza, the one over the bounds, and once for the rest: not every stanza.
    assert_eq!(asked, 3);
}

/// Whatever the rhythm, the first `<r/>` goes out with the stanza that fills half of the buffer, in number or in
/// bytes, and not before.
#[test]
fn the_stanza_that_fills_half_of_the_buffer_asks() {
    let first_asked = |config: Config| {
        let (mut stream, now) = (enabled(&Arc::new(config.ack_freq(every(1_000))), Instant::now()), Instant::now());
        (1..).find(|_| stream.record_sent("x".repeat(10), now).unwrap().write.is_some()).unwrap()
    };
    let stanzas = |most| first_asked(Config::default().buffer_max(NonZeroU32::new(most).unwrap()));
    assert_eq!([1, 2, 3, 4, 5, 6, 99, 100].map(stanzas), [1, 1, 2, 2, 3, 3, 50, 50]);
    let bytes = |most| first_asked(Config::default().buffer_max_bytes(NonZeroUsize::new(most).unwrap()));
    assert_eq!([20, 39, 40, 41, 79, 80, 81].map(bytes), [1, 2, 2, 3, 4, 4, 5]);
}

#[test]
fn few_big_stanzas_are_asked_about_before_they_fill_the_buffer() {
    assert_eq!(healthy_peer(Config::default().ack_freq(every(10)), &[250_000; 5]), Ok(2));
}

#[test]
fn a_rhythm_slower_than_the_buffer_is_large_is_no_trap() {
    let config = Config::default().ack_freq(every(5)).buffer_max(NonZeroU32::new(3).unwrap());
    assert!(healthy_peer(config, &[10; 4]).is_ok());
}

#[test]
fn a_peer_that_is_behind_is_asked_again_in_a_second_not_at_once() {
    let now = Instant::now();
    let config = Config::default().ack_freq(every(50)).buffer_max(NonZeroU32::new(100).unwrap());
    let mut stream: StreamMgmt<String> = enabled(&Arc::new(config), now);
    for _ in 0..60 {
        let _ = stream.record_sent("<message/>".into(), now).unwrap();
    }
    let _ = stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(1))), now).unwrap();
    assert_eq!(stream.poll_timeout(), Some(now + Duration::from_secs(1)));
    // It has answered in full, and more has been sent since.
    let _ = stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(50))), now).unwrap();
    for _ in 0..45 {
        let _ = stream.record_sent("<message/>".into(), now).unwrap();
    }
    let asked_at = stream.sent();
    assert!(stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(51))), now).is_ok());
    assert_eq!((asked_at, stream.poll_timeout()), (Counter::new(105), Some(now + Duration::from_secs(1))));
}

#[test]
fn what_was_sent_while_the_answer_was_on_its_way_is_asked_about_at_once() {
    let now = Instant::now();
    let config = Config::default().ack_freq(every(1_000)).buffer_max(NonZeroU32::new(4).unwrap());
    let mut stream: StreamMgmt<String> = enabled(&Arc::new(config), now);
    let asked = [(); 4].map(|()| stream.record_sent("<message/>".into(), now).unwrap().write.is_some());
    assert_eq!(asked, [false, true, false, false]);
    let _ = stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(2))), now).unwrap();
    assert_eq!(stream.poll_timeout(), Some(now));
    assert_eq!(stream.handle_timeout(now), Ok(Some(Nonza::AckRequest)));
}

#[test]
fn what_came_first_decides_how_a_stream_ends() {
    let (now, secs) = (Instant::now(), Duration::from_secs);
    let config = Arc::new(Config::default().buffer_max(NonZeroU32::MIN));
    let mut stream: StreamMgmt<String> = enabled(&config, now);
    // Its <r/> is due by 60 s; the buffer is full until 60.5 s.
    let _ = stream.record_sent("a".into(), now).unwrap();
    let _ = stream.record_sent("b".into(), now + Duration::from_millis(55_500)).unwrap();
    assert_eq!(stream.handle_timeout(now + secs(61)), Err(Error::AckTimeout));

    let mut stream: StreamMgmt<String> = enabled(&config, now);
    let _ = stream.record_sent("a".into(), now).unwrap();
    let _ = stream.record_sent("b".into(), now + secs(1)).unwrap();
    assert_eq!(stream.handle_timeout(now + secs(6) - Duration::from_nanos(1)), Ok(None), "the grace is five seconds");
    assert_eq!(stream.handle_timeout(now + secs(6)), Err(Error::BufferFull));
    assert_eq!(stream.handle_timeout(now + secs(61)), Err(Error::BufferFull));

    // Both at 60 s: what leaves the session its life.
    let mut stream: StreamMgmt<String> = enabled(&config, now);
    let _ = stream.record_sent("a".into(), now).unwrap();
    let _ = stream.record_sent("b".into(), now + secs(55)).unwrap();
    assert_eq!(stream.handle_timeout(now + secs(60)), Err(Error::AckTimeout));
}

#[test]
fn a_host_with_a_backlog_can_ask_for_room() {
    let now = Instant::now();
    let config = Config::default().buffer_max(NonZeroU32::new(3).unwrap());
    let config = Arc::new(config.buffer_max_bytes(NonZeroUsize::new(100).unwrap()));
    let mut stream: StreamMgmt<String> = enabled(&config, now);
    for has_room in [true, true, false] {
        let _ = stream.record_sent("<message/>".into(), now).unwrap();
        assert_eq!(stream.has_room(), has_room);
    }
    let _ = stream.handle(Inbound::Nonza(Nonza::Ack(Counter::new(3))), now).unwrap();
    assert!(stream.has_room());
    let _ = stream.record_sent("x".repeat(100), now).unwrap();
    assert!(!stream.has_room());
}

/// A client writes on while the server takes its time with `<enabled/>`; until then it may not ask.
#[test]
fn the_grace_starts_when_the_server_can_be_asked() {
    let start = Instant::now();
    let mut stream = full_while_enabling(OnFull::EndAfter(GRACE), start);
    let slow = start + 2 * GRACE;
    is_enabled(&mut stream, slow);
    assert_eq!(stream.handle_timeout(slow), Ok(Some(Nonza::AckRequest)));
    assert_eq!(stream.poll_timeout(), Some(slow + GRACE));
    assert_eq!(stream.handle_timeout(slow + GRACE), Err(Error::BufferFull));
}

/// The timer that asks may come late, or the host asks: the peer's time starts when it is asked.
#[test]
fn a_host_that_is_late_to_ask_is_not_the_peers_fault() {
    let start = Instant::now();
    for (asked_at, by_itself) in [(start + 2 * GRACE, true), (start, false)] {
        let mut stream = full_while_enabling(OnFull::EndAfter(GRACE), start);
        is_enabled(&mut stream, start);
        assert_eq!(stream.poll_timeout(), Some(start));
        let asks = if by_itself { stream.handle_timeout(asked_at) } else { Ok(stream.request_ack(asked_at)) };
        assert_eq!(asks, Ok(Some(Nonza::AckRequest)));
        assert_eq!(stream.poll_timeout(), Some(asked_at + GRACE));
    }
}

#[test]
fn a_full_buffer_waits_for_enabled_instead_of_ending_the_stream() {
    let start = Instant::now();
    let mut stream = full_while_enabling(OnFull::End, start);
    let no = stream.record_sent("y", start).unwrap_err();
    assert_eq!((no.reaction(), no.why, no.stanza), (Reaction::Nothing, NotRecordedWhy::AwaitingServer, "y"));
    is_enabled(&mut stream, start);
    // From now on the peer could have been asked.
    assert_eq!(stream.record_sent("y", start).unwrap_err().why, NotRecordedWhy::Full);
}

/// A client with room for one, that waits for `<enabled/>` and has sent what fits, or one more where that is taken.
fn full_while_enabling(on_full: OnFull, now: Instant) -> StreamMgmt<&'static str> {
    let config = Config::default().buffer_max(NonZeroU32::new(1).unwrap()).on_full(on_full);
    let mut stream = StreamMgmt::client(Arc::new(config));
    stream.authenticated();
    stream.bound();
    let _enable = stream.enable().unwrap();
    let more = usize::from(on_full != OnFull::End);
    (0..=more).for_each(|_| assert_eq!(stream.record_sent("x", now).unwrap().write, None));
    stream
}

/// Now `<enabled/>` comes.
fn is_enabled(stream: &mut StreamMgmt<&str>, now: Instant) {
    let enabled = Nonza::Enabled(Enabled::default());
    assert!(matches!(stream.handle(Inbound::Nonza(enabled), now), Ok(Action::Enabled(_))));
}

/// However often the peer is asked, it has the time that it has.
#[test]
fn to_ask_again_does_not_start_the_time_of_a_full_buffer_again() {
    let start = Instant::now();
    let config = Config::default().buffer_max(NonZeroU32::new(1).unwrap()).on_full(OnFull::EndAfter(GRACE));
    let mut stream = enabled::<&str>(&Arc::new(config), start);
    (0..2).for_each(|_| drop(stream.record_sent("x", start).unwrap()));
    assert_eq!(stream.request_ack(start + GRACE / 2), Some(Nonza::AckRequest));
    assert_eq!(stream.poll_timeout(), Some(start + GRACE));
}
