//! The options, their defaults, and why they are so.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::nonza::Location;

/// The options of stream management, shared by all the sessions of a host.
///
/// The setters accept valid values only, so none can fail:
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use xmpp_sm::{AckFreq, Config, OnFull};
///
/// let config = Config::default()
///     .buffer_max(const { NonZeroU32::new(500).unwrap() })
///     .ack_freq(AckFreq::SelfClocked)
///     .resume_timeout(Some(Duration::from_secs(300)))
///     .on_full(OnFull::EndAfter(Duration::from_secs(30)));
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
    pub(crate) receipts_max_bytes: NonZeroUsize,
    pub(crate) request_acks: bool,
    pub(crate) ack_freq: AckFreq,
    pub(crate) ack_idle: Option<Duration>,
    pub(crate) ack_timeout: Option<Duration>,
    pub(crate) request_timeout: Duration,
    pub(crate) resume_timeout: Option<Duration>,
    pub(crate) resume_timeout_max: Option<Duration>,
    pub(crate) location: Option<Location>,
    pub(crate) stanza_ns: &'static str,
    pub(crate) stale_h: StaleH,
    pub(crate) backlog_max: NonZeroU32,
    pub(crate) backlog_max_bytes: NonZeroUsize,
    pub(crate) evicted_max_bytes: usize,
    pub(crate) settle_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) reply_timeout: Duration,
    pub(crate) resume_tries_max: NonZeroU32,
    serial: Serial,
}

/// When to ask the peer for an acknowledgement.
///
/// With either, an `<r/>` follows after [`ack_idle`](Config::ack_idle) for stanzas that were sent without one, and none
/// goes to an [inactive](crate::Session::set_active) peer.
///
#[doc = include_str!("doc/requests.md")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckFreq {
    /// After this many stanzas.
    Every(NonZeroU32),
    /// After the first stanza that follows an answer, so that one `<r/>` is on its way at a time. A burst costs one
    /// `<r/>`, and a slow [link](https://xmpp.org/extensions/xep-0198.html#scenarios-efficient) carries fewer of them.
    /// A single stanza now and then costs one `<r/>` each time, as the table shows.
    SelfClocked,
}

/// What happens when a stanza does not fit into the buffer of unacknowledged stanzas.
///
/// From half of either bound on, the peer is asked to acknowledge, whatever [`ack_freq`](Config::ack_freq) says.
///
/// A [`Session`](crate::Session) lets such a stanza wait in its [backlog](Config::backlog_max) first, and the policy
/// applies when the backlog is full; only `EvictOldest` acts on the buffer at once. The table tells what then happens
/// to a stanza that does not fit into the backlog either:
///
/// | whose session | `EndAfter` | `End` | `EvictOldest` |
/// | --- | --- | --- | --- |
/// | a server's, with a connection | it waits, up to twice the backlog, for this time; then the session ends | the session ends | the session ends: the connection takes nothing |
/// | a server's, without one | the session ends | the session ends | the session ends |
/// | a client's | [`send`](crate::Session::send) returns [`Full`](crate::NotSentWhy::Full) | the same | the same |
///
/// A server's session that ends so has the reason [`BufferFull`](crate::EndReason::BufferFull). Unless the policy is
/// `EvictOldest`, a stanza that is larger than the whole buffer ends it, too, when it is to be written; a client's
/// `send` returns [`TooLarge`](crate::NotSentWhy::TooLarge).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// Keep it, and end the stream with `resource-constraint` if the peer has not made room after this time.
    ///
    /// The time starts with the first stanza that is too many, but not before the peer can be asked: for a client not
    /// before `<enabled/>`, and once more when a session is resumed. Stanzas that follow do not restart it. Meanwhile
    /// up to twice the stanzas and twice the bytes are held: in the buffer of a [`StreamMgmt`](crate::StreamMgmt), in
    /// the backlog of a [`Session`](crate::Session), whose buffer does not grow.
    EndAfter(Duration),
    /// End the stream with `resource-constraint` at once. A client that waits for `<enabled/>`
    /// [keeps the stanza](crate::NotRecordedWhy::AwaitingServer).
    End,
    /// Keep the stream: the oldest stanzas leave the buffer. Until the peer has acknowledged past them, the session
    /// cannot be resumed.
    ///
    /// If the connection is lost meanwhile, these stanzas are **lost**, unless
    /// [`evicted_max_bytes`](Config::evicted_max_bytes) keeps them. Its default is 0: it keeps none.
    EvictOldest,
}

/// How the last `h` of a session that is gone is remembered, so that a client that comes too late still
/// [learns](https://xmpp.org/extensions/xep-0198.html#resumption) which of its stanzas were handled.
///
/// An option: [`Config::stale_h`](crate::Config::stale_h). Its names are MongooseIM's.
///
/// ```
/// use xmpp_sm::{Config, StaleH};
///
/// let config = Config::default().stale_h(StaleH { enabled: true, ..StaleH::default() });
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleH {
    /// Whether the last `h` is remembered at all. Default: `false`. Two clients need it: after a `<failed/>` without
    /// `h`, tokio-xmpp 6 connects again without end, and strophe.js sends everything again that it could not see
    /// acknowledged.
    pub enabled: bool,
    /// How often [`next_sweep`](crate::Sweep::next_sweep) asks the host to call [`sweep`](crate::Sweep::sweep). `None`:
    /// never. Default: every 1 800 seconds.
    pub repeat_after: Option<Duration>,
    /// How old a record may be to be answered. An older one is not answered, swept or not. Default: 3 600 seconds.
    pub geriatric: Duration,
}

