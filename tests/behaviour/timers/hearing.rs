//! While this side does not read, an answer may lie unread, and the peer's times stand still. The host says so.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Action, Config, Error, Inbound, Nonza, OnFull, StreamMgmt};

use crate::support::raw::{ack, deliver, detach, enabled, resuming};
use crate::support::{asking_every, secs, stanzas};

const GRACE: Duration = Duration::from_secs(5);

/// A stream on which one of the three times runs, when it is due, and what comes of it.
type Case = (StreamMgmt<&'static str>, Duration, Result<Option<Nonza>, Error>);

fn cases(start: Instant) -> [Case; 3] {
    let stream = |config: Config, sent: u32| {
        let mut stream = enabled(&Arc::new(config.on_full(OnFull::EndAfter(GRACE))), start);
        (0..sent).for_each(|_| drop(stream.record_sent("m", start).unwrap()));
        stream
    };
    [
        (stream(asking_every(1), 1), secs(60), Err(Error::AckTimeout)),
        (stream(asking_every(1).buffer_max(stanzas(1)), 2), GRACE, Err(Error::BufferFull)),
        (stream(asking_every(5), 1), secs(30), Ok(Some(Nonza::AckRequest))),
    ]
}

#[test]
fn each_time_stands_still_while_the_host_does_not_read() {
    let start = Instant::now();
    for (mut stream, after, outcome) in cases(start) {
        assert_eq!(stream.poll_timeout(), Some(start + after), "{outcome:?}");
        stream.hearing(false, start + secs(3));
        // However long it takes.
        for late in [secs(3), after, secs(10_000)] {
            assert_eq!(stream.poll_timeout(), None, "{outcome:?}");
            assert_eq!(stream.handle_timeout(start + late), Ok(None), "{outcome:?}");
        }
        // Then what was left of it is left still.
        stream.hearing(true, start + secs(10_000));
        let due = start + secs(10_000 - 3) + after;
        assert_eq!(stream.poll_timeout(), Some(due), "{outcome:?}");
        assert_eq!(stream.handle_timeout(due - Duration::from_nanos(1)), Ok(None), "{outcome:?}");
        assert_eq!(stream.handle_timeout(due), outcome);
    }
}

#[test]
fn both_times_that_run_beside_each_other_stand_still() {
    let start = Instant::now();
    let config = asking_every(1).buffer_max(stanzas(1)).ack_timeout(Some(secs(8))).on_full(OnFull::EndAfter(GRACE));
    for (h, left, error) in [(None, GRACE, Error::BufferFull), (Some(1), secs(8), Error::AckTimeout)] {
        let mut stream = enabled::<&str>(&Arc::new(config.clone()), start);
        (0..2).for_each(|_| drop(stream.record_sent("m", start).unwrap()));
        stream.hearing(false, start + secs(1));
        stream.hearing(true, start + secs(101));
        let now = start + secs(101);
        if let Some(h) = h {
            // There is room, and the second is unanswered.
            ack(&mut stream, h, now).unwrap();
        }
        let due = stream.poll_timeout().unwrap();
        assert!(due >= start + secs(100) + left, "{:?}", due - start);
        assert_eq!(stream.handle_timeout(due), Err(error));
    }
}

#[test]
fn to_say_it_twice_says_it_once() {
    let start = Instant::now();
    for (mut stream, after, outcome) in cases(start) {
        // On without off is nothing.
        stream.hearing(true, start + secs(1));
        assert_eq!(stream.poll_timeout(), Some(start + after), "{outcome:?}");
        stream.hearing(false, start + secs(2));
        stream.hearing(false, start + secs(4));
        stream.hearing(true, start + secs(12));
        stream.hearing(true, start + secs(20));
        assert_eq!(stream.poll_timeout(), Some(start + secs(10) + after), "{outcome:?}");
        // And each pause counts.
        stream.hearing(false, start + secs(12));
        stream.hearing(true, start + secs(13));
        assert_eq!(stream.poll_timeout(), Some(start + secs(11) + after), "{outcome:?}");
    }
}

/// What starts while the host does not read runs from when it does.
#[test]
fn a_time_that_starts_meanwhile_starts_when_the_host_reads() {
    let start = Instant::now();
    for (config, sent, after) in [
        (asking_every(1), 1, secs(60)),
        (asking_every(1).buffer_max(stanzas(1)), 2, GRACE),
        (asking_every(5), 1, secs(30)),
    ] {
        let mut stream = enabled::<&str>(&Arc::new(config.on_full(OnFull::EndAfter(GRACE))), start);
        stream.hearing(false, start);
        (0..sent).for_each(|_| drop(stream.record_sent("m", start + secs(40)).unwrap()));
        assert_eq!(stream.poll_timeout(), None);
        stream.hearing(true, start + secs(100));
        assert_eq!(stream.poll_timeout(), Some(start + secs(100) + after), "{after:?}");
    }
}

/// The time of an `<r/>` behind the oldest stands still, too: nothing is dead too early, nor without bound.
#[test]
fn what_was_asked_before_a_pause_is_not_older_than_it() {
    let start = Instant::now();
    for freq in [1, 2] {
        let mut stream = enabled::<&str>(&Arc::new(asking_every(freq)), start);
        for n in 0..3 * freq {
            let _ = stream.record_sent("m", start + n * secs(1)).unwrap();
        }
        stream.hearing(false, start + secs(10));
        stream.hearing(true, start + secs(1000));
        for h in [freq, 2 * freq] {
            ack(&mut stream, h, start + secs(1000)).unwrap();
            let mut rest = stream.poll_timeout().unwrap();
            // What is not known to be unanswered is asked about once more.
            if stream.handle_timeout(rest) == Ok(Some(Nonza::AckRequest)) {
                rest = stream.poll_timeout().unwrap();
            }
            assert!(rest >= start + secs(990 + 60), "{:?}", rest - start);
            assert!(rest <= start + secs(1000 + 30 + 60), "{:?}", rest - start);
        }
    }
}

/// As it was seen: one receipt and one stanza are all that there is room for.
#[test]
fn a_host_that_cannot_take_more_says_so_and_the_peer_is_not_blamed() {
    let start = Instant::now();
    let one = NonZeroU32::MIN;
    let config = Config::default().buffer_max(one).receipts_max(one).on_full(OnFull::EndAfter(GRACE));
    let mut stream = enabled::<&str>(&Arc::new(config), start);
    let receipt = deliver(&mut stream, start);
    (0..2).for_each(|_| assert!(stream.record_sent("m", start).unwrap().write.is_some()));
    assert!(!stream.can_receive());
    stream.hearing(false, start);
    let late = start + secs(600);
    assert_eq!(stream.handle_timeout(late), Ok(None));
    assert_eq!(stream.record_handled(receipt), Ok(None));
    assert!(stream.can_receive());
    stream.hearing(true, late);
    // The answer lay unread behind what could not be taken.
    assert!(matches!(stream.handle(Inbound::Stanza { bytes: 1 }, late), Ok(Action::Deliver(_))));
    ack(&mut stream, 2, late).unwrap();
    assert_eq!((stream.poll_timeout(), stream.handle_timeout(late + secs(600))), (None, Ok(None)));
}

/// It is said, not guessed: a host that is full and does not say that it stopped reading has read all there was.
#[test]
fn a_host_that_says_nothing_reads() {
    let start = Instant::now();
    let one = NonZeroU32::MIN;
    let config = Config::default().buffer_max(one).receipts_max(one).on_full(OnFull::EndAfter(GRACE));
    let mut stream = enabled::<&str>(&Arc::new(config), start);
    let _open = deliver(&mut stream, start);
    (0..2).for_each(|_| drop(stream.record_sent("m", start).unwrap()));
    assert!(!stream.can_receive());
    assert_eq!(stream.poll_timeout(), Some(start + GRACE));
    assert_eq!(stream.handle_timeout(start + GRACE), Err(Error::BufferFull));
}

/// A host that does what is due until nothing is comes to an end.
#[test]
fn no_time_at_all_is_over_at_once() {
    let start = Instant::now();
    let full = asking_every(1).buffer_max(stanzas(1)).on_full(OnFull::EndAfter(Duration::ZERO));
    let silent = asking_every(1).ack_timeout(Some(Duration::ZERO));
    for (config, error) in [(full, Error::BufferFull), (silent, Error::AckTimeout)] {
        let mut stream = enabled::<&str>(&Arc::new(config), start);
        (0..2).for_each(|_| drop(stream.record_sent("m", start).unwrap()));
        assert_eq!(stream.handle_timeout(start), Err(error));
        stream.hearing(false, start);
        assert_eq!(stream.handle_timeout(start), Ok(None));
        stream.hearing(true, start);
        assert_eq!(stream.handle_timeout(start), Err(error));
    }
}

/// A stream begins with a host that reads, also where the session's last one did not.
#[test]
fn the_next_stream_is_read() {
    let start = Instant::now();
    let config = Arc::new(asking_every(1));
    let mut stream = enabled::<&str>(&config, start);
    let _ = stream.record_sent("m", start).unwrap();
    stream.hearing(false, start);
    let session = detach(stream, start + secs(10));
    let (mut again, request) = resuming(&config, 0, start + secs(20));
    let _ = again.accept_resume(request, session, start + secs(20)).unwrap();
    assert_eq!(again.poll_timeout(), Some(start + secs(80)));
}
