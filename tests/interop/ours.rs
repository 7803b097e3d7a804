//! This crate's side: the programs in `examples/`.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use crate::driver::{Driver, Login};
use crate::examples::told_by_cargo;
pub use crate::examples::{build, cargo, example};
use crate::journal::{End, Journal};
use crate::peers::{BY_CLIENTS, Client, DOMAIN, Options, PASSWORD, Place, Server, USERS};
use crate::scenario::Scenario;

pub struct ExampleServer;

impl Server for ExampleServer {
    fn name(&self) -> &'static str {
        "server"
    }

    fn version(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn is_inline(&self) -> bool {
        true
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn scenarios(&self, _: bool) -> &'static [Scenario] {
        &BY_CLIENTS
    }

    fn build(&self) -> Result<(), String> {
        build("server")
    }

    fn prepare(&self, port: u16, options: &Options, _: &Place) -> Result<Command, String> {
        let mut command = Command::new(example("server"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--domain", DOMAIN, "--trace"]);
        command.args(["--resume-timeout", &options.resume_timeout.to_string()]);
        // Of what the scenario `full` sends, a few more wait for room than may: that starts the grace.
        command.args(["--buffer-max", &options.buffer_max.to_string()]);
        command.args(["--backlog-max", &(2 * options.buffer_max - 2).to_string()]);
        command.args(["--on-full", &format!("end-after={}", options.grace)]);
        command.args(["--sasl2", if options.inline { "on" } else { "off" }]);
        for user in USERS {
            command.args(["--user", &format!("{user}:{PASSWORD}")]);
        }
        Ok(command)
    }
}

pub struct ExampleClient;

/// No server needs so long for an answer, and a scenario can wait for two that do not come.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

impl Client for ExampleClient {
    fn name(&self) -> &'static str {
        "client"
    }

    fn version(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn start(&self, login: Login, journal: &Arc<Journal>, place: &Place) -> Result<Driver, String> {
        let mut command = Command::new(example("client"));
        command.args(["--connect", &login.addr.to_string(), "--jid", &login.jid, "--password", &login.password]);
        command.args(["--partner", &login.partner, "--ack-timeout", &ACK_TIMEOUT.as_secs().to_string()]);
        command.args(["--longest-pause", "1"]);
        if let Some(max) = login.max {
            command.args(["--max", &max.to_string()]);
        }
        Driver::process(End::Client, journal, command, &place.log("stderr"))
    }
}

/// Has a program that calls cargo not know what cargo tells this test.
pub fn clean(command: &mut Command) {
    for name in told_by_cargo() {
        command.env_remove(name);
    }
}
