//! The options, their defaults, and why they are so.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::nonza::Location;

/// The options of stream management, shared by all the sessions of a host.
///
/// The setters take what is valid and nothing else, so none can fail:
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use xmpp_sm::{AckFreq, Config, OnFull};
///
/// let config = Config::default()
///     .buffer_max(const { NonZeroU32::new(500).unwrap() })
///     .ack_freq(AckFreq::SelfClocked { idle: Duration::from_secs(30) })
///     .resume_timeout(Some(Duration::from_secs(300)))
///     .on_full(OnFull::GiveUpResumability);
/// let config = Arc::new(config);
/// # let _ = config;
/// ```
#[derive(Debug)]
pub struct Config {
    pub(crate) buffer: bool,
    pub(crate) buffer_max: NonZeroU32,
    pub(crate) buffer_max_bytes: NonZeroUsize,
    pub(crate) on_full: OnFull,
    pub(crate) receipts_max: NonZeroU32,
    pub(crate) ack: bool,
    pub(crate) ack_freq: AckFreq,
    pub(crate) ack_timeout: Option<Duration>,
    pub(crate) resume_timeout: Option<Duration>,
    pub(crate) location: Option<Location>,
    pub(crate) stale_h: StaleH,
    serial: Serial,
}

/// When to ask the peer for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckFreq {
    /// With every so many stanzas sent.
    Every(NonZeroU32),
    /// With the first stanza after an answer, so that one `<r/>` is on its way at a time; and once more
    /// when the peer has left something unacknowledged for `idle`. It costs
    /// [mobile links](https://xmpp.org/extensions/xep-0198.html#scenarios-efficient) least.
    SelfClocked {
        /// How long after an answer the rest is asked for, if nothing else was sent.
        idle: Duration,
    },
}

/// What happens when a stanza does not fit into the buffer of unacknowledged ones any more.
///
/// Before it comes to that, from the half of either bound on, the peer is asked to acknowledge whatever
/// the rhythm of [`ack_freq`](Config::ack_freq).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Keep it, and end the stream with `resource-constraint` if the peer has not made room within so
    /// long. The time starts with the first stanza that is too many, but not before the peer can be asked: for
    /// a client not before `<enabled/>`, and anew where a session is resumed. Stanzas that follow do not start it
    /// again. It does not run while this side [reads nothing](crate::StreamMgmt::handle_timeout). Within it the
    /// buffer holds any number of stanzas, up to twice its bytes.
    EndAfter(Duration),
    /// End the stream with `resource-constraint` at once; a client before `<enabled/>` [waits](crate::WhyNot::Unanswered).
    End,
    /// Keep the stream, and give up that it can be resumed: the oldest stanzas leave the buffer and are
    /// handed to the host.
    GiveUpResumability,
}

/// How the last `h` of a session that is gone is remembered, so that a client who comes too late still
/// [learns](https://xmpp.org/extensions/xep-0198.html#resumption) which of its stanzas were handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleH {
    /// Whether it is remembered at all. Two clients need it: after a `<failed/>` without `h`, tokio-xmpp 6 connects
    /// again without end, and strophe.js sends everything again that it could not see acknowledged.
    pub enabled: bool,
    /// How often old records shall be swept out; `None`: never, by themselves.
    pub repeat_after: Option<Duration>,
    /// How old a record may be to be answered. Swept or not, no older one is.
    pub geriatric: Duration,
}

impl Default for StaleH {
    fn default() -> Self {
        Self { enabled: false, repeat_after: Some(Duration::from_secs(1800)), geriatric: Duration::from_secs(3600) }
    }
}

const HUNDRED: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const TEN_THOUSAND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9_999);
const MEBIBYTE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1024 * 1024 - 1);

impl Default for Config {
    fn default() -> Self {
        Self {
            buffer: true,
            buffer_max: HUNDRED,
            buffer_max_bytes: MEBIBYTE,
            on_full: OnFull::EndAfter(Duration::from_secs(5)),
            receipts_max: TEN_THOUSAND,
            ack: true,
            ack_freq: AckFreq::Every(NonZeroU32::MIN),
            ack_timeout: Some(Duration::from_secs(60)),
            resume_timeout: Some(Duration::from_secs(600)),
            location: None,
            stale_h: StaleH::default(),
            serial: Serial::somewhere(),
        }
    }
}

impl Config {
    /// Whether unacknowledged stanzas are kept. Without it nothing can be resumed and nothing comes back
    /// to the host; an `<a/>` is still checked against what was sent. Default: on.
    #[must_use]
    pub fn buffer(mut self, on: bool) -> Self {
        self.buffer = on;
        self
    }

    /// How many unacknowledged stanzas are kept. Default: 100.
    #[must_use]
    pub fn buffer_max(mut self, stanzas: NonZeroU32) -> Self {
        self.buffer_max = stanzas;
        self
    }

