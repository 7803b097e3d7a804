//! What every scenario starts with: a server, a proxy before it, the client behind the proxy, and the partner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::account::{Account, Audit, Blame};
use crate::driver::{Driver, Login};
use crate::journal::{End, Event, Journal, Message, State};
use crate::ledger::Ledger;
use crate::partner;
use crate::peers::{Client, DOMAIN, Options, PASSWORD, Place, Running, Server, USERS, free_port, start};
use crate::proof::direction;
use crate::proxy::{Cut, Proxy};
use crate::record::{Dir, Recorder};
use crate::scenario::{ENDS, Scenario};
use crate::wire::{self, Connection, Item, What};

/// Long enough for any step that works, on a machine that is busy.
pub const STEP: Duration = Duration::from_secs(30);

/// Nobody needs so long for the next step of a login.
const STUCK: Duration = Duration::from_secs(8);
const STUCK_TRIES: usize = 4;

pub struct Stage {
    pub proxy: Proxy,
    pub journal: Arc<Journal>,
    pub recorder: Arc<Recorder>,
    pub client: Driver,
    pub partner: Driver,
    pub tag: String,
    /// The scenario makes sessions end that could have been resumed.
    ends_sessions: bool,
    suspect: Blame,
    /// Connections on which nothing went on, and who should have spoken.
    stuck: Vec<(usize, Blame)>,
    numbers: [u32; 2],
    server: Running,
    /// What the server had worked before there was anything to do.
    cpu_before: Option<Duration>,
}

impl Stage {
    /// Everybody is logged in and online when this returns.
    pub async fn set(
        client: &dyn Client,
        server: &dyn Server,
        place: &Place,
        scenario: Scenario,
        ours: Option<Blame>,
    ) -> Result<Self, String> {
        let websocket = if client.is_websocket() { Some(free_port().map_err(|e| e.to_string())?) } else { None };
        let options = Options { inline: client.is_inline(), websocket, ..scenario.options() };
        let running = start(server, &options, place).await?;
        let start = Instant::now();
        let journal = Journal::create(&place.log("events"), start).map_err(|e| e.to_string())?;
        let journal = Arc::new(journal);
        let recorder = Recorder::create(&place.log("wire"), start).map_err(|e| e.to_string())?;
        let recorder = Arc::new(recorder);
        let addr = websocket.map_or(running.addr, |port| (running.addr.ip(), port).into());
        let proxy = Proxy::start(addr, recorder.clone()).await.map_err(|e| e.to_string())?;
        let [client_jid, partner_jid] = USERS.map(|user| format!("{user}@{DOMAIN}/{}", place.name));
        let login = |addr, jid: &str, partner: &str| Login {
            addr,
            jid: jid.to_owned(),
            password: PASSWORD.to_owned(),
            partner: partner.to_owned(),
            max: options.max,
        };
        // Where the server chooses the resource, the client is addressed without.
        let address = if options.inline { format!("{}@{DOMAIN}", USERS[0]) } else { client_jid.clone() };
        let to_client = login(running.addr, &partner_jid, &address);
        let partner = Driver::task(End::Partner, &journal, |seat| partner::run(to_client, seat));
        let client = client.start(login(proxy.addr, &client_jid, &partner_jid), &journal, place)?;
        let stage = Self {
            proxy,
            journal,
            recorder,
            client,
            partner,
            tag: place.name.clone(),
            ends_sessions: scenario.ends_sessions(),
            suspect: ours.unwrap_or(Blame::Server),
            stuck: Vec::new(),
            numbers: [0, 0],
            cpu_before: running.cpu(),
            server: running,
        };
        for (end, jid) in [(End::Partner, &partner_jid), (End::Client, &client_jid)] {
            let online = stage.until("both are online", |state| state.tally(end).online > 0).await;
            online?;
            let bound = stage.journal.with(|state| state.tally(end).jid.clone());
            let is_bound = |bound: &String| match options.inline && end == End::Client {
                true => bound.strip_prefix(jid).is_some_and(|number| number.starts_with('/')),
                false => bound == jid,
            };
            if !bound.as_ref().is_some_and(is_bound) {
                return Err(format!("{end:?} is bound to {bound:?}, not to {jid}"));
            }
        }
        Ok(stage)
    }

