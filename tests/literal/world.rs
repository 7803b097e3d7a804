//! Accounts that write to each other while their connections are cut, and the account of every message.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, advance, sleep};
use xmpp_sm::{Config, EndReason};

use crate::client::{Client, Dial};
use crate::net::{CLIENT, Cut, SERVER, Sees};
use crate::rng::Rng;
use crate::server::{Receipts, Server};

pub struct World {
    pub seed: u64,
    pub users: u64,
    pub cuts: u32,
    pub server: Config,
    pub client: Config,
    pub receipts: Receipts,
    /// Whether sessions always live long enough to be resumed.
    pub is_exact: bool,
    /// The longest that a client stays away, in milliseconds.
    pub pause: u64,
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub cuts: u32,
    pub sent: u32,
    pub lost: u32,
    pub doubled: u32,
    pub disordered: u32,
    pub logins: u32,
    pub resumes: u32,
    pub sessions: u32,
    /// How often a message came once more because its session had ended.
    pub again: u32,
    pub faults: Vec<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cuts, sent, lost, doubled, disordered, logins, resumes, sessions, again, .. } = self;
        write!(f, "{cuts} cuts, {sent} messages: {lost} lost, {doubled} doubled, {disordered} out of order; ")?;
        write!(f, "{logins} logins, {resumes} <resume/>, {sessions} sessions, {again} may come again")
    }
}

const CUTS: [Cut; 10] = [
    [Sees::Eof, Sees::Eof],
    [Sees::Reset, Sees::Reset],
    [Sees::Eof, Sees::Reset],
    [Sees::Reset, Sees::Nothing],
    [Sees::Reset, Sees::NothingMore],
    [Sees::Eof, Sees::NothingMore],
    [Sees::Nothing, Sees::Reset],
    [Sees::NothingMore, Sees::Eof],
    [Sees::Nothing, Sees::Nothing],
    [Sees::NothingMore, Sees::NothingMore],
];

impl World {
    pub fn run(self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(self.live())
    }

    async fn live(self) -> Outcome {
        let mut rng = Rng(self.seed);
        let cuts = Arc::new(AtomicU32::new(0));
        let server = Server::new(self.server.clone(), rng.below(u64::MAX), self.receipts);
        let config = Arc::new(self.client.clone());
        let names: Vec<String> = (0..self.users).map(|n| format!("u{n}")).collect();
        let clients: Vec<Client> = names
            .iter()
            .map(|name| {
                let dial = Dial::new(name, &server, &cuts, rng.split());
                {
                    let mut state = dial.state.lock().unwrap();
                    state.pause = Duration::from_millis(self.pause);
                    state.receipts = self.receipts;
                }
                Client::start(dial, &config)
            })
            .collect();
        let mut sent: HashMap<(String, String), Vec<u32>> = HashMap::new();
        let mut numbers = vec![0; clients.len()];
        let mut heard = vec![0; clients.len()];
        let mut silent = vec![0; clients.len()];
        let mut links: Vec<u32> = vec![0; clients.len()];
        let start = Instant::now();
        while cuts.load(Ordering::Relaxed) < self.cuts {
            let is_late = start.elapsed() > Duration::from_secs(60 + 5 * u64::from(self.cuts));
            let each = || clients.iter().map(|client| client.dial.state.lock().unwrap().describe()).collect::<Vec<_>>();
            assert!(
                !is_late,
                "seed {}: somebody hangs: {} cuts, {:?}",
                self.seed,
                cuts.load(Ordering::Relaxed),
                each()
            );
            sleep(Duration::from_millis(rng.below(120))).await;
            let n = rng.below(self.users) as usize;
            let to = (n as u64 + 1 + rng.below(self.users - 1)) % self.users;
            for _ in 0..=rng.below(3) {
                numbers[n] += 1;
                let padding = if rng.one_in(40) { rng.below(20_000) } else { rng.below(60) };
                clients[n].send(&names[to as usize], numbers[n], padding as usize);
                sent.entry((names[n].clone(), names[to as usize].clone())).or_default().push(numbers[n]);
            }
            if rng.one_in(400) {
                // All hosts stall.
                advance(Duration::from_millis(rng.below(20_000))).await;
            }
            let n = rng.below(self.users) as usize;
            let mut state = clients[n].dial.state.lock().unwrap();
            state.capacity = rng.pick(&[64, 512, 4096, 65_536]);
            state.latency = rng.pick(&[0, 2, 40]);
            let mut cut = rng.pick(&CUTS);
            // Twice in a row a client would give its session up.
            let is_silent = !matches!(cut[CLIENT], Sees::Eof | Sees::Reset);
            if is_silent && (state.got.len() < heard[n] || state.connections < silent[n] + 4) {
                cut = CUTS[0];
            }
            if links[n] == state.connections {
                continue;
            }
            let Some(link) = state.link.clone() else { continue };
            if is_silent {
                (heard[n], silent[n]) = (state.got.len() + 6, state.connections);
            }
            links[n] = state.connections;
            let side = rng.pick(&[CLIENT, SERVER]);
            match rng.below(6) {
                0 => link.cut(cut),
                1..4 => link.cut_after(1 + rng.below(500) as usize, side, cut),
                _ => {
                    let bytes = 1 + rng.below(if is_silent { 160 } else { 700 }) as usize;
                    if is_silent {
                        link.cut(cut)
                    } else {
                        state.armed = Some((bytes, side, cut))
                    }
                    if !is_silent {
                        link.cut(CUTS[0])
                    }
                }
            }
        }
        // A receipt that is lost holds back all that comes after it until the next connection: each has one more, and then
        // none is lost.
        let is_kept = |receipts: &mut Receipts| {
            if let Receipts::Late { lost, .. } = receipts {
                *lost = None;
            }
        };
        is_kept(&mut server.lock().receipts);
        for client in &clients {
            let mut state = client.dial.state.lock().unwrap();
            is_kept(&mut state.receipts);
            state.link.iter().for_each(|link| link.cut(CUTS[0]));
        }
        // No more cuts. Who is on a dead connection and has nothing to say would not notice.
        for _ in 0..4 {
            for n in 0..clients.len() {
                let to = (n + 1) % clients.len();
                numbers[n] += 1;
                clients[n].send(&names[to], numbers[n], 0);
                sent.entry((names[n].clone(), names[to].clone())).or_default().push(numbers[n]);
            }
            sleep(Duration::from_secs(20)).await;
        }
        let total: usize = sent.values().map(Vec::len).sum();
        for _ in 0..600 {
            sleep(Duration::from_secs(1)).await;
            if clients.iter().map(|client| client.got().len()).sum::<usize>() >= total && self.is_exact {
                break;
            }
            if !self.is_exact && is_all_there(&clients, &sent) {
                break;
            }
        }
        sleep(Duration::from_secs(30)).await;
        self.account(&server, clients, &sent, cuts.load(Ordering::Relaxed)).await
    }

