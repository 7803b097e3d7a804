//! The mail of users, as it lies in the Redis: a list for each session, and one for each user who has none.
//!
//! A user's *places* say at which node each resource is. The *holder* of a resource says which session has it, and what
//! that has taken out of its list and not struck off: it stays in the list until it is. What others put in front of the
//! list meanwhile is counted, so that exactly what was taken is struck off. It says, too, after which sessions it has the
//! resource that have not left it: what they have goes before what has come since. And it says whether the session takes
//! what is for its user and for no session by name, for it is available; or never does, for its priority is negative.
//!
//! A stanza in the list of a session says what becomes of it otherwise, unless it may wait for its user: in front of it,
//! where those that wait have their time.
//!
//! Each script can be made again, and does no harm if it comes late: a bind that its node has given up is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jid::{BareJid, FullJid, Jid};
use redis::aio::ConnectionManager;
use redis::{RedisResult, Script, ScriptInvocation};

/// How long an answer of the engine is waited for.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a call may be on its way that nobody waits for: what a connection that was given up sends yet, a quarter of an
/// hour at most (`tcp_retries2` of Linux), and as much again.
const LATE: Duration = Duration::from_secs(1800);
/// Stanzas that wait for a user who is not there. Ten times as many wait for a session.
const MOST_KEPT: usize = 1000;

/// How much a session takes at once: so many stanzas, and bytes unless it is a single one. The backlog has room for them.
#[derive(Clone, Copy)]
pub struct Most {
    pub stanzas: usize,
    pub bytes: usize,
}

/// A session that has a resource, or had it.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub node: &'a str,
    pub jid: &'a FullJid,
    /// Its SM-ID, whether or not it can be resumed. `None`: an earlier version has not said it.
    pub session: Option<&'a str>,
}

/// What a session takes out of its list next, or has taken.
#[derive(Clone, Copy)]
pub struct Call {
    /// Who takes it: another one for each session, and each time that it moves.
    pub taker: u64,
    /// Goes up with everything that is struck off.
    pub number: u64,
}

/// A stanza that is put into a list.
pub struct Posted<'a> {
    pub to: &'a Jid,
    pub otherwise: Otherwise,
    pub stanza: &'a [u8],
}

/// What becomes of a stanza for a session that is not there, or for none by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Another session of the user has it, or it waits for the user.
    Waits,
    /// Another session has it, if there is one.
    Another,
    /// It has no place.
    Nothing,
}

/// A resource that is at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub jid: FullJid,
    pub node: String,
    /// See [`Holder::session`].
    pub session: Option<String>,
}

/// When a session takes what waits for its user. What comes for it later is put behind that, unless it never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Now,
    /// Its client has not said yet whether it is available.
    Later,
    Never,
}

/// What a session finds that takes what is next in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// And whether there is more.
    Stanzas(Vec<Vec<u8>>, bool),
    /// Others are still to leave what they have. There they had the resource.
    After(Vec<Place>),
    /// Nobody has the resource, or this very session has it at another node: see [`Lists::stay`].
    Astray,
    /// Another session has it.
    Replaced,
}

/// What a session finds that strikes off what it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    IsStruck,
    /// It is not known what was taken: the engine has lost that.
    IsUnknown,
    /// See [`Taken`].
    Astray,
    Replaced,
}

/// The lists, by one connection.
pub struct Lists {
    redis: ConnectionManager,
    // Each is hashed once.
    put: Script,
    arrive: Script,
    take: Script,
    trim: Script,
    depart: Script,
}

impl Lists {
    pub fn new(redis: ConnectionManager) -> Self {
        macro_rules! script {
            ($($file:literal),*) => { Script::new(concat!($(include_str!(concat!("lists/", $file, ".lua"))),*)) };
        }
        Self {
            redis,
            put: script!("another", "put"),
            arrive: script!("head", "arrive"),
            take: script!("head", "take"),
            trim: script!("head", "trim"),
            depart: script!("without_memory", "another", "head", "depart"),
        }
    }

