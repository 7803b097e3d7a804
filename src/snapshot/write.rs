//! Snapshots and changes as they are written.

use std::time::{Duration, Instant};

use minicbor::data::Tag;
use minicbor::{Encoder, encode};

use super::Portable;
use super::clocks::{Clocks, nanos};
use crate::counter::Counter;
use crate::session::Attempts;

/// The version of what is written, and the highest that is understood.
pub(super) const VERSION: u32 = 1;
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
    U: ExactSizeIterator<Item = (&'a S, Instant)>,
    V: ExactSizeIterator<Item = (&'a S, Instant)>,
{
    pub(super) fn encode<W: encode::Write>(self, e: &mut Encoder<W>, clocks: Clocks) -> Written<W> {
        let Self { owner, attempts, session, waiting, host } = self;
        let of_session = session.as_ref().map_or(0, |session| {
            4_u64
                .saturating_add((!matches!(session.expires, Expires::At(None))).into())
                .saturating_add(session.resume_timeout.is_some().into())
        });
        e.map(5_u64.saturating_add(attempts.is_some().into()).saturating_add(of_session))?;
        e.u64(key::NEEDS)?.u32(VERSION)?.u64(key::WRITTEN)?.u64(clocks.wall)?.u64(key::OWNER)?.str(owner)?;
        if let Some(Attempts { tries, unanswered, silent_at }) = attempts {
            e.u64(key::ATTEMPTS)?.array(3)?.u32(tries)?.u32(unanswered)?.encode(silent_at.map(Counter::get))?;
        }
        if let Some(Known { smid, expires, resume_timeout, h, acked, unacked }) = session {
            e.u64(key::SMID)?.str(smid)?;
            match expires {
                Expires::At(None) => {}
                Expires::At(Some(deadline)) => drop(e.u64(key::EXPIRES)?.u64(clocks.future_to_wall(deadline))?),
                Expires::WhenRead => drop(e.u64(key::LIVES)?.bool(true)?),
            }
            if let Some(timeout) = resume_timeout {
                e.u64(key::RESUME_TIMEOUT)?.u64(nanos(timeout))?;
            }
            e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?.u64(key::UNACKED)?;
            write_stanzas(e, unacked, clocks)?;
        }
        e.u64(key::WAITING)?;
        write_stanzas(e, waiting, clocks)?;
        e.u64(key::HOST)?.bytes(host)?;
        Ok(())
    }
}

/// What has changed: `h`, what is acknowledged, and stanzas from that number on.
pub(super) fn write_changes<'a, S: Portable + 'a, W: encode::Write>(
    e: &mut Encoder<W>,
    (h, acked, first): (Counter, Counter, Counter),
    stanzas: impl ExactSizeIterator<Item = (&'a S, Instant)>,
    clocks: Clocks,
) -> Written<W> {
    e.map(6)?.u64(key::NEEDS)?.u32(VERSION)?.u64(key::WRITTEN)?.u64(clocks.wall)?;
    e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?;
    e.u64(key::FIRST)?.u32(first.get())?.u64(key::UNACKED)?;
    write_stanzas(e, stanzas, clocks)
}

fn write_stanzas<'a, S: Portable + 'a, W: encode::Write>(
    e: &mut Encoder<W>,
    stanzas: impl ExactSizeIterator<Item = (&'a S, Instant)>,
    clocks: Clocks,
) -> Written<W> {
    e.array(u64::try_from(stanzas.len()).unwrap_or(u64::MAX))?;
    for (stanza, queued) in stanzas {
        e.array(2)?.bytes(&stanza.to_bytes())?.u64(clocks.past_to_wall(queued))?;
    }
    Ok(())
}
