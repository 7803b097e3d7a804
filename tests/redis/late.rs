//! A connection whose commands are held back or overtaken, or whose replies are lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Arg, Cmd, Pipeline, RedisError, RedisFuture, Value};

use super::{Calls, JULIET, store};

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The command does not arrive, now.
    Held,
    /// It is carried out, and nobody hears of it.
    ReplyLost,
    /// Another node registers a session of juliet first.
    Overtaken,
    /// The same, and the next command is held.
    OvertakenAndHeld,
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
        self.arrive_after(Duration::ZERO).await
    }

    /// The same, as if it had been on its way for so much longer: the registrations that were held name a time.
    pub async fn arrive_after(&mut self, longer: Duration) -> Vec<Value> {
        self.set(Fault::None);
        let held = std::mem::take(&mut self.state.lock().unwrap().1);
        let mut replies = Vec::new();
        for command in held {
            let command = earlier(&command, longer);
            replies.push(self.inner.req_packed_command(&command).await.unwrap());
        }
        replies
    }
}

/// `EVALSHA sha1 1 key id handle time ...`
fn earlier(command: &Cmd, by: Duration) -> Cmd {
    let mut earlier = Cmd::new();
    for (at, arg) in command.args_iter().enumerate() {
        let Arg::Simple(arg) = arg else { unreachable!() };
        if at == 6 && !by.is_zero() {
            let time: u128 = std::str::from_utf8(arg).unwrap().parse().unwrap();
            earlier.arg(time - by.as_micros());
        } else {
            earlier.arg(arg);
        }
    }
    earlier
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

impl ConnectionLike for Faulty {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let fault = {
                let mut state = self.state.lock().unwrap();
                let fault = state.0;
                match fault {
                    Fault::Held => state.1.push(command.clone()),
                    Fault::OvertakenAndHeld => state.0 = Fault::Held,
                    _ => {}
                }
                fault
            };
            match fault {
                Fault::None => self.inner.req_packed_command(command).await,
                Fault::Held => Err(timed_out()),
                Fault::ReplyLost => self.inner.req_packed_command(command).await.and(Err(timed_out())),
                Fault::Overtaken | Fault::OvertakenAndHeld => {
                    store(self.inner.clone()).added(8, JULIET, "faster").await;
                    self.inner.req_packed_command(command).await
                }
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
