//! The worlds.

use std::time::Duration;

use xmpp_sm::{AckFreq, InlineOffer, OnFull, Replay};

use super::setting::{GRACE, Options, Setting, Stream, every};

/// How many knobs [`Setting::random`] turns.
pub const KNOBS: usize = 34;

pub const RANDOM: &str = "random ";

/// What each is set to. Those that are missing are at 0.
struct Knobs<'a> {
    left: std::slice::Iter<'a, u8>,
    turned: usize,
}

impl Knobs<'_> {
    /// Less than `of`.
    fn turn(&mut self, of: usize) -> usize {
        self.turned += 1;
        assert!(self.turned <= KNOBS, "there are more knobs than KNOBS says");
        usize::from(*self.left.next().unwrap_or(&0)) % of
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.turn(of.len())]
    }
}

impl Setting {
    /// Those that are explored.
    pub fn explored() -> Vec<Self> {
        let plain = Options::PLAIN;
        let world = Self::new;
        let all = InlineOffer { resume: true, bind: true, enable: true };
        let sasl2 = |title, depth, acts| world(title, depth, acts).with(|w| w.sasl2 = Some(all));
        vec![
            world("from nothing", 7, "send cut").with(|w| w.starts_online = false),
            world("from nothing, a late store", 8, "cut accept droprequest refuseresume dropenable refuse").with(|w| {
                (w.starts_online, w.late, w.sends) = (false, true, [1, 1]);
            }),
            world("between servers", 7, "send cut")
                .with(|w| (w.starts_online, w.stream) = (false, Stream::WithoutBind)),
            world("stream management is off", 6, "send cut close").with(|w| {
                (w.starts_online, w.stream) = (false, Stream::Disabled);
            }),
            world("it is not offered", 6, "send cut close").with(|w| (w.starts_online, w.offers) = (false, [false; 2])),
            world("it is not offered any more", 5, "send cut").with(|w| w.offers = [true, false]),
            world("traffic and cuts", 5, "send cut settlelast"),
            world("closes", 4, "send close cut dropreceipt").with(|w| w.connects = 1),
            world("mailboxes", 4, "send cut close").with(|w| (w.mailboxes, w.late) = (true, true)),
            world("cancelled takers", 7, "cut droptaker droprequest").with(|w| {
                (w.mailboxes, w.late, w.sends) = (true, true, [1, 1]);
            }),
            world("inline", 5, "send cut settlelast").with(|w| w.inline = true),
            world("inline, a late store", 8, "cut accept droprequest refuseresume").with(|w| {
                (w.inline, w.starts_online, w.late, w.sends) = (true, false, true, [1, 1]);
            }),
            world("inline, two connections for one session", 4, "rival cut send").with(|w| {
                (w.inline, w.mailboxes) = (true, true);
            }),
            world("inline, cancelled takers", 7, "cut droptaker droprequest").with(|w| {
                (w.inline, w.mailboxes, w.late, w.sends) = (true, true, true, [1, 1]);
            }),
            world("inline, resumed, and nothing is taken", 8, "clog cut")
                .with(|w| (w.inline, w.sends) = (true, [0, 0])),
            world("inline, dropped receipts", 4, "send cut dropreceipt close").with(|w| {
                (w.inline, w.sends) = (true, [2, 1]);
            }),
            sasl2("SASL2", 5, "send cut settlelast"),
            sasl2("SASL2, from nothing, a late store", 8, "cut accept droprequest refuseresume dropenable refuse")
                .with(|w| {
                    (w.starts_online, w.late, w.sends) = (false, true, [1, 1]);
                }),
            sasl2("SASL2, from nothing", 6, "send cut close").with(|w| w.starts_online = false),
            sasl2("SASL2, cancelled takers", 6, "cut droptaker droprequest").with(|w| {
                (w.mailboxes, w.late, w.sends) = (true, true, [1, 1]);
            }),
            sasl2("SASL2, nothing is bound inline", 5, "send cut")
                .with(|w| w.sasl2 = Some(InlineOffer { bind: false, ..all })),
            sasl2("SASL2, nothing is enabled inline", 5, "send cut")
                .with(|w| w.sasl2 = Some(InlineOffer { enable: false, ..all })),
            sasl2("SASL2, nothing is resumed inline", 5, "send cut settlelast")
                .with(|w| w.sasl2 = Some(InlineOffer { resume: false, ..all })),
            sasl2("SASL2, logins that fail", 7, "deny cut send").with(|w| {
                (w.begins, w.options[0].resume_tries_max) = ("cut:1 cut:0", 1);
                w.sends = [1, 0];
            }),
            sasl2("SASL2, a store that cannot tell", 7, "unknown bindunknown cut send").with(|w| {
                (w.begins, w.options[0].resume_tries_max) = ("cut:1 cut:0", 1);
                (w.late, w.sends) = (true, [1, 0]);
            }),
            sasl2("SASL2, a replay", 5, "send cut").with(|w| w.replay = Replay::Possible),
            sasl2("SASL2, stream management is off", 5, "send cut close").with(|w| {
                (w.starts_online, w.stream) = (false, Stream::Disabled);
            }),
            sasl2("SASL2, it is not offered any more", 5, "send cut").with(|w| w.offers = [true, false]),
            sasl2("SASL2, and nothing is taken", 7, "clog cut").with(|w| w.sends = [0, 1]),
            sasl2("SASL2, stale h", 4, "send cut").with(|w| {
                w.options = [Options { stale_h: true, ..plain }; 2];
                w.begins = "send:0 deliver:1 settle:1 cut:1 cut:0 tick:0 timeout:1 tick:0 timeout:1";
            }),
            world("two connections for one session", 4, "rival cut send").with(|w| w.mailboxes = true),
            world("a second login", 4, "login send cut settle").with(|w| w.mailboxes = true),
            world("dropped receipts", 4, "send cut dropreceipt close").with(|w| w.sends = [2, 1]),
            world("taken back", 5, "send cut retract"),
            world("taken back, and evicted", 4, "send cut retract").with(|w| {
                let small = Options { buffer_max: 1, on_full: OnFull::EvictOldest, ..plain };
                (w.options, w.sends) = ([small; 2], [2, 3]);
            }),
            world("lost receipts", 4, "send cut dropreceipt settlelost").with(|w| w.sends = [2, 1]),
            world("written down", 5, "send cut snapshot settle presence").with(|w| w.sends = [1, 2]),
            world("prolonged", 5, "send cut prolong").with(|w| (w.sends, w.connects) = ([1, 1], 2)),
            world("inactive", 4, "send cut inactive r").with(|w| w.sends = [1, 3]),
            world("no room", 3, "send clog cut close"),
            world("nothing is taken", 7, "send cut")
                .with(|w| (w.starts_clogged, w.sends, w.connects) = (true, [1, 0], 2)),
            world("resumed, and nothing is taken", 8, "clog cut").with(|w| w.sends = [0, 0]),
            world("one element at a time", 4, "send cut close").with(|w| w.room = 1),
            world("small buffers", 5, "send cut").with(|w| {
                let small = Options { buffer_max: 1, backlog_max: 1, ..plain };
                (w.options, w.sends) = ([small; 2], [3, 4]);
            }),
            world("small in bytes", 4, "send big cut").with(|w| {
                let small = Options { buffer_max_bytes: 4, backlog_max_bytes: 12, ..plain };
                (w.options, w.sends) = ([small; 2], [3, 3]);
            }),
            world("full: ends at once", 4, "send big cut").with(|w| {
                let small = Options { buffer_max_bytes: 4, backlog_max: 1, on_full: OnFull::End, ..plain };
                (w.options, w.sends) = ([small; 2], [2, 3]);
            }),
            world("evicts the oldest", 4, "send cut close").with(|w| {
                let small = Options { buffer_max: 1, on_full: OnFull::EvictOldest, ..plain };
                (w.options, w.sends) = ([small; 2], [3, 3]);
            }),
            world("evicts and forgets", 5, "send cut").with(|w| {
                let small = Options { buffer_max: 1, on_full: OnFull::EvictOldest, keeps_evicted: false, ..plain };
                (w.options, w.sends) = ([small; 2], [3, 3]);
            }),
            world("not resumable", 4, "send cut close").with(|w| {
                w.options = [Options { resume_timeout: None, ..plain }; 2];
            }),
            world("the server's is not resumable", 5, "send cut dropreceipt").with(|w| {
                w.options[1].resume_timeout = None;
            }),
            world("the buffer is off", 4, "send cut close")
                .with(|w| w.options = [Options { buffer: false, ..plain }; 2]),
            world("one receipt", 5, "send cut settle dropreceipt").with(|w| {
                w.options = [Options { receipts_max: 1, ..plain }; 2];
            }),
            world("nobody asks", 3, "send cut r a").with(|w| w.options = [Options { ack: None, ..plain }; 2]),
            world("every other", 4, "send cut r").with(|w| w.options = [Options { ack: Some(every(2)), ..plain }; 2]),
            world("self-clocked", 5, "send cut").with(|w| {
                w.options = [Options { ack: Some(AckFreq::SelfClocked), ..plain }; 2];
            }),
            world("a host that sleeps", 4, "send sleep cut").with(|w| w.sends = [1, 2]),
            world("a host that sleeps before its verdict", 4, "send sleep cut").with(|w| {
                w.sends = [0, 2];
                w.begins = "send:1 deliver:0 settle:0 deliver:0 tick:0 timeout:1";
            }),
            world("stale h", 4, "send sleep cut").with(|w| {
                w.options = [Options { stale_h: true, ..plain }; 2];
                w.sends = [2, 1];
            }),
            world("wrong elements", 4, "send highh lowh unexpected malformed error cut").with(|w| w.sends = [1, 2]),
            world("presence", 4, "send presence cut").with(|w| {
                w.options[0].backlog_max = 2;
                w.sends = [4, 3];
            }),
        ]
    }

