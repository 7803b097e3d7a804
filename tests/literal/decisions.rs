//! One test for each mistake that hosts made who followed an earlier documentation.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::time::{Instant, advance, sleep};
use xmpp_sm::{EndReason, Fate, Lookup, OnFull, SessionStore, SmId};

use crate::client::{Client, Dial};
use crate::net::{CLIENT, Sees};
use crate::now;
use crate::raw::{Raw, with_server};
use crate::rng::Rng;
use crate::server::{Receipts, Server};
use crate::server_loop::Mail;
use crate::traffic::config;

const SECOND: Duration = Duration::from_secs(1);

fn client(server: &Server, name: &str) -> Client {
    Client::start(Dial::new(name, server, &Arc::new(AtomicU32::new(0)), Rng(1)), &Arc::new(config()))
}

fn few(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn late(ms: u64) -> Receipts {
    Receipts::Late { ms, lost: None }
}

#[test]
fn d1_mail_that_waits_for_a_session_is_there_for_its_next_connection() {
    with_server(config(), late(300), async |server| {
        let client = client(&server, "u0");
        sleep(SECOND).await;
        for cut in 0..101 {
            for number in 0..4 {
                server.write_to("u0", cut * 4 + number);
                sleep(Duration::from_millis(number as u64 * 7)).await;
            }
            // The client notices, and is back before its former connection is found dead.
            client.dial.link().unwrap().cut([Sees::Reset, Sees::NothingMore]);
            client.send("other", cut, 0);
        }
        sleep(20 * SECOND).await;
        assert_eq!(client.numbers(), (0..404).collect::<Vec<_>>());
        assert_eq!(server.lock().routed["u0"], (0..101).collect::<Vec<_>>());
        assert_eq!(client.dial.state.lock().unwrap().sessions, 1);
    });
}

#[test]
fn d2_a_peer_that_takes_no_byte_keeps_nothing_waiting() {
    let short = config().resume_timeout(Some(2 * SECOND)).on_full(OnFull::EvictOldest).buffer_max(few(1000));
    with_server(short, Receipts::AtOnce, async |server| {
        let (mut dead, id) = Raw::online(&server, "u0", true).await;
        dead.write(SECOND).await;
        let fill = |from| (from..from + 200).for_each(|number| server.write_large("u0", number, 1000));
        fill(0);
        sleep(SECOND).await;
        // Taken over at once.
        let mut next = Raw::new(&server, "u0", 4096).await;
        let start = Instant::now();
        assert_eq!(next.resume(&id.unwrap(), 0).await.name(), "resumed");
        assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
        // And found dead in time.
        sleep(3 * SECOND).await;
        assert_eq!(server.lock().ended, []);
        sleep(4 * SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::Expired, 1, 200)]);
    });
}

#[test]
fn a_server_that_takes_no_byte_keeps_what_has_no_room_in_the_session() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let Client { dial, outbox, task } = client(&server, "u0");
        sleep(SECOND).await;
        dial.link().unwrap().cut([Sees::Nothing; 2]);
        (0..60).for_each(|_| outbox.send(vec![b'x'; 5000].into()).expect("the client runs"));
        sleep(SECOND).await;
        drop(outbox);
        let unsent = task.await.unwrap().filter(|left| left.fate == Fate::Unsent).count();
        assert!((30..60).contains(&unsent), "{unsent}");
    });
}

#[test]
fn d2_the_grace_of_a_full_buffer_runs_while_the_peer_takes_no_byte() {
    let small = config().buffer_max(few(5)).backlog_max(few(5)).ack_timeout(None).on_full(OnFull::EndAfter(3 * SECOND));
    with_server(small, Receipts::AtOnce, async |server| {
        let (mut dead, _) = Raw::online(&server, "u0", true).await;
        dead.write(SECOND).await;
        (0..14).for_each(|number| server.write_large("u0", number, 5000));
        sleep(2 * SECOND).await;
        assert_eq!(server.lock().ended, []);
        sleep(6 * SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::BufferFull, 1, 14)]);
    });
}