    /// Puts stanzas into lists, in that order. Returns `0` for each that has no place there. `number` is another one for
    /// each call of a node.
    pub async fn put(&self, node: &str, number: u64, posted: &[Posted<'_>]) -> RedisResult<Vec<u8>> {
        let mut call = self.put.key(format!("xmpp-sm-put:{node}"));
        call.arg(number).arg(since_epoch()).arg(MOST_KEPT);
        for Posted { to, otherwise, stanza } in posted {
            let user = to.to_bare();
            call.key(places(&user)).key(list(&user));
            call.arg(to.resource().map_or("", |resource| resource.as_str()));
            call.arg(otherwise.name()).arg(*stanza).arg(user.as_str());
        }
        call.invoke_async(&mut self.redis.clone()).await
    }

    /// A session has its resource, and its mail from now on. `is_new`: whoever had it before. Returns whether it has it.
    pub async fn arrive(&self, holder: Holder<'_>, is_new: bool) -> RedisResult<bool> {
        let mut redis = self.redis.clone();
        let mut call = holder.call(&self.arrive, Call { taker: 0, number: 0 });
        call.arg(holder.jid.to_bare().as_str()).arg(u8::from(is_new));
        if is_new {
            // As long as it is waited for from now on, which is later.
            let (seconds, micros) = redis::cmd("TIME").query_async(&mut redis).await?;
            let until = Duration::from_secs(seconds) + Duration::from_micros(micros) + PATIENCE;
            call.arg(until.as_micros() as u64);
        }
        call.invoke_async(&mut redis).await
    }

    /// A session has its resource, as before, unless another one has it.
    pub async fn stay(&self, holder: Holder<'_>) -> RedisResult<()> {
        let mut call = holder.call(&self.arrive, Call { taker: 0, number: 0 });
        call.arg(holder.jid.to_bare().as_str()).arg("stays");
        call.invoke_async(&mut self.redis.clone()).await
    }

    /// What comes next for a session, in which nothing is that was taken and not struck off. `waits`: for those who had the
    /// resource before and have not left it.
    pub async fn take(
        &self,
        holder: Holder<'_>,
        what: Call,
        most: Most,
        kept: Kept,
        waits: bool,
    ) -> RedisResult<Taken> {
        let mut call = holder.call(&self.take, what);
        call.arg(most.stanzas).arg(kept.name()).arg(u8::from(!waits)).arg(most.bytes);
        let mut taken: Vec<Vec<u8>> = call.invoke_async(&mut self.redis.clone()).await?;
        let rest = taken.split_off(1);
        Ok(match &taken[0][..] {
            b"astray" => Taken::Astray,
            b"replaced" => Taken::Replaced,
            b"after" => Taken::After(rest.iter().filter_map(|former| before(holder.jid, former)).collect()),
            is => Taken::Stanzas(rest, is == b"more"),
        })
    }

    /// Strikes off what was taken. If the session does not have the resource any more, that is still there.
    pub async fn trim(&self, holder: Holder<'_>, what: Call) -> RedisResult<Trimmed> {
        let trimmed: String = holder.call(&self.trim, what).invoke_async(&mut self.redis.clone()).await?;
        Ok(match trimmed.as_str() {
            "struck" => Trimmed::IsStruck,
            "astray" => Trimmed::Astray,
            "replaced" => Trimmed::Replaced,
            _ => Trimmed::IsUnknown,
        })
    }

    /// A session is over, and has left these, each with whether it was taken by that call and not struck off. Returns
    /// whether those go on from here: otherwise they are where they were. And what has no place where the rest has gone: no
    /// other session may have it, or there is no room.
    pub async fn depart(
        &self,
        holder: Holder<'_>,
        what: Call,
        left: impl Iterator<Item = (bool, &[u8])>,
    ) -> RedisResult<(bool, Vec<Vec<u8>>)> {
        let mut call = holder.call(&self.depart, what);
        call.arg(holder.jid.to_bare().as_str()).arg(since_epoch()).arg(MOST_KEPT);
        for (is_taken, stanza) in left {
            call.arg(u8::from(is_taken)).arg(stanza);
        }
        let mut answer: Vec<Vec<u8>> = call.invoke_async(&mut self.redis.clone()).await?;
        let back = answer.split_off(1);
        if !back.is_empty() {
            let mut forget = redis::cmd("UNLINK");
            forget.arg(format!("{}/back", calls(holder.jid, what.taker)));
            let _: RedisResult<()> = forget.exec_async(&mut self.redis.clone()).await; // or it goes a day later
        }
        self.is_done(holder, what).await;
        Ok((answer[0] == b"1", back))
    }

    /// All calls of a taker are answered, or their answers are nothing to anybody.
    pub async fn is_done(&self, holder: Holder<'_>, Call { taker, .. }: Call) {
        let mut sooner = redis::cmd("EXPIRE");
        sooner.arg(calls(holder.jid, taker)).arg(LATE.as_secs());
        let _: RedisResult<()> = sooner.exec_async(&mut self.redis.clone()).await; // or it goes a day later
    }

    /// The resources of a user, and the nodes where they are.
    pub async fn places_of(&self, user: &BareJid) -> RedisResult<Vec<(FullJid, String)>> {
        let mut all = redis::cmd("HGETALL");
        let all: Vec<(String, String)> = all.arg(places(user)).query_async(&mut self.redis.clone()).await?;
        let jid = |resource: &str| user.with_resource_str(resource).ok();
        Ok(all.into_iter().filter_map(|(resource, node)| Some((jid(&resource)?, node))).collect())
    }

    /// The node where a resource is. Empty: it is nowhere.
    pub async fn node_of(&self, jid: &FullJid) -> RedisResult<String> {
        let mut at = redis::cmd("HGET");
        at.arg(places(&jid.to_bare())).arg(jid.resource().as_str());
        let at: Option<String> = at.query_async(&mut self.redis.clone()).await?;
        Ok(at.unwrap_or_default())
    }

    /// The place of a resource that is at a node.
    pub async fn place(&self, jid: FullJid, node: String) -> RedisResult<Place> {
        let mut held = redis::cmd("HMGET");
        held.arg(holder(&jid)).arg("node").arg("session");
        let (at, session): (Option<String>, Option<String>) = held.query_async(&mut self.redis.clone()).await?;
        Ok(Place { session: session.filter(|_| at.as_ref() == Some(&node)), jid, node })
    }

    /// All users some session of whom has a place.
    pub async fn users(&self) -> RedisResult<Vec<BareJid>> {
        let (mut all, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg("xmpp-sm-place:*").arg("COUNT").arg(500).arg("TYPE").arg("hash");
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut self.redis.clone()).await?;
            let users = keys.iter().map(|key| key.trim_start_matches("xmpp-sm-place:{").trim_end_matches('}'));
            all.extend(users.filter_map(|user| BareJid::new(user).ok()));
            cursor = next;
            if cursor == 0 {
                return Ok(all);
            }
        }
    }
}

