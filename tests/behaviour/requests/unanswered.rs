//! An `<r/>` that is not answered is dead `ack_timeout` after the oldest one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{AckFreq, Config, Error, Fault, Nonza, Reaction, StreamMgmt};

use crate::support::raw::{Seen, ack, detach, enabled};
use crate::support::{JULIET, Net, Side, asking_every, quiet, secs};

const ACK_TIMEOUT: Duration = Duration::from_secs(60);

const ACK_IDLE: Duration = Duration::from_secs(30);

/// A stream with a stanza in each second from `start` on, and the seconds in which an `<r/>` went out.
fn sent(config: Config, stanzas: u64, start: Instant) -> (StreamMgmt<&'static str>, Vec<u64>) {
    let mut stream = enabled(&Arc::new(config), start);
    let sends = |second: &u64| stream.record_sent("m", start + secs(*second)).unwrap().write.is_some();
    let asked = (0..stanzas).filter(sends).collect();
    (stream, asked)
}

/// After these `h` in the twentieth second: how many seconds after the start something is due.
fn due_after(config: Config, stanzas: u64, hs: &[u32]) -> Option<u64> {
    let start = Instant::now();
    let (mut stream, _) = sent(config, stanzas, start);
    for h in hs {
        ack(&mut stream, *h, start + secs(20)).unwrap();
    }
    stream.poll_timeout().map(|due| due.duration_since(start).as_secs())
}

#[test]
fn with_an_r_for_each_stanza() {
    let due = |hs: &[u32]| due_after(asking_every(1), 3, hs);
    assert_eq!(sent(asking_every(1), 3, Instant::now()).1, [0, 1, 2]);
    assert_eq!(due(&[]), Some(60));
    assert_eq!([due(&[1]), due(&[1, 2]), due(&[1, 2, 3])], [Some(61), Some(62), None]);
    // What its h covers, it answers.
    assert_eq!([due(&[2]), due(&[3])], [Some(62), None]);
    // And one in any case.
    assert_eq!([due(&[0]), due(&[0, 0])], [Some(61), Some(62)]);
    assert_eq!([due(&[1, 1]), due(&[0, 1]), due(&[0, 2])], [Some(62); 3]);
    // All are answered, and not all is acknowledged: it is asked once more.
    assert_eq!([due(&[0, 0, 0]), due(&[1, 1, 1]), due(&[2, 2]), due(&[2, 2, 2])], [Some(50); 4]);
}

#[test]
fn with_an_r_for_three() {
    let due = |hs: &[u32]| due_after(asking_every(3), 9, hs);
    assert_eq!(sent(asking_every(3), 9, Instant::now()).1, [2, 5, 8]);
    assert_eq!(due(&[]), Some(62));
    assert_eq!([0, 1, 2, 3, 4, 5].map(|h| due(&[h])), [Some(65); 6]);
    assert_eq!([6, 7, 8].map(|h| due(&[h])), [Some(68); 3]);
    assert_eq!([due(&[9]), due(&[3, 6, 9])], [None; 2]);
    assert_eq!([due(&[3, 3]), due(&[1, 6]), due(&[4, 5])], [Some(68); 3]);
    assert_eq!([due(&[3, 6, 6]), due(&[0, 0, 0]), due(&[8, 8]), due(&[0, 6, 7])], [Some(50); 4]);
    // With one more behind the last.
    let due = |hs: &[u32]| due_after(asking_every(3), 10, hs);
    assert_eq!([due(&[9]), due(&[3, 6, 9]), due(&[10])], [Some(50), Some(50), None]);
}

#[test]
fn clocked_by_its_answers() {
    let config = || Config::default().ack_freq(AckFreq::SelfClocked);
    let due = |hs: &[u32]| due_after(config(), 3, hs);
    assert_eq!(sent(config(), 3, Instant::now()).1, [0]);
    assert_eq!([due(&[]), due(&[1]), due(&[0]), due(&[3])], [Some(60), Some(50), Some(50), None]);
}

/// What a host asks of its own accord has no rhythm: the last one counts, which is never too early.
#[test]
fn with_the_hosts_own() {
    let start = Instant::now();
    let (mut stream, _) = sent(quiet(), 3, start);
    for second in [5, 16] {
        assert_eq!(stream.request_ack(start + secs(second)), Some(Nonza::AckRequest));
        (0..2).for_each(|_| drop(stream.record_sent("m", start + secs(second)).unwrap()));
    }
    assert_eq!(stream.poll_timeout(), Some(start + secs(65)));
    ack(&mut stream, 3, start + secs(20)).unwrap();
    assert_eq!(stream.poll_timeout(), Some(start + secs(76)));
    ack(&mut stream, 5, start + secs(20)).unwrap();
    assert_eq!(stream.poll_timeout(), None);
}

