//! Another connection asks for the session.

use super::*;
use xmpp_sm::{EndReason, Refusal, StaleH};

#[test]
fn a_live_stream_that_is_quiet_is_taken_over_at_once() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.take(2, 0);
    assert_eq!(host.said(), [Said::Parted(1, "conflict".into()), Said::Resumed]);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m1/>(late) <r/>");
    assert_eq!(host.session.connection(), Some(&2));
}

#[test]
fn a_take_with_a_wrong_h_leaves_the_session_as_it_was() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    let failed = "<failed><bad-request/></failed>";
    host.take(2, 2);
    assert_eq!(host.said(), [Said::Refused(2, failed.into())]);
    assert_eq!(host.session.connection(), Some(&1));
    host.lost();
    let deadline = host.session.deadline();
    host.pass(secs(9));
    host.take(3, 7);
    assert_eq!(host.said(), [Said::Dropped(1), Said::Refused(3, failed.into())]);
    assert_eq!((host.session.deadline(), host.session.unacked()), (deadline, 1));
    host.take(4, 1);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> |");
}

/// At another node, the client would only be told so when its session has left its connection.
#[test]
fn whether_an_h_is_possible_is_known_before_the_session_goes_to_another_node() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    let h = |h| host.taker(2, h).h();
    let [possible, wrong] = [h(1), h(2)];
    let is_wrong = |host: &Host| matches!(host.session.check_resume(wrong), Err(Refusal::WrongH(_)));
    assert!(host.session.check_resume(possible).is_ok() && is_wrong(&host));
    assert_eq!(host.session.connection(), Some(&1));
    host.lost();
    assert!(host.session.check_resume(possible).is_ok() && is_wrong(&host));
    host.session.close(EndReason::Stopped, None, host.now);
    assert_eq!(host.session.check_resume(possible), Err(Refusal::NotFound));
    // Nor without stream management.
    assert_eq!(Host::bound(Config::default()).session.check_resume(possible), Err(Refusal::NotFound));
}

#[test]
fn to_know_an_sm_id_is_not_enough() {
    let mut host = Host::new(Config::default());
    host.lost();
    let failed = "<failed><item-not-found/></failed>";
    let (now, stranger) = (host.now, host.taker_of("romeo@example.net", "sm-1", 2, 0));
    host.session.take(stranger, now);
    let other = host.taker_of(OWNER, "sm-2", 3, 0);
    host.session.take(other, now);
    let refused = |connection| Said::Refused(connection, failed.into());
    assert_eq!(host.said(), [Said::Dropped(1), refused(2), refused(3)]);
    assert!(host.session.is_detached());
}

#[test]
fn a_session_that_is_not_resumable_is_not_to_be_had() {
    let mut host = Host::bound(Config::default());
    host.take(2, 0);
    assert_eq!(host.said(), [Said::Refused(2, "<failed><item-not-found/></failed>".into())]);
    assert_eq!(host.session.connection(), Some(&1));
}

#[test]
fn open_receipts_are_waited_for_and_h_covers_them() {
    let mut host = Host::new(Config::default());
    let (first, second) = (host.receive(), host.receive());
    host.lost();
    host.take(2, 0);
    assert_eq!(host.written(), "");
    host.settle(second);
    assert_eq!(host.written(), "");
    host.settle(first);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='2'/> |");
}

#[test]
fn a_lost_receipt_holds_nobody_up_for_longer_than_its_time() {
    let mut host = Host::new(Config::default().settle_timeout(secs(7)));
    drop(host.receive());
    let late = host.receive();
    host.take(2, 0);
    host.wait(secs(6));
    assert_eq!(host.written(), "");
    host.wait(secs(1));
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='2'/> |");
    assert!(host.session.settle(late, host.now).is_err(), "its stanza was settled without it");
}

#[test]
fn stanzas_that_arrive_while_a_taker_waits_come_in_order() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    let open = host.receive();
    host.take(2, 0);
    host.send("<m2/>");
    host.settle(open);
    host.send("<m3/>");
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='1'/> | <m1/>(late) <r/> <m2/> <r/> <m3/> <r/>");
}

