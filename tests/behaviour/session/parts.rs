//! A session given up whole, and put together again.

use bytes::Bytes;
use xmpp_sm::{Config, DoesNotFit, EndReason, NotAtRest, NotAtRestWhy, Session, SessionParts, SmId};

use super::*;

/// Why it cannot be given up. It comes back as it was.
fn refused(host: &mut Host) -> NotAtRestWhy {
    let before = format!("{:?}", host.session);
    let other = Unbound::new(host.config.clone(), OWNER).bind(9);
    let session = std::mem::replace(&mut host.session, other);
    let NotAtRest { session, why } = session.into_parts().unwrap_err();
    host.session = session;
    assert_eq!(format!("{:?}", host.session), before);
    why
}

/// The session goes through its parts. With whatever it had before.
fn through_parts(mut host: Host) -> Host {
    assert!(host.session.poll().is_none());
    let parts = host.session.into_parts().unwrap();
    host.session = Session::from_parts(host.config.clone(), parts, host.now).unwrap();
    host
}

#[test]
fn all_goes_along_in_order_and_once() {
    let mut host = Host::new(Config::default().buffer_max(n(2)));
    let receipt = host.receive();
    host.session.settle(receipt, host.now).unwrap();
    ["<a/>", "<b/>", "<c/>"].into_iter().for_each(|stanza| host.send(stanza));
    host.written();
    host.session.lost(host.now);
    host.send("<d/>");
    host.written();
    let parts = host.session.into_parts().unwrap();
    let detached = parts.detached().unwrap();
    assert_eq!((detached.h, detached.acked, &*parts.owner), (1.into(), 0.into(), OWNER));
    assert_eq!(detached.deadline, Some(host.now + secs(600)));
    let stanzas = |stanzas: &[(Bytes, Instant)]| stanzas.iter().map(|(stanza, _)| stanza.clone()).collect::<Vec<_>>();
    assert_eq!(
        (stanzas(&detached.unacked), stanzas(&parts.waiting)),
        (vec!["<a/>".into(), "<b/>".into()], vec!["<c/>".into(), "<d/>".into()])
    );
    host.session = Session::from_parts(host.config.clone(), parts, host.now).unwrap();
    host.take(2, 1);
    let written = host.written();
    assert!(written.contains("<resumed ") && written.contains(" h='1'"), "{written}");
    assert!(written.find("<b/>") < written.find("<c/>") && !written.contains("<a/>"), "{written}");
}

#[test]
fn its_deadline_goes_along_and_ends_it() {
    let mut host = Host::new(Config::default());
    host.send("<a/>");
    host.written();
    host.session.lost(host.now);
    host.written();
    let mut host = through_parts(host);
    assert_eq!(host.session.deadline(), Some(host.now + secs(600)));
    host.wait(secs(601));
    let ended = host.ended();
    assert_eq!((ended.reason, left(ended)), (EndReason::Expired, vec!["Unacknowledged <a/>".to_owned()]));
}

#[test]
fn what_cannot_be_given_up_comes_back_with_the_reason() {
    let mut host = Host::new(Config::default());
    assert_eq!(refused(&mut host), NotAtRestWhy::Connected);
    let receipt = host.receive();
    host.session.lost(host.now);
    assert_eq!(refused(&mut host), NotAtRestWhy::Events);
    host.written();
    assert_eq!(refused(&mut host), NotAtRestWhy::ReceiptsOpen);
    host.take(2, 0);
    assert_eq!(refused(&mut host), NotAtRestWhy::Taken);
    host.session.settle(receipt, host.now).unwrap();
    host.written();
    assert_eq!(refused(&mut host), NotAtRestWhy::Connected);
    host.session.close(EndReason::Stopped, None, host.now);
    assert_eq!(refused(&mut host), NotAtRestWhy::Ending);
    host.session.lost(host.now);
    host.written();
    assert_eq!(refused(&mut host), NotAtRestWhy::Ending);
}

#[test]
fn what_the_options_do_not_take_comes_back() {
    let mut host = Host::new(Config::default());
    ["<a/>", "<b/>"].into_iter().for_each(|stanza| host.send(stanza));
    host.written();
    host.session.lost(host.now);
    ["<c/>", "<d/>", "<e/>"].into_iter().for_each(|stanza| host.send(stanza));
    host.written();
    let parts: SessionParts<Bytes> = host.session.into_parts().unwrap();
    let bytes = |bytes: usize| bytes.try_into().unwrap();
    // Each stanza has four bytes.
    for (buffer, backlog, buffer_bytes, backlog_bytes, fits) in
        [(2, 3, 8, 12, true), (1, 3, 8, 12, false), (2, 2, 8, 12, false), (2, 3, 7, 12, false), (2, 3, 8, 11, false)]
    {
        let config = Config::default().buffer_max(n(buffer)).buffer_max_bytes(bytes(buffer_bytes));
        let config = Arc::new(config.backlog_max(n(backlog)).backlog_max_bytes(bytes(backlog_bytes)));
        match Session::<_, u32>::from_parts(config, parts.clone(), host.now) {
            Ok(session) => assert!(fits && session.unacked() == 2 && session.waiting() == 3),
            Err(DoesNotFit { parts: back }) => assert!(!fits && back == parts),
        }
    }
}

#[test]
fn a_receipt_of_the_session_that_was_given_up_settles_nothing_in_the_next() {
    let mut host = Host::new(Config::default());
    let receipt = host.receive();
    host.session.lost(host.now);
    host.written();
    host.session.settle_without_receipt(1.into(), host.now).unwrap();
    let mut host = through_parts(host);
    assert!(host.session.settle(receipt, host.now).is_err());
    assert_eq!((host.session.h(), host.session.smid()), (Some(1.into()), SmId::new("sm-1").ok().as_ref()));
}

#[test]
fn a_session_that_is_given_up_waits_for_no_receipt_any_more() {
    let mut host = Host::new(Config::default());
    let (first, _lost) = (host.receive(), host.receive());
    host.take(2, 0); // a connection that waits for them
    host.session.lost(host.now);
    host.session.settle_all(host.now);
    assert!(host.session.settle(first, host.now).is_err(), "it is settled");
    host.session.lost(host.now); // the one that had waited has it now
    host.said();
    assert_eq!(host.session.stats(host.now).receipts_given_up, 2);
    let parts = host.session.into_parts().map_err(|not| not.why);
    assert_eq!(parts.map(|parts| parts.detached().map(|parts| parts.h)), Ok(Some(2.into())));
}
