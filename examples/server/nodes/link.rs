//! What nodes say to each other, and the mail of their users, over the Redis that they share.
//!
//! Each session has its mail in a list there, and each user a list for when there is none. Whichever node a message
//! comes to puts it behind what is in the list, and answers for it from then on; the node that has the session takes it
//! out, and forgets it there when the session has it. A session that moves leaves its mail where it is.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use jid::{FullJid, Jid};
use redis::aio::ConnectionManager;
use redis::{RedisResult, Script};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use xmpp_sm::{EndReason, Fence, Registration, SessionStore, SmId};

use super::super::Server;
use super::super::mail::{Delivery, Mail};
use super::super::stanza::Written;
use super::super::state::complain;
use super::super::stream::random;

/// Stanzas that a session takes out of its mail at once.
const MOST: isize = 50;
/// Stanzas that wait for a user who is not there.
const MOST_KEPT: usize = 1000;
/// Stanzas that go into lists in one round trip.
const BATCH: usize = 200;

/// The way to other nodes.
pub struct Link {
    client: redis::Client,
    redis: ConnectionManager,
    me: String,
    scripts: Scripts,
    out: UnboundedSender<(Delivery, Jid)>,
    pending: parking_lot::Mutex<Option<UnboundedReceiver<(Delivery, Jid)>>>,
}

/// What a session has to do with its mail.
pub struct Mailbox {
    /// There may be some.
    pub has_mail: bool,
    /// So many were taken, and are still in the list.
    taken: usize,
    /// The number of the call that strikes them off.
    call: u64,
    /// Its resource is bound at another node.
    pub is_replaced: bool,
    /// When to look again, after the engine has failed.
    pub again: Option<Instant>,
}

/// How long the engine is left in peace when it has failed.
pub const PAUSE: Duration = Duration::from_millis(250);

impl Mailbox {
    /// Of a session that begins, or comes from another node: it looks once.
    pub fn new() -> Self {
        Self { has_mail: true, taken: 0, call: random(), is_replaced: false, again: None }
    }

    fn must_pause(&mut self) -> bool {
        self.again.take_if(|again| *again <= Instant::now());
        self.again.is_some()
    }

