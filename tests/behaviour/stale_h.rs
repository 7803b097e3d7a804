//! The last `h` of sessions that are gone, and its own end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xmpp_sm::{
    Condition, Config, Counter, EndReason, Failed, Lookup, MemoryStore, Nonza, NotResumed, NotResumedWhy, Refusal,
    SessionStore, SmId, StaleH, StaleRecord,
};

use crate::support::count::counted;
use crate::support::raw::{deliver, detach, enabled, not_yet, resuming, smid};
use crate::support::{JULIET, Net, STALE_H, Side, bytes, quiet, secs};

fn asks_again(net: &mut Net, answer: &str) {
    let conn = net.open(JULIET);
    net.authenticate(conn);
    net.skip();
    net.client_writes(conn, "<resume previd='sm-1' h='0'/>");
    net.expect(&format!(
        "C{conn}: <resume h='0' previd='sm-1'/>
         S{conn}: {answer}"
    ));
}

#[test]
fn p12_an_expired_stale_h_is_not_answered_swept_or_not() {
    for repeat_after in [STALE_H.repeat_after, None] {
        let mut net = Net::new(quiet().stale_h(StaleH { repeat_after, ..STALE_H }));
        let conn = net.login(JULIET);
        net.client_sends(conn, "<message/>");
        net.run();
        net.cut(conn);
        net.advance(secs(600));
        net.ended(&[(conn, EndReason::Expired)]);
        // The first answer may not have arrived.
        for _ in 0..3 {
            asks_again(&mut net, "<failed h='1'><item-not-found/></failed>");
        }
        net.advance(STALE_H.geriatric);
        asks_again(&mut net, "<failed h='1'><item-not-found/></failed>");
        net.advance(secs(1));
        asks_again(&mut net, "<failed><item-not-found/></failed>");
        net.advance(secs(1800));
        asks_again(&mut net, "<failed><item-not-found/></failed>");
        assert_eq!(net.store.stale_len(), usize::from(repeat_after.is_none()));
    }
}

fn come_and_go(store: &MemoryStore<u64>, n: u64, owner: &str, now: Instant) {
    let smid = SmId::new(&format!("sm-{n}")).unwrap();
    let registration = store.register(&smid, &owner.into(), n, now).unwrap().registration;
    store.retire(&registration, Counter::ZERO, now).unwrap();
}

#[test]
fn p12_collecting_costs_by_what_has_expired() {
    let now = Instant::now();
    let store = MemoryStore::new(&Config::default().stale_h(STALE_H));
    (0..20_000).for_each(|n| come_and_go(&store, n, &format!("user{n}@example.com"), now));
    // A collection that scans the table takes 4 * 10^9 steps here, and nobody would see its end.
    let collect = || (0..200_000).map(|_| store.sweep(now + STALE_H.geriatric).dropped).sum::<usize>();
    let (swept, counts) = counted(collect);
    assert_eq!((swept, counts, store.stale_len()), (0, Default::default(), 20_000));
}

#[test]
fn p18_stale_records_go_with_time() {
    let now = Instant::now();
    let store = MemoryStore::new(&Config::default().stale_h(STALE_H));
    // A session every ten seconds for a day, and a host that sweeps when it is told to.
    let mut most = 0;
    for second in (0..86_400).step_by(10) {
        let now = now + Duration::from_secs(second);
        come_and_go(&store, second, &format!("user{second}@example.com"), now);
        if store.next_sweep().is_some_and(|due| due <= now) {
            let _ = store.sweep(now);
        }
        most = most.max(store.stale_len());
    }
    assert!(most <= 360 + 180 + 1, "{most}");
    let end = now + Duration::from_secs(86_400) + STALE_H.geriatric;
    assert_ne!(store.sweep(store.next_sweep().unwrap().max(end)).dropped, 0);
    assert_eq!((store.next_sweep(), store.stale_len(), store.len()), (None, 0, 0));
}

#[test]
fn p18_stale_records_have_a_cap() {
    let now = Instant::now();
    let store = MemoryStore::new(&Config::default().stale_h(STALE_H)).stale_per_owner(bytes(100));
    for n in 0..10_000 {
        come_and_go(&store, n, JULIET, now);
        assert!(store.stale_len() <= 100);
    }
    let lookup = |n: u64| store.lookup(&SmId::new(&format!("sm-{n}")).unwrap(), JULIET, now).unwrap();
    assert_eq!((lookup(9899), lookup(9900)), (Lookup::NotFound, Lookup::StaleH(Counter::ZERO)));
}

