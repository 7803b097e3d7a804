//! What a user of the engine has to be allowed to do is what the documentation says, no less and no more.

use std::time::{Duration, Instant};

use xmpp_sm::{AsyncSessionStore, Change, Claim, Fence, Journal, Parking, RedisStoreError, Revision};

use crate::server::Redis;
use crate::{Calls, JULIET, count, id, store};

const PAGE: &str = include_str!("../../src/store/redis.rs");
const AGES: Duration = Duration::from_secs(3600);

fn line() -> &'static str {
    let line = PAGE.lines().find_map(|line| line.strip_prefix("/// ACL SETUSER xmpp on >password "));
    line.expect("the page has a line to copy")
}

/// All that a store does, on an engine whose default user has these rights.
async fn do_all(rights: &str) -> Result<(), RedisStoreError> {
    let redis = Redis::start();
    let connection = redis.connect().await;
    redis.tell::<String>(&format!("ACL SETUSER default resetkeys nocommands {rights}"));
    for is_forever in [false, true] {
        let store = store(connection.clone()).per_owner(count(2));
        let store = if is_forever { store } else { store.session_ttl(AGES) };
        for n in 0..8 {
            let registration = store.add(n, JULIET, "node").await?.registration;
            assert_eq!(store.park(&registration, Revision::FIRST, b"snapshot").await?, Fence::Held);
            let change = Change { registration: &registration, revision: Revision::FIRST, change: b"change" };
            for _ in 0..2 {
                assert_eq!(store.append(&[change]).await?, Fence::Held);
            }
            let claim = store.claim(&registration, "other".into(), Instant::now()).await?;
            let Claim::Claimed(claimed) = claim else { panic!("{claim:?}") };
            let registration = claimed.registration;
            assert_eq!(store.park(&registration, Revision::FIRST, b"snapshot").await?, Fence::Held);
            match n % 4 {
                0 => store.end(&registration, n).await?,
                1 => store.remove(&registration).await?,
                2 => assert_eq!(store.unpark(&registration, Revision::FIRST.next()).await?, Fence::Held),
                _ => {}
            }
            store.lookup(&id(n), JULIET, Instant::now()).await?;
        }
        store.sessions_at(b"node", 0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_rights_in_the_documentation_are_enough() {
    do_all(line()).await.unwrap();
}

#[tokio::test]
async fn each_of_the_rights_in_the_documentation_is_needed() {
    for right in line().split(' ') {
        let others: Vec<_> = line().split(' ').filter(|other| *other != right).collect();
        match right {
            // Where the engine refuses the second half of a call.
            "+ltrim" => {}
            _ => match do_all(&others.join(" ")).await {
                Err(RedisStoreError::Denied(_) | RedisStoreError::Other(_)) => {}
                done => panic!("without {right}: {done:?}"),
            },
        }
    }
}
