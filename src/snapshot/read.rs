//! Snapshots and changes as they are read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use minicbor::data::Type;
use minicbor::{Decoder, decode};

use super::changes::Changes;
use super::clocks::{Clocks, from_millis, to_millis};
use super::write::{SELF_DESCRIBED, key};
use super::{Limits, Portable, Snapshot, SnapshotError, Version};
use crate::counter::{Counter, count};
use crate::detached::Parts;
use crate::session::{Attempts, SessionParts, Side};
use crate::smid::SmId;

impl From<decode::Error> for SnapshotError {
    fn from(error: decode::Error) -> Self {
        if error.is_end_of_input() { Self::Truncated } else { Self::Malformed("not the CBOR that is expected") }
    }
}

/// What is inside, if it is as it was written.
fn unwrap(bytes: &[u8]) -> Result<&[u8], SnapshotError> {
    let mut d = Decoder::new(bytes);
    if d.tag()? != SELF_DESCRIBED || d.array()? != Some(2) {
        return Err(SnapshotError::Malformed("it does not begin like one"));
    }
    let (payload, sum) = (d.bytes()?, d.u32()?);
    if d.position() != bytes.len() {
        return Err(SnapshotError::Malformed("something follows it"));
    }
    if crc32fast::hash(payload) != sum {
        return Err(SnapshotError::Damaged);
    }
    Ok(payload)
}

/// What has been read.
pub(super) struct Fields<S> {
    clocks: Clocks,
    limits: Limits,
    version: Version,
    /// How many stanzas were read.
    stanzas: u32,
    written: Option<u64>,
    owner: Option<Arc<str>>,
    attempts: Option<Attempts>,
    smid: Option<SmId>,
    expires: Option<u64>,
    resume_timeout: Option<Duration>,
    h: Option<Counter>,
    acked: Option<Counter>,
    unacked: Option<Vec<(S, Instant)>>,
    waiting: Vec<(S, Instant)>,
    host: Vec<u8>,
    lives: bool,
    first: Option<Counter>,
    /// When the stanzas were queued, in milliseconds, each after the one before.
    queued: Vec<i64>,
}

impl<S: Portable> Fields<S> {
    /// Reads a file.
    pub(super) fn from_bytes(bytes: &[u8], limits: &Limits, clocks: Clocks) -> Result<Self, SnapshotError> {
        if bytes.len() > limits.bytes {
            return Err(SnapshotError::TooLarge(bytes.len()));
        }
        let mut fields = Self::new(clocks, *limits);
        fields.read(&mut Decoder::new(unwrap(bytes)?))?;
        Ok(fields)
    }

    fn new(clocks: Clocks, limits: Limits) -> Self {
        Self {
            clocks,
            limits,
            version: Version::default(),
            stanzas: 0,
            written: None,
            owner: None,
            attempts: None,
            smid: None,
            expires: None,
            resume_timeout: None,
            h: None,
            acked: None,
            unacked: None,
            waiting: Vec::new(),
            host: Vec::new(),
            lives: false,
            first: None,
            queued: Vec::new(),
        }
    }

    fn read(&mut self, d: &mut Decoder<'_>) -> Result<(), SnapshotError> {
        let count = d.map()?.ok_or(SnapshotError::Malformed("a map without a length"))?;
        // First, for it says whether the rest means what it seems to.
        if count == 0 || d.u64()? != key::NEEDS {
            return Err(SnapshotError::Malformed("it does not say its version first"));
        }
        self.version = match d.u32()? {
            0 | 1 => Version::V1,
            2 => Version::V2,
            newer => return Err(SnapshotError::Newer(newer)),
        };
        if !self.is_of_version_1() {
            self.clocks = self.clocks.to_the_millisecond();
        }
        for _ in 1..count {
            if !matches!(d.datatype()?, Type::U8 | Type::U16 | Type::U32 | Type::U64) {
                d.skip()?;
                d.skip()?;
                continue;
            }
            match d.u64()? {
                key::WRITTEN => self.written = Some(self.read_time(d)?),
                key::OWNER => self.owner = Some(d.str()?.into()),
                key::ATTEMPTS => self.attempts = Some(read_attempts(d)?),
                key::SMID => {
                    let smid = SmId::new(d.str()?).map_err(|_| SnapshotError::Malformed("its SM-ID cannot be one"))?;
                    self.smid = Some(smid);
                }
                key::EXPIRES => self.expires = Some(self.read_time(d)?),
                key::RESUME_TIMEOUT => self.resume_timeout = Some(Duration::from_nanos(self.read_time(d)?)),
                key::H => self.h = Some(d.u32()?.into()),
                key::ACKED => self.acked = Some(d.u32()?.into()),
                key::UNACKED => self.unacked = Some(self.read_stanzas(d)?),
                key::WAITING => self.waiting = self.read_stanzas(d)?,
                key::HOST => self.host = d.bytes()?.into(),
                key::LIVES => self.lives = d.bool()?,
                key::FIRST => self.first = Some(d.u32()?.into()),
                key::QUEUED if !self.is_of_version_1() => self.queued = self.read_queued(d)?,
                _ => d.skip()?,
            }
        }
        if d.position() != d.input().len() {
            return Err(SnapshotError::Malformed("something follows its fields"));
        }
        if self.is_of_version_1() { Ok(()) } else { self.complete() }
    }

    /// It had nanoseconds, and a stanza's time beside the stanza.
    fn is_of_version_1(&self) -> bool {
        self.version == Version::V1
    }