#[test]
fn no_h_is_told_of_a_session_that_was_closed_nor_where_it_is_switched_off() {
    for (enabled, closed) in [(true, true), (false, false)] {
        let mut net = Net::new(quiet().stale_h(StaleH { enabled, ..StaleH::default() }));
        let conn = net.login(JULIET);
        net.client_sends(conn, "<message/>");
        net.run();
        if closed {
            net.closes(conn, Side::Client);
            net.run();
        } else {
            net.cut(conn);
            net.advance(secs(600));
        }
        asks_again(&mut net, "<failed><item-not-found/></failed>");
    }
}

/// What a store says about a session of `h` 7 that was retired so long ago.
fn stale_after(stale_h: StaleH, after: Duration) -> Lookup<u64> {
    let now = Instant::now();
    let store = MemoryStore::new(&Config::default().stale_h(stale_h));
    let registration = store.register(&smid(), &JULIET.into(), 1, Instant::now()).unwrap().registration;
    store.retire(&registration, Counter::new(7), now).unwrap();
    store.lookup(&smid(), JULIET, now + after).unwrap()
}

#[test]
fn stale_h_is_not_remembered() {
    let default = MemoryStore::<u64>::new(&Config::default());
    let registration = default.register(&smid(), &JULIET.into(), 1, Instant::now()).unwrap().registration;
    default.retire(&registration, Counter::new(7), Instant::now()).unwrap();
    assert_eq!(default.lookup(&smid(), JULIET, Instant::now()), Ok(Lookup::NotFound));
    assert_eq!((StaleH::default().enabled, default.stale_len()), (false, 0));
}

#[test]
fn stale_h_is_remembered_for_3600_s_or_as_long_as_geriatric_says() {
    let on = StaleH { enabled: true, ..StaleH::default() };
    for (stale_h, age) in [(on, 3600), (StaleH { geriatric: secs(10), ..on }, 10)] {
        assert_eq!(stale_after(stale_h, secs(age)), Lookup::StaleH(Counter::new(7)));
        assert_eq!(stale_after(stale_h, secs(age + 1)), Lookup::NotFound);
    }
}

#[test]
fn stale_h_repeat_after_is_1800_s_another_or_never() {
    let now = Instant::now();
    let on = StaleH { enabled: true, ..StaleH::default() };
    for (stale_h, repeat_after) in [
        (on, Some(secs(1800))),
        (StaleH { repeat_after: Some(secs(5)), ..on }, Some(secs(5))),
        (StaleH { repeat_after: None, ..on }, None),
    ] {
        let store = MemoryStore::new(&Config::default().stale_h(stale_h));
        let registration = store.register(&smid(), &JULIET.into(), 1, Instant::now()).unwrap().registration;
        store.retire(&registration, Counter::ZERO, now).unwrap();
        assert_eq!(store.next_sweep(), repeat_after.map(|after| now + after));
        let _ = store.sweep(now + secs(6));
        assert_eq!(store.next_sweep(), repeat_after.map(|after| now + secs(6) + after));
    }
}

/// The age of the last h runs from the deadline to now, also where the host took its time since the client asked.
#[test]
fn a_last_h_that_has_become_too_old_meanwhile_is_not_told() {
    let now = Instant::now();
    let stale_h = StaleH { enabled: true, geriatric: secs(100), ..StaleH::default() };
    let config = Arc::new(quiet().stale_h(stale_h));
    for (waited, told) in [(100, Some(Counter::new(1))), (101, None)] {
        let mut stream = enabled::<String>(&config, now);
        let receipt = deliver(&mut stream, now);
        let (mut again, request) = resuming(&config, 0, now + secs(610));
        let NotResumed { mut session, why } =
            again.accept_resume(request, detach(stream, now), now + secs(610)).unwrap_err();
        let NotResumedWhy::ReceiptsOpen(request) = why else { panic!("a receipt is open: {why}") };
        session.record_handled(receipt).unwrap();
        let NotResumed { why, .. } = again.accept_resume(request, session, now + secs(600 + waited)).unwrap_err();
        let write = Nonza::Failed(Failed { h: told, condition: Some(Condition::ItemNotFound) });
        assert_eq!(why, NotResumedWhy::Refused { write, refusal: Refusal::Expired(told) }, "{waited}");
    }
}