    /// Everybody goes home.
    pub async fn clear(self) {
        tokio::join!(self.client.quit(), self.partner.quit());
    }

    /// The account of everything so far.
    pub fn audit(&self) -> Account {
        self.journal.with(|journal| {
            // What is in the journal is on the wire by now, while nobody adds to it.
            let (ledger, cuts) = (self.ledger(), self.proxy.cuts());
            Audit {
                journal,
                ledger: &ledger,
                tag: &self.tag,
                cuts: &cuts,
                suspect: self.suspect,
                ends_sessions: self.ends_sessions,
                stuck: &self.stuck,
            }
            .account()
        })
    }

    /// What the server has worked for all that.
    pub fn cpu(&self) -> Option<Duration> {
        self.server.cpu()?.checked_sub(self.cpu_before?)
    }

    pub fn ledger(&self) -> Ledger {
        let connections = self.recorder.with_chunks(wire::read);
        Ledger::new(&connections, &self.tag, &self.proxy.resets())
    }

    pub fn say(&mut self, from: End) -> Message {
        let (driver, number) = match from {
            End::Client => (&self.client, &mut self.numbers[0]),
            End::Partner => (&self.partner, &mut self.numbers[1]),
        };
        *number += 1;
        let message = Message { from, number: *number };
        driver.send(*number, message.body(&self.tag));
        message
    }

    /// How often the client was up. Whether it should have resumed where it bound anew, the account says.
    pub fn ups(&self) -> usize {
        self.journal.with(ups)
    }

    /// Waits until the client is up once more. A connection on which nothing goes on is noted and cut.
    pub async fn until_up(&mut self, before: usize) -> Result<(), String> {
        for _ in 0..STUCK_TRIES {
            let up = |state: &State| (ups(state) > before).then_some(());
            if self.journal.wait(STUCK, up).await.is_some() {
                return Ok(());
            }
            let newest = self.proxy.newest();
            self.stuck.push((newest, self.whose_turn(newest)));
            self.proxy.cut(newest, Cut::Rst);
        }
        Err("the client does not come back".into())
    }

    /// Who has not answered: the one that did not speak last; the client, if it is not even connected.
    fn whose_turn(&self, connection: usize) -> Blame {
        let connections = self.recorder.with_chunks(wire::read);
        let Some(c) = connections.get(connection).filter(|_| !self.proxy.is_over(connection)) else {
            return Blame::Client;
        };
        let last = |items: &[Item]| items.last().map(|item| item.at);
        // After its header the server's features are due.
        let header = c.to_client.last().is_some_and(|item| item.what == What::Header);
        if header || last(&c.to_server) > last(&c.to_client) { Blame::Server } else { Blame::Client }
    }

    /// Waits for something to happen, and names it when it does not.
    pub async fn until(&self, what: &str, mut look: impl FnMut(&State) -> bool) -> Result<(), String> {
        let find = |state: &State| look(state).then_some(());
        self.journal.wait(STEP, find).await.ok_or_else(|| format!("waited in vain: {what}"))
    }

    /// Waits for something to come by on the wire.
    pub async fn until_wire(&self, what: &str, look: impl Fn(&[Connection]) -> bool) -> Result<(), String> {
        let seen = self.recorder.wait(STEP, |chunks| look(&wire::read(chunks)));
        if seen.await { Ok(()) } else { Err(format!("waited in vain for {what} on the wire")) }
    }

