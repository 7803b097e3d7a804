//! What an outsider knows who saw every call: the promise is checked against this, never against what the
//! crate says of itself. Positions count from 0; the counters of the wire follow from where they started.

use std::time::{Duration, Instant};

use xmpp_sm::{
    Counter, Detached, Nonza, OpenReceipt, Queued, Registration, Stanza, StreamMgmt, Unacked, Undelivered, WrongH,
};

use super::event::Side;
use super::setting::Options;
pub(crate) use crate::support::ensure;
pub use crate::support::{Checked, Violation};

/// A stanza: which session's, whose, and which of them. It is opaque to the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Msg {
    /// Nothing where stream management was off when it was sent.
    pub session: Option<u16>,
    pub from: Side,
    pub position: u32,
    pub bytes: u32,
}

impl Stanza for Msg {
    fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// One session, of both sides.
pub struct Session {
    pub smid: Option<u16>,
    /// The server's registration of it.
    pub registration: Option<Registration>,
    /// The server has retired it, at this time.
    pub retired: Option<Instant>,
    pub halves: [Half; 2],
}

impl Session {
    pub fn new(first_out: [u32; 2]) -> Self {
        let [client, server] = first_out;
        let halves = [Half::new(client, server), Half::new(server, client)];
        Self { smid: None, registration: None, retired: None, halves }
    }

    pub fn half(&self, side: Side) -> &Half {
        &self.halves[side.index()]
    }

    pub fn half_mut(&mut self, side: Side) -> &mut Half {
        &mut self.halves[side.index()]
    }

    pub fn is_alive(&self) -> bool {
        self.halves.iter().any(|half| half.life == Life::Alive)
    }

    /// `side` has learnt that its peer handled everything up to `h`.
    pub fn acked(&mut self, side: Side, h: Counter) -> Checked<u32> {
        let peer = self.half(side.peer()).h;
        let half = self.half_mut(side);
        let count = h.get().wrapping_sub(half.first_out) as usize;
        ensure!(count >= half.acked, "{side:?} took h {h} for good, which is behind what was acknowledged");
        ensure!(count <= half.sent.len(), "{side:?} took h {h} for good, which was never sent");
        ensure!(count <= peer, "{side:?} believes that {count} stanzas were handled, but only {peer} were");
        for sent in &mut half.sent[half.acked..count] {
            if sent.fate != Fate::Returned {
                sent.fate = Fate::Acked;
            }
        }
        let added = count - half.acked;
        half.acked = count;
        Ok(added as u32)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Unborn,
    Alive,
    Over,
}

/// What one side knows of a session.
pub struct Half {
    pub life: Life,
    /// It has an SM-ID, and may be resumed unless something stops it.
    pub granted: bool,
    /// How long it may wait, detached.
    pub resume_timeout: Option<Duration>,
    /// What the counters showed at first.
    first_out: u32,
    first_in: u32,
    /// Its own stanzas.
    pub sent: Vec<Sent>,
    pub acked: usize,
    /// The peer's stanzas that were delivered: whether each is settled.
    pub settled: Vec<bool>,
    /// How many bytes each has.
    pub received: Vec<u32>,
    /// How many of them are, without a gap.
    pub h: usize,
    /// How far `h` must get until the last `<r/>` is answered in full.
    pub owed: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub msg: Msg,
    pub at: Instant,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Queued,
    /// The buffer is off.
    NotKept,
    Acked,
    Returned,
}

impl Half {
    fn new(first_out: u32, first_in: u32) -> Self {
        Self {
            life: Life::Unborn,
            granted: false,
            resume_timeout: None,
            first_out,
            first_in,
            sent: Vec::new(),
            acked: 0,
            settled: Vec::new(),
            received: Vec::new(),
            h: 0,
            owed: None,
        }
    }

    /// The counter after so many of its own stanzas.
    pub fn out_counter(&self, count: usize) -> Counter {
        Counter::new(self.first_out.wrapping_add(count as u32))
    }

