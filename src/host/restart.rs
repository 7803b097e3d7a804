use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel};
use tokio::sync::watch;
use tokio::time::timeout_at;
use xmpp_sm::snapshot::{Limits, Snapshot, SnapshotError};
use xmpp_sm::{Config, Event, Parting, Session};

use crate::server_loop::{Mail, now};

/// What each session gets when its server stops.
#[derive(Clone)]
pub struct Stop {
    /// A session drops it when it reads no more.
    reads: Sender<()>,
    /// All have.
    none_reads: watch::Receiver<bool>,
}

/// The server stops. `tell_all` gives each session a `Stop`, and keeps none.
pub async fn stop(tell_all: impl FnOnce(Stop)) {
    let (reads, mut all) = channel(1);
    let (say, none_reads) = watch::channel(false);
    tell_all(Stop { reads, none_reads });
    let _ = all.recv().await; // `None`, when the last one is dropped
    let _ = say.send(true);
}

/// Writes a session down. `None`: it could not be resumed, and has ended.
pub async fn park<C>(
    mut session: Session<Bytes, C>,
    mut mailbox: UnboundedReceiver<Mail<C>>,
    stop: Stop,
    resource: &str,
    part: impl Fn(C, Parting),
) -> Option<Vec<u8>> {
    let Stop { reads, mut none_reads } = stop;
    session.lost(now()); // without an error and without `</stream:stream>`: after these clients do not resume
    drop(reads);
    // From then on no session sends anything, and all that was sent is in the mailboxes.
    let _ = none_reads.wait_for(|none| *none).await;
    let patience = tokio::time::Instant::now() + Duration::from_secs(2);
    loop {
        let mail = match session.open_receipts() {
            0 => mailbox.try_recv().ok(),
            _ => timeout_at(patience, mailbox.recv()).await.ok().flatten(),
        };
        match mail {
            Some(Mail::Deliver(stanza)) => drop(session.send(stanza, now())),
            Some(Mail::Settled(receipt)) => drop(session.settle(receipt, now())),
            Some(Mail::Take(_) | Mail::End(_)) => {} // its client asks the next process
            None => break,
        }
    }
    session.settle_all(now()); // they have had their time
    session.lost(now()); // again: a connection that has waited for receipts has the session now
    while let Some(event) = session.poll() {
        match event {
            Event::Left { connection, parting, .. } => part(connection, parting),
            Event::Ended(ended) => drop(ended), // its stanzas go where those of any session go that is over
            _ => {}
        }
    }
    let session = session.into_parts().ok()?;
    Some(Snapshot { session, host: resource.into() }.to_bytes(now(), SystemTime::now()))
}

/// Writes all of them to a file: a crash leaves the former one, or this one.
pub fn save(path: &Path, snapshots: &[Vec<u8>]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    for snapshot in snapshots {
        let length = u32::try_from(snapshot.len()).map_err(io::Error::other)?;
        file.write_all(&length.to_be_bytes())?;
        file.write_all(snapshot)?;
    }
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// What the next process reads, before it listens. Once the sessions live, it removes the file: after another start they
/// would be there twice.
pub fn load(path: &Path) -> io::Result<Vec<Result<Snapshot<Bytes>, SnapshotError>>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let (mut rest, mut snapshots) = (&*bytes, Vec::new());
    while let Some((length, others)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (snapshot, others) = others.split_at(length.min(others.len()));
        snapshots.push(Snapshot::from_bytes(snapshot, &Limits::default(), now(), SystemTime::now()));
        rest = others;
    }
    Ok(snapshots)
}

/// Has a session live again, without a connection. Its host registers its SM-ID, as `register` of the server's loop does a new
/// one, and starts `serve`. `Err`: it does not fit, and these stanzas wait for its user.
pub fn revive<C>(read: Snapshot<Bytes>, config: &Arc<Config>) -> Result<(Session<Bytes, C>, String), Vec<Bytes>> {
    let resource = String::from_utf8_lossy(&read.host).into_owned();
    match Session::from_parts(config.clone(), read.session, now()) {
        Ok(session) => Ok((session, resource)),
        Err(not) => Err(not.parts.into_stanzas().map(|(stanza, _)| stanza).collect()),
    }
}
