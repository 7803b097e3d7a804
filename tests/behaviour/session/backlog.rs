//! What has no room waits.

use super::*;
use xmpp_sm::{EndReason, Offer, OnFull, Stanza};

fn small(buffer: u32, backlog: u32) -> Config {
    Config::default().buffer_max(n(buffer)).backlog_max(n(backlog))
}

#[test]
fn what_has_no_room_waits_in_order_and_goes_out_as_acknowledgements_come() {
    let mut host = Host::new(small(2, 10));
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>", "<m5/>"] {
        host.send(stanza);
    }
    assert_eq!(host.written(), "<m1/> <r/> <m2/> <r/>");
    assert_eq!(host.session.waiting(), 3);
    host.ack(1);
    assert_eq!(host.written(), "<m3/> <r/>");
    host.ack(3);
    assert_eq!(host.written(), "<m4/> <r/> <m5/> <r/>");
    host.ack(5);
    assert_eq!((host.written().as_str(), host.session.unacked(), host.session.waiting()), ("", 0, 0));
}

#[test]
fn what_the_peer_may_not_have_can_be_looked_at_in_order() {
    let mut host = Host::new(small(2, 10));
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.written();
    let pending = |host: &Host| host.session.pending().map(|stanza| stanza.to_vec()).collect::<Vec<_>>();
    assert_eq!(pending(&host), [b"<m1/>", b"<m2/>", b"<m3/>"]);
    host.ack(1);
    assert_eq!(pending(&host), [b"<m2/>", b"<m3/>"]);
    host.lost();
    host.send("<m4/>");
    assert_eq!(pending(&host), [b"<m2/>", b"<m3/>", b"<m4/>"]);

    // What is written and not kept is not pending.
    let mut host = Host::new(Config::default().buffer(false));
    host.send("<m1/>");
    assert_eq!(pending(&host), [b"<m1/>"]);
    host.written();
    assert!(pending(&host).is_empty());
}

#[test]
fn the_session_asks_for_room_itself() {
    let mut host = Host::new(small(2, 10).request_acks(false));
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    assert_eq!(host.written(), "<m1/> <m2/> <r/>");
    // A peer that answers, and is slow, is asked a second later, and not in a circle.
    host.ack(0);
    assert_eq!(host.written(), "");
    host.wait(secs(1));
    assert_eq!(host.written(), "<r/>");
    host.ack(2);
    assert_eq!(host.written(), "<m3/>(late)");
}

#[test]
fn a_backlog_over_its_bound_has_a_grace_and_then_ends_the_session_in_order() {
    let mut host = Host::new(small(1, 2));
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>"] {
        host.send(stanza);
        host.written();
    }
    assert!(host.said().is_empty(), "two wait, and one in the grace");
    host.wait(secs(4));
    assert!(!host.session.is_over());
    host.wait(secs(2));
    assert_eq!(host.written(), "<a h='0'/> error:resource-constraint close");
    host.wait(secs(3));
    let ended = host.ended();
    assert_eq!(ended.reason, EndReason::BufferFull);
    assert_eq!(left(ended), ["Unacknowledged <m1/>", "Unsent <m2/>", "Unsent <m3/>", "Unsent <m4/>"]);
}

#[test]
fn room_within_the_grace_saves_the_session() {
    let mut host = Host::new(small(1, 2));
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>"] {
        host.send(stanza);
        host.written();
    }
    host.wait(secs(4));
    host.ack(1);
    assert_eq!(host.written(), "<m2/>(late) <r/>");
    host.wait(secs(30));
    assert!(!host.session.is_over());
}

#[test]
fn the_grace_stands_still_while_the_host_does_not_read() {
    let mut host = Host::new(small(1, 2).receipts_max(n(1)).settle_timeout(secs(60)));
    let open = host.receive();
    assert!(!host.session.wants_read(), "so that an <a/> may lie unread");
    host.wait(secs(1));
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>"] {
        host.send(stanza);
        host.written();
    }
    host.wait(secs(30));
    assert!(host.said().is_empty());
    host.settle(open);
    host.wait(secs(4));
    assert!(host.said().is_empty());
    host.wait(secs(2));
    assert!(host.written().contains("error:resource-constraint"));
}