    /// One of all that there are, from what its knobs are set to.
    pub fn random(knobs: &[u8]) -> Self {
        let name = knobs.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
        let mut knobs = Knobs { left: knobs.iter(), turned: 0 };
        let mut options = || {
            let resume = [Some(600), Some(600), Some(600), Some(5), None];
            Options {
                buffer: knobs.turn(8) > 0,
                buffer_max: knobs.pick(&[1, 2, 3, 10, 100]),
                buffer_max_bytes: knobs.pick(&[4, 25, 1 << 20]),
                on_full: knobs.pick(&[
                    OnFull::EndAfter(GRACE),
                    OnFull::EndAfter(GRACE),
                    OnFull::End,
                    OnFull::EvictOldest,
                ]),
                receipts_max: knobs.pick(&[1, 2, 100]),
                ack: knobs.pick(&[Some(every(1)), Some(every(1)), Some(every(3)), Some(AckFreq::SelfClocked), None]),
                backlog_max: knobs.pick(&[1, 3, 20, 100]),
                backlog_max_bytes: knobs.pick(&[12, 40, 1 << 20]),
                keeps_evicted: knobs.turn(2) == 0,
                resume_timeout: knobs.pick(&resume).map(Duration::from_secs),
                resume_tries_max: 10,
                stale_h: knobs.turn(2) == 0,
            }
        };
        let mut options = [options(), options()];
        // What is evicted by bytes is not in the ledger.
        for options in &mut options {
            if options.evicts() {
                options.buffer_max_bytes = 1 << 20;
            }
        }
        let acts = [
            "send cut settle settlelast inactive retract snapshot",
            "send big cut settle clog close",
            "send presence big cut settle settlelast dropreceipt settlelost prolong snapshot",
            "send cut settle droptaker droprequest refuseresume dropenable refuse rival login prolong deny unknown bindunknown",
            "send big presence cut settle settlelast dropreceipt settlelost retract clog r a sleep inactive",
            "send cut settle highh lowh unexpected malformed error close",
        ];
        let mut setting = Self::new(&format!("{RANDOM}{name}"), 0, knobs.pick(&acts));
        setting.options = options;
        setting.stream =
            knobs.pick(&[Stream::Binds, Stream::Binds, Stream::Binds, Stream::WithoutBind, Stream::Disabled]);
        setting.offers = [knobs.turn(10) > 0, knobs.turn(6) > 0];
        setting.starts_online = false;
        setting.sends = [60, 60];
        setting.connects = 40;
        setting.sleeps = 3;
        (setting.mailboxes, setting.late) = (knobs.turn(2) == 0, knobs.turn(3) == 0);
        setting.room = knobs.pick(&[1, 3, usize::MAX]);
        setting.returns = knobs.turn(2) == 0;
        setting.inline = knobs.turn(3) == 1 && setting.stream != Stream::WithoutBind;
        let offered = knobs.turn(16);
        let [resume, bind, enable] = [1, 2, 4].map(|bit| offered & bit > 0);
        if setting.stream != Stream::WithoutBind && !setting.inline && offered >= 8 {
            setting.sasl2 = Some(InlineOffer { resume, bind, enable });
        }
        setting.replay = if knobs.turn(6) == 5 { Replay::Possible } else { Replay::Impossible };
        setting.options[0].resume_tries_max = knobs.pick(&[10, 1, 2]);
        setting
    }
}
