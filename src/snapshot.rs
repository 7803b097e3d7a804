//! Sessions as bytes: a session that has no connection is written down with its host's own state, and read again by
//! another process, on another machine, in another version of its server.
//!
//! A server that is told to stop has each session [lose](crate::Session::lost) its connection, takes it apart with
//! [`into_parts`](crate::Session::into_parts), and keeps the bytes; the next process reads them, puts the session
//! together with [`from_parts`](crate::Session::from_parts), and registers its SM-ID with the store. Its client
//! resumes as if nothing had been. `examples/server --state-dir` does that.
//!
//! The bytes hold SM-IDs and what people wrote to each other: they are as secret as these are. Who can write them can
//! hand out sessions. The checksum finds damage, not malice.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, Instant, SystemTime};
//! use xmpp_sm::snapshot::{Limits, Snapshot};
//! use xmpp_sm::{Config, Parts, Session, SessionParts, Side, SmId};
//!
//! let (now, by_the_wall) = (Instant::now(), SystemTime::now());
//! let parts = Parts {
//!     smid: SmId::new("x")?,
//!     deadline: Some(now + Duration::from_secs(600)),
//!     resume_timeout: Some(Duration::from_secs(600)),
//!     h: 3.into(),
//!     acked: 7.into(),
//!     unacked: vec![("<message id='8'/>".to_owned(), now)],
//! };
//! let session = SessionParts { owner: "juliet@example.com".into(), side: Side::Server(parts), waiting: vec![] };
//! let bytes = Snapshot { session, host: b"balcony".to_vec() }.to_bytes(now, by_the_wall);
//!
//! // A minute later, in another process.
//! let (now, by_the_wall) = (Instant::now(), by_the_wall + Duration::from_secs(60));
//! let read = Snapshot::<String>::from_bytes(&bytes, &Limits::default(), now, by_the_wall)?;
//! assert_eq!(read.host, b"balcony");
//! let deadline = read.session.detached().and_then(|parts| parts.deadline);
//! assert_eq!(deadline, Some(now + Duration::from_secs(540)));
//! let session: Session<String, ()> = Session::from_parts(Arc::new(Config::default()), read.session, now)?;
//! assert_eq!(session.unacked(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Times
//!
//! An `Instant` means nothing to another process, so the bytes hold wall-clock time. The host gives both clocks, read
//! together; the crate reads none.
//!
//! - The time between writing and reading counts against the deadline. If the clock of the reader is behind that of the
//!   writer, no time has passed: a clock that is wrong never gives a session more than it had left.
//! - A stanza keeps its queue time, and with it its [stamp](crate::delay). One that lies in the reader's future
//!   is queued when it is read. Where a platform has no `Instant` before the machine was started, an older stanza is as
//!   old as it can be.
//!
//! # Format
//!
//! [CBOR](https://www.rfc-editor.org/rfc/rfc8949), for there are decoders for every language that a server or client
//! is written in, and tools that show it without a schema. Protobuf would have done as well; but a count that precedes
//! its elements can be refused before anything is allocated, and the small crate
//! [`minicbor`](https://docs.rs/minicbor) does that without generated code. In
//! [CDDL](https://www.rfc-editor.org/rfc/rfc8610):
//!
//! ```text
//! file      = #6.55799([ bytes .cbor snapshot, crc: uint ])  ; CRC-32 (ISO-HDLC) of these bytes
//! snapshot  = {
//!   0: uint,           ; comes first: the lowest version whose reader understands this; now 1
//!   1: time,           ; when this was written
//!   2: tstr,           ; the owner
//!   ? 3: [ tries: uint, unanswered: uint, silent-at: h / null, * any ],  ; a client's, if it is there
//!   ? 4: tstr,         ; the SM-ID; with it come 5 to 9. Only a client's may be without
//!   ? 5: time,         ; when it expires; never, if it is not there
//!   ? 6: uint,         ; nanoseconds that it waits after the next loss of its stream
//!   ? 7: h,            ; how many stanzas of the peer were handled
//!   ? 8: h,            ; how many the peer has acknowledged
//!   ? 9: [* stanza],   ; what it has not
//!   ? 10: [* stanza],  ; what was never written
//!   ? 11: bstr,        ; the host's own state
//!   * int => any,
//! }
//! stanza = [ bstr, queued: time, * any ]
//! time   = uint        ; nanoseconds since 1970-01-01T00:00:00Z, without leap seconds
//! h      = uint .size 4
//! ```
//!
//! Arrays, maps and strings have a definite length. A key that a reader does not know is skipped, and so is what
//! follows in an array that may grow. What a later version adds and an earlier one may ignore leaves field 0 as it
//! is; what it must not ignore raises it, and earlier readers refuse the whole with [`SnapshotError::Newer`]. Nothing
//! is lost by that, for the bytes are still there. The tests keep a snapshot of every version ever written, and read
//! it.

