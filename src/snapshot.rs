//! Sessions as bytes: a session that has no connection is written down with its host's own state, and read again by
//! another process, on another machine, in another version of its server.
//!
//! A server that is told to stop has each session [lose](crate::Session::lost) its connection, takes it apart with
//! [`into_parts`](crate::Session::into_parts), and keeps the bytes; the next process reads them, puts the session
//! together with [`from_parts`](crate::Session::from_parts), and registers its SM-ID with the store. Its client
//! resumes as if nothing had been. [`nodes`](crate::nodes#a-restart) has that as code, and
//! [`examples/server --state-dir`](https://github.com/xmpp-sm/xmpp-sm/tree/HEAD/examples/server) does it. A [`Ledger`] is for hosts
//! that share a store.
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
//! - Times are kept to the millisecond: less of one is left out, of a deadline, too.
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
//!   0: uint,           ; comes first: the lowest version whose reader understands this; now 2
//!   1: uint,           ; when this was written: milliseconds since 1970-01-01T00:00:00Z, without leap seconds
//!   2: tstr,           ; the owner
//!   ? 3: [ tries: uint, unanswered: uint, silent-at: h / null, * any ],  ; a client's, if it is there
//!   ? 4: tstr,         ; the SM-ID; with it come 5 to 9. Only a client's may be without
//!   ? 5: uint,         ; in how many milliseconds it expires. If it is not there: never, or 12 says when
//!   ? 6: uint,         ; milliseconds that it waits after the next loss of its stream
//!   ? 7: h,            ; how many stanzas of the peer were handled
//!   ? 8: h,            ; how many the peer has acknowledged
//!   ? 9: [+ bstr],     ; the stanzas that it has not
//!   ? 10: [+ bstr],    ; those that were never written
//!   ? 11: bstr,        ; the host's own state
//!   ? 12: bool,        ; it had a stream when this was written: it expires when it has waited from now on as long as 6 says
//!   ? 14: [+ int],     ; when the stanzas of 9, and then those of 10, were queued: milliseconds, the first behind 1, which is
//!                      ; after it, and each other behind the one before
//!   * int => any,
//! }
//! change    = {        ; what a journal has, in a file of its own
//!   0: uint,
//!   1: uint,
//!   7: h,
//!   8: h,
//!   ? 9: [+ bstr],     ; new stanzas, which were sent or wait
//!   13: h,             ; the number of the first of them: those that wait are counted behind those that were sent
//!   ? 14: [+ int],
//!   * int => any,
//! }
//! h      = uint .size 4
//! ```
//!
//! | key | in version 2 | in version 1, which is read for ever |
//! | --- | --- | --- |
//! | 1, 6 | milliseconds | nanoseconds |
//! | 5 | milliseconds that are left, from 1 on | nanoseconds since 1970 at which it expires |
//! | 9, 10 | each stanza its bytes; not there if there are none | each stanza an array `[ bstr, queued: uint, * any ]`, in nanoseconds since 1970; there if empty, too |
//! | 11 | not there if empty | there |
//! | 14 | one number for each stanza of 9 and 10 | not there |
//!
//! Arrays, maps and strings have a definite length. A key that a reader does not know is skipped, and so is what
//! follows in an array that may grow. What a later version adds and an earlier one may ignore leaves field 0 as it
//! is; what it must not ignore raises it, and earlier readers refuse the whole with [`SnapshotError::Newer`]. Nothing
//! is lost by that, for the bytes are still there. The tests keep a snapshot of every version ever written, and read
//! it.
//!
//! # In another language
//!
//! A reader needs CBOR, and the CRC-32 of zlib and PNG. This is a snapshot, byte by byte; a test takes it apart:
//!
//! ```
//! # use std::time::{Duration, Instant, UNIX_EPOCH};
//! # use xmpp_sm::{Parts, SessionParts, Side, SmId, snapshot::{Limits, Snapshot}};
//! let dump = "
//!     d9d9f7 82                        ; CBOR follows: an array of two
//!     58 60                            ; a byte string of 96 bytes, which is CBOR itself:
//!       ac                             ; a map of twelve
//!       00 02                          ; 0: version 2. It is always first; the others come in any order
//!       01 1b 0000019ab697e800         ; 1: written at 1 764 000 000 000 ms
//!       02 72 6a756c696574406578616d706c652e636f6d ; 2: juliet@example.com
//!       04 61 78                       ; 4: the SM-ID is x
//!       05 1a 00083d60                 ; 5: 540 000 ms are left
//!       06 1a 000927c0                 ; 6: of 600 000
//!       07 03                          ; 7: three stanzas of the client were handled
//!       08 07                          ; 8: it has acknowledged seven, so the next is number 8
//!       09 81 4a 3c6d6573736167652f3e  ; 9: <message/>, which is number 8
//!       0a 81 4b 3c70726573656e63652f3e ; 10: <presence/>, which was not sent
//!       0e 82 39 ea5f 19 9c40          ; 14: queued 60 000 ms before 1, and 40 000 ms after that
//!       0b 47 62616c636f6e79           ; 11: the host wrote balcony
//!     1a 1ca4b725                      ; the CRC-32 of the 96 bytes
//! ";
//! # let hex: String = dump.lines().flat_map(|line| line.split(';').next()).flat_map(str::split_whitespace).collect();
//! # let bytes: Vec<u8> = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
//! # let (now, wall) = (Instant::now() + Duration::from_secs(100), UNIX_EPOCH + Duration::from_secs(1_764_000_000));
//! # let parts = Parts {
//! #     smid: SmId::new("x")?,
//! #     deadline: Some(now + Duration::from_secs(540)),
//! #     resume_timeout: Some(Duration::from_secs(600)),
//! #     h: 3.into(),
//! #     acked: 7.into(),
//! #     unacked: vec![("<message/>".to_owned(), now - Duration::from_secs(60))],
//! # };
//! # let waiting = vec![("<presence/>".to_owned(), now - Duration::from_secs(20))];
//! # let session = SessionParts { owner: "juliet@example.com".into(), side: Side::Server(parts), waiting };
//! # let snapshot = Snapshot { session, host: b"balcony".to_vec() };
//! # assert_eq!(snapshot.to_bytes(now, wall), bytes);
//! # assert_eq!(Snapshot::from_bytes(&bytes, &Limits::default(), now, wall)?, snapshot);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **A stanza's bytes** are what the host's [`Portable`] writes: of strings and `Bytes`, their own.
//! - **A journal** is a row of changes behind a snapshot, each a file of its own. For each, in order: the stanzas in hand, those
//!   of 9 and then those of 10, have the numbers from 8 + 1 on. Those of the change begin with its number 13: leave out
//!   those that are in hand, and put the others behind. If 13 is more than the number after the last, a change is missing,
//!   and the session cannot be read. Then 7 and 8 become those of the change, if they are after what they were, and
//!   stanzas up to 8 are dropped. Numbers are counted modulo 2^32: one is after another by at most 2^31 − 1.
//! - **If 12 is true**, it is not known which stanzas of 10 were written before the process ended: as many as a buffer has
//!   room for are taken for sent, and resent.
//! - **A reader that only looks** claims nothing, and writes nothing.
//!
//! # Upgrades
//!
//! Hosts that share a store are upgraded one by one to a release that writes a later version:
//!
//! 1. Each gets the new release, and is told to write the version that the others read: [`Ledger::version`],
//!    [`Snapshot::to_bytes_of`].
//! 2. When the last old one is gone, each is told to write the later version.
//!
//! Back it goes in the other order. [`Ledger::version`] with another version than before makes the whole session due again: what
//! was written of it is gone when that is written. A host that meets a [newer](SnapshotError::Newer) version leaves the session to
//! another one, and its client asks again. [Upgrades](crate::nodes#upgrades) has that for nodes, round by round.