#[test]
fn twice_the_bound_is_the_end_of_any_grace() {
    let five_bytes = std::num::NonZeroUsize::new(5).unwrap();
    for (config, fits) in [(small(1, 2), 5), (small(1, 100).backlog_max_bytes(five_bytes), 3)] {
        let mut host = Host::new(config);
        for _ in 0..fits {
            host.send("<m1/>");
            host.written();
        }
        assert!(host.session.deadline().is_some() && host.said().is_empty());
        host.send("<m2/>");
        assert_eq!(host.written(), "<a h='0'/> error:resource-constraint close");
    }
}

#[test]
fn a_detached_session_is_over_at_its_bound_and_hands_back_everything_in_order() {
    let mut host = Host::new(small(100, 2));
    host.send("<m1/>");
    host.written();
    host.lost();
    for stanza in ["<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    assert_eq!(host.said(), [Said::Dropped(1)]);
    host.send("<m4/>");
    let ended = host.ended();
    assert_eq!(ended.reason, EndReason::BufferFull);
    assert_eq!(left(ended), ["Unacknowledged <m1/>", "Unsent <m2/>", "Unsent <m3/>", "Unsent <m4/>"]);
}

#[test]
fn a_stanza_larger_than_the_whole_buffer_goes_out_alone() {
    let bytes = std::num::NonZeroUsize::new(10).unwrap();
    let mut host = Host::new(Config::default().buffer_max_bytes(bytes));
    host.send("<m1/>");
    host.send("<large-one/>");
    assert_eq!(host.written(), "<m1/> <r/>");
    host.ack(1);
    assert_eq!(host.written(), "<large-one/> <r/>");
    host.ack(2);
    host.lost();
    assert!(host.session.is_detached());
}

#[test]
fn evicted_stanzas_are_never_passed_on_while_the_session_lives() {
    let config = small(2, 10).on_full(OnFull::EvictOldest).evicted_max_bytes(10_000);
    let mut host = Host::new(config);
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>", "<m5/>"] {
        host.send(stanza);
    }
    assert_eq!(host.written(), "<m1/> <r/> <m2/> <r/> <m3/> <r/> <m4/> <r/> <m5/> <r/>");
    assert!(host.said().is_empty());
    host.ack(2);
    host.lost();
    let ended = host.ended();
    assert_eq!(ended.reason, EndReason::NotResumable, "m3 is missing");
    assert_eq!(left(ended), ["Evicted <m3/>", "Unacknowledged <m4/>", "Unacknowledged <m5/>"]);
}

#[test]
fn past_the_gap_a_session_can_be_resumed() {
    let mut host = Host::new(small(2, 10).on_full(OnFull::EvictOldest));
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>"] {
        host.send(stanza);
    }
    host.written();
    assert_eq!(host.session.evicted_forgotten(), 2);
    host.ack(2);
    host.lost();
    assert!(host.session.is_detached());
    host.take(2, 3);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m4/>(late) <r/>");
}

#[test]
fn evicted_stanzas_are_kept_within_their_bound() {
    let entry = size_of::<xmpp_sm::Returned<Bytes>>() + 5;
    let config = small(1, 10).on_full(OnFull::EvictOldest).evicted_max_bytes(2 * entry);
    let mut host = Host::new(config);
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>", "<m5/>"] {
        host.send(stanza);
        host.written();
    }
    assert_eq!(host.session.evicted_forgotten(), 2);
    host.lost();
    assert_eq!(left(host.ended()), ["Evicted <m3/>", "Evicted <m4/>", "Unacknowledged <m5/>"]);
}

