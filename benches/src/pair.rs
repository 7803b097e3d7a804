//! Two pieces of code, measured side by side.
//!
//! A benchmark library measures one thing after another; on a machine that others use as well, the ratio
//! of two such figures says little. Here both sides run in turns of less than a millisecond, so that both see the
//! same machine, and the quickest turn of each counts: the one in which nobody came between.

use std::time::{Duration, Instant};

/// How long a turn of one side takes: less than a scheduler gives at a time, so that many turns are not interrupted.
const TURN: Duration = Duration::from_micros(400);
/// How long both sides take turns, at least.
const TURNS: Duration = Duration::from_secs(1);

pub struct Row {
    pub name: String,
    /// Nanoseconds for one operation.
    pub floor: f64,
    pub cost: f64,
    pub ratio: f64,
    pub aim: Option<f64>,
}

/// Measures `cost` against `floor`. Each runs its operation so often as it is told.
pub fn pair(name: &str, aim: impl Into<Option<f64>>, mut floor: impl FnMut(u64), mut cost: impl FnMut(u64)) -> Row {
    pair_timed(name, aim, |often| timed(|| floor(often)), |often| timed(|| cost(often)))
}

/// The same where not all that is run is measured: each tells how long it took.
pub fn pair_timed(
    name: &str,
    aim: impl Into<Option<f64>>,
    mut floor: impl FnMut(u64) -> Duration,
    mut cost: impl FnMut(u64) -> Duration,
) -> Row {
    let (floor_often, cost_often) = (calibrate(&mut floor), calibrate(&mut cost));
    let mut turns: Vec<(f64, f64)> = Vec::new();
    let (start, wanted) = (Instant::now(), turns_wanted());
    for turn in 0.. {
        if turn >= wanted && start.elapsed() >= TURNS {
            break;
        }
        // Who goes first changes, so that neither profits from its place.
        let (a, b);
        if turn % 2 == 0 {
            a = time(&mut floor, floor_often);
            b = time(&mut cost, cost_often);
        } else {
            b = time(&mut cost, cost_often);
            a = time(&mut floor, floor_often);
        }
        turns.push((a, b));
    }
    let quickest = |of: fn(&(f64, f64)) -> f64| turns.iter().map(of).fold(f64::INFINITY, f64::min);
    let (floor, cost) = (quickest(|turn| turn.0), quickest(|turn| turn.1));
    Row { name: name.into(), floor, cost, ratio: cost / floor, aim: aim.into() }
}

fn turns_wanted() -> usize {
    std::env::var("TURNS").ok().and_then(|turns| turns.parse().ok()).unwrap_or(101)
}

/// How often an operation runs in a turn.
fn calibrate(operation: &mut impl FnMut(u64) -> Duration) -> u64 {
    let mut often = 1;
    loop {
        // Twice, for the first may have waited for a thread to start or for somebody else.
        let took = operation(often).min(operation(often));
        if took >= TURN {
            return often;
        }
        let factor = (TURN.as_secs_f64() / took.as_secs_f64().max(1e-9)).clamp(1.2, 8.0);
        often = ((often as f64) * factor).ceil() as u64;
    }
}

fn time(operation: &mut impl FnMut(u64) -> Duration, often: u64) -> f64 {
    operation(often).as_secs_f64() * 1e9 / often as f64
}

pub fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

pub fn print(title: &str, rows: &[Row]) {
    println!("\n{title}\n");
    println!("| | floor | xmpp-sm | ratio | aim |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for Row { name, floor, cost, ratio, aim } in rows {
        let aim = aim.map_or(String::new(), |aim| format!("≤ {aim}"));
        println!("| {name} | {floor:.1} ns | {cost:.1} ns | {ratio:.2} | {aim} |");
    }
}
