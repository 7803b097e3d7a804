//! The account of a run: what became of every message, and whose fault it was.
//!
//! A fault is the server's unless the wire log proves that it is the client's: see `ledger.rs` for what is counted,
//! and each finding for its proof.

use std::collections::HashMap;

use crate::faithful::server_is_faithful;
use crate::journal::{End, Event, Message, State};
use crate::ledger::Ledger;
use crate::proof::writer;
use crate::record::Dir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    Server,
    /// A session was lost on purpose, and nobody could know better.
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lost,
    Duplicated,
    Reordered,
    NotResumed,
    Miscounted,
    Stuck,
    Malformed,
    /// A connection on which nothing was wrong.
    Abandoned,
}

#[derive(Debug)]
pub struct Finding {
    pub kind: Kind,
    pub blame: Blame,
    pub why: String,
}

#[derive(Debug, Default)]
pub struct Account {
    pub cuts: usize,
    pub resumes: usize,
    pub sent: usize,
    pub delivered: usize,
    pub findings: Vec<Finding>,
}

pub struct Audit<'a> {
    pub journal: &'a State,
    pub ledger: &'a Ledger,
    pub tag: &'a str,
    /// The connections that the proxy cut.
    pub cuts: &'a [usize],
    /// Whose fault it is where nothing is proven: our side's.
    pub suspect: Blame,
    /// The scenario makes sessions end that could have been resumed.
    pub ends_sessions: bool,
    /// Connections on which nothing went on, and who should have spoken.
    pub stuck: &'a [(usize, Blame)],
}