    /// In nanoseconds.
    fn read_time(&self, d: &mut Decoder<'_>) -> Result<u64, SnapshotError> {
        let time = d.u64()?;
        Ok(if self.is_of_version_1() { time } else { from_millis(time) })
    }

    fn read_stanzas(&mut self, d: &mut Decoder<'_>) -> Result<Vec<(S, Instant)>, SnapshotError> {
        let count = self.read_length(d, self.stanzas)?;
        let mut stanzas = Vec::with_capacity(count);
        for _ in 0..count {
            let more = if self.is_of_version_1() { Some(array(d)?.checked_sub(2).ok_or(SHORT)?) } else { None };
            let stanza = S::from_bytes(d.bytes()?).ok_or(SnapshotError::Stanza(self.stanzas))?;
            let mut queued = self.clocks.now; // until all times are read
            if let Some(more) = more {
                queued = self.clocks.past_from_wall(d.u64()?);
                skip(d, more)?;
            }
            stanzas.push((stanza, queued));
            self.stanzas = self.stanzas.saturating_add(1);
        }
        Ok(stanzas)
    }

    fn read_queued(&self, d: &mut Decoder<'_>) -> Result<Vec<i64>, SnapshotError> {
        let count = self.read_length(d, 0)?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(d.i64()?);
        }
        Ok(times)
    }

    /// Of what has one item for each stanza, beside so many.
    fn read_length(&self, d: &mut Decoder<'_>, others: u32) -> Result<usize, SnapshotError> {
        let count = array(d)?;
        let all = count.saturating_add(others.into());
        if all > self.limits.stanzas.into() {
            return Err(SnapshotError::TooMany(all));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > d.input().len().saturating_sub(d.position()) {
            return Err(SnapshotError::Truncated);
        }
        Ok(count)
    }

    /// Once all is read: times behind others are times, each stanza has one, and what has no field is empty.
    fn complete(&mut self) -> Result<(), SnapshotError> {
        if self.queued.len() != count(self.stanzas) {
            return Err(SnapshotError::Malformed("not every stanza has a time"));
        }
        let written = self.written.ok_or(INCOMPLETE)?;
        self.expires = self.expires.map(|left| written.saturating_add(left));
        let mut time = to_millis(written);
        let stanzas = self.unacked.iter_mut().flatten().chain(&mut self.waiting);
        for ((_, queued), since) in stanzas.zip(&self.queued) {
            time = time.saturating_add_signed(*since);
            *queued = self.clocks.past_from_wall(from_millis(time));
        }
        if self.smid.is_some() || self.first.is_some() {
            self.unacked.get_or_insert_default();
        }
        Ok(())
    }

    /// Whether it is the snapshot of a session that lived.
    pub(super) fn lives(&self) -> bool {
        self.lives
    }

    pub(super) fn into_changes(self) -> Result<Changes<S>, SnapshotError> {
        let Self { h, acked, first, unacked, .. } = self;
        Ok(Changes {
            h: h.ok_or(INCOMPLETE)?,
            acked: acked.ok_or(INCOMPLETE)?,
            first: first.ok_or(INCOMPLETE)?,
            stanzas: unacked.ok_or(INCOMPLETE)?,
        })
    }

    pub(super) fn into_snapshot(self) -> Result<Snapshot<S>, SnapshotError> {
        let written = self.written.ok_or(INCOMPLETE)?;
        let session = match self.smid {
            Some(smid) => Some(Parts {
                smid,
                // One that lived begins to wait now: it is not known when its process ended.
                deadline: match self.lives {
                    true => self.resume_timeout.and_then(|timeout| self.clocks.now.checked_add(timeout)),
                    false => self.expires.and_then(|expires| self.clocks.future_from_wall(expires, written)),
                },
                resume_timeout: self.resume_timeout,
                h: self.h.ok_or(INCOMPLETE)?,
                acked: self.acked.ok_or(INCOMPLETE)?,
                unacked: self.unacked.ok_or(INCOMPLETE)?,
            }),
            None if self.unacked.is_none() => None,
            None => return Err(INCOMPLETE),
        };
        let side = match self.attempts {
            Some(attempts) => Side::Client { session, attempts },
            None => Side::Server(session.ok_or(INCOMPLETE)?),
        };
        let session = SessionParts { owner: self.owner.ok_or(INCOMPLETE)?, side, waiting: self.waiting };
        Ok(Snapshot { session, host: self.host })
    }
}

fn read_attempts(d: &mut Decoder<'_>) -> Result<Attempts, SnapshotError> {
    let more = array(d)?.checked_sub(3).ok_or(SHORT)?;
    let (tries, unanswered, silent_at) = (d.u32()?, d.u32()?, d.decode::<Option<u32>>()?.map(Into::into));
    skip(d, more)?;
    Ok(Attempts { tries, unanswered, silent_at })
}

const INCOMPLETE: SnapshotError = SnapshotError::Malformed("a field that it needs is not there");
const SHORT: SnapshotError = SnapshotError::Malformed("an array is too short");

fn array(d: &mut Decoder<'_>) -> Result<u64, SnapshotError> {
    d.array()?.ok_or(SnapshotError::Malformed("an array without a length"))
}

fn skip(d: &mut Decoder<'_>, items: u64) -> Result<(), SnapshotError> {
    (0..items).try_for_each(|_| d.skip()).map_err(Into::into)
}
