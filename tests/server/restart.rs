//! The server stops and starts again, and its clients resume.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use jid::FullJid;
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};
use xmpp_sm::snapshot::Snapshot;
use xmpp_sm::{Parts, SessionParts, Side, SmId};

use super::client::Client;
use super::server::options::Options;
use super::server::stanza::Written;
use super::server::state::{self, Known};
use super::server::{Running, Server};
use super::{OPTIONS, all, csi, message, messages, numbers, presence, start};

/// A directory for one test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("xmpp-sm-{}-{number}", std::process::id())))
    }

    async fn start(&self) -> Running {
        start(&[&format!("--state-dir={}", self.0.display())]).await
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn clients_resume_as_if_nothing_had_been() {
    let dir = Dir::new();
    let server = dir.start().await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
    romeo.upto("<presence from='juliet@localhost/balcony'").await;
    romeo.upto("/>").await;
    // 1 and 2 are handled, 3 and 4 are received, and the rest waits: first for her, and then for nobody.
    romeo.send(&messages("juliet@localhost/balcony", 4)).await;
    juliet.upto("2.<").await;
    juliet.upto("</message>").await;
    let h = juliet.h;
    juliet.upto("4.<").await;
    juliet.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")).await;
    juliet.send(&message("romeo@localhost/orchard", "back")).await;
    romeo.upto("back").await;
    romeo.upto("</message>").await;
    juliet.cut(&mut romeo).await;
    let six: String = messages("juliet@localhost/balcony", 6).split_inclusive("</message>").skip(4).collect();
    romeo.send(&six).await;
    romeo.ping().await;
    let romeo_h = romeo.h;

    let stopping = Instant::now();
    server.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(4), "{:?}", stopping.elapsed());
    assert!(!romeo.rest().await.contains("stream:error"), "he comes back");
    assert_eq!(dir.files(), ["sessions"]);

    let server = dir.start().await;
    assert!(dir.files().is_empty(), "they live in memory now");
    // Before she is back he writes to her, and the presence of both is known.
    let (mut romeo, resumed) = Client::resume(&server, "romeo", &romeo, romeo_h).await;
    assert!(
        resumed.contains("<resumed ") && resumed.contains(" h='9'"),
        "presence, six messages, two pings: {resumed}"
    );
    romeo.send(&message("juliet@localhost", "7.")).await;
    assert!(!romeo.ping().await.contains("<presence"), "nobody noticed");
    let (mut juliet, resumed) = Client::resume(&server, "juliet", &juliet, h).await;
    assert!(resumed.contains("<resumed ") && resumed.contains(" h='2'"), "presence and message: {resumed}");
    let received = juliet.upto("7.<").await + &juliet.ping().await;
    assert_eq!(numbers(&received), all(7)[2..], "{received}");
    romeo.send(&message("juliet@localhost", "8.")).await;
    assert_eq!(numbers(&juliet.upto("</message>").await), [8]);
}

#[tokio::test]
async fn what_waits_for_a_user_waits_on_and_a_client_without_a_session_is_told() {
    let dir = Dir::new();
    let server = dir.start().await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    romeo.send(&messages("juliet@localhost", 5)).await;
    romeo.ping().await;
    server.stop().await;
    assert!(romeo.rest().await.contains("<system-shutdown "));

    // Twice, with nobody there.
    dir.start().await.stop().await;
    let server = dir.start().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let received = juliet.upto("5.<").await + &juliet.upto("</message>").await;
    assert_eq!(numbers(&received), all(5));
    assert_eq!(received.matches("<delay ").count(), 5, "{received}");
}

