//! Sessions while no process has them: `--state-dir`. When the server stops they are written down, and when it starts
//! they are there, with what is left of their time.
//!
//! The file is a row of snapshots, each after its length: one for each session, one for each user for whom something
//! waits, and one for each session that is over and whose client may still ask for its `h`. It is written whole under
//! another name first, so that a crash in the middle leaves the former one or none. Once its sessions live again it is gone: they would be there twice after the next start. A file of a later
//! version is left where it is, and the server does not start.

pub mod restart;

use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jid::{BareJid, FullJid};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use xmpp_sm::snapshot::{Limits, Snapshot, SnapshotError};
use xmpp_sm::{Counter, Parts, SessionParts, Side, StaleRecord};

use super::Server;
use super::mail::{Mail, Parking, waited};
use super::stanza::Written;

/// How long clients get to leave, and what they sent to be settled.
const SETTLE: Duration = Duration::from_secs(2);

/// What its operator can do about a file of a later version.
const LATER: &str = "The file stays as it is. To have its sessions here, start the server that wrote it once more, with a \
                     --snapshot-version that this one reads, and stop it; to start without them, move the file away";

/// What the server knows of a session besides.
pub struct Known {
    pub jid: FullJid,
    /// The sessions that it has sent presence to by name.
    pub directed: Vec<FullJid>,
    /// Its last presence, if that was not `unavailable`.
    pub presence: Option<Written>,
}

impl Known {
    /// Lines, for no JID has a line feed: its own, others, none; then the presence.
    pub fn to_bytes(&self) -> Vec<u8> {
        let jids = [&self.jid].into_iter().chain(&self.directed);
        let mut bytes: Vec<u8> = jids.flat_map(|jid| [jid.as_str(), "\n"]).collect::<String>().into();
        bytes.push(b'\n');
        bytes.extend(self.presence.iter().flat_map(|presence| presence.bytes()));
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (jids, presence) = text.split_once("\n\n")?;
        let mut jids = jids.split('\n').map(|jid| FullJid::new(jid).ok());
        let (jid, directed) = (jids.next()??, jids.collect::<Option<_>>()?);
        let presence = if presence.is_empty() { None } else { Some(Written::read(presence.as_bytes())?) };
        Some(Self { jid, directed, presence })
    }
}

/// What the server's own part of a session that is over begins with, before the time, in milliseconds of the Unix clock. No
/// JID of a session that lives has a space in front of its resource.
const OVER: &str = "over since ";

/// A session that is over, as one that has its `h` and nothing else.
fn over(StaleRecord { owner, smid, h, age }: StaleRecord, by_the_wall: SystemTime) -> Snapshot<Written> {
    let acked = Counter::ZERO;
    let parts = Parts { smid, deadline: None, resume_timeout: None, h, acked, unacked: Vec::new() };
    let since = by_the_wall.checked_sub(age).and_then(|since| since.duration_since(UNIX_EPOCH).ok());
    let session = SessionParts { owner, side: Side::Server(parts), waiting: Vec::new() };
    Snapshot { session, host: format!("{OVER}{}", since.unwrap_or_default().as_millis()).into() }
}

/// `None`: it is not over.
fn is_over(Snapshot { session, host }: &Snapshot<Written>, by_the_wall: SystemTime) -> Option<StaleRecord> {
    let Side::Server(parts) = &session.side else { return None };
    let since = std::str::from_utf8(host).ok()?.strip_prefix(OVER)?.parse().ok()?;
    let age = by_the_wall.duration_since(UNIX_EPOCH.checked_add(Duration::from_millis(since))?).unwrap_or_default();
    Some(StaleRecord { owner: session.owner.clone(), smid: parts.smid.clone(), h: parts.h, age })
}

/// When the server stops, writes down what there is.
pub async fn keep(server: Arc<Server>, dir: PathBuf) {
    server.stopping.clone().wait().await;
    let snapshots = collect(&server).await;
    let count = snapshots.len();
    if let Err(error) = write(&dir, &snapshots) {
        complain(format_args!("{}: {error}: {count} sessions and mailboxes are lost", dir.display()));
    }
}