use std::borrow::Cow;
use std::fmt;
use std::iter::successors;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder, decode, encode};
use thiserror::Error;

use crate::counter::Counter;
use crate::detached::Parts;
use crate::session::{Attempts, SessionParts, Side};
use crate::smid::SmId;

/// The version of what is written, and the highest that is understood.
const VERSION: u32 = 1;
/// What says that CBOR follows: the first three bytes are `d9 d9 f7`.
const SELF_DESCRIBED: Tag = Tag::new(55_799);

mod key {
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
}

/// A session without a connection, and what its host has to know of it.
///
/// See the [example](crate::snapshot#example) of the module.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "the session and its stanzas live nowhere else"]
pub struct Snapshot<S> {
    /// The session.
    pub session: SessionParts<S>,
    /// The host's own state, as it likes to write it: the resource, the last presence, whether carbons are on.
    pub host: Vec<u8>,
}

/// Sizes: what people wrote to each other is not for logs.
impl<S> fmt::Debug for Snapshot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot {{ session: {:?}, host: {} bytes }}", self.session, self.host.len())
    }
}

/// A stanza that can be written down. Bytes and strings can; a type of the host's own writes what it wants to find
/// again.
///
/// See the [example](crate::snapshot#example) of the module.
pub trait Portable: Sized {
    /// Returns the stanza as bytes.
    fn to_bytes(&self) -> Cow<'_, [u8]>;

    /// Returns the stanza that these bytes are. `None`: they are none.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! portable {
    ($($of:ty: $read:expr;)*) => {$(
        impl Portable for $of {
            fn to_bytes(&self) -> Cow<'_, [u8]> {
                Cow::Borrowed(self.as_ref())
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                $read(bytes)
            }
        }
    )*};
}

portable! {
    Bytes: |bytes| Some(Bytes::copy_from_slice(bytes));
    Vec<u8>: |bytes: &[u8]| Some(bytes.into());
    Box<[u8]>: |bytes: &[u8]| Some(bytes.into());
    String: |bytes| std::str::from_utf8(bytes).ok().map(Into::into);
}

impl<T: Portable> Portable for Arc<T> {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        (**self).to_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        T::from_bytes(bytes).map(Self::new)
    }
}

/// How much a reader takes. What is more is refused before anything is allocated for it.
///
/// They bound damage and malice, and are no options of a session: what [`Config`](crate::Config) allows has to be
/// within them, or what is written cannot be read.
///
/// ```
/// use xmpp_sm::snapshot::Limits;
///
/// assert_eq!(Limits::default(), Limits { bytes: 64 << 20, stanzas: 100_000 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of a snapshot. Default: 64 MiB.
    pub bytes: usize,
    /// The stanzas in it, unacknowledged and waiting. Default: 100 000.
    pub stanzas: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, stanzas: 100_000 }
    }
}

/// Why a snapshot cannot be read. The bytes are still there.
///
/// Returned by [`Snapshot::from_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is larger than [`Limits::bytes`].
    #[error("the snapshot has {0} bytes, which is too much")]
    TooLarge(usize),
    /// It has, or claims to have, more stanzas than [`Limits::stanzas`].
    #[error("the snapshot claims to have {0} stanzas, which is too much")]
    TooMany(u64),
    /// It ends too early.
    #[error("the snapshot is truncated")]
    Truncated,
    /// Its checksum is wrong.
    #[error("the snapshot is damaged: its checksum is wrong")]
    Damaged,
    /// It is no snapshot, or not well made.
    #[error("this is no snapshot, or not well made: {0}")]
    Malformed(&'static str),
    /// It needs a reader of this version, or a later one.
    #[error("the snapshot needs a reader of version {0}")]
    Newer(u32),
    /// The host does not know the stanza of this place again, counted from 0: see [`Portable::from_bytes`].
    #[error("stanza {0} of the snapshot is not one")]
    Stanza(u32),
}

impl From<decode::Error> for SnapshotError {
    fn from(error: decode::Error) -> Self {
        if error.is_end_of_input() { Self::Truncated } else { Self::Malformed("not the CBOR that is expected") }
    }
}

/// The two clocks of the host, read together.
#[derive(Clone, Copy)]
struct Clocks {
    now: Instant,
    /// Nanoseconds since 1970.
    wall: u64,
}

impl Clocks {
    fn new(now: Instant, by_the_wall: SystemTime) -> Self {
        Self { now, wall: nanos(by_the_wall.duration_since(UNIX_EPOCH).unwrap_or_default()) }
    }

    /// Of a time that has come, as a stanza's is.
    fn past_to_wall(self, past: Instant) -> u64 {
        self.wall.saturating_sub(nanos(self.now.saturating_duration_since(past)))
    }

