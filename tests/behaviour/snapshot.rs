//! Sessions as bytes, and back.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use minicbor::Encoder;
use minicbor::data::Tag;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use xmpp_sm::snapshot::{Limits, Portable, Snapshot, SnapshotError, Version};
use xmpp_sm::{Attempts, Parts, SessionParts, Side, SmId};

use crate::support::count::counted;
use crate::support::secs;

/// What was written by each version, and is read for ever.
const V1: &[u8] = include_bytes!("snapshot/v1.cbor");
const V1_CLIENT: &[u8] = include_bytes!("snapshot/v1-client.cbor");
const V2: &[u8] = include_bytes!("snapshot/v2.cbor");
const V2_CLIENT: &[u8] = include_bytes!("snapshot/v2-client.cbor");
const V1_EMPTY: &[u8] = include_bytes!("snapshot/v1-empty.cbor");
const V2_EMPTY: &[u8] = include_bytes!("snapshot/v2-empty.cbor");

/// When it was written, by the wall.
fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_764_000_000, 123_456_789)
}

fn read(bytes: &[u8], now: Instant) -> Result<Snapshot<String>, SnapshotError> {
    Snapshot::from_bytes(bytes, &Limits::default(), now, wall())
}

/// What [`V1`] holds, and [`V2`] to the millisecond.
fn server(now: Instant) -> Snapshot<String> {
    let parts = Parts {
        smid: SmId::new("zeQaJA9O4bCxFi5DUmDlmg").unwrap(),
        deadline: Some(now + Duration::new(599, 250_000_000)),
        resume_timeout: Some(secs(600)),
        h: 17.into(),
        acked: u32::MAX.into(),
        unacked: vec![
            ("<message id='0'><body>Wherefore art thou?</body></message>".into(), now - secs(61)),
            ("<presence/>".into(), now - Duration::from_nanos(1)),
        ],
    };
    let waiting = vec![("<iq type='get' id='1'/>".into(), now)];
    let session = SessionParts { owner: "juliet@example.com".into(), side: Side::Server(parts), waiting };
    Snapshot { session, host: b"balcony\0\xff".to_vec() }
}

/// What [`V1_CLIENT`] and [`V2_CLIENT`] hold.
fn client(now: Instant) -> Snapshot<String> {
    let side = Side::Client { session: None, attempts: Attempts::default() };
    let waiting = vec![("<message/>".into(), now - secs(1))];
    Snapshot { session: SessionParts { owner: "romeo@example.net".into(), side, waiting }, host: vec![] }
}

/// What [`V1_EMPTY`] and [`V2_EMPTY`] hold: a session of which nothing is kept, and which never expires.
fn empty() -> Snapshot<String> {
    let (smid, counter) = (SmId::new("x").unwrap(), 0.into());
    let parts = Parts { smid, deadline: None, resume_timeout: None, h: counter, acked: counter, unacked: vec![] };
    let session = SessionParts { owner: "juliet@example.com".into(), side: Side::Server(parts), waiting: vec![] };
    Snapshot { session, host: vec![] }
}

#[test]
fn what_version_1_wrote_is_read_and_can_be_written() {
    let now = Instant::now();
    assert_eq!(read(V1, now), Ok(server(now)));
    assert_eq!(read(V1_CLIENT, now), Ok(client(now)));
    // Readers may be older.
    assert_eq!(server(now).to_bytes_of(Version::V1, now, wall()), V1);
    assert_eq!(client(now).to_bytes_of(Version::V1, now, wall()), V1_CLIENT);
    // What is empty has its field, without which they read nothing.
    assert_eq!(read(V1_EMPTY, now), Ok(empty()));
    assert_eq!(empty().to_bytes_of(Version::V1, now, wall()), V1_EMPTY);
}

#[test]
fn what_version_2_writes_is_read() {
    let now = Instant::now();
    assert_eq!(read(V2, now), Ok(to_the_millisecond(server(now), now)));
    assert_eq!(read(V2_CLIENT, now), Ok(client(now)));
    assert_eq!(server(now).to_bytes(now, wall()), V2);
    assert_eq!(client(now).to_bytes(now, wall()), V2_CLIENT);
    assert_eq!(read(V2_EMPTY, now), Ok(empty()));
    assert_eq!(empty().to_bytes(now, wall()), V2_EMPTY);
}

/// The stanza that was queued a nanosecond ago was queued now.
fn to_the_millisecond(mut server: Snapshot<String>, now: Instant) -> Snapshot<String> {
    let Side::Server(parts) = &mut server.session.side else { unreachable!() };
    parts.unacked[1].1 = now;
    server
}

/// What is inside, as a file.
fn file(payload: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut e = Encoder::new(&mut file);
    e.tag(Tag::new(55_799)).and_then(|e| e.array(2)).and_then(|e| e.bytes(payload)).unwrap();
    e.u32(crc32fast::hash(payload)).unwrap();
    file
}

/// What is inside of it.
fn payload(file: &[u8]) -> Vec<u8> {
    let mut d = minicbor::Decoder::new(file);
    d.tag().and_then(|_| d.array()).and_then(|_| d.bytes()).unwrap().to_vec()
}

