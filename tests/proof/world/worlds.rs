//! The worlds that are tried.

use std::time::Duration;

use xmpp_sm::{AckFreq, AtCap, OnFull};

use super::setting::{Caps, Carry, GRACE, Options, Setting, Start, every};
use crate::support::read_schedule;

/// Where it gets dense: the names, and how it comes there.
const SCENES: [(&str, &str); 9] = [
    ("half open", "send:c send:s cut:c:0 connect"),
    ("two resumes race", "send:c send:s cut:c:0 connect cut:c:1 connect"),
    ("taken over with open receipts", "send:c send:c deliver:s:0 deliver:s:0 cut:c:0 connect deliver:s:1"),
    ("resumed twice", "send:s cut:c:0 connect deliver:s:1 cut:c:0 connect deliver:s:1 deliver:c:0"),
    ("about to expire", "send:c send:s deliver:s:0 cut:s:0 cut:c:0 handle:s:0 tick"),
    ("closing", "send:c send:s close:c close:s"),
    ("closing with <a/> on its way", "send:s send:s deliver:c:0 handle:c:0 a:c deliver:c:0 handle:c:0 close:s a:c"),
    ("closing with open receipts", "send:c send:s deliver:s:0 deliver:c:0 close:s"),
    ("resumed too late", "send:s send:c deliver:c:0 giveup:c:0 cut:s:0 cut:c:0 tick expire:s:0 connect"),
];

/// The most knobs that [`Setting::random`] turns.
pub const KNOBS: usize = FIRST_KNOBS + 14;
/// These knobs came first, and stand first in schedules that were found.
const FIRST_KNOBS: usize = 30;

const RANDOM: &str = "random ";

impl Setting {
    /// The name of the world and where it starts.
    pub fn title(&self) -> String {
        match self.start {
            // The knobs of a random one say it all.
            Start::On([counts, _]) if !self.name.starts_with(RANDOM) => format!("{} @ {counts}", self.name),
            _ => self.name.clone(),
        }
    }

    /// The worlds that are explored. Each is small in one way, so that its edge is near.
    pub fn explored() -> Vec<Self> {
        let quiet = Options::QUIET;
        let asking = |freq| Options { ack: Some(freq), ..quiet };
        let self_clocked = asking(AckFreq::SelfClocked);
        let impatient = Options { resume_timeout: Some(Duration::from_secs(90)), ..asking(every(2)) };
        let full = |policy| Options { buffer_max: 1, on_full: policy, ..quiet };
        let deaf = Options { receipts_max: 1, buffer_max: 2, on_full: OnFull::EndAfter(GRACE), ..asking(every(2)) };
        let few_receipts = Options { receipts_max_bytes: 2, ..quiet };
        // One more than fits, and one more than that.
        let grace = Options { buffer_max: 2, on_full: OnFull::EndAfter(GRACE), ..quiet };
        let few_bytes = |policy| Options { buffer_max_bytes: 2, on_full: policy, ..quiet };
        let kinds = [
            ("quiet", quiet, quiet),
            ("asks every stanza", asking(every(1)), asking(every(1))),
            ("asks every other stanza, self-clocked", impatient, self_clocked),
            ("full: ends after a grace", few_bytes(OnFull::EndAfter(GRACE)), grace),
            ("full: ends at once", quiet, full(OnFull::End)),
            ("full: gives up resumability", few_bytes(OnFull::EvictOldest), full(OnFull::EvictOldest)),
            ("the client's buffer is off", Options { buffer: false, ..quiet }, quiet),
            ("no stale h", quiet, Options { stale_h: false, ..quiet }),
            ("one receipt, two", Options { receipts_max: 1, ..quiet }, Options { receipts_max: 2, ..quiet }),
            ("one receipt and asking", deaf, deaf),
            ("receipts of two bytes", few_receipts, few_receipts),
        ];
        let mut worlds = Vec::new();
        for base in [u32::MAX - 1, 0_u32, (1 << 31) - 2] {
            let start = Start::On([base; 2]);
            let depth = if base == u32::MAX - 1 { 5 } else { 4 };
            let new = |(name, client, server)| Self { depth, ..Self::new(name, client, server, start) };
            worlds.extend(kinds.map(new));
        }
        let wrap = Start::On([u32::MAX - 1; 2]);
        worlds.extend(SCENES.map(|(name, prefix)| Self::new(name, quiet, quiet, wrap).after(prefix)));
        let nothing = |name, client, server| Self { depth: 9, ..Self::new(name, client, server, Start::Nothing) };
        worlds.push(nothing("from nothing", quiet, quiet));
        worlds.push(Self { binds: false, depth: 8, ..nothing("from nothing, without bind", quiet, impatient) });
        worlds.push(Self { disabled: true, binds: false, ..nothing("switched off", asking(every(1)), quiet) });
        let ends = Options { ack: Some(every(1)), ..full(OnFull::EndAfter(GRACE)) };
        worlds.push(nothing("from nothing, full: ends after a grace", ends, ends));
        let gives_up = full(OnFull::EvictOldest);
        worlds.push(nothing("from nothing, full: gives up resumability", gives_up, gives_up));
        let unbuffered = Options { buffer: false, ..asking(every(1)) };
        worlds.push(nothing("no buffer", Options { buffer: false, ..quiet }, unbuffered));
        worlds.push(Self { pauses: true, ..Self::new("hosts pause", deaf, self_clocked, wrap) });
        let pauses = Self { pauses: true, ..Self::new("a host has asked, and pauses", deaf, self_clocked, wrap) };
        worlds.push(pauses.after("r:c listen:c"));
        worlds.push(Self { mute: true, pauses: true, ..Self::new("hosts pause without a word", deaf, deaf, wrap) });
        let evicts = full(OnFull::EvictOldest);
        let evicted = "send:s send:s deliver:c:0 deliver:c:0 handle:c:0 handle:c:0 a:c";
        worlds.push(Self::new("evicted and acknowledged", quiet, evicts, wrap).after(evicted));
        let seldom = Options { ack_idle: Some(Duration::from_secs(7)), ..asking(every(9)) };
        let asked = "send:c send:s tick send:s timeout:c:0 deliver:c:0 handle:c:0 deliver:c:0";
        worlds.push(Self::new("asked twice, answered once", seldom, asking(every(1)), wrap).after(asked));
        let beside = "send:s r:s send:s deliver:c:0 handle:c:0 deliver:c:0";
        worlds.push(Self::new("asked beside the rhythm", quiet, asking(every(1)), wrap).after(beside));
        worlds.extend(Self::timed());
        worlds.extend(Self::crowded());
        worlds
    }

