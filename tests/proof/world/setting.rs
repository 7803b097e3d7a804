//! The options of a world, kept beside the `Config`s that are made from them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use xmpp_sm::{AckFreq, AtCap, Config, Counter, OnFull, SmId, StaleH};

/// The options of one side.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub buffer: bool,
    pub buffer_max: u32,
    pub buffer_max_bytes: usize,
    pub on_full: OnFull,
    pub receipts_max: u32,
    /// `None`: acknowledgements are not asked for.
    pub ack: Option<AckFreq>,
    pub ack_timeout: Option<Duration>,
    pub resume_timeout: Option<Duration>,
}

pub const GRACE: Duration = Duration::from_secs(5);
pub const GERIATRIC: Duration = Duration::from_secs(3600);

pub const fn every(stanzas: u32) -> AckFreq {
    AckFreq::Every(NonZeroU32::new(stanzas).expect("not zero"))
}

impl Options {
    /// Nothing is asked for by itself, and nothing gets full.
    pub const QUIET: Self = Self {
        buffer: true,
        buffer_max: 1000,
        buffer_max_bytes: 1 << 20,
        on_full: OnFull::EndAfter(GRACE),
        receipts_max: 1000,
        ack: None,
        ack_timeout: Some(Duration::from_secs(60)),
        resume_timeout: Some(Duration::from_secs(600)),
    };

    pub fn config(&self) -> Arc<Config> {
        let config = Config::default()
            .buffer(self.buffer)
            .buffer_max(NonZeroU32::new(self.buffer_max).expect("not zero"))
            .buffer_max_bytes(NonZeroUsize::new(self.buffer_max_bytes).expect("not zero"))
            .on_full(self.on_full)
            .receipts_max(NonZeroU32::new(self.receipts_max).expect("not zero"))
            .ack(self.ack.is_some())
            .ack_freq(self.ack.unwrap_or(every(1)))
            .ack_timeout(self.ack_timeout)
            .resume_timeout(self.resume_timeout)
            .stale_h(StaleH { enabled: true, geriatric: GERIATRIC, ..StaleH::default() });
        Arc::new(config)
    }
}

/// Where a schedule starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There is nothing yet.
    Nothing,
    /// The first session is on, and has counted so many stanzas of the client and of the server.
    On([Counter; 2]),
}

/// What the links carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    Elements,
    /// The text of the elements, through an incremental parser.
    Bytes,
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub options: [Options; 2],
    pub configs: [Arc<Config>; 2],
    pub start: Start,
    /// The server has stream management switched off.
    pub disabled: bool,
    pub pairs: u8,
    /// How many sessions the store takes of one owner, and what it does with more.
    pub per_owner: Option<(usize, AtCap)>,
    pub carry: Carry,
    /// The size of the stanza at a position.
    pub size: fn(u32) -> u32,
    /// How many connections a pair has at once, and elements a link.
    pub connections: usize,
    pub in_flight: usize,
}

impl Setting {
    pub fn new(name: &'static str, client: Options, server: Options, start: Start) -> Self {
        Self {
            name,
            options: [client, server],
            configs: [client.config(), server.config()],
            start,
            disabled: false,
            pairs: 1,
            per_owner: None,
            carry: Carry::Elements,
            size: |_| 1,
            connections: 3,
            in_flight: 4,
        }
    }

    /// The worlds that are explored. Each is small in one way, so that its edge is near.
    pub fn explored() -> Vec<Self> {
        let quiet = Options::QUIET;
        let asking = |freq| Options { ack: Some(freq), ..quiet };
        let self_clocked = asking(AckFreq::SelfClocked { idle: Duration::from_secs(30) });
        let full = |policy| Options { buffer_max: 1, on_full: policy, ..quiet };
        let kinds = [
            ("quiet", quiet, quiet),
            ("asks every stanza", asking(every(1)), asking(every(1))),
            ("asks every other stanza, self-clocked", asking(every(2)), self_clocked),
            ("full: ends after a grace", full(OnFull::EndAfter(GRACE)), full(OnFull::EndAfter(GRACE))),
            ("full: ends at once", quiet, full(OnFull::End)),
            ("full: gives up resumability", quiet, full(OnFull::GiveUpResumability)),
            ("no buffer", Options { buffer: false, ..quiet }, Options { buffer: false, ..asking(every(1)) }),
            ("one receipt", Options { receipts_max: 1, ..quiet }, Options { receipts_max: 1, ..quiet }),
        ];
        let mut worlds = Vec::new();
        for base in [0, (1 << 31) - 2, u32::MAX - 1] {
            let start = Start::On([Counter::new(base); 2]);
            worlds.extend(kinds.map(|(name, client, server)| Self::new(name, client, server, start)));
        }
        worlds.push(Self::new("from nothing", quiet, quiet, Start::Nothing));
        let off = Self::new("switched off", asking(every(1)), quiet, Start::Nothing);
        worlds.push(Self { disabled: true, ..off });
        worlds
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