#[test]
fn what_a_later_version_adds_is_skipped() {
    // One more field of each kind, and keys of other types.
    let now = Instant::now();
    let mut payloads = [V1, V2].map(payload);
    for (payload, fields) in payloads.iter_mut().zip([11, 12]) {
        assert_eq!(payload[0], 0xa0 + fields);
        payload[0] += 4;
        let mut e = Encoder::new(&mut *payload);
        e.u64(99).unwrap().array(2).unwrap().map(1).unwrap().str("deep").unwrap().f64(0.5).unwrap().null().unwrap();
        e.str("text").unwrap().bytes(b"bytes").unwrap();
        e.i64(-1).unwrap().tag(Tag::new(1)).unwrap().u64(7).unwrap();
        e.u64(u64::MAX).unwrap().begin_array().unwrap().u8(1).unwrap().end().unwrap();
        assert_eq!(
            read(&file(payload), now).map(|read| to_the_millisecond(read, now)),
            Ok(to_the_millisecond(server(now), now))
        );
    }

    // And more in the arrays that might grow.
    let [mut payload, _] = payloads;
    let stanza = b"\x82\x4b<presence/>";
    let at = payload.windows(stanza.len()).position(|bytes| bytes == stanza).unwrap();
    payload[at] = 0x83;
    payload.splice(at + stanza.len() + 9..at + stanza.len() + 9, *b"\x81\x01");
    assert_eq!(read(&file(&payload), now), Ok(server(now)));
}

#[test]
fn what_needs_a_later_version_is_refused_whatever_else_it_holds() {
    let mut payload = payload(V2);
    assert_eq!(payload[..3], [0xac, 0, 2]);
    payload[2] = 3;
    assert_eq!(read(&file(&payload), Instant::now()), Err(SnapshotError::Newer(3)));
    assert_eq!(read(&file(b"\xa2\x00\x18\x63\x01\xf6"), Instant::now()), Err(SnapshotError::Newer(99)));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_found() {
    let now = Instant::now();
    for written in [V1, V2] {
        for length in 0..written.len() {
            assert_eq!(read(&written[..length], now), Err(SnapshotError::Truncated), "{length}");
        }
        for at in 0..written.len() {
            for bit in 0..8 {
                let mut bytes = written.to_vec();
                bytes[at] ^= 1 << bit;
                let error = read(&bytes, now).expect_err("a wrong bit");
                let is_inside = (8..written.len() - 5).contains(&at);
                assert!(!is_inside || error == SnapshotError::Damaged, "{at}: {error}");
            }
        }
        let longer = [written, &[0]].concat();
        assert!(matches!(read(&longer, now), Err(SnapshotError::Malformed(_))));
    }
}

/// Malice mends the checksum.
#[test]
fn no_byte_makes_it_panic_where_the_checksum_is_right() {
    let now = Instant::now();
    for payload in [V1, V2].map(payload) {
        for length in 0..payload.len() {
            assert!(read(&file(&payload[..length]), now).is_err());
        }
        let mut is_read = 0;
        for at in 0..payload.len() {
            for value in 0..=255 {
                let mut other = payload.clone();
                other[at] = value;
                is_read += usize::from(read(&file(&other), now).is_ok());
            }
        }
        assert!(is_read > payload.len(), "letters of stanzas, at least: {is_read}");
    }
}

#[test]
fn a_claim_is_refused_before_memory_is_taken_for_it() {
    let now = Instant::now();
    let claims = [
        (&b"\x9a\xff\xff\xff\xff"[..], 0xffff_ffff),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
        (b"\x9a\x00\x01\x86\xa1", 100_001),
    ];
    // Stanzas, and the times of some.
    let fields = [(1, 0x0a), (2, 0x09), (2, 0x0a), (2, 0x0e)];
    for ((version, field), (claim, is_too_many)) in
        fields.into_iter().flat_map(|field| claims.map(|claim| (field, claim)))
    {
        let head = [b"\xa5\x00", &[version][..], b"\x01\x01\x02\x61j\x03\x83\x00\x00\xf6", &[field]].concat();
        let bytes = file(&[&head, claim].concat());
        let (result, allocated) = counted(|| read(&bytes, now));
        assert_eq!(result, Err(SnapshotError::TooMany(is_too_many)));
        assert_eq!(allocated.taken, 1, "the owner");
        let limits = Limits { stanzas: u32::MAX, ..Limits::default() };
        let (result, allocated) = counted(|| Snapshot::<String>::from_bytes(&bytes, &limits, now, wall()));
        assert!(matches!(result, Err(SnapshotError::Truncated | SnapshotError::TooMany(_))), "{result:?}");
        assert_eq!(allocated.taken, 1, "the owner");
    }
    for written in [V1, V2] {
        let limits = Limits { bytes: written.len() - 1, ..Limits::default() };
        let read = Snapshot::<String>::from_bytes(written, &limits, now, wall());
        assert_eq!(read, Err(SnapshotError::TooLarge(written.len())));
        // Three stanzas in two fields.
        for (stanzas, is_read) in [(3, true), (2, false)] {
            let limits = Limits { stanzas, ..Limits::default() };
            assert_eq!(Snapshot::<String>::from_bytes(written, &limits, now, wall()).is_ok(), is_read);
        }
    }
}

#[test]
fn a_stanza_that_the_host_does_not_know_again_is_named() {
    #[derive(Debug, PartialEq)]
    struct Message;
    impl Portable for Message {
        fn to_bytes(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"")
        }
        fn from_bytes(bytes: &[u8]) -> Option<Self> {
            bytes.starts_with(b"<message").then_some(Self)
        }
    }
    let read = Snapshot::<Message>::from_bytes(V1, &Limits::default(), Instant::now(), wall());
    assert_eq!(read, Err(SnapshotError::Stanza(1)));
}