impl Otherwise {
    fn name(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Another => "another",
            Self::Nothing => "nothing",
        }
    }
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Later => "later",
            Self::Never => "never",
        }
    }
}

impl Holder<'_> {
    fn call<'a>(&self, script: &'a Script, Call { taker, number }: Call) -> ScriptInvocation<'a> {
        let user = self.jid.to_bare();
        let mut call = script.key(places(&user));
        call.key(format!("{}/{}", list(&user), self.jid.resource())).key(holder(self.jid)).key(list(&user));
        call.key(calls(self.jid, taker));
        call.arg(self.jid.resource().as_str()).arg(self.node).arg(self.session.unwrap_or_default());
        call.arg(format!("{taker:016x}")).arg(number);
        call
    }
}

fn places(user: &BareJid) -> String {
    format!("xmpp-sm-place:{{{user}}}")
}

fn list(user: &BareJid) -> String {
    format!("xmpp-sm-mail:{{{user}}}")
}

fn holder(jid: &FullJid) -> String {
    format!("xmpp-sm-holder:{{{}}}/{}", jid.to_bare(), jid.resource())
}

/// What was done for a taker.
fn calls(jid: &FullJid, taker: u64) -> String {
    format!("xmpp-sm-calls:{{{}}}{taker:016x}", jid.to_bare())
}

fn since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A session and its node, as a holder names those who had its resource before.
fn before(jid: &FullJid, former: &[u8]) -> Option<Place> {
    let (session, node) = std::str::from_utf8(former).ok()?.split_once(' ')?;
    Some(Place { jid: jid.clone(), node: node.to_owned(), session: Some(session.to_owned()) })
}

/// A stanza of a list, as it was put there, and since when it waits for its user, if it does.
pub fn read(bytes: &[u8]) -> Option<(&[u8], Option<SystemTime>)> {
    let (time, stanza) = bytes.split_at(bytes.iter().position(|byte| *byte == b' ')?);
    let since = std::str::from_utf8(time).ok()?.parse().ok().map(Duration::from_millis);
    Some((&stanza[1..], since.map(|since| UNIX_EPOCH + since)))
}
