//! Any bytes as a snapshot, and as what is inside of one with the right checksum: they are refused, or read, written and
//! read again. The same as a change of a session that lived: it is refused, or applied, and to apply it twice is to apply it once.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use xmpp_sm::snapshot::{Limits, Snapshot};
use xmpp_sm::{Config, Session};

/// A session that lived.
const LIVING: &[u8] = include_bytes!("../../tests/behaviour/snapshot/v2-living.cbor");
const LIMITS: Limits = Limits { bytes: 4096, stanzas: 100 };
/// One time for all inputs.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

fn read(bytes: &[u8]) -> Option<Snapshot<Vec<u8>>> {
    Snapshot::from_bytes(bytes, &LIMITS, *NOW, wall()).ok()
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_764_000_000)
}

/// A snapshot that holds these bytes.
fn file(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("not so many");
    let (length, sum) = (length.to_be_bytes(), crc32fast::hash(payload).to_be_bytes());
    [&[0xd9, 0xd9, 0xf7, 0x82, 0x5a], &length[..], payload, &[0x1a], &sum].concat()
}

fuzz_target!(|bytes: &[u8]| {
    for bytes in [bytes, &file(bytes)] {
        let with = |journal: &[&[u8]]| {
            Snapshot::<Vec<u8>>::from_journal(LIVING, journal, &Config::default(), &LIMITS, (*NOW, wall()))
        };
        if let Ok(changed) = with(&[bytes]) {
            assert_eq!(with(&[bytes, bytes]), Ok(changed));
        }
        let Some(snapshot) = read(bytes) else { continue };
        // To the millisecond.
        let written = snapshot.to_bytes(*NOW, wall());
        let again = Snapshot::<Vec<u8>>::from_bytes(&written, &Limits::default(), *NOW, wall());
        assert_eq!(again.map(|again| again.to_bytes(*NOW, wall())), Ok(written));
        // It is a session, or does not fit.
        let session = Session::<_, ()>::from_parts(Config::default().into(), snapshot.session.clone(), *NOW);
        let parts = session.map_or_else(|no| no.parts, |session| session.into_parts().expect("it is at rest"));
        assert_eq!(parts, snapshot.session);
    }
});