    fn past_from_wall(self, past: u64) -> Instant {
        let age = Duration::from_nanos(self.wall.saturating_sub(past));
        // Some platforms begin to count when the machine starts.
        let younger = successors(Some(age), |age| age.checked_div(2)).take(64);
        { younger }.find_map(|age| self.now.checked_sub(age)).unwrap_or(self.now)
    }

    /// Of a time that is to come, as a deadline is.
    fn future_to_wall(self, future: Instant) -> u64 {
        self.wall.saturating_add(nanos(future.saturating_duration_since(self.now)))
    }

    /// `written`: when it was written down.
    fn future_from_wall(self, future: u64, written: u64) -> Option<Instant> {
        let left = future.saturating_sub(written).saturating_sub(self.wall.saturating_sub(written));
        self.now.checked_add(Duration::from_nanos(left))
    }
}

/// Up to 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<S: Portable> Snapshot<S> {
    /// Returns the snapshot as bytes. `now` and `by_the_wall` are the host's clocks, read together.
    ///
    /// See the [example](crate::snapshot#example) of the module.
    pub fn to_bytes(&self, now: Instant, by_the_wall: SystemTime) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut file = Vec::new();
        // A vector takes all that is written.
        let _ = self.encode(&mut Encoder::new(&mut payload), Clocks::new(now, by_the_wall));
        let _ = wrap(&mut Encoder::new(&mut file), &payload);
        file
    }

    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, clocks: Clocks) -> Result<(), encode::Error<W::Error>> {
        let Self { session: SessionParts { owner, side, waiting }, host } = self;
        let (session, attempts) = match side {
            Side::Server(session) => (Some(session), None),
            Side::Client { session, attempts } => (session.as_ref(), Some(attempts)),
        };
        let of_session = session.map_or(0, |session| {
            4_u64
                .saturating_add(session.deadline.is_some().into())
                .saturating_add(session.resume_timeout.is_some().into())
        });
        e.map(5_u64.saturating_add(attempts.is_some().into()).saturating_add(of_session))?;
        e.u64(key::NEEDS)?.u32(VERSION)?.u64(key::WRITTEN)?.u64(clocks.wall)?.u64(key::OWNER)?.str(owner)?;
        if let Some(Attempts { tries, unanswered, silent_at }) = attempts {
            e.u64(key::ATTEMPTS)?.array(3)?.u32(*tries)?.u32(*unanswered)?.encode(silent_at.map(Counter::get))?;
        }
        if let Some(Parts { smid, deadline, resume_timeout, h, acked, unacked }) = session {
            e.u64(key::SMID)?.str(smid.as_str())?;
            if let Some(deadline) = deadline {
                e.u64(key::EXPIRES)?.u64(clocks.future_to_wall(*deadline))?;
            }
            if let Some(timeout) = resume_timeout {
                e.u64(key::RESUME_TIMEOUT)?.u64(nanos(*timeout))?;
            }
            e.u64(key::H)?.u32(h.get())?.u64(key::ACKED)?.u32(acked.get())?.u64(key::UNACKED)?;
            write_stanzas(e, unacked, clocks)?;
        }
        e.u64(key::WAITING)?;
        write_stanzas(e, waiting, clocks)?;
        e.u64(key::HOST)?.bytes(host)?;
        Ok(())
    }

    /// Reads a snapshot. `now` and `by_the_wall` are the host's clocks, read together.
    ///
    /// See the [example](crate::snapshot#example) of the module.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]. It takes no more memory than [`Limits`] allow, whatever the bytes claim.
    pub fn from_bytes(
        bytes: &[u8],
        limits: &Limits,
        now: Instant,
        by_the_wall: SystemTime,
    ) -> Result<Self, SnapshotError> {
        if bytes.len() > limits.bytes {
            return Err(SnapshotError::TooLarge(bytes.len()));
        }
        let mut fields = Fields::new(Clocks::new(now, by_the_wall), *limits);
        fields.read(&mut Decoder::new(unwrap(bytes)?))?;
        fields.into_snapshot()
    }
}

