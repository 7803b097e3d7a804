//! A connection whose commands are held back, or whose replies are lost.

use std::sync::{Arc, Mutex};

use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The command does not arrive, now.
    Held,
    /// It is carried out, and nobody hears of it.
    ReplyLost,
}

/// Clones share what goes wrong.
#[derive(Clone)]
pub struct Faulty {
    inner: ConnectionManager,
    state: Arc<Mutex<(Fault, Vec<Cmd>)>>,
}

impl Faulty {
    pub fn new(inner: ConnectionManager) -> Self {
        Self { inner, state: Arc::new(Mutex::new((Fault::None, Vec::new()))) }
    }

    pub fn set(&self, fault: Fault) {
        self.state.lock().unwrap().0 = fault;
    }

    /// What was held arrives, and what the engine says to it.
    pub async fn arrive(&mut self) -> Vec<Value> {
        self.set(Fault::None);
        let held = std::mem::take(&mut self.state.lock().unwrap().1);
        let mut replies = Vec::new();
        for command in held {
            replies.push(self.inner.req_packed_command(&command).await.unwrap());
        }
        replies
    }
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

impl ConnectionLike for Faulty {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let fault = {
                let mut state = self.state.lock().unwrap();
                if state.0 == Fault::Held {
                    state.1.push(command.clone());
                }
                state.0
            };
            match fault {
                Fault::None => self.inner.req_packed_command(command).await,
                Fault::Held => Err(timed_out()),
                Fault::ReplyLost => self.inner.req_packed_command(command).await.and(Err(timed_out())),
            }
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.inner.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}