/// A stanza in each of nine seconds, an `<r/>` after each third, the host's own in the same second as some stanzas; after
/// these `h` in the twentieth second, how many seconds after the start something is due.
fn due_with_own(own: &[u64], hs: &[u32]) -> (StreamMgmt<&'static str>, u64) {
    let start = Instant::now();
    let mut stream = enabled(&Arc::new(asking_every(3)), start);
    for second in 1..=9 {
        let _ = stream.record_sent("m", start + secs(second)).unwrap();
        own.iter().filter(|own| **own == second).for_each(|_| drop(stream.request_ack(start + secs(second))));
    }
    for h in hs {
        ack(&mut stream, *h, start + secs(20)).unwrap();
    }
    let due = stream.poll_timeout().unwrap().duration_since(start).as_secs();
    (stream, due)
}

/// What goes out in the rhythm after the host's own is known one by one.
#[test]
fn with_the_hosts_own_beside_the_rhythm() {
    let due = |hs: &[u32]| due_with_own(&[3], hs).1;
    assert_eq!([due(&[]), due(&[3]), due(&[3, 3]), due(&[6]), due(&[4, 7])], [63, 66, 69, 69, 69]);
    // It has answered one of two.
    assert_eq!([due(&[2]), due(&[2, 2]), due(&[2, 2, 2])], [69, 66, 69]);
    assert_eq!([due(&[3, 6, 6]), due(&[2, 2, 2, 2])], [50; 2]);
}

/// Those between the oldest and the host's own may be taken for answered. Then the peer is asked once more.
#[test]
fn with_the_hosts_own_after_some_in_the_rhythm() {
    let (mut stream, due) = due_with_own(&[7], &[3, 4]);
    let start = stream.poll_timeout().unwrap() - secs(due);
    assert_eq!(due, 50);
    assert_eq!(stream.handle_timeout(start + secs(50)), Ok(Some(Nonza::AckRequest)));
    assert_eq!(stream.poll_timeout(), Some(start + secs(110)));
    assert_eq!(stream.handle_timeout(start + secs(110)), Err(Error::AckTimeout));
}

/// The requests that are out, each with what had been sent by then and its time.
#[derive(Default)]
struct Model {
    unanswered: VecDeque<(u32, Instant)>,
    sent: u32,
    acked: u32,
    /// When what was sent without an `<r/>` is asked about.
    idle: Option<Instant>,
}

impl Model {
    fn sends(&mut self, asks: bool, now: Instant) {
        self.sent += 1;
        if asks {
            self.asks(now);
        } else if self.unanswered.is_empty() {
            self.idle = self.idle.or(Some(now + ACK_IDLE));
        }
    }

    fn asks(&mut self, now: Instant) {
        self.unanswered.push_back((self.sent, now));
        self.idle = None;
    }

    /// An `<a/>` answers the oldest, and all that its `h` covers.
    fn is_told(&mut self, h: u32, now: Instant) {
        self.acked = h;
        self.unanswered.pop_front();
        self.unanswered.retain(|(number, _)| *number > h);
        // One that was not asked for does not put off what is due.
        let due = self.idle.unwrap_or(now + ACK_IDLE);
        self.idle = (self.unanswered.is_empty() && self.acked < self.sent).then_some(due);
        if self.acked == self.sent {
            self.unanswered.clear();
        }
    }

    fn dead(&self) -> Option<Instant> {
        self.unanswered.front().map(|(_, at)| *at + ACK_TIMEOUT)
    }
}

