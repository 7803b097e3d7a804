//! The last h of sessions that are gone, and its own end.

use std::time::{Duration, Instant};

use xmpp_sm::{Config, Counter, EndReason, Lookup, MemoryStore, SessionStore, SmId, StaleH};

use super::STALE_H;
use crate::support::{Net, quiet, secs};

const JULIET: &str = "juliet@capulet.lit";

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
        asks_again(&mut net, "<failed h='1'><item-not-found/></failed>");
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
    let epoch = store.register(&smid, owner, n, now).unwrap().epoch;
    store.retire(&smid, owner, epoch, Counter::ZERO, now).unwrap();
}

#[test]
fn p12_collecting_costs_by_what_has_expired() {
    let now = Instant::now();
    let store = MemoryStore::new(&Config::default().stale_h(STALE_H));
    (0..20_000).for_each(|n| come_and_go(&store, n, &format!("user{n}@example.com"), now));
    // A collection that scans the table takes 4 * 10^9 steps here, and nobody would see its end.
    let collect = || (0..200_000).map(|_| store.sweep(now + STALE_H.geriatric).dropped).sum::<usize>();
    let (swept, counts) = crate::support::count::counted(collect);
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
    let store = MemoryStore::new(&Config::default().stale_h(STALE_H)).stale_per_owner(super::bytes(100));
    for n in 0..10_000 {
        come_and_go(&store, n, JULIET, now);
        assert!(store.stale_len() <= 100);
    }
    let lookup = |n: u64| store.lookup(&SmId::new(&format!("sm-{n}")).unwrap(), JULIET, now).unwrap();
    assert_eq!((lookup(9899), lookup(9900)), (Lookup::NotFound, Lookup::StaleH(Counter::ZERO)));
}
