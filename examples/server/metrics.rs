//! What an operator sees of the server, for Prometheus: the crate's own statistics, added up over all sessions.
//!
//! A session's task adds what is new when somebody looks, when it leaves a connection, and at its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use xmpp_sm::disposition::Step;
use xmpp_sm::{Condition, Detach, EndReason, Failed, LoginStep, Nonza, Stats, StoreStats};

use super::Server;
use super::session::Session;

/// How long the sessions are waited for. One that is busy for longer is told as it was.
const MEASURING: Duration = Duration::from_secs(1);
/// How long a request may take, and how large it may be.
const TIME: Duration = Duration::from_secs(5);
const MAX_BYTES: u64 = 8 * 1024;

type Field<T, V = u64> = (&'static str, &'static str, fn(&T) -> V);

/// What only grows. The names end in `_total`.
const COUNTERS: [Field<Stats>; 11] = [
    ("stanzas_sent", "Stanzas written to clients and counted by stream management", |stats| stats.sent),
    ("stanzas_acked", "Stanzas that clients have acknowledged", |stats| stats.acked),
    ("stanzas_resent", "Stanzas written once more after a resumption", |stats| stats.resent),
    ("stanzas_evicted", "Stanzas that left the buffer unacknowledged", |stats| stats.evicted),
    ("ack_requests", "Requests for an acknowledgement written to clients", |stats| stats.ack_requests),
    ("ack_answers", "Acknowledgements that came as answers to them", |stats| stats.ack_answers),
    ("ack_times", "Those of them whose time is in ack_time", |stats| stats.ack_times),
    ("receipts_given_up", "Stanzas of clients settled because nobody settled them in time", |stats| {
        stats.receipts_given_up
    }),
    ("requests_dropped", "Requests of clients that were not answered in time", |stats| stats.requests_dropped),
    ("resumed", "Sessions resumed", |stats| stats.resumed),
    ("sessions_begun", "Sessions begun", |_| 0),
];

/// Times that only grow, in seconds.
const TIMES: [Field<Stats, Duration>; 2] = [
    ("ack_time", "Time from requests for an acknowledgement to their answers", |stats| stats.ack_time_sum),
    ("resumed_after", "Time that resumed sessions had been without a stream", |stats| stats.resumed_after_sum),
];

/// What there is now.
const GAUGES: [Field<Stats>; 6] = [
    ("sessions_detached", "Sessions without a stream", |stats| stats.detached_for.is_some().into()),
    ("unacked_stanzas", "Stanzas sent and not acknowledged", |stats| stats.unacked as u64),
    ("unacked_bytes", "Their bytes", |stats| stats.unacked_bytes as u64),
    ("waiting_stanzas", "Stanzas that wait to be written", |stats| stats.waiting as u64),
    ("waiting_bytes", "Their bytes", |stats| stats.waiting_bytes as u64),
    ("open_receipts", "Stanzas of clients that nobody answers for yet", |stats| stats.open_receipts as u64),
];

/// What the store says when it is asked.
const STORE: [Field<StoreStats>; 10] = [
    ("store_sessions", "Sessions that are registered", |stats| stats.sessions as u64),
    ("store_stale_h", "Last h of sessions that are gone", |stats| stats.stale_h as u64),
    ("store_registered", "Registrations so far", |stats| stats.registered),
    ("store_displaced", "Sessions that made room for a newer one of their owner", |stats| stats.displaced),
    ("store_refused", "Registrations refused", |stats| stats.refused),
    ("store_found", "Lookups that found a session", |stats| stats.found),
    ("store_found_stale_h", "Lookups that found a last h", |stats| stats.found_stale_h),
    ("store_not_found", "Lookups that found nothing", |stats| stats.not_found),
    ("store_retired", "Sessions that ended and left their last h", |stats| stats.retired),
    ("store_removed", "Sessions that ended in good order", |stats| stats.removed),
];

/// How a server's session ends.
const ENDINGS: [EndReason; 7] = [
    EndReason::Closed,
    EndReason::NotResumable,
    EndReason::Expired,
    EndReason::Replaced,
    EndReason::PeerFault,
    EndReason::BufferFull,
    EndReason::Stopped,
];