/// Has the sessions leave their clients, and gives each as bytes, once what its client sent is settled; and then what
/// waits for users who have none.
async fn collect(server: &Server) -> Vec<Vec<u8>> {
    let (resting, mut all_rest) = waited();
    server.router.tell_all(|| Mail::Halt(resting.clone()));
    drop(resting);
    let _ = timeout(SETTLE, all_rest.recv()).await;
    let (out, mut snapshots) = unbounded_channel();
    let parking = Parking { out, jids: Arc::new(server.router.jids()) };
    server.router.tell_all(|| Mail::Park(parking.clone()));
    drop(parking);
    let mut all = Vec::new();
    while let Some(snapshot) = snapshots.recv().await {
        all.push(snapshot);
    }
    let (now, by_the_wall) = (Instant::now(), SystemTime::now());
    let kept = server.router.take_kept().into_iter().map(|(user, stanzas)| {
        // As of a client that has no session yet.
        let side = Side::Client { session: None, attempts: Default::default() };
        let waiting = stanzas.into_iter().map(|stanza| (stanza, now)).collect();
        let session = SessionParts { owner: user.as_str().into(), side, waiting };
        Snapshot { session, host: Vec::new() }
    });
    let ended = server.store.stale_records(now).into_iter().map(|ended| over(ended, by_the_wall));
    all.extend(kept.chain(ended).map(|rest| rest.to_bytes_of(server.snapshot_version, now, by_the_wall)));
    all
}

/// Whoever reads this may stop; the server does not.
pub fn complain(about: fmt::Arguments<'_>) {
    writeln!(io::stderr(), "{about}").unwrap_or_default();
}

fn file(dir: &Path) -> PathBuf {
    dir.join("sessions")
}

pub fn write(dir: &Path, snapshots: &[Vec<u8>]) -> io::Result<()> {
    let unfinished = dir.join("sessions.unfinished");
    // What people wrote to each other is nobody else's business.
    let new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let mut out = BufWriter::new(new);
    for snapshot in snapshots {
        let length = u32::try_from(snapshot.len()).map_err(io::Error::other)?;
        out.write_all(&length.to_be_bytes())?;
        out.write_all(snapshot)?;
    }
    out.into_inner()?.sync_all()?;
    fs::rename(unfinished, file(dir))?;
    File::open(dir)?.sync_all()
}

/// Has the sessions live again that were written down. What is damaged is told, and kept in another file.
///
/// # Errors
///
/// The file cannot be read, or is of a later version. It is still there, and nothing of it lives.
pub fn restore(server: &Arc<Server>, dir: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    fs::create_dir_all(dir)?;
    let bytes = match fs::read(file(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let (now, by_the_wall) = (Instant::now(), SystemTime::now());
    let record = |number: usize| format!("{}: record {}", file(dir).display(), number + 1);
    let mut snapshots = Vec::new();
    for (number, bytes) in Records(&bytes).enumerate() {
        let read = bytes.map(|bytes| Snapshot::<Written>::from_bytes(bytes, &Limits::default(), now, by_the_wall));
        if let Ok(Err(later @ SnapshotError::Newer(_))) = read {
            return Err(format!("{}: {later}. {LATER}", record(number)).into());
        }
        snapshots.push(read.and_then(|read| read.map_err(|error| error.to_string())));
    }
    let (mut sessions, mut errors) = (Vec::new(), 0);
    for (number, read) in snapshots.into_iter().enumerate() {
        if let Some(ended) = read.as_ref().ok().and_then(|read| is_over(read, by_the_wall)) {
            server.store.restore_stale(&ended, now);
            continue;
        }
        let result = read.and_then(|Snapshot { session, host }| match &session.side {
            Side::Server(_) => {
                sessions.push((session, Known::from_bytes(&host).ok_or("the server's own part is damaged")?));
                Ok(())
            }
            Side::Client { .. } => {
                let user = BareJid::new(&session.owner).map_err(|error| error.to_string())?;
                server.router.keep(&user, session.waiting.into_iter().map(|(stanza, _)| stanza));
                Ok(())
            }
        });
        if let Err(error) = result {
            complain(format_args!("{}: {error}", record(number)));
            errors += 1;
        }
    }
    errors += restart::restore(server, sessions, now);
    // From here on they live in memory.
    match errors {
        0 => fs::remove_file(file(dir))?,
        _ => set_aside(dir)?,
    }
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Beside what was set aside before.
fn set_aside(dir: &Path) -> io::Result<()> {
    for number in 1_u64.. {
        let aside = dir.join(format!("sessions.damaged.{number}"));
        if !aside.try_exists()? {
            return fs::rename(file(dir), aside);
        }
    }
    Ok(())
}

/// The snapshots in a file. One that is cut off is the last.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], String>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let record = rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?));
        let Some((record, rest)) = record else {
            return Some(Err(format!("the file is truncated: {} bytes are left of it", rest.len())));
        };
        self.0 = rest;
        Some(Ok(record))
    }
}
