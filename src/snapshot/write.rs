//! Snapshots and changes as they are written.

use std::time::{Duration, Instant};

use minicbor::data::Tag;
use minicbor::{Encoder, encode};

use super::clocks::{Clocks, millis, nanos};
use super::{Portable, Version};
use crate::counter::Counter;
use crate::session::Attempts;

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
    pub(super) fn encode<W: encode::Write>(self, e: &mut Encoder<W>, version: Version, clocks: Clocks) -> Written<W> {
        let Self { owner, attempts, session, waiting, host } = self;
        let unacked = session.as_ref().map(|session| session.unacked.clone());
        let (of_unacked, of_waiting) = (unacked.as_ref().map_or(0, |unacked| unacked.len()), waiting.len());
        let is_old = version == Version::V1;
        let (has_unacked, has_waiting) = (of_unacked > 0 || is_old && unacked.is_some(), of_waiting > 0 || is_old);
        let (has_times, has_host) = (!is_old && (has_unacked || has_waiting), is_old || !host.is_empty());
        let known = |is: fn(&Known<'_, U>) -> bool| session.as_ref().is_some_and(is);
        // From version 2 on, what is empty has no field.
        let fields = [
            [true; 3],
            [known(|_| true); 3],
            [
                known(|session| !matches!(session.expires, Expires::At(None))),
                known(|session| session.resume_timeout.is_some()),
                attempts.is_some(),
            ],
            [has_unacked, has_waiting, has_times],
            [has_host, false, false],
        ];
        e.map(length(fields.as_flattened().iter().filter(|is_there| **is_there).count()))?;
        write_head(e, version, clocks)?;
        e.u64(key::OWNER)?.str(owner)?;
        if let Some(Attempts { tries, unanswered, silent_at }) = attempts {
            e.u64(key::ATTEMPTS)?.array(3)?.u32(tries)?.u32(unanswered)?.encode(silent_at.map(Counter::get))?;
        }
        if let Some(Known { smid, expires, resume_timeout, h, acked, .. }) = session {
            e.u64(key::SMID)?.str(smid)?;
            match expires {
                Expires::At(None) => {}
                Expires::At(Some(deadline)) => {
                    let expires = if is_old { clocks.future_to_wall(deadline) } else { clocks.left(deadline) };
                    e.u64(key::EXPIRES)?.u64(expires)?;
                }
                Expires::WhenRead => drop(e.u64(key::LIVES)?.bool(true)?),
            }
            if let Some(timeout) = resume_timeout {
                e.u64(key::RESUME_TIMEOUT)?.u64(if is_old { nanos(timeout) } else { millis(timeout) })?;
            }
            e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?;
        }
        if let Some(unacked) = unacked.clone().filter(|_| has_unacked) {
            write_stanzas(e.u64(key::UNACKED)?, unacked, version, clocks)?;
        }
        if has_waiting {
            write_stanzas(e.u64(key::WAITING)?, waiting.clone(), version, clocks)?;
        }
        if has_times {
            e.u64(key::QUEUED)?.array(length(of_unacked.saturating_add(of_waiting)))?;
            write_times(e, unacked.into_iter().flatten().chain(waiting), clocks)?;
        }
        if has_host {
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
    version: Version,
    clocks: Clocks,
) -> Written<W> {
    let has_stanzas = stanzas.len() > 0 || version == Version::V1;
    let has_times = has_stanzas && version != Version::V1;
    e.map(5_u64.saturating_add(has_stanzas.into()).saturating_add(has_times.into()))?;
    write_head(e, version, clocks)?;
    e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?.u64(key::FIRST)?.u32(first.get())?;
    if has_stanzas {
        write_stanzas(e.u64(key::UNACKED)?, stanzas.clone(), version, clocks)?;
    }
    if has_times {
        e.u64(key::QUEUED)?.array(length(stanzas.len()))?;
        write_times(e, stanzas, clocks)?;
    }
    Ok(())
}

/// The version comes first.
fn write_head<W: encode::Write>(e: &mut Encoder<W>, version: Version, clocks: Clocks) -> Written<W> {
    let written = if version == Version::V1 { clocks.wall } else { clocks.millis() };
    e.u64(key::NEEDS)?.u32(version.number())?.u64(key::WRITTEN)?.u64(written)?;
    Ok(())
}

fn write_stanzas<'a, S: Portable + 'a, W: encode::Write>(
    e: &mut Encoder<W>,
    stanzas: impl ExactSizeIterator<Item = (&'a S, Instant)>,
    version: Version,
    clocks: Clocks,
) -> Written<W> {
    e.array(length(stanzas.len()))?;
    for (stanza, queued) in stanzas {
        match version {
            Version::V1 => drop(e.array(2)?.bytes(&stanza.to_bytes())?.u64(clocks.past_to_wall(queued))?),
            Version::V2 => drop(e.bytes(&stanza.to_bytes())?),
        }
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
