//! The server stops and starts again, and its clients resume.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use jid::FullJid;
use xmpp_sm::snapshot::Snapshot;
use xmpp_sm::{Parts, SessionParts, Side, SmId};

use super::client::Client;
use super::server::options::Options;
use super::server::stanza::Written;
use super::server::state::{self, Known};
use super::server::{Running, Server};
use super::{OPTIONS, all, message, messages, numbers, start};

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
        assert_eq!(dir.files(), ["sessions.damaged"]);
        for (number, is_there) in expected.into_iter().enumerate() {
            assert_eq!(resumes(&server, number).await, is_there, "session {number}");
        }
    }
}

#[tokio::test]
async fn a_crash_while_they_are_written_leaves_the_former_file() {
    let dir = Dir::new();
    fs::create_dir(&dir.0).expect("a directory");
    state::write(&dir.0, &[session(0, 3)]).expect("a file");
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