    /// How many of a session's newest stanzas are still in its list.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

/// What names a session among nodes.
pub fn key(registration: &Registration) -> String {
    format!("{} {}", registration.owner(), registration.smid().as_str())
}

fn place(jid: &Jid) -> String {
    format!("xmpp-sm-place:{{{}}}", jid.to_bare())
}

/// The list of a session, or, without a resource, of its user.
fn list(jid: &Jid) -> String {
    format!("xmpp-sm-mail:{{{}}}{}", jid.to_bare(), jid.resource().map(|r| format!("/{r}")).unwrap_or_default())
}

/// Where the last call stands that may be made again.
fn last_call(jid: &Jid) -> String {
    format!("xmpp-sm-call:{{{}}}/{}", jid.to_bare(), jid.resource().map_or("", |resource| resource.as_str()))
}

/// KEYS: what this node has put last; and for each stanza the places of the user's sessions, and the user's own list.
/// ARGV: the number of this call, the time, how much may wait for a user without sessions; and for each stanza the
/// resource, whether another will do, the stanza, and the bare JID. A call that is made again does nothing, and has the
/// same answer.
const PUT: &str = "
    if redis.call('HGET', KEYS[1], 'call') == ARGV[1] then return redis.call('HGET', KEYS[1], 'answer') end
    local answer = {}
    local function is(key, kind)
      local found = redis.call('TYPE', key).ok
      return found == 'none' or found == kind
    end
    for item = 1, (#KEYS - 1) / 2 do
      local places, list, at = KEYS[2 * item], KEYS[2 * item + 1], 4 * item
      local resource, another, stanza, user = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
      local ours = is(places, 'hash')
      local node = ours and resource ~= '' and redis.call('HGET', places, resource)
      if ours and not node and another == '1' then
        local all = redis.call('HGETALL', places)
        resource, node = all[1] or '', all[2]
      end
      if node then list = list .. '/' .. resource end
      local most = tonumber(ARGV[3]) * (node and 10 or 1)
      if not ours or not is(list, 'list') or redis.call('LLEN', list) >= most then
        answer[item] = '0'
      elseif node then
        redis.call('RPUSH', list, ' ' .. stanza)
        redis.call('PUBLISH', 'xmpp-sm-link:' .. node, 'mail ' .. user .. '/' .. resource)
      elseif another == '1' then
        redis.call('RPUSH', list, ARGV[2] .. ' ' .. stanza)
      else
        answer[item] = '0'
      end
      answer[item] = answer[item] or '1'
    end
    answer = table.concat(answer)
    redis.call('HSET', KEYS[1], 'call', ARGV[1], 'answer', answer)
    redis.call('EXPIRE', KEYS[1], 86400)
    return answer";

/// KEYS: the places. ARGV: the resource, this node, the JID, and from where it may come: from anywhere, if that is
/// empty.
const ARRIVE: &str = "
    local before = redis.call('HGET', KEYS[1], ARGV[1])
    if before and ARGV[4] ~= '' and before ~= ARGV[4] then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    if before and before ~= ARGV[2] then redis.call('PUBLISH', 'xmpp-sm-link:' .. before, 'replaced ' .. ARGV[3]) end
    return 1";

/// KEYS: the places, the session's list, the user's, the last call. ARGV: the resource, this node, the bare JID, the
/// time, the number of this call, and what the session had and its client did not get. A call that is made again does
/// nothing. What it had goes before what was not taken: to the session that has the resource now, to another session,
/// or to the user's list.
const DEPART: &str = "
    if redis.call('GET', KEYS[4]) == ARGV[5] then return 1 end
    redis.call('SET', KEYS[4], ARGV[5], 'EX', 86400)
    local place = redis.call('HGET', KEYS[1], ARGV[1])
    if place and place ~= ARGV[2] then
      for at = #ARGV, 6, -1 do redis.call('LPUSH', KEYS[2], ' ' .. ARGV[at]) end
      redis.call('PUBLISH', 'xmpp-sm-link:' .. place, 'mail ' .. ARGV[3] .. '/' .. ARGV[1])
      return 1
    end
    redis.call('HDEL', KEYS[1], ARGV[1])
    local all = redis.call('HGETALL', KEYS[1])
    local list, since = KEYS[3], ARGV[4]
    if all[1] then list, since = KEYS[3] .. '/' .. all[1], '' end
    for at = 6, #ARGV do redis.call('RPUSH', list, since .. ' ' .. ARGV[at]) end
    for _, stanza in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do redis.call('RPUSH', list, stanza) end
    redis.call('DEL', KEYS[2])
    if all[1] then redis.call('PUBLISH', 'xmpp-sm-link:' .. all[2], 'mail ' .. ARGV[3] .. '/' .. all[1]) end
    return 1";

/// KEYS: the places, the session's list, the user's. ARGV: the resource, this node, how many, whether it takes what
/// waits for the user, which is older.
const TAKE: &str = "
    if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return false end
    if ARGV[4] == '1' then
      local kept = redis.call('LRANGE', KEYS[3], 0, -1)
      for at = #kept, 1, -1 do redis.call('LPUSH', KEYS[2], kept[at]) end
      redis.call('DEL', KEYS[3])
    end
    return redis.call('LRANGE', KEYS[2], 0, ARGV[3] - 1)";

/// KEYS: the places, the session's list, the last call. ARGV: the resource, this node, how many were taken, and the
/// number of this call, which does nothing if it is made again.
const TRIM: &str = "
    if redis.call('GET', KEYS[3]) == ARGV[4] then return 1 end
    if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
    redis.call('SET', KEYS[3], ARGV[4], 'EX', 86400)
    redis.call('LTRIM', KEYS[2], ARGV[3], -1)
    return 1";

/// Each is hashed once.
struct Scripts {
    arrive: Script,
    depart: Script,
    take: Script,
    trim: Script,
}

impl Link {
    pub fn new(client: redis::Client, redis: ConnectionManager, me: &str) -> Self {
        let (out, pending) = unbounded_channel();
        let scripts = Scripts {
            arrive: Script::new(ARRIVE),
            depart: Script::new(DEPART),
            take: Script::new(TAKE),
            trim: Script::new(TRIM),
        };
        Self { client, redis, me: me.to_owned(), scripts, out, pending: parking_lot::Mutex::new(Some(pending)) }
    }

    pub fn run(&self, server: &Arc<Server>) {
        let (redis, me) = (self.redis.clone(), self.me.clone());
        if let Some(pending) = self.pending.lock().take() {
            tokio::spawn(put(redis, me.clone(), pending, Arc::downgrade(server)));
        }
        tokio::spawn(hear(self.client.clone(), me, Arc::downgrade(server)));
    }

    /// A stanza for a user, wherever that is.
    pub fn send(&self, delivery: Delivery, to: Jid) {
        let _ = self.out.send((delivery, to));
    }

    /// Says something about a session to the node that has it. Returns whether that hears it.
    pub async fn say(&self, node: &[u8], what: &str, registration: &Registration) -> bool {
        let channel = [b"xmpp-sm-link:", node].concat();
        self.publish(&channel, &format!("{what} {}", key(registration))).await
    }

    /// Says something about a session to all nodes.
    pub async fn say_to_all(&self, what: &str, key: &str) {
        let _ = self.publish(b"xmpp-sm-link", &format!("{what} {key}")).await;
    }

    async fn publish(&self, channel: &[u8], text: &str) -> bool {
        let heard: RedisResult<u32> =
            redis::cmd("PUBLISH").arg(channel).arg(text).query_async(&mut self.redis.clone()).await;
        heard.is_ok_and(|nodes| nodes > 0)
    }

    /// A session is here, and its mail comes here. `from`: only if it was at that node, or is at none; returns whether
    /// it is here.
    pub async fn arrive(&self, jid: &FullJid, from: Option<&str>) -> RedisResult<bool> {
        let to = Jid::from(jid.clone());
        self.scripts
            .arrive
            .key(place(&to))
            .arg(jid.resource().as_str())
            .arg(&self.me)
            .arg(jid.as_str())
            .arg(from.unwrap_or_default())
            .invoke_async(&mut self.redis.clone())
            .await
    }

    /// All sessions that have a place, and the node where it is.
    pub async fn places(&self) -> RedisResult<Vec<(FullJid, String)>> {
        let (mut all, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg("xmpp-sm-place:*").arg("COUNT").arg(500).arg("TYPE").arg("hash");
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut self.redis.clone()).await?;
            for key in keys {
                let places: Vec<(String, String)> =
                    redis::cmd("HGETALL").arg(&key).query_async(&mut self.redis.clone()).await?;
                let user = key.trim_start_matches("xmpp-sm-place:{").trim_end_matches('}');
                all.extend(
                    places
                        .into_iter()
                        .filter_map(|(resource, node)| Some((FullJid::new(&format!("{user}/{resource}")).ok()?, node))),
                );
            }
            cursor = next;
            if cursor == 0 {
                return Ok(all);
            }
        }
    }

    /// A session is over, and has left these stanzas.
    pub async fn depart(&self, jid: &FullJid, left: &[Written]) {
        while let Err(error) = self.depart_from(&self.me, jid, left).await {
            complain(format_args!("{jid}: {error}"));
            sleep(Duration::from_secs(1)).await;
        }
    }

    pub async fn depart_from(&self, node: &str, jid: &FullJid, left: &[Written]) -> RedisResult<()> {
        let to = Jid::from(jid.clone());
        let mut call = self.scripts.depart.key(place(&to));
        call.key(list(&to)).key(list(&Jid::from(to.to_bare()))).key(last_call(&to));
        call.arg(jid.resource().as_str()).arg(node).arg(jid.to_bare().as_str());
        call.arg(since_epoch(SystemTime::now())).arg(random());
        for stanza in left {
            call.arg(stanza.bytes());
        }
        // Made again once, it does nothing if it was done.
        match call.invoke_async(&mut self.redis.clone()).await {
            Err(error) if error.is_timeout() => call.invoke_async(&mut self.redis.clone()).await,
            done => done,
        }
    }

    /// What is next in a session's mail. It stays there until it is trimmed.
    pub async fn take(&self, mailbox: &mut Mailbox, jid: &FullJid, takes_kept: bool) -> Vec<Written> {
        if mailbox.taken > 0 || mailbox.must_pause() {
            return Vec::new();
        }
        let to = Jid::from(jid.clone());
        let mut call = self.scripts.take.key(place(&to));
        call.key(list(&to)).key(list(&Jid::from(to.to_bare())));
        call.arg(jid.resource().as_str()).arg(&self.me).arg(MOST).arg(if takes_kept { "1" } else { "0" });
        let taken: RedisResult<Option<Vec<Vec<u8>>>> = call.invoke_async(&mut self.redis.clone()).await;
        match taken {
            Ok(None) => {
                (mailbox.has_mail, mailbox.is_replaced) = (false, true);
                Vec::new()
            }
            Ok(Some(stanzas)) => {
                mailbox.has_mail = stanzas.len() as isize == MOST;
                mailbox.taken = stanzas.len();
                stanzas.iter().filter_map(|stanza| read(stanza)).collect()
            }
            Err(error) => {
                complain(format_args!("the mail of {jid}: {error}"));
                mailbox.again = Some(Instant::now() + PAUSE);
                Vec::new()
            }
        }
    }

    /// What was taken is with the session.
    pub async fn trim(&self, mailbox: &mut Mailbox, jid: &FullJid) -> Fence {
        if mailbox.taken == 0 || mailbox.must_pause() {
            return Fence::Held;
        }
        let to = Jid::from(jid.clone());
        let mut call = self.scripts.trim.key(place(&to));
        call.key(list(&to)).key(last_call(&to)).arg(jid.resource().as_str()).arg(&self.me).arg(mailbox.taken);
        call.arg(mailbox.call);
        match call.invoke_async(&mut self.redis.clone()).await {
            Ok(1) => {
                (mailbox.taken, mailbox.call) = (0, random());
                Fence::Held
            }
            Ok(0_u8..) => Fence::Lost,
            Err(error) => {
                complain(format_args!("the mail of {jid}: {error}"));
                mailbox.again = Some(Instant::now() + PAUSE);
                Fence::Held
            }
        }
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A stanza of a list: after the time since when it waits for its user, if it does, and a space.
fn read(bytes: &[u8]) -> Option<Written> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let (time, stanza) = bytes.split_at(space);
    let stanza = Written::read(&stanza[1..])?;
    let time = std::str::from_utf8(time).ok()?.parse().ok();
    Some(match time {
        Some(time) => stanza.waiting_since(UNIX_EPOCH + Duration::from_millis(time)),
        None => stanza,
    })
}

/// Puts stanzas into lists, in the order in which they come, and settles them when they are there.
async fn put(
    mut redis: ConnectionManager,
    me: String,
    mut pending: UnboundedReceiver<(Delivery, Jid)>,
    server: Weak<Server>,
) {
    let (script, mut batch, mut number) = (Script::new(PUT), Vec::new(), 0_u64);
    while pending.recv_many(&mut batch, BATCH).await > 0 {
        number += 1;
        let mut call = script.key(format!("xmpp-sm-put:{me}"));
        call.arg(number).arg(since_epoch(SystemTime::now())).arg(MOST_KEPT);
        for (delivery, to) in &batch {
            let user = to.to_bare();
            call.key(place(to)).key(list(&Jid::from(user.clone())));
            call.arg(to.resource().map_or("", |resource| resource.as_str()));
            call.arg(if delivery.can_be_kept() { "1" } else { "0" }).arg(delivery.bytes()).arg(user.as_str());
        }
        let placed: Vec<u8> = loop {
            match call.invoke_async(&mut redis).await {
                Ok(placed) => break placed,
                Err(error) => complain(format_args!("mail: {error}")),
            }
            sleep(PAUSE).await;
        };
        for ((delivery, to), placed) in batch.drain(..).zip(placed) {
            match (placed, server.upgrade()) {
                (b'0', Some(server)) => server.router.has_no_place(delivery, &to),
                _ => drop(delivery.settle()),
            }
        }
    }
}

/// Hears what other nodes say.
async fn hear(client: redis::Client, me: String, server: Weak<Server>) {
    while server.strong_count() > 0 {
        if let Ok(mut said) = client.get_async_pubsub().await
            && said.subscribe(&["xmpp-sm-link".to_owned(), format!("xmpp-sm-link:{me}")]).await.is_ok()
        {
            // What was said meanwhile is lost: there may be mail for everybody.
            if let Some(server) = server.upgrade() {
                server.router.tell_all(|| Mail::Waiting);
            }
            let mut said = said.into_on_message();
            loop {
                let message = tokio::time::timeout(Duration::from_secs(1), said.next()).await;
                let Some(server) = server.upgrade() else { return };
                match message {
                    Ok(Some(message)) => {
                        if let Ok(text) = message.get_payload::<String>() {
                            obey(&text, &server).await;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn obey(text: &str, server: &Server) {
    let Some((what, about)) = text.split_once(' ') else { return };
    if let ("mail" | "replaced", Ok(jid)) = (what, FullJid::new(about)) {
        let mail = if what == "mail" { Mail::Waiting } else { Mail::End(EndReason::Replaced) };
        return server.router.tell(&jid, mail);
    }
    let Some((owner, smid)) = about.split_once(' ') else { return };
    if what == "free" {
        return server.nodes.iter().for_each(|nodes| nodes.is_free(about));
    }
    let Ok(smid) = SmId::new(smid) else { return };
    let found = server.store.lookup(&smid, owner, Instant::now());
    let Some(record) = found.ok().and_then(|found| found.session().ok()) else {
        if let Some(nodes) = server.nodes.as_ref().filter(|_| what == "let-go") {
            // There is nothing to wait for.
            nodes.link.say_to_all("free", about).await;
        }
        return;
    };
    let _ = record.handle.send(match what {
        "let-go" => Mail::LetGo,
        _ => Mail::End(EndReason::Replaced),
    });
}