#[test]
fn d3_what_is_evicted_comes_once_more_at_most_and_at_the_end() {
    for (most, from) in [(0, 40), (1 << 20, 0)] {
        let small = config().buffer_max(few(10)).on_full(OnFull::EvictOldest).evicted_max_bytes(most);
        with_server(small, Receipts::AtOnce, async |server| {
            let (mut raw, _) = Raw::online(&server, "u0", true).await;
            raw.write(SECOND).await;
            (0..50).for_each(|number| server.write_to("u0", number));
            assert_eq!(raw.numbers(SECOND).await, (0..50).collect::<Vec<_>>());
            drop(raw);
            sleep(10 * SECOND).await;
            let left: Vec<u32> = (from..50).collect();
            assert_eq!(server.lock().ended, [(EndReason::NotResumable, 1, left.len() as u32)]);
            let (mut next, _) = Raw::online(&server, "u0", true).await;
            assert_eq!(next.numbers(SECOND).await, left);
        });
    }
}

#[test]
fn d3_what_was_evicted_and_is_acknowledged_after_all_does_not_come_again() {
    let small = config().buffer_max(few(10)).on_full(OnFull::EvictOldest).evicted_max_bytes(1 << 20);
    with_server(small, Receipts::AtOnce, async |server| {
        let (mut raw, _) = Raw::online(&server, "u0", true).await;
        raw.write(SECOND).await;
        (0..50).for_each(|number| server.write_to("u0", number));
        assert_eq!(raw.numbers(SECOND).await.len(), 50);
        // The engine counts what it evicted.
        raw.ack(45);
        raw.write(SECOND).await;
        server.mail("u0", Mail::End(EndReason::Stopped));
        sleep(5 * SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::Stopped, 1, 5)]);
    });
}

#[test]
fn d4_the_last_a_and_the_last_h_agree() {
    with_server(config(), late(400), async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", true).await;
        (0..5).for_each(|number| raw.message(number));
        raw.write(Duration::from_millis(20)).await;
        server.mail("u0", Mail::End(EndReason::Stopped));
        let last = raw.read().await;
        assert_eq!((last.name(), last.attr("h")), ("a", Some("6")));
        assert!(raw.try_read().await.is_none(), "the end of the stream");
        sleep(5 * SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::Stopped, 6, 0)]);
        let known = server.store().lookup(&SmId::new(&id.unwrap()).unwrap(), "u0", now()).unwrap();
        assert!(matches!(known, Lookup::StaleH(h) if h.get() == 6));
    });
}

#[test]
fn d5_a_client_with_open_receipts_keeps_its_session() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let client = client(&server, "u0");
        client.dial.state.lock().unwrap().receipts = late(900);
        sleep(SECOND).await;
        for number in 0..20 {
            server.write_to("u0", number);
            sleep(Duration::from_millis(20)).await;
            client.dial.link().unwrap().cut([Sees::Reset, Sees::Reset]);
        }
        sleep(20 * SECOND).await;
        assert_eq!(client.numbers(), (0..20).collect::<Vec<_>>());
        assert_eq!(client.dial.state.lock().unwrap().sessions, 1);
        assert_eq!(server.lock().ended, []);
    });
}

