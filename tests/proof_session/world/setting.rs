//! The options of a world, and what can happen in it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use xmpp_sm::{AckFreq, Config, InlineOffer, OnFull, Replay, StaleH};

use super::worlds::RANDOM;
pub use crate::support::{GRACE, REQUEST, every};

/// The options of one side that the ledger has to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub buffer: bool,
    pub buffer_max: u32,
    pub buffer_max_bytes: usize,
    pub on_full: OnFull,
    pub receipts_max: u32,
    /// `None`: acknowledgements are not asked for.
    pub ack: Option<AckFreq>,
    pub backlog_max: u32,
    pub backlog_max_bytes: usize,
    /// Whether evicted stanzas come back.
    pub keeps_evicted: bool,
    pub resume_timeout: Option<Duration>,
    pub resume_tries_max: u32,
    pub stale_h: bool,
}

pub const SETTLE: Duration = Duration::from_secs(5);
pub const CLOSE: Duration = Duration::from_secs(2);
/// How long a session waits from the time on at which it is prolonged.
pub const PROLONGED: Duration = Duration::from_secs(1000);
/// How long a host has to read what had arrived, before a timeout is judged.
pub const MOMENT: Duration = Duration::from_millis(50);

impl Options {
    /// Nothing gets full.
    pub const PLAIN: Self = Self {
        buffer: true,
        buffer_max: 100,
        buffer_max_bytes: 1 << 20,
        on_full: OnFull::EndAfter(GRACE),
        receipts_max: 100,
        ack: Some(every(1)),
        backlog_max: 100,
        backlog_max_bytes: 1 << 20,
        keeps_evicted: true,
        resume_timeout: Some(Duration::from_secs(600)),
        resume_tries_max: 10,
        stale_h: false,
    };

    pub fn config(&self) -> Arc<Config> {
        let number = |n| NonZeroU32::new(n).expect("not zero");
        let bytes = |n| NonZeroUsize::new(n).expect("not zero");
        let config = Config::default()
            .buffer(self.buffer)
            .buffer_max(number(self.buffer_max))
            .buffer_max_bytes(bytes(self.buffer_max_bytes))
            .on_full(self.on_full)
            .receipts_max(number(self.receipts_max))
            .request_acks(self.ack.is_some())
            .ack_freq(self.ack.unwrap_or(every(1)))
            .backlog_max(number(self.backlog_max))
            .backlog_max_bytes(bytes(self.backlog_max_bytes))
            .evicted_max_bytes(if self.keeps_evicted { 1 << 20 } else { 0 })
            .settle_timeout(SETTLE)
            .close_timeout(CLOSE)
            .resume_timeout(self.resume_timeout)
            .resume_tries_max(number(self.resume_tries_max))
            .stale_h(StaleH { enabled: self.stale_h, ..StaleH::default() });
        Arc::new(config)
    }

    pub fn can_resume(&self) -> bool {
        self.buffer && self.resume_timeout.is_some()
    }

    pub fn evicts(&self) -> bool {
        self.buffer && self.on_full == OnFull::EvictOldest
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A resource is bound.
    Binds,
    /// Between servers.
    WithoutBind,
    /// The server has stream management off.
    Disabled,
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub title: String,
    /// How deep `cargo test` explores it.
    pub depth: usize,
    /// The client's and the server's.
    pub options: [Options; 2],
    pub stream: Stream,
    /// Whether the client is told of `<sm/>`; after a while no more.
    pub offers: [bool; 2],
    /// Whether a session is on at the start.
    pub starts_online: bool,
    /// Whether the server's first connection takes nothing from then on.
    pub starts_clogged: bool,
    /// What happens before the schedules begin.
    pub begins: &'static str,
    /// What may happen beside connecting, delivering and timeouts, as words.
    pub acts: &'static str,
    /// The most stanzas of each side, and connections.
    pub sends: [u32; 2],
    pub connects: usize,
    /// How often the clock may jump ahead.
    pub sleeps: u32,
    /// Whether what comes to a session of the server waits in its mailbox.
    pub mailboxes: bool,
    /// Whether the store answers late.
    pub late: bool,
    /// The most elements on their way to an end before its connection has no room.
    pub room: usize,
    /// Whether acknowledged stanzas are wanted.
    pub returns: bool,
    /// Whether the server takes `<resume/>` as a part of `<authenticate/>`, and answers it in `<success/>`.
    pub inline: bool,
    /// What the server offers to a client that logs in by SASL2. `None`: the client knows only the old way.
    pub sasl2: Option<InlineOffer>,
    /// Whether that login may be a replay.
    pub replay: Replay,
}

impl Setting {
    pub fn new(title: &str, depth: usize, acts: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            depth,
            options: [Options::PLAIN; 2],
            stream: Stream::Binds,
            offers: [true; 2],
            starts_online: true,
            starts_clogged: false,
            begins: "",
            acts,
            sends: [2; 2],
            connects: 3,
            sleeps: 1,
            mailboxes: false,
            late: false,
            room: usize::MAX,
            returns: true,
            inline: false,
            sasl2: None,
            replay: Replay::Impossible,
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn by_title(title: &str) -> Option<Self> {
        let Some(knobs) = title.strip_prefix(RANDOM) else {
            return Self::explored().into_iter().find(|setting| setting.title == title);
        };
        let knobs: Result<Vec<u8>, _> = knobs.split('.').map(str::parse).collect();
        Some(Self::random(&knobs.ok()?))
    }
}
