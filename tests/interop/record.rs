//! The wire log: every byte that reached the proxy, with its direction, its time and whether it was forwarded.

use std::fmt;
use std::io::{self, Write};
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
    pub fn create(path: &Path, start: Instant) -> io::Result<Self> {
        let file = std::fs::File::create(path)?;
        let state = Mutex::new(State { file, chunks: Vec::new() });
        Ok(Self { start, state, changed: Notify::new() })
    }

    /// Writes bytes on, and records what was written before anybody can look for it: what comes of them may be known
    /// at once. `at` is when they were read, so that no answer to them is earlier.
    pub fn forward(
        &self,
        connection: usize,
        dir: Dir,
        at: Instant,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let written = write(bytes)?;
        self.record(&mut state, Chunk { connection, dir, at, bytes: bytes[..written].to_owned(), forwarded: true });
        Ok(written)
    }

    /// Bytes that go no further.
    pub fn withhold(&self, connection: usize, dir: Dir, at: Instant, bytes: &[u8]) {
        let chunk = Chunk { connection, dir, at, bytes: bytes.to_owned(), forwarded: false };
        self.record(&mut self.state.lock().unwrap(), chunk);
    }

    pub fn note(&self, connection: usize, text: &str) {
        self.line(&mut self.state.lock().unwrap(), connection, &format!("--- {text}"));
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

    fn record(&self, state: &mut State, chunk: Chunk) {
        if chunk.bytes.is_empty() {
            return;
        }
        let fate = if chunk.forwarded { "" } else { " (not forwarded)" };
        let text = String::from_utf8_lossy(&chunk.bytes).replace('\n', "\\n");
        self.line(state, chunk.connection, &format!("{}{fate} {text}", chunk.dir));
        state.chunks.push(chunk);
        self.changed.notify_waiters();
    }

    fn line(&self, state: &mut State, connection: usize, text: &str) {
        let at = self.start.elapsed().as_secs_f64();
        // A log that cannot be written must not change what is tested.
        let _ = writeln!(state.file, "{at:10.6} #{connection} {text}");
    }
}
