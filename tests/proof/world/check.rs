//! The ledger against what the crate shows.

use std::time::Instant;

use xmpp_sm::{Lookup, Record, SessionStore};

use super::event::Side;
use super::ledger::{Checked, Half, Life, Violation, ensure};
use super::pair::{End, Handle, Pair, Parked, Place, Shared, Step};
use super::setting::smid;

impl Pair {
    pub fn check(&self, cx: &Shared) -> Checked {
        for connection in &self.connections {
            for side in Side::BOTH {
                let Some(end) = connection.end(side) else { continue };
                Self::check_end(cx, end, side)?;
                let half = end.session.map(|session| self.session(session).half(side));
                end.check_timer(cx.options(side), half)
                    .map_err(|Violation(text)| Violation(format!("{side:?}'s stream: {text}")))?;
            }
        }
        for (session, number) in self.sessions.iter().zip(0..) {
            for side in Side::BOTH {
                let half = session.half(side);
                if half.life == Life::Alive {
                    self.check_half(cx, number, side)
                        .map_err(|Violation(text)| Violation(format!("{side:?}'s session {number}: {text}")))?;
                }
            }
            if let Some(of) = session.smid {
                self.check_store(cx, number, of)?;
            }
        }
        Ok(())
    }

    fn check_half(&self, cx: &Shared, session: u16, side: Side) -> Checked {
        let of = self.session(session);
        let half = of.half(side);
        let open = self.open[side.index()].iter().filter(|open| open.session == session);
        let oldest = open.min_by_key(|open| open.position).map(|open| open.since);
        match self.place(session, side) {
            Some(Place::On(at)) => {
                let Some(end) = self.connections[at].end(side) else {
                    return Err(Violation("is where no end is".into()));
                };
                half.check(&end.stream, oldest)?;
                let bytes = end.stream.unacked_bytes();
                ensure!(bytes == half.queued_bytes(), "{bytes} bytes are queued, not {}", half.queued_bytes());
                let (resumable, wanted) = (end.stream.is_resumable(), half.is_resumable(cx.options(side)));
                ensure!(resumable == wanted, "resumable is {resumable}, and must be {wanted}");
                let smid = of.smid.filter(|_| half.granted).map(smid);
                ensure!(end.stream.smid() == smid.as_ref(), "the SM-ID is {:?}, not {smid:?}", end.stream.smid());
                check_bounds(cx, half, end, side)
            }
            // It shows nothing more, until it ends.
            Some(Place::Shut(_)) => Ok(()),
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

    /// Whether the stream tells what it would take, and how far it has come.
    fn check_end(cx: &Shared, end: &End, side: Side) -> Checked {
        let stream = &end.stream;
        let told = (stream.is_enabled(), stream.is_recording(), stream.has_feature());
        let enabled = matches!(end.step, Step::Enabled);
        let recording = enabled || matches!(end.step, Step::Enabling | Step::Resuming(_));
        let may_ask = side == Side::Server && matches!(end.step, Step::Open) && !cx.setting.disabled;
        let wanted = (enabled, recording, may_ask);
        ensure!(told == wanted, "(enabled, recording, feature) is {told:?}, not {wanted:?}");
        Ok(())
    }

    fn check_store(&self, cx: &Shared, number: u16, of: u16) -> Checked {
        let found = cx.store.lookup(&smid(of), self.owner, cx.now);
        let wanted = self.known(cx, number, cx.now);
        ensure!(found.as_ref() == Ok(&wanted), "the store answers {found:?} for session {number}, not {wanted:?}");
        Ok(())
    }

    /// What the store must say to the owner of a session.
    pub fn known(&self, cx: &Shared, number: u16, now: Instant) -> Lookup<Handle> {
        let session = self.session(number);
        let live = |connection| match session.registration.clone() {
            Some(registration) => Lookup::Session(Record { registration, handle: (self.number, connection) }),
            None => Lookup::NotFound,
        };
        match (self.place(number, Side::Server), session.retired) {
            (Some(Place::On(at) | Place::Shut(at)), _) => live(self.connections[at].id),
            (Some(Place::Off(i)), _) => live(self.parked[i].connection),
            (None, Some(retired)) if cx.options(Side::Server).remembers(retired, now) => {
                let half = session.half(Side::Server);
                Lookup::StaleH(half.in_counter(half.h))
            }
            (None, _) => Lookup::NotFound,
        }
    }
}

/// Whether the stream tells what it would take.
fn check_bounds(cx: &Shared, half: &Half, end: &End, side: Side) -> Checked {
    let options = cx.options(side);
    let told = (end.stream.can_receive(), end.stream.has_room());
    let wanted = (
        half.takes_more(options),
        half.queued().count() < options.buffer_max as usize && half.queued_bytes() < options.buffer_max_bytes,
    );
    ensure!(told == wanted, "(can receive, has room) is {told:?}, not {wanted:?}");
    Ok(())
}
