//! Prosody, with a configuration and a data directory of its own.

use std::path::Path;

use tokio::process::Command;

use crate::account::Kind;
use crate::peers::{BY_CLIENTS, DOMAIN, Options, PASSWORD, Place, Server, USERS, ask_version};
use crate::scenario::Scenario;

pub struct Prosody;

const MISSING: &str = "prosody is missing: apt-get install prosody (or tests/interop/install.sh)";

impl Server for Prosody {
    fn name(&self) -> &'static str {
        "prosody"
    }

    fn version(&self) -> Result<String, String> {
        let query = ["-W", "-f", "${Version}", "prosody"];
        let version = ask_version(Path::new("dpkg-query"), &query, MISSING)?;
        Ok(version.split('-').next().unwrap_or(&version).to_owned())
    }

    /// It reads a session that is resumed with the XML parser of its first stream. Where that was cut inside a stanza, it
    /// takes what follows for the content of the stanza and answers nothing, or finds it malformed and ends the session
    /// with its stream. What it was sent it has not handled, and what the client acknowledged it has not read, and
    /// delivers again, after what it sent to the next session.
    fn faults(&self) -> &'static [Kind] {
        &[Kind::Duplicated, Kind::Reordered, Kind::NotResumed]
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
        // What a server does when its buffer is full is its own.
        if by_our_client { &BY_OURS } else { &BY_CLIENTS[..3] }
    }

    fn prepare(&self, port: u16, options: &Options, place: &Place) -> Result<Command, String> {
        let dir = place.fresh_dir("prosody")?;
        let shown = dir.display();
        let Options { resume_timeout, buffer_max, .. } = options;
        let config = format!(
            r#"run_as_root = true
data_path = "{shown}"
pidfile = "{shown}/prosody.pid"
plugin_paths = {{ }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
modules_enabled = {{ "roster"; "saslauth"; "disco"; "ping"; "private"; "smacks"; "offline" }}
modules_disabled = {{ "s2s"; "tls" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
smacks_hibernation_time = {resume_timeout}
smacks_max_queue_size = {buffer_max}
log = {{ debug = "*console" }}
VirtualHost "{DOMAIN}"
"#
        );
        write(&dir.join("prosody.cfg.lua"), &config)?;
        let accounts = dir.join(DOMAIN).join("accounts");
        std::fs::create_dir_all(&accounts).map_err(|e| e.to_string())?;
        for user in USERS {
            write(&accounts.join(format!("{user}.dat")), &format!("return {{ [\"password\"] = \"{PASSWORD}\"; }};\n"))?;
        }
        let mut command = Command::new("prosody");
        command.arg("--config").arg(dir.join("prosody.cfg.lua")).arg("-F");
        Ok(command)
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
