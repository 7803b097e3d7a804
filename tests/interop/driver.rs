//! The line protocol between the runner and a client, whether it is another process or a task in this one.
//!
//! Runner to client, on stdin:
//!
//! ```text
//! send N TEXT      send a message with this body to the partner
//! stop             stop reading from the connection
//! go               read again
//! quit             close the stream and end
//! ```
//!
//! Client to runner, on stdout:
//!
//! ```text
//! online JID       bound, for the first time or anew
//! resumed          the session goes on
//! failed H|-       the server refused to resume
//! received STAMP|- TEXT    a message; STAMP is that of its <delay/>
//! acked N          the server took message N
//! stopped          not reading any more
//! offline WHY      the connection is gone
//! note TEXT        for the log
//! ```
//!
//! A client connects again by itself, at once, whenever its connection is gone. A message that it is told to send
//! while it knows that it is offline is kept until it is online or resumed.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::sync::mpsc;

use crate::journal::{End, Event, Journal};

#[derive(Clone, Debug)]
pub enum Command {
    Send { number: u32, body: String },
    Stop,
    Go,
    Quit,
}

impl Command {
    fn line(&self) -> String {
        match self {
            Self::Send { number, body } => format!("send {number} {body}\n"),
            Self::Stop => "stop\n".into(),
            Self::Go => "go\n".into(),
            Self::Quit => "quit\n".into(),
        }
    }
}

/// How a client logs in, and whom it talks to.
#[derive(Clone, Debug)]
pub struct Login {
    pub addr: std::net::SocketAddr,
    pub jid: String,
    pub password: String,
    pub partner: String,
    /// The resume timeout to ask for, where the client can.
    pub max: Option<u32>,
}

impl Login {
    /// The arguments of a client that is a process of its own.
    pub fn words(&self) -> [String; 5] {
        let (host, port) = (self.addr.ip().to_string(), self.addr.port().to_string());
        [host, port, self.jid.clone(), self.password.clone(), self.partner.clone()]
    }
}

/// Where an in-process client reads its commands and reports its events.
pub struct Seat {
    pub commands: mpsc::UnboundedReceiver<Command>,
    pub report: Report,
}

#[derive(Clone)]
pub struct Report {
    end: End,
    journal: Arc<Journal>,
}

impl Report {
    pub fn event(&self, event: Event) {
        self.journal.record(self.end, event);
    }
}

/// A running client.
pub struct Driver {
    end: End,
    journal: Arc<Journal>,
    commands: mpsc::UnboundedSender<Command>,
    work: tokio::task::JoinHandle<()>,
}

impl Driver {
    /// Starts a client that is a task of this process.
    pub fn task<F>(end: End, journal: &Arc<Journal>, client: impl FnOnce(Seat) -> F) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (commands, inbox) = mpsc::unbounded_channel();
        let report = Report { end, journal: journal.clone() };
        let client = client(Seat { commands: inbox, report: report.clone() });
        let work = tokio::spawn(async move {
            if let Err(why) = client.await {
                report.event(Event::Note(why));
            }
            report.event(Event::Gone);
        });
        Self { end, journal: journal.clone(), commands, work }
    }

    /// Starts a client that is a process of its own; what it writes to stderr goes to `stderr`.
    pub fn process(end: End, journal: &Arc<Journal>, mut program: Process, stderr: &Path) -> Result<Self, String> {
        let log = std::fs::File::create(stderr).map_err(|e| format!("{}: {e}", stderr.display()))?;
        let child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{:?}: {e}", program.as_std().get_program()))?;
        Ok(Self::task(end, journal, |seat| talk(child, seat)))
    }

    pub fn send(&self, number: u32, body: String) {
        self.journal.record(self.end, Event::Sent { number });
        self.command(Command::Send { number, body });
    }

    pub fn command(&self, command: Command) {
        // A client that is gone says so in the journal.
        let _ = self.commands.send(command);
    }

    /// Asks the client to end, and ends it if it does not.
    pub async fn quit(mut self) {
        self.command(Command::Quit);
        let limit = std::time::Duration::from_secs(3);
        if tokio::time::timeout(limit, &mut self.work).await.is_err() {
            self.work.abort();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn talk(mut child: Child, mut seat: Seat) -> Result<(), String> {
    let mut input = child.stdin.take().ok_or("no stdin")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    loop {
        tokio::select! {
            command = seat.commands.recv() => {
                let Some(command) = command else { return Ok(()) };
                input.write_all(command.line().as_bytes()).await.map_err(|e| format!("driver's stdin: {e}"))?;
            }
            line = lines.next_line() => match line {
                Ok(Some(line)) => seat.report.event(parse(&line)),
                Ok(None) => break,
                Err(e) => return Err(format!("driver's stdout: {e}")),
            },
        }
    }
    let status = child.wait().await.map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("driver ended with {status}")) }
}

fn parse(line: &str) -> Event {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "online" => Event::Online { jid: rest.to_owned() },
        "resumed" => Event::Resumed,
        "stopped" => Event::Stopped,
        "failed" => Event::Failed { h: rest.parse().ok() },
        "received" => {
            let (stamp, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let delay = (stamp != "-").then(|| stamp.to_owned());
            Event::Received { body: body.to_owned(), delay }
        }
        "acked" => match rest.parse() {
            Ok(number) => Event::Acked { number },
            Err(_) => Event::Note(line.to_owned()),
        },
        "offline" => Event::Offline { why: rest.to_owned() },
        _ => Event::Note(line.to_owned()),
    }
}
