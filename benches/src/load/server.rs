//! The server that is measured, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

pub struct Server {
    process: Child,
    /// Where it prints: if nobody reads there, it ends.
    _stdout: BufReader<ChildStdout>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(command: &[&str], options: &[&str]) -> Self {
        let mut process = Command::new(command[0])
            .args(&command[1..])
            .args(["--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--mechanism=PLAIN"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address");
        Self { address: address.parse().expect("an address"), _stdout: stdout, process }
    }

    /// Lets it end in good order.
    pub fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("a signal").success());
        assert!(self.process.wait().expect("a child").success());
    }

    /// The CPU time that its threads have taken, in user space and in the kernel. `/proc/PID/stat` has the same in
    /// hundredths of a second, which is not enough for short turns.
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("Linux");
        let nanos = threads.filter_map(|thread| {
            let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