#[test]
fn d6_a_receipt_that_is_lost_keeps_nobody_waiting_for_long() {
    with_server(config().settle_timeout(3 * SECOND), Receipts::Kept, async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", true).await;
        raw.message(0);
        raw.write(SECOND).await;
        let mut next = Raw::new(&server, "u0", 4096).await;
        let start = Instant::now();
        let resumed = next.resume(&id.unwrap(), 0).await;
        assert_eq!((resumed.name(), resumed.attr("h")), ("resumed", Some("2")), "the presence and the message");
        assert!((2 * SECOND..4 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
        // And the receipts that come after all do no harm.
        for (mailbox, receipt) in std::mem::take(&mut server.lock().kept) {
            mailbox.send(Mail::Settled(receipt)).unwrap();
        }
        next.message(1);
        next.conn.say("<r xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(next.read().await.attr("h"), Some("2"));
    });
}

#[test]
fn d7_a_taker_that_is_gone_takes_no_session_with_it() {
    with_server(config().settle_timeout(3 * SECOND), Receipts::Kept, async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", true).await;
        let id = id.unwrap();
        raw.message(0);
        raw.write(SECOND).await;
        server.write_to("u0", 7);
        let mut gone = Raw::new(&server, "u0", 4096).await;
        gone.conn.say(format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
        gone.write(SECOND).await;
        drop(gone);
        let mut next = Raw::new(&server, "u0", 4096).await;
        assert_eq!(next.resume(&id, 0).await.name(), "resumed");
        assert_eq!(next.numbers(SECOND).await, [7]);
        // One that is gone when its turn has come.
        next.message(1);
        next.write(SECOND).await;
        let mut gone = Raw::new(&server, "u0", 4096).await;
        gone.conn.say(format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
        gone.write(SECOND).await;
        drop(gone);
        sleep(10 * SECOND).await;
        let mut last = Raw::new(&server, "u0", 4096).await;
        assert_eq!(last.resume(&id, 0).await.attr("h"), Some("3"));
        assert_eq!(last.numbers(SECOND).await, [7]);
        assert_eq!(server.lock().ended, []);
    });
}

#[test]
fn d7_of_two_connections_that_ask_one_gets_the_session_and_the_other_may_bind() {
    with_server(config(), Receipts::Kept, async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", true).await;
        raw.write(SECOND).await;
        let id = id.unwrap();
        let (mut first, mut second) = (Raw::new(&server, "u0", 4096).await, Raw::new(&server, "u0", 4096).await);
        first.conn.say(format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
        first.write(Duration::from_millis(50)).await;
        assert_eq!(second.resume(&id, 0).await.name(), "resumed");
        let failed = first.read().await;
        assert!(failed.name() == "failed" && failed.children().any(|child| child.name() == "conflict"), "{failed:?}");
        assert!(first.bind(true).await.is_some());
    });
}

#[test]
fn d8_a_session_whose_task_has_died_is_not_to_be_had() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let client = client(&server, "u0");
        sleep(SECOND).await;
        client.send("other", 1, 0);
        sleep(SECOND).await;
        server.lock().users["u0"].here.as_ref().unwrap().task.as_ref().unwrap().abort();
        sleep(5 * SECOND).await;
        assert_eq!(client.dial.state.lock().unwrap().sessions, 2);
        assert_eq!(server.store().len(), 1, "the record went with it");
        client.send("other", 2, 0);
        server.write_to("u0", 9);
        sleep(SECOND).await;
        assert_eq!((&server.lock().routed["u0"][..], &client.numbers()[..]), (&[1, 2][..], &[9][..]));
    });
}

#[test]
fn d9_a_session_is_found_after_each_resumption_or_is_not_resumable() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let (_raw, id) = Raw::online(&server, "u0", true).await;
        let id = id.unwrap();
        let mut all = Vec::new();
        for _ in 0..5 {
            let mut next = Raw::new(&server, "u0", 4096).await;
            assert_eq!(next.resume(&id, 0).await.name(), "resumed");
            all.push(next);
        }
        assert_eq!(server.store().len(), 1);
        server.lock().registers = false;
        let (_raw, id) = Raw::online(&server, "u1", true).await;
        assert_eq!(id, None);
    });
}

#[test]
fn d10_the_receipts_of_a_session_that_cannot_be_resumed_are_waited_for() {
    with_server(config(), late(400), async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", false).await;
        assert_eq!(id, None);
        (0..5).for_each(|number| raw.message(number));
        raw.write(Duration::from_millis(20)).await;
        drop(raw);
        sleep(5 * SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::NotResumable, 6, 0)]);
    });
}

#[test]
fn d11_a_live_stream_that_is_quiet_is_taken_over_at_once() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", true).await;
        raw.write(SECOND).await;
        sleep(100 * SECOND).await;
        let mut next = Raw::new(&server, "u0", 4096).await;
        let start = Instant::now();
        assert_eq!(next.resume(&id.unwrap(), 0).await.name(), "resumed");
        assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
        let error = raw.read().await;
        assert!(error.name() == "error" && error.children().any(|child| child.name() == "conflict"), "{error:?}");
        assert!(raw.try_read().await.is_none());
        // What it still says there is nobody's.
        raw.message(1);
        raw.write(SECOND).await;
        assert_eq!(server.lock().routed.get("u0"), None);
    });
}

#[test]
fn a_client_that_has_lost_its_resource_comes_back_when_its_user_wants_it() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let alice = client(&server, "u0");
        let connections = || alice.dial.state.lock().unwrap().connections;
        sleep(10 * SECOND).await;
        assert!(server.mail("u0", Mail::End(EndReason::Replaced)));
        sleep(100 * SECOND).await;
        server.write_to("u0", 1);
        assert_eq!(connections(), 1);
        alice.dial.wanted.notify_one();
        sleep(10 * SECOND).await;
        assert_eq!((connections(), alice.numbers()), (2, vec![1]));
        // The next login waits for nobody.
        alice.dial.link().unwrap().cut([Sees::Reset, Sees::Reset]);
        sleep(10 * SECOND).await;
        assert_eq!(connections(), 3);
    });
}

