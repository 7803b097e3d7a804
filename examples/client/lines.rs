//! The commands on standard input and the events on standard output, a line each.
//!
//! Commands: `send N TEXT` (a message to the partner, with the id `mN`), `stop` and `go` (reading from the connection;
//! after a `<conflict/>`, `go` also takes the resource again), `quit`.
//!
//! Events: `online JID`, `resumed`, `failed H`, `received STAMP TEXT` (STAMP is that of its `<delay/>`, or `-`),
//! `stopped`, `offline WHY`, `note TEXT`.

use std::io::{BufRead, stdin};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub enum Line {
    Send { id: String, text: String },
    Stop,
    Go,
    Quit,
}

/// Reads in a thread of its own: tokio cannot wait for standard input.
pub fn read() -> UnboundedReceiver<Line> {
    let (lines, reader) = unbounded_channel();
    std::thread::spawn(move || {
        let parsed = stdin().lock().lines().map_while(Result::ok).filter_map(|line| parse(&line));
        // The end of the input says the same as `quit`.
        for line in parsed.chain([Line::Quit]) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    reader
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.splitn(3, ' ');
    match (words.next()?, words.next(), words.next()) {
        ("send", Some(number), Some(text)) => Some(Line::Send { id: format!("m{number}"), text: text.to_owned() }),
        ("stop", None, None) => Some(Line::Stop),
        ("go", None, None) => Some(Line::Go),
        ("quit", None, None) => Some(Line::Quit),
        _ => None,
    }
}