/// Any traffic in any rhythm, one event a second: due when the XEP's peer would be dead, or is asked once more.
#[test]
fn in_any_traffic() {
    let start = Instant::now();
    let mut seed = 1_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    let rhythms = [1, 2, 3, 7].map(asking_every).into_iter().chain([Config::default().ack_freq(AckFreq::SelfClocked)]);
    for config in rhythms.map(Arc::new) {
        for run in 0..400 {
            let own_requests = run % 4 == 0;
            let (mut stream, mut model) = (enabled::<&str>(&config, start), Model::default());
            for second in 1..=1 + u64::from(random(25)) {
                let now = start + secs(second);
                match random(8) {
                    0..=4 => model.sends(stream.record_sent("m", now).unwrap().write.is_some(), now),
                    5 if own_requests => {
                        model.asks(now);
                        assert_eq!(stream.request_ack(now), Some(Nonza::AckRequest));
                    }
                    _ => {
                        let h = model.acked + random(model.sent - model.acked + 1);
                        ack(&mut stream, h, now).unwrap();
                        model.is_told(h, now);
                    }
                }
                if !own_requests {
                    assert_eq!(stream.poll_timeout(), model.dead().or(model.idle), "{config:?}, {run}, {second}");
                }
            }
            // Whatever the host asks, the peer is never blamed too early.
            if let Some(dead) = model.dead() {
                let before = dead - Duration::from_nanos(1);
                assert_ne!(stream.handle_timeout(before), Err(Error::AckTimeout), "{config:?}, {run}");
            }
        }
    }
}

#[test]
fn an_unanswered_r_detaches_the_session() {
    let mut net = Net::new(Config::default().ack_timeout(Some(secs(20))));
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.cut_unnoticed(conn);
    net.advance(secs(19));
    assert_eq!(net.errors, []);
    net.advance(secs(1));
    assert_eq!(net.errors, [(Side::Server, Error::AckTimeout)]);
    assert_eq!(Error::AckTimeout.fault(), Fault::Connection);
    // The session waits from then on, with all that it has.
    let session = Seen::from(net.detached(conn, Side::Server));
    assert_eq!((session.unacked.len(), session.due), (1, Some(net.now() + secs(600))));
    let conn = net.resume(conn);
    net.run();
    assert_eq!(net.got(conn, Side::Client), ["m1"]);
}

#[test]
fn a_timeout_that_the_host_does_not_obey_is_told_again_and_changes_nothing() {
    let now = Instant::now();
    let mut stream = enabled::<String>(&Arc::new(Config::default()), now);
    let _ = stream.record_sent("m1".into(), now).unwrap();
    let before = Seen::from(&stream);
    for _ in 0..3 {
        assert_eq!(stream.handle_timeout(now + secs(60)), Err(Error::AckTimeout));
        assert_eq!(Seen::from(&stream), before);
    }
    // A host that calls at any other time does no harm.
    for second in 0..60 {
        assert_eq!(stream.handle_timeout(now + secs(second)), Ok(None));
    }
    ack(&mut stream, 1, now + secs(61)).unwrap();
    assert_eq!(detach(stream, now + secs(61)).unacked().count(), 0);
}

#[test]
fn ack_timeout_is_60_s_from_the_first_request_without_an_answer() {
    let mut net = Net::new(Config::default());
    let conn = net.login(JULIET);
    for n in 0..5 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
        net.advance(secs(10));
    }
    // Later requests do not put it off, and what the peer sends is no answer.
    net.client_writes(conn, "<r/>");
    net.client_sends(conn, "<message/>");
    net.deliver_from(conn, Side::Client, 2);
    assert_eq!(net.server(conn).poll_timeout(), Some(net.start() + secs(60)));
    net.advance(secs(9));
    assert_eq!(net.errors, []);
    net.advance(secs(1));
    assert_eq!(net.errors, [(Side::Server, Error::AckTimeout)]);
    assert_eq!((Error::AckTimeout.fault(), Error::AckTimeout.reaction()), (Fault::Connection, Reaction::Detach));
    assert_eq!(net.detached(conn, Side::Server).unacked().count(), 5);
}

#[test]
fn ack_timeout_may_be_another_or_none() {
    let now = Instant::now();
    for (timeout, due) in [(Some(secs(7)), Some(now + secs(7))), (None, None)] {
        let mut stream = enabled::<&str>(&Arc::new(Config::default().ack_timeout(timeout)), now);
        assert!(stream.record_sent("m1", now).unwrap().write.is_some());
        assert_eq!(stream.poll_timeout(), due);
        let far = now + secs(1_000_000);
        assert_eq!(stream.handle_timeout(far), if due.is_some() { Err(Error::AckTimeout) } else { Ok(None) });
        // An answer ends it.
        ack(&mut stream, 1, now).unwrap();
        assert_eq!((stream.poll_timeout(), stream.handle_timeout(far)), (None, Ok(None)));
    }
}