fn wrap<W: encode::Write>(e: &mut Encoder<W>, payload: &[u8]) -> Result<(), encode::Error<W::Error>> {
    e.tag(SELF_DESCRIBED)?.array(2)?.bytes(payload)?.u32(crc32fast::hash(payload))?;
    Ok(())
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

fn write_stanzas<S: Portable, W: encode::Write>(
    e: &mut Encoder<W>,
    stanzas: &[(S, Instant)],
    clocks: Clocks,
) -> Result<(), encode::Error<W::Error>> {
    e.array(u64::try_from(stanzas.len()).unwrap_or(u64::MAX))?;
    for (stanza, queued) in stanzas {
        e.array(2)?.bytes(&stanza.to_bytes())?.u64(clocks.past_to_wall(*queued))?;
    }
    Ok(())
}

/// What has been read.
struct Fields<S> {
    clocks: Clocks,
    limits: Limits,
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
}

impl<S: Portable> Fields<S> {
    fn new(clocks: Clocks, limits: Limits) -> Self {
        Self {
            clocks,
            limits,
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
        }
    }

    fn read(&mut self, d: &mut Decoder<'_>) -> Result<(), SnapshotError> {
        let count = d.map()?.ok_or(SnapshotError::Malformed("a map without a length"))?;
        // First, for it says whether the rest means what it seems to.
        if count == 0 || d.u64()? != key::NEEDS {
            return Err(SnapshotError::Malformed("it does not say its version first"));
        }
        let needs = d.u32()?;
        if needs > VERSION {
            return Err(SnapshotError::Newer(needs));
        }
        for _ in 1..count {
            if !matches!(d.datatype()?, Type::U8 | Type::U16 | Type::U32 | Type::U64) {
                d.skip()?;
                d.skip()?;
                continue;
            }
            match d.u64()? {
                key::WRITTEN => self.written = Some(d.u64()?),
                key::OWNER => self.owner = Some(d.str()?.into()),
                key::ATTEMPTS => self.attempts = Some(read_attempts(d)?),
                key::SMID => {
                    let smid = SmId::new(d.str()?).map_err(|_| SnapshotError::Malformed("its SM-ID cannot be one"))?;
                    self.smid = Some(smid);
                }
                key::EXPIRES => self.expires = Some(d.u64()?),
                key::RESUME_TIMEOUT => self.resume_timeout = Some(Duration::from_nanos(d.u64()?)),
                key::H => self.h = Some(d.u32()?.into()),
                key::ACKED => self.acked = Some(d.u32()?.into()),
                key::UNACKED => self.unacked = Some(self.read_stanzas(d)?),
                key::WAITING => self.waiting = self.read_stanzas(d)?,
                key::HOST => self.host = d.bytes()?.into(),
                _ => d.skip()?,
            }
        }
        if d.position() == d.input().len() {
            Ok(())
        } else {
            Err(SnapshotError::Malformed("something follows its fields"))
        }
    }

    fn read_stanzas(&mut self, d: &mut Decoder<'_>) -> Result<Vec<(S, Instant)>, SnapshotError> {
        let count = array(d)?;
        let all = count.saturating_add(self.stanzas.into());
        if all > self.limits.stanzas.into() {
            return Err(SnapshotError::TooMany(all));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > d.input().len().saturating_sub(d.position()) {
            return Err(SnapshotError::Truncated);
        }
        let mut stanzas = Vec::with_capacity(count);
        for _ in 0..count {
            let more = array(d)?.checked_sub(2).ok_or(SHORT)?;
            let stanza = S::from_bytes(d.bytes()?).ok_or(SnapshotError::Stanza(self.stanzas))?;
            let queued = self.clocks.past_from_wall(d.u64()?);
            skip(d, more)?;
            stanzas.push((stanza, queued));
            self.stanzas = self.stanzas.saturating_add(1);
        }
        Ok(stanzas)
    }

    fn into_snapshot(self) -> Result<Snapshot<S>, SnapshotError> {
        const INCOMPLETE: SnapshotError = SnapshotError::Malformed("a field that it needs is not there");
        let written = self.written.ok_or(INCOMPLETE)?;
        let session = match self.smid {
            Some(smid) => Some(Parts {
                smid,
                deadline: self.expires.and_then(|expires| self.clocks.future_from_wall(expires, written)),
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

const SHORT: SnapshotError = SnapshotError::Malformed("an array is too short");

fn array(d: &mut Decoder<'_>) -> Result<u64, SnapshotError> {
    d.array()?.ok_or(SnapshotError::Malformed("an array without a length"))
}

fn skip(d: &mut Decoder<'_>, items: u64) -> Result<(), SnapshotError> {
    (0..items).try_for_each(|_| d.skip()).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_attempts() {
        let now = Instant::now();
        for silent_at in [None, Some(u32::MAX.into())] {
            let side = Side::Client { session: None, attempts: Attempts { tries: 9, unanswered: 1, silent_at } };
            let session =
                SessionParts { owner: "juliet@example.com".into(), side, waiting: Vec::<(String, Instant)>::new() };
            let snapshot = Snapshot { session, host: Vec::new() };
            let bytes = snapshot.to_bytes(now, UNIX_EPOCH);
            assert_eq!(Snapshot::from_bytes(&bytes, &Limits::default(), now, UNIX_EPOCH), Ok(snapshot));
        }
    }
}
