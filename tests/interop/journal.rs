//! What both ends of a scenario did, in the order in which the runner saw it.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The two ends of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The client under test, behind the proxy.
    Client,
    /// The plain client that it talks to, on a connection of its own that is never cut.
    Partner,
}

impl End {
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Partner,
            Self::Partner => Self::Client,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Client => 'c',
            Self::Partner => 'p',
        }
    }
}

/// A numbered message: its body says who sent it and in which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    pub from: End,
    pub number: u32,
}

impl Message {
    pub fn body(self, tag: &str) -> String {
        format!("{tag} {} {}", self.from.letter(), self.number)
    }

    pub fn from_body(body: &str, tag: &str) -> Option<Self> {
        let mut words = body.strip_prefix(tag)?.split_ascii_whitespace();
        let from = match words.next()? {
            "c" => End::Client,
            "p" => End::Partner,
            _ => return None,
        };
        let number = words.next()?.parse().ok()?;
        Some(Self { from, number })
    }
}

#[derive(Clone, Debug)]
pub enum Event {
    /// Logged in and bound: for the first time, or anew after a session was lost.
    Online {
        jid: String,
    },
    Resumed,
    /// It was told to stop reading, and has.
    Stopped,
    /// `<failed/>`, with its h.
    Failed {
        h: Option<u32>,
    },
    Received {
        body: String,
        delay: Option<String>,
    },
    /// The driver was told to send it.
    Sent {
        number: u32,
    },
    /// The client's library says that the server took it.
    Acked {
        number: u32,
    },
    Offline {
        why: String,
    },
    /// Anything else that a driver wants in the log.
    Note(String),
    /// The driver itself has ended.
    Gone,
}

/// As in the line protocol of `driver.rs`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Online { jid } => write!(f, "online {jid}"),
            Self::Resumed => f.write_str("resumed"),
            Self::Stopped => f.write_str("stopped"),
            Self::Failed { h: Some(h) } => write!(f, "failed {h}"),
            Self::Failed { h: None } => f.write_str("failed -"),
            Self::Received { body, delay } => write!(f, "received {} {body}", delay.as_deref().unwrap_or("-")),
            Self::Sent { number } => write!(f, "told to send {number}"),
            Self::Acked { number } => write!(f, "acked {number}"),
            Self::Offline { why } => write!(f, "offline {why}"),
            Self::Note(text) => write!(f, "note {text}"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

#[derive(Debug)]
pub struct Entry {
    pub at: Instant,
    pub end: End,
    pub event: Event,
}

/// How often each thing happened at one end.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub online: usize,
    pub resumed: usize,
    pub failed: usize,
    pub received: usize,
    pub sent: usize,
    pub acked: usize,
    pub offline: usize,
    pub stopped: usize,
    pub gone: bool,
    pub jid: Option<String>,
}

#[derive(Default)]
pub struct State {
    pub entries: Vec<Entry>,
    client: Tally,
    partner: Tally,
}

impl State {
    pub fn tally(&self, end: End) -> &Tally {
        match end {
            End::Client => &self.client,
            End::Partner => &self.partner,
        }
    }

    pub fn has_received(&self, end: End, body: &str) -> bool {
        let wanted = |event: &Event| matches!(event, Event::Received { body: b, .. } if b == body);
        self.of(end).any(|entry| wanted(&entry.event))
    }

    pub fn of(&self, end: End) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.end == end)
    }
}

pub struct Journal {
    start: Instant,
    state: Mutex<State>,
    file: std::fs::File,
    changed: Notify,
}

impl Journal {
    /// Everything is written to a file as well.
    pub fn create(path: &Path, start: Instant) -> std::io::Result<Self> {
        let file = std::fs::File::create(path)?;
        Ok(Self { start, state: Mutex::default(), file, changed: Notify::new() })
    }

    pub fn record(&self, end: End, event: Event) {
        let mut state = self.state.lock().unwrap();
        let tally = match end {
            End::Client => &mut state.client,
            End::Partner => &mut state.partner,
        };
        match &event {
            Event::Online { jid } => {
                tally.online += 1;
                tally.jid = Some(jid.clone());
            }
            Event::Resumed => tally.resumed += 1,
            Event::Failed { .. } => tally.failed += 1,
            Event::Received { .. } => tally.received += 1,
            Event::Sent { .. } => tally.sent += 1,
            Event::Acked { .. } => tally.acked += 1,
            Event::Offline { .. } => tally.offline += 1,
            Event::Stopped => tally.stopped += 1,
            Event::Gone => tally.gone = true,
            Event::Note(_) => {}
        }
        let at = Instant::now();
        let seconds = at.duration_since(self.start).as_secs_f64();
        let _ = writeln!(&self.file, "{seconds:10.6} {end:?} {event}");
        state.entries.push(Entry { at, end, event });
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    /// Waits until `look` finds what it looks for, but not longer than `limit`.
    pub async fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let find = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = self.with(&mut look) {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, find).await.ok()
    }
}