#[test]
fn d12_what_is_not_read_goes_with_its_connection() {
    with_server(config().receipts_max(few(2)), Receipts::Kept, async |server| {
        let (mut raw, id) = Raw::online(&server, "u0", true).await;
        (0..5).for_each(|number| raw.message(number));
        raw.write(SECOND).await;
        assert_eq!(server.lock().routed["u0"], [0], "the presence and one message are open");
        drop(raw);
        let mut next = Raw::new(&server, "u0", 4096).await;
        assert_eq!(next.resume(&id.unwrap(), 0).await.attr("h"), Some("2"));
        server.lock().receipts = Receipts::AtOnce;
        (1..5).for_each(|number| next.message(number));
        next.write(SECOND).await;
        assert_eq!(server.lock().routed["u0"], [0, 1, 2, 3, 4]);
    });
}

#[test]
fn d13_what_has_no_room_comes_after_what_is_older() {
    let small = config().buffer_max(few(2)).backlog_max(few(3));
    with_server(small, Receipts::AtOnce, async |server| {
        let (mut raw, _) = Raw::online(&server, "u0", true).await;
        raw.write(SECOND).await;
        server.write_to("u0", 0);
        server.write_to("u0", 1);
        sleep(SECOND).await;
        raw.link.cut([Sees::Reset, Sees::Reset]);
        sleep(SECOND).await;
        (2..8).for_each(|number| server.write_to("u0", number));
        sleep(SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::BufferFull, 1, 6)]);
        let (mut next, _) = Raw::online(&server, "u0", true).await;
        next.write(SECOND).await;
        let mut got = Vec::new();
        while got.len() < 8 {
            let element = next.read().await;
            if element.name() == "message" {
                got.push(element.attr("id").unwrap().parse::<u32>().unwrap());
                next.ack(got.len() as u32);
            }
        }
        assert_eq!(got, (0..8).collect::<Vec<_>>());
    });
}

#[test]
fn f2_what_has_arrived_is_read_before_a_timeout_is_judged() {
    let small = config().buffer_max(few(3)).on_full(OnFull::EndAfter(SECOND)).ack_timeout(Some(2 * SECOND));
    for round in 0..12 {
        with_server(small.clone(), Receipts::AtOnce, async |server| {
            let (mut raw, _) = Raw::online(&server, "u0", true).await;
            raw.write(SECOND).await;
            (0..8).for_each(|number| server.write_to("u0", number));
            sleep(Duration::from_millis(round)).await;
            // The peer acknowledges what it has got, and all processes stop.
            let got = raw.numbers(Duration::from_millis(30)).await;
            raw.ack(got.len() as u32);
            raw.write(Duration::from_millis(2)).await;
            advance(Duration::from_secs(100)).await;
            let mut all = got;
            for _ in 0..4 {
                all.extend(raw.numbers(Duration::from_millis(300)).await);
                raw.ack(all.len() as u32);
            }
            assert_eq!(all, (0..8).collect::<Vec<_>>());
            assert_eq!(server.lock().ended, []);
            assert!(!raw.link.is_cut() && raw.link.waits_for(CLIENT) == 0);
        });
    }
}

#[test]
fn f5_what_the_peer_acknowledges_until_its_stream_ends_counts() {
    with_server(config(), Receipts::AtOnce, async |server| {
        let (mut raw, _) = Raw::online(&server, "u0", true).await;
        raw.write(SECOND).await;
        (0..5).for_each(|number| server.write_to("u0", number));
        assert_eq!(raw.numbers(SECOND).await.len(), 5);
        server.mail("u0", Mail::End(EndReason::Replaced));
        assert_eq!(raw.read().await.name(), "a");
        // <conflict/>
        assert_eq!(raw.read().await.name(), "error");
        assert!(raw.try_read().await.is_none());
        raw.ack(5);
        raw.conn.say("</stream:stream>");
        raw.write(SECOND).await;
        assert_eq!(server.lock().ended, [(EndReason::Replaced, 1, 0)]);
    });
}
