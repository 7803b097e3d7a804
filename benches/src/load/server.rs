//! The server that is measured, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Linux counts CPU time for others in hundredths of a second, whatever it does itself.
const TICK: Duration = Duration::from_millis(10);

pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(program: &str, options: &[&str]) -> Self {
        let mut process = Command::new(program)
            .args(["--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--mechanism=PLAIN"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address");
        Self { address: address.parse().expect("an address"), process }
    }

    /// The CPU time that it has taken, in user space and in the kernel.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("Linux");
        // After the name in parentheses, from the third field on, are utime and stime: the 14th and the 15th.
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
        TICK * ticks
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