    async fn account(
        &self,
        server: &Server,
        clients: Vec<Client>,
        sent: &HashMap<(String, String), Vec<u32>>,
        cuts: u32,
    ) -> Outcome {
        let mut outcome = Outcome { cuts, ..Outcome::default() };
        for client in &clients {
            outcome.sessions += client.dial.state.lock().unwrap().sessions;
        }
        let mut got: HashMap<(String, String), Vec<(u32, u32)>> = HashMap::new();
        for client in &clients {
            for (session, from, number) in client.got() {
                got.entry((from, client.dial.name.to_string())).or_default().push((session, number));
            }
        }
        for client in clients {
            drop(client.outbox);
            let left = client.task.await.expect("no panic").len();
            if left > 0 {
                outcome.faults.push(format!("{left} left at the end of {}", client.dial.name));
            }
        }
        sleep(Duration::from_secs(60)).await;
        let inner = server.lock();
        (outcome.logins, outcome.resumes) = (inner.logins, inner.resumes);
        outcome.again = inner.again.values().sum();
        for (reason, _, left) in &inner.ended {
            let is_fine = *reason == EndReason::Closed && *left == 0;
            if self.is_exact && !is_fine {
                outcome.faults.push(format!("ended: {reason:?}, {left} left"));
            }
        }
        let mut by_sender: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for ((from, to), numbers) in sent {
            outcome.sent += numbers.len() as u32;
            by_sender.entry(from).or_default().extend(numbers);
            let empty = Vec::new();
            let got = got.get(&(from.clone(), to.clone())).unwrap_or(&empty);
            let mut times: BTreeMap<u32, u32> = numbers.iter().map(|number| (*number, 0)).collect();
            got.iter().for_each(|(_, number)| *times.entry(*number).or_default() += 1);
            for (number, times) in &times {
                let again = inner.again.get(&(from.clone(), to.clone(), *number)).copied().unwrap_or(0);
                outcome.lost += u32::from(*times == 0);
                outcome.doubled += times.saturating_sub(1 + again);
                if *times == 0 || *times > 1 + again {
                    outcome.faults.push(format!("{from} -> {to}: {number} came {times} times"));
                }
            }
            let is_ordered = got.windows(2).all(|two| two[0].0 < two[1].0 || two[0].1 < two[1].1);
            outcome.disordered += u32::from(!is_ordered);
            if !is_ordered {
                let wrong = got.windows(2).find(|two| two[0].0 >= two[1].0 && two[0].1 >= two[1].1);
                outcome.faults.push(format!("{from} -> {to}: order: {wrong:?}"));
            }
        }
        // What the server took from each client: each message once, in order.
        for (from, mut numbers) in by_sender {
            numbers.sort_unstable();
            let routed = inner.routed.get(from).cloned().unwrap_or_default();
            if routed != numbers {
                let wrong = routed.iter().zip(&numbers).find(|(a, b)| a != b);
                outcome.doubled += routed.len().saturating_sub(numbers.len()) as u32;
                outcome.lost += numbers.len().saturating_sub(routed.len()) as u32;
                outcome.faults.push(format!(
                    "the server took {} of {} from {from}; (took, sent): {wrong:?}",
                    routed.len(),
                    numbers.len()
                ));
            }
        }
        outcome
    }
}

fn is_all_there(clients: &[Client], sent: &HashMap<(String, String), Vec<u32>>) -> bool {
    let got: HashSet<(String, String, u32)> = clients
        .iter()
        .flat_map(|client| {
            client.got().into_iter().map(|(_, from, number)| (from, client.dial.name.to_string(), number))
        })
        .collect();
    let mut all = sent.iter().flat_map(|((from, to), numbers)| numbers.iter().map(move |number| (from, to, *number)));
    all.all(|(from, to, number)| got.contains(&(from.clone(), to.clone(), number)))
}