    /// Whether what a lost session had not brought to the client came in the end: in order, and with the time at which
    /// it was sent, which is `ENDS` before the session's end at least. What was written on the `old` connection may have
    /// been read there, and acknowledged behind the session's end: then it does not come again.
    pub fn redelivered(&self, sent: Timestamp, messages: &[Message], old: Option<usize>) -> Result<(), String> {
        let written = self.recorder.with_chunks(|chunks| {
            let chunks = chunks.iter().filter(|chunk| Some(chunk.connection) == old && chunk.dir == Dir::ToClient);
            chunks.flat_map(|chunk| chunk.bytes.iter().copied()).collect::<Vec<u8>>()
        });
        let written = String::from_utf8_lossy(&written);
        let (mut last, mut again) = (0, 0);
        for message in messages.iter().filter(|message| message.from == End::Partner) {
            let body = message.body(&self.tag);
            let received = self.journal.with(|state| {
                let received = state.of(End::Client).enumerate().filter_map(|(at, entry)| match &entry.event {
                    Event::Received { body: b, delay } if *b == body => Some((at, delay.clone())),
                    _ => None,
                });
                received.last()
            });
            let (at, delay) = received.ok_or_else(|| format!("{body} did not come"))?;
            if std::mem::replace(&mut last, at) > at {
                return Err(format!("{body} came after a later one"));
            }
            if delay.is_none() && written.contains(&format!(">{body}<")) {
                continue;
            }
            again += 1;
            let stamp = delay.as_deref().unwrap_or("none").parse::<Timestamp>();
            // Stamps may be of whole seconds.
            let range = sent.as_second()..sent.as_second() + i64::from(ENDS);
            if !stamp.is_ok_and(|stamp| range.contains(&stamp.as_second())) {
                return Err(format!("{body}: its delay is {delay:?}, and it was sent at {sent}"));
            }
        }
        if again == 0 { Err("nothing was redelivered".to_owned()) } else { Ok(()) }
    }

    /// How many bytes the client's last message on a connection took up to its text.
    pub fn bytes_to_text(&self, connection: usize) -> Result<u64, String> {
        let written = self.recorder.with_chunks(|chunks| {
            let chunks = chunks.iter().filter(|chunk| chunk.connection == connection && chunk.dir == Dir::ToServer);
            chunks.flat_map(|chunk| chunk.bytes.iter().copied()).collect::<Vec<u8>>()
        });
        let text = String::from_utf8_lossy(&written);
        let head = text.rfind("<message").and_then(|start| text[start..].find("<body>"));
        head.map(|length| (length + "<body>".len()) as u64).ok_or_else(|| format!("no message on #{connection}"))
    }

    /// From now on nothing goes through, and what was held back is gone. Each end has written so many messages when
    /// this returns; our client, who does not wait for ever for an answer, had better be the last.
    pub async fn say_in_vain(&mut self, connection: usize, counts: [(End, u32); 2]) -> Result<Vec<Message>, String> {
        self.proxy.darken(connection);
        self.proxy.pause(connection, &[]);
        let mut messages = Vec::new();
        for (from, count) in counts {
            let said: Vec<Message> = (0..count).map(|_| self.say(from)).collect();
            if let Some(last) = said.last() {
                let last = What::Message { body: last.body(&self.tag) };
                let written = |connections: &[Connection]| {
                    connections[connection].items(direction(from)).iter().any(|item| item.what == last)
                };
                self.until_wire("the last message", written).await?;
            }
            messages.extend(said);
        }
        Ok(messages)
    }

    /// Some messages each way; both ends have them, the server knows it, and no `<r/>` is without its answer.
    pub async fn chat(&mut self, count: usize) -> Result<(), String> {
        for from in [End::Client, End::Partner].repeat(count) {
            let message = self.say(from);
            self.until_received(message).await?;
        }
        let acknowledged = |connections: &[Connection]| {
            let ledger = Ledger::new(connections, &self.tag, &[]);
            let (Some(session), Some(link)) = (ledger.sessions.last(), ledger.links.last()) else { return false };
            session.client.arrived == link.last_down
        };
        self.until_wire("the client's last acknowledgement", acknowledged).await?;
        self.until_wire("the server's last acknowledgement", |connections| {
            connections.last().is_some_and(Connection::is_answered)
        })
        .await
    }

    pub async fn until_received(&self, message: Message) -> Result<(), String> {
        let body = message.body(&self.tag);
        let end = message.from.other();
        self.until(&format!("{end:?} receives \"{body}\""), |state| state.has_received(end, &body)).await
    }
}

fn ups(state: &State) -> usize {
    let tally = state.tally(End::Client);
    tally.online + tally.resumed
}