#[test]
fn receipts_that_are_open_keep_the_last_h_of_an_expired_session_true_too() {
    let (now, config) = (Instant::now(), Arc::new(quiet().stale_h(StaleH { enabled: true, ..StaleH::default() })));
    let mut stream = enabled::<String>(&config, now);
    let receipt = deliver(&mut stream, now);
    let session = detach(stream, now);
    let late = now + secs(700);
    let (mut again, request) = resuming(&config, 0, late);
    let (request, mut session) = not_yet(again.accept_resume(request, session, late));
    session.record_handled(receipt).unwrap();
    let NotResumed { session, why } = again.accept_resume(request, session, late).unwrap_err();
    let h = Some(Counter::new(1));
    let write = Nonza::Failed(Failed { h, condition: Some(Condition::ItemNotFound) });
    assert_eq!(why, NotResumedWhy::Refused { write, refusal: Refusal::Expired(h) });
    assert!(session.expire(late).is_ok());
}

#[test]
fn an_expired_session_tells_its_last_h_only_where_stale_h_is_kept_and_for_a_time() {
    let now = Instant::now();
    let on = StaleH { enabled: true, geriatric: secs(100), ..StaleH::default() };
    for (stale_h, late, told) in [
        (on, secs(600), true),
        (on, secs(700), true),
        (on, secs(701), false),
        (StaleH { enabled: false, ..on }, secs(600), false),
    ] {
        let config = Arc::new(quiet().stale_h(stale_h));
        let session = detach(enabled::<String>(&config, now), now);
        let (mut again, request) = resuming(&config, 0, now + late);
        let NotResumed { why, .. } = again.accept_resume(request, session, now + late).unwrap_err();
        let h = told.then_some(Counter::ZERO);
        let write = Nonza::Failed(Failed { h, condition: Some(Condition::ItemNotFound) });
        assert_eq!(why, NotResumedWhy::Refused { write, refusal: Refusal::Expired(h) }, "{stale_h:?} {late:?}");
    }
}

/// What is answered is listed, and answered by the next store for as long as by this one.
#[test]
fn stale_h_outlives_its_store() {
    let (now, on) = (Instant::now(), StaleH { enabled: true, geriatric: secs(100), ..StaleH::default() });
    let store = |stale_h| MemoryStore::<u64>::new(&Config::default().stale_h(stale_h)).per_owner(bytes(1));
    let [gone, known, displaced, present] = ["gone", "known", "displaced", "present"].map(|id| SmId::new(id).unwrap());
    let first = store(on);
    for (smid, after) in [(&gone, 0), (&known, 10)] {
        let registration = first.register(smid, &JULIET.into(), 0, now).unwrap().registration;
        first.retire(&registration, Counter::new(7), now + secs(after)).unwrap();
    }
    let _ = first.register(&displaced, &JULIET.into(), 0, now).unwrap();
    let _ = first.register(&present, &JULIET.into(), 0, now).unwrap();
    let records = first.stale_records(now + secs(101));
    assert_eq!(records.iter().map(|record| &record.smid).collect::<Vec<_>>(), [&known]);

    let (next, off) = (store(on), store(StaleH::default()));
    let _ = next.register(&present, &JULIET.into(), 0, now).unwrap();
    for store in [&next, &off] {
        // Told twice, it is remembered once.
        store.restore_stale(&records[0], now + secs(101));
        store.restore_stale(&records[0], now + secs(101));
    }
    assert_eq!((next.len(), next.stale_len(), off.stale_len()), (1, 1, 0));
    let at = |after| next.lookup(&known, JULIET, now + secs(after)).unwrap();
    assert_eq!((at(110), at(111)), (Lookup::StaleH(Counter::new(7)), Lookup::NotFound));
}

/// In whatever order they were written down: an older one makes room, not the last that is told.
#[test]
fn the_youngest_stale_h_of_an_owner_are_restored() {
    let (now, stale_h) = (Instant::now(), StaleH { enabled: true, geriatric: secs(100), ..StaleH::default() });
    let [young, middle, old] = [("young", 10), ("middle", 50), ("old", 90)].map(|(id, age)| StaleRecord {
        owner: JULIET.into(),
        smid: SmId::new(id).unwrap(),
        h: Counter::new(7),
        age: secs(age),
    });
    for order in [[&young, &middle, &old], [&young, &old, &middle], [&old, &young, &middle]] {
        let store = MemoryStore::<u64>::new(&Config::default().stale_h(stale_h)).stale_per_owner(bytes(2));
        order.into_iter().for_each(|record| store.restore_stale(record, now));
        let known = |after| {
            let smids = [&young, &middle, &old].map(|record| &record.smid);
            smids.map(|smid| store.lookup(smid, JULIET, now + secs(after)) == Ok(Lookup::StaleH(Counter::new(7))))
        };
        assert_eq!((known(0), known(51)), ([true, true, false], [true, false, false]), "{order:?}");
        // What has grown too old is swept, and nothing else.
        assert_eq!((store.sweep(now + secs(51)).dropped, store.stale_len()), (1, 1), "{order:?}");
    }
}
