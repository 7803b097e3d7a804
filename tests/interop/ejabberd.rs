//! ejabberd, with a configuration and a database directory of its own; not distributed, so that no epmd is started.

use std::path::Path;

use tokio::process::Command;

use crate::account::Kind;
use crate::peers::{BY_CLIENTS, DOMAIN, Options, PASSWORD, Place, Server, USERS, ask_version};
use crate::scenario::Scenario;

pub struct Ejabberd;

const MISSING: &str = "ejabberd is missing: apt-get install ejabberd (or tests/interop/install.sh)";

impl Server for Ejabberd {
    fn name(&self) -> &'static str {
        "ejabberd"
    }

    fn version(&self) -> Result<String, String> {
        let query = ["-W", "-f", "${Version}", "ejabberd"];
        let version = ask_version(Path::new("dpkg-query"), &query, MISSING)?;
        Ok(version.split('-').next().unwrap_or(&version).to_owned())
    }

    /// It writes `<resumed/>` before it has switched stream management on: a stanza that comes at once is passed on and
    /// not counted, and an `<r/>` behind it is answered with `<failed/>`, "Stream management is not enabled". If the
    /// connection is lost then, the h of the next `<resumed/>` leaves the stanza out, and it has to be sent again.
    ///
    /// A session that is resumed moves to another process. Stanzas that still wait at the old one are routed once more,
    /// and come after those that went to the new one at once.
    fn faults(&self) -> &'static [Kind] {
        &[Kind::Duplicated, Kind::Reordered, Kind::Miscounted]
    }

    fn scenarios(&self, by_our_client: bool) -> &'static [Scenario] {
        const BY_OURS: [Scenario; 7] = [
            Scenario::Cuts(0),
            Scenario::Expired,
            Scenario::TakeOver,
            Scenario::Twice,
            Scenario::Calm,
            Scenario::Farewell,
            Scenario::Max,
        ];
        // What a server does when its buffer is full is its own.
        if by_our_client { &BY_OURS } else { &BY_CLIENTS[..3] }
    }

    fn prepare(&self, port: u16, options: &Options, place: &Place) -> Result<Command, String> {
        let dir = place.dir(self.name());
        let Options { resume_timeout, buffer_max, .. } = options;
        let config = format!(
            r#"hosts: ["{DOMAIN}"]
loglevel: debug
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
auth_method: [internal]
auth_password_format: plain
modules:
  mod_disco: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_private: {{}}
  mod_roster: {{}}
  mod_stream_mgmt:
    resend_on_timeout: true
    resume_timeout: {resume_timeout}
    max_resume_timeout: {resume_timeout}
    max_ack_queue: {buffer_max}
"#
        );
        let file = dir.join("ejabberd.yml");
        std::fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
        let register =
            |user| format!("ejabberd_auth:try_register(<<\"{user}\">>, <<\"{DOMAIN}\">>, <<\"{PASSWORD}\">>)");
        let register: Vec<String> = USERS.into_iter().map(register).collect();
        let mut command = Command::new("erl");
        command.arg("-noinput").arg("-mnesia").arg("dir").arg(format!("\"{}\"", dir.join("mnesia").display()));
        command.args(["-s", "ejabberd", "-eval", &register.join(", ")]);
        command.env("ERL_LIBS", libraries()).env("HOME", &dir);
        command.env("EJABBERD_CONFIG_PATH", &file).env("EJABBERD_LOG_PATH", dir.join("ejabberd.log"));
        command.env("ERL_CRASH_DUMP", dir.join("crash"));
        Ok(command)
    }
}

/// Debian puts ejabberd's code among the libraries of the machine's architecture, whatever that is.
fn libraries() -> String {
    let is_there = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-"))
    };
    let dirs = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    dirs.into_iter().find(|dir| is_there(dir)).map_or_else(String::new, |dir| dir.display().to_string())
}
