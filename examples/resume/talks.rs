//! The clients of the resume example: tokio-xmpp, or the example client with SASL2.

use std::net::SocketAddr;

use clap::Parser;
use jid::FullJid;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client::{Client, Seen, WINDOW};
use super::example_client::lines::Line;
use super::example_client::{Options, run};

/// What the example does with a client of either kind.
pub trait Talks: Sized {
    fn connect(jid: FullJid, peer: &FullJid, at: SocketAddr) -> Self;
    async fn bound(&mut self);
    async fn talk(&mut self, peer: &FullJid, count: usize);
    /// Takes what is still on its way, and leaves.
    async fn finish(self) -> Seen;
}

impl Talks for Client {
    fn connect(jid: FullJid, _: &FullJid, at: SocketAddr) -> Self {
        Self::connect(jid, at)
    }

    async fn bound(&mut self) {
        self.bound().await;
    }

    async fn talk(&mut self, peer: &FullJid, count: usize) {
        self.talk(peer, count).await;
    }

    async fn finish(mut self) -> Seen {
        self.ping().await;
        let seen = self.seen.clone();
        self.close().await;
        seen
    }
}

/// A client that resumes and binds inside of SASL2.
pub struct Inline {
    lines: UnboundedSender<Line>,
    said: UnboundedReceiver<String>,
    seen: Seen,
}

impl Inline {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("online", _) => self.seen.sessions += 1,
            ("resumed", _) => self.seen.resumed += 1,
            // Behind the time at which it was sent.
            ("received", message) => {
                self.seen.received.extend(message.split_once(' ').and_then(|(_, text)| text.parse::<usize>().ok()));
            }
            _ => {}
        }
    }

    async fn next(&mut self) {
        let line = self.said.recv().await.expect("the client goes on until it is told to quit");
        self.hear(&line);
    }
}

impl Talks for Inline {
    fn connect(jid: FullJid, peer: &FullJid, at: SocketAddr) -> Self {
        let (at, jid) = (format!("--connect={at}"), format!("--jid={jid}"));
        // The server chooses the resource.
        let partner = format!("--partner={}", peer.to_bare());
        let options = ["client", &at, &jid, &partner, "--password=secret", "--inline", "--longest-pause=1"];
        let options = Options::parse_from(options);
        let (lines, reader) = unbounded_channel();
        let (tell, said) = unbounded_channel();
        tokio::spawn(run(options, reader, move |line| drop(tell.send(line))));
        Self { lines, said, seen: Seen::default() }
    }

    async fn bound(&mut self) {
        while self.seen.sessions == 0 {
            self.next().await;
        }
    }

    async fn talk(&mut self, _: &FullJid, count: usize) {
        while self.seen.latest() < count || self.seen.sent < count {
            if self.seen.sent < count.min(self.seen.latest() + WINDOW) {
                self.seen.sent += 1;
                let text = self.seen.sent.to_string();
                let _ = self.lines.send(Line::Send { id: text.clone(), text });
            } else {
                self.next().await;
            }
        }
    }

    /// What is on its way comes before the end of the server's stream.
    async fn finish(mut self) -> Seen {
        let _ = self.lines.send(Line::Quit);
        while let Some(line) = self.said.recv().await {
            self.hear(&line);
        }
        self.seen
    }
}
