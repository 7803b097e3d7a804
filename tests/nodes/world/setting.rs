//! The options of a world, and what can happen in it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use xmpp_sm::snapshot::Promise;
use xmpp_sm::{Config, OnFull};

use super::event::{ALL, Act};

pub const RANDOM: &str = "random ";
pub const RESUME: Duration = Duration::from_secs(600);

/// What comes to a user, between the session that handled it and the one that is to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailIs {
    /// Kept until the session that took it has it written down.
    Kept,
    /// Gone as soon as a session takes it.
    Taken,
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub title: String,
    pub depth: usize,
    pub nodes: usize,
    pub promise: Promise,
    pub mail: MailIs,
    /// What may happen beside what is to be expected, as words.
    pub acts: &'static str,
    /// What happens before the schedules begin.
    pub begins: &'static str,
    /// Whether the clients are online at the start: the first one at the first node, and so on.
    pub starts_online: bool,
    /// How many messages each client writes.
    pub sends: u32,
    pub crashes: u32,
    /// How often a client connects.
    pub connects: u32,
    pub sleeps: u32,
    /// How far the clock of each node is ahead, in seconds.
    pub skew: [i64; 3],
    /// Whether the store, the nodes and the mail answer at once unless something else is said.
    pub quick: bool,
    pub buffer_max: u32,
}

impl Setting {
    pub fn new(title: &str, depth: usize, promise: Promise, acts: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            depth,
            nodes: 2,
            promise,
            mail: MailIs::Kept,
            acts,
            begins: "",
            starts_online: true,
            sends: 2,
            crashes: 1,
            connects: 3,
            sleeps: 0,
            skew: [0, 60, -60],
            quick: true,
            buffer_max: 100,
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn has(&self, word: &str) -> bool {
        self.acts.split_whitespace().any(|act| act == word)
    }

    /// What may happen here.
    pub fn acts(&self) -> Vec<Act> {
        const ALWAYS: [Act; 7] =
            [Act::Connect, Act::Deliver, Act::Execute, Act::Answer, Act::Send, Act::Message, Act::Mail];
        let acts = ALL.iter().filter(|(act, name)| ALWAYS.contains(act) || self.has(name));
        acts.map(|(act, _)| *act).collect()
    }

    pub fn config(&self) -> Arc<Config> {
        let day = Duration::from_secs(86_400);
        let config = Config::default()
            .resume_timeout(Some(RESUME))
            .settle_timeout(day)
            .on_full(OnFull::EndAfter(day))
            .buffer_max(NonZeroU32::new(self.buffer_max).expect("not zero"))
            .backlog_max(NonZeroU32::new(1000).expect("not zero"))
            .backlog_max_bytes(NonZeroUsize::MAX);
        Arc::new(config)
    }

    /// The small worlds, of which every schedule is tried.
    pub fn explored() -> Vec<Self> {
        use Promise::{Durable, Memory, Parked};
        let world = Self::new;
        vec![
            world("memory: taken over", 3, Memory, "cut notice send settle message silence patience"),
            world("memory: a stop", 3, Memory, "stop cut notice send settle"),
            world("memory: a store that fails", 3, Memory, "cut notice lose execute answer").with(|w| w.quick = false),
            world("parked: taken over", 4, Parked, "cut notice send settle message"),
            world("parked: a crash", 3, Parked, "cut notice send settle crash start"),
            world("parked: killed while detached", 4, Parked, "send crash start settle adopt sleep").with(|w| {
                (w.begins, w.sends, w.sleeps) = ("cut:0 notice:0", 3, 1);
            }),
            world("parked: step by step", 4, Parked, "execute answer lose retry crash").with(|w| {
                (w.quick, w.begins) = (false, "cut:0 notice:0");
            }),
            world("durable: a crash", 3, Durable, "cut send settle crash start"),
            world("durable: killed in the middle", 4, Durable, "execute answer lose crash retry settle").with(|w| {
                (w.quick, w.begins) = (false, "send:0 send:1");
            }),
            world("durable: claimed from a dead node", 5, Durable, "execute answer lose again crash").with(|w| {
                (w.quick, w.begins, w.crashes) = (false, "crash:0 cut:0 connect:1 deliver:5", 2);
            }),
            world("durable: two claims", 4, Durable, "cut execute answer lose").with(|w| {
                (w.quick, w.nodes, w.begins) = (false, 3, "crash:0 cut:0 connect:1 deliver:5");
            }),
            world("durable: taken for dead", 4, Durable, "suspect send settle notice answer execute").with(|w| {
                w.begins = "cut:0 connect:1";
            }),
            world("durable: times", 3, Durable, "crash start tick sleep adopt notice cut").with(|w| w.sleeps = 2),
            world("durable: the mail is taken", 4, Durable, "suspect send settle notice retry lose").with(|w| {
                (w.mail, w.begins) = (MailIs::Taken, "cut:0 connect:1");
            }),
        ]
    }

    /// One of all that there are, from what its knobs are set to.
    pub fn random(knobs: &[u8]) -> Self {
        let name = knobs.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
        let mut left = knobs.iter().copied();
        let mut turn = |sides: u8| left.next().unwrap_or(0) % sides;
        let promise = [Promise::Memory, Promise::Parked, Promise::Durable, Promise::Durable][usize::from(turn(4))];
        let is_durable = promise == Promise::Durable;
        let calm = turn(4) == 0;
        let acts = match (promise, calm) {
            (Promise::Durable, true) => "cut notice settle suspect lose retry patience silence forget tick",
            (_, true) => "cut notice settle stop start lose retry patience silence forget tick",
            (Promise::Durable, false) => {
                "cut notice settle suspect lose retry patience silence forget tick sleep crash stop start adopt"
            }
            _ => "cut notice settle lose retry patience silence forget tick sleep crash stop start adopt",
        };
        let mut setting = Self::new(&format!("{RANDOM}{name}"), 0, promise, acts);
        setting.nodes = 2 + usize::from(turn(2));
        setting.mail = if calm && is_durable && turn(2) == 0 { MailIs::Taken } else { MailIs::Kept };
        setting.buffer_max = [1, 2, 100, 100][usize::from(turn(4))];
        setting.skew = [0, 0, 0].map(|_| i64::from(turn(3)) * 60 - 60);
        setting.starts_online = false;
        setting.quick = false;
        (setting.sends, setting.crashes, setting.connects, setting.sleeps) = (30, 6, 30, 2);
        setting
    }

    pub fn by_title(title: &str) -> Option<Self> {
        let Some(knobs) = title.strip_prefix(RANDOM) else {
            return Self::explored().into_iter().find(|setting| setting.title == title);
        };
        let knobs: Result<Vec<u8>, _> = knobs.split('.').map(str::parse).collect();
        Some(Self::random(&knobs.ok()?))
    }
}
