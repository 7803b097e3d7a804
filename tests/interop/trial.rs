//! What no client does on purpose: a plain client at both ends, which writes byte for byte, on Prosody with its own
//! stream management and with ours. A trial that fails is our fault with ours, and stands in the table with the other.

mod ending;
mod hosting;
mod keeping;
mod resuming;

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::future::LocalBoxFuture;

use crate::peers::{Options, Place, Running, Server, free_port, start, start_at};

pub struct Trial {
    pub name: &'static str,
    pub options: Options,
    /// How long it may take.
    limit: Duration,
    run: fn(Ring) -> LocalBoxFuture<'static, Result<(), String>>,
}

/// What a trial has: a server that is up.
pub struct Ring {
    pub server: &'static dyn Server,
    pub options: Options,
    pub place: Place,
    pub running: Running,
}

impl Ring {
    pub fn addr(&self) -> SocketAddr {
        self.running.addr
    }

    /// SIGTERM, and the server is there again.
    async fn restart(&mut self) -> Result<(), String> {
        self.running.stop().await?;
        self.start_again().await
    }

    /// The server that was stopped: at the same address, with the same options, and what it has written down.
    async fn start_again(&mut self) -> Result<(), String> {
        self.running = start_at(self.server, self.addr().port(), &self.options, &self.place).await?;
        Ok(())
    }
}

/// Names a function as a trial.
macro_rules! trial {
    ($name:literal, $run:path) => {
        trial!($name, $run, Options::default())
    };
    ($name:literal, $run:path, $options:expr) => {
        trial!($name, $run, $options, 60)
    };
    ($name:literal, $run:path, $options:expr, $seconds:literal) => {
        Trial { name: $name, options: $options, limit: Duration::from_secs($seconds), run: |ring| Box::pin($run(ring)) }
    };
}

const COMPONENT: &str = "Component 'component' 'trial'\nmodules_enabled = { 'smacks' }";

const ROOMS: &str = "Component 'rooms' 'muc'\nmuc_room_locking = false";

fn trials() -> Vec<Trial> {
    let configured = |config| Options { config, ..Options::default() };
    let short = Options { resume_timeout: 1, ..Options::default() };
    let small = Options { buffer_max: 5, ..Options::default() };
    vec![
        trial!("a connection is cut inside a stanza", resuming::cut_inside),
        trial!("h of the resumption is too high", resuming::too_high),
        trial!("h of the resumption is no number", resuming::no_number),
        trial!("a stream that lives is taken over", resuming::taken_over),
        trial!("two connections ask for the session", resuming::two_takers),
        trial!("the buffer is small", resuming::small_buffer, small),
        trial!(
            "long messages wait",
            resuming::long_messages,
            configured("smacks_max_waiting_bytes = 1000000\nsmacks_max_queue_bytes = 300000")
        ),
        trial!("an inactive client is cut", resuming::inactive),
        trial!("an inactive client is sent what it needs to see", resuming::flushing),
        trial!(
            "an inactive client is gone without a word",
            resuming::gone_silently,
            configured(
                "network_settings = { read_timeout = 2 }\nsmacks_ack_timeout = 1\ncsi_resume_inactive_delay = 0.2"
            )
        ),
        trial!(
            "an inactive client asks, and is asked",
            resuming::asked_while_inactive,
            configured(
                "network_settings = { read_timeout = 3 }\nsmacks_ack_timeout = 2\ncsi_resume_inactive_delay = 1"
            )
        ),
        trial!("much is held back for an inactive client", resuming::much_is_held_back),
        trial!("much is resent", resuming::much_is_resent),
        trial!("the connection breaks as the session is resumed", resuming::fragile),
        trial!("another module fails as a stanza is written", resuming::choked),
        trial!(
            "another stream asks for the session from inside of the module's events",
            resuming::retaken,
            configured("smacks_ack_timeout = 1")
        ),
        trial!("the session has expired", ending::expired, short.clone()),
        trial!(
            "the session has expired, and stale `h` is off",
            ending::expired_for_good,
            Options { config: "smacks_stale_h = false", ..short.clone() }
        ),
        trial!("the session is unknown", ending::unknown),
        trial!("the client closes its stream", ending::closed),
        trial!("h of an acknowledgement is no number", ending::no_number),
        trial!("the server is restarted", ending::restarted),
        trial!("the client is in a room, and the server is restarted", ending::in_a_room, configured(ROOMS)),
        trial!("the session has expired, and the server is restarted", ending::expired_and_restarted, short.clone()),
        trial!("the server stops, and cannot write its sessions down", ending::nowhere_to_write),
        trial!("the server starts, and cannot read all that is written down", ending::unreadable),
        trial!("another module fails as stanzas come back", ending::refused, short.clone()),
        trial!("the module is loaded once more", ending::reloaded),
        trial!("the module is taken out", ending::unloaded),
        trial!("another module ends the session in a way of its own", ending::spoilt),
        trial!(
            "the time to resume is 43200.5 seconds",
            hosting::fraction,
            configured("smacks_hibernation_time = 43200.5")
        ),
        trial!(
            "options have no end, or are below nothing",
            hosting::out_of_range,
            configured("smacks_hibernation_time = 1 / 0\nsmacks_max_sessions = 2 ^ 53\nsmacks_ack_timeout = -1")
        ),
        trial!("the time to resume is no number", hosting::no_time, configured("smacks_hibernation_time = 'long'")),
        trial!("options change, and the module is loaded once more", hosting::new_options),
        trial!("an account has many sessions", hosting::too_many, configured("smacks_max_sessions = 2")),
        trial!("a push service has a session wait longer", hosting::pushing, short.clone()),
        trial!(
            "a push service has a session wait longer, and the server is restarted",
            hosting::pushing_past_a_restart,
            Options { config: "trial_prolong = 5", ..short.clone() }
        ),
        trial!("other modules look at a session", hosting::looked_at),
        trial!("a client comes over BOSH", hosting::bosh),
        trial!("a client is slow to acknowledge", hosting::slow, configured("smacks_max_ack_delay = 1")),
        trial!("what is measured", hosting::metrics, Options { config: "statistics = 'internal'", ..short.clone() }),
        trial!(
            "a session goes to WebSocket, and back",
            hosting::websocket,
            Options { websocket: Some(0), ..Options::default() }
        ),
        trial!(
            "a session that waits after WebSocket makes room for another",
            hosting::room_after_websocket,
            Options { websocket: Some(0), config: "smacks_max_sessions = 1", ..Options::default() }
        ),
        trial!("there are two virtual hosts", hosting::two_hosts, configured("VirtualHost 'elsewhere'")),
        trial!("there is a component", hosting::component, configured(COMPONENT)),
        trial!("other modules act from inside of the module's events", hosting::meddling),
        trial!("two sessions wait", keeping::oldest, configured("smacks_max_sessions = 2")),
        trial!(
            "an account may have any number of sessions",
            keeping::any_number,
            configured("smacks_max_sessions = 0")
        ),
        trial!("how much is measured", keeping::amounts, configured("statistics = 'internal'")),
        trial!("others see a session after a restart", keeping::present),
        trial!(
            "the time to resume goes on over a restart",
            keeping::time_left,
            Options { resume_timeout: 8, ..Options::default() }
        ),
        trial!("a session that is gone is not forgotten later for a restart", keeping::age, short.clone()),
        trial!("somebody asks a client that is gone", keeping::bounced, short),
        trial!("a client is silent", keeping::silent, configured("network_settings = { read_timeout = 1 }")),
        trial!("a client is slow to acknowledge twice", keeping::slow_again, configured("smacks_max_ack_delay = 1")),
        trial!("a session is not resumed, and then it is", keeping::told),
        trial!("a stanza comes late", keeping::late),
        trial!("a connection is lost whose buffer is full", keeping::clogged),
        trial!(
            "there are bounds",
            keeping::bounds,
            configured("smacks_hibernation_time_max = 700\nsmacks_max_unacked_stanzas = 3")
        ),
        trial!("10 000 sessions wait", hosting::many, configured("smacks_max_sessions = 0"), 300),
        trial!("Lua calls in the wrong order, with nil, and 10 000 sessions", misused),
    ]
}

