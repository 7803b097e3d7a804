//! What nodes say to each other, and the mail of their users, over the Redis that they share.
//!
//! Each session has its mail in a [list](super::lists) there, and each user one for when there is none. Whichever node a
//! message comes to puts it behind what is in the list, and answers for it from then on; the node that has the session
//! takes it out, and strikes it off there when the session has it. A session that moves leaves its mail where it is.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jid::{BareJid, FullJid, Jid};
use redis::RedisResult;
use redis::aio::ConnectionManager;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use xmpp_sm::{Counter, EndReason, Registration, SessionStore, SmId};

use super::super::Server;
use super::super::mail::{Delivery, Mail};
use super::super::metrics::MailCounters;
use super::super::stanza::Written;
use super::super::state::complain;
use super::super::stream::random;
use super::lists::{self, Call, Holder, Kept, Lists, Most, Otherwise, Place, Posted, Taken, Trimmed};

/// Stanzas that go into lists in one round trip.
const BATCH: usize = 200;

/// The way to other nodes.
pub struct Link {
    client: redis::Client,
    pub(super) redis: ConnectionManager,
    pub(super) me: String,
    lists: Arc<Lists>,
    /// Of what a session takes out of its mail.
    most: Most,
    pub counters: MailCounters,
    out: UnboundedSender<(Delivery, Jid)>,
    pending: parking_lot::Mutex<Option<UnboundedReceiver<(Delivery, Jid)>>>,
}

/// What a session has to do with its mail.
pub struct Mailbox {
    /// Its SM-ID, whether or not it can be resumed: a place names it.
    pub smid: SmId,
    /// Whether the session takes any yet. What is written before its client has asked for stream management is not counted.
    is_open: bool,
    /// There may be some.
    has_mail: bool,
    /// Since when it waits for those who had its resource before.
    after: Option<Instant>,
    /// What was taken, and is still in the list.
    taken: Option<Vec<Written>>,
    /// What takes it, or takes the next.
    call: Call,
    /// Its resource is bound at another node.
    pub is_replaced: bool,
    /// The engine may have lost what it had of the session.
    pub is_doubtful: bool,
    /// When to look again, after the engine has failed.
    pub again: Option<Instant>,
}

/// How long a session waits at most for what those have who had its resource before: longer than these take to end.
const AFTER: Duration = Duration::from_secs(10);
/// How long the engine is left in peace when it has failed.
pub const PAUSE: Duration = Duration::from_millis(250);

impl Mailbox {
    /// Of a session that begins.
    pub fn new(smid: SmId) -> Self {
        let call = Call { taker: random(), number: 1 };
        let (is_open, has_mail, is_replaced, is_doubtful) = (false, true, false, false);
        Self { smid, is_open, has_mail, after: None, taken: None, call, is_replaced, is_doubtful, again: None }
    }

    /// Its client has begun to talk, or it comes from another node.
    pub fn open(&mut self) {
        self.is_open = true;
    }

    /// There may be some.
    pub fn told(&mut self) {
        self.has_mail = true;
        self.again.take_if(|_| self.after.is_some());
    }

    /// Whether there may be some for a session that takes it.
    pub fn has_mail(&self) -> bool {
        self.is_open && self.has_mail && self.taken.is_none()
    }

    /// The session waits for those who had its resource before, unless nothing comes of them any more.
    pub fn wait(&mut self, are_to_leave: bool) {
        let now = Instant::now();
        let since = self.after.get_or_insert(now);
        if !are_to_leave {
            *since = now.checked_sub(AFTER).unwrap_or(now);
        }
        self.again = Some(now + PAUSE);
    }

    fn must_pause(&mut self) -> bool {
        self.again.take_if(|again| *again <= Instant::now());
        self.again.is_some()
    }

    /// Whether it is to be asked now what the engine has of the session.
    pub fn looks(&mut self) -> bool {
        self.is_doubtful && !self.must_pause()
    }

    /// Whether something is still in the list that the session has.
    pub fn has_taken(&self) -> bool {
        self.taken.is_some()
    }

    /// Whether a stanza of the session is still in the list.
    pub fn is_taken(&self, stanza: &Written) -> bool {
        self.taken.iter().flatten().any(|taken| stanza.is_same(taken))
    }