#[test]
fn of_two_that_ask_the_later_one_gets_the_session() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.lost();
    host.take(2, 0);
    host.take(3, 0);
    let conflict = "<failed><conflict/></failed>";
    assert_eq!(host.said(), [Said::Dropped(1), Said::Refused(2, conflict.into())]);
    host.settle(open);
    assert_eq!(host.said(), [Said::Resumed]);
    assert_eq!(host.session.connection(), Some(&3));
    // And when both have it, one after the other.
    host.take(4, 0);
    assert_eq!(host.said(), [Said::Parted(3, "conflict".into()), Said::Resumed]);
}

#[test]
fn a_connection_that_is_gone_by_the_time_is_lost_like_any_other() {
    let mut host = Host::new(Config::default());
    host.send("<m1/>");
    host.written();
    host.take(2, 0);
    host.lost();
    assert_eq!(host.said(), [Said::Parted(1, "conflict".into()), Said::Resumed, Said::Dropped(2)]);
    host.take(3, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m1/>(late) <r/>");
}

#[test]
fn while_the_session_ends_it_is_not_to_be_had_and_its_client_learns_the_last_h() {
    for (enabled, failed) in
        [(true, "<failed h='1'><item-not-found/></failed>"), (false, "<failed><item-not-found/></failed>")]
    {
        let mut host = Host::new(Config::default().stale_h(StaleH { enabled, ..StaleH::default() }));
        let open = host.receive();
        host.session.close(EndReason::Stopped, None, host.now);
        host.take(2, 0);
        // The client is back: it reads nothing more on its former connection.
        assert_eq!(host.said(), [Said::Dropped(1)]);
        host.settle(open);
        let said = host.said();
        assert!(matches!(&said[..], [Said::Refused(2, told), Said::Ended(_)] if told == failed), "{said:?}");
        host.take(3, 0);
        assert!(matches!(&host.said()[..], [Said::Refused(3, _)]));
    }
}

#[test]
fn a_taker_that_waits_does_not_outlive_the_end() {
    let mut host = Host::new(Config::default());
    let _open = host.receive();
    host.lost();
    host.take(2, 0);
    host.session.close(EndReason::Replaced, conflict(), host.now);
    host.wait(secs(5));
    let said = host.said();
    assert!(matches!(&said[..], [Said::Dropped(1), Said::Refused(2, _), Said::Ended(_)]), "{said:?}");
}

#[test]
fn a_client_that_asks_too_late_ends_the_session_and_may_learn_its_h() {
    for (enabled, failed) in
        [(true, "<failed h='1'><item-not-found/></failed>"), (false, "<failed><item-not-found/></failed>")]
    {
        let mut host = Host::new(Config::default().stale_h(StaleH { enabled, ..StaleH::default() }));
        let receipt = host.receive();
        host.settle(receipt);
        host.lost();
        host.pass(secs(600));
        host.take(2, 0);
        let said = host.said();
        let [Said::Dropped(1), Said::Refused(2, told), Said::Ended(ended)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((told.as_str(), ended.reason, ended.h), (failed, EndReason::Expired, counter(1)));
    }
}

#[test]
fn a_request_of_another_stream_is_not_taken() {
    let config = Arc::new(Config::default());
    let now = Instant::now();
    let request = |stream: &mut Unbound| {
        let resume = Resume { previd: SmId::new("sm-1").unwrap(), h: counter(0) };
        let Ok(Early::Resume(request)) = stream.handle(Nonza::Resume(resume).into(), now) else { panic!() };
        request
    };
    let (mut one, mut other) = (Unbound::new(config.clone(), OWNER), Unbound::new(config, OWNER));
    let (of_one, of_other) = (request(&mut one), request(&mut other));
    let not = one.into_taker(of_other, 7).unwrap_err();
    assert_eq!(not.connection, 7);
    // All is as it was: the right one is taken.
    assert!(not.stream.into_taker(of_one, 7).is_ok());
    assert!(other.into_taker(not.request, 8).is_ok());
}

#[test]
fn a_request_that_is_dropped_is_refused_in_time_and_the_stream_goes_on() {
    let mut stream = Unbound::new(Arc::new(Config::default()), OWNER);
    let now = Instant::now();
    let resume = Nonza::Resume(Resume { previd: SmId::new("sm-1").unwrap(), h: counter(0) });
    drop(stream.handle(resume.clone().into(), now));
    assert_eq!(stream.handle(Inbound::Other, now).err(), Some(NotNow(Inbound::Other)));
    assert_eq!(stream.timeout(now), None);
    let due = stream.deadline().expect("it is bounded");
    assert_eq!(due, now + secs(30));
    assert!(stream.timeout(due).unwrap().to_string().contains("<internal-server-error "));
    assert!(stream.has_feature() && stream.deadline().is_none());
    assert!(matches!(stream.handle(resume.into(), due), Ok(Early::Resume(_))));
}

#[test]
fn a_backlog_in_its_grace_does_not_end_a_session_that_moves() {
    let mut host = Host::new(Config::default().buffer_max(n(1)).backlog_max(n(1)));
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
        host.written();
    }
    assert_eq!(host.session.waiting(), 2);
    host.take(2, 1);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m2/> <r/>");
    assert_eq!(host.said(), [Said::Parted(1, "conflict".into()), Said::Resumed]);
    // Without another connection it is over at once.
    host.send("<m4/>");
    host.lost();
    assert_eq!(host.ended().reason, EndReason::BufferFull);
}

#[test]
fn a_stream_that_is_bound_over_a_request_refuses_it() {
    let config = Arc::new(Config::default());
    let mut stream = Unbound::new(config, OWNER);
    let resume = Resume { previd: SmId::new("sm-1").unwrap(), h: counter(0) };
    let now = Instant::now();
    let Ok(Early::Resume(_forgotten)) = stream.handle(Nonza::Resume(resume).into(), now) else { panic!() };
    let mut session: Session<Bytes, u32> = stream.bind(1);
    let Some((1, Write::Nonza(failed))) = session.next_write(now) else { panic!("the client waits") };
    assert!(failed.to_string().contains("<internal-server-error "));
}

#[test]
fn an_earlier_connection_whose_request_is_read_later_does_not_get_the_session() {
    let mut host = Host::new(Config::default());
    host.lost();
    let mut earlier = Unbound::new(host.config.clone(), OWNER);
    let later = host.taker(3, 0);
    host.pass(secs(1));
    let resume = Resume { previd: SmId::new("sm-1").unwrap(), h: counter(0) };
    let Ok(Early::Resume(request)) = earlier.handle(Nonza::Resume(resume).into(), host.now) else { panic!() };
    let earlier = earlier.into_taker(request, 2).unwrap();
    host.session.take(later, host.now);
    host.session.take(earlier, host.now);
    let said = host.said();
    let conflict = Said::Refused(2, "<failed><conflict/></failed>".into());
    assert_eq!(said, [Said::Dropped(1), Said::Resumed, conflict]);
    assert_eq!(host.session.connection(), Some(&3));
}

#[test]
fn of_two_the_one_that_asked_first_does_not_get_the_session_because_it_comes_last() {
    for is_open in [true, false] {
        let mut host = Host::new(Config::default());
        let open = is_open.then(|| host.receive());
        let first = host.taker(2, 0);
        host.pass(secs(1));
        host.take(3, 0);
        host.session.take(first, host.now);
        open.into_iter().for_each(|open| host.settle(open));
        let said = host.said();
        assert!(said.contains(&Said::Refused(2, "<failed><conflict/></failed>".into())), "{said:?}");
        assert_eq!(host.session.connection(), Some(&3));
    }
}

#[test]
fn of_three_that_ask_the_latest_keeps_the_session() {
    let mut host = Host::new(Config::default());
    host.lost();
    let [first, second, third] = [2, 3, 4].map(|connection| host.taker(connection, 0));
    for taker in [first, third, second] {
        host.session.take(taker, host.now);
    }
    let conflict = Said::Refused(3, "<failed><conflict/></failed>".into());
    let parted = Said::Parted(2, "conflict".into());
    assert_eq!(host.said(), [Said::Dropped(1), Said::Resumed, parted, Said::Resumed, conflict]);
    assert_eq!(host.session.connection(), Some(&4));
}

#[test]
fn a_taker_that_comes_after_the_last_words_learns_the_last_h() {
    let mut host = Host::new(Config::default().stale_h(StaleH { enabled: true, ..StaleH::default() }));
    host.session.close(EndReason::Stopped, None, host.now);
    assert_eq!(host.written(), "<a h='0'/> close");
    host.take(2, 0);
    let said = host.said();
    let failed = "<failed h='0'><item-not-found/></failed>";
    assert!(
        matches!(&said[..], [Said::Dropped(1), Said::Refused(2, told), Said::Ended(_)] if told == failed),
        "{said:?}"
    );
}

#[test]
fn what_has_waited_for_a_second_is_late_and_no_other() {
    let mut host = Host::new(Config::default());
    host.lost();
    host.send("<m1/>");
    host.pass(Duration::from_millis(1));
    host.send("<m2/>");
    host.pass(Duration::from_millis(999));
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m1/>(late) <r/> <m2/> <r/>");
}

#[test]
fn the_later_of_two_that_ask_has_all_its_time_for_receipts() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.lost();
    host.take(2, 0);
    host.wait(secs(4));
    host.take(3, 0);
    host.wait(secs(4));
    host.settle(open);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='1'/> |");
    assert_eq!(host.session.stats(host.now).receipts_given_up, 0);
}