#[test]
fn what_misses_a_field_is_not_well_made() {
    let now = Instant::now();
    let of_both = [1, 2, 4, 7, 8, 9].map(|missing| [(V1, missing), (V2, missing)]);
    // In version 2 what is empty is not there, and each stanza has a time.
    for (written, missing) in of_both.into_iter().flatten().chain([(V2, 10), (V2, 14)]) {
        let mut payload = payload(written);
        let at = (1..payload.len()).find(|at| payload[*at] == missing && is_key(&payload, *at)).unwrap();
        payload[at] = 23;
        assert!(matches!(read(&file(&payload), now), Err(SnapshotError::Malformed(_))), "{missing}");
    }
}

/// Whether a key of the map stands there.
fn is_key(payload: &[u8], at: usize) -> bool {
    let mut d = minicbor::Decoder::new(payload);
    let count = d.map().unwrap().unwrap();
    (0..count).any(|_| {
        let is_there = d.position() == at;
        d.skip().and_then(|()| d.skip()).unwrap();
        is_there
    })
}

#[test]
fn time_that_passes_between_the_processes_counts() {
    let (now, left) = (Instant::now(), Duration::new(599, 250_000_000));
    for (by_the_wall, deadline, queued) in [
        (wall() + secs(60), left - secs(60), secs(121)),
        (wall() + secs(3600), Duration::ZERO, secs(3661)),
        // The reader's clock is behind: no time has passed, and nothing comes from the future.
        (wall() - secs(3600), left, Duration::ZERO),
        (wall() - secs(60), left, secs(1)),
    ] {
        for written in [V1, V2] {
            let read = Snapshot::<String>::from_bytes(written, &Limits::default(), now, by_the_wall).unwrap();
            let parts = read.session.detached().unwrap();
            assert_eq!(parts.deadline, Some(now + deadline));
            assert_eq!(parts.unacked[0].1, now - queued);
        }
    }
}

#[test]
fn debug_shows_nothing_that_people_wrote() {
    let shown = format!("{:?}", server(Instant::now()));
    assert_eq!(shown, "Snapshot { session: SessionParts { unacked: Some(2), waiting: 1 }, host: 9 bytes }");
}

prop_compose! {
    fn stanzas(now: Instant)(stanzas in vec((".{0,20}", 0..10_u64.pow(8)), 0..5)) -> Vec<(String, Instant)> {
        stanzas.into_iter().map(|(stanza, age)| (stanza, now - Duration::from_millis(age))).collect()
    }
}

prop_compose! {
    fn parts(now: Instant)(
        smid in "[!-~]{1,60}",
        deadline in option::of(0..10_u64.pow(11)),
        resume_timeout in option::of(0..u64::MAX / 1_000_000),
        h in any::<u32>(),
        acked in any::<u32>(),
        unacked in stanzas(now),
    ) -> Parts<String> {
        Parts {
            smid: SmId::new(&smid).unwrap(),
            deadline: deadline.map(|left| now + Duration::from_millis(left)),
            resume_timeout: resume_timeout.map(Duration::from_millis),
            h: h.into(),
            acked: acked.into(),
            unacked,
        }
    }
}

fn snapshot(now: Instant) -> impl Strategy<Value = Snapshot<String>> {
    let of_client = option::of(parts(now));
    let side = prop_oneof![
        parts(now).prop_map(Side::Server),
        of_client.prop_map(|session| Side::Client { session, attempts: Attempts::default() }),
    ];
    (".{1,40}", side, stanzas(now), vec(any::<u8>(), 0..40)).prop_map(|(owner, side, waiting, host)| {
        let session = SessionParts { owner: owner.into(), side, waiting };
        Snapshot { session, host }
    })
}

#[test]
fn what_is_read_is_what_was_written() {
    let now = Instant::now();
    proptest!(|(snapshot in snapshot(now))| {
        let read_again = read(&snapshot.to_bytes_of(Version::V1, now, wall()), now);
        prop_assert_eq!(read_again.as_ref(), Ok(&snapshot));
        prop_assert_eq!(read(&snapshot.to_bytes(now, wall()), now), Ok(snapshot));
    });
}