/// The native module alone, by `prosody/misuse.lua`.
async fn misused(ring: Ring) -> Result<(), String> {
    let config = ring.place.dir(ring.server.name()).join("prosody.cfg.lua");
    let config = std::fs::read_to_string(config).map_err(|e| e.to_string())?;
    let native = config.lines().find_map(|line| line.strip_prefix("smacks_native = \"")?.strip_suffix('"'));
    let native = native.filter(|path| !path.is_empty()).ok_or("it has no native module")?;
    let misuse = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/prosody/misuse.lua");
    let output = tokio::process::Command::new("lua5.4").arg(misuse).arg(native).output().await;
    let output = output.map_err(|e| format!("lua5.4: {e}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).replace('\n', "; ");
    is(output.status.success(), || text)
}

/// Runs those whose name has all of this in it, so many at a time, and prints a line for each. Returns whether ours is as
/// it should be.
pub async fn run(servers: &[&'static dyn Server], filter: &str, jobs: usize) -> bool {
    let trials: Vec<(usize, Trial)> = trials().into_iter().enumerate().collect();
    let trials = trials.iter().filter(|(_, trial)| trial.name.contains(filter));
    let pairs = trials.flat_map(|trial| servers.iter().map(move |server| (trial, *server)));
    let all = pairs.map(|((number, trial), server)| async move {
        let outcome = one(trial, server, Place { name: format!("trial-{}-{number}", server.name()) }).await;
        (trial.name, outcome.is_ok() || !server.is_ours(), outcome)
    });
    let outcomes: Vec<_> = futures::stream::iter(all).buffered(jobs.max(1)).collect().await;
    let names: Vec<&str> = servers.iter().map(|server| server.name()).collect();
    println!("\n| trial | {} |\n| --- |{}", names.join(" | "), " --- |".repeat(names.len()));
    for of_trial in outcomes.chunks(servers.len()) {
        let cells = of_trial.iter().map(|(_, _, outcome)| match outcome {
            Ok(()) => "as it should".to_owned(),
            Err(why) => why.replace('|', "/"),
        });
        println!("| {} | {} |", of_trial[0].0, cells.collect::<Vec<_>>().join(" | "));
    }
    outcomes.iter().all(|(_, is_good, _)| *is_good)
}

async fn one(trial: &Trial, server: &'static dyn Server, place: Place) -> Result<(), String> {
    let mut options = trial.options.clone();
    if let Some(port) = &mut options.websocket {
        *port = free_port().map_err(|e| e.to_string())?;
    }
    let running = start(server, &options, &place).await?;
    let ring = Ring { server, options, place, running };
    let run = tokio::time::timeout(trial.limit, (trial.run)(ring));
    run.await.unwrap_or_else(|_| Err("it took too long".into()))
}

/// What was expected, or else what there was.
pub fn is(good: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(otherwise()) }
}