#[test]
fn an_end_has_all_its_time_for_receipts_whoever_waited_before() {
    let mut host = Host::new(Config::default());
    let open = host.receive();
    host.lost();
    host.take(2, 0);
    host.wait(secs(4));
    host.session.close(EndReason::Stopped, None, host.now);
    host.wait(secs(4));
    assert!(!host.session.is_over());
    host.settle(open);
    assert_eq!(host.ended().h, counter(1));
}

/// A host that gives a receipt up by its number is done with it, as one that settles it.
#[test]
fn a_stanza_that_is_settled_without_its_receipt_holds_nobody_up() {
    let mut host = Host::new(Config::default());
    drop(host.receive());
    host.lost();
    host.take(2, 0);
    assert_eq!(host.written(), "");
    host.session.settle_without_receipt(counter(1), host.now).unwrap();
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='1'/> |");
}

/// A host that has read its options again makes its new streams with them. Which stream is later cannot be told, and each
/// of the client's connections gets the session.
#[test]
fn streams_with_other_options_are_not_older() {
    for _ in 0..20 {
        let mut host = Host::new(Config::default());
        host.take(2, 0);
        assert!(host.said().contains(&Said::Resumed));
        host.config = Arc::new(Config::default());
        for connection in 3..6 {
            host.take(connection, 0);
            assert!(host.said().contains(&Said::Resumed), "{connection}");
        }
    }
}

/// A later connection that may not have the session does not keep an earlier one from it.
#[test]
fn a_connection_that_is_refused_stands_in_nobodys_way() {
    let mut host = Host::new(Config::default());
    host.lost();
    let first = host.taker(2, 0);
    let stranger = host.taker_of("romeo@example.net", "sm-1", 3, 0);
    host.session.take(stranger, host.now);
    host.take(4, 17);
    host.session.take(first, host.now);
    assert!(matches!(&host.said()[..], [Said::Dropped(1), Said::Refused(3, _), Said::Refused(4, _), Said::Resumed]));
    assert_eq!(host.session.connection(), Some(&2));
}
