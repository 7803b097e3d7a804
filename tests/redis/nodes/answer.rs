//! An answer of the engine that many sessions ask for at once.

#[path = "../../../examples/server/nodes/answer.rs"]
mod shared;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use shared::Answer;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{BIND, Client, ENABLE, JULIET, Node, ROMEO, eventually};
use crate::server::Redis;

const SESSIONS: usize = 10;

/// Nothing that goes wrong between the question and the answer is missed.
#[tokio::test]
async fn an_answer_is_asked_for_after_who_gets_it() {
    let (answer, asked, goes_on) = (Answer::default(), AtomicU32::new(0), Notify::new());
    let get = || {
        answer.get(async {
            let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
            goes_on.notified().await;
            number
        })
    };
    let first = get();
    let others = async {
        // The first question is on its way.
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        goes_on.notify_one();
        let others = join_all((0..100).map(|_| get()));
        let open = async {
            tokio::task::yield_now().await;
            goes_on.notify_one();
        };
        join(others, open).await.0
    };
    let (first, others) = join(first, others).await;
    assert_eq!((first, others), (1, vec![2; 100]));
    // Nor is it what somebody had who waits no more.
    assert!(timeout(Duration::from_millis(1), get()).await.is_err());
    goes_on.notify_one();
    assert_eq!(get().await, 4);
}

/// Each looks what the engine has of it.
#[test]
fn sessions_ask_together_whether_the_engine_is_another_one() {
    let mut redis = Redis::start();
    let one = Node::start_with(&redis, "one", &["--promise=durable", "--dead-after=60"]);
    let mut clients = Vec::new();
    for auth in [ROMEO, JULIET].repeat(SESSIONS) {
        let mut client = Client::log_in(&one, auth);
        client.ask(BIND, "</iq>");
        client.ask(ENABLE, "<enabled");
        clients.push(client);
    }
    redis.kill();
    redis.start_again();
    let known = |user: &str| redis.tell::<usize>(&format!("HLEN xmpp-sm-sessions:{{{user}@localhost}}"));
    eventually("all are known again", || known("romeo") > SESSIONS && known("juliet") > SESSIONS);
    let stats: String = redis.tell("INFO commandstats");
    let calls = stats.split_once("cmdstat_info:calls=").unwrap().1.split_once(',').unwrap().0;
    println!("{} sessions: {calls} times INFO", clients.len());
    assert!(calls.parse::<usize>().unwrap() < SESSIONS, "{calls}");
}
