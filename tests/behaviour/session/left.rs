//! Why a session leaves a connection.

use xmpp_sm::{Config, Counter, EndReason, Error, Event, Inbound, Kind, LeftWhy, WrongH};

use super::*;

/// What the host is told after this has happened.
fn why(happens: impl FnOnce(&mut Host)) -> LeftWhy {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    happens(&mut host);
    // The last words are written, and the peer says nothing more.
    while host.session.next_write(host.now).is_some() {}
    host.wait(secs(10));
    let mut left = std::iter::from_fn(|| host.session.poll()).filter_map(|event| match event {
        Event::Left { why, .. } => Some(why),
        _ => None,
    });
    left.next().expect("it leaves its connection")
}

#[test]
fn the_host_is_told_why_a_connection_is_left() {
    assert_eq!(why(Host::lost), LeftWhy::Lost);
    assert_eq!(why(|host| host.take(2, 0)), LeftWhy::TakenOver);
    assert_eq!(why(|host| host.session.close(EndReason::Stopped, None, host.now)), LeftWhy::Closed);
    assert_eq!(why(|host| host.session.peer_closed(host.now)), LeftWhy::PeerClosed);
    let error = Inbound::StreamError { conflict: false };
    let told = why(|host| drop(host.session.handle(error, host.now)));
    assert_eq!(told, LeftWhy::PeerError { conflict: false });
}

#[test]
fn a_fault_of_the_peer_is_told() {
    let wrong = WrongH::TooHigh { h: Counter::new(7), sent: Counter::new(1) };
    let error = Error::WrongH { element: Kind::Ack, why: wrong };
    assert_eq!(why(|host| host.ack(7)), LeftWhy::Error(error));
    assert_eq!(why(|host| host.wait(secs(61))), LeftWhy::Error(Error::AckTimeout));
    // Also if the connection is lost before the last words are written.
    let told = why(|host| {
        host.ack(7);
        host.lost();
    });
    assert_eq!(told, LeftWhy::Error(error));
}
