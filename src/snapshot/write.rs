//! Snapshots and changes as they are written.

use std::time::{Duration, Instant};

use minicbor::data::Tag;
use minicbor::{Encoder, encode};

use super::Portable;
use super::clocks::{Clocks, millis};
use crate::counter::Counter;
use crate::session::Attempts;

/// The version of what is written, and the highest that is understood.
pub(super) const VERSION: u32 = 2;
/// What says that CBOR follows: the first three bytes are `d9 d9 f7`.
pub(super) const SELF_DESCRIBED: Tag = Tag::new(55_799);

pub(super) mod key {
    pub const NEEDS: u64 = 0;
    pub const WRITTEN: u64 = 1;
    pub const OWNER: u64 = 2;
    pub const ATTEMPTS: u64 = 3;
    pub const SMID: u64 = 4;
    pub const EXPIRES: u64 = 5;
    pub const RESUME_TIMEOUT: u64 = 6;
    pub const H: u64 = 7;
    pub const ACKED: u64 = 8;
    pub const UNACKED: u64 = 9;
    pub const WAITING: u64 = 10;
    pub const HOST: u64 = 11;
    pub const LIVES: u64 = 12;
    pub const FIRST: u64 = 13;
    pub const QUEUED: u64 = 14;
}

/// What is in a snapshot. Its stanzas are read where they are.
pub(super) struct Content<'a, Unacked, Waiting> {
    pub(super) owner: &'a str,
    pub(super) attempts: Option<Attempts>,
    pub(super) session: Option<Known<'a, Unacked>>,
    pub(super) waiting: Waiting,
    pub(super) host: &'a [u8],
}

/// What the peer knows of a session.
pub(super) struct Known<'a, Unacked> {
    pub(super) smid: &'a str,
    pub(super) expires: Expires,
    pub(super) resume_timeout: Option<Duration>,
    pub(super) h: Counter,
    pub(super) acked: Counter,
    pub(super) unacked: Unacked,
}

/// When a session expires.
pub(super) enum Expires {
    /// Then. `None`: never by itself.
    At(Option<Instant>),
    /// It lives: its time begins when this is read.
    WhenRead,
}

type Written<W> = Result<(), encode::Error<<W as encode::Write>::Error>>;

/// What `content` writes as the payload of a file.
pub(super) fn file(content: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written<Vec<u8>>) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut file = Vec::new();
    // A vector takes all that is written.
    let _ = content(&mut Encoder::new(&mut payload));
    let _ = wrap(&mut Encoder::new(&mut file), &payload);
    file
}

fn wrap<W: encode::Write>(e: &mut Encoder<W>, payload: &[u8]) -> Written<W> {
    e.tag(SELF_DESCRIBED)?.array(2)?.bytes(payload)?.u32(crc32fast::hash(payload))?;
    Ok(())
}

impl<'a, S, U, V> Content<'a, U, V>
where
    S: Portable + 'a,
    U: ExactSizeIterator<Item = (&'a S, Instant)> + Clone,
    V: ExactSizeIterator<Item = (&'a S, Instant)> + Clone,
{
    pub(super) fn encode<W: encode::Write>(self, e: &mut Encoder<W>, clocks: Clocks) -> Written<W> {
        let Self { owner, attempts, session, waiting, host } = self;
        let unacked = session.as_ref().map(|session| session.unacked.clone());
        let (of_unacked, of_waiting) = (unacked.as_ref().map_or(0, |unacked| unacked.len()), waiting.len());
        let has_stanzas = of_unacked > 0 || of_waiting > 0;
        let known = |is: fn(&Known<'_, U>) -> bool| session.as_ref().is_some_and(is);
        // What is not there has no field.
        let fields = [
            [true; 3],
            [known(|_| true); 3],
            [
                known(|session| !matches!(session.expires, Expires::At(None))),
                known(|session| session.resume_timeout.is_some()),
                attempts.is_some(),
            ],
            [of_unacked > 0, of_waiting > 0, has_stanzas],
            [!host.is_empty(), false, false],
        ];
        e.map(length(fields.as_flattened().iter().filter(|is_there| **is_there).count()))?;
        e.u64(key::NEEDS)?.u32(VERSION)?.u64(key::WRITTEN)?.u64(clocks.millis())?.u64(key::OWNER)?.str(owner)?;
        if let Some(Attempts { tries, unanswered, silent_at }) = attempts {
            e.u64(key::ATTEMPTS)?.array(3)?.u32(tries)?.u32(unanswered)?.encode(silent_at.map(Counter::get))?;
        }
        if let Some(Known { smid, expires, resume_timeout, h, acked, .. }) = session {
            e.u64(key::SMID)?.str(smid)?;
            match expires {
                Expires::At(None) => {}
                Expires::At(Some(deadline)) => drop(e.u64(key::EXPIRES)?.u64(clocks.left(deadline))?),
                Expires::WhenRead => drop(e.u64(key::LIVES)?.bool(true)?),
            }
            if let Some(timeout) = resume_timeout {
                e.u64(key::RESUME_TIMEOUT)?.u64(millis(timeout))?;
            }
            e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?;
        }
        if let Some(unacked) = unacked.clone().filter(|_| of_unacked > 0) {
            write_stanzas(e.u64(key::UNACKED)?, unacked)?;
        }
        if of_waiting > 0 {
            write_stanzas(e.u64(key::WAITING)?, waiting.clone())?;
        }
        if has_stanzas {
            e.u64(key::QUEUED)?.array(length(of_unacked.saturating_add(of_waiting)))?;
            write_times(e, unacked.into_iter().flatten().chain(waiting), clocks)?;
        }
        if !host.is_empty() {
            e.u64(key::HOST)?.bytes(host)?;
        }
        Ok(())
    }
}

/// What has changed: `h`, what is acknowledged, and stanzas from that number on.
pub(super) fn write_changes<'a, S: Portable + 'a, W: encode::Write>(
    e: &mut Encoder<W>,
    (h, acked, first): (Counter, Counter, Counter),
    stanzas: impl ExactSizeIterator<Item = (&'a S, Instant)> + Clone,
    clocks: Clocks,
) -> Written<W> {
    let has_stanzas = stanzas.len() > 0;
    e.map(if has_stanzas { 7 } else { 5 })?.u64(key::NEEDS)?.u32(VERSION)?.u64(key::WRITTEN)?.u64(clocks.millis())?;
    e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?.u64(key::FIRST)?.u32(first.get())?;
    if has_stanzas {
        write_stanzas(e.u64(key::UNACKED)?, stanzas.clone())?;
        e.u64(key::QUEUED)?.array(length(stanzas.len()))?;
        write_times(e, stanzas, clocks)?;
    }
    Ok(())
}

fn write_stanzas<'a, S: Portable + 'a, W: encode::Write>(
    e: &mut Encoder<W>,
    stanzas: impl ExactSizeIterator<Item = (&'a S, Instant)>,
) -> Written<W> {
    e.array(length(stanzas.len()))?;
    for (stanza, _) in stanzas {
        e.bytes(&stanza.to_bytes())?;
    }
    Ok(())
}

/// Each from the one before, for they come in bursts.
fn write_times<'a, S: 'a, W: encode::Write>(
    e: &mut Encoder<W>,
    stanzas: impl Iterator<Item = (&'a S, Instant)>,
    clocks: Clocks,
) -> Written<W> {
    let mut before = clocks.millis();
    for (_, queued) in stanzas {
        let time = clocks.millis().saturating_sub(clocks.age(queued));
        e.i64(time.wrapping_sub(before).cast_signed())?;
        before = time;
    }
    Ok(())
}

fn length(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}