/// A presence replaces an earlier one of the same sender, the first letter.
#[derive(Debug, Clone, PartialEq)]
struct Presence(&'static str);

impl Stanza for Presence {
    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn replaces(&self, older: &Self) -> bool {
        self.0[..1] == older.0[..1]
    }
}

#[test]
fn while_nobody_is_connected_the_newest_of_each_sender_is_kept() {
    let config = Arc::new(small(100, 3));
    let now = Instant::now();
    let mut session: Session<Presence, ()> = Unbound::new(config, OWNER).bind(());
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
    session.accept_enable(request, SmId::new("sm-1").ok(), now).unwrap();
    session.send(Presence("b0"), now).unwrap();
    while session.next_write(now).is_some() {}
    session.lost(now);
    let changes = ["a1", "b1", "a2", "a3", "b2"];
    for _ in 0..110 {
        for change in changes {
            session.send(Presence(change), now).unwrap();
        }
    }
    assert!(session.is_detached());
    session.close(EndReason::Stopped, None, now);
    let ended = std::iter::from_fn(|| session.poll()).find_map(|event| match event {
        Event::Ended(ended) => Some(ended),
        _ => None,
    });
    let left: Vec<_> = ended.unwrap().stanzas.map(|left| left.stanza.0).collect();
    // What was written is not replaced: the peer may have it, and its number counts.
    assert_eq!(left, ["b0", "a3", "b2"]);
}

#[test]
fn what_may_be_on_its_way_is_not_replaced() {
    let (config, now) = (Arc::new(Config::default()), Instant::now());
    let mut client = Session::client(config.clone(), OWNER);
    client.connect(OWNER, Offer { stream_management: true, binds: true }, (), now).unwrap();
    for mut session in [Unbound::new(config, OWNER).bind(()), client] {
        for change in ["a1", "a2"] {
            session.send(Presence(change), now).unwrap();
        }
        assert_eq!(session.waiting(), 2);
    }
}

#[test]
fn a_stanza_larger_than_the_whole_buffer_is_evicted_once_it_is_written() {
    let bytes = std::num::NonZeroUsize::new(10).unwrap();
    let config = Config::default().buffer_max_bytes(bytes).on_full(OnFull::EvictOldest);
    for evicted_max in [10_000, 0] {
        let mut host = Host::new(config.clone().evicted_max_bytes(evicted_max));
        for stanza in ["<m1/>", "<large-one/>", "<m3/>"] {
            host.send(stanza);
        }
        assert_eq!(host.written(), "<m1/> <r/> <large-one/> <r/> <m3/> <r/>");
        let forgotten = if evicted_max == 0 { 2 } else { 0 };
        assert_eq!(host.session.evicted_forgotten(), forgotten);
        host.lost();
        let left = left(host.ended());
        let kept = ["Evicted <m1/>", "Evicted <large-one/>", "Unacknowledged <m3/>"];
        assert_eq!(left, kept[usize::try_from(forgotten).unwrap()..]);
    }
}

#[test]
fn a_stanza_that_replaces_another_is_taken_whatever_else_waits() {
    let bytes = |bytes| std::num::NonZeroUsize::new(bytes).unwrap();
    let config = Config::default().backlog_max_bytes(bytes(8));
    let mut session: Session<Presence, ()> = Session::client(Arc::new(config), OWNER);
    let now = Instant::now();
    // What is replaced takes no place any more.
    for change in ["a1", "a2", "a3", "a4", "a5", "a6", "b-is-larger", "a7"] {
        session.send(Presence(change), now).unwrap();
    }
    assert_eq!(session.waiting(), 2);
    assert!(session.send(Presence("c1"), now).is_err());
}

#[test]
fn what_is_acknowledged_makes_room_among_the_evicted() {
    let entry = size_of::<xmpp_sm::Returned<Bytes>>() + 5;
    let mut host = Host::new(small(1, 10).on_full(OnFull::EvictOldest).evicted_max_bytes(2 * entry));
    for round in 1..4 {
        for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
            host.send(stanza);
            host.written();
        }
        host.ack(3 * round);
    }
    assert_eq!(host.session.evicted_forgotten(), 0);
}

#[test]
fn a_taker_that_waits_gives_the_backlog_its_grace() {
    let mut host = Host::new(small(100, 2));
    let open = host.receive();
    host.lost();
    host.take(2, 0);
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    host.settle(open);
    assert!(host.written().ends_with("<m3/> <r/>"));
    host.wait(secs(30));
    assert!(!host.session.is_over());
}

#[test]
fn stanzas_over_the_bound_do_not_prolong_the_grace() {
    let mut host = Host::new(small(1, 2));
    for stanza in ["<m1/>", "<m2/>", "<m3/>", "<m4/>"] {
        host.send(stanza);
        host.written();
    }
    host.wait(secs(4));
    host.send("<m5/>");
    host.wait(secs(2));
    assert_eq!(host.written(), "<a h='0'/> error:resource-constraint close");
}