impl Default for StaleH {
    fn default() -> Self {
        Self { enabled: false, repeat_after: Some(Duration::from_secs(1800)), geriatric: Duration::from_secs(3600) }
    }
}

const HUNDRED: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const THOUSAND: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
const HALF_MEBIBYTE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(512 * 1024 - 1);
const MEBIBYTE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1024 * 1024 - 1);

impl Default for Config {
    fn default() -> Self {
        Self {
            buffer: true,
            buffer_max: HUNDRED,
            buffer_max_bytes: MEBIBYTE,
            on_full: OnFull::EndAfter(Duration::from_secs(5)),
            receipts_max: THOUSAND,
            receipts_max_bytes: HALF_MEBIBYTE,
            request_acks: true,
            ack_freq: AckFreq::Every(NonZeroU32::MIN),
            ack_idle: Some(Duration::from_secs(30)),
            ack_timeout: Some(Duration::from_secs(60)),
            request_timeout: Duration::from_secs(30),
            resume_timeout: Some(Duration::from_secs(600)),
            resume_timeout_max: None,
            location: None,
            stanza_ns: "jabber:client",
            stale_h: StaleH::default(),
            backlog_max: THOUSAND,
            backlog_max_bytes: HALF_MEBIBYTE,
            evicted_max_bytes: 0,
            settle_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(2),
            reply_timeout: Duration::from_secs(30),
            resume_tries_max: NonZeroU32::MIN.saturating_add(9),
            serial: Serial::somewhere(),
        }
    }
}

impl Config {
    /// Whether unacknowledged stanzas are kept. If not, no session can be resumed and no written stanza comes back to
    /// the host; an `<a/>` is still checked against what was sent. Default: on.
    #[must_use]
    pub fn buffer(mut self, on: bool) -> Self {
        self.buffer = on;
        self
    }

    /// How many unacknowledged stanzas the buffer holds. At the bound: [`on_full`](Self::on_full). Default: 100.
    #[must_use]
    pub fn buffer_max(mut self, stanzas: NonZeroU32) -> Self {
        self.buffer_max = stanzas;
        self
    }

