//! The server's instructions for one message, counted by valgrind.

use std::{env, fs, process};

use super::{LOADS, Load, SERVERS, Subject};

/// The difference between two runs of these lengths is what messages cost, without the logins.
const MESSAGES: (usize, usize) = (1_600, 4_800);

pub fn count(program: &str) {
    println!("| | stream management | instructions per message | on / off |");
    println!("| --- | --- | ---: | ---: |");
    for (name, load) in LOADS {
        let mut floor = None;
        for (options, args) in SERVERS {
            let counted = [MESSAGES.0, MESSAGES.1].map(|messages| run(program, args, load, messages));
            let each = (counted[1] - counted[0]) / (MESSAGES.1 - MESSAGES.0) as f64;
            let ratio = each / *floor.get_or_insert(each);
            println!("| {name} | {options} | {each:.0} | {ratio:.3} |");
        }
    }
}

/// The instructions of a server from its start to its end.
fn run(program: &str, options: &[&str], load: Load, messages: usize) -> f64 {
    let file = env::temp_dir().join(format!("load.callgrind.{}", process::id()));
    let out = format!("--callgrind-out-file={}", file.display());
    let mut subject = Subject::new(&["valgrind", "--quiet", "--tool=callgrind", &out, program], options);
    subject.pass(load, messages);
    drop(subject.pairs);
    subject.server.stop();
    let counted = fs::read_to_string(&file).expect("valgrind's file");
    fs::remove_file(&file).expect("a file of our own");
    let totals = counted.lines().find_map(|line| line.strip_prefix("totals: ")).expect("totals");
    totals.trim().parse().expect("a number")
}
