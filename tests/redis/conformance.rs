//! The suite of every store, on a Redis of its own for each check.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;
use xmpp_sm::store_tests::MakeStore;
use xmpp_sm::{Config, RedisStore, StaleH};

use crate::server::Redis;
use crate::{count, runtime};

struct OnRedis {
    runtime: tokio::runtime::Runtime,
    redis: Redis,
    clock: Mutex<Clock>,
}

/// The engine's clock cannot be moved: all that it would let go is moved against it.
#[derive(Default)]
struct Clock {
    /// What the clock said and what the test said, when the test began.
    start: Option<(Instant, Instant)>,
    /// By how many microseconds everything was made older, or younger.
    moved: i64,
}

const MOVE: &str = "
    for _, key in ipairs(redis.call('KEYS', '*')) do
        local fields = redis.call('TYPE', key).ok == 'hash' and redis.call('HGETALL', key) or {}
        for at = 1, #fields, 2 do
            local kind, ends, rest = string.match(fields[at + 1], '^([SDH]%d+ [NUKC]%d* )(%d+)( .*)$')
            if kind and tonumber(ends) > 0 then
                ends = string.format('%.0f', ends - ARGV[1])
                redis.call('HSET', key, fields[at], kind .. ends .. rest)
            end
        end
        local ends = redis.call('PEXPIRETIME', key)
        if ends > 0 then redis.call('PEXPIREAT', key, string.format('%.0f', ends - ARGV[1] / 1000)) end
    end";

impl OnRedis {
    fn start() -> Self {
        Self { runtime: runtime(), redis: Redis::start(), clock: Mutex::default() }
    }
}

impl MakeStore for OnRedis {
    type Handle = bytes::Bytes;
    type Store = RedisStore<ConnectionManager>;
    const ROUNDS: u32 = 200;
    const SLACK: Duration = Duration::from_millis(900);

    fn store(&self, stale_h: StaleH) -> Self::Store {
        // It has lost everything.
        let () = self.redis.tell("FLUSHALL");
        *self.clock.lock().unwrap() = Clock::default();
        let connection = self.runtime.block_on(self.redis.connect());
        RedisStore::new(connection, &Config::default().stale_h(stale_h))
            .per_owner(count(1000))
            .stale_per_owner(count(1000))
    }

    fn handle(&self, number: u64) -> bytes::Bytes {
        format!("node-1/{number}").into()
    }

    fn pass_time(&self, _store: &Self::Store, now: Instant) {
        let mut clock = self.clock.lock().unwrap();
        let real = Instant::now();
        let (real_start, start) = *clock.start.get_or_insert((real, now));
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap();
        let by = micros(now - start) - micros(real - real_start) - clock.moved;
        if by.abs() > 50_000 {
            let mut connection = self.redis.client().get_connection().unwrap();
            let () = redis::cmd("EVAL").arg(MOVE).arg(0).arg(by).query(&mut connection).unwrap();
            clock.moved += by;
        }
    }

    fn block_on<F: Future + Send>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

xmpp_sm::store_conformance!(OnRedis::start());
xmpp_sm::parking_conformance!(OnRedis::start());
xmpp_sm::journal_conformance!(OnRedis::start());