    /// The counter after so many of the peer's stanzas.
    pub fn in_counter(&self, count: usize) -> Counter {
        Counter::new(self.first_in.wrapping_add(count as u32))
    }

    /// Whether one more stanza of the peer is taken.
    pub fn takes_more(&self, options: &Options) -> bool {
        let bytes = |open: &usize| if self.settled[*open] { 0 } else { self.received[*open] as usize };
        let open: usize = (self.h..self.settled.len()).map(|open| bytes(&open)).sum();
        self.pending() < options.receipts_max as usize && open < options.receipts_max_bytes
    }

    /// Whether the queue is over its bounds.
    pub fn is_over(&self, options: &Options) -> bool {
        self.queued().count() > options.buffer_max as usize || self.queued_bytes() > options.buffer_max_bytes
    }

    /// Whether it waits to be resumed if the connection is lost: it may, all that is unacknowledged can be sent again,
    /// and that is no more than a session may hold that waits.
    pub fn is_resumable(&self, options: &Options) -> bool {
        let kept = self.sent[self.acked..].iter().all(|sent| sent.fate == Fate::Queued);
        self.granted && kept && !self.is_over(options)
    }

    /// How many stanzas have come after those that are handled without a gap.
    pub fn pending(&self) -> usize {
        self.settled.len() - self.h
    }

    pub fn open(&self) -> usize {
        self.settled[self.h..].iter().filter(|settled| !**settled).count()
    }

    pub fn queued(&self) -> impl Iterator<Item = &Sent> {
        self.sent[self.acked..].iter().filter(|sent| sent.fate == Fate::Queued)
    }

    /// The queued stanzas with their positions and numbers.
    pub fn queued_numbers(&self) -> Vec<(usize, Sent, Counter)> {
        let places = self.acked..self.sent.len();
        let queued = places.filter(|place| self.sent[*place].fate == Fate::Queued);
        queued.map(|place| (place, self.sent[place], self.out_counter(place + 1))).collect()
    }

    pub fn queued_bytes(&self) -> usize {
        self.queued().map(|sent| sent.msg.bytes()).sum()
    }

    /// Why an `h` of the peer cannot be right, if so: it is beyond what was sent, or behind what was acknowledged,
    /// whichever it is nearer to.
    pub fn wrong(&self, h: Counter) -> Option<WrongH> {
        let (acked, sent) = (self.out_counter(self.acked), self.out_counter(self.sent.len()));
        let beyond = |from: Counter, to: Counter| to.get().wrapping_sub(from.get());
        match (beyond(sent, h), beyond(h, acked)) {
            _ if beyond(acked, h) as usize <= self.sent.len() - self.acked => None,
            (above, below) if above <= below => Some(WrongH::TooHigh { h, sent }),
            _ => Some(WrongH::Backwards { h, acked }),
        }
    }

    /// What this side has handled, as it tells its peer.
    pub fn handled(&self) -> Counter {
        self.in_counter(self.h)
    }

    /// This side tells its peer how many of its stanzas were handled.
    pub fn claims(&self, h: Counter) -> Checked {
        let claimed = h.get().wrapping_sub(self.first_in) as usize;
        ensure!(claimed == self.h, "h claims {claimed} stanzas, and {} are handled", self.h);
        Ok(())
    }

    pub fn settle(&mut self, position: usize) {
        self.settled[position] = true;
        while self.settled.get(self.h) == Some(&true) {
            self.h += 1;
        }
    }

    /// What an `<r/>` has waited for, if it is all settled by now.
    pub fn answer(&mut self) -> Option<Nonza> {
        let h = self.h;
        self.owed.take_if(|owed| h >= *owed).map(|_| Nonza::Ack(self.in_counter(h)))
    }