mod changes;
mod clocks;
mod ledger;
mod portable;
mod read;
mod write;

use std::fmt;
use std::time::{Instant, SystemTime};

use thiserror::Error;

pub use ledger::{Due, Ledger, Promise};
pub use portable::Portable;

use crate::config::Config;
use crate::detached::Parts;
use crate::session::{SessionParts, Side};
use crate::stanza::Stanza;
use clocks::Clocks;
use read::Fields;
use write::{Content, Expires, Known};

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

/// How much a reader takes. What is more is refused before anything is allocated for it.
///
/// They bound damage and malice, and are no options of a session: what [`Config`] allows has to be
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

/// Why a snapshot cannot be read. The bytes are still there, and what was claimed stays in the store.
///
/// Returned by [`Snapshot::from_bytes`]. [What a host meets](crate::nodes#what-a-host-meets) says what it does about each.
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
    /// It needs a reader of this version, or a later one. A host [leaves it to one](crate::snapshot#upgrades) that can read it.
    #[error("the snapshot needs a reader of version {0}")]
    Newer(u32),
    /// The host does not know the stanza of this place again, counted from 0: see [`Portable::from_bytes`].
    #[error("stanza {0} of the snapshot is not one")]
    Stanza(u32),
}

/// A version of the [format](crate::snapshot#format). All are read.
///
/// ```
/// use xmpp_sm::snapshot::Version;
///
/// assert_eq!(Version::default(), Version::V2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Version {
    /// The first.
    V1,
    /// It takes fewer bytes, and has times to the millisecond.
    #[default]
    V2,
}

