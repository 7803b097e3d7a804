//! What stream management costs a whole server: the example server under the same load with it and without.
//! `benches/load.sh` builds and runs this.
//!
//! All runs of a round come one right after the other, each with a server of its own, so that what the machine does
//! besides is the same for all; each is compared with the run without stream management of its own round, and what
//! is printed is the median of the rounds.

mod client;
mod server;

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use client::Client;
use server::Server;

/// The server's options, the first without stream management.
const RUNS: [(&str, &[&str]); 4] = [
    ("off", &["--sm=off"]),
    ("on, `ack_freq` 1", &["--ack-freq=1"]),
    ("on, `ack_freq` 50", &["--ack-freq=50"]),
    ("on, self-clocked", &["--ack-freq=self-clocked"]),
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

fn main() {
    let mut args = std::env::args().skip(1);
    let program = args.next().expect("usage: load SERVER [ROUNDS [MESSAGES]]");
    let mut number = |default| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (rounds, messages) = (number(9), number(80_000));
    let loads = [
        ("talk, one message at a time", Load::Talk { window: 1 }),
        ("talk, ten at a time", Load::Talk { window: 10 }),
        ("listen, one at a time", Load::Listen { window: 1 }),
        ("listen, ten at a time", Load::Listen { window: 10 }),
    ];
    println!("| {PAIRS} pairs of clients | stream management | messages/s | server's CPU per message | on / off |");
    println!("| --- | --- | ---: | ---: | ---: |");
    for (name, load) in loads {
        let samples: Vec<Vec<Sample>> = (0..rounds).map(|round| run_all(&program, load, messages, round)).collect();
        for (run, (options, _)) in RUNS.iter().enumerate() {
            let rate = median(samples.iter().map(|round| round[run].rate));
            let cpu = median(samples.iter().map(|round| round[run].cpu));
            let ratio = median(samples.iter().map(|round| round[run].cpu / round[0].cpu));
            println!("| {name} | {options} | {rate:.0} | {cpu:.2} µs | {ratio:.3} |");
        }
    }
}

/// A round. Each starts with another run, so that none profits from its place.
fn run_all(program: &str, load: Load, messages: usize, round: usize) -> Vec<Sample> {
    let mut samples: Vec<(usize, Sample)> = (0..RUNS.len())
        .map(|place| (place + round) % RUNS.len())
        .map(|run| (run, sample(program, RUNS[run].1, load, messages)))
        .collect();
    samples.sort_by_key(|(run, _)| *run);
    samples.into_iter().map(|(_, sample)| sample).collect()
}

/// Brings `messages` from client to client.
fn sample(program: &str, options: &[&str], load: Load, messages: usize) -> Sample {
    let server = Server::start(program, options);
    let sm = !options.contains(&"--sm=off");
    let pairs: Vec<_> = (0..PAIRS)
        .map(|pair| {
            [("romeo", "juliet"), ("juliet", "romeo")].map(|(me, you)| Client::login(&server, me, you, pair, sm))
        })
        .collect();
    let (start, end) = (Barrier::new(2 * PAIRS + 1), Barrier::new(2 * PAIRS + 1));
    thread::scope(|scope| {
        // Connections stay open until all is measured: to close one is work for the server.
        for pair in pairs {
            let work: [Box<dyn FnOnce() + Send>; 2] = match load {
                Load::Talk { window } => pair.map(|mut client| {
                    let work = move || client.talk(messages / PAIRS / 2, window);
                    Box::new(held(work, &start, &end)) as _
                }),
                Load::Listen { window } => {
                    let [mut sender, mut receiver] = pair;
                    let (grant, granted) = std::sync::mpsc::channel();
                    let send = move || sender.send(messages / PAIRS, window, &granted);
                    let receive = move || receiver.listen(messages / PAIRS, &grant);
                    [Box::new(held(send, &start, &end)), Box::new(held(receive, &start, &end))]
                }
            };
            for work in work {
                scope.spawn(work);
            }
        }
        start.wait();
        let (began, cpu) = (Instant::now(), server.cpu());
        end.wait();
        let (took, cpu) = (began.elapsed(), server.cpu() - cpu);
        Sample { rate: messages as f64 / took.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / messages as f64 }
    })
}

/// `work` between two barriers. What it owns lives until it has been measured.
fn held<'a>(mut work: impl FnMut() + Send + 'a, start: &'a Barrier, end: &'a Barrier) -> impl FnOnce() + Send + 'a {
    move || {
        start.wait();
        work();
        end.wait();
        drop(work);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
