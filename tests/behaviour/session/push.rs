//! What a push service has to know, once each.

use std::sync::Arc;
use std::time::Instant;

use xmpp_sm::{Config, Session};

use super::{Host, Said, secs};

fn host() -> Host {
    let mut host = Host::new(Config::default());
    host.session.report_detached(true);
    host
}

const DROPPED: Said = Said::Dropped(1);

#[test]
fn it_is_told_once_that_a_session_is_detached_and_once_of_each_stanza() {
    let mut host = host();
    host.send("<a/>");
    host.send("<b/>");
    assert_eq!(host.said(), [], "there is a connection");
    host.written();
    host.send("<c/>");
    host.lost();
    assert_eq!(host.said(), [DROPPED, Said::Detached { unacked: 2, waiting: 1 }]);
    host.lost();
    host.wait(secs(60));
    assert_eq!(host.said(), []);
    host.send("<d/>");
    assert_eq!(host.said(), [Said::Queued]);
    host.send("<e/>");
    assert_eq!(host.said(), [Said::Queued]);

    host.take(2, 0);
    host.written();
    assert_eq!(host.said(), [Said::Resumed]);
    host.lost();
    assert_eq!(host.said(), [Said::Dropped(2), Said::Detached { unacked: 5, waiting: 0 }], "once each time");
}

#[test]
fn where_it_is_off_nothing_is_said() {
    for on in [false, true] {
        let mut host = host();
        host.session.report_detached(on);
        host.lost();
        host.send("<a/>");
        assert_eq!(host.said().len(), if on { 3 } else { 1 });
    }
}

#[test]
fn a_client_that_has_no_session_yet_is_not_detached() {
    let mut session: Session<&str, ()> = Session::client(Arc::new(Config::default()), "juliet@example.com");
    session.report_detached(true);
    session.send("<a/>", Instant::now()).unwrap();
    assert!(session.poll().is_none());
}

/// The device is awake: its client has come.
#[test]
fn a_session_that_is_taken_over_is_not_reported() {
    let mut host = host();
    let receipt = host.receive();
    host.take(2, 0);
    host.send("<a/>");
    let said = host.said();
    assert!(matches!(&said[..], [Said::Parted(1, words)] if words == "conflict"), "{said:?}");
    host.settle(receipt);
    assert_eq!(host.said(), [Said::Resumed]);
}

/// The phone may sleep with its connection open: a push service wakes it before the connection counts as lost.
#[test]
fn since_when_a_request_is_unanswered_can_be_seen() {
    let mut host = host();
    assert_eq!(host.session.ack_requested_at(), None);
    host.send("<a/>");
    assert_eq!(host.session.ack_requested_at(), None, "it is not written yet");
    host.written();
    let asked = host.now;
    host.wait(secs(7));
    host.send("<b/>");
    host.written();
    assert_eq!(host.session.ack_requested_at(), Some(asked), "the oldest");
    host.ack(1);
    assert_eq!(host.session.ack_requested_at(), Some(host.now));
    host.ack(2);
    assert_eq!(host.session.ack_requested_at(), None);
    host.send("<c/>");
    host.written();
    host.lost();
    assert_eq!(host.session.ack_requested_at(), None, "nobody is asked without a connection");
}

#[test]
fn a_session_may_be_let_wait_without_end() {
    let mut host = Host::new(Config::default());
    host.lost();
    assert!(host.session.set_expires_at(None));
    assert_eq!(host.session.deadline(), None);
    host.wait(secs(1_000_000));
    assert!(host.session.is_detached());
}

#[test]
fn whoever_wakes_a_device_can_give_it_time() {
    let mut host = Host::new(Config::default().resume_timeout(Some(secs(600))));
    host.lost();
    host.wait(secs(590));
    assert!(host.session.set_expires_at(Some(host.now + secs(300))));
    host.wait(secs(290));
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> |", "it has no place for the time");
    // Of the next loss the client knows what `<enabled max>` has said.
    host.lost();
    assert_eq!(host.session.deadline(), Some(host.now + secs(600)));
    assert!(host.session.stats(host.now).detached == 2);
}