impl Version {
    fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

impl<S: Portable> Snapshot<S> {
    /// Returns the snapshot as bytes of the latest version. `now` and `by_the_wall` are the host's clocks, read together.
    ///
    /// See the [example](crate::snapshot#example) of the module.
    pub fn to_bytes(&self, now: Instant, by_the_wall: SystemTime) -> Vec<u8> {
        self.to_bytes_of(Version::default(), now, by_the_wall)
    }

    /// The same of this version, for readers that know no later one.
    pub fn to_bytes_of(&self, version: Version, now: Instant, by_the_wall: SystemTime) -> Vec<u8> {
        fn borrow<S>((stanza, queued): &(S, Instant)) -> (&S, Instant) {
            (stanza, *queued)
        }
        let Self { session: SessionParts { owner, side, waiting }, host } = self;
        let (session, attempts) = match side {
            Side::Server(session) => (Some(session), None),
            Side::Client { session, attempts } => (session.as_ref(), Some(*attempts)),
        };
        let session = session.map(|Parts { smid, deadline, resume_timeout, h, acked, unacked }| Known {
            smid: smid.as_str(),
            expires: Expires::At(*deadline),
            resume_timeout: *resume_timeout,
            h: *h,
            acked: *acked,
            unacked: unacked.iter().map(borrow),
        });
        let content = Content { owner, attempts, session, waiting: waiting.iter().map(borrow), host };
        write::file(|e| content.encode(e, version, Clocks::new(now, by_the_wall)))
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
        Fields::from_bytes(bytes, limits, Clocks::new(now, by_the_wall))?.into_snapshot()
    }

    /// Reads a snapshot and the journal behind it, as a [claim](crate::Claimed) returns them.
    ///
    /// See the example of [`Ledger`].
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], of the snapshot or of a change. [`Limits`] hold for each of them, and for the stanzas of all.
    pub fn from_journal(
        snapshot: &[u8],
        journal: &[impl AsRef<[u8]>],
        config: &Config,
        limits: &Limits,
        (now, by_the_wall): (Instant, SystemTime),
    ) -> Result<Self, SnapshotError>
    where
        S: Stanza,
    {
        let clocks = Clocks::new(now, by_the_wall);
        let fields = Fields::from_bytes(snapshot, limits, clocks)?;
        let lives = fields.lives();
        let mut snapshot = fields.into_snapshot()?;
        for changes in journal {
            let changes = Fields::from_bytes(changes.as_ref(), limits, clocks)?.into_changes()?;
            snapshot.apply(changes, limits)?;
        }
        if lives {
            snapshot.take_for_sent(config);
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::session::Attempts;

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
