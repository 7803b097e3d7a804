//! Which nodes there are, and which of them live: each says so again and again.

use std::collections::HashSet;
use std::time::Duration;

use redis::{RedisResult, Script};

use super::Link;

/// For how long it is known that a run of a node has ended in good order: longer than its sessions wait for a node, as a rule.
const LEFT: Duration = Duration::from_secs(7 * 86_400);
/// Where all nodes are.
const NODES: &str = "xmpp-sm-nodes";

impl Link {
    /// Says that this node lives. `false`: another one has its name. It is among all nodes from then on, until it is dead and
    /// nothing of it is left.
    pub async fn is_alive_or_says_so(&self, alive: Duration) -> RedisResult<bool> {
        let (key, number) = sign_of(&self.me);
        let script = Script::new(
            // Also where there is no memory left.
            "local who = redis.call('GET', KEYS[1])
             if who and who ~= ARGV[1] then return 0 end
             if who then redis.call('PEXPIRE', KEYS[1], ARGV[2])
             else
               redis.call('SADD', KEYS[2], ARGV[3])
               redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
             end
             return 1",
        );
        let mut call = script.key(key);
        call.key(NODES).arg(number).arg(alive.as_millis() as u64).arg(&self.me);
        call.invoke_async(&mut self.redis.clone()).await
    }

    /// All nodes that have lived, but those of which nothing is left.
    pub async fn nodes(&self) -> RedisResult<Vec<String>> {
        redis::cmd("SMEMBERS").arg(NODES).query_async(&mut self.redis.clone()).await
    }

    /// Those of an earlier version do not say that there are any.
    pub async fn note_nodes(&self, nodes: &HashSet<String>) -> RedisResult<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        redis::cmd("SADD").arg(NODES).arg(nodes).query_async(&mut self.redis.clone()).await
    }

    /// Nothing is left of a node, unless it lives again.
    pub async fn forget_node(&self, node: &str) -> RedisResult<()> {
        let (key, number) = sign_of(node);
        let script =
            Script::new("if redis.call('GET', KEYS[1]) ~= ARGV[1] then redis.call('SREM', KEYS[2], ARGV[2]) end");
        script.key(key).key(NODES).arg(number).arg(node).invoke_async(&mut self.redis.clone()).await
    }

    pub async fn is_alive(&self, node: &str) -> RedisResult<bool> {
        let (key, number) = sign_of(node);
        let said: Option<String> = redis::cmd("GET").arg(key).query_async(&mut self.redis.clone()).await?;
        Ok(said.as_deref() == Some(number))
    }

    /// This run of the node has ended in good order: it has let go of all that it had.
    pub async fn say_left(&self) -> RedisResult<()> {
        let mut say = redis::cmd("SET");
        say.arg(left(&self.me)).arg("").arg("EX").arg(LEFT.as_secs()).query_async(&mut self.redis.clone()).await
    }

    /// Whether a run of a node has said so.
    pub async fn has_left(&self, node: &str) -> RedisResult<bool> {
        redis::cmd("EXISTS").arg(left(node)).query_async(&mut self.redis.clone()).await
    }

    /// Nobody waits any more for this run of the node.
    pub async fn says_no_more(&self) -> RedisResult<()> {
        let (key, number) = sign_of(&self.me);
        // Another one may have the name by now.
        let script = Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end");
        script.key(key).arg(number).invoke_async(&mut self.redis.clone()).await
    }
}

fn left(node: &str) -> String {
    format!("xmpp-sm-left:{node}")
}

/// Where a node says that it lives, and the number of its run that it says there.
fn sign_of(node: &str) -> (String, &str) {
    let (name, number) = node.split_once('/').unwrap_or_default();
    (format!("xmpp-sm-node:{name}"), number)
}