    fn holder<'a>(&'a self, node: &'a str, jid: &'a FullJid) -> Holder<'a> {
        Holder { node, jid, session: Some(self.smid.as_str()) }
    }
}

/// What names a session among nodes.
pub fn key(registration: &Registration) -> String {
    format!("{} {}", registration.owner(), registration.smid().as_str())
}

impl Link {
    pub fn new(client: redis::Client, redis: ConnectionManager, me: &str, most: Most) -> Self {
        let (out, pending) = unbounded_channel();
        let (me, lists) = (me.to_owned(), Arc::new(Lists::new(redis.clone())));
        let counters = MailCounters::default();
        Self { client, redis, me, lists, most, counters, out, pending: parking_lot::Mutex::new(Some(pending)) }
    }

    pub fn run(&self, server: &Arc<Server>) {
        let me = self.me.clone();
        if let Some(pending) = self.pending.lock().take() {
            tokio::spawn(put(self.lists.clone(), self.counters.clone(), me.clone(), pending, Arc::downgrade(server)));
        }
        tokio::spawn(hear(self.client.clone(), me, Arc::downgrade(server)));
    }

    /// A stanza for a user, wherever that is.
    pub fn send(&self, delivery: Delivery, to: Jid) {
        let _ = self.out.send((delivery, to));
    }

    /// Says something about a session to the node that has it. Returns whether that hears it.
    pub async fn say(&self, node: &str, what: &str, registration: &Registration) -> bool {
        let heard = self.publish(&format!("xmpp-sm-link:{node}"), &format!("{what} {}", key(registration))).await;
        heard.is_ok_and(|nodes| nodes > 0)
    }

    /// Has a node let go of a session for a client that has handled so many stanzas, or say that it keeps the session.
    /// Returns whether the node hears it.
    pub async fn ask(&self, node: &str, registration: &Registration, h: Counter) -> bool {
        let asks = format!("asks {} {}", h.get(), key(registration));
        match self.publish(&format!("xmpp-sm-link-2:{node}"), &asks).await {
            // An earlier version, which does not look at the h.
            Ok(0) => self.say(node, "let-go", registration).await,
            heard => heard.is_ok(),
        }
    }

    /// Says something about a session to all nodes.
    pub async fn say_to_all(&self, what: &str, key: &str) {
        let _ = self.publish("xmpp-sm-link", &format!("{what} {key}")).await;
    }

    /// Says to all that a session stays where it is: no client has handled so many stanzas of it.
    pub async fn say_kept(&self, registration: &Registration, h: Counter) {
        let _ = self.publish("xmpp-sm-link-2", &format!("keeps {} {}", h.get(), key(registration))).await;
    }

    /// Returns how many have heard it.
    async fn publish(&self, channel: &str, text: &str) -> RedisResult<u32> {
        redis::cmd("PUBLISH").arg(channel).arg(text).query_async(&mut self.redis.clone()).await
    }

    /// A session is here, and its mail comes here. `is_new`: its client binds the resource now, whoever had it; returns
    /// whether it has it.
    pub async fn arrive(&self, jid: &FullJid, smid: &SmId, is_new: bool) -> RedisResult<bool> {
        self.lists.arrive(Holder { node: &self.me, jid, session: Some(smid.as_str()) }, is_new).await
    }

    /// A session is here, and has its resource again if nobody has it.
    pub async fn stay(&self, jid: &FullJid, smid: &SmId) -> RedisResult<()> {
        self.lists.stay(Holder { node: &self.me, jid, session: Some(smid.as_str()) }).await
    }