#[test]
fn after_a_resumption_the_session_asks_for_room_itself() {
    let mut host = Host::new(small(1, 10).request_acks(false));
    host.send("<m1/>");
    host.written();
    host.lost();
    host.send("<m2/>");
    host.take(2, 0);
    assert_eq!(host.written(), "| <resumed previd='sm-1' h='0'/> | <m1/>(late) <r/>");
}

#[test]
fn a_stanza_that_no_buffer_takes_comes_back_with_its_time() {
    let bytes = std::num::NonZeroUsize::new(4).unwrap();
    let mut host = Host::new(Config::default().buffer_max_bytes(bytes));
    let queued = host.now;
    host.send("<larger-than-twice/>");
    host.pass(secs(1));
    assert_eq!(host.written(), "<a h='0'/> error:resource-constraint close");
    host.wait(secs(3));
    assert_eq!(host.ended().stanzas.next().map(|left| left.queued), Some(queued));
}

#[test]
fn a_stanza_that_makes_room_by_what_it_replaces_ends_the_grace() {
    let bytes = std::num::NonZeroUsize::new(8).unwrap();
    let host = Host::new(Config::default().backlog_max_bytes(bytes).settle_timeout(secs(60)));
    let mut now = host.now;
    let mut session: Session<Presence, u32> = Unbound::new(host.config.clone(), OWNER).bind(1);
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
    session.accept_enable(request, SmId::new("sm-1").ok(), now).unwrap();
    let Ok(Arrival::Stanza(open)) = session.handle(Inbound::Stanza { bytes: 1 }, now) else { panic!() };
    session.lost(now);
    session.take(host.taker(2, 0), now);
    session.send(Presence("a-is-larger"), now).unwrap();
    session.send(Presence("a2"), now).unwrap();
    for _ in 0..20 {
        now += secs(1);
        session.timeout(now);
    }
    session.settle(open, now).unwrap();
    assert_eq!((session.connection(), session.waiting()), (Some(&2), 1));
}

#[test]
fn a_stanza_that_makes_room_in_place_of_one_that_waits_ends_the_grace() {
    let bytes = std::num::NonZeroUsize::new(20).unwrap();
    let mut host = Host::new(small(1, 10).backlog_max_bytes(bytes));
    for stanza in ["<m1/>", "<m2/>", "<this-is-too-large/>"] {
        host.send(stanza);
        host.written();
    }
    host.wait(secs(4));
    assert!(host.session.replace(|stanza| stanza == "<this-is-too-large/>", Bytes::from("<m3/>")).is_ok());
    host.wait(secs(30));
    assert_eq!((host.said(), host.session.waiting()), (vec![], 2));
}

/// A push service hears of each stanza, whatever it stands for.
#[test]
fn a_stanza_that_replaces_another_is_reported_too() {
    let mut session: Session<Presence, u32> = Unbound::new(Arc::new(Config::default()), OWNER).bind(1);
    let now = Instant::now();
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = session.handle(enable.into(), now) else { panic!() };
    session.accept_enable(request, SmId::new("sm-1").ok(), now).unwrap();
    session.report_detached(true);
    session.lost(now);
    for change in ["a1", "a2"] {
        session.send(Presence(change), now).unwrap();
    }
    assert_eq!(session.waiting(), 1);
    let queued = std::iter::from_fn(|| session.poll()).filter(|event| matches!(event, Event::Queued));
    assert_eq!(queued.count(), 2);
}

/// While the request was out, this side did not read. It does again.
#[test]
fn the_grace_begins_on_a_stream_whose_enable_was_refused() {
    let mut host = Host::bound(small(1, 2));
    let receipt = host.receive();
    let enable = Nonza::Enable(Enable { resume: true, max: None });
    let Ok(Arrival::Enable(request)) = host.handle(enable) else { panic!() };
    host.settle(receipt);
    host.pass(secs(7));
    host.session.refuse_enable(request, xmpp_sm::Condition::ResourceConstraint, host.now).unwrap();
    for stanza in ["<m1/>", "<m2/>", "<m3/>"] {
        host.send(stanza);
    }
    assert_eq!(host.session.deadline(), Some(host.now + secs(5)));
}