impl Audit<'_> {
    pub fn account(&self) -> Account {
        let mut account = Account {
            cuts: self.cuts.iter().filter(|index| self.ledger.links.get(**index).is_some_and(|link| link.up)).count(),
            resumes: self.ledger.resumes(),
            ..Account::default()
        };
        for from in [End::Client, End::Partner] {
            self.direction(from, &mut account);
        }
        self.sessions(&mut account.findings);
        for (connection, blame) in self.stuck {
            let why = format!("silence on #{connection}, and it was the turn of the {blame:?}");
            account.findings.push(Finding { kind: Kind::Stuck, blame: *blame, why });
        }
        for (dir, connection) in &self.ledger.malformed {
            let blame = if *dir == Dir::ToServer { Blame::Client } else { Blame::Server };
            let why = format!("{blame:?} wrote what is no XML on #{connection}");
            account.findings.push(Finding { kind: Kind::Malformed, blame, why });
        }
        for connection in self.abandoned() {
            let why = format!("our client left #{connection}, which nobody had cut or closed");
            account.findings.push(Finding { kind: Kind::Abandoned, blame: Blame::Client, why });
        }
        for connection in self.denied() {
            let why = format!("<resume/> on #{connection} got no answer, or the wrong one");
            account.findings.push(Finding { kind: Kind::Stuck, blame: self.suspect, why });
        }
        account
    }

    /// Connections that were not cut, and on which the client asked in its turn for its session and got no answer; or
    /// it was refused, and still there later.
    fn denied(&self) -> impl Iterator<Item = usize> {
        (0..self.ledger.links.len()).filter(|connection| {
            let link = &self.ledger.links[*connection];
            let Some((id, _)) = link.asked.as_ref().filter(|_| !link.resumed) else { return false };
            let session = self.ledger.sessions.iter().find(|session| session.id == *id);
            let later = session.is_some_and(|session| session.links.last() > Some(connection));
            if link.failed.is_some() { later } else { link.in_turn && !self.cuts.contains(connection) }
        })
    }

    /// Connections that our client left for the next one though nobody had made it.
    fn abandoned(&self) -> impl Iterator<Item = usize> {
        let last = self.ledger.links.len().saturating_sub(1);
        (0..last).filter(|connection| {
            let link = &self.ledger.links[*connection];
            // With an error it was for a reason, which `ended_by` looks at.
            let error = link.error_by_server.is_some() || link.error_by_client.is_some();
            let left = !self.cuts.contains(connection) && !link.closed_by_server && !error;
            self.suspect == Blame::Client && left && !self.waited(*connection)
        })
    }

    fn direction(&self, from: End, account: &mut Account) {
        let received = self.received(from);
        let mut times: HashMap<Message, usize> = HashMap::new();
        for message in &received {
            *times.entry(*message).or_default() += 1;
        }
        account.delivered += times.len();
        let mut faithful = false;
        if from == End::Client {
            match server_is_faithful(self.ledger, &received, self.cuts) {
                Ok(()) => faithful = true,
                Err(why) => {
                    let why = format!("what the partner received is not what the server says that it handled: {why}");
                    account.findings.push(Finding { kind: Kind::Miscounted, blame: Blame::Server, why });
                }
            }
        }
        let mut findings = Vec::new();
        for entry in self.journal.of(from) {
            let Event::Sent { number } = entry.event else {
                continue;
            };
            account.sent += 1;
            let message = Message { from, number };
            let name = message.body(self.tag);
            let times = times.get(&message).copied().unwrap_or(0);
            if times == 0 {
                let (blame, why) = self.lost(message);
                findings.push(Finding { kind: Kind::Lost, blame, why: format!("{name}: {why}") });
            }
            if times > 1 {
                for (blame, why) in self.duplicated(message, times) {
                    findings.push(Finding { kind: Kind::Duplicated, blame, why: format!("{name}: {why}") });
                }
            }
        }
        self.order(&received, &mut findings);
        for finding in &mut findings {
            if faithful && finding.kind != Kind::Lost && finding.blame == Blame::Server {
                finding.blame = Blame::Client;
                finding.why += "; the server passed on what it handled, once and in order";
            }
        }
        account.findings.append(&mut findings);
    }

    /// What the other end has of this one's messages, in the order in which they came.
    fn received(&self, from: End) -> Vec<Message> {
        let bodies = self.journal.of(from.other()).filter_map(|entry| match &entry.event {
            Event::Received { body, .. } => Message::from_body(body, self.tag),
            _ => None,
        });
        bodies.filter(|message| message.from == from).collect()
    }

    fn order(&self, received: &[Message], findings: &mut Vec<Finding>) {
        let mut seen: Vec<Message> = Vec::new();
        let mut last: Option<Message> = None;
        for message in received {
            if seen.contains(message) {
                continue;
            }
            seen.push(*message);
            match last {
                Some(before) if before.number > message.number => {
                    let (writer, reader) = (writer(message.from), writer(message.from.other()));
                    let as_written = self.taken(*message) > self.taken(before);
                    let blame = match () {
                        () if self.redelivered(*message) => Blame::Nobody,
                        () if as_written => writer,
                        () => reader,
                    };
                    let why = format!("{} came after {}", message.body(self.tag), before.body(self.tag));
                    let how = if as_written { "as it was written" } else { "though it was written before" };
                    findings.push(Finding { kind: Kind::Reordered, blame, why: format!("{why}, {how}") });
                }
                _ => last = Some(*message),
            }
        }
    }

    fn sessions(&self, findings: &mut Vec<Finding>) {
        let ours = if self.suspect == Blame::Server { Dir::ToClient } else { Dir::ToServer };
        for (_, why) in self.ledger.mixed.iter().filter(|(dir, _)| *dir == ours) {
            findings.push(Finding { kind: Kind::Miscounted, blame: self.suspect, why: why.clone() });
        }
        for (index, session) in self.ledger.sessions.iter().enumerate() {
            for (told, blame) in [(&session.client, Blame::Client), (&session.server, Blame::Server)] {
                if let Some(wrong) = &told.wrong {
                    let why = format!("session {}: {wrong}", session.id);
                    findings.push(Finding { kind: Kind::Miscounted, blame, why });
                }
            }
            match self.ended_by(index) {
                None if session.links.last().is_some_and(|link| self.cuts.contains(link)) => {
                    let why = format!("session {} was cut, and nothing followed", session.id);
                    findings.push(Finding { kind: Kind::NotResumed, blame: self.suspect, why });
                }
                None | Some(Blame::Nobody) => {}
                Some(blame) => {
                    let links = &self.ledger.links;
                    let error = session.links.last().and_then(|link| links[*link].error_by_server.clone());
                    let error = error.map_or(String::new(), |condition| format!(", stream error {condition}"));
                    let deaf = self.ledger.deaf(index).map_or(String::new(), |(torn, last)| {
                        format!("; #{torn} ended inside a stanza, and nothing was acknowledged from there to #{last}")
                    });
                    let why = format!("session {} was not resumed{error}{deaf}", session.id);
                    findings.push(Finding { kind: Kind::NotResumed, blame, why });
                }
            }
        }
    }
}
