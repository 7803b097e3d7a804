//! The wire log: every byte that reached the proxy, with its direction, its time and whether it was forwarded.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    ToServer,
    ToClient,
}

pub const BOTH: [Dir; 2] = [Dir::ToServer, Dir::ToClient];

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToServer => "C>S",
            Self::ToClient => "S>C",
        })
    }
}

#[derive(Debug)]
pub struct Chunk {
    pub connection: usize,
    pub dir: Dir,
    pub at: Instant,
    pub bytes: Vec<u8>,
    pub forwarded: bool,
}

pub struct Recorder {
    start: Instant,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    file: std::fs::File,
    chunks: Vec<Chunk>,
}

impl Recorder {
    pub fn create(path: &Path, start: Instant) -> std::io::Result<Self> {
        let file = std::fs::File::create(path)?;
        let state = Mutex::new(State { file, chunks: Vec::new() });
        Ok(Self { start, state, changed: Notify::new() })
    }

    /// `at` is when they were read: before they were written on, so that no answer to them is earlier.
    pub fn bytes(&self, connection: usize, dir: Dir, at: Instant, bytes: &[u8], forwarded: bool) {
        if bytes.is_empty() {
            return;
        }
        let fate = if forwarded { "" } else { " (not forwarded)" };
        let text = String::from_utf8_lossy(bytes);
        self.line(connection, &format!("{dir}{fate} {}", text.replace('\n', "\\n")));
        let chunk = Chunk { connection, dir, at, bytes: bytes.to_owned(), forwarded };
        self.state.lock().unwrap().chunks.push(chunk);
        self.changed.notify_waiters();
    }

    pub fn note(&self, connection: usize, text: &str) {
        self.line(connection, &format!("--- {text}"));
    }

    pub fn with_chunks<T>(&self, look: impl FnOnce(&[Chunk]) -> T) -> T {
        look(&self.state.lock().unwrap().chunks)
    }

    /// Waits until `look` likes what it sees, and says whether it did within the limit.
    pub async fn wait(&self, limit: Duration, look: impl Fn(&[Chunk]) -> bool) -> bool {
        let find = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.with_chunks(&look) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, find).await.is_ok()
    }

    fn line(&self, connection: usize, text: &str) {
        let at = self.start.elapsed().as_secs_f64();
        // A log that cannot be written must not change what is tested.
        let _ = writeln!(self.state.lock().unwrap().file, "{at:10.6} #{connection} {text}");
    }
}