    /// How many bytes of unacknowledged stanzas the buffer holds, as [`Stanza::bytes`](crate::Stanza::bytes) counts
    /// them. At the bound: [`on_full`](Self::on_full). Default: 1 MiB.
    #[must_use]
    pub fn buffer_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.buffer_max_bytes = bytes;
        self
    }

    /// What happens when a stanza does not fit into the buffer. In a [`Session`](crate::Session) it waits in the
    /// [backlog](Self::backlog_max) first, and this applies when the backlog is full. Default:
    /// [`EndAfter`](OnFull::EndAfter) 5 seconds.
    #[must_use]
    pub fn on_full(mut self, policy: OnFull) -> Self {
        self.on_full = policy;
        self
    }

    /// How far delivery may run ahead of the oldest unsettled stanza, in stanzas, itself and settled ones included.
    /// There [`wants_read`](crate::Session::wants_read) turns false. Default: 1000.
    #[must_use]
    pub fn receipts_max(mut self, receipts: NonZeroU32) -> Self {
        self.receipts_max = receipts;
        self
    }

    /// The most bytes that unsettled stanzas may have together. There [`wants_read`](crate::Session::wants_read) turns
    /// false; a stanza is taken in any case if no other is unsettled. Default: 512 KiB.
    #[must_use]
    pub fn receipts_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.receipts_max_bytes = bytes;
        self
    }

    /// Whether the peer is asked for acknowledgements. Default: on.
    #[must_use]
    pub fn request_acks(mut self, on: bool) -> Self {
        self.request_acks = on;
        self
    }

    /// When the peer is asked for acknowledgements. Default: after every stanza.
    #[must_use]
    pub fn ack_freq(mut self, freq: AckFreq) -> Self {
        self.ack_freq = freq;
        self
    }

    /// How long a stanza may be unacknowledged before the peer is asked about it, whatever [`ack_freq`](Self::ack_freq)
    /// says. That happens to the last stanzas before a silence, and to those that an answer has left out. `None`: such
    /// stanzas wait for the next `<r/>`. Default: 30 seconds.
    #[must_use]
    pub fn ack_idle(mut self, idle: Option<Duration>) -> Self {
        self.ack_idle = idle;
        self
    }

    /// How long the peer may leave an `<r/>` unanswered before its connection counts as dead. `None`: indefinitely.
    /// Default: 60 seconds. The time stands still while this side
    /// [does not read](crate::StreamMgmt::hearing).
    #[must_use]
    pub fn ack_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// How long the host may take to answer the peer's `<enable/>` or `<resume/>`. After that
    /// [`timeout`](crate::Session::timeout) refuses it with `internal-server-error`. Default: 30 seconds.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long a detached session waits to be resumed, unless its client asks for less, or for
    /// [more](Self::resume_timeout_max). `None`, or less than a second: sessions end with their stream.
    /// Default: 600 seconds.
    ///
    /// The session advertises the granted time as [`max`](https://xmpp.org/extensions/xep-0198.html#enable), in whole
    /// seconds.
    #[must_use]
    pub fn resume_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.resume_timeout = timeout;
        self
    }

    /// The longest time for which a client may ask. `None`, or less than
    /// [`resume_timeout`](Self::resume_timeout): a client gets no more than that. Default: `None`.
    #[must_use]
    pub fn resume_timeout_max(mut self, timeout: Option<Duration>) -> Self {
        self.resume_timeout_max = timeout;
        self
    }

    /// Where clients are told to [reconnect to](https://xmpp.org/extensions/xep-0198.html#enable). `None`: they are
    /// told nothing. Default: `None`.
    #[must_use]
    pub fn location(mut self, location: Option<Location>) -> Self {
        self.location = location;
        self
    }

    /// The namespace of the streams' stanzas: `jabber:client`, `jabber:server` between servers, or
    /// `jabber:component:accept`. Default: `jabber:client`.
    #[must_use]
    pub fn stanza_ns(mut self, ns: &'static str) -> Self {
        self.stanza_ns = ns;
        self
    }

    /// How a store made from these options remembers the last `h` of a session that is gone. Default: not at all.
    #[must_use]
    pub fn stale_h(mut self, stale_h: StaleH) -> Self {
        self.stale_h = stale_h;
        self
    }

    /// How many stanzas may wait in a [`Session`](crate::Session) for room in the buffer, or for a connection.
    /// Default: 1000.
    ///
    /// When it is full, a client's [`send`](crate::Session::send) returns [`Full`](crate::NotSentWhy::Full). A server's
    /// session with a connection goes by [`on_full`](Self::on_full); without one it ends at once, under each policy.
    #[must_use]
    pub fn backlog_max(mut self, stanzas: NonZeroU32) -> Self {
        self.backlog_max = stanzas;
        self
    }

    /// How many bytes of stanzas may wait in the [backlog](Self::backlog_max), which says what happens when it is full.
    /// Default: 512 KiB.
    #[must_use]
    pub fn backlog_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.backlog_max_bytes = bytes;
        self
    }

    /// How many bytes of evicted stanzas a [`Session`](crate::Session) keeps until they are acknowledged, to hand them
    /// back at its end, as [`Fate::Evicted`](crate::Fate::Evicted). Default: 0, which forgets them, as without stream
    /// management.
    #[must_use]
    pub fn evicted_max_bytes(mut self, bytes: usize) -> Self {
        self.evicted_max_bytes = bytes;
        self
    }

    /// How long a [`Session`](crate::Session) waits for open receipts before it is resumed, closed or ended without
    /// them. Default: 5 seconds.
    #[must_use]
    pub fn settle_timeout(mut self, timeout: Duration) -> Self {
        self.settle_timeout = timeout;
        self
    }

    /// How long a [`Session`](crate::Session) that has [closed](crate::Session::close) its stream takes the peer's last
    /// acknowledgements. Default: 2 seconds.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How long a client's [`Session`](crate::Session) waits for the reply to `<enable/>` or `<resume/>`, and for its host
    /// to bind. Default: 30 seconds.
    #[must_use]
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// How many times in a row the connections of a client's [`Session`](crate::Session) may be lost before its `<resume/>`
    /// is replied to. Then the session is given up, because the server may fail each time that it tries. Default: 10.
    #[must_use]
    pub fn resume_tries_max(mut self, tries: NonZeroU32) -> Self {
        self.resume_tries_max = tries;
        self
    }

    /// A number that no other session has.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.0.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn can_resume(&self) -> bool {
        // What is less cannot be told to a client: without `max` it takes the time for unlimited.
        self.buffer && self.resume_timeout.is_some_and(|timeout| timeout >= Duration::from_secs(1))
    }

    /// The time that a client gets that asks for `wanted`.
    pub(crate) fn grant(&self, wanted: Option<Duration>) -> Option<Duration> {
        let usual = self.resume_timeout.filter(|_| self.can_resume())?;
        let longest = self.resume_timeout_max.map_or(usual, |max| max.max(usual));
        Some(wanted.map_or(usual, |wanted| wanted.min(longest)))
    }
}

/// Tells sessions apart without a global.
struct Serial(AtomicU64);

impl Serial {
    /// Starts at a random number, so that sessions of different options are told apart, too. It is no secret: the
    /// randomness of the hasher's keys is enough.
    fn somewhere() -> Self {
        Self(AtomicU64::new(RandomState::new().build_hasher().finish()))
    }
}

/// It is no option, and changes with every session.
impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// The same options, with a serial number of their own.
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
        assert!(config.buffer && config.request_acks && config.location.is_none());
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
            .request_acks(false)
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
