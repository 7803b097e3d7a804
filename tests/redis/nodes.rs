//! The example server as several nodes: a client comes back to another one. The servers are processes, which are
//! stopped and killed; `examples/nodes` does that to them under traffic, and counts.

mod answer;
mod failing;
mod forgetful;
mod held;
mod lists;
mod mail;
mod memory;
mod metrics;
mod orphans;
mod revived;
mod said;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::examples;
use crate::server::Redis;

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command of an example begins with.
fn example(name: &str) -> Command {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| ["server", "nodes"].into_iter().for_each(|name| examples::build(name).unwrap()));
    Command::new(examples::example(name))
}

struct Node {
    process: Child,
    address: String,
    /// What it says besides.
    stdout: BufReader<ChildStdout>,
    /// What it complains of, all of its life.
    complains: JoinHandle<String>,
}

impl Node {
    /// A server that is told so, and more. `Err`: it does not start, and what it says.
    fn try_start(mut command: Command, url: &str, name: &str, more: &[&str]) -> Result<Self, String> {
        command.args(["--listen=127.0.0.1:0", "--user=romeo:secret", "--user=juliet:secret", "--store", url]);
        command.args(["--node", name]).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (mut line, mut stdout) = (String::new(), BufReader::new(process.stdout.take().unwrap()));
        stdout.read_line(&mut line).unwrap();
        match line.trim().strip_prefix("listening on ") {
            Some(address) => {
                let complains = thread::spawn({
                    let mut stderr = process.stderr.take().unwrap();
                    move || {
                        let mut said = String::new();
                        stderr.read_to_string(&mut said).unwrap();
                        said
                    }
                });
                Ok(Self { process, address: address.to_owned(), stdout, complains })
            }
            None => {
                let mut said = String::new();
                process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                process.wait().unwrap();
                Err(said)
            }
        }
    }

    fn start(redis: &Redis, name: &str, promise: &str) -> Self {
        Self::start_with(redis, name, &["--promise", promise])
    }

    fn start_with(redis: &Redis, name: &str, more: &[&str]) -> Self {
        Self::try_start(example("server"), &redis.url(), name, more).unwrap()
    }

    fn stop(self) {
        self.stops();
    }

