//! Prosody, with its own stream management or with this crate in the place of that: `examples/prosody`.

use std::path::Path;

use tokio::process::Command;

use crate::account::Kind;
use crate::ours;
use crate::peers::{BY_CLIENTS, DOMAIN, Options, PASSWORD, Place, Server, USERS, ask_version};
use crate::scenario::Scenario;

/// As it comes.
pub struct Prosody;

impl Server for Prosody {
    fn name(&self) -> &'static str {
        "prosody"
    }

    fn version(&self) -> Result<String, String> {
        version()
    }

    fn has_websocket(&self) -> bool {
        true
    }

    /// It reads a session that is resumed with the XML parser of its first stream. Where that was cut inside a stanza, it
    /// takes what follows for the content of the stanza and answers nothing, or finds it malformed and ends the session
    /// with its stream. What it was sent it has not handled, and what the client acknowledged it has not read, and
    /// delivers again, after what it sent to the next session. What the client does not send once more then is lost.
    fn faults(&self) -> &'static [Kind] {
        &[Kind::Lost, Kind::Duplicated, Kind::Reordered, Kind::NotResumed, Kind::Stuck]
    }

    fn scenarios(&self, by_our_client: bool) -> &'static [Scenario] {
        const BY_OURS: [Scenario; 7] = [
            Scenario::Cuts(0),
            Scenario::Expired,
            Scenario::TakeOver,
            Scenario::Twice,
            Scenario::Calm,
            Scenario::Farewell,
            Scenario::Deaf,
        ];
        // What a server does when its buffer is full is its own. It does not heed `max`, and is deaf where others are not.
        if by_our_client { &BY_OURS } else { &BY_CLIENTS[..3] }
    }

    /// By the others, too, to be laid beside ours.
    fn is_in_table(&self, _: bool) -> bool {
        true
    }

    fn prepare(&self, port: u16, options: &Options, place: &Place) -> Result<Command, String> {
        prosody(self, "stock", port, options, place)
    }
}

/// With this crate.
pub struct ProsodySm;

impl Server for ProsodySm {
    fn name(&self) -> &'static str {
        "prosody-sm"
    }

    fn version(&self) -> Result<String, String> {
        version()
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn has_websocket(&self) -> bool {
        true
    }

    fn scenarios(&self, _: bool) -> &'static [Scenario] {
        &BY_CLIENTS
    }

    fn build(&self) -> Result<(), String> {
        ours::cargo(&["--release", "--locked", "--manifest-path", "examples/prosody/Cargo.toml"])
    }

    fn prepare(&self, port: u16, options: &Options, place: &Place) -> Result<Command, String> {
        prosody(self, "ours", port, options, place)
    }
}

fn version() -> Result<String, String> {
    const MISSING: &str = "prosody is missing: apt-get install prosody (or tests/interop/install.sh)";
    let version = ask_version(Path::new("dpkg-query"), &["-W", "-f", "${Version}", "prosody"], MISSING)?;
    Ok(version.split('-').next().unwrap_or(&version).to_owned())
}

fn prosody(server: &dyn Server, smacks: &str, port: u16, options: &Options, place: &Place) -> Result<Command, String> {
    let Options { resume_timeout, buffer_max, grace, config, websocket, .. } = options;
    // Of what the scenario `full` sends, a few more wait for room than may: that starts the grace.
    let backlog_max = 2 * buffer_max - 2;
    // Clients that compute a hash in a script have other things to do.
    let lines = format!(
        "default_iteration_count = 16\nsmacks_hibernation_time = {resume_timeout}\nsmacks_max_queue_size = {buffer_max}\n\
         smacks_max_waiting = {backlog_max}\nsmacks_full_grace = {grace}\n"
    );
    // None may be there twice.
    let is_other = |line: &&str| !config.starts_with(line.split(' ').next().unwrap_or_default());
    let config = lines.lines().filter(is_other).chain([*config]).collect::<Vec<_>>().join("\n");
    let http = websocket.map(|port| {
        format!(
            "http_ports = {{ {port} }}\nhttps_ports = {{}}\nhttp_interfaces = {{ '127.0.0.1' }}\n\
             http_default_host = '{DOMAIN}'\nconsider_websocket_secure = true\n"
        )
    });
    let config = http.unwrap_or_default() + &config;
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prosody/run.sh"));
    command.env("PROSODY_MODULES", if websocket.is_some() { "websocket" } else { "" });
    command.arg(port.to_string()).arg(place.dir(server.name()));
    command.args(USERS.map(|user| format!("{user}:{PASSWORD}")));
    command.env("SMACKS", smacks).env("PROSODY_CONFIG", config).env("PROSODY_LOG", "debug");
    command.env("PROSODY_MODULE", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/prosody/mod_trial.lua"));
    ours::clean(&mut command);
    Ok(command)
}
