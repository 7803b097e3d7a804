//! A peer that does as a test says, for the literal server.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use minidom::Element;
use tokio::time::timeout;
use xmpp_sm::{Config, NS as SM};

use crate::conn::{Conn, HEADER};
use crate::net::{CLIENT, Link, SERVER};
use crate::server::{Receipts, Server};

pub struct Raw {
    pub conn: Conn,
    pub link: Link,
}

/// A server, and a runtime whose clock stands still.
pub fn with_server<T>(config: Config, receipts: Receipts, test: impl AsyncFnOnce(Server) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { test(Server::new(config, 1, receipts)).await })
}

impl Raw {
    pub async fn new(server: &Server, name: &str, capacity: usize) -> Self {
        let link = Link::new(capacity, Duration::from_millis(5), &Arc::new(AtomicU32::new(0)));
        server.accept(link.end(SERVER));
        let mut raw = Self { conn: Conn::new(link.end(CLIENT)), link };
        raw.conn.say(format!("{HEADER}<auth xmlns='urn:example:auth' user='{name}'/>"));
        assert_eq!(raw.read().await.name(), "features");
        raw
    }

    /// Logs in with a session; returns its SM-ID, if it has one.
    pub async fn online(server: &Server, name: &str, resume: bool) -> (Self, Option<String>) {
        let mut raw = Self::new(server, name, 4096).await;
        let id = raw.bind(resume).await;
        (raw, id)
    }

    pub async fn bind(&mut self, resume: bool) -> Option<String> {
        self.conn.say("<iq type='set' id='b'/>");
        assert_eq!(self.read().await.name(), "iq");
        self.conn.say(format!("<enable xmlns='{SM}' resume='{resume}'/>"));
        let enabled = self.read().await;
        assert_eq!(enabled.name(), "enabled");
        self.conn.say("<presence/>");
        enabled.attr("id").map(str::to_owned)
    }

    /// Asks for a session; returns the reply.
    pub async fn resume(&mut self, id: &str, h: u32) -> Element {
        self.conn.say(format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>"));
        self.read().await
    }

    pub fn message(&mut self, number: u32) {
        self.conn.say(format!("<message from='peer' to='other' id='{number}'/>"));
    }

    pub fn ack(&mut self, h: u32) {
        self.conn.say(format!("<a xmlns='{SM}' h='{h}'/>"));
    }

    pub async fn read(&mut self) -> Element {
        self.try_read().await.expect("an element")
    }

    /// `None`: the stream has ended, or nothing came for a minute.
    pub async fn try_read(&mut self) -> Option<Element> {
        timeout(Duration::from_secs(60), self.conn.element()).await.ok()?.ok()
    }

    /// Writes what waits, and reads nothing.
    pub async fn write(&mut self, time: Duration) {
        let write = async { while self.conn.step(false).await.is_ok() {} };
        let _ = timeout(time, write).await;
    }

    /// The numbers of the messages that come within a time.
    pub async fn numbers(&mut self, time: Duration) -> Vec<u32> {
        let mut numbers = Vec::new();
        let read = async {
            while let Ok(element) = self.conn.element().await {
                if element.name() == "message" {
                    numbers.push(element.attr("id").unwrap().parse().unwrap());
                }
            }
        };
        let _ = timeout(time, read).await;
        numbers
    }
}

impl Server {
    /// A message for somebody, from nowhere.
    pub fn write_to(&self, to: &str, number: u32) {
        self.write_large(to, number, 0);
    }

    pub fn write_large(&self, to: &str, number: u32, size: usize) {
        let body = "x".repeat(size);
        let stanza = format!("<message from='other' to='{to}' id='{number}'><body>{body}</body></message>");
        self.lock().deliver(to, stanza.into());
    }
}