    /// How many bytes of them are kept, as [`Stanza::bytes`](crate::Stanza::bytes) tells. Default: 1 MiB.
    #[must_use]
    pub fn buffer_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.buffer_max_bytes = bytes;
        self
    }

    /// What happens when either limit is reached. Default: end the stream after 5 seconds.
    #[must_use]
    pub fn on_full(mut self, policy: OnFull) -> Self {
        self.on_full = policy;
        self
    }

    /// How far the host may be behind with the peer's stanzas: how many may be delivered after the oldest
    /// one that is not settled, itself included. Default: 10 000. A host that stops reading earlier than that
    /// should say so here: the peer's time to answer runs on unless it is known that its answer may lie unread.
    #[must_use]
    pub fn receipts_max(mut self, receipts: NonZeroU32) -> Self {
        self.receipts_max = receipts;
        self
    }

    /// Whether acknowledgements are asked for. Default: on.
    #[must_use]
    pub fn ack(mut self, on: bool) -> Self {
        self.ack = on;
        self
    }

    /// When they are asked for. Default: with every stanza.
    #[must_use]
    pub fn ack_freq(mut self, freq: AckFreq) -> Self {
        self.ack_freq = freq;
        self
    }

    /// How long the peer may leave an `<r/>` unanswered before its connection counts as dead; `None`: for
    /// ever. Default: 60 seconds. The time does not run while this side
    /// [reads nothing](crate::StreamMgmt::handle_timeout).
    #[must_use]
    pub fn ack_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// How long a session waits, detached, to be resumed; `None`, or less than a second: sessions end with
    /// their stream. Default: 600 seconds.
    ///
    /// What is advertised as [`max`](https://xmpp.org/extensions/xep-0198.html#enable) is this or, if it
    /// is less, what the client asked for, in whole seconds.
    #[must_use]
    pub fn resume_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.resume_timeout = timeout;
        self
    }

    /// Where clients are told to [reconnect to](https://xmpp.org/extensions/xep-0198.html#enable).
    /// Default: nowhere in particular.
    #[must_use]
    pub fn location(mut self, location: Option<Location>) -> Self {
        self.location = location;
        self
    }

    /// How the last `h` of a session that is gone is remembered, by a store made from these options.
    /// Default: not at all.
    #[must_use]
    pub fn stale_h(mut self, stale_h: StaleH) -> Self {
        self.stale_h = stale_h;
        self
    }

    /// A number that no other session has.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.0.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn can_resume(&self) -> bool {
        // What is less cannot be told to a client, for whom no time at all means for ever.
        self.buffer && self.resume_timeout.is_some_and(|timeout| timeout >= Duration::from_secs(1))
    }
}

/// Tells sessions apart without a global.
struct Serial(AtomicU64);

impl Serial {
    /// Starts anywhere among the numbers, so that sessions of different options are told apart, too.
    /// Nothing secret hangs on it: the hasher's keys are random enough.
    fn somewhere() -> Self {
        Self(AtomicU64::new(RandomState::new().build_hasher().finish()))
    }
}

/// It is no option, and moves with every session.
impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// The same options, for sessions that are told apart anew.
impl Clone for Config {
    fn clone(&self) -> Self {
        Self { location: self.location.clone(), serial: Serial::somewhere(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_users_configuration_files() {
        let config = Config::default();
        assert!(config.buffer && config.ack && config.location.is_none());
        assert_eq!(config.buffer_max.get(), 100);
        assert_eq!(config.buffer_max_bytes.get(), 1 << 20);
        assert_eq!(config.ack_freq, AckFreq::Every(NonZeroU32::MIN));
        assert_eq!(config.ack_timeout, Some(Duration::from_secs(60)));
        assert_eq!(config.resume_timeout, Some(Duration::from_secs(600)));
        assert_eq!(config.on_full, OnFull::EndAfter(Duration::from_secs(5)));
        let stale_h = StaleH {
            enabled: false,
            repeat_after: Some(Duration::from_secs(1800)),
            geriatric: Duration::from_secs(3600),
        };
        assert_eq!(config.stale_h, stale_h);
    }

    #[test]
    fn a_clone_has_the_same_options() {
        let config = Config::default()
            .buffer(false)
            .buffer_max(NonZeroU32::MIN)
            .buffer_max_bytes(NonZeroUsize::MIN)
            .on_full(OnFull::End)
            .receipts_max(NonZeroU32::MIN)
            .ack(false)
            .ack_freq(AckFreq::Every(HUNDRED))
            .ack_timeout(None)
            .resume_timeout(None)
            .location(Location::new("example.net").ok())
            .stale_h(StaleH { enabled: true, repeat_after: None, geriatric: Duration::ZERO });
        let options = format!("{config:?}");
        assert_eq!(format!("{:?}", config.clone()), options);
        // What tells sessions apart is none of them.
        assert!(options.ends_with("serial: .. }"), "{options}");
    }
}
