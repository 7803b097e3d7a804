//! What the proofs of the engine (`tests/proof`), of `Session` (`tests/proof_session`) and of nodes (`tests/nodes`) share:
//! violations, schedules as text, the choice of what happens next, and how a schedule that fails is made short.

use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::Duration;

use xmpp_sm::AckFreq;

/// How long a buffer or a backlog may be over its bounds.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a host may take to answer a request.
pub const REQUEST: Duration = Duration::from_secs(30);

pub const fn every(stanzas: u32) -> AckFreq {
    AckFreq::Every(NonZeroU32::new(stanzas).expect("not zero"))
}

/// The promise is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

pub type Checked<T = ()> = Result<T, Violation>;

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Violation {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Violation {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Ends the step with a [`Violation`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::support::Violation(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// What is done, with a panic as a violation.
pub fn tried<T>(what: impl FnOnce() -> Checked<T>) -> Checked<T> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Violation(format!("panic: {}", text.unwrap_or("without a word"))))
    })
}

/// A schedule that breaks the promise.
#[derive(Debug)]
pub struct Failure<E> {
    pub suite: &'static str,
    pub world: String,
    pub schedule: Vec<E>,
    pub violation: Violation,
}

/// In the words that show it again.
impl<E: Display> Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, world, schedule, violation } = self;
        let schedule = write_schedule(schedule);
        write!(f, "{violation}\nTo see it again:\nPROOF_WORLD='{world}' PROOF_SCHEDULE='{schedule}' ")?;
        write!(f, "cargo test --test {suite} replay -- --nocapture")
    }
}

/// A schedule as one line, which `PROOF_SCHEDULE` takes.
pub fn write_schedule<E: Display>(events: &[E]) -> String {
    events.iter().map(E::to_string).collect::<Vec<_>>().join(" ")
}

/// Reads what [`write_schedule`] wrote.
pub fn read_schedule<E: FromStr>(text: &str) -> Result<Vec<E>, E::Err> {
    text.split_whitespace().map(str::parse).collect()
}

/// Leaves out of a schedule whatever can be left out so that it still fails, in ever smaller pieces.
pub fn shorten<E: Clone>(mut schedule: Vec<E>, fails: impl Fn(&[E]) -> bool) -> Vec<E> {
    let mut piece = schedule.len();
    while piece > 0 {
        let mut at = 0;
        while at < schedule.len() {
            let mut shorter = schedule.clone();
            shorter.drain(at..(at + piece).min(schedule.len()));
            match fails(&shorter) {
                true => schedule = shorter,
                false => at += piece,
            }
        }
        piece /= 2;
    }
    schedule
}

/// The number that the environment sets.
pub fn number<T: FromStr<Err: fmt::Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One of the events, each as often as its weight says.
pub fn choose<E: Copy>(events: &[E], choice: u32, weight: impl Fn(&E) -> u32) -> Option<E> {
    let mut left = choice.checked_rem(events.iter().map(&weight).sum())?;
    let chosen = events.iter().find(|event| {
        let here = left < weight(event);
        left = left.saturating_sub(weight(event));
        here
    });
    chosen.copied()
}