    /// These stanzas come back to the host: all that are queued, or so many of the oldest.
    pub fn returned(&mut self, lost: Undelivered<Msg>, oldest: Option<usize>) -> Checked {
        let wanted = oldest.unwrap_or(self.queued().count());
        ensure!(lost.len() == wanted, "{} stanzas come back, not {wanted}", lost.len());
        let mut position = self.acked;
        for back in lost {
            while self.sent.get(position).is_some_and(|sent| sent.fate != Fate::Queued) {
                position += 1;
            }
            let number = self.out_counter(position + 1);
            let Some(sent) = self.sent.get_mut(position) else {
                return Err(Violation(format!("{back:?} comes back and was not queued")));
            };
            ensure!(
                (back.stanza, back.queued, back.number) == (sent.msg, sent.at, number),
                "{back:?} comes back in the place of {sent:?}, number {number}"
            );
            sent.fate = Fate::Returned;
        }
        Ok(())
    }

    /// Whether what can be seen of a session is what it must be.
    pub fn check(&self, face: &impl Face, open_since: Option<Instant>) -> Checked {
        let counters = (face.h(), face.sent(), face.acked());
        let wanted = (self.in_counter(self.h), self.out_counter(self.sent.len()), self.out_counter(self.acked));
        ensure!(counters == wanted, "(h, sent, acked) is {counters:?} and must be {wanted:?}");
        let mut unacked = face.unacked();
        for (sent, position) in self.sent.iter().zip(0..).skip(self.acked) {
            if sent.fate != Fate::Queued {
                continue;
            }
            let number = self.out_counter(position + 1);
            let queued = unacked.next();
            let same = queued.as_ref().is_some_and(|q| (*q.stanza, q.queued, q.number) == (sent.msg, sent.at, number));
            ensure!(same, "the queue has {queued:?} in the place of {sent:?}, number {number}");
        }
        let more = unacked.next();
        ensure!(more.is_none(), "the queue still has {more:?}");
        ensure!(face.open_receipts() == self.open(), "{} receipts are open, not {}", face.open_receipts(), self.open());
        let oldest = open_since.map(|since| OpenReceipt { number: self.in_counter(self.h + 1), since });
        ensure!(face.oldest_open() == oldest, "{:?} is the oldest, not {oldest:?}", face.oldest_open());
        Ok(())
    }
}

/// What a session shows of itself, on a stream or without.
pub trait Face {
    fn h(&self) -> Counter;
    fn sent(&self) -> Counter;
    fn acked(&self) -> Counter;
    fn unacked(&self) -> Unacked<'_, Msg>;
    fn unacked_bytes(&self) -> usize;
    fn queued(&self, number: Counter) -> Option<Queued<'_, Msg>>;
    fn replace(&mut self, number: Counter, msg: Msg) -> Result<Msg, Msg>;
    fn open_receipts(&self) -> usize;
    fn oldest_open(&self) -> Option<OpenReceipt>;
}

macro_rules! face {
    ($($of:ident),*) => {$(
        impl Face for $of<Msg> {
            fn h(&self) -> Counter {
                $of::h(self)
            }
            fn sent(&self) -> Counter {
                $of::sent(self)
            }
            fn acked(&self) -> Counter {
                $of::acked(self)
            }
            fn unacked(&self) -> Unacked<'_, Msg> {
                $of::unacked(self)
            }
            fn unacked_bytes(&self) -> usize {
                $of::unacked_bytes(self)
            }
            fn queued(&self, number: Counter) -> Option<Queued<'_, Msg>> {
                $of::queued(self, number)
            }
            fn replace(&mut self, number: Counter, msg: Msg) -> Result<Msg, Msg> {
                $of::replace(self, number, msg)
            }
            fn open_receipts(&self) -> usize {
                $of::open_receipts(self)
            }
            fn oldest_open(&self) -> Option<OpenReceipt> {
                $of::oldest_open(self)
            }
        }
    )*};
}

face!(StreamMgmt, Detached);
