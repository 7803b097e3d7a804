//! The clients of the resume example: tokio-xmpp, or the example client with SASL2.

use std::net::SocketAddr;

use clap::Parser;
use jid::{FullJid, Jid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client::{Client, Seen, Talk};
use super::example_client::lines::Line;
use super::example_client::{Options, run};

/// What the example does with a client of either kind.
pub trait Talks: Talk + Sized {
    fn connect(jid: FullJid, peer: &FullJid, at: SocketAddr) -> Self;
    /// Takes what is still on its way, and leaves.
    async fn finish(self) -> Seen;
}

impl Talks for Client {
    fn connect(jid: FullJid, _: &FullJid, at: SocketAddr) -> Self {
        Self::connect(jid, at)
    }

    async fn finish(mut self) -> Seen {
        self.ping().await;
        let seen = self.seen.clone();
        self.close().await;
        seen
    }
}

/// The example client.
pub struct Example<const INLINE: bool> {
    lines: UnboundedSender<Line>,
    said: UnboundedReceiver<String>,
    seen: Seen,
}

/// One that resumes and binds inside of SASL2.
pub type Inline = Example<true>;

impl<const INLINE: bool> Example<INLINE> {
    fn note(&mut self, line: &str) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("online", _) => self.seen.sessions += 1,
            ("resumed", _) => self.seen.resumed += 1,
            // Behind the time at which it was sent.
            ("received", message) => {
                let number = message.split_once(' ').and_then(|(_, text)| text.parse::<usize>().ok());
                number.into_iter().for_each(|number| self.seen.receive(number));
            }
            _ => {}
        }
    }
}

impl<const INLINE: bool> Talk for Example<INLINE> {
    fn seen(&mut self) -> &mut Seen {
        &mut self.seen
    }

    async fn hear(&mut self) {
        let line = self.said.recv().await.expect("the client goes on until it is told to quit");
        self.note(&line);
    }

    async fn say(&mut self, _: &FullJid, number: usize) {
        let text = number.to_string();
        let _ = self.lines.send(Line::Send { id: text.clone(), text });
    }
}

impl<const INLINE: bool> Talks for Example<INLINE> {
    fn connect(jid: FullJid, peer: &FullJid, at: SocketAddr) -> Self {
        // The server chooses the resource of one that binds inline.
        let partner = if INLINE { peer.to_bare().into() } else { Jid::from(peer.clone()) };
        let options = [format!("--connect={at}"), format!("--jid={jid}"), format!("--partner={partner}")];
        let fixed = ["client", "--password=secret", "--longest-pause=1"];
        let inline = INLINE.then_some("--inline");
        let options = Options::parse_from(fixed.into_iter().chain(inline).chain(options.iter().map(String::as_str)));
        let (lines, reader) = unbounded_channel();
        let (tell, said) = unbounded_channel();
        tokio::spawn(run(options, reader, move |line| drop(tell.send(line))));
        Self { lines, said, seen: Seen::default() }
    }

    /// What is on its way comes before the end of the server's stream.
    async fn finish(mut self) -> Seen {
        let _ = self.lines.send(Line::Quit);
        while let Some(line) = self.said.recv().await {
            self.note(&line);
        }
        self.seen
    }
}