    /// The worlds in which `max` is left out, beyond 32 bits, or more than usual, and those in which requests get lost.
    fn timed() -> Vec<Self> {
        let quiet = Options::QUIET;
        let lasts = |seconds| Options { resume_timeout: Some(Duration::from_secs(seconds)), ..quiet };
        let nothing = |name, client, server| Self { depth: 8, ..Self::new(name, client, server, Start::Nothing) };
        let wrap = Start::On([u32::MAX - 1; 2]);
        let generous = Options { resume_timeout_max: Some(Duration::from_secs(3600)), ..lasts(90) };
        let lost = "send:s send:c cut:c:0 connect";
        vec![
            Self { says_max: [false, true], ..nothing("a client without max", lasts(90), quiet) },
            Self { says_max: [true, false], ..nothing("a server without max", quiet, quiet) },
            Self { says_max: [true, false], ..Self::new("a server without max", quiet, quiet, wrap) }.after(lost),
            Self { says_max: [false, true], ..nothing("a client without max, for centuries", quiet, lasts(1 << 33)) },
            nothing("for centuries", lasts(1 << 33), lasts(1 << 34)),
            nothing("asks for more", lasts(600), generous),
            nothing("asks for too much", lasts(4000), generous),
            Self { drops: true, ..nothing("requests get lost", quiet, quiet) },
            Self { drops: true, ..Self::new("requests get lost", quiet, quiet, wrap) }.after(lost),
        ]
    }

    /// The worlds in which the store has not room for the session that is asked for.
    fn crowded() -> Vec<Self> {
        let evicts = Caps::default();
        let refuses = Caps { at_cap: AtCap::Refuse, ..evicts };
        let [one, two] = [Some(1), Some(2)];
        let crowd = |name, pairs, owners, caps| {
            let world = Self::new(name, Options::QUIET, Options::QUIET, Start::Nothing);
            let (depth, prefix) = match pairs {
                2 => (4, "connect enable deliver:s:0 1.connect 1.enable"),
                _ => (3, "1.connect 1.enable 1.deliver:s:0 connect enable deliver:s:0 2.connect 2.enable"),
            };
            Self { depth, pairs, owners, caps, ..world }.after(prefix)
        };
        let strict = crowd("room for one: refuses", 2, 1, Caps { per_owner: one, ..refuses });
        vec![
            crowd("room for one: the oldest goes", 2, 1, Caps { per_owner: one, ..evicts }),
            crowd("room for one: not resumable", 2, 1, Caps { per_owner: one, ..refuses }),
            Self { strict: true, ..strict },
            crowd("room for one in all: not resumable", 2, 2, Caps { in_all: one, ..refuses }),
            crowd("room for two: the oldest goes", 3, 1, Caps { per_owner: two, ..evicts }),
            crowd("room for two in all: a third owner is refused", 3, 3, Caps { in_all: two, ..evicts }),
            // The second owner's session is the oldest of all, and stays: the third session is the first owner's.
            crowd("room for two in all: the owner's oldest goes", 3, 2, Caps { in_all: two, ..evicts }),
            crowd("room for one each: the oldest goes", 3, 2, Caps { per_owner: one, in_all: two, ..evicts }),
        ]
    }