type Label = [(&'static str, &'static str); 1];

pub struct Metrics {
    registry: Mutex<Registry>,
    counters: [Counter; COUNTERS.len()],
    times: [Counter<f64, AtomicU64>; TIMES.len()],
    gauges: [Gauge; GAUGES.len()],
    store: [Gauge; STORE.len()],
    sessions: Gauge,
    oldest_receipt: Gauge<f64, AtomicU64>,
    detached: Family<Label, Counter>,
    ended: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    left: Family<Label, Counter>,
}

/// What a node has to do with the mail that nodes share.
#[derive(Clone, Default)]
pub struct MailCounters {
    pub put: Counter,
    pub taken: Counter,
    pub failures: Counter,
}

/// What of a session is added already.
#[derive(Default)]
pub struct Added(Option<Box<Stats>>);

impl Added {
    /// Of a session that was written down: its stream's counters go on, and were added by who had it before.
    pub fn revived(server: &Server, session: &Session) -> Self {
        let mut added = Self::default();
        if let Some(metrics) = &server.metrics {
            let stats = session.stats(Instant::now());
            let mut before = Box::new(Stats::default());
            (before.sent, before.acked, before.detached) = (stats.sent, stats.acked, stats.detached);
            metrics.begin();
            added.0 = Some(before);
        }
        added
    }

