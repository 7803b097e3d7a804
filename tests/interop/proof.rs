//! Whose fault it is, from the wire log.

use std::time::Duration;

use crate::account::{Audit, Blame};
use crate::journal::{End, Event, Message};
use crate::ledger::Sending;
use crate::ours::ACK_TIMEOUT;
use crate::record::Dir;

impl Audit<'_> {
    pub(crate) fn lost(&self, message: Message) -> (Blame, String) {
        let sendings = self.ledger.sendings(direction(message.from), message);
        let Some(last) = sendings.last() else {
            let writer = writer(message.from);
            return (writer, format!("{writer:?} never wrote it"));
        };
        match message.from {
            End::Client => self.lost_to_server(last),
            End::Partner => self.lost_to_client(&sendings),
        }
    }

    fn lost_to_server(&self, last: &Sending) -> (Blame, String) {
        let Some((session, number)) = self.place(last) else {
            return (self.suspect, format!("written on #{} without stream management", last.connection));
        };
        if let Some(h) = self.covered(last, Dir::ToServer) {
            return (Blame::Server, format!("number {number}, acknowledged with h={h}, not delivered"));
        }
        if let Some(h) = self.ledger.handled(Dir::ToServer, last.connection) {
            return (Blame::Client, format!("number {number}, not covered by h={h}, not sent again"));
        }
        match self.ended_by(session) {
            // That it was not acknowledged the client knew, too.
            Some(Blame::Server) => {
                (self.suspect, format!("number {number}, in flight when the server ended the session"))
            }
            Some(_) => (Blame::Client, format!("number {number}, not acknowledged, not sent again in the new session")),
            None => (self.suspect, format!("number {number} on #{}, never acknowledged", last.connection)),
        }
    }

    fn lost_to_client(&self, sendings: &[Sending]) -> (Blame, String) {
        for sending in sendings {
            if let (Some(number), Some(h)) = (sending.number, self.covered(sending, Dir::ToClient)) {
                return (Blame::Client, format!("number {number}, acknowledged with h={h}, never surfaced"));
            }
        }
        (Blame::Server, "not acknowledged by the client, and not sent to it again".into())
    }

    /// A fault for each time but one that it was received; those that are ours come first.
    pub(crate) fn duplicated(&self, message: Message, times: usize) -> Vec<(Blame, String)> {
        let sendings = self.ledger.sendings(direction(message.from), message);
        let (writer, reader) = (writer(message.from), writer(message.from.other()));
        let whole = sendings.iter().filter(|sending| sending.forwarded).count();
        if whole < times {
            let fault = (reader, format!("received {times} times, and {writer:?} wrote it {whole} times"));
            return vec![fault; times - 1];
        }
        let again =
            sendings.windows(2).filter_map(|pair| self.sent_again(&pair[0], &pair[1], writer, direction(message.from)));
        let mut faults: Vec<_> = again.collect();
        faults.sort_by_key(|(blame, _)| *blame != self.suspect);
        let right = format!("written {whole} times, each time as it should be: what was taken was not counted");
        faults.resize(times - 1, (reader, right));
        faults
    }

    /// Whether to write it again was wrong.
    fn sent_again(&self, first: &Sending, again: &Sending, writer: Blame, dir: Dir) -> Option<(Blame, String)> {
        let (one, two) = (first.connection, again.connection);
        if one == two {
            return Some((writer, format!("written twice on #{one}")));
        }
        let Some((session, number)) = self.place(first) else {
            return Some((Blame::Nobody, format!("written on #{one} without stream management, and again on #{two}")));
        };
        if self.ledger.links[two].session == Some(session) {
            let link = &self.ledger.links[two];
            let h = if dir == Dir::ToServer { link.server_h } else { link.client_h };
            return (h >= number)
                .then(|| (writer, format!("number {number}, covered by h={h} and written again on #{two}")));
        }
        if let Some(h) = self.known(first, dir) {
            return Some((writer, format!("number {number}, acknowledged with h={h}, written again in a new session")));
        }
        let blame = self.ended_by(session).unwrap_or(self.suspect);
        Some((blame, format!("number {number}, not acknowledged when the session was lost, and sent again")))
    }

    /// The h that covers it, if the other side says that it took it.
    fn covered(&self, sending: &Sending, dir: Dir) -> Option<u32> {
        let (session, number) = self.place(sending)?;
        let state = &self.ledger.sessions[session];
        let last = if dir == Dir::ToServer { state.server.h } else { state.client.h };
        Some(self.ledger.handled(dir, sending.connection).unwrap_or(last)).filter(|h| *h >= number)
    }

    /// The same, if it was said in time for the writer to know when the session was lost.
    fn known(&self, sending: &Sending, dir: Dir) -> Option<u32> {
        let (session, number) = self.place(sending)?;
        let state = &self.ledger.sessions[session];
        let last = if dir == Dir::ToServer { state.server.arrived } else { state.client.arrived };
        Some(self.ledger.resumed_with(dir, sending.connection).unwrap_or(last)).filter(|h| *h >= number)
    }

    /// Whether it was on its way to the client when the session before the one that brought it was lost, and not by
    /// the server. It may come after what was sent to the new session.
    pub(crate) fn redelivered(&self, message: Message) -> bool {
        let sendings = self.ledger.sendings(Dir::ToClient, message);
        let session = sendings.last().and_then(|sending| self.ledger.links[sending.connection].session);
        let (End::Partner, Some(session)) = (message.from, session) else { return false };
        let sent = self.journal.of(End::Partner).find(|entry| match entry.event {
            Event::Sent { number } => number == message.number,
            _ => false,
        });
        let early = sent.zip(self.ledger.sessions[session].began).is_some_and(|(sent, began)| sent.at < began);
        early && session.checked_sub(1).and_then(|before| self.ended_by(before)).is_some_and(|b| b != Blame::Server)
    }

    /// Where in the wire log the copy stands that the receiver took: the first that its next h covered.
    pub(crate) fn taken(&self, message: Message) -> (usize, Option<u32>) {
        let dir = direction(message.from);
        let sendings = self.ledger.sendings(dir, message);
        let taken =
            sendings.iter().find(|sending| match (sending.number, self.ledger.handled(dir, sending.connection)) {
                (Some(number), Some(h)) => number <= h,
                _ => sending.forwarded,
            });
        taken.or(sendings.last()).map_or((0, None), |sending| (sending.connection, sending.number))
    }

    /// Who made a session end that another one followed; None while it is the last. A real client has given it up only
    /// if the server had promised to keep it and the client did not ask for it, or only on connections that were cut.
    pub(crate) fn ended_by(&self, session: usize) -> Option<Blame> {
        let state = &self.ledger.sessions[session];
        let last = *state.links.last()?;
        let links = &self.ledger.links;
        let next = (last + 1..links.len()).find(|index| links[*index].session.is_some())?;
        let between = last + 1..=next;
        let asked = |index: usize| links[index].asked.as_ref().is_some_and(|(id, _)| *id == state.id);
        let refused = between.clone().any(|index| asked(index) && links[index].failed.is_some());
        let ignored = between.clone().any(|index| asked(index) && links[index].in_turn && !self.cuts.contains(&index));
        // A conflict comes of the new session; it does not lead to it.
        let error = |index: usize| links[index].error_by_server.as_ref().is_some_and(|error| error != "conflict");
        let conflict = links[last].error_by_server.is_some() && !error(last);
        let closed = links[last].closed_by_server && !conflict;
        let turned_away = (last..next).any(error);
        Some(match () {
            () if self.ends_sessions => Blame::Nobody,
            () if state.client.wrong.is_some() => Blame::Client,
            () if state.server.wrong.is_some() || turned_away || closed => Blame::Server,
            // It complains, and nothing is wrong that anybody can see.
            () if links[last].error_by_client.is_some() => self.suspect,
            () if refused || !state.resumable => Blame::Server,
            () if self.ledger.deaf(session).is_some() && self.waited(last) => Blame::Server,
            // The client did not learn of it.
            () if !links[state.links[0]].up => Blame::Nobody,
            () if ignored => self.suspect,
            () => Blame::Client,
        })
    }

    /// Whether the client was right to leave this connection: its `<r/>` had no answer for so long. The proxy may be
    /// late to see the one and in time for the other.
    pub(crate) fn waited(&self, connection: usize) -> bool {
        let waited = self.ledger.links[connection].silence + Duration::from_secs(1) > ACK_TIMEOUT;
        waited && !self.cuts.contains(&connection)
    }

    fn place(&self, sending: &Sending) -> Option<(usize, u32)> {
        Some((self.ledger.links[sending.connection].session?, sending.number?))
    }
}

pub fn direction(from: End) -> Dir {
    match from {
        End::Client => Dir::ToServer,
        End::Partner => Dir::ToClient,
    }
}

/// Who writes this end's messages on the wire that is logged.
pub fn writer(from: End) -> Blame {
    match from {
        End::Client => Blame::Client,
        End::Partner => Blame::Server,
    }
}
