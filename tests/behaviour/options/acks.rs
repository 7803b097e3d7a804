//! `request_acks`, `ack_freq`, `ack_idle`, `ack_timeout`, `request_timeout`.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{AckFreq, Config, Error, Fault, Nonza, Reaction, StreamMgmt};

use super::JULIET;
use crate::support::raw::{ack, enabled};
use crate::support::{Net, Side, asking_every, quiet, secs};

#[test]
fn ack_is_on_and_after_every_stanza() {
    let mut net = Net::new(Config::default());
    let conn = net.login(JULIET);
    net.server_sends(conn, "<message id='m1'/>");
    net.server_sends(conn, "<message id='m2'/>");
    net.written("S: <message id='m1'/><r/><message id='m2'/><r/>");
}

#[test]
fn ack_off_never_asks() {
    let mut net = Net::new(quiet());
    let conn = net.login(JULIET);
    for _ in 0..50 {
        net.server_sends(conn, "<message/>");
    }
    assert_eq!(net.server(conn).poll_timeout(), None);
    net.skip();
    net.cut(conn);
    let conn = net.resume(conn);
    net.run();
    net.advance(secs(3600));
    net.expect(
        "-- cut
         C2: <resume h='50' previd='sm-1'/>
         S2: <resumed h='0' previd='sm-1'/>",
    );
    // It answers all the same, and a host may ask of its own accord.
    net.requests(conn, Side::Client);
    net.requests(conn, Side::Server);
    net.expect(
        "C2: <r/>
         S2: <r/>
         S2: <a h='0'/>
         C2: <a h='50'/>",
    );
}

#[test]
fn ack_freq_counts_the_stanzas_since_the_last_request() {
    let mut net = Net::new(asking_every(3));
    let conn = net.login(JULIET);
    for _ in 0..7 {
        net.server_sends(conn, "<message/>");
    }
    net.expect(
        "S: <message/><message/><message/><r/><message/><message/><message/><r/><message/>
         C: <a h='3'/><a h='6'/>",
    );
    // One of the host's own counts, too.
    net.requests(conn, Side::Server);
    for _ in 0..3 {
        net.server_sends(conn, "<message/>");
    }
    net.written("S: <r/><message/><message/><message/><r/>");
}

#[test]
fn ack_freq_self_clocked_waits_for_the_answer() {
    let freq = AckFreq::SelfClocked;
    let now = Instant::now();
    let mut stream = enabled::<&str>(&Arc::new(Config::default().ack_freq(freq)), now);
    let asks = |stream: &mut StreamMgmt<&'static str>| stream.record_sent("m", now).unwrap().write.is_some();
    assert_eq!([(); 4].map(|()| asks(&mut stream)), [true, false, false, false]);
    ack(&mut stream, 1, now).unwrap();
    // The rest is asked for with the next stanza, or after `ack_idle`.
    assert_eq!(stream.poll_timeout(), Some(now + secs(30)));
    assert_eq!(stream.handle_timeout(now + secs(29)), Ok(None));
    assert_eq!(stream.handle_timeout(now + secs(30)), Ok(Some(Nonza::AckRequest)));
    assert_eq!([(); 2].map(|()| asks(&mut stream)), [false, false]);
    ack(&mut stream, 5, now).unwrap();
    assert!(asks(&mut stream));
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