    /// Returns what it has complained of.
    fn stops(mut self) -> String {
        self.signal("-TERM");
        assert!(self.process.wait().unwrap().success());
        let nobody = thread::spawn(String::new);
        std::mem::replace(&mut self.complains, nobody).join().unwrap()
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Returns when each of its threads does.
    fn hang(&self) {
        self.signal("-STOP");
        let threads = format!("/proc/{}/task", self.process.id());
        let hangs = |thread: &Path| fs::read_to_string(thread.join("stat")).is_ok_and(|stat| stat.contains(") T "));
        eventually("it hangs", || fs::read_dir(&threads).unwrap().all(|thread| hangs(&thread.unwrap().path())));
    }
}

/// As by `kill -9`.
impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that says what the test says.
struct Client {
    tcp: TcpStream,
    read: String,
}

const HEADER: &str = "<stream:stream to='localhost' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

impl Client {
    /// Before authentication.
    fn connect(node: &Node) -> Self {
        let tcp = TcpStream::connect(&node.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { tcp, read: String::new() };
        client.ask(HEADER, "</stream:features>");
        client
    }

    fn log_in(node: &Node, auth: &str) -> Self {
        let mut client = Self::connect(node);
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{auth}</auth>");
        client.ask(&auth, "<success");
        client.ask(HEADER, "</stream:features>");
        client
    }

    /// Returns the SM-ID.
    fn begin(&mut self) -> String {
        self.ask(BIND, "</iq>");
        let enabled = self.ask(ENABLE, "<enabled");
        let node = format!("location='{}'", self.tcp.peer_addr().unwrap());
        assert!(enabled.contains(&node), "the client is to come back to its node: {enabled}");
        self.ask("<presence/>", "<presence");
        id_in(&enabled)
    }

    fn resume(&mut self, smid: &str, h: u32) -> String {
        self.say(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{smid}' h='{h}'/>"));
        self.until(|read| read.contains("<resumed") || read.contains("</failed>"))
    }

    /// A new session, for which these have waited.
    fn begins_with(&mut self, numbers: &[u32]) {
        // What goes on from another session of hers may come with the answers.
        let mut read = self.ask(BIND, "</iq>") + &self.ask(ENABLE, "<enabled");
        self.say("<presence/>");
        if bodies(&read).len() < numbers.len() {
            read += &self.until(|more| bodies(&format!("{read}{more}")).len() >= numbers.len());
        }
        assert_eq!(bodies(&read), numbers, "{read}");
    }

    /// Asks until so many stanzas are handled.
    fn is_told(&mut self, h: u32) {
        let begun = Instant::now();
        while !self.ask(ASK, "<a ").contains(&format!("h='{h}'")) {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Until these messages have come, in order, and no other.
    fn gets(&mut self, numbers: &[u32]) {
        let read = self.until(|read| bodies(read).len() >= numbers.len());
        assert_eq!(bodies(&read), numbers, "{read}");
    }

    /// What comes before the server closes the stream.
    fn until_closed(&mut self) -> String {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = self.tcp.read(&mut buffer) {
            self.read.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        std::mem::take(&mut self.read)
    }

    fn say(&mut self, what: &str) {
        self.tcp.write_all(what.as_bytes()).unwrap();
    }

    fn ask(&mut self, what: &str, answer: &str) -> String {
        self.say(what);
        self.until(|read| read.find(answer).is_some_and(|at| read[at..].contains('>')))
    }

    /// Returns what was read, once it is enough.
    fn until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 4096];
        while !is_enough(&self.read) {
            let n = self.tcp.read(&mut buffer).unwrap();
            assert!(n > 0, "the server closes: {}", self.read);
            self.read.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        std::mem::take(&mut self.read)
    }
}

const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const ASK: &str = "<r xmlns='urn:xmpp:sm:3'/>";

const ROMEO: &str = "AHJvbWVvAHNlY3JldA==";
const JULIET: &str = "AGp1bGlldABzZWNyZXQ=";

fn message(number: u32) -> String {
    format!("<message to='juliet@localhost' type='chat'><body>{number}</body></message>")
}

/// The SM-ID of `<enabled/>`.
fn id_in(enabled: &str) -> String {
    enabled.split_once("id='").unwrap().1.split_once('\'').unwrap().0.to_owned()
}

fn bodies(read: &str) -> Vec<u32> {
    let whole = read.split("<body>").skip(1).filter_map(|rest| rest.split_once("</body>"));
    whole.map(|(body, _)| body.parse().unwrap()).collect()
}

/// Two nodes, and romeo at the one, juliet at the other, with a message of his that she has not acknowledged.
fn two(redis: &Redis, promise: &str) -> [(Node, Client, String); 2] {
    two_with(redis, &["--promise", promise])
}

fn two_with(redis: &Redis, more: &[&str]) -> [(Node, Client, String); 2] {
    let nodes = ["one", "other"].map(|name| Node::start_with(redis, name, more));
    let mut clients = [0, 1].map(|n| Client::log_in(&nodes[n], [ROMEO, JULIET][n]));
    let smids = [0, 1].map(|n| clients[n].begin());
    clients[0].say(&message(1));
    clients[1].gets(&[1]);
    let ([one, other], [romeo, juliet], [of_romeo, of_juliet]) = (nodes, clients, smids);
    [(one, romeo, of_romeo), (other, juliet, of_juliet)]
}

/// Juliet asks until it is known that her session is there, and returns what comes with it.
fn resumed_at(node: &Node, smid: &str) -> (Client, String) {
    let begun = Instant::now();
    loop {
        let mut juliet = Client::log_in(node, JULIET);
        let resumed = juliet.resume(smid, 1);
        if resumed.contains("<resumed") {
            return (juliet, resumed);
        }
        assert!(resumed.contains("internal-server-error"), "it is not known to be gone: {resumed}");
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(100));
    }
}

/// The same, and messages 1 and 2 are there.
fn all_is_at(node: &Node, smid: &str) -> Client {
    all_to(2, node, smid)
}

/// The same, and messages 1 to `last` are there.
fn all_to(last: u32, node: &Node, smid: &str) -> Client {
    let (mut juliet, mut came) = resumed_at(node, smid);
    if bodies(&came).len() < last as usize {
        came += &juliet.until(|read| read.contains(&format!("<body>{last}</body>")));
    }
    assert_is_there(last, &came);
    juliet
}

/// Until it is so.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Romeo writes to juliet, who is at another node, loses her stream, and comes back to romeo's.
fn come_back(promise: &str, lose: impl FnOnce(Client, Node)) -> (String, Redis) {
    let redis = Redis::start();
    let (one, other) = (Node::start(&redis, "one", promise), Node::start(&redis, "other", promise));
    let mut romeo = Client::log_in(&one, ROMEO);
    romeo.begin();
    let mut juliet = Client::log_in(&other, JULIET);
    let smid = juliet.begin();
    romeo.say(&message(1));
    juliet.until(|read| read.contains("<body>1</body>"));
    lose(juliet, other);
    romeo.say(&message(2));
    let mut juliet = Client::log_in(&one, JULIET);
    // Her presence came to herself; message 1 she does not acknowledge.
    let mut resumed = juliet.resume(&smid, 1);
    if resumed.contains("<resumed") && !resumed.contains("<body>2</body>") {
        resumed += &juliet.until(|read| read.contains("<body>2</body>"));
    }
    romeo.ask(ASK, "<a ");
    (resumed, redis)
}

fn assert_all_is_there(resumed: &str) {
    assert_is_there(2, resumed);
}

/// Messages 1 to `last`, and no other.
fn assert_is_there(last: u32, resumed: &str) {
    assert!(resumed.starts_with("<resumed"), "{resumed}");
    assert_eq!(bodies(resumed), (1..=last).collect::<Vec<_>>(), "{resumed}");
}

#[test]
fn a_client_comes_back_to_another_node_while_its_own_has_the_session() {
    for promise in ["memory", "parked", "durable"] {
        let mut kept = None;
        let (resumed, _redis) = come_back(promise, |juliet, node| {
            // The connection is there, as far as the server knows.
            kept = Some((juliet, node));
        });
        assert_all_is_there(&resumed);
    }
}

#[test]
fn a_session_outlives_a_node_that_stops_in_good_order() {
    for promise in ["memory", "parked", "durable"] {
        let (resumed, _redis) = come_back(promise, |_juliet, node| node.stop());
        assert_all_is_there(&resumed);
    }
}

#[test]
fn a_parked_session_outlives_a_node_that_is_killed() {
    let (resumed, _redis) = come_back("parked", |juliet, node| {
        drop(juliet);
        thread::sleep(Duration::from_secs(1)); // to be seen, and written down
        drop(node);
    });
    assert_all_is_there(&resumed);
}

#[test]
fn a_durable_session_outlives_a_node_that_is_killed_with_its_stream() {
    let (resumed, _redis) = come_back("durable", |_juliet, node| drop(node));
    assert_all_is_there(&resumed);
}

/// It counts as dead, and what it has in memory is there still.
#[test]
fn a_node_that_hangs_keeps_its_streams() {
    let redis = Redis::start();
    let [(_one, mut romeo, _), (other, mut juliet, _)] = two(&redis, "memory");
    other.hang();
    thread::sleep(Duration::from_secs(9));
    other.signal("-CONT");
    romeo.say(&message(2));
    juliet.gets(&[2]);
}

#[test]
fn a_node_of_a_name_that_another_has_does_not_start() {
    let redis = Redis::start();
    let _one = Node::start(&redis, "one", "parked");
    let said = Node::try_start(example("server"), &redis.url(), "one", &[]).err().unwrap();
    assert!(said.contains("another node of the name one runs"), "{said}");
}

/// Or each would be dead for the others as soon as an answer is late.
#[test]
fn a_node_does_not_start_that_counts_as_dead_too_soon_or_never() {
    let redis = Redis::start();
    for time in ["0", "1", "2", "3601", "18446744073709551615", "-4", "soon"] {
        let time = format!("--dead-after={time}");
        let said = Node::try_start(example("server"), &redis.url(), "one", &[&time]).err().unwrap();
        assert!(said.contains("--dead-after"), "{said}");
        assert!(said.contains("from 3 to 3600: a node says every second that it lives"), "{said}");
    }
    Node::start_with(&redis, "one", &["--dead-after=3"]);
}

#[test]
fn a_client_asks_again_when_the_engine_is_away() {
    let mut redis = Redis::with_append_only_file();
    let (one, other) = (Node::start(&redis, "one", "durable"), Node::start(&redis, "other", "durable"));
    let mut juliet = Client::log_in(&other, JULIET);
    let smid = juliet.begin();
    redis.kill();
    drop(juliet);
    let mut juliet = Client::log_in(&one, JULIET);
    let failed = juliet.resume(&smid, 1);
    assert!(failed.contains("internal-server-error"), "{failed}");
    redis.start_again();
    resumed_at(&one, &smid);
}

/// It has expired meanwhile: that is known when the engine is back.
#[test]
fn a_client_asks_again_whose_session_ends_while_the_engine_is_away() {
    let mut redis = Redis::with_append_only_file();
    let one = Node::start_with(&redis, "one", &["--promise", "durable", "--resume-timeout", "1"]);
    let mut romeo = Client::log_in(&one, ROMEO);
    romeo.begin();
    let mut juliet = Client::log_in(&one, JULIET);
    let smid = juliet.begin();
    romeo.say(&message(1));
    juliet.gets(&[1]);
    redis.kill();
    drop(juliet);
    thread::sleep(Duration::from_secs(2));
    let failed = Client::log_in(&one, JULIET).resume(&smid, 1);
    assert!(failed.contains("internal-server-error"), "{failed}");
    redis.start_again();
    eventually("its end is known", || {
        let failed = Client::log_in(&one, JULIET).resume(&smid, 1);
        assert!(failed.contains("<failed"), "{failed}");
        failed.contains("item-not-found")
    });
    Client::log_in(&one, JULIET).begins_with(&[1]);
}

/// Tens of seconds of traffic under each promise, with all that can happen under it.
#[test]
fn nothing_is_lost_under_traffic() {
    for promise in ["memory", "parked", "durable"] {
        talk(promise, &["--pairs", "2", "--messages", "2000", "--every", "1000"]);
    }
}

/// It comes back with all that it had: sessions look what there is of them, and nothing is lost or doubled for that.
#[test]
fn nothing_is_lost_where_the_engine_is_killed_under_traffic() {
    for promise in ["memory", "parked", "durable"] {
        talk(promise, &["--pairs=2", "--messages=1000", "--every=1500", "--disturb=restart,cut"]);
    }
}

fn talk(promise: &str, more: &[&str]) {
    let output = example("nodes").args(["--promise", promise]).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{promise}: {}", said.lines().last().unwrap_or_default());
    assert!(output.status.success(), "{promise}: {said}{}", String::from_utf8_lossy(&output.stderr));
}
