//! How many `<r/>` and `<a/>` each policy puts on the wire, for one and the same traffic. The documentation has the table.

use std::collections::VecDeque;
use std::time::Duration;

use xmpp_sm::{AckFreq, Config, Nonza, Write};

use crate::session::{Host, n, secs};

const TABLE: &str = include_str!("../../../src/doc/requests.md");

const AT_ONCE: u32 = 20;
const ALL: u32 = 100;
const EVERY: Duration = secs(3);
const ANSWER: Duration = Duration::from_millis(200);

/// How many `<r/>` are written, and how many `<a/>` come.
fn traffic(config: Config, is_inactive: bool) -> [usize; 2] {
    let mut host = Host::new(config);
    let start = host.now;
    let mut stanzas: VecDeque<_> =
        (0..ALL).map(|number| start + EVERY * (number + 1).saturating_sub(AT_ONCE)).collect();
    // The client knows how much it had when the request came.
    let mut answers = VecDeque::new();
    let (mut written, mut requests, mut acks) = (0, 0, 0);
    // As long as the last answer takes, and what follows from it.
    let end = stanzas[ALL as usize - 1] + secs(3600);
    loop {
        let answer = answers.front().map(|(at, _)| *at);
        let next = [stanzas.front().copied(), answer, host.session.deadline()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { break };
        host.now = host.now.max(next);
        if let Some((_, h)) = answers.pop_front_if(|(at, _)| *at <= host.now) {
            acks += 1;
            host.ack(h);
        } else if stanzas.pop_front_if(|at| *at <= host.now).is_some() {
            host.send("<message/>");
        } else {
            host.session.timeout(host.now);
        }
        while let Some((_, item)) = host.session.next_write(host.now) {
            match item {
                Write::Stanza { .. } => written += 1,
                Write::Nonza(Nonza::AckRequest) => {
                    requests += 1;
                    answers.push_back((host.now + ANSWER, written));
                }
                other => panic!("{other:?}"),
            }
        }
        if is_inactive && written == AT_ONCE {
            host.session.set_active(false, host.now);
        }
    }
    assert_eq!(written, ALL);
    [requests, acks]
}

#[test]
fn the_table_of_the_documentation_is_right() {
    let every = |stanzas| Config::default().ack_freq(AckFreq::Every(n(stanzas)));
    let counted = [
        traffic(every(1), false),
        traffic(every(5), false),
        traffic(every(10), false),
        traffic(every(10).ack_idle(Some(secs(10))), false),
        traffic(Config::default().ack_freq(AckFreq::SelfClocked), false),
        traffic(every(1), true),
        traffic(Config::default().request_acks(false), false),
    ];
    let rows = TABLE.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').rsplit('|').map(str::trim);
        let acks = cells.next()?.parse().ok()?;
        Some([cells.next()?.parse().ok()?, acks])
    });
    let rows: Vec<[usize; 2]> = rows.collect();
    assert_eq!(rows, counted);
}
