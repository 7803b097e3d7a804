//! What stream management costs a whole server: the example server under the same load with it and without.
//! `benches/load.sh` builds and runs this.
//!
//! All servers run all the time and get their load in turns of a fraction of a second, so that all see the same
//! machine, whatever else it does. Each turn is compared with that of its round in which stream management is off;
//! what is printed is the median of the rounds. [`instructions`] counts what no other load on the machine changes.

#![allow(clippy::disallowed_methods)] // the crate reads no clock; what measures it does

mod client;
mod instructions;
mod server;

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use server::Server;

/// The servers' options, the first without stream management.
const SERVERS: [(&str, &[&str]); 5] = [
    ("off", &["--csi=off", "--sm=off"]),
    ("on, `ack_freq` 1", &["--csi=off", "--ack-freq=1"]),
    ("the same with CSI and metrics", &["--ack-freq=1", "--metrics=127.0.0.1:0"]),
    ("on, `ack_freq` 50", &["--csi=off", "--ack-freq=50"]),
    ("on, self-clocked", &["--csi=off", "--ack-freq=self-clocked"]),
];
const PAIRS: usize = 8;

/// Who says what.
#[derive(Clone, Copy)]
enum Load {
    /// Both sides of each pair send, an answer for each message: acknowledgements travel with messages.
    Talk { window: usize },
    /// One side of each pair sends: an acknowledgement is all that the other says.
    Listen { window: usize },
}

struct Sample {
    /// Messages that arrived in a second.
    rate: f64,
    /// Microseconds of the server's CPU time for each.
    cpu: f64,
}

const LOADS: [(&str, Load); 4] = [
    ("talk, one message at a time", Load::Talk { window: 1 }),
    ("talk, ten at a time", Load::Talk { window: 10 }),
    ("listen, one at a time", Load::Listen { window: 1 }),
    ("listen, ten at a time", Load::Listen { window: 10 }),
];
const USAGE: &str = "usage: load SERVER [time [ROUNDS [MESSAGES]] | instructions]";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let program = args.first().expect(USAGE);
    let number = |at, default| args.get(at).map_or(default, |arg: &String| arg.parse().expect("a number"));
    match args.get(1).map(String::as_str) {
        None | Some("time") => time(program, number(2, 61), number(3, 3_000)),
        Some("instructions") => instructions::count(program),
        Some(_) => panic!("{USAGE}"),
    }
}

fn time(program: &str, rounds: usize, messages: usize) {
    let mut subjects = SERVERS.map(|(_, options)| Subject::new(&[program], options));
    println!("| {PAIRS} pairs of clients | stream management | messages/s | server's CPU per message | on / off |");
    println!("| --- | --- | ---: | ---: | ---: |");
    for (name, load) in LOADS {
        let samples: Vec<_> = (0..rounds).map(|round| turns(&mut subjects, load, messages, round)).collect();
        for (at, (options, _)) in SERVERS.iter().enumerate() {
            let rate = median(samples.iter().map(|round| round[at].rate));
            let cpu = median(samples.iter().map(|round| round[at].cpu));
            let ratio = median(samples.iter().map(|round| round[at].cpu / round[0].cpu));
            println!("| {name} | {options} | {rate:.0} | {cpu:.1} µs | {ratio:.2} |");
        }
    }
}

/// A turn for each. Another begins each round, so that none profits from its place.
fn turns(subjects: &mut [Subject], load: Load, messages: usize, round: usize) -> Vec<Sample> {
    let count = subjects.len();
    let places = (0..count).map(|place| (place + round) % count);
    let mut samples: Vec<_> = places.map(|at| (at, subjects[at].turn(load, messages))).collect();
    samples.sort_by_key(|(at, _)| *at);
    samples.into_iter().map(|(_, sample)| sample).collect()
}

/// A server with its clients.
struct Subject {
    server: Server,
    pairs: Vec<[Client; 2]>,
}

impl Subject {
    fn new(command: &[&str], options: &[&str]) -> Self {
        let server = Server::start(command, options);
        let sm = !options.contains(&"--sm=off");
        let both = [("romeo", "juliet"), ("juliet", "romeo")];
        let pair = |number| both.map(|(me, you)| Client::login(&server, me, you, number, sm));
        let pairs = (0..PAIRS).map(pair).collect();
        Self { server, pairs }
    }

    /// Measures how `messages` go from client to client.
    fn turn(&mut self, load: Load, messages: usize) -> Sample {
        let (began, cpu) = (Instant::now(), self.server.cpu());
        self.pass(load, messages);
        let took = began.elapsed();
        thread::sleep(Duration::from_millis(5)); // the last acknowledgements are on their way
        let cpu = self.server.cpu() - cpu;
        Sample { rate: messages as f64 / took.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / messages as f64 }
    }

    fn pass(&mut self, load: Load, messages: usize) {
        let each = messages / PAIRS;
        thread::scope(|scope| {
            for [one, other] in &mut self.pairs {
                match load {
                    Load::Talk { window } => {
                        scope.spawn(move || one.talk(each / 2, window));
                        scope.spawn(move || other.talk(each / 2, window));
                    }
                    Load::Listen { window } => {
                        let (grant, granted) = channel();
                        scope.spawn(move || one.send(each, window, &granted));
                        scope.spawn(move || other.listen(each, &grant));
                    }
                }
            }
        });
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