    /// A session is over, and has left these stanzas. Returns whether those go on from here that it had taken and not
    /// struck off: otherwise they are in a list.
    pub async fn depart(&self, mailbox: &Mailbox, jid: &FullJid, left: &[Written]) -> bool {
        let number = if mailbox.has_taken() { mailbox.call.number } else { 0 };
        let call = Call { number, ..mailbox.call };
        loop {
            let left = left.iter().map(|stanza| (mailbox.is_taken(stanza), stanza.bytes()));
            match self.lists.depart(mailbox.holder(&self.me, jid), call, left).await {
                Ok((has_taken, back)) => {
                    self.put_back(jid, &back);
                    return has_taken;
                }
                Err(error) => complain(format_args!("{jid}: {error}")),
            }
            self.counters.failures.inc();
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// A session is at another node, and nothing of its mail is taken from here any more.
    pub async fn has_moved(&self, mailbox: &Mailbox, jid: &FullJid) {
        if mailbox.call.number > 1 {
            self.lists.is_done(mailbox.holder(&self.me, jid), mailbox.call).await;
        }
    }

    /// The session that has a place is nowhere, and its mail goes on.
    pub async fn vacate(&self, Place { jid, node, session }: &Place) -> RedisResult<()> {
        let call = Call { taker: random(), number: 0 };
        let holder = Holder { node, jid, session: session.as_deref() };
        let (_, back) = self.lists.depart(holder, call, std::iter::empty()).await?;
        self.put_back(jid, &back);
        Ok(())
    }

    /// What has no place without a session, which goes back to its senders from here; unless the resource is there again.
    fn put_back(&self, jid: &FullJid, back: &[Vec<u8>]) {
        back.iter()
            .filter_map(|stanza| read(stanza))
            .for_each(|stanza| self.send(Delivery::own(stanza), jid.clone().into()));
    }

    /// All resources that are at a node.
    pub async fn places(&self) -> RedisResult<Vec<(FullJid, String)>> {
        let mut all = Vec::new();
        for user in self.lists.users().await? {
            all.extend(self.lists.places_of(&user).await?);
        }
        Ok(all)
    }

    /// Whether a resource is at this node.
    pub async fn is_here(&self, jid: &FullJid) -> RedisResult<bool> {
        Ok(self.lists.node_of(jid).await? == self.me)
    }

    pub async fn place(&self, jid: FullJid, node: String) -> RedisResult<Place> {
        self.lists.place(jid, node).await
    }

    /// Where a session has its place.
    pub async fn place_of(&self, registration: &Registration) -> RedisResult<Option<Place>> {
        let Ok(user) = BareJid::new(registration.owner()) else { return Ok(None) };
        for (jid, node) in self.lists.places_of(&user).await? {
            let place = self.lists.place(jid, node).await?;
            if place.session.as_deref() == Some(registration.smid().as_str()) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// What is next in a session's mail. It stays there until it is trimmed.
    ///
    /// # Errors
    ///
    /// These had the resource before, and are still to leave what they have: the session [waits](Mailbox::wait) for them.
    pub async fn take(&self, mailbox: &mut Mailbox, jid: &FullJid, kept: Kept) -> Result<Vec<Written>, Vec<Place>> {
        if mailbox.must_pause() {
            return Ok(Vec::new());
        }
        let waits = mailbox.after.is_none_or(|since| since.elapsed() < AFTER);
        match self.lists.take(mailbox.holder(&self.me, jid), mailbox.call, self.most, kept, waits).await {
            Ok(Taken::Astray) => mailbox.is_doubtful = true,
            Ok(Taken::Replaced) => (mailbox.has_mail, mailbox.is_replaced) = (false, true),
            Ok(Taken::After(before)) => return Err(before),
            Ok(Taken::Stanzas(stanzas, is_more)) => {
                self.counters.taken.inc_by(stanzas.len() as u64);
                mailbox.after = None;
                mailbox.has_mail = is_more;
                mailbox.taken =
                    (!stanzas.is_empty()).then(|| stanzas.iter().filter_map(|stanza| read(stanza)).collect());
            }
            Err(error) => self.failed(mailbox, jid, error),
        }
        Ok(mailbox.taken.clone().unwrap_or_default())
    }

    /// What was taken is with the session.
    pub async fn trim(&self, mailbox: &mut Mailbox, jid: &FullJid) {
        if !mailbox.has_taken() || mailbox.must_pause() {
            return;
        }
        match self.lists.trim(mailbox.holder(&self.me, jid), mailbox.call).await {
            Ok(Trimmed::IsStruck) => {
                mailbox.taken = None;
                mailbox.call.number += 1;
            }
            // It comes once more, if it is still there.
            Ok(Trimmed::IsUnknown) => {
                (mailbox.taken, mailbox.has_mail) = (None, true);
                mailbox.call.number += 1;
            }
            Ok(Trimmed::Astray) => mailbox.is_doubtful = true,
            Ok(Trimmed::Replaced) => mailbox.is_replaced = true,
            Err(error) => self.failed(mailbox, jid, error),
        }
    }

    fn failed(&self, mailbox: &mut Mailbox, jid: &FullJid, error: redis::RedisError) {
        complain(format_args!("the mail of {jid}: {error}"));
        self.counters.failures.inc();
        mailbox.again = Some(Instant::now() + PAUSE);
    }
}

fn read(bytes: &[u8]) -> Option<Written> {
    let (stanza, since) = lists::read(bytes)?;
    let stanza = Written::read(stanza)?;
    Some(match since {
        Some(since) => stanza.waiting_since(since),
        None => stanza,
    })
}

/// Puts stanzas into lists, in the order in which they come, and settles them when they are there.
async fn put(
    lists: Arc<Lists>,
    counters: MailCounters,
    me: String,
    mut pending: UnboundedReceiver<(Delivery, Jid)>,
    server: Weak<Server>,
) {
    let (mut batch, mut number) = (Vec::new(), 0_u64);
    while pending.recv_many(&mut batch, BATCH).await > 0 {
        number += 1;
        let posted = batch.iter().map(|(delivery, to)| Posted {
            to,
            otherwise: match (delivery.can_be_kept(), delivery.can_go_elsewhere()) {
                (true, _) => Otherwise::Waits,
                (false, true) => Otherwise::Another,
                (false, false) => Otherwise::Nothing,
            },
            stanza: delivery.bytes(),
        });
        let posted: Vec<_> = posted.collect();
        let placed = loop {
            match lists.put(&me, number, &posted).await {
                Ok(placed) => break placed,
                Err(error) => complain(format_args!("mail: {error}")),
            }
            counters.failures.inc();
            sleep(PAUSE).await;
        };
        drop(posted);
        for ((delivery, _), placed) in batch.drain(..).zip(placed) {
            match (placed, server.upgrade()) {
                (b'0', Some(server)) => server.router.has_no_place(delivery),
                _ => {
                    counters.put.inc();
                    drop(delivery.settle());
                }
            }
        }
    }
}

/// Hears what other nodes say.
async fn hear(client: redis::Client, me: String, server: Weak<Server>) {
    // What an earlier version would not understand is said on those of their own.
    let channels = ["xmpp-sm-link", "xmpp-sm-link-2"].map(|all| [all.to_owned(), format!("{all}:{me}")]).concat();
    while server.strong_count() > 0 {
        if let Ok(mut said) = client.get_async_pubsub().await
            && said.subscribe(&channels).await.is_ok()
        {
            // What was said meanwhile is lost: there may be mail for everybody.
            if let Some(server) = server.upgrade() {
                if let Some(nodes) = &server.nodes {
                    nodes.look_for_all(&server).await;
                }
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
    if let ("mail" | "replaced", Some(nodes), Ok(jid)) = (what, &server.nodes, FullJid::new(about)) {
        // An earlier version does not say whose the resource was. It may be here again.
        let is_gone = what == "replaced" && nodes.link.is_here(&jid).await.is_ok_and(|is_here| !is_here);
        return server.router.tell(&jid, || if is_gone { Mail::End(EndReason::Replaced) } else { Mail::Waiting });
    }
    let Some((first, rest)) = about.split_once(' ') else { return };
    if let ("bound", Ok(smid), Ok(jid)) = (what, SmId::new(first), FullJid::new(rest)) {
        return server.router.tell(&jid, || Mail::Bound(Box::new(smid.clone())));
    }
    let (h, about) = match first.parse() {
        Ok(h) if matches!(what, "asks" | "keeps") => (Some(Counter::new(h)), rest),
        _ => (None, about),
    };
    if let "free" | "keeps" = what {
        return server.nodes.iter().for_each(|nodes| nodes.is_answered(about, h));
    }
    let Some((owner, smid)) = about.split_once(' ') else { return };
    let Ok(smid) = SmId::new(smid) else { return };
    let found = server.store.lookup(&smid, owner, Instant::now());
    let Some(record) = found.ok().and_then(|found| found.session().ok()) else {
        if let Some(nodes) = server.nodes.as_ref().filter(|_| matches!(what, "asks" | "let-go")) {
            // There is nothing to wait for.
            nodes.link.say_to_all("free", about).await;
        }
        return;
    };
    let _ = record.handle.send(match (what, h) {
        ("asks", Some(h)) => Mail::LetGoFor(h),
        ("let-go" | "moved", _) => Mail::LetGo,
        ("displaced", _) => Mail::End(EndReason::Replaced),
        _ => return,
    });
}
