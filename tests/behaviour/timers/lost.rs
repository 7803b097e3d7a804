//! Timers end with what they were for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{Action, Config, Disconnected, OnFull};

use crate::support::raw::{ack, bound, element, enabled};
use crate::support::{Net, Side, asking_every, quiet, secs, stanzas};

fn due(net: &Net, conn: usize) -> Option<u64> {
    net.server(conn).poll_timeout().map(|due| due.duration_since(net.start()).as_secs())
}

#[test]
fn p17_the_timers_of_a_stream_end_with_it() {
    let config = || asking_every(1).on_full(OnFull::EndAfter(secs(5)));
    let mut net = Net::new(config());
    let conn = net.login("juliet@capulet.lit");
    for n in 1..=5 {
        net.server_sends(conn, &format!("<message id='m{n}'/>"));
    }
    // An answer is awaited.
    assert_eq!(due(&net, conn), Some(60));
    net.advance(secs(4));
    net.cut(conn);
    // The next stream has other options: it is over their bounds, and has time to make room.
    net.server_config = Arc::new(config().buffer_max(stanzas(3)));
    let conn = net.resume(conn);
    net.deliver_from(conn, Side::Client, 1);
    assert_eq!(due(&net, conn), Some(9));
    // The client has all it was sent now, and says so.
    net.run();
    assert_eq!(due(&net, conn), None);
    net.advance(secs(3600));
    assert_eq!((net.errors.as_slice(), net.server(conn).unacked().count()), ([].as_slice(), 0));
    net.ended(&[]);
}

#[test]
fn p17_the_answer_that_the_old_stream_owed_is_not_missed_on_the_new_one() {
    let mut net = Net::new(asking_every(1));
    let conn = net.login("juliet@capulet.lit");
    net.server_sends(conn, "<message id='m1'/>");
    assert_eq!(due(&net, conn), Some(60));
    net.advance(secs(50));
    net.cut(conn);
    let conn = net.resume(conn);
    net.deliver_from(conn, Side::Client, 1);
    // A new question, with time of its own.
    assert_eq!(due(&net, conn), Some(110));
    net.run();
    assert_eq!(due(&net, conn), None);
}

#[test]
fn p17_the_deadline_of_a_detached_session_ends_with_its_waiting() {
    let mut net = Net::new(quiet());
    let conn = net.login("juliet@capulet.lit");
    net.cut(conn);
    net.advance(secs(599));
    let conn = net.resume(conn);
    net.run();
    net.advance(secs(3600));
    net.ended(&[]);
    // And the next one is counted from the next loss.
    net.cut(conn);
    let deadline: Option<Instant> = net.detached(conn, Side::Server).deadline();
    assert_eq!(deadline, Some(net.now() + secs(600)));
}

#[test]
fn times_that_no_clock_can_tell_never_come() {
    let (now, unlimited, one) = (Instant::now(), Duration::MAX, NonZeroU32::MIN);
    let config = Config::default().resume_timeout(Some(unlimited)).ack_timeout(Some(unlimited));
    let config = config.ack_idle(Some(unlimited)).request_timeout(unlimited);
    let mut stream = enabled(&Arc::new(config.buffer_max(one).on_full(OnFull::EndAfter(unlimited))), now);
    for stanza in ["m1", "m2"] {
        assert!(stream.record_sent(stanza, now).unwrap().write.is_some());
    }
    assert_eq!(stream.poll_timeout(), None);
    ack(&mut stream, 1, now).unwrap();
    assert_eq!(stream.poll_timeout(), None);
    let mut pending = bound::<&str>(&Arc::new(Config::default().request_timeout(unlimited)));
    let Ok(Action::Enable(_request)) = pending.handle(element("enable"), now) else { panic!() };
    assert_eq!((pending.poll_timeout(), pending.handle_timeout(now + secs(1 << 32))), (None, Ok(None)));
    let Disconnected::Resumable(session) = stream.disconnect(now) else { panic!("it is resumable") };
    assert_eq!(session.deadline(), None);
}
