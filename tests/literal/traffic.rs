//! Thousands of cuts: each message once, in order, at both ends.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use xmpp_sm::{AckFreq, Config, OnFull, StaleH};

use crate::server::Receipts;
use crate::world::{Outcome, World};

/// How many cuts each of the five tests here makes.
fn cuts() -> u32 {
    let all: Option<u32> = std::env::var("LITERAL_CUTS").ok().and_then(|cuts| cuts.parse().ok());
    all.unwrap_or(3000) / 5
}

pub fn config() -> Config {
    let stale_h = StaleH { enabled: true, ..StaleH::default() };
    let four = Duration::from_secs(4);
    let config = Config::default().ack_timeout(Some(four)).reply_timeout(four).settle_timeout(Duration::from_secs(1));
    config.stale_h(stale_h)
}

fn many(name: &str, world: impl Fn(u64) -> World) {
    let mut all = Outcome::default();
    let mut seed = std::env::var("LITERAL_SEED").map_or(0, |seed| seed.parse().unwrap());
    while all.cuts < cuts() {
        seed += 1;
        let outcome = world(seed).run();
        let faults = outcome.faults.iter().rev().take(12).cloned().collect::<Vec<_>>().join("\n");
        assert!(outcome.faults.is_empty(), "{name}, seed {seed}: {outcome}\n{faults}");
        all.cuts += outcome.cuts;
        all.sent += outcome.sent;
        all.logins += outcome.logins;
        all.resumes += outcome.resumes;
        all.sessions += outcome.sessions;
        all.again += outcome.again;
    }
    println!("{name}: {all}");
}

fn world(seed: u64) -> World {
    World {
        seed,
        users: 2 + seed % 3,
        cuts: 100,
        server: config(),
        client: config(),
        receipts: Receipts::AtOnce,
        is_exact: true,
        pause: 300,
    }
}

#[test]
fn nothing_is_lost_or_doubled() {
    many("at once", world);
}

#[test]
fn nothing_is_lost_or_doubled_with_receipts_that_are_late_or_lost() {
    many("late", |seed| World {
        receipts: Receipts::Late { ms: 200 * (seed % 12), lost: seed.is_multiple_of(2).then_some(80) },
        ..world(seed)
    });
}

#[test]
fn nothing_is_lost_or_doubled_with_small_buffers() {
    let small = |seed: u64| {
        let most = NonZeroU32::new(1 + seed as u32 % 8).unwrap();
        let freq = if seed.is_multiple_of(2) { AckFreq::SelfClocked } else { AckFreq::Every(most) };
        config().buffer_max(most).receipts_max(most).ack_freq(freq).ack_idle(Some(Duration::from_secs(2)))
    };
    many("small", |seed| World {
        server: small(seed),
        client: small(seed / 3),
        receipts: Receipts::Late { ms: 50, lost: None },
        ..world(seed)
    });
}

#[test]
fn what_expires_goes_to_the_next_session_in_order() {
    let short = || config().resume_timeout(Some(Duration::from_secs(2)));
    many("expiring", |seed| World {
        server: short(),
        client: config(),
        is_exact: false,
        pause: 4000,
        receipts: Receipts::Late { ms: 100, lost: None },
        ..world(seed)
    });
}

#[test]
fn what_is_evicted_comes_once_more_at_most() {
    let evicting = |seed: u64| {
        let most = NonZeroU32::new(2 + seed as u32 % 8).unwrap();
        config().buffer_max(most).on_full(OnFull::EvictOldest).evicted_max_bytes(1 << 24)
    };
    many("evicting", |seed| World {
        server: evicting(seed).buffer_max_bytes(NonZeroUsize::new(1 << 18).unwrap()),
        is_exact: false,
        ..world(seed)
    });
}
