//! The options of a world, kept beside the `Config`s that are made from them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use xmpp_sm::{AckFreq, AtCap, Config, MemoryStore, OnFull, SmId, StaleH};

use super::event::Event;
pub use crate::support::{GRACE, REQUEST, every};

/// The options of one side.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub buffer: bool,
    pub buffer_max: u32,
    pub buffer_max_bytes: usize,
    pub on_full: OnFull,
    pub receipts_max: u32,
    pub receipts_max_bytes: usize,
    /// `None`: acknowledgements are not asked for.
    pub ack: Option<AckFreq>,
    pub ack_idle: Option<Duration>,
    pub ack_timeout: Option<Duration>,
    pub resume_timeout: Option<Duration>,
    pub resume_timeout_max: Option<Duration>,
    /// Whether the last `h` of a session that is gone can be asked for.
    pub stale_h: bool,
}

/// How soon a peer is asked again that has left something out while the buffer fills up.
pub const BUSY: Duration = Duration::from_secs(1);
pub const GERIATRIC: Duration = Duration::from_secs(3600);

impl Options {
    /// Nothing is asked for by itself, and nothing gets full.
    pub const QUIET: Self = Self {
        buffer: true,
        buffer_max: 1000,
        buffer_max_bytes: 1 << 20,
        on_full: OnFull::EndAfter(GRACE),
        receipts_max: 1000,
        receipts_max_bytes: 1 << 20,
        ack: None,
        ack_idle: Some(Duration::from_secs(30)),
        ack_timeout: Some(Duration::from_secs(60)),
        resume_timeout: Some(Duration::from_secs(600)),
        resume_timeout_max: None,
        stale_h: true,
    };

    /// Whether a session that is gone since then is still remembered.
    pub fn remembers(&self, since: Instant, now: Instant) -> bool {
        self.stale_h && now - since <= GERIATRIC
    }

    /// Whether the sessions of this side may be resumable.
    pub fn can_resume(&self) -> bool {
        self.buffer && self.resume_timeout.is_some()
    }

    pub fn config(&self) -> Arc<Config> {
        let config = Config::default()
            .buffer(self.buffer)
            .buffer_max(NonZeroU32::new(self.buffer_max).expect("not zero"))
            .buffer_max_bytes(NonZeroUsize::new(self.buffer_max_bytes).expect("not zero"))
            .on_full(self.on_full)
            .receipts_max(NonZeroU32::new(self.receipts_max).expect("not zero"))
            .receipts_max_bytes(NonZeroUsize::new(self.receipts_max_bytes).expect("not zero"))
            .request_acks(self.ack.is_some())
            .ack_freq(self.ack.unwrap_or(every(1)))
            .ack_idle(self.ack_idle)
            .ack_timeout(self.ack_timeout)
            .request_timeout(REQUEST)
            .resume_timeout(self.resume_timeout)
            .resume_timeout_max(self.resume_timeout_max)
            .stale_h(StaleH { enabled: self.stale_h, geriatric: GERIATRIC, ..StaleH::default() });
        Arc::new(config)
    }
}

/// Where a schedule starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There is nothing yet.
    Nothing,
    /// The first session is on, and has counted so many stanzas of the client and of the server.
    On([u32; 2]),
}

/// What the links carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    Elements,
    /// The text of the elements, through an incremental parser.
    Bytes,
}

/// How many sessions the store takes, and what it does with more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    pub per_owner: Option<usize>,
    pub in_all: Option<usize>,
    pub at_cap: AtCap,
}

impl Caps {
    pub fn store<Handle>(&self, config: &Config) -> MemoryStore<Handle> {
        let not_zero = |most| NonZeroUsize::new(most).expect("not zero");
        // Long schedules make many sessions, and no stale h may be lost.
        let (sessions, stale) = (not_zero(self.per_owner.unwrap_or(usize::MAX)), not_zero(usize::MAX));
        let store = MemoryStore::new(config).at_cap(self.at_cap).per_owner(sessions).stale_per_owner(stale);
        match self.in_all {
            Some(most) => store.in_all(not_zero(most)),
            None => store,
        }
    }

    pub fn are_set(&self) -> bool {
        self.per_owner.is_some() || self.in_all.is_some()
    }
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub name: String,
    pub options: [Options; 2],
    pub configs: [Arc<Config>; 2],
    pub start: Start,
    /// What has happened before any schedule.
    pub prefix: Vec<Event>,
    /// How deep `cargo test` explores it.
    pub depth: usize,
    /// The server has stream management switched off.
    pub disabled: bool,
    /// A resource is bound before stanzas flow.
    pub binds: bool,
    pub pairs: u8,
    /// How many owners the pairs have: their sessions are one's in turn.
    pub owners: usize,
    pub caps: Caps,
    /// The server refuses stream management to a session for which the store has no room.
    pub strict: bool,
    pub carry: Carry,
    /// Whether the client's `<enable/>` and the server's `<enabled/>` carry a `max`: other software leaves it out.
    pub says_max: [bool; 2],
    /// The hosts stop to read and read on as they like, not only because they cannot receive.
    pub pauses: bool,
    /// The hosts stop to read without a word: [`hearing`](xmpp_sm::StreamMgmt::hearing) is never called.
    pub mute: bool,
    /// The server's host loses requests.
    pub drops: bool,
    /// The size of the stanza at a position.
    pub size: fn(u32) -> u32,
    /// How many connections a pair has at once, and elements a link.
    pub connections: usize,
    pub in_flight: usize,
}

impl Setting {
    pub fn new(name: &str, client: Options, server: Options, start: Start) -> Self {
        Self {
            name: name.to_owned(),
            options: [client, server],
            configs: [client.config(), server.config()],
            start,
            prefix: Vec::new(),
            depth: 4,
            disabled: false,
            binds: true,
            pairs: 1,
            owners: 3,
            caps: Caps::default(),
            strict: false,
            carry: Carry::Elements,
            says_max: [true; 2],
            pauses: false,
            mute: false,
            drops: false,
            size: |_| 1,
            connections: 3,
            in_flight: 4,
        }
    }
}

/// Where the clock of every world starts.
pub static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The SM-ID of that number.
pub fn smid(number: u16) -> SmId {
    static SMIDS: LazyLock<Vec<SmId>> = LazyLock::new(|| (0..64).map(make).collect());
    fn make(number: u16) -> SmId {
        SmId::new(&format!("smid-{number}")).expect("a text that XML can carry")
    }
    SMIDS.get(usize::from(number)).cloned().unwrap_or_else(|| make(number))
}

/// The number of that SM-ID.
pub fn smid_number(smid: &SmId) -> Option<u16> {
    smid.as_str().strip_prefix("smid-")?.parse().ok()
}
