//! The ledger against what the crate shows.

use std::time::Instant;

use xmpp_sm::{Lookup, SessionStore};

use super::event::Side;
use super::ledger::{Checked, Life, Session, Violation, ensure};
use super::pair::{Pair, Parked, Place, Shared, Sid, Step};
use super::setting::{GERIATRIC, GRACE, smid};

impl Pair {
    pub fn check(&self, cx: &Shared) -> Checked {
        for (session, number) in self.sessions.iter().zip(0..) {
            for side in Side::BOTH {
                let half = session.half(side);
                if half.life == Life::Alive {
                    self.check_half(cx, number, side)
                        .map_err(|Violation(text)| Violation(format!("{side:?}'s session {number}: {text}")))?;
                }
            }
            if let Some(of) = session.smid {
                self.check_store(cx, session, number, of)?;
            }
        }
        Ok(())
    }

    fn check_half(&self, cx: &Shared, session: u16, side: Side) -> Checked {
        let half = self.session(session).half(side);
        let open = self.open[side.index()].iter().filter(|open| open.session == session);
        let oldest = open.min_by_key(|open| open.position).map(|open| open.since);
        match self.place(session, side) {
            Some(Place::On(at)) => {
                let Some(end) = self.connections[at].end(side) else { return Ok(()) };
                half.check(&end.stream, oldest)?;
                let bytes = end.stream.unacked_bytes();
                ensure!(bytes == half.queued_bytes(), "{bytes} bytes are queued, not {}", half.queued_bytes());
                let resumable = end.stream.is_resumable();
                ensure!(resumable == half.resumable, "resumable is {resumable}, and must be {}", half.resumable);
                let enabled = matches!(end.step, Step::Enabled);
                ensure!(end.stream.is_enabled() == enabled, "enabled is not {enabled}");
                // No timer of another stream: each is as old as its cause at most.
                let limits = cx.options(side);
                let asked = end.asked.zip(limits.ack_timeout).map(|(asked, limit)| asked + limit);
                let over = end.over.map(|over| over + GRACE);
                let due = asked.into_iter().chain(over).min();
                let timer = end.stream.poll_timeout();
                // Without an `<r/>` on its way, the next one may be due before that.
                let right = timer == due || asked.is_none() && (due.is_none() || timer < due);
                ensure!(right, "the timer is set to {timer:?}, not {due:?}");
                Ok(())
            }
            Some(Place::Off(i)) => {
                let Parked { detached, deadline, .. } = &self.parked[i];
                half.check(detached, oldest)?;
                let set = detached.deadline();
                ensure!(set == *deadline, "the deadline is {set:?}, and must be {deadline:?}");
                Ok(())
            }
            None => Err(Violation("is nowhere".into())),
        }
    }

    fn check_store(&self, cx: &Shared, session: &Session, number: u16, of: u16) -> Checked {
        let found = cx.store.lookup(&smid(of), self.owner, cx.now);
        let wanted = self.known(number, session, cx.now);
        ensure!(found == Ok(wanted), "the store answers {found:?} for session {number}, not {wanted:?}");
        Ok(())
    }

    /// What the store must say to the owner of a session.
    pub fn known(&self, number: u16, session: &Session, now: Instant) -> Lookup<Sid> {
        match (self.place(number, Side::Server), session.retired) {
            (Some(_), _) if session.epoch.is_none() => Lookup::NotFound,
            (Some(Place::On(at)), _) => Lookup::Session((self.number, self.connections[at].id)),
            (Some(Place::Off(i)), _) => Lookup::Session((self.number, self.parked[i].connection)),
            (None, Some(retired)) if now - retired <= GERIATRIC => {
                let half = session.half(Side::Server);
                Lookup::StaleH(half.in_counter(half.h))
            }
            (None, _) => Lookup::NotFound,
        }
    }
}