    /// The same world, later.
    fn after(self, prefix: &str) -> Self {
        let prefix = read_schedule(prefix).expect("a schedule of our own");
        Self { prefix, ..self }
    }

    /// The world of that title.
    pub fn by_title(title: &str) -> Option<Self> {
        let Some(knobs) = title.strip_prefix(RANDOM) else {
            return Self::explored().into_iter().find(|setting| setting.title() == title);
        };
        let knobs: Result<Vec<u8>, _> = knobs.split('.').map(str::parse).collect();
        Some(Self::random(&knobs.ok()?))
    }

    /// Any world, from what its knobs are set to. All at 0 is the simplest.
    pub fn random(knobs: &[u8]) -> Self {
        let name = knobs.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
        let mut late = knobs.get(FIRST_KNOBS..).unwrap_or_default().iter();
        let mut late = |of: usize| usize::from(*late.next().unwrap_or(&0)) % of;
        let (mut knobs, mut turned) = (knobs.iter(), 0);
        let mut knob = |of: usize| {
            turned += 1;
            assert!(turned <= FIRST_KNOBS, "there are more knobs than KNOBS says");
            usize::from(*knobs.next().unwrap_or(&0)) % of
        };
        let mut options = || Options {
            buffer: knob(8) < 7,
            buffer_max: [1000, 1, 2, 7][knob(4)],
            buffer_max_bytes: [1 << 20, 5000, 300][knob(3)],
            on_full: [OnFull::EndAfter(GRACE), OnFull::End, OnFull::EvictOldest][knob(3)],
            receipts_max: [1000, 3, 1][knob(3)],
            ack: [None, Some(every(1)), Some(every(3)), Some(AckFreq::SelfClocked)][knob(4)],
            ack_timeout: [Some(Duration::from_secs(60)), None][knob(2)],
            resume_timeout: [Some(600), Some(601), Some(90), None][knob(4)].map(Duration::from_secs),
            stale_h: knob(4) < 3,
            ..Options::QUIET
        };
        let (mut client, mut server) = (options(), options());
        for side in [&mut client, &mut server] {
            side.receipts_max_bytes = [1 << 20, 3000, 1][late(3)];
            side.ack_idle = [Some(30), Some(7), None][late(3)].map(Duration::from_secs);
            side.resume_timeout_max = [None, Some(3600), Some(1 << 33)][late(3)].map(Duration::from_secs);
            if late(8) == 7 {
                side.resume_timeout = Some(Duration::from_secs(1 << 33));
            }
        }
        let says_max = [late(4) < 3, late(4) < 3];
        let [pauses, drops, mute] = [late(3) == 1, late(3) == 1, late(6) == 1];
        let bases: [u32; 4] = [0, 1, (1 << 31) - 5, u32::MAX - 5];
        let start = match knob(3) {
            0 => Start::Nothing,
            _ => Start::On([bases[knob(4)], bases[knob(4)]]),
        };
        let caps = Caps {
            per_owner: [None, None, Some(1), Some(2)][knob(4)],
            in_all: [None, None, Some(1), Some(3)][knob(4)],
            at_cap: [AtCap::EvictOldest, AtCap::Refuse][knob(2)],
        };
        // A session that is on from the start must have come there somehow.
        let resumes = client.resume_timeout.and(server.resume_timeout).is_some();
        let start = if caps.are_set() || !resumes { Start::Nothing } else { start };
        server.buffer |= start != Start::Nothing;
        let new = Self::new(&format!("{RANDOM}{name}"), client, server, start);
        Self {
            pairs: [1, 1, 2, 4][knob(4)],
            owners: [3, 1, 2][knob(3)],
            caps,
            strict: knob(2) == 1,
            binds: knob(4) < 3,
            carry: [Carry::Elements, Carry::Bytes][knob(2)],
            size: [|_| 1, |position| position * 7919 % 3000, |position| position * 31 % 300, |_| 0][knob(4)],
            says_max,
            pauses,
            drops,
            mute,
            connections: 4,
            in_flight: 60,
            ..new
        }
    }
}