    /// Adds what is new, if somebody wants to know.
    pub fn measure(&mut self, server: &Server, session: &Session) {
        if let Some(metrics) = &server.metrics {
            metrics.add(self, session.stats(Instant::now()));
        }
    }
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("xmpp_sm")),
            counters: Default::default(),
            times: Default::default(),
            gauges: Default::default(),
            store: Default::default(),
            sessions: Gauge::default(),
            oldest_receipt: Gauge::default(),
            detached: Family::default(),
            ended: Family::default(),
            refused: Family::default(),
            left: Family::default(),
        };
        let mut registry = metrics.registry.lock();
        for ((name, help, _), counter) in COUNTERS.iter().zip(&metrics.counters) {
            registry.register(*name, *help, counter.clone());
        }
        for ((name, help, _), time) in TIMES.iter().zip(&metrics.times) {
            registry.register_with_unit(*name, *help, Unit::Seconds, time.clone());
        }
        for ((name, help, _), gauge) in GAUGES.iter().zip(&metrics.gauges) {
            registry.register(*name, *help, gauge.clone());
        }
        for ((name, help, _), gauge) in STORE.iter().zip(&metrics.store) {
            registry.register(*name, *help, gauge.clone());
        }
        registry.register("sessions", "Sessions, with a stream or without", metrics.sessions.clone());
        let oldest = "How long the oldest stanza of a client waits that nobody answers for: h stands still there";
        registry.register_with_unit("oldest_receipt", oldest, Unit::Seconds, metrics.oldest_receipt.clone());
        registry.register("detached", "Streams lost by sessions that lived on, by why", metrics.detached.clone());
        registry.register("ended", "Sessions ended, by the reason", metrics.ended.clone());
        let refused = "Connections that asked for a session and did not get it, by the condition that they were told";
        registry.register("refused", refused, metrics.refused.clone());
        registry.register("left", "Stanzas that ended sessions left, by what became of them", metrics.left.clone());
        drop(registry);
        // What has not happened is 0, and not missing.
        for why in [Detach::Lost, Detach::AckTimeout, Detach::TakenOver] {
            drop(metrics.detached.get_or_create(&[("why", why.name())]));
        }
        for reason in ENDINGS {
            drop(metrics.ended.get_or_create(&[("reason", reason.name())]));
        }
        for condition in [Condition::ItemNotFound, Condition::InternalServerError] {
            drop(metrics.refused.get_or_create(&[("condition", condition.name())]));
        }
        for step in ["elsewhere", "store", "bounce", "drop"] {
            drop(metrics.left.get_or_create(&[("step", step)]));
        }
        Arc::new(metrics)
    }

    pub fn add_mail(&self, MailCounters { put, taken, failures }: &MailCounters) {
        let mut registry = self.registry.lock();
        registry.register("mail_put", "Stanzas put into mail that nodes share", put.clone());
        registry.register("mail_taken", "Stanzas taken out of it for sessions", taken.clone());
        registry.register("mail_failures", "Calls for it that have failed, and are made again", failures.clone());
    }

    fn begin(&self) {
        self.sessions.inc();
        self.counters[COUNTERS.len() - 1].inc();
    }

    /// Adds what is new of a session.
    fn add(&self, Added(added): &mut Added, stats: Stats) {
        let before = added.get_or_insert_with(|| {
            self.begin();
            Box::default()
        });
        for ((_, _, field), counter) in COUNTERS.iter().zip(&self.counters) {
            // The stream's own counters have 32 bits, and go round.
            let more = field(&stats).wrapping_sub(field(before)) & u64::from(u32::MAX);
            if more > 0 {
                counter.inc_by(more);
            }
        }
        for ((_, _, field), time) in TIMES.iter().zip(&self.times) {
            let more = field(&stats).saturating_sub(field(before));
            if !more.is_zero() {
                time.inc_by(more.as_secs_f64());
            }
        }
        for ((_, _, field), gauge) in GAUGES.iter().zip(&self.gauges) {
            let more = field(&stats) as i64 - field(before) as i64;
            if more != 0 {
                gauge.inc_by(more);
            }
        }
        let oldest = stats.oldest_open.unwrap_or_default().as_secs_f64();
        if oldest > self.oldest_receipt.get() {
            self.oldest_receipt.set(oldest);
        }
        if let Some(why) = stats.detached_why.filter(|_| stats.detached > before.detached) {
            self.detached.get_or_create(&[("why", why.name())]).inc_by(stats.detached - before.detached);
        }
        **before = stats;
    }

    /// A session is another node's now: what it had is no more here.
    pub fn gone(&self, Added(added): Added) {
        if let Some(before) = added {
            self.sessions.dec();
            for ((_, _, field), gauge) in GAUGES.iter().zip(&self.gauges) {
                gauge.dec_by(field(&before) as i64);
            }
        }
    }

    /// A client does not get the session that it asked for.
    pub fn refused(&self, step: &LoginStep) {
        if let Some(Nonza::Failed(Failed { condition: Some(condition), .. })) = step.failed() {
            self.refused.get_or_create(&[("condition", condition.name())]).inc();
        }
    }

    /// A session has ended. All of it is added.
    pub fn end(&self, reason: EndReason) {
        self.sessions.dec();
        self.ended.get_or_create(&[("reason", reason.name())]).inc();
    }

    /// What became of a stanza that an ended session left.
    pub fn left(&self, step: Step) {
        let step = match step {
            Step::Elsewhere | Step::Successor => "elsewhere",
            Step::Store => "store",
            Step::Bounce(_) => "bounce",
            _ => "drop",
        };
        self.left.get_or_create(&[("step", step)]).inc();
    }

    fn text(&self, store: StoreStats) -> String {
        for ((_, _, field), gauge) in STORE.iter().zip(&self.store) {
            gauge.set(field(&store) as i64);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry.lock()).expect("a String takes what is written");
        text
    }
}

/// Answers everybody who asks, and does not look at the question.
pub async fn serve(tcp: TcpStream, server: Arc<Server>) {
    let Some(metrics) = &server.metrics else { return };
    metrics.oldest_receipt.set(0.0); // each session that is measured has its say
    let _ = timeout(MEASURING, server.router.measure().recv()).await;
    let text = metrics.text(server.store.stats());
    drop(server); // which does not wait for this to stop
    let _ = timeout(TIME, answer(tcp, text)).await;
}

async fn answer(mut tcp: TcpStream, text: String) -> io::Result<()> {
    let (read, mut write) = tcp.split();
    let mut lines = BufReader::new(read.take(MAX_BYTES)).lines();
    // The request ends with an empty line.
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    write.write_all(&[head.as_bytes(), text.as_bytes()].concat()).await?;
    write.shutdown().await
}
