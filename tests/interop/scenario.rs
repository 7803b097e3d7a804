//! What is done to a client and a server, and what must come of it.

mod calm;
mod cuts;
mod deaf;
mod expired;
mod farewell;
mod full;
mod max;
mod takeover;
mod twice;

use std::time::Duration;

use crate::account::Blame;
use crate::peers::Options;
use crate::rng::Rng;
use crate::stage::Stage;

/// Seconds after which a session ends that is to end: long enough for its stanzas to have been queued clearly before.
pub const ENDS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The connection is cut so many times at random.
    Cuts(usize),
    /// The client comes back too late.
    Expired,
    /// The client comes back while the server still has the old connection.
    TakeOver,
    /// The client stops reading, and the server's buffer is small.
    Full,
    /// The client resumes twice in a row, with stanzas in flight.
    Twice,
    /// The client asks for a short time in which to resume.
    Max,
    /// Nothing happens for a while.
    Calm,
    /// The server resumes the session and reads nothing more.
    Deaf,
    /// The server's answers come only when the client has given the session up.
    Farewell,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuts(_) => "cuts",
            Self::Expired => "expired",
            Self::TakeOver => "take-over",
            Self::Full => "full",
            Self::Twice => "twice",
            Self::Max => "max",
            Self::Calm => "calm",
            Self::Deaf => "deaf",
            Self::Farewell => "farewell",
        }
    }

    pub fn options(self) -> Options {
        let options = Options::default();
        match self {
            Self::Expired => Options { resume_timeout: ENDS, ..options },
            Self::Full => Options { buffer_max: full::BUFFER, grace: ENDS, ..options },
            Self::Max => Options { max: Some(max::MAX), ..options },
            _ => options,
        }
    }

    /// Whether sessions end in it that could have been resumed.
    pub fn ends_sessions(self) -> bool {
        matches!(self, Self::Expired | Self::Full | Self::Farewell)
    }

    /// How long it may take, with a peer that often gets stuck, on a machine that is busy.
    pub fn limit(self) -> Duration {
        let cuts = if let Self::Cuts(count) = self { count } else { 0 };
        Duration::from_secs(180 + 3 * cuts as u64)
    }

    pub async fn run(self, stage: &mut Stage, rng: &mut Rng, ours: Option<Blame>) -> Result<(), String> {
        match self {
            Self::Cuts(count) => cuts::run(stage, count, rng).await,
            Self::Expired => expired::run(stage, ours).await,
            Self::TakeOver => takeover::run(stage, ours).await,
            Self::Full => full::run(stage).await,
            Self::Twice => twice::run(stage).await,
            Self::Max => max::run(stage).await,
            Self::Calm => calm::run(stage).await,
            Self::Deaf => deaf::run(stage).await,
            Self::Farewell => farewell::run(stage).await,
        }
    }
}