#[tokio::test]
async fn who_was_told_by_name_that_a_client_is_there_is_told_that_it_is_gone() {
    let dir = Dir::new();
    let server = dir.start().await;
    let (mut romeo, mut juliet) = presence::hidden(&server).await;
    juliet.enable().await;
    let mut garden = Client::login(&server, "juliet").await;
    garden.bind("garden").await;
    garden.enable().await;
    romeo.send(presence::TO_JULIET).await;
    juliet.upto("to='juliet@localhost/balcony'/>").await;
    server.stop().await;

    let server = dir.start().await;
    let (mut garden, _) = Client::resume(&server, "juliet", &garden, garden.h).await;
    let (mut juliet, _) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    let (romeo, resumed) = Client::resume(&server, "romeo", &romeo, romeo.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    assert!(!juliet.ping().await.contains("<presence"), "he is there as if nothing had been");
    presence::close(romeo).await;
    assert_eq!(juliet.ping().await.matches(presence::GONE).count(), 1);
    assert!(!garden.ping().await.contains("<presence"), "who was not told has nothing to hear");
}

#[tokio::test]
async fn an_inactive_client_has_what_was_held_back_for_it_in_order() {
    let dir = Dir::new();
    let server = dir.start().await;
    let (mut romeo, mut juliet) = Client::both(&server).await;
    let h = juliet.h;
    juliet.send(csi::INACTIVE).await;
    juliet.ping().await;
    let (to, status) = ("juliet@localhost/balcony", csi::status);
    // The word does not wait, and is not acknowledged; what comes after it waits.
    romeo.send(&(message(to, "a word") + &status("obsolete") + &csi::state("composing") + &status("one"))).await;
    romeo.ping().await;
    assert_eq!(csi::seen(&juliet.upto("</message>").await), ["a word"]);
    server.stop().await;

    let server = dir.start().await;
    let (mut romeo, _) = Client::resume(&server, "romeo", &romeo, romeo.h).await;
    romeo.send(&message(to, "another")).await;
    let (mut juliet, resumed) = Client::resume(&server, "juliet", &juliet, h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    let received = juliet.upto("another</body>").await;
    assert_eq!(csi::seen(&received), ["a word", "composing", "one", "another"], "{received}");
}

#[tokio::test]
async fn a_client_whose_session_was_over_before_is_told_its_h() {
    let dir = Dir::new();
    let options = [&*format!("--state-dir={}", dir.0.display()), "--resume-timeout=1"];
    let server = start(&options).await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    juliet.send(&message("romeo@localhost/orchard", "1.")).await;
    romeo.upto("1.<").await;
    let smid = juliet.smid.clone().expect("a session that can be resumed");
    juliet.cut(&mut romeo).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.stop().await;
    let server = start(&options).await;
    let mut juliet = Client::login(&server, "juliet").await;
    juliet.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='0'/>")).await;
    let failed = juliet.upto("</failed>").await;
    assert!(failed.contains(" h='2'"), "her presence and her message were handled: {failed}");
}

#[tokio::test]
async fn a_session_that_was_resumed_is_not_there_once_more() {
    let dir = Dir::new();
    let server = dir.start().await;
    let juliet = Client::session(&server, "juliet", "balcony").await;
    server.stop().await;
    let server = dir.start().await;
    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    again.send("</stream:stream>").await;
    again.rest().await;
    server.stop().await;
    let server = dir.start().await;
    let (_, failed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(failed.contains("<item-not-found "), "{failed}");
}

/// A session of juliet's, detached, with so many unacknowledged messages.
fn session(number: usize, unacked: usize) -> Vec<u8> {
    let now = Instant::now();
    let owner = match number {
        0..5 => "juliet@localhost".to_owned(),
        _ => format!("user{number}@localhost"),
    };
    let jid = FullJid::new(&format!("{owner}/{number}")).expect("a JID");
    let stanza = |number| {
        let text = format!("<message xmlns='jabber:client' type='chat'><body>{number}.</body></message>");
        (Written::new(&text.parse().expect("a message")), now)
    };
    let parts = Parts {
        smid: SmId::new(&format!("session-{number}")).expect("an SM-ID"),
        deadline: Some(now + Duration::from_secs(600)),
        resume_timeout: Some(Duration::from_secs(600)),
        h: 0.into(),
        acked: 0.into(),
        unacked: (1..=unacked).map(stanza).collect(),
    };
    let session = SessionParts { owner: owner.as_str().into(), side: Side::Server(parts), waiting: Vec::new() };
    let host = Known { jid, directed: Vec::new(), presence: None }.to_bytes();
    Snapshot { session, host }.to_bytes(now, SystemTime::now())
}

async fn resumes(server: &Running, number: usize) -> bool {
    let mut client = Client::login(server, "juliet").await;
    client.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='session-{number}' h='0'/>")).await;
    let is_resumed = client.upto_one_of(&["<resumed ", "</failed>"]).await.ends_with("<resumed ");
    if is_resumed {
        assert_eq!(numbers(&client.upto("3.</body>").await), all(3));
    }
    is_resumed
}

fn damage(dir: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let file = dir.join("sessions");
    let mut bytes = fs::read(&file).expect("a file");
    how(&mut bytes);
    fs::write(file, bytes).expect("a file");
}

#[tokio::test]
async fn damage_does_not_take_the_others_with_it() {
    let sessions: Vec<_> = (0..3).map(|number| session(number, 3)).collect();
    let second = 4 + sessions[0].len() + 4;
    type Damage = fn(&mut Vec<u8>, usize);
    let damages: [(Damage, _); 3] = [
        (|bytes, _| bytes.truncate(bytes.len() - 1), [true, true, false]),
        (|bytes, second| bytes[second + 50] ^= 1, [true, false, true]),
        // A length without end.
        (|bytes, second| bytes[second - 4] = 0xff, [true, false, false]),
    ];
    for (how, expected) in damages {
        let dir = Dir::new();
        fs::create_dir(&dir.0).expect("a directory");
        state::write(&dir.0, &sessions).expect("a file");
        damage(&dir.0, |bytes| how(bytes, second));
        let server = dir.start().await;
        assert_eq!(dir.files(), ["sessions.damaged.1"]);
        for (number, is_there) in expected.into_iter().enumerate() {
            assert_eq!(resumes(&server, number).await, is_there, "session {number}");
        }
    }
}

#[tokio::test]
async fn what_is_damaged_is_kept_beside_what_was_damaged_before() {
    let dir = Dir::new();
    for number in 0..3 {
        fs::create_dir_all(&dir.0).expect("a directory");
        state::write(&dir.0, &[session(number, 3)]).expect("a file");
        damage(&dir.0, |bytes| bytes.truncate(bytes.len() - 1));
        dir.start().await.stop().await;
    }
    assert_eq!(dir.files(), ["sessions", "sessions.damaged.1", "sessions.damaged.2", "sessions.damaged.3"]);
    for number in 0..3 {
        let kept = fs::read(dir.0.join(format!("sessions.damaged.{}", number + 1))).expect("a file");
        let smid = format!("session-{number}");
        assert!(kept.windows(smid.len()).any(|bytes| bytes == smid.as_bytes()), "{smid}");
    }
}

/// What is inside a snapshot. It begins with a map, whose first field is the version that a reader needs.
fn payload(snapshot: &[u8]) -> Vec<u8> {
    let mut d = Decoder::new(snapshot);
    d.tag().and_then(|_| d.array()).and_then(|_| d.bytes()).expect("a snapshot").to_vec()
}

fn snapshot(payload: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    let head = e.tag(Tag::new(55_799)).and_then(|e| e.array(2)).and_then(|e| e.bytes(payload));
    head.and_then(|e| e.u32(crc32fast::hash(payload))).expect("a vector");
    e.into_writer()
}

#[tokio::test]
async fn a_file_of_a_later_version_stops_the_start_and_stays_as_it_is() {
    let dir = Dir::new();
    fs::create_dir(&dir.0).expect("a directory");
    let mut later = payload(&session(1, 3));
    assert_eq!(later[1..3], [0, 2], "the version");
    later[2] = 3;
    state::write(&dir.0, &[session(0, 3), snapshot(&later)]).expect("a file");
    let before = fs::read(dir.0.join("sessions")).expect("a file");
    let directory = format!("--state-dir={}", dir.0.display());
    let options = Options::parse_from(OPTIONS.iter().copied().chain([&*directory]));
    let error = Server::start(&options, None).await.err().expect("a server that does not start").to_string();
    let said = ["sessions: record 2: ", "needs a reader of version 3", "--snapshot-version", "move the file away"];
    assert!(said.iter().all(|said| error.contains(said)), "{error}");
    assert_eq!(dir.files(), ["sessions"]);
    assert_eq!(fs::read(dir.0.join("sessions")).expect("a file"), before);
}

/// For a server that knows no other, to which one goes back. Each is read, whichever is written.
#[tokio::test]
async fn what_is_written_down_is_of_the_version_that_is_asked_for() {
    let dir = Dir::new();
    let directory = format!("--state-dir={}", dir.0.display());
    let server = dir.start().await;
    let mut juliet = Client::session(&server, "juliet", "balcony").await;
    juliet.send(&messages("romeo@localhost", 1)).await;
    juliet.ping().await;
    server.stop().await;
    for (options, version) in [(&[&*directory, "--snapshot-version=1"][..], 1), (&[&directory], 2)] {
        start(options).await.stop().await;
        let mut rest = &fs::read(dir.0.join("sessions")).expect("a file")[..];
        let mut versions = Vec::new();
        while let Some((length, records)) = rest.split_first_chunk() {
            let (record, records) = records.split_at(u32::from_be_bytes(*length) as usize);
            versions.push(payload(record)[2]);
            rest = records;
        }
        assert_eq!(versions, [version; 2], "her session, and what waits for him");
    }
    let server = dir.start().await;
    let (_, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
}

#[tokio::test]
async fn a_crash_while_they_are_written_leaves_the_former_file() {
    let dir = Dir::new();
    fs::create_dir(&dir.0).expect("a directory");
    state::write(&dir.0, &[session(0, 3)]).expect("a file");
    // Another takes its place, and is nobody else's business; nothing is written into the former one.
    let (file, former) = (dir.0.join("sessions"), dir.0.join("former"));
    let before = fs::read(&file).expect("a file");
    fs::hard_link(&file, &former).expect("a link");
    state::write(&dir.0, &[session(2, 3)]).expect("a file");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&former).expect("a file"), before);
    fs::rename(former, file).expect("a file");
    let half = &session(1, 3)[..50];
    fs::write(dir.0.join("sessions.unfinished"), half).expect("a file");
    let server = dir.start().await;
    assert!(resumes(&server, 0).await && !resumes(&server, 1).await);
}

/// A file that cannot be read is the operator's to see to: to start without it would leave it to be read later.
#[tokio::test]
async fn a_directory_that_cannot_be_used_stops_the_start() {
    let file = Dir::new();
    fs::write(&file.0, "").expect("a file");
    let options = [&OPTIONS[..], &["--state-dir", file.0.to_str().expect("a path")]].concat();
    assert!(Server::start(&Options::parse_from(options), None).await.is_err());
    fs::remove_file(&file.0).expect("a file");
}

#[tokio::test]
async fn ten_thousand_sessions_come_and_go() {
    let dir = Dir::new();
    fs::create_dir(&dir.0).expect("a directory");
    let sessions: Vec<_> = (0..10_000).map(|number| session(number, 3)).collect();
    state::write(&dir.0, &sessions).expect("a file");
    let loading = Instant::now();
    let server = dir.start().await;
    let loaded = loading.elapsed();
    assert!(resumes(&server, 3).await);
    let parking = Instant::now();
    server.stop().await;
    println!("10 000 sessions loaded in {loaded:?}, written down in {:?}", parking.elapsed());
    let written = fs::read(dir.0.join("sessions")).expect("a file");
    let smids = written.windows(8).filter(|bytes| bytes == b"session-").count();
    assert_eq!(smids, 10_000);
}
